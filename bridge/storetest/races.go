package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var raceTests = []test{
	{"Writers", raceWriters},
	{"OneDraft", raceOneDraft},
	{"Readers", raceReaders},
	{"Remove", raceRemove},
	{"DeleteAndEdit", raceDeleteAndEdit},
	{"Create", raceCreate},
	{"DeleteConversation", raceDeleteConversation},
	{"Members", raceMembers},
	{"Cursors", raceCursors},
	{"Migrate", raceMigrate},
}

// together runs n functions at the same time, each on one of the stores, and
// waits for them. They must not end the test.
func (e *env) together(n int, run func(e *env, i int)) {
	e.Helper()
	stores := e.stores()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			run(e.on(stores[i%len(stores)]), i)
		})
	}
	close(start)
	wg.Wait()
}

// acks collects what was acknowledged, from any goroutine.
type acks struct {
	mu  sync.Mutex
	all map[chat.StreamID]map[uint64]chat.ID
}

func (a *acks) add(t tb, stream chat.StreamID, seq uint64, id chat.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[chat.StreamID]map[uint64]chat.ID{}
	}
	if a.all[stream] == nil {
		a.all[stream] = map[uint64]chat.ID{}
	}
	if old, twice := a.all[stream][seq]; twice && old != id {
		t.Errorf("seq %d of %s was given to %s and to %s", seq, stream, old, id)
	}
	a.all[stream][seq] = id
}

// check wants every acknowledged entry to stand once, in a history without
// gaps. It answers how many entries stand that nobody acknowledged.
func (a *acks) check(e *env, conv string) (others int) {
	e.Helper()
	history := e.history(conv)
	acked := a.all[chat.ConversationStream(conv)]
	seen := map[chat.ID]bool{}
	for i := range history {
		entry := &history[i]
		if seen[entry.ID] {
			e.Errorf("entry %s stands twice in %s", entry.ID, conv)
		}
		seen[entry.ID] = true
		if id, ok := acked[entry.Seq]; !ok {
			others++
		} else if id != entry.ID {
			e.Errorf("seq %d of %s is %s; %s was acknowledged", entry.Seq, conv, entry.ID, id)
		}
	}
	for seq, id := range acked {
		if !seen[id] {
			e.Errorf("%s was acknowledged at seq %d of %s and is missing", id, seq, conv)
		}
	}
	return others
}

// raceWriters: many writers on few streams, in batches that name the streams
// in different orders.
func raceWriters(e *env) {
	const writers, rounds, convs = 6, 12, 3
	for c := range convs {
		e.create(fmt.Sprint("c", c), alice, bob)
	}
	var acked acks
	e.together(writers, func(e *env, w int) {
		for round := range rounds {
			var drafts []chat.Draft
			for i := range 1 + (w+round)%7 {
				b := withClientID(message("x"), fmt.Sprint(w, "-", round, "-", i))
				if w%2 == 1 {
					i = -i // the other way round
				}
				drafts = append(drafts, draft(fmt.Sprint("c", (i+round+6*convs)%convs), []string{alice, bob}[w%2], b))
			}
			out, err := e.tryCommit(e.tick(), drafts...)
			if err != nil {
				e.Errorf("writer %d: %v", w, err)
				return
			}
			for i, o := range out {
				if o.Err != nil || o.Repeat || o.ID != drafts[i].ID {
					e.Errorf("writer %d: %+v", w, o)
					continue
				}
				acked.add(e, drafts[i].Stream, o.Seq, o.ID)
			}
		}
	})
	for c := range convs {
		equal(e, acked.check(e, fmt.Sprint("c", c)), 3, "entries that are no messages")
	}
}

// raceOneDraft: the same clientId from many at once is one entry.
func raceOneDraft(e *env) {
	e.create("c", alice)
	for round := range 10 {
		id := fmt.Sprint("round-", round)
		outs := make([]bridge.Outcome, 4)
		e.together(len(outs), func(e *env, i int) {
			other := draft("c", alice, withClientID(message("x"), fmt.Sprint(id, "-", i)))
			out, err := e.tryCommit(e.tick(), other, draft("c", alice, withClientID(message(id), id)))
			if err != nil || out[0].Err != nil || out[1].Err != nil {
				e.Errorf("commit: %v, %+v", err, out)
				return
			}
			outs[i] = out[1]
		})
		firsts := 0
		for i := range outs {
			if !outs[i].Repeat {
				firsts++
			}
			outs[i].Repeat = false
			equal(e, outs[i], outs[0], "outcome %d of round %d", i, round)
		}
		equal(e, firsts, 1, "outcomes that are no repeat")
	}
	equal(e, len(e.history("c")), 2+10*5, "entries")
}

// raceReaders: whoever reads while others write sees the stream grow without
// a gap, and sees at once what was acknowledged.
func raceReaders(e *env) {
	e.create("c", alice, bob)
	var done atomic.Bool
	var writers sync.WaitGroup
	writers.Add(2)
	go func() { writers.Wait(); done.Store(true) }()
	e.together(4, func(e *env, i int) {
		if i < 2 {
			defer writers.Done()
			for range 40 {
				d := draft("c", []string{alice, bob}[i], message("x"))
				out, err := e.tryCommit(e.tick(), d, draft("c", d.SenderID, message("y")))
				if err != nil {
					e.Errorf("commit: %v", err)
					return
				}
				got, err := e.s.Read(e.ctx, []bridge.Range{{Stream: "c/c", After: out[0].Seq - 1, Limit: 1}})
				if err != nil || len(got[0]) != 1 || got[0][0].ID != d.ID {
					e.Errorf("what was acknowledged is not to be read: %v, %v", got, err)
				}
			}
			return
		}
		next := uint64(1)
		for last := false; !last; {
			last = done.Load() // one more look after the last commit
			heads, err1 := e.s.Heads(e.ctx, []chat.StreamID{"c/c"})
			got, err2 := e.s.Read(e.ctx, []bridge.Range{{Stream: "c/c", After: next - 1, Limit: lots}})
			if err := errors.Join(err1, err2); err != nil {
				e.Errorf("read: %v", err)
				return
			}
			for _, entry := range got[0] {
				if entry.Seq != next {
					e.Errorf("seq %d came after %d", entry.Seq, next-1)
					return
				}
				next++
			}
			if next-1 < heads[0].Head {
				e.Errorf("the head was %d, then Read ended at %d", heads[0].Head, next-1)
				return
			}
		}
		if next != 4+2*80 {
			e.Errorf("a reader saw %d entries", next-1)
		}
	})
}

// raceRemove: nothing that a member sends stands behind its own leave.
func raceRemove(e *env) {
	for round := range 5 {
		conv := fmt.Sprint("c", round)
		e.create(conv, alice, bob)
		e.together(4, func(e *env, i int) {
			if i == 0 {
				if _, err := e.tryRemove(actor(owner), conv, alice); err != nil {
					e.Errorf("remove: %v", err)
				}
				return
			}
			for range 8 {
				out, err := e.tryCommit(e.tick(), draft(conv, bob, message("x")), draft(conv, alice, message("x")))
				if err != nil || out[0].Err != nil || out[1].Err != nil && codeOf(out[1].Err) != chat.CodeForbidden {
					e.Errorf("commit: %v, %+v", err, out)
				}
			}
		})
		left := false
		for _, entry := range e.history(conv) {
			if left && entry.SenderID == alice {
				e.Errorf("entry %d is by a member that had left", entry.Seq)
			}
			left = left || entry.Type == chat.TypeLeave
		}
		equal(e, left, true, "there is a leave entry")
	}
}

// raceDeleteAndEdit: an edit that comes behind the delete of its target is
// refused, and one before it is erased.
func raceDeleteAndEdit(e *env) {
	e.create("c", alice)
	for round := range 12 {
		target := e.send("c", alice, message("secret")).Seq
		e.together(4, func(e *env, i int) {
			b := edit(target, "secret")
			if i == 0 {
				b = erase(target)
			}
			out, err := e.tryCommit(e.tick(), draft("c", alice, b), draft("c", alice, message("x")))
			if err != nil || out[1].Err != nil || out[0].Err != nil && codeOf(out[0].Err) != chat.CodeNotFound {
				e.Errorf("round %d: %v, %+v", round, err, out)
			}
		})
		gone := false
		for _, entry := range e.read("c", target-1, lots) {
			if entry.Content == "secret" {
				e.Errorf("round %d: the %s at %d still says it", round, entry.Type, entry.Seq)
			}
			if gone && entry.Target == target {
				e.Errorf("round %d: the %s at %d comes after the delete", round, entry.Type, entry.Seq)
			}
			gone = gone || entry.Type == chat.TypeDelete
		}
		equal(e, gone, true, "there is a delete entry")
	}
	e.history("c")
}

// raceCreate: one of many creates an id.
func raceCreate(e *env) {
	for round := range 8 {
		conv := fmt.Sprint("c", round)
		var made, stood, conflicts atomic.Int32
		e.together(4, func(e *env, i int) {
			c := newConversation(conv, alice)
			if i == 3 {
				c.OwnerID = bob
			}
			got, _, created, err := e.tryCreate(e.tick(), c)
			switch {
			case err == nil && created:
				made.Add(1)
			case err == nil:
				stood.Add(1)
			case codeOf(err) == chat.CodeConflict:
				conflicts.Add(1)
				return
			default:
				e.Errorf("create: %v", err)
				return
			}
			if got.OwnerID != c.OwnerID || got.HeadSeq != 2 || len(got.Members) != 2 {
				e.Errorf("create answered %+v", got)
			}
		})
		if made.Load() != 1 || stood.Load()+conflicts.Load() != 3 {
			e.Errorf("round %d: %d made it, %d found it, %d were refused", round, made.Load(), stood.Load(), conflicts.Load())
		}
		equal(e, len(e.history(conv)), 2, "entries")
	}
}

// raceDeleteConversation: what is sent while a conversation goes is either
// in it or refused, and nothing is left over.
func raceDeleteConversation(e *env) {
	for range 5 {
		e.create("c", alice)
		key := sessionKey(alice, "phone")
		e.saveSession(bridge.Session{Key: key})
		e.together(4, func(e *env, i int) {
			if i == 0 {
				if err := e.tryDelete(actor(owner), "c"); err != nil {
					e.Errorf("delete: %v", err)
				}
				return
			}
			for range 5 {
				out, err := e.tryCommit(e.tick(), draft("c", alice, message("x")))
				if err != nil || out[0].Err != nil && codeOf(out[0].Err) != chat.CodeNotFound && codeOf(out[0].Err) != chat.CodeForbidden {
					e.Errorf("commit: %v, %+v", err, out)
				}
				err = again(func() error { return e.s.SaveCursors(e.ctx, []bridge.CursorAt{cursorAt(key, "c/c", 2)}) })
				if err != nil {
					e.Errorf("save cursors: %v", err)
				}
			}
		})
		e.wantGone("c")
		equal(e, len(e.session(key).Cursors), 0, "cursors")
	}
	e.create("c", alice)
	equal(e, len(e.history("c")), 2, "entries of a new one")
}

// raceMembers: many who add or remove the same member write one entry.
func raceMembers(e *env) {
	e.create("c", alice)
	for round := range 5 {
		var entries atomic.Int32
		e.together(4, func(e *env, i int) {
			if round%2 == 0 {
				_, entry, err := e.tryPut(actor(owner), "c", bob, chat.RoleMember)
				if err != nil {
					e.Errorf("put: %v", err)
				}
				if entry != nil {
					entries.Add(1)
				}
				return
			}
			_, err := e.tryRemove(actor(owner), "c", bob)
			if err == nil {
				entries.Add(1)
			} else if codeOf(err) != chat.CodeNotFound {
				e.Errorf("remove: %v", err)
			}
		})
		equal(e, entries.Load(), 1, "entries of round %d", round)
	}
	equal(e, len(e.history("c")), 2+5, "entries")
}

// raceCursors: however saves interleave, the highest stands.
func raceCursors(e *env) {
	const n = 40
	e.fill("c", n)
	e.fill("d", n)
	key := sessionKey(alice, "phone")
	e.saveSession(bridge.Session{Key: key})
	e.together(4, func(e *env, i int) {
		for seq := uint64(i); seq <= n; seq += 4 {
			cursors := []bridge.CursorAt{cursorAt(key, "c/c", seq), cursorAt(key, "c/d", n-seq)}
			if i%2 == 1 {
				cursors[0], cursors[1] = cursors[1], cursors[0]
			}
			if err := again(func() error { return e.s.SaveCursors(e.ctx, cursors) }); err != nil {
				e.Errorf("save cursors: %v", err)
			}
		}
	})
	e.wantSession(bridge.Session{Key: key, Cursors: []bridge.Cursor{{Stream: "c/c", Seq: n}, {Stream: "c/d", Seq: n}}}, "afterwards")
}

// raceMigrate: Migrate is safe when several call it at once.
func raceMigrate(e *env) {
	e.fill("c", 5)
	e.together(4, func(e *env, _ int) {
		if err := again(func() error { return e.s.Migrate(e.ctx) }); err != nil {
			e.Errorf("migrate: %v", err)
		}
		if err := e.s.Ready(e.ctx); err != nil {
			e.Errorf("ready: %v", err)
		}
	})
	equal(e, len(e.history("c")), 5, "entries")
}
