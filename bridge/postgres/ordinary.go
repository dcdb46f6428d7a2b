package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const selectQueued = `
SELECT r.i, d.n, d.message IS NULL, d.size, d.qos, d.retain, d.sub_ids, d.share,
	m.id, m.published, m.expires, m.qos, m.topic, m.payload, m.props, m.user_id
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[]) WITH ORDINALITY AS r(user_id, client_id, after, size, i)
CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = r.user_id AND client_id = r.client_id OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE session = s.id AND n > r.after ORDER BY n LIMIT r.size) d
LEFT JOIN LATERAL (SELECT * FROM messages WHERE id = d.message OFFSET 0) m ON true`

// Queued implements bridge.Store.
func (s *Store) Queued(ctx context.Context, ranges []bridge.QueueRange) ([][]bridge.Delivery, error) {
	users, clients := make([]string, len(ranges)), make([]string, len(ranges))
	afters, sizes := make([]int64, len(ranges)), make([]int32, len(ranges))
	for i, r := range ranges {
		users[i], clients[i], afters[i], sizes[i] = r.Key.UserID, r.Key.ClientID, toBigint(r.After), toLimit(r.Limit)
	}
	got := make([][]bridge.Delivery, len(ranges))
	err := s.query(ctx, "read deliveries", selectQueued, []any{users, clients, afters, sizes}, func(rows pgx.Rows) error {
		var i int64
		var d bridge.Delivery
		var subIDs, share []byte
		var m messageRow
		err := rows.Scan(append([]any{&i, &d.N, &d.Released, &d.Size, &d.QoS, &d.Retain, &subIDs, &share}, m.columns()...)...)
		if err != nil {
			return err
		}
		d.Key, d.SubIDs, d.Share = ranges[i-1].Key, readSubIDs(subIDs), string(share)
		if m.id != nil {
			message := m.message()
			d.Message = &message
		}
		got[i-1] = append(got[i-1], d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, all := range got { // as inOrder
		slices.SortFunc(all, func(a, b bridge.Delivery) int { return cmp.Compare(a.N, b.N) })
	}
	return got, nil
}

func readSubIDs(b []byte) (ids []uint32) {
	for ; len(b) >= 4; b = b[4:] {
		ids = append(ids, binary.BigEndian.Uint32(b))
	}
	return ids
}

// messageColumns are what messageRow reads. In selectQueued they may all be
// null.
const messageColumns = `id, published, expires, qos, topic, payload, props, user_id`

type messageRow struct {
	id                    *[16]byte
	published, expires    *time.Time
	qos                   *uint8
	topic, payload, props []byte
	user                  *string
}

func (m *messageRow) columns() []any {
	return []any{&m.id, &m.published, &m.expires, &m.qos, &m.topic, &m.payload, &m.props, &m.user}
}

func (m *messageRow) message() bridge.Message {
	got := bridge.Message{ID: chat.ID(*m.id), Topic: string(m.topic), Payload: m.payload, Props: m.props, QoS: *m.qos,
		Published: m.published.UTC(), UserID: *m.user}
	if m.expires != nil {
		got.Expires = m.expires.UTC()
	}
	return got
}

// What a session has is added up for those that may have something.
const selectQueues = `
SELECT s.user_id, s.client_id, s.expiry, s.ended_at, s.subscriptions, d.count, d.bytes, d.last, coalesce(m.n, 0)
FROM sessions s
CROSS JOIN LATERAL (
	SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes, coalesce(max(n), 0) AS last FROM deliveries WHERE session = s.id
) d
LEFT JOIN LATERAL (SELECT n FROM sent WHERE session = s.id OFFSET 0) m ON true
WHERE s.queue AND (s.user_id, s.client_id) > ($1, $2) AND (s.ordinary OR d.count > 0)
ORDER BY s.user_id, s.client_id LIMIT $3`

// Queues implements bridge.Store.
func (s *Store) Queues(ctx context.Context, after bridge.SessionKey, limit int) (queues []bridge.Queue, err error) {
	args := []any{after.UserID, after.ClientID, toLimit(limit)}
	err = s.query(ctx, "read queues", selectQueues, args, func(rows pgx.Rows) error {
		var q bridge.Queue
		var ended *time.Time
		var subs []subscription
		err := rows.Scan(&q.Key.UserID, &q.Key.ClientID, &q.Expiry, &ended, &subs, &q.Count, &q.Bytes, &q.Last, &q.Sent)
		if err != nil {
			return err
		}
		if ended != nil {
			q.EndedAt = ended.UTC()
		}
		for _, sub := range subs {
			q.Subscriptions = append(q.Subscriptions, bridge.Subscription(sub))
		}
		queues = append(queues, q)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return queues, nil
}

const selectWills = `
SELECT user_id, client_id, retain, expiry, delay, due, id, qos, topic, payload, props FROM wills
WHERE (user_id, client_id) > ($1, $2) ORDER BY user_id, client_id LIMIT $3`

// Wills implements bridge.Store.
func (s *Store) Wills(ctx context.Context, after bridge.SessionKey, limit int) (wills []bridge.Will, err error) {
	args := []any{after.UserID, after.ClientID, toLimit(limit)}
	err = s.query(ctx, "read wills", selectWills, args, func(rows pgx.Rows) error {
		var w bridge.Will
		var expiry *uint32
		var due *time.Time
		var topic []byte
		err := rows.Scan(&w.Key.UserID, &w.Key.ClientID, &w.Retain, &expiry, &w.Delay, &due,
			(*[16]byte)(&w.ID), &w.QoS, &topic, &w.Payload, &w.Props)
		if err != nil {
			return err
		}
		w.Topic = string(topic)
		if expiry != nil {
			w.HasExpiry, w.Expiry = true, *expiry
		}
		if due != nil {
			w.Due = due.UTC()
		}
		wills = append(wills, w)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wills, nil
}
