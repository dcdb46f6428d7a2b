package live

import (
	"slices"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// person is a user who is connected here, or a member of a room. One that is
// neither is forgotten. Fields are guarded by Hub.mu.
type person struct {
	hub      *Hub
	id       string
	sessions []*Session // also those that ended within the grace time
	rooms    []*room    // loaded ones that it is a member of
	stop     func()     // ends watching for joins
	loading  *loading   // its rooms are; nil once they are, and while it is not followed
	blocks   []string   // between whom and it a block stands, sorted; known while it is followed
	blockGen uint32     // counts the changes of that: what was asked before one is old
	unread   *uint64    // nil is not known
	lastSeen int64      // milliseconds since 1970; 0 is never
	mark     uint32     // Hub.epoch of the last walk that came by
	shown    uint32     // the last snapshot that told of it
	follow   follow
	gen      uint16 // counts how often it began to be followed
	devices  uint16
	status   chat.Status // as others see it
	self     chat.Status // as it sees itself
	wants    wants       // of all its sessions
	unknown  bool        // the store is yet to say lastSeen

	forgotten bool // when it was here is not saved, until it is here again
}

type follow uint8

const (
	notFollowed follow = iota
	following          // its rooms are being loaded
	followed           // all of them are there
)

// loading is for those who wait until somebody's rooms are loaded.
type loading struct {
	done chan struct{}
	err  error // set before done is closed
}

// person answers the person with an id, and makes it if there is none; known
// says whether there was.
func (h *Hub) person(id string) (p *person, known bool) {
	if p = h.persons[id]; p != nil {
		return p, true
	}
	p = &person{hub: h, id: id}
	h.persons[id] = p
	h.metrics.persons.Inc()
	return p, false
}

// release forgets a person that nothing here is about.
func (h *Hub) release(p *person) {
	if len(p.sessions) == 0 && len(p.rooms) == 0 && h.persons[p.id] == p {
		delete(h.persons, p.id)
		h.metrics.persons.Dec()
	}
}

func (p *person) in(r *room) bool { return slices.Contains(p.rooms, r) }

// compute is how present a user is by its connections.
func (p *person) compute() (status, self chat.Status, devices uint16) {
	hidden := false
	for _, s := range p.sessions {
		switch s.status {
		case chat.StatusOffline:
			continue
		case chat.StatusInvisible:
			hidden = true
		default:
			status = max(status, s.status)
		}
		devices++
	}
	if hidden {
		return chat.StatusOffline, chat.StatusInvisible, devices
	}
	return status, status, devices
}

// update looks again at the connections of a user, and tells who may know what
// has changed.
func (h *Hub) update(p *person) { h.updateSeen(p, h.now()) }

// updateSeen is update, of a user who was here last at a time, if it has gone.
func (h *Hub) updateSeen(p *person, seen int64) {
	status, self, devices := p.compute()
	if status == p.status && self == p.self && devices == p.devices {
		return
	}
	before := p.status
	others := status != before || status != chat.StatusOffline && devices != p.devices
	p.status, p.self, p.devices = status, self, devices
	if was, is := before != chat.StatusOffline, status != chat.StatusOffline; was != is {
		if p.unknown = false; was {
			p.lastSeen = seen
		}
		h.keep(p)
	}
	if others {
		h.announce(p)
	}
	p.toSelf(item{key: key{kind: kindPresence, who: p}})
}

// announce has all who may see a user told how present it is.
func (h *Hub) announce(p *person) {
	h.epoch++
	p.mark = h.epoch
	for _, r := range p.rooms {
		for _, f := range r.fans {
			if f.mark != h.epoch {
				f.mark = h.epoch
				h.show(p, f)
			}
		}
	}
}

// show has one user told of another whom it may see.
func (h *Hub) show(p, to *person) {
	if to.follow != followed || to.wants&(allPresence|somePresence) == 0 || h.blocked(p, to) {
		return
	}
	for _, s := range to.sessions {
		if s.wantsPresence(p) {
			s.put(item{key: key{kind: kindPresence, who: p}})
		}
	}
}

// toSelf puts something of the user's own into the mail of its sessions.
func (p *person) toSelf(it item) {
	if p.wants&(allPresence|ownPresence) == 0 {
		return
	}
	for _, s := range p.sessions {
		if it.kind == kindPresence && s.wantsPresence(p) {
			s.put(it)
		}
	}
}

// as is how a user looks to another, or to itself.
func (p *person) as(viewer *person) chat.Presence {
	v := chat.Presence{UserID: p.id, Status: p.status, Devices: int(p.devices)}
	if viewer == p {
		v.Status = p.self
	}
	if v.Status == chat.StatusOffline {
		v.Devices = 0
		if p.lastSeen != 0 {
			v.LastSeen = time.UnixMilli(p.lastSeen)
		}
	}
	return v
}

// shares reports whether two users share a conversation, now. unsure says that
// one which they may share has yet to catch up with the log.
func (h *Hub) shares(viewer, p *person) (yes, unsure bool) {
	if viewer == p {
		return true, false
	}
again:
	few, many := viewer, p
	if len(p.rooms) < len(viewer.rooms) {
		few, many = p, viewer
	}
	for _, r := range few.rooms {
		if !many.in(r) {
			continue
		}
		before := h.changes
		current := h.catchUp(r)
		if h.changes != before {
			goto again
		}
		if current {
			return true, false
		}
		unsure = true
	}
	return false, unsure
}

// followPerson has the rooms of a person loaded, and kept up from now on.
func (h *Hub) followPerson(p *person) {
	if p.follow != notFollowed || h.closed {
		return
	}
	p.follow = following
	p.gen++
	p.loading = &loading{done: make(chan struct{})}
	p.stop = h.log.WatchUser(p.id, p) // before the store is asked: no join is missed
	for _, r := range p.rooms {
		r.fans = append(r.fans, p)
	}
	h.toFollow = append(h.toFollow, p)
	signal(h.load)
}

// settle follows a person no more of whom no session asks for it.
func (h *Hub) settle(p *person) {
	if p.follow == notFollowed || slices.ContainsFunc(p.sessions, (*Session).follows) {
		return
	}
	p.stop()
	p.stop, p.follow, p.blocks = nil, notFollowed, nil
	if l := p.loading; l != nil {
		p.loading, l.err = nil, errEnded
		close(l.done)
	}
	for _, r := range slices.Clone(p.rooms) {
		if r.fans = without(r.fans, p); len(r.fans) == 0 {
			h.dropRoom(r)
		}
	}
}

// without takes one out of a list whose order does not matter.
func without[T comparable](list []T, gone T) []T {
	if i := slices.Index(list, gone); i >= 0 {
		last := len(list) - 1
		list[i] = list[last]
		var none T
		list[last] = none
		list = list[:last]
	}
	return list
}
