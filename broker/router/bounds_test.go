package router

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

// TestDropOldest: what is kept for a session is bounded by count and by bytes;
// the oldest that were not sent go.
func TestDropOldest(t *testing.T) {
	for _, bound := range []string{"count", "bytes"} {
		for _, kind := range []string{"not durable", "durable", "away"} {
			t.Run(bound+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) { dropOldest(t, bound, kind) })
			})
		}
	}
}

func dropOldest(t *testing.T, bound, kind string) {
	g := start(t, newDisk(t), func(c *Config) {
		if c.QueueMessages = 20; bound == "bytes" {
			c.QueueMessages, c.QueueBytes = 1000, 20*100
		}
	})
	defer g.close()
	c := g.join("c", kind != "not durable", sub("a", 1))
	c.window = 5
	pad := func(n int) string { return fmt.Sprintf("%099d", n) }
	for n := range 5 {
		g.must(g.publish("a", pad(n), 1, nil))
	}
	flight := c.pull()
	if kind == "away" {
		g.leave(c)
	}
	for n := 5; n < 50; n++ {
		g.must(g.publish("a", pad(n), 1, nil))
		if waits, _, bytes := c.box.Stats(); waits > 20 || bytes > 20*100 {
			t.Fatalf("%d wait, %d bytes", waits, bytes)
		}
	}
	if kind == "away" {
		c = g.back("c", 5)
		flight = nil
	}
	for _, p := range flight {
		c.ack(p)
	}
	var want []string
	for n := range 5 {
		if kind == "away" { // sent again
			want = append(want, pad(n))
		}
	}
	for n := 35; n < 50; n++ {
		want = append(want, pad(n))
	}
	wantPayloads(t, c.drain(), want...)
	g.settled(c)
}

// TestDropNewestWhileTrimming: while the store is too slow to drop the oldest,
// no more than twice the bound is taken.
func TestDropNewestWhileTrimming(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := start(t, newDisk(t), func(c *Config) { c.QueueMessages = 10 })
		defer g.close()
		c := g.join("c", true, sub("a", 1))
		g.leave(c)
		g.store.set(func() { g.store.onRead = func(context.Context) error { return bridge.ErrUnavailable } })
		for n := range 100 {
			g.must(g.publish("a", fmt.Sprint(n), 1, nil))
		}
		if waits, _, _ := c.box.Stats(); waits > 21 || g.disk.queued(keyOf("c")) > 21 {
			t.Fatalf("%d wait, the store keeps %d", waits, g.disk.queued(keyOf("c")))
		}
		g.store.set(func() { g.store.onRead = nil })
		g.must(g.publish("a", "last", 1, nil)) // dropped too, but nothing blocks
		c = g.back("c", 100)
		if got := len(c.drain()); got == 0 {
			t.Fatal("nothing came")
		}
		g.settled(c)
		g.must(g.publish("a", "again", 1, nil))
		wantPayloads(t, c.drain(), "again")
	})
}

// TestSlowReaderAtQoS0: what waits at QoS 0 is bounded, and the newest goes.
func TestSlowReaderAtQoS0(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", false, sub("a", 0))
		big := strings.Repeat("x", 100<<10)
		for n := range 30 {
			g.must(g.publish("a", fmt.Sprint(n, big), 0, nil))
		}
		got := c.drain()
		if len(got) != 10 || !strings.HasPrefix(got[9].payload, "9") {
			t.Fatalf("got %d", len(got))
		}
		g.must(g.publish("a", "x", 0, nil))
		wantPayloads(t, c.drain(), "x")
	})
}

// TestBehind: a durable session that is connected holds little in memory, and
// reads the rest from the store, in order, whatever is committed meanwhile.
func TestBehind(t *testing.T) {
	for _, within := range []bool{true, false} {
		t.Run(fmt.Sprint("commits end within a read ", within), func(t *testing.T) {
			bubble(t, func(t *testing.T) { catchUp(t, within) })
		})
	}
}

func catchUp(t *testing.T, within bool) {
	g := newRig(t)
	c := g.join("c", true, sub("a", 1))
	n := 0
	for range 3 * memMessages {
		g.must(g.publish("a", fmt.Sprint(n), 1, nil))
		n++
	}
	if waits := c.box.waiting.Load(); waits > memMessages+1 {
		t.Fatalf("%d wait in memory", waits)
	}
	// Each read of the store meets a commit.
	g.store.set(func() {
		g.store.afterRead = func() {
			if n == 900 {
				return
			}
			o := g.begin("a", fmt.Sprint(n), 1, nil)
			n++
			for within && errors.Is(o.result(), errOpen) {
				time.Sleep(time.Millisecond)
			}
		}
	})
	var got []packet
	for idle := 0; idle < 3; idle++ {
		for more := c.next(); len(more) > 0; more = c.next() {
			got = append(got, more...)
			for _, p := range more {
				c.ack(p)
			}
			idle = 0
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n == 3*memMessages {
		t.Fatal("the store was not read")
	}
	wantPayloads(t, got, numbers(0, n)...)
	for _, p := range got {
		if p.dup {
			t.Fatalf("%s has DUP", p.payload)
		}
	}
	g.settled(c)
}
