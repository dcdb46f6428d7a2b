package bridge

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

var phone = SessionKey{alice, "phone"}

// at answers the cursor that the store holds.
func (f *fakeStore) at(key SessionKey, stream chat.StreamID) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursors[key][stream]
}

func (f *fakeStore) saveCalls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.saves)
}

func TestCursorsAreSavedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cursors = 500
		store := newFake(t)
		l := newLog(t, store, Config{})
		all := make([]*AckCursor, cursors)
		for i := range all {
			all[i] = l.Cursor(&SessionKey{alice, fmt.Sprint(i)}, room, 0)
		}
		for n := range 3000 { // 3 s
			for i := range 10 {
				all[(n*10+i)%cursors].Advance(uint64(n + 1))
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := store.saveCalls(); n < 3 || n > 4 {
			t.Errorf("%d calls in 4 s", n)
		}
		for i, c := range all {
			if got := store.at(*c.key, room); got != c.Seq() || got < 2900 {
				t.Errorf("cursor %d is saved at %d of %d", i, got, c.Seq())
			}
		}
		time.Sleep(10 * time.Second)
		if n := store.saveCalls(); n > 4 {
			t.Errorf("%d calls though nothing moved", n)
		}
	})
}

func TestCursorNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		l := newLog(t, store, Config{})
		c := l.Cursor(&phone, room, 5)
		for _, seq := range []uint64{7, 6, 0, 7, 3} {
			c.Advance(seq)
		}
		// Two connections of one session may follow each other: the newer wins.
		l.Cursor(&phone, room, 0).Advance(3)
		time.Sleep(2 * time.Second)
		if got := store.at(phone, room); got != 7 || c.Seq() != 7 {
			t.Errorf("the cursor is at %d, saved at %d", c.Seq(), got)
		}
		if n := len(store.saves); n != 1 || len(store.saves[0]) != 1 {
			t.Errorf("saved %v", store.saves)
		}
	})
}

func TestCursorsAreSavedAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		tries := 0
		store.onSave = func(context.Context, []CursorAt) error {
			if tries++; tries < 3 {
				return fmt.Errorf("busy: %w", ErrAgain) // there is no next second
			}
			return nil
		}
		l := New(Config{Store: store})
		l.Cursor(&phone, room, 0).Advance(4)
		gone := l.Cursor(&phone, hall, 0)
		gone.Advance(9)
		gone.Close()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := store.at(phone, room); got != 4 {
			t.Errorf("saved at %d", got)
		}
		if got := store.at(phone, hall); got != 0 {
			t.Errorf("a cursor that was given up is saved at %d", got)
		}
	})
}

func TestFailedSaveIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cursors = 4500 // some chunks
		store := newFake(t)
		var up atomic.Bool
		var calls atomic.Int64
		store.onSave = func(context.Context, []CursorAt) error {
			if !up.Load() && calls.Add(1)%2 == 0 {
				return unavailable()
			}
			return nil
		}
		l := newLog(t, store, Config{})
		all := make([]*AckCursor, cursors)
		for i := range all {
			all[i] = l.Cursor(&SessionKey{alice, fmt.Sprint(i)}, room, 0)
		}
		for n := range uint64(50) {
			for _, c := range all {
				c.Advance(n + 1)
			}
			time.Sleep(500 * time.Millisecond)
			for i := range 10 {
				_ = l.FlushCursors(t.Context(), all[i:i+3])
			}
			time.Sleep(500 * time.Millisecond)
			l.cursors.mu.Lock()
			waiting := len(l.cursors.dirty)
			l.cursors.mu.Unlock()
			if waiting > 2*cursors {
				t.Fatalf("%d wait though there are %d", waiting, cursors)
			}
		}
		up.Store(true)
		time.Sleep(2 * time.Second)
		for i, c := range all {
			if got := store.at(*c.key, room); got != 50 {
				t.Fatalf("cursor %d is saved at %d", i, got)
			}
		}
	})
}

// FlushCursors is the end of a connection. What it acknowledged is saved when
// it returns, though a flush of the housekeeping has just taken it, and is
// not written again later, when the session may be another.
func TestFlushCursors(t *testing.T) {
	for name, during := range map[string]bool{"alone": false, "during a flush": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFake(t)
				slow := during
				store.onSave = func(context.Context, []CursorAt) error {
					if slow {
						slow = false
						time.Sleep(700 * time.Millisecond)
					}
					return nil
				}
				l := newLog(t, store, Config{})
				c, still := l.Cursor(&phone, room, 0), l.Cursor(&phone, hall, 6)
				c.Advance(4)
				if during {
					time.Sleep(1100 * time.Millisecond)
				}
				if err := l.FlushCursors(t.Context(), []*AckCursor{c, still}); err != nil {
					t.Error(err)
				}
				if got := store.at(phone, room); got != 4 {
					t.Errorf("saved at %d when FlushCursors returned", got)
				}
				if n := store.saveCalls(); n != 1 {
					t.Errorf("%d calls", n)
				}
				time.Sleep(3 * time.Second)
				if n := store.saveCalls(); n != 1 {
					t.Errorf("saved again: %v", store.saves)
				}
				c.Advance(5)
				time.Sleep(2 * time.Second)
				if got := store.at(phone, room); got != 5 {
					t.Errorf("saved at %d after a later move", got)
				}
			})
		})
	}
}

func TestFlushCursorsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		var up atomic.Bool
		store.onSave = func(ctx context.Context, _ []CursorAt) error {
			if up.Load() {
				return nil
			}
			return hang(ctx)
		}
		l := newLog(t, store, Config{})
		c := l.Cursor(&phone, room, 0)
		c.MarkDirty() // though it has not moved
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := l.FlushCursors(ctx, []*AckCursor{c}); err == nil {
			t.Error("no error")
		}
		c.Advance(4)
		time.Sleep(3 * time.Second)
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := l.FlushCursors(ctx, []*AckCursor{c}); err == nil { // a flush hangs
			t.Error("no error")
		}
		up.Store(true)
		time.Sleep(10 * time.Second)
		if got := store.at(phone, room); got != 4 {
			t.Errorf("saved at %d", got)
		}
	})
}

// A cursor that was dropped does not come back with a flush that runs.
func TestDropCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onSave = func(context.Context, []CursorAt) error { time.Sleep(500 * time.Millisecond); return nil }
		l := newLog(t, store, Config{})
		c := l.Cursor(&phone, room, 0)
		c.Advance(4)
		time.Sleep(1100 * time.Millisecond)
		c.Close()
		if err := l.DropCursors(t.Context(), phone, []chat.StreamID{room}); err != nil {
			t.Error(err)
		}
		c.Advance(5)
		time.Sleep(3 * time.Second)
		if got := store.at(phone, room); got != 0 {
			t.Errorf("the cursor is back, at %d", got)
		}
	})
}

// Sweeping that takes long does not keep cursors from being saved in time.
func TestSweepingDoesNotHoldCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		var rounds atomic.Int64
		store.onSweep = func(context.Context) (int, error) {
			time.Sleep(time.Second)
			if rounds.Add(1) < 30 {
				return 1000, nil
			}
			return 7, nil
		}
		l := newLog(t, store, Config{SweepEvery: time.Second})
		time.Sleep(1100 * time.Millisecond)
		l.Cursor(&phone, room, 0).Advance(4)
		time.Sleep(1100 * time.Millisecond)
		if got := store.at(phone, room); got != 4 {
			t.Errorf("saved at %d", got)
		}
		time.Sleep(40 * time.Second)
		if n := rounds.Load(); n < 30 {
			t.Errorf("only %d rounds of sweeping", n)
		}
	})
}
