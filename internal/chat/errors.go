package chat

import (
	"errors"
	"fmt"
	"time"
)

// Code is the machine-readable kind of an error, as clients see it. One table
// in the broker turns it into MQTT reason codes, one in the API into HTTP.
type Code string

// The codes that a client can meet.
const (
	CodeInvalid      Code = "invalid"      // malformed or oversized
	CodeForbidden    Code = "forbidden"    // not a member, left, or not allowed
	CodeNotFound     Code = "not_found"    // a target entry or conversation is missing
	CodeConflict     Code = "conflict"     // the id is somebody else's
	CodeRateLimited  Code = "rate_limited" // over a rate limit; see RetryAfter
	CodeUnavailable  Code = "unavailable"  // the database is out of reach; try again
	CodeInternal     Code = "internal"     // our fault; the text never leaves the process
	CodeUnauthorized Code = "unauthorized" // no token, or one that does not hold

	// CodeTokenExpiring is not an error: it warns that the connection's
	// token ends soon.
	CodeTokenExpiring Code = "token_expiring"
	// CodeHistoryTrimmed is none either: it tells a reader that entries which
	// it has not had are not held any more.
	CodeHistoryTrimmed Code = "history_trimmed"
)

// Codes lists all codes, for tests that walk them through the tables.
var Codes = []Code{CodeInvalid, CodeForbidden, CodeNotFound, CodeConflict, CodeRateLimited,
	CodeUnavailable, CodeInternal, CodeUnauthorized, CodeTokenExpiring, CodeHistoryTrimmed}

// Error is an error that may be shown to the caller. Any other error is
// internal: it is logged once, at the edge, and its text is not sent.
type Error struct {
	Code       Code
	Field      string        // the field of the payload that is wrong, "" if none
	Message    string        // plain English, without content or tokens
	RetryAfter time.Duration // with CodeRateLimited
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

// Is makes errors.Is(err, ErrForbidden) and its like true for every error of
// that code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Field == "" && t.Message == ""
}

// Targets for errors.Is, by code alone.
var (
	ErrInvalid     = &Error{Code: CodeInvalid}
	ErrForbidden   = &Error{Code: CodeForbidden}
	ErrNotFound    = &Error{Code: CodeNotFound}
	ErrConflict    = &Error{Code: CodeConflict}
	ErrRateLimited = &Error{Code: CodeRateLimited}
	ErrUnavailable = &Error{Code: CodeUnavailable}
)

// Invalid says what is wrong with a field of the input.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Errorf makes an error that may be shown to the caller.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// AsError finds the *Error in err's chain. An error without one is internal:
// AsError then answers with CodeInternal and a text that says nothing, and ok
// is false, so that the edge logs the original.
func AsError(err error) (e *Error, ok bool) {
	if errors.As(err, &e) {
		return e, true
	}
	return &Error{Code: CodeInternal, Message: "internal error"}, false
}
