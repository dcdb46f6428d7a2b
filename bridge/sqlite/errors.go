package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	driversqlite "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/parley-mqtt/parley/bridge"
)

// explain says what an error means to the caller, as bridge.Store wants it,
// and keeps its text. SQLite's texts name tables and columns, never values.
func explain(err error, wrote bool) error {
	if err == nil {
		return nil
	}
	var failure *driversqlite.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, driver.ErrBadConn):
		return fmt.Errorf("%w: %w", bridge.ErrUnavailable, err)
	case !errors.As(err, &failure):
		return err
	}
	switch failure.Code() & 0xff { // the rest of the code is detail
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
		if wrote { // and was rolled back
			return fmt.Errorf("%w: %w", bridge.ErrAgain, err)
		}
		return fmt.Errorf("%w: %w", bridge.ErrUnavailable, err)
	case codes.SQLITE_FULL, codes.SQLITE_IOERR, codes.SQLITE_CANTOPEN, codes.SQLITE_READONLY, codes.SQLITE_PERM,
		codes.SQLITE_NOMEM, codes.SQLITE_INTERRUPT, codes.SQLITE_PROTOCOL, codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", bridge.ErrUnavailable, err)
	}
	return err
}
