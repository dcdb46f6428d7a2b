package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// told wants the next PUBLISH to be this one.
func told(t *testing.T, c *mqttest.Client, topic, payload string) packets.Packet {
	t.Helper()
	pk := c.Expect(packets.Publish)
	if pk.TopicName != topic || string(pk.Payload) != payload {
		t.Fatalf("got %s %s\nwant %s %s", pk.TopicName, pk.Payload, topic, payload)
	}
	return pk
}

// sent publishes at QoS 1 and wants the code of the PUBACK, passing over what
// else comes.
func sent(t *testing.T, c *mqttest.Client, topic, payload string, code byte) {
	t.Helper()
	c.Publish(topic, payload, 1)
	if ack := c.Expect(packets.Puback); ack.ReasonCode != code {
		t.Fatalf("%s %s: answered 0x%02x %s, want 0x%02x", topic, payload, ack.ReasonCode, ack.Properties.ReasonString, code)
	}
}

const (
	aliceTypes = `{"userId":"alice","typing":true}`
	aliceRests = `{"userId":"alice","typing":false}`
)

func TestTyping(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob", "carol")
		s.Conversation("c2", "alice", "dave")
		phone := s.Connect("alice", mqttest.Options{Version: version, ClientID: "phone"})
		laptop := s.Connect("alice", mqttest.Options{Version: version, ClientID: "laptop"})
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "bob"})
		carol := s.Connect("carol", mqttest.Options{Version: version, ClientID: "carol"})
		dave := s.Connect("dave", mqttest.Options{Version: version, ClientID: "dave"})
		laptop.Subscribe("chat/+/typing")
		bob.Subscribe("chat/+/typing", "chat/+/+", "chat/c1/typing") // told once
		dave.Subscribe("chat/+/+")
		if ack := carol.Subscribe("chat/c1/typing", "chat/c2/typing", "chat/none/typing"); ack.ReasonCodes[0] != 0 ||
			ack.ReasonCodes[1] < 0x80 || ack.ReasonCodes[2] < 0x80 {
			t.Fatalf("SUBACK %x, want 0 and refusals", ack.ReasonCodes)
		}

		phone.Publish("chat/c1/typing", `{"typing":true}`, 0)
		told(t, bob, "chat/c1/typing", aliceTypes)
		told(t, carol, "chat/c1/typing", aliceTypes)
		phone.Publish("chat/c1/typing", `{"typing":true}`, 0) // nothing new
		phone.Publish("chat/c1/typing", `{"typing":false}`, 0)
		told(t, bob, "chat/c1/typing", aliceRests)
		told(t, carol, "chat/c1/typing", aliceRests)

		// By sending a message, over MQTT or without.
		for _, send := range []func(){
			func() { sent(t, phone, "chat/c1/messages", "hi", 0) },
			func() { commit(t, s, "c1", "alice", "ho") },
		} {
			sent(t, phone, "chat/c1/typing", `{"typing":true}`, 0)
			told(t, carol, "chat/c1/typing", aliceTypes)
			send()
			told(t, carol, "chat/c1/typing", aliceRests)
		}

		// By the end of the connection that said so, and no other.
		sent(t, phone, "chat/c1/typing", `{"typing":true}`, 0)
		told(t, carol, "chat/c1/typing", aliceTypes)
		laptop.Quiet() // never told to any session of who types
		laptop.Disconnect()
		carol.Quiet()
		_ = phone.Conn.Close()
		told(t, carol, "chat/c1/typing", aliceRests)
		dave.Quiet()
	})
}

func TestTypingRefused(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		carol := s.Connect("carol", mqttest.Options{ClientID: "carol"})
		for _, asked := range []bool{false, true} { // known from the store, and from memory
			sent(t, carol, "chat/c1/typing", `{"typing":true}`, 0x87)
			sent(t, carol, "chat/none/typing", `{"typing":true}`, 0x99)
			sent(t, carol, "chat/c1/receipts", `{"read":1}`, 0x87)
			sent(t, carol, "chat/none/receipts", `{"read":1}`, 0x99)
			sent(t, carol, "chat/c1/typing", `{"typing":"yes"}`, 0x99)
			sent(t, carol, "users/bob/presence", `{"status":"online"}`, 0x87)
			sent(t, carol, "users/carol/presence", `{"status":"gone"}`, 0x99)
			if !asked {
				bob := s.Connect("bob", mqttest.Options{ClientID: "bob"})
				bob.Subscribe("chat/+/typing")
			}
		}
		carol.PublishPacket(&wire.Publish{Topic: []byte("chat/c1/typing"), Payload: []byte(`{"typing":true}`), Retain: true, QoS: 1, PacketID: 7})
		if ack := carol.Expect(packets.Puback); ack.ReasonCode != 0x99 {
			t.Errorf("retained typing: answered 0x%02x", ack.ReasonCode)
		}
	})
}

// Who is removed hears nothing that is said after, and says nothing more.
func TestTypingFollowsMembership(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		ctx, owner := context.Background(), bridge.Actor{UserID: "alice"}
		s.Conversation("c1", "alice", "bob")
		alice := s.Connect("alice", mqttest.Options{ClientID: "alice"})
		bob := s.Connect("bob", mqttest.Options{ClientID: "bob"})
		bob.Subscribe("chat/+/typing", "chat/c1/typing")
		alice.Subscribe("chat/+/typing")
		for range 3 {
			sent(t, alice, "chat/c1/typing", `{"typing":true}`, 0)
			told(t, bob, "chat/c1/typing", aliceTypes)
			sent(t, bob, "chat/c1/typing", `{"typing":true}`, 0)
			told(t, alice, "chat/c1/typing", `{"userId":"bob","typing":true}`)
			if err := s.Log.RemoveMember(ctx, owner, "c1", "bob"); err != nil {
				t.Fatal(err)
			}
			told(t, alice, "chat/c1/typing", `{"userId":"bob","typing":false}`)
			sent(t, alice, "chat/c1/typing", `{"typing":false}`, 0)
			sent(t, bob, "chat/c1/typing", `{"typing":true}`, 0x87)
			bob.Quiet()
			alice.Quiet()
			if _, _, err := s.Log.PutMember(ctx, owner, "c1", "bob", chat.RoleMember); err != nil {
				t.Fatal(err)
			}
		}
		// A conversation made while they are connected, and one that is deleted.
		s.Conversation("c2", "alice", "bob")
		for {
			sent(t, alice, "chat/c2/typing", `{"typing":true}`, 0)
			bob.MustSend([]byte{packets.Pingreq << 4, 0})
			if pk := bob.Next(); pk.FixedHeader.Type == packets.Publish {
				break
			}
			sent(t, alice, "chat/c2/typing", `{"typing":false}`, 0)
		}
		bob.Expect(packets.Pingresp)
		if err := s.Log.DeleteConversation(ctx, owner, "c2"); err != nil {
			t.Fatal(err)
		}
		sent(t, alice, "chat/c2/typing", `{"typing":false}`, 0x99)
		bob.Quiet()
	})
}

// receiptAt cuts the time out of a receipt.
func receiptAt(t *testing.T, payload []byte) string {
	t.Helper()
	told, _, ok := strings.Cut(string(payload), `,"at":"`)
	if !ok {
		t.Fatalf("a receipt without a time: %s", payload)
	}
	return told
}

func TestReceipts(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob", "carol") // entries 1 to 3
		for range 7 {
			commit(t, s, "c1", "alice", "hi") // up to 10
		}
		alice := s.Connect("alice", mqttest.Options{Version: version, ClientID: "alice"})
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "bob"})
		carol := s.Connect("carol", mqttest.Options{Version: version, ClientID: "carol"})
		alice.Subscribe("chat/c1/receipts")
		bob.Subscribe("chat/+/receipts", "chat/+/+")
		next := func(c *mqttest.Client, want string) {
			t.Helper()
			for {
				pk := c.Expect(packets.Publish)
				if pk.TopicName != "chat/c1/receipts" {
					continue // an entry
				}
				if got := receiptAt(t, pk.Payload); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
				return
			}
		}
		sent(t, bob, "chat/c1/receipts", `{"delivered":6}`, 0)
		next(alice, `{"userId":"bob","read":2,"delivered":6`)
		// Within a second: the last one, and it never goes back.
		began := time.Now()
		for _, p := range []string{`{"read":5}`, `{"read":7,"delivered":9}`, `{"read":4}`, `{"read":8,"delivered":2}`} {
			sent(t, bob, "chat/c1/receipts", p, 0)
		}
		next(alice, `{"userId":"bob","read":8,"delivered":9`)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the last receipt took %v", took)
		}
		// Never beyond the head; to the user's own devices too.
		sent(t, carol, "chat/c1/receipts", `{"read":1000}`, 0)
		next(alice, `{"userId":"carol","read":10,"delivered":10`)
		sent(t, carol, "chat/c1/receipts", `{"read":3}`, 0) // nothing new
		// Who sends has read.
		commit(t, s, "c1", "bob", "hello")
		next(alice, `{"userId":"bob","read":11,"delivered":11`)
		alice.Quiet()
		if got, err := s.Log.Receipts(context.Background(), "c1"); err != nil || got[1].Read != 11 || got[2].Read != 10 {
			t.Errorf("stored receipts %+v, %v", got, err)
		}
	})
}

// What a durable session acknowledges moves "delivered" by itself, unless
// there are too many members.
func TestDeliveredMovesByItself(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend, parleytest.Options{Log: func(c *bridge.Config) { c.CursorEvery = 20 * time.Millisecond }})
		s.Conversation("small", "alice", "bob")
		members := []string{"alice", "bob"}
		for i := range bridge.SmallConversation {
			members = append(members, "u"+strings.Repeat("x", i))
		}
		s.Conversation("large", members...)
		alice := s.Connect("alice", mqttest.Options{ClientID: "alice"})
		alice.Subscribe("chat/+/receipts")
		bob := s.Connect("bob", durable(5, "phone"))
		bob.Subscribe("chat/+/messages")
		for _, c := range []string{"large", "small"} {
			commit(t, s, c, "alice", "hi")
			pk := bob.Expect(packets.Publish)
			bob.Ack(packets.Puback, pk.PacketID)
		}
		for {
			pk := alice.Expect(packets.Publish)
			got := receiptAt(t, pk.Payload)
			if strings.Contains(got, `"alice"`) {
				continue
			}
			if pk.TopicName != "chat/small/receipts" || got != `{"userId":"bob","read":2,"delivered":3` {
				t.Fatalf("got %s %s", pk.TopicName, got)
			}
			break
		}
		// Also what it acknowledged right before its end.
		commit(t, s, "small", "alice", "ho")
		pk := bob.Expect(packets.Publish)
		bob.Ack(packets.Puback, pk.PacketID)
		bob.Disconnect()
		for {
			pk := alice.Expect(packets.Publish)
			if got := receiptAt(t, pk.Payload); strings.Contains(got, `"bob"`) {
				if got != `{"userId":"bob","read":2,"delivered":4` {
					t.Fatalf("got %s", got)
				}
				break
			}
		}
		alice.Quiet()
	})
}
