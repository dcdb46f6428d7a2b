package feed

import (
	"context"
	"math"
	"slices"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// follower reads one stream for one session. Its fields are guarded by
// Feed.mu, but for ready and next, which Feed.readyMu guards.
type follower struct {
	feed     *Feed
	stream   chat.StreamID
	watch    *bridge.Watch
	cursor   *bridge.AckCursor // nil unless the session is durable
	qos      byte
	ids      []uint32 // subscription identifiers
	topic    string   // only where topic aliases are used
	ended    bool
	out      bool   // past the user's leave: nothing is sent until its next join
	resting  bool   // out, and no join is known: nothing is even read
	stalled  bool   // waits for the window, in Feed.stalled
	starving bool   // waits for the store, in Feed.starved
	loading  bool   // the store is being asked
	again    bool   // woken meanwhile
	gen      uint32 // counts rewinds: what was loaded before one is void
	pos      uint64 // the seq that was sent last
	until    uint64 // of a replay to somebody who does not follow: the last seq, else 0
	since    uint64 // the user's own leave entries below it are history
	rejoin   uint64 // seq of the newest join of the user that is known
	low      uint64 // the seq that was sent last at QoS 0
	kept     int    // entries of it in Feed.inflight
	erased   uint64 // Watch.Erased before backlog was read
	backlog  []*bridge.Item

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

// filters are those that mean a stream.
func filters(stream chat.StreamID) [3]string {
	if user := stream.User(); user != "" {
		return [...]string{"users/" + user + "/notifications", "users/" + user + "/#", ""}
	}
	return [...]string{"chat/" + stream.Conversation() + "/messages", filterAllMessages, filterAllChat}
}

// topicOf is where the entries of a stream are published.
func topicOf(stream chat.StreamID) chat.Topic {
	if user := stream.User(); user != "" {
		return chat.Topic{Kind: chat.KindNotifications, ID: user}
	}
	return chat.Topic{Kind: chat.KindMessages, ID: stream.Conversation()}
}

// streamQoS says at which QoS the session follows a stream's entries.
// Overlapping subscriptions count once, at the highest QoS [MQTT-3.3.4-2].
// d.mu is held.
func (d *Feed) streamQoS(stream chat.StreamID) (qos byte, ok bool) {
	for _, filter := range filters(stream) {
		if sub, found := d.subs.Find(filter); found {
			qos, ok = max(qos, sub.QoS), true
		}
	}
	return qos, ok
}

// streamIDs are the subscription identifiers that go with a stream's entries
// [MQTT-3.3.4-3]. d.mu is held.
func (d *Feed) streamIDs(stream chat.StreamID) (ids []uint32) {
	for _, filter := range filters(stream) {
		if sub, _ := d.subs.Find(filter); sub.ID != 0 && !slices.Contains(ids, sub.ID) {
			ids = append(ids, sub.ID)
		}
	}
	return ids
}

// place is where a follower starts.
type place struct {
	stream   chat.StreamID
	pos      uint64
	since    uint64
	rejoin   uint64
	until    uint64
	left     uint64 // the user's leave entry, if it is no member
	out      bool   // it stands at a leave entry of the user, who has joined again
	sent     uint64 // the last that is sent again at CONNECT
	fresh    bool   // the store has no cursor for it yet
	explicit bool   // the client named pos
	qos      byte
}

// follow starts to follow a stream, or moves the follower that is there
// if the client named a place. d.mu is held.
func (d *Feed) follow(p place) *follower {
	select {
	case <-d.closed:
		return nil
	default:
	}
	f := d.followers[p.stream]
	if f != nil && f.resting && p.rejoin > 0 && p.rejoin <= f.pos {
		d.unfollow(f) // of another conversation, which had the id before
		f.forget()
		f = nil
	}
	if f != nil {
		f.qos, f.ids = p.qos, d.streamIDs(p.stream)
		f.rejoin = max(f.rejoin, p.rejoin)
		f.revive(p)
		if f.until > 0 && p.until == 0 { // a replay goes on as a subscription
			f.until = 0
			if d.cfg.Durable {
				f.cursor = d.cfg.Log.Cursor(&d.cfg.Key, f.stream, p.pos)
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
	f = &follower{feed: d, stream: p.stream, qos: p.qos, ids: d.streamIDs(p.stream), pos: p.pos,
		out: p.out, until: p.until, since: p.since, rejoin: p.rejoin}
	f.watch = d.cfg.Log.Watch(p.stream, f)
	if d.cfg.Durable && p.until == 0 {
		f.cursor = d.cfg.Log.Cursor(&d.cfg.Key, p.stream, p.pos)
	}
	if d.followers == nil {
		d.followers = make(map[chat.StreamID]*follower)
	}
	d.followers[p.stream] = f
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
	f.watch = f.feed.cfg.Log.Watch(f.stream, f)
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
	if d.followers[f.stream] == f {
		delete(d.followers, f.stream)
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
	stream chat.StreamID
	seq    uint64
}

// Joined is called by the log when the session's user joins a conversation:
// subscriptions follow membership without a new SUBSCRIBE.
func (d *Feed) Joined(conversation string, seq uint64) {
	j := join{chat.ConversationStream(conversation), seq}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.planning {
		d.early = append(d.early, j)
		return
	}
	d.joined(j)
}

func (d *Feed) joined(j join) {
	qos, ok := d.streamQoS(j.stream)
	if !ok {
		return
	}
	fresh := d.followers[j.stream] == nil
	f := d.follow(place{stream: j.stream, pos: j.seq - 1, rejoin: j.seq, qos: qos})
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

// Replay sends the entries after a seq to this connection, on the stream's
// topic, though it may have had them.
func (d *Feed) Replay(stream chat.StreamID, after uint64, qos byte) error {
	m, err := d.reach(stream)
	if err != nil {
		return err
	}
	after = max(after, d.floor(&m))
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.followers[stream]; f != nil && f.until == 0 {
		f.revive(place{since: m.JoinedSeq, rejoin: m.JoinedSeq})
		if after < f.pos {
			f.rewind(place{pos: after, since: m.JoinedSeq})
		} else { // it comes anyway, also what the user was no member for
			f.since, f.out = m.JoinedSeq, false
		}
		return nil
	}
	if after < m.Head.Head {
		d.follow(place{stream: stream, pos: after, since: m.JoinedSeq,
			until: m.Head.Head, explicit: true, qos: qos})
	}
	return nil
}

// reach asks how far a stream reaches and what the session's user is to it,
// and refuses who may not read it.
func (d *Feed) reach(stream chat.StreamID) (m bridge.Membership, err error) {
	ctx, cancel := d.storeContext()
	defer cancel()
	if user := stream.User(); user != "" {
		return d.notifications(ctx, user)
	}
	if m, err = d.cfg.Log.Membership(ctx, stream.Conversation(), d.cfg.Key.UserID); err == nil {
		err = d.mayRead(&m)
	}
	return m, err
}

// notifications is the user's stream of notifications, in the form of a
// membership that never ends, or that of an admin. One that does not exist
// yet is empty: its first entry comes like any other.
func (d *Feed) notifications(ctx context.Context, user string) (m bridge.Membership, err error) {
	if user != d.cfg.Key.UserID {
		if !d.cfg.Admin() {
			return m, errNotOwn
		}
		m.JoinedSeq = math.MaxUint64
	}
	m.Head, err = d.cfg.Log.Head(ctx, chat.NotificationStream(user))
	m.First = max(m.First, 1)
	return m, err
}

var errNotOwn = chat.Errorf(chat.CodeForbidden, "these are the notifications of another user")

// floor is the seq after which the session may read a stream.
func (d *Feed) floor(m *bridge.Membership) uint64 {
	if d.cfg.Admin() {
		return 0
	}
	return m.Floor()
}

// mayRead refuses who may not read a conversation. An admin may read all: its
// own leave entries are then no end.
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
