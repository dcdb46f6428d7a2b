// Package router carries ordinary topics, those that are no streams: it finds
// the sessions that a message is for, keeps what durable sessions have not
// acknowledged, retains messages and publishes wills.
//
// The way of a message:
//
//	Publish ─▶ index.match ─▶ targets ─▶ Mailbox.take ─▶ Reader.Wake ─▶ Pull
//	                             │            ▲
//	                             └──▶ spool ──┘
//
// What must outlive a crash goes through the spool, which commits in groups,
// and reaches mailboxes when it is committed: messages at QoS 1 and 2 for
// durable sessions, retained messages, wills, and the packet identifiers of
// QoS 2. The rest is passed on at once. Messages of one publisher keep their
// order on either way, see Publication.Behind.
//
// Lock order: Router.mu, retains.order, Mailbox.mu, then those of index, group,
// retains, spool and Reader. Nothing is locked while the store is asked.
package router

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Config is what a Router needs. Store and PublishWill have no default.
type Config struct {
	Store      bridge.Ordinary
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Now        func() time.Time      // time as data; waiting uses package time
	// PublishWill publishes a will that is due, by Publish with Will set or in
	// another way, and calls done with nil, or when that failed. It must not
	// block.
	PublishWill func(w *bridge.Will, done func(error))

	Kept
	CommitTimeout time.Duration // how long a message may wait for its commit (10 s)
	SweepEvery    time.Duration // how often what has expired is removed (1 min)
}

// Kept bounds what is kept of ordinary topics. What is 0 gets its default.
type Kept struct {
	QueueMessages    int   // messages that wait for one session (10,000)
	QueueBytes       int64 // their bytes (16 MiB)
	RetainedMessages int64 // messages retained in all (1,000,000)
	RetainedBytes    int64 // their bytes (1 GiB)
}

// Router routes ordinary topics. All methods may be called from any goroutine.
type Router struct {
	cfg     Config
	metrics *metrics
	index   index
	spool   spool
	retains retains
	wills   wills

	mu    sync.Mutex
	boxes map[bridge.SessionKey]*Mailbox
	trims trims

	ctx     context.Context // ends with the router
	end     context.CancelFunc
	running sync.WaitGroup
	loads   chan struct{} // holds one for each read of a mailbox that runs
	batches atomic.Pointer[bridge.Batches]

	forgotten atomic.Pointer[map[string]int] // users that are being forgotten, nil while there are none
}

// New makes a Router. Load is to be called before it is used, Close at its end.
func New(cfg Config) *Router {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	setDefault(&cfg.QueueMessages, 10_000)
	setDefault(&cfg.QueueBytes, 16<<20)
	setDefault(&cfg.RetainedMessages, 1_000_000)
	setDefault(&cfg.RetainedBytes, 1<<30)
	setDefault(&cfg.CommitTimeout, 10*time.Second)
	setDefault(&cfg.SweepEvery, time.Minute)
	r := &Router{cfg: cfg, boxes: make(map[bridge.SessionKey]*Mailbox), loads: make(chan struct{}, maxLoads)}
	r.metrics = newMetrics(cfg.Registerer, r)
	r.ctx, r.end = context.WithCancel(context.Background())
	r.spool.init(r)
	r.retains.init(r)
	r.wills.init(r)
	r.trims.wake = make(chan struct{}, 1)
	r.running.Go(r.house)
	return r
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// maxLoads is how many mailboxes read from the store at the same time.
const maxLoads = 8

// storeTimeout bounds one call to the store.
const storeTimeout = 5 * time.Second

// NotifyBatches has b told before and after the outcomes of each commit, as
// bridge.Log does.
func (r *Router) NotifyBatches(b bridge.Batches) { r.batches.Store(&b) }

// Load brings back what the last process kept: the durable sessions that
// subscribe to ordinary topics, and wills. Those of connections that the last
// process had are due from now on. It is called before ReleaseSessions of the
// log, so that it sees who was connected when that process died.
func (r *Router) Load(ctx context.Context) error {
	now := r.cfg.Now()
	if err := r.loadQueues(ctx, now); err != nil {
		return err
	}
	if err := r.wills.load(ctx, now); err != nil {
		return err
	}
	return r.retains.count(ctx)
}

func (r *Router) loadQueues(ctx context.Context, now time.Time) error {
	const page = 1000
	var after bridge.SessionKey
	for {
		queues, err := r.cfg.Store.Queues(ctx, after, page)
		if err != nil {
			return err
		}
		var marks []bridge.SentMark
		for i := range queues {
			q := &queues[i]
			if b := r.loadQueue(q, now); b.sent != q.Sent {
				marks = append(marks, bridge.SentMark{Key: q.Key, N: b.sent})
			}
		}
		// Soon the store will not know any more that they were connected.
		if err := r.keep(ctx, func(c *changes) {
			for _, m := range marks {
				c.mark(m.Key, m.N)
			}
		}); err != nil {
			return err
		}
		if len(queues) < page {
			return nil
		}
		after = queues[page-1].Key
	}
}

func (r *Router) loadQueue(q *bridge.Queue, now time.Time) *Mailbox {
	last := max(q.Last, q.Sent) // a number that was sent is not given again
	b := &Mailbox{r: r, key: q.Key, durable: true, count: q.Count, bytes: q.Bytes,
		next: last, committed: last, sent: q.Sent}
	ended := q.EndedAt
	if ended.IsZero() { // it was connected at a crash: nobody knows what was sent
		ended, b.sent = now, last
	}
	b.expires = Expires(ended, q.Expiry)
	r.mu.Lock()
	r.boxes[q.Key] = b
	r.mu.Unlock()
	for _, s := range q.Subscriptions {
		if s.Ordinary() {
			b.Subscribe(s, false)
		}
	}
	return b
}

// Expires says when a session that lost its connection at ended is over. Zero
// is never.
func Expires(ended time.Time, expiry uint32) time.Time {
	if expiry == bridge.NeverExpires {
		return time.Time{}
	}
	return ended.Add(time.Duration(expiry) * time.Second)
}

// End ends a session that has no connection: nothing is kept for it any more.
// Its row in the store is the caller's to delete.
func (r *Router) End(ctx context.Context, key bridge.SessionKey) error {
	r.mu.Lock()
	b := r.boxes[key]
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.Close(ctx, true, time.Time{})
}

// forget takes a mailbox that has ended out of the list.
func (r *Router) forget(b *Mailbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.boxes[b.key] == b {
		delete(r.boxes, b.key)
	}
}

// Close commits what waits, and ends all goroutines of the router. No
// connection may use it any more. When ctx ends first, what still waits is
// refused as unavailable.
func (r *Router) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, r.spool.cut)
	defer stop()
	r.wills.stop()
	r.spool.drain()
	r.end()
	r.running.Wait()
}

// Sync returns when all that was handed to the spool before is committed, or
// was refused; with the error of ctx when that ends first.
func (r *Router) Sync(ctx context.Context) error {
	if r.spool.idle() {
		return nil
	}
	return r.keep(ctx, func(*changes) {})
}

// keep has changes committed and waits for it.
func (r *Router) keep(ctx context.Context, add func(*changes)) error {
	s := &keeping{add: add, done: make(chan error, 1)}
	r.spool.put(s)
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Receive stores a packet identifier of QoS 2 of a durable session, and calls
// then, which must not block, with bridge.ErrUnavailable when that failed.
func (r *Router) Receive(key bridge.SessionKey, received bridge.Received, then func(error)) {
	r.spool.put(&keeping{add: func(c *changes) { c.receive(key, received) }, then: then})
}

// After calls then, which must not block, when all that was handed over before
// is committed or refused.
func (r *Router) After(then func(error)) {
	r.spool.put(&keeping{add: func(*changes) {}, then: then})
}

// Forget removes a packet identifier: its PUBREL has come. then is as for
// Receive.
func (r *Router) Forget(key bridge.SessionKey, id uint16, then func(error)) {
	r.spool.put(&keeping{add: func(c *changes) { c.forget(key, id) }, then: then})
}

type keeping struct {
	add  func(*changes)
	then func(error)
	done chan error
}

func (k *keeping) gather(c *changes) { k.add(c) }

func (k *keeping) settle(err error) {
	if k.then != nil {
		k.then(err)
		return
	}
	k.done <- err
}

// run runs a part of a mailbox's work on a goroutine of its own, not too many
// at a time.
func (r *Router) run(do func(context.Context)) {
	r.running.Go(func() {
		select {
		case r.loads <- struct{}{}:
			defer func() { <-r.loads }()
		case <-r.ctx.Done():
		}
		ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
		defer cancel()
		do(ctx)
	})
}

// pause waits before something that failed is tried again.
func (r *Router) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.ctx.Done():
	}
}

func (r *Router) queued(ctx context.Context, asked bridge.QueueRange) ([]bridge.Delivery, error) {
	rows, err := r.cfg.Store.Queued(ctx, []bridge.QueueRange{asked})
	if err != nil {
		return nil, err
	}
	r.metrics.storeReads.Inc()
	return rows[0], nil
}

// house does what nobody waits for: it removes what has expired, and drops the
// oldest of what is kept for a session when that is too much.
func (r *Router) house() {
	ticker := time.NewTicker(r.cfg.SweepEvery)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-r.ctx.Done():
			return
		case <-r.trims.wake:
			err = r.trimAll()
		case <-ticker.C:
			err = errors.Join(r.sweepSessions(), r.sweepMessages())
		}
		if err != nil && r.ctx.Err() == nil {
			r.cfg.Logger.Warn("housekeeping of ordinary topics failed, will be tried again", "error", err)
		}
	}
}

// sweepSessions ends the sessions whose expiry has passed. The log removes
// their rows.
func (r *Router) sweepSessions() error {
	now, over := r.cfg.Now(), 0
	r.mu.Lock()
	for key, b := range r.boxes {
		b.mu.Lock()
		if b.reader == nil && !b.expires.IsZero() && !now.Before(b.expires) {
			b.retire()
			delete(r.boxes, key)
			over++
		}
		b.mu.Unlock()
	}
	r.mu.Unlock()
	if over == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	return r.Sync(ctx) // what they acknowledged must not meet other sessions of their names
}

func (r *Router) sweepMessages() error {
	const some = 1000
	for {
		ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
		swept, err := r.cfg.Store.SweepMessages(ctx, r.cfg.Now(), some)
		cancel()
		if err != nil {
			return err
		}
		r.retains.add(-int64(swept.Retained), -swept.RetainedBytes)
		if swept.Retained < some && swept.Messages < some {
			return nil
		}
	}
}

// newID makes a UUIDv7 (RFC 9562).
func newID() chat.ID { return chat.ID(uuid.Must(uuid.NewV7())) }
