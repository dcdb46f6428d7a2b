package sqlite

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	startWebhooks = `INSERT INTO webhook_start (one, at) VALUES (1, ?) ON CONFLICT DO NOTHING`
	placeAtHeads  = `INSERT INTO webhook_cursors (stream, seq) SELECT id, head FROM streams WHERE substr(key, 1, 2) = 'c/'`
	selectBehind  = `SELECT id, key, head, first, (SELECT seq FROM webhook_cursors WHERE stream = streams.id)
		FROM streams WHERE id > ? ORDER BY id LIMIT ?`
	selectPlace = `SELECT seq FROM webhook_cursors WHERE stream = (SELECT id FROM streams WHERE key = ?)`
	savePlace   = `INSERT INTO webhook_cursors (stream, seq) SELECT id, ?1 FROM streams WHERE key = ?2 AND head >= ?1
		ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq`
)

// BeginWebhooks implements bridge.Store.
func (s *Store) BeginWebhooks(ctx context.Context, now time.Time) (first bool, err error) {
	err = s.write(ctx, func(c *conn) error {
		n, err := c.exec(startWebhooks, now.UnixMilli())
		if err == nil && n > 0 {
			first = true
			_, err = c.exec(placeAtHeads)
		}
		return name("begin webhooks", err)
	})
	return first && err == nil, err
}

// WebhookBehind implements bridge.Store. The position is the number of a
// stream.
func (s *Store) WebhookBehind(ctx context.Context, after uint64, limit int) (behind []bridge.WebhookPlace, next uint64, err error) {
	err = s.read(ctx, func(c *conn) error {
		return name("webhook behind", c.each(func(rows *sql.Rows) error {
			var p bridge.WebhookPlace
			var first uint64
			var seq sql.NullInt64
			err := rows.Scan(&next, &p.Stream, &p.Head, &first, &seq)
			p.Seq = max(uint64(seq.Int64), first-1)
			if p.Head > p.Seq && strings.HasPrefix(string(p.Stream), "c/") {
				behind = append(behind, p)
			}
			return err
		}, selectBehind, asSeq(after), limit))
	})
	if err != nil {
		return nil, 0, err
	}
	return behind, next, nil
}

// WebhookPlaces implements bridge.Store.
func (s *Store) WebhookPlaces(ctx context.Context, streams []chat.StreamID) ([]uint64, error) {
	return readAll(ctx, s, "webhook places", streams, func(c *conn, stream chat.StreamID) (seq uint64, err error) {
		_, err = c.row(selectPlace, string(stream)).find(&seq)
		return seq, err
	})
}

// SaveWebhookPlaces implements bridge.Store.
func (s *Store) SaveWebhookPlaces(ctx context.Context, places []bridge.Cursor) error {
	return s.write(ctx, func(c *conn) error {
		for _, p := range places {
			if _, err := c.exec(savePlace, asSeq(p.Seq), string(p.Stream)); err != nil {
				return name("save webhook places", err)
			}
		}
		return nil
	})
}
