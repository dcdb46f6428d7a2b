package router

import "sync"

// group is a shared subscription: each message goes to one of its members
// [MQTT-4.8.2-3]. Sessions of different users may share one; the acl claim of
// each says that it may.
type group struct {
	filter string // with $share

	mu      sync.Mutex
	members []*subscription
	next    int // whose turn it is
}

func (g *group) add(s *subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.place = len(g.members)
	g.members = append(g.members, s)
}

// remove takes a member out, and says whether it was the last.
func (g *group) remove(s *subscription) (last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.members) - 1
	copy(g.members[s.place:], g.members[s.place+1:])
	g.members[n] = nil
	g.members = g.members[:n]
	for i := s.place; i < n; i++ {
		g.members[i].place = i
	}
	return n == 0
}

// choose answers the member that gets the next message, nil if there is none:
// in turn one that is connected and can take it at once; else, of those that
// are connected, the one with the least before it; else, in turn, one that is
// away and for whom it is kept. For QoS 0 nothing is kept. except is passed
// over.
func (g *group) choose(qos byte, except *Mailbox) *subscription {
	g.mu.Lock()
	defer g.mu.Unlock()
	var best, away *subscription
	least := int64(0)
	for i := range g.members {
		at := (g.next + i) % len(g.members)
		s := g.members[at]
		if s.box == except {
			continue
		}
		if !s.box.online.Load() {
			if away == nil && min(qos, s.qos) > 0 && s.box.durable {
				away = s
			}
			continue
		}
		waiting := s.box.waiting.Load()
		if waiting < s.box.room.Load() {
			g.next = at + 1
			return s
		}
		if best == nil || waiting < least {
			best, least = s, waiting
		}
	}
	if best == nil {
		best = away
	}
	if best != nil {
		g.next = best.place + 1
	}
	return best
}

// onlineBut reports whether another member is connected.
func (g *group) onlineBut(box *Mailbox) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.members {
		if s.box != box && s.box.online.Load() {
			return true
		}
	}
	return false
}
