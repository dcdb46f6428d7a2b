package postgres

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const selectSessionsOf = `
SELECT s.client_id, s.expiry, s.ended_at, c.n, c.keys, c.seqs, c.heads
FROM (SELECT id, client_id, expiry, ended_at FROM sessions
	WHERE user_id = $1 AND client_id > $2 AND (expires_at IS NULL OR expires_at > $3)
	ORDER BY client_id LIMIT $4) s
CROSS JOIN LATERAL (
	SELECT count(*) AS n, (array_agg(t.key ORDER BY t.key))[1:$5] AS keys,
		(array_agg(c.seq ORDER BY t.key))[1:$5] AS seqs, (array_agg(t.head ORDER BY t.key))[1:$5] AS heads
	FROM cursors c
	CROSS JOIN LATERAL (SELECT key, head FROM streams WHERE id = c.stream OFFSET 0) t
	WHERE c.session = s.id
) c
ORDER BY s.client_id`

// SessionsOf implements bridge.Mine.
func (s *Store) SessionsOf(ctx context.Context, now time.Time, user, after string, limit, cursors int) ([]bridge.SessionSeen, error) {
	var all []bridge.SessionSeen
	args := []any{user, after, stored(now), toLimit(limit), toLimit(cursors)}
	err := s.query(ctx, "list sessions", selectSessionsOf, args, func(rows pgx.Rows) error {
		seen := bridge.SessionSeen{Key: bridge.SessionKey{UserID: user}}
		var ended *time.Time
		var streams []string
		var seqs, heads []uint64
		if err := rows.Scan(&seen.Key.ClientID, &seen.Expiry, &ended, &seen.CursorCount, &streams, &seqs, &heads); err != nil {
			return err
		}
		if ended != nil {
			seen.EndedAt = ended.UTC()
		}
		for i, stream := range streams {
			seen.Cursors = append(seen.Cursors, bridge.CursorSeen{
				Cursor: bridge.Cursor{Stream: chat.StreamID(stream), Seq: seqs[i]}, Head: heads[i]})
		}
		all = append(all, seen)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

const (
	selectOwnPlaces = `
SELECT s.key, s.head, s.first, s.since_join, s.last_at, m.role, m.joined_seq, m.left_seq, c.created_at
FROM (SELECT * FROM members WHERE user_id = $1 ORDER BY stream OFFSET 0) m
CROSS JOIN LATERAL (SELECT key, head, first, since_join, last_at FROM streams WHERE id = m.stream OFFSET 0) s
CROSS JOIN LATERAL (SELECT created_at FROM conversations WHERE stream = m.stream OFFSET 0) c
ORDER BY s.key`

	// pieces are the parameters of the statements below, and the streams that
	// they are of.
	pieces = `
FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::int[]) WITH ORDINALITY AS p(key, born, after, upto, size, n)
CROSS JOIN LATERAL (SELECT id FROM streams WHERE key = p.key OFFSET 0) s
CROSS JOIN LATERAL (SELECT 1 FROM conversations WHERE stream = s.id AND created_at = p.born OFFSET 0) c`

	readPieces = `
SELECT p.n, ` + entryColumns + pieces + `
CROSS JOIN LATERAL (SELECT * FROM entries WHERE stream = s.id AND seq > p.after AND seq <= p.upto ORDER BY seq LIMIT p.size) e`

	selectMoves = `
SELECT p.n, e.seq, e.type, coalesce(e.extra, '')` + pieces + `
CROSS JOIN LATERAL (SELECT seq, type, extra FROM entries
	WHERE stream = s.id AND seq > p.after AND seq <= p.upto AND type IN (5, 6) ORDER BY seq OFFSET 0) e`

	// selectCreated asks for one entry of each piece, that of upto.
	selectCreated = `
SELECT p.n, e.created_at` + pieces + `
CROSS JOIN LATERAL (SELECT created_at FROM entries WHERE stream = s.id AND seq = p.upto OFFSET 0) e`
)

// Places implements bridge.Mine.
func (s *Store) Places(ctx context.Context, user string) ([]bridge.Place, error) {
	var all []bridge.Place
	err := s.query(ctx, "read places", selectOwnPlaces, []any{user}, func(rows pgx.Rows) error {
		p := bridge.Place{Membership: bridge.Membership{Exists: true}}
		var key string
		err := rows.Scan(&key, &p.Head.Head, &p.First, &p.SinceJoin, &p.LastAt, (*uint8)(&p.Role), &p.JoinedSeq, &p.LeftSeq, &p.CreatedAt)
		p.MemberKey = bridge.MemberKey{Conversation: chat.StreamID(key).Conversation(), UserID: user}
		p.LastAt, p.CreatedAt = p.LastAt.UTC(), p.CreatedAt.UTC()
		all = append(all, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func pieceColumns(pieces []bridge.Piece) []any {
	n := len(pieces)
	keys, born := make([]string, n), make([]time.Time, n)
	afters, uptos, sizes := make([]int64, n), make([]int64, n), make([]int32, n)
	for i, p := range pieces {
		keys[i], born[i] = string(chat.ConversationStream(p.Conversation)), stored(p.CreatedAt)
		afters[i], uptos[i], sizes[i] = toBigint(p.After), toBigint(p.UpTo), toLimit(p.Limit)
	}
	return []any{keys, born, afters, uptos, sizes}
}

// ReadPieces implements bridge.Mine.
func (s *Store) ReadPieces(ctx context.Context, pieces []bridge.Piece) ([][]chat.Entry, error) {
	got := make([][]chat.Entry, len(pieces))
	var n int64
	err := s.query(ctx, "read pieces", readPieces, pieceColumns(pieces), func(rows pgx.Rows) error {
		e, err := scanEntry(rows, "", &n)
		if err != nil {
			return err
		}
		e.Stream = chat.ConversationStream(pieces[n-1].Conversation)
		got[n-1] = append(got[n-1], e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, entries := range got {
		inOrder(entries)
	}
	return got, nil
}

// OwnMoves implements bridge.Mine.
func (s *Store) OwnMoves(ctx context.Context, user string, pieces []bridge.Piece) ([][]bridge.OwnMove, error) {
	got := make([][]bridge.OwnMove, len(pieces))
	err := s.query(ctx, "read moves", selectMoves, pieceColumns(pieces), func(rows pgx.Rows) error {
		var n int64
		var e chat.Entry
		var more string
		if err := rows.Scan(&n, &e.Seq, (*uint8)(&e.Type), &more); err != nil {
			return err
		}
		if err := finishEntry(&e, more); err != nil {
			return err
		}
		if e.UserID == user {
			got[n-1] = append(got[n-1], bridge.OwnMove{Seq: e.Seq, Join: e.Type == chat.TypeJoin})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, moves := range got {
		slices.SortFunc(moves, func(a, b bridge.OwnMove) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	return got, nil
}

// SeqsAt implements bridge.Mine. It halves all pieces at the same time, in as
// many steps as the longest one takes.
func (s *Store) SeqsAt(ctx context.Context, at time.Time, pieces []bridge.Piece) ([]uint64, error) {
	at = stored(at)
	low, high := make([]uint64, len(pieces)), make([]uint64, len(pieces))
	for i, p := range pieces {
		low[i], high[i] = p.After, max(p.After, p.UpTo)
	}
	err := s.inTx(ctx, "look for a time", func(tx pgx.Tx) error {
		for {
			var asked []bridge.Piece
			var of []int
			for i, p := range pieces {
				if low[i] < high[i] {
					p.UpTo = high[i] - (high[i]-low[i])/2 // not below the middle, so that it ends
					asked, of = append(asked, p), append(of, i)
				}
			}
			if len(asked) == 0 {
				return nil
			}
			later := make([]bool, len(asked))
			rows, err := tx.Query(ctx, selectCreated, pieceColumns(asked)...)
			if err != nil {
				return err
			}
			err = eachRow(rows, func(rows pgx.Rows) error {
				var n int64
				var created time.Time
				err := rows.Scan(&n, &created)
				later[n-1] = created.After(at)
				return err
			})
			if err != nil {
				return err
			}
			for j, i := range of { // one that is missing was trimmed: it is old
				if later[j] {
					high[i] = asked[j].UpTo - 1
				} else {
					low[i] = asked[j].UpTo
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return low, nil
}
