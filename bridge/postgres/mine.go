package postgres

import (
	"context"
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
