package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// bubble runs a test in which time stands still until all wait.
func bubble(t *testing.T, test func(w *world), change ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, change...)
		test(w)
		w.end()
	})
}

func TestTypingLasts(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob")
		alice, bob := w.connect("alice", "a"), w.connect("bob", "b", "chat/+/typing")
		alice.types("c1", true)
		bob.reads("c1 alice typing true")
		time.Sleep(1900 * time.Millisecond)
		alice.types("c1", true) // renewed, not told
		bob.reads()
		time.Sleep(5900 * time.Millisecond)
		bob.reads()
		time.Sleep(200 * time.Millisecond)
		bob.reads("c1 alice typing false")

		for range 3 { // told again every 2 s
			alice.types("c1", true)
			bob.reads("c1 alice typing true")
			time.Sleep(2 * time.Second)
		}
		alice.types("c1", false)
		bob.reads("c1 alice typing false")
		alice.types("c1", false)
		alice.types("c1", true) // at once, for it had ended
		bob.reads("c1 alice typing true")
		w.say("c1", "alice")
		synctest.Wait()
		bob.reads("c1 alice typing false")
		time.Sleep(10 * time.Second)
		bob.reads()

		// Many states of one member between two reads are one.
		alice.types("c1", true)
		alice.types("c1", false)
		alice.types("c1", true)
		bob.reads("c1 alice typing true")
	})
}

// A client that does not read is not told who types, but who does no more.
func TestTypingIsDroppedFirst(t *testing.T) {
	bubble(t, func(w *world) {
		members := []string{"slow"}
		for i := range 200 {
			members = append(members, fmt.Sprint("u", i))
		}
		w.conversation("c1", members...)
		slow := w.connect("slow", "s", "chat/+/typing", "users/+/presence")
		var typists []*client
		for _, m := range members[1:] {
			typists = append(typists, w.connect(m, "x"))
		}
		for _, c := range typists {
			c.types("c1", true)
		}
		if got := slow.got(); len(got) != 200 { // presence alone
			t.Errorf("told %d states, want 200", len(got))
		}
		for _, c := range typists[:100] {
			c.types("c1", false)
			c.types("c1", true)
		}
		if got := slow.got(); len(got) != 100 || got[99] != "c1 u99 typing true" {
			t.Errorf("told %d states: %v", len(got), got)
		}
	})
}

func TestReceiptsOnceASecond(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob", "carol")
		alice := w.connect("alice", "a", "chat/c1/receipts")
		moved := func(user string, read uint64) {
			w.ReceiptMoved(bridge.Receipt{MemberKey: bridge.MemberKey{Conversation: "c1", UserID: user}, Read: read, Delivered: read, At: time.Now()})
		}
		moved("bob", 4)
		alice.reads("c1 bob read 4")
		for i := range uint64(9) {
			time.Sleep(100 * time.Millisecond)
			moved("bob", 5+i)
			moved("bob", 4) // late: it does not go back
			alice.reads()
		}
		moved("carol", 7) // each member has a second of its own
		alice.reads("c1 carol read 7")
		time.Sleep(200 * time.Millisecond)
		alice.reads("c1 bob read 13")
		moved("bob", 20)
		alice.reads()
		time.Sleep(time.Second)
		alice.reads("c1 bob read 20")
		time.Sleep(5 * time.Second)
		alice.reads()
		seq := w.say("c1", "bob") // who sends has read
		synctest.Wait()
		alice.reads(fmt.Sprintf("c1 bob read %d", seq))
		moved("nobody", 3)
		alice.reads()
	})
}

// A user was last seen when its last connection ended, whatever the grace time.
func TestLastSeen(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob")
		w.connect("alice", "a", "users/bob/presence")
		phone, desk := w.connect("bob", "phone"), w.connect("bob", "desk")
		desk.Close()
		time.Sleep(time.Second)
		phone.Close()
		at := time.Now()
		time.Sleep(time.Minute)
		got, err := w.Presence(context.Background(), "alice", false, []string{"bob"})
		if err != nil || len(got) != 1 || got[0].Status != chat.StatusOffline || got[0].LastSeen.Sub(at).Abs() > time.Millisecond {
			t.Errorf("told %+v, %v; want it seen at %v", got, err, at)
		}
	})
}

func TestGrace(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob")
		alice := w.connect("alice", "a", "users/bob/presence")
		bob := w.connect("bob", "b")
		alice.reads("bob online 1")
		bob.Close()
		time.Sleep(1900 * time.Millisecond)
		bob = w.connect("bob", "other")
		time.Sleep(time.Minute)
		alice.reads()
		second := w.connect("bob", "second")
		alice.reads("bob online 2")
		bob.Close()
		time.Sleep(1900 * time.Millisecond)
		alice.reads()
		time.Sleep(200 * time.Millisecond)
		alice.reads("bob online 1")
		// What was said of the other connection goes with it.
		second.SetStatus(chat.StatusAway)
		alice.reads("bob away 1")
		second.Close()
		w.connect("bob", "third")
		alice.reads("bob online 1")
		time.Sleep(time.Hour)
		alice.reads()
	})
}

// What is saved is saved together, and again when it failed.
func TestPeopleAreSaved(t *testing.T) {
	bubble(t, func(w *world) {
		var all []*client
		for i := range 2500 {
			all = append(all, w.connect(fmt.Sprint("u", i), "c"))
		}
		time.Sleep(saveEvery + time.Millisecond)
		synctest.Wait()
		w.store.mu.Lock()
		if w.store.saves != 3 || len(w.store.people) != 2500 || !w.store.people["u7"].Online {
			t.Errorf("%d calls saved %d people", w.store.saves, len(w.store.people))
		}
		w.store.mu.Unlock()
		w.store.fail(errors.New("gone"))
		at := time.Now()
		all[7].SetStatus(chat.StatusInvisible)
		time.Sleep(3 * time.Second)
		w.store.fail(nil)
		time.Sleep(3 * time.Second)
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		if p := w.store.people["u7"]; p.Online || p.LastSeen.Sub(at).Abs() > time.Millisecond {
			t.Errorf("saved %+v, want it seen at %v", p, at)
		}
	})
}

// While the store is out of reach a SUBSCRIBE is refused, and what stands
// comes when it is back.
func TestLoadingIsTriedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob")
		w.store.fail(errors.New("gone"))
		bob := &client{w: w}
		bob.Session = w.Connect(Options{Key: bridge.SessionKey{UserID: "bob", ClientID: "b"}, Version: 5, Reader: bob})
		if err := bob.Prepare(context.Background()); err == nil {
			t.Error("Prepare answered nil")
		}
		bob.Settle()
		alice := &client{w: w} // comes back with its subscriptions
		alice.Session = w.Connect(Options{Key: bridge.SessionKey{UserID: "alice", ClientID: "a"}, Version: 5, Reader: alice,
			Subs: bridge.Subscriptions{{Filter: "users/+/presence"}}})
		alice.reads()
		time.Sleep(time.Minute)
		w.store.fail(nil)
		time.Sleep(time.Second)
		alice.reads("alice online 1", "bob online 1")
		bob.Close()
		alice.Close()
		time.Sleep(time.Minute)
		w.empty()
	})
}

// empty wants nothing to be left of those who are gone.
func (w *world) empty() {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.persons) > 0 || len(w.rooms) > 0 {
		w.Errorf("%d persons and %d rooms are left", len(w.persons), len(w.rooms))
	}
}

// A room that memory does not reach any more reads on from the store, and
// meanwhile nobody is told anything of it.
func TestBehind(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob", "carol")
		bob := w.connect("bob", "b", "chat/+/typing", "users/+/presence", "chat/+/receipts")
		alice := w.connect("alice", "a")
		bob.reads("alice online 1")
		w.store.fail(errors.New("gone"))
		w.store.mu.Lock() // committed by somebody else, and known by a hint alone
		for range 3 {
			w.store.append("c1", chat.Entry{SenderID: "carol", Body: chat.Body{Type: chat.TypeMessage}})
		}
		delete(w.store.members["c1"], "alice")
		w.store.append("c1", chat.Entry{Body: chat.Body{Type: chat.TypeLeave, UserID: "alice"}})
		w.store.mu.Unlock()
		w.mu.Lock()
		watch := w.rooms["c1"].watch
		w.mu.Unlock()
		watch.Learn(7)
		alice.SetStatus(chat.StatusAway)
		synctest.Wait()
		if err := alice.Typing("c1", true); err == nil {
			t.Error("typing was taken though nobody can know who is a member")
		}
		bob.reads()
		w.store.fail(nil)
		time.Sleep(2 * time.Second)
		bob.reads("c1 carol read 6") // alice is no member, and nobody to see
	})
}

// What waits in the mail of a slow reader is not written any more once its
// user was removed, whatever the hub has heard of that.
func TestRemovedWithMailWaiting(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob", "carol")
		w.conversation("c2", "bob", "carol")
		bob := w.connect("bob", "b", "chat/+/typing", "chat/+/receipts", "users/+/presence")
		alice, carol := w.connect("alice", "a"), w.connect("carol", "c", "chat/+/typing") // for whom the room stays
		for range 2 {
			alice.types("c1", true)
			seq := w.say("c1", "carol")
			synctest.Wait()
			carol.SetStatus(chat.StatusAway)
			w.remove("c1", "bob")
			bob.reads("carol away 1") // they still share c2
			w.put("c1", "bob")
			synctest.Wait()
			carol.SetStatus(chat.StatusOnline)
			if got := bob.got(); len(got) == 0 || got[len(got)-1] == fmt.Sprint("c1 carol read ", seq) {
				t.Errorf("as a member again bob reads %q", got)
			}
			time.Sleep(time.Minute)
			bob.got()
		}
	})
}

// Who joins again has read up to its new join: what was to be told of the
// membership before would go back behind that.
func TestReceiptsOfWhoHasLeft(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob", "carol")
		alice := w.connect("alice", "a", "chat/+/receipts")
		w.connect("carol", "c", "chat/c1/receipts").Close()
		again := func() {
			w.remove("c1", "bob")
			w.put("c1", "bob")
			synctest.Wait()
			time.Sleep(2 * receiptEvery)
		}
		w.say("c1", "bob") // in the mail
		synctest.Wait()
		w.remove("c1", "bob")
		w.put("c1", "bob")
		alice.reads() // before anybody else has looked at the room
		w.say("c1", "bob")
		again()
		alice.reads()
		seq := w.say("c1", "bob")
		synctest.Wait()
		alice.reads(fmt.Sprint("c1 bob read ", seq))
		w.say("c1", "bob") // to be told in a second
		again()
		alice.reads()
		seq = w.say("c1", "bob")
		synctest.Wait()
		alice.reads(fmt.Sprint("c1 bob read ", seq))
	})
}

// All sessions of who joins are told who is there.
func TestJoinOnTwoDevices(t *testing.T) {
	bubble(t, func(w *world) {
		w.conversation("c1", "bob")
		one, two := w.connect("alice", "a", "users/+/presence"), w.connect("alice", "b", "users/+/presence")
		one.got()
		two.got()
		w.put("c1", "alice")
		synctest.Wait()
		one.reads("bob offline 0")
		two.reads("bob offline 0")
	})
}

func TestBlocked(t *testing.T) {
	blocks := map[string][]string{}
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob", "carol")
		alice := w.connect("alice", "a", "users/+/presence")
		bob := w.connect("bob", "b", "users/+/presence")
		alice.reads("bob online 1")
		bob.reads()
		blocks["bob"], blocks["alice"] = []string{"zoe", "alice"}, []string{"bob"}
		w.BlocksChanged("bob", "alice", true)
		alice.reads("bob offline 0")
		bob.reads("alice offline 0")
		synctest.Wait()
		alice.reads()
		alice.SetStatus(chat.StatusAway)
		alice.reads("alice away 1")
		bob.reads()
		bob.Snapshot(chat.Filter{Kind: chat.KindPresence, Any: true})
		bob.reads("bob online 1 retained", "carol offline 0 retained")
		if got, err := w.Presence(context.Background(), "bob", false, []string{"alice", "carol"}); err != nil || len(got) != 1 {
			t.Errorf("bob asks, and is told %v, %v", got, err)
		}
		bob.Close() // one that comes back finds the block
		time.Sleep(time.Minute)
		bob = w.connect("bob", "b", "users/+/presence")
		bob.Snapshot(chat.Filter{Kind: chat.KindPresence, Any: true})
		bob.reads("bob online 1 retained", "carol offline 0 retained")
		alice.reads()
		clear(blocks)
		w.BlocksChanged("alice", "bob", false)
		synctest.Wait()
		bob.reads("alice away 1")
		alice.reads("bob online 1")
	}, func(c *Config) {
		c.Blocks = func(_ context.Context, users []string) ([][]string, error) {
			all := make([][]string, len(users))
			for i, u := range users {
				all[i] = slices.Clone(blocks[u])
			}
			return all, nil
		}
	})
}

// A block that is made while blocks are looked up holds, whatever the answer
// says.
func TestBlockedWhileLookedUp(t *testing.T) {
	var meanwhile func()
	blocks := map[string][]string{}
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob")
		block := func() {
			blocks["bob"], blocks["alice"] = []string{"alice"}, []string{"bob"}
			w.BlocksChanged("bob", "alice", true)
		}
		alice, bob := w.connect("alice", "a", "users/+/presence"), w.connect("bob", "b", "users/+/presence")
		block()
		synctest.Wait()
		alice.reads("bob offline 0")
		bob.reads("alice offline 0")
		clear(blocks)
		meanwhile = block
		w.BlocksChanged("alice", "bob", false)
		synctest.Wait()
		alice.reads()
		bob.reads()

		bob.Close()
		time.Sleep(time.Minute)
		clear(blocks)
		w.BlocksChanged("alice", "bob", false)
		synctest.Wait()
		alice.got()
		meanwhile = block
		bob = w.connect("bob", "b", "users/+/presence")
		synctest.Wait()
		bob.Snapshot(chat.Filter{Kind: chat.KindPresence, Any: true})
		bob.reads("bob online 1 retained")
	}, func(c *Config) {
		c.Blocks = func(_ context.Context, users []string) ([][]string, error) {
			all := make([][]string, len(users))
			for i, u := range users {
				all[i] = slices.Clone(blocks[u])
			}
			if f := meanwhile; f != nil {
				meanwhile = nil
				f()
			}
			return all, nil
		}
	})
}

func TestBlockedTyping(t *testing.T) {
	blocks := map[string][]string{}
	bubble(t, func(w *world) {
		w.conversation("c1", "alice", "bob", "carol")
		alice := w.connect("alice", "a", "chat/+/typing")
		bob := w.connect("bob", "b", "chat/+/typing")
		carol := w.connect("carol", "c", "chat/c1/typing")
		alice.types("c1", true)
		bob.reads("c1 alice typing true")
		carol.reads("c1 alice typing true")
		blocks["bob"], blocks["alice"] = []string{"alice"}, []string{"bob"}
		w.BlocksChanged("bob", "alice", true)
		bob.reads("c1 alice typing false") // as far as it may know
		time.Sleep(3 * time.Second)
		alice.types("c1", true)
		bob.types("c1", true)
		alice.reads()
		carol.reads("c1 alice typing true", "c1 bob typing true")
		bob.reads()
		alice.types("c1", false)
		bob.types("c1", false)
		carol.reads("c1 alice typing false", "c1 bob typing false")
		bob.reads()
		alice.reads()
		clear(blocks)
		w.BlocksChanged("bob", "alice", false)
		synctest.Wait()
		alice.types("c1", true)
		bob.reads("c1 alice typing true")
	}, func(c *Config) {
		c.Blocks = func(_ context.Context, users []string) ([][]string, error) {
			all := make([][]string, len(users))
			for i, u := range users {
				all[i] = slices.Clone(blocks[u])
			}
			return all, nil
		}
	})
}

func TestUnread(t *testing.T) {
	counts := map[string]uint64{"alice": 3}
	bubble(t, func(w *world) {
		alice := w.connect("alice", "a", "users/alice/#")
		bob := w.connect("bob", "b", "users/bob/unread")
		alice.Snapshot(chat.Filter{Kind: chat.KindUnread, ID: "alice"})
		synctest.Wait()
		alice.reads("unread 3 retained")
		for n := range uint64(5) {
			counts["alice"] = n
			w.Recount("alice", "nobody")
			synctest.Wait()
		}
		alice.reads("unread 4")
		bob.reads()
	}, func(c *Config) {
		c.Unread = func(_ context.Context, users []string) ([]uint64, error) {
			all := make([]uint64, len(users))
			for i, u := range users {
				all[i] = counts[u]
			}
			return all, nil
		}
	})
}

// Ten thousand users who come at once are loaded together, and a room once.
func TestLoadsTogether(t *testing.T) {
	bubble(t, func(w *world) {
		members := make([]string, 1000)
		for i := range members {
			members[i] = fmt.Sprint("u", i)
		}
		for i := range 200 {
			w.conversation(fmt.Sprint("c", i), members[i*5:i*5+5]...)
		}
		for _, m := range members {
			c := &client{w: w}
			c.Session = w.Connect(Options{Key: bridge.SessionKey{UserID: m, ClientID: "c"}, Version: 5, Reader: c,
				Subs: bridge.Subscriptions{{Filter: "users/+/presence"}}})
		}
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.rooms) != 200 || w.store.rosters > 20 {
			t.Errorf("%d rooms were loaded in %d calls", len(w.rooms), w.store.rosters)
		}
		for _, p := range w.persons {
			if p.follow != followed {
				t.Fatalf("%s is not followed", p.id)
			}
		}
	})
}
