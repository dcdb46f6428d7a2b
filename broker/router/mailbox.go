package router

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

// Mailbox is what a session gets on ordinary topics: its subscriptions and
// the messages on their way to it. That of a durable session lives on while
// the session has no connection; it costs some hundred bytes then, however
// much waits in the store.
//
// All methods may be called from any goroutine, but Pull from one at a time.
type Mailbox struct {
	r       *Router
	key     bridge.SessionKey
	durable bool
	online  atomic.Bool
	waiting atomic.Int64 // deliveries at QoS 1 and 2 in memory
	room    atomic.Int64 // how many of them the client takes at once

	mu      sync.Mutex
	reader  Reader // nil while there is no connection
	gone    bool   // the session has ended
	expires time.Time
	subs    map[string]*subscription

	// Deliveries at QoS 1 and 2. Those of a durable session are in the store
	// too, and memory holds what comes next.
	next      uint64 // the number given last
	sent      uint64 // the highest number that was sent, also to a connection before
	count     int    // in memory or not
	bytes     int64
	flight    fifo[delivery] // sent, not done
	flying    int            // bytes of the messages in flight
	pending   fifo[delivery] // to be sent
	weight    int            // bytes in pending
	last      uint64         // the highest number that came into memory
	committed uint64         // the highest number that is in the store
	behind    bool           // the store has some after last
	unsure    bool           // count may be wrong, and the store may lag: a commit has failed
	loading   bool
	trimming  bool

	zero      fifo[delivery] // at QoS 0, to be sent
	zeroBytes int
	replays   []*replay
	replaying bool
}

// Reader is the connection of a mailbox. Its methods are called with the
// mailbox locked: they must not block nor call it.
type Reader interface {
	Wake()            // there is something to Pull
	Pubrel(id uint16) // answer a PUBREC: what it says is kept
	Failed(err error) // the store failed: the connection cannot go on
}

// delivery is a message on its way to one session.
type delivery struct {
	m      *Message // nil once released
	n      uint64
	qos    byte
	retain bool
	state  state
	stored bool // it was read from the store
	size   int
	subIDs []uint32
	share  *group
}

type state uint8

const (
	queued   state = iota
	sent           // PUBLISH
	received       // PUBREC came, and is being stored
	released       // PUBREL was sent, or is to be
	done
)

const (
	// memMessages and memBytes bound what memory holds for a durable session
	// that is connected; the rest is read from the store in its turn.
	memMessages = 256
	memBytes    = 512 << 10
	// maxFlying bounds the bytes that are sent and not acknowledged: messages
	// may be so large that their number says little. One more may be above it.
	maxFlying = 4 << 20
	// maxZeroBytes bounds what waits at QoS 0 for one session.
	maxZeroBytes = 1 << 20
)

// Open answers a new mailbox for a session that is connected now and has none.
// window is how many deliveries the client takes at once.
func (r *Router) Open(key bridge.SessionKey, durable bool, window int, reader Reader) *Mailbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &Mailbox{r: r, key: key, durable: durable}
	if old := r.boxes[key]; old != nil { // of a session that is over, and was not swept yet
		old.mu.Lock()
		old.retire()
		b.next, b.sent = old.next, old.next // what it acknowledged is none of ours
		old.mu.Unlock()
	}
	r.boxes[key] = b
	b.attach(window, reader)
	return b
}

// Resume answers the mailbox of a session that is connected again, nil if it
// has none.
func (r *Router) Resume(key bridge.SessionKey, window int, reader Reader) *Mailbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.boxes[key]
	if b != nil {
		b.attach(window, reader)
	}
	return b
}

func (b *Mailbox) attach(window int, reader Reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reader, b.expires = reader, time.Time{}
	b.room.Store(int64(window))
	b.behind = b.count > 0 || b.unsure
	b.last = 0
	b.online.Store(true)
}

// Subscribe adds a subscription or replaces that with the same filter. What is
// retained is sent from Replay on, if replay says so: it and what is published
// meanwhile come once.
func (b *Mailbox) Subscribe(s bridge.Subscription, replay bool) {
	if replay {
		// So no message is changing what is retained and does not know of the
		// subscription.
		b.r.retains.order.Lock()
		defer b.r.retains.order.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return
	}
	if replay {
		b.expect(s)
	}
	old := b.subs[s.Filter]
	if b.subs == nil {
		b.subs = make(map[string]*subscription)
	}
	sub := &subscription{box: b, filter: s.Filter, qos: s.QoS,
		noLocal: s.NoLocal, asPublished: s.RetainAsPublished}
	if s.ID != 0 {
		sub.ids = []uint32{s.ID}
	}
	if old == nil {
		b.r.index.add(sub)
	} else {
		b.r.index.replace(old, sub)
	}
	b.subs[s.Filter] = sub
}

// Unsubscribe removes a subscription. What is on its way still comes.
func (b *Mailbox) Unsubscribe(filter string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.subs[filter]; s != nil {
		b.r.index.remove(s)
		delete(b.subs, filter)
	}
	b.endReplay(filter)
}

// takeBack takes back a delivery that was refused, though the store may have
// kept it. One that was moved must be found where it is: it may have gone from
// its old place.
func (b *Mailbox) takeBack(n uint64, size int, moved bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsure = true
	switch {
	case b.gone:
	case b.reader != nil && n <= b.last: // it was read from the store, and is on its way
		b.count++
		b.bytes += int64(size)
	case moved && b.reader != nil:
		b.behind = true
		b.reader.Wake()
	case !moved:
		b.r.spool.done(bridge.DeliveryKey{Key: b.key, N: n})
	}
}

// take gives the mailbox a message. For a durable session at QoS 1 and 2 it is
// in the store already, under t.n. It is false when the session has ended.
func (b *Mailbox) take(t *target, m *Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || b.reader == nil && !b.durable {
		return false
	}
	d := delivery{m: m, n: t.n, qos: t.qos, retain: t.retain, subIDs: t.subIDs, share: t.share, size: m.Size()}
	switch {
	case t.qos == 0:
		b.takeZero(d)
	case b.durable:
		b.takeStored(d)
	default:
		b.takeQueued(d)
	}
	return true
}

func (b *Mailbox) takeZero(d delivery) {
	if b.reader == nil {
		return
	}
	if b.zeroBytes+d.size > maxZeroBytes && b.zero.len() > 0 {
		b.r.metrics.drop("slow reader", 1)
		return
	}
	b.zero.push(d)
	b.zeroBytes += d.size
	if b.zero.len() == 1 {
		b.reader.Wake()
	}
}

// takeStored takes what the store has.
func (b *Mailbox) takeStored(d delivery) {
	b.count++
	b.bytes += int64(d.size)
	b.committed = d.n
	if b.full() {
		b.trimSoon()
	}
	if b.reader == nil {
		return
	}
	switch {
	case d.n <= b.last: // it was read from the store meanwhile
		return
	case b.behind, b.pending.len() >= memMessages, b.weight > memBytes:
		b.behind = true
	default:
		b.last = d.n
		b.push(d)
	}
	if b.pending.len() <= 1 { // else it was woken, or the client takes no more
		b.reader.Wake()
	}
}

// takeQueued takes what only memory has. The oldest that has not been sent
// goes when there is too much.
func (b *Mailbox) takeQueued(d delivery) {
	b.next++
	d.n = b.next
	b.count++
	b.bytes += int64(d.size)
	b.push(d)
	for b.full() && b.pending.len() > 1 {
		b.drop(b.pop(), "queue full")
	}
	if b.pending.len() == 1 {
		b.reader.Wake()
	}
}

func (b *Mailbox) push(d delivery) {
	b.pending.push(d)
	b.weight += d.size
	b.waiting.Add(1)
}

func (b *Mailbox) pop() delivery {
	d := b.pending.pop()
	b.weight -= d.size
	return d
}

// full reports whether more waits than may.
func (b *Mailbox) full() bool {
	return b.count > b.r.cfg.QueueMessages || b.bytes > b.r.cfg.QueueBytes
}

// number gives a delivery to a durable session its number. It is false when
// the session is over, or so full that the newest is dropped: the oldest are,
// but that takes a while.
func (b *Mailbox) number(t *target, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || !b.expires.IsZero() && !now.Before(b.expires) {
		return false
	}
	if b.count > 2*b.r.cfg.QueueMessages || b.bytes > 2*b.r.cfg.QueueBytes {
		b.r.metrics.drop("queue full", 1)
		return false
	}
	b.next++
	t.n = b.next
	return true
}

// drop counts a delivery that is not to be sent.
func (b *Mailbox) drop(d delivery, reason string) {
	b.r.metrics.drop(reason, 1)
	b.waiting.Add(-1)
	b.uncount(&d)
}

// uncount takes a delivery out of the count, and of the store.
func (b *Mailbox) uncount(d *delivery) {
	b.count--
	b.bytes -= int64(d.size)
	if b.durable {
		b.r.spool.done(bridge.DeliveryKey{Key: b.key, N: d.n})
	}
}

// Close ends the connection of the mailbox. That of a durable session lives on
// until expires (zero: without end); end ends it now. Everything that the
// client has acknowledged is in the store when it returns nil. What other
// members of shared subscriptions can have goes to them.
func (b *Mailbox) Close(ctx context.Context, end bool, expires time.Time) error {
	b.mu.Lock()
	b.reader, b.expires = nil, expires
	b.online.Store(false)
	flight, pending := b.flight.all(), b.pending.all()
	b.flight.clear()
	b.pending.clear()
	b.zero.clear()
	b.zeroBytes, b.weight, b.flying, b.last = 0, 0, 0, 0
	b.waiting.Store(0)
	for _, rp := range b.replays {
		rp.pause()
	}
	if b.durable && !end {
		sent := b.sent
		shared := b.sharesAny()
		b.mu.Unlock()
		err := b.rest(ctx, sent, shared)
		if err != nil {
			b.mu.Lock()
			b.unsure = true
			b.mu.Unlock()
		}
		return err
	}
	b.retire()
	b.mu.Unlock()
	b.r.forget(b)
	b.r.handOver(b, flight)
	b.r.handOver(b, pending)
	if b.durable {
		return b.r.Sync(ctx) // its acknowledgements must not meet another session of that name
	}
	return nil
}

// retire ends the session's part in routing. b.mu is held.
func (b *Mailbox) retire() {
	b.gone = true
	for _, s := range b.subs {
		b.r.index.remove(s)
	}
	b.endReplay("")
	b.subs = nil
}

// sharesAny reports whether another session that is connected shares a
// subscription with this one.
func (b *Mailbox) sharesAny() bool {
	for _, s := range b.subs {
		if s.group != nil && s.group.onlineBut(b) {
			return true
		}
	}
	return false
}

// rest stores what a durable session must know when it returns.
func (b *Mailbox) rest(ctx context.Context, sent uint64, shared bool) error {
	err := b.r.keep(ctx, func(c *changes) { c.mark(b.key, sent) })
	if err != nil || !shared {
		return err
	}
	for after := uint64(0); ; {
		rows, err := b.r.queued(ctx, bridge.QueueRange{Key: b.key, After: after, Limit: loadLimit})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return b.r.Sync(ctx) // what has gone to others must not be here when it returns
		}
		after = rows[len(rows)-1].N
		b.r.handOver(b, b.loaded(rows))
	}
}

// loaded makes deliveries of what the store answered.
func (b *Mailbox) loaded(rows []bridge.Delivery) []delivery {
	ds := make([]delivery, len(rows))
	for i := range rows {
		row := &rows[i]
		d := delivery{n: row.N, qos: row.QoS, retain: row.Retain, subIDs: row.SubIDs, size: row.Size, stored: true}
		if row.Share != "" {
			d.share = b.r.index.group(row.Share)
		}
		switch {
		case row.Released:
			d.state = released
		case row.Message == nil: // cannot be; it is passed over
			d.state = done
		default:
			if d.m = (&Message{Message: *row.Message}); b.r.forgets(&d.m.Message) {
				d.m = emptied(d.m)
			}
			if row.N <= b.sent {
				d.state = sent
			}
		}
		ds[i] = d
	}
	return ds
}

// Stats says what waits: deliveries at QoS 1 and 2 that are not done, how many
// of them were sent, and their bytes.
func (b *Mailbox) Stats() (waiting, inflight int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count, b.flight.len(), b.bytes
}
