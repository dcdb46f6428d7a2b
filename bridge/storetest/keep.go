package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

var keepTests = []test{
	{"Deliveries", keepDeliveries},
	{"Ranges", keepRanges},
	{"Released", keepReleased},
	{"Done", keepDone},
	{"OneCall", keepOneCall},
	{"Repeated", keepRepeated},
	{"KnownMessage", keepKnownMessage},
	{"NoSession", keepNoSession},
	{"Nothing", keepNothing},
	{"Big", keepBig},
	{"AllOrNothing", keepAllOrNothing},
}

// --- steps

func (e *env) tryKeep(c bridge.Changes) error {
	return again(func() error { return e.s.Keep(e.ctx, &c) })
}

func (e *env) keep(c bridge.Changes) {
	e.Helper()
	e.ok(e.tryKeep(c), "keep")
}

// newMessage makes a message of an ordinary topic.
func (e *env) newMessage(topic, payload string) *bridge.Message {
	return &bridge.Message{ID: newID(), Topic: topic, Payload: []byte(payload), QoS: 1, Published: e.tick()}
}

func deliveryOf(key bridge.SessionKey, n uint64, m *bridge.Message) bridge.Delivery {
	return bridge.Delivery{Key: key, N: n, QoS: 1, Size: m.Size(), Message: m}
}

func nameOf(key bridge.SessionKey, ns ...uint64) (names []bridge.DeliveryKey) {
	for _, n := range ns {
		names = append(names, bridge.DeliveryKey{Key: key, N: n})
	}
	return names
}

// deliver keeps a message for one session, under each of the numbers.
func (e *env) deliver(key bridge.SessionKey, m *bridge.Message, ns ...uint64) (all []bridge.Delivery) {
	e.Helper()
	for _, n := range ns {
		all = append(all, deliveryOf(key, n, m))
	}
	e.keep(bridge.Changes{Messages: []*bridge.Message{m}, Deliveries: all})
	return all
}

// durable makes sessions that subscribe to everything.
func (e *env) durable(keys ...bridge.SessionKey) {
	e.Helper()
	for _, key := range keys {
		e.saveSession(bridge.Session{Key: key, Expiry: 60, Subscriptions: []bridge.Subscription{{Filter: "#", QoS: 2}}})
	}
}

func (e *env) queuedIn(ranges ...bridge.QueueRange) [][]bridge.Delivery {
	e.Helper()
	got, err := e.s.Queued(e.ctx, ranges)
	e.ok(err, "queued")
	if len(got) != len(ranges) {
		e.Fatalf("Queued gave %d answers for %d ranges", len(got), len(ranges))
	}
	for i := range got {
		got[i] = normalDeliveries(got[i])
	}
	return got
}

// queued answers all deliveries of a session.
func (e *env) queued(key bridge.SessionKey) []bridge.Delivery {
	e.Helper()
	return e.queuedIn(bridge.QueueRange{Key: key, Limit: lots})[0]
}

func (e *env) wantQueued(key bridge.SessionKey, want []bridge.Delivery, why string) {
	e.Helper()
	equal(e, e.queued(key), normalDeliveries(want), "%s: deliveries of %v", why, key)
}

// normalMessage is what a message reads as: times are UTC in whole
// milliseconds, and no bytes may be nil or empty.
func normalMessage(m bridge.Message) bridge.Message {
	normalTime := func(t time.Time) time.Time {
		if t.IsZero() {
			return time.Time{}
		}
		return t.UTC().Truncate(time.Millisecond)
	}
	m.Published, m.Expires = normalTime(m.Published), normalTime(m.Expires)
	if len(m.Payload) == 0 {
		m.Payload = nil
	}
	if len(m.Props) == 0 {
		m.Props = nil
	}
	return m
}

func normalDeliveries(all []bridge.Delivery) []bridge.Delivery {
	all = append([]bridge.Delivery{}, all...)
	for i := range all {
		if d := &all[i]; d.Message != nil {
			m := normalMessage(*d.Message)
			d.Message = &m
		}
		if len(all[i].SubIDs) == 0 {
			all[i].SubIDs = nil
		}
	}
	return all
}

// released is a delivery after its PUBREC.
func released(d bridge.Delivery) bridge.Delivery {
	d.Message, d.Released = nil, true
	return d
}

// --- tests

// anyBytes are bytes that no text has and that break what is not careful.
const anyBytes = "\x00\x01'\"\\%_\n\x7f\x80\xc0\xff\xfe"

// keepDeliveries: deliveries and their messages read as they were kept, also
// after a restart.
func keepDeliveries(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(bob, "laptop")
	e.durable(phone, laptop)
	at := time.Date(2027, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", -3600))
	plain := e.newMessage("a", "")
	full := &bridge.Message{ID: newID(), Topic: "ü/🐘/ " + anyBytes, Payload: []byte(anyBytes), Props: []byte("\x26" + anyBytes),
		QoS: 2, Published: at, Expires: at.Add(time.Hour)}
	last := &bridge.Message{ID: newID(), Topic: strings.Repeat("\xff", 1024), Payload: []byte("x"), Published: time.UnixMilli(0),
		Expires: time.UnixMilli(math.MaxUint32 * 1000)}
	toPhone := []bridge.Delivery{
		deliveryOf(phone, 1, plain),
		{Key: phone, N: 2, QoS: 2, Retain: true, SubIDs: []uint32{1, 268_435_455, 7, math.MaxUint32}, Share: "$share/ü/a/+", Size: 4711, Message: full},
		{Key: phone, N: 3, QoS: 2, Share: anyBytes, Message: plain},
		{Key: phone, N: 900, QoS: 1, SubIDs: []uint32{1}, Size: 1, Message: last},
		{Key: phone, N: maxSeq, QoS: 2, Size: math.MaxInt32, Released: true},
	}
	toLaptop := []bridge.Delivery{deliveryOf(laptop, 1, last), deliveryOf(laptop, 2, full)}
	e.keep(bridge.Changes{Messages: []*bridge.Message{plain, full, last}, Deliveries: slices.Concat(toLaptop, toPhone)})
	e.wantQueued(phone, toPhone, "as kept")
	e.wantQueued(laptop, toLaptop, "as kept")
	e.reopen()
	e.wantQueued(phone, toPhone, "after a restart")
	e.wantQueued(laptop, toLaptop, "after a restart")
}

// keepRanges: each range answers for itself, after a number and no more than
// its limit.
func keepRanges(e *env) {
	phone, laptop, other := sessionKey(alice, "phone"), sessionKey(alice, "laptop"), sessionKey(bob, "phone")
	e.durable(phone, laptop, other)
	m := e.newMessage("a", "x")
	var ns []uint64
	for n := uint64(1); n <= 300; n += 3 {
		ns = append(ns, n)
	}
	shuffled := slices.Clone(ns)
	slices.SortFunc(shuffled, func(a, b uint64) int { return int(a*7919%301) - int(b*7919%301) })
	e.deliver(phone, m, shuffled...)
	e.deliver(laptop, m, 5, 10)
	ranges := []bridge.QueueRange{{Key: laptop, After: 5, Limit: 9}, {Key: phone, Limit: 1}, {Key: sessionKey(alice, "none"), Limit: 9},
		{Key: other, Limit: 9}, {Key: phone, After: 150, Limit: 7}, {Key: phone, After: 298, Limit: 9}, {Key: phone, After: 297, Limit: 9},
		{Key: phone, After: math.MaxUint64, Limit: 9}, {Key: phone, After: 1, Limit: 0}, {Key: phone, Limit: lots}}
	want := [][]uint64{{10}, {1}, {}, {}, {151, 154, 157, 160, 163, 166, 169}, {}, {298}, {}, {}, ns}
	for i, got := range e.queuedIn(ranges...) {
		numbers := []uint64{}
		for _, d := range got {
			numbers = append(numbers, d.N)
			equal(e, d.Key, ranges[i].Key, "the key in the answer %d", i)
		}
		equal(e, numbers, want[i], "the answer for %+v", ranges[i])
	}
	equal(e, len(e.queuedIn()), 0, "answers for no ranges")
}

// keepReleased: a delivery that is released has no message and stands until
// it is done.
func keepReleased(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(alice, "laptop")
	e.durable(phone, laptop)
	m := e.newMessage("a", "x")
	want := e.deliver(phone, m, 1, 2, 3, 4)
	other := e.deliver(laptop, m, 1, 2, 3, 4)
	e.keep(bridge.Changes{Released: nameOf(phone, 4, 2, 99)})
	want[1], want[3] = released(want[1]), released(want[3])
	e.wantQueued(phone, want, "released")
	e.wantQueued(laptop, other, "the other session")
	e.keep(bridge.Changes{Released: nameOf(phone, 2, 3)})
	want[2] = released(want[2])
	e.wantQueued(phone, want, "released again, and one more")
	e.keep(bridge.Changes{Done: nameOf(phone, 2, 4)})
	e.wantQueued(phone, []bridge.Delivery{want[0], want[2]}, "done")
}

// keepDone: what is done is gone, in the session that it is done for.
func keepDone(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(bob, "phone")
	e.durable(phone, laptop)
	m := e.newMessage("a", "x")
	toPhone, toLaptop := e.deliver(phone, m, 1, 2, 3, 4, 5), e.deliver(laptop, m, 1, 2, 3)
	e.keep(bridge.Changes{Done: slices.Concat(nameOf(phone, 5, 1, 99), nameOf(laptop, 2))})
	e.wantQueued(phone, toPhone[1:4], "after some are done")
	e.wantQueued(laptop, []bridge.Delivery{toLaptop[0], toLaptop[2]}, "after some are done")
	e.keep(bridge.Changes{Done: nameOf(phone, 1, 2, 3, 4, 5)})
	e.wantQueued(phone, nil, "after all are done")
	// Their numbers may be used again.
	e.wantQueued(phone, e.deliver(phone, e.newMessage("b", "y"), 1), "a new one with an old number")
}

// keepOneCall: what one call changes is changed in the order of its fields.
func keepOneCall(e *env) {
	phone := sessionKey(alice, "phone")
	e.durable(phone)
	a, b := e.newMessage("a", "x"), e.newMessage("b", "y")
	old := e.deliver(phone, a, 1)
	d := []bridge.Delivery{deliveryOf(phone, 2, b), deliveryOf(phone, 3, a), deliveryOf(phone, 4, b)}
	e.keep(bridge.Changes{Messages: []*bridge.Message{b, a}, Deliveries: d, Released: nameOf(phone, 1, 2), Done: nameOf(phone, 3),
		Sent: []bridge.SentMark{{Key: phone, N: 2}}})
	e.wantQueued(phone, []bridge.Delivery{released(old[0]), released(d[0]), d[2]}, "after one call")
	equal(e, e.queue(phone).Sent, 2, "Sent")
}

// keepRepeated: a call whose outcome was unknown may be made again.
func keepRepeated(e *env) {
	phone := sessionKey(alice, "phone")
	e.durable(phone)
	e.deliver(phone, e.newMessage("a", "x"), 1, 2)
	m, r := e.newMessage("a", "x"), e.newMessage("r", "retained")
	d := deliveryOf(phone, 3, m)
	c := bridge.Changes{Messages: []*bridge.Message{m}, Deliveries: []bridge.Delivery{d}, Done: nameOf(phone, 1), Released: nameOf(phone, 2),
		Retained: []*bridge.Message{r, e.newMessage("none", "")}, Received: []bridge.ReceivedAt{receivedAt(phone, 1, "d")},
		Forgotten: []bridge.ReceivedAt{receivedAt(phone, 2, "")}, Wills: []bridge.Will{e.newWill(phone, "w")},
		NoWills: []bridge.SessionKey{sessionKey(bob, "x")}, Sent: []bridge.SentMark{{Key: phone, N: 1}}}
	e.keep(c)
	want := fmt.Sprint(e.ordinaryState(phone))
	for range 2 {
		e.keep(c)
		equal(e, fmt.Sprint(e.ordinaryState(phone)), want, "after it was repeated")
	}
	// A delivery that stands stays as it is.
	e.keep(bridge.Changes{Released: nameOf(phone, 3)})
	e.keep(c)
	equal(e, e.queued(phone)[1], released(d), "a delivery that was released meanwhile")
}

// ordinaryState is all that the store answers about a session and about what
// is retained, in words.
func (e *env) ordinaryState(keys ...bridge.SessionKey) (state []string) {
	e.Helper()
	for _, key := range keys {
		for _, d := range e.queued(key) {
			if d.Message != nil {
				state = append(state, fmt.Sprintf("%+v", *d.Message))
			}
			d.Message = nil
			state = append(state, fmt.Sprintf("%+v", d))
		}
		state = append(state, fmt.Sprintf("%+v %+v", e.queue(key), e.session(key)))
	}
	return append(state, fmt.Sprintf("%+v %+v", e.retained("", ""), e.wills()))
}

// keepKnownMessage: the first message of an id stands.
func keepKnownMessage(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(alice, "laptop")
	e.durable(phone, laptop)
	m := e.newMessage("a", "the first")
	want := e.deliver(phone, m, 1)
	twin := *e.newMessage("b", "the second")
	twin.ID, twin.QoS = m.ID, 2
	fresh := e.newMessage("c", "x")
	d := deliveryOf(laptop, 1, m)
	e.keep(bridge.Changes{Messages: []*bridge.Message{fresh, &twin}, Deliveries: []bridge.Delivery{d, deliveryOf(laptop, 2, fresh)}})
	e.wantQueued(phone, want, "the session that had it")
	e.wantQueued(laptop, []bridge.Delivery{d, deliveryOf(laptop, 2, fresh)}, "the session that got it then")
	// A message that stands need not be given again.
	e.keep(bridge.Changes{Deliveries: []bridge.Delivery{deliveryOf(laptop, 3, m)}, Done: nameOf(phone, 1)})
	e.sweep(0, 0)
	equal(e, e.queued(laptop)[2].Message.Payload, []byte("the first"), "the message that moved")
}

// keepNoSession: what belongs to sessions that do not stand is passed over,
// and does not hurt the rest.
func keepNoSession(e *env) {
	phone, none := sessionKey(alice, "phone"), sessionKey(bob, "phone")
	e.durable(phone)
	m, lost := e.newMessage("a", "x"), e.newMessage("a", "y")
	c := bridge.Changes{Messages: []*bridge.Message{m, lost},
		Deliveries: []bridge.Delivery{deliveryOf(none, 1, m), deliveryOf(phone, 1, m), deliveryOf(none, 2, lost), released(deliveryOf(none, 3, m))},
		Released:   slices.Concat(nameOf(none, 1), nameOf(phone, 1)), Done: slices.Concat(nameOf(none, 2), nameOf(phone, 7)),
		Received:  []bridge.ReceivedAt{receivedAt(none, 1, ""), receivedAt(phone, 2, "")},
		Forgotten: []bridge.ReceivedAt{receivedAt(none, 9, ""), receivedAt(phone, 9, "")},
		Sent:      []bridge.SentMark{{Key: none, N: 1}, {Key: phone, N: 5}}}
	e.keep(c)
	want := []bridge.Delivery{released(deliveryOf(phone, 1, m))}
	check := func(when string) {
		e.Helper()
		e.wantQueued(phone, want, when)
		equal(e, e.queue(phone).Sent, 5, "Sent %s", when)
		equal(e, e.session(phone).Received, []bridge.Received{{PacketID: 2}}, "Received %s", when)
		e.wantQueued(none, nil, when)
	}
	check("beside a session that does not stand")
	if s := e.trySession(none); s != nil {
		e.Errorf("changes made the session %+v", s)
	}
	// Both messages have no delivery: the one had a session, the other none.
	e.sweep(0, 2)
	// What was passed over does not wait for the session to come to be.
	e.durable(none)
	check("after the session came to be")
	equal(e, e.queue(none).Sent, 0, "Sent of the new session")
	equal(e, len(e.session(none).Received), 0, "Received of the new session")
}

func keepNothing(e *env) {
	e.keep(bridge.Changes{})
	e.keep(bridge.Changes{Messages: []*bridge.Message{}, Done: nameOf(sessionKey(alice, "none"), 1)})
}

// keepBig: messages as large as a packet may be, many in one call.
func keepBig(e *env) {
	phone := sessionKey(alice, "phone")
	e.durable(phone)
	const size = 256 << 10
	var c bridge.Changes
	for n := range uint64(20) {
		m := e.newMessage(fmt.Sprint("t", n), "")
		m.Payload = bytes.Repeat([]byte{byte(n), 0, 255, byte(n * 7)}, size/4)
		m.Props = bytes.Repeat([]byte{byte(n + 1)}, 1<<n%size)
		c.Messages, c.Deliveries = append(c.Messages, m), append(c.Deliveries, deliveryOf(phone, n+1, m))
		c.Retained = append(c.Retained, m)
		w := e.newWill(sessionKey(alice, fmt.Sprint(n)), "w")
		w.Payload = m.Payload
		c.Wills = append(c.Wills, w)
	}
	e.keep(c)
	e.wantQueued(phone, c.Deliveries, "large ones")
	for i, m := range e.retained("", "") {
		got := e.retainedOn(e.tick(), m.Topic)[0]
		equal(e, *got, m, "a large retained message, read alone")
		at := slices.IndexFunc(c.Retained, func(r *bridge.Message) bool { return r.Topic == m.Topic })
		equal(e, m, normalMessage(*c.Retained[at]), "large retained message %d", i)
	}
	for i, w := range e.wills() {
		at := slices.IndexFunc(c.Wills, func(c bridge.Will) bool { return c.Key == w.Key })
		equal(e, len(w.Payload), size, "large will %d", i)
		equal(e, w.Payload, c.Wills[at].Payload, "large will %d", i)
	}
}

// keepAllOrNothing: a call that is cut short has done everything or nothing,
// and may be repeated. What a server had got of it, it may still be at when
// the call has ended: each call has sessions of its own.
func keepAllOrNothing(e *env) {
	const rounds, each = 40, 20
	var calls []bridge.Changes
	cut := 0
	state := func(round int, why string) (deliveries int) {
		e.Helper()
		phone, laptop := sessionKey(alice, fmt.Sprint(round)), sessionKey(bob, fmt.Sprint(round))
		for _, got := range e.queuedIn(bridge.QueueRange{Key: phone, Limit: lots}, bridge.QueueRange{Key: laptop, Limit: lots}) {
			deliveries += len(got)
			if len(got) != 0 && len(got) != each {
				e.Errorf("%s: %d deliveries of %d stand", why, len(got), each)
			}
		}
		return deliveries
	}
	for round := range rounds {
		phone, laptop := sessionKey(alice, fmt.Sprint(round)), sessionKey(bob, fmt.Sprint(round))
		e.durable(phone, laptop)
		var c bridge.Changes
		for n := range uint64(each) {
			m := e.newMessage("a", strings.Repeat("x", 2000))
			c.Messages = append(c.Messages, m)
			c.Deliveries = append(c.Deliveries, deliveryOf(phone, n+1, m), deliveryOf(laptop, n+1, m))
		}
		calls = append(calls, c)
		ctx, cancel := context.WithTimeout(e.ctx, time.Duration(round%8)*400*time.Microsecond)
		err := e.s.Keep(ctx, &c)
		cancel()
		switch n := state(round, "after a call that may have been cut short"); {
		case err == nil && n != 2*each:
			e.Errorf("round %d: %d deliveries after a call that succeeded", round, n)
		case err != nil && !errors.Is(err, bridge.ErrUnavailable):
			e.Errorf("round %d: %v", round, err)
		case n != 0 && n != 2*each:
			e.Errorf("round %d: %d deliveries stand", round, n)
		case err != nil:
			cut++
		}
	}
	if cut == 0 {
		e.Errorf("no call was cut short")
	}
	for round, c := range calls {
		e.keep(c)
		equal(e, state(round, "after the call was repeated"), 2*each, "deliveries of round %d", round)
	}
}
