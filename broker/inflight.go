package broker

import (
	"math"
	"slices"
)

// sent is an entry that was sent at QoS 1, as long as it is not acknowledged
// or one before it is not.
type sent struct {
	f     *follower // nil where nothing follows the stream any more
	seq   uint64
	id    uint16
	acked bool
}

// unacked is what is left of a sent when its connection has ended.
type unacked struct {
	conversation string // "" where nothing goes on with the stream
	seq          uint64
	id           uint16
	acked        bool // then it keeps a place: one before it is not acknowledged
}

// inflight holds what was sent, in order. Packet identifiers go up by one, so
// the place of one is known without a search.
type inflight struct {
	list  []sent
	first int
	id    uint16 // given last
}

// leave answers what is not acknowledged, for the session's next connection.
// Identifiers stay in a row: find relies on it there too.
func (in *inflight) leave() []unacked {
	var left []unacked
	for _, e := range in.list[in.first:] {
		u := unacked{seq: e.seq, id: e.id, acked: true}
		if e.f != nil && e.f.cursor != nil {
			u.conversation, u.acked = e.f.conversation, e.acked
		}
		left = append(left, u)
	}
	return left
}

func (in *inflight) len() int { return len(in.list) - in.first }

// add gives the next packet identifier [MQTT-2.2.1-3].
func (in *inflight) add(f *follower, seq uint64) uint16 {
	if in.id++; in.id == 0 {
		in.id = 1
	}
	if in.first > 16 && in.first > len(in.list)/2 {
		n := copy(in.list, in.list[in.first:])
		clear(in.list[n:])
		in.list, in.first = in.list[:n], 0
	}
	in.list = append(in.list, sent{f: f, seq: seq, id: in.id})
	f.unacked++
	return in.id
}

// find answers the index of a packet identifier, or -1.
func (in *inflight) find(id uint16) int {
	if in.len() == 0 {
		return -1
	}
	d := int(id) - int(in.list[in.first].id)
	if d < 0 {
		d += math.MaxUint16 // identifiers are 1 to 65,535
	}
	if i := in.first + d; i < len(in.list) && in.list[i].id == id {
		return i
	}
	return -1
}

// trim takes out what is acknowledged at the front.
func (in *inflight) trim() {
	for in.first < len(in.list) && in.list[in.first].acked {
		in.list[in.first] = sent{}
		in.first++
	}
	if in.first == len(in.list) {
		in.list, in.first = in.list[:0], 0
		if cap(in.list) > 64 {
			in.list = nil // an idle session holds little
		}
	}
}

// acked takes a PUBACK. One for an identifier that is not in use is passed
// over, as after a takeover.
func (s *session) acked(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.inflight
	i := in.find(id)
	if i < 0 || in.list[i].acked {
		return
	}
	s.c.b.metrics.acks.Inc()
	in.list[i].acked = true
	in.advance(i)
	in.trim()
	if in.len() < s.window && len(s.stalled) > 0 {
		for j, f := range s.stalled {
			f.stalled = false
			s.c.wake(f)
			s.stalled[j] = nil
		}
		s.stalled = s.stalled[:0]
	}
	if len(s.starved) > 0 {
		s.c.nudge()
	}
}

// stall has a follower wait until the window has room. It is called again at
// every news of the stream meanwhile.
func (s *session) stall(f *follower) {
	if !f.stalled {
		f.stalled = true
		s.stalled = append(s.stalled, f)
	}
}

// waitsNoMore takes a follower that ends out of those that wait for something.
// A client that acknowledges nothing must not pile them up there.
func (s *session) waitsNoMore(f *follower) {
	same := func(o *follower) bool { return o == f }
	if f.stalled {
		s.stalled = slices.DeleteFunc(s.stalled, same)
	}
	if f.starving {
		s.starved = slices.DeleteFunc(s.starved, same)
	}
}

// advance moves the cursor of the follower of list[i], which was just
// acknowledged, to the highest seq before which all is acknowledged.
func (in *inflight) advance(i int) {
	f, seq := in.list[i].f, in.list[i].seq
	if f == nil {
		return
	}
	f.unacked--
	for j := i - 1; j >= in.first; j-- {
		if in.list[j].f == f && !in.list[j].acked {
			f.ahead++
			return
		}
	}
	for j := i + 1; j < len(in.list) && f.ahead > 0; j++ {
		if in.list[j].f != f {
			continue
		}
		if !in.list[j].acked {
			break
		}
		f.ahead--
		seq = in.list[j].seq
	}
	if f.cursor == nil {
		return
	}
	f.cursor.Advance(seq)
	if !in.holdsBack(f) {
		f.cursor.Advance(f.low)
	}
}

// holdsBack reports whether the cursor of a follower must wait for something
// that is not acknowledged. What the client says that it has does not count.
func (in *inflight) holdsBack(f *follower) bool {
	if f.unacked == 0 {
		return false
	}
	for _, e := range in.list[in.first:] {
		if e.f == f && !e.acked && e.seq > f.cursor.Seq() {
			return true
		}
	}
	return false
}
