package model_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// What one connection sends stands in the order of its PUBLISH packets, at
// whatever QoS.
func TestFoundSendsOfSeveralQoSInOrder(t *testing.T) {
	found(t, func(r *chatroom) {
		for i, qos := range []byte{2, 1} {
			r.bob.PublishPacket(&wire.Publish{Topic: []byte("chat/c1/messages"), QoS: qos, PacketID: uint16(7 + i),
				Payload: fmt.Appendf(nil, `{"content":"at QoS %d"}`, qos)})
		}
		r.bob.Expect(packets.Pubrec)
		r.bob.Expect(packets.Puback)
		read, err := r.s.Store.Read(context.Background(), []bridge.Range{{Stream: chat.ConversationStream("c1"), After: 2, Limit: 2}})
		if err != nil {
			r.t.Fatal(err)
		}
		if e := read[0]; len(e) != 2 || e[0].Content != "at QoS 2" || e[1].Content != "at QoS 1" {
			r.t.Errorf("the stream has %+v", e)
		}
	})
}
