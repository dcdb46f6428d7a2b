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
		release()
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				sizes = append(sizes, len(c.Deliveries))
				return fault{}
			}
		})
		release = g.hold()
		var all []*outcome
		g.begin("a", "1", 1, nil)
		quiet()
		for n := 2; n < 2+maxBatch+10; n++ {
			all = append(all, g.begin("a", fmt.Sprint(n), 1, nil))
		}
		release()
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				sizes = append(sizes, len(c.Deliveries))
				return fault{}
			}
		})
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
		release()
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				sizes = append(sizes, len(c.Deliveries))
				return fault{}
			}
		})
		quiet()
		if len(sizes) == 0 || slices.Max(sizes) > maxBatchBytes/len(big) {
			t.Fatalf("batches of %v big messages", sizes)
		}
	})
}

// TestTriesAgain: failures that pass delay a commit, and nothing is kept twice
// where the store had kept it though it said no.
func TestTriesAgain(t *testing.T) {
	for _, f := range []fault{{err: bridge.ErrAgain}, {err: bridge.ErrUnavailable}, {err: bridge.ErrUnavailable, done: true}} {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				g := newRig(t)
				c := g.join("c", true, sub("a", 2))
				g.store.set(func() {
					g.store.onKeep = func(_ context.Context, call int, _ *bridge.Changes) fault {
						if call%5 != 0 {
							return f
						}
						return fault{}
					}
				})
				for n := range 20 {
					o := g.begin("a", fmt.Sprint(n), byte(1+n%2), nil)
					time.Sleep(time.Second)
					quiet()
					g.must(o.result())
				}
				wantPayloads(t, c.drain(), numbers(0, 20)...)
				time.Sleep(10 * time.Second)
				g.settled(c)
			})
		})
	}
}

// TestDeadline: when the store is gone for longer than CommitTimeout, messages
// are refused, in order, and none of those comes later; those that follow are
// kept when it is back.
func TestDeadline(t *testing.T) {
	for _, f := range []fault{{err: bridge.ErrUnavailable}, {err: bridge.ErrUnavailable, done: true}} {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				g := newRig(t)
				c, away := g.join("c", true, sub("a", 2)), g.join("away", true, sub("a", 1))
				g.leave(away)
				g.store.set(func() { g.store.onKeep = func(context.Context, int, *bridge.Changes) fault { return f } })
				refused := g.begin("a", "refused", 2, func(p *Publication) { p.Behind = true })
				time.Sleep(6 * time.Second)
				kept := g.begin("a", "kept", 2, nil)
				time.Sleep(5 * time.Second)
				quiet()
				if !errors.Is(refused.result(), bridge.ErrUnavailable) || !errors.Is(kept.result(), errOpen) {
					t.Fatalf("after 11 s: %v and %v", refused.result(), kept.result())
				}
				g.store.set(func() { g.store.onKeep = nil })
				time.Sleep(2 * time.Second)
				quiet()
				g.must(kept.result())
				wantPayloads(t, c.drain(), "kept")
				wantPayloads(t, g.back("away", 10).drain(), "kept")
				g.settled(c, away)
			})
		})
	}
}

// TestRefusedAndReadBefore: a message that was kept though the store said no,
// and was read before it was refused, does not disturb the count.
func TestRefusedAndReadBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 1))
		g.must(g.publish("a", "0", 1, nil))
		g.leave(c)
		g.store.set(func() {
			g.store.onKeep = func(context.Context, int, *bridge.Changes) fault {
				return fault{err: bridge.ErrUnavailable, done: true}
			}
		})
		o := g.begin("a", "1", 1, nil)
		quiet()
		c = g.back("c", 10)
		wantPayloads(t, c.pull(), "0", "1")
		time.Sleep(11 * time.Second)
		quiet()
		if !errors.Is(o.result(), bridge.ErrUnavailable) {
			t.Fatal(o.result())
		}
		g.store.set(func() { g.store.onKeep = nil })
		g.leave(c)
		c = g.back("c", 10)
		wantPayloads(t, c.drain(), "0", "1")
		g.settled(c)
	})
}

// TestRefusedAndAcknowledgedBefore is the same where the client was quicker:
// what is published later must not be stuck for a wrong count.
func TestRefusedAndAcknowledgedBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 1))
		g.must(g.publish("a", "0", 1, nil))
		g.leave(c)
		g.store.set(func() {
			g.store.onKeep = func(context.Context, int, *bridge.Changes) fault {
				return fault{err: bridge.ErrUnavailable, done: true}
			}
		})
		g.begin("a", "1", 1, nil)
		quiet()
		c = g.back("c", 10)
		wantPayloads(t, c.drain(), "0", "1")
		soon, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.box.Close(soon, false, time.Time{}); err == nil {
			t.Fatal("the store was not down")
		}
		time.Sleep(11 * time.Second)
		g.up()
		g.must(g.publish("a", "2", 1, nil))
		wantPayloads(t, g.back("c", 10).drain(), "2")
	})
}

// TestPoison: a step that the store refuses for good is refused alone; what
// was acknowledged in the meantime is not forgotten.
func TestPoison(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 1))
		g.must(g.publish("a", "first", 1, nil))
		poison := func(c *bridge.Changes) bool {
			return slices.ContainsFunc(c.Messages, func(m *bridge.Message) bool { return string(m.Payload) == "7" })
		}
		release := g.hold()
		busy := g.begin("a", "busy", 1, nil)
		quiet()
		var all []*outcome
		for n := range 20 {
			all = append(all, g.begin("a", fmt.Sprint(n), 1, nil))
		}
		c.ack(c.pull()[0])
		release()
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				if poison(c) {
					return fault{err: errors.New("no such thing")}
				}
				return fault{}
			}
		})
		quiet()
		g.must(busy.result())
		for n, o := range all {
			if n == 7 != errors.Is(o.result(), bridge.ErrUnavailable) || n != 7 && o.result() != nil {
				t.Fatalf("message %d: %v", n, o.result())
			}
		}
		wantPayloads(t, c.drain(), slices.Concat([]string{"busy"}, numbers(0, 7), numbers(8, 12))...)
		g.settled(c)
	})
}

// TestPoisonAmongAcknowledgements: it is the acknowledgements that the store
// refuses: what is published with them is kept.
func TestPoisonAmongAcknowledgements(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 1))
		g.must(g.publish("a", "0", 1, nil))
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				if len(c.Done) > 0 {
					return fault{err: errors.New("no such thing")}
				}
				return fault{}
			}
		})
		c.drain()
		g.must(g.publish("a", "1", 1, nil))
		wantPayloads(t, c.drain(), "1")
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

// TestAcknowledgementsWhileTheStoreIsDown are neither lost nor tried without a
// rest.
func TestAcknowledgementsWhileTheStoreIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 1))
		g.must(g.publish("a", "x", 1, nil))
		before, _ := g.store.counts()
		g.store.set(func() {
			g.store.onKeep = func(context.Context, int, *bridge.Changes) fault { return fault{err: bridge.ErrUnavailable} }
		})
		c.drain()
		time.Sleep(100 * time.Second)
		if after, _ := g.store.counts(); after-before > 100 {
			t.Fatalf("asked %d times in 100 s", after-before)
		}
		g.store.set(func() { g.store.onKeep = nil })
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

func TestCloseWithoutTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := start(t, newDisk(t), nil)
		c := g.join("c", true, sub("a", 1))
		g.must(g.publish("a", "0", 1, nil))
		w, later := g.keepWill("w", 0), g.keepWill("later", 1)
		g.must(g.Lost(context.Background(), later))
		g.hold()
		time.Sleep(time.Second)
		all := []*outcome{g.begin("a", "1", 1, nil), g.begin("b", "2", 1, behind), g.begin("c", "3", 1, retain)}
		go func() {
			if err := g.Lost(context.Background(), w); !errors.Is(err, bridge.ErrUnavailable) {
				t.Error(err)
			}
		}()
		c.ack(c.next()[0])
		quiet()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := time.Now()
		g.Close(ctx)
		if took := time.Since(begun); took > 2*time.Second {
			t.Fatalf("Close took %v", took)
		}
		quiet()
		for _, o := range all {
			if !errors.Is(o.result(), bridge.ErrUnavailable) {
				t.Fatal(o.result())
			}
		}
		if !g.disk.hasWill(w.Key) || !g.disk.hasWill(later.Key) {
			t.Fatal("a will is gone, and was not published")
		}
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

// TestPubrecFails: a PUBREC that cannot be stored ends the connection.
func TestPubrecFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 2))
		g.must(g.publish("a", "x", 2, nil))
		p := c.pull()[0]
		g.store.set(func() {
			g.store.onKeep = func(context.Context, int, *bridge.Changes) fault { return fault{err: bridge.ErrUnavailable} }
		})
		c.rec(p.id)
		time.Sleep(11 * time.Second)
		quiet()
		if !c.failed.Load() || len(c.rels) > 0 {
			t.Fatal("the connection goes on")
		}
		g.store.set(func() { g.store.onKeep = nil })
	})
}

// TestSaveFails: a session whose last connection could not be saved is told
// nothing that it has acknowledged, once the store is back.
func TestSaveFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 2))
		for n := range 4 {
			g.must(g.publish("a", fmt.Sprint(n), byte(1+n%2), nil))
		}
		got := c.pull()
		c.ack(got[0])
		c.ack(got[1])
		g.store.set(func() {
			g.store.onKeep = func(context.Context, int, *bridge.Changes) fault { return fault{err: bridge.ErrUnavailable} }
		})
		if err := c.box.Close(context.Background(), false, time.Time{}); !errors.Is(err, bridge.ErrUnavailable) {
			t.Fatal(err)
		}
		c = g.back("c", 10)
		if len(c.pull()) > 0 {
			t.Fatal("something came while the store was away")
		}
		g.store.set(func() { g.store.onKeep = nil })
		time.Sleep(20 * time.Second)
		wantPayloads(t, c.drain(), "2", "3")
		g.settled(c)
		g.leave(c)
		g.must(g.publish("a", "later", 1, nil))
		wantPayloads(t, g.back("c", 10).drain(), "later")
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
