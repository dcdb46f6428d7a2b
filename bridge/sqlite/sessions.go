package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectSession  = `SELECT id, expiry, ended_at, subscriptions FROM sessions WHERE user_id = ? AND client_id = ?`
	selectCursors  = `SELECT t.key, c.seq FROM cursors c JOIN streams t ON t.id = c.stream WHERE c.session = ?`
	selectReceived = `SELECT packet_id, client_id FROM received WHERE session = ? ORDER BY packet_id`
	upsertSession  = `INSERT INTO sessions (user_id, client_id, expiry, ended_at, subscriptions, ordinary, queue)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
		ON CONFLICT (user_id, client_id) DO UPDATE
		SET expiry = excluded.expiry, ended_at = excluded.ended_at, subscriptions = excluded.subscriptions,
		ordinary = excluded.ordinary, queue = max(queue, excluded.queue)`
	markSession   = `UPDATE sessions SET expiry = ?, ended_at = ? WHERE user_id = ? AND client_id = ?`
	deleteSession = `DELETE FROM sessions WHERE user_id = ? AND client_id = ?`

	// A session or a stream that does not exist gives no row to insert.
	raiseCursor = `INSERT INTO cursors (session, stream, seq)
		SELECT s.id, t.id, ? FROM sessions s, streams t WHERE s.user_id = ? AND s.client_id = ? AND t.key = ?
		ON CONFLICT (session, stream) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq`
	dropCursor = `DELETE FROM cursors
		WHERE session = (SELECT id FROM sessions WHERE user_id = ? AND client_id = ?)
		AND stream = (SELECT id FROM streams WHERE key = ?)`

	releaseSessions = `UPDATE sessions SET ended_at = ? WHERE ended_at IS NULL`
	sweepSessions   = `DELETE FROM sessions WHERE id IN (
		SELECT id FROM sessions WHERE expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?)`
)

// subscription is a bridge.Subscription as it is kept.
type subscription struct {
	Filter            string `json:"f"`
	QoS               byte   `json:"q,omitempty"`
	NoLocal           bool   `json:"nl,omitempty"`
	RetainAsPublished bool   `json:"rap,omitempty"`
	ID                uint32 `json:"id,omitempty"`
}

// writeSession runs do in a transaction that may write.
func (s *Store) writeSession(ctx context.Context, verb string, do func(c *conn) error) error {
	return s.write(ctx, func(c *conn) error { return name(verb, do(c)) })
}

// Sessions implements bridge.Store.
func (s *Store) Sessions(ctx context.Context, keys []bridge.SessionKey) ([]*bridge.Session, error) {
	return readAll(ctx, s, "sessions", keys, (*conn).session)
}

func (c *conn) session(key bridge.SessionKey) (*bridge.Session, error) {
	ses := &bridge.Session{Key: key}
	var id int64
	var ended sql.NullInt64
	var subs []byte
	found, err := c.row(selectSession, key.UserID, key.ClientID).find(&id, &ses.Expiry, &ended, &subs)
	if err != nil || !found {
		return nil, err
	}
	if ended.Valid {
		ses.EndedAt = asTime(ended.Int64)
	}
	if ses.Subscriptions, err = decodeSubscriptions(subs); err != nil {
		return nil, err
	}
	err = c.each(func(rows *sql.Rows) error {
		var cur bridge.Cursor
		err := rows.Scan(&cur.Stream, &cur.Seq)
		ses.Cursors = append(ses.Cursors, cur)
		return err
	}, selectCursors, id)
	if err != nil {
		return nil, err
	}
	err = c.each(func(rows *sql.Rows) error {
		var r bridge.Received
		err := rows.Scan(&r.PacketID, &r.ClientID)
		ses.Received = append(ses.Received, r)
		return err
	}, selectReceived, id)
	return ses, err
}

func decodeSubscriptions(subs []byte) (all []bridge.Subscription, err error) {
	var kept []subscription
	if json.Unmarshal(subs, &kept) != nil {
		return nil, errors.New("a session has subscriptions that cannot be read")
	}
	for _, sub := range kept {
		all = append(all, bridge.Subscription(sub))
	}
	return all, nil
}

// SaveSession implements bridge.Store.
func (s *Store) SaveSession(ctx context.Context, ses bridge.Session) error {
	kept := make([]subscription, len(ses.Subscriptions))
	ordinary := false
	for i, sub := range ses.Subscriptions {
		kept[i] = subscription(sub)
		ordinary = ordinary || sub.Ordinary()
	}
	subs, err := json.Marshal(kept)
	if err != nil {
		return name("save session", err)
	}
	return s.writeSession(ctx, "save session", func(c *conn) error {
		_, err := c.exec(upsertSession, ses.Key.UserID, ses.Key.ClientID, ses.Expiry, asNullTime(ses.EndedAt), string(subs), ordinary)
		if err != nil {
			return err
		}
		for _, cur := range ses.Cursors {
			if err := c.raise(ses.Key, cur); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *conn) raise(key bridge.SessionKey, cur bridge.Cursor) error {
	_, err := c.exec(raiseCursor, asSeq(cur.Seq), key.UserID, key.ClientID, string(cur.Stream))
	return err
}

// MarkSessions implements bridge.Store.
func (s *Store) MarkSessions(ctx context.Context, marks []bridge.SessionMark) error {
	return s.writeSession(ctx, "mark sessions", func(c *conn) error {
		for _, m := range marks {
			if _, err := c.exec(markSession, m.Expiry, asNullTime(m.EndedAt), m.Key.UserID, m.Key.ClientID); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteSession implements bridge.Store. All that belongs to the session goes
// with it.
func (s *Store) DeleteSession(ctx context.Context, key bridge.SessionKey) error {
	return s.writeSession(ctx, "delete session", func(c *conn) error {
		_, err := c.exec(deleteSession, key.UserID, key.ClientID)
		return err
	})
}

// SaveCursors implements bridge.Store.
func (s *Store) SaveCursors(ctx context.Context, cursors []bridge.CursorAt) error {
	return s.writeSession(ctx, "save cursors", func(c *conn) error {
		for _, cur := range cursors {
			if err := c.raise(cur.Key, cur.Cursor); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropCursors implements bridge.Store.
func (s *Store) DropCursors(ctx context.Context, key bridge.SessionKey, streams []chat.StreamID) error {
	return s.writeSession(ctx, "drop cursors", func(c *conn) error {
		for _, stream := range streams {
			if _, err := c.exec(dropCursor, key.UserID, key.ClientID, string(stream)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReleaseSessions implements bridge.Store.
func (s *Store) ReleaseSessions(ctx context.Context, at time.Time) error {
	return s.writeSession(ctx, "release sessions", func(c *conn) error {
		_, err := c.exec(releaseSessions, at.UnixMilli())
		return err
	})
}

// SweepSessions implements bridge.Store.
func (s *Store) SweepSessions(ctx context.Context, now time.Time, limit int) (removed int, err error) {
	err = s.writeSession(ctx, "sweep sessions", func(c *conn) error {
		n, err := c.exec(sweepSessions, now.UnixMilli(), limit)
		removed = int(n)
		return err
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}
