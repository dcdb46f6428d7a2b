package broker_test

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// A QoS 2 PUBLISH that comes again after a restart is taken once, on ordinary
// topics and in conversations [MQTT-4.3.3-10].
func TestQoS2FromAClientSurvivesARestart(t *testing.T) {
	for topic, payload := range map[string]string{
		"a/x":              "once",
		"chat/c1/messages": `{"content": "once"}`,
		"chat/c2/messages": `{"content": "once", "clientId": "mine"}`,
	} {
		parleytest.Each(t, func(t *testing.T, backend string) {
			dsn := parleytest.Database(t, backend)
			s := parleytest.Start(t, backend, dsn)
			s.Conversation("c1", "pub", "sub")
			s.Conversation("c2", "pub", "sub")
			o := mqttest.Options{ClientID: "p", Expiry: 1000}
			sub := device(t, s, "sub", mqttest.Options{ClientID: "s", Expiry: 1000})
			sub.Subscribe(topic)
			pub := device(t, s, "pub", o)
			publish := func(c *mqttest.Client, id uint16, payload string, dup bool) {
				c.PublishPacket(&wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 2, PacketID: id, DUP: dup})
				if rec := c.Expect(packets.Pubrec); rec.PacketID != id || rec.ReasonCode >= 0x80 {
					t.Fatalf("PUBREC %d %#x", rec.PacketID, rec.ReasonCode)
				}
			}
			publish(pub, 7, payload, false)
			get(t, sub)
			sub.Disconnect()
			pub.Conn.Close()
			s.Stop()

			s = parleytest.Start(t, backend, dsn)
			sub = device(t, s, "sub", mqttest.Options{ClientID: "s", Expiry: 1000})
			pub = device(t, s, "pub", o)
			publish(pub, 7, payload, true) // as if PUBREC had not come
			pub.Ack(packets.Pubrel, 7)
			if comp := pub.Expect(packets.Pubcomp); comp.ReasonCode != 0 {
				t.Fatalf("PUBCOMP %#x", comp.ReasonCode)
			}
			sub.Quiet()
			pub.Conn.Close()
			s.Stop()

			s = parleytest.Start(t, backend, dsn)
			sub = device(t, s, "sub", mqttest.Options{ClientID: "s", Expiry: 1000})
			pub = device(t, s, "pub", o)
			publish(pub, 7, "new", false) // released: the identifier is another message's now
			get(t, sub)
		})
	}
}

// What a client said of a QoS 2 message that it got holds after a restart:
// once its PUBREC is answered the message does not come again.
func TestQoS2ToAClientSurvivesARestart(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		o := mqttest.Options{ClientID: "s", Expiry: 1000}
		sub := device(t, s, "sub", o)
		subscribe(t, sub, 2, "a/x", nil)
		pub := device(t, s, "pub", mqttest.Options{ClientID: "p", Clean: true})
		send(t, pub, "a/x", "one", 2, false)
		first := sub.Expect(packets.Publish)
		sub.Conn.Close()
		s.Stop()

		s = parleytest.Start(t, backend, dsn)
		sub = device(t, s, "sub", o)
		again := sub.Expect(packets.Publish)
		if again.PacketID != first.PacketID || !again.FixedHeader.Dup {
			t.Fatalf("PUBLISH %d, DUP %v; was %d", again.PacketID, again.FixedHeader.Dup, first.PacketID)
		}
		sub.Ack(packets.Pubrec, first.PacketID)
		sub.Expect(packets.Pubrel)
		sub.Conn.Close()
		s.Stop()

		s = parleytest.Start(t, backend, dsn)
		sub = device(t, s, "sub", o)
		rel := sub.Next()
		if rel.FixedHeader.Type != packets.Pubrel || rel.PacketID != first.PacketID {
			t.Fatalf("got %s %d, want PUBREL %d", wire.TypeName(rel.FixedHeader.Type), rel.PacketID, first.PacketID)
		}
		sub.Ack(packets.Pubcomp, rel.PacketID)
		sub.Quiet()
	})
}
