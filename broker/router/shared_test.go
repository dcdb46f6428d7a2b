package router

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

const jobs = "$share/g/job"

// shares says how many messages each client got of those that are published
// now.
func (g *rig) shares(n int, clients ...*client) []int {
	g.Helper()
	for i := range n {
		g.must(g.publish("job", fmt.Sprint(i), 1, nil))
	}
	got := make([]int, len(clients))
	for i, c := range clients {
		got[i] = len(payloads(c.drain()))
	}
	return got
}

// TestSharedRoundRobin: each in turn, whoever comes and goes.
func TestSharedRoundRobin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		a, b, c := g.join("a", false, sub(jobs, 1)), g.join("b", false, sub(jobs, 1)), g.join("c", true, sub(jobs, 1))
		want := func(n int, clients []*client, want ...int) {
			t.Helper()
			if got := g.shares(n, clients...); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("shares %v, want %v", got, want)
			}
		}
		want(30, []*client{a, b, c}, 10, 10, 10)
		b.box.Unsubscribe(jobs)
		want(30, []*client{a, b, c}, 15, 0, 15)
		b.box.Subscribe(sub(jobs, 1), false)
		want(30, []*client{a, b, c}, 10, 10, 10)
		g.leave(c) // away: those that are connected take it
		want(30, []*client{a, b}, 15, 15)
		g.leave(a)
		want(30, []*client{b}, 30)
		g.leave(b) // only the durable one is left
		want(30, nil)
		c = g.back("c", 100)
		wantPayloads(t, c.drain(), numbers(0, 30)...)
	})
}

// TestSharedPassesOverTheFull: who has no room gets nothing as long as another
// has; when nobody has, who waits for least.
func TestSharedPassesOverTheFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		a, b := newClient(t, 2), newClient(t, 4)
		a.box, b.box = g.Open(keyOf("a"), false, 2, a), g.Open(keyOf("b"), false, 4, b)
		a.box.Subscribe(sub(jobs, 1), false)
		b.box.Subscribe(sub(jobs, 1), false)
		for i := range 6 {
			g.must(g.publish("job", fmt.Sprint(i), 1, nil))
		}
		if n, m := len(a.pull()), len(b.pull()); n != 2 || m != 4 {
			t.Fatalf("got %d and %d, want 2 and 4", n, m)
		}
		g.must(g.publish("job", "6", 1, nil))
		if n, m, _ := a.box.Stats(); n != 3 || m != 2 {
			t.Fatalf("%d wait for the one with least before it, %d sent", n, m)
		}
	})
}

// TestSharedQoS0IsNotKept: for QoS 0 an away member is none.
func TestSharedQoS0IsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		a := g.join("a", true, sub(jobs, 1))
		g.leave(a)
		p := &Publication{Message: newMessage("job", "x", 0)}
		g.Publish(p)
		if p.Matched || g.disk.queued(keyOf("a")) > 0 {
			t.Fatal("a message at QoS 0 was kept")
		}
	})
}

// TestSharedGoesOnToOthers: what a member did not acknowledge, and what it was
// not sent yet, goes to another one that is connected; not a message of QoS 2
// that was sent [MQTT-4.8.2-4].
func TestSharedGoesOnToOthers(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for _, other := range []bool{false, true} {
			t.Run(fmt.Sprintf("durable %v to %v", durable, other), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					g := newRig(t)
					a := g.join("a", durable, sub(jobs, 2))
					a.window = 2
					g.must(g.publish("job", "sent at 1", 1, nil))
					g.must(g.publish("job", "sent at 2", 2, nil))
					g.must(g.publish("job", "waits at 1", 1, nil))
					g.must(g.publish("job", "waits at 2", 2, nil))
					wantPayloads(t, a.pull(), "sent at 1", "sent at 2")
					b := g.join("b", other, sub(jobs, 2))
					g.leave(a)
					wantPayloads(t, b.drain(), "sent at 1", "waits at 1", "waits at 2")
					if !durable {
						return
					}
					a = g.back("a", 2)
					got := a.drain()
					wantPayloads(t, got, "sent at 2")
					if !got[0].dup {
						t.Fatal("it is sent again without DUP")
					}
					g.settled(a, b)
				})
			})
		}
	}
}

// TestSharedReturnsBeforeItGoesOn: a session that is back at once must not get
// what is on its way to another member.
func TestSharedReturnsBeforeItGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		a := g.join("a", true, sub(jobs, 2))
		for i := range 5 {
			g.must(g.publish("job", fmt.Sprint(i), 2, nil))
		}
		b := g.join("b", false, sub(jobs, 2))
		g.store.set(func() {
			g.store.onKeep = func(context.Context, int, *bridge.Changes) fault {
				time.Sleep(time.Second) // a slow store
				return fault{}
			}
		})
		g.leave(a)
		a = g.back("a", 100)
		fromA := len(payloads(a.drain()))
		time.Sleep(10 * time.Second)
		if all := fromA + len(payloads(b.drain())); all != 5 {
			t.Fatalf("5 messages of QoS 2 arrived %d times", all)
		}
	})
}

// TestSharedFindsAnother: a member whose session ends while a message is on
// its way to it gives it up to another, whichever of them is durable.
func TestSharedFindsAnother(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for _, other := range []bool{false, true} {
			t.Run(fmt.Sprintf("durable %v to %v", durable, other), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					g := newRig(t)
					a, held := g.join("a", durable, sub(jobs, 1)), make(chan struct{})
					g.store.set(func() {
						g.store.onKeep = func(context.Context, int, *bridge.Changes) fault {
							<-held
							return fault{}
						}
					})
					first := g.begin("x", "", 1, func(p *Publication) { p.Message.Retain = true }) // keeps the store busy
					quiet()
					o := g.begin("job", "x", 1, behind)
					b := g.join("b", other, sub(jobs, 1))
					ended := make(chan error, 1)
					go func() { ended <- a.box.Close(context.Background(), true, time.Time{}) }()
					quiet()
					close(held)
					g.must(<-ended)
					quiet()
					g.must(first.result())
					g.must(o.result())
					wantPayloads(t, b.drain(), "x")
					g.settled(b)
				})
			})
		}
	}
}

// TestSharedDoesNotRetainAgain: a retained message that goes on to another
// member must not take the place of a newer one.
func TestSharedDoesNotRetainAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		a := g.join("a", false, sub(jobs, 1))
		g.must(g.publish("job", "old", 1, retain))
		b := g.join("b", true, sub(jobs, 1))
		g.must(g.publish("job", "new", 1, retain))
		g.leave(a)
		quiet()
		if len(b.drain()) != 2 {
			t.Fatal("b has not got both")
		}
		if got := g.disk.retainedOn("job"); got != "new" {
			t.Fatalf("retained is %q", got)
		}
	})
}

// settled checks that nothing is left of what clients have acknowledged, in
// memory or in the store.
func (g *rig) settled(clients ...*client) {
	g.Helper()
	time.Sleep(2 * doneEvery)
	quiet()
	for _, c := range clients {
		if n, m, bytes := c.box.Stats(); n != 0 || m != 0 || bytes != 0 {
			g.Errorf("%s: %d wait, %d sent, %d bytes", c.box.key.ClientID, n, m, bytes)
		}
		if n := c.box.waiting.Load(); n != 0 {
			g.Errorf("%s: %d wait in memory", c.box.key.ClientID, n)
		}
		if n := g.disk.queued(c.box.key); n != 0 {
			g.Errorf("%s: the store keeps %d", c.box.key.ClientID, n)
		}
	}
}
