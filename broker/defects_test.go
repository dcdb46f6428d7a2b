package broker_test

// Defects that were reproduced in another engine over the same codec, each
// shown through the public port to be absent here. docs/decisions/0001 lists
// them.

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// burst publishes n messages as alice, window of them at a time, and waits
// for all PUBACKs.
func burst(t *testing.T, alice *mqttest.Client, n int, more ...string) {
	t.Helper()
	const window = 64
	outstanding := 0
	for i := range n {
		alice.Publish("chat/c1/messages", fmt.Sprint("burst ", i)+strings.Join(more, ""), 1)
		if outstanding++; outstanding == window {
			alice.Expect(packets.Puback)
			outstanding--
		}
	}
	for range outstanding {
		alice.Expect(packets.Puback)
	}
}

// A client with a Receive Maximum must neither deadlock the server, nor get
// stuck, nor get entries out of order, nor ever have more under way than it
// allows.
func TestDefectReceiveMaximum(t *testing.T) {
	for _, window := range []uint16{1, 5} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			const n = 3000
			s := parleytest.New(t, "sqlite")
			s.Conversation("c1", "alice", "bob")
			bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true, ReceiveMaximum: window})
			bob.Subscribe("chat/c1/messages")
			alice := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
			done := make(chan struct{})
			go func() {
				defer close(done)
				burst(t, alice, n)
			}()
			var held []uint16
			for seq := uint64(3); seq < 3+n; {
				pk := bob.Expect(packets.Publish)
				if e := parleytest.Decode(t, pk.Payload); e.Seq != seq {
					t.Fatalf("got seq %d, want %d", e.Seq, seq)
				}
				seq++
				if held = append(held, pk.PacketID); len(held) == int(window) {
					if seq%500 < uint64(window) {
						bob.Quiet() // not one more than it allows
					}
					for _, id := range held {
						bob.Ack(packets.Puback, id)
					}
					held = held[:0]
				}
			}
			<-done
		})
	}
}

// A SUBSCRIBE cut short ends its own connection and nothing else.
func TestDefectTruncatedSubscribe(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	s.Conversation("c1", "alice", "bob")
	bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
	whole := bob.SubscribePacket(nil, 1, "chat/c1/messages")
	for cut := 2; cut < len(whole); cut++ {
		c := s.Connect("bob", mqttest.Options{ClientID: "cut", Clean: true})
		part := append([]byte(nil), whole[:cut]...)
		part[1] = byte(cut - 2)
		c.MustSend(part)
		if code := c.ExpectClosed(); code != 0x81 && code != 0x82 {
			t.Errorf("cut at %d: ended with 0x%02x", cut, code)
		}
	}
	bob.Ping()
}

// The client's packet identifiers and the server's are two spaces
// [MQTT-2.2.1-4]: neither hurts the other.
func TestDefectSharedPacketIdentifiers(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "b"))
		bob.Subscribe("chat/c1/messages")
		commit(t, s, "c1", "alice", "pending")
		first := bob.Expect(packets.Publish) // not acknowledged
		for qos := byte(1); qos <= 2; qos++ {
			pub := wire.Publish{Topic: []byte("chat/c1/messages"), Payload: []byte("same id"), QoS: qos, PacketID: first.PacketID}
			bob.PublishPacket(&pub)
			kind := packets.Puback
			if qos == 2 {
				kind = packets.Pubrec
			}
			for ack := (packets.Packet{}); ack.FixedHeader.Type != kind; {
				if ack = bob.Next(); ack.ReasonCode != 0 {
					t.Fatalf("QoS %d with the identifier of a pending delivery: 0x%02x", qos, ack.ReasonCode)
				}
			}
		}
		bob.Ack(packets.Pubrel, first.PacketID)
		bob.Expect(packets.Pubcomp)
		bob.Disconnect()
		bob = s.Connect("bob", durable(version, "b"))
		if pk := bob.Expect(packets.Publish); pk.PacketID != first.PacketID || !pk.FixedHeader.Dup {
			t.Errorf("the pending delivery was lost: got id %d", pk.PacketID)
		}
	})
}

// A reader that never reads holds up nobody: neither senders nor other
// readers, and when it reads it has all.
func TestDefectReaderThatNeverReads(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	s.Conversation("c1", "alice", "bob", "carol")
	stuck := s.Connect("bob", mqttest.Options{ClientID: "stuck", Clean: true})
	stuck.SubscribeWith(nil, 0, "chat/c1/messages")
	carol := s.Connect("carol", mqttest.Options{ClientID: "c", Clean: true})
	carol.SubscribeWith(nil, 0, "chat/c1/messages")
	alice := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	const n = 1500 // of 2 KiB: far more than the kernel holds for it
	done := make(chan struct{})
	go func() {
		defer close(done)
		burst(t, alice, n, strings.Repeat("x", 2<<10))
	}()
	take(t, carol, 4, n)
	<-done
	take(t, stuck, 4, n)
}

// What was missed while away comes in order, all of it.
func TestDefectOfflineOrder(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", durable(version, "b"))
		bob.Subscribe("chat/c1/messages")
		bob.Disconnect()
		alice := s.Connect("alice", mqttest.Options{Version: version, ClientID: "a", Clean: true})
		burst(t, alice, 300)
		bob = s.Connect("bob", durable(version, "b"))
		for i, e := range take(t, bob, 3, 300) {
			if e.Content != fmt.Sprint("burst ", i) {
				t.Fatalf("message %d is %q", i, e.Content)
			}
		}
	})
}

// A session that has expired is gone with its subscriptions.
func TestDefectExpiredSessionLeaksSubscriptions(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		now, mu := time.Now(), sync.Mutex{}
		clock := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
		s := parleytest.New(t, backend, parleytest.Options{
			Log:    func(c *bridge.Config) { c.Now = clock },
			Broker: func(c *broker.Config) { c.Now = clock }})
		s.Conversation("c1", "alice", "bob")
		bob := s.Connect("bob", mqttest.Options{ClientID: "b", Expiry: 60})
		bob.Subscribe("chat/c1/messages")
		bob.Disconnect()
		mu.Lock()
		now = now.Add(61 * time.Second)
		mu.Unlock()
		c := s.Dial()
		if ack := c.Connect(mqttest.Options{ClientID: "b", Expiry: 60, User: "bob", Password: s.Token("bob")}); ack.SessionPresent {
			t.Error("an expired session was resumed")
		}
		commit(t, s, "c1", "alice", "not for it")
		c.Quiet()
	})
}

// Silence, and more than is allowed before login, end a connection soon.
func TestDefectNoBoundsBeforeConnect(t *testing.T) {
	s := parleytest.New(t, "sqlite", parleytest.Options{Broker: func(c *broker.Config) { c.ConnectTimeout = 200 * time.Millisecond }})
	silent, dripping, huge, other := s.Dial(), s.Dial(), s.Dial(), s.Dial()
	dripping.MustSend([]byte{0x10})
	huge.MustSend([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F}) // 256 MiB are on their way, it says
	other.MustSend([]byte{0xC0, 0x00})                  // PINGREQ first
	for _, c := range []*mqttest.Client{silent, dripping, huge, other} {
		c.ExpectClosed()
	}
}

func TestDefectUnlimitedPacket(t *testing.T) {
	s := parleytest.New(t, "sqlite", parleytest.Options{Broker: func(c *broker.Config) { c.MaxPacket = 1000 }})
	c := s.Dial()
	ack := c.Connect(mqttest.Options{ClientID: "x", Clean: true, User: "bob", Password: s.Token("bob")})
	if ack.Properties.MaximumPacketSize != 1000 {
		t.Errorf("CONNACK says Maximum Packet Size %d, want 1000", ack.Properties.MaximumPacketSize)
	}
	c.MustSend([]byte{0x30, 0xE6, 0x07}) // 998 bytes follow: 1,001 in all
	if code := c.ExpectClosed(); code != 0x95 {
		t.Errorf("ended with 0x%02x, want 0x95", code)
	}
}

// Racing for one client id: one connection is left each time, nothing is
// lost, and another user with the same client id is not touched.
func TestDefectTakeoverRace(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		const rounds, racers = 250, 2 // on each database: 500 in all
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		mallory := s.Connect("mallory", durable(5, "phone"))
		bob := s.Connect("bob", durable(5, "phone"))
		bob.Subscribe("chat/c1/messages")
		last := uint64(2)
		for round := range rounds {
			commit(t, s, "c1", "alice", fmt.Sprint(round))
			clients := make([]*mqttest.Client, racers)
			var wg sync.WaitGroup
			for i := range clients {
				clients[i] = s.Dial()
				o := durable(byte(4+(round+i)%2), "phone")
				o.User, o.Password = "bob", s.Token("bob")
				wg.Go(func() { _, _ = clients[i].TryConnect(o) })
			}
			wg.Wait()
			var winner *mqttest.Client
			for _, c := range clients {
				if alive(c, &last) {
					if winner != nil {
						t.Fatalf("round %d: two connections are left", round)
					}
					winner = c
				}
			}
			if winner == nil {
				t.Fatalf("round %d: no connection is left", round)
			}
			for last < uint64(3+round) {
				note(winner, winner.Next(), &last)
			}
		}
		mallory.Quiet()
	})
}

// alive reports whether a connection answers a ping.
func alive(c *mqttest.Client, last *uint64) bool {
	if c.Send([]byte{packets.Pingreq << 4, 0}) != nil {
		return false
	}
	for {
		pk, err := c.Read(mqttest.Patience)
		if err != nil {
			return false
		}
		if pk.FixedHeader.Type == packets.Pingresp {
			return true
		}
		note(c, pk, last)
	}
}

// note moves last over an entry that is next, and acknowledges it. One that
// the connection before had may come again.
func note(c *mqttest.Client, pk packets.Packet, last *uint64) {
	if pk.FixedHeader.Type != packets.Publish {
		return
	}
	if seq := seqOf(pk.Payload); seq == *last+1 {
		*last = seq
	}
	_ = c.Send(wire.AppendAck(nil, c.Version, &wire.Ack{Type: wire.TypePuback, PacketID: pk.PacketID}, 0))
}

func seqOf(payload []byte) (seq uint64) {
	_, _ = fmt.Sscanf(string(payload[len(`{"id":"00000000-0000-0000-0000-000000000000","conversationId":"c1",`):]), `"seq":%d`, &seq)
	return seq
}

// Stopping while clients come and go neither hangs nor leaves anything.
func TestDefectShutdownWhileAccepting(t *testing.T) {
	for range 20 {
		s := parleytest.New(t, "sqlite")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			token := s.Token("bob")
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					conn, err := net.Dial("tcp", s.Addr)
					if err != nil {
						return
					}
					c := mqttest.New(t, conn)
					o := durable(5, fmt.Sprint(i))
					o.User, o.Password = "bob", token
					_, _ = c.TryConnect(o)
					_ = conn.Close()
				}
			})
		}
		s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true}).Ping()
		s.Stop()
		close(stop)
		wg.Wait()
	}
}

// An idle connection costs one goroutine and no timer of its own: nothing is
// walked every second, however many there are.
func TestDefectWorkPerIdleConnection(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	s.Conversation("c1", "alice", "bob")
	before := runtime.NumGoroutine()
	const n = 50
	for i := range n {
		c := s.Connect("bob", mqttest.Options{ClientID: fmt.Sprint(i), Clean: true})
		c.Subscribe("chat/c1/messages")
		c.Ping()
	}
	deadline := time.Now().Add(mqttest.Patience)
	for runtime.NumGoroutine()-before > n {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines for %d idle connections", runtime.NumGoroutine()-before, n)
		}
		runtime.Gosched()
	}
}
