// Package webhook tells the application's backend what happens in
// conversations, by HTTP requests that are signed.
//
// The log is the outbox. An entry is to be told from its commit on, in the
// same transaction by definition, and all that is kept beside the log is a
// place in each conversation, up to which it was told. So commits do nothing
// for webhooks, an endpoint that is slow or gone costs no memory, and nothing
// is lost over a restart: the places say where to go on.
//
//	log ── Appended ──▶ queue ──▶ worker ── POST ──▶ endpoint
//	store ── behind ──▶   ▲         │ 2xx
//	                      └─ waits ─┴──▶ places ──▶ store, once a second
//
// A conversation is with one worker at a time and in the order of seq: what
// comes behind an event that fails waits for it. Each event is sent at least
// once. It is sent again when the process dies before its place is saved, so
// receivers drop what they had by its id.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Presence says who is connected.
type Presence interface {
	// Connected reports whether a user has a live session. It does not wait.
	Connected(user string) bool
}

// Config is what a Dispatcher needs. Log, Store, Presence, URL and Secret have
// no default.
type Config struct {
	Log        *bridge.Log
	Store      bridge.Webhooks
	Presence   Presence
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Now        func() time.Time      // time as data: of signatures

	URL         string        // http or https
	Secret      []byte        // signs every request
	Events      []string      // those that are told; none is all
	Concurrency int           // requests at the same time (8)
	GiveUp      time.Duration // how long an event that is refused is tried again (24 h)
	UserAgent   string        // "Parley"

	Timeout    time.Duration // of one request (10 s)
	BackoffMin time.Duration // between the first try and the second (1 s)
	BackoffMax time.Duration // between two tries at most (5 min)
	SaveEvery  time.Duration // how often places are saved (1 s)
	LookEvery  time.Duration // how often the store is asked who is behind (1 min)
	Pending    int           // conversations in memory; the store knows those beyond (10,000)
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.UserAgent == "" {
		c.UserAgent = "Parley"
	}
	setDefault(&c.Concurrency, 8)
	setDefault(&c.GiveUp, 24*time.Hour)
	setDefault(&c.Timeout, 10*time.Second)
	setDefault(&c.BackoffMin, time.Second)
	setDefault(&c.BackoffMax, 5*time.Minute)
	setDefault(&c.SaveEvery, time.Second)
	setDefault(&c.LookEvery, time.Minute)
	setDefault(&c.Pending, 10_000)
	return c
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// MinSecret is the least length of a secret, in bytes.
const MinSecret = 32

// CheckEvents says what is wrong with a list of events.
func CheckEvents(names []string) error {
	for _, name := range names {
		if !slices.Contains(allEvents, name) {
			return fmt.Errorf("%q is not one of %s", name, strings.Join(allEvents, ", "))
		}
	}
	return nil
}

// Dispatcher sends the events. All methods may be called from any goroutine.
type Dispatcher struct {
	cfg     Config
	wanted  map[string]bool
	metrics *metrics
	sender  *sender
	queue   *queue
	places  *places
	warned  warnings

	ctx     context.Context // ends what runs
	cut     context.CancelFunc
	house   context.Context // ends looking and saving
	endCare context.CancelFunc
	working sync.WaitGroup
	caring  sync.WaitGroup
	closing sync.Once
	err     error // of Close
}

// New makes a Dispatcher; it sends once Start is called.
func New(cfg Config) *Dispatcher {
	cfg = cfg.withDefaults()
	d := &Dispatcher{cfg: cfg, wanted: make(map[string]bool)}
	names := cfg.Events
	if len(names) == 0 {
		names = allEvents
	}
	for _, name := range names {
		d.wanted[name] = true
	}
	d.warned.logger = cfg.Logger
	d.queue = newQueue(cfg)
	d.metrics = newMetrics(cfg.Registerer, d.queue)
	d.sender = newSender(cfg)
	d.places = newPlaces(cfg.Store)
	d.ctx, d.cut = context.WithCancel(context.Background())
	d.house, d.endCare = context.WithCancel(context.Background())
	return d
}

// Start begins to send. It is called once, before the log takes the first
// entry: where webhooks have never been on, conversations that stand already
// are told from now on, and those that begin later from their first entry.
func (d *Dispatcher) Start(ctx context.Context) error {
	var first bool
	err := again(func() (err error) {
		first, err = d.cfg.Store.BeginWebhooks(ctx, d.cfg.Now())
		return err
	})
	if err != nil {
		return err
	}
	if first {
		d.cfg.Logger.Info("webhooks begin: what stands in the log already is not told")
	}
	d.cfg.Log.Observe(observer{d})
	for range d.cfg.Concurrency {
		d.working.Go(d.work)
	}
	d.caring.Go(d.look)
	d.caring.Go(d.save)
	return nil
}

// closeGrace is how long requests under way may take when all ends. Those
// that are cut are sent again after the next start.
const closeGrace = time.Second

// Close ends all requests and saves the places. It asks the log, so it comes
// before the log's Close.
func (d *Dispatcher) Close(ctx context.Context) error {
	d.closing.Do(func() {
		d.queue.close()
		d.endCare()
		grace := time.AfterFunc(closeGrace, d.cut)
		stop := context.AfterFunc(ctx, d.cut)
		d.working.Wait()
		grace.Stop()
		stop()
		d.cut()
		d.caring.Wait()
		d.err = d.places.flush(ctx)
		d.sender.close()
	})
	return d.err
}

// observer is what the log tells. It keeps these methods out of Dispatcher's.
type observer struct{ d *Dispatcher }

func (o observer) Appended(stream chat.StreamID, seq uint64) {
	if stream.Conversation() != "" {
		o.d.queue.hint(stream, seq)
	}
}

func (o observer) Ended(stream chat.StreamID) {
	o.d.queue.end(stream)
	o.d.places.forget(stream)
}

// save saves places again and again.
func (d *Dispatcher) save() {
	ticker := time.NewTicker(d.cfg.SaveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-d.house.Done():
			return
		case <-ticker.C:
		}
		if err := d.places.flush(d.house); err != nil && d.house.Err() == nil {
			d.warned.warn("saving places of webhooks failed, will be tried again", "error", err)
		}
	}
}

// storeTimeout bounds one call to the store.
const storeTimeout = 5 * time.Second

// lookAt is how many streams one question to the store is about.
const lookAt = 5000

// look finds who is behind: after a start, where no hint came, and where
// there was no room. It goes on where it ended for want of room.
func (d *Dispatcher) look() {
	ticker := time.NewTicker(d.cfg.LookEvery)
	defer ticker.Stop()
	for after := uint64(0); ; {
		var err error
		if after, err = d.lookFrom(after); err != nil && d.house.Err() == nil {
			d.warned.warn("finding what webhooks have not told failed, will be tried again", "error", err)
		}
		select {
		case <-d.house.Done():
			return
		case <-ticker.C:
		case <-d.queue.room:
		}
	}
}

func (d *Dispatcher) lookFrom(after uint64) (uint64, error) {
	for d.house.Err() == nil {
		ctx, cancel := context.WithTimeout(d.house, storeTimeout)
		behind, next, err := d.cfg.Store.WebhookBehind(ctx, after, lookAt)
		cancel()
		if err != nil {
			return after, err
		}
		for _, p := range behind {
			// What is saved lags behind what is known here.
			if seq, known := d.places.known(p.Stream); known && seq >= p.Head {
				continue
			}
			if !d.queue.found(p) {
				return after, nil
			}
		}
		if next == 0 {
			return 0, nil
		}
		after = next
	}
	return after, nil
}

// again repeats a verb that answered bridge.ErrAgain.
func again(verb func() error) (err error) {
	for range 10 {
		if err = verb(); !errors.Is(err, bridge.ErrAgain) {
			return err
		}
	}
	return err
}

// warnings are few: an endpoint that is gone is no reason to fill the log.
type warnings struct {
	logger *slog.Logger
	mu     sync.Mutex
	last   time.Time
	more   int
}

const warnEvery = 10 * time.Second

func (w *warnings) warn(what string, args ...any) {
	w.mu.Lock()
	more, quiet := w.more, time.Since(w.last) < warnEvery
	if quiet {
		w.more++
	} else {
		w.last, w.more = time.Now(), 0
	}
	w.mu.Unlock()
	if quiet {
		return
	}
	if more > 0 {
		args = append(args, "others", more)
	}
	w.logger.Warn(what, args...) //nolint:sloglint // what is a constant of the callers
}
