package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/internal/chat"
)

// statuses is the one table from codes to HTTP.
var statuses = map[chat.Code]int{
	chat.CodeInvalid:      http.StatusBadRequest,
	chat.CodeUnauthorized: http.StatusUnauthorized,
	chat.CodeForbidden:    http.StatusForbidden,
	chat.CodeNotFound:     http.StatusNotFound,
	codeMethodNotAllowed:  http.StatusMethodNotAllowed,
	chat.CodeConflict:     http.StatusConflict,
	chat.CodeRateLimited:  http.StatusTooManyRequests,
	chat.CodeInternal:     http.StatusInternalServerError,
	chat.CodeUnavailable:  http.StatusServiceUnavailable,
}

const (
	// codeMethodNotAllowed has no twin in MQTT.
	codeMethodNotAllowed chat.Code = "method_not_allowed"

	// wholePayload is the field of what is wrong with a body as a whole. The
	// decoder of messages uses the same word.
	wholePayload = "payload"

	// retryAfter is when to come again after an error that does not say it.
	retryAfter = 2 * time.Second
)

// problem is a problem document (RFC 9457). Its type is always about:blank:
// code is what programs look at.
type problem struct {
	Type   string    `json:"type" doc:"Always about:blank; code tells problems apart." example:"about:blank"`
	Title  string    `json:"title" doc:"The meaning of the status." example:"Bad Request"`
	Status int       `json:"status" doc:"The HTTP status." example:"400"`
	Detail string    `json:"detail" doc:"What is wrong, in plain English." example:"limit: expected number <= 200"`
	Code   chat.Code `json:"code" doc:"What is wrong, for programs. The same codes are used over MQTT." enum:"invalid,unauthorized,forbidden,not_found,method_not_allowed,conflict,rate_limited,internal,unavailable"`
	Field  string    `json:"field,omitempty" doc:"The parameter or the key of the body that is wrong. \"payload\" is the body as a whole." example:"limit"`

	retryAfter time.Duration
}

// problemOf shows an error that is meant to be shown.
func problemOf(e *chat.Error) *problem {
	status, ok := statuses[e.Code]
	if !ok || e.Code == chat.CodeInternal {
		return &problem{Type: "about:blank", Title: http.StatusText(http.StatusInternalServerError),
			Status: http.StatusInternalServerError, Code: chat.CodeInternal, Detail: "internal error"}
	}
	p := &problem{Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: e.Code, Field: e.Field, Detail: e.Error()}
	if e.Code == chat.CodeRateLimited || e.Code == chat.CodeUnavailable {
		if p.retryAfter = e.RetryAfter; p.retryAfter <= 0 {
			p.retryAfter = retryAfter
		}
	}
	return p
}

// refuse turns an error into what the caller may see of it. What is not a
// *chat.Error is logged here, once, and its text stays here.
func (s *server) refuse(ctx context.Context, err error) *problem {
	e, ok := chat.AsError(err)
	switch {
	case ok && e.Code != chat.CodeInternal:
		return problemOf(e)
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		// The client has gone, or the time is up: no fault of the code.
		return problemOf(chat.Errorf(chat.CodeUnavailable, "the request took too long"))
	}
	s.logger.ErrorContext(ctx, "request failed", append(requestAttrs(ctx), "error", err)...)
	return problemOf(&chat.Error{Code: chat.CodeInternal})
}

// The methods that make huma answer with a problem as it stands.

// Error is the detail.
func (p *problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *problem) GetStatus() int { return p.Status }

// ContentType is that of RFC 9457, whatever was asked for.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders has Retry-After where it helps, in whole seconds, rounded up.
func (p *problem) GetHeaders() http.Header {
	if p.retryAfter == 0 {
		return nil
	}
	seconds := int64(math.Ceil(p.retryAfter.Seconds()))
	return http.Header{"Retry-After": {strconv.FormatInt(seconds, 10)}}
}

// writeProblem answers with a problem outside of huma's operations.
func writeProblem(w http.ResponseWriter, p *problem) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that has gone is no news
}

// huma has no setting for these, only variables of its package. They are set
// before anything can run.
func init() {
	huma.NewError = fromHuma
	huma.ValidateStrictCasing = true
}

// fromHuma turns what huma finds wrong with a request into the form of all
// other problems: code invalid, and the field. Of several errors the first
// counts. The values that huma attaches are the caller's and are dropped.
func fromHuma(status int, msg string, errs ...error) huma.StatusError {
	if status >= http.StatusInternalServerError {
		return problemOf(&chat.Error{Code: chat.CodeInternal})
	}
	field := wholePayload
	for _, err := range errs {
		var d *huma.ErrorDetail
		if errors.As(err, &d) {
			field, msg = fieldOf(d)
			break
		}
	}
	return problemOf(chat.Invalid(field, "%s", msg))
}

// fieldOf reads the field out of a location such as "body.members[3]" or
// "query.limit". A key that is missing is named in the message alone.
func fieldOf(d *huma.ErrorDetail) (field, msg string) {
	const before, after = "expected required property ", " to be present"
	_, field, _ = strings.Cut(d.Location, ".")
	if d.Message != "unexpected property" { // such a key may hold dots itself
		if i := strings.IndexAny(field, ".["); i >= 0 {
			field = field[:i]
		}
	}
	if name, ok := strings.CutPrefix(d.Message, before); ok {
		if name = strings.TrimSuffix(name, after); field != "" {
			name = field + "." + name
		}
		return name, "is required"
	}
	if field == "" || len(field) > chat.MaxID {
		field = wholePayload
	}
	return field, d.Message
}
