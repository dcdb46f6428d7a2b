package wire

import (
	"errors"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func decode(t testing.TB, version byte, p Packet) *packets.Packet {
	t.Helper()
	var pk packets.Packet
	if err := Decode(version, p, &pk); err != nil {
		t.Fatal(err)
	}
	return &pk
}

func TestDecode(t *testing.T) {
	pk := decode(t, 0, connect5(0xEC, "c", props{24, uint32(9)}, "w", "bye", "u", ""))
	if c := pk.Connect; pk.ProtocolVersion != 5 || c.ClientIdentifier != "c" || c.WillTopic != "w" || c.WillQos != 1 ||
		!c.WillRetain || string(c.WillPayload) != "bye" || c.WillProperties.WillDelayInterval != 9 ||
		string(c.Username) != "u" || !c.PasswordFlag || len(c.Password) != 0 || c.Keepalive != 60 || c.Clean {
		t.Errorf("CONNECT: %+v", c)
	}
	pk = decode(t, 5, packet(0x82, uint16(7), props{11, 5, 38, "after", "3"}, "a", 0x2D))
	if f := pk.Filters; pk.PacketID != 7 || len(f) != 1 || f[0].Filter != "a" || f[0].Qos != 1 || !f[0].NoLocal ||
		!f[0].RetainAsPublished || f[0].RetainHandling != 2 || f[0].Identifier != 5 || pk.Properties.User[0].Val != "3" {
		t.Errorf("SUBSCRIBE: %+v", pk)
	}
	if pk = decode(t, 4, packet(0xA2, uint16(7), "a", "b")); len(pk.Filters) != 2 || pk.Filters[1].Filter != "b" {
		t.Errorf("UNSUBSCRIBE: %+v", pk.Filters)
	}
	if pk = decode(t, 5, packet(0xE0, 4)); pk.ReasonCode != 4 {
		t.Errorf("DISCONNECT of length 1: code %d", pk.ReasonCode)
	}
	if pk = decode(t, 5, packet(0xE0, 0x98, props{17, uint32(3)})); pk.ReasonCode != 0x98 || pk.Properties.SessionExpiryInterval != 3 {
		t.Errorf("DISCONNECT: %+v", pk)
	}
	if pk = decode(t, 5, packet(0xF0, 0x19, props{21, "jwt", 22, "t"})); pk.ReasonCode != 0x19 || pk.Properties.AuthenticationMethod != "jwt" {
		t.Errorf("AUTH: %+v", pk)
	}
	if pk = decode(t, 4, packet(0xC0)); pk.FixedHeader.Type != TypePingreq {
		t.Errorf("PINGREQ: %+v", pk)
	}
	if pk = decode(t, 5, packet(0x3B, "t", uint16(3), props{35, uint16(9)}, raw("x"))); pk.TopicName != "t" ||
		pk.PacketID != 3 || !pk.FixedHeader.Dup || string(pk.Payload) != "x" || pk.Properties.TopicAlias != 9 {
		t.Errorf("PUBLISH: %+v", pk)
	}
}

// What Decode gave out stays what it is when the reader goes on.
func TestDecodeKeepsNothingOfThePacket(t *testing.T) {
	p := connect5(0xEC, "client", props{}, "will", "bye", "user", "password")
	pk := decode(t, 5, p)
	clear(p.Body)
	if c := pk.Connect; c.ClientIdentifier != "client" || c.WillTopic != "will" || string(c.WillPayload) != "bye" ||
		string(c.Username) != "user" || string(c.Password) != "password" {
		t.Errorf("got %+v", c)
	}
}

// The packet over which the codec panics, and others that it lets through,
// never reach it.
func TestDecodeRefusesBeforeTheCodec(t *testing.T) {
	for name, p := range map[string]Packet{
		"SUBSCRIBE without options": packet(0x82, uint16(1), props{}, "a"),
		"user name not UTF-8":       connect5(0x80, "c", "\xff"),
		"property twice":            connectProps(33, uint16(1), 33, uint16(1)),
	} {
		var pk packets.Packet
		pk.PacketID = 99
		err := Decode(5, p, &pk)
		var e *Error
		if !errors.As(err, &e) || errors.Is(err, ErrPanic) || pk.PacketID != 99 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGuard(t *testing.T) {
	if err := guard(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := guard(func() error { panic("index out of range") }); !errors.Is(err, ErrPanic) {
		t.Errorf("a panic became %v", err)
	}
	err := guard(func() error { return errors.New("codec says no") })
	wantCode(t, err, CodeMalformed)
	if strings.Contains(err.Error(), "codec says") {
		t.Error("the codec's own text is passed on")
	}
}

func BenchmarkDecodeSubscribe(b *testing.B) {
	p := packet(0x82, uint16(7), props{11, 5, 38, "after", "3"}, "chat/+/messages", 1)
	var pk packets.Packet
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(5, p, &pk); err != nil {
			b.Fatal(err)
		}
	}
}
