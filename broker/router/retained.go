package router

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
)

// retains is what memory knows of retained messages: how many there are, and,
// while sessions are being sent some, which topics have changed. The messages
// are in the store alone.
type retains struct {
	r  *Router
	mu sync.Mutex
	// count and size may be too high, for who replaces a message counts
	// again: they are asked for anew before anything is refused.
	messages, bytes int64
	full            bool // when they were counted, there was no room
	counted         time.Time
	counting        bool

	// order is held by who changes something, from before it is matched until
	// it is on its way, and for a moment by who subscribes or begins a page:
	// so each change is either in the page or after it. It comes before
	// Mailbox.mu in the lock order.
	order sync.RWMutex

	gen    uint64            // goes up with each change
	floor  uint64            // pages that began below it know too little
	pages  int               // replays under way
	topics map[string]uint64 // that have changed, while pages > 0, and when
}

// maxChanged bounds topics.
const maxChanged = 10_000

func (t *retains) init(r *Router) { t.r, t.topics = r, make(map[string]uint64) }

// count asks the store how much is retained.
func (t *retains) count(ctx context.Context) error {
	n, bytes, err := t.r.cfg.Store.CountRetained(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counting, t.counted = false, time.Now()
	if err == nil {
		t.messages, t.bytes = n, bytes
		t.full = !t.below()
	}
	return err
}

func (t *retains) below() bool {
	return t.messages < t.r.cfg.RetainedMessages && t.bytes < t.r.cfg.RetainedBytes
}

// fits reports whether another message may be retained. While it is not known
// it may: what is too much by then is what comes in the time of one count.
func (t *retains) fits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.below() {
		return true
	}
	if !t.counting && time.Since(t.counted) > time.Second {
		t.counting = true
		t.r.running.Go(func() {
			ctx, cancel := context.WithTimeout(t.r.ctx, storeTimeout)
			defer cancel()
			if err := t.count(ctx); err != nil && t.r.ctx.Err() == nil {
				t.r.cfg.Logger.Warn("counting retained messages failed", "error", err)
			}
		})
	}
	return !t.full
}

func (t *retains) add(messages, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages, t.bytes = t.messages+messages, t.bytes+bytes
}

// changing notes that what is retained for a topic is about to change, before
// anybody is sent the new message: none is sent an older one after it. Until
// changed no page begins.
func (t *retains) changing(m *Message) {
	t.order.RLock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(m.Payload) > 0 {
		t.messages++
		t.bytes += int64(m.Size())
	}
	t.gen++
	if t.pages == 0 {
		return
	}
	if len(t.topics) >= maxChanged {
		clear(t.topics)
		t.floor = t.gen
	}
	t.topics[m.Topic] = t.gen
}

// changed ends what changing began.
func (t *retains) changed() { t.order.RUnlock() }

// page knows what has changed since gen: whoever subscribed then gets that
// anyway.
type page struct {
	t    *retains
	gen  uint64
	over bool
}

func (t *retains) begin() *page {
	t.order.Lock()
	defer t.order.Unlock()
	return t.beginNow()
}

// beginNow begins a page. order is held.
func (t *retains) beginNow() *page {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pages++
	return &page{t: t, gen: t.gen}
}

// renew ends a page and begins another: what was read under it is read again.
func (p *page) renew() *page {
	next := p.t.begin()
	p.end()
	return next
}

func (p *page) end() {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.over {
		return
	}
	p.over = true
	if p.t.pages--; p.t.pages == 0 {
		clear(p.t.topics)
	}
}

// stale reports whether the topic may have got another message since: its
// subscribers get that one anyway. A page that is over is read again.
func (p *page) stale(topic string) bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return p.over || p.t.topics[topic] > p.gen
}

// void reports whether nothing is known any more about what has changed.
func (p *page) void() bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return p.over || p.gen < p.t.floor
}

func (p *page) ended() bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return p.over
}

// replay is a subscription on whose account retained messages are being sent.
// A place in the order of topics is all that is kept of it, so that a session
// that takes its time costs no memory.
type replay struct {
	filter   string
	from, to string // topics yet to be looked at
	exact    bool
	qos      byte
	subIDs   []uint32
	page     *page // since before the subscription was there; nil while the session is away
	waits    bool  // for Replay
	failed   bool  // the store failed at the last page
}

// expect makes a replay that waits for Replay. b.mu and retains.order are held.
func (b *Mailbox) expect(s bridge.Subscription) {
	rp := newReplay(s)
	rp.page, rp.waits = b.r.retains.beginNow(), true
	b.endReplay(s.Filter)
	b.replays = append(b.replays, rp)
}

// Replay has the retained messages of a subscription sent [MQTT-3.3.1-9],
// beginning when the mailbox is pulled. It is called after Subscribe, when the
// client knows of its subscription.
func (b *Mailbox) Replay(filter string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, rp := range b.replays {
		if rp.filter == filter {
			rp.waits = false
		}
	}
	if b.reader != nil {
		b.reader.Wake()
	}
}

func newReplay(s bridge.Subscription) *replay {
	rp := &replay{filter: s.Filter, qos: s.QoS}
	if s.ID != 0 {
		rp.subIDs = []uint32{s.ID}
	}
	if wild := strings.IndexAny(s.Filter, "+#"); wild < 0 {
		rp.exact = true
	} else {
		// a/# takes a too, so the slash before the wildcard does not count.
		rp.from = strings.TrimSuffix(s.Filter[:wild], "/")
		if rp.from != "" {
			rp.to = after(rp.from)
		}
	}
	return rp
}

// endReplay ends the replay of a filter, or all with "". b.mu is held.
func (b *Mailbox) endReplay(filter string) {
	b.replays = slices.DeleteFunc(b.replays, func(rp *replay) bool {
		over := filter == "" || rp.filter == filter
		if over {
			rp.pause()
		}
		return over
	})
	if len(b.replays) == 0 {
		b.replays = nil
	}
}

// pause forgets what has changed. b.mu is held.
func (rp *replay) pause() {
	if rp.page != nil {
		rp.page.end()
		rp.page = nil
	}
}

// nextReplay is the replay whose turn it is, or nil. b.mu is held.
func (b *Mailbox) nextReplay() *replay {
	for _, rp := range b.replays {
		if !rp.waits {
			return rp
		}
	}
	return nil
}

// after is the least string above all that begin with prefix, "" if there is
// none.
func after(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xFF {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}

// pageSize is how many retained messages are read at once.
const pageSize = 64

// replay reads the next retained messages of the first replay and gives them
// to the mailbox.
func (b *Mailbox) replay(ctx context.Context) {
	err := b.replayPage(ctx)
	if err != nil {
		b.r.pause(loadRetry)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replaying = false
	if b.reader != nil {
		b.reader.Wake()
	}
}

func (b *Mailbox) replayPage(ctx context.Context) error {
	b.mu.Lock()
	this := b.nextReplay()
	if this == nil || b.reader == nil {
		b.mu.Unlock()
		return nil
	}
	rp := *this
	b.mu.Unlock()

	// A new page after a failure: of the last one some may be on their way.
	var pg *page
	switch {
	case rp.page == nil:
		pg = b.r.retains.begin()
	case rp.failed || rp.page.void():
		pg = rp.page.renew()
	default:
		pg = rp.page
	}
	next, err := b.replayFrom(ctx, &rp, pg)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.replays, this) || b.reader == nil {
		pg.end()
		return err
	}
	if err == nil && pg.ended() { // the session was away for a moment
		err = errVoid
	}
	this.page, this.failed = pg, err != nil
	if err != nil {
		return err
	}
	if this.from = next; next == "" {
		b.endReplay(this.filter)
	}
	return nil
}

// errVoid has a page read again, under another one.
var errVoid = errors.New("too much has changed")

// replayFrom gives the mailbox the retained messages of a page, and answers
// where the next one begins, "" if there is none.
func (b *Mailbox) replayFrom(ctx context.Context, rp *replay, pg *page) (next string, err error) {
	if err := b.r.Sync(ctx); err != nil { // what was published before must be there
		return "", err
	}
	found, next, err := b.read(ctx, rp)
	if err != nil {
		return "", err
	}
	if pg.void() {
		return "", errVoid
	}
	for i := range found {
		if b.r.forgets(&found[i]) {
			continue
		}
		b.takeRetained(&Message{Message: found[i], Retain: true}, rp, pg)
	}
	if b.durable {
		err = b.r.Sync(ctx)
	}
	return next, err
}

// read answers the retained messages of a page that the filter takes, and
// where the next page begins, "" if there is none.
func (b *Mailbox) read(ctx context.Context, rp *replay) (found []bridge.Message, next string, err error) {
	store, now := b.r.cfg.Store, b.r.cfg.Now()
	b.r.metrics.storeReads.Inc()
	if rp.exact {
		one, err := store.RetainedOn(ctx, now, []string{rp.filter})
		if err != nil || one[0] == nil {
			return nil, "", err
		}
		return []bridge.Message{*one[0]}, "", nil
	}
	rows, err := store.Retained(ctx, now, rp.from, rp.to, pageSize)
	if err != nil {
		return nil, "", err
	}
	if len(rows) == pageSize {
		next = rows[pageSize-1].Topic + "\x00"
	}
	for i := range rows {
		if acl.Match(rp.filter, rows[i].Topic) {
			found = append(found, rows[i])
		}
	}
	return found, next, nil
}

// takeRetained gives the mailbox one retained message.
func (b *Mailbox) takeRetained(m *Message, rp *replay, pg *page) {
	t := target{box: b, qos: min(m.QoS, rp.qos), retain: true, subIDs: rp.subIDs}
	if t.stored() {
		b.r.spool.put(&Publication{r: b.r, Message: m, targets: []target{t}, page: pg})
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || b.reader == nil || pg.stale(m.Topic) {
		return
	}
	d := delivery{m: m, qos: t.qos, retain: true, subIDs: t.subIDs, size: m.Size()}
	if t.qos == 0 {
		b.zero.push(d) // one page at a time: its bound is pageSize
		b.zeroBytes += d.size
		return
	}
	b.takeQueued(d)
}
