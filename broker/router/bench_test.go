package router

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// benched is a client that is measured: it takes what there is as soon as it
// is woken.
type benched struct {
	box  *Mailbox
	out  Outbound
	buf  []byte
	woke bool
}

func (c *benched) Wake()         { c.woke = true }
func (c *benched) Pubrel(uint16) {}
func (c *benched) Failed(error)  {}

func benchRig(b *testing.B) *rig {
	g := start(b, newDisk(b), nil)
	b.Cleanup(g.close)
	return g
}

func (g *rig) benched(name string, filter string, qos byte) *benched {
	c := &benched{out: Outbound{Version: wire.Version5}, buf: make([]byte, 0, 64<<10)}
	c.box = g.Open(keyOf(name), false, 1000, c)
	c.box.Subscribe(sub(filter, qos), false)
	return c
}

func (c *benched) pull(tb testing.TB) int {
	out, took := c.box.Pull(c.buf, 32<<10, 1000, &c.out, nil)
	if len(out) == 0 {
		tb.Fatal("nothing came")
	}
	return took
}

// BenchmarkPublish publishes at QoS 0 to so many sessions, each of which takes
// the message: nothing is allocated for a delivery.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("QoS0/", n), func(b *testing.B) {
			g := benchRig(b)
			clients := make([]*benched, n)
			for i := range clients {
				clients[i] = g.benched(fmt.Sprint(i), "bench/+/topic", 0)
			}
			payload := []byte(strings.Repeat("x", 100))
			b.ReportAllocs()
			for b.Loop() {
				m := &Message{Message: bridge.Message{Topic: "bench/a/topic", Payload: payload}}
				g.Publish(&Publication{Message: m})
				for _, c := range clients {
					c.pull(b)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
		})
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint("QoS1/", n), func(b *testing.B) {
			g := benchRig(b)
			clients := make([]*benched, n)
			for i := range clients {
				clients[i] = g.benched(fmt.Sprint(i), "bench/+/topic", 1)
			}
			payload := []byte(strings.Repeat("x", 100))
			next := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				m := &Message{Message: bridge.Message{Topic: "bench/a/topic", Payload: payload, QoS: 1}}
				g.Publish(&Publication{Message: m})
				next++
				for _, c := range clients {
					if c.pull(b) != 1 || !c.box.Puback(packetID(next)) {
						b.Fatal("not one, or not acknowledged")
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
		})
	}
}

// BenchmarkMatch looks a topic up among 100,000 filters, three of which take
// it.
func BenchmarkMatch(b *testing.B) {
	var x index
	box := new(Mailbox)
	for i := range 100_000 {
		filter := fmt.Sprintf("site/%d/device/%d/state", i%1000, i)
		switch i % 100 {
		case 0:
			filter = fmt.Sprintf("site/%d/+/%d/#", i%1000, i)
		case 1:
			filter = fmt.Sprintf("+/%d/device/%d/state", i%1000, i)
		}
		x.add(&subscription{box: box, filter: filter})
	}
	x.add(&subscription{box: box, filter: "#"})
	x.add(&subscription{box: box, filter: "site/+/device/+/state"})
	topics := make([]string, 1000)
	for i := range topics {
		topics[i] = fmt.Sprintf("site/%d/device/%d/state", (i*97)%1000, i*97)
	}
	var found matches
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		found.subs, found.groups, found.nodes = found.subs[:0], found.groups[:0], 0
		x.match(topics[i%len(topics)], &found)
		if len(found.subs) != 3 {
			b.Fatalf("%d take %s", len(found.subs), topics[i%len(topics)])
		}
		i++
	}
}

// BenchmarkRetained publishes retained messages at QoS 1, many at a time, to a
// store that takes no time.
func BenchmarkRetained(b *testing.B) {
	g := benchRig(b)
	c := g.benched("c", "r/#", 0)
	topics := make([]string, 1000)
	for i := range topics {
		topics[i] = fmt.Sprint("r/", i)
	}
	const window = 256
	done := make(chan error, window)
	payload := []byte(strings.Repeat("x", 100))
	open, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		m := &Message{Message: bridge.Message{Topic: topics[i%len(topics)], Payload: payload, QoS: 1}, Retain: true}
		g.Publish(&Publication{Message: m, Done: completer(func(err error) { done <- err })})
		i++
		if open++; open == window {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			open--
		}
		if i%100 == 0 {
			c.box.Pull(c.buf, 32<<10, 0, &c.out, nil)
		}
	}
	for range open {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// TestDeliveryAllocatesNothing: the cost of a publication does not grow with
// its subscribers.
func TestDeliveryAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("under the race detector sync.Pool forgets: nothing to measure")
		return
	}
	g := start(t, newDisk(t), nil)
	defer g.close()
	payload := []byte(strings.Repeat("x", 100))
	for _, qos := range []byte{0, 1} {
		var cost [2]float64
		next := uint64(0)
		for i, n := range []int{1, 500} {
			topic := fmt.Sprint(qos, i)
			clients := make([]*benched, n)
			for j := range clients {
				clients[j] = g.benched(fmt.Sprint(topic, " ", j), topic, qos)
			}
			next = 0
			cost[i] = testing.AllocsPerRun(100, func() {
				m := &Message{Message: bridge.Message{Topic: topic, Payload: payload, QoS: qos}}
				g.Publish(&Publication{Message: m})
				next++
				for _, c := range clients {
					if c.pull(t); qos > 0 && !c.box.Puback(packetID(next)) {
						t.Fatal("not acknowledged")
					}
				}
			})
		}
		if cost[1] > cost[0] {
			t.Errorf("QoS %d: %.0f allocations for one subscriber, %.0f for 500", qos, cost[0], cost[1])
		}
	}
}
