package client

import (
	"errors"
	"fmt"
	"time"
)

// Codes of errors. Those above the line are the server's.
const (
	CodeInvalid      = "invalid"
	CodeForbidden    = "forbidden"
	CodeNotFound     = "not_found"
	CodeConflict     = "conflict"
	CodeRateLimited  = "rate_limited"
	CodeUnavailable  = "unavailable"
	CodeUnauthorized = "unauthorized"
	CodeInternal     = "internal"

	CodeNetwork   = "network"    // the server could not be reached, or the link broke
	CodeTakenOver = "taken_over" // another client runs with the same user and client id
	CodeKicked    = "kicked"     // the session was ended by its user or an administrator
	CodeClosed    = "closed"     // Close was called
)

// Error is an error of the server or the link.
type Error struct {
	Code     string
	Message  string
	Topic    string // that was published to, if it was
	ClientID string // of the draft, if it had one
	Field    string // of the payload or the question, if one is wrong
	Reason   byte   // the MQTT 5 reason code, 0 if there was none
	Status   int    // the HTTP status, 0 if there was none
	// RetryAfter is how long the server wants to be left alone.
	RetryAfter time.Duration
	Err        error // what lies below
}

func (e *Error) Error() string {
	switch {
	case e == nil:
		return ""
	case e.Message != "" && e.Code != "":
		return e.Code + ": " + e.Message
	case e.Err != nil:
		return e.Code + ": " + e.Err.Error()
	}
	return e.Code
}

// Unwrap gives what lies below.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Is makes errors.Is(err, ErrForbidden) and its like true for every error of
// that code. It is false for nil, as Status.Err often is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e != nil && t != nil && t.Code == e.Code && t.Message == "" && t.Err == nil
}

// Targets for errors.Is, by code alone.
var (
	ErrInvalid      = &Error{Code: CodeInvalid}
	ErrForbidden    = &Error{Code: CodeForbidden}
	ErrNotFound     = &Error{Code: CodeNotFound}
	ErrConflict     = &Error{Code: CodeConflict}
	ErrRateLimited  = &Error{Code: CodeRateLimited}
	ErrUnavailable  = &Error{Code: CodeUnavailable}
	ErrUnauthorized = &Error{Code: CodeUnauthorized}
	ErrNetwork      = &Error{Code: CodeNetwork}
	ErrTakenOver    = &Error{Code: CodeTakenOver}
	ErrKicked       = &Error{Code: CodeKicked}
	ErrClosed       = &Error{Code: CodeClosed}
)

// option is an error about Options.
func option(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: field + ": " + fmt.Sprintf(format, args...)}
}

// network makes an *Error of what the link says.
func network(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeNetwork, Message: err.Error(), Err: err}
}

// MQTT 5 reason codes that mean something here.
const (
	reasonUnspecified   = 0x80
	reasonServerError   = 0x83 // the database is out of reach
	reasonBadLogin      = 0x86
	reasonNotAuthorized = 0x87
	reasonBusy          = 0x89
	reasonShutdown      = 0x8B
	reasonTakenOver     = 0x8E
	reasonQuota         = 0x97
	reasonAdministrator = 0x98
	reasonPayload       = 0x99
)

// codeOf is the code of a reason in a PUBACK or SUBACK. 0x99 is not_found too,
// which users/<id>/errors tells apart.
func codeOf(reason byte) string {
	switch reason {
	case reasonNotAuthorized:
		return CodeForbidden
	case reasonPayload:
		return CodeInvalid
	case reasonQuota:
		return CodeRateLimited
	case reasonServerError:
		return CodeUnavailable
	default:
		return CodeInternal
	}
}
