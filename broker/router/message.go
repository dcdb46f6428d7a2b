package router

import (
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// Message is an application message on its way to its subscribers. It is
// shared by all of them: nobody changes it.
type Message struct {
	bridge.Message
	Retain bool              // as its publisher set it
	From   bridge.SessionKey // of its publisher, for No Local

	frames [4]atomic.Pointer[frame] // by version and by QoS 0 or more
}

// frame is an encoded PUBLISH. What differs between subscribers is patched in
// their copies: the first byte and the packet identifier.
type frame struct {
	bytes []byte
	at    int // where the packet identifier stands, 0 with QoS 0
}

// expired reports whether the message may not be sent any more
// [MQTT-3.3.2-5].
func (m *Message) expired(now time.Time) bool {
	return !m.Expires.IsZero() && !now.Before(m.Expires)
}

// left is what is left of the message expiry interval, in seconds
// [MQTT-3.3.2-6]. A part of a second counts as one, so that 0 is sent only
// with what is sent again after it has expired.
func (m *Message) left(now time.Time) uint32 {
	return uint32(max(0, (m.Expires.Sub(now)+time.Second-1)/time.Second))
}

// frame encodes the message, once for each form. Two goroutines may do it at
// the same time; either result serves.
func (m *Message) frame(version, qos byte) *frame {
	slot := 0
	if version >= wire.Version5 {
		slot = 2
	}
	if qos > 0 {
		slot++
	}
	if f := m.frames[slot].Load(); f != nil {
		return f
	}
	p := wire.Parts{QoS: min(qos, 1), Topic: m.Topic, Kept: m.Props, Payload: m.Payload}
	n := p.Len(version)
	f := &frame{bytes: p.Append(make([]byte, 0, n), version)}
	if qos > 0 {
		f.at = wire.PacketIDAt(f.bytes)
	}
	m.frames[slot].Store(f)
	return f
}

// Outbound is how one connection wants its packets. It belongs to the
// goroutine that pulls.
type Outbound struct {
	Version   byte
	MaxPacket int // the client's Maximum Packet Size, 0 is none
	Aliases   wire.Aliases
	hop       []byte // scratch
}

// append appends a delivery as a PUBLISH. It is false when the packet is
// larger than the client takes [MQTT-3.1.2-24]: nothing was appended then.
func (o *Outbound) append(dst []byte, d *delivery, dup bool, id uint16, now time.Time) ([]byte, bool) {
	m := d.m
	plain := o.Version < wire.Version5 || len(d.subIDs) == 0 && m.Expires.IsZero() && !o.Aliases.Any()
	if plain {
		f := m.frame(o.Version, d.qos)
		if o.MaxPacket > 0 && len(f.bytes) > o.MaxPacket {
			return dst, false
		}
		from := len(dst)
		dst = append(dst, f.bytes...)
		dst[from] = wire.First(dup, d.qos, d.retain)
		if d.qos > 0 {
			wire.PatchPacketID(dst[from:], f.at, id)
		}
		return dst, true
	}
	p := wire.Parts{DUP: dup, QoS: d.qos, Retain: d.retain, PacketID: id, Topic: m.Topic, Kept: m.Props, Payload: m.Payload}
	o.hop = o.hop[:0]
	if !m.Expires.IsZero() {
		o.hop = wire.AppendExpiry(o.hop, m.left(now))
	}
	for _, sub := range d.subIDs {
		o.hop = wire.AppendSubscriptionID(o.hop, sub)
	}
	plainHop := len(o.hop)
	alias, told := o.Aliases.Of(m.Topic)
	if alias > 0 {
		o.hop = wire.AppendTopicAlias(o.hop, alias)
	}
	if told {
		p.Topic = ""
	}
	p.Hop = o.hop
	if tooLarge := func() bool { return o.MaxPacket > 0 && p.Len(o.Version) > o.MaxPacket }; tooLarge() {
		if alias == 0 || told {
			return dst, false
		}
		p.Hop = o.hop[:plainHop] // it may go without an alias
		if alias = 0; tooLarge() {
			return dst, false
		}
	}
	if alias > 0 && !told {
		o.Aliases.Told(m.Topic, alias)
	}
	return p.Append(dst, o.Version), true
}
