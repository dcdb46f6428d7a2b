package live

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// MaySee answers for each user whether viewer may see how present it is. It
// asks the store.
func (h *Hub) MaySee(ctx context.Context, viewer string, users []string) ([]bool, error) {
	may, err := h.log.Acquainted(ctx, viewer, users)
	if err == nil && h.cfg.Blocked != nil {
		for i, user := range users {
			may[i] = may[i] && (user == viewer || !h.cfg.Blocked(viewer, user))
		}
	}
	return may, err
}

// Presence answers how present users are, those that viewer may see; all may
// see everybody. It serves users too of whom nothing is in memory.
func (h *Hub) Presence(ctx context.Context, viewer string, all bool, users []string) ([]chat.Presence, error) {
	var seen []string
	if all {
		seen = users
	} else {
		may, err := h.MaySee(ctx, viewer, users)
		if err != nil {
			return nil, err
		}
		for i, user := range users {
			if may[i] {
				seen = append(seen, user)
			}
		}
	}
	kept, err := h.log.People(ctx, seen)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]chat.Presence, len(seen))
	asker := h.persons[viewer]
	for i, user := range seen {
		if p := h.persons[user]; p != nil && !p.unknown && (p.status != chat.StatusOffline || p.lastSeen != 0 || p == asker) {
			list[i] = p.as(asker)
			continue
		}
		list[i].UserID = user
		if at := h.seen(user, kept[i].LastSeen); at != 0 {
			list[i].LastSeen = time.UnixMilli(at)
		}
	}
	return list, nil
}

// Block is to be called when what Config.Blocked answers of two users has
// changed: from then on they see each other as offline, or as they are.
func (h *Hub) Block(a, b string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, two := h.persons[a], h.persons[b]
	if one == nil || two == nil || one == two {
		return
	}
	for _, pair := range [][2]*person{{one, two}, {two, one}} {
		for _, s := range pair[1].sessions {
			if s.wantsPresence(pair[0]) {
				s.put(item{key: key{kind: kindPresence, who: pair[0]}, hidden: h.blocked(one, two)})
			}
		}
	}
}
