package broker_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
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

// with is o with a token of the user that has a jti.
func with(t *testing.T, o mqttest.Options, user, jti string) mqttest.Options {
	t.Helper()
	o.User, o.Password = user, tokenOf(t, user, jti)
	return o
}

func tokenOf(t *testing.T, user, jti string) string {
	t.Helper()
	return parleytest.Token(t, acl.Claims{Subject: user, TTL: time.Hour, TokenID: jti, Pub: []string{"news/#"}, Sub: []string{"news/#"}})
}

// granted connects with such a token.
func granted(t *testing.T, s *parleytest.Server, o mqttest.Options, user, jti string) *mqttest.Client {
	t.Helper()
	c := s.Dial()
	if ack := c.Connect(with(t, o, user, jti)); ack.ReasonCode != 0 {
		t.Fatalf("%s was refused: %#x %s", user, ack.ReasonCode, ack.Properties.ReasonString)
	}
	return c
}

// wantRefused wants the CONNACK of a token that does not hold.
func wantRefused(t *testing.T, s *parleytest.Server, o mqttest.Options) {
	t.Helper()
	code := wire.CodeBadUserNameOrPassword
	if o.Version < 5 {
		code = 4
	}
	if ack := s.Dial().Connect(o); ack.ReasonCode != code {
		t.Errorf("CONNACK %#x for a revoked token, want %#x", ack.ReasonCode, code)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// notAuthorized is the code of the last DISCONNECT of a revoked token.
func notAuthorized(version byte) byte {
	if version < 5 {
		return 0
	}
	return wire.CodeNotAuthorized
}

// A token that is revoked ends its connections and no others; one of a user,
// all that were issued before.
func TestRevocationEndsConnections(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		phone := granted(t, s, durable(version, "phone"), "bob", "one")
		tab := granted(t, s, durable(version, "tab"), "bob", "two")
		alice := granted(t, s, durable(version, "phone"), "alice", "three")
		for _, c := range []*mqttest.Client{phone, tab, alice} {
			c.Subscribe("chat/+/messages", "news/#")
		}
		commit(t, s, "c1", "alice", "before")
		for _, c := range []*mqttest.Client{phone, tab, alice} {
			take(t, c, 3, 1)
		}
		ok(t, s.Tokens.Token(t.Context(), "one"))
		commit(t, s, "c1", "alice", "after")
		if code := phone.ExpectClosed(); code != notAuthorized(version) {
			t.Errorf("DISCONNECT %#x", code)
		}
		take(t, tab, 4, 1)
		take(t, alice, 4, 1)
		wantRefused(t, s, with(t, durable(version, "phone"), "bob", "one"))

		old := with(t, durable(version, "tab"), "bob", "three")
		ok(t, s.Tokens.User(t.Context(), "bob"))
		commit(t, s, "c1", "alice", "after both")
		if code := tab.ExpectClosed(); code != notAuthorized(version) {
			t.Errorf("DISCONNECT %#x", code)
		}
		take(t, alice, 5, 1)
		wantRefused(t, s, old)
		for now := time.Now(); time.Since(now) < time.Millisecond; { // a token says to the millisecond when it was issued
			runtime.Gosched()
		}
		phone = granted(t, s, durable(version, "phone"), "bob", "four") // the session is there yet
		take(t, phone, 4, 2)
	})
}

// racing commits to c1 and c2 until stop is called. from answers the first seq
// in c1 whose send began after mark was called.
func racing(t *testing.T, s *parleytest.Server) (mark func(), stop func() (from uint64)) {
	t.Helper()
	var marked, ended atomic.Bool
	var first atomic.Uint64
	var once sync.Once
	begun := make(chan struct{}) // first is known, or nobody sends any more
	var sending sync.WaitGroup
	for range 2 {
		sending.Go(func() {
			defer once.Do(func() { close(begun) })
			for !ended.Load() {
				late := marked.Load()
				for _, conversation := range []string{"c1", "c2"} {
					out, err := s.Log.Commit(t.Context(), chat.Draft{Stream: chat.ConversationStream(conversation), SenderID: "alice",
						Body: chat.Body{Type: chat.TypeMessage, Content: "hi"}})
					if err != nil {
						t.Error(err)
						return
					}
					if before := first.Load(); late && conversation == "c1" && (before == 0 || out.Seq < before) {
						first.Store(out.Seq) // of two senders the later may win: the bound is then a little high
						once.Do(func() { close(begun) })
					}
				}
			}
		})
	}
	return func() { marked.Store(true) }, func() uint64 {
		<-begun
		ended.Store(true)
		sending.Wait()
		return first.Load()
	}
}

// From the answer on, nothing that is committed is written to the connections,
// whatever they were doing.
func TestRevocationIsNow(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for round := range 8 {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				s := parleytest.New(t, backend)
				s.Conversation("c1", "alice", "bob")
				s.Conversation("c2", "alice", "bob")
				var readers []*mqttest.Client
				for i, filter := range []string{"chat/c1/messages", "chat/+/messages", "chat/+/messages", "chat/c1/messages"} {
					c := granted(t, s, mqttest.Options{Version: byte(4 + i%2), ClientID: fmt.Sprint(i), Clean: true}, "bob", "one")
					c.SubscribeWith(nil, byte(i/2), filter)
					readers = append(readers, c)
				}
				var highest atomic.Uint64
				var reading sync.WaitGroup
				begun := make(chan struct{}, len(readers))
				for _, c := range readers {
					reading.Go(func() {
						for n := 0; ; n++ {
							pk, err := c.Read(mqttest.Patience)
							if err != nil || pk.FixedHeader.Type == packets.Disconnect {
								return
							}
							if n == 3 {
								begun <- struct{}{}
							}
							if pk.FixedHeader.Qos > 0 {
								_ = c.Send([]byte{packets.Puback << 4, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)})
							}
							if e := parleytest.Decode(t, pk.Payload); e.ConversationID == "c1" {
								for seq := highest.Load(); e.Seq > seq && !highest.CompareAndSwap(seq, e.Seq); seq = highest.Load() {
								}
							}
						}
					})
				}
				mark, stop := racing(t, s)
				for range readers {
					<-begun
				}
				err := s.Tokens.Token(t.Context(), "one")
				mark()
				first := stop()
				ok(t, err)
				reading.Wait()
				if got := highest.Load(); got >= first {
					t.Errorf("entry %d was written, and %d is the first of after the revocation", got, first)
				}
			})
		}
	})
}

// From the answer on, who was removed gets nothing of the conversation but its
// own leave, on whatever it subscribed to; all else goes on.
func TestRemovalIsNow(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for round := range 4 {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				s := parleytest.New(t, backend)
				s.Conversation("c1", "alice", "bob")
				s.Conversation("c2", "alice", "bob")
				var readers []*mqttest.Client
				for i, filters := range [][]string{{"chat/c1/messages", "chat/c2/messages"}, {"chat/+/messages"}, {"chat/+/+"},
					{"chat/+/messages", "chat/c1/messages"}} {
					c := s.Connect("bob", mqttest.Options{Version: byte(4 + i%2), ClientID: fmt.Sprint(i), Clean: true})
					c.SubscribeWith(nil, byte(i/2), filters...)
					readers = append(readers, c)
				}
				mark, stop := racing(t, s)
				for _, c := range readers {
					for range 4 {
						if pk := c.Expect(packets.Publish); pk.FixedHeader.Qos > 0 {
							c.Ack(packets.Puback, pk.PacketID)
						}
					}
				}
				err := s.Log.RemoveMember(t.Context(), bridge.Actor{UserID: "alice"}, "c1", "bob")
				mark()
				first := stop()
				ok(t, err)
				commit(t, s, "c2", "alice", "the end")
				for i, c := range readers {
					left := uint64(0)
					for over := false; !over; {
						pk := c.Expect(packets.Publish)
						if pk.FixedHeader.Qos > 0 {
							c.Ack(packets.Puback, pk.PacketID)
						}
						e := parleytest.Decode(t, pk.Payload)
						over = e.Content == "the end"
						switch {
						case e.ConversationID == "c2":
						case left > 0 || e.Seq >= first:
							t.Fatalf("reader %d got %s; it left with %d, %d is of after the removal", i, pk.Payload, left, first)
						case e.Type == "leave":
							left = e.Seq
						}
					}
					if left == 0 {
						t.Errorf("reader %d did not get its leave", i)
					}
					c.Publish("chat/c1/replay", `{"after": 0}`, 1)
					if ack := c.Expect(packets.Puback); c.Version == 5 && ack.ReasonCode != wire.CodeNotAuthorized {
						t.Errorf("PUBACK %#x for a replay", ack.ReasonCode)
					}
					c.Quiet()
				}
			})
		}
	})
}

// A revoked token does not renew a connection. One that was renewed does not
// live by its first token any more.
func TestRevocationAndRenewal(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	ok(t, s.Tokens.Token(t.Context(), "gone"))
	c := connectByAuth(t, s, "a", tokenOf(t, "dev", "one"))
	reauthenticate(t, c, "jwt", tokenOf(t, "dev", "two"))
	c.Expect(packets.Auth)
	ok(t, s.Tokens.Token(t.Context(), "one"))
	c.Ping()
	c.Publish("users/dev/token", tokenOf(t, "dev", "gone"), 1)
	if ack := c.Expect(packets.Puback); ack.ReasonCode != wire.CodeNotAuthorized {
		t.Errorf("PUBACK %#x for a revoked token", ack.ReasonCode)
	}
	c.Ping()
	reauthenticate(t, c, "jwt", tokenOf(t, "dev", "gone"))
	if code := c.ExpectClosed(); code != wire.CodeNotAuthorized {
		t.Errorf("DISCONNECT %#x for a revoked token", code)
	}
	c = connectByAuth(t, s, "a", tokenOf(t, "dev", "two"))
	ok(t, s.Tokens.User(t.Context(), "dev"))
	if code := c.ExpectClosed(); code != wire.CodeNotAuthorized {
		t.Errorf("DISCONNECT %#x", code)
	}
}

// What is revoked stays so over a restart.
func TestRevocationOutlivesTheServer(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		s := parleytest.Start(t, backend, dsn)
		ok(t, s.Tokens.Token(t.Context(), "one"))
		oldOfAlice := tokenOf(t, "alice", "three")
		ok(t, s.Tokens.User(t.Context(), "alice"))
		old := tokenOf(t, "eve", "two")
		s.Stop()
		s = parleytest.Start(t, backend, dsn)
		wantRefused(t, s, with(t, durable(5, "phone"), "bob", "one"))
		wantRefused(t, s, mqttest.Options{Version: 5, ClientID: "x", User: "alice", Password: oldOfAlice})
		granted(t, s, durable(5, "phone"), "alice", "new").Ping()
		if ack := s.Dial().Connect(mqttest.Options{ClientID: "x", Password: old}); ack.ReasonCode != 0 {
			t.Errorf("CONNACK %#x for a token that was not revoked", ack.ReasonCode)
		}
	})
}

// Another process on the same database learns of it.
func TestRevocationReachesOtherProcesses(t *testing.T) {
	dsn := parleytest.Database(t, "postgres")
	here, there := parleytest.Start(t, "postgres", dsn), parleytest.Start(t, "postgres", dsn)
	c, other := granted(t, there, durable(5, "a"), "bob", "one"), granted(t, there, durable(5, "b"), "bob", "two")
	ok(t, here.Tokens.Token(t.Context(), "one"))
	if code := c.ExpectClosed(); code != wire.CodeNotAuthorized {
		t.Errorf("DISCONNECT %#x", code)
	}
	other.Ping()
	wantRefused(t, there, with(t, durable(5, "a"), "bob", "one"))
}

// wakes tells of news of a stream.
type wakes chan struct{}

func (w wakes) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// Packets that have been read when the token is revoked are not carried out.
func TestRevokedClientSendsNoMore(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "bob")
		c := granted(t, s, durable(5, "phone"), "bob", "one")
		var sending sync.WaitGroup
		var burst []byte
		for range 2000 {
			burst, _ = wire.AppendPublish(burst, 5, &wire.Publish{Topic: []byte("chat/c1/messages"), Payload: []byte("hi")})
		}
		sending.Go(func() { _ = c.Send(burst) })
		head := func() uint64 {
			conv, err := s.Log.Conversation(t.Context(), "c1")
			ok(t, err)
			return conv.HeadSeq
		}
		news := make(wakes, 1)
		watch := s.Log.Watch(chat.ConversationStream("c1"), news)
		for head() < 20 {
			<-news
		}
		watch.Close()
		ok(t, s.Tokens.Token(t.Context(), "one"))
		if code := c.ExpectClosed(); code != wire.CodeNotAuthorized && code != 0 {
			t.Errorf("DISCONNECT %#x", code)
		}
		sending.Wait()
		if got := head(); got > 2000 {
			t.Errorf("all was sent, up to %d", got)
		}
	})
}
