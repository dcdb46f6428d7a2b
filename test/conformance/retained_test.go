package conformance_test

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// flagged wants a PUBLISH with RETAIN as given.
func flagged(t *testing.T, pk packets.Packet, retain bool) {
	t.Helper()
	if pk.FixedHeader.Retain != retain {
		t.Errorf("%q came with RETAIN %v", pk.Payload, pk.FixedHeader.Retain)
	}
}

// The newest message with RETAIN is kept for its topic [MQTT-3.3.1-5],
// [3.1.1: MQTT-3.3.1-5], over restarts too, and sent to who subscribes later,
// with RETAIN [MQTT-3.3.1-9], [3.1.1: MQTT-3.3.1-6], [3.1.1: MQTT-3.3.1-8], at
// the lower QoS.
func TestRetained(t *testing.T) {
	stored(t, func(w *world) {
		p := w.clean("p")
		p.publish("a/1", "replaced", 1, retain)
		p.publish("a/1", "one", 2, retain)
		p.publish("a/2", "two", 0, retain) // QoS 0 is kept as well [3.1.1: MQTT-3.3.1-7]
		p.publish("b", "not matched", 1, retain)
		for range 2 {
			c := w.clean("c")
			c.subscribe(1, "a/+")
			got := map[string]packets.Packet{}
			for range 2 {
				pk := c.next()
				c.complete(pk)
				flagged(w.t, pk, true)
				got[pk.TopicName+"="+string(pk.Payload)] = pk
			}
			one, two := got["a/1=one"], got["a/2=two"]
			if one.FixedHeader.Qos != 1 || two.TopicName == "" || two.FixedHeader.Qos != 0 {
				w.t.Errorf("got %v", got)
			}
			c.quiet()
			w.restart()
		}
	})
}

// A message without RETAIN is not kept, and leaves what is kept alone
// [MQTT-3.3.1-8], [3.1.1: MQTT-3.3.1-12].
func TestNotRetained(t *testing.T) {
	versions(t, func(w *world) {
		p := w.clean("p")
		p.publish("a", "kept", 1, retain)
		p.publish("a", "passing", 1)
		p.publish("a", "", 1)
		p.publish("b", "passing", 1)
		c := w.clean("c")
		c.subscribe(1, "a", "b")
		c.receive("a", "kept", 1)
		c.quiet()
	})
}

// An empty message with RETAIN is delivered like any other and removes what
// is kept [MQTT-3.3.1-6], [3.1.1: MQTT-3.3.1-10]; it is not kept itself
// [MQTT-3.3.1-7], [3.1.1: MQTT-3.3.1-11].
func TestEmptyRetainedRemoves(t *testing.T) {
	stored(t, func(w *world) {
		p, live := w.clean("p"), w.clean("live")
		for qos := range byte(3) {
			topic := fmt.Sprint("t/", qos)
			p.publish(topic, "kept", 1, retain)
			live.subscribe(2, topic)
			live.receive(topic, "kept", 1)
			p.publish(topic, "", qos, retain)
			flagged(w.t, live.receive(topic, "", qos), false)
		}
		p.publish("t/3", "", 1, retain) // of nothing
		p.publish("t/end", "end", 1, retain)
		c := w.clean("c")
		c.subscribe(1, "t/#")
		c.receive("t/end", "end", 1)
		c.quiet()
	})
}

// Retain Handling 0 sends what is kept at every SUBSCRIBE [MQTT-3.3.1-9],
// [MQTT-3.8.4-4], 1 only for a new subscription [MQTT-3.3.1-10], 2 never
// [MQTT-3.3.1-11].
func TestRetainHandling(t *testing.T) {
	w := five(t)
	w.clean("p").publish("t", "kept", 1, retain)
	c := w.durable("c")
	subscribe := func(options byte, want bool) {
		t.Helper()
		c.subscribeAs(0, sub{"t", 1 | options})
		if want {
			flagged(t, c.receive("t", "kept", 1), true)
		}
		c.quiet()
	}
	subscribe(noRetained, false)
	subscribe(ifNew, false) // it is not new
	subscribe(0, true)
	subscribe(0, true)
	c.Disconnect()
	c = w.durable("c")
	subscribe(ifNew, false) // nor with the session resumed
	c.unsubscribe("t")
	subscribe(ifNew, true)
	subscribe(ifNew, false)
	c.unsubscribe("t")
	subscribe(noRetained, false)
}

// In 3.1.1 every SUBSCRIBE sends what is kept, also one that replaces
// [3.1.1: MQTT-3.8.4-3].
func TestRetainedAgainIn311(t *testing.T) {
	w := newWorld(t, "sqlite", 4)
	w.clean("p").publish("t", "kept", 1, retain)
	c := w.clean("c")
	for range 2 {
		c.subscribe(1, "t")
		flagged(t, c.receive("t", "kept", 1), true)
	}
}

// What comes by a subscription that stood has RETAIN 0 [MQTT-3.3.1-12],
// [3.1.1: MQTT-3.3.1-9], unless it asked for the flag as it was published
// [MQTT-3.3.1-13].
func TestRetainAsPublished(t *testing.T) {
	versions(t, func(w *world) {
		p, plain := w.clean("p"), w.durable("plain")
		plain.subscribe(1, "t")
		var as *client
		if w.version == 5 {
			as = w.durable("as")
			as.subscribeAs(0, sub{"t", 1 | asPublished})
		}
		for _, away := range []bool{false, true} {
			if away { // what is kept for a session is such a message too
				plain.Disconnect()
				if as != nil {
					as.Disconnect()
				}
			}
			p.publish("t", "with", 1, retain)
			p.publish("t", "without", 1)
			if away {
				plain = w.durable("plain")
				if as != nil {
					as = w.durable("as")
				}
			}
			flagged(w.t, plain.receive("t", "with", 1), false)
			flagged(w.t, plain.receive("t", "without", 1), false)
			if as != nil {
				flagged(w.t, as.receive("t", "with", 1), true)
				flagged(w.t, as.receive("t", "without", 1), false)
			}
		}
	})
}

// What is kept carries the identifier of the subscription that asked for it
// [MQTT-3.3.4-3].
func TestRetainedHasSubscriptionIdentifier(t *testing.T) {
	w := five(t)
	w.clean("p").publish("t", "kept", 1, retain)
	c := w.clean("c")
	c.subscribeAs(3, sub{"t", 1})
	c.receive("t", "kept", 1)
	c.subscribeAs(9, sub{"+", 1})
	if ids := c.receive("t", "kept", 1).Properties.SubscriptionIdentifier; len(ids) != 1 || ids[0] != 9 {
		t.Errorf("identifiers %v, want 9", ids)
	}
	c.quiet()
}

// A message that may not be published is not kept either.
func TestRefusedIsNotRetained(t *testing.T) {
	versions(t, func(w *world) {
		p := w.connectWith("p", tokenFor(w.t, "mine/#"))
		p.attempt("other", "no", 1, retain)
		p.publish("mine/x", "yes", 1, retain)
		c := w.clean("c")
		c.subscribe(1, "other", "mine/#")
		c.receive("mine/x", "yes", 1)
		c.quiet()
	})
}

// What is published once the subscription stands comes by it alone, not as
// retained as well.
func TestRetainedComesOnce(t *testing.T) {
	versions(t, func(w *world) {
		p := w.clean("p")
		for name, c := range map[string]*client{"clean": w.clean("c"), "durable": w.durable("d")} {
			for i := range 20 {
				topic := fmt.Sprint(name, "/", i)
				c.subscribe(1, topic)
				p.publish(topic, "x", 1, retain)
				flagged(w.t, c.receive(topic, "x", 1), false)
			}
			c.nothingFrom(p)
		}
	})
}
