package live

import (
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

// receiptEvery is how often a member's receipts are told in a conversation.
const receiptEvery = time.Second

// recent is a member whose receipt was told within receiptEvery.
type recent struct {
	room *room
	who  *person
	told time.Time
	last bridge.Receipt  // that was told
	next *bridge.Receipt // to be told then, or nil
}

// ReceiptMoved implements bridge.ReceiptObserver.
func (h *Hub) ReceiptMoved(rc bridge.Receipt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[rc.Conversation]
	if r == nil || h.closed {
		return
	}
	h.catchUp(r)
	if !r.loaded {
		if !r.gone() {
			r.early = append(r.early, rc)
		}
		return
	}
	// A room that is behind tells it when it has caught up: see fate.
	if p := h.persons[rc.UserID]; p != nil && p.in(r) {
		h.receipt(r, p, rc)
	}
}

// receipt has the members told of a receipt, at once or when that is due.
func (h *Hub) receipt(r *room, p *person, rc bridge.Receipt) {
	if r.gone() || h.closed {
		return
	}
	now := time.Now()
	if c := r.recent[p]; c != nil {
		before := &c.last // they may come in any order, and never go back
		if c.next != nil {
			before = c.next
		}
		rc.Read, rc.Delivered = max(rc.Read, before.Read), max(rc.Delivered, before.Delivered)
		if rc.Read > before.Read || rc.Delivered > before.Delivered {
			c.next = &rc
		}
		h.metrics.coalesced[kindReceipt].Inc()
		return
	}
	if !h.tellReceipt(r, p, &rc) {
		return
	}
	c := &recent{room: r, who: p, told: now, last: rc}
	if r.recent == nil {
		r.recent = make(map[*person]*recent)
	}
	r.recent[p] = c
	h.later(c)
}

// later looks at a receipt again when another may be told.
func (h *Hub) later(c *recent) {
	if h.recent = append(h.recent, c); len(h.recent) > 1 {
		return
	}
	wait := time.Until(c.told.Add(receiptEvery))
	if h.told == nil {
		h.told = time.AfterFunc(wait, h.tellLater)
		return
	}
	h.told.Reset(wait)
}

// tellLater tells the receipts that are due. All wait equally long, so the
// first in the list is the first that is.
func (h *Hub) tellLater() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	n := 0
	var again []*recent
	for ; n < len(h.recent) && !h.closed; n++ {
		c := h.recent[n]
		if left := c.told.Add(receiptEvery).Sub(now); left > 0 {
			break
		}
		if c.room.gone() || c.room.recent[c.who] != c {
			continue
		}
		if c.next == nil || !h.tellReceipt(c.room, c.who, c.next) {
			if delete(c.room.recent, c.who); len(c.room.recent) == 0 {
				c.room.recent = nil
			}
			continue
		}
		c.told, c.last, c.next = now, *c.next, nil
		again = append(again, c)
	}
	left := copy(h.recent, h.recent[n:])
	clear(h.recent[left:])
	h.recent = append(h.recent[:left], again...)
	if len(h.recent) > 0 && !h.closed {
		h.told.Reset(max(0, h.recent[0].told.Add(receiptEvery).Sub(now)))
	}
}

// dropReceipt has nobody told any more of the receipts of who leaves: one who
// joins again has read up to the new join.
func (h *Hub) dropReceipt(r *room, p *person) {
	delete(r.recent, p)
	k := key{kind: kindReceipt, room: r, who: p}
	for _, f := range r.fans {
		for _, s := range f.sessions {
			if s.mail != nil {
				s.mail.void(k)
			}
		}
	}
}

// tellReceipt tells the members of a receipt. It is false when nobody asks.
func (h *Hub) tellReceipt(r *room, p *person, rc *bridge.Receipt) (told bool) {
	it := item{key: key{kind: kindReceipt, room: r, who: p}, receipt: rc}
	for _, f := range r.fans {
		if f.wants&(allReceipts|someReceipts) == 0 {
			continue
		}
		for _, s := range f.sessions {
			if s.wantsOfRoom(kindReceipt, r) {
				s.put(it)
				told = true
			}
		}
	}
	return told
}
