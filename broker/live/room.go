package live

import (
	"slices"
	"sync/atomic"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// room is a conversation that has a fan: a member who is connected here and
// asks about its rooms. Fields are guarded by Hub.mu, but for woken.
type room struct {
	hub     *Hub
	id      string
	watch   *bridge.Watch
	woken   atomic.Bool
	loaded  bool
	behind  bool // memory does not hold what comes next: the store has to be asked
	pos     uint64
	members []*person // as of pos
	fans    []*person // those of them who ask
	typists []*typist
	recent  map[*person]*recent
	early   []bridge.Receipt // that moved while it was being loaded
	filters [2]string        // of it alone, by kind; made when somebody has such
}

// room answers the room of a conversation, and has it loaded if it is new.
func (h *Hub) room(id string) *room {
	if r := h.rooms[id]; r != nil {
		return r
	}
	r := &room{hub: h, id: id}
	// Before the store is asked: what is committed meanwhile is in the tail.
	r.watch = h.log.Watch(chat.ConversationStream(id), r)
	h.rooms[id] = r
	h.metrics.rooms.Inc()
	h.toLoad = append(h.toLoad, r)
	signal(h.load)
	return r
}

// Wake implements bridge.Watcher.
func (r *room) Wake() {
	if !r.woken.CompareAndSwap(false, true) {
		return
	}
	h := r.hub
	h.wakeMu.Lock()
	h.woken = append(h.woken, r)
	h.wakeMu.Unlock()
	signal(h.work)
}

// gone reports whether the room was given up.
func (r *room) gone() bool { return r.hub.rooms[r.id] != r }

// dropRoom gives a room up: it has no fans any more, or is no conversation.
func (h *Hub) dropRoom(r *room) {
	if r.gone() {
		return
	}
	delete(h.rooms, r.id)
	h.metrics.rooms.Dec()
	r.watch.Close()
	h.empty(r)
}

// empty takes the members out of a room.
func (h *Hub) empty(r *room) {
	h.changes++
	for _, t := range r.typists {
		t.timer.Stop()
	}
	for _, p := range r.members {
		p.rooms = without(p.rooms, r)
		h.release(p)
	}
	r.loaded, r.behind, r.members, r.fans, r.typists, r.recent, r.early = false, false, nil, nil, nil, nil, nil
}

// reload begins a room anew: entries that said who came and went are lost.
func (h *Hub) reload(r *room) {
	h.empty(r)
	h.toLoad = append(h.toLoad, r)
	signal(h.load)
}

// readAtOnce is how many entries of a room are looked at together.
const readAtOnce = 64

// catchUp brings a room up to what the log has. It is true when the members
// are those of this moment; else the store has to be asked first.
func (h *Hub) catchUp(r *room) bool {
	for r.loaded && !r.behind {
		items, where := r.watch.Read(r.pos, readAtOnce, h.items[:0])
		switch where {
		case bridge.CaughtUp:
			return true
		case bridge.Gone:
			h.dropRoom(r)
			return false
		case bridge.InStore:
			r.behind = true
			h.toLoad = append(h.toLoad, r)
			signal(h.load)
			return false
		}
		for i, it := range items {
			if !r.gone() {
				h.apply(r, &it.Entry)
			}
			items[i] = nil
		}
		h.items = items
	}
	return false
}

// apply takes an entry of a room.
func (h *Hub) apply(r *room, e *chat.Entry) {
	r.pos = e.Seq
	switch e.Type {
	case chat.TypeJoin:
		p, known := h.person(e.UserID)
		if !known {
			p.unknown = true
			h.toKnow = append(h.toKnow, p)
			signal(h.load)
		}
		if !p.in(r) {
			h.met(r, p)
			h.add(r, p)
		}
	case chat.TypeLeave:
		if p := h.persons[e.UserID]; p != nil && p.in(r) {
			h.remove(r, p)
		}
	case chat.TypeMessage:
		p := h.persons[e.SenderID]
		if p == nil || !p.in(r) {
			return
		}
		h.stopTyping(r, p)
		// The commit has moved what its sender has read.
		h.receipt(r, p, bridge.Receipt{MemberKey: bridge.MemberKey{Conversation: r.id, UserID: p.id},
			Read: e.Seq, Delivered: e.Seq, At: e.CreatedAt})
	}
}

// add makes a person a member of a room.
func (h *Hub) add(r *room, p *person) {
	h.changes++
	r.members = append(r.members, p)
	p.rooms = append(p.rooms, r)
	if p.follow != notFollowed {
		r.fans = append(r.fans, p)
	}
}

// met has a person and the members of a room that it joins told of each other,
// where they did not share another one.
func (h *Hub) met(r *room, p *person) {
	h.epoch++
	for _, other := range p.rooms {
		for _, f := range other.fans {
			f.mark = h.epoch
		}
	}
	for _, f := range r.fans {
		if f.mark != h.epoch && f != p && !p.unknown {
			h.show(p, f)
		}
	}
	h.discover(r, p)
}

// discover has a person told of the members of a room that is new to it.
func (h *Hub) discover(r *room, p *person) {
	if p.follow != followed || p.wants&(allPresence|somePresence) == 0 {
		return
	}
	for _, s := range p.sessions {
		if s.wants&(allPresence|somePresence) != 0 {
			h.epoch++ // one session's walk passes over nobody for another's
			s.walk(r, false, h.epoch)
		}
	}
}

// remove ends a membership.
func (h *Hub) remove(r *room, p *person) {
	h.stopTyping(r, p)
	h.dropReceipt(r, p)
	h.changes++
	r.members = without(r.members, p)
	p.rooms = without(p.rooms, r)
	if p.follow != notFollowed {
		r.fans = without(r.fans, p)
	}
	h.release(p)
	if len(r.fans) == 0 {
		h.dropRoom(r)
	}
}

// current goes on with what waited until a room had caught up with the log.
func (h *Hub) current(r *room) {
	for _, f := range r.fans {
		for _, s := range f.sessions {
			if s.mail != nil && !s.mail.empty() {
				s.wake()
			}
		}
	}
}

// fill takes the roster of a room that is not loaded.
func (h *Hub) fill(r *room, roster bridge.Roster) {
	if r.gone() {
		return
	}
	if roster.Head == (bridge.Head{}) {
		h.dropRoom(r)
		return
	}
	r.pos, r.loaded = roster.Head.Head, true
	r.members = make([]*person, 0, len(roster.Members))
	for _, m := range roster.Members {
		p, known := h.person(m.UserID)
		if !known || p.unknown {
			p.unknown, p.lastSeen = false, h.seen(m.UserID, m.LastSeen)
		}
		h.add(r, p)
	}
	r.watch.Learn(r.pos)
	h.catchUp(r)
	if r.gone() {
		return
	}
	for _, f := range slices.Clone(r.fans) {
		h.discover(r, f)
	}
	for _, rc := range r.early {
		if p := h.persons[rc.UserID]; p != nil && p.in(r) {
			h.receipt(r, p, rc)
		}
	}
	if r.early = nil; len(r.fans) == 0 {
		h.dropRoom(r)
	}
}
