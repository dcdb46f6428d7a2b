package conformance_test

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// world is a server with the clients of one user, whose token opens all
// ordinary topics.
type world struct {
	*parleytest.Server
	t       *testing.T
	version byte
	backend string
	dsn     string
	opts    []parleytest.Options
}

const user = "dev"

// versions runs a test in 3.1.1 and in 5.
func versions(t *testing.T, test func(w *world), opts ...parleytest.Options) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			test(newWorld(t, "sqlite", version, opts...))
		})
	}
}

// stored runs a test of what stands in the database, on every database and in
// both versions.
func stored(t *testing.T, test func(w *world), opts ...parleytest.Options) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
				test(newWorld(t, backend, version, opts...))
			})
		}
	})
}

// five is a server for a test of what only MQTT 5 has.
func five(t *testing.T, opts ...parleytest.Options) *world {
	return newWorld(t, "sqlite", 5, opts...)
}

func newWorld(t *testing.T, backend string, version byte, opts ...parleytest.Options) *world {
	w := &world{t: t, version: version, backend: backend, dsn: parleytest.Database(t, backend), opts: opts}
	w.Server = parleytest.Start(t, backend, w.dsn, opts...)
	return w
}

// restart stops the server and starts one on the same database.
func (w *world) restart() {
	w.t.Helper()
	w.Stop()
	w.Server = parleytest.Start(w.t, w.backend, w.dsn, w.opts...)
}

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// options has a server read the clock.
func (c *clock) options() parleytest.Options {
	return parleytest.Options{
		Log:    func(cfg *bridge.Config) { cfg.Now = c.read },
		Broker: func(cfg *broker.Config) { cfg.Now = c.read },
	}
}

// tokenFor makes a token that opens the filters.
func tokenFor(t *testing.T, filters ...string) string {
	return parleytest.Token(t, acl.Claims{Subject: user, TTL: time.Hour, Pub: filters, Sub: filters})
}

// client is a connection that keeps what comes before what is waited for.
type client struct {
	*mqttest.Client
	t    *testing.T
	ack  packets.Packet // its CONNACK
	held []packets.Packet
}

// clean connects a client whose session ends with its connection.
func (w *world) clean(id string) *client {
	w.t.Helper()
	return w.connect(mqttest.Options{ClientID: id, Clean: true})
}

// durable connects a client whose session is kept.
func (w *world) durable(id string) *client {
	w.t.Helper()
	return w.connect(mqttest.Options{ClientID: id, Expiry: 3600})
}

// connectWith connects a clean client with a token.
func (w *world) connectWith(id, token string) *client {
	w.t.Helper()
	return w.connect(mqttest.Options{ClientID: id, Clean: true, User: user, Password: token})
}

// connect connects a client as o says, with the version of the test if o has
// none.
func (w *world) connect(o mqttest.Options) *client {
	w.t.Helper()
	c := w.try(o)
	if c.ack.ReasonCode != 0 {
		w.t.Fatalf("%s was refused: 0x%02x %s", o.ClientID, c.ack.ReasonCode, c.ack.Properties.ReasonString)
	}
	return c
}

// try is connect for a client that may be refused.
func (w *world) try(o mqttest.Options) *client {
	w.t.Helper()
	if o.Version == 0 {
		o.Version = w.version
	}
	if o.Password == "" {
		o.User, o.Password = user, tokenFor(w.t, "#")
	}
	c := &client{Client: w.Dial(), t: w.t}
	c.ack = c.Connect(o)
	return c
}

// stranger is a connection whose CONNECT the test writes itself.
func (w *world) stranger() *client { return &client{Client: w.Dial(), t: w.t} }

// vanish ends the connection without DISCONNECT and waits until the server
// knows.
func (c *client) vanish() {
	type halfCloser interface{ CloseWrite() error }
	_ = c.Conn.(halfCloser).CloseWrite()
	_ = c.Conn.SetReadDeadline(time.Now().Add(mqttest.Patience))
	_, _ = io.Copy(io.Discard, c.Conn)
	_ = c.Conn.Close()
}

// next answers the next packet, which must come.
func (c *client) next() packets.Packet {
	c.t.Helper()
	if len(c.held) > 0 {
		pk := c.held[0]
		c.held = c.held[1:]
		return pk
	}
	return c.Next()
}

// await answers the packet of a type with an identifier, and keeps what comes
// before it for next.
func (c *client) await(kind byte, id uint16) packets.Packet {
	c.t.Helper()
	for {
		pk := c.Next()
		if pk.FixedHeader.Type == kind && pk.PacketID == id {
			return pk
		}
		if pk.FixedHeader.Type == packets.Disconnect {
			c.t.Fatalf("DISCONNECT 0x%02x %s, where a %s of %d should come", pk.ReasonCode,
				pk.Properties.ReasonString, wire.TypeName(kind), id)
		}
		c.held = append(c.held, pk)
	}
}

// suback sends a SUBSCRIBE and answers the SUBACK.
func (c *client) suback(id int, subs ...sub) packets.Packet {
	c.t.Helper()
	packetID := c.ID()
	c.MustSend(subscribePacket(c.Version, packetID, id, subs...))
	return c.await(packets.Suback, packetID)
}

// subscribe subscribes at a QoS, which must be granted.
func (c *client) subscribe(qos byte, filters ...string) {
	c.t.Helper()
	subs := make([]sub, len(filters))
	for i, f := range filters {
		subs[i] = sub{f, qos}
	}
	c.subscribeAs(0, subs...)
}

// subscribeAs subscribes with options and an identifier, which must be granted.
func (c *client) subscribeAs(id int, subs ...sub) {
	c.t.Helper()
	ack := c.suback(id, subs...)
	for i, s := range subs {
		if got := ack.ReasonCodes[i]; got != s.options&3 {
			c.t.Fatalf("SUBACK 0x%02x for %s, want QoS %d", got, s.filter, s.options&3)
		}
	}
}

// unsubscribe sends an UNSUBSCRIBE and answers the UNSUBACK.
func (c *client) unsubscribe(filters ...string) packets.Packet {
	c.t.Helper()
	id := c.ID()
	fields := []any{id}
	if c.Version == 5 {
		fields = append(fields, props{})
	}
	for _, f := range filters {
		fields = append(fields, f)
	}
	c.MustSend(packet(unsubscribeByte, fields...))
	return c.await(packets.Unsuback, id)
}

// publish publishes and completes the exchange, which must succeed.
func (c *client) publish(topic, payload string, qos byte, change ...func(*wire.Publish)) {
	c.t.Helper()
	if code := c.attempt(topic, payload, qos, change...); code >= 0x80 { // 0x10 says that nobody subscribes
		c.t.Fatalf("PUBLISH to %s was refused: 0x%02x", topic, code)
	}
}

// attempt is publish for what may be refused. It answers the reason code.
func (c *client) attempt(topic, payload string, qos byte, change ...func(*wire.Publish)) byte {
	c.t.Helper()
	pub := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
	for _, f := range change {
		f(&pub)
	}
	if qos > 0 && pub.PacketID == 0 {
		pub.PacketID = c.ID()
	}
	c.PublishPacket(&pub)
	switch qos {
	case 1:
		return c.await(packets.Puback, pub.PacketID).ReasonCode
	case 2:
		if code := c.await(packets.Pubrec, pub.PacketID).ReasonCode; code >= 0x80 {
			return code
		}
		c.release(pub.PacketID)
	}
	return 0
}

// release sends PUBREL and takes the PUBCOMP.
func (c *client) release(id uint16) {
	c.t.Helper()
	c.Ack(packets.Pubrel, id)
	if pk := c.await(packets.Pubcomp, id); pk.ReasonCode != 0 {
		c.t.Fatalf("PUBCOMP of %d is 0x%02x", id, pk.ReasonCode)
	}
}

func retain(pub *wire.Publish) { pub.Retain = true }

// open reads the next packet, which must be a PUBLISH, and acknowledges
// nothing.
func (c *client) open(topic, payload string, qos byte) packets.Packet {
	c.t.Helper()
	pk := c.next()
	if pk.FixedHeader.Type != packets.Publish {
		c.t.Fatalf("got %s (0x%02x), want %q on %s", wire.TypeName(pk.FixedHeader.Type), pk.ReasonCode, payload, topic)
	}
	if pk.TopicName != topic || string(pk.Payload) != payload || pk.FixedHeader.Qos != qos {
		c.t.Fatalf("got %q on %s at QoS %d, want %q on %s at QoS %d",
			pk.Payload, pk.TopicName, pk.FixedHeader.Qos, payload, topic, qos)
	}
	return pk
}

// receive is open, and completes the exchange.
func (c *client) receive(topic, payload string, qos byte) packets.Packet {
	c.t.Helper()
	pk := c.open(topic, payload, qos)
	c.complete(pk)
	return pk
}

// complete acknowledges a PUBLISH as its QoS wants.
func (c *client) complete(pk packets.Packet) {
	c.t.Helper()
	switch pk.FixedHeader.Qos {
	case 1:
		c.Ack(packets.Puback, pk.PacketID)
	case 2:
		c.Ack(packets.Pubrec, pk.PacketID)
		c.await(packets.Pubrel, pk.PacketID)
		c.Ack(packets.Pubcomp, pk.PacketID)
	}
}

// quiet wants nothing to come before the answer to a ping.
func (c *client) quiet() {
	c.t.Helper()
	c.MustSend([]byte{pingreqByte, 0})
	if pk := c.next(); pk.FixedHeader.Type != packets.Pingresp {
		c.t.Fatalf("got %s (0x%02x) %q on %q where nothing should come", wire.TypeName(pk.FixedHeader.Type),
			pk.ReasonCode, pk.Payload, pk.TopicName)
	}
}

// nothingFrom wants nothing to come that from has published: what it publishes
// now, at QoS 0 and 1, is the next that comes.
func (c *client) nothingFrom(from *client) {
	c.t.Helper()
	end := fmt.Sprintf("end/%p", c)
	c.subscribe(1, end)
	from.publish(end, "0", 0)
	from.publish(end, "1", 1)
	for range 2 {
		pk := c.next()
		if pk.FixedHeader.Type != packets.Publish || pk.TopicName != end {
			c.t.Fatalf("got %s (0x%02x) %q on %q where nothing should come", wire.TypeName(pk.FixedHeader.Type),
				pk.ReasonCode, pk.Payload, pk.TopicName)
		}
		c.complete(pk)
	}
	c.unsubscribe(end)
}

// closed wants the server to end the connection; in MQTT 5 with a DISCONNECT
// of the code, in 3.1.1 without one.
func (c *client) closed(code byte) {
	c.t.Helper()
	if c.Version < 5 {
		code = 0
	}
	if got := c.ExpectClosed(); got != code {
		c.t.Errorf("the connection ended with DISCONNECT 0x%02x, want 0x%02x", got, code)
	}
}
