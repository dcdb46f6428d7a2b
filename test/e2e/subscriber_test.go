package e2e_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// forgetting is how old an acknowledgement may be that a crash makes the
// server forget: a second, by the contract, and the time that saving takes on
// a busy machine.
const forgetting = time.Second + 500*time.Millisecond

// subscriber follows chat/+/messages in a durable session. It holds every
// entry that it got against what it got before.
type subscriber struct {
	l              *load
	user           string
	version        byte
	receiveMaximum uint16
	hold           int // entries that it leaves unacknowledged while more come

	mu      sync.Mutex
	streams map[string]*following
	conn    *mqttest.Client // nil: not connected
	leaving bool            // told to disconnect, and to stay away
	ends    []time.Time     // when each connection but the present one ended
	repeats int             // entries that came again
	oldest  time.Duration   // the oldest acknowledgement that was forgotten
}

// following is what a subscriber has of one stream.
type following struct {
	start uint64    // the first seq that it must get
	got   []arrival // from start on, without a gap
	acked uint64    // all up to here is acknowledged
	here  uint64    // the seq that came last on this connection, 0 if none
}

// arrival is an entry that came, once or again.
type arrival struct {
	id    string
	acked time.Time // the last time, zero if not yet
	on    int       // the number of the connection on which that was
}

func (f *following) next() uint64 { return f.start + uint64(len(f.got)) }

// join connects for the first time and subscribes. What was committed before
// is not for this subscriber.
func (s *subscriber) join() {
	s.l.t.Helper()
	c, connack := s.l.dial(s.user, s.version, s.receiveMaximum)
	if c == nil {
		s.l.t.Fatalf("%s cannot connect", s.user)
	}
	if connack.SessionPresent {
		s.l.t.Fatalf("%s: session present on an empty database", s.user)
	}
	suback := c.Subscribe("chat/+/messages")
	if len(suback.ReasonCodes) != 1 || suback.ReasonCodes[0] != 1 {
		s.l.t.Fatalf("%s: SUBACK %v", s.user, suback.ReasonCodes)
	}
	s.streams = make(map[string]*following)
	for _, conv := range s.l.conversations() {
		s.streams[conv] = &following{start: uint64(len(s.l.members())) + 1, acked: uint64(len(s.l.members()))}
	}
	c.Disconnect()
	s.l.hangUp(c)
}

// expect adds a conversation that was made after join: it comes from the
// subscriber's own join entry on. It is called before the conversation is made.
func (s *subscriber) expect(conv string, joined uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[conv] = &following{start: joined, acked: joined - 1}
}

// leave disconnects, and has the subscriber stay away until comeBack.
func (s *subscriber) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	if s.conn != nil {
		_ = s.conn.Send([]byte{packets.Disconnect << 4, 0}) // the reader sees the end
	}
}

func (s *subscriber) comeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = false
}

func (s *subscriber) away() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

func (s *subscriber) run() {
	for !ended(s.l.closing) {
		var c *mqttest.Client
		if !s.away() {
			c = s.connect()
		}
		if c == nil {
			backoff(s.l.closing)
			continue
		}
		s.read(c)
		s.l.hangUp(c)
		s.mu.Lock()
		s.conn, s.ends = nil, append(s.ends, time.Now())
		s.mu.Unlock()
	}
}

// connect resumes the session, which must be there.
func (s *subscriber) connect() *mqttest.Client {
	c, connack := s.l.dial(s.user, s.version, s.receiveMaximum)
	if c == nil {
		return nil
	}
	if !connack.SessionPresent {
		s.l.fail("%s: the durable session is gone", s.user)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.streams {
		f.here = 0
	}
	s.conn = c
	if s.leaving { // leave came before the connection was known
		_ = c.Send([]byte{packets.Disconnect << 4, 0})
	}
	return c
}

// read takes what comes on one connection until it ends.
func (s *subscriber) read(c *mqttest.Client) {
	var held []packets.Packet
	for {
		pk, err := c.Read(time.Minute)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue // nothing was sent for a long time
		}
		if err != nil {
			return
		}
		switch pk.FixedHeader.Type {
		case packets.Publish:
			if held = append(held, pk); !s.arrived(pk) {
				return
			}
			if len(held) > s.hold {
				s.acknowledge(c, held[0])
				held = held[1:]
			}
		case packets.Disconnect:
			if pk.ReasonCode == wire.CodeServerShuttingDown {
				s.l.goodbyes.Add(1)
			} else {
				s.l.fail("%s: DISCONNECT 0x%02x %s", s.user, pk.ReasonCode, pk.Properties.ReasonString)
			}
			return
		default:
			s.l.fail("%s: got a %s", s.user, wire.TypeName(pk.FixedHeader.Type))
		}
	}
}

// arrived holds an entry against the guarantees; false where it makes no
// sense to read on.
func (s *subscriber) arrived(pk packets.Packet) bool {
	var e parleytest.Entry
	if err := json.Unmarshal(pk.Payload, &e); err != nil {
		s.l.fail("%s: entry %s: %v", s.user, pk.Payload, err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.streams[e.ConversationID]
	switch {
	case f == nil || pk.TopicName != "chat/"+e.ConversationID+"/messages":
		s.l.fail("%s: entry on %s: %s", s.user, pk.TopicName, pk.Payload)
		return false
	case pk.FixedHeader.Qos != 1:
		s.l.fail("%s: entry at QoS %d", s.user, pk.FixedHeader.Qos)
	case f.here > 0 && e.Seq != f.here+1:
		s.l.fail("%s: %s went from %d to %d on one connection", s.user, e.ConversationID, f.here, e.Seq)
	case f.here == 0 && e.Seq > f.acked+1:
		s.l.fail("%s: %s begins at %d after a return, but only %d is acknowledged", s.user, e.ConversationID, e.Seq, f.acked)
	case e.Seq < f.start:
		s.l.fail("%s: %s has entry %d from before the subscription at %d", s.user, e.ConversationID, e.Seq, f.start)
	}
	f.here = e.Seq
	switch {
	case e.Seq == f.next():
		f.got = append(f.got, arrival{id: e.ID})
	case e.Seq >= f.start && e.Seq < f.next():
		s.again(f, &e)
	}
	return true
}

// again takes an entry that had come before.
func (s *subscriber) again(f *following, e *parleytest.Entry) {
	s.repeats++
	old := f.got[e.Seq-f.start]
	if old.id != e.ID {
		s.l.fail("%s: %s %d came as %s and then as %s", s.user, e.ConversationID, e.Seq, old.id, e.ID)
	}
	if old.acked.IsZero() {
		return
	}
	if old.on == len(s.ends) {
		s.l.fail("%s: %s %d came twice on one connection", s.user, e.ConversationID, e.Seq)
		return
	}
	age := s.ends[old.on].Sub(old.acked)
	s.oldest = max(s.oldest, age)
	if age > forgetting {
		s.l.fail("%s: %s %d came again, though it was acknowledged %v before the end of the connection",
			s.user, e.ConversationID, e.Seq, age)
	}
}

// acknowledge sends the PUBACK of an entry, and notes when.
func (s *subscriber) acknowledge(c *mqttest.Client, pk packets.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving { // nothing may follow a DISCONNECT
		return
	}
	if c.Send(wire.AppendAck(nil, s.version, &wire.Ack{Type: packets.Puback, PacketID: pk.PacketID}, 0)) != nil {
		return
	}
	var e parleytest.Entry
	_ = json.Unmarshal(pk.Payload, &e) // arrived has seen that it can
	conv := strings.Split(pk.TopicName, "/")[1]
	f := s.streams[conv]
	if e.Seq < f.start || e.Seq >= f.next() {
		return
	}
	a := &f.got[e.Seq-f.start]
	a.acked, a.on = time.Now(), len(s.ends)
	f.acked = max(f.acked, e.Seq)
}

// has answers up to which seq the subscriber has a stream.
func (s *subscriber) has(conv string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[conv].next() - 1
}
