package storetest

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

var queueTests = []test{
	{"Which", queueWhich},
	{"What", queueWhat},
	{"Order", queueOrder},
	{"Sent", queueSent},
	{"Options", queueOptions},
	{"Received", queueReceived},
	{"Deleted", queueDeleted},
	{"Expired", queueExpired},
	{"Swept", queueSwept},
	{"SweptShared", queueSweptShared},
	{"SweepLimit", queueSweepLimit},
}

func receivedAt(key bridge.SessionKey, id uint16, clientID string) bridge.ReceivedAt {
	return bridge.ReceivedAt{Key: key, Received: bridge.Received{PacketID: id, ClientID: clientID}}
}

// queuesAfter answers a page. Subscriptions are sorted.
func (e *env) queuesAfter(after bridge.SessionKey, limit int) []bridge.Queue {
	e.Helper()
	got, err := e.s.Queues(e.ctx, after, limit)
	e.ok(err, "queues")
	for i := range got {
		got[i].Session = normalSession(got[i].Session)
	}
	return got
}

// queue is the queue of one session; one that is not there is the zero one.
func (e *env) queue(key bridge.SessionKey) bridge.Queue {
	e.Helper()
	for _, q := range e.queuesAfter(bridge.SessionKey{}, lots) {
		if q.Key == key {
			return q
		}
	}
	return bridge.Queue{}
}

func (e *env) wantQueues(want []bridge.SessionKey, why string) {
	e.Helper()
	keys := []bridge.SessionKey{}
	for _, q := range e.queuesAfter(bridge.SessionKey{}, lots) {
		keys = append(keys, q.Key)
	}
	equal(e, keys, want, "%s", why)
}

// sweep wants a sweep at an early time to remove so many of each.
func (e *env) sweep(retained, messages int) {
	e.Helper()
	got, err := e.s.SweepMessages(e.ctx, time.UnixMilli(0), lots)
	e.ok(err, "sweep")
	got.RetainedBytes = 0
	equal(e, got, bridge.Swept{Retained: retained, Messages: messages}, "swept")
}

// queueWhich: those sessions are answered that subscribe to ordinary topics,
// or have a delivery.
func queueWhich(e *env) {
	chat, both, plain := sessionKey(alice, "1 chat"), sessionKey(alice, "2 both"), sessionKey(alice, "3 plain")
	subs := map[bridge.SessionKey][]bridge.Subscription{
		chat:  {{Filter: "chat/+/messages", QoS: 1}, {Filter: "users/alice/#", QoS: 1}},
		both:  {{Filter: "chat/+/messages", QoS: 1}, {Filter: "a/+", QoS: 1}},
		plain: {{Filter: "$share/g/a/#"}},
	}
	for key, subs := range subs {
		e.saveSession(bridge.Session{Key: key, Subscriptions: subs})
	}
	none := sessionKey(alice, "4 none")
	e.saveSession(bridge.Session{Key: none})
	e.wantQueues([]bridge.SessionKey{both, plain}, "those that subscribe")

	m := e.newMessage("a", "x")
	for _, key := range []bridge.SessionKey{chat, none, both} {
		e.deliver(key, m, 1, 2)
	}
	e.wantQueues([]bridge.SessionKey{chat, both, plain, none}, "with deliveries")
	for _, key := range []bridge.SessionKey{both, plain} {
		e.saveSession(bridge.Session{Key: key, Subscriptions: subs[chat]})
	}
	e.wantQueues([]bridge.SessionKey{chat, both, none}, "after they unsubscribed")
	e.keep(bridge.Changes{Done: slices.Concat(nameOf(both, 1, 2), nameOf(none, 1))})
	e.wantQueues([]bridge.SessionKey{chat, none}, "after the last delivery of one is done")
	e.saveSession(bridge.Session{Key: both, Subscriptions: subs[both]})
	e.wantQueues([]bridge.SessionKey{chat, both, none}, "after one subscribed again")
}

// queueWhat: a queue has the session as it stands, and counts what it has.
func queueWhat(e *env) {
	phone := sessionKey(alice, "phone")
	e.fill("c", 9)
	s := bridge.Session{Key: phone, Expiry: 4711, EndedAt: e.tick(), Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 3}},
		Subscriptions: []bridge.Subscription{{Filter: "a/#", QoS: 1}, {Filter: "chat/+/messages", QoS: 1}}}
	e.saveSession(s)
	e.keep(bridge.Changes{Received: []bridge.ReceivedAt{receivedAt(phone, 1, "")}})
	s.Cursors = nil
	want := bridge.Queue{Session: normalSession(s)}
	equal(e, e.queue(phone), want, "an empty queue")

	big := e.newMessage("a", "x")
	d := []bridge.Delivery{deliveryOf(phone, 7, big), deliveryOf(phone, 3, big), deliveryOf(phone, 9, big)}
	d[0].Size, d[1].Size, d[2].Size = math.MaxInt32, 1, math.MaxInt32
	e.keep(bridge.Changes{Messages: []*bridge.Message{big}, Deliveries: d})
	want.Count, want.Bytes, want.Last = 3, 1+2*math.MaxInt32, 9
	equal(e, e.queue(phone), want, "with three deliveries")
	e.keep(bridge.Changes{Released: nameOf(phone, 9)})
	equal(e, e.queue(phone), want, "with one of them released")
	e.keep(bridge.Changes{Done: nameOf(phone, 9)})
	want.Count, want.Bytes, want.Last = 2, 1+math.MaxInt32, 7
	equal(e, e.queue(phone), want, "without the last")

	e.mark(bridge.SessionMark{Key: phone, Expiry: bridge.NeverExpires})
	want.Expiry, want.EndedAt = bridge.NeverExpires, time.Time{}
	equal(e, e.queue(phone), want, "connected")
}

// queueOrder: pages are in order of user and client id, byte by byte, and
// join without a gap.
func queueOrder(e *env) {
	keys := []bridge.SessionKey{sessionKey("A", "z"), sessionKey("B", "a"), sessionKey("a", ""), sessionKey("a", " "),
		sessionKey("a", "A"), sessionKey("a", "a"), sessionKey("a", "a "), sessionKey("a", "b"), sessionKey("a b", "a"),
		sessionKey("aa", "a"), sessionKey("z", "a"), sessionKey("é", "a"), sessionKey("ü", "a"), sessionKey("🐘", "🐘")}
	saved := slices.Clone(keys)
	slices.Reverse(saved)
	e.durable(saved...)
	e.wantQueues(keys, "all")
	for _, limit := range []int{1, 3, 7, len(keys)} {
		var got []bridge.SessionKey
		for after := (bridge.SessionKey{}); ; after = got[len(got)-1] {
			page := e.queuesAfter(after, limit)
			if len(page) == 0 {
				break
			}
			equal(e, len(page), min(limit, len(keys)-len(got)), "a page with limit %d", limit)
			for _, q := range page {
				got = append(got, q.Key)
			}
		}
		equal(e, got, keys, "pages of %d", limit)
	}
	equal(e, e.queuesAfter(sessionKey("a", "aa"), 1)[0].Key, sessionKey("a", "b"), "after a key that does not stand")
	equal(e, len(e.queuesAfter(bridge.SessionKey{}, 0)), 0, "no page")
}

// queueSent: a mark replaces that of its session and goes with it.
func queueSent(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(alice, "laptop")
	e.durable(phone, laptop)
	for _, n := range []uint64{7, 7, 3, 0, maxSeq} {
		e.keep(bridge.Changes{Sent: []bridge.SentMark{{Key: phone, N: n}}})
		equal(e, e.queue(phone).Sent, n, "Sent")
	}
	equal(e, e.queue(laptop).Sent, 0, "Sent of the other session")
	e.keep(bridge.Changes{Sent: []bridge.SentMark{{Key: phone, N: 1}, {Key: laptop, N: 2}}})
	equal(e, [2]uint64{e.queue(phone).Sent, e.queue(laptop).Sent}, [2]uint64{1, 2}, "Sent of both")
	e.durable(phone)
	equal(e, e.queue(phone).Sent, 1, "Sent after the session was saved again")
	e.ok(e.s.DeleteSession(e.ctx, phone), "delete")
	e.durable(phone)
	equal(e, e.queue(phone).Sent, 0, "Sent of a new session")
}

// queueOptions: a subscription reads with all its options.
func queueOptions(e *env) {
	s := bridge.Session{Key: sessionKey(alice, "phone"), Subscriptions: []bridge.Subscription{
		{Filter: "a"}, {Filter: "b", QoS: 2, NoLocal: true}, {Filter: "c", RetainAsPublished: true}, {Filter: "d", ID: 1},
		{Filter: "e", QoS: 1, NoLocal: true, RetainAsPublished: true, ID: 268_435_455}}}
	e.saveSession(s)
	e.wantSession(s, "as saved")
	equal(e, e.queue(s.Key).Subscriptions, s.Subscriptions, "in the queue")
	s.Subscriptions[4], s.Subscriptions[0].NoLocal = bridge.Subscription{Filter: "e"}, true
	e.saveSession(s)
	e.wantSession(s, "saved again")
}

// queueReceived: packet identifiers stand until they are released, and saving
// the session leaves them.
func queueReceived(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(bob, "phone")
	e.durable(phone, laptop)
	e.keep(bridge.Changes{Received: []bridge.ReceivedAt{receivedAt(phone, 9, "draft"), receivedAt(phone, math.MaxUint16, anyBytes),
		receivedAt(laptop, 9, ""), receivedAt(phone, 1, "")}})
	want := []bridge.Received{{PacketID: 1}, {PacketID: 9, ClientID: "draft"}, {PacketID: math.MaxUint16, ClientID: anyBytes}}
	check := func(when string) {
		e.Helper()
		equal(e, e.session(phone).Received, want, "Received %s", when)
		equal(e, e.session(laptop).Received, []bridge.Received{{PacketID: 9}}, "Received of the other session %s", when)
	}
	check("as kept")
	e.durable(phone)
	check("after the session was saved")
	s := e.session(phone)
	s.Received = []bridge.Received{{PacketID: 4711, ClientID: "x"}}
	e.saveSession(s)
	check("after it was saved with others")
	e.keep(bridge.Changes{Received: []bridge.ReceivedAt{receivedAt(phone, 1, "late"), receivedAt(phone, 9, "")}})
	want[0].ClientID, want[1].ClientID = "late", ""
	check("with other ClientIDs")
	e.keep(bridge.Changes{Received: []bridge.ReceivedAt{receivedAt(phone, 2, "")},
		Forgotten: []bridge.ReceivedAt{receivedAt(phone, 9, "whatever"), receivedAt(phone, 9999, ""), receivedAt(phone, math.MaxUint16, "")}})
	want = []bridge.Received{want[0], {PacketID: 2}}
	check("after some are forgotten")
	e.reopen()
	check("after a restart")
}

// queueDeleted: a session takes all with it but its will, and leaves the
// messages that it had to be swept.
func queueDeleted(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(bob, "phone")
	e.durable(phone, laptop)
	shared, own := e.newMessage("a", "x"), e.newMessage("b", "y")
	kept := e.deliver(laptop, shared, 1)
	e.deliver(phone, shared, 1, 2)
	e.deliver(phone, own, 3)
	w := e.newWill(phone, "w")
	e.keep(bridge.Changes{Wills: []bridge.Will{w}, Sent: []bridge.SentMark{{Key: phone, N: 3}},
		Received: []bridge.ReceivedAt{receivedAt(phone, 1, ""), receivedAt(laptop, 1, "")}})
	for range 2 {
		e.ok(again(func() error { return e.s.DeleteSession(e.ctx, phone) }), "delete")
	}
	e.wantQueued(phone, nil, "after it was deleted")
	e.wantQueues([]bridge.SessionKey{laptop}, "after one was deleted")
	equal(e, e.wills(), []bridge.Will{w}, "wills")
	e.durable(phone)
	want := bridge.Queue{Session: e.session(phone)}
	want.Received = nil
	equal(e, e.queue(phone), want, "the queue of a new session")
	e.wantQueued(phone, nil, "a new session")
	equal(e, len(e.session(phone).Received), 0, "Received of a new session")
	e.sweep(0, 1)
	e.wantQueued(laptop, kept, "the other session")
	equal(e, len(e.session(laptop).Received), 1, "Received of the other session")
}

// queueExpired is queueDeleted for sessions that are swept.
func queueExpired(e *env) {
	at := e.tick()
	m, all := e.newMessage("a", "x"), []bridge.SessionKey{}
	for i := range 7 {
		key := sessionKey(alice, fmt.Sprint(i))
		all = append(all, key)
		s := bridge.Session{Key: key, Subscriptions: []bridge.Subscription{{Filter: "#"}}}
		if i > 0 {
			s.EndedAt = at
		}
		e.saveSession(s)
		e.deliver(key, m, 1)
		e.deliver(key, e.newMessage("b", "y"), 2, 3)
		e.keep(bridge.Changes{Received: []bridge.ReceivedAt{receivedAt(key, 1, "")}, Sent: []bridge.SentMark{{Key: key, N: 1}},
			Wills: []bridge.Will{e.newWill(key, "w")}})
	}
	for _, n := range []int{4, 2, 0} {
		got, err := e.s.SweepSessions(e.ctx, at, 4)
		e.ok(err, "sweep")
		equal(e, got, n, "swept sessions")
		e.sweep(0, n)
	}
	e.wantQueues(all[:1], "that stay")
	equal(e, len(e.queued(all[0])), 3, "deliveries that stay")
	equal(e, len(e.wills()), 7, "wills")
	e.durable(all...)
	for _, key := range all[1:] {
		e.wantQueued(key, nil, "a new session")
		equal(e, len(e.session(key).Received), 0, "Received of a new session")
		equal(e, e.queue(key).Sent, 0, "Sent of a new session")
	}
}

// queueSwept: a message goes when its last delivery has gone, and no sooner.
func queueSwept(e *env) {
	phone := sessionKey(alice, "phone")
	e.durable(phone)
	e.sweep(0, 0)
	a, b, c := e.newMessage("a", "x"), e.newMessage("b", "y"), e.newMessage("c", "z")
	e.deliver(phone, a, 1)
	e.deliver(phone, b, 2, 3)
	want := e.deliver(phone, c, 4)
	e.sweep(0, 0)
	e.keep(bridge.Changes{Done: nameOf(phone, 1, 2)})
	e.sweep(0, 1)
	equal(e, len(e.queued(phone)), 2, "deliveries that stay")
	equal(e, e.queued(phone)[0].Message.Topic, "b", "a message that still has a delivery")
	e.keep(bridge.Changes{Released: nameOf(phone, 3)})
	e.sweep(0, 1)
	e.keep(bridge.Changes{Done: nameOf(phone, 3)})
	e.sweep(0, 0)
	e.wantQueued(phone, want, "what was not touched")

	// A message that was swept, or could have been, may come again.
	for _, swept := range []bool{true, false} {
		want := append(want, e.deliver(phone, a, 9)...)
		e.keep(bridge.Changes{Done: nameOf(phone, 9)})
		if swept {
			e.sweep(0, 1)
		}
		e.deliver(phone, a, 9)
		e.sweep(0, 0)
		e.wantQueued(phone, want, "a message that came again")
		e.keep(bridge.Changes{Done: nameOf(phone, 9)})
		e.sweep(0, 1)
	}
	e.ok(again(func() error { return e.s.DeleteSession(e.ctx, phone) }), "delete")
	e.sweep(0, 1)
}

// queueSweptShared: a message with many deliveries stays for the last one.
func queueSweptShared(e *env) {
	m, other := e.newMessage("a", "x"), e.newMessage("b", "y")
	var keys []bridge.SessionKey
	c := bridge.Changes{Messages: []*bridge.Message{m, other}}
	for i := range 30 {
		key := sessionKey(alice, fmt.Sprint(i))
		keys = append(keys, key)
		c.Deliveries = append(c.Deliveries, deliveryOf(key, 1, m), deliveryOf(key, 2, other))
	}
	e.durable(keys...)
	e.keep(c)
	for i, key := range keys {
		e.sweep(0, 0)
		equal(e, len(e.queued(keys[29])[0].Message.Payload), 1, "the payload for the last")
		if i%2 == 0 {
			e.keep(bridge.Changes{Done: nameOf(key, 1)})
		} else {
			e.ok(again(func() error { return e.s.DeleteSession(e.ctx, key) }), "delete")
		}
	}
	e.sweep(0, 1)
}

// queueSweepLimit: no more go than the limit, and fewer only when there are
// no more, whatever else has lost a delivery.
func queueSweepLimit(e *env) {
	phone, laptop := sessionKey(alice, "phone"), sessionKey(alice, "laptop")
	e.durable(phone, laptop)
	const orphans, wanted = 25, 40
	var c, done bridge.Changes
	for n := range uint64(wanted + orphans) {
		m := e.newMessage("a", "x")
		m.Expires = e.tick()
		c.Messages, c.Deliveries = append(c.Messages, m), append(c.Deliveries, deliveryOf(phone, n+1, m))
		if n < wanted {
			c.Deliveries = append(c.Deliveries, deliveryOf(laptop, n+1, m))
		}
		done.Done = append(done.Done, bridge.DeliveryKey{Key: phone, N: n + 1})
	}
	e.keep(c)
	e.keep(done)
	left := orphans
	for _, limit := range []int{1, 10, 10, 10, 10, 0} {
		got, err := e.s.SweepMessages(e.ctx, e.tick(), limit)
		e.ok(err, "sweep")
		equal(e, got, bridge.Swept{Messages: min(limit, left)}, "swept with limit %d", limit)
		left -= got.Messages
	}
	for _, d := range e.queued(laptop) {
		if d.Message == nil {
			e.Errorf("delivery %d has lost its message", d.N)
		}
	}
	equal(e, len(e.queued(laptop)), wanted, "deliveries that stay")
}
