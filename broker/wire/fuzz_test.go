package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	paho5 "github.com/eclipse/paho.golang/packets"
	paho3 "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mochi-mqtt/server/v2/packets"
)

// readAll reads packets until the first error, and watches the buffer.
func readAll(t *testing.T, src *source, limit int) (list []string, last error) {
	r := NewReader(src)
	for {
		p, err := r.Next(limit)
		if len(r.buf) > max(smallBuffer, 4*src.given) {
			t.Fatalf("%d bytes cost a buffer of %d", src.given, len(r.buf))
		}
		if err != nil {
			return list, err
		}
		if limit > 0 && len(p.Body)+2 > limit {
			t.Fatalf("a body of %d bytes with a limit of %d", len(p.Body), limit)
		}
		list = append(list, fmt.Sprintf("%x %v %x", p.First, p.Long, p.Body))
	}
}

// FuzzRead: arbitrary bytes never panic and never cost more memory than they
// are worth, and how they are cut into pieces makes no difference.
func FuzzRead(f *testing.F) {
	stream := append(publishFrame(700), AppendPingresp(nil)...)
	f.Add(stream, []byte{7}, 0)
	f.Add(append(stream, publishFrame(3000)...), []byte{200, 1}, 2000)
	f.Add([]byte("\x30\xff\xff\xff\x7f"), []byte{1}, 0)
	f.Add([]byte("\x30\xff\xff\xff\xff\x7f"), []byte{2}, 100)
	f.Add([]byte("\xC0\x80\x00\xC0\x00"), []byte{255}, 2)
	f.Fuzz(func(t *testing.T, data, cuts []byte, limit int) {
		sizes := make([]int, len(cuts))
		for i, c := range cuts {
			sizes[i] = int(c) + 1
		}
		whole, wantErr := readAll(t, &source{data: data}, limit)
		pieces, err := readAll(t, &source{data: data, sizes: sizes}, limit)
		equal(t, "packets", pieces, whole)
		if !errors.Is(err, wantErr) {
			t.Errorf("got %v, want %v", err, wantErr)
		}
		var typed *Error
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &typed) {
			t.Errorf("got the error %v", err)
		}
	})
}

// FuzzDecode: what Check accepts, the codec decodes without a panic, and our
// own decoders read the same in it; what we encode, other libraries accept.
func FuzzDecode(f *testing.F) {
	for _, p := range []Packet{
		connect5(0xF6, "c", props{24, uint32(1), 1, 1, 8, "r"}, "w", "x", "user", "password"),
		connect4(0xEE, "c", "w", "x", "user", "password"),
		connectProps(17, uint32(5), 33, uint16(1), 38, "k", "v", 21, "jwt", 22, "data"),
		packet(0x3B, "t", uint16(1), props{1, 1, 38, "k", "v", 2, uint32(7), 38, "k", "w", 35, uint16(4), 3, "c"}, raw("x")),
		packet(0x34, "t", uint16(1), raw("payload")),
		packet(0x40, uint16(1), 0x87, props{31, "why", 38, "k", "v"}),
		packet(0x62, uint16(1), 0x92),
		packet(0x82, uint16(1), props{11, 5}, "a", 1, "$share/g/b", 2),
		packet(0x82, uint16(1), "a"),
		packet(0xA2, uint16(1), props{38, "k", "v"}, "a"),
		packet(0xC0),
		packet(0xE0, 4),
		packet(0xE0, 0, props{17, uint32(1)}),
		packet(0xF0, 0x19, props{21, "jwt", 22, "t"}),
	} {
		f.Add(true, p.First, p.Body)
		f.Add(false, p.First, p.Body)
	}
	f.Fuzz(func(t *testing.T, five bool, first byte, body []byte) {
		version := byte(Version311)
		if five {
			version = Version5
		}
		p := Packet{First: first, Body: body}
		before := append([]byte(nil), body...)
		var pk packets.Packet
		err := Decode(version, p, &pk)
		var typed *Error
		switch {
		case !bytes.Equal(before, body):
			t.Fatal("the packet was changed")
		case err == nil && Check(version, p) != nil:
			t.Fatal("decoded what Check refuses")
		case err == nil:
			agree(t, version, p, &pk)
		case Check(version, p) == nil:
			t.Fatalf("the codec refuses what Check accepts: %v", err)
		case !errors.As(err, &typed) || typed.Code < 0x80 || typed.Text == "":
			t.Fatalf("got the error %#v", err)
		}
	})
}

// agree compares the codec's reading of an accepted packet with ours, encodes
// it again and lets another library decode that.
func agree(t *testing.T, version byte, p Packet, pk *packets.Packet) {
	switch p.Type() {
	case TypePublish:
		var got Publish
		if err := DecodePublish(version, p, &got); err != nil {
			t.Fatal(err)
		}
		agreePublish(t, &got, pk)
		encodePublish(t, version, got)
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		got, err := DecodeAck(version, p)
		if err != nil || got.PacketID != pk.PacketID || got.Code != pk.ReasonCode {
			t.Fatalf("got %+v, %v; the codec reads %d, 0x%02X", got, err, pk.PacketID, pk.ReasonCode)
		}
		for _, u := range pk.Properties.User {
			got.User = AppendUserProp(got.User, u.Key, u.Val)
		}
		got.Reason = pk.Properties.ReasonString
		encodeAck(t, version, got)
	case TypeConnect:
		if Version(p) != pk.ProtocolVersion {
			t.Fatalf("Version is %d, the codec reads %d", Version(p), pk.ProtocolVersion)
		}
	case TypeSubscribe, TypeUnsubscribe:
		if len(pk.Filters) == 0 || pk.PacketID == 0 {
			t.Fatalf("accepted %+v", pk)
		}
	}
}

func agreePublish(t *testing.T, got *Publish, pk *packets.Packet) {
	want := Publish{
		DUP: pk.FixedHeader.Dup, Retain: pk.FixedHeader.Retain, QoS: pk.FixedHeader.Qos, PacketID: pk.PacketID,
		Topic: []byte(pk.TopicName), Payload: pk.Payload,
		PayloadIsText: pk.Properties.PayloadFormat == 1, Expiry: pk.Properties.MessageExpiryInterval,
		TopicAlias:  pk.Properties.TopicAlias,
		ContentType: []byte(pk.Properties.ContentType), ResponseTopic: []byte(pk.Properties.ResponseTopic),
		CorrelationData: pk.Properties.CorrelationData,
	}
	for _, u := range pk.Properties.User {
		want.User = AppendUserProp(want.User, u.Key, u.Val)
	}
	equalPublish(t, got, &want)
}

// equalPublish compares what both the codec and we can tell.
func equalPublish(t *testing.T, got, want *Publish) {
	t.Helper()
	text := func(p *Publish) string {
		return fmt.Sprintf("%v %v %v %v %q %q %v %v %v %q %q %q %q", p.DUP, p.Retain, p.QoS, p.PacketID, p.Topic,
			p.Payload, p.PayloadIsText, p.Expiry, p.TopicAlias, p.ContentType, p.ResponseTopic, p.CorrelationData, p.User)
	}
	if text(got) != text(want) {
		t.Fatalf("got  %s\nwant %s", text(got), text(want))
	}
}

func encodePublish(t *testing.T, version byte, p Publish) {
	p.TopicAlias = 0
	if len(p.Topic) == 0 {
		p.Topic = []byte("t")
	}
	out, _ := AppendPublish(nil, version, p.Clone())
	var again Publish
	if err := DecodePublish(version, read(t, out), &again); err != nil {
		t.Fatalf("we refuse what we encode: %v", err)
	}
	equalPublish(t, &again, &p)
	if version < Version5 {
		cp, err := paho3.ReadPacket(bytes.NewReader(out))
		if err != nil || cp.(*paho3.PublishPacket).TopicName != string(p.Topic) {
			t.Fatalf("paho reads %v, %v", cp, err)
		}
		return
	}
	cp, err := paho5.ReadPacket(bytes.NewReader(out))
	if err != nil {
		t.Fatalf("paho: %v", err)
	}
	got := cp.Content.(*paho5.Publish)
	if got.Topic != string(p.Topic) || got.PacketID != p.PacketID || got.QoS != p.QoS || got.Duplicate != p.DUP ||
		got.Retain != p.Retain || !bytes.Equal(got.Payload, p.Payload) || got.Properties.ContentType != string(p.ContentType) {
		t.Fatalf("paho reads %+v", got)
	}
	n := 0
	for k, v := range p.User.All() {
		if got.Properties.User[n] != (paho5.User{Key: string(k), Value: string(v)}) {
			t.Fatalf("paho reads the user properties %v", got.Properties.User)
		}
		n++
	}
}

func encodeAck(t *testing.T, version byte, a Ack) {
	out := AppendAck(nil, version, &a, 0)
	again, err := DecodeAck(version, read(t, out))
	if err != nil || again.PacketID != a.PacketID || again.Code != a.Code {
		t.Fatalf("got %+v, %v, want %+v", again, err, a)
	}
	if version < Version5 {
		if _, err := paho3.ReadPacket(bytes.NewReader(out)); err != nil {
			t.Fatalf("paho: %v", err)
		}
		return
	}
	cp, err := paho5.ReadPacket(bytes.NewReader(out))
	if err != nil || cp.PacketID() != a.PacketID {
		t.Fatalf("paho: %v", err)
	}
}
