package bench

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parley-mqtt/parley/broker/wire"
)

// stream is a topic with those who send to it and read it.
type stream struct {
	id      string // of the conversation
	topic   string
	index   uint32
	senders []*conn
	readers []*conn
}

// conn is one client. The loop alone uses it.
type conn struct {
	fd     int
	user   string
	stream *stream
	index  int // among all
	dead   bool

	part    []byte // the beginning of a packet whose rest has not come
	out     []byte
	written int  // of out
	queued  bool // stands in generator.dirty
	blocked bool // waits until the socket takes more

	reader *reader
	sender *sender
}

// reader is the receiving half of a subscriber.
type reader struct {
	seen
	contentAt int // where the content began in the last delivery
}

// sender is the sending half of a publisher.
type sender struct {
	index   uint32 // in its stream
	place   int    // in the schedule of an open loop
	frame   []byte // a whole PUBLISH, but for what differs
	idAt    int    // where the packet identifier stands in it; 0 is nowhere
	stampAt int
	sent    uint32
	due     uint32 // how many the schedule wants sent
	acked   uint64
	slots   []slot   // by packet identifier - 1
	free    []uint16 // slots that are not in use
}

// slot is a message that is not acknowledged yet.
type slot struct {
	used    bool
	counter uint32
	time    int64
}

func newSender(s *stream, index uint32, load *Load, run uint32) *sender {
	payload, at := makePayload(load.Size)
	st := stamp{stream: s.index, sender: index}
	st.put(payload[at:], run)
	p := &wire.Publish{QoS: byte(load.QoS), Topic: []byte(s.topic), Payload: payload}
	x := &sender{index: index, slots: make([]slot, load.Inflight)}
	x.frame, x.idAt = wire.AppendPublish(nil, wire.Version311, p)
	x.stampAt = len(x.frame) - len(payload) + at
	for i := len(x.slots) - 1; i >= 0; i-- {
		x.free = append(x.free, uint16(i))
	}
	return x
}

// ready tells whether there is room for one more message that is not
// acknowledged.
func (x *sender) ready() bool { return x.idAt == 0 || len(x.free) > 0 }

// unacknowledged tells whether a message with this counter waits for its
// PUBACK.
func (x *sender) unacknowledged(counter uint32) bool {
	for i := range x.slots {
		if x.slots[i].used && x.slots[i].counter == counter {
			return true
		}
	}
	return false
}

// write appends the next message, which counts from the time at.
func (x *sender) write(out []byte, at int64) []byte {
	begin := len(out)
	out = append(out, x.frame...)
	frame := out[begin:]
	st := stamp{time: at}
	st.putTime(frame[x.stampAt:])
	putWord(frame[x.stampAt+40:], x.sent)
	if x.idAt > 0 {
		i := x.free[len(x.free)-1]
		x.free = x.free[:len(x.free)-1]
		x.slots[i] = slot{used: true, counter: x.sent, time: at}
		wire.PatchPacketID(frame, x.idAt, i+1)
	}
	x.sent++
	return out
}

// acknowledge takes a PUBACK and returns from when its message counts. It is
// false when there is no such message.
func (x *sender) acknowledge(id uint16) (at int64, ok bool) {
	i := int(id) - 1
	if i < 0 || i >= len(x.slots) || !x.slots[i].used {
		return 0, false
	}
	x.slots[i].used = false
	x.free = append(x.free, uint16(i))
	x.acked++
	return x.slots[i].time, true
}

var (
	errHeader   = errors.New("a packet has a wrong remaining length")
	errTooLarge = errors.New("a packet is larger than the buffer")
	errShort    = errors.New("a packet ends too early")
	errQoS      = errors.New("a message came with QoS 2")
	errStrayAck = errors.New("a PUBACK came for what was not sent, or is acknowledged already")
)

// consume takes the whole packets from the front of b, all of which arrived at
// now. It returns how much of b they were. What they ask for in answer is
// appended to c.out.
func (g *generator) consume(c *conn, b []byte, now int64) (used int, err error) {
	for {
		rest := b[used:]
		if len(rest) < 2 {
			return used, nil
		}
		head, length := 2, int(rest[1])
		if length >= 0x80 {
			if head, length, err = remainingLength(rest); head == 0 || err != nil {
				return used, err
			}
		}
		if length > readBuffer/2 {
			return used, errTooLarge
		}
		if len(rest) < head+length {
			return used, nil
		}
		body := rest[head : head+length]
		switch rest[0] >> 4 {
		case wire.TypePublish:
			err = g.delivered(c, rest[0], body, now)
		case wire.TypePuback:
			err = g.acknowledged(c, body, now)
		case wire.TypePingresp:
			g.pongs++
		default:
			err = fmt.Errorf("a %s came", wire.TypeName(rest[0]>>4))
		}
		if err != nil {
			return used, err
		}
		used += head + length
	}
}

// remainingLength reads a fixed header. head is its length, 0 when it is not
// complete.
func remainingLength(b []byte) (head, length int, err error) {
	for i := 1; i < len(b) && i < 5; i++ {
		length |= int(b[i]&0x7F) << (7 * (i - 1))
		if b[i] < 0x80 {
			return i + 1, length, nil
		}
	}
	if len(b) >= 5 {
		return 0, 0, errHeader
	}
	return 0, 0, nil
}

func (g *generator) delivered(c *conn, first byte, body []byte, now int64) error {
	if len(body) < 4 {
		return errShort
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	switch first >> 1 & 3 {
	case 0:
	case 1:
		if at+2 > len(body) {
			return errShort
		}
		c.out = append(c.out, wire.TypePuback<<4, 2, body[at], body[at+1])
		at += 2
	default:
		return errQoS
	}
	if at > len(body) {
		return errShort
	}
	g.progress = now
	if now >= g.from && now < g.to {
		g.deliveries++
	}
	g.check(c, body[at:], now)
	return nil
}

// check looks at a delivered payload.
func (g *generator) check(c *conn, payload []byte, now int64) {
	r := c.reader
	var st stamp
	ok := false
	if r != nil {
		if at := findContent(payload, r.contentAt); at >= 0 {
			r.contentAt = at
			ok = st.read(payload[at:], g.run)
		}
	}
	if !ok || st.stream != c.stream.index || int(st.sender) >= len(c.stream.senders) ||
		st.counter >= c.stream.senders[st.sender].sender.sent {
		g.foreign++
		return
	}
	duplicates := r.duplicated
	g.outstanding = max(0, g.outstanding-r.add(st.sender, st.counter))
	if r.duplicated != duplicates {
		return
	}
	g.unique++
	if st.time >= g.from && st.time < g.to {
		g.delivery.add(now - st.time)
	}
}

func (g *generator) acknowledged(c *conn, body []byte, now int64) error {
	if len(body) < 2 {
		return errShort
	}
	if c.sender == nil {
		return errStrayAck
	}
	at, ok := c.sender.acknowledge(binary.BigEndian.Uint16(body))
	if !ok {
		return errStrayAck
	}
	g.progress = now
	g.acked++
	if now >= g.from && now < g.to {
		g.messages++
	}
	if at >= g.from && at < g.to {
		g.ack.add(now - at)
	}
	g.next(c, now)
	return nil
}
