package conformance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// What a durable session must get while it is away is kept for it, at QoS 1
// and 2 [MQTT-4.5.0-1], [MQTT-3.1.2-23], [3.1.1: MQTT-3.1.2-5]; it outlives
// the server.
func TestKeptWhileAway(t *testing.T) {
	stored(t, func(w *world) {
		c, p := w.durable("c"), w.clean("p")
		c.subscribe(2, "a/+", "b")
		c.Disconnect()
		p.publish("a/1", "one", 1)
		p.publish("a/2", "two", 2)
		p.publish("other", "not subscribed", 1)
		w.restart()
		p = w.clean("p")
		p.publish("b", "three", 1)
		c = w.durable("c")
		if !c.ack.SessionPresent {
			w.t.Fatal("the session is gone")
		}
		c.receive("a/1", "one", 1)
		c.receive("a/2", "two", 2)
		c.receive("b", "three", 1)
		c.nothingFrom(p)
		p.publish("a/3", "four", 1) // the subscriptions are there as well
		c.receive("a/3", "four", 1)
	})
}

// QoS 0 is not kept: a server may do so or not.
func TestQoS0IsNotKept(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.durable("c"), w.clean("p")
		c.subscribe(2, "t")
		c.subscribe(0, "low")
		c.Disconnect()
		p.publish("t", "published at 0", 0)
		p.publish("low", "granted 0", 1)
		p.publish("t", "kept", 1)
		c = w.durable("c")
		c.receive("t", "kept", 1)
		c.nothingFrom(p)
	})
}

// A clean start discards the session that was there, and all that waited for
// it [MQTT-3.1.2-4], [3.1.1: MQTT-3.1.2-6].
func TestCleanStartDiscards(t *testing.T) {
	stored(t, func(w *world) {
		c, p := w.durable("c"), w.clean("p")
		c.subscribe(1, "t")
		p.publish("t", "under way", 1)
		c.open("t", "under way", 1)
		c.vanish()
		p.publish("t", "waiting", 1)
		c = w.connect(mqttest.Options{ClientID: "c", Clean: true, Expiry: 3600})
		c.nothingFrom(p)
		p.publish("t", "no subscription", 1)
		c.nothingFrom(p)
	})
}

// A session that is not durable ends with its connection
// [MQTT-4.1.0-2], [3.1.1: MQTT-3.1.2-6]; while that is open it stands
// [MQTT-4.1.0-1].
func TestSessionEndsWithItsConnection(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "t")
		c.vanish()
		p.publish("t", "for nobody", 1)
		c = w.durable("c")
		if c.ack.SessionPresent {
			w.t.Error("the session is still there")
		}
		c.nothingFrom(p)
	})
}

// A session ends when its expiry interval has passed after the end of its
// connection [MQTT-4.1.0-2], and not before [MQTT-3.1.2-23]. A DISCONNECT may
// set another interval.
func TestSessionExpiry(t *testing.T) {
	for _, tt := range []struct {
		name            string
		connect, goodby uint32 // goodby 0: DISCONNECT says nothing
		away            time.Duration
		present         bool
	}{
		{"in time", 60, 0, 50 * time.Second, true},
		{"too late", 60, 0, 70 * time.Second, false},
		{"shortened", 60, 10, 50 * time.Second, false},
		{"prolonged", 10, 60, 50 * time.Second, true},
		{"never", 0xFFFFFFFF, 0, 20 * 365 * 24 * time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := newClock()
			w := five(t, clock.options())
			c := w.connect(mqttest.Options{ClientID: "c", Expiry: tt.connect})
			c.subscribe(1, "t")
			goodby := packet(disconnectByte)
			if tt.goodby > 0 {
				goodby = packet(disconnectByte, 0, props{sessionExpiry, tt.goodby})
			}
			c.MustSend(goodby)
			c.closed(0)
			clock.forward(tt.away)
			c = w.try(mqttest.Options{ClientID: "c", Expiry: 60, User: user, Password: parleytest.Token(t,
				acl.Claims{Subject: user, TTL: 30 * 365 * 24 * time.Hour})})
			if c.ack.ReasonCode != 0 || c.ack.SessionPresent != tt.present {
				t.Errorf("CONNACK 0x%02x, Session Present %v", c.ack.ReasonCode, c.ack.SessionPresent)
			}
		})
	}
}

// A session that was to end with its connection cannot be kept by DISCONNECT
// (section 3.14.2.2.2).
func TestDisconnectCannotKeepASession(t *testing.T) {
	c := five(t).clean("c")
	c.MustSend(packet(disconnectByte, 0, props{sessionExpiry, uint32(60)}))
	c.closed(0x82)
}

// Retained messages are no part of a session: they stay when it ends
// [3.1.1: MQTT-3.1.2-7].
func TestRetainedOutlivesTheSession(t *testing.T) {
	versions(t, func(w *world) {
		p := w.clean("p")
		p.publish("t", "stays", 1, retain)
		p.Disconnect()
		w.clean("p").Disconnect()
		c := w.clean("c")
		c.subscribe(1, "t")
		c.receive("t", "stays", 1)
	})
}

// Two sessions with the same filter each get the message, whatever the other
// does.
func TestSessionsAreApart(t *testing.T) {
	versions(t, func(w *world) {
		p := w.clean("p")
		var clients []*client
		for i := range 3 {
			c := w.durable(fmt.Sprint("c", i))
			c.subscribe(byte(i), "t")
			clients = append(clients, c)
		}
		p.publish("t", "x", 2)
		for i, c := range clients {
			c.receive("t", "x", byte(i))
		}
		clients[0].unsubscribe("t")
		clients[1].Disconnect()
		p.publish("t", "y", 2)
		clients[0].nothingFrom(p)
		clients[2].receive("t", "y", 2)
		w.durable("c1").receive("t", "y", 1)
	})
}

// Identifiers of deliveries and of sends are two spaces [MQTT-2.2.1-4]: one
// may be in both at once.
func TestIdentifierSpacesAreApart(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(2, "t")
		p.publish("t", "to c", 2)
		pk := c.open("t", "to c", 2)
		c.publish("u", "from c", 2, func(pub *wire.Publish) { pub.PacketID = pk.PacketID })
		c.complete(pk)
		c.quiet()
	})
}

// A session may be resumed with the other version.
func TestResumedWithAnotherVersion(t *testing.T) {
	versions(t, func(w *world) {
		other := 9 - w.version
		c, p := w.durable("c"), w.clean("p")
		c.subscribe(2, "t")
		p.publish("t", "under way", 2)
		first := c.open("t", "under way", 2)
		c.vanish()
		p.publish("t", "waits", 1)
		c = w.connect(mqttest.Options{Version: other, ClientID: "c", Expiry: 3600})
		if !c.ack.SessionPresent {
			w.t.Fatal("the session is gone")
		}
		if pk := c.receive("t", "under way", 2); pk.PacketID != first.PacketID || !pk.FixedHeader.Dup {
			w.t.Errorf("sent again with identifier %d and DUP %v", pk.PacketID, pk.FixedHeader.Dup)
		}
		c.receive("t", "waits", 1)
		c.quiet()
	})
}

// The Receive Maximum of the new connection counts what is sent again
// [MQTT-3.3.4-9].
func TestResumedWithLessRoom(t *testing.T) {
	w := five(t)
	c, p := w.durable("c"), w.clean("p")
	c.subscribe(2, "t")
	for i := range 4 {
		p.publish("t", fmt.Sprint(i), 2)
	}
	c.Ack(packets.Pubrec, c.open("t", "0", 2).PacketID)
	for i := 1; i < 4; i++ {
		c.open("t", fmt.Sprint(i), 2)
	}
	c.vanish()
	c = w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, ReceiveMaximum: 2})
	rel := c.next()
	if rel.FixedHeader.Type != packets.Pubrel {
		t.Fatalf("got %s, want PUBREL", wire.TypeName(rel.FixedHeader.Type))
	}
	one := c.open("t", "1", 2)
	c.quiet()
	c.Ack(packets.Pubcomp, rel.PacketID)
	c.receive("t", "2", 2)
	c.receive("t", "3", 2)
	c.complete(one)
	c.quiet()
}
