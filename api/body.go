package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	mediaJSON  = "application/json"
	mediaPlain = "text/plain"

	// mediaForm is what curl -d says when it is told nothing. No operation
	// takes a form, and a bearer token is no cookie that a foreign page
	// could use: so it is read as JSON.
	mediaForm = "application/x-www-form-urlencoded"

	// contentType is the field of a media type that is not taken.
	contentType = "Content-Type"

	// maxBody bounds JSON bodies: the longest that makes sense names
	// chat.MaxFirstMembers members of chat.MaxID characters.
	maxBody = 256 << 10
	// maxDepth bounds how deep JSON may be nested.
	maxDepth = 32
)

// checkQuery refuses parameters that the operation does not have, that stand
// twice, or that are empty. A misspelt cursor would otherwise page through the
// first page for ever.
func checkQuery(op *huma.Operation, rawQuery string) error {
	if rawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return chat.Invalid("query", "is not well formed")
	}
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		if values := query[p.Name]; len(values) > 1 {
			return chat.Invalid(p.Name, "stands twice")
		} else if len(values) == 1 && values[0] == "" {
			return chat.Invalid(p.Name, "must not be empty")
		}
		delete(query, p.Name)
	}
	for name := range query {
		if len(name) > chat.MaxID {
			name = "query"
		}
		return chat.Invalid(name, "is not a parameter of this operation")
	}
	return nil
}

// readBody reads a body of at most limit bytes, in the time that bound gives
// it. A body that is too long is as malformed as any other: code invalid, not
// 413.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLong := chat.Invalid(wholePayload, "is longer than %d bytes", limit)
	if r.ContentLength > limit {
		return nil, tooLong // also spares a client that waits for 100 Continue
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLong
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, chat.Invalid(wholePayload, "did not arrive within %d s", int(bodyTimeout.Seconds()))
	case err != nil:
		return nil, chat.Invalid(wholePayload, "did not arrive whole")
	}
	// From here on the connection is only watched for its end. Past the
	// deadline that watch would cancel the request's context.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, nil
}

// mediaType reads the Content-Type header; "" where there is none.
func mediaType(h http.Header) (string, error) {
	value := h.Get(contentType)
	if value == "" {
		return "", nil
	}
	media, params, err := mime.ParseMediaType(value)
	if err != nil {
		return "", chat.Invalid(contentType, "is not a media type")
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") &&
		!strings.EqualFold(charset, "us-ascii") {
		return "", chat.Invalid(contentType, "charset must be utf-8")
	}
	if media == mediaForm {
		media = mediaJSON
	}
	return media, nil
}

// jsonBody reads the body of an operation before huma does, and leaves it
// what is strictly JSON. The keys that are named, of the outermost object, may
// be null: what stands is taken away. huma sees an empty object there.
func (s *server) jsonBody(limit int64, nullable ...string) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(ctx)
		body, err := readBody(w, r, limit)
		if err == nil && len(body) > 0 {
			body, err = checkJSONBody(r.Header, body, nullable)
		}
		if err != nil {
			writeProblem(w, s.refuse(r.Context(), err))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next(ctx)
	}
}

func checkJSONBody(h http.Header, body []byte, nullable []string) ([]byte, error) {
	media, err := mediaType(h)
	if err != nil {
		return nil, err
	}
	if media != "" && media != mediaJSON {
		return nil, chat.Invalid(contentType, "must be %s", mediaJSON)
	}
	h.Set(contentType, mediaJSON) // huma compares it letter by letter
	if err := checkJSON(body, nullable...); err != nil || len(nullable) == 0 {
		return body, err
	}
	return withoutNulls(body)
}

// withoutNulls puts an empty object where a value of the outermost object is
// null.
func withoutNulls(body []byte) ([]byte, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil {
		return body, nil // no object: huma says so
	}
	for key, value := range object {
		if string(value) == "null" {
			object[key] = json.RawMessage("{}")
		}
	}
	return json.Marshal(object)
}

type rawKey struct{}

// rawBody reads the body of an operation that decodes it itself, with what
// its twin over MQTT uses.
func (s *server) rawBody(limit int64) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(ctx)
		media, err := mediaType(r.Header)
		if err == nil && media != "" && media != mediaJSON {
			err = chat.Invalid(contentType, "must be %s", mediaJSON)
		}
		var body []byte
		if err == nil {
			body, err = readBody(w, r, limit)
		}
		if err != nil {
			writeProblem(w, s.refuse(r.Context(), err))
			return
		}
		next(huma.WithContext(ctx, context.WithValue(ctx.Context(), rawKey{}, body)))
	}
}

// rawOf is the body that rawBody has read.
func rawOf(ctx context.Context) []byte {
	body, _ := ctx.Value(rawKey{}).([]byte)
	return body
}

type sendKey struct{}

// send is the body of a message as it came.
type send struct {
	payload []byte
	plain   bool // the caller says that it is text
}

// sendBody reads a body that huma must not touch, so that a message means the
// same here as over MQTT. What says that it is JSON is JSON: there, white
// space may stand before the object, and nothing else is taken for text.
func (s *server) sendBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	body, err := readSend(w, r)
	if err != nil {
		writeProblem(w, s.refuse(r.Context(), err))
		return
	}
	next(huma.WithContext(ctx, context.WithValue(ctx.Context(), sendKey{}, body)))
}

func readSend(w http.ResponseWriter, r *http.Request) (send, error) {
	media, err := mediaType(r.Header)
	if err != nil {
		return send{}, err
	}
	if media != "" && media != mediaJSON && media != mediaPlain {
		return send{}, chat.Invalid(contentType, "must be %s or %s", mediaJSON, mediaPlain)
	}
	body, err := readBody(w, r, chat.MaxPayload)
	if err != nil {
		return send{}, err
	}
	if media == mediaJSON {
		body = bytes.TrimLeft(body, " \t\r\n")
		if len(body) == 0 || body[0] != '{' {
			return send{}, chat.Invalid(wholePayload, "must be a JSON object")
		}
	}
	return send{payload: body, plain: media == mediaPlain}, nil
}

// checkJSON refuses what encoding/json lets pass: bytes that are not UTF-8,
// keys that stand twice, so that no two readers can differ, and null, which is
// no value of any key here but of those that are named.
func checkJSON(body []byte, nullable ...string) error {
	if !utf8.Valid(body) {
		return chat.Invalid(wholePayload, "is not UTF-8")
	}
	if !json.Valid(body) {
		return chat.Invalid(wholePayload, "is not valid JSON")
	}
	c := jsonCheck{dec: json.NewDecoder(bytes.NewReader(body)), nullable: nullable}
	return c.value(wholePayload, 0)
}

// jsonCheck walks valid JSON. field is the key of the outermost object.
type jsonCheck struct {
	dec      *json.Decoder
	nullable []string // keys of the outermost object
}

func (c jsonCheck) value(field string, depth int) error {
	if depth > maxDepth {
		return chat.Invalid(field, "is nested too deep")
	}
	token, err := c.dec.Token()
	switch {
	case err != nil:
		return chat.Invalid(wholePayload, "is not valid JSON")
	case token == nil && depth == 1 && slices.Contains(c.nullable, field):
	case token == nil:
		return chat.Invalid(field, "must not be null")
	case token == json.Delim('{'):
		return c.object(field, depth)
	case token == json.Delim('['):
		for c.dec.More() {
			if err := c.value(field, depth+1); err != nil {
				return err
			}
		}
		_, _ = c.dec.Token() // the end; the whole is known to be valid
	}
	return nil
}

func (c jsonCheck) object(field string, depth int) error {
	seen := map[string]bool{}
	for c.dec.More() {
		token, err := c.dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return chat.Invalid(wholePayload, "is not valid JSON")
		}
		if depth == 0 {
			if field = key; len(key) > chat.MaxID {
				field = wholePayload
			}
		}
		if seen[key] {
			return chat.Invalid(field, "stands twice")
		}
		seen[key] = true
		if err := c.value(field, depth+1); err != nil {
			return err
		}
	}
	_, _ = c.dec.Token() // the end; the whole is known to be valid
	return nil
}
