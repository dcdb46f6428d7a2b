package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

func TestRefusedPublish(t *testing.T) {
	tests := []struct {
		name, topic, payload string
		retain               bool
		reason               byte
		code                 chat.Code
	}{
		{"not a member", "chat/c2/messages", `{"content":"x"}`, false, 0x87, chat.CodeForbidden},
		{"no such conversation", "chat/none/messages", `{"content":"x"}`, false, 0x99, chat.CodeNotFound},
		{"no such target", "chat/c1/messages", `{"type":"delete","target":99}`, false, 0x99, chat.CodeNotFound},
		{"somebody else's message", "chat/c1/messages", `{"type":"edit","target":3,"content":"x"}`, false, 0x87, chat.CodeForbidden},
		{"unknown key", "chat/c1/messages", `{"content":"x","colour":"red"}`, false, 0x99, chat.CodeInvalid},
		{"empty", "chat/c1/messages", ``, false, 0x99, chat.CodeInvalid},
		{"too long", "chat/c1/messages", strings.Repeat("x", chat.MaxContent+1), false, 0x99, chat.CodeInvalid},
		{"oversized", "chat/c1/messages", strings.Repeat("x", chat.MaxPayload+1), false, 0x99, chat.CodeInvalid},
		{"retained", "chat/c1/messages", `{"content":"x"}`, true, 0x99, chat.CodeInvalid},
		{"server-made topic", "users/bob/unread", `{}`, false, 0x87, chat.CodeForbidden},
		{"replay of others", "chat/c2/replay", `{"after":0}`, false, 0x87, chat.CodeForbidden},
		{"replay without after", "chat/c1/replay", `{}`, false, 0x99, chat.CodeInvalid},
		{"ordinary topic", "devices/d1/state", `x`, false, 0x87, chat.CodeForbidden},
		{"$SYS", "$SYS/x", `x`, false, 0x87, chat.CodeForbidden},
	}
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		s.Conversation("c2", "alice")
		commit(t, s, "c1", "alice", "of alice")
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		other := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b2", Clean: true})
		bob.Subscribe("users/bob/errors", "chat/c1/messages")
		other.Subscribe("users/bob/errors")
		for _, test := range tests {
			for qos := range byte(3) {
				t.Run(fmt.Sprintf("%s/qos%d", test.name, qos), func(t *testing.T) {
					pub := wire.Publish{Topic: []byte(test.topic), Payload: []byte(test.payload), QoS: qos, Retain: test.retain}
					if qos > 0 {
						pub.PacketID = bob.ID()
					}
					bob.PublishPacket(&pub)
					wantRefusal(t, bob, &pub, test.reason, test.code, version)
				})
			}
		}
		other.Quiet() // errors go to the connection that erred alone
		if out := commit(t, s, "c1", "alice", "last"); out.Seq != 4 {
			t.Errorf("something was committed: the next seq is %d, want 4", out.Seq)
		}
	})
}

// wantRefusal reads the acknowledgement and the problem, in either order.
func wantRefusal(t *testing.T, c *mqttest.Client, pub *wire.Publish, reason byte, code chat.Code, version byte) {
	t.Helper()
	acks, told := 0, false
	want := int(min(pub.QoS, 1))
	for acks < want || !told {
		pk := c.Next()
		switch pk.FixedHeader.Type {
		case packets.Puback, packets.Pubrec:
			acks++
			if version == 4 {
				reason = 0 // it cannot tell
			}
			if pk.PacketID != pub.PacketID || pk.ReasonCode != reason ||
				(pk.FixedHeader.Type == packets.Pubrec) != (pub.QoS == 2) {
				t.Errorf("got %s of %d with 0x%02x, want %d with 0x%02x",
					wire.TypeName(pk.FixedHeader.Type), pk.PacketID, pk.ReasonCode, pub.PacketID, reason)
			}
			if pub.QoS == 2 && version == 4 {
				c.Ack(packets.Pubrel, pk.PacketID)
				c.Expect(packets.Pubcomp)
			}
		case packets.Publish:
			var p chat.Problem
			if err := json.Unmarshal(pk.Payload, &p); err != nil || pk.TopicName != "users/bob/errors" {
				t.Fatalf("got %s on %s", pk.Payload, pk.TopicName)
			}
			told = true
			if p.Code != code || p.Topic != string(pub.Topic) || p.Message == "" {
				t.Errorf("problem %+v, want code %s", p, code)
			}
		default:
			t.Fatalf("got a %s", wire.TypeName(pk.FixedHeader.Type))
		}
	}
}

func TestQoS2(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		alice := s.Connect("alice", durable(version, "a"))
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		bob.SubscribeWith(nil, 2, "chat/c1/messages")
		pub := wire.Publish{Topic: []byte("chat/c1/messages"), Payload: []byte("once"), QoS: 2, PacketID: 7}
		alice.PublishPacket(&pub)
		if pk := alice.Expect(packets.Pubrec); pk.PacketID != 7 || pk.ReasonCode != 0 {
			t.Fatalf("PUBREC of %d with 0x%02x", pk.PacketID, pk.ReasonCode)
		}
		pub.DUP = true
		alice.PublishPacket(&pub) // on the same connection
		alice.Expect(packets.Pubrec)
		alice.Disconnect()
		alice = s.Connect("alice", durable(version, "a")) // and on the next
		alice.PublishPacket(&pub)
		alice.Expect(packets.Pubrec)
		alice.Ack(packets.Pubrel, 7)
		if pk := alice.Expect(packets.Pubcomp); pk.PacketID != 7 || pk.ReasonCode != 0 {
			t.Fatalf("PUBCOMP of %d with 0x%02x", pk.PacketID, pk.ReasonCode)
		}
		pub.DUP = false
		alice.PublishPacket(&pub) // a new message with the identifier
		alice.Expect(packets.Pubrec)
		if got := take(t, bob, 3, 2); got[0].Content != "once" || got[1].Content != "once" {
			t.Errorf("got %+v", got)
		}
		bob.Quiet()
	})
}

func TestRefusedConnect(t *testing.T) {
	tests := []struct {
		name       string
		change     func(s *parleytest.Server, o *mqttest.Options)
		code5, ret byte // MQTT 5 reason code and 3.1.1 return code
	}{
		{"no token", func(_ *parleytest.Server, o *mqttest.Options) { o.Password = "" }, 0x86, 4},
		{"not a token", func(_ *parleytest.Server, o *mqttest.Options) { o.Password = "x" }, 0x86, 4},
		{"another's token", func(s *parleytest.Server, o *mqttest.Options) { o.Password = s.Token("alice") }, 0x86, 4},
		{"long client id", func(_ *parleytest.Server, o *mqttest.Options) { o.ClientID = strings.Repeat("x", 300) }, 0x85, 2},
		{"will", func(_ *parleytest.Server, o *mqttest.Options) {
			o.Change = func(pk *packets.Packet) {
				pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "devices/x", []byte("gone")
			}
		}, 0x87, 5},
	}
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				o := mqttest.Options{Version: version, ClientID: "x", Clean: true, User: "bob", Password: s.Token("bob")}
				test.change(s, &o)
				want := test.code5
				if version == 4 {
					want = test.ret
				}
				c := s.Dial()
				if ack := c.Connect(o); ack.ReasonCode != want {
					t.Errorf("CONNACK 0x%02x (%s), want 0x%02x", ack.ReasonCode, ack.Properties.ReasonString, want)
				}
				c.ExpectClosed()
			})
		}
	})
}
