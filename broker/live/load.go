package live

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// What one call to the store is asked for.
	personsAtOnce = 256
	roomsAtOnce   = 64
	entriesAtOnce = 500
	// loadRetry is after how long the store is asked again that failed.
	loadRetry = 500 * time.Millisecond
)

// errEnded ends the wait for rooms of a session that is over.
var errEnded = errors.New("the session has ended")

// loads asks the store for what the hub lacks, one goroutine for all: so ten
// thousand users who come at once cost some hundred calls.
func (h *Hub) loads() {
	for {
		select {
		case <-h.load:
		case <-h.ctx.Done():
			return
		}
		for more := true; more && h.ctx.Err() == nil; {
			var err error
			if more, err = h.loadSome(); err != nil && h.ctx.Err() == nil {
				h.cfg.Logger.Warn("loading conversations failed, will be tried again", "error", err)
				h.pause()
			}
		}
	}
}

func (h *Hub) pause() {
	t := time.NewTimer(loadRetry)
	defer t.Stop()
	select {
	case <-t.C:
	case <-h.ctx.Done():
	}
}

// cut takes at most n out of a queue.
func cut[T any](queue *[]T, n int) []T {
	q := *queue
	if len(q) <= n {
		*queue = nil
		return q
	}
	*queue = q[n:]
	return q[:n:n]
}

// followOf is a person whose rooms are to be loaded, as it was when that began.
type followOf struct {
	*person
	gen      uint16
	blockGen uint32
}

// loadSome does a part of what is to be loaded. more says that there is more.
func (h *Hub) loadSome() (more bool, err error) {
	h.mu.Lock()
	var follows []followOf
	for _, p := range cut(&h.toFollow, personsAtOnce) {
		if p.follow == following {
			follows = append(follows, followOf{p, p.gen, p.blockGen})
		}
	}
	h.mu.Unlock()
	if err = h.loadMemberships(follows); err == nil {
		err = h.loadRooms()
	}
	h.followedNow(follows, err)
	if err == nil {
		err = h.loadPeople()
	}
	if err == nil {
		err = h.countUnread()
	}
	if err == nil {
		err = h.loadBlocks()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.toFollow)+len(h.toLoad)+len(h.toKnow)+len(h.toCount)+len(h.toBlock) > 0, err
}

// loadMemberships makes rooms of the conversations that people are members of.
func (h *Hub) loadMemberships(follows []followOf) error {
	if len(follows) == 0 {
		return nil
	}
	users := make([]string, len(follows))
	for i, f := range follows {
		users[i] = f.id
	}
	ctx, cancel := context.WithTimeout(h.ctx, askTimeout)
	defer cancel()
	all, err := h.log.MembershipsOf(ctx, users)
	if err != nil {
		return err
	}
	blocks, err := h.blocksOf(ctx, users)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, f := range follows {
		if f.follow == following && f.gen == f.person.gen {
			if f.blockGen != f.person.blockGen { // what was told meanwhile stands until it is looked up
				blocks[i] = append(blocks[i], f.blocks...)
				slices.Sort(blocks[i])
				blocks[i] = slices.Compact(blocks[i])
			}
			f.blocks = blocks[i]
		}
		for _, m := range all[i] {
			if m.Role != chat.RoleNone && f.follow == following && f.gen == f.person.gen {
				h.room(m.Conversation)
			}
		}
	}
	return nil
}

// followedNow ends the wait for people's rooms.
func (h *Hub) followedNow(follows []followOf, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range follows {
		p := f.person
		if p.follow != following || p.gen != f.gen {
			continue
		}
		l := p.loading
		l.err = err
		close(l.done)
		if err != nil {
			p.loading = &loading{done: make(chan struct{})}
			h.toFollow = append(h.toFollow, p)
			continue
		}
		p.loading, p.follow = nil, followed
		for _, s := range p.sessions {
			if s.missed && !s.gone {
				h.catchUpMail(s)
			}
		}
	}
}

// loadRooms loads rooms that are new, and brings those up to date that memory
// does not reach. What fails is queued again.
func (h *Hub) loadRooms() error {
	for h.ctx.Err() == nil {
		h.mu.Lock()
		var fresh, behind []*room
		for _, r := range cut(&h.toLoad, roomsAtOnce) {
			switch {
			case r.gone():
			case r.loaded:
				behind = append(behind, r)
			default:
				fresh = append(fresh, r)
			}
		}
		h.mu.Unlock()
		if len(fresh)+len(behind) == 0 {
			return nil
		}
		err := h.loadRosters(fresh)
		if err == nil {
			err = h.readOn(behind)
		}
		if err != nil {
			h.mu.Lock()
			for _, r := range append(fresh, behind...) {
				if !r.gone() && (!r.loaded || r.behind) {
					h.toLoad = append(h.toLoad, r)
				}
			}
			h.mu.Unlock()
			return err
		}
	}
	return h.ctx.Err()
}

func (h *Hub) loadRosters(rooms []*room) error {
	if len(rooms) == 0 {
		return nil
	}
	streams := make([]chat.StreamID, len(rooms))
	for i, r := range rooms {
		streams[i] = chat.ConversationStream(r.id)
	}
	ctx, cancel := context.WithTimeout(h.ctx, askTimeout)
	defer cancel()
	rosters, err := h.log.Rosters(ctx, streams)
	if err != nil {
		return err
	}
	for i, r := range rooms { // each for itself: a roster may be long
		h.mu.Lock()
		h.fill(r, rosters[i])
		h.mu.Unlock()
	}
	return nil
}

// errStuck says that the log knows of entries that the store does not have: a
// conversation was deleted, as will be known soon.
var errStuck = errors.New("a conversation has fewer entries than was known")

// readOn reads entries that memory does not hold.
func (h *Hub) readOn(rooms []*room) error {
	if len(rooms) == 0 {
		return nil
	}
	ranges := make([]bridge.Range, len(rooms))
	h.mu.Lock()
	for i, r := range rooms {
		ranges[i] = bridge.Range{Stream: chat.ConversationStream(r.id), After: r.pos, Limit: entriesAtOnce}
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.ctx, askTimeout)
	defer cancel()
	read, err := h.log.Read(ctx, ranges)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, r := range rooms {
		if !r.gone() && len(read[i]) > 0 && read[i][0].Seq != r.pos+1 {
			h.reload(r) // what lay between is kept no more
			continue
		}
		for _, it := range read[i] {
			if !r.gone() {
				h.apply(r, &it.Entry)
			}
		}
		if r.gone() {
			continue
		}
		if len(read[i]) < entriesAtOnce {
			r.watch.Learn(r.pos)
		}
		if r.behind = false; h.catchUp(r) {
			h.current(r)
		} else if len(read[i]) == 0 && !r.gone() {
			err = errStuck
		}
	}
	return err
}

// askAbout asks the store about people who waited in a queue, and takes its
// answers with the hub locked. Where it fails, they wait again.
func askAbout[T any](h *Hub, queue *[]*person, people []*person,
	ask func(ctx context.Context, users []string) ([]T, error), take func(i int, p *person, answer T)) error {
	if len(people) == 0 {
		return nil
	}
	users := make([]string, len(people))
	for i, p := range people {
		users[i] = p.id
	}
	ctx, cancel := context.WithTimeout(h.ctx, askTimeout)
	defer cancel()
	answers, err := ask(ctx, users)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		*queue = append(*queue, people...)
		return err
	}
	for i, p := range people {
		take(i, p, answers[i])
	}
	return nil
}

// loadPeople finds out when people were here last who joined a room.
func (h *Hub) loadPeople() error {
	h.mu.Lock()
	people := cut(&h.toKnow, personsAtOnce)
	h.mu.Unlock()
	return askAbout(h, &h.toKnow, people, h.log.People, func(_ int, p *person, known bridge.Person) {
		if p.unknown {
			p.unknown, p.lastSeen = false, h.seen(p.id, known.LastSeen)
			h.announce(p)
		}
	})
}

// Recount has the unread notifications of users counted again, because they
// have changed.
func (h *Hub) Recount(users ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, user := range users {
		if p := h.persons[user]; p != nil && p.wants&unread != 0 {
			h.count(p)
		}
	}
}

// count has the unread notifications of a user counted.
func (h *Hub) count(p *person) {
	if h.cfg.Unread != nil {
		h.toCount = append(h.toCount, p)
		signal(h.load)
	}
}

// countUnread counts, and tells the users. One goroutine counts, so that an
// older count never replaces a newer one.
func (h *Hub) countUnread() error {
	h.mu.Lock()
	h.epoch++
	var people []*person
	for _, p := range cut(&h.toCount, personsAtOnce) {
		if p.mark != h.epoch {
			p.mark = h.epoch
			people = append(people, p)
		}
	}
	h.mu.Unlock()
	return askAbout(h, &h.toCount, people, h.cfg.Unread, func(_ int, p *person, count uint64) {
		p.unread = &count
		for _, s := range p.sessions {
			if s.wants&unread != 0 && (s.asksUnread || s.toldUnread == nil || *s.toldUnread != count) {
				s.put(item{key: key{kind: kindUnread}, retain: s.asksUnread})
				s.asksUnread = false
			}
		}
	})
}
