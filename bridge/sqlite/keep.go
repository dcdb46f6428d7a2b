package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

const (
	selectQueueOf = `SELECT id, queue FROM sessions WHERE user_id = ? AND client_id = ?`
	markQueue     = `UPDATE sessions SET queue = 1 WHERE id = ?`

	insertMessage = `INSERT INTO messages (id, qos, published, expires, topic, props, payload, user_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`
	insertLoose    = `INSERT INTO loose (message) VALUES (?) ON CONFLICT (message) DO NOTHING`
	insertDelivery = `INSERT INTO deliveries (session, n, message, qos, retain, size, sub_ids, share) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (session, n) DO NOTHING`
	releaseDelivery = `UPDATE deliveries SET message = NULL WHERE session = ? AND n = ?`
	deleteDelivery  = `DELETE FROM deliveries WHERE session = ? AND n = ?`

	upsertRetained = `INSERT INTO retained (id, qos, published, expires, topic, props, payload, user_id, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (topic) DO UPDATE SET id = excluded.id, qos = excluded.qos, published = excluded.published,
		expires = excluded.expires, props = excluded.props, payload = excluded.payload, user_id = excluded.user_id, size = excluded.size`
	deleteRetained = `DELETE FROM retained WHERE topic = ?`

	upsertReceived = `INSERT INTO received (session, packet_id, client_id) VALUES (?, ?, ?)
		ON CONFLICT (session, packet_id) DO UPDATE SET client_id = excluded.client_id`
	deleteReceived = `DELETE FROM received WHERE session = ? AND packet_id = ?`

	upsertWill = `INSERT INTO wills (user_id, client_id, id, qos, retain, expiry, delay, due, topic, props, payload)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (user_id, client_id) DO UPDATE SET id = excluded.id, qos = excluded.qos, retain = excluded.retain,
		expiry = excluded.expiry, delay = excluded.delay, due = excluded.due,
		topic = excluded.topic, props = excluded.props, payload = excluded.payload`
	deleteWill = `DELETE FROM wills WHERE user_id = ? AND client_id = ?`

	upsertSent = `INSERT INTO sent (session, n) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET n = excluded.n`
)

// Keep implements bridge.Store.
func (s *Store) Keep(ctx context.Context, c *bridge.Changes) error {
	return s.write(ctx, func(conn *conn) error {
		k := keep{conn: conn, sessions: make(map[bridge.SessionKey]queueOf)}
		for _, step := range []func(*bridge.Changes) error{
			k.messages, k.deliveries, k.acknowledged, k.retained, k.received, k.wills, k.sent,
		} {
			if err := step(c); err != nil {
				return fmt.Errorf("sqlite: keep: %w", err)
			}
		}
		return nil
	})
}

// keep is a Keep under way. It keeps which sessions stand: no other writer can
// change that before it ends.
type keep struct {
	*conn
	sessions map[bridge.SessionKey]queueOf
}

type queueOf struct {
	id    int64 // 0: there is no such session
	queue bool
}

func (k *keep) session(key bridge.SessionKey) (queueOf, error) {
	if q, known := k.sessions[key]; known {
		return q, nil
	}
	var q queueOf
	if _, err := k.row(selectQueueOf, key.UserID, key.ClientID).find(&q.id, &q.queue); err != nil {
		return q, err
	}
	k.sessions[key] = q
	return q, nil
}

// change runs a statement whose first parameter is a session, unless there is
// none.
func (k *keep) change(query string, key bridge.SessionKey, args ...any) error {
	q, err := k.session(key)
	if err != nil || q.id == 0 {
		return err
	}
	_, err = k.exec(query, append([]any{q.id}, args...)...)
	return err
}

func (k *keep) messages(c *bridge.Changes) error {
	for _, m := range c.Messages {
		if _, err := k.exec(insertMessage, messageColumns(m)...); err != nil {
			return err
		}
	}
	return nil
}

// messageColumns are id, qos, published, expires, topic, props, payload, user_id.
func messageColumns(m *bridge.Message) []any {
	return []any{m.ID[:], m.QoS, m.Published.UnixMilli(), asExpiry(m.Expires), []byte(m.Topic), asBlob(m.Props), asBlob(m.Payload), m.UserID}
}

func (k *keep) deliveries(c *bridge.Changes) error {
	for i := range c.Deliveries {
		if err := k.deliver(&c.Deliveries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (k *keep) deliver(d *bridge.Delivery) error {
	q, err := k.session(d.Key)
	if err != nil {
		return err
	}
	var message []byte
	if d.Message != nil && !d.Released {
		message = d.Message.ID[:]
	}
	if q.id == 0 {
		if message != nil { // it may have no delivery at all
			_, err = k.exec(insertLoose, message)
		}
		return err
	}
	if !q.queue {
		if _, err := k.exec(markQueue, q.id); err != nil {
			return err
		}
		q.queue = true
		k.sessions[d.Key] = q
	}
	_, err = k.exec(insertDelivery, q.id, asSeq(d.N), message, d.QoS, d.Retain, d.Size, encodeSubIDs(d.SubIDs), []byte(d.Share))
	return err
}

func (k *keep) acknowledged(c *bridge.Changes) error {
	for _, d := range c.Released {
		if err := k.change(releaseDelivery, d.Key, asSeq(d.N)); err != nil {
			return err
		}
	}
	for _, d := range c.Done {
		if err := k.change(deleteDelivery, d.Key, asSeq(d.N)); err != nil {
			return err
		}
	}
	return nil
}

func (k *keep) retained(c *bridge.Changes) (err error) {
	for _, m := range c.Retained {
		if len(m.Payload) == 0 {
			_, err = k.exec(deleteRetained, []byte(m.Topic))
		} else {
			_, err = k.exec(upsertRetained, append(messageColumns(m), m.Size())...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *keep) received(c *bridge.Changes) error {
	for _, r := range c.Received {
		if err := k.change(upsertReceived, r.Key, r.PacketID, []byte(r.ClientID)); err != nil {
			return err
		}
	}
	for _, r := range c.Forgotten {
		if err := k.change(deleteReceived, r.Key, r.PacketID); err != nil {
			return err
		}
	}
	return nil
}

func (k *keep) wills(c *bridge.Changes) error {
	for i := range c.Wills {
		w := &c.Wills[i]
		_, err := k.exec(upsertWill, w.Key.UserID, w.Key.ClientID, w.ID[:], w.QoS, w.Retain,
			sql.NullInt64{Int64: int64(w.Expiry), Valid: w.HasExpiry}, w.Delay, asNullTime(w.Due),
			[]byte(w.Topic), asBlob(w.Props), asBlob(w.Payload))
		if err != nil {
			return err
		}
	}
	for _, key := range c.NoWills {
		if _, err := k.exec(deleteWill, key.UserID, key.ClientID); err != nil {
			return err
		}
	}
	return nil
}

func (k *keep) sent(c *bridge.Changes) error {
	for _, m := range c.Sent {
		if err := k.change(upsertSent, m.Key, asSeq(m.N)); err != nil {
			return err
		}
	}
	return nil
}

// asBlob is never null.
func asBlob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// asExpiry is 0 for what never expires.
func asExpiry(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// asNullTime is null for the zero time.
func asNullTime(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

func encodeSubIDs(ids []uint32) []byte {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint32(b, id)
	}
	return b
}

func decodeSubIDs(b []byte) (ids []uint32) {
	for ; len(b) >= 4; b = b[4:] {
		ids = append(ids, binary.BigEndian.Uint32(b))
	}
	return ids
}
