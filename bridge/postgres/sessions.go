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

// subscription is how a bridge.Subscription is kept.
type subscription struct {
	Filter            string `json:"filter"`
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"no_local,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	ID                uint32 `json:"id,omitempty"`
}

const selectSessions = `
SELECT k.n, s.expiry, s.ended_at, s.subscriptions, c.keys, c.seqs, r.packet_ids, r.client_ids
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(user_id, client_id, n)
CROSS JOIN LATERAL (SELECT * FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s
CROSS JOIN LATERAL (
	SELECT array_agg(t.key) AS keys, array_agg(c.seq) AS seqs
	FROM cursors c
	CROSS JOIN LATERAL (SELECT key FROM streams WHERE id = c.stream OFFSET 0) t
	WHERE c.session = s.id
) c
CROSS JOIN LATERAL (
	SELECT array_agg(packet_id ORDER BY packet_id) AS packet_ids, array_agg(client_id ORDER BY packet_id) AS client_ids
	FROM received WHERE session = s.id
) r`

// Sessions implements bridge.Store.
func (s *Store) Sessions(ctx context.Context, keys []bridge.SessionKey) ([]*bridge.Session, error) {
	got := make([]*bridge.Session, len(keys))
	users, clients := splitKeys(keys)
	err := s.query(ctx, "read sessions", selectSessions, []any{users, clients}, func(rows pgx.Rows) error {
		var n int64
		var session bridge.Session
		var ended *time.Time
		var subs []subscription
		var streams []string
		var seqs []uint64
		var packetIDs []uint16
		var clientIDs [][]byte
		err := rows.Scan(&n, &session.Expiry, &ended, &subs, &streams, &seqs, &packetIDs, &clientIDs)
		if err != nil {
			return err
		}
		session.Key = keys[n-1]
		if ended != nil {
			session.EndedAt = ended.UTC()
		}
		for _, sub := range subs {
			session.Subscriptions = append(session.Subscriptions, bridge.Subscription(sub))
		}
		for i, key := range streams {
			session.Cursors = append(session.Cursors, bridge.Cursor{Stream: chat.StreamID(key), Seq: seqs[i]})
		}
		slices.SortFunc(session.Cursors, func(a, b bridge.Cursor) int { return cmp.Compare(a.Stream, b.Stream) })
		for i, id := range packetIDs {
			session.Received = append(session.Received, bridge.Received{PacketID: id, ClientID: string(clientIDs[i])})
		}
		got[n-1] = &session
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

func splitKeys(keys []bridge.SessionKey) (users, clients []string) {
	users, clients = make([]string, len(keys)), make([]string, len(keys))
	for i, key := range keys {
		users[i], clients[i] = key.UserID, key.ClientID
	}
	return users, clients
}

const (
	saveSession = `
INSERT INTO sessions (user_id, client_id, expiry, ended_at, expires_at, subscriptions, ordinary, queue)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (user_id, client_id) DO UPDATE SET expiry = excluded.expiry, ended_at = excluded.ended_at,
	expires_at = excluded.expires_at, subscriptions = excluded.subscriptions,
	ordinary = excluded.ordinary, queue = sessions.queue OR excluded.queue`

	// The order is that of the locks, so that two savers of the same
	// cursors wait for each other and do not deadlock.
	saveCursors = `
INSERT INTO cursors (session, stream, seq)
SELECT s.id, t.id, max(k.seq)
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS k(user_id, client_id, key, seq)
CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s
CROSS JOIN LATERAL (SELECT id FROM streams WHERE key = k.key OFFSET 0) t
GROUP BY s.id, t.id
ORDER BY s.id, t.id
ON CONFLICT (session, stream) DO UPDATE SET seq = excluded.seq WHERE cursors.seq < excluded.seq`
)

// SaveSession implements bridge.Store. Its statements travel together and are
// one transaction.
func (s *Store) SaveSession(ctx context.Context, session bridge.Session) error {
	subs := make([]subscription, len(session.Subscriptions))
	ordinary := false
	for i, sub := range session.Subscriptions {
		subs[i] = subscription(sub)
		ordinary = ordinary || sub.Ordinary()
	}
	ended, expires := sessionEnd(session.EndedAt, session.Expiry)
	b := &pgx.Batch{}
	b.Queue(saveSession, session.Key.UserID, session.Key.ClientID, int64(session.Expiry), ended, expires, subs, ordinary)
	if len(session.Cursors) > 0 {
		cursors := make([]bridge.CursorAt, len(session.Cursors))
		for i, c := range session.Cursors {
			cursors[i] = bridge.CursorAt{Key: session.Key, Cursor: c}
		}
		b.Queue(saveCursors, cursorColumns(cursors)...)
	}
	return failure("save session", s.pool.SendBatch(ctx, b).Close())
}

// sessionEnd is how the end of a session is kept. nil is no end.
func sessionEnd(at time.Time, expiry uint32) (ended, expires *time.Time) {
	if at.IsZero() {
		return nil, nil
	}
	at = stored(at)
	if expiry == bridge.NeverExpires {
		return &at, nil
	}
	end := at.Add(time.Duration(expiry) * time.Second)
	return &at, &end
}

func cursorColumns(cursors []bridge.CursorAt) []any {
	users, clients := make([]string, len(cursors)), make([]string, len(cursors))
	streams, seqs := make([]string, len(cursors)), make([]int64, len(cursors))
	for i, c := range cursors {
		users[i], clients[i], streams[i], seqs[i] = c.Key.UserID, c.Key.ClientID, string(c.Stream), toBigint(c.Seq)
	}
	return []any{users, clients, streams, seqs}
}

// SaveCursors implements bridge.Store.
func (s *Store) SaveCursors(ctx context.Context, cursors []bridge.CursorAt) error {
	return s.exec(ctx, "save cursors", saveCursors, cursorColumns(cursors)...)
}

// The marks are one JSON object, for the reason given at raisePlain. Its keys
// are unique, since no user id has a slash.
const markSessions = `
UPDATE sessions SET
	expiry = ($3::jsonb -> (user_id || '/' || client_id) ->> 'expiry')::bigint,
	ended_at = ($3::jsonb -> (user_id || '/' || client_id) ->> 'ended')::timestamptz,
	expires_at = ($3::jsonb -> (user_id || '/' || client_id) ->> 'expires')::timestamptz
WHERE id = ANY (ARRAY(
	SELECT s.id FROM unnest($1::text[], $2::text[]) AS k(user_id, client_id)
	CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s))`

type sessionMark struct {
	Expiry  uint32     `json:"expiry"`
	Ended   *time.Time `json:"ended,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

// MarkSessions implements bridge.Store.
func (s *Store) MarkSessions(ctx context.Context, marks []bridge.SessionMark) error {
	users, clients := make([]string, len(marks)), make([]string, len(marks))
	byKey := make(map[string]sessionMark, len(marks))
	for i, m := range marks {
		users[i], clients[i] = m.Key.UserID, m.Key.ClientID
		ended, expires := sessionEnd(m.EndedAt, m.Expiry)
		byKey[m.Key.UserID+"/"+m.Key.ClientID] = sessionMark{m.Expiry, ended, expires}
	}
	return s.exec(ctx, "mark sessions", markSessions, users, clients, byKey)
}

// DeleteSession implements bridge.Store. All that belongs to the session goes
// with it.
func (s *Store) DeleteSession(ctx context.Context, key bridge.SessionKey) error {
	return s.exec(ctx, "delete session", `DELETE FROM sessions WHERE user_id = $1 AND client_id = $2`, key.UserID, key.ClientID)
}

const dropCursors = `
DELETE FROM cursors
WHERE session = (SELECT id FROM sessions WHERE user_id = $1 AND client_id = $2)
	AND stream = ANY (ARRAY(SELECT id FROM streams WHERE key = ANY ($3::text[])))`

// DropCursors implements bridge.Store.
func (s *Store) DropCursors(ctx context.Context, key bridge.SessionKey, streams []chat.StreamID) error {
	return s.exec(ctx, "drop cursors", dropCursors, key.UserID, key.ClientID, keysOf(streams))
}

const releaseSessions = `
UPDATE sessions SET ended_at = $1::timestamptz,
	expires_at = CASE WHEN expiry <> $2 THEN $1::timestamptz + expiry * interval '1 second' END
WHERE ended_at IS NULL`

// ReleaseSessions implements bridge.Store.
func (s *Store) ReleaseSessions(ctx context.Context, at time.Time) error {
	return s.exec(ctx, "release sessions", releaseSessions, stored(at), int64(bridge.NeverExpires))
}

// The rows are locked and looked at again before they go: a session that was
// taken up meanwhile stays. Those that somebody else holds are not waited for.
const sweepSessions = `
DELETE FROM sessions WHERE id = ANY (ARRAY(
	SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`

// SweepSessions implements bridge.Store.
func (s *Store) SweepSessions(ctx context.Context, now time.Time, limit int) (int, error) {
	tag, err := s.pool.Exec(ctx, sweepSessions, stored(now), toLimit(limit))
	if err != nil {
		return 0, failure("sweep sessions", err)
	}
	return int(tag.RowsAffected()), nil
}
