package model_test

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// link is one connection of a client.
type link struct {
	w       *world
	c       *client
	s       *session
	raw     *mqttest.Client
	ended   bool // by the server
	code    byte // of its DISCONNECT
	room    int  // entries that may be sent to it and not acknowledged
	sending int  // sends that it may have unacknowledged

	readers  map[*conv]*reader
	entries  int             // that came
	fresh    bool            // one of them was not sent before: no more DUP can come
	arrived  []*delivery     // from the first that is not acknowledged on
	carried  int             // of earlier connections: they may hold places without being sent again
	acked    []*delivery     // acknowledgements sent, not known to have been read
	attempts []*attempt      // QoS 1 and 2 without an answer, in order
	loose    []*attempt      // QoS 0, not known to have been read
	order    []*attempt      // all first sends of plain messages, in order
	released map[uint16]bool // PUBREL sent

	pings, pongs int
	confirmed    []int // by ping: how many of acked and loose went before it
	subacks      map[uint16]packets.Packet
}

// delivery is an entry that came at QoS 1.
type delivery struct {
	packet uint16
	follow *follow // nil for a replay without a subscription
	conv   *conv
	seq    uint64
	acked  bool
}

func (l *link) String() string { return l.c.String() }

// read reads one packet and deals with it. It is false when the connection
// has ended, which is a failure unless it is expected.
func (l *link) read(why string) bool {
	if l.ended {
		return false
	}
	pk, err := l.raw.Read(patience)
	var ne net.Error
	switch {
	case err == nil:
		l.handle(pk)
		return !l.ended
	case errors.As(err, &ne) && ne.Timeout():
		l.w.fail("%s waited in vain for %s\n%s", l, why, l.state())
	case !l.w.closing:
		l.w.fail("%s lost its connection, code 0x%02x, waiting for %s: %v", l, l.code, why, err)
	}
	l.ended = true
	return false
}

// drain reads until the server has closed the connection.
func (l *link) drain(code byte) {
	closing := l.w.closing
	l.w.closing = true
	for l.read("the end of the connection") {
	}
	l.w.closing = closing
	if l.code != 0 && l.code != code {
		l.w.fail("%s was ended with 0x%02x, not 0x%02x", l, l.code, code)
	}
	_ = l.raw.Conn.Close()
}

// state says what the test believes, for a failure.
func (l *link) state() string {
	text := fmt.Sprintf("room %d, arrived %d, carried %d, attempts %d", l.room, len(l.arrived), l.carried, len(l.attempts))
	for _, c := range l.w.convs {
		if r := l.readers[c]; r != nil {
			text += fmt.Sprintf("\n%s head %d need %d:%s", c.id, c.head(), r.need(), r)
		}
	}
	return text
}

func (l *link) await(what string, done func() bool) {
	for !done() && l.read(what) {
	}
}

// ping waits until the server has read all that was sent before.
func (l *link) ping() {
	if !l.send([]byte{packets.Pingreq << 4, 0}) {
		return
	}
	l.pings++
	l.confirmed = append(l.confirmed, len(l.acked), len(l.loose))
	l.await("a PINGRESP", func() bool { return l.pongs == l.pings })
}

func (l *link) pong() {
	if l.pongs++; l.pongs > l.pings {
		l.w.fail("%s got a PINGRESP too many", l)
	}
	acks, loose := l.confirmed[0], l.confirmed[1]
	l.confirmed = l.confirmed[2:]
	for i := range l.confirmed {
		l.confirmed[i] -= []int{acks, loose}[i%2]
	}
	for _, d := range l.acked[:acks] {
		if d.follow != nil {
			d.follow.open[d.seq]--
		}
	}
	l.acked = l.acked[acks:]
	for _, a := range l.loose[:loose] {
		a.read = true
		l.w.loose = append(l.w.loose, a)
	}
	l.loose = l.loose[loose:]
}

// send writes bytes; false where the connection is gone and may be.
func (l *link) send(raw []byte) bool {
	if l.ended {
		return false
	}
	if err := l.raw.Send(raw); err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			l.w.fail("%s: the server does not read: %v", l, err)
		}
		if !l.w.closing {
			l.w.fail("%s: writing: %v", l, err)
		}
		return false // what came before is still to be read
	}
	return true
}

// handle deals with a packet.
func (l *link) handle(pk packets.Packet) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		switch topic, _ := chat.ParseTopic(pk.TopicName); {
		case pk.TopicName == l.c.errors():
			l.problem(pk.Payload)
		case topic.Kind == chat.KindReceipts: // chat/+/+ tells of them; package live looks at those
		default:
			l.entry(pk)
		}
	case packets.Puback, packets.Pubrec:
		l.answer(pk)
	case packets.Pubcomp:
		if !l.released[pk.PacketID] {
			l.w.fail("%s got a PUBCOMP of %d, which was not released", l, pk.PacketID)
		}
		delete(l.released, pk.PacketID)
		delete(l.s.received, pk.PacketID)
	case packets.Pingresp:
		l.pong()
	case packets.Suback, packets.Unsuback:
		l.subacks[pk.PacketID] = pk
	case packets.Disconnect:
		l.code, l.ended = pk.ReasonCode, true
	default:
		l.w.fail("%s got a %s", l, wire.TypeName(pk.FixedHeader.Type))
	}
}

// answer takes a PUBACK or PUBREC: they come in the order of the sends.
func (l *link) answer(pk packets.Packet) {
	if len(l.attempts) == 0 {
		l.w.fail("%s got an answer to %d and awaits none", l, pk.PacketID)
	}
	a := l.attempts[0]
	l.attempts = l.attempts[1:]
	kind := packets.Puback
	if a.qos == 2 {
		kind = packets.Pubrec
	}
	if pk.FixedHeader.Type != kind || pk.PacketID != a.packet {
		l.w.fail("%s got a %s of %d and awaits an answer to %d at QoS %d: %s", l,
			wire.TypeName(pk.FixedHeader.Type), pk.PacketID, a.packet, a.qos, a)
	}
	l.w.log("  %s: answer 0x%02x seq %s to %s", l, pk.ReasonCode, mqttest.UserProperty(pk, "seq"), a)
	if a.qos == 2 && pk.ReasonCode < 0x80 {
		l.s.received[a.packet] = a
	} else {
		delete(l.s.received, a.packet)
	}
	switch {
	case l.c.version == 5:
		id, seq := mqttest.UserProperty(pk, "id"), mqttest.UserProperty(pk, "seq")
		v := verdictOfReason(pk.ReasonCode)
		if v == 0 {
			l.w.fail("%s got 0x%02x (%s): %s", l, pk.ReasonCode, pk.Properties.ReasonString, a)
		}
		if v == accept && a.m != nil && id == "" && !a.twice {
			l.w.fail("%s: the acknowledgement tells no id: %s", l, a)
		}
		l.w.ended(a, v, id, seq)
	case a.told != 0:
		l.w.ended(a, a.told, "", "")
	default:
		l.w.ended(a, l.unsaid(a), "", "")
	}
	if a.qos == 2 && pk.ReasonCode < 0x80 && !a.hold {
		l.release(a.packet)
	}
}

// unsaid finds out what an acknowledgement of 3.1.1 means, which is the same
// for what was refused.
func (l *link) unsaid(a *attempt) verdicts {
	if a.m == nil {
		return a.replay
	}
	if a.m.seq == 0 {
		a.m.conv.refresh()
	}
	refusal := a.possible() &^ (accept | fail)
	if refusal == 0 || a.m.seq != 0 && a.possible()&accept != 0 {
		return accept
	}
	if l.s.tells && !a.twice && a.m.body.ClientID != "" && a.possible()&accept != 0 {
		return accept // a refusal would have been told, here
	}
	return refusal
}

func verdictOfReason(code byte) verdicts {
	switch code {
	case 0:
		return accept
	case wire.CodeNotAuthorized:
		return forbid
	case wire.CodePayloadInvalid:
		return missing
	case wire.CodeImplementationSpecific, wire.CodeUnspecified:
		return fail
	}
	return 0
}

// release sends a PUBREL.
func (l *link) release(packet uint16) {
	l.released[packet] = true
	l.send(wire.AppendAck(nil, l.c.version, &wire.Ack{Type: wire.TypePubrel, PacketID: packet}, 0))
}

// ack acknowledges an entry.
func (l *link) ack(d *delivery) {
	d.acked = true
	if !l.send(wire.AppendAck(nil, l.c.version, &wire.Ack{Type: wire.TypePuback, PacketID: d.packet}, 0)) {
		return
	}
	l.acked = append(l.acked, d)
	if d.follow != nil {
		d.follow.acked[d.seq] = true
	}
	for len(l.arrived) > 0 && l.arrived[0].acked {
		l.arrived = l.arrived[1:]
	}
}

// unacked answers what is not acknowledged.
func (l *link) unacked() []*delivery {
	return slices.DeleteFunc(slices.Clone(l.arrived), func(d *delivery) bool { return d.acked })
}

// demand answers the conversation of which an entry must come now, or nil.
func (l *link) demand() (*conv, uint64) {
	if l.ended || len(l.arrived) > 0 && len(l.arrived)+l.carried >= l.room {
		return nil, 0
	}
	for _, c := range l.w.convs {
		if r := l.readers[c]; r != nil {
			if q := r.need(); q > 0 {
				return c, q
			}
		}
	}
	return nil, 0
}

// readEntry reads up to an entry that must come. It is false when none must.
func (l *link) readEntry() bool {
	c, q := l.demand()
	if c == nil {
		return false
	}
	before := l.entries
	l.await(fmt.Sprintf("seq %d of %s", q, c.id), func() bool { return l.entries > before })
	return !l.ended
}

// readAll reads and acknowledges until nothing must come any more.
func (l *link) readAll() {
	for {
		if l.readEntry() {
			continue
		}
		left := l.unacked()
		if len(left) == 0 || l.ended {
			return
		}
		for _, d := range left {
			l.ack(d)
		}
	}
}
