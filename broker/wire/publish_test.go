package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// full is a PUBLISH with every field that a server sends.
func full() *Publish {
	return &Publish{
		DUP: true, Retain: true, QoS: 2, PacketID: 0x1234, Topic: []byte("devices/d1"), Payload: []byte("payload"),
		PayloadIsText: true, HasExpiry: true, Expiry: 3600, ContentType: []byte("text/plain"),
		ResponseTopic: []byte("answers"), CorrelationData: []byte{0, 1, 2},
		User: AppendUserProp(AppendUserProp(nil, "k", "v"), "k", "w"),
	}
}

func TestDecodePublish(t *testing.T) {
	b, at := AppendPublish(nil, Version5, full())
	var got Publish
	if err := DecodePublish(Version5, read(t, b), &got); err != nil {
		t.Fatal(err)
	}
	equal(t, "publish", got, *full())
	if at != 2+2+len("devices/d1") {
		t.Errorf("the packet id is said to stand at %d", at)
	}

	p := packet(0x32, "t", uint16(7), raw("x"))
	if err := DecodePublish(Version311, p, &got); err != nil {
		t.Fatal(err)
	}
	equal(t, "3.1.1", got, Publish{QoS: 1, PacketID: 7, Topic: []byte("t"), Payload: []byte("x")})

	p = packet(0x30, "", props{35, uint16(9), 3, "", 2, uint32(0)})
	if err := DecodePublish(Version5, p, &got); err != nil {
		t.Fatal(err)
	}
	equal(t, "alias", got, Publish{Topic: []byte{}, Payload: []byte{}, TopicAlias: 9, ContentType: []byte{}, HasExpiry: true})

	wantCode(t, DecodePublish(Version5, packet(0xC0), &got), CodeProtocolError)
}

// User properties keep their order [MQTT-3.3.2-18], also where other
// properties stand between them.
func TestDecodePublishUserProperties(t *testing.T) {
	for name, list := range map[string]props{
		"together":  {1, 1, 38, "a", "1", 38, "b", "2", 38, "a", "3", 2, uint32(1)},
		"apart":     {38, "a", "1", 1, 1, 38, "b", "2", 2, uint32(1), 38, "a", "3"},
		"one apart": {38, "a", "1", 38, "b", "2", 2, uint32(1), 38, "a", "3"},
		"last two":  {38, "a", "1", 2, uint32(1), 38, "b", "2", 38, "a", "3"},
	} {
		p := packet(0x30, "t", list, raw("x"))
		before := append([]byte(nil), p.Body...)
		var got Publish
		if err := DecodePublish(Version5, p, &got); err != nil {
			t.Fatal(err)
		}
		var text []string
		for k, v := range got.User.All() {
			text = append(text, string(k)+"="+string(v))
		}
		equal(t, name, text, []string{"a=1", "b=2", "a=3"})
		equal(t, name, string(got.User.Get("a")), "1")
		if got.User.Get("c") != nil {
			t.Error("a property that is not there has a value")
		}
		if !bytes.Equal(before, p.Body) {
			t.Errorf("%s: decoding changed the packet", name)
		}
	}
	for range UserProps("\x26\x00").All() { // not made by this package
		t.Error("half a property is given out")
	}
	for range AppendUserProp(AppendUserProp(nil, "a", "1"), "b", "2").All() {
		break
	}
}

func TestAppendPublishGolden(t *testing.T) {
	for _, c := range []struct {
		name    string
		version byte
		p       *Publish
		want    string
		at      int
	}{
		{"QoS 0", 4, &Publish{Topic: []byte("t"), Payload: []byte("hi")}, "3005 000174 6869", 0},
		{"QoS 1", 4, &Publish{QoS: 1, PacketID: 258, Topic: []byte("t"), Retain: true}, "3305 000174 0102", 5},
		{"QoS 0 in 5", 5, &Publish{Topic: []byte("t"), Payload: []byte("hi")}, "3006 000174 00 6869", 0},
		{"QoS 2 in 5", 5, &Publish{QoS: 2, DUP: true, Topic: []byte("t")}, "3c06 000174 0000 00", 5},
		{"DUP needs a QoS", 5, &Publish{DUP: true, Topic: []byte("t")}, "3004 000174 00", 0},
		{"no properties in 3.1.1", 4, full(), "3d15 000a646576696365732f6431 1234 7061796c6f6164", 14},
		{"all properties", 5, full(), "3d48 000a646576696365732f6431 1234" +
			"32 0101 0200000e10 03000a746578742f706c61696e 080007616e7377657273 090003000102" +
			"2600016b000176 2600016b000177 7061796c6f6164", 14},
		{"subscription ids", 5, &Publish{Topic: []byte("t"), SubscriptionIDs: []uint32{1, 300}}, "3009 000174 05 0b01 0bac02", 0},
		{"no alias", 5, &Publish{Topic: []byte("t"), TopicAlias: 3}, "3004 000174 00", 0},
		{"empty strings", 5, &Publish{Topic: []byte("t"), ContentType: []byte{}}, "3007 000174 03 030000", 0},
	} {
		got, at := AppendPublish(nil, c.version, c.p)
		if want := strings.ReplaceAll(c.want, " ", ""); hex.EncodeToString(got) != want || at != c.at {
			t.Errorf("%s: got %x, %d\nwant %s, %d", c.name, got, at, want, c.at)
		}
	}
	long := &Publish{QoS: 1, Topic: []byte("t"), Payload: make([]byte, 200)}
	dst, at := AppendPublish([]byte("before"), 4, long)
	if at != len("before")+3+3 {
		t.Errorf("behind other bytes the packet id is said to stand at %d", at)
	}
	PatchPacketID(dst, at, 0xABCD)
	SetDUP(dst[len("before"):])
	var got Publish
	if err := DecodePublish(4, read(t, dst[len("before"):]), &got); err != nil || got.PacketID != 0xABCD || !got.DUP {
		t.Errorf("patched: %v %+v", err, got)
	}
}

// What is too long for MQTT is cut at a character, so that the packet stays
// well-formed.
func TestAppendCutsLongStrings(t *testing.T) {
	long := strings.Repeat("x", maxString-1) + "é"
	b, _ := AppendPublish(nil, Version5, &Publish{Topic: []byte(long), ContentType: []byte(long), User: AppendUserProp(nil, long, long)})
	var got Publish
	if err := DecodePublish(Version5, read(t, b), &got); err != nil {
		t.Fatal(err)
	}
	for _, s := range [][]byte{got.Topic, got.ContentType, got.User.Get(long[:maxString-1])} {
		if len(s) != maxString-1 {
			t.Errorf("cut to %d bytes", len(s))
		}
	}
	if n := len(cut(strings.Repeat("\x80", maxString+1))); n != 0 {
		t.Errorf("bytes that are no text are cut to %d", n)
	}
}

func TestPublishClone(t *testing.T) {
	p := full()
	p.SubscriptionIDs = []uint32{7}
	q := p.Clone()
	if !reflect.DeepEqual(p, q) {
		t.Fatalf("got %+v", q)
	}
	for _, b := range [][]byte{p.Topic, p.Payload, p.ContentType, p.ResponseTopic, p.CorrelationData, p.User} {
		clear(b)
	}
	p.SubscriptionIDs[0] = 0
	want := full()
	want.SubscriptionIDs = []uint32{7}
	equal(t, "clone", *q, *want)
	equal(t, "empty clone", *(&Publish{}).Clone(), Publish{})
	if q.Topic = append(q.Topic, "more"...); string(q.Payload) != "payload" {
		t.Error("an append to one field of a clone writes over another")
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	p := full()
	b, _ := AppendPublish(nil, Version5, p)
	in := read(t, b)
	dst := make([]byte, 0, 1024)
	var got Publish
	n := 0
	allocs := testing.AllocsPerRun(100, func() {
		if DecodePublish(Version5, in, &got) != nil || Check(Version5, in) != nil {
			t.Fatal("refused")
		}
		dst, _ = AppendPublish(dst[:0], Version5, &got)
		for k := range got.User.All() {
			n += len(k)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	for name, version := range map[string]byte{"v3": Version311, "v5": Version5} {
		b.Run(name, func(b *testing.B) {
			p := &Publish{QoS: 1, PacketID: 5, Topic: []byte("chat/c1/messages"), Payload: make([]byte, 200)}
			f, _ := AppendPublish(nil, version, p)
			in := read(b, f)
			var got Publish
			b.ReportAllocs()
			for b.Loop() {
				if err := DecodePublish(version, in, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	p := &Publish{QoS: 1, PacketID: 5, Topic: []byte("chat/c1/messages"), Payload: make([]byte, 200)}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = AppendPublish(dst[:0], Version5, p)
	}
}
