package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectOldest = `SELECT s.key, s.head, s.first, coalesce(s.keep_age, 0), coalesce(s.keep_count, 0), e.created_at
		FROM streams s LEFT JOIN entries e ON e.stream = s.id AND e.seq = s.first
		WHERE s.key > ? AND s.key < ? ORDER BY s.key LIMIT ?`
	selectOldestOwn = `SELECT s.key, s.head, s.first, s.keep_age, s.keep_count, e.created_at
		FROM streams s INDEXED BY streams_kept LEFT JOIN entries e ON e.stream = s.id AND e.seq = s.first
		WHERE s.keep_age IS NOT NULL AND s.key > ? AND s.key < ? ORDER BY s.key LIMIT ?`
	selectHeld = `SELECT id, head, first, coalesce(keep_age, 0), coalesce(keep_count, 0) FROM streams WHERE key = ?`

	// findKept answers the oldest of some entries that stays.
	findKept = `SELECT seq FROM (SELECT seq, created_at FROM entries WHERE stream = ? AND seq >= ? ORDER BY seq LIMIT ?)
		WHERE seq > ? AND created_at >= ? LIMIT 1`
	trimEntries = `DELETE FROM entries WHERE stream = ? AND seq >= ? AND seq < ?`
	raiseFirst  = `UPDATE streams SET first = ? WHERE id = ?`

	setRetention = `UPDATE streams SET keep_age = ?, keep_count = ? WHERE id = ?`
)

// Oldest implements bridge.Store.
func (s *Store) Oldest(ctx context.Context, from, to chat.StreamID, own bool, limit int) (all []bridge.Held, err error) {
	query := selectOldest
	if own {
		query = selectOldestOwn
	}
	err = s.read(ctx, func(c *conn) error {
		return name("oldest", c.each(func(rows *sql.Rows) error {
			var h bridge.Held
			var age int64
			var oldest sql.NullInt64
			err := rows.Scan(&h.Stream, &h.Head.Head, &h.First, &age, &h.Own.Count, &oldest)
			h.Own.Age = time.Duration(age) * time.Second
			if oldest.Valid {
				h.OldestAt = asTime(oldest.Int64)
			}
			all = append(all, h)
			return err
		}, query, string(from), string(to), limit))
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
	err = s.write(ctx, func(c *conn) (err error) {
		head, removed, err = c.trim(now, policy, stream, limit)
		if err != nil {
			return fmt.Errorf("sqlite: trim: %w", err)
		}
		return nil
	})
	if err != nil {
		return bridge.Head{}, 0, err
	}
	return head, removed, nil
}

func (c *conn) trim(now time.Time, policy bridge.RetentionPolicy, stream chat.StreamID, limit int) (head bridge.Head, removed int, err error) {
	var id, age int64
	var own bridge.Retention
	found, err := c.row(selectHeld, string(stream)).find(&id, &head.Head, &head.First, &age, &own.Count)
	if !found || err != nil {
		return head, 0, err
	}
	own.Age = time.Duration(age) * time.Second
	through, before := policy.For(stream, own).Bounds(now, head.Head)
	oldest := int64(math.MinInt64) // every time is after it
	if !before.IsZero() {
		oldest = before.UnixMilli()
	}
	first := min(head.First+uint64(max(limit, 0)), head.Head+1)
	if _, err := c.row(findKept, id, asSeq(head.First), limit, asSeq(through), oldest).find(&first); err != nil {
		return head, 0, err
	}
	if removed = int(first - head.First); removed == 0 {
		return head, 0, nil
	}
	if _, err := c.exec(trimEntries, id, asSeq(head.First), asSeq(first)); err != nil {
		return head, 0, err
	}
	if stream.User() != "" { // what is gone is not unread
		if _, err := c.exec(deleteUnreadUpTo, id, asSeq(first-1)); err != nil {
			return head, 0, err
		}
	}
	head.First = first
	_, err = c.exec(raiseFirst, asSeq(first), id)
	return head, removed, err
}

// SetRetention implements bridge.Store.
func (s *Store) SetRetention(ctx context.Context, actor bridge.Actor, id string, r bridge.Retention) error {
	return s.change(ctx, "set retention", id, func(c *conn, conv *conversation) error {
		role, err := c.role(conv.stream, actor.UserID)
		if err == nil {
			err = bridge.CheckRetention(actor, role)
		}
		if err != nil {
			return err
		}
		var age, count sql.NullInt64
		if r != (bridge.Retention{}) {
			age = sql.NullInt64{Int64: int64(r.Age / time.Second), Valid: true}
			count = sql.NullInt64{Int64: asSeq(r.Count), Valid: true}
		}
		_, err = c.exec(setRetention, age, count, conv.stream)
		return err
	})
}
