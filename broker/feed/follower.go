package feed

import (
	"math"
	"slices"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// follower reads one stream for one session. Its fields are guarded by
// Feed.mu, but for ready and next, which Feed.readyMu guards.
type follower struct {
	feed         *Feed
	conversation string
	watch        *bridge.Watch
	cursor       *bridge.AckCursor // nil unless the session is durable
	qos          byte
	ids          []uint32 // subscription identifiers
	topic        string   // only where topic aliases are used
	ended        bool
	out          bool   // past the user's leave: nothing is sent until its next join
	resting      bool   // out, and no join is known: nothing is even read
	stalled      bool   // waits for the window, in Feed.stalled
	starving     bool   // waits for the store, in Feed.starved
	loading      bool   // the store is being asked
	again        bool   // woken meanwhile
	gen          uint32 // counts rewinds: what was loaded before one is void
	pos          uint64 // the seq that was sent last
	until        uint64 // of a replay to somebody who does not follow: the last seq, else 0
	since        uint64 // the user's own leave entries below it are history
	rejoin       uint64 // seq of the newest join of the user that is known
	low          uint64 // the seq that was sent last at QoS 0
	kept         int    // entries of it in Feed.inflight
	erased       uint64 // Watch.Erased before backlog was read
	backlog      []*bridge.Item

	ready bool
	next  *follower
}

// admin reports whether it follows by the admin scope, without a membership.
func (f *follower) admin() bool { return f.since == math.MaxUint64 }

// Wake is called by the log when the stream has news.
func (f *follower) Wake() { f.feed.wake(f) }

// wake puts a follower on the list of those with news.
func (d *Feed) wake(f *follower) {
	d.readyMu.Lock()
	if f.ready {
		d.readyMu.Unlock()
		return
	}
	f.ready = true
	if d.last == nil {
		d.ready = f
	} else {
		d.last.next = f
	}
	d.last = f
	d.readyMu.Unlock()
	d.cfg.Reader.Wake()
}

// popReady takes the first follower with news, or nil.
func (d *Feed) popReady() *follower {
	d.readyMu.Lock()
	defer d.readyMu.Unlock()
	f := d.ready
	if f == nil {
		return nil
	}
	d.ready, f.next, f.ready = f.next, nil, false
	if d.ready == nil {
		d.last = nil
	}
	return f
}

const (
	filterAllMessages = "chat/+/messages"
	filterAllChat     = "chat/+/+"
)

// streamQoS says at which QoS the session follows a conversation's entries.
// Overlapping subscriptions count once, at the highest QoS [MQTT-3.3.4-2].
// d.mu is held.
func (d *Feed) streamQoS(conversation string) (qos byte, ok bool) {
	for _, filter := range [...]string{"chat/" + conversation + "/messages", filterAllMessages, filterAllChat} {
		if sub, found := d.subs.Find(filter); found {
			qos, ok = max(qos, sub.QoS), true
		}
	}
	return qos, ok
}

// streamIDs are the subscription identifiers that go with a conversation's
// entries [MQTT-3.3.4-3]. d.mu is held.
func (d *Feed) streamIDs(conversation string) (ids []uint32) {
	for _, filter := range [...]string{"chat/" + conversation + "/messages", filterAllMessages, filterAllChat} {
		if sub, _ := d.subs.Find(filter); sub.ID != 0 && !slices.Contains(ids, sub.ID) {
			ids = append(ids, sub.ID)
		}
	}
	return ids
}

// place is where a follower starts.
type place struct {
	conversation string
	pos          uint64
	since        uint64
	rejoin       uint64
	until        uint64
	left         uint64 // the user's leave entry, if it is no member
	out          bool   // it stands at a leave entry of the user, who has joined again
	sent         uint64 // the last that is sent again at CONNECT
	fresh        bool   // the store has no cursor for it yet
	explicit     bool   // the client named pos
	qos          byte
}

// follow starts to follow a conversation, or moves the follower that is there
// if the client named a place. d.mu is held.
func (d *Feed) follow(p place) *follower {
	select {
	case <-d.closed:
		return nil
	default:
	}
	f := d.followers[p.conversation]
	if f != nil && f.resting && p.rejoin > 0 && p.rejoin <= f.pos {
		d.unfollow(f) // of another conversation, which had the id before
		f.forget()
		f = nil
	}
	if f != nil {
		f.qos, f.ids = p.qos, d.streamIDs(p.conversation)
		f.rejoin = max(f.rejoin, p.rejoin)
		f.revive(p)
		if f.until > 0 && p.until == 0 { // a replay goes on as a subscription
			f.until = 0
			if d.cfg.Durable {
				f.cursor = d.cfg.Log.Cursor(&d.cfg.Key, f.watch.Stream(), p.pos)
			}
		}
		if p.explicit {
			f.rewind(p)
			if f.cursor != nil {
				f.cursor.Advance(p.pos) // the client says that it goes on from there
			}
		}
		return f
	}
	f = &follower{feed: d, conversation: p.conversation, qos: p.qos, ids: d.streamIDs(p.conversation), pos: p.pos,
		out: p.out, until: p.until, since: p.since, rejoin: p.rejoin}
	stream := chat.ConversationStream(p.conversation)
	f.watch = d.cfg.Log.Watch(stream, f)
	if d.cfg.Durable && p.until == 0 {
		f.cursor = d.cfg.Log.Cursor(&d.cfg.Key, stream, p.pos)
	}
	if d.followers == nil {
		d.followers = make(map[string]*follower)
	}
	d.followers[p.conversation] = f
	d.wake(f)
	return f
}

// rest stops a follower at its user's leave entry. It stays, for its cursor
// must not pass what it has sent before: a join revives it.
func (d *Feed) rest(f *follower) {
	f.dropBacklog()
	f.gen++
	f.out, f.resting = true, true
	f.watch.Close()
}

// revive has a follower that rests read again, from the user's newest join on,
// or for an admin from where it stood.
func (f *follower) revive(p place) {
	if !f.resting {
		return
	}
	if p.since == math.MaxUint64 {
		f.out, f.since = false, p.since
	} else if p.rejoin > f.pos {
		f.pos = p.rejoin - 1
	}
	f.resting = false
	f.watch = f.feed.cfg.Log.Watch(f.watch.Stream(), f)
	f.feed.wake(f)
}

// rewind moves a follower to a place that the client named. That alone
// acknowledges nothing.
func (f *follower) rewind(p place) {
	f.dropBacklog()
	f.gen++
	f.pos, f.since, f.out = p.pos, p.since, false
	f.until = p.until
	f.feed.wake(f)
}

func (f *follower) dropBacklog() {
	if f.backlog != nil {
		f.backlog = nil
		f.feed.backlogs--
	}
}

// unfollow ends a follower. Entries of it that are on the way still move its
// cursor when they are acknowledged. d.mu is held.
func (d *Feed) unfollow(f *follower) {
	if f.ended {
		return
	}
	f.ended = true
	d.waitsNoMore(f)
	f.dropBacklog()
	f.watch.Close()
	if d.followers[f.conversation] == f {
		delete(d.followers, f.conversation)
	}
}

// forget gives up the place in the stream for good: what is on the way must
// not bring it back when it is acknowledged.
func (f *follower) forget() {
	if f.cursor != nil {
		f.cursor.Close()
		f.cursor = nil
	}
}

// join is a join entry of the session's user.
type join struct {
	conversation string
	seq          uint64
}

// Joined is called by the log when the session's user joins a conversation:
// subscriptions follow membership without a new SUBSCRIBE.
func (d *Feed) Joined(conversation string, seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.planning {
		d.early = append(d.early, join{conversation, seq})
		return
	}
	d.joined(join{conversation, seq})
}

func (d *Feed) joined(j join) {
	qos, ok := d.streamQoS(j.conversation)
	if !ok {
		return
	}
	fresh := d.followers[j.conversation] == nil
	f := d.follow(place{conversation: j.conversation, pos: j.seq - 1, rejoin: j.seq, qos: qos})
	if fresh && f != nil && f.cursor != nil {
		f.cursor.MarkDirty() // from its own join entry on, also after a crash
	}
}

// Plan begins a change of what is followed: the store is about to be asked
// for memberships. Joins that are committed from now on are kept until
// Begin or Start, so that none falls between the answer and the change.
func (d *Feed) Plan() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.planning = true
	if d.unwatch == nil {
		d.unwatch = d.cfg.Log.WatchUser(d.cfg.Key.UserID, d)
	}
}

// planned makes the change; a nil apply gives it up.
func (d *Feed) planned(apply func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if apply != nil {
		apply()
	}
	d.planning = false
	for _, j := range d.early {
		d.joined(j)
	}
	d.early = nil
}

// Replay sends the entries after a seq to this connection, on
// chat/<c>/messages, though it may have had them.
func (d *Feed) Replay(conversation string, after uint64, qos byte) error {
	m, err := d.membership(conversation)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.followers[conversation]; f != nil && f.until == 0 {
		f.revive(place{since: m.JoinedSeq, rejoin: m.JoinedSeq})
		if after < f.pos {
			f.rewind(place{pos: after, since: m.JoinedSeq})
		} else { // it comes anyway, also what the user was no member for
			f.since, f.out = m.JoinedSeq, false
		}
		return nil
	}
	if after < m.Head.Head {
		d.follow(place{conversation: conversation, pos: after, since: m.JoinedSeq,
			until: m.Head.Head, explicit: true, qos: qos})
	}
	return nil
}

// membership asks what the session's user is to a conversation, and refuses
// who may not read it. An admin may read all: its own leave entries are then
// no end.
func (d *Feed) membership(conversation string) (bridge.Membership, error) {
	ctx, cancel := d.storeContext()
	defer cancel()
	m, err := d.cfg.Log.Membership(ctx, conversation, d.cfg.Key.UserID)
	if err != nil {
		return m, err
	}
	return m, d.mayRead(&m)
}

func (d *Feed) mayRead(m *bridge.Membership) error {
	switch {
	case !m.Exists:
		return bridge.NoConversation()
	case m.Role != chat.RoleNone:
		return nil
	case d.cfg.Admin():
		m.JoinedSeq = math.MaxUint64
		return nil
	}
	return bridge.NotMember()
}
