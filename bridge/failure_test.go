package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// A commit that happened though the store could not say so is not doubled by
// the next try, whether or not the sender gave a clientId.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onCommit = func(_ context.Context, call int, _ []chat.Draft) fault {
			if call < 4 {
				return fault{err: unavailable(), late: true}
			}
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		r.submit("without", message(room, alice, "", "without"))
		r.submit("with", message(room, alice, "a-1", "with"))
		time.Sleep(time.Minute)
		told := r.committed(store, room)
		if got := store.said(room); !slices.Equal(got, []string{"without", "with"}) {
			t.Errorf("the log holds %q", got)
		}
		if told["without"].Seq != 3 || told["with"].Seq != 4 {
			t.Errorf("told %+v", told)
		}
		for _, e := range store.streams[room].entries {
			if e.ClientID != "" && e.ClientID != "a-1" {
				t.Errorf("the clientId that the server made is shown: %q", e.ClientID)
			}
		}
	})
}

// The drafts that break a commit are refused, the others stand in their
// order.
func TestHalving(t *testing.T) {
	for _, poison := range [][]int{{0}, {7}, {99}, {0, 1, 98, 99}, {50, 51, 52}, {}} {
		t.Run(fmt.Sprint(poison), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const drafts = 100
				store, g := newFake(t), newGate()
				store.onCommit = func(_ context.Context, call int, drafts []chat.Draft) fault {
					if call == 1 {
						g.pass()
					}
					if slices.ContainsFunc(drafts, func(d chat.Draft) bool { return d.Content == "poison" }) {
						return fault{err: errBroken}
					}
					return fault{}
				}
				l := newLog(t, store, Config{})
				r := newRecorder(t, l)
				r.submit("blocks", message(hall, alice, "", "blocks"))
				synctest.Wait()
				var want []string
				for i := range drafts {
					content := fmt.Sprint(i)
					if slices.Contains(poison, i) {
						content = "poison"
					} else {
						want = append(want, content)
					}
					r.submit(fmt.Sprint(i), message(room, alice, "", content))
				}
				begun := time.Now()
				g.open()
				synctest.Wait()
				for name, out := range r.all() {
					var i int
					if n, _ := fmt.Sscan(name, &i); n == 1 && slices.Contains(poison, i) {
						wantInternal(t, out.Err)
					} else if out.Err != nil {
						t.Errorf("%s: %v", name, out.Err)
					}
				}
				if got := store.said(room); !slices.Equal(got, want) {
					t.Errorf("the log holds %q", got)
				}
				if calls := len(store.calls()); calls > 2+2*8*max(1, len(poison)) {
					t.Errorf("%d commits", calls)
				}
				if waited := time.Since(begun); waited != 0 {
					t.Errorf("halving waited %v", waited)
				}
			})
		})
	}
}

// wantInternal wants an error that the caller sees as our own fault.
func wantInternal(tb testing.TB, err error) {
	tb.Helper()
	if _, shown := chat.AsError(err); err == nil || shown {
		tb.Errorf("got %v, want an internal error", err)
	}
}

func TestDatabaseGone(t *testing.T) {
	for name, gone := range map[string]func(ctx context.Context) error{
		"refuses": func(context.Context) error { return unavailable() },
		"hangs":   hang,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFake(t)
				store.onCommit = func(ctx context.Context, _ int, _ []chat.Draft) fault { return fault{err: gone(ctx)} }
				l := newLog(t, store, Config{})
				r := newRecorder(t, l)
				for i := range 3 * maxBatch {
					r.submit(fmt.Sprint(i), message(room, alice, "", "hi"))
				}
				time.Sleep(9 * time.Second)
				if n := r.count(); n > 0 {
					t.Errorf("%d were told before their time was up", n)
				}
				if n := len(store.calls()); n > 20 {
					t.Errorf("%d commits in 9 s: no back-off", n)
				}
				time.Sleep(7 * time.Second) // a call that hangs ends after storeTimeout
				for _, out := range r.all() {
					wantCode(t, out.Err, chat.CodeUnavailable)
				}
				if got := store.said(room); len(got) > 0 {
					t.Errorf("the log holds %q", got)
				}
			})
		})
	}
}

func TestDatabaseReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		var up atomic.Bool
		store.onCommit = func(ctx context.Context, call int, _ []chat.Draft) fault {
			switch {
			case up.Load():
				return fault{}
			case call == 3:
				return fault{err: hang(ctx)}
			case call%2 == 0:
				return fault{err: unavailable(), late: true}
			}
			return fault{err: unavailable()}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		var want []string
		for i := range 1000 {
			want = append(want, fmt.Sprint(i))
			r.submit(want[i], message(room, alice, "", want[i]))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(7 * time.Second)
		if n := r.count(); n > 0 {
			t.Errorf("%d were told before the database was back", n)
		}
		up.Store(true)
		time.Sleep(2 * time.Second) // some are 9 s old by now
		r.committed(store, room)
		if got := store.said(room); !slices.Equal(got, want) {
			t.Errorf("the log holds %q", got)
		}
	})
}

func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onCommit = func(_ context.Context, call int, _ []chat.Draft) fault {
			switch call {
			case 1:
				g.pass()
			case 2, 3: // the whole batch
				return fault{err: fmt.Errorf("deadlock: %w", ErrAgain)}
			case 4: // some of it
				return fault{again: func(d *chat.Draft) bool { return d.Content == "1" || d.Content == "3" }}
			}
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		begun := time.Now()
		l.Submit(&Submission{Draft: message(hall, alice, "", "blocks"), Done: &counter{}})
		synctest.Wait()
		for i := range 5 {
			r.submit(fmt.Sprint(i), message(room, alice, "", fmt.Sprint(i)))
		}
		g.open()
		synctest.Wait()
		r.committed(store, room)
		if got := store.said(room); !slices.Equal(got, []string{"0", "2", "4", "1", "3"}) {
			t.Errorf("the log holds %q", got)
		}
		if calls := store.calls(); !slices.Equal(calls, []int{1, 5, 5, 5, 2}) {
			t.Errorf("commits of %v drafts", calls)
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

// A store that can never decide is asked less and less, to the deadline.
func TestAgainForEver(t *testing.T) {
	for name, bad := range map[string]fault{
		"batch": {err: ErrAgain},
		"draft": {again: func(*chat.Draft) bool { return true }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFake(t)
				store.onCommit = func(context.Context, int, []chat.Draft) fault { return bad }
				l := newLog(t, store, Config{})
				r := newRecorder(t, l)
				r.submit("one", message(room, alice, "", "hi"))
				time.Sleep(12 * time.Second)
				wantCode(t, r.all()["one"].Err, chat.CodeUnavailable)
				if n := len(store.calls()); n > 30 {
					t.Errorf("%d commits", n)
				}
			})
		})
	}
}

// Whichever commit fails, and however: each send is told once, what is told to
// be committed stands, and nothing stands twice.
func TestAnyCommitFails(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { anyCommitFails(t, seed) })
		})
	}
}

func anyCommitFails(t *testing.T, seed uint64) {
	store, faults := newFake(t), rand.New(rand.NewPCG(seed, 1))
	store.onCommit = func(ctx context.Context, _ int, drafts []chat.Draft) fault {
		time.Sleep(time.Duration(faults.IntN(3)) * time.Millisecond)
		switch faults.IntN(12) {
		case 0:
			return fault{err: unavailable()}
		case 1:
			return fault{err: unavailable(), late: true}
		case 2:
			return fault{err: ErrAgain}
		case 3:
			return fault{again: func(*chat.Draft) bool { return faults.IntN(2) == 0 }}
		case 4:
			return fault{err: hang(ctx)}
		case 5, 6:
			if len(drafts) > 1 {
				return fault{err: errBroken, late: faults.IntN(2) == 0}
			}
		}
		return fault{}
	}
	random := rand.New(rand.NewPCG(seed, 2))
	l := newLog(t, store, Config{})
	r := newRecorder(t, l)
	for i := range 300 {
		name := fmt.Sprint(i)
		d := message([]chat.StreamID{room, hall}[random.IntN(2)], alice, "", name)
		if random.IntN(2) == 0 {
			d.ClientID = "c" + name
			if random.IntN(3) == 0 {
				r.submit("repeat of "+name, d)
			}
		}
		r.submit(name, d)
		time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
	}
	time.Sleep(time.Minute)
	places := map[chat.ID]uint64{}
	for _, stream := range []chat.StreamID{room, hall} {
		store.once(t, stream)
		for i, e := range store.streams[stream].entries {
			if e.Seq != uint64(i+1) {
				t.Fatalf("entry %d has seq %d", i, e.Seq)
			}
			places[e.ID] = e.Seq
		}
	}
	for name, out := range r.all() {
		if out.Err != nil {
			wantCode(t, out.Err, chat.CodeUnavailable)
		} else if out.Seq == 0 || places[out.ID] != out.Seq {
			t.Errorf("%s was told %+v, which does not stand", name, out)
		}
	}
}

// One that is repeated late has a time of its own.
func TestRepeatOutlivesItsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.numLanes = 1
		var up atomic.Bool
		store.onCommit = func(ctx context.Context, _ int, _ []chat.Draft) fault {
			if !up.Load() {
				return fault{err: hang(ctx)}
			}
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		r.submit("blocks", message(hall, alice, "", "blocks"))
		time.Sleep(100 * time.Millisecond)
		r.submit("first", message(room, alice, "a-1", "hi"))
		time.Sleep(9 * time.Second)
		r.submit("again", message(room, alice, "a-1", "hi"))
		time.Sleep(2 * time.Second)
		up.Store(true)
		time.Sleep(10 * time.Second)
		told := r.all()
		wantCode(t, told["first"].Err, chat.CodeUnavailable)
		if told["again"].Err != nil {
			t.Errorf("refused with %v, though it had time left", told["again"].Err)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onCommit = func(ctx context.Context, _ int, drafts []chat.Draft) fault {
			time.Sleep(100 * time.Millisecond)
			return fault{}
		}
		l := newLog(t, store, Config{CommitTimeout: time.Hour})
		ln := l.lanes[0]
		c := &counter{}
		submit := func(n int) {
			for range n {
				l.Submit(&Submission{Draft: message(room, alice, "", ""), Done: c})
			}
			synctest.Wait()
		}
		submit(1)
		submit(maxQueue + 100)
		if n := c.refused.Load(); n != 101 {
			t.Errorf("%d were refused of a full queue, want 101", n)
		}
		// While the store is slower than the senders, no more ever wait.
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			submit(2 * maxBatch)
			ln.mu.Lock()
			if n := len(ln.queue) + ln.held; n > maxQueue {
				t.Errorf("%d wait in a lane", n)
			}
			ln.mu.Unlock()
		}
		time.Sleep(time.Hour)
		if c.told.Load() != 1+maxQueue+100+20*2*maxBatch {
			t.Errorf("%d were told", c.told.Load())
		}
	})
}

// counter counts what it is told.
type counter struct{ told, refused atomic.Int64 }

func (c *counter) Committed(s *Submission) {
	c.told.Add(1)
	if s.Outcome.Err != nil {
		c.refused.Add(1)
	}
}

// Drafts that must wait for a batch of their own are refused in time too.
func TestDeadlineOfThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onCommit = func(context.Context, int, []chat.Draft) fault {
			time.Sleep(100 * time.Millisecond)
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		r.submit("target", message(room, alice, "", "target"))
		for i := range 1000 {
			r.submit(fmt.Sprint(i), change(room, alice, chat.TypeEdit, 3))
		}
		for range 102 { // others keep the lane at work
			l.Submit(&Submission{Draft: message(hall, bob, "", "hi"), Done: &counter{}})
			time.Sleep(100 * time.Millisecond)
		}
		if stood, told := 0, r.all(); len(told) == 1001 {
			for _, out := range told {
				if out.Err == nil {
					stood++
				}
			}
			if stood < 90 {
				t.Errorf("only %d edits were committed in 10 s", stood)
			}
		}
	})
}
