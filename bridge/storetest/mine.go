package storetest

import (
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var mineTests = []test{
	{"Sessions", mineSessions},
	{"SessionPages", mineSessionPages},
	{"Places", minePlaces},
	{"Pieces", minePieces},
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

// minePlaces: all that the user is or was a member of, in order, with what
// tells a conversation from an older one of its name.
func minePlaces(e *env) {
	for _, conv := range []string{"b", "a", "left", "other", "again"} {
		e.create(conv)
	}
	e.ok(e.tryDelete(serverAdmin, "again"), "delete")
	e.create("again")
	for _, conv := range []string{"a", "b", "left", "again"} {
		e.put(conv, alice, chat.RoleMember)
	}
	e.remove("left", alice)
	got, err := e.s.Places(e.ctx, alice)
	e.ok(err, "places")
	var ids []string
	for _, p := range got {
		ids = append(ids, p.Conversation)
		equal(e, p.Membership, e.membership(p.Conversation, alice), "membership in %s", p.Conversation)
		conv := e.conversation(p.Conversation)
		wantTime(e, p.CreatedAt, conv.CreatedAt, "createdAt")
		last, err := e.s.Before(e.ctx, chat.ConversationStream(conv.ID), 0, 1)
		e.ok(err, "last")
		wantTime(e, p.LastAt, last[0].CreatedAt, "lastAt")
	}
	equal(e, ids, []string{"a", "again", "b", "left"}, "places")
	none, err := e.s.Places(e.ctx, nobody)
	e.ok(err, "places of nobody")
	equal(e, len(none), 0, "places of nobody")
}

// minePieces: a piece has the entries between two seqs, those that are held;
// one of a conversation that was deleted has none, though its name stands.
func minePieces(e *env) {
	const dora = "dora"
	old := e.create("c", bob)
	e.ok(e.tryDelete(serverAdmin, "c"), "delete")
	e.fill("c", 9)
	conv := e.conversation("c")
	for range 2 {
		e.put("c", dora, chat.RoleMember)
		e.put("c", carol, chat.RoleMember)
		e.remove("c", dora)
		e.remove("c", carol)
	}
	head := e.conversation("c").HeadSeq
	piece := func(after, upTo uint64, limit int) bridge.Piece {
		return bridge.Piece{Conversation: "c", CreatedAt: conv.CreatedAt, After: after, UpTo: upTo, Limit: limit}
	}
	gone := piece(0, head, lots)
	gone.CreatedAt = old.CreatedAt
	missing := piece(0, head, lots)
	missing.Conversation = "none"
	asked := []bridge.Piece{piece(0, head, lots), gone, piece(2, 5, lots), piece(2, 5, 2), missing, piece(5, 5, lots), piece(head, maxSeq, lots)}
	all, err := e.s.Read(e.ctx, []bridge.Range{{Stream: "c/c", Limit: lots}})
	e.ok(err, "read")
	got, err := e.s.ReadPieces(e.ctx, asked)
	e.ok(err, "read pieces")
	for i, want := range [][]chat.Entry{all[0], nil, all[0][2:5], all[0][2:4], nil, nil, nil} {
		equal(e, append([]chat.Entry{}, got[i]...), append([]chat.Entry{}, want...), "piece %d", i)
	}
	moves, err := e.s.OwnMoves(e.ctx, dora, []bridge.Piece{piece(0, head, 0), gone, piece(conv.HeadSeq+1, head-1, 0)})
	e.ok(err, "moves")
	h := conv.HeadSeq
	equal(e, moves[0], []bridge.OwnMove{{Seq: h + 1, Join: true}, {Seq: h + 3}, {Seq: h + 5, Join: true}, {Seq: h + 7}}, "moves")
	equal(e, len(moves[1]), 0, "moves in what was deleted")
	equal(e, moves[2], []bridge.OwnMove{{Seq: h + 3}, {Seq: h + 5, Join: true}, {Seq: h + 7}}, "moves behind the first")
	for _, i := range []int{0, 1, 4, len(all[0]) - 1} {
		at := all[0][i].CreatedAt
		want := uint64(i + 1)
		for int(want) < len(all[0]) && !all[0][want].CreatedAt.After(at) { // the same time
			want++
		}
		seqs, err := e.s.SeqsAt(e.ctx, at, []bridge.Piece{piece(0, head, 0), piece(0, 0, 0), piece(2, 3, 0), piece(0, maxSeq, 0)})
		e.ok(err, "seqs")
		equal(e, seqs[:3], []uint64{want, 0, min(max(want, 2), 3)}, "seqs at entry %d", i+1)
	}
	seqs, err := e.s.SeqsAt(e.ctx, conv.CreatedAt.Add(-time.Hour), []bridge.Piece{piece(0, head, 0), piece(3, head, 0)})
	e.ok(err, "seqs")
	equal(e, seqs, []uint64{0, 3}, "seqs before the beginning")
}
