package sqlite

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	foldedForward = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND seq > ? AND type = 1 ORDER BY seq LIMIT ?`
	foldedBack = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND seq < ? AND type = 1 ORDER BY seq DESC LIMIT ?`

	newestEdit = `SELECT content, created_at FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND target = ? AND target <> 0 AND type = 2 AND deleted = 0
		ORDER BY seq DESC LIMIT 1`

	// Of the reactions of one user with one emoji the newest counts: with
	// max() the other columns are those of its row.
	reactions = `WITH newest AS (
			SELECT sender_id, json_extract(extra, '$.e') AS emoji, json_extract(extra, '$.x') AS back, max(seq) AS seq
			FROM entries WHERE stream = (SELECT id FROM streams WHERE key = ?1) AND target = ?2 AND target <> 0 AND type = 4 AND deleted = 0
			GROUP BY sender_id, emoji
		), standing AS (
			SELECT emoji, sender_id, count(*) OVER (PARTITION BY emoji) AS n, min(seq) OVER (PARTITION BY emoji) AS since,
				row_number() OVER (PARTITION BY emoji ORDER BY seq) AS place
			FROM newest WHERE back IS NULL
		)
		SELECT emoji, n, sender_id FROM standing WHERE place <= ?3 ORDER BY since, place`

	selectOriginal = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND seq = ? AND type = 1`
	selectEdits = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND target = ? AND target <> 0 AND type = 2 AND seq > ? ORDER BY seq LIMIT ?`
)

// Folded implements bridge.Store.
func (s *Store) Folded(ctx context.Context, p bridge.FoldedPage) (list []bridge.Folded, err error) {
	query, from := foldedForward, p.After
	if !p.Forward {
		query, from = foldedBack, p.Before
		if from == 0 {
			from = math.MaxInt64
		}
	}
	err = s.read(ctx, func(c *conn) error {
		entries, err := c.entries(p.Stream, query, string(p.Stream), asSeq(from), p.Limit)
		if !p.Forward {
			slices.Reverse(entries)
		}
		for i := 0; i < len(entries) && err == nil; i++ {
			f := bridge.Folded{Entry: entries[i]}
			if !f.Deleted {
				err = c.fold(&f)
			}
			list = append(list, f)
		}
		return name("read messages", err)
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// fold adds the newest edit and the reactions.
func (c *conn) fold(f *bridge.Folded) error {
	var content string
	var at int64
	found, err := c.row(newestEdit, string(f.Stream), int64(f.Seq)).find(&content, &at)
	if err != nil {
		return err
	}
	if found {
		f.Content, f.EditedAt = content, time.UnixMilli(at).UTC()
	}
	return c.each(func(rows *sql.Rows) error {
		var r bridge.Reaction
		var user string
		err := rows.Scan(&r.Emoji, &r.Count, &user)
		if n := len(f.Reactions); n == 0 || f.Reactions[n-1].Emoji != r.Emoji {
			f.Reactions = append(f.Reactions, r)
		}
		last := &f.Reactions[len(f.Reactions)-1]
		last.UserIDs = append(last.UserIDs, user)
		return err
	}, reactions, string(f.Stream), int64(f.Seq), bridge.MostReactors)
}

// Edits implements bridge.Store.
func (s *Store) Edits(ctx context.Context, stream chat.StreamID, seq, after uint64, limit int) (author string, list []chat.Entry, err error) {
	err = s.read(ctx, func(c *conn) error {
		all, err := c.entries(stream, selectOriginal, string(stream), asSeq(seq))
		if err != nil || len(all) == 0 {
			return name("read edits", err)
		}
		author = all[0].SenderID
		if seq <= after {
			all = nil
		}
		edits, err := c.entries(stream, selectEdits, string(stream), asSeq(seq), asSeq(after), limit)
		list = append(all, edits...)
		list = list[:min(len(list), limit)]
		return name("read edits", err)
	})
	if err != nil {
		return "", nil, err
	}
	return author, list, nil
}
