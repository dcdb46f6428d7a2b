package feed

import (
	"math"
	"slices"

	"github.com/parley-mqtt/parley/internal/chat"
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
	stream chat.StreamID // "" where nothing goes on with it
	seq    uint64
	id     uint16
	acked  bool // then it keeps a place: one before it is not acknowledged
}

// inflight holds what was sent, in order. Packet identifiers go up by one, so
// the place of one is known without a search. Those above maxID belong to
// ordinary topics, see router.Mine.
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
			u.stream, u.acked = e.f.stream, e.acked
		}
		left = append(left, u)
	}
	return left
}

const maxID = math.MaxInt16

func (in *inflight) len() int { return len(in.list) - in.first }

// add gives the next packet identifier [MQTT-2.2.1-3].
func (in *inflight) add(f *follower, seq uint64) uint16 {
	if in.id++; in.id > maxID {
		in.id = 1
	}
	if in.first > 16 && in.first > len(in.list)/2 {
		n := copy(in.list, in.list[in.first:])
		clear(in.list[n:])
		in.list, in.first = in.list[:n], 0
	}
	in.list = append(in.list, sent{f: f, seq: seq, id: in.id})
	f.kept++
	return in.id
}

// find answers the index of a packet identifier, or -1.
func (in *inflight) find(id uint16) int {
	if in.len() == 0 {
		return -1
	}
	d := int(id) - int(in.list[in.first].id)
	if d < 0 {
		d += maxID // identifiers are 1 to maxID
	}
	if i := in.first + d; i < len(in.list) && in.list[i].id == id {
		return i
	}
	return -1
}

// trim takes out what is acknowledged at the front.
func (in *inflight) trim() {
	for in.first < len(in.list) && in.list[in.first].acked {
		if f := in.list[in.first].f; f != nil {
			f.kept--
		}
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

// Acked takes a PUBACK. One for an identifier that is not in use is passed
// over, as after a takeover.
func (d *Feed) Acked(id uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := &d.inflight
	i := in.find(id)
	if i < 0 || in.list[i].acked {
		return
	}
	d.cfg.Metrics.Acks.Inc()
	in.list[i].acked = true
	in.advance(in.list[i].f)
	in.trim()
}

// Inflight is how much of the client's window is taken.
func (d *Feed) Inflight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inflight.len()
}

// Unacked counts what the client has not acknowledged. It is not more than
// Inflight, where what was acknowledged out of turn keeps its place.
func (d *Feed) Unacked() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.inflight.list[d.inflight.first:] {
		if !e.acked {
			n++
		}
	}
	return n
}

// full reports whether the client takes no more at QoS 1 and 2 for now
// [MQTT-3.3.4-9]. d.mu is held.
func (d *Feed) full() bool { return d.inflight.len() >= d.room }

// RoomMade goes on with what waited for the window, if Inflight is below room
// now.
func (d *Feed) RoomMade(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room = room; d.full() {
		return
	}
	for j, f := range d.stalled {
		f.stalled = false
		d.wake(f)
		d.stalled[j] = nil
	}
	d.stalled = d.stalled[:0]
	if len(d.starved) > 0 {
		d.cfg.Reader.Wake()
	}
}

// stall has a follower wait until the window has room. It is called again at
// every news of the stream meanwhile.
func (d *Feed) stall(f *follower) {
	if !f.stalled {
		f.stalled = true
		d.stalled = append(d.stalled, f)
	}
}

// waitsNoMore takes a follower that ends out of those that wait for something.
// A client that acknowledges nothing must not pile them up there.
func (d *Feed) waitsNoMore(f *follower) {
	same := func(o *follower) bool { return o == f }
	if f.stalled {
		d.stalled = slices.DeleteFunc(d.stalled, same)
	}
	if f.starving {
		d.starved = slices.DeleteFunc(d.starved, same)
	}
}

// advance moves the cursor of a follower to the highest seq up to which all
// that was sent is acknowledged, or went at QoS 0. It does not wait for what
// the client has passed over by naming a later place.
func (in *inflight) advance(f *follower) {
	if f == nil || f.cursor == nil {
		return
	}
	for i, left := in.first, f.kept; left > 0; i++ {
		e := &in.list[i]
		if e.f != f {
			continue
		}
		left--
		if e.acked {
			f.cursor.Advance(e.seq)
		} else if e.seq > f.cursor.Seq() {
			f.cursor.Advance(e.seq - 1)
			return
		}
	}
	f.cursor.Advance(f.low)
}
