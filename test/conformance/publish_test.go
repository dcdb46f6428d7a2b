package conformance_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// Each QoS has its answer, with the identifier of its PUBLISH [MQTT-3.3.4-1],
// [MQTT-2.2.1-5], [3.1.1: MQTT-3.3.4-1].
func TestAnswerByQoS(t *testing.T) {
	versions(t, func(w *world) {
		c := w.clean("c")
		c.PublishPacket(&wire.Publish{Topic: []byte("t")})
		c.quiet()
		c.PublishPacket(&wire.Publish{Topic: []byte("t"), QoS: 1, PacketID: 65535})
		c.await(packets.Puback, 65535)
		c.PublishPacket(&wire.Publish{Topic: []byte("t"), QoS: 2, PacketID: 65535})
		c.await(packets.Pubrec, 65535)
		c.release(65535)
		c.quiet()
	})
}

// A message goes on with its properties, unaltered.
func TestPropertiesPassThrough(t *testing.T) {
	full := func(pub *wire.Publish) {
		pub.PayloadIsText = true                              // [MQTT-3.3.2-4]
		pub.ResponseTopic = []byte("answers/to me")           // [MQTT-3.3.2-15]
		pub.CorrelationData = []byte{0, 1, 0xFF}              // [MQTT-3.3.2-16]
		pub.ContentType = []byte("text/plain; charset=utf-8") // [MQTT-3.3.2-20]
		for _, kv := range []string{"b1", "a2", "b3", "b1"} { // all, in order: [MQTT-3.3.2-17], [MQTT-3.3.2-18]
			pub.User = wire.AppendUserProp(pub.User, kv[:1], kv[1:])
		}
	}
	for _, qos := range []byte{0, 1, 2} {
		for _, how := range []string{"live", "kept", "retained"} {
			t.Run(fmt.Sprintf("%s at QoS %d", how, qos), func(t *testing.T) {
				w := five(t)
				p, c, old := w.clean("p"), w.durable("c"), w.connect(mqttest.Options{Version: 4, ClientID: "old", Clean: true})
				old.subscribe(qos, "t")
				mods := []func(*wire.Publish){full}
				switch how {
				case "live":
					c.subscribe(qos, "t")
					p.publish("t", "x", qos, mods...)
				case "kept":
					if qos == 0 {
						return // is not kept
					}
					c.subscribe(qos, "t")
					c.Disconnect()
					p.publish("t", "x", qos, mods...)
					c = w.durable("c")
				case "retained":
					p.publish("t", "x", qos, append(mods, retain)...)
					c.subscribe(qos, "t")
				}
				got := c.receive("t", "x", qos).Properties
				want := packets.Properties{PayloadFormat: 1, PayloadFormatFlag: true, ResponseTopic: "answers/to me",
					CorrelationData: []byte{0, 1, 0xFF}, ContentType: "text/plain; charset=utf-8",
					User: []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "3"}, {Key: "b", Val: "1"}}}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v\nwant %+v", got, want)
				}
				old.receive("t", "x", qos) // 3.1.1 has none
			})
		}
	}
}

// A property that was not there is not made up.
func TestNoPropertiesAreMadeUp(t *testing.T) {
	w := five(t)
	c := w.clean("c")
	c.subscribe(1, "t")
	w.clean("p").publish("t", "x", 1)
	if got := c.receive("t", "x", 1).Properties; !reflect.DeepEqual(got, packets.Properties{}) {
		t.Errorf("got %+v", got)
	}
	w.connect(mqttest.Options{Version: 4, ClientID: "old", Clean: true}).publish("t", "y", 1)
	if got := c.receive("t", "y", 1).Properties; !reflect.DeepEqual(got, packets.Properties{}) {
		t.Errorf("from 3.1.1: got %+v", got)
	}
}

// DUP and RETAIN belong to the exchange between one client and the server:
// what comes in with them goes out without [MQTT-3.3.1-3],
// [3.1.1: MQTT-3.3.1-3], [3.1.1: MQTT-3.3.1-9].
func TestFlagsAreNotPassedOn(t *testing.T) {
	versions(t, func(w *world) {
		c := w.clean("c")
		c.subscribe(2, "t")
		p := w.clean("p")
		for _, qos := range []byte{1, 2} {
			p.publish("t", "x", qos, func(pub *wire.Publish) { pub.DUP, pub.Retain = true, true })
			if pk := c.receive("t", "x", qos); pk.FixedHeader.Dup || pk.FixedHeader.Retain {
				w.t.Errorf("QoS %d: DUP %v, RETAIN %v", qos, pk.FixedHeader.Dup, pk.FixedHeader.Retain)
			}
		}
	})
}

// The message expiry interval goes on, less the time that the message waited
// [MQTT-3.3.2-6]; what has expired before its delivery began is not delivered
// [MQTT-3.3.2-5].
func TestMessageExpiry(t *testing.T) {
	expiry := func(seconds uint32) func(*wire.Publish) {
		return func(pub *wire.Publish) { pub.HasExpiry, pub.Expiry = true, seconds }
	}
	for _, how := range []string{"kept", "retained"} {
		t.Run(how, func(t *testing.T) {
			parleytest.Each(t, func(t *testing.T, backend string) {
				clock := newClock()
				w := newWorld(t, backend, 5, clock.options())
				c, p := w.durable("c"), w.clean("p")
				mods := []func(*wire.Publish){}
				if how == "retained" {
					mods = append(mods, retain)
				} else {
					c.subscribe(1, "t/#")
				}
				c.Disconnect()
				p.publish("t/short", "gone", 1, append(mods, expiry(5))...)
				p.publish("t/long", "there", 1, append(mods, expiry(60))...)
				p.publish("t/none", "for ever", 1, mods...)
				clock.forward(10 * time.Second)
				c = w.durable("c")
				if how == "retained" {
					c.subscribe(1, "t/#")
				}
				for range 2 {
					pk := c.next()
					c.complete(pk)
					switch want := pk.Properties.MessageExpiryInterval; {
					case pk.TopicName == "t/long" && want == 50:
					case pk.TopicName == "t/none" && want == 0:
					default:
						t.Errorf("got %q on %s with an expiry of %d", pk.Payload, pk.TopicName, want)
					}
				}
				c.nothingFrom(p)
			})
		})
	}
}

// A live message keeps its interval, to the second.
func TestMessageExpiryOfLiveMessage(t *testing.T) {
	clock := newClock()
	w := five(t, clock.options())
	c := w.clean("c")
	c.subscribe(1, "t")
	w.clean("p").publish("t", "x", 1, func(pub *wire.Publish) { pub.HasExpiry, pub.Expiry = true, 60 })
	if got := c.receive("t", "x", 1).Properties.MessageExpiryInterval; got != 60 { // [MQTT-3.3.2-6]
		t.Errorf("got an expiry of %d", got)
	}
}

// Who may not publish is told so in MQTT 5. 3.1.1 cannot say it: there the
// acknowledgement comes as for others [3.1.1: MQTT-3.3.5-2]. Nothing is
// delivered, and the connection stays.
func TestRefusedPublish(t *testing.T) {
	versions(t, func(w *world) {
		c := w.clean("c")
		c.subscribe(2, "#")
		limited := w.connect(mqttest.Options{ClientID: "p", Clean: true, User: user, Password: parleytest.Token(w.t,
			acl.Claims{Subject: user, TTL: time.Hour, Pub: []string{"mine/+", "end/#"}})})
		for _, topic := range []string{"mine", "mine/a/b", "other", "$SYS/x", "$share/g/t"} {
			for _, qos := range []byte{0, 1, 2} {
				want := byte(0x87)
				if w.version == 4 || qos == 0 {
					want = 0
				}
				if got := limited.attempt(topic, "no", qos); got != want {
					w.t.Errorf("%s at QoS %d: 0x%02x, want 0x%02x", topic, qos, got, want)
				}
			}
		}
		c.nothingFrom(limited)
		limited.publish("mine/a", "yes", 1)
		c.receive("mine/a", "yes", 1)
	})
}

// An interval of 0 is over at once: nobody gets the message, whoever
// subscribes.
func TestMessageExpiryOfZero(t *testing.T) {
	w := five(t)
	c, p := w.clean("c"), w.clean("p")
	c.subscribe(1, "t")
	p.publish("t", "x", 1, func(pub *wire.Publish) { pub.HasExpiry = true })
	c.nothingFrom(p)
}

// A server may look whether a payload is the text that it claims to be. Ours
// does, and refuses the message alone (section 3.3.2.3.2).
func TestPayloadFormatIsChecked(t *testing.T) {
	w := five(t)
	c, p := w.clean("c"), w.clean("p")
	c.subscribe(2, "t")
	text := func(pub *wire.Publish) { pub.PayloadIsText = true }
	for qos := range byte(3) {
		want := byte(0x99)
		if qos == 0 {
			want = 0
		}
		if code := p.attempt("t", "\xff", qos, text); code != want {
			t.Errorf("QoS %d: 0x%02x, want 0x%02x", qos, code, want)
		}
		p.publish("t", "\xff", qos) // which claims nothing
		c.receive("t", "\xff", qos)
		p.publish("t", "text", qos, text)
		c.receive("t", "text", qos)
	}
	c.nothingFrom(p)
}

// In MQTT 5 the publisher is told that nobody subscribes, with 0x10
// [MQTT-3.4.2-1], [MQTT-3.5.2-1]; who is away counts.
func TestNoMatchingSubscribers(t *testing.T) {
	w := five(t)
	c, p := w.durable("c"), w.clean("p")
	c.subscribe(2, "there")
	c.Disconnect()
	for topic, want := range map[string]byte{"nobody": 0x10, "there": 0} {
		if got := p.attempt(topic, "x", 1); got != want {
			t.Errorf("PUBACK 0x%02x on %s, want 0x%02x", got, topic, want)
		}
		id := p.Publish(topic, "x", 2)
		if got := p.await(packets.Pubrec, id).ReasonCode; got != want {
			t.Errorf("PUBREC 0x%02x on %s, want 0x%02x", got, topic, want)
		}
		p.release(id)
	}
}

// What a client sends in one go is taken in its order, without waiting for
// answers: CONNECT, SUBSCRIBE, PUBLISH, DISCONNECT.
func TestPipelined(t *testing.T) {
	versions(t, func(w *world) {
		c := w.clean("c")
		c.subscribe(1, "t")
		all := func(id string) []byte {
			s := w.stranger()
			raw := s.ConnectPacket(mqttest.Options{Version: w.version, ClientID: id, Clean: true, User: user, Password: tokenFor(w.t, "#")})
			raw = append(raw, subscribePacket(w.version, 1, 0, sub{"t", 1})...)
			raw, _ = wire.AppendPublish(raw, w.version, &wire.Publish{Topic: []byte("t"), Payload: []byte(id)})
			return raw
		}
		s := w.stranger()
		s.Version = w.version
		s.MustSend(all("stays"))
		s.await(packets.Suback, 1)
		for pk := s.Next(); string(pk.Payload) != "stays"; pk = s.Next() { // it subscribes before it publishes
		}
		c.receive("t", "stays", 0)
		s = w.stranger()
		s.MustSend(append(all("goes"), packet(disconnectByte)...))
		c.receive("t", "goes", 0)
	})
}

// A retained message that came by an alias is kept under its topic
// [MQTT-3.3.2-7].
func TestRetainedByAlias(t *testing.T) {
	w := five(t)
	p := w.clean("p")
	p.MustSend(aliased("t", 1, "not kept"))
	p.MustSend(packet(publishByte|1, "", props{topicAlias, uint16(1)}, raw("kept")))
	p.quiet()
	c := w.clean("c")
	c.subscribe(1, "#")
	flagged(t, c.receive("t", "kept", 0), true)
}
