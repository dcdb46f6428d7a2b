// Package live delivers what is not an entry: who types, how far members have
// read, who is there, and how many notifications are unread. All of it is
// state, of which only the newest counts. So nothing is queued: a session has
// a mailbox with one place for each state that it has yet to be told, and when
// its connection has room the state is written as it is then.
//
//	publish ──▶ room ──┐                 ┌── mail ── Pull ──▶ packets
//	log ── Watch ──▶ room ──▶ person ──▶ session
//	connects, ends ──▶ person ┘
//
// A room is a conversation that somebody connected here asks about. It follows
// the stream as a reader does, from a roster that was loaded once: so it knows
// its members at every seq, and stops where the log does. What a packet tells
// is decided when it is written, after the room has read what the log has: who
// was removed gets nothing more.
//
// A session that subscribes to nothing of this costs its entry here and
// nothing else: no rooms are kept for it.
//
// Lock order: Hub.mu, then locks of the log, then Hub.wakeMu. A Reader's locks
// come behind Hub.mu. Nothing is locked while the store is asked.
package live

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Log is what a Hub needs of the log. *bridge.Log has it.
type Log interface {
	Watch(stream chat.StreamID, w bridge.Watcher) *bridge.Watch
	WatchUser(user string, w bridge.UserWatcher) (stop func())
	Read(ctx context.Context, ranges []bridge.Range) ([][]*bridge.Item, error)
	Membership(ctx context.Context, conversation, user string) (bridge.Membership, error)
	MembershipsOf(ctx context.Context, users []string) ([][]bridge.Membership, error)
	Rosters(ctx context.Context, streams []chat.StreamID) ([]bridge.Roster, error)
	People(ctx context.Context, users []string) ([]bridge.Person, error)
	Acquainted(ctx context.Context, viewer string, users []string) ([]bool, error)
	SavePeople(ctx context.Context, people []bridge.Person) error
}

var _ Log = (*bridge.Log)(nil)

// Config is what a Hub needs. Log alone has no default.
type Config struct {
	Log        Log
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Now        func() time.Time      // time as data; waiting uses package time
	// Grace is how long a user counts as present after a connection was lost
	// (2 s); less than 0 is not at all.
	Grace time.Duration
	// Blocks answers for each user between whom and it a block stands, by
	// either: they do not see each other. nil: nobody blocks anybody.
	Blocks func(ctx context.Context, users []string) ([][]string, error)
	// Unread counts the unread notifications of each user. nil: there are
	// none to count, and nothing is delivered on users/<u>/unread.
	Unread func(ctx context.Context, users []string) ([]uint64, error)
}

// Hub is the state of all who are connected. All methods may be called from
// any goroutine.
type Hub struct {
	cfg     Config
	log     Log
	metrics *metrics
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	persons  map[string]*person
	rooms    map[string]*room
	epoch    uint32           // counts walks over persons, which leave it as their mark
	changes  uint64           // counts changes of membership
	toFollow []*person        // whose memberships are to be loaded
	toLoad   []*room          // that are not loaded, or behind
	toKnow   []*person        // of whom the store is to be asked when they were there last
	toCount  []*person        // whose unread notifications are to be counted
	toBlock  []*person        // whose blocks are to be read again
	recent   []*recent        // receipts that were delivered in the last second, the oldest first
	told     *time.Timer      // runs while there are some
	dirty    map[string]saved // what is to be saved of people
	saving   map[string]saved // what is being saved
	items    []*bridge.Item   // scratch
	topic    []byte           // scratch
	payload  []byte           // scratch

	wakeMu sync.Mutex
	woken  []*room
	joins  []joined

	work, load, save chan struct{} // have room for one: there is something to do
}

// New makes a Hub. Its goroutines run until Close.
func New(cfg Config) *Hub {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Grace == 0 {
		cfg.Grace = 2 * time.Second
	}
	h := &Hub{cfg: cfg, log: cfg.Log, metrics: newMetrics(cfg.Registerer),
		persons: make(map[string]*person), rooms: make(map[string]*room), dirty: make(map[string]saved),
		work: make(chan struct{}, 1), load: make(chan struct{}, 1), save: make(chan struct{}, 1)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.running.Go(h.serve)
	h.running.Go(h.loads)
	h.running.Go(h.saves)
	return h
}

// Close stops the hub and saves that all who are present were there until now.
// Sessions should be closed before. Nothing may be called after it but what
// sessions do when they end.
func (h *Hub) Close(ctx context.Context) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.running.Wait()
	h.mu.Lock()
	if h.told != nil {
		h.told.Stop()
	}
	now := h.now()
	for _, p := range h.persons {
		if p.status != chat.StatusOffline && !p.forgotten {
			p.lastSeen = now
			h.dirty[p.id] = saved{lastSeen: now}
		}
	}
	for _, r := range h.rooms {
		h.dropRoom(r)
	}
	h.mu.Unlock()
	return h.flush(ctx)
}

// now is the time in milliseconds since 1970.
func (h *Hub) now() int64 { return h.cfg.Now().UnixMilli() }

func (h *Hub) blocked(a, b *person) bool {
	return has(a.blocks, b.id) || has(b.blocks, a.id)
}

func has(sorted []string, id string) bool {
	if len(sorted) == 0 {
		return false
	}
	_, found := slices.BinarySearch(sorted, id)
	return found
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// serve brings rooms up to date that the log has news of, and makes rooms of
// conversations that somebody joined who asks about them.
func (h *Hub) serve() {
	var woken []*room
	var joins []joined
	for {
		select {
		case <-h.work:
		case <-h.ctx.Done():
			return
		}
		h.wakeMu.Lock()
		woken, h.woken = h.woken, woken[:0]
		joins, h.joins = h.joins, joins[:0]
		h.wakeMu.Unlock()
		for i, r := range woken {
			r.woken.Store(false) // before it reads: news that come now wake it again
			h.mu.Lock()
			h.catchUp(r)
			h.mu.Unlock()
			woken[i] = nil
		}
		for i, j := range joins {
			h.mu.Lock()
			h.joined(j)
			h.mu.Unlock()
			joins[i] = joined{}
		}
	}
}

// joined is told by the log: somebody who asks about its rooms has one more.
type joined struct {
	p            *person
	conversation string
}

// Joined implements bridge.UserWatcher.
func (p *person) Joined(conversation string, _ uint64) {
	h := p.hub
	h.wakeMu.Lock()
	h.joins = append(h.joins, joined{p, conversation})
	h.wakeMu.Unlock()
	signal(h.work)
}

func (h *Hub) joined(j joined) {
	if j.p.follow == notFollowed || h.closed {
		return
	}
	if r := h.rooms[j.conversation]; r != nil {
		h.catchUp(r) // it may have been deleted, and its id stand for another by now
	}
	h.room(j.conversation)
}

// metrics count what is delivered, by kind.
type metrics struct {
	delivered, coalesced, dropped [kinds]prometheus.Counter
	rooms, persons                prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"kind"})
		if reg != nil {
			reg.MustRegister(v)
		}
		return v
	}
	delivered := vec("parley_live_delivered_total", "Typing, receipts, presence and unread counts written to subscribers.")
	coalesced := vec("parley_live_coalesced_total", "Those that a newer one took the place of, or that said nothing new.")
	dropped := vec("parley_live_dropped_total", "Those that were dropped: typing to who does not read fast enough, and what is larger than the client's Maximum Packet Size.")
	m := &metrics{
		rooms: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_live_rooms",
			Help: "Conversations that are followed for typing, receipts and presence."}),
		persons: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_live_persons",
			Help: "Users whose presence is in memory: connected ones, and members of those conversations."}),
	}
	for k, name := range kindNames {
		m.delivered[k], m.coalesced[k] = delivered.WithLabelValues(name), coalesced.WithLabelValues(name)
		m.dropped[k] = dropped.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(m.rooms, m.persons)
	}
	return m
}
