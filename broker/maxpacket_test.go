package broker_test

import (
	"fmt"
	"testing"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// A client never gets a packet above its Maximum Packet Size [MQTT-3.1.2-24].
// Where that has no room for what it must be told, it is told so as far as it
// can be, and the connection ends.
func TestAnswerAboveMaximumPacketSize(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	o := mqttest.Options{ClientID: "a", Clean: true, User: "alice", Password: s.Token("alice"), MaxPacket: 10}
	small := s.Dial()
	if ack := small.Connect(o); ack.ReasonCode != wire.CodeTooLarge || ack.FixedHeader.Remaining > 8 {
		t.Errorf("CONNACK 0x%02x of %d bytes, want 0x95 of 10 at most", ack.ReasonCode, ack.FixedHeader.Remaining+2)
	}
	small.ExpectClosed()

	o.MaxPacket = 40
	c := s.Dial()
	if ack := c.Connect(o); ack.ReasonCode != 0 {
		t.Fatalf("refused with 0x%02x", ack.ReasonCode)
	}
	var filters []string
	for i := range 50 {
		filters = append(filters, fmt.Sprintf("chat/c%d/messages", i))
	}
	c.MustSend(c.SubscribePacket(nil, 1, filters...))
	if code := c.ExpectClosed(); code != wire.CodeTooLarge {
		t.Errorf("ended with 0x%02x, want 0x95", code)
	}
}
