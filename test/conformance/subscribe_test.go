package conformance_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// A SUBACK comes for every SUBSCRIBE [MQTT-3.8.4-1], with its identifier
// [MQTT-3.8.4-2], [MQTT-2.2.1-6], a code for each filter [MQTT-3.8.4-6] in
// their order [MQTT-3.9.3-1], which grants a QoS or refuses [MQTT-3.8.4-7],
// [MQTT-3.9.3-2], [3.1.1: MQTT-3.9.3-2].
func TestSuback(t *testing.T) {
	versions(t, func(w *world) {
		c := w.connect(mqttest.Options{ClientID: "c", Clean: true, User: user, Password: tokenFor(w.t, "a/#")})
		c.MustSend(subscribePacket(w.version, 65535, 0, sub{"a/0", 0}, sub{"b", 1}, sub{"a/1", 1}, sub{"a/#/b", 1},
			sub{"$SYS/#", 0}, sub{"a/2", 2}, sub{"a/0", 2}))
		ack := c.await(packets.Suback, 65535)
		want := []byte{0, 0x87, 1, 0x8F, 0x87, 2, 2}
		if w.version == 4 {
			want = []byte{0, 0x80, 1, 0x80, 0x80, 2, 2}
		}
		if !bytes.Equal(ack.ReasonCodes, want) {
			w.t.Errorf("SUBACK %x, want %x", ack.ReasonCodes, want)
		}
		// The filters of one packet are as those of many [MQTT-3.8.4-5],
		// [3.1.1: MQTT-3.8.4-4]: the last for a/0 holds.
		p := w.clean("p")
		p.publish("b", "not granted", 1)
		p.publish("a/0", "x", 2)
		c.receive("a/0", "x", 2)
		c.quiet()
	})
}

// A message comes at the lower of the QoS it was published with and the QoS
// that was granted [MQTT-3.8.4-8], [3.1.1: MQTT-3.8.4-6].
func TestGrantedQoSLimits(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		for granted := range byte(3) {
			for sent := range byte(3) {
				topic := fmt.Sprintf("%d/%d", granted, sent)
				c.subscribe(granted, topic)
				p.publish(topic, "x", sent)
				c.receive(topic, "x", min(granted, sent))
			}
		}
		c.quiet()
	})
}

// Overlapping subscriptions get one copy, at the highest QoS of them
// [MQTT-3.3.4-2], [3.1.1: MQTT-3.3.5-1].
func TestOverlappingSubscriptions(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		filters := []string{"a/+", "a/b", "#", "+/b", "a/b/#"}
		for _, highest := range filters {
			c.subscribe(0, filters...)
			c.subscribe(2, highest)
			for qos := range byte(3) {
				p.publish("a/b", "x", qos)
				c.receive("a/b", "x", qos)
			}
		}
		c.unsubscribe("#") // takes what comes now as well
		c.nothingFrom(p)
	})
}

// A message carries the identifiers of all subscriptions that it matched
// [MQTT-3.3.4-3], [MQTT-3.3.4-4], and only those.
func TestSubscriptionIdentifiers(t *testing.T) {
	w := five(t)
	c, p := w.durable("c"), w.clean("p")
	c.subscribeAs(1, sub{"a/+", 0})
	c.subscribeAs(268435455, sub{"a/b", 1})
	c.subscribeAs(0, sub{"#", 2})
	c.subscribeAs(128, sub{"a/b/#", 1}, sub{"other", 1})
	ids := func(pk packets.Packet, want ...int) {
		t.Helper()
		got := slices.Clone(pk.Properties.SubscriptionIdentifier)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("on %s: identifiers %v, want %v", pk.TopicName, got, want)
		}
	}
	p.publish("a/b", "x", 2)
	ids(c.receive("a/b", "x", 2), 1, 128, 268435455)
	p.publish("none", "x", 2)
	ids(c.receive("none", "x", 2))
	c.subscribeAs(7, sub{"a/b", 1}) // replaces it with its identifier
	c.subscribeAs(0, sub{"a/+", 1}) // and without one
	p.publish("a/b", "x", 1)
	ids(c.receive("a/b", "x", 1), 7, 128)
	c.Disconnect()
	p.publish("other", "x", 1)
	c = w.durable("c") // they belong to the session's subscriptions
	ids(c.receive("other", "x", 1), 128)
}

// With No Local a client does not get what it sent itself; without it, it
// does [MQTT-3.8.3-3]. 3.1.1 has no such option.
func TestNoLocal(t *testing.T) {
	w := five(t)
	c, p := w.durable("c"), w.durable("p")
	c.subscribeAs(0, sub{"t", 1 | noLocal}, sub{"u", 1})
	p.subscribeAs(0, sub{"t", 1 | noLocal})
	c.publish("t", "own", 1)
	p.receive("t", "own", 1)
	c.publish("u", "own", 1)
	c.receive("u", "own", 1)
	p.publish("t", "of another", 1)
	c.receive("t", "of another", 1)
	// It is the client that counts, not the connection.
	c.Disconnect()
	c = w.durable("c")
	c.publish("t", "own again", 1)
	p.receive("t", "own again", 1)
	c.nothingFrom(p)
	// An overlapping subscription without it gets the message.
	c.subscribeAs(0, sub{"+", 0})
	c.publish("t", "by the other", 1)
	c.receive("t", "by the other", 0)
}

// A SUBSCRIBE for a filter that is there replaces its subscription
// [MQTT-3.8.4-3], [3.1.1: MQTT-3.8.4-3]: one copy, at the new QoS.
func TestSubscriptionIsReplaced(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		for _, qos := range []byte{2, 0, 1} {
			c.subscribe(qos, "t")
			p.publish("t", "x", 2)
			c.receive("t", "x", qos)
		}
		c.nothingFrom(p)
	})
}

// Nothing is lost while a subscription is replaced [MQTT-3.8.4-4].
func TestNothingIsLostWhileReplaced(t *testing.T) {
	versions(t, func(w *world) {
		const n = 200
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "t")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range n {
				p.publish("t", fmt.Sprint(i), 1)
			}
		}()
		for i := range n {
			if i%20 == 0 {
				c.subscribe(1, "t")
			}
			c.receive("t", fmt.Sprint(i), 1)
		}
		<-done
	})
}

// An UNSUBSCRIBE removes the filters that are the same letter by letter
// [MQTT-3.10.4-1], is always answered [MQTT-3.10.4-4] with its identifier
// [MQTT-3.10.4-5], [MQTT-2.2.1-6], for all its filters at once
// [MQTT-3.10.4-6] in their order [MQTT-3.11.3-1], [MQTT-3.11.3-2].
func TestUnsubscribe(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "a/+", "a/b", "a/B")
		ack := c.unsubscribe("a/b", "a/c", "+/+", "a/+", "a/b")
		want := []byte{0, 0x11, 0x11, 0, 0x11}
		if w.version == 4 {
			want = nil
		}
		if !bytes.Equal(ack.ReasonCodes, want) {
			w.t.Errorf("UNSUBACK %x, want %x", ack.ReasonCodes, want)
		}
		p.publish("a/b", "not any more", 1) // [MQTT-3.10.4-2]
		p.publish("a/B", "still", 1)
		c.receive("a/B", "still", 1)
		c.quiet()
	})
}

// What was under way at QoS 1 and 2 when its subscription ended is completed
// [MQTT-3.10.4-3], on this connection or on the next [MQTT-4.4.0-1].
func TestDeliveryEndsAfterUnsubscribe(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.durable("c"), w.clean("p")
		c.subscribe(2, "t")
		p.publish("t", "two", 2)
		p.publish("t", "one", 1)
		two, one := c.open("t", "two", 2), c.open("t", "one", 1)
		c.unsubscribe("t")
		c.complete(two)
		c.Disconnect()
		c = w.durable("c")
		if again := c.receive("t", "one", 1); again.PacketID != one.PacketID || !again.FixedHeader.Dup {
			w.t.Errorf("sent again with identifier %d and DUP %v", again.PacketID, again.FixedHeader.Dup)
		}
		c.quiet()
	})
}

// Only what the token opens is granted, and a filter must be opened whole.
func TestRefusedFilters(t *testing.T) {
	versions(t, func(w *world) {
		c := w.connect(mqttest.Options{ClientID: "c", Clean: true, User: user, Password: parleytest.Token(w.t,
			acl.Claims{Subject: user, TTL: time.Hour, Sub: []string{"d/+/in", "s/#"}})})
		want := map[string]bool{"d/1/in": true, "d/+/in": true, "s": true, "s/#": true, "s/a/+": true, "$share/g/s/a": true,
			"d/#": false, "d/1": false, "#": false, "+/1/in": false, "$SYS/s": false, "$share/g/#": false, "d/+/out": false}
		for filter, granted := range want {
			code := c.suback(0, sub{filter, 1}).ReasonCodes[0]
			refusal := byte(0x87)
			if w.version == 4 {
				refusal = 0x80
			}
			if granted && code != 1 || !granted && code != refusal {
				w.t.Errorf("%s: SUBACK 0x%02x, granted should be %v", filter, code, granted)
			}
		}
	})
}
