package live

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// typingLasts is how long somebody types who says so once.
	typingLasts = 6 * time.Second
	// typingEvery is how often it is told that somebody still types.
	typingEvery = 2 * time.Second
	// askTimeout bounds one step that asks the store.
	askTimeout = 5 * time.Second
)

// typist is a member who types.
type typist struct {
	p       *person
	session *Session // that said so last
	told    time.Time
	until   time.Time
	timer   *time.Timer
}

func (r *room) typist(p *person) *typist {
	for _, t := range r.typists {
		if t.p == p {
			return t
		}
	}
	return nil
}

// Typing takes what a client says of its user in a conversation, and refuses
// who is no member. Where nobody here asks about the conversation, the store
// is asked who is a member.
func (s *Session) Typing(conversation string, typing bool) error {
	h := s.p.hub
	h.mu.Lock()
	r := h.rooms[conversation]
	if r != nil && h.catchUp(r) {
		defer h.mu.Unlock()
		if !s.p.in(r) {
			return bridge.NotMember()
		}
		h.types(r, s, typing)
		return nil
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.ctx, askTimeout)
	defer cancel()
	m, err := h.log.Membership(ctx, conversation, s.p.id)
	switch {
	case err != nil && h.ctx.Err() != nil:
		return bridge.ErrUnavailable
	case err != nil:
		return err
	case !m.Exists:
		return bridge.NoConversation()
	case m.Role == chat.RoleNone:
		return bridge.NotMember()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r = h.rooms[conversation]; r == nil { // nobody would hear of it
		return nil
	}
	if h.catchUp(r) && s.p.in(r) {
		h.types(r, s, typing)
	} else {
		h.metrics.dropped[kindTyping].Inc()
	}
	return nil
}

// types notes that a member types, or does not any more.
func (h *Hub) types(r *room, s *Session, typing bool) {
	if s.gone {
		return
	}
	if !typing {
		h.stopTyping(r, s.p)
		return
	}
	now := time.Now()
	t := r.typist(s.p)
	if t == nil {
		t = &typist{p: s.p}
		r.typists = append(r.typists, t)
		t.timer = time.AfterFunc(typingLasts, func() { h.typingOver(r, t) })
	} else {
		t.timer.Reset(typingLasts)
	}
	t.session, t.until = s, now.Add(typingLasts)
	if !t.told.IsZero() && now.Sub(t.told) < typingEvery {
		h.metrics.coalesced[kindTyping].Inc()
		return
	}
	t.told = now
	h.tellTyping(r, s.p, true)
}

// typingOver ends typing that was not renewed.
func (h *Hub) typingOver(r *room, t *typist) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.typist(t.p) == t && !time.Now().Before(t.until) { // else it was renewed just now
		h.stopTyping(r, t.p)
	}
}

func (h *Hub) stopTyping(r *room, p *person) {
	t := r.typist(p)
	if t == nil {
		return
	}
	t.timer.Stop()
	r.typists = without(r.typists, t)
	h.tellTyping(r, p, false)
}

// tellTyping tells the other members, without those between whom and it a
// block stands: typing shows who is there.
func (h *Hub) tellTyping(r *room, p *person, typing bool) {
	it := item{key: key{kind: kindTyping, room: r, who: p}}
	for _, f := range r.fans {
		if f == p || f.wants&(allTyping|someTyping) == 0 || h.blocked(f, p) {
			continue
		}
		for _, s := range f.sessions {
			if !s.wantsOfRoom(kindTyping, r) {
				continue
			}
			// That it ended is told always: else it would seem to go on.
			if typing && s.mail != nil && s.mail.len() >= typingRoom {
				h.metrics.dropped[kindTyping].Inc()
				continue
			}
			s.put(it)
		}
	}
}
