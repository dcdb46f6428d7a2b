package storetest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var retainedTests = []test{
	{"Put", retainedPut},
	{"Order", retainedOrder},
	{"By", retainedBy},
	{"Expiry", retainedExpiry},
	{"Count", retainedCount},
	{"Sweep", retainedSweep},
	{"Wills", retainedWills},
	{"WillOrder", retainedWillOrder},
}

func (e *env) retainedAt(now time.Time, from, to string, limit int) []bridge.Message {
	e.Helper()
	got, err := e.s.Retained(e.ctx, now, from, to, limit)
	e.ok(err, "retained")
	all := []bridge.Message{}
	for _, m := range got {
		all = append(all, normalMessage(m))
	}
	return all
}

// retained answers what is retained at an early time.
func (e *env) retained(from, to string) []bridge.Message {
	e.Helper()
	return e.retainedAt(time.UnixMilli(0), from, to, lots)
}

func (e *env) retainedOn(now time.Time, topics ...string) []*bridge.Message {
	e.Helper()
	got, err := e.s.RetainedOn(e.ctx, now, topics)
	e.ok(err, "retained on")
	if len(got) != len(topics) {
		e.Fatalf("RetainedOn gave %d answers for %d topics", len(got), len(topics))
	}
	for i, m := range got {
		if m != nil {
			n := normalMessage(*m)
			got[i] = &n
		}
	}
	return got
}

func (e *env) retain(all ...*bridge.Message) {
	e.Helper()
	e.keep(bridge.Changes{Retained: all})
}

func (e *env) wantRetained(why string, want ...*bridge.Message) {
	e.Helper()
	list := []bridge.Message{}
	for _, m := range want {
		list = append(list, normalMessage(*m))
	}
	slices.SortFunc(list, func(a, b bridge.Message) int { return strings.Compare(a.Topic, b.Topic) })
	equal(e, e.retained("", ""), list, "retained %s", why)
}

// retainedPut: one message is retained for each topic, the last one; an empty
// one removes it.
func retainedPut(e *env) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", -3600))
	a := &bridge.Message{ID: newID(), Topic: "a/" + anyBytes, Payload: []byte(anyBytes), Props: []byte(anyBytes), QoS: 2,
		Published: at, Expires: at.Add(time.Hour)}
	b, c := e.newMessage("b", "first"), e.newMessage("c", "x")
	e.retain(c, a, b)
	e.wantRetained("as kept", a, b, c)
	equal(e, e.retainedOn(at, "b", "none", a.Topic, "b", ""), []*bridge.Message{b, nil, ptr(normalMessage(*a)), b, nil}, "retained on topics")
	equal(e, len(e.retainedOn(at)), 0, "answers for no topics")

	b2, a2 := e.newMessage("b", "second"), &bridge.Message{ID: newID(), Topic: a.Topic, Payload: []byte("x"), Published: e.tick()}
	none := e.newMessage("none", "")
	gone := &bridge.Message{ID: newID(), Topic: "c", Payload: []byte{}, Props: []byte("x"), Published: e.tick(), Expires: e.tick()}
	e.retain(b2, none, a2, gone)
	e.wantRetained("after two were replaced and one removed", a2, b2)
	e.retain(gone, none)
	e.reopen()
	e.wantRetained("after a restart", a2, b2)
	e.retain(c)
	e.wantRetained("after one came again", a2, b2, c)
}

func ptr[T any](v T) *T { return &v }

// retainedBy: a user's own, page by page, without what has expired and what
// others have put in their place.
func retainedBy(e *env) {
	now := e.tick()
	put := func(user, topic string, expires time.Time) *bridge.Message {
		m := e.newMessage(topic, "by "+user)
		m.UserID, m.Expires = user, expires
		e.retain(m)
		return m
	}
	put(alice, "a", time.Time{})
	want := []*bridge.Message{put(alice, "a/\xff", time.Time{}), put(alice, "b", now.Add(time.Hour))}
	put(alice, "c", now)
	put(bob, "a/b", time.Time{})
	put(bob, "a", time.Time{})
	var got []*bridge.Message
	for after := (chat.ID{}); ; {
		page, err := e.s.RetainedBy(e.ctx, now, alice, after, 1)
		if e.ok(err, "retained by"); len(page) == 0 {
			break
		}
		equal(e, len(page), 1, "messages on a page")
		after = page[0].ID
		got = append(got, ptr(normalMessage(page[0])))
	}
	for i, m := range want {
		want[i] = ptr(normalMessage(*m))
	}
	slices.SortFunc(want, func(a, b *bridge.Message) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	equal(e, got, want, "what alice has retained")
	none, err := e.s.RetainedBy(e.ctx, now, "nobody", chat.ID{}, lots)
	e.ok(err, "retained by nobody")
	equal(e, len(none), 0, "what nobody has retained")
}

// retainedOrder: a range is in the order of bytes, whatever they are, and
// pages join without a gap.
func retainedOrder(e *env) {
	topics := []string{"", "\x00", "\x00\x00", "\x01", " ", "+", "/", "//", "A", "A/b", "B", "a", "a ", "a+", "a/", "a/\x00", "a/A", "a/a", "a/b",
		"a/b/c", "a/é", "a/\xff", "a/\xff\xff", "a0", "aa", "b", "~", "\x7f", "\x80", "\xc3", "é", "ü", "\xf0\x9f", "🐘", "\xfe", "\xff",
		"\xff\x00", "\xff\xff", strings.Repeat("\xff", 1024)}
	if !slices.IsSorted(topics) {
		e.Fatalf("the topics of this test are not in order")
	}
	saved := slices.Clone(topics)
	slices.Reverse(saved)
	var all []*bridge.Message
	for _, topic := range saved {
		all = append(all, e.newMessage(topic, "x"))
	}
	e.retain(all...)
	names := func(all []bridge.Message) []string {
		got := []string{}
		for _, m := range all {
			got = append(got, m.Topic)
		}
		return got
	}
	equal(e, names(e.retained("", "")), topics, "all topics")
	ends := append(slices.Clone(topics), "a/\x01", "a/zz", "\xfd")
	for _, from := range ends {
		for _, to := range ends {
			want := []string{}
			for _, topic := range topics {
				if topic >= from && (to == "" || topic < to) {
					want = append(want, topic)
				}
			}
			equal(e, names(e.retained(from, to)), want, "from %q to %q", from, to)
		}
	}
	for _, limit := range []int{0, 1, 2, 7} {
		got, from := []string{}, "\x00"
		for range topics {
			page := names(e.retainedAt(e.tick(), from, "\xff\xff", limit))
			if len(page) > limit {
				e.Fatalf("%d answers with limit %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			got, from = append(got, page...), page[len(page)-1]+"\x00"
		}
		want := topics[1 : len(topics)-2]
		if limit == 0 {
			want = []string{}
		}
		equal(e, got, want, "pages of %d", limit)
	}
}

// retainedExpiry: a message that has expired is not answered, to the
// millisecond, and the limit counts those that are.
func retainedExpiry(e *env) {
	at := e.tick()
	var topics []string
	for i := range 10 {
		m := e.newMessage(fmt.Sprint("t", i), "x")
		if i%2 == 1 {
			m.Expires = at.Add(time.Duration(i) * time.Millisecond)
		}
		topics = append(topics, m.Topic)
		e.retain(m)
	}
	for later := range 12 {
		now := at.Add(time.Duration(later)*time.Millisecond + 999*time.Microsecond)
		var want []string
		for i, topic := range topics {
			if i%2 == 0 || later < i {
				want = append(want, topic)
			}
		}
		got, onTopics := []string{}, []string{}
		for _, m := range e.retainedAt(now, "", "", lots) {
			got = append(got, m.Topic)
		}
		for _, m := range e.retainedOn(now, topics...) {
			if m != nil {
				onTopics = append(onTopics, m.Topic)
			}
		}
		equal(e, got, want, "retained %d ms later", later)
		equal(e, onTopics, want, "retained on the topics %d ms later", later)
		equal(e, len(e.retainedAt(now, "", "t9", 5)), 5, "answers with limit 5")
	}
	// One without an expiry replaces one that has expired, and the other way.
	e.retain(e.newMessage("t1", "x"))
	m := e.newMessage("t2", "x")
	m.Expires = at
	e.retain(m)
	equal(e, e.retainedOn(at.Add(time.Hour), "t1")[0] != nil, true, "one that was replaced stands")
	equal(e, e.retainedOn(at, "t2")[0] == nil, true, "one that expires at once has gone")
}

// retainedCount: all that are kept count, with topic, payload and properties.
func retainedCount(e *env) {
	want := func(count, bytes int64) {
		e.Helper()
		n, size, err := e.s.CountRetained(e.ctx)
		e.ok(err, "count")
		equal(e, [2]int64{n, size}, [2]int64{count, bytes}, "count and bytes")
	}
	want(0, 0)
	a, b := e.newMessage("aé", "123"), e.newMessage("b", "1")
	a.Props, a.Expires = []byte("12345"), e.tick()
	e.retain(a, b)
	want(2, 3+3+5+2)
	e.retain(e.newMessage("b", "12345"))
	want(2, 3+3+5+6)
	e.retain(e.newMessage("aé", ""), e.newMessage("c", ""))
	want(1, 6)
}

// retainedSweep: what has expired goes, with its size, no more than the
// limit.
func retainedSweep(e *env) {
	at := e.tick()
	var all []*bridge.Message
	for i := range 30 {
		m := e.newMessage(fmt.Sprint("t", i%10, i/10), strings.Repeat("x", i))
		if len(m.Payload) > 0 && i/10 < 2 {
			m.Expires = at.Add(time.Duration(i%10) * time.Millisecond)
		}
		all = append(all, m)
	}
	e.retain(all[1:]...)
	left := all[1:]
	for _, step := range []struct {
		later time.Duration
		limit int
	}{{-1, 100}, {0, 100}, {1, 100}, {5, 0}, {5, 3}, {5, 100}, {5, 100}, {100, 2}, {1000, 100}, {math.MaxInt32, 100}} {
		now := at.Add(step.later*time.Millisecond + 999*time.Microsecond)
		var stay, gone []*bridge.Message
		for _, m := range left {
			if m.Expires.IsZero() || now.Before(m.Expires) {
				stay = append(stay, m)
			} else {
				gone = append(gone, m)
			}
		}
		before := e.retained("", "")
		got, err := e.s.SweepMessages(e.ctx, now, step.limit)
		e.ok(err, "sweep")
		left = slices.Clone(stay)
		bytes, standing := int64(0), e.retained("", "")
		for _, m := range gone {
			if slices.ContainsFunc(standing, func(s bridge.Message) bool { return s.ID == m.ID }) {
				left = append(left, m)
			} else {
				bytes += int64(m.Size())
			}
		}
		equal(e, got, bridge.Swept{Retained: min(step.limit, len(gone)), RetainedBytes: bytes}, "swept %+v", step)
		equal(e, len(before)-len(standing), got.Retained, "that have gone %+v", step)
		e.wantRetained(fmt.Sprintf("%+v", step), left...)
	}
	equal(e, len(left), 10, "that stay")
}

// --- wills

func (e *env) newWill(key bridge.SessionKey, topic string) bridge.Will {
	return bridge.Will{Key: key, Message: bridge.Message{ID: newID(), Topic: topic, Payload: []byte("gone")}}
}

func (e *env) willsAfter(after bridge.SessionKey, limit int) []bridge.Will {
	e.Helper()
	got, err := e.s.Wills(e.ctx, after, limit)
	e.ok(err, "wills")
	all := []bridge.Will{}
	for _, w := range got {
		w.Message = normalMessage(w.Message)
		all = append(all, w)
	}
	return all
}

func (e *env) wills() []bridge.Will {
	e.Helper()
	return e.willsAfter(bridge.SessionKey{}, lots)
}

// retainedWills: a session has one will, the last one, whether it is durable
// or not.
func retainedWills(e *env) {
	phone, laptop, other := sessionKey(alice, "phone"), sessionKey(bob, ""), sessionKey("Alice", "phone")
	e.durable(phone)
	plain := e.newWill(laptop, "w")
	full := bridge.Will{Key: phone, Retain: true, HasExpiry: true, Expiry: math.MaxUint32, Delay: math.MaxUint32, Due: e.tick(),
		Message: bridge.Message{ID: newID(), Topic: "ü/" + anyBytes, Payload: []byte(anyBytes), Props: []byte(anyBytes), QoS: 2}}
	at := time.Date(2027, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", -3600))
	empty := bridge.Will{Key: other, HasExpiry: true, Message: bridge.Message{ID: newID(), Topic: "w", QoS: 1}, Due: at}
	e.keep(bridge.Changes{Wills: []bridge.Will{plain, full, empty}})
	empty.Due = at.UTC().Truncate(time.Millisecond)
	equal(e, e.wills(), []bridge.Will{empty, full, plain}, "wills as kept")
	e.reopen()
	equal(e, e.wills(), []bridge.Will{empty, full, plain}, "wills after a restart")

	full.Due, full.HasExpiry, full.Expiry = time.Time{}, false, 0
	next := e.newWill(laptop, "another")
	next.Due = e.tick()
	e.keep(bridge.Changes{Wills: []bridge.Will{next, full}, NoWills: []bridge.SessionKey{other, sessionKey("none", "x")}})
	equal(e, e.wills(), []bridge.Will{full, next}, "wills after some were replaced")
	// A durable session that ends leaves its will, and so does the rest.
	e.ok(e.s.DeleteSession(e.ctx, phone), "delete")
	e.ok(e.s.ReleaseSessions(e.ctx, e.tick()), "release")
	e.sweep(0, 0)
	equal(e, e.wills(), []bridge.Will{full, next}, "wills after a session was deleted")
	e.keep(bridge.Changes{NoWills: []bridge.SessionKey{phone}})
	equal(e, e.wills(), []bridge.Will{next}, "wills after one was removed")
}

// retainedWillOrder: pages are in order of user and client id, byte by byte.
func retainedWillOrder(e *env) {
	keys := []bridge.SessionKey{sessionKey("A", "z"), sessionKey("B", "a"), sessionKey("a", ""), sessionKey("a", "A"), sessionKey("a", "a"),
		sessionKey("a", "b"), sessionKey("a b", "a"), sessionKey("aa", "a"), sessionKey("é", "a"), sessionKey("🐘", "🐘")}
	var c bridge.Changes
	for i := range keys {
		c.Wills = append(c.Wills, e.newWill(keys[len(keys)-1-i], "w"))
	}
	e.keep(c)
	for _, limit := range []int{1, 3, len(keys)} {
		var got []bridge.SessionKey
		for after := (bridge.SessionKey{}); ; after = got[len(got)-1] {
			page := e.willsAfter(after, limit)
			if len(page) == 0 {
				break
			}
			equal(e, len(page), min(limit, len(keys)-len(got)), "a page with limit %d", limit)
			for _, w := range page {
				got = append(got, w.Key)
			}
		}
		equal(e, got, keys, "pages of %d", limit)
	}
	equal(e, len(e.willsAfter(bridge.SessionKey{}, 0)), 0, "no page")
}
