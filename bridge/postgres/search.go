package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// The statements of a search. A stream is walked back place by place; see the
// index entries_words. The plan of findWords is a bitmap, which sessions here
// leave out: bitmapScans allows that and nothing else, indexScans is as it was.
const (
	selectSearched = `
SELECT s.id, s.key, s.first, CASE WHEN s.since_join THEN m.joined_seq ELSE 0 END, s.head, s.last_at
FROM (SELECT stream, joined_seq FROM members WHERE user_id = $1 AND role > 0 ORDER BY stream OFFSET 0) m
CROSS JOIN LATERAL (SELECT id, key, head, first, since_join, last_at FROM streams WHERE id = m.stream OFFSET 0) s`

	selectSearchedOne = `
SELECT s.id, s.key, s.first, CASE WHEN s.since_join THEN coalesce(m.joined_seq, 0) ELSE 0 END, s.head, s.last_at, m.stream IS NOT NULL
FROM (SELECT id, key, head, first, since_join, last_at FROM streams WHERE key = $2 OFFSET 0) s
LEFT JOIN LATERAL (SELECT stream, joined_seq FROM members WHERE stream = s.id AND user_id = $1 AND role > 0 OFFSET 0) m ON true`

	selectTimes = `
SELECT k.n, e.created_at
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS k(stream, seq, n)
CROSS JOIN LATERAL (SELECT created_at FROM entries WHERE stream = k.stream AND seq = k.seq OFFSET 0) e`

	bitmapScans = `SELECT set_config('enable_bitmapscan', 'on', true), set_config('enable_indexscan', 'off', true)`
	indexScans  = `SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_indexscan', 'on', true)`

	findWords = `
SELECT e.stream, ` + entryColumns + `
FROM (SELECT * FROM entries
	WHERE words @@ $1::text::tsquery
		AND (ARRAY[(stream << 24) | (seq >> 8), -((stream << 24) | (seq >> 13))]) && $2::bigint[]
		AND seq >= coalesce(($7::bigint[])[array_position($6::bigint[], stream)], 0)
		AND NOT deleted AND (created_at, id) < ($3, $4)
	ORDER BY created_at DESC, id DESC LIMIT $5) e`

	selectEdits = `
SELECT k.n, e.content
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS k(stream, seq, n)
CROSS JOIN LATERAL (SELECT content, seq FROM entries
	WHERE target = k.seq AND stream + 0 = k.stream AND type = 2 AND NOT deleted OFFSET 0) e
ORDER BY e.seq`
)

const (
	placeBits = 8  // the seqs of a place differ in so many bits
	broadBits = 13 // those of a broad place in so many
)

// Search implements bridge.Store. All of it sees the state of its first
// statement.
func (s *Store) Search(ctx context.Context, q bridge.Search) (found []chat.Entry, err error) {
	if q.At.IsZero() {
		q.At = endOfTime
	}
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		streams, err := searched(ctx, tx, &q)
		if err != nil || len(streams) == 0 {
			return err
		}
		w := walk{tx: tx, q: &q, query: tsquery(q.Words), keys: make(map[int64]chat.StreamID, len(streams))}
		if err := w.plan(ctx, streams); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, bitmapScans); err != nil {
			return err
		}
		if err := w.run(ctx); err != nil {
			return err
		}
		if err := w.edit(ctx); err != nil {
			return err
		}
		for _, h := range w.found {
			found = append(found, h.Entry)
		}
		return nil
	})
	if err != nil {
		return nil, failure("search", err)
	}
	return found, nil
}

// endOfTime is after every entry.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// tsquery asks for all of the words. A word has neither quotes nor
// backslashes, so that nothing in it means anything to Postgres.
func tsquery(words []string) string { return "'" + strings.Join(words, "' & '") + "'" }

// searchedStream is a stream that a search is about.
type searchedStream struct {
	id          int64
	key         chat.StreamID
	first, head int64
	joined      int64 // the seq from which on the user reads, 0 where it reads all
	last        time.Time
}

func searched(ctx context.Context, tx pgx.Tx, q *bridge.Search) (streams []searchedStream, err error) {
	sql, args := selectSearched, []any{q.UserID}
	exists, member := false, true
	var more []any
	if q.Conversation != "" {
		sql, args = selectSearchedOne, append(args, string(chat.ConversationStream(q.Conversation)))
		more = []any{&member}
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var s searchedStream
		err := rows.Scan(append([]any{&s.id, (*string)(&s.key), &s.first, &s.joined, &s.head, &s.last}, more...)...)
		s.first = max(s.first, s.joined)
		streams, exists = append(streams, s), true
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case q.Conversation != "" && !exists:
		return nil, bridge.NoConversation()
	case !member:
		return nil, bridge.NotMember()
	}
	return streams, nil
}

// place is a piece of a stream that the index entries_words knows.
type place struct {
	id     int64 // in the index
	stream int64
	end    int64     // the seq behind it
	oldest time.Time // of its first entry
	newest time.Time // of the entry behind it, or of the newest of the stream
}

// places cuts a stream, newest first. What is old is cut in broad places.
func places(s *searchedStream) (all []place) {
	edge := max(s.head>>broadBits<<broadBits, s.first) >> placeBits
	at := s.head >> placeBits
	for ; at >= edge; at-- {
		all = append(all, place{id: s.id<<24 | at, stream: s.id, end: (at + 1) << placeBits})
	}
	for at = (at+1)<<placeBits>>broadBits - 1; at >= s.first>>broadBits; at-- {
		all = append(all, place{id: -(s.id<<24 | at), stream: s.id, end: (at + 1) << broadBits})
	}
	return all
}

// walk is a search under way.
type walk struct {
	tx     pgx.Tx
	q      *bridge.Search
	query  string
	keys   map[int64]chat.StreamID
	places []place // still to be looked at, newest first
	found  []hit

	// Streams that the user does not read from the start, and from where on it
	// does: the place in which that is has what it may not find.
	joined, from []int64
}

// hit is a message that was found.
type hit struct {
	chat.Entry
	stream int64
}

// plan says where to look: in all places but those that are newer than the
// place of the page.
func (w *walk) plan(ctx context.Context, streams []searchedStream) error {
	for i := range streams {
		s := &streams[i]
		w.keys[s.id] = s.key
		if s.joined > 0 {
			w.joined, w.from = append(w.joined, s.id), append(w.from, s.joined)
		}
		from := len(w.places)
		w.places = append(w.places, places(s)...)
		for k := from; k < len(w.places); k++ {
			w.places[k].newest = s.last
		}
	}
	if err := w.readTimes(ctx); err != nil {
		return err
	}
	limit := w.q.At.Add(bridge.SearchSlack)
	w.places = slices.DeleteFunc(w.places, func(p place) bool { return p.oldest.After(limit) })
	slices.SortStableFunc(w.places, func(a, b place) int { return b.newest.Compare(a.newest) })
	return nil
}

// readTimes asks for the times between places. A place with none, because the
// entry is not held any more, keeps the bounds that say less.
func (w *walk) readTimes(ctx context.Context) error {
	var at []int // places that are not the newest of their stream
	var streams, seqs []int64
	for i := 1; i < len(w.places); i++ {
		if p := &w.places[i]; p.stream == w.places[i-1].stream {
			at, streams, seqs = append(at, i), append(streams, p.stream), append(seqs, p.end)
		}
	}
	if len(at) == 0 {
		return nil
	}
	rows, err := w.tx.Query(ctx, selectTimes, streams, seqs)
	if err != nil {
		return err
	}
	return eachRow(rows, func(rows pgx.Rows) error {
		var n int
		var t time.Time
		err := rows.Scan(&n, &t)
		if err == nil {
			i := at[n-1]
			w.places[i].newest, w.places[i-1].oldest = t, t
		}
		return err
	})
}

// run looks at some places and then at more, until nothing that is left can
// be newer than what was found.
func (w *walk) run(ctx context.Context) error {
	const few, many = 8, 256
	for n := few; len(w.places) > 0; n = min(4*n, many) {
		n = min(n, len(w.places))
		if err := w.look(ctx, w.places[:n]); err != nil {
			return err
		}
		w.places = w.places[n:]
		w.trim()
	}
	return nil
}

// trim leaves the places out in which all is older than what was found, once
// that is as much as is wanted.
func (w *walk) trim() {
	if len(w.found) < w.q.Limit {
		return
	}
	last := w.found[len(w.found)-1].CreatedAt
	n, _ := slices.BinarySearchFunc(w.places, last, func(p place, last time.Time) int {
		if p.newest.Add(bridge.SearchSlack).Before(last) {
			return 1
		}
		return -1
	})
	w.places = w.places[:n]
}

func (w *walk) look(ctx context.Context, in []place) error {
	ids := make([]int64, len(in))
	for i := range in {
		ids[i] = in[i].id
	}
	rows, err := w.tx.Query(ctx, findWords, w.query, ids, w.q.At, [16]byte(w.q.ID), toLimit(w.q.Limit), w.joined, w.from)
	if err != nil {
		return err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var h hit
		var err error
		h.Entry, err = scanEntry(rows, "", &h.stream)
		h.Stream = w.keys[h.stream]
		w.found = append(w.found, h)
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(w.found, func(a, b hit) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.ID[:], a.ID[:]))
	})
	w.found = w.found[:min(len(w.found), w.q.Limit)]
	return nil
}

// edit gives messages that were edited the content of the newest edit.
func (w *walk) edit(ctx context.Context) error {
	if len(w.found) == 0 {
		return nil
	}
	streams, seqs := make([]int64, len(w.found)), make([]int64, len(w.found))
	for i, h := range w.found {
		streams[i], seqs[i] = h.stream, int64(h.Seq)
	}
	if _, err := w.tx.Exec(ctx, indexScans); err != nil {
		return err
	}
	rows, err := w.tx.Query(ctx, selectEdits, streams, seqs)
	if err != nil {
		return err
	}
	return eachRow(rows, func(rows pgx.Rows) error {
		var n int
		var content string
		err := rows.Scan(&n, &content)
		if err == nil {
			w.found[n-1].Content = content
		}
		return err
	})
}
