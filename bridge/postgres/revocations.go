package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
)

const (
	lockRevocations = `LOCK TABLE revocations IN SHARE ROW EXCLUSIVE MODE`

	// A null until is later than any other.
	putRevocation = `
INSERT INTO revocations (kind, value, at, until) VALUES ($1, $2, $3, $4)
ON CONFLICT (kind, value) DO UPDATE SET n = excluded.n, at = greatest(revocations.at, excluded.at),
	until = CASE WHEN revocations.until IS NOT NULL AND excluded.until IS NOT NULL
		THEN greatest(revocations.until, excluded.until) END`

	selectRevocations = `
SELECT n, kind, value, at, until FROM revocations WHERE n > $1 ORDER BY n LIMIT $2`

	sweepRevocations = `
DELETE FROM revocations WHERE n = ANY (ARRAY(
	SELECT n FROM revocations WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED))`
)

// Revoke implements bridge.Revocations. The number is given behind the lock:
// so whoever sees it sees all that are lower.
func (s *Store) Revoke(ctx context.Context, r bridge.Revocation) error {
	var until *time.Time
	if !r.Until.IsZero() {
		end := stored(r.Until)
		until = &end
	}
	return s.inTx(ctx, "revoke", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockRevocations); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, putRevocation, int16(r.Kind), []byte(r.Value), stored(r.At), until)
		return err
	})
}

// Revoked implements bridge.Revocations.
func (s *Store) Revoked(ctx context.Context, after uint64, limit int) ([]bridge.Revocation, error) {
	var all []bridge.Revocation
	args := []any{toBigint(after), toLimit(limit)}
	err := s.query(ctx, "read revocations", selectRevocations, args, func(rows pgx.Rows) error {
		var r bridge.Revocation
		var value []byte
		var until *time.Time
		if err := rows.Scan(&r.N, (*uint8)(&r.Kind), &value, &r.At, &until); err != nil {
			return err
		}
		r.Value, r.At = string(value), r.At.UTC()
		if until != nil {
			r.Until = until.UTC()
		}
		all = append(all, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// SweepRevocations implements bridge.Revocations.
func (s *Store) SweepRevocations(ctx context.Context, now time.Time, limit int) (int, error) {
	tag, err := s.pool.Exec(ctx, sweepRevocations, stored(now), toLimit(limit))
	if err != nil {
		return 0, failure("sweep revocations", err)
	}
	return int(tag.RowsAffected()), nil
}
