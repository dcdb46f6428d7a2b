package broker_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// versions runs a test for both protocol versions on both databases.
func versions(t *testing.T, test func(t *testing.T, s *parleytest.Server, version byte)) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for _, v := range []byte{4, 5} {
			t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) {
				test(t, parleytest.New(t, backend), v)
			})
		}
	})
}

func TestMessageReachesEveryMember(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob", "carol")
		alice := s.Connect("alice", mqttest.Options{Version: version, ClientID: "a", Clean: true})
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		carol := s.Connect("carol", mqttest.Options{Version: version, ClientID: "c", Clean: true})
		alice.Subscribe("chat/c1/messages")
		bob.Subscribe("chat/+/messages")
		carol.SubscribeWith(nil, 0, "chat/c1/messages", "chat/+/+") // overlapping: once

		id := alice.Publish("chat/c1/messages", `{"content":"hi","clientId":"m-1"}`, 1)
		var ack *packets.Packet
		var own *packets.Packet
		for ack == nil || own == nil { // in either order
			switch pk := alice.Next(); pk.FixedHeader.Type {
			case packets.Puback:
				ack = &pk
			case packets.Publish:
				own = &pk
			}
		}
		if ack.PacketID != id || ack.ReasonCode != 0 {
			t.Fatalf("PUBACK of %d with 0x%02x, want %d with 0", ack.PacketID, ack.ReasonCode, id)
		}
		want := parleytest.Decode(t, own.Payload)
		if want.Content != "hi" || want.SenderID != "alice" || want.ClientID != "m-1" || want.Type != "message" || want.Seq != 4 {
			t.Fatalf("entry %+v", want)
		}
		if version == 5 {
			if got := mqttest.UserProperty(*ack, "seq"); got != strconv.FormatUint(want.Seq, 10) {
				t.Errorf("PUBACK says seq %q, want %d", got, want.Seq)
			}
			if got := mqttest.UserProperty(*ack, "id"); got != want.ID {
				t.Errorf("PUBACK says id %q, want %s", got, want.ID)
			}
			if got := mqttest.UserProperty(*ack, "createdAt"); got != want.CreatedAt {
				t.Errorf("PUBACK says createdAt %q, want %s", got, want.CreatedAt)
			}
		}
		for _, c := range []*mqttest.Client{bob, carol} {
			pk := c.Expect(packets.Publish)
			if pk.TopicName == "chat/c1/receipts" { // carol is told too that alice has read
				pk = c.Expect(packets.Publish)
			}
			if got := parleytest.Decode(t, pk.Payload); got != want || pk.TopicName != "chat/c1/messages" {
				t.Errorf("got %+v on %s, want %+v", got, pk.TopicName, want)
			}
		}
		carol.Unsubscribe("chat/+/+") // what it has for receipts is told by then
		carol.Quiet()
	})
}
