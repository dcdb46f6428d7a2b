package bridge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onCommit = func(context.Context, int, []chat.Draft) fault {
			time.Sleep(time.Second)
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		for i := range 10 {
			r.submit(fmt.Sprint(i), message(room, alice, "", fmt.Sprint(i)))
		}
		drained := make(chan struct{})
		go func() { l.Drain(t.Context()); close(drained) }()
		synctest.Wait()
		select {
		case <-drained:
			t.Error("Drain did not wait for those that wait")
		default:
		}
		late := newRecorder(t, l)
		late.submit("late", message(room, alice, "", "late"))
		wantCode(t, late.all()["late"].Err, chat.CodeUnavailable)
		<-drained
		r.committed(store, room)
		l.Drain(t.Context()) // again
		if said := store.said(room); len(said) != 10 {
			t.Errorf("the log holds %q", said)
		}
	})
}

// When its context ends, Drain does not wait for a store that hangs.
func TestDrainGivesUp(t *testing.T) {
	for name, wait := range map[string]time.Duration{"at once": 0, "later": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFake(t)
				store.numLanes = 2
				store.onCommit = func(ctx context.Context, _ int, _ []chat.Draft) fault {
					return fault{err: hang(ctx)}
				}
				l := newLog(t, store, Config{})
				r := newRecorder(t, l)
				for i := range 2 * maxBatch {
					r.submit(fmt.Sprint(i), message(room, alice, "", "hi"))
				}
				r.submit("other lane, perhaps", message(hall, alice, "", "hi"))
				synctest.Wait()
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				l.Drain(ctx)
				if took := time.Since(begun); took != wait {
					t.Errorf("Drain took %v, want %v", took, wait)
				}
				for _, out := range r.all() {
					wantCode(t, out.Err, chat.CodeUnavailable)
				}
			})
		})
	}
}

// Close ends all that the log began, also while the store hangs.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onCommit = func(ctx context.Context, _ int, _ []chat.Draft) fault { return fault{err: hang(ctx)} }
		store.onSave = func(ctx context.Context, _ []CursorAt) error { return hang(ctx) }
		store.onAsk = func(ctx context.Context, _ []MemberKey) error { return hang(ctx) }
		store.onSweep = func(context.Context) (int, error) { time.Sleep(time.Second); return 1000, nil } // never done
		store.create("room", alice)
		l := New(Config{Store: store, SweepEvery: time.Second})
		r := newRecorder(t, l)
		r.submit("one", message(room, alice, "", "hi"))
		l.Cursor(&SessionKey{alice, "phone"}, room, 0).Advance(1)
		asking, stop := context.WithCancel(t.Context())
		go func() { _, _ = l.Membership(asking, "room", alice) }()
		time.Sleep(1500 * time.Millisecond) // everything hangs
		stop()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		if err := l.Close(ctx); err == nil {
			t.Error("no error though the cursors are not saved")
		}
		if took := time.Since(begun); took > 2*time.Second+storeTimeout {
			t.Errorf("Close took %v", took)
		}
		wantCode(t, r.all()["one"].Err, chat.CodeUnavailable)
		// The bubble panics if a goroutine is left.
	})
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	store := newFake(t)
	store.numLanes = 4
	store.create("room", alice)
	l := New(Config{Store: store})
	w := l.Watch(room, wakes{})
	defer w.Close()
	for range 10 {
		if _, err := l.Commit(t.Context(), message(room, alice, "", "hi")); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Membership(t.Context(), "room", alice); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second finds nothing to do
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	goleak.VerifyNone(t, before)
}

// wakes is a Watcher that counts, if it has a channel with room.
type wakes struct{ ch chan struct{} }

func (w wakes) Wake() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// taken answers how often the watcher was woken since it was asked last.
func (w wakes) taken() (n int) {
	for {
		select {
		case <-w.ch:
			n++
		default:
			return n
		}
	}
}
