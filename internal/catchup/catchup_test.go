package catchup_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/catchup"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// fresh is a world with a service, and the first answer's cursor.
func fresh(t *testing.T, backend string, b catchup.Bounds, conversations int) (*world, *catchup.Service, string) {
	t.Helper()
	w := newWorld(t, backend, 1)
	for i := range conversations {
		_, _, err := w.log.CreateConversation(t.Context(), owner, fmt.Sprintf("c%03d", i), "", []string{me})
		w.ok(err)
	}
	s := catchup.New(w.log, b)
	a, err := s.Sync(t.Context(), me, "", 500)
	w.ok(err)
	return w, s, a.Next
}

func (w *world) say(conversation string) {
	w.Helper()
	_, err := w.log.Commit(w.Context(), chat.Draft{Stream: chat.ConversationStream(conversation), SenderID: owner,
		Body: chat.Body{Type: chat.TypeMessage, Content: "hi"}})
	w.ok(err)
}

// A cursor of another user, a damaged one and nonsense are refused; none of
// them panics.
func TestBadCursors(t *testing.T) {
	for _, b := range []catchup.Bounds{{}, {Exact: 2, Named: 3}} {
		w, s, next := fresh(t, "sqlite", b, 5)
		for i := range 5 {
			w.say(fmt.Sprintf("c%03d", i))
		}
		a, err := s.Sync(t.Context(), me, next, 1) // a pass is under way
		w.ok(err)
		refuse := func(user, after string) {
			t.Helper()
			_, err := s.Sync(t.Context(), user, after, 10)
			var refusal *chat.Error
			if !errors.As(err, &refusal) || refusal.Code != chat.CodeInvalid || refusal.Field != "after" {
				t.Errorf("%.40q of %s: %v", after, user, err)
			}
		}
		for _, after := range []string{next, a.Next} {
			refuse("eve", after)
			for _, bad := range []string{"x", "!", after + "A", after + "=", after[1:], after[:len(after)-1], strings.Repeat("A", 100_000), "AAAA", "BA"} {
				refuse(me, bad)
			}
			raw, err := base64.RawURLEncoding.DecodeString(after)
			w.ok(err)
			for range 300 {
				bad := append([]byte(nil), raw...)
				bad[rand.IntN(len(bad))] ^= byte(1 + rand.IntN(255))
				refuse(me, base64.RawURLEncoding.EncodeToString(bad))
			}
		}
	}
}

// What is large comes in several answers, and each has something.
func TestLargeEntries(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		w, s, next := fresh(t, backend, catchup.Bounds{Bytes: 400_000}, 1)
		const n, large = 75, 8000
		for range n {
			_, err := w.log.Commit(t.Context(), chat.Draft{Stream: "c/c000", SenderID: owner,
				Body: chat.Body{Type: chat.TypeMessage, Content: strings.Repeat("x", large)}})
			w.ok(err)
		}
		seq, answers := uint64(2), 0
		for complete := false; !complete; answers++ {
			a, err := s.Sync(t.Context(), me, next, 2000)
			w.ok(err)
			for _, e := range a.Conversations[0].Entries {
				if seq++; e.Seq != seq {
					t.Fatalf("entry %d, want %d", e.Seq, seq)
				}
			}
			if got := len(a.Conversations[0].Entries) * large; got > 410_000 {
				t.Errorf("an answer has %d bytes", got)
			}
			next, complete = a.Next, a.Complete
		}
		if answers != 2 || seq != 2+n {
			t.Errorf("%d answers, up to %d", answers, seq)
		}
	})
}

// A user with thousands of conversations has a small cursor.
func TestCursorIsBounded(t *testing.T) {
	w, s, next := fresh(t, "sqlite", catchup.Bounds{Exact: 50, Named: 100}, 500)
	const most = (100*(8+2) + 100) * 4 / 3
	if len(next) > most {
		t.Errorf("the first cursor has %d bytes", len(next))
	}
	for range 200 {
		w.now()
	}
	for i := range 500 {
		w.say(fmt.Sprintf("c%03d", i))
	}
	got := 0
	for complete := false; !complete; {
		a, err := s.Sync(t.Context(), me, next, 77)
		w.ok(err)
		for _, c := range a.Conversations {
			got += len(c.Entries)
		}
		if next, complete = a.Next, a.Complete; len(next) > most {
			t.Fatalf("a cursor has %d bytes", len(next))
		}
	}
	if got != 500 {
		t.Errorf("%d entries came", got)
	}
}

// Others send, and the user comes and goes, while it asks: what comes is what
// it may read, in order, once.
func TestSyncMeetsCommits(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		const conversations = 4
		w, s, next := fresh(t, backend, catchup.Bounds{}, conversations)
		var working sync.WaitGroup
		stop := make(chan struct{})
		for i := range conversations {
			id := fmt.Sprintf("c%03d", i)
			working.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
						w.say(id)
					}
				}
			})
			working.Go(func() {
				for n := 0; n < 10; n++ {
					admin := bridge.Actor{UserID: owner, Admin: true}
					w.ok(w.log.RemoveMember(t.Context(), admin, id, me))
					_, _, err := w.log.PutMember(t.Context(), admin, id, me, chat.RoleMember)
					w.ok(err)
				}
			})
		}
		got := map[string][]uint64{}
		ask := func() bool {
			a, err := s.Sync(t.Context(), me, next, 1+rand.IntN(50))
			w.ok(err)
			for _, c := range a.Conversations {
				for _, e := range c.Entries {
					got[c.ID] = append(got[c.ID], e.Seq)
				}
			}
			next = a.Next
			return a.Complete
		}
		for began := time.Now(); time.Since(began) < time.Second; {
			ask()
		}
		close(stop)
		working.Wait()
		for !ask() {
		}
		for i := range conversations {
			id := fmt.Sprintf("c%03d", i)
			entries, err := w.log.After(t.Context(), bridge.Range{Stream: chat.ConversationStream(id), After: 2, Limit: 1_000_000})
			w.ok(err)
			var want []uint64
			in := true
			for _, e := range entries {
				own := e.UserID == me
				if in = in || own; in {
					want = append(want, e.Seq)
				}
				if own && e.Type == chat.TypeLeave {
					in = false
				}
			}
			if fmt.Sprint(got[id]) != fmt.Sprint(want) {
				t.Errorf("%s: got %d entries, want %d", id, len(got[id]), len(want))
			}
		}
	})
}

// onLine is a log whose line of history is what the function says.
type onLine struct {
	catchup.Log
	line func() string
}

func (l onLine) Line() string { return l.line() }

// A cursor of another line of history is refused, whatever seqs it names: they
// may be other entries. An answer of which it is not known on which line it was
// read is none.
func TestSetBack(t *testing.T) {
	w, s, next := fresh(t, "sqlite", catchup.Bounds{}, 3)
	w.say("c001")
	other := catchup.New(onLine{w.log, func() string { return "other" }}, catchup.Bounds{})
	_, err := other.Sync(t.Context(), me, next, 10)
	var refusal *chat.Error
	if !errors.As(err, &refusal) || refusal.Code != chat.CodeInvalid || refusal.Field != "after" {
		t.Errorf("after it was set back: %v", err)
	}
	a, err := other.Sync(t.Context(), me, "", 10)
	w.ok(err)
	if _, err := other.Sync(t.Context(), me, a.Next, 10); err != nil {
		t.Errorf("its own cursor: %v", err)
	}
	if a, err := s.Sync(t.Context(), me, next, 10); err != nil || len(a.Conversations) != 1 {
		t.Errorf("on the same line: %+v, %v", a, err)
	}
	asked := 0
	changing := catchup.New(onLine{w.log, func() string { asked++; return fmt.Sprint(asked) }}, catchup.Bounds{})
	if _, err := changing.Sync(t.Context(), me, "", 10); !errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("while it changes: %v", err)
	}
}
