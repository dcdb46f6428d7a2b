package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// extra has the fields of a body that few entries have.
type extra struct {
	MediaURL string   `json:"mediaUrl,omitempty"`
	ReplyTo  uint64   `json:"replyTo,omitempty"`
	Mentions []string `json:"mentions,omitempty"`
	Emoji    string   `json:"emoji,omitempty"`
	Remove   bool     `json:"remove,omitempty"`
	UserID   string   `json:"userId,omitempty"`
	Name     string   `json:"name,omitempty"`
}

// encodeExtra answers "" when there is nothing to keep.
func encodeExtra(b *chat.Body) string {
	if b.MediaURL == "" && b.ReplyTo == 0 && len(b.Mentions) == 0 && b.Emoji == "" && !b.Remove && b.UserID == "" && b.Name == "" {
		return ""
	}
	x := extra{MediaURL: b.MediaURL, ReplyTo: b.ReplyTo, Mentions: b.Mentions, Emoji: b.Emoji,
		Remove: b.Remove, UserID: b.UserID, Name: b.Name}
	text, _ := json.Marshal(&x) // strings, numbers and a bool: it cannot fail
	return string(text)
}

// entryColumns are what scanEntry reads, of a table or subquery named e.
const entryColumns = `e.seq, e.created_at, coalesce(e.target, 0), e.id, e.type, e.deleted, e.sender_id,
	coalesce(e.client_id, ''), coalesce(e.content, ''), coalesce(e.extra, '')`

// scanEntry reads a row of entryColumns. Columns that stand before them go to
// before.
func scanEntry(rows pgx.Rows, stream chat.StreamID, before ...any) (chat.Entry, error) {
	e := chat.Entry{Stream: stream}
	var more string
	err := rows.Scan(append(before, &e.Seq, &e.CreatedAt, &e.Target, (*[16]byte)(&e.ID), (*uint8)(&e.Type), &e.Deleted,
		&e.SenderID, &e.ClientID, &e.Content, &more)...)
	if err != nil {
		return e, err
	}
	return e, finishEntry(&e, more)
}

// finishEntry does to an entry what SQL did not.
func finishEntry(e *chat.Entry, more string) error {
	e.CreatedAt = e.CreatedAt.UTC()
	if strings.HasPrefix(e.ClientID, "~") {
		e.ClientID = "" // the server made it, for itself
	}
	if e.Type == chat.TypeNotification {
		return decodeNotice(e, more)
	}
	if more == "" {
		return nil
	}
	var x extra
	if err := json.Unmarshal([]byte(more), &x); err != nil {
		return fmt.Errorf("entry %d of %s: %w", e.Seq, e.Stream, err)
	}
	e.MediaURL, e.ReplyTo, e.Mentions, e.Emoji = x.MediaURL, x.ReplyTo, x.Mentions, x.Emoji
	e.Remove, e.UserID, e.Name = x.Remove, x.UserID, x.Name
	return nil
}

const readRanges = `
SELECT r.n, ` + entryColumns + `
FROM unnest($1::text[], $2::bigint[], $3::int[]) WITH ORDINALITY AS r(key, after, size, n)
CROSS JOIN LATERAL (SELECT id FROM streams WHERE key = r.key OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM entries WHERE stream = s.id AND seq > r.after ORDER BY seq LIMIT r.size) e`

// Read implements bridge.Store.
func (s *Store) Read(ctx context.Context, ranges []bridge.Range) ([][]chat.Entry, error) {
	keys, afters, sizes := make([]string, len(ranges)), make([]int64, len(ranges)), make([]int32, len(ranges))
	for i, r := range ranges {
		keys[i], afters[i], sizes[i] = string(r.Stream), toBigint(r.After), toLimit(r.Limit)
	}
	got := make([][]chat.Entry, len(ranges))
	var n int64
	err := s.query(ctx, "read", readRanges, []any{keys, afters, sizes}, func(rows pgx.Rows) error {
		e, err := scanEntry(rows, "", &n)
		if err != nil {
			return err
		}
		e.Stream = ranges[n-1].Stream
		got[n-1] = append(got[n-1], e)
		return nil
	})
	if err == nil {
		err = failure("read", markNotices(ctx, s.pool, got...))
	}
	if err != nil {
		return nil, err
	}
	for _, entries := range got {
		inOrder(entries)
	}
	return got, nil
}

// inOrder sorts by seq. Rows come sorted as the plans are; SQL does not
// promise it, and a sort on the server would copy every row.
func inOrder(entries []chat.Entry) {
	bySeq := func(a, b chat.Entry) int { return cmp.Compare(a.Seq, b.Seq) }
	if !slices.IsSortedFunc(entries, bySeq) {
		slices.SortFunc(entries, bySeq)
	}
}

const readBefore = `
SELECT ` + entryColumns + `
FROM (SELECT id FROM streams WHERE key = $1 OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM entries WHERE stream = s.id AND seq < $2 ORDER BY seq DESC LIMIT $3) e`

// Before implements bridge.Store.
func (s *Store) Before(ctx context.Context, stream chat.StreamID, before uint64, limit int) ([]chat.Entry, error) {
	if before == 0 {
		before = maxSeq
	}
	var got []chat.Entry
	args := []any{string(stream), toBigint(before), toLimit(limit)}
	err := s.query(ctx, "read", readBefore, args, func(rows pgx.Rows) error {
		e, err := scanEntry(rows, stream)
		got = append(got, e)
		return err
	})
	if err == nil {
		err = failure("read", markNotices(ctx, s.pool, got))
	}
	if err != nil {
		return nil, err
	}
	slices.Reverse(got)
	inOrder(got)
	return got, nil
}

const readHeads = `
SELECT k.n, s.head, s.first
FROM unnest($1::text[]) WITH ORDINALITY AS k(key, n)
CROSS JOIN LATERAL (SELECT head, first FROM streams WHERE key = k.key OFFSET 0) s`

// Heads implements bridge.Store.
func (s *Store) Heads(ctx context.Context, streams []chat.StreamID) ([]bridge.Head, error) {
	heads := make([]bridge.Head, len(streams))
	var n int64
	var h bridge.Head
	err := s.query(ctx, "read heads", readHeads, []any{keysOf(streams)}, func(rows pgx.Rows) error {
		err := rows.Scan(&n, &h.Head, &h.First)
		if err == nil {
			heads[n-1] = h
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}

func keysOf(streams []chat.StreamID) []string {
	keys := make([]string, len(streams))
	for i, id := range streams {
		keys[i] = string(id)
	}
	return keys
}

// maxSeq is the largest seq that a bigint holds. Nothing stands beyond it.
const maxSeq = 1<<63 - 1

func toBigint(seq uint64) int64 { return int64(min(seq, maxSeq)) }

func toLimit(n int) int32 { return int32(min(max(n, 0), 1<<30)) }
