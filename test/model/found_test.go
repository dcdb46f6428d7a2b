package model_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// What random cases found, each in its shortest form.

// chatroom is a server with the conversation c1 of alice and bob, in which
// seq 1 and 2 are taken, and a durable session of bob.
type chatroom struct {
	t       *testing.T
	s       *parleytest.Server
	version byte
	bob     *mqttest.Client
}

func found(t *testing.T, test func(r *chatroom), opts ...parleytest.Options) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
				r := &chatroom{t: t, s: parleytest.New(t, backend, opts...), version: version}
				r.s.Conversation("c1", "alice", "bob")
				r.connect()
				test(r)
			})
		}
	})
}

func (r *chatroom) connect() {
	r.bob = r.s.Connect("bob", mqttest.Options{Version: r.version, ClientID: "phone", Expiry: 3600})
}

// again lets bob come back, after the server has noticed that he was gone.
func (r *chatroom) again() {
	r.bob.Disconnect()
	r.connect()
}

func (r *chatroom) commit(content string) {
	r.t.Helper()
	_, err := r.s.Log.Commit(context.Background(), chat.Draft{Stream: chat.ConversationStream("c1"), SenderID: "alice",
		Body: chat.Body{Type: chat.TypeMessage, Content: content}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *chatroom) add() {
	r.t.Helper()
	if _, _, err := r.s.Log.PutMember(context.Background(), bridge.Actor{UserID: "alice"}, "c1", "bob", chat.RoleMember); err != nil {
		r.t.Fatal(err)
	}
}

func (r *chatroom) remove() {
	r.t.Helper()
	if err := r.s.Log.RemoveMember(context.Background(), bridge.Actor{UserID: "alice"}, "c1", "bob"); err != nil {
		r.t.Fatal(err)
	}
}

// read reads the entries with these seqs; bob acknowledges none of them.
func (r *chatroom) read(seqs ...uint64) []packets.Packet {
	r.t.Helper()
	var got []packets.Packet
	for _, want := range seqs {
		pk := r.bob.Expect(packets.Publish)
		if e := parleytest.Decode(r.t, pk.Payload); e.Seq != want {
			r.t.Fatalf("got seq %d (%s), want %d", e.Seq, pk.Payload, want)
		}
		got = append(got, pk)
	}
	return got
}

func (r *chatroom) ack(got []packets.Packet) {
	for _, pk := range got {
		r.bob.Ack(packets.Puback, pk.PacketID)
	}
}

func TestFoundLeftJoinedAndLeftWhileAway(t *testing.T) {
	found(t, func(r *chatroom) {
		r.bob.Subscribe("chat/+/messages")
		r.bob.Disconnect()
		r.remove()
		r.commit("not for bob")
		r.add()
		r.commit("for bob")
		r.remove()
		r.commit("not for bob either")
		r.connect()
		r.read(3, 5, 6, 7)
		r.bob.Quiet()
	})
}

func TestFoundRemovedAndAddedBeforeItAcknowledged(t *testing.T) {
	found(t, func(r *chatroom) {
		r.bob.Subscribe("chat/+/messages")
		r.commit("three")
		r.remove()
		r.read(3, 4)
		r.add()
		r.read(5)
		r.again()
		r.read(3, 4, 5)
		r.bob.Quiet()
	})
}

func TestFoundJoinedWhileAwayAndNotAcknowledged(t *testing.T) {
	found(t, func(r *chatroom) {
		r.remove()
		r.bob.Subscribe("chat/+/messages")
		r.bob.Disconnect()
		r.add()
		r.commit("five")
		r.connect()
		r.read(4, 5)
		r.bob.Disconnect()
		r.remove()
		r.commit("not for bob")
		r.connect()
		r.read(4, 5, 6)
		r.bob.Quiet()
	})
}

// What is sent again ends with the own leave: from there on the next join
// counts, not what was committed between.
func TestFoundSentAgainUpToTheLeave(t *testing.T) {
	found(t, func(r *chatroom) {
		r.bob.Subscribe("chat/+/messages")
		r.commit("three")
		r.remove()
		r.read(3, 4)
		r.bob.Disconnect()
		r.commit("not for bob")
		r.add()
		r.commit("for bob")
		r.connect()
		r.read(3, 4, 6, 7)
		r.bob.Quiet()
	})
}

func TestFoundLowerQoSWithUnacknowledged(t *testing.T) {
	found(t, func(r *chatroom) {
		r.bob.Subscribe("chat/c1/messages")
		r.commit("three")
		r.read(3)
		r.bob.SubscribeWith(nil, 0, "chat/c1/messages")
		r.commit("four")
		if got := r.read(4); got[0].FixedHeader.Qos != 0 {
			r.t.Errorf("seq 4 came at QoS %d", got[0].FixedHeader.Qos)
		}
		r.again()
		if pk := r.bob.Expect(packets.Publish); parleytest.Decode(r.t, pk.Payload).Seq != 3 {
			r.t.Errorf("got %s, want seq 3 again", pk.Payload)
		}
	})
}

// Entries that were read from the store and wait for the client's window are
// erased like all others.
func TestFoundErasedWhileItWaits(t *testing.T) {
	found(t, func(r *chatroom) {
		for i := range 40 {
			r.commit(fmt.Sprint("secret ", i))
		}
		r.bob.Publish("chat/c1/replay", `{"after":2}`, 1)
		first := r.read(3, 4)
		alice := r.s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
		alice.Publish("chat/c1/messages", `{"type":"delete","target":40}`, 1)
		if pk := alice.Expect(packets.Puback); pk.ReasonCode != 0 {
			r.t.Fatalf("the delete was refused: 0x%02x", pk.ReasonCode)
		}
		r.ack(first)
		for seq := uint64(5); seq <= 40; seq++ {
			got := r.read(seq)
			r.ack(got)
			if seq == 40 && strings.Contains(string(got[0].Payload), "secret") {
				r.t.Errorf("got %s, which was deleted before", got[0].Payload)
			}
		}
	}, parleytest.Options{Broker: func(c *broker.Config) { c.MaxInflight = 2 }})
}

// A QoS 2 send that comes again is answered in its turn.
func TestFoundRepeatedQoS2InItsTurn(t *testing.T) {
	var store *faulty
	opts := parleytest.Options{Store: func(s bridge.Store) bridge.Store {
		store = newFaulty(s, true)
		return store
	}}
	found(t, func(r *chatroom) {
		send := func(packet uint16, qos byte, dup bool) {
			r.bob.PublishPacket(&wire.Publish{Topic: []byte("chat/c1/messages"), QoS: qos, PacketID: packet, DUP: dup,
				Payload: fmt.Appendf(nil, `{"content":"x","clientId":"%d"}`, packet)})
		}
		send(7, 1, false)
		send(8, 2, false)
		r.bob.Expect(packets.Pubrec)
		r.again()
		store.fail(faultUnavailable)
		send(7, 1, true)
		send(8, 2, true)
		for _, want := range []byte{packets.Puback, packets.Pubrec} {
			if pk := r.bob.Next(); pk.FixedHeader.Type != want {
				r.t.Fatalf("got a %s, want a %s", wire.TypeName(pk.FixedHeader.Type), wire.TypeName(want))
			}
		}
	}, opts)
}

func TestFoundRefusedFilterThatStandsTwice(t *testing.T) {
	found(t, func(r *chatroom) {
		r.remove()
		ack := r.bob.Subscribe("chat/c1/messages", "chat/c1/messages")
		if ack.ReasonCodes[0] < 0x80 || ack.ReasonCodes[1] < 0x80 {
			r.t.Errorf("SUBACK % x", ack.ReasonCodes)
		}
	})
}

// A replay from a place that the stream has not come to yet brings what the
// user was no member for, as any other replay does.
func TestFoundReplayFromAheadOfTheStream(t *testing.T) {
	found(t, func(r *chatroom) {
		r.bob.Subscribe("chat/c1/messages")
		r.commit("three")
		got := r.read(3)
		r.remove()
		r.commit("five")
		r.add()
		r.bob.Publish("chat/c1/replay", `{"after":4}`, 1)
		r.bob.Expect(packets.Puback)
		for _, seq := range []uint64{4, 5, 6} {
			r.ack(got)
			got = r.read(seq)
		}
	}, parleytest.Options{Broker: func(c *broker.Config) { c.MaxInflight = 1 }})
}

// restarting gives test a chatroom for MQTT 5, and a way to start the server
// again: what it keeps of a session is then what it has saved.
func restarting(t *testing.T, test func(r *chatroom, restart func())) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		r := &chatroom{t: t, s: parleytest.Start(t, backend, dsn), version: 5}
		r.s.Conversation("c1", "alice", "bob")
		r.connect()
		test(r, func() {
			r.bob.Ping() // it has read what it was sent
			r.s.Stop()
			r.s = parleytest.Start(t, backend, dsn)
			r.connect()
		})
	})
}

// Entries that the client passes over by naming a later place do not hold the
// session back.
func TestFoundPassedOver(t *testing.T) {
	restarting(t, func(r *chatroom, restart func()) {
		r.bob.Subscribe("chat/c1/messages")
		for range 4 {
			r.commit("not acknowledged")
		}
		r.read(3, 4, 5, 6)
		r.bob.SubscribeWith([]packets.UserProperty{{Key: "after", Val: "6"}}, 0, "chat/c1/messages")
		r.commit("seven")
		r.read(7)
		restart()
		r.commit("eight")
		r.read(8)
	})
}

// Nor do they at QoS 1, where they are under way before what comes after that
// place.
func TestFoundPassedOverAtQoS1(t *testing.T) {
	restarting(t, func(r *chatroom, restart func()) {
		r.bob.Subscribe("chat/c1/messages")
		for range 4 {
			r.commit("not acknowledged")
		}
		passed := r.read(3, 4, 5, 6)
		r.bob.SubscribeWith([]packets.UserProperty{{Key: "after", Val: "6"}}, 1, "chat/c1/messages")
		for range 3 {
			r.commit("acknowledged out of order")
		}
		got := r.read(7, 8, 9)
		r.ack(got[:1])
		r.ack(got[2:])
		r.ack(passed[:1])
		r.ack(got[1:2])
		restart()
		r.commit("ten")
		r.read(10)
	})
}

// What was sent at QoS 0 between entries at QoS 1 is done with as soon as
// those before it are.
func TestFoundQoS0Between(t *testing.T) {
	restarting(t, func(r *chatroom, restart func()) {
		r.bob.Subscribe("chat/c1/messages")
		r.commit("three")
		three := r.read(3)
		r.bob.SubscribeWith(nil, 0, "chat/c1/messages")
		r.commit("four")
		r.read(4)
		r.bob.Subscribe("chat/c1/messages")
		r.commit("five")
		r.read(5)
		r.ack(three)
		restart()
		r.read(5)
	})
}
