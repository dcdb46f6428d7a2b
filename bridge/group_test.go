package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// echo is a group that answers each key with itself, and notes its calls.
type echo struct {
	*group[string, string]
	gate  gate
	mu    sync.Mutex
	calls [][]string
	err   error
}

func newEcho(most, workers int) *echo {
	e := &echo{gate: newGate()}
	e.group = newGroup(most, workers, func(ctx context.Context, keys []string) ([]string, error) {
		e.mu.Lock()
		e.calls = append(e.calls, append([]string(nil), keys...))
		e.mu.Unlock()
		select {
		case <-e.gate.ch:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return append([]string(nil), keys...), e.err
	})
	return e
}

func TestGroupSharesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(64, 1)
		for i := range 101 { // the first runs, the others collect
			go func() {
				key := fmt.Sprint(i % 51)
				if got, err := e.do(t.Context(), key); got != key || err != nil {
					t.Errorf("asked for %s: got %q, %v", key, got, err)
				}
			}()
			synctest.Wait()
		}
		e.gate.open()
		synctest.Wait()
		e.wait()
		if len(e.calls) != 3 || len(e.calls[0]) != 1 || len(e.calls[1]) != 51 || len(e.calls[2]) != 36 {
			t.Errorf("the calls were %q", e.calls)
		}
		for _, keys := range e.calls {
			seen := map[string]bool{}
			for _, k := range keys {
				if seen[k] {
					t.Errorf("%q was asked twice in %q", k, keys)
				}
				seen[k] = true
			}
		}
	})
}

func TestGroupAnswersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(3, 2)
		e.gate.open()
		keys := []string{"b", "a", "b", "c", "d", "a", "e"}
		got, err := e.doAll(t.Context(), keys)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(keys) {
			t.Errorf("got %q, %v", got, err)
		}
		if got, err := e.doAll(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("no keys: got %q, %v", got, err)
		}
	})
}

func TestGroupCallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(64, 1)
		ctx, leave := context.WithCancel(t.Context())
		ask := func(ctx context.Context, key string, want error) {
			go func() {
				if got, err := e.do(ctx, key); !errors.Is(err, want) || want == nil && got != key {
					t.Errorf("%s: got %q, %v, want %v", key, got, err, want)
				}
			}()
			synctest.Wait()
		}
		ask(ctx, "leaves while it runs", context.Canceled)
		ask(ctx, "leaves while it waits", context.Canceled)
		ask(ctx, "shared", context.Canceled)
		ask(t.Context(), "shared", nil)
		ask(t.Context(), "stays", nil)
		leave()
		synctest.Wait()
		e.gate.open()
		synctest.Wait()
		if fmt.Sprint(e.calls) != "[[leaves while it runs] [shared stays]]" {
			t.Errorf("the calls were %q", e.calls)
		}
	})
}

func TestGroupErrorIsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(64, 1)
		e.err = errBroken
		for i := range 10 {
			go func() {
				if _, err := e.do(t.Context(), fmt.Sprint(i)); !errors.Is(err, errBroken) {
					t.Errorf("%d: got %v", i, err)
				}
			}()
			synctest.Wait()
		}
		e.gate.open()
		synctest.Wait()
		e.err = nil
		if got, err := e.do(t.Context(), "later"); got != "later" || err != nil {
			t.Errorf("the group does not recover: %q, %v", got, err)
		}
	})
}

// While the store hangs, callers give up and come again. They do not pile up.
func TestGroupDoesNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 200
		e := newEcho(10, 2)
		ended := make(chan struct{})
		for i := range callers {
			go func() {
				for {
					ctx, cancel := context.WithTimeout(t.Context(), storeTimeout)
					_, _ = e.do(ctx, fmt.Sprint(i))
					cancel()
					select {
					case <-ended:
						return
					case <-time.After(500 * time.Millisecond):
					}
				}
			}()
		}
		for range 30 {
			time.Sleep(10 * time.Second)
			e.mu.Lock()
			e.group.mu.Lock()
			if n := len(e.waiting); n > 3*callers {
				t.Fatalf("%d calls wait for %d callers", n, callers)
			}
			e.group.mu.Unlock()
			e.mu.Unlock()
		}
		close(ended)
		e.gate.open()
		time.Sleep(time.Minute)
		e.wait()
		if e.active != 0 || len(e.waiting) != 0 {
			t.Errorf("%d workers, %d calls are left", e.active, len(e.waiting))
		}
	})
}

func TestGroupedStoreCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		var passed bool
		store.onAsk = func(context.Context, []MemberKey) error { g.pass(); return nil }
		store.onMark = func(marks []SessionMark) error {
			if !passed {
				passed = true
				g.pass()
			}
			return nil
		}
		l := newLog(t, store, Config{})
		for i := range 1000 {
			user := []string{alice, bob, "carol"}[i%3]
			go func() {
				m, err := l.Membership(t.Context(), "room", user)
				if err != nil || m.UserID != user || (m.Role == chat.RoleMember) != (user != "carol") {
					t.Errorf("%s is %+v, %v", user, m, err)
				}
			}()
			go func() {
				mark := SessionMark{Key: SessionKey{user, "phone"}, Expiry: uint32(i)}
				if err := l.MarkSession(t.Context(), mark); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		g.open()
		synctest.Wait()
		if n := len(store.asked); n > 5 {
			t.Errorf("1,000 questions took %d calls", n)
		}
		for i, user := range []string{alice, bob, "carol"} { // the newest mark stands
			want := uint32(999)
			for int(want)%3 != i {
				want--
			}
			if got := store.marks[SessionKey{user, "phone"}].Expiry; got != want {
				t.Errorf("the mark of %s is number %d, want %d", user, got, want)
			}
		}
	})
}

// Those who ask for the same entries share a query, and each gets a list of
// its own: the broker clears what it has sent.
func TestReadersDoNotShareLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onRead = func([]Range) { g.pass() }
		l := newLog(t, store, Config{})
		w := l.Watch(room, wakes{})
		defer w.Close()
		w.Learn(2)
		for range 10 {
			go func() {
				read, err := l.Read(t.Context(), []Range{{room, 0, 10}, {hall, 1, 10}})
				if err != nil || len(read) != 2 || len(read[0]) != 2 || len(read[1]) != 1 {
					t.Errorf("got %v, %v", read, err)
					return
				}
				for _, items := range read {
					for i, it := range items {
						if it == nil {
							t.Error("another reader cleared what was read here")
						}
						items[i] = nil
					}
				}
			}()
			synctest.Wait()
		}
		g.open()
		synctest.Wait()
		if got, where := w.Read(0, 10, nil); where != InTail || len(got) != 2 || got[0] == nil || got[1] == nil {
			t.Errorf("the tail holds %v, %v", got, where)
		}
	})
}

func TestMarksAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		tries := 0
		store.onMark = func([]SessionMark) error {
			if tries++; tries < 3 {
				return fmt.Errorf("busy: %w", ErrAgain)
			}
			return nil
		}
		l := newLog(t, store, Config{})
		if err := l.MarkSession(t.Context(), SessionMark{Key: SessionKey{alice, "phone"}}); err != nil {
			t.Error(err)
		}
	})
}
