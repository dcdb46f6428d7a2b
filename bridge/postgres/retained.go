package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Two statements, so that either is one walk along the index.
const (
	selectRetainedFrom = `
SELECT ` + messageColumns + ` FROM retained
WHERE topic >= $2 AND (expires IS NULL OR expires > $1) ORDER BY topic LIMIT $3`
	selectRetainedBetween = `
SELECT ` + messageColumns + ` FROM retained
WHERE topic >= $2 AND topic < $4 AND (expires IS NULL OR expires > $1) ORDER BY topic LIMIT $3`
	selectRetainedBy = `
SELECT ` + messageColumns + ` FROM retained
WHERE user_id = $4 AND id > $2 AND (expires IS NULL OR expires > $1) ORDER BY id LIMIT $3`
)

// Retained implements bridge.Store.
func (s *Store) Retained(ctx context.Context, now time.Time, from, to string, limit int) ([]bridge.Message, error) {
	sql, args := selectRetainedFrom, []any{stored(now), []byte(from), toLimit(limit)}
	if to != "" {
		sql, args = selectRetainedBetween, append(args, []byte(to))
	}
	return s.messages(ctx, sql, args)
}

// RetainedBy implements bridge.Store.
func (s *Store) RetainedBy(ctx context.Context, now time.Time, user string, after chat.ID, limit int) ([]bridge.Message, error) {
	return s.messages(ctx, selectRetainedBy, []any{stored(now), after, toLimit(limit), user})
}

// messages reads retained messages.
func (s *Store) messages(ctx context.Context, sql string, args []any) (all []bridge.Message, err error) {
	err = s.query(ctx, "read retained messages", sql, args, func(rows pgx.Rows) error {
		var m messageRow
		if err := rows.Scan(m.columns()...); err != nil {
			return err
		}
		all = append(all, m.message())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

const selectRetainedOn = `
SELECT k.i, ` + messageColumns + `
FROM unnest($2::bytea[]) WITH ORDINALITY AS k(wanted, i)
CROSS JOIN LATERAL (SELECT * FROM retained WHERE topic = k.wanted AND (expires IS NULL OR expires > $1) OFFSET 0) r`

// RetainedOn implements bridge.Store.
func (s *Store) RetainedOn(ctx context.Context, now time.Time, topics []string) ([]*bridge.Message, error) {
	keys := make([][]byte, len(topics))
	for i, topic := range topics {
		keys[i] = []byte(topic)
	}
	got := make([]*bridge.Message, len(topics))
	err := s.query(ctx, "read retained messages", selectRetainedOn, []any{stored(now), keys}, func(rows pgx.Rows) error {
		var i int64
		var m messageRow
		if err := rows.Scan(append([]any{&i}, m.columns()...)...); err != nil {
			return err
		}
		message := m.message()
		got[i-1] = &message
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

// CountRetained implements bridge.Store. It reads the whole table, without
// the payloads of more than 2 KiB or so, which Postgres keeps elsewhere.
func (s *Store) CountRetained(ctx context.Context) (count, bytes int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT count(*), coalesce(sum(size), 0) FROM retained`).Scan(&count, &bytes)
	return count, bytes, failure("count retained messages", err)
}

const (
	// As sweepSessions. Who replaces a message meanwhile is not waited for.
	sweepRetained = `
WITH gone AS (
	DELETE FROM retained WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM retained WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED))
	RETURNING size
)
SELECT count(*), coalesce(sum(size), 0) FROM gone`

	// takeLoose takes names from the list. lockMessages waits for those who
	// bring new deliveries for these messages, and keeps others out.
	// removeMessages gets those that are locked and begins after that: it
	// sees every delivery that there is or can be.
	takeLoose = `
DELETE FROM loose WHERE id = ANY (ARRAY(
	SELECT id FROM loose WHERE id > 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING message`
	lockMessages   = `SELECT id FROM messages WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE`
	removeMessages = `
DELETE FROM messages WHERE id = ANY (ARRAY(
	SELECT k.id FROM unnest($1::uuid[]) AS k(id)
	LEFT JOIN LATERAL (SELECT true AS wanted FROM deliveries WHERE message = k.id LIMIT 1) d ON true
	WHERE d.wanted IS NULL))`
)

// SweepMessages implements bridge.Store. Of the messages it takes some in
// each transaction, until there are enough or no more: it costs next to
// nothing when there is nothing to sweep. The retained ones come last, so that
// their number is not lost when it fails.
func (s *Store) SweepMessages(ctx context.Context, now time.Time, limit int) (swept bridge.Swept, err error) {
	for looked := 1; looked > 0 && swept.Messages < limit; {
		var removed int
		if looked, removed, err = s.sweepLoose(ctx, limit-swept.Messages); err != nil {
			return bridge.Swept{}, err
		}
		swept.Messages += removed
	}
	err = s.pool.QueryRow(ctx, sweepRetained, stored(now), toLimit(limit)).Scan(&swept.Retained, &swept.RetainedBytes)
	if err != nil {
		return bridge.Swept{}, failure("sweep retained messages", err)
	}
	return swept, nil
}

func (s *Store) sweepLoose(ctx context.Context, limit int) (looked, removed int, err error) {
	err = s.inTx(ctx, "sweep messages", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, takeLoose, toLimit(limit))
		if err != nil {
			return err
		}
		taken, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
		if looked = len(taken); err != nil || looked == 0 {
			return err
		}
		if rows, err = tx.Query(ctx, lockMessages, taken); err != nil {
			return err
		}
		locked, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
		if err != nil || len(locked) == 0 {
			return err
		}
		tag, err := tx.Exec(ctx, removeMessages, locked)
		removed = int(tag.RowsAffected())
		return err
	})
	return looked, removed, err
}
