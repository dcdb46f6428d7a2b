package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// TestAllTogether has senders, membership verbs, faults of the store and
// followers that come and go run side by side: every follower gets its stream
// in order, whole, and everything that was told to be committed stands.
func TestAllTogether(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { allTogether(t, seed) })
		})
	}
}

var stressStreams = []chat.StreamID{"c/0", "c/1", "c/2", "c/3"}

func allTogether(t *testing.T, seed uint64) {
	store := newFake(t)
	store.numLanes = 2
	faulty(store, seed)
	for _, s := range stressStreams {
		store.create(s.Conversation(), alice, bob)
	}
	l := newLog(t, store, Config{HeadEvery: 50 * time.Millisecond, TailBytes: 20_000})
	done := make(chan struct{})
	var following, sending sync.WaitGroup
	for i := range 12 {
		f := &follow{tb: t, log: l, wake: wakes{make(chan struct{}, 1)}, stream: stressStreams[i%4], done: done,
			random: rand.New(rand.NewPCG(seed, uint64(100+i)))}
		following.Go(func() { f.run(store) })
	}
	r := newRecorder(t, l)
	for i := range 6 {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		sending.Go(func() { sendAll(r, random, i) })
	}
	sending.Go(func() { comeAndGo(t, l, rand.New(rand.NewPCG(seed, 99))) })
	sending.Wait()
	time.Sleep(time.Minute)
	close(done)
	following.Wait()
	ids := map[chat.ID]uint64{}
	for _, s := range stressStreams {
		store.once(t, s)
		for _, e := range store.streams[s].entries {
			ids[e.ID] = e.Seq
		}
	}
	for name, out := range r.all() {
		if out.Err == nil && ids[out.ID] != out.Seq {
			t.Errorf("%s does not stand at %d", name, out.Seq)
		}
	}
}

func faulty(store *fakeStore, seed uint64) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1000))
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	store.onRead = func([]Range) { time.Sleep(time.Duration(draw(2000)) * time.Microsecond) }
	store.onCommit = func(_ context.Context, _ int, drafts []chat.Draft) fault {
		time.Sleep(time.Duration(draw(1500)) * time.Microsecond)
		switch draw(20) {
		case 0:
			return fault{err: unavailable(), late: true}
		case 1:
			return fault{err: ErrAgain}
		case 2:
			return fault{again: func(*chat.Draft) bool { return draw(2) == 0 }}
		case 3:
			if len(drafts) > 1 {
				return fault{err: errBroken, late: true}
			}
		}
		return fault{}
	}
}

func sendAll(r *recorder, random *rand.Rand, sender int) {
	for n := range 300 {
		name := fmt.Sprint(sender, ".", n)
		stream := stressStreams[random.IntN(len(stressStreams))]
		d := message(stream, []string{alice, bob}[sender%2], "", name)
		switch random.IntN(8) {
		case 0:
			d.Body = chat.Body{Type: chat.TypeDelete, Target: 1 + random.Uint64N(uint64(n/2+3))}
		case 1:
			d.Body = chat.Body{Type: chat.TypeEdit, Target: 1 + random.Uint64N(uint64(n/2+3)), Content: "edited"}
		case 2:
			d.ClientID = name
			r.submit("repeat of "+name, d)
		}
		r.submit(name, d)
		time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
	}
}

// comeAndGo adds and removes members beside the lanes.
func comeAndGo(t *testing.T, l *Log, random *rand.Rand) {
	for range 200 {
		id := stressStreams[random.IntN(len(stressStreams))].Conversation()
		if _, _, err := l.PutMember(t.Context(), Actor{UserID: alice}, id, "carol", chat.RoleMember); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
		_ = l.RemoveMember(t.Context(), Actor{UserID: alice}, id, "carol") // or is not there
	}
}

// follow is a follower with a goroutine of its own.
type follow struct {
	tb     testing.TB
	log    *Log
	stream chat.StreamID
	wake   wakes
	random *rand.Rand
	done   chan struct{}
	pos    uint64
}

func (f *follow) run(store *fakeStore) {
	ended := false
	for !ended {
		w := f.log.Watch(f.stream, f.wake)
		f.wake.Wake()
		leave := time.After(time.Duration(f.random.IntN(100)) * time.Millisecond)
		for here := true; here && !ended; {
			select {
			case <-f.wake.ch:
				f.pump(w)
			case <-leave:
				here = false
			case <-f.done:
				ended = true
			}
		}
		w.Close()
		if !ended {
			time.Sleep(time.Duration(f.random.IntN(50)) * time.Millisecond)
		}
		if head := store.head(f.stream); ended && f.pos != head {
			f.tb.Errorf("a follower of %s is at %d of %d", f.stream, f.pos, head)
		}
	}
}

// pump takes what there is.
func (f *follow) pump(w *Watch) {
	for {
		limit := 1 + f.random.IntN(40)
		items, where := w.Read(f.pos, limit, nil)
		switch where {
		case CaughtUp:
			return
		case Gone:
			f.tb.Errorf("%s is gone", f.stream)
			return
		case InStore:
			read, err := f.log.Read(f.tb.Context(), []Range{{f.stream, f.pos, limit}})
			if err != nil {
				f.tb.Errorf("read: %v", err)
				return
			}
			f.take(read[0])
			if len(read[0]) < limit {
				w.Learn(f.pos)
			}
			if len(read[0]) == 0 {
				return // woken when there is more
			}
		case InTail:
			f.take(items)
		}
		if f.random.IntN(3) == 0 {
			time.Sleep(time.Duration(f.random.IntN(500)) * time.Microsecond)
		}
	}
}

func (f *follow) take(items []*Item) {
	for _, it := range items {
		if it.Seq != f.pos+1 || it.Stream != f.stream {
			f.tb.Errorf("got %s %d after %d of %s", it.Stream, it.Seq, f.pos, f.stream)
		}
		f.pos = it.Seq
	}
}
