package erase_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/erase"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Runner{M: m}) }

// stage is a server and an eraser.
type stage struct {
	*parleytest.Server
	t       *testing.T
	eraser  *erase.Eraser
	revoked atomic.Int64
}

func each(t *testing.T, test func(s *stage)) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := &stage{Server: parleytest.New(t, backend), t: t}
		s.eraser = s.newEraser(s.Log)
		test(s)
	})
}

func (s *stage) newEraser(log erase.Log) *erase.Eraser {
	e := erase.New(erase.Config{Log: log, Sessions: s.Broker, Retry: time.Millisecond, Revoke: func(_ context.Context, user string) error {
		if user == "alice" {
			s.revoked.Add(1)
		}
		return nil
	}})
	e.Start()
	s.t.Cleanup(e.Close)
	return e
}

func (s *stage) erase(user string) bridge.Erased {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	n, err := s.eraser.Erase(ctx, user)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stage) say(conv, sender string, b chat.Body) uint64 {
	s.t.Helper()
	out, err := s.Log.Commit(s.t.Context(), chat.Draft{Stream: chat.ConversationStream(conv), SenderID: sender, Body: b})
	if err != nil {
		s.t.Fatal(err)
	}
	return out.Seq
}

func text(s string) chat.Body { return chat.Body{Type: chat.TypeMessage, Content: s} }

// device connects with a token that opens all ordinary topics.
func (s *stage) device(user string, o mqttest.Options) *mqttest.Client {
	s.t.Helper()
	o.User, o.Password = user, parleytest.Token(s.t, acl.Claims{Subject: user, TTL: time.Hour, Pub: []string{"#"}, Sub: []string{"#"}})
	c := s.Dial()
	if ack := c.Connect(o); ack.ReasonCode != 0 {
		s.t.Fatalf("CONNACK 0x%02x", ack.ReasonCode)
	}
	return c
}

func publish(c *mqttest.Client, topic, payload string, retain bool) {
	c.PublishPacket(&wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: c.ID(), Retain: retain})
	c.Expect(packets.Puback)
}

const secret = "the secret of alice"

// Nothing of what a user said or published comes from anywhere any more, and
// the user has nothing here.
func TestErase(t *testing.T) {
	each(t, func(s *stage) {
		s.Conversation("c1", "alice", "bob")
		s.Conversation("c2", "bob", "alice")
		s.Conversation("c3", "bob", "alice")
		s.Conversation("other", "bob", "carol")
		for i := range 300 { // more than one step
			s.say("c1", "alice", text(fmt.Sprint(secret, i)))
			if i%10 == 0 {
				s.say("c1", "bob", text("hi"))
			}
		}
		s.say("c2", "alice", text(secret))
		if err := s.Log.RemoveMember(t.Context(), bridge.Actor{UserID: "bob"}, "c2", "alice"); err != nil { // where it was
			t.Fatal(err)
		}
		target := s.say("other", "carol", text("not hers"))
		follower := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
		follower.Subscribe("chat/c1/messages")

		// On ordinary topics: retained, waiting for bob who is away, and a will.
		away := s.device("bob", mqttest.Options{ClientID: "away", Expiry: 3600})
		away.Subscribe("room/+")
		away.Disconnect()
		alice := s.device("alice", mqttest.Options{ClientID: "a", Expiry: 3600, Change: func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload, pk.Connect.WillQos, pk.Connect.WillRetain = true, "room/will", []byte(secret), 1, true
		}})
		publish(alice, "room/kept", secret, true)
		publish(alice, "room/sent", secret, false)
		carol := s.device("carol", mqttest.Options{ClientID: "c", Clean: true})
		publish(carol, "room/carol", "of carol", true)
		tablet := s.device("alice", mqttest.Options{ClientID: "tablet", Expiry: 3600})
		tablet.Subscribe("chat/+/messages")
		tablet.Disconnect()

		// She is notified, and notifies bob, who follows his notifications.
		bell := s.Connect("bob", mqttest.Options{ClientID: "bell", Clean: true})
		bell.Subscribe("users/bob/notifications")
		notify := func(from, to string) {
			_, err := s.Log.Notify(t.Context(), []chat.Draft{{Stream: chat.NotificationStream(to), SenderID: from,
				Body: chat.Body{Type: chat.TypeNotification, Notice: &chat.Notice{Type: "LIKE", Data: []byte(`{"text":"` + secret + `"}`)}}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		notify("alice", "bob")
		notify("bob", "alice")
		bell.Expect(packets.Publish)

		n := s.erase("alice")
		bell.Publish("users/bob/notifications/replay", `{"after":0}`, 0)
		if pk := bell.Expect(packets.Publish); strings.Contains(string(pk.Payload), secret) || !strings.Contains(string(pk.Payload), `"deleted":true`) {
			t.Errorf("bob is notified of %s", pk.Payload)
		}
		want := bridge.Erased{Messages: 301, Notifications: 2, Retained: 1, Sessions: 2, Conversations: 2} // c1 and c3
		if n != want {
			t.Errorf("erased %+v, want %+v", n, want)
		}
		if code := alice.ExpectClosed(); code != 0x98 {
			t.Errorf("the connection ended with 0x%02x", code)
		}
		if s.revoked.Load() == 0 {
			t.Error("the tokens hold")
		}
		if ms, err := s.Log.Memberships(t.Context(), "alice"); err != nil || len(ms) != 0 {
			t.Errorf("memberships: %v, %v", ms, err)
		}
		if keys, err := s.Log.SessionKeys(t.Context(), "alice", "", 10); err != nil || len(keys) != 0 {
			t.Errorf("sessions: %v, %v", keys, err)
		}

		// Streams are whole, and say nothing of it: from the store, and from
		// memory to who follows.
		for _, conv := range []string{"c1", "c2", "c3"} {
			entries, err := s.Log.After(t.Context(), bridge.Range{Stream: chat.ConversationStream(conv), Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range entries {
				if e.Seq != uint64(i+1) || strings.Contains(e.Content, secret) || e.SenderID == "alice" && e.Type == chat.TypeMessage && !e.Deleted {
					t.Fatalf("%s, entry %d: %+v", conv, i, e)
				}
			}
			last := entries[len(entries)-1]
			if conv != "c2" && (last.Type != chat.TypeLeave || last.UserID != "alice") {
				t.Errorf("%s ends with %+v", conv, last)
			}
		}
		take := follower.Expect(packets.Publish)
		if e := parleytest.Decode(t, take.Payload); e.Type != "leave" || e.UserID != "alice" {
			t.Fatalf("who follows got %s", take.Payload)
		}
		follower.Publish("chat/c1/replay", `{"after":250}`, 0)
		for seq := uint64(251); seq <= 333; seq++ {
			e := parleytest.Decode(t, follower.Expect(packets.Publish).Payload)
			if e.Seq != seq || strings.Contains(e.Content, secret) {
				t.Fatalf("got %+v, want seq %d", e, seq)
			}
		}
		if e, err := s.Log.After(t.Context(), bridge.Range{Stream: "c/other", After: target - 1, Limit: 1}); err != nil || e[0].Content != "not hers" {
			t.Errorf("another's: %+v, %v", e, err)
		}

		// bob gets what carol published, and nothing of alice.
		away = s.device("bob", mqttest.Options{ClientID: "away", Expiry: 3600})
		if pk := away.Expect(packets.Publish); string(pk.Payload) != "of carol" {
			t.Errorf("got %s on %s", pk.Payload, pk.TopicName)
		}
		away.Quiet()
		fresh := s.device("bob", mqttest.Options{ClientID: "fresh", Clean: true})
		fresh.Subscribe("room/#")
		if pk := fresh.Expect(packets.Publish); string(pk.Payload) != "of carol" {
			t.Errorf("got %s on %s", pk.Payload, pk.TopicName)
		}
		fresh.Quiet()

		if n := s.erase("alice"); n != (bridge.Erased{}) {
			t.Errorf("the second time erased %+v", n)
		}
	})
}

// A slow reader, for whom entries were read before they were erased, does not
// get them.
func TestErasedWhileAReaderWaits(t *testing.T) {
	each(t, func(s *stage) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true, ReceiveMaximum: 1})
		bob.Subscribe("chat/c1/messages")
		for i := range 40 {
			s.say("c1", "alice", text(fmt.Sprint(secret, i)))
		}
		held := bob.Expect(packets.Publish)
		bob.Quiet()
		s.erase("alice")
		for seq := uint64(4); seq <= 43; seq++ {
			bob.Ack(packets.Puback, held.PacketID)
			held = bob.Expect(packets.Publish)
			if e := parleytest.Decode(t, held.Payload); e.Seq != seq || strings.Contains(e.Content, secret) {
				t.Fatalf("got %s, want seq %d", held.Payload, seq)
			}
		}
	})
}

// breaking is a log that fails again and again in the midst of an erasure.
type breaking struct {
	*bridge.Log
	calls atomic.Int64
	fails func(call int64) bool
}

func (b *breaking) EraseSaid(ctx context.Context, user string, stream chat.StreamID, after uint64) (uint64, error) {
	if b.fails(b.calls.Add(1)) {
		return 0, errors.New("broken for this test")
	}
	return b.Log.EraseSaid(ctx, user, stream, after)
}

// What has begun goes on, in the same process and the next, and counts
// everything once.
func TestEraseGoesOn(t *testing.T) {
	each(t, func(s *stage) {
		s.eraser.Close()
		s.Conversation("c1", "alice", "bob")
		for i := range 900 {
			s.say("c1", "alice", text(fmt.Sprint(secret, i)))
		}
		// The first process gets no further than two steps.
		again := make(chan struct{})
		broken := &breaking{Log: s.Log, fails: func(call int64) bool {
			if call == 6 {
				close(again)
			}
			return call > 2
		}}
		s.eraser = s.newEraser(broken)
		ctx, cancel := context.WithCancel(t.Context())
		asked := make(chan error, 1)
		go func() {
			_, err := s.eraser.Erase(ctx, "alice")
			asked <- err
		}()
		select {
		case <-again:
		case <-time.After(mqttest.Patience):
			t.Fatal("it is not tried again")
		}
		s.eraser.Close()
		if err := <-asked; !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("who waited was told %v", err)
		}
		cancel()
		if left, err := s.Log.Erasures(t.Context()); err != nil || len(left) != 1 || left[0].Messages == 0 || left[0].Messages == 900 {
			t.Fatalf("erasures: %+v, %v", left, err)
		}
		// The next one goes on by itself, here with every other step failing.
		s.eraser = s.newEraser(&breaking{Log: s.Log, fails: func(call int64) bool { return call%9 == 0 }})
		if n := s.erase("alice"); n.Messages != 0 && n != (bridge.Erased{Messages: 900, Conversations: 1}) {
			t.Errorf("erased %+v", n)
		}
		entries, err := s.Log.After(t.Context(), bridge.Range{Stream: "c/c1", Limit: 2000})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Content, secret) {
				t.Fatalf("%+v", e)
			}
		}
		if left, err := s.Log.Erasures(t.Context()); err != nil || len(left) != 0 {
			t.Errorf("erasures: %+v, %v", left, err)
		}
	})
}

// Others send meanwhile, and wait for no more than one step.
func TestOthersSendMeanwhile(t *testing.T) {
	each(t, func(s *stage) {
		s.Conversation("c1", "alice", "bob")
		const messages, senders = 20_000, 200
		done := make(chan error, senders)
		for i := range senders {
			go func() {
				for n := range messages / senders {
					if _, err := s.Log.Commit(t.Context(), chat.Draft{Stream: "c/c1", SenderID: "alice", Body: text(fmt.Sprint(secret, i, n))}); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range senders {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		erased := make(chan bridge.Erased, 1)
		go func() {
			n, _ := s.eraser.Erase(t.Context(), "alice")
			erased <- n
		}()
		var slowest time.Duration
		sends := 0
		for {
			began := time.Now()
			s.say("c1", "bob", text("hi"))
			slowest = max(slowest, time.Since(began))
			sends++
			select {
			case n := <-erased:
				t.Logf("%d sends meanwhile, the slowest took %v", sends, slowest)
				if n.Messages != messages || slowest > 2*time.Second { // some ms; the bound is for a busy machine
					t.Errorf("erased %+v, the slowest send took %v", n, slowest)
				}
				return
			default:
			}
		}
	})
}

// people notes what is saved of when users were here.
type people struct {
	bridge.Store
	mu    sync.Mutex
	saved []bridge.Person
}

func (p *people) SavePeople(ctx context.Context, list []bridge.Person) error {
	p.mu.Lock()
	p.saved = append(p.saved, list...)
	p.mu.Unlock()
	return p.Store.SavePeople(ctx, list)
}

// When the user was here last is not kept, though presence notices the end of
// its connection later.
func TestPresenceIsForgotten(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		noted := &people{}
		s := &stage{t: t, Server: parleytest.New(t, backend, parleytest.Options{Store: func(store bridge.Store) bridge.Store {
			noted.Store = store
			return noted
		}})}
		s.eraser = s.newEraser(s.Log)
		s.Conversation("c1", "alice", "bob")
		s.device("alice", mqttest.Options{ClientID: "a", Clean: true}).Ping()
		bob := s.device("bob", mqttest.Options{ClientID: "b", Clean: true})
		bob.SubscribeWith(nil, 0, "users/alice/presence")
		for !strings.Contains(string(bob.Expect(packets.Publish).Payload), "online") {
			continue
		}
		s.erase("alice")
		noted.mu.Lock()
		before := len(noted.saved)
		noted.mu.Unlock()
		s.eraser.Close()
		s.Stop() // what is to be saved is saved
		for _, p := range noted.saved[before:] {
			if p.UserID == "alice" {
				t.Errorf("saved after the erasure: %+v", p)
			}
		}
	})
}
