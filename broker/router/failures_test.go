package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

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
		g.store.set(func() {
			g.store.onKeep = func(_ context.Context, _ int, c *bridge.Changes) fault {
				if poison(c) {
					return fault{err: errors.New("no such thing")}
				}
				return fault{}
			}
		})
		release() // what is held has its own hook
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
