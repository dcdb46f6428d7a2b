package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// failure says what an error means to the caller, as bridge.Store wants it.
// The text of the database stays for the log. It is one line and has neither
// the password nor values of the statement: Postgres names values in the
// detail of an error, and pgx prints its message alone.
func failure(op string, err error) error {
	var known *chat.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if kind := classify(err); kind != nil {
		return &storeError{op: op, kind: kind, cause: err}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// storeError is an error of the database and what it means.
type storeError struct {
	op    string
	kind  error // bridge.ErrAgain or bridge.ErrUnavailable
	cause error
}

func (e *storeError) Error() string   { return e.op + ": " + oneLine(e.cause.Error()) }
func (e *storeError) Unwrap() []error { return []error{e.kind, e.cause} }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// errAgain is for what a transaction finds to be stale.
var errAgain = errors.New("changed meanwhile")

// classify answers bridge.ErrAgain, bridge.ErrUnavailable, or nil for a fault
// of the call or of our own.
func classify(err error) error {
	if errors.Is(err, errAgain) {
		return bridge.ErrAgain
	}
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect):
		return bridge.ErrUnavailable // also where the server gave the reason
	case errors.As(err, &pg):
		return classifyCode(pg)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET),
		errors.As(err, &network), pgconn.Timeout(err), pgconn.SafeToRetry(err):
		return bridge.ErrUnavailable
	}
	return nil
}

const (
	// planChanged is "cached plan must not change result type", which a
	// statement meets that was prepared before a migration. Nothing else
	// here can cause it.
	planChanged = "0A000"
	// noSuchStatement is met when somebody between here and the database
	// forgot what was prepared, as a pooler does with DISCARD ALL.
	noSuchStatement = "26000"
)

// classifyCode reads a SQLSTATE.
func classifyCode(pg *pgconn.PgError) error {
	switch pg.Code {
	case "40001", "40P01", // serialization failure, deadlock
		"23505", // a repeat or a conversation was written at the same time
		"23503", // a stream or session was deleted at the same time
		"55P03": // lock_timeout
		return bridge.ErrAgain
	case planChanged, noSuchStatement:
		return bridge.ErrAgain
	case "25006", // read-only: a standby, or a full disk that an operator guards
		"25P03", // idle_in_transaction_session_timeout
		"57014", // statement_timeout, or cancelled
		"40003": // completion unknown
		return bridge.ErrUnavailable
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08", // connection
		"53", // disk full, out of memory, too many connections
		"57", // shut down, crashed, starting
		"58": // input or output failed
		return bridge.ErrUnavailable
	}
	return nil
}
