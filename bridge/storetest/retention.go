package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var retentionTests = []test{
	{"ByCount", trimByCount},
	{"ByAge", trimByAge},
	{"Stricter", trimStricter},
	{"Set", retentionSet},
	{"Oldest", retentionOldest},
	{"Pointers", trimPointers},
	{"Unread", trimUnread},
	{"Race", trimRace},
}

var keepAll = bridge.RetentionPolicy{}

func keepNewest(n uint64) bridge.RetentionPolicy {
	return bridge.RetentionPolicy{Conversations: bridge.Retention{Count: n}}
}

func (e *env) trim(now time.Time, policy bridge.RetentionPolicy, conv string, limit int) (bridge.Head, int) {
	e.Helper()
	var head bridge.Head
	var removed int
	err := again(func() (err error) {
		head, removed, err = e.s.Trim(e.ctx, now, policy, chat.ConversationStream(conv), limit)
		return err
	})
	e.ok(err, "trim %s", conv)
	return head, removed
}

func (e *env) keepFor(a bridge.Actor, conv string, r bridge.Retention) error {
	return again(func() error { return e.s.SetRetention(e.ctx, a, conv, r) })
}

// wantHeld checks every way to see what is held of a conversation.
func (e *env) wantHeld(conv string, first, head uint64) {
	e.Helper()
	want := bridge.Head{Head: head, First: first}
	equal(e, e.head(conv), want, "head of %s", conv)
	entries := e.read(conv, 0, lots)
	wantGapless(e, entries, first)
	equal(e, len(entries), int(head-first+1), "entries of %s", conv)
	back, err := e.s.Before(e.ctx, chat.ConversationStream(conv), 0, lots)
	e.ok(err, "before")
	equal(e, seqs(back), seqs(entries), "what is read from the end")
	c := e.conversation(conv)
	equal(e, bridge.Head{Head: c.HeadSeq, First: c.FirstSeq}, want, "of the conversation")
	equal(e, e.membership(conv, owner).Head, want, "of a membership")
}

// trimByCount: the newest stay; what goes, goes from the front and in steps.
func trimByCount(e *env) {
	e.fill("before", 9)
	e.fill("c", 10)
	e.fill("next", 9)
	for _, step := range []struct {
		keep    uint64
		limit   int
		first   uint64
		removed int
	}{
		{0, 100, 1, 0}, {11, 100, 1, 0}, {10, 100, 1, 0}, {9, 0, 1, 0}, {9, 100, 2, 1}, {4, 3, 5, 3}, {4, 3, 7, 2}, {4, 3, 7, 0},
	} {
		head, removed := e.trim(e.tick(), keepNewest(step.keep), "c", step.limit)
		equal(e, head, bridge.Head{Head: 10, First: step.first}, "what trim answers, %+v", step)
		equal(e, removed, step.removed, "removed, %+v", step)
		e.wantHeld("c", step.first, 10)
	}
	equal(e, e.send("c", alice, message("x")).Seq, uint64(11), "seq after trimming")
	e.trim(e.tick(), keepNewest(1), "c", lots)
	e.wantHeld("c", 11, 11)
	e.wantHeld("before", 1, 9)
	e.wantHeld("next", 1, 9)
	head, removed := e.trim(e.tick(), keepNewest(1), noConv, lots)
	equal(e, head, bridge.Head{}, "head of no conversation")
	equal(e, removed, 0, "removed of no conversation")
}

// trimByAge: what is older goes, to the last entry; the stream goes on.
func trimByAge(e *env) {
	_, joins := e.createAt(e.tick(), "c", alice)
	at := joins[0].CreatedAt
	for i := range 6 {
		e.clock.Store(at.Add(time.Duration(i+1)*time.Hour).UnixMilli() - 1000)
		e.send("c", alice, message(fmt.Sprint(i)))
	}
	policy := bridge.RetentionPolicy{Conversations: bridge.Retention{Age: 2 * time.Hour}}
	for _, step := range []struct {
		after time.Duration // the first entry
		first uint64
	}{
		{time.Hour, 1}, {2 * time.Hour, 1}, {2*time.Hour + time.Millisecond, 3}, {3 * time.Hour, 3}, {5*time.Hour + time.Minute, 6}, {8 * time.Hour, 8}, {9 * time.Hour, 9},
	} {
		e.trim(at.Add(step.after), policy, "c", lots)
		e.wantHeld("c", step.first, 8)
	}
	equal(e, e.send("c", alice, message("x")).Seq, uint64(9), "seq of an entry in an empty stream")
	e.wantHeld("c", 9, 9)
	// An entry that a clock behind the others gave an old time stays as long
	// as one before it does.
	e.create("d", alice)
	for i, hours := range []int{10, 1, 10} {
		out, err := e.tryCommit(at.Add(time.Duration(hours)*time.Hour), draft("d", alice, message(fmt.Sprint(i))))
		e.ok(err, "commit")
		e.ok(out[0].Err, "commit")
	}
	e.trim(at.Add(11*time.Hour), policy, "d", lots)
	e.wantHeld("d", 3, 5)
}

// trimStricter: of the policy and the conversation's own retention the
// stricter holds, each bound for itself.
func trimStricter(e *env) {
	for i, tt := range []struct {
		policy, own uint64
		first       uint64
	}{{0, 0, 1}, {5, 0, 6}, {0, 5, 6}, {7, 5, 6}, {5, 7, 6}} {
		conv := fmt.Sprint("c", i)
		e.fill(conv, 10)
		e.ok(e.keepFor(actor(owner), conv, bridge.Retention{Count: tt.own}), "set")
		e.trim(e.tick(), keepNewest(tt.policy), conv, lots)
		e.wantHeld(conv, tt.first, 10)
	}
	e.fill("both", 10)
	e.ok(e.keepFor(actor(owner), "both", bridge.Retention{Age: time.Hour}), "set")
	e.trim(e.tick(), keepNewest(5), "both", lots)
	e.wantHeld("both", 6, 10)
	e.trim(e.tick().Add(2*time.Hour), keepNewest(5), "both", lots)
	e.wantHeld("both", 11, 10)
}

// retentionSet: the owner says, and takes back; nobody else.
func retentionSet(e *env) {
	e.createCast("c")
	want := bridge.Retention{}
	for i, who := range cast {
		r := bridge.Retention{Age: time.Duration(i+1) * time.Hour, Count: uint64(i)}
		refused := bridge.CheckRetention(who.actor, who.role)
		wantCode(e, e.keepFor(who.actor, "c", r), codeOf(refused), "set by %+v", who.actor)
		if refused == nil {
			want = r
		}
		equal(e, e.conversation("c").Retention, want, "after %+v", who.actor)
	}
	e.ok(e.keepFor(actor(owner), "c", bridge.Retention{Count: 1 << 60}), "set")
	e.reopen()
	equal(e, e.conversation("c").Retention, bridge.Retention{Count: 1 << 60}, "after reopening")
	e.ok(e.keepFor(actor(owner), "c", bridge.Retention{}), "take away")
	equal(e, e.conversation("c").Retention, bridge.Retention{}, "taken away")
	wantCode(e, e.keepFor(serverAdmin, noConv, bridge.Retention{Count: 1}), chat.CodeNotFound, "no conversation")
}

// retentionOldest: pages of streams in the order of their names, whole or of
// those alone that have their own retention.
func retentionOldest(e *env) {
	var want, wantOwn []bridge.Held
	for i, id := range []string{"A", "B", "C", "a", "b"} {
		e.fill(id, 5+i)
		h := bridge.Held{Stream: chat.ConversationStream(id), Head: bridge.Head{Head: uint64(5 + i), First: 1}}
		if i%2 == 0 {
			h.Own = bridge.Retention{Age: time.Hour, Count: uint64(i)}
			e.ok(e.keepFor(actor(owner), id, h.Own), "set")
		}
		if id == "C" {
			e.trim(e.tick(), keepNewest(2), id, lots)
			h.First = h.Head.Head - 1
		}
		h.OldestAt = e.read(id, 0, 1)[0].CreatedAt
		if id == "b" {
			e.trim(e.tick().Add(2*time.Hour), keepAll, id, lots)
			h.First, h.OldestAt = h.Head.Head+1, time.Time{}
		}
		want = append(want, h)
		if i%2 == 0 {
			wantOwn = append(wantOwn, h)
		}
	}
	for _, own := range []bool{false, true} {
		all := want
		if own {
			all = wantOwn
		}
		for _, limit := range []int{1, 2, lots} {
			var got []bridge.Held
			for from := chat.StreamID("c/"); ; from = got[len(got)-1].Stream {
				page, err := e.s.Oldest(e.ctx, from, "c0", own, limit)
				e.ok(err, "oldest")
				if got = append(got, page...); len(page) < limit {
					break
				}
			}
			equal(e, got, all, "own %v, limit %d", own, limit)
		}
	}
	page, err := e.s.Oldest(e.ctx, "c/B", "c/b", false, lots)
	e.ok(err, "oldest")
	equal(e, page, want[2:4], "between two")
	page, err = e.s.Oldest(e.ctx, "n/", "n0", false, lots)
	e.ok(err, "oldest")
	equal(e, len(page), 0, "notifications")
}

// trimPointers: a target that is gone is missing; what points at one stays;
// a clientId whose entry is gone may be used again.
func trimPointers(e *env) {
	e.create("c", alice)
	first := e.send("c", alice, withClientID(message("first"), "a-1"))
	second := e.send("c", alice, message("second"))
	e.send("c", alice, edit(first.Seq, "edited"))
	e.send("c", alice, react(second.Seq, "x"))
	e.trim(e.tick(), keepNewest(3), "c", lots) // second, edit, reaction
	e.wantHeld("c", second.Seq, second.Seq+2)
	for word, want := range map[string]int{"edited": 0, "first": 0, "second": 1} {
		hits, err := e.s.Search(e.ctx, bridge.Search{UserID: alice, Words: []string{word}, Limit: 10})
		e.ok(err, "search")
		equal(e, len(hits), want, "search for %s", word)
	}
	for _, b := range []chat.Body{edit(first.Seq, "x"), erase(first.Seq), react(first.Seq, "x"), reply(first.Seq)} {
		e.refuse(draft("c", alice, b), chat.CodeNotFound, b.Type.String()+" of what was trimmed")
	}
	e.send("c", alice, erase(second.Seq))
	entries := e.read("c", 0, lots)
	equal(e, entries[0].Deleted, true, "the target")
	equal(e, entries[1].Content, "edited", "the edit of what was trimmed")
	again := e.commit(draft("c", alice, withClientID(message("first"), "a-1")))[0]
	e.ok(again.Err, "the clientId again")
	equal(e, again.Repeat, false, "the clientId of what was trimmed is a repeat")
	e.trim(e.tick(), keepNewest(1), "c", lots)
	equal(e, e.tryDelete(actor(owner), "c"), nil, "delete")
	e.create("c")
	e.wantHeld("c", 1, 1)
	equal(e, e.conversation("c").Retention, bridge.Retention{}, "retention of a new conversation")
}

// trimRace: while entries are trimmed, sends and deletes of the same stream go
// on, and no reader sees a gap.
func trimRace(e *env) {
	const sends, keep = 120, 20
	e.fill("c", 100)
	var wg sync.WaitGroup
	done := make(chan struct{})
	stores := e.stores()
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			err := again(func() error {
				_, _, err := stores[1].Trim(e.ctx, e.tick(), keepNewest(keep), "c/c", 7)
				return err
			})
			if err != nil {
				e.Errorf("trim: %v", err)
			}
			got, err := stores[1].Read(e.ctx, []bridge.Range{{Stream: "c/c", Limit: lots}})
			if err != nil {
				e.Errorf("read: %v", err)
				continue
			}
			for i := range got[0] {
				if got[0][i].Seq != got[0][0].Seq+uint64(i) {
					e.Errorf("a gap after seq %d", got[0][i-1].Seq)
				}
			}
		}
	})
	for i := range sends {
		b := message("x")
		if i%4 == 3 { // what is deleted may just have been trimmed
			b = erase(e.head("c").Head - keep)
		}
		if _, err := e.tryCommit(e.tick(), draft("c", alice, b)); err != nil {
			e.Errorf("send: %v", err)
		}
	}
	close(done)
	wg.Wait()
	e.trim(e.tick(), keepNewest(keep), "c", lots)
	head := e.head("c")
	if head.First != head.Head-keep+1 {
		e.Errorf("held: %+v, want the newest %d", head, keep)
	}
	e.wantHeld("c", head.First, head.Head)
}

// trimUnread: what is unread is what is held above what was read, wherever a
// stream begins.
func trimUnread(e *env) {
	e.create("c", alice)
	var read uint64
	for step := range 40 {
		switch {
		case step%7 == 3:
			read = e.move("c", alice, e.head("c").Head-uint64(step%4), 0).Read
		case step%5 == 4:
			e.commit(draft("c", owner, erase(e.head("c").Head-uint64(step%3)))) // it may be none
		case step%9 == 8:
			read = e.send("c", alice, message("mine")).Seq
		default:
			e.send("c", owner, message("x"))
		}
		if step%3 == 0 {
			e.trim(e.tick(), keepNewest(uint64(1+step%8)), "c", lots)
		}
		if step == 30 { // everything goes
			e.trim(e.tick().Add(24*time.Hour), bridge.RetentionPolicy{Conversations: bridge.Retention{Age: time.Hour}}, "c", lots)
		}
		want := bridge.Standing{Head: e.head("c").Head, Read: read}
		if want.Read == 0 {
			want.Read = 2 // its join
		}
		for _, entry := range e.read("c", want.Read, lots) {
			if entry.Type == chat.TypeMessage && !entry.Deleted && entry.SenderID != alice {
				want.Unread++
			}
		}
		equal(e, e.standing("c", alice), want, "after step %d", step)
		list, err := e.s.Conversations(e.ctx, alice, bridge.Page{Limit: 1})
		e.ok(err, "conversations")
		equal(e, list[0].Unread, want.Unread, "in the list, after step %d", step)
	}
}
