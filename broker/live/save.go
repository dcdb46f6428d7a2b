package live

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// saved is what the store keeps of a person.
type saved struct {
	online   bool
	lastSeen int64
}

// saveEvery is how long a change of presence waits for others before it is
// saved with them.
const saveEvery = 250 * time.Millisecond

// keep has a person saved.
func (h *Hub) keep(p *person) {
	if p.forgotten && p.status == chat.StatusOffline {
		p.lastSeen = 0
		return
	}
	p.forgotten = false
	h.dirty[p.id] = saved{p.status != chat.StatusOffline, p.lastSeen}
	signal(h.save)
}

// Forget has nothing saved of when a user was here, until it is here again. What
// is saved already is the caller's to remove.
func (h *Hub) Forget(user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.dirty, user)
	if p := h.persons[user]; p != nil {
		p.forgotten, p.lastSeen = true, 0
	}
}

// seen is when somebody was here last: as the store said, unless something
// newer is on its way there.
func (h *Hub) seen(user string, stored time.Time) int64 {
	for _, m := range []map[string]saved{h.dirty, h.saving} {
		if s, ok := m[user]; ok {
			return s.lastSeen
		}
	}
	if stored.IsZero() {
		return 0
	}
	return stored.UnixMilli()
}

// saves saves what has changed, again and again.
func (h *Hub) saves() {
	for {
		select {
		case <-h.save:
		case <-h.ctx.Done():
			return
		}
		t := time.NewTimer(saveEvery)
		select {
		case <-t.C:
		case <-h.ctx.Done():
			t.Stop()
			return
		}
		if err := h.flush(h.ctx); err != nil && h.ctx.Err() == nil {
			h.cfg.Logger.Warn("saving presence failed, will be tried again", "error", err)
			h.pause()
			signal(h.save)
		}
	}
}

// flush saves what has changed. What could not be saved is kept for the next.
func (h *Hub) flush(ctx context.Context) error {
	const most = 1000 // people in one call
	for {
		h.mu.Lock()
		batch := make(map[string]saved)
		for user, s := range h.dirty {
			if len(batch) == most {
				break
			}
			batch[user] = s
			delete(h.dirty, user)
		}
		h.saving = batch
		h.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		people := make([]bridge.Person, 0, len(batch))
		for user, s := range batch {
			p := bridge.Person{UserID: user, Online: s.online}
			if s.lastSeen != 0 {
				p.LastSeen = time.UnixMilli(s.lastSeen)
			}
			people = append(people, p)
		}
		one, cancel := context.WithTimeout(ctx, askTimeout)
		err := h.log.SavePeople(one, people)
		cancel()
		h.mu.Lock()
		h.saving = nil
		if err != nil {
			for user, s := range batch {
				if _, newer := h.dirty[user]; !newer {
					h.dirty[user] = s
				}
			}
		}
		h.mu.Unlock()
		if err != nil {
			return err
		}
	}
}
