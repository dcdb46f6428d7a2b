package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Both walk along an index of keys; the second along one of those streams
// alone that have a retention of their own.
const (
	selectOldest = `
SELECT s.key, s.head, s.first, s.age, s.count, e.created_at
FROM (SELECT id, key, head, first, coalesce(keep_age, 0) AS age, coalesce(keep_count, 0) AS count
	FROM streams WHERE key > $1 AND key < $2 ORDER BY key LIMIT $3) s
LEFT JOIN LATERAL (SELECT created_at FROM entries WHERE stream = s.id AND seq = s.first OFFSET 0) e ON true
ORDER BY s.key`

	selectOldestOwn = `
SELECT s.key, s.head, s.first, s.age, s.count, e.created_at
FROM (SELECT id, key, head, first, keep_age AS age, keep_count AS count
	FROM streams WHERE keep_age IS NOT NULL AND key > $1 AND key < $2 ORDER BY key LIMIT $3) s
LEFT JOIN LATERAL (SELECT created_at FROM entries WHERE stream = s.id AND seq = s.first OFFSET 0) e ON true
ORDER BY s.key`

	lockHeld = `
SELECT id, head, first, coalesce(keep_age, 0), coalesce(keep_count, 0) FROM streams WHERE key = $1 FOR NO KEY UPDATE`

	// findKept answers the oldest of some entries that stays.
	findKept = `
SELECT seq FROM (SELECT seq, created_at FROM entries WHERE stream = $1 AND seq >= $2 ORDER BY seq LIMIT $3) e
WHERE seq > $4 AND created_at >= $5 ORDER BY seq LIMIT 1`

	trimEntries = `DELETE FROM entries WHERE stream = $1 AND seq >= $2 AND seq < $3`
	raiseFirst  = `UPDATE streams SET first = $2 WHERE id = $1`

	setRetention = `UPDATE streams SET keep_age = $2, keep_count = $3 WHERE id = $1`
)

// Oldest implements bridge.Store.
func (s *Store) Oldest(ctx context.Context, from, to chat.StreamID, own bool, limit int) (all []bridge.Held, err error) {
	sql := selectOldest
	if own {
		sql = selectOldestOwn
	}
	args := []any{string(from), string(to), toLimit(limit)}
	err = s.query(ctx, "read the oldest entries", sql, args, func(rows pgx.Rows) error {
		var h bridge.Held
		var age int64
		var oldest *time.Time
		if err := rows.Scan((*string)(&h.Stream), &h.Head.Head, &h.First, &age, &h.Own.Count, &oldest); err != nil {
			return err
		}
		h.Own.Age = time.Duration(age) * time.Second
		if oldest != nil {
			h.OldestAt = oldest.UTC()
		}
		all = append(all, h)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Trim implements bridge.Store.
func (s *Store) Trim(ctx context.Context, now time.Time, policy bridge.RetentionPolicy, stream chat.StreamID, limit int) (
	head bridge.Head, removed int, err error,
) {
	err = s.inTx(ctx, "trim", func(tx pgx.Tx) error {
		var id, age int64
		var own bridge.Retention
		err := tx.QueryRow(ctx, lockHeld, string(stream)).Scan(&id, &head.Head, &head.First, &age, &own.Count)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		own.Age = time.Duration(age) * time.Second
		through, before := policy.For(stream, own).Bounds(stored(now), head.Head)
		first := min(head.First+uint64(max(limit, 0)), head.Head+1)
		err = tx.QueryRow(ctx, findKept, id, head.First, toLimit(limit), toBigint(through), before).Scan(&first)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if removed = int(first - head.First); removed == 0 {
			return nil
		}
		b := &pgx.Batch{}
		b.Queue(trimEntries, id, head.First, first)
		b.Queue(raiseFirst, id, first)
		if stream.User() != "" { // what is gone is not unread
			b.Queue(dropUnreadUpTo, id, first-1)
		}
		head.First = first
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return bridge.Head{}, 0, err
	}
	return head, removed, nil
}

// SetRetention implements bridge.Store.
func (s *Store) SetRetention(ctx context.Context, actor bridge.Actor, id string, r bridge.Retention) error {
	return s.change(ctx, "set retention", id, func(c *change) error {
		who, _, err := c.members(ctx, actor, "")
		if err != nil {
			return err
		}
		if err := bridge.CheckRetention(actor, who.Role); err != nil {
			return err
		}
		var age, count *int64
		if r != (bridge.Retention{}) {
			seconds, n := int64(r.Age/time.Second), toBigint(r.Count)
			age, count = &seconds, &n
		}
		_, err = c.tx.Exec(ctx, setRetention, c.stream, age, count)
		return err
	})
}
