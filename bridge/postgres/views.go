package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Each message comes with its newest edit and its reactions, from the index of
// what points at messages. Of the reactions of one user with one emoji the
// newest counts. $4 is how many users are named.
var (
	foldedForward = foldedSQL("seq > $2", "ASC")
	foldedBack    = foldedSQL("seq < $2", "DESC")
)

func foldedSQL(where, order string) string {
	return strings.NewReplacer("{where}", where, "{order}", order).Replace(`
SELECT d.at, coalesce(d.content, ''), coalesce(r.list, ''), ` + entryColumns + `
FROM (SELECT id FROM streams WHERE key = $1 OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM entries
	WHERE stream = s.id AND {where} AND type = 1 ORDER BY seq {order} LIMIT $3) e
LEFT JOIN LATERAL (SELECT content, created_at AS at FROM entries
	WHERE target = e.seq AND stream + 0 = e.stream AND type = 2 AND NOT deleted ORDER BY seq DESC LIMIT 1) d ON true
LEFT JOIN LATERAL (
	SELECT json_agg(json_build_object('Emoji', emoji, 'Count', n, 'UserIDs', users) ORDER BY since)::text AS list
	FROM (
		SELECT emoji, count(*) AS n, min(seq) AS since, (array_agg(sender_id ORDER BY seq))[1:$4] AS users
		FROM (
			SELECT DISTINCT ON (sender_id, emoji) sender_id, emoji, back, seq
			FROM (SELECT sender_id, seq, extra::jsonb ->> 'emoji' AS emoji, extra::jsonb ? 'remove' AS back
				FROM entries WHERE target = e.seq AND stream + 0 = e.stream AND type = 4 AND NOT e.deleted OFFSET 0) o
			ORDER BY sender_id, emoji, seq DESC
		) newest
		WHERE NOT back GROUP BY emoji
	) standing
) r ON true
ORDER BY e.seq`)
}

// Folded implements bridge.Store.
func (s *Store) Folded(ctx context.Context, p bridge.FoldedPage) ([]bridge.Folded, error) {
	sql, args := foldedForward, []any{string(p.Stream), toBigint(p.After), toLimit(p.Limit), bridge.MostReactors}
	if !p.Forward {
		before := p.Before
		if before == 0 {
			before = maxSeq
		}
		sql, args[1] = foldedBack, toBigint(before)
	}
	var list []bridge.Folded
	err := s.query(ctx, "read messages", sql, args, func(rows pgx.Rows) error {
		var at *time.Time
		var content, reactions string
		e, err := scanEntry(rows, p.Stream, &at, &content, &reactions)
		if err != nil {
			return err
		}
		f := bridge.Folded{Entry: e}
		if !e.Deleted {
			if at != nil {
				f.Content, f.EditedAt = content, at.UTC()
			}
			if reactions != "" {
				err = json.Unmarshal([]byte(reactions), &f.Reactions)
			}
		}
		list = append(list, f)
		if err != nil {
			return fmt.Errorf("reactions to %d of %s: %w", e.Seq, p.Stream, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

const selectVersions = `
SELECT m.sender_id, coalesce(e.seq, 0), coalesce(e.created_at, m.created_at), coalesce(e.target, 0),
	coalesce(e.id, m.id), coalesce(e.type, 0), coalesce(e.deleted, false),
	coalesce(e.sender_id, ''), coalesce(e.client_id, ''), coalesce(e.content, ''), coalesce(e.extra, '')
FROM (SELECT id FROM streams WHERE key = $1 OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM entries WHERE stream = s.id AND seq = $2 AND type = 1 OFFSET 0) m
LEFT JOIN LATERAL (
	SELECT * FROM entries WHERE stream = s.id AND seq = m.seq AND m.seq > $3
	UNION ALL
	(SELECT * FROM entries WHERE target = m.seq AND stream + 0 = m.stream AND type = 2 AND seq > $3 ORDER BY seq LIMIT $4)
) e ON true`

// Edits implements bridge.Store.
func (s *Store) Edits(ctx context.Context, stream chat.StreamID, seq, after uint64, limit int) (author string, list []chat.Entry, err error) {
	args := []any{string(stream), toBigint(seq), toBigint(after), toLimit(limit)}
	err = s.query(ctx, "read edits", selectVersions, args, func(rows pgx.Rows) error {
		e, err := scanEntry(rows, stream, &author)
		if err == nil && e.Seq > 0 { // else there is nothing on this page
			list = append(list, e)
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	inOrder(list)
	return author, slices.Clip(list[:min(len(list), limit)]), nil
}
