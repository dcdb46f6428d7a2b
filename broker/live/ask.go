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
	if err != nil {
		return nil, err
	}
	blocks, err := h.blocksOf(ctx, []string{viewer})
	if err != nil {
		return nil, err
	}
	for i, user := range users {
		may[i] = may[i] && !has(blocks[0], user)
	}
	return may, nil
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
