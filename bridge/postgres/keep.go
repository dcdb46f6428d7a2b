package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parley-mqtt/parley/bridge"
)

// Keep implements bridge.Store: one round trip, one flush to disk.
func (s *Store) Keep(ctx context.Context, c *bridge.Changes) error {
	k := keeps.Get().(*keep)
	defer k.release()
	k.load(c)
	err := s.runKeep(ctx, k)
	// As in Commit.
	if err != nil && pgconn.SafeToRetry(err) && ctx.Err() == nil {
		err = s.runKeep(ctx, k)
	}
	return failure("keep", err)
}

func (s *Store) runKeep(ctx context.Context, k *keep) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var batch pgconn.Batch
	for i := range keepSteps {
		step := &keepSteps[i]
		k.params.reset()
		if !step.encode(k) {
			continue
		}
		statement, err := conn.Conn().Prepare(ctx, step.name, step.sql)
		if err != nil {
			return err
		}
		batch.ExecStatement(statement, k.params.all(), binaryFormat, binaryFormat)
	}
	err = conn.Conn().PgConn().ExecBatch(ctx, &batch).Close()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == planChanged || pg.Code == noSuchStatement) {
		// As in Commit.
		_ = conn.Conn().Close(ctx)
	}
	return err
}

// keepStep is a statement of Keep. encode writes its parameters; it is false
// when there is nothing to do.
type keepStep struct {
	name, sql string
	encode    func(k *keep) bool
}

var keepSteps = []keepStep{
	{"lock_sessions", lockSessions, (*keep).encodeSessions},
	{"add_messages", addMessages, func(k *keep) bool { return k.encodeMessages(k.messages, false) }},
	{"add_deliveries", addDeliveries, (*keep).encodeDeliveries},
	{"release_deliveries", releaseDeliveries, func(k *keep) bool { return k.encodeNames(k.c.Released) }},
	{"remove_deliveries", removeDeliveries, func(k *keep) bool { return k.encodeNames(k.c.Done) }},
	{"put_retained", putRetained, func(k *keep) bool { return k.encodeMessages(k.retained, true) }},
	{"remove_retained", removeRetained, (*keep).encodeEmpty},
	{"add_received", addReceived, func(k *keep) bool { return k.encodeReceived(k.c.Received, true) }},
	{"remove_received", removeReceived, func(k *keep) bool { return k.encodeReceived(k.c.Forgotten, false) }},
	{"put_wills", putWills, (*keep).encodeWills},
	{"remove_wills", removeWills, func(k *keep) bool { return k.encodeKeys(k.c.NoWills) }},
	{"mark_sent", markSent, (*keep).encodeSent},
}

// keep is one call of Keep.
type keep struct {
	c        *bridge.Changes
	sessions []bridge.SessionKey // that anything here belongs to, each once

	// What no session's lock guards, in the order of its keys.
	messages []*bridge.Message
	retained []*bridge.Message
	wills    []bridge.Will

	params params
}

var keeps = sync.Pool{New: func() any { return new(keep) }}

func (k *keep) release() {
	const large = 4 << 20 // as in commit
	if cap(k.params.buf) > large {
		k.params.buf = nil
	}
	clear(k.sessions)
	*k = keep{sessions: k.sessions[:0], params: k.params}
	keeps.Put(k)
}

func (k *keep) load(c *bridge.Changes) {
	k.c = c
	k.messages = ordered(c.Messages, func(a, b *bridge.Message) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	k.retained = ordered(c.Retained, func(a, b *bridge.Message) int { return strings.Compare(a.Topic, b.Topic) })
	k.wills = ordered(c.Wills, func(a, b bridge.Will) int { return compareKeys(a.Key, b.Key) })
	k.loadSessions()
}

func (k *keep) loadSessions() {
	for i := range k.c.Deliveries {
		k.sessions = append(k.sessions, k.c.Deliveries[i].Key)
	}
	for _, list := range [][]bridge.DeliveryKey{k.c.Released, k.c.Done} {
		for i := range list {
			k.sessions = append(k.sessions, list[i].Key)
		}
	}
	for _, list := range [][]bridge.ReceivedAt{k.c.Received, k.c.Forgotten} {
		for i := range list {
			k.sessions = append(k.sessions, list[i].Key)
		}
	}
	for i := range k.c.Sent {
		k.sessions = append(k.sessions, k.c.Sent[i].Key)
	}
	slices.SortFunc(k.sessions, compareKeys)
	k.sessions = slices.Compact(k.sessions)
}

func compareKeys(a, b bridge.SessionKey) int {
	return cmp.Or(strings.Compare(a.UserID, b.UserID), strings.Compare(a.ClientID, b.ClientID))
}

// ordered answers list in order, and leaves list as it is.
func ordered[T any](list []T, compare func(a, b T) int) []T {
	if slices.IsSortedFunc(list, compare) {
		return list
	}
	list = slices.Clone(list)
	slices.SortFunc(list, compare)
	return list
}

// column writes an array with an element for each of list.
func column[T any](p *params, element uint32, list []T, write func(v *T)) {
	p.array(element, len(list))
	for i := range list {
		write(&list[i])
	}
	p.end()
}

// keyColumns writes the two columns of a session key.
func keyColumns[T any](p *params, list []T, key func(v *T) *bridge.SessionKey) {
	column(p, textOID, list, func(v *T) { p.textElement(key(v).UserID) })
	column(p, textOID, list, func(v *T) { p.textElement(key(v).ClientID) })
}

func (k *keep) encodeSessions() bool { return k.encodeKeys(k.sessions) }

func (k *keep) encodeKeys(keys []bridge.SessionKey) bool {
	keyColumns(&k.params, keys, func(key *bridge.SessionKey) *bridge.SessionKey { return key })
	return len(keys) > 0
}

func (k *keep) encodeMessages(list []*bridge.Message, sizes bool) bool {
	p := &k.params
	column(p, uuidOID, list, func(m **bridge.Message) { p.idElement((*m).ID) })
	column(p, timestamptzOID, list, func(m **bridge.Message) { p.timeElement((*m).Published) })
	column(p, timestamptzOID, list, func(m **bridge.Message) { p.timeOrNullElement((*m).Expires) })
	column(p, int2OID, list, func(m **bridge.Message) { p.int2Element(int16((*m).QoS)) })
	column(p, byteaOID, list, func(m **bridge.Message) { p.textElement((*m).Topic) })
	column(p, byteaOID, list, func(m **bridge.Message) { p.byteaElement((*m).Payload) })
	column(p, byteaOID, list, func(m **bridge.Message) { p.byteaElement((*m).Props) })
	column(p, textOID, list, func(m **bridge.Message) { p.textElement((*m).UserID) })
	if sizes {
		column(p, int4OID, list, func(m **bridge.Message) { p.int4Element(int32((*m).Size())) })
	}
	return len(list) > 0
}

func (k *keep) encodeDeliveries() bool {
	p, list := &k.params, k.c.Deliveries
	keyColumns(p, list, func(d *bridge.Delivery) *bridge.SessionKey { return &d.Key })
	column(p, int8OID, list, func(d *bridge.Delivery) { p.int8Element(toBigint(d.N)) })
	column(p, uuidOID, list, func(d *bridge.Delivery) {
		if d.Message == nil || d.Released {
			p.null()
		} else {
			p.idElement(d.Message.ID)
		}
	})
	column(p, int4OID, list, func(d *bridge.Delivery) { p.int4Element(int32(d.Size)) })
	column(p, int2OID, list, func(d *bridge.Delivery) { p.int2Element(int16(d.QoS)) })
	column(p, boolOID, list, func(d *bridge.Delivery) { p.boolElement(d.Retain) })
	column(p, byteaOID, list, func(d *bridge.Delivery) { p.subIDsElement(d.SubIDs) })
	column(p, byteaOID, list, func(d *bridge.Delivery) { p.textOrNullElement(d.Share) })
	return len(list) > 0
}

func (k *keep) encodeNames(list []bridge.DeliveryKey) bool {
	p := &k.params
	keyColumns(p, list, func(d *bridge.DeliveryKey) *bridge.SessionKey { return &d.Key })
	column(p, int8OID, list, func(d *bridge.DeliveryKey) { p.int8Element(toBigint(d.N)) })
	return len(list) > 0
}

// encodeEmpty writes the topics of retained messages that are to go.
func (k *keep) encodeEmpty() bool {
	var topics []string
	for _, m := range k.retained {
		if len(m.Payload) == 0 {
			topics = append(topics, m.Topic)
		}
	}
	column(&k.params, byteaOID, topics, func(topic *string) { k.params.textElement(*topic) })
	return len(topics) > 0
}

func (k *keep) encodeReceived(list []bridge.ReceivedAt, drafts bool) bool {
	p := &k.params
	keyColumns(p, list, func(r *bridge.ReceivedAt) *bridge.SessionKey { return &r.Key })
	column(p, int4OID, list, func(r *bridge.ReceivedAt) { p.int4Element(int32(r.PacketID)) })
	if drafts {
		column(p, byteaOID, list, func(r *bridge.ReceivedAt) { p.textElement(r.ClientID) })
	}
	return len(list) > 0
}

func (k *keep) encodeWills() bool {
	p, list := &k.params, k.wills
	keyColumns(p, list, func(w *bridge.Will) *bridge.SessionKey { return &w.Key })
	column(p, uuidOID, list, func(w *bridge.Will) { p.idElement(w.ID) })
	column(p, int2OID, list, func(w *bridge.Will) { p.int2Element(int16(w.QoS)) })
	column(p, byteaOID, list, func(w *bridge.Will) { p.textElement(w.Topic) })
	column(p, byteaOID, list, func(w *bridge.Will) { p.byteaElement(w.Payload) })
	column(p, byteaOID, list, func(w *bridge.Will) { p.byteaElement(w.Props) })
	column(p, boolOID, list, func(w *bridge.Will) { p.boolElement(w.Retain) })
	column(p, int8OID, list, func(w *bridge.Will) {
		if w.HasExpiry {
			p.int8Element(int64(w.Expiry))
		} else {
			p.null()
		}
	})
	column(p, int8OID, list, func(w *bridge.Will) { p.int8Element(int64(w.Delay)) })
	column(p, timestamptzOID, list, func(w *bridge.Will) { p.timeOrNullElement(w.Due) })
	return len(list) > 0
}

func (k *keep) encodeSent() bool {
	p, list := &k.params, k.c.Sent
	keyColumns(p, list, func(m *bridge.SentMark) *bridge.SessionKey { return &m.Key })
	column(p, int8OID, list, func(m *bridge.SentMark) { p.int8Element(toBigint(m.N)) })
	return len(list) > 0
}
