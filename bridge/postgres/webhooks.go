package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	startWebhooks = `INSERT INTO webhook_start (at) VALUES ($1) ON CONFLICT DO NOTHING`

	// Once in the life of a database: it reads all streams. One that is
	// appended to just now is told from the head that stood before.
	placeAtHeads = `
INSERT INTO webhook_cursors (stream, seq)
SELECT id, head FROM streams WHERE id > 0 AND key ^@ 'c/'`
)

// BeginWebhooks implements bridge.Store. A second call at the same time waits
// for the first one's row.
func (s *Store) BeginWebhooks(ctx context.Context, now time.Time) (first bool, err error) {
	err = s.inTx(ctx, "begin webhooks", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, startWebhooks, stored(now))
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		first = true
		_, err = tx.Exec(ctx, placeAtHeads)
		return err
	})
	return first && err == nil, err
}

// The last stream that was looked at is answered whether it is behind or not:
// there the next call goes on.
const selectBehind = `
WITH page AS MATERIALIZED (SELECT id, key, head, first FROM streams WHERE id > $1 ORDER BY id LIMIT $2)
SELECT p.id, p.key, p.head, greatest(w.seq, p.first - 1), p.key ^@ 'c/' AND p.head > greatest(w.seq, p.first - 1)
FROM page p
LEFT JOIN LATERAL (SELECT seq FROM webhook_cursors WHERE stream = p.id OFFSET 0) w ON true
WHERE p.key ^@ 'c/' AND p.head > greatest(w.seq, p.first - 1) OR p.id = (SELECT max(id) FROM page)`

// WebhookBehind implements bridge.Store. The position is the number of a
// stream.
func (s *Store) WebhookBehind(ctx context.Context, after uint64, limit int) (behind []bridge.WebhookPlace, next uint64, err error) {
	args := []any{toBigint(after), toLimit(limit)}
	err = s.query(ctx, "read webhook places", selectBehind, args, func(rows pgx.Rows) error {
		var id uint64
		var p bridge.WebhookPlace
		var is bool
		if err := rows.Scan(&id, (*string)(&p.Stream), &p.Head, &p.Seq, &is); err != nil {
			return err
		}
		next = max(next, id)
		if is {
			behind = append(behind, p)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return behind, next, nil
}

const selectPlaces = `
SELECT k.n, w.seq
FROM unnest($1::text[]) WITH ORDINALITY AS k(key, n)
CROSS JOIN LATERAL (SELECT id FROM streams WHERE key = k.key OFFSET 0) s
CROSS JOIN LATERAL (SELECT seq FROM webhook_cursors WHERE stream = s.id OFFSET 0) w`

// WebhookPlaces implements bridge.Store.
func (s *Store) WebhookPlaces(ctx context.Context, streams []chat.StreamID) ([]uint64, error) {
	places := make([]uint64, len(streams))
	err := s.query(ctx, "read webhook places", selectPlaces, []any{keysOf(streams)}, func(rows pgx.Rows) error {
		var n int64
		var seq uint64
		err := rows.Scan(&n, &seq)
		if err == nil {
			places[n-1] = seq
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return places, nil
}

// The order is that of the locks, as in saveCursors.
const savePlaces = `
INSERT INTO webhook_cursors (stream, seq)
SELECT s.id, k.seq
FROM unnest($1::text[], $2::bigint[]) AS k(key, seq)
CROSS JOIN LATERAL (SELECT id, head FROM streams WHERE key = k.key OFFSET 0) s
WHERE k.seq <= s.head
ORDER BY s.id
ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq WHERE webhook_cursors.seq < excluded.seq`

// SaveWebhookPlaces implements bridge.Store.
func (s *Store) SaveWebhookPlaces(ctx context.Context, places []bridge.Cursor) error {
	keys, seqs := make([]string, len(places)), make([]int64, len(places))
	for i, p := range places {
		keys[i], seqs[i] = string(p.Stream), toBigint(p.Seq)
	}
	return s.exec(ctx, "save webhook places", savePlaces, keys, seqs)
}
