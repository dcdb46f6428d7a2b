package broker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// commit appends a message without a connection.
func commit(t *testing.T, s *parleytest.Server, conversation, sender, content string) bridge.Outcome {
	t.Helper()
	out, err := s.Log.Commit(context.Background(), chat.Draft{Stream: chat.ConversationStream(conversation),
		SenderID: sender, Body: chat.Body{Type: chat.TypeMessage, Content: content}})
	if err != nil {
		t.Fatalf("committing %q: %v", content, err)
	}
	return out
}

// take reads n entries, acknowledging each, and wants them to go up from seq
// without a gap.
func take(t *testing.T, c *mqttest.Client, from uint64, n int) []parleytest.Entry {
	t.Helper()
	entries := make([]parleytest.Entry, 0, n)
	for range n {
		pk := c.Expect(packets.Publish)
		e := parleytest.Decode(t, pk.Payload)
		if want := from + uint64(len(entries)); e.Seq != want {
			t.Fatalf("got seq %d (%s), want %d", e.Seq, pk.Payload, want)
		}
		if pk.FixedHeader.Qos > 0 {
			c.Ack(packets.Puback, pk.PacketID)
		}
		entries = append(entries, e)
	}
	return entries
}

func durable(version byte, clientID string) mqttest.Options {
	return mqttest.Options{Version: version, ClientID: clientID, Expiry: 3600}
}

func TestDurableSessionResumesAfterLastAcknowledged(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/+/messages")
		commit(t, s, "c1", "alice", "one")
		commit(t, s, "c1", "alice", "two")
		take(t, bob, 3, 2)
		commit(t, s, "c1", "alice", "three")
		bob.Expect(packets.Publish) // and not acknowledged
		bob.Disconnect()

		for i := range 100 { // more than one load from the store
			commit(t, s, "c1", "alice", fmt.Sprint("away ", i))
		}
		s.Conversation("c2", "alice", "bob") // joined while away: from its own join on
		commit(t, s, "c2", "alice", "welcome")

		bob = s.Dial()
		ack := bob.Connect(mqttest.Options{Version: version, ClientID: "phone", Expiry: 3600, User: "bob", Password: s.Token("bob")})
		if !ack.SessionPresent {
			t.Fatal("the session was not there any more")
		}
		next := map[string]uint64{"c1": 5, "c2": 2}
		for range 101 + 2 {
			pk := bob.Expect(packets.Publish)
			e := parleytest.Decode(t, pk.Payload)
			if e.Seq != next[e.ConversationID] {
				t.Fatalf("%s: got seq %d, want %d", e.ConversationID, e.Seq, next[e.ConversationID])
			}
			next[e.ConversationID]++
			bob.Ack(packets.Puback, pk.PacketID)
		}
		bob.Quiet()
	})
}

func TestResentWithSameIdentifierAndDUP(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/c1/messages")
		var ids []uint16
		for i := range 3 {
			commit(t, s, "c1", "alice", fmt.Sprint(i))
			pk := bob.Expect(packets.Publish)
			if pk.FixedHeader.Dup {
				t.Error("DUP on a first delivery")
			}
			ids = append(ids, pk.PacketID)
		}
		bob.Ack(packets.Puback, ids[1]) // out of order: the first stays unacknowledged
		bob.Ping()
		bob.Disconnect()

		bob = s.Connect("bob", durable(version, "phone"))
		for _, want := range []struct {
			id  uint16
			seq uint64
		}{{ids[0], 3}, {ids[2], 5}} {
			pk := bob.Expect(packets.Publish)
			e := parleytest.Decode(t, pk.Payload)
			if pk.PacketID != want.id || !pk.FixedHeader.Dup || e.Seq != want.seq {
				t.Fatalf("got seq %d with id %d, DUP %v; want seq %d with id %d and DUP",
					e.Seq, pk.PacketID, pk.FixedHeader.Dup, want.seq, want.id)
			}
			bob.Ack(packets.Puback, pk.PacketID)
		}
		commit(t, s, "c1", "alice", "next")
		take(t, bob, 6, 1)
		bob.Quiet()
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		bob.Quiet()
	})
}

func TestCleanStartEndsTheSession(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/c1/messages")
		bob.Disconnect()
		commit(t, s, "c1", "alice", "missed")
		for range 2 { // gone, and gone for good
			bob = s.Dial()
			ack := bob.Connect(mqttest.Options{Version: version, ClientID: "phone", Clean: true, User: "bob", Password: s.Token("bob")})
			if ack.SessionPresent {
				t.Fatal("a clean start found a session")
			}
			bob.Quiet()
			bob.Disconnect()
		}
	})
}

func TestSubscribeStartsAtHeadOrAfter(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		for i := range 5 {
			commit(t, s, "c1", "alice", fmt.Sprint(i))
		}
		bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
		ack := bob.Subscribe("chat/c1/messages")
		if h, f := mqttest.UserProperty(ack, "head"), mqttest.UserProperty(ack, "first"); h != "7" || f != "1" {
			t.Errorf("SUBACK says head %q and first %q, want 7 and 1", h, f)
		}
		bob.Quiet()
		after := func(seq string) []packets.UserProperty { return []packets.UserProperty{{Key: "after", Val: seq}} }
		bob.MustSend(bob.SubscribePacket(after("4"), 1, "chat/c1/messages"))
		take(t, bob, 5, 3)
		bob.Quiet()

		alice := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
		alice.MustSend(alice.SubscribePacket(after("0"), 1, "chat/+/messages"))
		take(t, alice, 1, 7)
		alice.MustSend(alice.SubscribePacket(after("-1"), 1, "chat/c1/messages"))
		if ack := alice.Expect(packets.Suback); ack.ReasonCodes[0] < 0x80 {
			t.Errorf("after=-1 was granted 0x%02x", ack.ReasonCodes[0])
		}
	})
}

func TestReplay(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		for i := range 5 {
			commit(t, s, "c1", "alice", fmt.Sprint(i))
		}
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		other := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b2", Clean: true})
		other.Subscribe("chat/c1/messages")
		bob.Publish("chat/c1/replay", `{"after":3}`, 1) // without a subscription
		take(t, bob, 4, 4)
		commit(t, s, "c1", "alice", "live")
		bob.Quiet() // a replay is no subscription

		bob.Subscribe("chat/c1/messages")
		commit(t, s, "c1", "alice", "live too")
		take(t, bob, 9, 1)
		bob.Publish("chat/c1/replay", `{"after":7}`, 0)
		take(t, bob, 8, 2)
		commit(t, s, "c1", "alice", "more")
		take(t, bob, 10, 1)
		take(t, other, 8, 3) // what others replay is not for it
		other.Quiet()
	})
}

func TestRemovedMemberGetsNothingMore(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		ctx := context.Background()
		owner := bridge.Actor{UserID: "alice"}
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/+/messages", "chat/c1/messages")
		commit(t, s, "c1", "alice", "one")
		if err := s.Log.RemoveMember(ctx, owner, "c1", "bob"); err != nil {
			t.Fatal(err)
		}
		commit(t, s, "c1", "alice", "secret")
		if got := take(t, bob, 3, 2); got[1].Type != "leave" || got[1].UserID != "bob" {
			t.Fatalf("the last entry is %+v, want the own leave", got[1])
		}
		bob.Quiet()
		for _, filter := range []string{"chat/c1/messages", "chat/nowhere/messages"} {
			want := byte(0x87)
			if version == 4 {
				want = 0x80
			}
			if ack := bob.Subscribe(filter); ack.ReasonCodes[0] != want {
				t.Errorf("SUBACK of %s is 0x%02x, want 0x%02x", filter, ack.ReasonCodes[0], want)
			}
		}
		// Joins again: from the own join entry on, without a new SUBSCRIBE.
		if _, _, err := s.Log.PutMember(ctx, owner, "c1", "bob", chat.RoleMember); err != nil {
			t.Fatal(err)
		}
		commit(t, s, "c1", "alice", "back")
		if got := take(t, bob, 6, 2); got[0].Type != "join" || got[1].Content != "back" {
			t.Fatalf("after joining again: %+v", got)
		}

		// The same while away.
		bob.Disconnect()
		commit(t, s, "c1", "alice", "eight")
		if err := s.Log.RemoveMember(ctx, bridge.Actor{UserID: "bob"}, "c1", "bob"); err != nil {
			t.Fatal(err)
		}
		commit(t, s, "c1", "alice", "secret too")
		bob = s.Connect("bob", durable(version, "phone"))
		take(t, bob, 8, 2)
		bob.Quiet()
		bob.Disconnect()
		if _, _, err := s.Log.PutMember(ctx, owner, "c1", "bob", chat.RoleMember); err != nil {
			t.Fatal(err)
		}
		commit(t, s, "c1", "alice", "twelve")
		if err := s.Log.RemoveMember(ctx, owner, "c1", "bob"); err != nil {
			t.Fatal(err)
		}
		commit(t, s, "c1", "alice", "secret again")
		if _, _, err := s.Log.PutMember(ctx, owner, "c1", "bob", chat.RoleMember); err != nil {
			t.Fatal(err)
		}
		bob = s.Connect("bob", durable(version, "phone"))
		take(t, bob, 11, 3) // join, message, leave
		take(t, bob, 15, 1) // join
		bob.Quiet()
	})
}

// Memberships that begin and end while a durable session is away, or while it
// has not acknowledged: it gets what was committed in each, and no more.
func TestMembershipsWhileAway(t *testing.T) {
	ctx := context.Background()
	owner := bridge.Actor{UserID: "alice"}
	remove := func(t *testing.T, s *parleytest.Server) {
		t.Helper()
		if err := s.Log.RemoveMember(ctx, owner, "c1", "bob"); err != nil {
			t.Fatal(err)
		}
	}
	put := func(t *testing.T, s *parleytest.Server) {
		t.Helper()
		if _, _, err := s.Log.PutMember(ctx, owner, "c1", "bob", chat.RoleMember); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]func(t *testing.T, s *parleytest.Server, bob *mqttest.Client, again func() *mqttest.Client){
		"left, joined and left": func(t *testing.T, s *parleytest.Server, bob *mqttest.Client, again func() *mqttest.Client) {
			s.Conversation("c1", "alice", "bob")
			bob.Disconnect()
			bob = again()
			take(t, bob, 2, 1)
			bob.Disconnect()
			remove(t, s)
			commit(t, s, "c1", "alice", "secret")
			put(t, s)
			commit(t, s, "c1", "alice", "second time")
			remove(t, s)
			commit(t, s, "c1", "alice", "secret too")
			bob = again()
			take(t, bob, 3, 1)
			take(t, bob, 5, 3)
			bob.Quiet()
		},
		"removed and added before it acknowledged": func(t *testing.T, s *parleytest.Server, bob *mqttest.Client, again func() *mqttest.Client) {
			s.Conversation("c1", "alice", "bob")
			take(t, bob, 2, 1)
			commit(t, s, "c1", "alice", "three")
			remove(t, s)
			bob.Expect(packets.Publish)
			bob.Expect(packets.Publish) // the leave, neither acknowledged
			put(t, s)
			bob.Expect(packets.Publish)
			bob.Disconnect()
			bob = again()
			take(t, bob, 3, 3)
			bob.Quiet()
			bob.Disconnect()
			again().Quiet()
		},
		"joined while away, seen and not acknowledged": func(t *testing.T, s *parleytest.Server, bob *mqttest.Client, again func() *mqttest.Client) {
			bob.Disconnect()
			s.Conversation("c1", "alice", "bob")
			commit(t, s, "c1", "alice", "three")
			bob = again()
			bob.Expect(packets.Publish)
			bob.Disconnect()
			remove(t, s)
			commit(t, s, "c1", "alice", "secret")
			bob = again()
			take(t, bob, 2, 3)
			bob.Quiet()
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
				again := func() *mqttest.Client { return s.Connect("bob", durable(version, "phone")) }
				bob := again()
				bob.Subscribe("chat/+/messages")
				test(t, s, bob, again)
			})
		})
	}
}

func TestUnsubscribe(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/+/messages", "chat/c1/messages")
		ack := bob.Unsubscribe("chat/+/messages", "chat/none/messages")
		if version == 5 && (ack.ReasonCodes[0] != 0 || ack.ReasonCodes[1] != 0x11) {
			t.Errorf("UNSUBACK %x, want 00 11", ack.ReasonCodes)
		}
		commit(t, s, "c1", "alice", "still")
		take(t, bob, 3, 1)
		bob.Unsubscribe("chat/c1/messages")
		commit(t, s, "c1", "alice", "not any more")
		bob.Quiet()
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		bob.Quiet()
		bob.Subscribe("chat/c1/messages") // first again: at its head
		bob.Quiet()
		commit(t, s, "c1", "alice", "five")
		take(t, bob, 5, 1)
	})
}

func TestSessionsOfTwoUsersNeverMeet(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "same"))
		bob.Subscribe("chat/c1/messages")
		mallory := s.Dial()
		ack := mallory.Connect(mqttest.Options{Version: version, ClientID: "same", Expiry: 3600, User: "mallory", Password: s.Token("mallory")})
		if ack.SessionPresent {
			t.Error("mallory inherited a session")
		}
		commit(t, s, "c1", "alice", "hi")
		take(t, bob, 3, 1)
		mallory.Quiet()
	})
}

func TestTakeover(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		first := s.Connect("bob", durable(version, "phone"))
		first.Subscribe("chat/c1/messages")
		second := s.Connect("bob", durable(version, "phone"))
		if code := first.ExpectClosed(); version == 5 && code != 0x8E {
			t.Errorf("the first connection ended with 0x%02x, want 0x8E", code)
		}
		commit(t, s, "c1", "alice", "hi")
		take(t, second, 3, 1)
	})
}

func TestTokenExpiryEndsTheConnection(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		c := s.Dial()
		token := parleytest.Token(t, acl.Claims{Subject: "bob", TTL: 2 * time.Second})
		c.Connect(mqttest.Options{Version: version, ClientID: "b", Clean: true, User: "bob", Password: token})
		if code := c.ExpectClosed(); version == 5 && code != 0x87 {
			t.Errorf("the connection ended with 0x%02x, want 0x87", code)
		}
	})
}

func TestShutdownTellsClients(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		c := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		s.Stop()
		if code := c.ExpectClosed(); version == 5 && code != 0x8B {
			t.Errorf("the connection ended with 0x%02x, want 0x8B", code)
		}
	})
}

func TestSessionOutlivesARestart(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(5, "phone"))
		bob.Subscribe("chat/+/messages")
		commit(t, s, "c1", "alice", "one")
		take(t, bob, 3, 1)
		bob.Ping()
		s.Stop()
		s = parleytest.Start(t, backend, dsn)
		commit(t, s, "c1", "alice", "two")
		bob = s.Connect("bob", durable(5, "phone"))
		take(t, bob, 4, 1)
		bob.Quiet()
	})
}

func TestDeletedConversationEndsDelivery(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(5, "phone"))
		bob.Subscribe("chat/+/messages")
		if err := s.Log.DeleteConversation(context.Background(), bridge.Actor{UserID: "alice"}, "c1"); err != nil {
			t.Fatal(err)
		}
		s.Conversation("c1", "mallory", "bob") // the id may be used again: a new stream
		commit(t, s, "c1", "mallory", "hello")
		got := take(t, bob, 2, 2)
		if got[0].Type != "join" || got[1].SenderID != "mallory" {
			t.Fatalf("got %+v", got)
		}
	})
}

func TestErasedContentIsNotDelivered(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
		bob.Subscribe("chat/c1/messages")
		alice := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
		alice.Publish("chat/c1/messages", `{"content":"the secret"}`, 1)
		alice.Publish("chat/c1/messages", `{"type":"edit","target":3,"content":"the secret edited"}`, 1)
		take(t, bob, 3, 2)
		alice.Publish("chat/c1/messages", `{"type":"delete","target":3}`, 1)
		take(t, bob, 5, 1)
		bob.Publish("chat/c1/replay", `{"after":2}`, 1)
		for _, e := range take(t, bob, 3, 3) {
			if strings.Contains(e.Content, "secret") || e.Type != "delete" && !e.Deleted {
				t.Errorf("erased entry: %+v", e)
			}
		}
	})
}

// A delete reaches also what was read for a slow reader before it.
func TestErasedWhileWaitingForASlowReader(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		for i := range 70 {
			commit(t, s, "c1", "alice", fmt.Sprint("text ", i))
		}
		bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true, ReceiveMaximum: 1})
		bob.MustSend(bob.SubscribePacket([]packets.UserProperty{{Key: "after", Val: "2"}}, 1, "chat/c1/messages"))
		first := bob.Expect(packets.Publish)
		alice := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
		alice.Publish("chat/c1/messages", `{"type":"delete","target":5}`, 1)
		alice.Expect(packets.Puback)
		bob.Ack(packets.Puback, first.PacketID)
		for _, e := range take(t, bob, 4, 70) {
			if e.Seq == 5 && (e.Content != "" || !e.Deleted) {
				t.Errorf("erased entry: %+v", e)
			}
		}
	})
}

// A subscription that goes from QoS 1 to 0 leaves nothing behind.
func TestSubscribedAgainAtQoS0(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/c1/messages")
		commit(t, s, "c1", "alice", "three")
		commit(t, s, "c1", "alice", "four")
		bob.Expect(packets.Publish) // and not acknowledged
		bob.Expect(packets.Publish)
		bob.SubscribeWith(nil, 0, "chat/c1/messages")
		commit(t, s, "c1", "alice", "five")
		bob.Expect(packets.Publish)
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		first, second := bob.Expect(packets.Publish), bob.Expect(packets.Publish)
		bob.Expect(packets.Publish) // at QoS 0
		bob.Ack(packets.Puback, second.PacketID)
		bob.Ack(packets.Puback, first.PacketID)
		bob.Ping()
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		bob.Quiet()
	})
}

// What a client says that it has holds back nothing, acknowledged or not.
func TestSubscribedFurtherOnAtQoS0(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		o := durable(5, "phone")
		o.ReceiveMaximum = 3
		bob := s.Connect("bob", o)
		bob.Subscribe("chat/c1/messages")
		for i := range 10 {
			commit(t, s, "c1", "alice", fmt.Sprint(i))
		}
		for range 3 {
			bob.Expect(packets.Publish) // and not acknowledged
		}
		bob.MustSend(bob.SubscribePacket([]packets.UserProperty{{Key: "after", Val: "12"}}, 0, "chat/c1/messages"))
		bob.Expect(packets.Suback)
		commit(t, s, "c1", "alice", "thirteen")
		take(t, bob, 13, 1)
		bob.Disconnect()
		bob = s.Connect("bob", o)
		bob.Quiet()
	})
}
