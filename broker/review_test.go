package broker_test

// What a second reading of the engine found, each shown through the public
// port.

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// The leave entry is on the way when the connection ends, and the user joins
// again before the next: what lies between is still not for it.
func TestLeaveInFlightThenJoinedAgain(t *testing.T) {
	for _, acknowledged := range []bool{false, true} {
		versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
			ctx, owner := context.Background(), bridge.Actor{UserID: "alice"}
			s.Conversation("c1", "alice", "bob")
			bob := s.Connect("bob", durable(version, "phone"))
			bob.Subscribe("chat/+/messages")
			commit(t, s, "c1", "alice", "one")
			if err := s.Log.RemoveMember(ctx, owner, "c1", "bob"); err != nil {
				t.Fatal(err)
			}
			bob.Expect(packets.Publish)
			leave := bob.Expect(packets.Publish)
			if acknowledged { // and the one before is not
				bob.Ack(packets.Puback, leave.PacketID)
				bob.Ping()
			}
			bob.Disconnect()
			commit(t, s, "c1", "alice", "secret")
			if _, _, err := s.Log.PutMember(ctx, owner, "c1", "bob", chat.RoleMember); err != nil {
				t.Fatal(err)
			}
			bob = s.Connect("bob", durable(version, "phone"))
			take(t, bob, 3, 1)
			if !acknowledged {
				take(t, bob, 4, 1)
			}
			take(t, bob, 6, 1)
			bob.Quiet()
		})
	}
}

// What is acknowledged is taken as that, though a stream whose entry was
// between two others was given up connections ago.
func TestAcknowledgedBehindStreamGivenUp(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		s.Conversation("c2", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/c1/messages", "chat/c2/messages")
		for _, c := range []string{"c1", "c2", "c1"} {
			commit(t, s, c, "alice", "hi")
			bob.Expect(packets.Publish)
		}
		bob.Unsubscribe("chat/c2/messages")
		for range 2 {
			bob.Disconnect()
			bob = s.Connect("bob", durable(version, "phone"))
		}
		first, second := bob.Expect(packets.Publish), bob.Expect(packets.Publish)
		bob.Ack(packets.Puback, second.PacketID) // out of order
		bob.Ack(packets.Puback, first.PacketID)
		bob.Ping()
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		bob.Quiet()
	})
}

func after(seq string) []packets.UserProperty {
	return []packets.UserProperty{{Key: "after", Val: seq}}
}

// A subscription starts where its SUBSCRIBE says, though entries of one that
// was given up before are still unacknowledged.
func TestSubscribedAgainWithEntriesInFlight(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		for i := range 10 {
			commit(t, s, "c1", "alice", fmt.Sprint(i))
		}
		o := durable(5, "phone")
		o.ReceiveMaximum = 3
		bob := s.Connect("bob", o)
		bob.MustSend(bob.SubscribePacket(after("9"), 1, "chat/c1/messages"))
		for range 3 {
			bob.Expect(packets.Publish)
		}
		bob.Unsubscribe("chat/c1/messages")
		bob.SubscribeWith(after("3"), 1, "chat/c1/messages")
		bob.Quiet() // the window is full
		bob.Disconnect()
		bob = s.Connect("bob", o)
		take(t, bob, 4, 9)
		bob.Quiet()
	})
}

// A replay is no acknowledgement of what comes before it.
func TestReplayDoesNotAcknowledge(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/c1/messages")
		for i := range 4 {
			commit(t, s, "c1", "alice", fmt.Sprint(i))
			bob.Expect(packets.Publish)
		}
		bob.Publish("chat/c1/replay", `{"after":5}`, 1)
		bob.Expect(packets.Publish)
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		if e := parleytest.Decode(t, bob.Expect(packets.Publish).Payload); e.Seq != 3 {
			t.Errorf("the session goes on at seq %d, want 3", e.Seq)
		}
	})
}

// What was sent at QoS 1 and not acknowledged is not lost because later
// entries went at QoS 0.
func TestQoS0BehindUnacknowledged(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "phone"))
		bob.Subscribe("chat/c1/messages")
		commit(t, s, "c1", "alice", "one")
		bob.Expect(packets.Publish)
		bob.SubscribeWith(nil, 0, "chat/c1/messages")
		commit(t, s, "c1", "alice", "two")
		if pk := bob.Expect(packets.Publish); pk.FixedHeader.Qos != 0 {
			t.Errorf("sent at QoS %d, want 0", pk.FixedHeader.Qos)
		}
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "phone"))
		if e := parleytest.Decode(t, bob.Expect(packets.Publish).Payload); e.Seq != 3 {
			t.Errorf("the session goes on at seq %d, want 3", e.Seq)
		}
	})
}

// hooked lets a test stand between the log and its store.
type hooked struct {
	bridge.Store
	sessions    func() error
	commit      func()
	memberships atomic.Int32 // asked for
	saves       atomic.Int32 // of sessions
}

func (h *hooked) SaveSession(ctx context.Context, session bridge.Session) error {
	h.saves.Add(1)
	return h.Store.SaveSession(ctx, session)
}

func (h *hooked) Sessions(ctx context.Context, keys []bridge.SessionKey) ([]*bridge.Session, error) {
	if h.sessions != nil {
		if err := h.sessions(); err != nil {
			return nil, err
		}
	}
	return h.Store.Sessions(ctx, keys)
}

func (h *hooked) Commit(ctx context.Context, now time.Time, drafts []chat.Draft, out []bridge.Outcome) error {
	if h.commit != nil {
		h.commit()
	}
	return h.Store.Commit(ctx, now, drafts, out)
}

func (h *hooked) Memberships(ctx context.Context, users []string) ([][]bridge.Membership, error) {
	h.memberships.Add(1)
	return h.Store.Memberships(ctx, users)
}

func (h *hooked) MembershipsIn(ctx context.Context, keys []bridge.MemberKey) ([]bridge.Membership, error) {
	h.memberships.Add(1)
	return h.Store.MembershipsIn(ctx, keys)
}

// withHooks starts a server over h, whose hooks are set.
func withHooks(t *testing.T, backend string, h *hooked, opts ...func(*broker.Config)) *parleytest.Server {
	return parleytest.New(t, backend, parleytest.Options{
		Store: func(store bridge.Store) bridge.Store {
			h.Store = store
			return h
		},
		Broker: func(c *broker.Config) {
			for _, o := range opts {
				o(c)
			}
		}})
}

// A QoS 2 message is not taken twice because the store was out of reach at a
// CONNECT between.
func TestQoS2AcrossRefusedConnect(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		var down atomic.Bool
		s := withHooks(t, backend, &hooked{sessions: func() error {
			if down.Load() {
				return bridge.ErrUnavailable
			}
			return nil
		}})
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
		bob.Subscribe("chat/c1/messages")
		alice := s.Connect("alice", durable(5, "a"))
		pub := wire.Publish{Topic: []byte("chat/c1/messages"), Payload: []byte("once"), QoS: 2, PacketID: 7}
		alice.PublishPacket(&pub)
		alice.Expect(packets.Pubrec)
		alice.Disconnect()

		down.Store(true)
		refused := s.Dial()
		o := durable(5, "a")
		o.User, o.Password = "alice", s.Token("alice")
		if ack := refused.Connect(o); ack.ReasonCode != wire.CodeServerUnavailable {
			t.Fatalf("CONNACK 0x%02x, want 0x88", ack.ReasonCode)
		}
		refused.ExpectClosed()
		down.Store(false)

		alice = s.Connect("alice", durable(5, "a"))
		pub.DUP = true
		alice.PublishPacket(&pub)
		alice.Expect(packets.Pubrec)
		take(t, bob, 3, 1)
		bob.Quiet()
	})
}

// DISCONNECT is the last packet of a connection [MQTT-3.14.4-1]: the answers
// to sends that are under way come before it.
func TestAnswersComeBeforeDisconnect(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		entered, release := make(chan struct{}, 8), make(chan struct{})
		s := withHooks(t, backend, &hooked{commit: func() {
			entered <- struct{}{}
			<-release
		}})
		s.Conversation("c1", "alice")
		alice := s.Connect("alice", durable(5, "a"))
		id := alice.Publish("chat/c1/messages", "hi", 1)
		<-entered
		next := s.Dial()
		o := durable(5, "a")
		o.User, o.Password = "alice", s.Token("alice")
		next.MustSend(next.ConnectPacket(o))
		// Whether the takeover or the commit is first is left to chance.
		s.Connect("alice", mqttest.Options{ClientID: "other", Clean: true}).Ping()
		close(release)
		if pk := alice.Next(); pk.FixedHeader.Type != packets.Puback || pk.PacketID != id {
			t.Fatalf("got a %s first, want the PUBACK", wire.TypeName(pk.FixedHeader.Type))
		}
		if pk := alice.Next(); pk.FixedHeader.Type != packets.Disconnect || pk.ReasonCode != wire.CodeSessionTakenOver {
			t.Fatalf("got a %s, want DISCONNECT 0x8E", wire.TypeName(pk.FixedHeader.Type))
		}
		if ack := next.Next(); !ack.SessionPresent {
			t.Error("the session was not taken over")
		}
	})
}

// One SUBSCRIBE packet costs a bounded number of questions to the store,
// whatever stands in it.
func TestSubscribeIsBounded(t *testing.T) {
	const limit, filters = 10, 5000
	h := &hooked{}
	s := withHooks(t, "sqlite", h, func(c *broker.Config) { c.MaxSubscriptions = limit })
	s.Conversation("c1", "alice", "bob")
	bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
	if ack := bob.Subscribe("chat/none/messages", "chat/none/messages"); ack.ReasonCodes[0] != 0x87 || ack.ReasonCodes[1] != 0x87 {
		t.Errorf("SUBACK %x of a filter that is not allowed, twice", ack.ReasonCodes)
	}
	many := make([]string, filters)
	for name, filter := range map[string]string{
		"the same":    "chat/+/messages",
		"not allowed": "chat/none%d/messages",
	} {
		for i := range many {
			many[i] = filter
			if strings.Contains(filter, "%d") {
				many[i] = fmt.Sprintf(filter, i)
			}
		}
		before := h.memberships.Load()
		if ack := bob.Subscribe(many...); len(ack.ReasonCodes) != filters {
			t.Errorf("%s: %d codes in SUBACK, want %d", name, len(ack.ReasonCodes), filters)
		}
		if n := h.memberships.Load() - before; n > limit {
			t.Errorf("%s: the store was asked %d times, want at most %d", name, n, limit)
		}
	}
}

// A filter that is refused, or changes nothing, costs the store nothing,
// however many the session has: all of them would be written again.
func TestSubscribeInVainIsNotStored(t *testing.T) {
	h := &hooked{}
	s := withHooks(t, "sqlite", h, func(c *broker.Config) { c.MaxSubscriptions = 2 })
	s.Conversation("c1", "alice", "bob")
	bob := s.Dial()
	o := durable(5, "b")
	o.User, o.Password = "bob", parleytest.Token(t, acl.Claims{Subject: "bob", TTL: time.Hour, Sub: []string{"devices/#"}})
	bob.Connect(o)
	bob.Subscribe("devices/1")
	bob.Subscribe("users/bob/errors")
	before := h.saves.Load()
	bob.Subscribe("devices/1")
	bob.Subscribe("devices/2")
	bob.Subscribe("elsewhere/1", "chat/none/messages")
	bob.Unsubscribe("devices/2")
	if n := h.saves.Load() - before; n != 0 {
		t.Errorf("the session was saved %d times, want never", n)
	}
	bob.SubscribeWith(nil, 2, "devices/1")
	bob.Unsubscribe("devices/1")
	if n := h.saves.Load() - before; n != 2 {
		t.Errorf("the session was saved %d times, want once for each of two changes", n)
	}
}

// dialWS opens a WebSocket.
func dialWS(t *testing.T, s *parleytest.Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	web := httptest.NewServer(s.Broker)
	t.Cleanup(web.Close)
	nc, err := net.Dial("tcp", web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_, err = fmt.Fprintf(nc, "GET /mqtt HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		web.Listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(nc)
	_ = nc.SetReadDeadline(time.Now().Add(mqttest.Patience))
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	return nc, r
}

// frame encodes a frame of a client with an empty mask.
func frame(first byte, payload []byte) []byte {
	head := []byte{first, 0x80 | byte(len(payload))}
	if len(payload) > 125 {
		head[1] = 0x80 | 126
		head = binary.BigEndian.AppendUint16(head, uint16(len(payload)))
	}
	return append(append(head, 0, 0, 0, 0), payload...)
}

// A stranger who pings and never reads is cut off in the time for a CONNECT
// like any other.
func TestWebSocketPingsUnread(t *testing.T) {
	s := parleytest.New(t, "sqlite", parleytest.Options{Broker: func(c *broker.Config) { c.ConnectTimeout = 500 * time.Millisecond }})
	nc, _ := dialWS(t, s)
	_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	pings := []byte(strings.Repeat(string(frame(0x89, make([]byte, 125))), 500))
	go func() { // until the connection is closed
		for err := error(nil); err == nil; {
			_, err = nc.Write(pings)
		}
	}()
	for deadline := time.Now().Add(mqttest.Patience); disconnects(t, s) == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the connection is still there")
		}
	}
}

// disconnects counts the connections that ended.
func disconnects(t *testing.T, s *parleytest.Server) (n float64) {
	t.Helper()
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "parley_mqtt_disconnects_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// Frames may be cut anywhere, with control frames between; the peer's goodbye
// is answered with its code.
func TestWebSocketFrames(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	nc, r := dialWS(t, s)
	raw := mqttest.New(t, nc).ConnectPacket(mqttest.Options{ClientID: "b", Clean: true, User: "bob", Password: s.Token("bob")})
	send := func(b []byte) {
		t.Helper()
		if _, err := nc.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	want := func(first byte) []byte {
		t.Helper()
		head := make([]byte, 2)
		for i := range head {
			head[i], _ = r.ReadByte()
		}
		if head[0] != first {
			t.Fatalf("got a frame that begins with 0x%02x, want 0x%02x", head[0], first)
		}
		payload := make([]byte, head[1])
		for i := range payload {
			payload[i], _ = r.ReadByte()
		}
		return payload
	}
	send(frame(0x02, raw[:5])) // a fragment
	send(frame(0x89, []byte("are you there")))
	if pong := want(0x8A); string(pong) != "are you there" {
		t.Errorf("pong says %q", pong)
	}
	send(frame(0x00, nil)) // an empty fragment
	send(frame(0x80, raw[5:]))
	if ack := want(0x82); ack[0] != packets.Connack<<4 || ack[3] != 0 {
		t.Fatalf("got %x, want a CONNACK", ack)
	}
	send(frame(0x88, []byte{0x03, 0xE9, 'b', 'y', 'e'}))
	if code := want(0x88); string(code) != "\x03\xE9" {
		t.Errorf("the answer to the goodbye is %x, want 03e9", code)
	}
}
