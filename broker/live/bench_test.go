package live

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// pulls is a connection that a benchmark reads.
type pulls struct{ *Session }

func (*pulls) Wake() {}

// forgetful is a log whose store can forget people.
type forgetful struct {
	*bridge.Log
	store *fakeStore
}

func (f *forgetful) forget() {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.store.people = map[string]bridge.Person{}
}

func newBench(b testing.TB) *Hub {
	store := newStore()
	log := bridge.New(bridge.Config{Store: store, SweepEvery: 1000 * time.Hour})
	h := New(Config{Log: &forgetful{log, store}})
	b.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			b.Error(err)
		}
		if err := log.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return h
}

func (h *Hub) attend(tb testing.TB, user string, filters ...string) *pulls {
	p := &pulls{}
	p.Session = h.Connect(Options{Key: bridge.SessionKey{UserID: user, ClientID: "c"}, Version: 5, Reader: p})
	if len(filters) == 0 {
		return p
	}
	if err := p.Prepare(context.Background()); err != nil {
		tb.Fatal(err)
	}
	var subs bridge.Subscriptions
	for _, f := range filters {
		subs = subs.Put(bridge.Subscription{Filter: f})
	}
	p.Subscribe(subs)
	return p
}

func (h *Hub) make(tb testing.TB, id string, members ...string) {
	if _, _, err := h.log.(*forgetful).CreateConversation(context.Background(), members[0], id, "", members[1:]); err != nil {
		tb.Fatal(err)
	}
}

// A room of 100: each delivery is one of the 99 others.
func BenchmarkTyping(b *testing.B) {
	h := newBench(b)
	var members []string
	for i := range 100 {
		members = append(members, fmt.Sprint("u", i))
	}
	h.make(b, "c1", members...)
	var all []*pulls
	for _, m := range members {
		all = append(all, h.attend(b, m, "chat/+/typing"))
	}
	var out []byte
	b.ReportAllocs()
	deliveries := 0
	for typing := true; b.Loop(); typing = !typing {
		if err := all[0].Typing("c1", typing); err != nil {
			b.Fatal(err)
		}
		for _, c := range all[1:] {
			if out = c.Pull(out[:0], 32<<10); len(out) == 0 {
				b.Fatal("nothing was delivered")
			}
			deliveries++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(deliveries), "ns/delivery")
}

// A user with 1,000 contacts who are there, in 100 conversations.
func BenchmarkPresence(b *testing.B) {
	h := newBench(b)
	var contacts []*pulls
	for i := range 100 {
		members := []string{"me"}
		for j := range 10 {
			members = append(members, fmt.Sprint("u", 10*i+j))
		}
		h.make(b, fmt.Sprint("c", i), members...)
		for _, m := range members[1:] {
			contacts = append(contacts, h.attend(b, m, "users/+/presence"))
		}
	}
	me := h.attend(b, "me")
	var out []byte
	b.ReportAllocs()
	deliveries := 0
	for away := false; b.Loop(); away = !away {
		status := chat.StatusOnline
		if away {
			status = chat.StatusAway
		}
		me.SetStatus(status)
		for _, c := range contacts {
			if out = c.Pull(out[:0], 32<<10); len(out) > 0 {
				deliveries++
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(deliveries), "ns/delivery")
}

// No delivery allocates: not putting it into the mail, nor writing it.
func TestDeliveryAllocatesNothing(t *testing.T) {
	h := newBench(t)
	h.make(t, "c1", "alice", "bob", "carol")
	alice, bob := h.attend(t, "alice"), h.attend(t, "bob", "chat/+/typing", "users/+/presence")
	carol := h.attend(t, "carol", "chat/c1/typing")
	out := make([]byte, 0, 4096)
	status := chat.StatusOnline
	got := testing.AllocsPerRun(1000, func() {
		if status++; status > chat.StatusOnline {
			status = chat.StatusAway
		}
		alice.SetStatus(status)
		out = bob.Pull(out[:0], 4096)
	})
	if got > 0 {
		t.Errorf("a change of presence allocates %v times", got)
	}
	if err := alice.Typing("c1", true); err != nil {
		t.Fatal(err)
	}
	r, p := h.rooms["c1"], h.persons["alice"]
	got = testing.AllocsPerRun(1000, func() {
		h.mu.Lock()
		h.tellTyping(r, p, true)
		h.mu.Unlock()
		out = bob.Pull(out[:0], 4096)
		out = carol.Pull(out, 4096)
	})
	if got > 0 {
		t.Errorf("typing allocates %v times for two deliveries", got)
	}
}

// What memory it costs: one that subscribes to nothing of this, and one whose
// conversations are followed.
func TestMemory(t *testing.T) {
	const users = 10_000
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	h := newBench(t)
	names := make([]string, users)
	for i := range names {
		names[i] = fmt.Sprint("user-", i)
	}
	all := make([]*pulls, users)
	before := heap()
	for i, name := range names {
		all[i] = h.attend(t, name)
	}
	if err := h.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.cfg.Log.(*forgetful).forget()
	idle := (heap() - before) / users
	t.Logf("%d bytes for one who is connected", idle)
	if idle > 400 {
		t.Errorf("a connection costs %d bytes", idle)
	}
	runtime.KeepAlive(all)
}
