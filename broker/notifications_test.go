package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// noticed is a delivered notification.
type noticed struct {
	ID, RecipientID, SenderID, Type, Collapse string
	Seq                                       uint64
	IsRead                                    bool
	Data                                      map[string]any
}

// notify makes a notification of alice's for bob, with a number.
func notify(t *testing.T, s *parleytest.Server, n int, change ...func(*chat.Notice)) bridge.Noticed {
	t.Helper()
	notice := &chat.Notice{Type: "LIKE", Data: fmt.Appendf(nil, `{"n":%d}`, n)}
	for _, c := range change {
		c(notice)
	}
	out, err := s.Log.Notify(context.Background(), []chat.Draft{{Stream: chat.NotificationStream("bob"), SenderID: "alice",
		Body: chat.Body{Type: chat.TypeNotification, Notice: notice}}})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// takeNotices reads notifications, acknowledges them, and wants them to go up
// from seq without a gap.
func takeNotices(t *testing.T, c *mqttest.Client, from uint64, n int) []noticed {
	t.Helper()
	all := make([]noticed, n)
	for i := range all {
		pk := c.Expect(packets.Publish)
		for pk.TopicName == "users/bob/presence" || pk.TopicName == "users/bob/unread" {
			pk = c.Expect(packets.Publish)
		}
		if err := json.Unmarshal(pk.Payload, &all[i]); err != nil {
			t.Fatal(err)
		}
		if got := all[i]; pk.TopicName != "users/bob/notifications" || got.RecipientID != "bob" || got.Seq != from+uint64(i) {
			t.Fatalf("got %s on %s, want seq %d", pk.Payload, pk.TopicName, from+uint64(i))
		}
		if pk.FixedHeader.Qos > 0 {
			c.Ack(packets.Puback, pk.PacketID)
		}
	}
	return all
}

// noNotices wants none to come.
func noNotices(t *testing.T, c *mqttest.Client) {
	t.Helper()
	c.MustSend([]byte{packets.Pingreq << 4, 0})
	for pk := c.Next(); pk.FixedHeader.Type != packets.Pingresp; pk = c.Next() {
		if pk.TopicName == "users/bob/notifications" {
			t.Fatalf("got %s", pk.Payload)
		}
	}
}

func unreadOf(t *testing.T, s *parleytest.Server, user string) uint64 {
	t.Helper()
	counts, err := s.Log.UnreadNotifications(context.Background(), []string{user})
	if err != nil {
		t.Fatal(err)
	}
	return counts[0]
}

// Notifications come live, the first one too, to whoever subscribed before
// there were any, and to nobody else.
func TestNotificationsLive(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		all := s.Connect("bob", mqttest.Options{Version: version, ClientID: "all", Clean: true})
		carol := s.Connect("carol", mqttest.Options{Version: version, ClientID: "c", Clean: true})
		ack := bob.SubscribeWith(nil, 2, "users/bob/notifications")
		if ack.ReasonCodes[0] != 1 {
			t.Errorf("granted 0x%02x", ack.ReasonCodes[0])
		}
		if version == 5 && (mqttest.UserProperty(ack, "head") != "0" || mqttest.UserProperty(ack, "first") != "1") {
			t.Errorf("SUBACK has %v", ack.Properties.User)
		}
		all.Subscribe("users/bob/#", "users/bob/notifications") // once
		carol.Subscribe("users/carol/#")
		for _, filter := range []string{"users/bob/notifications", "users/bob/#"} {
			want := map[byte]byte{4: 0x80, 5: 0x87}[version]
			if code := carol.Subscribe(filter).ReasonCodes[0]; code != want {
				t.Errorf("carol's %s got 0x%02x", filter, code)
			}
		}
		for i := range 3 {
			notify(t, s, i)
		}
		for _, c := range []*mqttest.Client{bob, all} {
			got := takeNotices(t, c, 1, 3)
			if n := got[2]; n.Type != "LIKE" || n.SenderID != "alice" || n.IsRead || n.Data["n"] != 2.0 || len(n.ID) != 36 {
				t.Errorf("got %+v", n)
			}
			noNotices(t, c)
		}
		noNotices(t, carol)
		if ack := bob.Subscribe("users/bob/notifications"); version == 5 && mqttest.UserProperty(ack, "head") != "3" {
			t.Errorf("SUBACK has %v", ack.Properties.User)
		}
		bob.Unsubscribe("users/bob/notifications")
		notify(t, s, 4)
		bob.Quiet()
		takeNotices(t, all, 4, 1)
	})
}

// A durable session goes on where it was, also one that subscribed before
// there were any, and over a restart of the server.
func TestNotificationsAway(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		for _, client := range []string{"early", "phone"} {
			c := s.Connect("bob", durable(5, client))
			c.Subscribe("users/bob/#")
			if client == "early" {
				c.Disconnect()
				continue
			}
			notify(t, s, 1)
			notify(t, s, 2)
			takeNotices(t, c, 1, 1)
			for c.Expect(packets.Publish).TopicName != "users/bob/notifications" { // and not acknowledged
			}
			c.Disconnect()
		}
		for i := range 100 { // more than one load from the store
			notify(t, s, 3+i)
		}
		s.Stop()
		s = parleytest.Start(t, backend, dsn)
		early := s.Connect("bob", durable(5, "early"))
		takeNotices(t, early, 1, 102)
		phone := s.Connect("bob", durable(5, "phone"))
		takeNotices(t, phone, 2, 101)
		notify(t, s, 103)
		takeNotices(t, early, 103, 1)
		takeNotices(t, phone, 103, 1)
		phone.Ping()
		phone.Disconnect()
		phone = s.Connect("bob", durable(5, "phone"))
		noNotices(t, phone)
	})
}

// after, and replay with and without a subscription; isRead is that of the
// moment.
func TestNotificationsReplay(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		for i := range 6 {
			notify(t, s, i)
		}
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		bob.Subscribe("users/bob/errors")
		replay := func(payload string) {
			bob.Publish("users/bob/notifications/replay", payload, 1)
		}
		replay(`{"after":4}`)
		takeNotices(t, bob, 5, 2)
		bob.Quiet()
		bob.Subscribe("users/bob/notifications")
		bob.Quiet()
		replay(`{"after":0}`)
		for _, n := range takeNotices(t, bob, 1, 6) {
			if n.IsRead {
				t.Errorf("%d is read", n.Seq)
			}
		}
		bob.Publish("users/bob/notifications/read", `{"upTo":4}`, 1)
		bob.Expect(packets.Puback)
		notify(t, s, 6, func(n *chat.Notice) { n.Collapse = "k" })
		notify(t, s, 7, func(n *chat.Notice) { n.Collapse = "k" })
		takeNotices(t, bob, 7, 2)
		replay(`{"after":2}`)
		for _, n := range takeNotices(t, bob, 3, 6) {
			if want := n.Seq <= 4 || n.Seq == 7; n.IsRead != want {
				t.Errorf("isRead of %d is %v", n.Seq, n.IsRead)
			}
		}
		if version == 5 {
			other := s.Connect("bob", mqttest.Options{ClientID: "other", Clean: true})
			other.MustSend(other.SubscribePacket([]packets.UserProperty{{Key: "after", Val: "5"}}, 1, "users/bob/notifications"))
			takeNotices(t, other, 6, 3)
		}
	})
}

// Read marks over MQTT: what they take, and what they refuse.
func TestNotificationsRead(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		var ids []string
		for i := range 6 {
			ids = append(ids, notify(t, s, i).Entry.ID.String())
		}
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		bob.Subscribe("users/bob/errors")
		mark := func(payload string, left uint64) {
			t.Helper()
			bob.Publish("users/bob/notifications/read", payload, 1)
			if pk := bob.Expect(packets.Puback); pk.ReasonCode != 0 {
				t.Errorf("%s: 0x%02x", payload, pk.ReasonCode)
			}
			if got := unreadOf(t, s, "bob"); got != left {
				t.Errorf("after %s %d are unread, want %d", payload, got, left)
			}
		}
		mark(`{"ids":["`+ids[1]+`","019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11"]}`, 5)
		mark(`{"upTo":3}`, 3)
		mark(`{"all":true}`, 0)
		notify(t, s, 7)
		for _, test := range []struct {
			topic, payload string
			retain         bool
			reason         byte
			code           chat.Code
		}{
			{"users/bob/notifications/read", `{"all":true,"colour":"red"}`, false, 0x99, chat.CodeInvalid},
			{"users/bob/notifications/read", `{}`, false, 0x99, chat.CodeInvalid},
			{"users/bob/notifications/read", `all`, false, 0x99, chat.CodeInvalid},
			{"users/bob/notifications/read", `{"all":true}`, true, 0x99, chat.CodeInvalid},
			{"users/alice/notifications/read", `{"all":true}`, false, 0x87, chat.CodeForbidden},
			{"users/alice/notifications/replay", `{"after":0}`, false, 0x87, chat.CodeForbidden},
			{"users/bob/notifications/replay", `{}`, false, 0x99, chat.CodeInvalid},
			{"users/bob/notifications", `{"type":"LIKE"}`, false, 0x87, chat.CodeForbidden},
		} {
			for qos := range byte(3) {
				pub := wire.Publish{Topic: []byte(test.topic), Payload: []byte(test.payload), QoS: qos, Retain: test.retain}
				if qos > 0 {
					pub.PacketID = bob.ID()
				}
				bob.PublishPacket(&pub)
				wantRefusal(t, bob, &pub, test.reason, test.code, version)
			}
		}
		if got := unreadOf(t, s, "bob"); got != 1 {
			t.Errorf("%d are unread", got)
		}
	})
}

// The scope admin follows anybody's notifications, as long as it lasts.
func TestNotificationsOfOthers(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		admin := parleytest.Token(t, acl.Claims{Subject: "root", Scope: "admin", TTL: 3600e9})
		root := s.Dial()
		root.Connect(mqttest.Options{ClientID: "r", Expiry: 3600, User: "root", Password: admin})
		root.Subscribe("users/bob/notifications")
		notify(t, s, 1)
		takeNotices(t, root, 1, 1)
		root.Disconnect()
		notify(t, s, 2)
		root = s.Dial()
		root.Connect(mqttest.Options{ClientID: "r", Expiry: 3600, User: "root", Password: admin})
		takeNotices(t, root, 2, 1)
		root.Publish("users/root/token", s.Token("root"), 1)
		root.Expect(packets.Puback)
		notify(t, s, 3)
		root.Quiet()
	})
}

// Whoever is mentioned is told, once, also when the server stops between the
// message and the notification.
func TestMentions(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		s.Conversation("c1", "alice", "bob", "carol")
		bob := s.Connect("bob", durable(5, "b"))
		bob.Subscribe("users/bob/notifications")
		alice := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
		alice.Publish("chat/c1/messages", `{"content":"hi","mentions":["bob","alice","mallory"]}`, 1)
		ack := alice.Expect(packets.Puback)
		n := takeNotices(t, bob, 1, 1)[0]
		if n.Type != "mention" || n.SenderID != "alice" || n.Data["conversationId"] != "c1" ||
			fmt.Sprint(n.Data["seq"]) != mqttest.UserProperty(ack, "seq") || n.Data["id"] != mqttest.UserProperty(ack, "id") {
			t.Errorf("got %+v", n)
		}
		bob.Ping() // the acknowledgement was read
		s.Stop()
		// A message of a server that was killed before it told anybody.
		store := parleytest.Open(t, backend, dsn)
		drafts := []chat.Draft{{ID: chat.ID{1}, Stream: "c/c1", SenderID: "carol", Body: chat.Body{Type: chat.TypeMessage,
			Content: "you?", Mentions: []string{"bob"}, ClientID: "x"}}}
		if err := store.Commit(t.Context(), time.Now(), drafts, make([]bridge.Outcome, 1)); err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		for start := range 2 {
			s = parleytest.Start(t, backend, dsn)
			bob = s.Connect("bob", durable(5, "b"))
			if start == 0 {
				if n = takeNotices(t, bob, 2, 1)[0]; n.SenderID != "carol" {
					t.Errorf("got %+v", n)
				}
			}
			bob.Quiet()
			bob.Disconnect()
			s.Stop()
		}
	})
}
