package live

import (
	"slices"

	"github.com/parley-mqtt/parley/internal/chat"
)

// wants is what a session subscribes to.
type wants uint16

const (
	allTyping wants = 1 << iota
	allReceipts
	allPresence
	someTyping // of single conversations
	someReceipts
	somePresence // of single users
	ownPresence
	unread
	identified // there are subscription identifiers
	published  // there is a subscription with Retain As Published
)

const needsRooms = allTyping | allReceipts | allPresence | someTyping | someReceipts | somePresence

// Wants reports whether something of what this package delivers is among the
// topics of a filter.
func Wants(f chat.Filter, user string) bool { return wantsOf(f, user) != 0 }

// NeedsRooms reports whether what a filter means depends on conversations.
func NeedsRooms(f chat.Filter, user string) bool { return wantsOf(f, user)&needsRooms != 0 }

func wantsOf(f chat.Filter, user string) wants {
	switch {
	case f.Kind == chat.KindAny && f.Any:
		return allTyping | allReceipts
	case f.Kind == chat.KindAny && f.ID == user:
		return ownPresence | unread
	case f.Kind == chat.KindTyping && f.Any:
		return allTyping
	case f.Kind == chat.KindTyping:
		return someTyping
	case f.Kind == chat.KindReceipts && f.Any:
		return allReceipts
	case f.Kind == chat.KindReceipts:
		return someReceipts
	case f.Kind == chat.KindPresence && f.Any:
		return allPresence
	case f.Kind == chat.KindPresence && f.ID == user:
		return ownPresence
	case f.Kind == chat.KindPresence:
		return somePresence
	case f.Kind == chat.KindUnread && f.ID == user:
		return unread
	}
	return 0
}

// want adds up what the sessions of a user want.
func (p *person) want() {
	p.wants = 0
	for _, s := range p.sessions {
		if !s.gone {
			p.wants |= s.wants
		}
	}
}

// wantsPresence reports whether a session subscribes to how present a user is.
func (s *Session) wantsPresence(p *person) bool {
	switch {
	case s.gone:
		return false
	case s.wants&allPresence != 0:
		return true
	case p == s.p:
		return s.wants&ownPresence != 0
	case s.wants&somePresence == 0:
		return false
	}
	_, ok := s.subs.Find("users/" + p.id + "/presence")
	return ok
}

// wantsOfRoom reports whether a session subscribes to typing or receipts of a
// room.
func (s *Session) wantsOfRoom(k kind, r *room) bool {
	all, some, last := allTyping, someTyping, "/typing"
	if k == kindReceipt {
		all, some, last = allReceipts, someReceipts, "/receipts"
	}
	switch {
	case s.gone:
		return false
	case s.wants&all != 0:
		return true
	case s.wants&some == 0:
		return false
	}
	if r.filters[k] == "" {
		r.filters[k] = "chat/" + r.id + last
	}
	_, ok := s.subs.Find(r.filters[k])
	return ok
}

// match goes through the subscriptions that take a topic.
func (s *Session) match(t chat.Topic) (ids []uint32, asPublished bool) {
	for i := range s.subs {
		sub := &s.subs[i]
		if f, err := chat.ParseFilter(sub.Filter); err != nil || !f.Matches(t) {
			continue
		}
		asPublished = asPublished || sub.RetainAsPublished
		if sub.ID != 0 && !slices.Contains(ids, sub.ID) {
			ids = append(ids, sub.ID)
		}
	}
	return ids, asPublished
}
