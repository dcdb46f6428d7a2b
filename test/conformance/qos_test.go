package conformance_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// At QoS 0 a message goes out once, without DUP and without an identifier
// [MQTT-4.3.1-1], [MQTT-3.3.1-2], [MQTT-2.2.1-2].
func TestQoS0Sender(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(2, "t")
		p.publish("t", "x", 0)
		if pk := c.receive("t", "x", 0); pk.FixedHeader.Dup || pk.PacketID != 0 {
			w.t.Errorf("DUP %v, identifier %d", pk.FixedHeader.Dup, pk.PacketID)
		}
		c.quiet()
	})
}

// After its PUBACK an identifier is free: the next PUBLISH with it is a new
// message, with DUP or without [MQTT-4.3.2-4], [MQTT-4.3.2-5],
// [3.1.1: MQTT-4.3.2-2].
func TestQoS1Receiver(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "t")
		for _, dup := range []bool{false, true, false} {
			p.publish("t", "x", 1, func(pub *wire.Publish) { pub.PacketID, pub.DUP = 7, dup })
			c.receive("t", "x", 1)
		}
	})
}

// Until PUBREL a PUBLISH with the same identifier is the same message: it is
// answered again and not delivered again [MQTT-4.3.3-8], [MQTT-4.3.3-10].
// PUBREL is answered by PUBCOMP [MQTT-4.3.3-11], and then the identifier is
// free [MQTT-4.3.3-12], [3.1.1: MQTT-4.3.3-2].
func TestQoS2Receiver(t *testing.T) {
	stored(t, func(w *world) {
		c, p := w.clean("c"), w.durable("p")
		c.subscribe(2, "t")
		pub := wire.Publish{Topic: []byte("t"), Payload: []byte("first"), QoS: 2, PacketID: 7}
		send := func() {
			w.t.Helper()
			p.PublishPacket(&pub)
			if pk := p.await(packets.Pubrec, 7); pk.ReasonCode != 0 {
				w.t.Fatalf("PUBREC 0x%02x", pk.ReasonCode)
			}
		}
		send()
		pub.DUP = true
		send() // on this connection
		p.vanish()
		p = w.durable("p")
		send() // on the next
		c.receive("t", "first", 2)
		c.quiet()
		p.release(7)
		pub.Payload = []byte("second")
		send()
		c.receive("t", "second", 2)
		c.nothingFrom(p)
	})
}

// What a client has sent at QoS 2 and not released is known after a restart
// of the server too [MQTT-4.3.3-10], [MQTT-3.1.2-23].
func TestQoS2ReceiverAfterRestart(t *testing.T) {
	stored(t, func(w *world) {
		p := w.durable("p")
		pub := wire.Publish{Topic: []byte("t"), Payload: []byte("once"), QoS: 2, PacketID: 7}
		p.PublishPacket(&pub)
		p.await(packets.Pubrec, 7)
		w.restart()
		c := w.clean("c")
		c.subscribe(2, "t")
		p = w.durable("p")
		pub.DUP = true
		p.PublishPacket(&pub)
		p.await(packets.Pubrec, 7)
		p.release(7)
		c.nothingFrom(p)
	})
}

// A PUBREC that refuses ends the exchange: the identifier is free
// [MQTT-4.3.3-9].
func TestQoS2ReceiverRefuses(t *testing.T) {
	w := five(t)
	p := w.connect(mqttest.Options{ClientID: "p", Clean: true, User: user, Password: parleytest.Token(t,
		acl.Claims{Subject: user, TTL: time.Hour, Pub: []string{"t", "end/#"}})})
	c := w.clean("c")
	c.subscribe(2, "#")
	id := func(pub *wire.Publish) { pub.PacketID = 7 }
	if code := p.attempt("forbidden", "x", 2, id); code != 0x87 {
		t.Fatalf("PUBREC 0x%02x, want 0x87", code)
	}
	p.publish("t", "allowed", 2, id)
	c.receive("t", "allowed", 2)
	c.nothingFrom(p)
}

// A PUBREL of an identifier that is not known is answered, and harms nothing.
func TestUnknownPubrel(t *testing.T) {
	versions(t, func(w *world) {
		c := w.clean("c")
		c.Ack(packets.Pubrel, 99)
		want := byte(0x92)
		if w.version == 4 {
			want = 0
		}
		if pk := c.await(packets.Pubcomp, 99); pk.ReasonCode != want { // [MQTT-3.7.2-1]
			w.t.Errorf("PUBCOMP 0x%02x, want 0x%02x", pk.ReasonCode, want)
		}
		c.Ack(packets.Puback, 99)
		c.Ack(packets.Pubcomp, 99)
		c.quiet()
	})
}

// A QoS 1 message is sent with DUP 0 and an identifier of its own
// [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-2.2.1-4]. It stands until PUBACK
// [MQTT-4.3.2-3]: it comes again on the next connection, and not before, with
// the same identifier and DUP 1 [MQTT-4.4.0-1], [MQTT-3.3.1-1].
func TestQoS1Sender(t *testing.T) {
	stored(t, func(w *world) {
		c, p := w.durable("c"), w.clean("p")
		c.subscribe(1, "t")
		ids := make(map[uint16]string)
		for i := range 3 {
			p.publish("t", fmt.Sprint(i), 1)
			pk := c.open("t", fmt.Sprint(i), 1)
			if pk.FixedHeader.Dup || pk.PacketID == 0 || ids[pk.PacketID] != "" {
				w.t.Errorf("message %d: DUP %v, identifier %d", i, pk.FixedHeader.Dup, pk.PacketID)
			}
			ids[pk.PacketID] = fmt.Sprint(i)
			if i == 1 {
				c.complete(pk)
			}
		}
		c.quiet()
		c.vanish()
		c = w.durable("c")
		for _, want := range []string{"0", "2"} { // in order [MQTT-4.6.0-5]
			pk := c.receive("t", want, 1)
			if !pk.FixedHeader.Dup || ids[pk.PacketID] != want {
				w.t.Errorf("message %s again: DUP %v, identifier %d of %v", want, pk.FixedHeader.Dup, pk.PacketID, ids)
			}
		}
		c.quiet()
		c.vanish()
		w.durable("c").quiet()
	})
}

// The exchange of QoS 2: PUBLISH with DUP 0 [MQTT-4.3.3-1], [MQTT-4.3.3-2], which
// stands until PUBREC [MQTT-4.3.3-3]; then PUBREL with the same identifier
// [MQTT-4.3.3-4], which stands until PUBCOMP [MQTT-4.3.3-5], and never the
// PUBLISH again [MQTT-4.3.3-6], [MQTT-4.4.0-1], [3.1.1: MQTT-4.3.3-1].
func TestQoS2Sender(t *testing.T) {
	stored(t, func(w *world) { qos2Sender(w, func() {}) })
}

// The same, over restarts of the server [MQTT-3.1.2-23].
func TestQoS2SenderAfterRestart(t *testing.T) {
	stored(t, func(w *world) { qos2Sender(w, w.restart) })
}

func qos2Sender(w *world, between func()) {
	c := w.durable("c")
	c.subscribe(2, "t")
	w.clean("p").publish("t", "x", 2)
	first := c.open("t", "x", 2)
	if first.FixedHeader.Dup {
		w.t.Error("DUP on the first PUBLISH")
	}
	c.quiet()
	again := func() {
		c.vanish()
		between()
		c = w.durable("c")
	}
	again()
	if pk := c.open("t", "x", 2); !pk.FixedHeader.Dup || pk.PacketID != first.PacketID {
		w.t.Errorf("PUBLISH again: DUP %v, identifier %d, want %d", pk.FixedHeader.Dup, pk.PacketID, first.PacketID)
	}
	c.Ack(packets.Pubrec, first.PacketID)
	c.await(packets.Pubrel, first.PacketID)
	c.quiet()
	again()
	if pk := c.next(); pk.FixedHeader.Type != packets.Pubrel || pk.PacketID != first.PacketID {
		w.t.Fatalf("got %s of %d, want PUBREL of %d", wire.TypeName(pk.FixedHeader.Type), pk.PacketID, first.PacketID)
	}
	c.quiet()
	c.Ack(packets.Pubcomp, first.PacketID)
	c.quiet()
	again()
	c.quiet()
}

// A refusal by the client acknowledges too: no PUBREL, and nothing is sent
// again [MQTT-4.3.3-4], [MQTT-4.4.0-2].
func TestClientRefuses(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			w := five(t)
			c := w.durable("c")
			c.subscribe(qos, "t")
			w.clean("p").publish("t", "x", qos)
			pk := c.open("t", "x", qos)
			c.MustSend(packet((packets.Puback+qos-1)<<4, pk.PacketID, 0x80))
			c.quiet()
			c.vanish()
			w.durable("c").quiet()
		})
	}
}

// Messages of one client on one topic come in the order in which it sent
// them, at each QoS [MQTT-4.6.0-5], [MQTT-4.6.0-6], [3.1.1: MQTT-4.6.0-6].
func TestOrder(t *testing.T) {
	versions(t, func(w *world) {
		const n = 300
		for qos := range byte(3) {
			c, p := w.clean("c"), w.clean("p")
			c.subscribe(qos, "t")
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range n {
					p.publish("t", fmt.Sprint(i), qos)
				}
			}()
			for i := range n {
				c.receive("t", fmt.Sprint(i), qos)
			}
			<-done
		}
	})
}

// What waited for a client, and what it had not acknowledged, comes in order
// when it returns [MQTT-4.6.0-5], [MQTT-4.6.0-1].
func TestOrderAfterAbsence(t *testing.T) {
	stored(t, func(w *world) {
		c, p := w.durable("c"), w.clean("p")
		c.subscribe(2, "t")
		for i := range 3 {
			p.publish("t", fmt.Sprint(i), byte(1+i%2))
			c.open("t", fmt.Sprint(i), byte(1+i%2))
		}
		c.vanish()
		for i := 3; i < 50; i++ {
			p.publish("t", fmt.Sprint(i), byte(1+i%2))
		}
		c = w.durable("c")
		for i := range 50 {
			pk := c.receive("t", fmt.Sprint(i), byte(1+i%2))
			if pk.FixedHeader.Dup != (i < 3) { // [MQTT-3.3.1-1], [MQTT-3.3.1-3]
				w.t.Errorf("message %d has DUP %v", i, pk.FixedHeader.Dup)
			}
		}
	})
}

// PUBACK and PUBREC go out in the order of their PUBLISH packets, and PUBCOMP
// in that of PUBREL: what 4.6 asks of a client the server keeps as well.
func TestAcknowledgementsKeepOrder(t *testing.T) {
	versions(t, func(w *world) {
		p := w.clean("p")
		var all []byte
		const n = 100
		for id := uint16(1); id <= n; id++ {
			raw, _ := wire.AppendPublish(nil, w.version, &wire.Publish{Topic: []byte("t"), QoS: byte(1 + id%2), PacketID: id})
			all = append(all, raw...)
		}
		p.MustSend(all)
		for id := uint16(1); id <= n; id++ {
			if pk := p.next(); pk.PacketID != id || pk.FixedHeader.Type != packets.Puback+byte(id%2) {
				w.t.Fatalf("got %s of %d, want the answer to %d", wire.TypeName(pk.FixedHeader.Type), pk.PacketID, id)
			}
		}
	})
}

// Once a PUBLISH was sent, its message does not expire any more
// [MQTT-4.3.3-7]; and the exchange with a publisher is completed whatever
// becomes of the message [MQTT-4.3.3-13].
func TestExpiryEndsNoExchange(t *testing.T) {
	clock := newClock()
	w := five(t, clock.options())
	c, p := w.durable("c"), w.clean("p")
	c.subscribe(2, "t")
	p.PublishPacket(&wire.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: 2, PacketID: 7, HasExpiry: true, Expiry: 5})
	p.await(packets.Pubrec, 7)
	first := c.open("t", "x", 2)
	clock.forward(time.Minute)
	p.release(7)
	c.vanish()
	c = w.durable("c")
	if pk := c.receive("t", "x", 2); pk.PacketID != first.PacketID {
		t.Errorf("sent again with identifier %d, want %d", pk.PacketID, first.PacketID)
	}
}

// unreachable is a store that fails every commit.
type unreachable struct{ bridge.Store }

func (unreachable) Commit(context.Context, time.Time, []chat.Draft, []bridge.Outcome) error {
	return bridge.ErrUnavailable
}

// What cannot be stored is not acknowledged as if it were: MQTT 5 is told
// [MQTT-4.3.2-4], and 3.1.1, which cannot be, loses its connection, so that it
// sends again [3.1.1: MQTT-4.8.0-2].
func TestStoreOutOfReach(t *testing.T) {
	versions(t, func(w *world) {
		w.Conversation("c1", user)
		c := w.clean("c")
		id := c.Publish("chat/c1/messages", "hi", 1)
		if w.version == 4 {
			if got := all(w.t, c); len(got) > 0 {
				w.t.Errorf("got %x", got)
			}
		} else if code := c.await(packets.Puback, id).ReasonCode; code != 0x83 {
			w.t.Errorf("PUBACK 0x%02x, want 0x83", code)
		}
	}, parleytest.Options{
		Store: func(s bridge.Store) bridge.Store { return unreachable{s} },
		Log:   func(c *bridge.Config) { c.CommitTimeout = 100 * time.Millisecond },
	})
}
