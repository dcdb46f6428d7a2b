package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var sessionTests = []test{
	{"Save", sessionSave},
	{"SameClientID", sessionSameClientID},
	{"Cursors", sessionCursors},
	{"CursorsOfNothing", sessionCursorsOfNothing},
	{"DropCursors", sessionDropCursors},
	{"CursorsOfDeleted", sessionCursorsOfDeleted},
	{"Mark", sessionMark},
	{"MarkMany", sessionMarkMany},
	{"Delete", sessionDelete},
	{"Release", sessionRelease},
	{"Sweep", sessionSweep},
	{"SweepLimit", sessionSweepLimit},
	{"Many", sessionMany},
}

func sessionKey(user, client string) bridge.SessionKey {
	return bridge.SessionKey{UserID: user, ClientID: client}
}

// trySession answers the session, or nil. Subscriptions and cursors are
// sorted: the contract leaves their order open.
func (e *env) trySession(key bridge.SessionKey) *bridge.Session {
	e.Helper()
	got, err := e.s.Sessions(e.ctx, []bridge.SessionKey{key})
	e.ok(err, "session %v", key)
	if len(got) != 1 {
		e.Fatalf("Sessions gave %d answers for one key", len(got))
	}
	if got[0] == nil {
		return nil
	}
	s := normalSession(*got[0])
	return &s
}

// session is trySession; a session that does not stand is the zero one.
func (e *env) session(key bridge.SessionKey) bridge.Session {
	e.Helper()
	if s := e.trySession(key); s != nil {
		return *s
	}
	return bridge.Session{}
}

func normalSession(s bridge.Session) bridge.Session {
	s.Subscriptions = append([]bridge.Subscription{}, s.Subscriptions...)
	slices.SortFunc(s.Subscriptions, func(a, b bridge.Subscription) int { return cmp.Compare(a.Filter, b.Filter) })
	s.Cursors = append([]bridge.Cursor{}, s.Cursors...)
	slices.SortFunc(s.Cursors, func(a, b bridge.Cursor) int { return cmp.Compare(a.Stream, b.Stream) })
	if len(s.Received) == 0 {
		s.Received = nil
	}
	return s
}

func (e *env) saveSession(s bridge.Session) {
	e.Helper()
	e.ok(again(func() error { return e.s.SaveSession(e.ctx, s) }), "save session")
}

func (e *env) mark(marks ...bridge.SessionMark) {
	e.Helper()
	e.ok(again(func() error { return e.s.MarkSessions(e.ctx, marks) }), "mark sessions")
}

func (e *env) saveCursors(cursors ...bridge.CursorAt) {
	e.Helper()
	e.ok(again(func() error { return e.s.SaveCursors(e.ctx, cursors) }), "save cursors")
}

func cursorAt(key bridge.SessionKey, stream chat.StreamID, seq uint64) bridge.CursorAt {
	return bridge.CursorAt{Key: key, Cursor: bridge.Cursor{Stream: stream, Seq: seq}}
}

func (e *env) wantSession(want bridge.Session, why string) {
	e.Helper()
	got := e.trySession(want.Key)
	if got == nil {
		e.Errorf("%s: there is no session %v", why, want.Key)
		return
	}
	equal(e, *got, normalSession(want), "%s", why)
}

// sessionSave: a session reads as it was saved; saving it again replaces it
// and its subscriptions, but its cursors only grow.
func sessionSave(e *env) {
	for _, conv := range []string{"a", "b", "c"} {
		e.fill(conv, 20)
	}
	key := sessionKey(alice, "a phone/with +# any 🐘 name")
	if s := e.trySession(key); s != nil {
		e.Errorf("a session that was never saved: %+v", s)
	}
	s := bridge.Session{Key: key}
	e.saveSession(s)
	e.wantSession(s, "with nothing in it")

	s.Expiry = bridge.NeverExpires
	s.Subscriptions = []bridge.Subscription{{Filter: "chat/+/messages", QoS: 1}, {Filter: "users/alice/#", QoS: 0},
		{Filter: "devices/ü/🐘/+", QoS: 2}}
	s.Cursors = []bridge.Cursor{{Stream: "c/a", Seq: 7}, {Stream: "c/b", Seq: 0}}
	e.saveSession(s)
	e.wantSession(s, "saved again")

	// Other subscriptions replace those that stood; a cursor that is lower
	// or not named stays.
	next := s
	next.Expiry, next.EndedAt = 4711, e.tick()
	next.Subscriptions = []bridge.Subscription{{Filter: "chat/+/messages", QoS: 0}, {Filter: "x", QoS: 1}}
	next.Cursors = []bridge.Cursor{{Stream: "c/a", Seq: 3}, {Stream: "c/c", Seq: 20}}
	e.saveSession(next)
	next.Cursors = []bridge.Cursor{{Stream: "c/a", Seq: 7}, {Stream: "c/b", Seq: 0}, {Stream: "c/c", Seq: 20}}
	e.wantSession(next, "with other subscriptions")

	// Connected again, without subscriptions.
	next.EndedAt, next.Subscriptions = time.Time{}, nil
	bare := next
	bare.Cursors = nil
	e.saveSession(bare)
	e.wantSession(next, "connected again")

	next.Expiry = bridge.NeverExpires - 1
	e.saveSession(next)
	e.wantSession(next, "with the longest expiry")
}

// sessionSameClientID: two users may use the same client id and never meet.
func sessionSameClientID(e *env) {
	e.fill("c", 20)
	var want []bridge.Session
	for i, key := range []bridge.SessionKey{sessionKey(alice, "phone"), sessionKey(bob, "phone"), sessionKey(alice, "Phone"),
		sessionKey("Alice", "phone"), sessionKey(alice, ""), sessionKey("", alice)} {
		want = append(want, bridge.Session{Key: key, Expiry: uint32(i), Cursors: []bridge.Cursor{{Stream: "c/c", Seq: uint64(i)}},
			Subscriptions: []bridge.Subscription{{Filter: fmt.Sprint("f", i), QoS: 1}}})
		e.saveSession(want[i])
	}
	check := func(when string) {
		for _, s := range want {
			e.wantSession(s, when)
		}
	}
	check("side by side")
	e.saveCursors(cursorAt(want[1].Key, "c/c", 19))
	want[1].Cursors[0].Seq = 19
	check("after one's cursor moved")
	at := e.tick()
	e.mark(bridge.SessionMark{Key: want[0].Key, Expiry: 99, EndedAt: at})
	want[0].Expiry, want[0].EndedAt = 99, at
	check("after one ended")
	e.ok(e.s.DropCursors(e.ctx, want[2].Key, []chat.StreamID{"c/c"}), "drop")
	want[2].Cursors = nil
	check("after one's cursor was dropped")
	e.ok(e.s.DeleteSession(e.ctx, want[0].Key), "delete")
	if e.trySession(want[0].Key) != nil {
		e.Errorf("a deleted session stands")
	}
	want = want[1:]
	check("after one was deleted")
}

// sessionCursors: cursors go up and never back.
func sessionCursors(e *env) {
	e.fill("a", 20)
	e.fill("b", 20)
	keys := []bridge.SessionKey{sessionKey(alice, "1"), sessionKey(alice, "2"), sessionKey(bob, "1")}
	for _, key := range keys {
		e.saveSession(bridge.Session{Key: key, Expiry: 10})
	}
	high := map[bridge.SessionKey]map[chat.StreamID]uint64{}
	for i := range 60 {
		key, stream, seq := keys[i%3], chat.StreamID([]string{"c/a", "c/b"}[i/3%2]), uint64(i*7%20)
		e.saveCursors(cursorAt(key, stream, seq))
		if high[key] == nil {
			high[key] = map[chat.StreamID]uint64{}
		}
		high[key][stream] = max(high[key][stream], seq)
	}
	want := func(key bridge.SessionKey) bridge.Session {
		s := bridge.Session{Key: key, Expiry: 10}
		for stream, seq := range high[key] {
			s.Cursors = append(s.Cursors, bridge.Cursor{Stream: stream, Seq: seq})
		}
		return s
	}
	for _, key := range keys {
		e.wantSession(want(key), "one at a time")
	}
	// Many at once, the same one twice among them.
	e.saveCursors(cursorAt(keys[0], "c/a", 5), cursorAt(keys[1], "c/a", 20), cursorAt(keys[0], "c/a", 20),
		cursorAt(keys[0], "c/a", 6), cursorAt(keys[2], "c/b", 1), cursorAt(keys[1], "c/b", 20))
	high[keys[0]]["c/a"], high[keys[1]]["c/a"], high[keys[1]]["c/b"] = 20, 20, 20
	for _, key := range keys {
		e.wantSession(want(key), "many at once")
	}
	e.saveCursors()
}

// sessionCursorsOfNothing: cursors of sessions and streams that do not exist
// are passed over, and do not hurt the others.
func sessionCursorsOfNothing(e *env) {
	e.fill("c", 20)
	key := sessionKey(alice, "phone")
	e.saveSession(bridge.Session{Key: key, Cursors: []bridge.Cursor{{Stream: "c/none", Seq: 3}, {Stream: "c/c", Seq: 3}}})
	e.saveCursors(cursorAt(key, "c/none", 4), cursorAt(sessionKey(bob, "phone"), "c/c", 4), cursorAt(key, "c/c", 4),
		cursorAt(sessionKey(alice, "none"), "c/none", 4), cursorAt(key, "n/alice", 1))
	want := bridge.Session{Key: key, Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 4}}}
	e.wantSession(want, "after cursors of nothing")
	if s := e.trySession(sessionKey(bob, "phone")); s != nil {
		e.Errorf("a cursor made the session %+v", s)
	}
	// What was passed over does not wait for the stream to come to be.
	e.fill("none", 20)
	e.wantSession(want, "after the stream came to be")
}

func sessionDropCursors(e *env) {
	key, other := sessionKey(alice, "phone"), sessionKey(alice, "laptop")
	var all []bridge.Cursor
	for _, conv := range []string{"a", "b", "c"} {
		e.fill(conv, 9)
		all = append(all, bridge.Cursor{Stream: chat.ConversationStream(conv), Seq: 9})
	}
	s := bridge.Session{Key: key, Subscriptions: []bridge.Subscription{{Filter: "x", QoS: 1}}, Cursors: all}
	o := bridge.Session{Key: other, Cursors: all}
	e.saveSession(s)
	e.saveSession(o)
	drop := func(key bridge.SessionKey, streams ...chat.StreamID) {
		e.ok(e.s.DropCursors(e.ctx, key, streams), "drop")
	}
	drop(key, "c/a", "c/none", "c/c")
	s.Cursors = all[1:2]
	e.wantSession(s, "after a drop")
	e.wantSession(o, "the other session")
	drop(key)
	drop(sessionKey(bob, "phone"), "c/b")
	e.wantSession(s, "after drops of nothing")
	// A new cursor may start lower than the one that was dropped.
	e.saveCursors(cursorAt(key, "c/a", 2))
	s.Cursors = []bridge.Cursor{{Stream: "c/a", Seq: 2}, all[1]}
	e.wantSession(s, "after a new start")
}

// sessionCursorsOfDeleted: a deleted conversation takes its cursors with it,
// so that who follows its id later starts with the new stream.
func sessionCursorsOfDeleted(e *env) {
	e.fill("c", 30)
	e.fill("d", 30)
	var want []bridge.Session
	for i := range 5 {
		s := bridge.Session{Key: sessionKey(alice, fmt.Sprint(i)), Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 30}, {Stream: "c/d", Seq: 30}}}
		e.saveSession(s)
		s.Cursors = s.Cursors[1:]
		want = append(want, s)
	}
	e.ok(e.tryDelete(actor(owner), "c"), "delete")
	check := func(when string) {
		e.Helper()
		for _, s := range want {
			e.wantSession(s, when)
		}
	}
	check("after a delete")
	e.saveSession(bridge.Session{Key: want[0].Key, Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 30}}})
	e.saveCursors(cursorAt(want[1].Key, "c/c", 30))
	check("after late cursors")
	e.fill("c", 3)
	check("after the id was used again")
	for i := range want {
		e.saveCursors(cursorAt(want[i].Key, "c/c", 2))
		want[i].Cursors = append(want[i].Cursors, bridge.Cursor{Stream: "c/c", Seq: 2})
	}
	check("with cursors of the new stream")
}

// sessionMark: a mark sets the expiry and since when there is no connection,
// and leaves the rest.
func sessionMark(e *env) {
	e.fill("c", 9)
	s := bridge.Session{Key: sessionKey(alice, "phone"), Expiry: 60, Subscriptions: []bridge.Subscription{{Filter: "x", QoS: 1}},
		Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 9}}}
	e.saveSession(s)
	for i, expiry := range []uint32{60, 0, bridge.NeverExpires, bridge.NeverExpires - 1, 1} {
		s.Expiry, s.EndedAt = expiry, e.tick()
		e.mark(bridge.SessionMark{Key: s.Key, Expiry: s.Expiry, EndedAt: s.EndedAt})
		e.wantSession(s, "ended")
		if i%2 == 0 {
			s.EndedAt = time.Time{}
			e.mark(bridge.SessionMark{Key: s.Key, Expiry: s.Expiry})
			e.wantSession(s, "connected again")
		}
	}
	at := time.Date(2027, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", -3600))
	e.mark(bridge.SessionMark{Key: s.Key, EndedAt: at})
	wantTime(e, e.session(s.Key).EndedAt, at, "endedAt as marked")
	s.EndedAt = at.Add(time.Hour)
	e.saveSession(s)
	wantTime(e, e.session(s.Key).EndedAt, s.EndedAt, "endedAt as saved")
}

// sessionMarkMany: marks of sessions that do not stand are passed over, and
// do not hurt the others.
func sessionMarkMany(e *env) {
	var want []bridge.Session
	for i := range 30 {
		want = append(want, bridge.Session{Key: sessionKey(fmt.Sprint("u", i%7), fmt.Sprint("d", i)), Expiry: uint32(i)})
		e.saveSession(want[i])
	}
	missing := sessionKey(bob, "phone")
	marks := []bridge.SessionMark{{Key: missing, Expiry: 1, EndedAt: e.tick()}}
	for i := range want {
		if i%3 == 0 {
			continue
		}
		if want[i].Expiry += 100; i%2 == 0 {
			want[i].EndedAt = e.tick()
		}
		marks = append(marks, bridge.SessionMark{Key: want[i].Key, Expiry: want[i].Expiry, EndedAt: want[i].EndedAt})
	}
	e.mark(marks...)
	for _, s := range want {
		e.wantSession(s, "after marks")
	}
	if s := e.trySession(missing); s != nil {
		e.Errorf("a mark made the session %+v", s)
	}
	e.mark()
}

func sessionDelete(e *env) {
	e.fill("c", 9)
	s := bridge.Session{Key: sessionKey(alice, "phone"), Expiry: 60, Subscriptions: []bridge.Subscription{{Filter: "x", QoS: 1}},
		Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 9}}}
	e.saveSession(s)
	for range 2 {
		e.ok(e.s.DeleteSession(e.ctx, s.Key), "delete")
		if got := e.trySession(s.Key); got != nil {
			e.Errorf("after a delete there is %+v", got)
		}
	}
	// Nothing of the old one is in a new one.
	e.saveCursors(cursorAt(s.Key, "c/c", 8))
	fresh := bridge.Session{Key: s.Key}
	e.saveSession(fresh)
	e.wantSession(fresh, "a new session with an old name")
	e.saveCursors(cursorAt(s.Key, "c/c", 1))
	equal(e, e.session(s.Key).Cursors, []bridge.Cursor{{Stream: "c/c", Seq: 1}}, "its cursor")
}

// sessionRelease: after a crash no session is connected, and those that had
// ended before keep their time.
func sessionRelease(e *env) {
	e.fill("c", 9)
	var want []bridge.Session
	for i := range 6 {
		s := bridge.Session{Key: sessionKey(fmt.Sprint("u", i), "phone"), Expiry: []uint32{0, 60, bridge.NeverExpires}[i/2],
			Subscriptions: []bridge.Subscription{{Filter: "x", QoS: 1}}, Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 9}}}
		if i%2 == 1 {
			s.EndedAt = e.tick()
		}
		e.saveSession(s)
		want = append(want, s)
	}
	at := e.tick()
	for range 2 {
		e.ok(e.s.ReleaseSessions(e.ctx, at), "release")
		for i := range want {
			if i%2 == 0 {
				want[i].EndedAt = at
			}
			e.wantSession(want[i], "after a release")
		}
	}
	e.ok(e.s.ReleaseSessions(e.ctx, e.tick()), "release")
	for _, s := range want {
		e.wantSession(s, "after a later release")
	}
}

// sessionSweep: what goes is what Session.Expired says, to the millisecond.
func sessionSweep(e *env) {
	e.fill("c", 9)
	ended := e.tick()
	var all []bridge.Session
	for i, expiry := range []uint32{0, 1, 2, 60, bridge.NeverExpires - 1, bridge.NeverExpires} {
		for j, at := range []time.Time{ended, {}} {
			s := bridge.Session{Key: sessionKey(fmt.Sprint("u", i), fmt.Sprint(j)), Expiry: expiry, EndedAt: at,
				Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 9}}}
			e.saveSession(s)
			all = append(all, s)
		}
	}
	for _, later := range []time.Duration{-time.Second, -time.Millisecond, 0, time.Millisecond, 999 * time.Millisecond,
		time.Second, 2 * time.Second, 59999 * time.Millisecond, time.Minute, 24 * 365 * time.Hour,
		(bridge.NeverExpires-1)*time.Second - time.Millisecond, (bridge.NeverExpires - 1) * time.Second, bridge.NeverExpires * time.Second} {
		now := ended.Add(later)
		var stay []bridge.Session
		for _, s := range all {
			if !s.Expired(now) {
				stay = append(stay, s)
			}
		}
		n, err := e.s.SweepSessions(e.ctx, now, 100)
		e.ok(err, "sweep")
		equal(e, n, len(all)-len(stay), "removed after %v", later)
		all = stay
		for _, s := range all {
			e.wantSession(s, fmt.Sprintf("after %v", later))
		}
	}
	equal(e, len(all), 7, "sessions that stay: six that are connected, one that never expires")
}

func sessionSweepLimit(e *env) {
	e.fill("c", 9)
	at := e.tick()
	keys := []bridge.SessionKey{}
	for i := range 25 {
		s := bridge.Session{Key: sessionKey(alice, fmt.Sprint(i)), Expiry: 1, EndedAt: at, Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 9}}}
		keys = append(keys, s.Key)
		e.saveSession(s)
	}
	now, left := at.Add(time.Hour), 25
	for _, limit := range []int{1, 10, 10, 10, 10} {
		n, err := e.s.SweepSessions(e.ctx, now, limit)
		e.ok(err, "sweep")
		equal(e, n, min(limit, left), "removed with limit %d", limit)
		left -= n
		got, err := e.s.Sessions(e.ctx, keys)
		e.ok(err, "sessions")
		equal(e, len(slices.DeleteFunc(got, func(s *bridge.Session) bool { return s == nil })), left, "left")
	}
	// The cursors went too: a new session has none.
	e.saveSession(bridge.Session{Key: keys[0]})
	equal(e, len(e.session(keys[0]).Cursors), 0, "cursors")
}

// sessionMany: one call answers for many keys, each for itself, in order.
func sessionMany(e *env) {
	var streams []chat.StreamID
	for i := range 10 {
		e.fill(fmt.Sprint("c", i), 9)
		streams = append(streams, chat.ConversationStream(fmt.Sprint("c", i)))
	}
	var keys []bridge.SessionKey
	want := map[bridge.SessionKey]bridge.Session{}
	for i := range 60 {
		key := sessionKey(fmt.Sprint("u", i%20), fmt.Sprint("d", i/20))
		keys = append(keys, key)
		if i%3 == 0 {
			continue
		}
		s := bridge.Session{Key: key, Expiry: uint32(i)}
		for j := range i % 5 {
			s.Subscriptions = append(s.Subscriptions, bridge.Subscription{Filter: fmt.Sprint("f", i, j), QoS: byte(j % 3)})
		}
		for j := range i % 11 {
			s.Cursors = append(s.Cursors, bridge.Cursor{Stream: streams[j], Seq: uint64(i % 10)})
		}
		e.saveSession(s)
		want[key] = normalSession(s)
	}
	got, err := e.s.Sessions(e.ctx, append(keys, keys...))
	e.ok(err, "sessions")
	if len(got) != 2*len(keys) {
		e.Fatalf("%d answers for %d keys", len(got), 2*len(keys))
	}
	for i, s := range got {
		key := keys[i%len(keys)]
		if w, stands := want[key]; stands != (s != nil) {
			e.Errorf("session %v: stands %v", key, s != nil)
		} else if stands {
			equal(e, normalSession(*s), w, "session %v", key)
		}
	}
	got, err = e.s.Sessions(e.ctx, nil)
	e.ok(err, "no sessions")
	equal(e, len(got), 0, "answers for no keys")
}
