package feed

import (
	"context"
	"errors"
	"slices"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Follows reports whether a filter is one of streams.
func Follows(f chat.Filter) bool {
	return f.Kind == chat.KindMessages || f.Kind == chat.KindNotifications || f.Kind == chat.KindAny
}

// PlanFilter plans to follow the streams that a filter means: each from its
// head on, or after the seq that is asked for. It is called between Plan and
// Begin. Of a single stream it answers the head.
func (d *Feed) PlanFilter(ctx context.Context, filter chat.Filter, qos byte, after *uint64) (*bridge.Head, error) {
	if !filter.OfChat() {
		m, err := d.notifications(ctx, filter.ID)
		if err != nil {
			return nil, err
		}
		d.planStream(chat.NotificationStream(filter.ID), &m, qos, after)
		return &m.Head, nil
	}
	if !filter.Any {
		m, err := d.cfg.Log.Membership(ctx, filter.ID, d.cfg.Key.UserID)
		if err == nil {
			err = d.mayRead(&m)
		}
		if err != nil {
			return nil, err
		}
		d.planStream(chat.ConversationStream(filter.ID), &m, qos, after)
		m.First = max(m.First, d.floor(&m)+1) // the oldest that is for the user
		return &m.Head, nil
	}
	memberships, err := d.cfg.Log.Memberships(ctx, d.cfg.Key.UserID)
	if err != nil {
		return nil, err
	}
	for i := range memberships {
		if m := memberships[i]; m.Role != chat.RoleNone {
			d.planStream(chat.ConversationStream(m.Conversation), &m, qos, after)
		}
	}
	return nil, nil
}

// planStream adds a stream: at its head, or after the seq that was asked for.
func (d *Feed) planStream(stream chat.StreamID, m *bridge.Membership, qos byte, after *uint64) {
	p := place{stream: stream, pos: m.Head.Head, qos: qos, since: m.JoinedSeq}
	if m.Role != chat.RoleNone { // else an admin
		p.rejoin = m.JoinedSeq
	}
	if after != nil {
		p.pos, p.explicit = min(max(*after, d.floor(m)), m.Head.Head), true
	}
	d.places = append(d.places, p)
}

// Planned are the cursors of what is planned, as far as they are new.
func (d *Feed) Planned() (cursors []bridge.Cursor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.places {
		if f := d.followers[p.stream]; f == nil || f.until > 0 || p.explicit {
			cursors = append(cursors, bridge.Cursor{Stream: p.stream, Seq: p.pos})
		}
	}
	return cursors
}

// Begin carries out what was planned, with the session's subscriptions as they
// are now. nil gives the plan up. The slice is the feed's from now on: nobody
// may change it.
func (d *Feed) Begin(subs bridge.Subscriptions) {
	d.planned(func() {
		if subs != nil {
			d.subs = subs
			for _, p := range d.places {
				p.qos, _ = d.streamQoS(p.stream)
				d.follow(p)
			}
		}
		d.places = nil
	})
}

// Drop follows no longer what the session's subscriptions do not mean any
// more, and forgets the place in it. The slice is the feed's from now on.
func (d *Feed) Drop(ctx context.Context, subs bridge.Subscriptions) error {
	d.mu.Lock()
	d.subs = subs
	var streams []chat.StreamID
	for stream, f := range d.followers {
		if qos, ok := d.streamQoS(stream); ok {
			f.qos, f.ids = qos, d.streamIDs(stream)
		} else if f.until == 0 {
			d.unfollow(f)
			f.forget()
			streams = append(streams, stream)
		}
	}
	d.mu.Unlock()
	if !d.cfg.Durable || len(streams) == 0 {
		return nil
	}
	return d.cfg.Log.DropCursors(ctx, d.cfg.Key, streams)
}

// DropOthers follows no longer what was followed by the scope admin: the token
// has lost it.
func (d *Feed) DropOthers() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.followers {
		if f.admin() {
			d.unfollow(f)
			f.forget()
		}
	}
}

// followsStreams reports whether a subscription is of streams.
func (d *Feed) followsStreams() bool {
	for _, sub := range d.subs {
		if f, err := chat.ParseFilter(sub.Filter); err == nil && Follows(f) {
			return true
		}
	}
	return false
}

// Resume plans where the streams of a durable session go on, each after the
// last entry that was acknowledged; Start carries it out. It answers the
// packets that were under way when the last connection ended, to be sent first
// [MQTT-4.4.0-1]. The slice is the feed's from now on.
func (d *Feed) Resume(ctx context.Context, subs bridge.Subscriptions, cursors []bridge.Cursor, left Left) ([]byte, error) {
	d.subs = subs
	if !d.followsStreams() {
		return nil, nil
	}
	d.Plan()
	memberships, err := d.cfg.Log.Memberships(ctx, d.cfg.Key.UserID)
	if err != nil {
		return nil, err
	}
	at := make(map[chat.StreamID]uint64, len(cursors))
	for _, c := range cursors {
		at[c.Stream] = c.Seq
	}
	for i := range memberships {
		m, stream := &memberships[i], chat.ConversationStream(memberships[i].Conversation)
		qos, ok := d.streamQoS(stream)
		seq, known := at[stream]
		known = known && seq <= m.Head.Head // else it is of a conversation that had the id before
		seq = max(seq, d.floor(m))
		switch {
		case !ok:
		case known && m.Role != chat.RoleNone:
			d.places = append(d.places, place{stream: stream, pos: seq, rejoin: m.JoinedSeq, qos: qos})
		case known && m.LeftSeq > seq: // up to its own leave entry
			d.places = append(d.places, place{stream: stream, pos: seq, left: m.LeftSeq, rejoin: m.JoinedSeq, qos: qos})
		case !known && m.Role != chat.RoleNone: // joined while away: from its join entry on
			d.places = append(d.places, place{stream: stream, pos: m.JoinedSeq - 1, rejoin: m.JoinedSeq, fresh: true, qos: qos})
		}
		delete(at, stream)
	}
	if err := d.resumeNotifications(ctx, at); err != nil {
		return nil, err
	}
	if err := d.resumeOthers(ctx, at); err != nil {
		return nil, err
	}
	if err := d.findOut(ctx); err != nil {
		return nil, err
	}
	return d.resend(ctx, left)
}

// findOut finds the places that stand at a leave entry of the user, who has
// joined again since: what lies between was committed while the user was no
// member.
func (d *Feed) findOut(ctx context.Context) error {
	var rejoined []*place
	var ranges []bridge.Range
	for i := range d.places {
		if p := &d.places[i]; p.rejoin > p.pos+1 && p.pos > 0 {
			rejoined = append(rejoined, p)
			ranges = append(ranges, bridge.Range{Stream: p.stream, After: p.pos - 1, Limit: 1})
		}
	}
	if len(ranges) == 0 {
		return nil
	}
	read, err := d.cfg.Log.Read(ctx, ranges)
	if err != nil {
		return err
	}
	for i, p := range rejoined {
		if len(read[i]) == 0 || read[i][0].Seq != p.pos { // not held any more: it cannot be told
			p.out = true
			continue
		}
		e := read[i][0].Entry
		p.out = e.Type == chat.TypeLeave && e.UserID == d.cfg.Key.UserID
	}
	return nil
}

// resumeOthers adds the streams that an admin follows without being a member.
func (d *Feed) resumeOthers(ctx context.Context, at map[chat.StreamID]uint64) error {
	for stream, seq := range at {
		qos, ok := d.streamQoS(stream)
		if !ok {
			continue
		}
		m, err := d.cfg.Log.Membership(ctx, stream.Conversation(), d.cfg.Key.UserID)
		if err != nil {
			return err
		}
		if d.mayRead(&m) == nil {
			d.places = append(d.places, place{stream: stream, pos: seq, since: m.JoinedSeq, qos: qos})
		}
	}
	return nil
}

// resumeNotifications adds the streams of notifications that the session's
// subscriptions name, and takes them out of at. One without a cursor did not
// exist when it was subscribed to: all that it has came since.
func (d *Feed) resumeNotifications(ctx context.Context, at map[chat.StreamID]uint64) error {
	seen := make(map[chat.StreamID]bool)
	for _, sub := range d.subs {
		f, err := chat.ParseFilter(sub.Filter)
		stream := chat.NotificationStream(f.ID)
		if err != nil || !Follows(f) || f.OfChat() || seen[stream] {
			continue
		}
		seen[stream] = true
		seq, known := at[stream]
		delete(at, stream)
		m, err := d.notifications(ctx, f.ID)
		if errors.Is(err, chat.ErrForbidden) { // it was followed by the scope admin
			continue
		} else if err != nil {
			return err
		}
		if seq > m.Head.Head { // of a stream that was deleted since
			seq, known = 0, false
		}
		qos, _ := d.streamQoS(stream)
		d.places = append(d.places, place{stream: stream, pos: seq, since: m.JoinedSeq, fresh: !known, qos: qos})
	}
	return nil
}

// Start carries out what Resume planned.
func (d *Feed) Start() {
	d.planned(func() {
		for _, p := range d.places {
			if f := d.follow(p); f != nil && p.fresh && f.cursor != nil {
				f.cursor.MarkDirty() // so that it is known from now on, also unread
			}
		}
		for _, e := range d.again {
			f := d.followers[e.stream]
			d.inflight.list = append(d.inflight.list, sent{f: f, seq: e.seq, id: e.id, acked: e.acked || f == nil})
			d.inflight.id = e.id
			if f != nil {
				f.kept++
				f.pos = max(f.pos, e.seq)
			}
		}
		for _, p := range d.places {
			d.inflight.advance(d.followers[p.stream])
		}
		d.inflight.trim()
		d.again = nil
		for _, p := range d.places { // whose leave entry was sent already
			if f := d.followers[p.stream]; f != nil && p.left > 0 && f.pos >= p.left {
				d.rest(f)
			}
		}
		d.places = nil
	})
}

// maxResend bounds, in bytes, what waits to be sent again to one client.
const maxResend = 1 << 20

// resend encodes again what was under way. What is not there any more counts
// as acknowledged; what exceeds the window, or maxResend, is sent anew later.
func (d *Feed) resend(ctx context.Context, flight []unacked) ([]byte, error) {
	places := make(map[chat.StreamID]*place, len(d.places))
	for i := range d.places {
		places[d.places[i].stream] = &d.places[i]
	}
	kept := slices.Clone(flight[:min(len(flight), d.cfg.Window)])
	var asked []int // places in kept
	var ranges []bridge.Range
	for i := range kept {
		e := &kept[i]
		if p := places[e.stream]; p == nil || e.seq <= p.pos {
			e.acked = true
			continue
		}
		asked = append(asked, i)
		ranges = append(ranges, bridge.Range{Stream: e.stream, After: e.seq - 1, Limit: 1})
	}
	read, err := d.cfg.Log.Read(ctx, ranges)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, at := range asked {
		if len(out) > maxResend {
			kept = kept[:at]
			break
		}
		e := &kept[at]
		if len(read[i]) == 0 || read[i][0].Seq != e.seq {
			e.acked = true
			continue
		}
		if p := places[e.stream]; e.seq > p.sent {
			// It goes on behind its last, which may be the user's leave.
			own := read[i][0].UserID == d.cfg.Key.UserID
			p.sent, p.out = e.seq, own && read[i][0].Type == chat.TypeLeave && p.rejoin > e.seq
		}
		if e.acked {
			continue
		}
		slot := frameSlot(d.cfg.Version, 1)
		frame := read[i][0].Frame(slot, encoders[slot])
		if d.cfg.MaxPacket > 0 && len(frame) > d.cfg.MaxPacket {
			e.acked = true
			continue
		}
		from := len(out)
		out = append(out, frame...)
		wire.SetDUP(out[from:])
		wire.PatchPacketID(out[from:], wire.PacketIDAt(frame), e.id)
	}
	d.again = kept
	return out, nil
}
