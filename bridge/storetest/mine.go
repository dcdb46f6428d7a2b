package storetest

import (
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

var mineTests = []test{
	{"Sessions", mineSessions},
	{"SessionPages", mineSessionPages},
}

// mineSessions: a user's sessions are shown with their cursors and heads,
// nobody else's, and none that has expired.
func mineSessions(e *env) {
	for _, conv := range []string{"a", "b", "c"} {
		e.fill(conv, 9)
	}
	ended := e.tick()
	all := []bridge.Cursor{{Stream: "c/a", Seq: 3}, {Stream: "c/b", Seq: 0}, {Stream: "c/c", Seq: 9}}
	for _, s := range []bridge.Session{
		{Key: sessionKey(alice, "A/ü"), Expiry: 60, Cursors: all},
		{Key: sessionKey(alice, "a"), Expiry: 60, EndedAt: ended, Cursors: all[1:2]},
		{Key: sessionKey(alice, "b"), Expiry: bridge.NeverExpires, EndedAt: ended},
		{Key: sessionKey(alice, "over"), Expiry: 59, EndedAt: ended},
		{Key: sessionKey(bob, "a"), Expiry: 60, Cursors: all},
	} {
		e.saveSession(s)
	}
	list := func(now time.Time, cursors int) []bridge.SessionSeen {
		got, err := e.s.SessionsOf(e.ctx, now, alice, "", lots, cursors)
		e.ok(err, "list sessions")
		return got
	}
	seen := func(c bridge.Cursor) bridge.CursorSeen {
		head := e.conversation(c.Stream.Conversation()).HeadSeq
		return bridge.CursorSeen{Cursor: c, Head: head}
	}
	want := []bridge.SessionSeen{
		{Key: sessionKey(alice, "A/ü"), Expiry: 60, CursorCount: 3, Cursors: []bridge.CursorSeen{seen(all[0]), seen(all[1]), seen(all[2])}},
		{Key: sessionKey(alice, "a"), Expiry: 60, EndedAt: ended, CursorCount: 1, Cursors: []bridge.CursorSeen{seen(all[1])}},
		{Key: sessionKey(alice, "b"), Expiry: bridge.NeverExpires, EndedAt: ended},
	}
	equal(e, list(ended.Add(59*time.Second), lots), want, "sessions")
	want[0].Cursors = want[0].Cursors[:2]
	equal(e, list(ended.Add(59*time.Second), 2), want, "with few cursors")
	equal(e, list(ended.Add(time.Minute), 2), []bridge.SessionSeen{want[0], want[2]}, "a second later")
	none, err := e.s.SessionsOf(e.ctx, ended, nobody, "", lots, lots)
	e.ok(err, "list sessions")
	equal(e, len(none), 0, "of nobody")
}

func mineSessionPages(e *env) {
	var want []string
	for i := range 20 {
		e.saveSession(bridge.Session{Key: sessionKey(alice, fmt.Sprintf("d%02d", i)), Expiry: 60})
		want = append(want, fmt.Sprintf("d%02d", i))
	}
	for _, limit := range []int{1, 7, 20, 21} {
		var got []string
		after := ""
		for {
			page, err := e.s.SessionsOf(e.ctx, e.tick(), alice, after, limit, 1)
			e.ok(err, "a page")
			for _, s := range page {
				after = s.Key.ClientID
				got = append(got, after)
			}
			if len(page) < limit || len(got) > len(want) {
				break
			}
		}
		equal(e, got, want, "in pages of %d", limit)
	}
}
