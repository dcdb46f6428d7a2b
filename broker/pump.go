package broker

import (
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// pumpItems is how many entries of one stream are sent before the next
// stream has its turn.
const pumpItems = 32

// pump appends to buf what the session's streams have, as far as its window
// and one write allow. It never waits for the store.
func (s *session) pump(buf *outBuffer) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, sent := buf.bytes, 0
	select {
	case <-s.closed:
		return out
	default:
	}
	for len(out) < pumpBytes {
		f := s.c.popReady()
		if f == nil {
			break
		}
		switch {
		case f.ended || f.resting:
		case f.loading || f.starving:
			f.again = true
		case f.qos > 0 && s.inflight.len() >= s.window:
			s.stall(f)
		default:
			var n int
			out, n = s.pull(f, out, buf.items[:0])
			sent += n
		}
	}
	if sent > 0 {
		s.c.b.metrics.deliveries.Add(float64(sent))
	}
	s.load()
	return out
}

// pull sends the next entries of one stream, and says how many.
func (s *session) pull(f *follower, out []byte, items []*bridge.Item) ([]byte, int) {
	if len(f.backlog) > 0 && f.watch.Erased() != f.erased {
		f.dropBacklog() // something of it may have been deleted since
	}
	where, loaded := bridge.InTail, len(f.backlog) > 0
	if loaded {
		items = append(items, f.backlog[:min(pumpItems, len(f.backlog))]...)
	} else {
		items, where = f.watch.Read(f.pos, pumpItems, items)
	}
	switch where {
	case bridge.Gone:
		s.unfollow(f)
		f.forget() // its cursor must not pass for one of a new stream of that name
		s.loads.Go(func() { s.refollow(f.conversation) })
		return out, 0
	case bridge.InStore:
		f.starving = true
		s.starved = append(s.starved, f)
		return out, 0
	}
	n, sent := 0, 0
	for _, it := range items {
		if f.until > 0 && it.Seq > f.until {
			s.unfollow(f)
			return out, sent
		}
		if f.qos > 0 && s.inflight.len() >= s.window {
			f.consumed(n)
			s.stall(f)
			return out, sent
		}
		f.pos = it.Seq
		n++
		own := it.UserID == s.c.key.UserID
		if own && it.Type == chat.TypeJoin {
			f.out = false
		}
		if f.out {
			continue
		}
		out = s.deliver(f, it, out)
		sent++
		if own && it.Type == chat.TypeLeave && it.Seq >= f.since && !s.rejoined(f, it.Seq) {
			return out, sent
		}
	}
	f.consumed(n)
	if f.until > 0 && f.pos >= f.until {
		s.unfollow(f)
	} else if n == pumpItems || loaded {
		s.c.wake(f) // there may be more; the others have their turn first
	}
	return out, sent
}

// consumed takes the first n out of the backlog.
func (f *follower) consumed(n int) {
	if f.backlog == nil {
		return
	}
	clear(f.backlog[:n])
	if f.backlog = f.backlog[n:]; len(f.backlog) == 0 {
		f.dropBacklog()
	}
}

// rejoined is asked at a leave entry of the follower's own user. If the user
// has joined again later, nothing is sent up to that join; if not, the
// follower rests: nothing that was committed after the leave is written.
func (s *session) rejoined(f *follower, at uint64) bool {
	if f.rejoin > at {
		f.out = true
		return true
	}
	s.rest(f)
	return false
}

// deliver appends one entry to out.
func (s *session) deliver(f *follower, it *bridge.Item, out []byte) []byte {
	frame := it.Frame(frameSlot(s.c.version, f.qos), encoders[frameSlot(s.c.version, f.qos)])
	if s.c.maxSend > 0 && len(frame) > s.c.maxSend { // [MQTT-3.1.2-24]
		s.c.b.metrics.drops.WithLabelValues("too large").Inc()
		return out
	}
	out = append(out, frame...)
	if f.qos > 0 {
		id := s.inflight.add(f, it.Seq)
		wire.PatchPacketID(out[len(out)-len(frame):], packetIDAt(frame), id)
	} else if f.low = it.Seq; f.cursor != nil && !s.inflight.holdsBack(f) {
		f.cursor.Advance(it.Seq)
	}
	return out
}

// The encoded forms of an entry, one for each version and QoS.
func frameSlot(version, qos byte) int {
	slot := int(qos)
	if version == wire.Version5 {
		slot += 2
	}
	return slot
}

var encoders = [bridge.Frames]func(*chat.Entry) []byte{
	encoder(wire.Version311, 0), encoder(wire.Version311, 1),
	encoder(wire.Version5, 0), encoder(wire.Version5, 1),
}

func encoder(version, qos byte) func(*chat.Entry) []byte {
	return func(e *chat.Entry) []byte {
		pub := wire.Publish{QoS: qos, PacketID: uint16(qos),
			Topic:   chat.Topic{Kind: chat.KindMessages, ID: e.Stream.Conversation()}.Append(nil),
			Payload: e.AppendJSON(nil)}
		frame, _ := wire.AppendPublish(nil, version, &pub)
		return frame
	}
}

// packetIDAt is where the packet identifier of a PUBLISH stands.
func packetIDAt(frame []byte) int {
	at := 1
	for frame[at] >= 0x80 {
		at++
	}
	at++
	return at + 2 + int(frame[at])<<8 + int(frame[at+1])
}

const (
	loadLimit   = 64 // entries of one stream in one read
	loadStreams = 4  // streams loaded together for one session
	loadRetry   = 500 * time.Millisecond
)

// load asks the store for the streams whose place memory does not hold, a few
// at a time, as soon as what was loaded before is sent. s.mu is held and the
// session is not closed.
func (s *session) load() {
	if s.loading || s.backlogs > 0 || len(s.starved) == 0 || s.inflight.len() >= s.window {
		return
	}
	batch := make([]*follower, 0, loadStreams)
	for len(s.starved) > 0 && len(batch) < loadStreams {
		f := s.starved[0]
		s.starved[0] = nil
		s.starved = s.starved[1:]
		f.starving = false
		if !f.ended && !f.resting {
			f.loading = true
			batch = append(batch, f)
		}
	}
	if len(s.starved) == 0 {
		s.starved = nil
	}
	if len(batch) == 0 {
		return
	}
	s.loading = true
	ranges := make([]bridge.Range, len(batch))
	gens := make([]uint32, len(batch))
	for i, f := range batch {
		ranges[i] = bridge.Range{Stream: f.watch.Stream(), After: f.pos, Limit: loadLimit}
		gens[i] = f.gen
		f.erased = f.watch.Erased()
	}
	s.loads.Go(func() { s.fetch(batch, ranges, gens) })
}

// fetch reads and hands what it read to the followers.
func (s *session) fetch(batch []*follower, ranges []bridge.Range, gens []uint32) {
	ctx, cancel := s.c.storeContext()
	read, err := s.c.b.log.Read(ctx, ranges)
	cancel()
	if err != nil { // the store is out of reach: the stream waits, it is not lost
		select {
		case <-time.After(loadRetry):
		case <-s.closed:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loading = false
	for i, f := range batch {
		f.loading = false
		switch {
		case f.ended:
		case err != nil || f.gen != gens[i]:
			s.c.wake(f)
		default:
			f.loaded(ranges[i], read[i])
		}
	}
	if len(s.starved) > 0 {
		s.c.nudge()
	}
}

// loaded takes what the store answered.
func (f *follower) loaded(r bridge.Range, items []*bridge.Item) {
	reached := r.After
	if len(items) > 0 {
		f.backlog = items
		f.s.backlogs++
		reached = items[len(items)-1].Seq
	}
	if len(items) < r.Limit {
		if erased, current := f.watch.Learn(reached); current {
			f.erased = erased // what was read is as new as what was learnt
		}
	}
	if len(items) > 0 || f.again {
		f.s.c.wake(f)
	}
	f.again = false
}

// refollow looks again at a conversation that was deleted: its id may stand
// for another one by now, of which the user is a member too.
func (s *session) refollow(conversation string) {
	for {
		ctx, cancel := s.c.storeContext()
		m, err := s.c.b.log.Membership(ctx, conversation, s.c.key.UserID)
		cancel()
		if err == nil {
			if m.Role != chat.RoleNone {
				s.Joined(conversation, m.JoinedSeq)
			}
			return
		}
		select {
		case <-time.After(loadRetry):
		case <-s.closed:
			return
		}
	}
}
