package broker_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// device connects a user whose token opens all ordinary topics.
func device(t *testing.T, s *parleytest.Server, user string, o mqttest.Options) *mqttest.Client {
	t.Helper()
	c, _ := deviceAck(t, s, user, o)
	return c
}

func deviceAck(t *testing.T, s *parleytest.Server, user string, o mqttest.Options) (*mqttest.Client, packets.Packet) {
	t.Helper()
	o.Password = parleytest.Token(t, acl.Claims{Subject: user, TTL: time.Hour, Pub: []string{"#"}, Sub: []string{"#"}})
	c := mqttest.Dial(t, s.Addr)
	ack := c.Connect(o)
	if ack.ReasonCode != 0 {
		t.Fatalf("CONNACK %#x", ack.ReasonCode)
	}
	return c, ack
}

// subscribe subscribes with options.
func subscribe(t *testing.T, c *mqttest.Client, qos byte, filter string, change func(*packets.Packet)) packets.Packet {
	t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, ProtocolVersion: c.Version,
		PacketID: c.ID(), Filters: packets.Subscriptions{{Filter: filter, Qos: qos}}}
	if change != nil {
		change(&pk)
	}
	var buf bytes.Buffer
	if err := pk.SubscribeEncode(&buf); err != nil {
		t.Fatal(err)
	}
	c.MustSend(buf.Bytes())
	ack := c.Expect(packets.Suback)
	if ack.ReasonCodes[0] != qos {
		t.Fatalf("SUBACK of %s says %#x", filter, ack.ReasonCodes[0])
	}
	return ack
}

// send publishes and waits for the answer.
func send(t *testing.T, c *mqttest.Client, topic, payload string, qos byte, retain bool) {
	t.Helper()
	pub := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, Retain: retain}
	if qos > 0 {
		pub.PacketID = c.ID()
	}
	c.PublishPacket(&pub)
	switch qos {
	case 1:
		if ack := c.Expect(packets.Puback); ack.ReasonCode >= 0x80 {
			t.Fatalf("PUBACK of %s says %#x", topic, ack.ReasonCode)
		}
	case 2:
		if ack := c.Expect(packets.Pubrec); ack.ReasonCode >= 0x80 {
			t.Fatalf("PUBREC of %s says %#x", topic, ack.ReasonCode)
		}
		c.Ack(packets.Pubrel, pub.PacketID)
		c.Expect(packets.Pubcomp)
	}
}

// collect reads n messages and acknowledges them whole.
func collect(t *testing.T, c *mqttest.Client, n int) []packets.Packet {
	t.Helper()
	var got []packets.Packet
	open := map[uint16]bool{} // packet identifiers of QoS 2 under way
	for len(got) < n || len(open) > 0 {
		switch pk := c.Next(); pk.FixedHeader.Type {
		case packets.Publish:
			got = append(got, pk)
			switch pk.FixedHeader.Qos {
			case 1:
				c.Ack(packets.Puback, pk.PacketID)
			case 2:
				open[pk.PacketID] = true
				c.Ack(packets.Pubrec, pk.PacketID)
			}
		case packets.Pubrel:
			if !open[pk.PacketID] {
				t.Fatalf("PUBREL of %d, which is not under way", pk.PacketID)
			}
			delete(open, pk.PacketID)
			c.Ack(packets.Pubcomp, pk.PacketID)
		default:
			t.Fatalf("got %s", wire.TypeName(pk.FixedHeader.Type))
		}
	}
	if len(got) > n {
		t.Fatalf("got %d messages, want %d", len(got), n)
	}
	return got
}

// get reads the next message and acknowledges it whole. No other may follow
// before that is done.
func get(t *testing.T, c *mqttest.Client) packets.Packet {
	t.Helper()
	return collect(t, c, 1)[0]
}

func want(t *testing.T, pk packets.Packet, topic, payload string, qos byte) {
	t.Helper()
	if pk.TopicName != topic || string(pk.Payload) != payload || pk.FixedHeader.Qos != qos {
		t.Fatalf("got %q %q at QoS %d, want %q %q at QoS %d", pk.TopicName, pk.Payload, pk.FixedHeader.Qos, topic, payload, qos)
	}
}

func TestOrdinaryTopicsAtEveryQoS(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		pub := device(t, s, "pub", mqttest.Options{Version: version, ClientID: "p", Clean: true})
		for _, durable := range []bool{false, true} {
			o := mqttest.Options{Version: version, ClientID: fmt.Sprint("s", durable), Clean: !durable}
			if durable {
				o.Expiry = 3600
			}
			for subQoS := range byte(3) {
				sub := device(t, s, "sub", o)
				subscribe(t, sub, subQoS, fmt.Sprintf("t/%d/+", subQoS), nil)
				for pubQoS := range byte(3) {
					topic := fmt.Sprintf("t/%d/x", subQoS)
					send(t, pub, topic, fmt.Sprint(pubQoS), pubQoS, false)
					want(t, get(t, sub), topic, fmt.Sprint(pubQoS), min(pubQoS, subQoS))
				}
				sub.Unsubscribe(fmt.Sprintf("t/%d/+", subQoS))
				send(t, pub, fmt.Sprintf("t/%d/x", subQoS), "late", 1, false)
				sub.Quiet()
				sub.Disconnect()
			}
		}
	})
}

func TestOrdinaryQueueWaitsForADurableSession(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		o := mqttest.Options{ClientID: "s", Expiry: 3600}
		sub := device(t, s, "sub", o)
		subscribe(t, sub, 2, "a/#", nil)
		sub.Disconnect()
		pub := device(t, s, "pub", mqttest.Options{ClientID: "p", Clean: true})
		const n = 100
		for i := range n {
			send(t, pub, fmt.Sprintf("a/%d", i%3), fmt.Sprint(i), byte(1+i%2), false)
		}
		s.Stop()
		s = parleytest.Start(t, backend, dsn)
		sub, ack := deviceAck(t, s, "sub", o)
		if !ack.SessionPresent {
			t.Fatal("the session is gone")
		}
		for i, pk := range collect(t, sub, n) {
			want(t, pk, fmt.Sprintf("a/%d", i%3), fmt.Sprint(i), byte(1+i%2))
		}
		sub.Quiet()
		send(t, device(t, s, "pub", mqttest.Options{ClientID: "q", Clean: true}), "a/x", "unacknowledged", 1, false)
		first := sub.Expect(packets.Publish)
		sub.Conn.Close()
		s.Stop()
		s = parleytest.Start(t, backend, dsn)
		sub = device(t, s, "sub", o)
		again := sub.Expect(packets.Publish)
		if again.PacketID != first.PacketID || !again.FixedHeader.Dup {
			t.Fatalf("sent again as %d, DUP %v, was %d [MQTT-4.4.0-1]", again.PacketID, again.FixedHeader.Dup, first.PacketID)
		}
		want(t, again, "a/x", "unacknowledged", 1)
		sub.Ack(packets.Puback, again.PacketID)
		sub.Quiet()
	})
}

func TestRetainedMessages(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		pub := device(t, s, "pub", mqttest.Options{ClientID: "p", Clean: true})
		for i := range 200 {
			send(t, pub, fmt.Sprintf("r/%03d", i), fmt.Sprint(i), byte(i%3), true)
		}
		send(t, pub, "r/007", "", 1, true)
		send(t, pub, "r", "root", 1, true)
		s.Stop()
		s = parleytest.Start(t, backend, dsn)
		for _, o := range []mqttest.Options{{ClientID: "c", Clean: true, ReceiveMaximum: 10}, {ClientID: "d", Expiry: 100, ReceiveMaximum: 10}} {
			sub := device(t, s, "sub", o)
			subscribe(t, sub, 2, "r/#", nil)
			seen := map[string]bool{}
			for _, pk := range collect(t, sub, 200) {
				if !pk.FixedHeader.Retain {
					t.Fatalf("%s comes without RETAIN [MQTT-3.3.1-8]", pk.TopicName)
				}
				seen[pk.TopicName] = true
			}
			sub.Quiet()
			if len(seen) != 200 || !seen["r"] || seen["r/007"] {
				t.Fatalf("got %d topics", len(seen))
			}
			subscribe(t, sub, 1, "r/001", nil)
			want(t, get(t, sub), "r/001", "1", 1)
			sub.Disconnect()
		}
	})
}

func TestSharedSubscription(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		a := device(t, s, "a", mqttest.Options{Version: version, ClientID: "a", Clean: true})
		b := device(t, s, "b", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		subscribe(t, a, 1, "$share/g/job/+", nil)
		subscribe(t, b, 1, "$share/g/job/+", nil)
		pub := device(t, s, "pub", mqttest.Options{Version: version, ClientID: "p", Clean: true})
		for i := range 10 {
			send(t, pub, "job/x", fmt.Sprint(i), 1, false)
		}
		for i := range 5 {
			want(t, get(t, b), "job/x", fmt.Sprint(2*i+1), 1)
		}
		a.Expect(packets.Publish) // received, and not acknowledged
		a.Conn.Close()
		for i := range 5 {
			want(t, get(t, b), "job/x", fmt.Sprint(2*i), 1)
		}
		b.Quiet()
	})
}

func TestWillIsSentOnce(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		sub := device(t, s, "sub", mqttest.Options{Version: version, ClientID: "s", Clean: true})
		subscribe(t, sub, 1, "w/#", nil)
		will := func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillQos = true, 1
			pk.Connect.WillTopic, pk.Connect.WillPayload = "w/x", []byte("gone")
		}
		o := mqttest.Options{Version: version, ClientID: "d", Clean: true, Change: will}
		device(t, s, "dev", o).Conn.Close()
		want(t, get(t, sub), "w/x", "gone", 1)
		device(t, s, "dev", o).Disconnect()
		first := device(t, s, "dev", o)
		device(t, s, "dev", o)
		want(t, get(t, sub), "w/x", "gone", 1) // of the one that was taken over
		_ = first
		sub.Quiet()
	})
}
