package broker

import (
	"math"
	"sync"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// session is an MQTT session while it has a connection. A durable one that
// has none is a row in the store with its cursors, and costs no memory here
// beyond what registry.away holds.
type session struct {
	c        *conn
	durable  bool
	problems bool // the client wants reasons and user properties [MQTT-3.1.2-29]
	window   int  // entries that may be sent and not acknowledged

	received map[uint16]struct{} // QoS 2 sends without PUBREL; guarded by conn.mu

	mu        sync.Mutex
	expiry    uint32          // seconds
	subs      map[string]byte // granted QoS by filter
	followers map[string]*follower
	unwatch   func()          // ends watching for new memberships, nil when it does not
	pending   map[string]byte // what subs is about to be; the reading goroutine's
	again     []unacked       // what was sent again at CONNECT; the reading goroutine's
	places    []place         // what is about to be followed; the reading goroutine's
	planning  bool            // the store is asked for memberships: joins wait in early
	early     []join
	inflight  inflight
	stalled   []*follower // have entries but the window is full
	starved   []*follower // wait for the store
	backlogs  int         // followers that hold what was loaded
	loading   bool
	closed    chan struct{}
	loads     sync.WaitGroup
}

// follower reads one stream for one session. Its fields are guarded by
// session.mu, but for ready and next, which conn.mu guards.
type follower struct {
	s            *session
	conversation string
	watch        *bridge.Watch
	cursor       *bridge.AckCursor // nil unless the session is durable
	qos          byte
	ended        bool
	out          bool   // past the user's leave: nothing is sent until its next join
	resting      bool   // out, and no join is known: nothing is even read
	stalled      bool   // waits for the window, in session.stalled
	starving     bool   // waits for the store, in session.starved
	loading      bool   // the store is being asked
	again        bool   // woken meanwhile
	gen          uint32 // counts rewinds: what was loaded before one is void
	pos          uint64 // the seq that was sent last
	until        uint64 // of a replay to somebody who does not follow: the last seq, else 0
	since        uint64 // the user's own leave entries below it are history
	rejoin       uint64 // seq of the newest join of the user that is known
	low          uint64 // the seq that was sent last at QoS 0
	unacked      int    // entries sent at QoS 1 that are not acknowledged
	ahead        int    // entries acknowledged out of order
	erased       uint64 // Watch.Erased before backlog was read
	backlog      []*bridge.Item

	ready bool
	next  *follower
}

// Wake is called by the log when the stream has news.
func (f *follower) Wake() { f.s.c.wake(f) }

// wake puts a follower on the list of those with news.
func (c *conn) wake(f *follower) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.ready || c.ending {
		return
	}
	f.ready = true
	if c.last == nil {
		c.ready = f
	} else {
		c.last.next = f
	}
	c.last = f
	c.write()
}

// popReady takes the first follower with news, or nil.
func (c *conn) popReady() *follower {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.ready
	if f == nil {
		return nil
	}
	c.ready, f.next, f.ready = f.next, nil, false
	if c.ready == nil {
		c.last = nil
	}
	return f
}

func newSession(c *conn) *session {
	return &session{c: c, problems: true, closed: make(chan struct{})}
}

const (
	filterAllMessages = "chat/+/messages"
	filterAllChat     = "chat/+/+"
)

// streamQoS says at which QoS the session follows a conversation's entries.
// Overlapping subscriptions count once, at the highest QoS [MQTT-3.3.4-2].
// s.mu is held.
func (s *session) streamQoS(conversation string) (qos byte, ok bool) {
	for _, filter := range [...]string{"chat/" + conversation + "/messages", filterAllMessages, filterAllChat} {
		if q, found := s.subs[filter]; found {
			qos, ok = max(qos, q), true
		}
	}
	return qos, ok
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
// if the client named a place. s.mu is held.
func (s *session) follow(p place) *follower {
	select {
	case <-s.closed:
		return nil
	default:
	}
	f := s.followers[p.conversation]
	if f != nil && f.resting && p.rejoin > 0 && p.rejoin <= f.pos {
		s.unfollow(f) // of another conversation, which had the id before
		f.forget()
		f = nil
	}
	if f != nil {
		f.qos = p.qos
		f.rejoin = max(f.rejoin, p.rejoin)
		f.revive(p)
		if f.until > 0 && p.until == 0 { // a replay goes on as a subscription
			f.until = 0
			if s.durable {
				f.cursor = s.c.b.log.Cursor(&s.c.key, f.watch.Stream(), p.pos)
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
	f = &follower{s: s, conversation: p.conversation, qos: p.qos, pos: p.pos,
		out: p.out, until: p.until, since: p.since, rejoin: p.rejoin}
	stream := chat.ConversationStream(p.conversation)
	f.watch = s.c.b.log.Watch(stream, f)
	if s.durable && p.until == 0 {
		f.cursor = s.c.b.log.Cursor(&s.c.key, stream, p.pos)
	}
	if s.followers == nil {
		s.followers = make(map[string]*follower)
	}
	s.followers[p.conversation] = f
	s.c.wake(f)
	return f
}

// rest stops a follower at its user's leave entry. It stays, for its cursor
// must not pass what it has sent before: a join revives it.
func (s *session) rest(f *follower) {
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
	f.watch = f.s.c.b.log.Watch(f.watch.Stream(), f)
	f.s.c.wake(f)
}

// rewind moves a follower to a place that the client named. That alone
// acknowledges nothing.
func (f *follower) rewind(p place) {
	f.dropBacklog()
	f.gen++
	f.pos, f.since, f.out = p.pos, p.since, false
	f.until = p.until
	f.s.c.wake(f)
}

func (f *follower) dropBacklog() {
	if f.backlog != nil {
		f.backlog = nil
		f.s.backlogs--
	}
}

// unfollow ends a follower. Entries of it that are on the way still move its
// cursor when they are acknowledged. s.mu is held.
func (s *session) unfollow(f *follower) {
	if f.ended {
		return
	}
	f.ended = true
	s.waitsNoMore(f)
	f.dropBacklog()
	f.watch.Close()
	if s.followers[f.conversation] == f {
		delete(s.followers, f.conversation)
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
func (s *session) Joined(conversation string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.planning {
		s.early = append(s.early, join{conversation, seq})
		return
	}
	s.joined(join{conversation, seq})
}

func (s *session) joined(j join) {
	qos, ok := s.streamQoS(j.conversation)
	if !ok {
		return
	}
	fresh := s.followers[j.conversation] == nil
	f := s.follow(place{conversation: j.conversation, pos: j.seq - 1, rejoin: j.seq, qos: qos})
	if fresh && f != nil && f.cursor != nil {
		f.cursor.MarkDirty() // from its own join entry on, also after a crash
	}
}

// plan begins a change of what is followed: the store is about to be asked
// for memberships. Joins that are committed from now on are kept until
// planned, so that none falls between the answer and the change.
func (s *session) plan() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.planning = true
	if s.unwatch == nil {
		s.unwatch = s.c.b.log.WatchUser(s.c.key.UserID, s)
	}
}

// planned makes the change; a nil apply gives it up.
func (s *session) planned(apply func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if apply != nil {
		apply()
	}
	s.planning = false
	for _, j := range s.early {
		s.joined(j)
	}
	s.early = nil
}

// replay sends the entries after a seq to this connection, on
// chat/<c>/messages, though it may have had them.
func (s *session) replay(conversation string, after uint64, qos byte) error {
	m, err := s.membership(conversation)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.followers[conversation]; f != nil && f.until == 0 {
		f.revive(place{since: m.JoinedSeq, rejoin: m.JoinedSeq})
		if after < f.pos {
			f.rewind(place{pos: after, since: m.JoinedSeq})
		}
		return nil // what it asks for comes anyway
	}
	if after < m.Head.Head {
		s.follow(place{conversation: conversation, pos: after, since: m.JoinedSeq,
			until: m.Head.Head, explicit: true, qos: qos})
	}
	return nil
}

// membership asks what the session's user is to a conversation, and refuses
// who may not read it. An admin may read all: its own leave entries are then
// no end.
func (s *session) membership(conversation string) (bridge.Membership, error) {
	ctx, cancel := s.c.storeContext()
	defer cancel()
	m, err := s.c.b.log.Membership(ctx, conversation, s.c.key.UserID)
	if err != nil {
		return m, err
	}
	return m, s.mayRead(&m)
}

func (s *session) mayRead(m *bridge.Membership) error {
	switch {
	case !m.Exists:
		return bridge.NoConversation()
	case m.Role != chat.RoleNone:
		return nil
	case s.c.id.Has(acl.Admin):
		m.JoinedSeq = math.MaxUint64
		return nil
	}
	return bridge.NotMember()
}

// close ends delivery: the connection is going.
func (s *session) close() {
	s.mu.Lock()
	close(s.closed)
	if s.unwatch != nil {
		s.unwatch()
	}
	for _, f := range s.followers {
		f.watch.Close()
	}
	s.mu.Unlock()
	s.loads.Wait()
}

// save writes what a durable session has acknowledged and that its connection
// is gone, and answers what it leaves behind in memory. Where the store is
// out of reach, the cursors are kept for the next flush.
func (s *session) save() remains {
	if !s.durable {
		return remains{}
	}
	s.mu.Lock()
	cursors := make([]*bridge.AckCursor, 0, len(s.followers))
	for _, f := range s.followers {
		if f.cursor != nil {
			cursors = append(cursors, f.cursor)
		}
	}
	left := remains{received: s.received, inflight: s.inflight.leave()}
	mark := bridge.SessionMark{Key: s.c.key, Expiry: s.expiry, EndedAt: s.c.ended}
	s.mu.Unlock()

	ctx, cancel := s.c.storeContext()
	defer cancel()
	err := s.c.b.log.FlushCursors(ctx, cursors)
	if err == nil && mark.Expiry == 0 {
		err = s.c.b.log.DeleteSession(ctx, mark.Key)
		left = remains{}
	} else if err == nil {
		err = s.c.b.log.MarkSession(ctx, mark)
	}
	if err != nil {
		s.c.b.logger.Warn("saving a session failed", "user", mark.Key.UserID, "client", mark.Key.ClientID, "error", err)
	}
	return left
}
