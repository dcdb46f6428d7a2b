package catchup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/catchup"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Runner{M: m}) }

// world is a log on a real database, and what its user is to get.
type world struct {
	*testing.T
	store bridge.Store
	log   *bridge.Log
	rand  *rand.Rand
	clock atomic.Int64 // milliseconds; goes on by a second whenever it is read

	lives map[string]*life // of the conversations that stand, by id
	of    map[chat.ID]place
	all   []*life
}

// life is a conversation from its creation to its deletion.
type life struct {
	id      string
	head    uint64
	first   uint64
	joined  uint64          // the newest join of the user
	fresh   bool            // members read nothing from before they joined
	in      bool            // the user is a member
	due     []chat.Entry    // what the user is to get, in order
	had     int             // how many of those it has
	members map[string]bool // the others
	gone    bool
	erased  map[uint64]bool
}

// held reports whether an entry may be read yet.
func (l *life) held(seq uint64) bool { return seq >= l.first && (!l.fresh || seq >= l.joined) }

type place struct {
	life *life
	at   int
}

const (
	me    = "me"
	owner = "olga"
)

var others = []string{owner, "ann", "bob"}

func newWorld(t *testing.T, backend string, seed uint64) *world {
	w := &world{T: t, rand: rand.New(rand.NewPCG(seed, 1)), lives: map[string]*life{}, of: map[chat.ID]place{}}
	w.clock.Store(time.Date(2026, 11, 22, 22, 1, 33, 0, time.UTC).UnixMilli())
	dsn := filepath.Join(t.TempDir(), "parley.db")
	if backend == "postgres" {
		dsn = pgtest.URL(t)
	}
	w.store = parleytest.Open(t, backend, dsn)
	w.log = bridge.New(bridge.Config{Store: w.store, Now: w.now})
	t.Cleanup(func() {
		if err := w.log.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) now() time.Time { return time.UnixMilli(w.clock.Add(1000)) }

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// step changes something, and notes what the user is to get of it.
func (w *world) step(conversations int) {
	w.Helper()
	id := fmt.Sprintf("c%02d", w.rand.IntN(conversations))
	l := w.lives[id]
	ctx, admin := w.Context(), bridge.Actor{UserID: owner, Admin: true}
	if l == nil {
		members := others[1:]
		if w.rand.IntN(2) == 0 {
			members = append([]string{me}, members...)
		}
		_, _, err := w.log.CreateConversation(ctx, owner, id, "", members)
		w.ok(err)
		l = &life{id: id, members: map[string]bool{}, erased: map[uint64]bool{}, first: 1}
		w.lives[id], w.all = l, append(w.all, l)
		if l.fresh = w.rand.IntN(3) == 0; l.fresh {
			w.ok(w.log.SetHistory(ctx, admin, id, true))
		}
		w.learn(l)
		return
	}
	switch n := w.rand.IntN(100); {
	case n < 70:
		sender := others[w.rand.IntN(len(others))]
		if l.in && w.rand.IntN(3) == 0 {
			sender = me
		}
		w.send(l, sender)
	case n < 85: // the user comes or goes
		if l.in {
			w.ok(w.log.RemoveMember(ctx, admin, id, me))
			break
		}
		_, _, err := w.log.PutMember(ctx, admin, id, me, chat.RoleMember)
		w.ok(err)
	case n < 92: // somebody else does
		if err := w.log.RemoveMember(ctx, admin, id, "ann"); err != nil {
			_, _, err := w.log.PutMember(ctx, admin, id, "ann", chat.RoleMember)
			w.ok(err)
		}
	case n < 94:
		w.ok(w.log.DeleteConversation(ctx, admin, id))
		l.gone = true
		delete(w.lives, id)
		return
	case n < 96:
		keep := bridge.RetentionPolicy{Conversations: bridge.Retention{Count: uint64(1 + w.rand.IntN(10))}}
		head, _, err := w.store.Trim(ctx, w.now(), keep, chat.ConversationStream(id), 1000)
		w.ok(err)
		l.first = head.First
	}
	w.learn(l)
}

func (w *world) send(l *life, sender string) {
	w.Helper()
	body := chat.Body{Type: chat.TypeMessage, Content: "secret"}
	if l.head > 0 && w.rand.IntN(8) == 0 {
		target := 1 + w.rand.Uint64N(l.head)
		body = chat.Body{Type: chat.TypeDelete, Target: target}
		if sender = owner; w.rand.IntN(2) == 0 {
			body = chat.Body{Type: chat.TypeReaction, Target: target, Emoji: "+"}
		}
	}
	_, err := w.log.Commit(w.Context(), chat.Draft{Stream: chat.ConversationStream(l.id), SenderID: sender, Body: body})
	if e, expected := chat.AsError(err); err != nil && !expected {
		w.Fatal(e)
	}
	if err == nil && body.Type == chat.TypeDelete {
		l.erased[body.Target] = true
	}
}

// learn notes the new entries of a conversation.
func (w *world) learn(l *life) {
	w.Helper()
	entries, err := w.log.After(w.Context(), bridge.Range{Stream: chat.ConversationStream(l.id), After: l.head, Limit: 1000})
	w.ok(err)
	for _, e := range entries {
		own := e.UserID == me
		if l.in || own && e.Type == chat.TypeJoin {
			w.of[e.ID] = place{l, len(l.due)}
			l.due = append(l.due, e)
		}
		switch {
		case own && e.Type == chat.TypeJoin:
			l.in, l.joined = true, e.Seq
		case own && e.Type == chat.TypeLeave:
			l.in = false
		}
		l.head = e.Seq
	}
}

// take checks an answer: every entry is the next one that is due, but for
// those that are not held any more.
func (w *world) take(a *catchup.Answer) (entries int) {
	w.Helper()
	for _, c := range a.Conversations {
		if len(c.Entries) == 0 {
			w.Errorf("%s is there without entries", c.ID)
		}
		for _, e := range c.Entries {
			entries++
			p, known := w.of[e.ID]
			if !known {
				w.Fatalf("entry %d %s of %s by %s is not for this user", e.Seq, e.Type, e.Stream, e.SenderID)
			}
			if !p.life.held(e.Seq) {
				w.Errorf("entry %d of %s is not to be read any more", e.Seq, e.Stream)
			}
			for p.life.had < p.at && !p.life.held(p.life.due[p.life.had].Seq) {
				p.life.had++
			}
			if p.at != p.life.had {
				w.Fatalf("entry %d of %s came, %d is due", e.Seq, e.Stream, p.life.due[min(p.life.had, len(p.life.due)-1)].Seq)
			}
			if p.life.had++; p.life.erased[e.Seq] && e.Content != "" {
				w.Errorf("entry %d of %s was deleted and has its content", e.Seq, e.Stream)
			}
			if e.Stream.Conversation() != c.ID {
				w.Errorf("entry of %s in %s", e.Stream, c.ID)
			}
		}
		if l := w.lives[c.ID]; l != nil && l.in && c.Head != l.head {
			w.Errorf("%s has head %d, want %d", c.ID, c.Head, l.head)
		}
	}
	return entries
}

// wantAll wants everything that is due to have come.
func (w *world) wantAll(when string) {
	w.Helper()
	for _, l := range w.all {
		for !l.gone && l.had < len(l.due) && !l.held(l.due[l.had].Seq) {
			l.had++
		}
		if !l.gone && l.had != len(l.due) {
			w.Errorf("%s: of %s %d of %d came; next is %d", when, l.id, l.had, len(l.due), l.due[l.had].Seq)
		}
	}
}

// forget takes what was there before the first answer for known.
func (w *world) forget() {
	for _, l := range w.all {
		l.had = len(l.due)
	}
}

// A client that does nothing but sync gets what its user may read, in order,
// once, whatever happens between its questions.
func TestClientThatOnlySyncs(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for _, tt := range []struct {
			name          string
			bounds        catchup.Bounds
			conversations int
			exact         bool // an answer that is complete has all
		}{
			{"few conversations", catchup.Bounds{}, 6, true},
			{"small answers", catchup.Bounds{Bytes: 1000}, 6, true},
			{"many conversations", catchup.Bounds{Exact: 4, Named: 100, Margin: 5 * time.Second}, 12, true},
			{"too many conversations", catchup.Bounds{Exact: 2, Named: 4, Margin: 5 * time.Second}, 12, false},
			{"growing", catchup.Bounds{Exact: 8, Named: 12, Margin: 5 * time.Second}, 16, false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(rounds) {
					t.Run(fmt.Sprint(seed), func(t *testing.T) {
						w := newWorld(t, backend, seed)
						w.run(catchup.New(w.log, tt.bounds), tt.conversations, tt.exact)
					})
				}
			})
		}
	})
}

const rounds = 2

func (w *world) run(s *catchup.Service, conversations int, exact bool) {
	for range w.rand.IntN(60) {
		w.step(conversations)
	}
	a, err := s.Sync(w.Context(), me, "", 500)
	w.ok(err)
	members := 0
	for _, l := range w.lives {
		if l.in {
			members++
		}
	}
	if len(a.Conversations) != members || !a.Complete || len(a.Notifications) != 0 {
		w.Fatalf("the first answer is %+v, want %d conversations", a, members)
	}
	w.forget()
	next := a.Next
	ask := func() (complete bool) {
		limit := 1 + w.rand.IntN(20)
		a, err := s.Sync(w.Context(), me, next, limit)
		w.ok(err)
		if got := w.take(a); got > limit {
			w.Errorf("%d entries came, the limit is %d", got, limit)
		} else if got == 0 && !a.Complete && exact {
			w.Log("an answer is empty and not complete")
		}
		next = a.Next
		return a.Complete
	}
	for range 60 {
		for range w.rand.IntN(6) {
			w.step(conversations)
		}
		if ask() && exact {
			w.wantAll("complete")
		}
		if w.rand.IntN(10) == 0 {
			for range 20 { // a while passes
				w.now()
			}
		}
	}
	for range 100 {
		w.now()
	}
	for asked := 0; !ask(); asked++ {
		if asked > 10_000 {
			w.Fatal("it never is complete")
		}
	}
	w.wantAll("at the end")
}
