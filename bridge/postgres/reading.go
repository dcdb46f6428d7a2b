package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// unread counts a member's unread messages. It is for a row p that has a
// stream's id, head, first and messages, and the member's read. What was said
// up to read is known from the entry at that place; where that is not held
// any more, all that is held is unread.
const unread = `(CASE WHEN p.first > p.head OR p.read >= p.head THEN 0 ELSE p.messages
	- coalesce((SELECT nth FROM entries WHERE stream = p.id AND seq = p.read),
		(SELECT nth - (type = 1)::int FROM entries WHERE stream = p.id AND seq = p.first), 0)
	- (SELECT count(*) FROM entries WHERE stream = p.id AND seq > p.read AND deleted AND type = 1) END)`

// small counts members up to one more than a small conversation has.
const moveReceipts = `
WITH k AS MATERIALIZED (
	SELECT n, s.id AS stream, k.user_id, m.role, m.read, m.delivered, m.receipt_at,
		least(k.read, s.head) AS to_read, least(greatest(k.delivered, k.read), s.head) AS to_delivered,
		k.small AND (SELECT count(*) > $6 FROM (SELECT FROM members
			WHERE stream BETWEEN s.id AND s.id AND role > 0 ORDER BY stream LIMIT $6 + 1) few) AS large
	FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bool[])
		WITH ORDINALITY AS k(key, user_id, read, delivered, small, n)
	CROSS JOIN LATERAL (SELECT id, head FROM streams WHERE key = k.key OFFSET 0) s
	LEFT JOIN LATERAL (SELECT role, read, delivered, receipt_at FROM members
		WHERE stream = s.id AND user_id = k.user_id AND role > 0 OFFSET 0) m ON true
), moved AS (
	INSERT INTO members (stream, user_id, role, joined_at, joined_seq, read, delivered, receipt_at)
	SELECT stream, user_id, 1, $7, 0, max(to_read), max(to_delivered), $7 FROM k
	WHERE role > 0 AND NOT large AND (to_read > read OR to_delivered > delivered)
	GROUP BY stream, user_id ORDER BY stream, user_id
	ON CONFLICT (stream, user_id) DO UPDATE SET read = greatest(members.read, excluded.read),
		delivered = greatest(members.delivered, excluded.delivered), receipt_at = excluded.receipt_at
	WHERE members.role > 0 AND (excluded.read > members.read OR excluded.delivered > members.delivered)
	RETURNING stream, user_id, read, delivered, receipt_at
)
SELECT k.n, coalesce(k.role, 0), moved.stream IS NOT NULL, coalesce(moved.read, k.read, 0),
	coalesce(moved.delivered, k.delivered, 0), coalesce(moved.receipt_at, k.receipt_at, $7)
FROM k LEFT JOIN moved USING (stream, user_id)`

// MoveReceipts implements bridge.Store. Members are there or not before
// anything is written; ON CONFLICT finds their rows by the primary key and
// locks them in one order, as Commit does.
func (s *Store) MoveReceipts(ctx context.Context, now time.Time, moves []bridge.Move) ([]bridge.Moved, error) {
	out := make([]bridge.Moved, len(moves))
	keys, users := make([]string, len(moves)), make([]string, len(moves))
	reads, delivereds, smalls := make([]int64, len(moves)), make([]int64, len(moves)), make([]bool, len(moves))
	for i, m := range moves {
		keys[i], users[i] = string(chat.ConversationStream(m.Conversation)), m.UserID
		reads[i], delivereds[i], smalls[i] = toBigint(m.Read), toBigint(m.Delivered), m.Small
		out[i].Err = bridge.NoConversation()
	}
	var n int64
	args := []any{keys, users, reads, delivereds, smalls, bridge.SmallConversation, stored(now)}
	err := s.query(ctx, "move receipts", moveReceipts, args, func(rows pgx.Rows) error {
		var r bridge.Receipt
		var role chat.Role
		var raised bool
		if err := rows.Scan(&n, (*uint8)(&role), &raised, &r.Read, &r.Delivered, &r.At); err != nil {
			return err
		}
		r.MemberKey, r.At = moves[n-1].MemberKey, r.At.UTC()
		if out[n-1] = (bridge.Moved{Receipt: r, Raised: raised}); role == chat.RoleNone {
			out[n-1] = bridge.Moved{Err: bridge.NotMember()}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

const selectReceipts = `
SELECT coalesce(m.user_id, ''), coalesce(m.read, 0), coalesce(m.delivered, 0), m.receipt_at
FROM (SELECT id FROM streams WHERE key = $1 OFFSET 0) s
LEFT JOIN LATERAL (SELECT * FROM members WHERE stream BETWEEN s.id AND s.id AND role > 0 ORDER BY stream OFFSET 0) m ON true
ORDER BY m.joined_seq`

// Receipts implements bridge.Store.
func (s *Store) Receipts(ctx context.Context, conversation string) ([]bridge.Receipt, error) {
	var list []bridge.Receipt
	found := false
	args := []any{string(chat.ConversationStream(conversation))}
	err := s.query(ctx, "read receipts", selectReceipts, args, func(rows pgx.Rows) error {
		found = true
		r := bridge.Receipt{MemberKey: bridge.MemberKey{Conversation: conversation}}
		var at *time.Time
		if err := rows.Scan(&r.UserID, &r.Read, &r.Delivered, &at); err != nil {
			return err
		}
		if at != nil { // else the conversation has no members
			r.At = at.UTC()
			list = append(list, r)
		}
		return nil
	})
	if err == nil && !found {
		err = bridge.NoConversation()
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

const selectStandings = `
SELECT p.n, p.head, p.read, ` + unread + `
FROM (
	SELECT k.n, s.*, m.read
	FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(key, user_id, n)
	CROSS JOIN LATERAL (SELECT id, head, first, messages FROM streams WHERE key = k.key OFFSET 0) s
	CROSS JOIN LATERAL (SELECT read FROM members WHERE stream = s.id AND user_id = k.user_id AND role > 0 OFFSET 0) m
) p`

// Standings implements bridge.Store.
func (s *Store) Standings(ctx context.Context, keys []bridge.MemberKey) ([]bridge.Standing, error) {
	out := make([]bridge.Standing, len(keys))
	streams, users := make([]string, len(keys)), make([]string, len(keys))
	for i, key := range keys {
		streams[i], users[i] = string(chat.ConversationStream(key.Conversation)), key.UserID
	}
	var n int64
	err := s.query(ctx, "read standings", selectStandings, []any{streams, users}, func(rows pgx.Rows) error {
		var st bridge.Standing
		err := rows.Scan(&n, &st.Head, &st.Read, &st.Unread)
		if err == nil {
			out[n-1] = st
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
