package bench

import (
	"net"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
)

// tiny is an MQTT broker of a few lines that does wrong what it is told to. It
// takes messages one at a time, so that their numbers mean the same to all.
type tiny struct {
	ln   net.Listener
	done sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	readers map[string][]*peer // by topic, in the order of their subscriptions
	number  int                // of the next message
	logged  map[string]int     // messages by topic
	acks    int                // that subscribers sent
	tokens  map[string]string  // passwords by client
	fault   fault
}

// fault is what is done wrong. Its functions are called one at a time.
type fault struct {
	// payloads are what a reader of a topic gets when message n comes. nil
	// does nothing wrong.
	payloads func(n, reader int, payload []byte) [][]byte
	// pubacks is how often message n is acknowledged. nil is once.
	pubacks func(n int) int
	// raw is what message n's sender gets besides.
	raw func(n int) []byte
	// hangUp ends the connection that sent message n.
	hangUp func(n int) bool
	// connack and suback refuse.
	connack, suback byte
	deliverQoS2     bool
}

// peer is one connection of the broker.
type peer struct {
	nc  net.Conn
	qos byte
	id  uint16
}

func newTiny(t *testing.T, f fault) *tiny {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &tiny{ln: ln, conns: make(map[net.Conn]struct{}), readers: make(map[string][]*peer),
		logged: make(map[string]int), tokens: make(map[string]string), fault: f}
	b.done.Go(b.accept)
	t.Cleanup(b.close)
	return b
}

func (b *tiny) target() *Target { return &Target{Name: "tiny", Addr: b.ln.Addr().String()} }

func (b *tiny) accept() {
	for {
		nc, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.adopt(nc)
	}
}

// adopt serves a connection.
func (b *tiny) adopt(nc net.Conn) {
	b.mu.Lock()
	b.conns[nc] = struct{}{}
	b.mu.Unlock()
	b.done.Go(func() {
		b.serve(&peer{nc: nc})
		nc.Close()
	})
}

func (b *tiny) close() {
	b.ln.Close()
	b.mu.Lock()
	for nc := range b.conns {
		nc.Close()
	}
	b.mu.Unlock()
	b.done.Wait()
}

func (b *tiny) serve(p *peer) {
	for rd := wire.NewReader(p.nc); ; {
		packet, err := rd.Next(0)
		if err != nil || !b.handle(p, packet) {
			return
		}
	}
}

func (b *tiny) handle(p *peer, packet wire.Packet) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch packet.Type() {
	case wire.TypeConnect:
		var pk packets.Packet
		if wire.Decode(wire.Version311, packet, &pk) != nil {
			return false
		}
		b.tokens[pk.Connect.ClientIdentifier] = string(pk.Connect.Password)
		p.write([]byte{wire.TypeConnack << 4, 2, 0, b.fault.connack})
	case wire.TypeSubscribe:
		var pk packets.Packet
		if wire.Decode(wire.Version311, packet, &pk) != nil {
			return false
		}
		topic := pk.Filters[0].Filter
		p.qos = pk.Filters[0].Qos
		b.readers[topic] = append(b.readers[topic], p)
		p.write(wire.AppendSuback(nil, wire.Version311, pk.PacketID, []byte{p.qos | b.fault.suback}, nil, 0))
	case wire.TypePublish:
		return b.publish(p, packet)
	case wire.TypePuback:
		b.acks++
	case wire.TypePingreq:
		p.write(wire.AppendPingresp(nil))
	}
	return true
}

func (b *tiny) publish(from *peer, packet wire.Packet) bool {
	var m wire.Publish
	if wire.DecodePublish(wire.Version311, packet, &m) != nil {
		return false
	}
	n, f := b.number, &b.fault
	b.number++
	b.logged[string(m.Topic)]++
	if f.hangUp != nil && f.hangUp(n) {
		return false
	}
	for i, to := range b.readers[string(m.Topic)] {
		payloads := [][]byte{m.Payload}
		if f.payloads != nil {
			payloads = f.payloads(n, i, m.Payload)
		}
		for _, payload := range payloads {
			b.deliver(to, &m, payload)
		}
	}
	if f.raw != nil {
		from.write(f.raw(n))
	}
	times := 1
	if f.pubacks != nil {
		times = f.pubacks(n)
	}
	for ; times > 0 && m.QoS > 0; times-- {
		from.write(wire.AppendAck(nil, wire.Version311, &wire.Ack{Type: wire.TypePuback, PacketID: m.PacketID}, 0))
	}
	return true
}

func (b *tiny) deliver(to *peer, m *wire.Publish, payload []byte) {
	out := wire.Publish{Topic: m.Topic, QoS: to.qos, Payload: payload}
	if b.fault.deliverQoS2 {
		out.QoS = 2
	}
	if out.QoS > 0 {
		to.id = to.id%60_000 + 1
		out.PacketID = to.id
	}
	frame, _ := wire.AppendPublish(nil, wire.Version311, &out)
	to.write(frame)
}

// write fails only when the other side has gone, which the reading finds too.
func (p *peer) write(b []byte) { _, _ = p.nc.Write(b) }
