package client_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/client"
)

// person is a user of the random test: a client behind a proxy of its own,
// which reads at its own speed.
type person struct {
	name  string
	proxy *proxy
	c     *client.Client
	got   *reader
}

// TestRandom has people send in two conversations, while links are cut at any
// packet, stay down for a while, and the server is killed. In the end each
// message that was sent stands once, in the order of its sender, and everybody
// got all entries once, in order.
func TestRandom(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { random(t, rand.New(rand.NewPCG(seed, seed))) })
	}
}

func random(t *testing.T, r *rand.Rand) {
	const each = 60
	s := startServer(t)
	owner := connect(t, s.options("owner"))
	names := []string{"ann", "ben", "cem"}
	conversations := []string{"c1", "c2"}
	for _, c := range conversations {
		conversation(t, owner, c, names...)
	}
	var people []*person
	for _, name := range names {
		p := &person{name: name, proxy: newProxy(t, s.mqtt)}
		o := s.through(name, p.proxy)
		o.Buffer = 1 + r.IntN(20)
		p.c = connect(t, o)
		p.got = read(t, p.c)
		people = append(people, p)
	}

	var sending sync.WaitGroup
	var sent atomic.Int64
	for _, p := range people {
		for _, c := range conversations {
			sending.Go(func() {
				for i := range each {
					text := fmt.Sprintf("%s %d", p.name, i)
					if _, err := p.c.Send(t.Context(), c, client.Draft{Content: text}); err != nil {
						t.Errorf("%s to %s: %v", text, c, err)
						return
					}
					sent.Add(1)
				}
			})
		}
	}
	all := int64(each * len(names) * len(conversations))
	for sent.Load() < all && !t.Failed() {
		harm(t, r, s, people)
		before := sent.Load()
		eventually(t, "a send gets through", func() bool { return sent.Load() > before || sent.Load() == all || t.Failed() })
	}
	sending.Wait()
	for _, c := range conversations {
		check(t, owner, c, people, each)
	}
}

// harm does something to links or the server, and undoes it.
func harm(t *testing.T, r *rand.Rand, s *server, people []*person) {
	p := people[r.IntN(len(people))].proxy
	switch what := r.IntN(10); {
	case what < 1:
		s.kill()
		s.start()
	case what < 4: // at any packet
		var left atomic.Int64
		left.Store(int64(r.IntN(10)))
		d := []deed{cut, passed}[r.IntN(2)]
		done := make(chan struct{})
		p.setRule(func(byte, bool) deed {
			if left.Add(-1) != 0 {
				return pass
			}
			close(done)
			return d
		})
		select {
		case <-done:
		case <-time.After(50 * time.Millisecond): // nothing comes there any more
		}
		p.setRule(nil)
	case what < 7:
		p.cutAll()
	default: // down for a while
		p.setRule(func(byte, bool) deed { return cut })
		p.cutAll()
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		p.setRule(nil)
	}
}

// check compares what everybody got with the log, and the log with what was
// sent.
func check(t *testing.T, owner *client.Client, conversation string, people []*person, each int) {
	t.Helper()
	var log []client.Entry
	for after := uint64(0); ; {
		h, err := owner.History(t.Context(), conversation, client.Range{After: after, FromStart: true, Limit: 200})
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, h.Items...)
		if after = log[len(log)-1].Seq; after == h.HeadSeq {
			break
		}
	}
	inOrder(t, log, 1)
	next := map[string]int{}
	for _, e := range log {
		if e.Type != client.TypeMessage {
			continue
		}
		if want := fmt.Sprintf("%s %d", e.SenderID, next[e.SenderID]); e.Content != want {
			t.Fatalf("%s: %q stands where %q should", conversation, e.Content, want)
		}
		next[e.SenderID]++
	}
	for _, p := range people {
		if next[p.name] != each {
			t.Errorf("%s: %d of %s stand, want %d", conversation, next[p.name], p.name, each)
		}
		got := p.got.until(conversation, uint64(len(log)))
		inOrder(t, got, got[0].Seq)
		// The first entries, before anybody was connected, are not theirs.
		if first := got[0].Seq; first > uint64(len(people))+2 {
			t.Errorf("%s: %s got entries from %d on", conversation, p.name, first)
		}
		for i, e := range got {
			if e.ID != log[got[0].Seq-1+uint64(i)].ID {
				t.Fatalf("%s: entry %d of %s is not that of the log", conversation, e.Seq, p.name)
			}
		}
	}
}
