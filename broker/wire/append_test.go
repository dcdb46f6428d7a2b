package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	paho5 "github.com/eclipse/paho.golang/packets"
	paho3 "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mochi-mqtt/server/v2/packets"
)

// user is two user properties: 7 bytes each.
var user = AppendUserProp(AppendUserProp(nil, "a", "1"), "b", []byte("2"))

// fullConnack is a CONNACK with every field.
func fullConnack() *Connack {
	return &Connack{SessionPresent: true, HasSessionExpiry: true, SessionExpiry: 60, ReceiveMaximum: 9,
		MaximumPacketSize: 1000, AssignedClientID: "id", TopicAliasMaximum: 4, HasServerKeepAlive: true,
		ServerKeepAlive: 30, NoRetain: true, NoSubscriptionIDs: true, NoShared: true,
		AuthMethod: "jwt", AuthData: []byte("d"), Reason: "why", User: user}
}

func TestAppendGolden(t *testing.T) {
	const userHex = "26000161000131 26000162000132"
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"PUBACK in 3.1.1", AppendAck(nil, 4, &Ack{TypePuback, 258, 0x97, "full", user}, 0), "4002 0102"},
		{"PUBREL in 3.1.1", AppendAck(nil, 4, &Ack{Type: TypePubrel, PacketID: 1}, 0), "6202 0001"},
		{"PUBACK", AppendAck(nil, 5, &Ack{Type: TypePuback, PacketID: 1}, 0), "4002 0001"},
		{"PUBREC that refuses", AppendAck(nil, 5, &Ack{Type: TypePubrec, PacketID: 1, Code: 0x97}, 0), "5003 0001 97"},
		{"PUBREL", AppendAck(nil, 5, &Ack{Type: TypePubrel, PacketID: 1, Code: 0x92}, 0), "6203 0001 92"},
		{"PUBCOMP with a reason", AppendAck(nil, 5, &Ack{Type: TypePubcomp, PacketID: 1, Reason: "no"}, 0), "7009 0001 00 05 1f00026e6f"},
		{"PUBACK with all", AppendAck(nil, 5, &Ack{TypePuback, 1, 0x87, "no", user}, 0), "4017 0001 87 13 1f00026e6f " + userHex},
		{"CONNACK in 3.1.1", AppendConnack(nil, 4, &Connack{SessionPresent: true, Reason: "x"}, 0), "2002 01 00"},
		{"CONNACK that refuses in 3.1.1", AppendConnack(nil, 4, &Connack{SessionPresent: true, Code: 0x87}, 0), "2002 00 05"},
		{"CONNACK for MQTT 3.1", AppendConnack(nil, 3, &Connack{Code: 0x84}, 0), "2002 00 01"},
		{"CONNACK without a code in 3.1.1", AppendConnack(nil, 4, &Connack{Code: 0x81}, 0), ""},
		{"CONNACK for what is no MQTT", AppendConnack(nil, 0, &Connack{Code: 0x84}, 0), ""},
		{"CONNACK for MQTT 6", AppendConnack(nil, 6, &Connack{Code: 0x84}, 0), "2003 00 84 00"},
		{"CONNACK", AppendConnack(nil, 5, &Connack{SessionPresent: true}, 0), "2003 01 00 00"},
		{"CONNACK that refuses", AppendConnack(nil, 5, &Connack{SessionPresent: true, Code: 0x87, Reason: "no"}, 0), "2008 00 87 05 1f00026e6f"},
		{"CONNACK with all", AppendConnack(nil, 5, fullConnack(), 0),
			"203f 01 00 3c 110000003c 210009 27000003e8 1200026964 220004 13001e 2500 2900 2a00 1500036a7774 16000164 1f0003776879" + userHex},
		{"SUBACK in 3.1.1", AppendSuback(nil, 4, 258, []byte{0, 1, 2, 0x87}, user, 0), "9006 0102 00010280"},
		{"SUBACK", AppendSuback(nil, 5, 258, []byte{1, 0x87}, nil, 0), "9005 0102 00 0187"},
		{"SUBACK with all", AppendSuback(nil, 5, 258, []byte{1}, user, 0), "9012 0102 0e " + userHex + "01"},
		{"UNSUBACK in 3.1.1", AppendUnsuback(nil, 4, 258, []byte{0, 0}, user, 0), "b002 0102"},
		{"UNSUBACK", AppendUnsuback(nil, 5, 258, []byte{0, 0x11}, nil, 0), "b005 0102 00 0011"},
		{"PINGRESP", AppendPingresp(nil), "d000"},
		{"DISCONNECT in 3.1.1", AppendDisconnect(nil, 4, 0x8B, "bye", 0), ""},
		{"DISCONNECT", AppendDisconnect(nil, 5, 0x8B, "", 0), "e001 8b"},
		{"DISCONNECT with a reason", AppendDisconnect(nil, 5, 0x8B, "no", 0), "e007 8b 05 1f00026e6f"},
		{"AUTH", AppendAuth(nil, 0x18, "jwt", []byte("d")), "f00c 18 0a 1500036a7774 16000164"},
	} {
		if want := strings.ReplaceAll(c.want, " ", ""); hex.EncodeToString(c.got) != want {
			t.Errorf("%s:\n got %x\nwant %s", c.name, c.got, want)
		}
	}
}

// With every limit the packet is as complete as the limit allows: first the
// user properties go, then the reason [MQTT-3.4.2-2], [MQTT-3.4.2-3].
func TestAppendFitsTheLimit(t *testing.T) {
	reason := strings.Repeat("r", 120) // so that lengths of two bytes occur
	for name, encode := range map[string]func(reason string, user UserProps, limit int) []byte{
		"PUBACK": func(r string, u UserProps, limit int) []byte {
			return AppendAck(nil, 5, &Ack{TypePuback, 1, 0x87, r, u}, limit)
		},
		"CONNACK": func(r string, u UserProps, limit int) []byte {
			return AppendConnack(nil, 5, &Connack{Code: 0x87, AuthMethod: "jwt", Reason: r, User: u}, limit)
		},
		"SUBACK": func(_ string, u UserProps, limit int) []byte {
			return AppendSuback(nil, 5, 1, []byte{0, 1}, u, limit)
		},
		"DISCONNECT": func(r string, _ UserProps, limit int) []byte {
			return AppendDisconnect(nil, 5, 0x8B, r, limit)
		},
	} {
		sizes := []int{len(encode(reason, user, 0)), len(encode(reason, nil, 0)), len(encode("", nil, 0))}
		for limit := 1; limit <= sizes[0]+1; limit++ {
			want := sizes[2] // nothing is left to leave out
			for _, size := range sizes {
				if size <= limit {
					want = size
					break
				}
			}
			if got := len(encode(reason, user, limit)); got != want {
				t.Fatalf("%s: %d bytes with a limit of %d, want %d of %v", name, got, limit, want, sizes)
			}
		}
	}
}

// What is appended is understood by the decoders of two other libraries.
func TestAppendIsUnderstood(t *testing.T) {
	frames := map[string][]byte{
		"PUBACK":     AppendAck(nil, 5, &Ack{TypePuback, 1, 0x87, "no", user}, 0),
		"PUBREC":     AppendAck(nil, 5, &Ack{TypePubrec, 1, 0, "", user}, 0),
		"PUBREL":     AppendAck(nil, 5, &Ack{TypePubrel, 1, 0x92, "", nil}, 0),
		"PUBCOMP":    AppendAck(nil, 5, &Ack{TypePubcomp, 1, 0, "", nil}, 0),
		"CONNACK":    AppendConnack(nil, 5, fullConnack(), 0),
		"SUBACK":     AppendSuback(nil, 5, 258, []byte{1, 0x87}, user, 0),
		"UNSUBACK":   AppendUnsuback(nil, 5, 258, []byte{0, 0x11}, user, 0),
		"PINGRESP":   AppendPingresp(nil),
		"DISCONNECT": AppendDisconnect(nil, 5, 0x8B, "bye", 0),
		"AUTH":       AppendAuth(nil, 0x18, "jwt", []byte("d")),
	}
	frames["PUBLISH"], _ = AppendPublish(nil, 5, full())
	for name, f := range frames {
		cp, err := paho5.ReadPacket(bytes.NewReader(f))
		if err != nil || cp.PacketType() != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	cp, _ := paho5.ReadPacket(bytes.NewReader(frames["CONNACK"]))
	ack := cp.Content.(*paho5.Connack)
	if p := ack.Properties; !ack.SessionPresent || *p.SessionExpiryInterval != 60 || *p.ReceiveMaximum != 9 ||
		*p.MaximumPacketSize != 1000 || p.AssignedClientID != "id" || *p.TopicAliasMaximum != 4 ||
		*p.ServerKeepAlive != 30 || p.AuthMethod != "jwt" || string(p.AuthData) != "d" ||
		*p.RetainAvailable != 0 || *p.SubIDAvailable != 0 || *p.SharedSubAvailable != 0 || p.ReasonString != "why" || len(p.User) != 2 || p.User[1] != (paho5.User{Key: "b", Value: "2"}) {
		t.Errorf("paho reads the CONNACK as %+v", p)
	}
	var mochi packets.Packet
	mochi.ProtocolVersion, mochi.FixedHeader.Type = 5, packets.Connack
	if err := mochi.ConnackDecode(read(t, frames["CONNACK"]).Body); err != nil || mochi.Properties.ReceiveMaximum != 9 ||
		len(mochi.Properties.User) != 2 || !mochi.SessionPresent {
		t.Errorf("the codec reads the CONNACK as %+v, %v", mochi, err)
	}
	for name, f := range map[string][]byte{
		"CONNACK":  AppendConnack(nil, 4, &Connack{Code: 0x88}, 0),
		"SUBACK":   AppendSuback(nil, 4, 1, []byte{0, 0x8F}, nil, 0),
		"UNSUBACK": AppendUnsuback(nil, 4, 1, []byte{0}, nil, 0),
		"PINGRESP": AppendPingresp(nil),
		"PUBACK":   AppendAck(nil, 4, &Ack{Type: TypePuback, PacketID: 1}, 0),
		"PUBREL":   AppendAck(nil, 4, &Ack{Type: TypePubrel, PacketID: 1}, 0),
	} {
		if cp, err := paho3.ReadPacket(bytes.NewReader(f)); err != nil || !strings.HasPrefix(cp.String(), name) {
			t.Errorf("%s of 3.1.1: %v, %v", name, cp, err)
		}
	}
}

// Every reason code of a CONNACK has a deliberate place in 3.1.1.
func TestReturnCode3(t *testing.T) {
	want := map[byte]byte{0: 0, 0x84: 1, 0x85: 2, 0x88: 3, 0x89: 3, 0x8B: 3, 0x80: 3, 0x83: 3, 0x97: 3, 0x9F: 3,
		0x86: 4, 0x8C: 4, 0x87: 5, 0x8A: 5}
	for c := range 256 {
		got, ok := ReturnCode3(byte(c))
		if w, known := want[byte(c)]; ok != known || got != w {
			t.Errorf("0x%02X: got %d, %v", c, got, ok)
		}
	}
}

func TestAcksDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 256)
	scratch := make(UserProps, 0, 64)
	seq := []byte("42")
	allocs := testing.AllocsPerRun(100, func() {
		scratch = AppendUserProp(scratch[:0], "seq", seq)
		dst = AppendAck(dst[:0], Version5, &Ack{TypePuback, 1, 0, "", scratch}, 100)
		body := dst[2:]
		if _, err := DecodeAck(Version5, Packet{First: dst[0], Body: body}); err != nil {
			t.Fatal(err)
		}
		dst = AppendSuback(dst, Version5, 1, seq, scratch, 100)
		dst = AppendUnsuback(dst, Version5, 1, seq, nil, 100)
		dst = AppendDisconnect(AppendPingresp(dst), Version5, 0x8B, "bye", 100)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkAppendAck(b *testing.B) {
	dst := make([]byte, 0, 256)
	a := &Ack{Type: TypePuback, PacketID: 1, User: user}
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendAck(dst[:0], Version5, a, 0)
	}
}

func BenchmarkDecodeAck(b *testing.B) {
	p := packet(0x40, uint16(1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeAck(Version5, p); err != nil {
			b.Fatal(err)
		}
	}
}
