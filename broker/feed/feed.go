// Package feed reads streams for one connected session: it follows those that
// the session subscribes to, as its user's membership changes, and makes
// PUBLISH packets of their entries, each stream in the order of seq, as far as
// the client's window allows. A reader that is slow or was away is a place in
// a stream, never a queue.
//
//	Watch ── news ──▶ follower.Wake ──▶ Reader.Wake ──▶ Pull ──▶ packets
//	cursor ◀── all before it is acknowledged ── Acked
//
// What memory does not hold any more is read from the store by a goroutine
// that lives only so long.
//
// Lock order: Feed.mu, then locks of the log, then readyMu, then what
// Reader.Wake takes.
package feed

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Config is what a Feed needs to know of its session.
type Config struct {
	Log       *bridge.Log
	Key       bridge.SessionKey
	Durable   bool // the session outlives its connection: it has cursors
	Version   byte
	MaxPacket int           // the client's Maximum Packet Size, 0 is none
	Aliases   *wire.Aliases // of what is sent to the client
	Window    int           // entries that may be sent and not acknowledged
	Admin     func() bool   // the token has the scope admin
	Reader    Reader
	Metrics   *Metrics
	// Trimmed is told that the reader of a stream, by its topic, was to go on with
	// an entry that is not held any more, and where the stream begins. nil tells
	// nobody. It must not block nor call the Feed.
	Trimmed func(stream chat.Topic, first uint64)
	Timeout time.Duration // of one step that asks the store
}

// Reader is the connection. Wake says that there is something to Pull. It must
// not block nor call the Feed.
type Reader interface{ Wake() }

// Metrics count for all feeds.
type Metrics struct {
	Deliveries, Acks, TooLarge prometheus.Counter
}

// Feed reads the streams of one session while that has a connection. Plan,
// what follows it, Resume and Start belong to the goroutine that reads the
// connection, Pull to the one that writes; the rest may be called from any.
type Feed struct {
	cfg Config

	again  []unacked // what was sent again at CONNECT; the reading goroutine's
	places []place   // what is about to be followed; the reading goroutine's

	mu        sync.Mutex
	subs      bridge.Subscriptions // of the session; nobody changes it
	followers map[chat.StreamID]*follower
	unwatch   func() // ends watching for new memberships, nil when it does not
	planning  bool   // the store is asked for memberships: joins wait in early
	early     []join
	inflight  inflight
	room      int         // how many may be in inflight, as of the last Pull
	stalled   []*follower // have entries but the window is full
	starved   []*follower // wait for the store
	backlogs  int         // followers that hold what was loaded
	loading   bool
	closed    chan struct{}
	loads     sync.WaitGroup

	readyMu sync.Mutex
	ready   *follower // list of those with news
	last    *follower
}

// New makes the feed of a session that follows nothing yet. Close is to be
// called at its end.
func New(cfg Config) *Feed {
	return &Feed{cfg: cfg, room: cfg.Window, closed: make(chan struct{})}
}

func (d *Feed) storeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d.cfg.Timeout)
}

// Close ends delivery.
func (d *Feed) Close() {
	d.mu.Lock()
	close(d.closed)
	if d.unwatch != nil {
		d.unwatch()
	}
	for _, f := range d.followers {
		f.watch.Close()
	}
	d.mu.Unlock()
	d.loads.Wait()
}

// Left is what a session leaves behind when its connection ends: what was sent
// and not acknowledged. Its next connection may Resume from it.
type Left []unacked

// Leave answers, after Close, the session's cursors and what is under way.
func (d *Feed) Leave() ([]*bridge.AckCursor, Left) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cursors := make([]*bridge.AckCursor, 0, len(d.followers))
	for _, f := range d.followers {
		if f.cursor != nil {
			cursors = append(cursors, f.cursor)
		}
	}
	return cursors, d.inflight.leave()
}

// Stream is a stream that is followed, as it stands.
type Stream struct {
	ID       chat.StreamID
	Position uint64 // the seq that was sent last
	Watch    *bridge.Watch
	Cursor   *bridge.AckCursor // nil: the session is not durable
}

// Streams goes through the streams that are followed, in no order.
func (d *Feed) Streams(yield func(Stream)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.followers {
		if f.until == 0 && !f.resting { // else it is a replay, or its user has left
			yield(Stream{f.stream, f.pos, f.watch, f.cursor})
		}
	}
}
