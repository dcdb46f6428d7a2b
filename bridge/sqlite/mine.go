package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

const (
	selectSessionsOf = `SELECT id, client_id, expiry, ended_at FROM sessions
		WHERE user_id = ? AND client_id > ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY client_id LIMIT ?`
	countCursors      = `SELECT count(*) FROM cursors WHERE session = ?`
	selectCursorsSeen = `SELECT t.key, c.seq, t.head FROM cursors c JOIN streams t ON t.id = c.stream
		WHERE c.session = ? ORDER BY t.key LIMIT ?`
)

// SessionsOf implements bridge.Mine.
func (s *Store) SessionsOf(ctx context.Context, now time.Time, user, after string, limit, cursors int) (
	all []bridge.SessionSeen, err error,
) {
	err = s.read(ctx, func(c *conn) error {
		var ids []int64
		err := c.each(func(rows *sql.Rows) error {
			seen := bridge.SessionSeen{Key: bridge.SessionKey{UserID: user}}
			var id int64
			var ended sql.NullInt64
			if err := rows.Scan(&id, &seen.Key.ClientID, &seen.Expiry, &ended); err != nil {
				return err
			}
			if ended.Valid {
				seen.EndedAt = asTime(ended.Int64)
			}
			ids, all = append(ids, id), append(all, seen)
			return nil
		}, selectSessionsOf, user, after, now.UnixMilli(), limit)
		for i := 0; err == nil && i < len(ids); i++ {
			err = c.cursorsSeen(&all[i], ids[i], cursors)
		}
		return name("list sessions", err)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (c *conn) cursorsSeen(seen *bridge.SessionSeen, session int64, limit int) error {
	if err := c.row(countCursors, session).Scan(&seen.CursorCount); err != nil {
		return err
	}
	return c.each(func(rows *sql.Rows) error {
		var cur bridge.CursorSeen
		err := rows.Scan(&cur.Stream, &cur.Seq, &cur.Head)
		seen.Cursors = append(seen.Cursors, cur)
		return err
	}, selectCursorsSeen, session, limit)
}
