package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectSessionsOf = `SELECT id, client_id, expiry, ended_at FROM sessions
		WHERE user_id = ? AND client_id > ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY client_id LIMIT ?`
	countCursors      = `SELECT count(*) FROM cursors WHERE session = ?`
	selectCursorsSeen = `SELECT t.key, c.seq, t.head FROM cursors c JOIN streams t ON t.id = c.stream
		WHERE c.session = ? ORDER BY t.key LIMIT ?`

	selectOwnPlaces = `SELECT s.key, s.head, s.first, s.since_join, s.last_at, m.role, m.joined_seq, m.left_seq, c.created_at
		FROM members m JOIN streams s ON s.id = m.stream JOIN conversations c ON c.stream = m.stream
		WHERE m.user_id = ? ORDER BY s.key`
	selectBorn  = `SELECT s.id FROM streams s JOIN conversations c ON c.stream = s.id WHERE s.key = ? AND c.created_at = ?`
	readPiece   = `SELECT ` + entryColumns + ` FROM entries WHERE stream = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?`
	selectMoves = `SELECT ` + entryColumns + ` FROM entries INDEXED BY entries_moves
		WHERE stream = ? AND seq > ? AND seq <= ? AND type IN (5, 6) ORDER BY seq`
	selectCreated = `SELECT created_at FROM entries WHERE stream = ? AND seq = ?`
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

// Places implements bridge.Mine.
func (s *Store) Places(ctx context.Context, user string) (all []bridge.Place, err error) {
	err = s.read(ctx, func(c *conn) error {
		return name("read places", c.each(func(rows *sql.Rows) error {
			p := bridge.Place{Membership: bridge.Membership{Exists: true}}
			var key chat.StreamID
			var lastAt, createdAt int64
			err := rows.Scan(&key, &p.Head.Head, &p.First, &p.SinceJoin, &lastAt, &p.Role, &p.JoinedSeq, &p.LeftSeq, &createdAt)
			p.MemberKey = bridge.MemberKey{Conversation: key.Conversation(), UserID: user}
			p.LastAt, p.CreatedAt = asTime(lastAt), asTime(createdAt)
			all = append(all, p)
			return err
		}, selectOwnPlaces, user))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// pieces calls one for each piece whose conversation stands, with its stream.
func pieces[V any](ctx context.Context, s *Store, verb string, all []bridge.Piece,
	one func(c *conn, stream int64, p *bridge.Piece) (V, error),
) ([]V, error) {
	return readAll(ctx, s, verb, all, func(c *conn, p bridge.Piece) (v V, err error) {
		var stream int64
		found, err := c.row(selectBorn, string(chat.ConversationStream(p.Conversation)), p.CreatedAt.UnixMilli()).find(&stream)
		if !found || err != nil {
			stream = -1
		}
		if err != nil {
			return v, err
		}
		return one(c, stream, &p)
	})
}

// ReadPieces implements bridge.Mine.
func (s *Store) ReadPieces(ctx context.Context, all []bridge.Piece) ([][]chat.Entry, error) {
	return pieces(ctx, s, "read pieces", all, func(c *conn, stream int64, p *bridge.Piece) ([]chat.Entry, error) {
		return c.entries(chat.ConversationStream(p.Conversation), readPiece, stream, asSeq(p.After), asSeq(p.UpTo), p.Limit)
	})
}

// OwnMoves implements bridge.Mine.
func (s *Store) OwnMoves(ctx context.Context, user string, all []bridge.Piece) ([][]bridge.OwnMove, error) {
	return pieces(ctx, s, "read moves", all, func(c *conn, stream int64, p *bridge.Piece) (moves []bridge.OwnMove, err error) {
		found, err := c.entries("", selectMoves, stream, asSeq(p.After), asSeq(p.UpTo))
		for i := range found {
			if found[i].UserID == user {
				moves = append(moves, bridge.OwnMove{Seq: found[i].Seq, Join: found[i].Type == chat.TypeJoin})
			}
		}
		return moves, err
	})
}

// SeqsAt implements bridge.Mine.
func (s *Store) SeqsAt(ctx context.Context, at time.Time, all []bridge.Piece) ([]uint64, error) {
	return pieces(ctx, s, "look for a time", all, func(c *conn, stream int64, p *bridge.Piece) (uint64, error) {
		low, high := asSeq(p.After), max(asSeq(p.After), asSeq(p.UpTo))
		for low < high {
			middle := high - (high-low)/2 // not below the middle, so that it ends
			var created int64
			// One that is missing was trimmed: it is old.
			found, err := c.row(selectCreated, stream, middle).find(&created)
			switch {
			case err != nil:
				return 0, err
			case found && created > at.UnixMilli():
				high = middle - 1
			default:
				low = middle
			}
		}
		return uint64(low), nil
	})
}
