package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// trimmer is a server that looks for what has grown old all the time.
type trimmer struct {
	*parleytest.Server
	t     *testing.T
	ahead atomic.Int64 // how far the server's clock is
}

func trimmers(t *testing.T, test func(s *trimmer, version byte)) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
				s := &trimmer{t: t}
				s.Server = parleytest.New(t, backend, parleytest.Options{Log: func(c *bridge.Config) {
					c.RetainEvery, c.HeadEvery = 10*time.Millisecond, 10*time.Millisecond
					c.Now = func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
				}})
				test(s, version)
			})
		}
	})
}

// keep has the server keep so much of c1, and waits until it begins at first.
func (s *trimmer) keep(r bridge.Retention, first uint64) {
	s.t.Helper()
	if err := s.Log.SetRetention(context.Background(), bridge.Actor{Admin: true}, "c1", r); err != nil {
		s.t.Fatal(err)
	}
	late := time.After(mqttest.Patience)
	for look := time.NewTicker(5 * time.Millisecond); ; {
		c, err := s.Log.Conversation(context.Background(), "c1")
		if err != nil {
			s.t.Fatal(err)
		}
		if c.FirstSeq == first {
			return
		}
		select {
		case <-look.C:
		case <-late:
			s.t.Fatalf("c1 begins at %d, want %d", c.FirstSeq, first)
		}
	}
}

func (s *trimmer) say(n int) {
	s.t.Helper()
	for i := range n {
		commit(s.t, s.Server, "c1", "alice", fmt.Sprint("message ", i))
	}
}

// told takes the next PUBLISH, which must say that c1 begins at first.
func (s *trimmer) told(c *mqttest.Client, first uint64) {
	s.t.Helper()
	pk := c.Expect(packets.Publish)
	var p chat.Problem
	if err := json.Unmarshal(pk.Payload, &p); err != nil {
		s.t.Fatal(err)
	}
	if pk.TopicName != "users/bob/errors" || p.Code != "history_trimmed" || p.Topic != "chat/c1/messages" || p.First != first || p.Message == "" {
		s.t.Fatalf("got %s on %s, want history_trimmed with first %d", pk.Payload, pk.TopicName, first)
	}
}

func TestReaderIsToldWhereTrimmedHistoryBegins(t *testing.T) {
	trimmers(t, func(s *trimmer, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("users/bob/errors", "chat/+/messages")
		s.say(5)
		take(s.t, bob, 3, 5)
		bob.Disconnect()
		s.say(93) // up to seq 100
		s.keep(bridge.Retention{Count: 20}, 81)

		bob = s.Connect("bob", durable(version, "phone"))
		s.told(bob, 81)
		take(s.t, bob, 81, 20)
		bob.Ping()
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		bob.Quiet() // the place is behind the gap

		bob.Publish("chat/c1/replay", `{"after":0}`, 0)
		s.told(bob, 81)
		take(s.t, bob, 81, 20)
		if version == 5 {
			ack := bob.SubscribeWith([]packets.UserProperty{{Key: "after", Val: "80"}}, 1, "chat/c1/messages")
			if first, head := mqttest.UserProperty(ack, "first"), mqttest.UserProperty(ack, "head"); first != "81" || head != "100" {
				s.t.Errorf("SUBACK says first %q, head %q", first, head)
			}
			take(s.t, bob, 81, 20) // after 80 nothing is missing
		}
		bob.Quiet()
	})
}

// Everything that a reader was to have is gone; the stream goes on.
func TestReaderOfAnEmptyStream(t *testing.T) {
	trimmers(t, func(s *trimmer, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("users/bob/errors", "chat/+/messages")
		bob.Disconnect()
		s.say(8)
		s.ahead.Store(int64(2 * time.Hour))
		s.keep(bridge.Retention{Age: time.Hour}, 11)
		bob = s.Connect("bob", durable(version, "phone"))
		s.told(bob, 11)
		commit(s.t, s.Server, "c1", "alice", "eleven")
		take(s.t, bob, 11, 1)
		bob.Quiet()
	})
}

// What memory holds goes too: a reader whose window is full while entries are
// trimmed does not get them later.
func TestSlowReaderDoesNotGetWhatWasTrimmed(t *testing.T) {
	trimmers(t, func(s *trimmer, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true, ReceiveMaximum: 2})
		bob.Subscribe("users/bob/errors", "chat/+/messages")
		window := 2
		if version == 4 {
			window = 256 // it has no Receive Maximum
		}
		s.say(window + 40)
		var held []packets.Packet
		for range window {
			held = append(held, bob.Expect(packets.Publish))
		}
		bob.Quiet()
		first := uint64(2+window+40) - 20 + 1
		s.keep(bridge.Retention{Count: 20}, first)
		// Entries leave memory just after they have left the store.
		bob.Publish("chat/c1/messages", "mine", 1)
		bob.Expect(packets.Puback)
		s.keep(bridge.Retention{Count: 20}, first+1)
		s.keep(bridge.Retention{Count: 19}, first+2)
		for _, pk := range held {
			bob.Ack(packets.Puback, pk.PacketID)
		}
		pk := bob.Expect(packets.Publish)
		var p chat.Problem
		if err := json.Unmarshal(pk.Payload, &p); err != nil || p.Code != "history_trimmed" || p.First < first+1 {
			s.t.Fatalf("got %s, want history_trimmed", pk.Payload)
		}
		take(s.t, bob, p.First, int(first+20-p.First+1))
		bob.Quiet()
	})
}

// Whose own leave is trimmed gets nothing of what followed it, and who has
// joined again goes on at the join.
func TestTrimmedLeaveStillEndsDelivery(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprintf("back %v", back), func(t *testing.T) {
			trimmers(t, func(s *trimmer, version byte) {
				s.Conversation("c1", "alice", "bob")
				bob := s.Connect("bob", durable(version, "phone"))
				bob.Subscribe("users/bob/errors", "chat/+/messages")
				s.say(1)
				take(s.t, bob, 3, 1)
				bob.Disconnect()
				alice := bridge.Actor{UserID: "alice"}
				if err := s.Log.RemoveMember(context.Background(), alice, "c1", "bob"); err != nil { // seq 4
					s.t.Fatal(err)
				}
				s.say(16) // up to 20: not for bob
				if back {
					if _, _, err := s.Log.PutMember(context.Background(), alice, "c1", "bob", chat.RoleMember); err != nil { // seq 21
						s.t.Fatal(err)
					}
					s.say(4) // up to 25
				}
				s.keep(bridge.Retention{Count: 10}, map[bool]uint64{false: 11, true: 16}[back])
				bob = s.Connect("bob", durable(version, "phone"))
				if back {
					s.told(bob, 16)
					take(s.t, bob, 21, 5)
				}
				bob.Quiet()
				s.say(1)
				if back {
					take(s.t, bob, 26, 1)
				}
				bob.Quiet()
			})
		})
	}
}
