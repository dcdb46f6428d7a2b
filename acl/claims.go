package acl

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

// maxFilters bounds each list of the acl claim. A guard walks the whole list.
const maxFilters = 100

// maxDate is the end of the year 9999, the last that RFC 3339 can write. A
// larger number is most often milliseconds by mistake.
const maxDate = 253402300799

// claims is the claims set of a token. It reads claim names as RFC 7519 clause
// 4 has them: case matters, and of a name that stands twice the last counts.
// Plain encoding/json would take "Scope" for "scope", and so let a claim that
// the issuer never checked stand in for one that it did.
type claims struct {
	raw []byte

	issuer, subject, tokenID     string
	audience                     jwt.ClaimStrings
	expires, notBefore, issuedAt *jwt.NumericDate
	scopes                       Scopes
	pub, sub                     []string
}

// UnmarshalJSON only keeps the bytes. They are read after the signature held.
func (c *claims) UnmarshalJSON(b []byte) error {
	c.raw = bytes.Clone(b)
	return nil
}

// The methods of jwt.Claims.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expires, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.notBefore, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.issuedAt, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.audience, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.subject, nil }

// object is a JSON object with exact keys. A key whose value is null counts as
// absent.
type object map[string]json.RawMessage

func (o object) get(key string) (json.RawMessage, bool) {
	raw, ok := o[key]
	return raw, ok && !bytes.Equal(raw, []byte("null"))
}

func (o object) text(key string, into *string) error {
	raw, ok := o.get(key)
	if ok && json.Unmarshal(raw, into) != nil {
		return unauthorized("%s must be a string", key)
	}
	return nil
}

// date reads a NumericDate, RFC 7519 clause 2: a number, never a string.
func (o object) date(key string, into **jwt.NumericDate) error {
	raw, ok := o.get(key)
	if !ok {
		return nil
	}
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return unauthorized("%s must be a number", key)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f > maxDate {
		return unauthorized("%s must be seconds since 1970", key)
	}
	// A number of this size is exact to less than a microsecond.
	*into = &jwt.NumericDate{Time: time.UnixMicro(int64(math.Round(f * 1e6))).UTC()}
	return nil
}

// decode reads the claims that were kept. Its errors are *chat.Error.
func (c *claims) decode() error {
	var o object
	if json.Unmarshal(c.raw, &o) != nil || o == nil {
		return unauthorized("the claims must be a JSON object")
	}
	var scope string
	if err := errors.Join(
		o.text("iss", &c.issuer), o.text("sub", &c.subject), o.text("jti", &c.tokenID),
		o.text("scope", &scope),
		o.date("exp", &c.expires), o.date("nbf", &c.notBefore), o.date("iat", &c.issuedAt),
	); err != nil {
		first, _ := chat.AsError(err)
		return first
	}
	if raw, ok := o.get("aud"); ok && json.Unmarshal(raw, &c.audience) != nil {
		return unauthorized("aud must be a string or a list of strings")
	}
	if !chat.ValidID(c.subject) {
		return unauthorized("sub must be a user id")
	}
	c.scopes = parseScopes(scope)
	return c.decodeACL(o)
}

// parseScopes reads a list of words with spaces between them, as in RFC 6749
// clause 3.3. Words of other services pass and grant nothing.
func parseScopes(list string) (s Scopes) {
	for word := range strings.SplitSeq(list, " ") {
		switch word {
		case "notify":
			s |= Notify
		case "admin":
			s |= Admin
		}
	}
	return s
}

func (c *claims) decodeACL(o object) error {
	raw, ok := o.get("acl")
	if !ok {
		return nil
	}
	var lists object
	if json.Unmarshal(raw, &lists) != nil {
		return unauthorized(`acl must be an object with the keys "pub" and "sub"`)
	}
	if err := lists.filters("pub", &c.pub); err != nil {
		return err
	}
	return lists.filters("sub", &c.sub)
}

func (o object) filters(key string, into *[]string) error {
	raw, ok := o.get(key)
	if !ok {
		return nil
	}
	if json.Unmarshal(raw, into) != nil {
		return unauthorized("acl.%s must be a list of filters", key)
	}
	if problem := checkFilters(*into); problem != "" {
		return unauthorized("acl.%s: %s", key, problem)
	}
	return nil
}

// checkFilters says what is wrong with the filters of an acl claim, or "". A
// filter that reaches into chat/ or users/ is well formed. It grants nothing.
func checkFilters(filters []string) string {
	if len(filters) > maxFilters {
		return "has more than " + strconv.Itoa(maxFilters) + " filters"
	}
	for i, filter := range filters {
		if _, err := chat.ParseFilter(filter); err != nil && !errors.Is(err, chat.ErrForbidden) {
			e, _ := chat.AsError(err)
			return "filter " + strconv.Itoa(i+1) + ": " + e.Message
		}
	}
	return ""
}

func unauthorized(format string, args ...any) error {
	return chat.Errorf(chat.CodeUnauthorized, format, args...)
}
