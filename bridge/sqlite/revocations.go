package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

const (
	selectRevocation = `SELECT n, at, until FROM revocations WHERE kind = ? AND value = ?`
	deleteRevocation = `DELETE FROM revocations WHERE n = ?`
	insertRevocation = `INSERT INTO revocations (kind, value, at, until) VALUES (?, ?, ?, ?)`

	selectRevocations = `SELECT n, kind, value, at, until FROM revocations WHERE n > ? ORDER BY n LIMIT ?`
	sweepRevocations  = `DELETE FROM revocations WHERE n IN (
		SELECT n FROM revocations WHERE until IS NOT NULL AND until <= ? ORDER BY until LIMIT ?)`
)

// Revoke implements bridge.Revocations.
func (s *Store) Revoke(ctx context.Context, r bridge.Revocation) error {
	return s.writeSession(ctx, "revoke", func(c *conn) error {
		var n, at int64
		var before sql.NullInt64
		found, err := c.row(selectRevocation, r.Kind, []byte(r.Value)).find(&n, &at, &before)
		if err != nil {
			return err
		}
		until := asNullTime(r.Until)
		if found {
			if _, err := c.exec(deleteRevocation, n); err != nil {
				return err
			}
			until.Valid = until.Valid && before.Valid // null is later than any other
			until.Int64 = max(until.Int64, before.Int64)
		}
		_, err = c.exec(insertRevocation, r.Kind, []byte(r.Value), max(at, r.At.UnixMilli()), until)
		return err
	})
}

// Revoked implements bridge.Revocations.
func (s *Store) Revoked(ctx context.Context, after uint64, limit int) (all []bridge.Revocation, err error) {
	err = s.read(ctx, func(c *conn) error {
		return name("read revocations", c.each(func(rows *sql.Rows) error {
			var r bridge.Revocation
			var at int64
			var until sql.NullInt64
			if err := rows.Scan(&r.N, &r.Kind, &r.Value, &at, &until); err != nil {
				return err
			}
			r.At = asTime(at)
			if until.Valid {
				r.Until = asTime(until.Int64)
			}
			all = append(all, r)
			return nil
		}, selectRevocations, asSeq(after), limit))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// SweepRevocations implements bridge.Revocations.
func (s *Store) SweepRevocations(ctx context.Context, now time.Time, limit int) (removed int, err error) {
	err = s.writeSession(ctx, "sweep revocations", func(c *conn) error {
		n, err := c.exec(sweepRevocations, now.UnixMilli(), limit)
		removed = int(n)
		return err
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}
