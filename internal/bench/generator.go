package bench

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

// drainAtMost bounds the waiting for what is missing at the end, while
// something still comes.
const drainAtMost = 30 * time.Second

// phase is how far a run is.
type phase int

const (
	sending  phase = iota
	draining       // nothing new is sent; what is under way comes
	closing        // all came; a ping shows that nothing comes behind it
	done
)

// generator is the clients of a load.
type generator struct {
	load    *Load
	run     uint32
	streams []*stream
	senders []*conn // in the order of the schedule
	ports

	phase    phase
	begin    int64         // when the first message was due
	from, to int64         // what is measured
	progress int64         // when something came the last time
	ended    int64         // when the sending ended
	marks    chan struct{} // told when the measuring begins and ends
	measured bool          // it has begun

	scheduled   uint64 // messages that were due
	sent        uint64
	acked       uint64
	expected    uint64 // deliveries of all that was sent
	unique      uint64 // deliveries that came, each once
	outstanding int    // deliveries that the window of a closed loop waits for
	pongs       int
	alive       int

	// In the measured time.
	messages, deliveries uint64
	delivery, ack        histogram

	foreign uint64 // what came was never sent, or not to this reader
	broken  []error
}

func newGenerator(load *Load, run uint32, streams []*stream, conns []*conn) *generator {
	g := &generator{load: load, run: run, streams: streams, ports: ports{conns: conns}, alive: len(conns),
		marks: make(chan struct{}, 2)}
	for _, c := range conns {
		if c.sender != nil {
			g.senders = append(g.senders, c)
		}
	}
	// Shuffled, so that what a conversation is sent does not come in bursts,
	// and always the same, so that all servers get the same.
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(g.senders), func(i, j int) { g.senders[i], g.senders[j] = g.senders[j], g.senders[i] })
	for i, c := range g.senders {
		c.sender.place = i
	}
	return g
}

// start sends the first messages.
func (g *generator) start(now int64) {
	g.begin, g.progress = now, now
	g.from = now + int64(g.load.Warmup)
	g.to = g.from + int64(g.load.Measure)
	if g.load.Rate == 0 && g.load.Outstanding == 0 {
		for _, c := range g.senders {
			g.next(c, now)
		}
	}
	g.tick(now)
}

func (g *generator) tick(now int64) {
	if !g.measured && now >= g.from {
		g.mark()
		g.measured = true
	}
	if g.phase == sending {
		if now < g.to && !g.enough() && g.alive > 0 {
			g.send(now)
			return
		}
		if g.load.Rate > 0 && !g.enough() {
			g.schedule(g.to)
		}
		g.to, g.ended, g.progress = min(g.to, now), now, now
		g.phase = draining
		g.mark()
	}
	if g.phase == draining && g.complete() {
		g.phase, g.progress, g.pongs = closing, now, 0
		for _, c := range g.conns {
			if !c.dead {
				c.out = append(c.out, wire.TypePingreq<<4, 0)
				g.queue(c)
			}
		}
	}
	if g.phase == closing && g.pongs >= g.alive || g.alive == 0 ||
		now-g.progress > int64(g.load.patience) || now-g.ended > int64(drainAtMost) {
		g.phase = done
	}
}

// mark tells that the measuring begins or ends. It never waits: there is room
// for both.
func (g *generator) mark() { g.marks <- struct{}{} }

// enough tells whether as much was sent as the load allows.
func (g *generator) enough() bool { return g.load.stopAfter > 0 && g.sent >= g.load.stopAfter }

// send sends what schedule or window allow.
func (g *generator) send(now int64) {
	switch {
	case g.load.Rate > 0:
		g.schedule(now)
	case g.load.Outstanding > 0:
		// A window that is full of messages which do not come is freed: they
		// count as lost in the end, but the rest of the run means something.
		if g.outstanding > 0 && now-g.progress > int64(g.load.patience/3) {
			g.outstanding, g.progress = 0, now
		}
		for _, c := range g.senders {
			g.next(c, now)
		}
	}
}

// schedule sends what is due in an open loop.
func (g *generator) schedule(now int64) {
	due := uint64(float64(now-g.begin)*g.load.Rate/1e9) + 1
	for ; g.scheduled < due; g.scheduled++ {
		c := g.senders[g.scheduled%uint64(len(g.senders))]
		c.sender.due++
		g.next(c, now)
	}
}

// time is when the next message of a sender was due.
func (g *generator) time(x *sender) int64 {
	n := float64(x.sent)*float64(len(g.senders)) + float64(x.place)
	return g.begin + int64(math.Ceil(n*1e9/g.load.Rate))
}

// next sends as many messages of a sender as it may now have under way.
func (g *generator) next(c *conn, now int64) {
	x := c.sender
	open := g.load.Rate > 0
	for !c.dead && x.ready() {
		at := now
		switch {
		case open && x.sent >= x.due:
			return
		case open:
			at = g.time(x)
		case g.phase != sending || now >= g.to || g.enough():
			return
		case g.load.Outstanding > 0 && g.outstanding+len(c.stream.readers) > g.load.Outstanding:
			return
		}
		c.out = x.write(c.out, at)
		g.sent++
		g.expected += uint64(len(c.stream.readers))
		g.outstanding += len(c.stream.readers)
		if x.idAt == 0 && now >= g.from && now < g.to {
			g.messages++
		}
		g.queue(c)
	}
}

func (g *generator) finished() bool { return g.phase == done }

func (g *generator) exact() bool { return g.load.Rate > 0 && g.phase == sending }

// complete tells whether all came that must come.
func (g *generator) complete() bool {
	return g.unique >= g.expected && (g.load.QoS == 0 || g.acked >= g.sent) && g.sent >= g.scheduled
}

func (g *generator) wake(now int64) int64 {
	const idle = int64(100 * time.Millisecond)
	next := now + idle
	if g.phase != sending {
		return next
	}
	if !g.measured {
		next = min(next, g.from)
	}
	if g.load.Rate > 0 {
		next = min(next, g.begin+int64(math.Ceil(float64(g.scheduled)*1e9/g.load.Rate)))
	}
	return min(next, g.to)
}

// lost ends a connection that failed.
func (g *generator) lost(c *conn, err error) {
	if c.dead {
		return
	}
	c.dead = true
	g.alive--
	g.broken = append(g.broken, err)
}
