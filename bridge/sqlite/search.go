package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectSearched = `SELECT s.id, s.key, max(s.first, CASE WHEN s.since_join THEN m.joined_seq ELSE 0 END), s.head, s.last_at
		FROM members m JOIN streams s ON s.id = m.stream
		WHERE m.user_id = ? AND m.role <> 0 ORDER BY s.last_at DESC`
	selectSearchedOne = `SELECT s.id, s.key, max(s.first, CASE WHEN s.since_join THEN coalesce(m.joined_seq, 0) ELSE 0 END), s.head, s.last_at, m.stream IS NOT NULL
		FROM streams s LEFT JOIN members m ON m.stream = s.id AND m.user_id = ? AND m.role <> 0 WHERE s.key = ?`

	// The messages of a range of rowids, newest first.
	selectMatches = `SELECT e.seq, e.created_at, e.id
		FROM message_words w CROSS JOIN entries e ON e.stream = w.rowid >> 32 AND e.seq = w.rowid & 4294967295
		WHERE w.message_words MATCH ? AND w.rowid BETWEEN ? AND ? AND e.deleted = 0 ORDER BY w.rowid DESC`
	selectTime  = `SELECT created_at FROM entries WHERE stream = ? AND seq = ?`
	selectFound = `SELECT ` + entryColumns + ` FROM entries WHERE stream = ? AND seq = ?`
	selectEdit  = `SELECT content FROM entries INDEXED BY entries_target
		WHERE stream = ? AND target = ? AND target <> 0 AND type = ? AND deleted = 0 ORDER BY seq DESC LIMIT 1`

	insertWords = `INSERT INTO message_words (rowid, words) VALUES (?, ?)`
	deleteWords = `DELETE FROM message_words WHERE rowid = ?`
)

// rowid is where the words of a message are.
func rowid(stream, seq int64) int64 { return stream<<32 | seq }

// Search implements bridge.Store. Each stream is walked back in turn, the one
// with the newest entry first.
func (s *Store) Search(ctx context.Context, q bridge.Search) (found []chat.Entry, err error) {
	err = s.read(ctx, func(c *conn) error {
		streams, err := c.searched(&q)
		if err != nil {
			return err
		}
		w := walk{conn: c, q: &q, query: `"` + strings.Join(q.Words, `" "`) + `"`}
		for i := range streams {
			if err := ctx.Err(); err != nil {
				return err
			}
			if w.beyond(streams[i].last) {
				break
			}
			if err := w.look(&streams[i]); err != nil {
				return name("search", err)
			}
		}
		found, err = w.entries()
		return name("search", err)
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// searchedStream is a stream that a search is about.
type searchedStream struct {
	id          int64
	key         chat.StreamID
	first, head int64 // first is the oldest that the user may read
	last        int64 // the time of its newest entry
}

func (c *conn) searched(q *bridge.Search) (streams []searchedStream, err error) {
	query, args := selectSearched, []any{q.UserID}
	member := true
	var more []any
	if q.Conversation != "" {
		query, args = selectSearchedOne, append(args, string(chat.ConversationStream(q.Conversation)))
		more = []any{&member}
	}
	err = c.each(func(rows *sql.Rows) error {
		var s searchedStream
		err := rows.Scan(append([]any{&s.id, &s.key, &s.first, &s.head, &s.last}, more...)...)
		streams = append(streams, s)
		return err
	}, query, args...)
	switch {
	case err != nil:
		return nil, name("search", err)
	case q.Conversation != "" && len(streams) == 0:
		return nil, bridge.NoConversation()
	case !member:
		return nil, bridge.NotMember()
	}
	return streams, nil
}

// walk is a search under way.
type walk struct {
	*conn
	q     *bridge.Search
	query string
	hits  []hit // newest first, at most as many as are wanted
}

// hit is a message that has the words.
type hit struct {
	stream *searchedStream
	seq    int64
	at     int64
	id     chat.ID
}

// compare orders hits, newest first.
func (h hit) compare(o hit) int {
	if h.at != o.at {
		if h.at > o.at {
			return -1
		}
		return 1
	}
	return bytes.Compare(o.id[:], h.id[:])
}

// beyond reports whether nothing that comes after an entry of that time can
// be among the hits any more.
func (w *walk) beyond(at int64) bool {
	return len(w.hits) >= w.q.Limit && at < w.hits[len(w.hits)-1].at-bridge.SearchSlack.Milliseconds()
}

// errBeyond ends the walk through a stream.
var errBeyond = errors.New("there is nothing more")

func (w *walk) look(s *searchedStream) error {
	newest := s.head
	place := hit{at: w.q.At.UnixMilli(), id: w.q.ID}
	if !w.q.At.IsZero() {
		var err error
		if newest, err = w.newest(s, w.q.At.Add(bridge.SearchSlack)); err != nil {
			return err
		}
	}
	err := w.each(func(rows *sql.Rows) error {
		h := hit{stream: s}
		var id sql.RawBytes
		if err := rows.Scan(&h.seq, &h.at, &id); err != nil {
			return err
		}
		copy(h.id[:], id)
		if w.beyond(h.at) {
			return errBeyond
		}
		if !w.q.At.IsZero() && h.compare(place) <= 0 {
			return nil
		}
		at, _ := slices.BinarySearchFunc(w.hits, h, hit.compare)
		w.hits = slices.Insert(w.hits, at, h)
		w.hits = w.hits[:min(len(w.hits), w.q.Limit)]
		return nil
	}, selectMatches, w.query, rowid(s.id, s.first), rowid(s.id, newest))
	if errors.Is(err, errBeyond) {
		return nil
	}
	return err
}

// newest is the seq above which all entries are newer than at.
func (w *walk) newest(s *searchedStream, at time.Time) (seq int64, err error) {
	n := sort.Search(int(s.head-s.first)+1, func(i int) bool {
		var t int64
		found, e := w.row(selectTime, s.id, s.first+int64(i)).find(&t)
		if e != nil {
			err = e
		}
		return found && t > at.UnixMilli()
	})
	return s.first + int64(n), err
}

// entries reads the hits.
func (w *walk) entries() ([]chat.Entry, error) {
	found := make([]chat.Entry, 0, len(w.hits))
	for _, h := range w.hits {
		e, err := w.conn.entries(h.stream.key, selectFound, h.stream.id, h.seq)
		if err != nil || len(e) == 0 {
			return nil, err
		}
		if _, err := w.row(selectEdit, h.stream.id, h.seq, uint8(chat.TypeEdit)).find(&e[0].Content); err != nil {
			return nil, err
		}
		found = append(found, e[0])
	}
	return found, nil
}
