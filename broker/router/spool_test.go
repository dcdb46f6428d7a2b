package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

// hold has the store keep nothing until the answer is called.
func (g *rig) hold() (release func()) {
	held := make(chan struct{})
	g.store.set(func() {
		g.store.onKeep = func(ctx context.Context, _ int, _ *bridge.Changes) fault {
			select {
			case <-held:
				return fault{}
			case <-ctx.Done():
				return fault{err: bridge.ErrUnavailable}
			}
		}
	})
	return func() { close(held) }
}

// TestGroupCommit: what comes while the store is busy is one batch, in order,
// and bounded.
func TestGroupCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 1))
		release := g.hold()
		g.begin("a", "0", 1, nil)
		quiet()
		var sizes []int
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				sizes = append(sizes, len(c.Deliveries))
				return fault{}
			}
		})
		release()
		release = g.hold()
		var all []*outcome
		g.begin("a", "1", 1, nil)
		quiet()
		for n := 2; n < 2+maxBatch+10; n++ {
			all = append(all, g.begin("a", fmt.Sprint(n), 1, nil))
		}
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				sizes = append(sizes, len(c.Deliveries))
				return fault{}
			}
		})
		release()
		quiet()
		for _, o := range all {
			g.must(o.result())
		}
		if !slices.Equal(sizes, []int{maxBatch, 10}) {
			t.Fatalf("batches of %v", sizes)
		}
		wantPayloads(t, c.drain(), numbers(0, 2+maxBatch+10)...)
		big := strings.Repeat("x", 256<<10)
		sizes = nil
		release = g.hold()
		for range 2 * maxBatchBytes / len(big) {
			g.begin("a", big, 1, nil)
		}
		quiet()
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				sizes = append(sizes, len(c.Deliveries))
				return fault{}
			}
		})
		release()
		quiet()
		if len(sizes) == 0 || slices.Max(sizes) > maxBatchBytes/len(big) {
			t.Fatalf("batches of %v big messages", sizes)
		}
	})
}

// TestAcknowledgementsGoWithTheNext: they cost no commit of their own, unless
// nothing else is committed for a second.
func TestAcknowledgementsGoWithTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 1))
		before, _ := g.store.counts()
		for range 10 {
			g.begin("a", "x", 1, nil)
			quiet()
			c.ack(c.next()[0])
			quiet()
		}
		if after, _ := g.store.counts(); after-before != 10 {
			t.Fatalf("10 messages cost %d commits", after-before)
		}
		time.Sleep(2 * doneEvery)
		if after, _ := g.store.counts(); after-before != 11 {
			t.Fatalf("%d commits after a while", after-before)
		}
		g.settled(c)
	})
}

// TestSpoolIsBounded: more than so many steps do not wait.
func TestSpoolIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		g.join("c", true, sub("a", 1))
		release := g.hold()
		var refused, settled atomic.Int64
		for n := range maxWaiting + 1000 {
			g.begin("a", "x", 1, func(p *Publication) {
				p.Done = completer(func(err error) {
					if settled.Add(1); err != nil {
						refused.Add(1)
					}
				})
			})
			if n%(maxWaiting/3) == 0 {
				quiet()
			}
		}
		quiet()
		if n := refused.Load(); n < 1000 || n > 1000+maxBatch {
			t.Fatalf("%d were refused", n)
		}
		release()
		quiet()
		if n := settled.Load(); n != maxWaiting+1000 {
			t.Fatalf("%d were settled", n)
		}
	})
}

// TestClose: what waits is committed, or refused when there is no time, and
// nothing hangs.
func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := start(t, newDisk(t), nil)
		c := g.join("c", true, sub("a", 1))
		release := g.hold()
		o := g.begin("a", "x", 1, nil)
		quiet()
		go func() {
			time.Sleep(time.Second)
			release()
		}()
		g.close()
		quiet()
		g.must(o.result())
		if g.disk.queued(keyOf("c")) != 1 {
			t.Fatal("it is not kept")
		}
		late := g.begin("a", "late", 1, nil)
		quiet()
		if !errors.Is(late.result(), bridge.ErrUnavailable) {
			t.Fatal(late.result())
		}
		_ = c
	})
}

// TestOrderOfAPublisher: a message that needs no commit does not overtake one
// that does [MQTT-4.6.0-5].
func TestOrderOfAPublisher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", false, sub("#", 1))
		g.join("d", true, sub("a", 1))
		release := g.hold()
		first := g.begin("a", "first", 1, nil)
		second := g.begin("b", "second", 1, behind)
		wantPayloads(t, c.drain())
		release()
		quiet()
		g.must(errors.Join(first.result(), second.result()))
		wantPayloads(t, c.drain(), "first", "second")
	})
}

// TestReceived: packet identifiers of QoS 2 are kept with the message, until
// their PUBREL; the last word counts.
func TestReceived(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		g.join("p", true)
		from := func(p *Publication) { p.Message.From, p.Received = keyOf("p"), 5 }
		g.must(g.publish("a", "x", 2, from))
		if !g.disk.hasReceived(keyOf("p"), 5) {
			t.Fatal("it is not kept")
		}
		errs := make(chan error, 10)
		then := func(err error) { errs <- err }
		g.Forget(keyOf("p"), 5, then)
		g.must(<-errs)
		if g.disk.hasReceived(keyOf("p"), 5) {
			t.Fatal("it is kept after its PUBREL")
		}
		release := g.hold()
		g.begin("a", "x", 2, from)
		quiet()
		g.Forget(keyOf("p"), 5, then)
		g.begin("a", "x", 2, from)
		g.Receive(keyOf("p"), bridge.Received{PacketID: 6, ClientID: "d"}, then)
		g.Forget(keyOf("p"), 6, then)
		release()
		quiet()
		if !g.disk.hasReceived(keyOf("p"), 5) || g.disk.hasReceived(keyOf("p"), 6) {
			t.Fatal("it is not the last word that counts")
		}
		for range 3 {
			g.must(<-errs)
		}
	})
}

// TestOneBatchSaysEachThingOnce: a session that comes and goes while the store
// is slow has each thing said once in a commit.
func TestOneBatchSaysEachThingOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 2))
		g.must(g.publish("a", "x", 2, nil))
		release := g.hold()
		g.begin("a", "busy", 1, nil)
		quiet()
		soon, cancel := context.WithCancel(context.Background())
		cancel()
		for range 3 {
			p := c.pull()[0]
			c.rec(p.id)
			if err := c.box.Close(soon, false, time.Time{}); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			c = g.back("c", 10)
			c.box.unsure = false // it is read from the store as it is
		}
		release()
		quiet()
		c.pull() // checkPromises of the store has the rest
	})
}

// TestWillWithoutRoom: a will that is to be retained is published all the same.
func TestWillWithoutRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := start(t, newDisk(t), func(c *Config) { c.RetainedMessages = 1 })
		defer g.close()
		g.must(g.publish("a", "x", 1, retain))
		time.Sleep(2 * time.Second)
		_ = g.publish("b", "x", 1, retain) // has them counted
		if err := g.publish("c", "x", 1, retain); !errors.Is(err, errRetained) {
			t.Fatal(err)
		}
		c := g.join("c", false, sub("w", 1))
		w := bridge.Will{Key: keyOf("w"), Message: newMessage("w", "will", 1).Message, Retain: true}
		g.must(g.KeepWill(context.Background(), &w))
		g.must(g.Lost(context.Background(), &w))
		wantPayloads(t, c.drain(), "will")
		if g.disk.hasWill(keyOf("w")) {
			t.Fatal("the will is still there")
		}
	})
}
