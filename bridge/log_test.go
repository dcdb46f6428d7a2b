package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestFollowersSeeACommitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		l := newLog(t, store, Config{})
		woken := wakes{make(chan struct{}, 9)}
		w := l.Watch(room, woken)
		defer w.Close()
		w.Learn(2)
		woken.taken()
		if _, err := l.Commit(t.Context(), message(room, alice, "a-1", "one")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, n := reads(w, 2), woken.taken(); got != "3:one" || n != 1 {
			t.Errorf("got %q, woken %d times", got, n)
		}
		if _, err := l.Commit(t.Context(), message(room, alice, "a-1", "other")); err != nil { // a repeat is no news
			t.Fatal(err)
		}
		if err := l.RenameConversation(t.Context(), Actor{UserID: bob}, "room", "den"); err != nil {
			t.Fatal(err)
		}
		if err := l.RemoveMember(t.Context(), Actor{UserID: alice}, "room", bob); err != nil {
			t.Fatal(err)
		}
		if n := woken.taken(); n < 2 {
			t.Errorf("woken %d times by a rename and a leave", n)
		}
		items, where := w.Read(2, 10, nil)
		if where != InTail || len(items) != 3 || items[1].Name != "den" || items[2].Type != chat.TypeLeave || items[2].UserID != bob {
			t.Errorf("got %v, %v", items, where)
		}
		if _, err := l.Commit(t.Context(), message(room, bob, "", "two")); err == nil {
			t.Error("one who was removed may send")
		}
		woken.taken()
		if err := l.DeleteConversation(t.Context(), Actor{UserID: alice}, "room"); err != nil {
			t.Fatal(err)
		}
		if got := reads(w, 2); got != "gone" || woken.taken() != 1 {
			t.Errorf("after the delete: %q", got)
		}
	})
}

// A commit whose outcome was unknown is made known by its second try.
func TestFollowersSeeARetriedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onCommit = func(_ context.Context, call int, _ []chat.Draft) fault {
			if call == 1 {
				return fault{err: unavailable(), late: true}
			}
			return fault{}
		}
		l := newLog(t, store, Config{HeadEvery: time.Hour})
		woken := wakes{make(chan struct{}, 9)}
		w := l.Watch(room, woken)
		defer w.Close()
		w.Learn(2)
		woken.taken()
		if _, err := l.Commit(t.Context(), message(room, alice, "a-1", "one")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, n := reads(w, 2), woken.taken(); got != "in store" || n != 1 {
			t.Errorf("got %q, woken %d times", got, n)
		}
	})
}

// Entries that nobody made known are found by comparing heads, and so are
// conversations that another process deleted.
func TestHeadsAreCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		l := newLog(t, store, Config{HeadEvery: 5 * time.Second})
		followers := make([]*Watch, 2500) // some calls
		woken := make([]wakes, len(followers))
		for i := range followers {
			id := fmt.Sprint(i)
			store.create(id, alice)
			woken[i] = wakes{make(chan struct{}, 9)}
			followers[i] = l.Watch(chat.ConversationStream(id), woken[i])
			followers[i].Learn(1)
			woken[i].taken()
		}
		nowhere := wakes{make(chan struct{}, 9)}
		unknown := l.Watch("c/nowhere", nowhere)
		time.Sleep(11 * time.Second)
		for i := range followers {
			if n := woken[i].taken(); n != 0 {
				t.Fatalf("woken %d times by no news", n)
			}
		}
		for i := 0; i < len(followers); i += 100 {
			store.put(message(chat.ConversationStream(fmt.Sprint(i)), alice, "", "hi"))
		}
		store.mu.Lock()
		delete(store.streams, "c/7")
		store.mu.Unlock()
		time.Sleep(5 * time.Second)
		for i, w := range followers {
			want := "caught up"
			if i == 7 {
				want = "gone"
			} else if i%100 == 0 {
				want = "in store"
			}
			if got := reads(w, 1); got != want || (woken[i].taken() == 1) != (want != "caught up") {
				t.Errorf("stream %d: %q, want %q", i, got, want)
			}
			w.Close()
		}
		if got := reads(unknown, 0); got != "caught up" || nowhere.taken() != 0 {
			t.Errorf("a stream that does not exist yet: %q", got)
		}
		unknown.Close()
	})
}

// A conversation that is made while heads are compared is not taken for one
// that was deleted.
func TestHeadsOfANewConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		store.onHeads = func() { time.Sleep(100 * time.Millisecond) }
		l := newLog(t, store, Config{HeadEvery: time.Second})
		w := l.Watch("c/new", wakes{})
		time.Sleep(1050 * time.Millisecond)
		if _, _, err := l.CreateConversation(t.Context(), alice, "new", "", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if got := reads(w, 0); got != "1:" {
			t.Errorf("got %q", got)
		}
		w.Close()
	})
}

// joins is a UserWatcher that notes what it is told.
type joins struct {
	mu   sync.Mutex
	told []string
}

func (j *joins) Joined(conversation string, seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.told = append(j.told, fmt.Sprint(conversation, " ", seq))
}

func (j *joins) want(tb testing.TB, want ...string) {
	tb.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.told, want) {
		tb.Errorf("told %q, want %q", j.told, want)
	}
	j.told = nil
}

func TestWatchUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		l := newLog(t, store, Config{})
		phone, laptop, other := new(joins), new(joins), new(joins)
		stopPhone, stopLaptop := l.WatchUser("carol", phone), l.WatchUser("carol", laptop)
		stopOther := l.WatchUser("dave", other)
		put := func(by, id, user string) {
			t.Helper()
			if _, _, err := l.PutMember(t.Context(), Actor{UserID: by}, id, user, chat.RoleMember); err != nil {
				t.Fatal(err)
			}
		}
		put(alice, "room", "carol")
		phone.want(t, "room 3")
		laptop.want(t, "room 3")
		if _, _, err := l.CreateConversation(t.Context(), "carol", "new", "", []string{"dave", "carol", "dave"}); err != nil {
			t.Fatal(err)
		}
		phone.want(t, "new 1")
		other.want(t, "new 2")
		laptop.want(t, "new 1")
		stopPhone()
		put(alice, "hall", "carol")
		phone.want(t)
		laptop.want(t, "hall 3")
		stopLaptop()
		stopOther()
		stopOther()
		put("carol", "new", alice)
		laptop.want(t)
		if n := len(l.users.m); n != 0 {
			t.Errorf("%d users are watched still", n)
		}
	})
}

// A join whose outcome was unknown reaches the user's sessions when it is
// asked for again.
func TestJoinWithUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		l := newLog(t, store, Config{})
		carol := new(joins)
		defer l.WatchUser("carol", carol)()
		put := func() (bool, error) {
			_, joined, err := l.PutMember(t.Context(), Actor{UserID: alice}, "room", "carol", chat.RoleMember)
			return joined, err
		}
		store.onPut = unavailable
		if _, err := put(); err == nil {
			t.Fatal("no error")
		}
		store.onPut = nil
		carol.want(t)
		if joined, err := put(); err != nil || joined {
			t.Fatal(joined, err)
		}
		carol.want(t, "room 3")
		store.create("made", alice, "carol") // it stands, and nobody was told
		if _, created, err := l.CreateConversation(t.Context(), alice, "made", "", []string{"carol"}); err != nil || created {
			t.Fatal(created, err)
		}
		carol.want(t, "made 2")
	})
}

// A delete whose outcome was unknown is found like an entry is.
func TestDeleteWithUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		l := newLog(t, store, Config{HeadEvery: time.Second})
		w := l.Watch(room, wakes{})
		w.Learn(2)
		store.onDelete = unavailable
		if err := l.DeleteConversation(t.Context(), Actor{UserID: alice}, "room"); err == nil {
			t.Fatal("no error")
		}
		time.Sleep(1500 * time.Millisecond)
		if got := reads(w, 2); got != "gone" {
			t.Errorf("got %q", got)
		}
		w.Close()
	})
}
