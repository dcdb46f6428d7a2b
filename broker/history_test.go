package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// In a conversation with history "join" no way leads to what was before the
// newest join: not after, not replay, not a session that returns.
func TestHistoryFromJoin(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		ctx, owner := context.Background(), bridge.Actor{UserID: "alice"}
		s.Conversation("c1", "alice", "bob") // 1, 2
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		rejoin := func() {
			t.Helper()
			must(s.Log.RemoveMember(ctx, owner, "c1", "bob"))
			_, _, err := s.Log.PutMember(ctx, owner, "c1", "bob", chat.RoleMember)
			must(err)
		}
		away := s.Connect("bob", durable(5, "away"))
		away.Subscribe("chat/c1/messages")
		away.Disconnect()
		commit(t, s, "c1", "alice", "early") // 3
		rejoin()                             // 4, 5
		commit(t, s, "c1", "alice", "late")  // 6
		must(s.Log.SetHistory(ctx, owner, "c1", true))

		bob := s.Connect("bob", durable(5, "here"))
		ack := bob.SubscribeWith(after("0"), 1, "chat/c1/messages")
		if got := mqttest.UserProperty(ack, "first"); got != "5" {
			t.Errorf("SUBACK says first %q, want 5", got)
		}
		take(t, bob, 5, 2)
		bob.Quiet()
		bob.Publish("chat/c1/replay", `{"after":1}`, 0)
		take(t, bob, 5, 2)
		bob.Quiet()
		other := s.Connect("bob", durable(5, "other")) // replays without a subscription
		other.Publish("chat/c1/replay", `{"after":0}`, 0)
		take(t, other, 5, 2)
		other.Quiet()
		all := s.Connect("bob", durable(5, "all"))
		all.SubscribeWith(after("0"), 1, "chat/+/messages")
		take(t, all, 5, 2)
		all.Quiet()
		away = s.Connect("bob", durable(5, "away"))
		take(t, away, 5, 2)
		away.Quiet()

		// The owner has been there all the time, and scope admin reads all.
		alice := s.Connect("alice", durable(5, "a"))
		alice.SubscribeWith(after("0"), 1, "chat/c1/messages")
		take(t, alice, 1, 6)
		root := s.Dial()
		root.Connect(mqttest.Options{Version: 5, ClientID: "r", Clean: true, User: "bob",
			Password: parleytest.Token(t, acl.Claims{Subject: "bob", Scope: "admin", TTL: time.Hour})})
		if ack := root.SubscribeWith(after("0"), 1, "chat/c1/messages"); mqttest.UserProperty(ack, "first") != "1" {
			t.Errorf("SUBACK of scope admin says first %q", mqttest.UserProperty(ack, "first"))
		}
		take(t, root, 1, 6)

		// Taken back, it is all there again.
		must(s.Log.SetHistory(ctx, owner, "c1", false))
		other.Publish("chat/c1/replay", `{"after":0}`, 0)
		take(t, other, 1, 6)

		// A session that was away while its user left and came back, with
		// entries under way that it had not acknowledged.
		lost := s.Connect("bob", durable(5, "lost"))
		lost.SubscribeWith(after("2"), 1, "chat/c1/messages")
		for range 4 {
			lost.Expect(packets.Publish)
		}
		lost.Disconnect()
		must(s.Log.SetHistory(ctx, owner, "c1", true))
		rejoin() // 7, 8
		lost = s.Connect("bob", durable(5, "lost"))
		take(t, lost, 8, 1)
		lost.Quiet()
	})
}

// TestRoles holds who may do what over MQTT, as the table of the REST side
// does.
func TestRoles(t *testing.T) {
	const ok, no, none = byte(0), byte(0x87), byte(0x99)
	users := []string{"alice", "adam", "bob", "carol", "lea", "mallory", "root"}
	actions := []struct {
		name, topic, payload string // no payload: SUBSCRIBE
		want                 [7]byte
	}{
		{"subscribe", "chat/%s/messages", "", [7]byte{ok, ok, ok, ok, no, no, ok}},
		{"replay", "chat/%s/replay", `{"after":0}`, [7]byte{ok, ok, ok, ok, no, no, ok}},
		{"send", "chat/%s/messages", `{"content":"hi"}`, [7]byte{ok, ok, ok, ok, no, no, no}},
		{"send text", "chat/%s/messages", `hi`, [7]byte{ok, ok, ok, ok, no, no, no}},
		{"edit carol's", "chat/%s/messages", `{"type":"edit","target":7,"content":"x"}`, [7]byte{ok, ok, no, ok, no, no, no}},
		{"delete carol's", "chat/%s/messages", `{"type":"delete","target":7}`, [7]byte{ok, ok, no, ok, no, no, no}},
		{"edit lea's", "chat/%s/messages", `{"type":"edit","target":5,"content":"x"}`, [7]byte{ok, ok, no, no, no, no, no}},
		{"delete lea's", "chat/%s/messages", `{"type":"delete","target":5}`, [7]byte{ok, ok, no, no, no, no, no}},
		{"react", "chat/%s/messages", `{"type":"reaction","target":7,"emoji":"👍"}`, [7]byte{ok, ok, ok, ok, no, no, no}},
		{"edit no message", "chat/%s/messages", `{"type":"edit","target":1,"content":"x"}`, [7]byte{none, none, none, none, no, no, no}},
	}
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		clients := map[string]*mqttest.Client{}
		for _, user := range users {
			claims := acl.Claims{Subject: user, TTL: time.Hour}
			if user == "root" {
				claims.Scope = "admin"
			}
			clients[user] = s.Dial()
			clients[user].Connect(mqttest.Options{Version: 5, ClientID: "d", Clean: true, User: user, Password: parleytest.Token(t, claims)})
		}
		n := 0
		for _, a := range actions {
			for i, user := range users {
				n++
				id := fmt.Sprint("c", n)
				castOf(t, s, id)
				head := headOf(t, s, id)
				if a.payload == "" {
					if ack := clients[user].Subscribe(fmt.Sprintf(a.topic, id)); ack.ReasonCodes[0]&0x80 != a.want[i]&0x80 {
						t.Errorf("%s by %s: SUBACK 0x%02x, want 0x%02x", a.name, user, ack.ReasonCodes[0], a.want[i])
					}
					clients[user].Unsubscribe(fmt.Sprintf(a.topic, id))
					continue
				}
				clients[user].Publish(fmt.Sprintf(a.topic, id), a.payload, 1)
				if got := puback(clients[user]).ReasonCode; got != a.want[i] {
					t.Errorf("%s by %s: PUBACK 0x%02x, want 0x%02x", a.name, user, got, a.want[i])
				}
				grown := headOf(t, s, id) > head
				if sends := a.name != "replay" && a.want[i] == ok; grown != sends {
					t.Errorf("%s by %s: it stands in the log: %v", a.name, user, grown)
				}
			}
		}
	})
}

// puback skips what else comes, such as entries that were replayed.
func puback(c *mqttest.Client) packets.Packet {
	for {
		if pk := c.Next(); pk.FixedHeader.Type == packets.Puback {
			return pk
		}
	}
}

// castOf makes a conversation with somebody in each role: 5 is a message of
// lea, who has left, 7 one of carol, a member.
func castOf(t *testing.T, s *parleytest.Server, id string) {
	t.Helper()
	ctx, owner := context.Background(), bridge.Actor{UserID: "alice"}
	s.Conversation(id, "alice", "adam", "lea", "bob")
	commit(t, s, id, "lea", "from lea")
	for user, role := range map[string]chat.Role{"carol": chat.RoleMember, "adam": chat.RoleAdmin} {
		if _, _, err := s.Log.PutMember(ctx, owner, id, user, role); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, s, id, "carol", "from carol")
	if err := s.Log.RemoveMember(ctx, owner, id, "lea"); err != nil {
		t.Fatal(err)
	}
}

func headOf(t *testing.T, s *parleytest.Server, id string) uint64 {
	t.Helper()
	m, err := s.Log.Membership(context.Background(), id, "alice")
	if err != nil {
		t.Fatal(err)
	}
	return m.Head.Head
}

// TestBlockedOverMQTT: a direct conversation in which one has blocked the
// other refuses sends of both, and delivers what was there.
func TestBlockedOverMQTT(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		ctx := context.Background()
		conv, _, err := s.Log.CreateDirect(ctx, "alice", "bob")
		if err != nil {
			t.Fatal(err)
		}
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		bob.Subscribe("chat/+/messages", "users/bob/errors")
		commit(t, s, conv.ID, "alice", "hi")
		take(t, bob, 3, 1)
		if err := s.Log.Block(ctx, "alice", "bob"); err != nil {
			t.Fatal(err)
		}
		bob.Publish("chat/"+conv.ID+"/messages", `{"content":"hello?"}`, 1)
		var refused, told bool
		for range 2 {
			switch pk := bob.Next(); pk.FixedHeader.Type {
			case packets.Puback:
				refused = version == 4 || pk.ReasonCode == 0x87
			case packets.Publish:
				told = pk.TopicName == "users/bob/errors"
			}
		}
		if !refused || !told {
			t.Errorf("a send while blocked: refused %v, told %v", refused, told)
		}
		if err := s.Log.Unblock(ctx, "alice", "bob"); err != nil {
			t.Fatal(err)
		}
		commit(t, s, conv.ID, "bob", "again")
		take(t, bob, 4, 1)
	})
}

// TestBlockHidesPresence: while a block stands, each of the two sees the other
// as offline, at once and after a restart; others see both.
func TestBlockHidesPresence(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		ctx, dsn := context.Background(), parleytest.Database(t, backend)
		s := grace(t, backend, dsn, shortGrace)
		s.Conversation("c1", "alice", "bob", "carol")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		alice, bob, carol := s.Connect("alice", user("a")), s.Connect("bob", user("b")), s.Connect("carol", user("c"))
		for _, c := range []*mqttest.Client{alice, bob, carol} {
			c.Subscribe("users/+/presence")
			snapshot(t, c, "alice online 1", "bob online 1", "carol online 1")
		}
		must(s.Log.Block(ctx, "alice", "bob"))
		for c, other := range map[*mqttest.Client]string{alice: "bob", bob: "alice"} {
			if got, _ := nextState(t, c); got.UserID != other || got.Status != "offline" {
				t.Errorf("after the block: %v, want %s offline", got, other)
			}
		}
		sent(t, bob, "users/bob/presence", `{"status":"away"}`, 0)
		sees(t, carol, "bob away 1")
		sees(t, bob, "bob away 1")
		alice.Quiet()
		must(s.Log.Block(ctx, "bob", "alice"))
		must(s.Log.Unblock(ctx, "alice", "bob")) // the other block stands
		alice.Quiet()
		s.Stop()

		s = grace(t, backend, dsn, shortGrace)
		alice, bob = s.Connect("alice", user("a")), s.Connect("bob", user("b"))
		if ack := alice.Subscribe("users/bob/presence"); ack.ReasonCodes[0]&0x80 == 0 {
			t.Errorf("SUBACK 0x%02x for the presence of who has blocked her", ack.ReasonCodes[0])
		}
		alice.Subscribe("users/+/presence")
		snapshot(t, alice, "alice online 1", "carol offline 0 seen")
		alice.Quiet()
		must(s.Log.Unblock(ctx, "bob", "alice"))
		sees(t, alice, "bob online 1")
		bob.Ping()
	})
}
