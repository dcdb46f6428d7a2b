package conformance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// A client that has more sends under way than the Receive Maximum is ended
// with 0x93 [MQTT-3.3.4-7]; one that has as many goes on.
func TestClientExceedsReceiveMaximum(t *testing.T) {
	const most = 4
	w := five(t, parleytest.Options{Broker: func(c *broker.Config) { c.ReceiveMaximum = most }})
	c := w.clean("c")
	if got := c.ack.Properties.ReceiveMaximum; got != most {
		t.Errorf("CONNACK says Receive Maximum %d, want %d", got, most)
	}
	for id := uint16(1); id <= most; id++ {
		c.PublishPacket(&wire.Publish{Topic: []byte("t"), QoS: 2, PacketID: id})
		c.await(packets.Pubrec, id) // and no PUBREL: they are under way
	}
	c.publish("t", "QoS 0 does not count", 0)
	c.quiet()
	c.release(1)
	c.PublishPacket(&wire.Publish{Topic: []byte("t"), QoS: 2, PacketID: 1})
	c.await(packets.Pubrec, 1)
	c.PublishPacket(&wire.Publish{Topic: []byte("t"), QoS: 1, PacketID: most + 1})
	c.closed(0x93)
}

// The server keeps the client's Receive Maximum at QoS 1 and 2
// [MQTT-3.3.4-9], [MQTT-4.9.0-1], [MQTT-4.9.0-2]. Meanwhile everything else
// goes on [MQTT-3.3.4-10], [MQTT-4.9.0-3].
func TestServerKeepsReceiveMaximum(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			w := five(t)
			p := w.clean("p")
			c := w.connect(mqttest.Options{ClientID: "c", Clean: true, ReceiveMaximum: 2})
			c.subscribe(qos, "t", "other")
			for i := range 5 {
				p.publish("t", fmt.Sprint(i), qos)
			}
			first := c.open("t", "0", qos)
			second := c.open("t", "1", qos)
			c.quiet() // not one more; and pings are answered
			p.publish("other", "at QoS 0", 0)
			c.open("other", "at QoS 0", 0)
			c.subscribe(qos, "third") // a SUBSCRIBE is answered
			c.publish("nobody", "x", 2)
			if qos == 2 { // PUBREC alone gives no room
				c.Ack(packets.Pubrec, first.PacketID)
				c.await(packets.Pubrel, first.PacketID)
				c.quiet()
				c.Ack(packets.Pubcomp, first.PacketID)
			} else {
				c.complete(first)
			}
			third := c.open("t", "2", qos)
			c.quiet()
			c.complete(second)
			c.complete(third)
			c.receive("t", "3", qos)
			c.receive("t", "4", qos)
			c.quiet()
		})
	}
}

// A refusal by the client gives room too [MQTT-4.9.0-2].
func TestRefusalsGiveRoom(t *testing.T) {
	w := five(t)
	p := w.clean("p")
	c := w.connect(mqttest.Options{ClientID: "c", Clean: true, ReceiveMaximum: 1})
	c.subscribe(2, "t")
	for i := range 3 {
		p.publish("t", fmt.Sprint(i), byte(1+i%2))
	}
	first := c.open("t", "0", 1)
	c.MustSend(packet(packets.Puback<<4, first.PacketID, 0x97))
	second := c.open("t", "1", 2)
	c.MustSend(packet(packets.Pubrec<<4, second.PacketID, 0x97))
	c.receive("t", "2", 1)
	c.quiet()
}

// What is larger than the client's Maximum Packet Size is not sent, counts as
// sent, and holds up nothing [MQTT-3.1.2-24], [MQTT-3.1.2-25].
func TestClientsMaximumPacketSize(t *testing.T) {
	const most = 100
	for _, qos := range []byte{0, 1, 2} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			w := five(t)
			p := w.clean("p")
			c := w.connect(mqttest.Options{ClientID: "c", Clean: true, ReceiveMaximum: 1, MaxPacket: most})
			c.subscribe(qos, "t")
			frame, _ := wire.AppendPublish(nil, 5, &wire.Publish{Topic: []byte("t"), QoS: qos, PacketID: 1})
			fits := strings.Repeat("x", most-len(frame))
			for range 3 {
				p.publish("t", fits+"x", qos) // one byte too many
			}
			p.publish("t", fits, qos)
			c.receive("t", fits, qos)
			c.quiet()
		})
	}
}

// A packet larger than the server's Maximum Packet Size ends the connection;
// one of that size does not [MQTT-3.2.2-15].
func TestServersMaximumPacketSize(t *testing.T) {
	const most = 1000
	versions(t, func(w *world) {
		c := w.clean("c")
		frame, _ := wire.AppendPublish(nil, w.version, &wire.Publish{Topic: []byte("t"), Payload: make([]byte, 500)})
		fits := strings.Repeat("x", most-len(frame)+500)
		c.publish("t", fits, 0)
		c.quiet()
		c.publish("t", fits+"x", 0)
		c.closed(0x95)
	}, parleytest.Options{Broker: func(c *broker.Config) { c.MaxPacket = most }})
}

// A message that only an alias makes too large goes without one: neither is it
// lost [MQTT-3.1.2-25], nor does it exceed the limit [MQTT-3.1.2-24].
func TestMaximumPacketSizeAndAliases(t *testing.T) {
	const most = 100
	w := five(t)
	p := w.clean("p")
	c := w.connect(mqttest.Options{ClientID: "c", Clean: true, MaxPacket: most, Change: func(pk *packets.Packet) {
		pk.Properties.TopicAliasMaximum = 10
	}})
	c.subscribe(1, "+")
	for i := range 4 { // one byte nearer to the limit each
		topic := fmt.Sprint("topic", i)
		frame, _ := wire.AppendPublish(nil, 5, &wire.Publish{Topic: []byte(topic), QoS: 1, PacketID: 1})
		fits := strings.Repeat("x", most-len(frame)-3+i)
		p.publish(topic, fits, 1)
		c.receive(topic, fits, 1)
	}
	c.quiet()
}
