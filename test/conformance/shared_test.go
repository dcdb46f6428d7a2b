package conformance_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// $share/<name>/<filter> is the one form: a name without wildcards, and a
// filter behind it [MQTT-4.8.2-1], [MQTT-4.8.2-2].
func TestSharedFilters(t *testing.T) {
	versions(t, func(w *world) {
		c := w.clean("c")
		for filter, valid := range map[string]bool{
			"$share/g/t": true, "$share/g/t/#": true, "$share/g/+": true, "$share/g/#": true, "$share/g//t": true,
			"$share": false, "$share/": false, "$share/g": false, "$share/g/": false, "$share//t": false,
			"$share/+/t": false, "$share/#": false, "$share/a#/t": false, "$share/g/t#": false, "$share/g/$SYS/x": false,
		} {
			code := c.suback(0, sub{filter, 1}).ReasonCodes[0]
			switch {
			case valid && code != 1:
				w.t.Errorf("%s: SUBACK 0x%02x, want QoS 1", filter, code)
			case !valid && code < 0x80:
				w.t.Errorf("%s was granted: 0x%02x", filter, code)
			}
		}
	})
}

// counted takes n messages from the members, whoever gets them, and wants
// each message once. It answers how many each member got.
func counted(t *testing.T, n int, members ...*client) map[*client]int {
	t.Helper()
	type got struct {
		c  *client
		pk packets.Packet
	}
	seen, by := make(map[string]bool), make(map[*client]int)
	// A PINGRESP may overtake what the server has for a client and has not
	// written; behind the second one it is there.
	for _, c := range slices.Concat(members, members) {
		c.MustSend([]byte{pingreqByte, 0})
		for pk := c.next(); pk.FixedHeader.Type != packets.Pingresp; pk = c.next() {
			g := got{c, pk}
			if seen[string(g.pk.Payload)] {
				t.Errorf("%q came twice", g.pk.Payload)
			}
			seen[string(pk.Payload)] = true
			by[c]++
			c.complete(pk)
		}
	}
	if len(seen) != n {
		t.Errorf("%d messages came, want %d", len(seen), n)
	}
	return by
}

// A message goes to one member of each group, and to those who subscribe for
// themselves.
func TestSharedOneCopy(t *testing.T) {
	versions(t, func(w *world) {
		for qos := range byte(3) {
			w.t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
				const n = 20
				p := w.clean("p")
				a, b, other, alone := w.clean("a"), w.clean("b"), w.clean("other"), w.clean("alone")
				a.subscribe(qos, "$share/g/t/+", "end")
				b.subscribe(qos, "$share/g/t/+", "end")
				other.subscribe(qos, "$share/h/t/+", "end")
				alone.subscribe(qos, "t/+", "end")
				for i := range n {
					p.publish("t/x", fmt.Sprint(i), qos)
				}
				for i := range n {
					other.receive("t/x", fmt.Sprint(i), qos)
					alone.receive("t/x", fmt.Sprint(i), qos)
				}
				by := counted(t, n, a, b)
				if by[a] != n/2 || by[b] != n/2 { // in turn
					t.Errorf("the members got %d and %d of %d", by[a], by[b], n)
				}
				for _, c := range []*client{a, b, other, alone} {
					c.Disconnect()
				}
			})
		}
	})
}

// A member gets its messages at the QoS that it was granted [MQTT-4.8.2-3].
func TestSharedQoS(t *testing.T) {
	versions(t, func(w *world) {
		p := w.clean("p")
		for granted := range byte(3) {
			c := w.clean("c")
			c.subscribe(granted, "$share/g/t")
			for sent := range byte(3) {
				p.publish("t", "x", sent)
				c.receive("t", "x", min(granted, sent))
			}
			c.Disconnect()
		}
	})
}

// A group and a filter make a shared subscription: another group or another
// filter is another one.
func TestSharedByGroupAndFilter(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "$share/g/t", "$share/h/t")
		p.publish("t", "x", 1)
		c.receive("t", "x", 1)
		c.receive("t", "x", 1)
		c.unsubscribe("$share/g/t")
		p.publish("t", "y", 1)
		c.receive("t", "y", 1)
		c.nothingFrom(p)
	})
}

// What is retained does not come by a shared subscription (section 4.8.2).
func TestSharedGetsNothingRetained(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		p.publish("t", "kept", 1, retain)
		c.subscribe(1, "$share/g/t")
		c.nothingFrom(p)
	})
}

// A QoS 2 message that is under way to a member when its connection ends is
// completed with that member [MQTT-4.8.2-4], and goes to no other, also when
// the member's session is ended [MQTT-4.8.2-5].
func TestSharedQoS2StaysWithItsMember(t *testing.T) {
	for _, returns := range []bool{true, false} {
		t.Run(fmt.Sprintf("returns %v", returns), func(t *testing.T) {
			stored(t, func(w *world) {
				p, a := w.clean("p"), w.durable("a")
				a.subscribe(2, "$share/g/t")
				p.publish("t", "x", 2)
				first := a.open("t", "x", 2)
				b := w.durable("b")
				b.subscribe(2, "$share/g/t")
				a.vanish()
				b.nothingFrom(p)
				if returns {
					a = w.durable("a")
					pk := a.receive("t", "x", 2)
					if pk.PacketID != first.PacketID || !pk.FixedHeader.Dup {
						w.t.Errorf("identifier %d, DUP %v; want %d again", pk.PacketID, pk.FixedHeader.Dup, first.PacketID)
					}
				} else {
					a = w.clean("a")
				}
				a.nothingFrom(p)
				b.nothingFrom(p)
			})
		})
	}
}

// A message that a member refuses is discarded, and goes to no other
// [MQTT-4.8.2-6].
func TestSharedRefusedByItsMember(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			w := five(t)
			p, a := w.clean("p"), w.durable("a")
			a.subscribe(qos, "$share/g/t")
			p.publish("t", "x", qos)
			pk := a.open("t", "x", qos)
			b := w.clean("b")
			b.subscribe(qos, "$share/g/t")
			a.MustSend(packet((packets.Puback+qos-1)<<4, pk.PacketID, 0x80))
			a.quiet()
			a.vanish()
			b.nothingFrom(p)
		})
	}
}

// What a member had not acknowledged at QoS 1 when it went, or had no room
// for, goes to another that is connected.
func TestSharedGoesToAnother(t *testing.T) {
	versions(t, func(w *world) {
		p := w.clean("p")
		a := w.connect(mqttest.Options{ClientID: "a", Clean: true, ReceiveMaximum: 1})
		a.subscribe(1, "$share/g/t")
		p.publish("t", "0", 1)
		a.open("t", "0", 1)
		b := w.clean("b")
		b.subscribe(1, "$share/g/t")
		a.vanish()
		b.receive("t", "0", 1)
		p.publish("t", "1", 1)
		b.receive("t", "1", 1)
		b.nothingFrom(p)
	})
}

// A member that is away gets something only when no member is connected.
func TestSharedPrefersWhoIsThere(t *testing.T) {
	stored(t, func(w *world) {
		p, a := w.clean("p"), w.durable("a")
		a.subscribe(1, "$share/g/t")
		b := w.clean("b")
		b.subscribe(1, "$share/g/t")
		a.Disconnect()
		for i := range 4 {
			p.publish("t", fmt.Sprint(i), 1)
			b.receive("t", fmt.Sprint(i), 1)
		}
		b.Disconnect()
		p.publish("t", "kept", 1)
		a = w.durable("a")
		a.receive("t", "kept", 1)
		a.nothingFrom(p)
	})
}

// A client may be a member and subscribe for itself: it gets its own copy, and
// a second one when it is its turn (section 4.8.2), each with the identifier
// of its subscription [MQTT-3.3.4-3].
func TestSharedBesideItsOwn(t *testing.T) {
	w := five(t)
	c, p := w.clean("c"), w.clean("p")
	c.subscribeAs(3, sub{"t", 1})
	c.subscribeAs(9, sub{"$share/g/t", 1})
	p.publish("t", "x", 1)
	var ids []int
	for range 2 {
		ids = append(ids, c.receive("t", "x", 1).Properties.SubscriptionIdentifier...)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []int{3, 9}) {
		t.Errorf("identifiers %v, want one of each copy", ids)
	}
	c.nothingFrom(p)
}

// What went to another does not come again to a durable member that returns.
func TestSharedGoesOnce(t *testing.T) {
	stored(t, func(w *world) {
		p, a, b := w.clean("p"), w.durable("a"), w.clean("b")
		a.subscribe(1, "$share/g/t")
		p.publish("t", "x", 1)
		a.open("t", "x", 1)
		b.subscribe(1, "$share/g/t")
		a.vanish()
		b.receive("t", "x", 1)
		a = w.durable("a")
		a.nothingFrom(p)
		b.nothingFrom(p)
	})
}
