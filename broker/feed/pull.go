package feed

import (
	"math"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// PullItems is how many entries of one stream are sent before the next stream
// has its turn.
const PullItems = 32

// Pull appends packets to dst until that has limit bytes, as long as no more
// than room of them are unacknowledged. items is scratch. It never waits for
// the store.
func (d *Feed) Pull(dst []byte, limit, room int, items []*bridge.Item) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.closed:
		return dst
	default:
	}
	d.room = room
	sent := 0
	for len(dst) < limit {
		f := d.popReady()
		if f == nil {
			break
		}
		switch {
		case f.ended || f.resting:
		case f.loading || f.starving:
			f.again = true
		case f.qos > 0 && d.full():
			d.stall(f)
		default:
			var n int
			dst, n = d.pull(f, dst, items[:0])
			sent += n
		}
	}
	if sent > 0 {
		d.cfg.Metrics.Deliveries.Add(float64(sent))
	}
	d.load()
	return dst
}

// pull sends the next entries of one stream, and says how many.
func (d *Feed) pull(f *follower, out []byte, items []*bridge.Item) ([]byte, int) {
	if len(f.backlog) > 0 && f.watch.Erased() != f.erased {
		f.dropBacklog() // something of it may have been deleted since
	}
	where, loaded := bridge.InTail, len(f.backlog) > 0
	if loaded {
		items = append(items, f.backlog[:min(PullItems, len(f.backlog))]...)
	} else {
		items, where = f.watch.Read(f.pos, PullItems, items)
	}
	switch where {
	case bridge.Gone:
		d.unfollow(f)
		f.forget() // its cursor must not pass for one of a new stream of that name
		d.loads.Go(func() { d.refollow(f.stream) })
		return out, 0
	case bridge.InStore:
		f.starving = true
		d.starved = append(d.starved, f)
		return out, 0
	}
	n, sent := 0, 0
	for _, it := range items {
		if f.until > 0 && it.Seq > f.until {
			d.unfollow(f)
			return out, sent
		}
		if f.qos > 0 && d.full() {
			f.consumed(n)
			d.stall(f)
			return out, sent
		}
		f.pos = it.Seq
		n++
		own := it.UserID == d.cfg.Key.UserID
		if own && it.Type == chat.TypeJoin {
			f.out = false
		}
		if f.out {
			continue
		}
		out = d.deliver(f, it, out)
		sent++
		if own && it.Type == chat.TypeLeave && it.Seq >= f.since && !d.rejoined(f, it.Seq) {
			return out, sent
		}
	}
	f.consumed(n)
	if f.until > 0 && f.pos >= f.until {
		d.unfollow(f)
	} else if n == PullItems || loaded {
		d.wake(f) // there may be more; the others have their turn first
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
func (d *Feed) rejoined(f *follower, at uint64) bool {
	if f.rejoin > at {
		f.out = true
		return true
	}
	d.rest(f)
	return false
}

// deliver appends one entry to out.
func (d *Feed) deliver(f *follower, it *bridge.Item, out []byte) []byte {
	from := len(out)
	out = d.append(f, it, out)
	if d.cfg.MaxPacket > 0 && len(out)-from > d.cfg.MaxPacket { // [MQTT-3.1.2-24]
		d.cfg.Metrics.TooLarge.Inc()
		return out[:from]
	}
	if f.qos > 0 {
		id := d.inflight.add(f, it.Seq)
		wire.PatchPacketID(out[from:], wire.PacketIDAt(out[from:]), id)
	} else {
		f.low = it.Seq
		d.inflight.advance(f)
	}
	return out
}

// append appends the PUBLISH of an entry, with packet identifier 1.
func (d *Feed) append(f *follower, it *bridge.Item, out []byte) []byte {
	slot := frameSlot(d.cfg.Version, f.qos)
	frame := it.Frame(slot, encoders[slot])
	aliases := d.cfg.Aliases
	if len(f.ids) == 0 && !aliases.Any() || d.cfg.Version < wire.Version5 {
		return append(out, frame...)
	}
	var scratch [64]byte
	hop := scratch[:0]
	for _, id := range f.ids {
		hop = wire.AppendSubscriptionID(hop, id)
	}
	if f.topic == "" {
		f.topic = topicOf(f.stream).String()
	}
	alias, told := aliases.Of(f.topic)
	if fits := d.cfg.MaxPacket == 0 || len(frame)+len(hop)+7 <= d.cfg.MaxPacket; alias > 0 && (told || fits) {
		hop = wire.AppendTopicAlias(hop, alias)
		if !told {
			aliases.Told(f.topic, alias)
		}
	}
	return wire.AppendHop(out, frame, hop, !told)
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
			Topic:   topicOf(e.Stream).Append(nil),
			Payload: e.AppendJSON(nil)}
		frame, _ := wire.AppendPublish(nil, version, &pub)
		return frame
	}
}

const (
	loadLimit   = 64 // entries of one stream in one read
	loadStreams = 4  // streams loaded together for one session
	loadRetry   = 500 * time.Millisecond
)

// load asks the store for the streams whose place memory does not hold, a few
// at a time, as soon as what was loaded before is sent. d.mu is held and the
// session is not closed.
func (d *Feed) load() {
	if d.loading || d.backlogs > 0 || len(d.starved) == 0 || d.full() {
		return
	}
	batch := make([]*follower, 0, loadStreams)
	for len(d.starved) > 0 && len(batch) < loadStreams {
		f := d.starved[0]
		d.starved[0] = nil
		d.starved = d.starved[1:]
		f.starving = false
		if !f.ended && !f.resting {
			f.loading = true
			batch = append(batch, f)
		}
	}
	if len(d.starved) == 0 {
		d.starved = nil
	}
	if len(batch) == 0 {
		return
	}
	d.loading = true
	asked := make([]ask, len(batch))
	for i, f := range batch {
		asked[i] = ask{f: f, gen: f.gen, watch: f.watch, admin: f.admin(),
			Range: bridge.Range{Stream: f.stream, After: f.pos, Limit: loadLimit}}
		f.erased = f.watch.Erased()
	}
	d.loads.Go(func() { d.fetch(asked) })
}

// ask is what one follower asks of the store.
type ask struct {
	bridge.Range
	f     *follower
	gen   uint32
	watch *bridge.Watch
	admin bool
	gap   *gap // found in the answer
}

// fetch reads and hands what it read to the followers.
func (d *Feed) fetch(asked []ask) {
	ranges := make([]bridge.Range, len(asked))
	for i := range asked {
		ranges[i] = asked[i].Range
	}
	ctx, cancel := d.storeContext()
	read, err := d.cfg.Log.Read(ctx, ranges)
	if err == nil {
		err = d.findGaps(ctx, asked, read)
	}
	cancel()
	if err != nil { // the store is out of reach: the stream waits, it is not lost
		select {
		case <-time.After(loadRetry):
		case <-d.closed:
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loading = false
	for i := range asked {
		f := asked[i].f
		f.loading = false
		switch {
		case f.ended:
		case err != nil || f.gen != asked[i].gen:
			d.wake(f)
		default:
			f.loaded(&asked[i], read[i])
		}
	}
	if len(d.starved) > 0 {
		d.cfg.Reader.Wake()
	}
}

// loaded takes what the store answered.
func (f *follower) loaded(r *ask, items []*bridge.Item) {
	reached := r.After
	if r.gap != nil {
		if !f.pass(r.gap) {
			return
		}
		reached = r.gap.first - 1
	}
	if len(items) > 0 {
		f.backlog = items
		f.feed.backlogs++
		reached = items[len(items)-1].Seq
	}
	if len(items) < r.Limit {
		if erased, current := f.watch.Learn(reached); current {
			f.erased = erased // what was read is as new as what was learnt
		}
	}
	if len(items) > 0 || f.again {
		f.feed.wake(f)
	}
	f.again = false
}

// refollow looks again at a stream that was deleted: its id may stand for
// another conversation by now, of which the user is a member too.
func (d *Feed) refollow(stream chat.StreamID) {
	if stream.User() != "" {
		d.restart(stream)
		return
	}
	conversation := stream.Conversation()
	for {
		ctx, cancel := d.storeContext()
		m, err := d.cfg.Log.Membership(ctx, conversation, d.cfg.Key.UserID)
		cancel()
		if err == nil {
			if m.Role != chat.RoleNone {
				d.Joined(conversation, m.JoinedSeq)
			}
			return
		}
		select {
		case <-time.After(loadRetry):
		case <-d.closed:
			return
		}
	}
}

// restart follows a user's notifications anew, after all that there were are
// gone.
func (d *Feed) restart(stream chat.StreamID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	qos, ok := d.streamQoS(stream)
	if !ok {
		return
	}
	p := place{stream: stream, qos: qos}
	if stream.User() != d.cfg.Key.UserID {
		if p.since = math.MaxUint64; !d.cfg.Admin() {
			return
		}
	}
	d.follow(p)
}
