package bench

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

const ms = int64(time.Millisecond)

// idle makes a generator without sockets, so that a test is the clock and the
// network.
func idle(t testing.TB, load Load) *generator {
	t.Helper()
	if err := load.Fill(); err != nil {
		t.Fatal(err)
	}
	streams, conns := layout(&load, 7)
	return newGenerator(&load, 7, streams, conns)
}

// sentStamps takes what a connection has written and returns the stamps.
func sentStamps(t testing.TB, c *conn) []stamp {
	t.Helper()
	var stamps []stamp
	for len(c.out) > 0 {
		head, length, err := remainingLength(c.out)
		if err != nil || head == 0 || c.out[0]>>4 != wire.TypePublish {
			t.Fatalf("not a PUBLISH: % x", c.out)
		}
		packet := c.out[head : head+length]
		var st stamp
		if at := findContent(packet, 0); at < 0 || !st.read(packet[at:], 7) {
			t.Fatalf("no stamp in %q", packet)
		}
		stamps = append(stamps, st)
		c.out = c.out[head+length:]
	}
	c.out = c.out[:0]
	return stamps
}

func puback(id uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{wire.TypePuback << 4, 2}, id)
}

// In an open loop a message counts from when it was due, however late it was
// sent: a server that stands still for a while cannot hide it.
func TestOpenLoopCountsFromTheSchedule(t *testing.T) {
	g := idle(t, Load{Case: Submit, Conversations: 1, Members: 2, QoS: 1, Rate: 100, Inflight: 1, Measure: time.Second})
	const start = 1000 * ms
	g.start(start)
	first, second := g.senders[0], g.senders[1]
	if got := sentStamps(t, first); len(got) != 1 || got[0].time != start {
		t.Fatalf("at the start: %+v", got)
	}
	if got := g.wake(start); got != start+10*ms {
		t.Errorf("wakes after %v, want 10ms", time.Duration(got-start))
	}
	g.tick(start + 10*ms)
	if got := sentStamps(t, second); len(got) != 1 || got[0].time != start+10*ms {
		t.Fatalf("after 10 ms: %+v", got)
	}
	// Nothing is acknowledged for 90 ms. Then each sender goes on with what
	// was due first.
	g.tick(start + 100*ms)
	if len(first.out)+len(second.out) > 0 {
		t.Fatal("more is under way than the load allows")
	}
	var times []int64
	for now := start + 100*ms; now < start+105*ms; now += ms {
		if _, err := g.consume(first, puback(1), now); err != nil {
			t.Fatal(err)
		}
		for _, st := range sentStamps(t, first) {
			times = append(times, (st.time-start)/ms)
		}
	}
	if want := []int64{20, 40, 60, 80, 100}; !slices.Equal(times, want) {
		t.Errorf("due at %v ms, want %v", times, want)
	}
	if got := g.ack.latency(); got.Count != 5 || got.Max != 100 || got.P50 < 62 || got.P50 > 63 {
		t.Errorf("latency %+v, want 100, 81, 62, 43 and 24 ms", got) // to 62 + 1/64
	}
}

// What was due and could not be sent is sent after the end, and counts.
func TestOpenLoopFinishesItsSchedule(t *testing.T) {
	g := idle(t, Load{Case: Submit, Conversations: 1, Members: 1, QoS: 1, Rate: 100, Inflight: 1, Measure: 100 * time.Millisecond})
	g.start(0)
	g.tick(100 * ms)
	if g.phase != draining || g.complete() || g.scheduled != 11 {
		t.Fatalf("phase %d, %d scheduled", g.phase, g.scheduled)
	}
	c := g.senders[0]
	for now := 200 * ms; g.acked < 11; now += ms {
		if _, err := g.consume(c, puback(1), now); err != nil {
			t.Fatal(err)
		}
		g.tick(now)
	}
	if g.phase != closing || g.sent != 11 {
		t.Fatalf("phase %d, %d sent", g.phase, g.sent)
	}
	if r := g.result(); r.Ack.Count != 10 || r.Ack.Max < 190 || r.Unsent != 0 { // the 11th is due at the end
		t.Errorf("got %+v", r)
	}
	if _, err := g.consume(c, []byte{wire.TypePingresp << 4, 0}, 300*ms); err != nil {
		t.Fatal(err)
	}
	if g.tick(300 * ms); g.phase != done {
		t.Errorf("phase %d", g.phase)
	}
}

// What can no longer be sent is not forgotten.
func TestUnsentCounts(t *testing.T) {
	g := idle(t, Load{Case: Submit, Conversations: 1, Members: 1, QoS: 1, Rate: 100, Inflight: 1, Measure: 100 * time.Millisecond})
	g.start(0)
	for now := int64(0); g.phase != done; now += 50 * ms {
		g.tick(now)
	}
	if r := g.result(); r.Unsent != 10 || r.Unacknowledged != 1 || len(r.Faults()) != 2 {
		t.Errorf("got %+v", r)
	}
}

// The window of a closed loop is never exceeded, and frees itself when what it
// waits for does not come.
func TestWindow(t *testing.T) {
	g := idle(t, Load{Case: Fanout, Subscribers: 3, Outstanding: 10, Measure: 10 * time.Second})
	g.start(0)
	c := g.senders[0]
	sent := sentStamps(t, c)
	if len(sent) != 3 || g.outstanding != 9 {
		t.Fatalf("%d messages, %d outstanding", len(sent), g.outstanding)
	}
	deliver := func(to *conn, st stamp, now int64) {
		t.Helper()
		payload, at := makePayload(g.load.Size)
		st.put(payload[at:], 7)
		frame, _ := wire.AppendPublish(nil, wire.Version311, &wire.Publish{Topic: []byte("t"), Payload: payload})
		if used, err := g.consume(to, frame, now); err != nil || used != len(frame) {
			t.Fatalf("%d of %d, %v", used, len(frame), err)
		}
	}
	readers := g.streams[0].readers
	deliver(readers[0], sent[0], ms)
	if g.tick(ms); len(c.out) > 0 {
		t.Error("sent with 8 of 10 outstanding")
	}
	deliver(readers[1], sent[1], 2*ms) // the one before it is lost
	if g.tick(2 * ms); len(sentStamps(t, c)) != 1 {
		t.Error("the window was not freed by what was jumped over")
	}
	g.tick(2*ms + int64(g.load.patience/3))
	if len(c.out) > 0 {
		t.Error("sent too early")
	}
	g.tick(3*ms + int64(g.load.patience/3))
	if got := sentStamps(t, c); len(got) != 3 {
		t.Errorf("%d messages after a second without any", len(got))
	}
}

// Only what was sent and came in the measured time is counted for the rates,
// and for latency what was sent in it, whenever it came.
func TestMeasuredTime(t *testing.T) {
	g := idle(t, Load{Case: Chat, Conversations: 1, Members: 1, QoS: 1, Warmup: 100 * time.Millisecond, Measure: 100 * time.Millisecond})
	g.start(0)
	c := g.conns[0]
	for _, step := range []struct {
		now                         int64
		messages, delivered, waited uint64
	}{
		{50 * ms, 0, 0, 0}, {100 * ms, 1, 1, 0}, {150 * ms, 2, 2, 1}, {199 * ms, 3, 3, 2}, {220 * ms, 3, 3, 3},
	} {
		g.tick(step.now)
		frame := slices.Clone(c.out)
		c.out = c.out[:0]
		if _, err := g.consume(c, append(frame, puback(1)...), step.now); err != nil {
			t.Fatal(err)
		}
		if len(c.out) < 4 || c.out[0]>>4 != wire.TypePuback {
			t.Fatalf("the delivery is not acknowledged: % x", c.out)
		}
		c.out = c.out[4:] // its PUBACK
		if g.messages != step.messages || g.deliveries != step.delivered || g.delivery.total != step.waited || g.ack.total != step.waited {
			t.Errorf("after %v: %d messages, %d deliveries, %d and %d latencies", time.Duration(step.now),
				g.messages, g.deliveries, g.delivery.total, g.ack.total)
		}
	}
	if r := g.result(); r.Seconds != 0.1 || r.Messages != 30 || r.Deliveries != 30 || len(r.Faults()) > 0 {
		t.Errorf("got %+v", r)
	}
}

// Packets that come in pieces are put together.
func TestPieces(t *testing.T) {
	g := idle(t, Load{Case: Chat, Conversations: 1, Members: 1, QoS: 1, Size: 300})
	g.start(0)
	c := g.conns[0]
	whole := slices.Concat(c.out, puback(1))
	for cut := range whole {
		g := idle(t, Load{Case: Chat, Conversations: 1, Members: 1, QoS: 1, Size: 300})
		g.start(0)
		c := g.conns[0]
		c.out = c.out[:0]
		used, err := g.consume(c, whole[:cut], 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.consume(c, whole[used:], 0); err != nil || g.unique != 1 || g.acked != 1 {
			t.Fatalf("cut at %d: %v, %d deliveries, %d acknowledged", cut, err, g.unique, g.acked)
		}
	}
}

// fanoutOf is what a subscriber gets in one read, and a generator that waits
// for it.
func fanoutOf(tb testing.TB, qos byte, n int) (g *generator, c *conn, b []byte) {
	g = idle(tb, Load{Case: Fanout, Subscribers: 1, QoS: int(qos), Outstanding: n, Inflight: 0})
	g.start(0)
	payload, at := makePayload(g.load.Size)
	for i := range n {
		st := stamp{counter: uint32(i)}
		st.put(payload[at:], 7)
		b, _ = wire.AppendPublish(b, wire.Version311, &wire.Publish{Topic: []byte(g.streams[0].topic), QoS: qos,
			PacketID: uint16(i + 1), Payload: payload})
	}
	return g, g.streams[0].readers[0], b
}

// again makes a reader that has seen nothing.
func (g *generator) again(c *conn) {
	clear(c.reader.next)
	c.out = c.out[:0]
	g.outstanding = 0
}

func TestNothingIsAllocatedForAMessage(t *testing.T) {
	for qos := range byte(2) {
		g, c, b := fanoutOf(t, qos, 100)
		if n := testing.AllocsPerRun(10, func() {
			g.again(c)
			if used, err := g.consume(c, b, ms); err != nil || used != len(b) {
				t.Error(used, err)
			}
			g.tick(ms)
			for _, c := range g.dirty {
				c.queued, c.out = false, c.out[:0]
			}
			g.dirty = g.dirty[:0]
		}); n > 0 {
			t.Errorf("QoS %d: %v allocations for 100 deliveries", qos, n)
		}
		if g.foreign > 0 || c.reader.duplicated > 0 || c.reader.unique == 0 {
			t.Errorf("QoS %d: %+v", qos, c.reader.seen)
		}
	}
}

// What the generator itself does for a delivery, without the system calls.
func BenchmarkDelivery(b *testing.B) {
	for qos := range byte(2) {
		b.Run("QoS"+string('0'+rune(qos)), func(b *testing.B) {
			const n = 100
			g, c, packets := fanoutOf(b, qos, n)
			for i := 0; b.Loop(); i++ {
				g.again(c)
				if _, err := g.consume(c, packets, ms); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/delivery")
		})
	}
}
