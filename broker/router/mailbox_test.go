package router

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// kinds runs a test for a session that is durable and one that is not.
func kinds(t *testing.T, test func(t *testing.T, g *rig, durable bool)) {
	t.Helper()
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprint("durable ", durable), func(t *testing.T) {
			bubble(t, func(t *testing.T) { test(t, newRig(t), durable) })
		})
	}
}

func TestDeliveryAtEveryQoS(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		for subQoS := range byte(3) {
			c := g.join(fmt.Sprint("c", subQoS), durable, sub("a/#", subQoS))
			for pubQoS := range byte(3) {
				g.must(g.publish("a/b", fmt.Sprint(pubQoS), pubQoS, nil))
			}
			got := c.drain()
			slices.SortFunc(got, func(a, b packet) int { return strings.Compare(a.payload, b.payload) })
			for pubQoS, p := range got {
				if p.qos != min(byte(pubQoS), subQoS) || p.dup || p.retain || p.topic != "a/b" {
					t.Fatalf("published at %d, granted %d: got %+v", pubQoS, subQoS, p)
				}
			}
			if len(got) != 3 {
				t.Fatalf("got %d messages", len(got))
			}
			g.settled(c)
			c.box.Unsubscribe("a/#")
		}
	})
}

// TestPacketIdentifiers: they go up with the numbers, start again after the
// last, never meet those of the session's streams, and none is in use twice.
func TestPacketIdentifiers(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		c := g.join("c", durable, sub("a", 1))
		c.window = 10
		held := uint16(0) // one that the client keeps for long
		for n := range idCount + 100 {
			g.begin("a", fmt.Sprint(n), 1, nil)
			got := c.pull()
			if len(got) == 0 && n == idCount {
				break // its identifier is in use
			}
			if len(got) != 1 || got[0].id != uint16(firstID+n%idCount) || !Mine(got[0].id) {
				t.Fatalf("message %d: got %+v", n, got)
			}
			if n == 0 {
				held = got[0].id
				continue
			}
			c.ack(got[0])
		}
		if len(c.pull()) > 0 {
			t.Fatal("a packet identifier in use was given again")
		}
		if !c.box.Puback(held) {
			t.Fatal("the oldest cannot be acknowledged")
		}
		c.open--
		got := c.drain()
		if len(got) == 0 || got[0].id != held {
			t.Fatalf("behind the last identifier came %+v", got)
		}
		g.settled(c)
	})
}

// TestAcknowledgeInAnyOrder: the window is a number of packets, not a place.
func TestAcknowledgeInAnyOrder(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		c := g.join("c", durable, sub("a", 2))
		c.window = 4
		for n := range 8 {
			g.must(g.publish("a", fmt.Sprint(n), byte(1+n%2), nil))
		}
		got := c.pull()
		wantPayloads(t, got, numbers(0, 4)...)
		c.ack(got[2])
		c.ack(got[3])
		if c.box.Puback(got[2].id) || c.box.Pubcomp(got[3].id) || c.box.Puback(got[1].id) || c.box.Pubcomp(got[0].id) {
			t.Fatal("what was acknowledged, or is of another QoS, made room")
		}
		if known, _ := c.box.Pubrec(got[3].id, false); known {
			t.Fatal("PUBREC of what is done is known")
		}
		more := c.pull()
		wantPayloads(t, more, "4", "5")
		for _, p := range []packet{more[1], got[1], more[0], got[0]} {
			c.ack(p)
		}
		wantPayloads(t, c.drain(), "6", "7")
		g.settled(c)
	})
}

// TestRefusedByClient: a PUBREC with an error ends the delivery
// [MQTT-4.3.3-4].
func TestRefusedByClient(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		c := g.join("c", durable, sub("a", 2))
		g.must(g.publish("a", "x", 2, nil))
		p := c.pull()[0]
		if known, made := c.box.Pubrec(p.id, true); !known || !made {
			t.Fatalf("known %v, made room %v", known, made)
		}
		g.settled(c)
	})
}

// TestReturn: what was sent and not acknowledged is sent again with DUP under
// the same identifier, the rest follows [MQTT-4.4.0-1]; also after the process
// has ended, well or not.
func TestReturn(t *testing.T) {
	for _, how := range []string{"same process", "stopped", "crashed", "crashed away", "crashed twice"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := newDisk(t)
				g := start(t, d, nil)
				c := g.join("c", true, sub("a", 2))
				c.window = 4
				for n := range 6 {
					g.must(g.publish("a", fmt.Sprint(n), byte(1+n%2), nil))
				}
				first := c.pull()
				wantPayloads(t, first, numbers(0, 4)...)
				c.ack(first[2])
				c.rec(first[3].id) // PUBREC; the PUBCOMP is still to come
				<-c.rels
				time.Sleep(2 * doneEvery)
				crashed := strings.HasPrefix(how, "crashed") && how != "crashed away"
				if !crashed {
					g.leave(c)
				}
				if how != "same process" {
					if how == "stopped" {
						g.close()
					} else {
						g.crash()
					}
					g = start(t, d, nil)
				}
				if how == "crashed twice" {
					d.mark(keyOf("c"), time.Now()) // the log says that it is away
					g.crash()
					g = start(t, d, nil)
				}
				defer g.close()
				c = g.back("c", 100)
				got := c.pull()
				wantPayloads(t, got, "0", "1", "4", "5")
				for i := range 2 {
					if got[i].id != first[i].id || !got[i].dup {
						t.Fatalf("sent again as %+v, was %+v", got[i], first[i])
					}
				}
				if got[2].kind != wire.TypePubrel || got[2].id != first[3].id {
					t.Fatalf("the PUBREL is %+v", got[2])
				}
				if dup := got[3].dup; dup != crashed {
					t.Fatalf("what was not sent comes with DUP %v", dup)
				}
				for _, p := range got {
					c.ack(p)
				}
				g.settled(c)
			})
		})
	}
}

// TestReturnToNothing: numbers are not given again after a restart, and what
// was never sent comes without DUP, though everything was acknowledged before.
func TestReturnToNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDisk(t)
		g := start(t, d, func(c *Config) { c.QueueMessages = 5 })
		c := g.join("c", true, sub("a", 1))
		for range 8 {
			g.must(g.publish("a", "before", 1, nil))
			c.drain()
		}
		g.leave(c)
		g.close()
		for round := range 2 {
			g = start(t, d, func(c *Config) { c.QueueMessages = 5 })
			for n := range 4 {
				g.must(g.publish("a", fmt.Sprint(round, n), 1, nil))
			}
			g.close()
		}
		g = start(t, d, nil)
		defer g.close()
		c = g.back("c", 100)
		got := c.drain()
		wantPayloads(t, got, "0 3", "1 0", "1 1", "1 2", "1 3")
		for _, p := range got {
			if p.dup {
				t.Fatalf("%s has DUP, and was never sent", p.payload)
			}
		}
	})
}

// TestExpiry: what has expired is not sent, the rest says what is left
// [MQTT-3.3.2-5], [MQTT-3.3.2-6].
func TestExpiry(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		c := g.join("c", durable, sub("a", 1))
		old := newClient(t, 10)
		old.out.Version = wire.Version311
		old.box = g.Open(keyOf("old"), false, 10, old)
		old.box.Subscribe(sub("a", 0), false)
		in := func(s int) func(*Publication) {
			return func(p *Publication) { p.Message.Expires = time.Now().Add(time.Duration(s) * time.Second) }
		}
		g.must(g.publish("a", "short", 1, in(1)))
		g.must(g.publish("a", "long", 1, in(10)))
		g.must(g.publish("a", "for ever", 1, nil))
		time.Sleep(2500 * time.Millisecond)
		got := c.drain()
		wantPayloads(t, got, "long", "for ever")
		if got[0].expiry != 8 || got[1].hasExpiry {
			t.Fatalf("got %+v", got)
		}
		wantPayloads(t, old.drain(), "long", "for ever")
		g.settled(c)
	})
}

// TestMaximumPacketSize: a packet that is too large is not sent, and counts as
// acknowledged [MQTT-3.1.2-25].
func TestMaximumPacketSize(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		for _, id := range []uint32{0, 5} {
			c := g.join(fmt.Sprint("c", id), durable, bridge.Subscription{Filter: "a", QoS: 1, ID: id})
			c.out.MaxPacket = 100
			for _, qos := range []byte{0, 1} {
				fits := 100 - 2 - 3 - 1 - 2*int(qos)
				if id > 0 {
					fits -= 2
				}
				g.must(g.publish("a", strings.Repeat("x", fits), qos, nil))
				g.must(g.publish("a", strings.Repeat("y", fits+1), qos, nil))
				wantPayloads(t, c.drain(), strings.Repeat("x", fits))
			}
			g.settled(c)
			c.box.Unsubscribe("a")
		}
	})
}

// TestTopicAlias: a topic is named once, then its alias stands for it; each
// connection learns anew [MQTT-3.1.2-26].
func TestTopicAlias(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("#", 1))
		c.out.Aliases.Allow(1)
		for range 2 {
			for _, topic := range []string{"a", "b", "a", "b"} {
				g.must(g.publish(topic, "x", 1, nil))
			}
			got := c.drain()
			for i, want := range []packet{{topic: "a", alias: 1}, {topic: "b"}, {topic: "", alias: 1}, {topic: "b"}} {
				if got[i].topic != want.topic || got[i].alias != want.alias {
					t.Fatalf("packet %d is %+v", i, got[i])
				}
			}
			g.leave(c)
			c = g.back("c", 100)
			c.out.Aliases.Allow(1)
		}
	})
}

// TestMayRead: what was kept while a session was away goes through its new
// token, also what was retained.
func TestMayRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, bridge.Subscription{Filter: "#", QoS: 1, RetainAsPublished: true})
		g.leave(c)
		g.must(g.publish("a", "yes", 1, nil))
		g.must(g.publish("b", "no", 1, nil))
		g.must(g.publish("b", "no", 1, retain))
		c = g.back("c", 100)
		c.may = func(topic string) bool { return topic == "a" }
		wantPayloads(t, c.drain(), "yes")
		g.settled(c)
	})
}

// TestProperties: what travels with a message reaches the client, and
// 3.1.1 is spared.
func TestProperties(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c, old := g.join("c", true, sub("a", 1)), g.join("old", false, sub("a", 1))
		old.out.Version = wire.Version311
		pub := wire.Publish{User: wire.AppendUserProp(nil, "k", []byte("v"))}
		g.must(g.publish("a", "x", 1, func(p *Publication) { p.Message.Props = pub.KeptProps(nil) }))
		if got := c.drain(); len(got) != 1 || got[0].user != "v" {
			t.Fatalf("got %+v", got)
		}
		if got := old.drain(); len(got) != 1 || got[0].user != "" || got[0].payload != "x" {
			t.Fatalf("got %+v", got)
		}
	})
}

// TestSessionEnds: nothing is routed to a session that has ended, and one of
// the same name begins with nothing.
func TestSessionEnds(t *testing.T) {
	for _, how := range []string{"close", "end", "sweep", "over and not swept"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				g := newRig(t)
				c := g.join("c", true, sub("a", 1), sub(jobs, 1))
				g.must(g.publish("a", "old", 1, nil))
				switch how {
				case "close":
					g.must(c.box.Close(context.Background(), true, time.Time{}))
				case "end":
					g.leave(c)
					g.must(g.End(context.Background(), keyOf("c")))
				case "sweep":
					g.leave(c)
					time.Sleep(3601*time.Second + g.cfg.SweepEvery)
					quiet()
				}
				g.disk.delete(keyOf("c"))
				if how == "over and not swept" {
					g.leave(c)
					c = g.join("c", false)
					g.must(g.publish("a", "old", 1, nil))
					wantPayloads(t, c.drain())
					g.leave(c)
				}
				if !g.index.root.empty() || len(g.boxes) > 0 {
					t.Fatal("something is left of the session")
				}
				g.must(g.publish("a", "between", 1, nil))
				c = g.join("c", true, sub("a", 1))
				g.must(g.publish("a", "new", 1, nil))
				got := c.drain()
				wantPayloads(t, got, "new")
				if got[0].dup {
					t.Fatal("DUP in a new session")
				}
				g.settled(c)
			})
		})
	}
}

// TestExpiredIsNotServed: for a session that is over and was not swept yet
// nothing is kept.
func TestExpiredIsNotServed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := start(t, newDisk(t), func(c *Config) { c.SweepEvery = 24 * time.Hour })
		defer g.close()
		c := g.join("c", true, sub("a", 1))
		g.leave(c)
		time.Sleep(3600 * time.Second)
		g.must(g.publish("a", "x", 1, nil))
		if n := g.disk.queued(keyOf("c")); n > 0 {
			t.Fatalf("%d deliveries are kept", n)
		}
	})
}

// TestOldConnectionIsDeaf: what still arrives from a connection that is gone
// changes nothing.
func TestOldConnectionIsDeaf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("a", 2))
		g.must(g.publish("a", "1", 1, nil))
		g.must(g.publish("a", "2", 2, nil))
		got := c.pull()
		c.rec(got[1].id) // the store has not answered when the connection ends
		g.leave(c)
		if out, n := c.box.Pull(nil, 1000, 10, &c.out, nil); len(out) > 0 || n > 0 {
			t.Fatal("it pulls")
		}
		if c.box.Puback(got[0].id) || c.box.Pubcomp(got[1].id) {
			t.Fatal("it acknowledges")
		}
		if known, made := c.box.Pubrec(got[1].id, true); !known || made {
			t.Fatal("it refuses")
		}
		c = g.back("c", 10)
		got = c.pull()
		if wantPayloads(t, got, "1"); got[1].kind != wire.TypePubrel || len(c.rels) > 0 {
			t.Fatalf("got %+v", got)
		}
		c.ack(got[0])
		c.ack(got[1])
		g.settled(c)
	})
}

// TestWake: the pump is woken where there is something to pull,
// and HasMore says so where it was not.
func TestWake(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		c := g.join("c", durable, sub("a", 1), sub("b", 0))
		c.window = 1
		for _, topic := range []string{"a", "b"} {
			c.wakes.Store(0)
			g.must(g.publish(topic, "x", 1, nil))
			if c.wakes.Load() == 0 {
				t.Fatalf("not woken for %s", topic)
			}
			g.must(g.publish(topic, "y", 1, nil))
		}
		got := c.pull()
		wantPayloads(t, got, "x", "x", "y")
		if !c.box.HasMore() {
			t.Fatal("the next one is not known to be there")
		}
		c.ack(got[0])
		wantPayloads(t, c.drain(), "y")
		if c.box.HasMore() {
			t.Fatal("nothing is there")
		}
	})
}
