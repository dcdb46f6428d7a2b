package live

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Reader is the connection. Wake says that there is something to Pull. It is
// called with the hub locked: it must not block nor call the hub.
type Reader interface{ Wake() }

// Options are what a session is like.
type Options struct {
	Key       bridge.SessionKey
	Version   byte
	MaxPacket int // the client's Maximum Packet Size, 0 is none
	Reader    Reader
	// Subs are the subscriptions of a session that is taken up again. Nobody
	// changes them.
	Subs bridge.Subscriptions
}

// Session is an MQTT session while it has a connection, and for the grace time
// after. Fields are guarded by Hub.mu, but for ready.
type Session struct {
	p      *person
	client string
	reader Reader
	subs   bridge.Subscriptions
	mail   *mail // nil until there is something to tell
	// toldUnread is the count that was told last, nil if none was; asksUnread
	// says that a subscription wants it, whatever was told.
	toldUnread *uint64
	asksUnread bool
	maxPacket  int
	ready      atomic.Bool // the reader was woken, and has not pulled everything since
	wants      wants
	version    byte
	status     chat.Status
	gone       bool // the connection has ended
	asking     bool // a SUBSCRIBE is under way that may need the rooms
	missed     bool // it was away: it is to be told everything once the rooms are there
}

// Connect adds a connection: its user is present from now on.
func (h *Hub) Connect(o Options) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, _ := h.person(o.Key.UserID)
	s := &Session{p: p, client: o.Key.ClientID, reader: o.Reader, version: o.Version, maxPacket: o.MaxPacket,
		status: chat.StatusOnline}
	s.replace()
	p.sessions = append(p.sessions, s)
	s.missed = len(o.Subs) > 0
	h.subscribe(s, o.Subs)
	h.update(p)
	if s.missed && p.follow != following {
		h.catchUpMail(s)
	}
	return s
}

// replace has a new connection take the place of one that ended within the
// grace time, so that a reconnect shows as nothing. Who was invisible on this
// very session stays so: nobody shall see that a link was lost.
func (s *Session) replace() {
	var last *Session
	for _, old := range s.p.sessions {
		if old.gone && old.status != chat.StatusOffline && (last == nil || old.client == s.client) {
			last = old
		}
	}
	if last == nil {
		return
	}
	if last.client == s.client && last.status == chat.StatusInvisible {
		s.status = chat.StatusInvisible
	}
	last.status = chat.StatusOffline
}

// Close ends a connection. Its user stays present for the grace time.
func (s *Session) Close() {
	h := s.p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.gone {
		return
	}
	s.gone, s.mail, s.reader = true, nil, nil
	left := h.now()
	for _, r := range slices.Clone(s.p.rooms) {
		if t := r.typist(s.p); t != nil && t.session == s {
			h.stopTyping(r, s.p)
		}
	}
	s.p.want()
	switch {
	case h.closed:
	case h.cfg.Grace < 0:
		h.expire(s, left)
	default:
		time.AfterFunc(h.cfg.Grace, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.closed {
				h.expire(s, left)
			}
		})
	}
}

// expire ends the grace time of a connection. Its user was here last when it
// ended, and not when that time did.
func (h *Hub) expire(s *Session, left int64) {
	s.p.sessions = slices.DeleteFunc(s.p.sessions, func(o *Session) bool { return o == s })
	h.updateSeen(s.p, left)
	h.settle(s.p)
	h.release(s.p)
}

// SetStatus takes what a client says of its connection.
func (s *Session) SetStatus(status chat.Status) {
	h := s.p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.gone {
		s.status = status
		h.update(s.p)
	}
}

// Prepare waits until the rooms are loaded that subscriptions may need. After
// it, Subscribe is to be called.
func (s *Session) Prepare(ctx context.Context) error {
	h := s.p.hub
	h.mu.Lock()
	s.asking = true
	h.followPerson(s.p)
	l := s.p.loading
	h.mu.Unlock()
	if l == nil {
		return nil
	}
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return bridge.ErrUnavailable
	}
}

// Subscribe has the session's subscriptions be these from now on. Nobody
// changes the slice.
func (s *Session) Subscribe(subs bridge.Subscriptions) {
	h := s.p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.asking = false
	if !s.gone {
		h.subscribe(s, subs)
	}
	h.settle(s.p)
}

func (h *Hub) subscribe(s *Session, subs bridge.Subscriptions) {
	s.subs, s.wants = subs, 0
	for i := range subs {
		f, err := chat.ParseFilter(subs[i].Filter)
		if err != nil {
			continue
		}
		w := wantsOf(f, s.p.id)
		if w != 0 && subs[i].ID != 0 {
			w |= identified
		}
		if w != 0 && subs[i].RetainAsPublished {
			w |= published
		}
		s.wants |= w
	}
	s.p.want()
	if s.wants&needsRooms != 0 {
		h.followPerson(s.p)
	}
}

// follows reports whether a session needs its user's rooms. One that ended
// within the grace time does: it may come back at once.
func (s *Session) follows() bool { return s.asking || s.wants&needsRooms != 0 }

// Snapshot has the session told what stands retained on the topics of a filter
// that it subscribes to.
func (s *Session) Snapshot(f chat.Filter) {
	h := s.p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.gone {
		return
	}
	w := wantsOf(f, s.p.id)
	if w&allPresence != 0 {
		h.snapshot(s, true)
	}
	if w&(ownPresence|allPresence) != 0 {
		s.put(item{key: key{kind: kindPresence, who: s.p}, retain: true})
	}
	if w&somePresence != 0 {
		if p := h.persons[f.ID]; p != nil {
			s.put(item{key: key{kind: kindPresence, who: p}, retain: true})
		}
	}
	if w&unread != 0 { // told when it is counted: what is known may be old
		s.asksUnread = true
		h.count(s.p)
	}
}

// snapshot has a session told of all that its user may see.
func (h *Hub) snapshot(s *Session, retain bool) {
	h.epoch++
	for _, r := range s.p.rooms {
		s.walk(r, retain, h.epoch)
	}
}

// catchUpMail tells a session that was away how things stand: what it was told
// last may be long past.
func (h *Hub) catchUpMail(s *Session) {
	s.missed = false
	if s.wants&(allPresence|somePresence) != 0 {
		h.snapshot(s, false)
	}
	if s.wantsPresence(s.p) {
		s.put(item{key: key{kind: kindPresence, who: s.p}})
	}
	if s.wants&unread != 0 {
		h.count(s.p)
	}
}

func (s *Session) walk(r *room, retain bool, id uint32) {
	if s.gone {
		return
	}
	if s.mail == nil {
		s.mail = new(mail)
	}
	s.mail.walks = append(s.mail.walks, walk{room: r, next: len(r.members), retain: retain, id: id})
	s.wake()
}

// put puts something into the mail of a session.
func (s *Session) put(it item) {
	if s.gone || s.missed && it.kind == kindPresence { // or it is to be told everything yet
		return
	}
	if s.mail == nil {
		s.mail = new(mail)
	}
	if !s.mail.put(it) {
		s.p.hub.metrics.coalesced[it.kind].Inc()
	}
	s.wake()
}

func (s *Session) wake() {
	if s.ready.CompareAndSwap(false, true) {
		s.reader.Wake()
	}
}

// Pull appends packets to dst until that has limit bytes. It never waits for
// the store.
func (s *Session) Pull(dst []byte, limit int) []byte {
	if !s.ready.Load() {
		return dst
	}
	h := s.p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.ready.Store(false)
	m := s.mail
	if s.gone || m == nil {
		return dst
	}
	rest := m.len()
	for ; rest > 0 && len(dst) < limit; rest-- {
		r, current := m.items[m.head].room, false
		if r != nil { // while it can still be taken back, or be made newer
			current = h.catchUp(r)
		}
		it := m.pop()
		switch h.fate(s, it, current) {
		case tell:
			dst = h.write(s, dst, it)
		case wait:
			m.put(it)
		}
	}
	for waits := false; len(m.walks) > 0 && len(dst) < limit && !waits; {
		dst, waits = h.step(s, dst, limit)
	}
	if len(dst) >= limit && !m.empty() {
		s.ready.Store(true) // who pulls will pull again
	}
	return dst
}

// step goes on with the first walk of a session. waits says that its room has
// to catch up first.
func (h *Hub) step(s *Session, dst []byte, limit int) (out []byte, waits bool) {
	r := s.mail.walks[0].room
	if !h.catchUp(r) && !r.gone() {
		return dst, true
	}
	w := &s.mail.walks[0] // now: catching up may have added walks
	if r.gone() || !s.p.in(r) {
		w.next = 0
	}
	w.next = min(w.next, len(r.members))
	for w.next > 0 && len(dst) < limit {
		w.next--
		p := r.members[w.next]
		if p == s.p || p.shown == w.id || !s.wantsPresence(p) || h.blocked(p, s.p) {
			continue
		}
		p.shown = w.id
		dst = h.write(s, dst, item{key: key{kind: kindPresence, who: p}, retain: w.retain})
	}
	if w.next == 0 {
		if s.mail.walks = slices.Delete(s.mail.walks, 0, 1); len(s.mail.walks) == 0 {
			s.mail.walks = nil
		}
	}
	return dst, false
}

// fate is what becomes of an item whose turn it is.
type fate uint8

const (
	forget fate = iota
	tell
	wait // until a room has caught up with the log
)

// fate says what becomes of it; current, whether its room has caught up.
func (h *Hub) fate(s *Session, it item, current bool) fate {
	switch it.kind {
	case kindUnread:
		if s.wants&unread == 0 || s.p.unread == nil {
			return forget
		}
		return tell
	case kindPresence:
		if !s.wantsPresence(it.who) {
			return forget
		}
		yes, unsure := h.shares(s.p, it.who)
		switch {
		case it.who != s.p && s.p.follow != followed: // its blocks are not known
		case h.blocked(s.p, it.who) && !it.hidden:
		case yes:
			return tell
		case unsure:
			return wait
		}
		return forget
	}
	switch {
	case it.kind == kindReceipt && it.receipt == nil:
		return forget
	case it.kind == kindTyping && h.blocked(s.p, it.who) && !it.hidden:
		return forget
	case it.room.gone() || current && !s.p.in(it.room) || !s.wantsOfRoom(it.kind, it.room):
		return forget
	case current:
		return tell
	case it.kind == kindTyping:
		h.metrics.dropped[kindTyping].Inc()
		return forget
	}
	return wait
}

// write appends the PUBLISH that tells a state as it is now.
func (h *Hub) write(s *Session, dst []byte, it item) []byte {
	topic, payload := chat.Topic{ID: s.p.id}, h.payload[:0]
	switch it.kind {
	case kindTyping:
		topic = chat.Topic{Kind: chat.KindTyping, ID: it.room.id}
		payload = chat.AppendTyping(payload, it.who.id, it.room.typist(it.who) != nil && !it.hidden)
	case kindReceipt:
		topic = chat.Topic{Kind: chat.KindReceipts, ID: it.room.id}
		payload = chat.AppendReceipt(payload, it.who.id, it.receipt.Read, it.receipt.Delivered, it.receipt.At)
	case kindPresence:
		topic = chat.Topic{Kind: chat.KindPresence, ID: it.who.id}
		state := it.who.as(s.p)
		if it.hidden {
			state = chat.Presence{UserID: it.who.id}
		}
		payload = state.AppendJSON(payload)
	case kindUnread:
		topic.Kind = chat.KindUnread
		payload = chat.AppendUnread(payload, *s.p.unread)
		s.toldUnread = s.p.unread
	}
	pub := wire.Publish{Topic: topic.Append(h.topic[:0]), Payload: payload, Retain: it.retain}
	if s.wants&(identified|published) != 0 {
		ids, asPublished := s.match(topic)
		pub.SubscriptionIDs = ids
		pub.Retain = pub.Retain || asPublished && it.kind >= kindPresence // those stand retained
	}
	h.topic, h.payload = pub.Topic, payload
	from := len(dst)
	dst, _ = wire.AppendPublish(dst, s.version, &pub)
	if s.maxPacket > 0 && len(dst)-from > s.maxPacket { // [MQTT-3.1.2-24]
		h.metrics.dropped[it.kind].Inc()
		return dst[:from]
	}
	h.metrics.delivered[it.kind].Inc()
	return dst
}

// Settle ends what Prepare began, where no Subscribe followed.
func (s *Session) Settle() {
	h := s.p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.asking = false
	h.settle(s.p)
}
