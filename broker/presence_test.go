package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// state is what stands on users/<u>/presence.
type state struct {
	UserID   string `json:"userId"`
	Status   string `json:"status"`
	Devices  int    `json:"devices"`
	LastSeen string `json:"lastSeen"`
}

func (s state) String() string {
	seen := ""
	if s.LastSeen != "" {
		seen = " seen"
	}
	return fmt.Sprintf("%s %s %d%s", s.UserID, s.Status, s.Devices, seen)
}

// nextState reads the next presence.
func nextState(t *testing.T, c *mqttest.Client) (state, packets.Packet) {
	t.Helper()
	pk := c.Expect(packets.Publish)
	var s state
	if err := json.Unmarshal(pk.Payload, &s); err != nil || pk.TopicName != "users/"+s.UserID+"/presence" || pk.FixedHeader.Qos != 0 {
		t.Fatalf("presence %s %s: %v", pk.TopicName, pk.Payload, err)
	}
	return s, pk
}

// sees wants the next presence to be this one.
func sees(t *testing.T, c *mqttest.Client, want string) {
	t.Helper()
	if got, pk := nextState(t, c); got.String() != want || pk.FixedHeader.Retain {
		t.Fatalf("got %v, retain %v; want %s", got, pk.FixedHeader.Retain, want)
	}
}

// snapshot wants so many states that stand, in any order, each once.
func snapshot(t *testing.T, c *mqttest.Client, want ...string) {
	t.Helper()
	left := map[string]bool{}
	for _, w := range want {
		left[w] = true
	}
	for range want {
		got, pk := nextState(t, c)
		if !left[got.String()] || !pk.FixedHeader.Retain {
			t.Fatalf("got %v, retain %v; want one of %v", got, pk.FixedHeader.Retain, left)
		}
		delete(left, got.String())
	}
}

// grace makes a server with a short grace time.
func grace(t *testing.T, backend, dsn string, d time.Duration) *parleytest.Server {
	return parleytest.Start(t, backend, dsn, parleytest.Options{Broker: func(c *broker.Config) { c.PresenceGrace = d }})
}

const shortGrace = 100 * time.Millisecond

func user(id string) mqttest.Options { return mqttest.Options{ClientID: id} }

func TestPresence(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := grace(t, backend, parleytest.Database(t, backend), shortGrace)
		s.Conversation("c1", "alice", "bob", "carol")
		s.Conversation("c2", "alice", "bob") // bob is told of once all the same
		s.Conversation("c3", "alice", "dave")
		alice := s.Connect("alice", user("a1"))
		bob := s.Connect("bob", user("b1"))
		dave := s.Connect("dave", user("d1"))
		dave.Subscribe("users/+/presence")
		snapshot(t, dave, "alice online 1", "dave online 1")
		alice.Subscribe("users/+/presence")
		snapshot(t, alice, "alice online 1", "bob online 1", "carol offline 0", "dave online 1")
		alice.Quiet()

		// Many devices: the best of them counts.
		b2 := s.Connect("bob", user("b2"))
		sees(t, alice, "bob online 2")
		sent(t, bob, "users/bob/presence", `{"status":"away"}`, 0)
		sent(t, b2, "users/bob/presence", `{"status":"away"}`, 0)
		sees(t, alice, "bob away 2")
		sent(t, b2, "users/bob/presence", `{"status":"online"}`, 0)
		sees(t, alice, "bob online 2")
		sent(t, b2, "users/bob/presence", `{"status":"offline"}`, 0) // it does not count
		sees(t, alice, "bob away 1")

		// One that is invisible hides all; the user itself sees that.
		bob.Subscribe("users/bob/presence") // users/bob/# would tell of notifications too
		snapshot(t, bob, "bob away 1")
		sent(t, b2, "users/bob/presence", `{"status":"invisible"}`, 0)
		sees(t, alice, "bob offline 0 seen")
		sees(t, bob, "bob invisible 2")
		sent(t, bob, "users/bob/presence", `{"status":"online"}`, 0)
		alice.Quiet()
		sent(t, b2, "users/bob/presence", `{"status":"online"}`, 0)
		sees(t, alice, "bob online 2")
		sees(t, bob, "bob online 2")

		b2.Disconnect()
		sees(t, alice, "bob online 1")
		_ = bob.Conn.Close()
		sees(t, alice, "bob offline 0 seen")
		carol := s.Connect("carol", user("c1"))
		sees(t, alice, "carol online 1")
		carol.Disconnect()
		sees(t, alice, "carol offline 0 seen")
		dave.Quiet() // shares no conversation with bob and carol
	})
}

// A connection that follows another at once shows as nothing, whether it
// takes a session over or is another.
func TestPresenceSwallowsReconnects(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := grace(t, backend, parleytest.Database(t, backend), time.Hour)
		s.Conversation("c1", "alice", "bob")
		alice := s.Connect("alice", user("a"))
		bob := s.Connect("bob", user("b"))
		alice.Subscribe("users/bob/presence")
		snapshot(t, alice, "bob online 1")
		bob2 := s.Connect("bob", user("b")) // a takeover
		bob.ExpectClosed()
		_ = bob2.Conn.Close()
		bob3 := s.Dial()
		for range 2 { // the first may come before the loss is noticed
			bob3 = s.Connect("bob", user("b"))
		}
		bob3.Disconnect()
		bob4 := s.Connect("bob", user("another"))
		bob4.Ping()
		alice.Quiet()
		// Who was invisible stays so.
		sent(t, bob4, "users/bob/presence", `{"status":"invisible"}`, 0)
		sees(t, alice, "bob offline 0 seen")
		_ = bob4.Conn.Close()
		bob5 := s.Connect("bob", user("another"))
		bob5.Ping()
		alice.Quiet()
		sent(t, bob5, "users/bob/presence", `{"status":"online"}`, 0)
		sees(t, alice, "bob online 1")
	})
}

// The server makes presence: a will on it does nothing, however late it comes.
func TestPresenceLateWill(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		alice := s.Connect("alice", user("a"))
		will := mqttest.Options{Version: version, ClientID: "b", Change: func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillRetain = true, true
			pk.Connect.WillTopic, pk.Connect.WillPayload = "users/bob/presence", []byte(`{"status":"offline"}`)
		}}
		bob := s.Connect("bob", will)
		alice.Subscribe("users/+/presence")
		snapshot(t, alice, "alice online 1", "bob online 1")
		b2 := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b2"})
		sees(t, alice, "bob online 2")
		sent(t, b2, "users/bob/presence", `{"status":"away"}`, 0)
		_ = bob.Conn.Close() // its will is published, and is nothing
		sees(t, alice, "bob away 1")
		alice.Quiet()

		bad := s.Dial()
		if ack, err := bad.TryConnect(mqttest.Options{Version: version, ClientID: "x", User: "bob", Password: s.Token("bob"), Change: func(pk *packets.Packet) {
			will.Change(pk)
			pk.Connect.WillPayload = []byte(`{"status":"gone"}`)
		}}); err == nil && ack.ReasonCode == 0 { // 3.1.1 has no code for it
			t.Error("a will that is no presence was taken")
		}
		b2.PublishPacket(&wire.Publish{Topic: []byte("users/bob/presence"), Payload: []byte(`{"status":"online"}`), Retain: true, QoS: 1, PacketID: 9})
		b2.Expect(packets.Puback)
		sees(t, alice, "bob online 1")
	})
}

func TestPresenceSubscriptions(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := grace(t, backend, parleytest.Database(t, backend), shortGrace)
		ctx, owner := context.Background(), bridge.Actor{UserID: "alice"}
		s.Conversation("c1", "alice", "bob")
		s.Conversation("c2", "carol")
		alice := s.Connect("alice", user("a"))
		if ack := alice.Subscribe("users/bob/presence", "users/alice/presence", "users/carol/presence", "users/nobody/presence"); string(ack.ReasonCodes) != "\x00\x00\x87\x87" {
			t.Fatalf("SUBACK %x", ack.ReasonCodes)
		}
		snapshot(t, alice, "bob offline 0", "alice online 1")
		// Retain Handling and Retain As Published are kept.
		subscribe := func(sub packets.Subscription) {
			t.Helper()
			alice.MustSend(subscribePacket(t, alice, sub))
			alice.Expect(packets.Suback)
		}
		subscribe(packets.Subscription{Filter: "users/bob/presence", RetainHandling: 1})
		subscribe(packets.Subscription{Filter: "users/bob/presence", RetainHandling: 2})
		alice.Quiet()
		subscribe(packets.Subscription{Filter: "users/bob/presence", RetainHandling: 0, RetainAsPublished: true})
		snapshot(t, alice, "bob offline 0")
		bob := s.Connect("bob", user("b"))
		snapshot(t, alice, "bob online 1")
		alice.Unsubscribe("users/bob/presence")
		sent(t, bob, "users/bob/presence", `{"status":"away"}`, 0)
		alice.Quiet()

		// Following membership: who joins sees and is seen; who has left is not.
		bob.Subscribe("users/+/presence")
		snapshot(t, bob, "alice online 1", "bob away 1")
		carol := s.Connect("carol", user("c"))
		carol.Subscribe("users/+/presence")
		snapshot(t, carol, "carol online 1")
		bob.Quiet()
		if _, _, err := s.Log.PutMember(ctx, owner, "c1", "carol", chat.RoleMember); err != nil {
			t.Fatal(err)
		}
		sees(t, bob, "carol online 1")
		got := map[string]bool{}
		for range 2 {
			st, _ := nextState(t, carol)
			got[st.String()] = true
		}
		if !got["alice online 1"] || !got["bob away 1"] {
			t.Errorf("carol was told %v", got)
		}
		if err := s.Log.RemoveMember(ctx, owner, "c1", "bob"); err != nil {
			t.Fatal(err)
		}
		sent(t, carol, "users/carol/presence", `{"status":"away"}`, 0)
		sees(t, carol, "carol away 1")
		sent(t, bob, "users/bob/presence", `{"status":"online"}`, 0)
		sees(t, bob, "bob online 1")
		bob.Quiet()
		carol.Quiet()
	})
}

func subscribePacket(t *testing.T, c *mqttest.Client, sub packets.Subscription) []byte {
	t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, ProtocolVersion: c.Version,
		PacketID: c.ID(), Filters: packets.Subscriptions{sub}}
	var buf bytes.Buffer
	if err := pk.SubscribeEncode(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// A server that was killed, or stopped, knows when everybody was there last,
// and a client that was away is told how things stand.
func TestPresenceAfterRestart(t *testing.T) {
	for _, kill := range []bool{false, true} {
		parleytest.Each(t, func(t *testing.T, backend string) {
			dsn := parleytest.Database(t, backend)
			saved := make(chan string, 100)
			s := parleytest.Start(t, backend, dsn, parleytest.Options{
				Store:  func(s bridge.Store) bridge.Store { return &peopleSaved{s, saved} },
				Broker: func(c *broker.Config) { c.PresenceGrace = shortGrace }})
			s.Conversation("c1", "alice", "bob", "carol")
			alice := s.Connect("alice", durable(5, "a"))
			alice.Subscribe("users/+/presence")
			snapshot(t, alice, "alice online 1", "bob offline 0", "carol offline 0")
			bob := s.Connect("bob", user("b"))
			sees(t, alice, "bob online 1")
			for timeout := time.After(mqttest.Patience); ; {
				select {
				case user := <-saved:
					if user != "bob" {
						continue
					}
				case <-timeout:
					t.Fatal("it was not saved that bob is there")
				}
				break
			}
			if kill { // what the store has then
				if err := s.Store.SavePeople(context.Background(), []bridge.Person{{UserID: "carol", Online: true}}); err != nil {
					t.Fatal(err)
				}
			}
			s.Stop()
			if !kill {
				bob.ExpectClosed()
			}
			began := time.Now().Add(-time.Second)
			s = grace(t, backend, dsn, shortGrace)
			alice = s.Connect("alice", durable(5, "a"))
			got := map[string]state{}
			for range 3 { // with no SUBSCRIBE
				st, _ := nextState(t, alice)
				got[st.UserID] = st
			}
			if got["alice"].Status != "online" || got["bob"].Status != "offline" || got["bob"].LastSeen == "" ||
				kill != (got["carol"].LastSeen != "") {
				t.Fatalf("after the restart: %v", got)
			}
			if at, err := time.Parse(chat.TimeFormat, got["bob"].LastSeen); err != nil || at.Before(began.Add(-10*time.Second)) {
				t.Errorf("bob was there last at %v, %v", got["bob"].LastSeen, err)
			}
			alice.Quiet()
		})
	}
}

// peopleSaved is a store that tells who was saved as there.
type peopleSaved struct {
	bridge.Store
	online chan<- string
}

func (s *peopleSaved) SavePeople(ctx context.Context, people []bridge.Person) error {
	err := s.Store.SavePeople(ctx, people)
	for _, p := range people {
		if err == nil && p.Online {
			s.online <- p.UserID
		}
	}
	return err
}

// Many members are told of as the connection takes them.
func TestPresenceSnapshotOfMany(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		members := []string{"alice"}
		for i := range 1000 {
			members = append(members, fmt.Sprint("u", i))
		}
		s.Conversation("c1", members...)
		for i := range 3 {
			s.Conversation(fmt.Sprint("d", i), members[:500]...)
		}
		alice := s.Connect("alice", user("a"))
		alice.Subscribe("users/+/presence")
		got := map[string]bool{}
		for range len(members) {
			st, _ := nextState(t, alice)
			if got[st.UserID] {
				t.Fatalf("told of %s twice", st.UserID)
			}
			got[st.UserID] = true
		}
		alice.Quiet()
	})
}
