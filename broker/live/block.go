package live

import (
	"context"
	"slices"
)

// blocksOf asks between whom and each user a block stands.
func (h *Hub) blocksOf(ctx context.Context, users []string) ([][]string, error) {
	if h.cfg.Blocks == nil {
		return make([][]string, len(users)), nil
	}
	blocks, err := h.cfg.Blocks(ctx, users)
	for _, list := range blocks {
		slices.Sort(list)
	}
	return blocks, err
}

// BlocksChanged is to be called when the blocks between two users have
// changed. One that stands holds at once; that none stands any more is looked
// up, for of two changes at the same time either may be told last.
func (h *Hub) BlocksChanged(a, b string, blocked bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, two := h.persons[a], h.persons[b]
	for _, p := range []*person{one, two} {
		if p != nil {
			p.blockGen++
		}
	}
	if blocked && one != nil && two != nil && one != two && !h.blocked(one, two) {
		h.part(one, two)
		h.part(two, one)
	}
	for _, p := range []*person{one, two} {
		if p != nil && p.follow != notFollowed && h.cfg.Blocks != nil {
			h.toBlock = append(h.toBlock, p)
			signal(h.load)
		}
	}
}

// part notes a block, and has a user told that the other has gone, and types
// no more.
func (h *Hub) part(p, other *person) {
	if p.follow == notFollowed {
		return
	}
	at, found := slices.BinarySearch(p.blocks, other.id)
	if !found {
		p.blocks = slices.Insert(slices.Clip(p.blocks), at, other.id)
	}
	for _, s := range p.sessions {
		if s.wantsPresence(other) {
			s.put(item{key: key{kind: kindPresence, who: other}, hidden: true})
		}
		for _, r := range other.rooms {
			if r.typist(other) != nil && p.in(r) && s.wantsOfRoom(kindTyping, r) {
				s.put(item{key: key{kind: kindTyping, room: r, who: other}, hidden: true})
			}
		}
	}
}

// loadBlocks reads again what stands between users, and tells them what that
// changes.
func (h *Hub) loadBlocks() error {
	h.mu.Lock()
	people := cut(&h.toBlock, personsAtOnce)
	asked := make([]uint32, len(people))
	for i, p := range people {
		asked[i] = p.blockGen
	}
	h.mu.Unlock()
	return askAbout(h, &h.toBlock, people, h.blocksOf, func(i int, p *person, blocks []string) {
		if p.follow == notFollowed || p.blockGen != asked[i] { // it is in toBlock again
			return
		}
		before := p.blocks
		p.blocks = blocks
		for _, id := range blocks {
			if other := h.persons[id]; other != nil && !has(before, id) {
				h.part(p, other)
			}
		}
		for _, id := range before {
			if other := h.persons[id]; other != nil && !has(blocks, id) {
				h.show(other, p) // both: the one that is looked at last tells them
				h.show(p, other)
			}
		}
	})
}
