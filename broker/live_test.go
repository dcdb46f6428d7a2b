package broker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	paho5 "github.com/eclipse/paho.golang/packets"
	paho3 "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/broker/wsconn"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// ownTopic is an ordinary topic of the witness, chatTopic one whose messages
// are committed.
const (
	ownTopic  = "witness"
	chatTopic = "chat/w/messages"
)

// byName takes the name of a user for a token, so that a mutated CONNECT
// still gets somewhere.
type byName struct{}

func (byName) Verify(token string) (acl.Identity, error) {
	id := acl.Identity{UserID: token, Expires: time.Now().Add(time.Hour),
		Pub: []string{"fuzz/#"}, Sub: []string{"fuzz/#"}}
	switch token {
	case "mallory", "trudy":
		return id, nil
	case "witness":
		id.Pub, id.Sub = []string{ownTopic}, []string{ownTopic}
		return id, nil
	case "brief":
		id.Expires = time.Now().Add(time.Millisecond)
		return id, nil
	}
	return acl.Identity{}, chat.Errorf(chat.CodeUnauthorized, "nobody")
}

func (byName) Revoked(*acl.Identity) bool { return false }

// stage is a broker whose connections are fuzzed, with one that must not feel
// anything of it.
type stage struct {
	server  *parleytest.Server
	faults  *faults
	witness *live
	sent    int // messages of the witness
	inputs  int
	calm    int // goroutines of an input that has no connection
}

// faults keeps what the server logs as an error: a panic, or what it could
// not expect.
type faults struct {
	mu   sync.Mutex
	text []string
}

func (f *faults) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (f *faults) WithAttrs([]slog.Attr) slog.Handler               { return f }
func (f *faults) WithGroup(string) slog.Handler                    { return f }

func (f *faults) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += "\n" + a.String(); return true })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = append(f.text, text)
	return nil
}

func newStage(f *testing.F) *stage {
	g := &stage{faults: &faults{}}
	g.server = parleytest.New(f, "sqlite", parleytest.Options{Logger: slog.New(g.faults),
		Log: func(c *bridge.Config) {
			c.TailBytes = 1 << 20     // what the run may add to the heap is bounded by memoryLimit
			c.CursorEvery = time.Hour // it would go on between inputs
			c.HeadEvery, c.SweepEvery = time.Hour, time.Hour
		},
		Broker: func(c *broker.Config) { c.Verifier = byName{} }})
	g.server.Conversation("w", "witness")
	g.server.Conversation("shared", "mallory", "trudy", "witness")
	g.witness = g.open(f, 0, false)
	w := mqttest.New(f, g.witness)
	g.witness.feed(f, w.ConnectPacket(mqttest.Options{ClientID: "w", User: "witness", Password: "witness", Clean: true}))
	g.witness.feed(f, w.SubscribePacket(nil, 0, chatTopic, ownTopic))
	g.undisturbed(f, chatTopic)
	return g
}

// live is one connection of the stage, and what its peer knows.
type live struct {
	*scripted
	gone    <-chan struct{}
	version byte
	limit   int    // the client's Maximum Packet Size, 0 is none
	unread  []byte // the beginning of a packet
	packets int    // that came
	over    bool   // a DISCONNECT came
	web     bool

	deliveries []uint16 // packet identifiers of PUBLISH packets that came
	lastID     uint16   // given to a packet of the client
}

// open opens a connection. What is fed to one over the web must be frames.
func (g *stage) open(tb testing.TB, piece int, web bool) *live {
	l := &live{scripted: newScripted(piece), web: web}
	if web {
		l.gone = g.server.Broker.ServeConn(wsconn.New(l.scripted, l.scripted))
	} else {
		l.gone = g.server.Broker.ServeConn(l.scripted)
	}
	if l.gone == nil {
		tb.Fatal("the broker takes no connection")
	}
	return l
}

// patience bounds what takes no time unless the server is wrong.
const patience = 10 * time.Second

// feed sends bytes and returns when the server has read them, and waits for
// more or has ended the connection.
func (l *live) feed(tb testing.TB, b []byte) {
	tb.Helper()
	l.scripted.feed(b)
	select {
	case <-l.starved:
	case <-l.gone:
	case <-time.After(patience):
		tb.Fatalf("the server does not read on:\n%s", stacks())
	}
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

// end hangs up and returns when nothing of the connection runs any more.
func (l *live) end(tb testing.TB) {
	tb.Helper()
	l.hangUp()
	select {
	case <-l.gone:
	case <-time.After(patience):
		tb.Fatalf("the connection does not end:\n%s", stacks())
	}
	l.check(tb)
}

// check takes what came: each packet must be one that the client may get.
func (l *live) check(tb testing.TB) {
	tb.Helper()
	if l.web {
		l.take() // frames
		return
	}
	l.unread = append(l.unread, l.take()...)
	for {
		head, size := packetSize(l.unread)
		if size == 0 || size > len(l.unread) {
			return
		}
		packet := l.unread[:size]
		l.unread = l.unread[size:]
		l.packets++
		kind := packet[0] >> 4
		switch {
		case l.over:
			tb.Fatalf("%x came after DISCONNECT", packet)
		case (l.packets == 1) != (kind == wire.TypeConnack) && l.version != 0:
			tb.Fatalf("packet %d is a %s", l.packets, wire.TypeName(kind))
		case l.limit > 0 && size > l.limit && !refusal(packet): // a CONNECT that is malformed has no limit
			tb.Fatalf("a %s of %d bytes for a client that takes %d", wire.TypeName(kind), size, l.limit)
		}
		l.over = kind == wire.TypeDisconnect
		if l.version == 0 {
			continue // whatever CONNECT the fuzzer made
		}
		if err := readable(l.version, packet); err != nil {
			tb.Fatalf("the server sent %x to a client of version %d: %v", packet, l.version, err)
		}
		if qos := packet[0] >> 1 & 3; kind == wire.TypePublish && qos > 0 {
			at := head + 2 + int(binary.BigEndian.Uint16(packet[head:]))
			l.deliveries = append(l.deliveries, binary.BigEndian.Uint16(packet[at:]))
		}
	}
}

// refusal reports whether a packet is a CONNACK that refuses.
func refusal(packet []byte) bool {
	return packet[0]>>4 == wire.TypeConnack && len(packet) > 3 && packet[3] != 0
}

// packetSize is the length of a packet's fixed header and of all of it; 0 if
// the header is not whole.
func packetSize(b []byte) (head, size int) {
	for i := 1; i < len(b) && i < 5; i++ {
		size |= int(b[i]&0x7F) << (7 * (i - 1))
		if b[i] < 0x80 {
			return i + 1, size + i + 1
		}
	}
	return 0, 0
}

// readable reports what another library cannot read in a packet.
func readable(version byte, packet []byte) error {
	if version < wire.Version5 {
		_, err := paho3.ReadPacket(bytes.NewReader(packet))
		return err
	}
	_, err := paho5.ReadPacket(bytes.NewReader(packet))
	return err
}

// await returns when the client got what is looked for.
func (l *live) await(tb testing.TB, what string, found func(out []byte) bool) {
	tb.Helper()
	late := time.After(patience)
	for out := l.take(); !found(out); out = append(out, l.take()...) {
		select {
		case <-l.wrote:
		case <-l.gone:
			tb.Fatalf("%s: the connection has ended", what)
		case <-late:
			tb.Fatalf("%s: did not come\n%s", what, stacks())
		}
	}
}

// undisturbed has the witness ping, and get what it publishes to a topic.
func (g *stage) undisturbed(tb testing.TB, topic string) {
	tb.Helper()
	g.sent++
	word := fmt.Appendf(nil, "message %d.", g.sent)
	pub := wire.Publish{Topic: []byte(topic), Payload: word}
	out, _ := wire.AppendPublish(nil, wire.Version5, &pub)
	g.witness.feed(tb, append(out, wire.TypePingreq<<4, 0))
	g.witness.await(tb, "the message of the witness", func(out []byte) bool {
		return bytes.Contains(out, word) && bytes.Contains(out, wire.AppendPingresp(nil))
	})
}

const (
	// memoryLimit bounds the live heap, whatever came before. The fuzzer itself
	// takes 100 MiB of it.
	memoryLimit = 160 << 20
	// weighEvery is after how many inputs it is looked at.
	weighEvery = 4096
	// commitEvery is after how many the witness sends what is committed: that
	// takes longer than all else.
	commitEvery = 16
)

// before is called when an input begins.
func (g *stage) before() {
	if g.calm == 0 {
		g.calm = runtime.NumGoroutine()
	}
}

// after is called when the connections of an input have ended.
func (g *stage) after(t *testing.T) {
	t.Helper()
	g.undisturbed(t, ownTopic)
	if g.inputs%commitEvery == 0 { // the first one of a process, so that a failure shows again
		g.undisturbed(t, chatTopic)
	}
	g.faults.mu.Lock()
	faults := g.faults.text
	g.faults.mu.Unlock()
	if len(faults) > 0 {
		t.Fatalf("the server logged: %s", faults)
	}
	late := time.After(patience)
	for look := time.NewTicker(time.Millisecond); runtime.NumGoroutine() > g.calm; {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), g.calm, stacks())
		}
	}
	g.count(t) // now, for the last goroutine of a connection counts it out
	if g.inputs++; g.inputs%weighEvery == 0 {
		runtime.GC()
		var m runtime.MemStats
		if runtime.ReadMemStats(&m); m.HeapAlloc > memoryLimit {
			t.Fatalf("the heap has %d bytes after %d inputs", m.HeapAlloc, g.inputs)
		}
	}
}

// count wants no panic, and no connection but that of the witness.
func (g *stage) count(t *testing.T) {
	t.Helper()
	families, err := g.server.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch v := f.GetMetric()[0]; {
		case f.GetName() == "parley_mqtt_panics_total" && v.GetCounter().GetValue() != 0:
			t.Fatal("a connection panicked")
		case f.GetName() == "parley_mqtt_connections" && v.GetGauge().GetValue() != 1:
			t.Fatalf("%v connections are left", v.GetGauge().GetValue()-1)
		}
	}
}
