package conformance_test

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// aliased is a QoS 0 PUBLISH with a topic alias.
func aliased(topic string, alias uint16, payload string) []byte {
	return packet(publishByte, topic, props{topicAlias, alias}, raw(payload))
}

// Every alias from 1 to the Topic Alias Maximum of CONNACK is taken
// [MQTT-3.3.2-12], may be given to another topic, and is not passed on
// [MQTT-3.3.2-7].
func TestClientsAliases(t *testing.T) {
	w := five(t)
	c, p := w.clean("c"), w.clean("p")
	c.subscribe(0, "#")
	most := p.ack.Properties.TopicAliasMaximum
	if most == 0 {
		t.Fatal("CONNACK has no Topic Alias Maximum")
	}
	receive := func(topic, payload string) {
		t.Helper()
		if pk := c.receive(topic, payload, 0); pk.Properties.TopicAliasFlag {
			t.Errorf("%s came with the alias %d", topic, pk.Properties.TopicAlias)
		}
	}
	for alias := uint16(1); alias <= most; alias++ {
		p.MustSend(aliased(fmt.Sprint("t/", alias), alias, "set"))
		receive(fmt.Sprint("t/", alias), "set")
	}
	for alias := uint16(1); alias <= most; alias++ {
		p.MustSend(aliased("", alias, "used"))
		receive(fmt.Sprint("t/", alias), "used")
	}
	p.MustSend(aliased("other", 1, "set anew"))
	receive("other", "set anew")
	p.MustSend(aliased("", 1, "used"))
	receive("other", "used")
	// Aliases of one connection mean nothing on another, of another client or
	// of the same [MQTT-3.3.2-7].
	for _, id := range []string{"q", "p"} {
		q := w.clean(id)
		q.MustSend(aliased("", 1, "unknown"))
		q.closed(0x82)
	}
}

// An alias that is not allowed ends the connection.
func TestAliasRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		topic string
		alias uint16
		code  byte
	}{
		{"zero", "t", 0, 0x94},               // [MQTT-3.3.2-8]
		{"above the maximum", "t", 65, 0x94}, // [MQTT-3.2.2-17], [MQTT-3.3.2-9]
		{"not set", "", 5, 0x82},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := five(t).clean("c")
			c.MustSend(aliased(tt.topic, tt.alias, "x"))
			c.closed(tt.code)
		})
	}
}

// A refused PUBLISH sets its alias all the same: only the message is refused.
func TestAliasOfRefusedPublish(t *testing.T) {
	w := five(t)
	p := w.connectWith("p", tokenFor(t, "mine/#"))
	p.MustSend(aliased("other", 1, "no"))
	p.MustSend(packet(0x32, "", uint16(7), props{topicAlias, uint16(1)}, raw("no")))
	if code := p.await(packets.Puback, 7).ReasonCode; code != 0x87 {
		t.Errorf("PUBACK 0x%02x, want 0x87", code)
	}
}

// The server uses no alias above the client's Topic Alias Maximum
// [MQTT-3.1.2-26], [MQTT-3.3.2-11], none without one [MQTT-3.1.2-27], never 0
// [MQTT-3.3.2-8], and each means one topic.
func TestServersAliases(t *testing.T) {
	for _, most := range []uint16{0, 1, 3} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			w := five(t)
			p := w.clean("p")
			c := w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: func(pk *packets.Packet) {
				pk.Properties.TopicAliasMaximum = most
			}})
			c.subscribe(1, "a/#")
			names := make(map[uint16]string)
			read := func() (topic string) {
				t.Helper()
				pk := c.next()
				c.complete(pk)
				alias := pk.Properties.TopicAlias
				if pk.Properties.TopicAliasFlag && (alias == 0 || alias > most) {
					t.Fatalf("alias %d, the maximum is %d", alias, most)
				}
				if pk.TopicName == "" {
					return names[alias]
				}
				if alias > 0 {
					names[alias] = pk.TopicName
				}
				return pk.TopicName
			}
			for round := range 4 {
				for i := range 5 {
					topic := fmt.Sprint("a/", i)
					p.publish(topic, "x", byte(round%2))
					if got := read(); got != topic {
						t.Fatalf("round %d: got %q, want %s", round, got, topic)
					}
				}
			}
			// A new connection knows none [MQTT-3.3.2-7], also for what is sent
			// again.
			p.publish("a/0", "again", 1)
			c.next()
			c.vanish()
			c = w.connect(mqttest.Options{ClientID: "c", Expiry: 3600})
			c.receive("a/0", "again", 1)
		})
	}
}

// 3.1.1 has no aliases.
func TestNoAliasesIn311(t *testing.T) {
	w := five(t)
	old := w.connect(mqttest.Options{Version: 4, ClientID: "old", Clean: true})
	old.subscribe(0, "t")
	p := w.clean("p")
	p.MustSend(append(aliased("t", 1, "set"), aliased("", 1, "used")...))
	old.receive("t", "set", 0)
	old.receive("t", "used", 0)
}
