package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	entryColumns = `seq, id, type, sender_id, client_id, created_at, target, content, extra, deleted`

	selectAfter = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND seq > ? ORDER BY seq LIMIT ?`
	selectBefore = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND seq < ? ORDER BY seq DESC LIMIT ?`
	selectLast = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = ? AND seq > ? AND type = ? AND deleted = 0 ORDER BY seq DESC LIMIT 1`
	selectHead = `SELECT head, first FROM streams WHERE key = ?`
)

// extra is what few entries have. It is kept as JSON in one column.
type extra struct {
	MediaURL string   `json:"u,omitempty"`
	ReplyTo  uint64   `json:"r,omitempty"`
	Mentions []string `json:"m,omitempty"`
	Emoji    string   `json:"e,omitempty"`
	Remove   bool     `json:"x,omitempty"`
	UserID   string   `json:"w,omitempty"`
	Name     string   `json:"n,omitempty"`
}

func encodeExtra(b *chat.Body) string {
	if b.MediaURL == "" && b.ReplyTo == 0 && len(b.Mentions) == 0 && b.Emoji == "" && !b.Remove && b.UserID == "" && b.Name == "" {
		return ""
	}
	j, _ := json.Marshal(extra{b.MediaURL, b.ReplyTo, b.Mentions, b.Emoji, b.Remove, b.UserID, b.Name}) // plain data: it cannot fail
	return string(j)
}

var errExtra = errors.New("an entry has an extra that cannot be read") // its text stays out of the logs

func decodeExtra(j []byte, b *chat.Body) error {
	if len(j) == 0 {
		return nil
	}
	var x extra
	if json.Unmarshal(j, &x) != nil {
		return errExtra
	}
	b.MediaURL, b.ReplyTo, b.Mentions, b.Emoji = x.MediaURL, x.ReplyTo, x.Mentions, x.Emoji
	b.Remove, b.UserID, b.Name = x.Remove, x.UserID, x.Name
	return nil
}

// scanEntry reads a row of entryColumns. A clientId that the server made is
// nobody's business.
func scanEntry(rows *sql.Rows, stream chat.StreamID) (chat.Entry, error) {
	e := chat.Entry{Stream: stream}
	var id, more sql.RawBytes
	var at int64
	err := rows.Scan(&e.Seq, &id, &e.Type, &e.SenderID, &e.ClientID, &at, &e.Target, &e.Content, &more, &e.Deleted)
	if err != nil {
		return e, err
	}
	copy(e.ID[:], id)
	e.CreatedAt = asTime(at)
	if e.ClientID != "" && e.ClientID[0] == '~' {
		e.ClientID = ""
	}
	if e.Type == chat.TypeNotification {
		return e, decodeNotice(more, &e.Body)
	}
	return e, decodeExtra(more, &e.Body)
}

func (c *conn) entries(stream chat.StreamID, query string, args ...any) (all []chat.Entry, err error) {
	err = c.each(func(rows *sql.Rows) error {
		e, err := scanEntry(rows, stream)
		all = append(all, e)
		return err
	}, query, args...)
	if err == nil && len(all) > 0 && stream.User() != "" {
		err = c.markNotices(stream, all)
	}
	return all, err
}

// readAll answers for each key with one, on one state of the database. The
// context is looked at between keys.
func readAll[K, V any](ctx context.Context, s *Store, verb string, keys []K, one func(c *conn, key K) (V, error)) ([]V, error) {
	all := make([]V, len(keys))
	err := s.read(ctx, func(c *conn) (err error) {
		for i, key := range keys {
			if err = ctx.Err(); err == nil {
				all[i], err = one(c, key)
			}
			if err != nil {
				return fmt.Errorf("sqlite: %s: %w", verb, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Read implements bridge.Store.
func (s *Store) Read(ctx context.Context, ranges []bridge.Range) ([][]chat.Entry, error) {
	return readAll(ctx, s, "read", ranges, func(c *conn, r bridge.Range) ([]chat.Entry, error) {
		return c.entries(r.Stream, selectAfter, string(r.Stream), asSeq(r.After), r.Limit)
	})
}

// Before implements bridge.Store.
func (s *Store) Before(ctx context.Context, stream chat.StreamID, before uint64, limit int) ([]chat.Entry, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	all, err := readAll(ctx, s, "before", []chat.StreamID{stream}, func(c *conn, stream chat.StreamID) ([]chat.Entry, error) {
		return c.entries(stream, selectBefore, string(stream), asSeq(before), limit)
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(all[0])
	return all[0], nil
}

// Heads implements bridge.Store.
func (s *Store) Heads(ctx context.Context, streams []chat.StreamID) ([]bridge.Head, error) {
	return readAll(ctx, s, "heads", streams, func(c *conn, key chat.StreamID) (h bridge.Head, err error) {
		_, err = c.row(selectHead, string(key)).find(&h.Head, &h.First)
		return h, err
	})
}

// asSeq is a seq as SQLite can hold it; nothing has one that is larger.
func asSeq(seq uint64) int64 { return int64(min(seq, math.MaxInt64)) }
