package broker_test

import (
	"fmt"
	"slices"
	"sync"
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

// seen is the connection of a session, which must be there.
func seen(t *testing.T, s *parleytest.Server, user, client string) broker.Connection {
	t.Helper()
	c, ok := s.Broker.Connection(bridge.SessionKey{UserID: user, ClientID: client})
	if !ok {
		t.Fatalf("%s's connection %q is not seen", user, client)
	}
	return c
}

func names(list []broker.Connection) (names []string) {
	for i := range list {
		names = append(names, list[i].Key.UserID+" "+list[i].Key.ClientID)
	}
	return names
}

// What an operator sees of a client that has got some entries and messages,
// and acknowledges none of them.
func TestConnectionIsSeen(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		s.Conversation("c2", "bob")
		before := time.Now()
		bob := device(t, s, "bob", mqttest.Options{Version: version, ClientID: "a/b c", KeepAlive: 65535, Expiry: 3600})
		bob.Subscribe("chat/+/messages", "users/bob/errors", "news/#")
		eve := device(t, s, "eve", mqttest.Options{ClientID: "e", Clean: true})
		for range 3 {
			commit(t, s, "c1", "alice", "hi")
			send(t, eve, "news/x", "12345", 1, false)
		}
		for range 6 {
			bob.Expect(packets.Publish)
		}
		got := seen(t, s, "bob", "a/b c")
		expiry := uint32(3600)
		if version < 5 {
			expiry = bridge.NeverExpires
		}
		if got.Version != version || got.Transport != "tcp" || got.Address != bob.Conn.LocalAddr().String() || got.CleanStart ||
			got.SessionExpiry != expiry || got.KeepAlive != 65535 || got.ConnectedAt.Before(before) || time.Since(got.ConnectedAt) < 0 {
			t.Errorf("saw %+v", got)
		}
		if got.InflightEntries != 3 || got.InflightDeliveries != 3 || got.Waiting != 3 || got.WaitingBytes < 15 {
			t.Errorf("in flight %d entries and %d deliveries, waiting %d of %d bytes", got.InflightEntries,
				got.InflightDeliveries, got.Waiting, got.WaitingBytes)
		}
		var filters []string
		for _, sub := range got.Subscriptions {
			filters = append(filters, fmt.Sprint(sub.Filter, " ", sub.QoS))
		}
		want := []string{"chat/+/messages 1", "news/# 1", "users/bob/errors 0"}
		if !slices.Equal(filters, want) || got.SubscriptionCount != 3 {
			t.Errorf("saw %d subscriptions %q, want %q", got.SubscriptionCount, filters, want)
		}
		streams := []bridge.Progress{{Stream: chat.ConversationStream("c1"), Position: 5, Head: 5},
			{Stream: chat.ConversationStream("c2"), Position: 1, Head: 1}}
		if !slices.Equal(got.Streams, streams) || got.StreamCount != 2 {
			t.Errorf("saw %d streams %+v, want %+v", got.StreamCount, got.Streams, streams)
		}
	})
}

// A client that acknowledges nothing is as far behind as its window is full,
// and catches up when it does.
func TestLagIsSeen(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		alice := s.Connect("alice", mqttest.Options{Version: version, ClientID: "a", Clean: true})
		alice.Subscribe("chat/c1/messages")
		const window, sends = 256, 260
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		bob.Subscribe("chat/c1/messages")
		for range sends {
			commit(t, s, "c1", "alice", "hi")
		}
		var ids []uint16
		for range window {
			ids = append(ids, bob.Expect(packets.Publish).PacketID)
		}
		got := seen(t, s, "bob", "b")
		want := bridge.Progress{Stream: chat.ConversationStream("c1"), Position: 2 + window, Head: 2 + sends}
		if len(got.Streams) != 1 || got.Streams[0] != want || got.InflightEntries != window || !got.CleanStart || got.SessionExpiry != 0 {
			t.Errorf("saw %+v, want %+v", got, want)
		}
		bob.Ack(packets.Puback, ids[1]) // out of turn: one before it is not acknowledged
		bob.Ping()
		if got := seen(t, s, "bob", "b"); got.InflightEntries != window-1 || got.Streams[0].Position != want.Position {
			t.Errorf("after one acknowledgement %d are in flight, at %+v", got.InflightEntries, got.Streams[0])
		}
		for _, id := range ids {
			bob.Ack(packets.Puback, id)
		}
		take(t, bob, want.Position+1, sends-window)
		bob.Ping()
		if got := seen(t, s, "bob", "b"); got.InflightEntries != 0 || got.Streams[0].Position != want.Head {
			t.Errorf("at the end %d are in flight, at %+v", got.InflightEntries, got.Streams[0])
		}
		// A stream that it has left, and one that it only has replayed, is not followed.
		if err := s.Log.RemoveMember(t.Context(), bridge.Actor{UserID: "bob"}, "c1", "bob"); err != nil {
			t.Fatal(err)
		}
		bob.Expect(packets.Publish)
		bob.Ping()
		if got := seen(t, s, "bob", "b"); got.StreamCount != 0 || len(got.Streams) != 0 {
			t.Errorf("follows %+v after it left", got.Streams)
		}
	})
}

func TestDisconnect(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Expiry: 3600})
		other := s.Connect("alice", mqttest.Options{Version: version, ClientID: "b", Expiry: 3600})
		key := bridge.SessionKey{UserID: "bob", ClientID: "b"}
		if s.Broker.Disconnect(bridge.SessionKey{UserID: "bob", ClientID: "c"}) {
			t.Error("ended a connection that is not there")
		}
		if !s.Broker.Disconnect(key) {
			t.Error("the connection was not found")
		}
		if _, ok := s.Broker.Connection(key); ok || s.Broker.Disconnect(key) {
			t.Error("it is still seen")
		}
		want := wire.CodeAdministrative
		if version < 5 {
			want = 0
		}
		if code := bob.ExpectClosed(); code != want {
			t.Errorf("DISCONNECT with %#x, want %#x", code, want)
		}
		other.Ping()
		// The session has stayed.
		again := s.Dial()
		ack := again.Connect(mqttest.Options{Version: version, ClientID: "b", User: "bob", Password: s.Token("bob"), Expiry: 3600})
		if ack.ReasonCode != 0 || !ack.SessionPresent {
			t.Errorf("CONNACK %#x, session present %v", ack.ReasonCode, ack.SessionPresent)
		}
		seen(t, s, "bob", "b")
	})
}

func TestConnectionsInPages(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		var want []string
		for _, user := range []string{"ann", "ben", "bob", "cy"} {
			for _, client := range []string{"/", "1", "a b", "é", "日本"} {
				s.Connect(user, mqttest.Options{ClientID: client, Clean: true})
				want = append(want, user+" "+client)
			}
		}
		if ack := s.Dial().Connect(mqttest.Options{ClientID: "x", User: "ann", Password: "wrong"}); ack.ReasonCode == 0 {
			t.Fatal("a wrong password was taken")
		}
		for _, limit := range []int{1, 3, 10, 19, 20, 21, 1000} {
			var got []string
			var after bridge.SessionKey
			for {
				list, next := s.Broker.Connections("", "", after, limit)
				got = append(got, names(list)...)
				if after = next; next == (bridge.SessionKey{}) || len(got) > len(want) {
					break
				}
				if len(list) != limit {
					t.Errorf("a page of %d has %d", limit, len(list))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("in pages of %d came %q, want %q", limit, got, want)
			}
		}
		for _, tt := range []struct {
			user, client string
			want         []string
		}{
			{"ben", "", want[5:10]}, {"", "a b", []string{"ann a b", "ben a b", "bob a b", "cy a b"}}, {"cy", "/", []string{"cy /"}},
			{"zoe", "", nil}, {"", "zoe", nil},
		} {
			list, next := s.Broker.Connections(tt.user, tt.client, bridge.SessionKey{}, 10)
			if got := names(list); !slices.Equal(got, tt.want) || next != (bridge.SessionKey{}) {
				t.Errorf("of %q %q came %q and %v, want %q", tt.user, tt.client, got, next, tt.want)
			}
		}
	})
}

// A list has the first 100 subscriptions and streams of a connection and the
// count of all; one connection has them all.
func TestListedConnectionIsBounded(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	const n = 250
	bob := device(t, s, "bob", mqttest.Options{ClientID: "b", Clean: true})
	var filters []string
	for i := range n {
		s.Conversation(fmt.Sprintf("c%03d", i), "bob")
		filters = append(filters, fmt.Sprintf("a/%03d", i))
	}
	bob.Subscribe(filters...)
	bob.Subscribe("chat/+/messages")
	bob.Quiet()
	list, _ := s.Broker.Connections("", "", bridge.SessionKey{}, 1)
	for _, tt := range []struct {
		what string
		c    broker.Connection
		want int
	}{{"listed", list[0], 100}, {"whole", seen(t, s, "bob", "b"), n}} {
		if tt.c.SubscriptionCount != n+1 || tt.c.StreamCount != n {
			t.Errorf("%s: counts %d and %d, want %d", tt.what, tt.c.SubscriptionCount, tt.c.StreamCount, n)
		}
		if len(tt.c.Streams) != tt.want || len(tt.c.Subscriptions) < tt.want {
			t.Fatalf("%s: has %d subscriptions and %d streams, want %d", tt.what, len(tt.c.Subscriptions), len(tt.c.Streams), tt.want)
		}
		for i := range tt.want {
			if tt.c.Subscriptions[i].Filter != filters[i] || tt.c.Streams[i].Stream.Conversation() != fmt.Sprintf("c%03d", i) {
				t.Fatalf("%s: at %d stand %q and %q", tt.what, i, tt.c.Subscriptions[i].Filter, tt.c.Streams[i].Stream)
			}
		}
	}
}

// What is no connection of a client yet is not seen.
func TestUnfinishedConnectIsNotSeen(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	c := s.Dial()
	c.MustSend(c.ConnectPacket(mqttest.Options{ClientID: "b", User: "bob", Password: s.Token("bob")})[:10])
	s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	if list, _ := s.Broker.Connections("", "", bridge.SessionKey{}, 10); len(list) != 1 {
		t.Errorf("saw %q", names(list))
	}
}

// Looking on hurts nobody who comes, is served and goes meanwhile.
func TestConnectionsComeAndGo(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		var looking sync.WaitGroup
		stop := make(chan struct{})
		looking.Go(func() {
			for {
				list, _ := s.Broker.Connections("", "", bridge.SessionKey{}, 10)
				for i := range list {
					s.Broker.Connection(list[i].Key)
					if c := &list[i]; c.Version != version || c.SubscriptionCount != len(c.Subscriptions) || c.StreamCount != len(c.Streams) {
						t.Errorf("saw %+v", c)
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		defer looking.Wait()
		defer close(stop)
		for i := range 5 {
			bob := device(t, s, "bob", durable(version, "phone")) // takes over from the last one
			bob.Subscribe("chat/+/messages", "news/#")
			bob.Publish("news/x", "hi", 1)
			bob.Publish("chat/c1/messages", "hi", 1)
			for range 4 {
				if pk := bob.Next(); pk.FixedHeader.Type == packets.Publish {
					bob.Ack(packets.Puback, pk.PacketID)
				}
			}
			bob.Unsubscribe("chat/+/messages")
			if i%2 == 0 {
				bob.Disconnect()
			}
		}
	})
}

// What is published to ordinary topics, refused, and waits is measured.
func TestTopicMetrics(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		send(t, device(t, s, "eve", mqttest.Options{ClientID: "e", Clean: true}), "old/x", "12345", 1, true)
		s.Stop() // what is retained is counted at the start
		s = parleytest.Start(t, backend, dsn, parleytest.Options{Broker: func(c *broker.Config) { c.RetainedMessages = 1 }})
		phone := device(t, s, "bob", durable(5, "phone"))
		subscribe(t, phone, 1, "news/#", nil)
		phone.Disconnect()
		tab := device(t, s, "bob", mqttest.Options{ClientID: "tab", Clean: true})
		subscribe(t, tab, 1, "news/#", nil)
		eve := device(t, s, "eve", mqttest.Options{ClientID: "e", Clean: true})
		for range 2 {
			send(t, eve, "news/x", "12345", 1, false)
		}
		send(t, eve, "nobody/x", "1", 0, false)
		eve.PublishPacket(&wire.Publish{Topic: []byte("news/y"), Payload: []byte("1"), QoS: 1, PacketID: eve.ID(), Retain: true})
		if ack := eve.Expect(packets.Puback); ack.ReasonCode != wire.CodeQuotaExceeded {
			t.Errorf("PUBACK of what is too much to retain says %#x", ack.ReasonCode)
		}
		size := float64(len("news/x") + 5)
		want := map[string]float64{"parley_topic_messages_total": 4, "parley_topic_refusals_total": 1,
			"parley_topic_waiting_messages": 4, "parley_retained_messages": 1}
		got := measured(t, s)
		for name, want := range want {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		if got["parley_topic_waiting_bytes"] < 4*size || got["parley_retained_bytes"] < float64(len("old/x")+5) {
			t.Errorf("%v bytes wait and %v are retained", got["parley_topic_waiting_bytes"], got["parley_retained_bytes"])
		}
		collect(t, tab, 2)
		tab.Ping()
		if got := measured(t, s)["parley_topic_waiting_messages"]; got != 2 {
			t.Errorf("%v wait when one client has all", got)
		}
	})
}

// measured are the metrics, each as the sum over its labels.
func measured(t *testing.T, s *parleytest.Server) map[string]float64 {
	t.Helper()
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			all[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}
