// Package broker is the MQTT engine: connections, sessions, windows and
// delivery, for MQTT 3.1.1 and 5, over TCP and WebSocket. It turns PUBLISH
// packets into drafts for the log, and entries of the log into PUBLISH
// packets. The codec is package wire, round that of mochi.
//
// What flows where:
//
//	conn.serve ── PUBLISH ──▶ conn.publish ──▶ bridge.Log.Submit
//	conn.out   ◀── PUBACK ─── send.Committed ◀── lane
//	conn.writeLoop ◀── session.pump ◀── follower.Wake ◀── tail
//
// Goroutines of a connection: one reads, for its whole life; one writes, only
// while there is something to write; one loads from the store, only while
// memory does not reach back far enough. All end before the connection is
// gone from the registry.
//
// Lock order: session.mu, then locks of the log, then conn.mu, then cork.mu.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// Verifier says who a token is. *acl.Verifier is one.
type Verifier interface {
	Verify(token string) (acl.Identity, error)
}

// Config is what a Broker needs. Log and Verifier have no default.
type Config struct {
	Log        *bridge.Log
	Verifier   Verifier
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Origins    []string              // browser origins allowed beside the same one; "*" is any
	Now        func() time.Time      // time as data: token expiry

	ConnectTimeout   time.Duration // from accept to a whole CONNECT (10 s)
	ConnectPacket    int           // bytes of a CONNECT (16 KiB)
	MaxPacket        int           // bytes of a packet after it (256 KiB)
	ReceiveMaximum   int           // sends that a client may have unacknowledged (256)
	MaxInflight      int           // entries sent to a client and unacknowledged (256)
	MaxSubscriptions int           // filters in one session (1,000)
	MaxConnections   int           // connections in all (100,000)
	StoreTimeout     time.Duration // one step of CONNECT or SUBSCRIBE that asks the store (10 s)
}

// Broker serves MQTT connections. All methods may be called from any
// goroutine.
type Broker struct {
	cfg      Config
	log      *bridge.Log
	logger   *slog.Logger
	metrics  *metrics
	registry registry
	cork     cork

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	refusing  bool // no new connections
	running   sync.WaitGroup
}

// New makes a Broker; it serves once Serve or ServeHTTP is called.
func New(cfg Config) *Broker {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	setDefault(&cfg.ConnectTimeout, 10*time.Second)
	setDefault(&cfg.ConnectPacket, 16<<10)
	setDefault(&cfg.MaxPacket, 256<<10)
	setDefault(&cfg.ReceiveMaximum, 256)
	setDefault(&cfg.MaxInflight, 256)
	setDefault(&cfg.MaxSubscriptions, 1000)
	setDefault(&cfg.MaxConnections, 100_000)
	setDefault(&cfg.StoreTimeout, 10*time.Second)
	b := &Broker{cfg: cfg, log: cfg.Log, logger: cfg.Logger, metrics: newMetrics(cfg.Registerer),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{})}
	b.registry.init()
	cfg.Log.NotifyBatches(&b.cork)
	return b
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// ErrClosed is the answer of Serve after StopAccepting.
var ErrClosed = errors.New("the broker accepts no more connections")

// Serve accepts connections until StopAccepting or Shutdown, then returns
// nil. An accept that fails for want of file descriptors or memory is tried
// again; any other failure is returned. It closes the listener.
func (b *Broker) Serve(ln net.Listener) error {
	b.mu.Lock()
	if b.refusing {
		b.mu.Unlock()
		_ = ln.Close()
		return ErrClosed
	}
	b.listeners[ln] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.listeners, ln)
		b.mu.Unlock()
		_ = ln.Close()
	}()
	for {
		nc, err := ln.Accept()
		if err == nil {
			b.start(nc)
			continue
		}
		if b.stopped() {
			return nil
		}
		if !passing(err) {
			return err
		}
		b.logger.Warn("accepting a connection failed, will be tried again", "error", err)
		time.Sleep(50 * time.Millisecond) // whatever ran out needs time to come back
	}
}

// passing reports whether an accept may succeed later.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (b *Broker) stopped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refusing
}

// start serves a connection on a goroutine of its own.
func (b *Broker) start(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		// A bounded kernel buffer: what a slow reader leaves unread must
		// not pile up there by the megabyte, and a blocked write must be
		// seen to move again.
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	if c := b.admit(nc); c != nil {
		go c.serve()
		return
	}
	_ = nc.Close() // not in admit: it may write, and b.mu is for all
}

const sendBuffer = 128 << 10

// admit counts a connection in. It is nil when there is no room.
func (b *Broker) admit(nc net.Conn) *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.refusing:
	case len(b.conns) >= b.cfg.MaxConnections:
		b.metrics.disconnects.WithLabelValues("too many connections").Inc()
	default:
		c := newConn(b, nc)
		b.conns[c] = struct{}{}
		b.running.Add(1)
		b.metrics.connections.Inc()
		return c
	}
	return nil
}

// leave counts a connection out.
func (b *Broker) leave(c *conn) {
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
	b.metrics.connections.Dec()
	b.running.Done()
}

// StopAccepting refuses new connections and closes the listeners. Those that
// are there live on.
func (b *Broker) StopAccepting() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusing = true
	for ln := range b.listeners {
		_ = ln.Close()
	}
}

// Shutdown tells MQTT 5 clients 0x8B (server shutting down), closes all
// connections, saves what durable sessions have acknowledged, and waits until
// that is done. When ctx ends first, connections are cut and its error is
// returned.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.StopAccepting()
	for _, c := range b.all() {
		c.end(wire.CodeServerShuttingDown, "server is shutting down")
	}
	gone := make(chan struct{})
	go func() {
		b.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		for _, c := range b.all() {
			_ = c.nc.Close()
		}
		return ctx.Err()
	}
}

func (b *Broker) all() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		all = append(all, c)
	}
	return all
}

// cork holds writing back while the log tells the outcomes and wakes of one
// commit, so that a connection that has several of them coming writes once.
type cork struct {
	in   atomic.Int32 // batches under way
	mu   sync.Mutex
	held []*conn
}

// BeginBatch implements bridge.Batches.
func (k *cork) BeginBatch() { k.in.Add(1) }

// EndBatch implements bridge.Batches. It starts all that is held, also what
// another batch holds: so nothing waits longer than one batch takes.
func (k *cork) EndBatch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.in.Add(-1)
	for i, c := range k.held {
		go c.writer()
		k.held[i] = nil
	}
	k.held = k.held[:0]
}

// start starts a connection's writer, at once or at the end of the batch.
func (k *cork) start(c *conn) {
	if k.in.Load() == 0 {
		go c.writer()
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.in.Load() == 0 {
		go c.writer()
		return
	}
	k.held = append(k.held, c)
}

// registry knows the one connection of each session, and what is remembered
// of durable sessions that have none.
type registry struct {
	mu     sync.Mutex
	m      map[bridge.SessionKey]*conn
	away   map[bridge.SessionKey]remains
	weight int // of all in away
}

// remains is what a durable session leaves behind in memory, besides its row
// in the store: so that a return to this process is exact by the letter of
// [MQTT-4.4.0-1] and [MQTT-4.3.3-10]. Losing it costs entries sent again
// under new packet identifiers, nothing more.
type remains struct {
	inflight []unacked           // sent at QoS 1
	received map[uint16]struct{} // QoS 2 sends whose PUBREL has not come
}

func (r remains) empty() bool { return len(r.inflight) == 0 && len(r.received) == 0 }

// weight counts the identifiers, and the session itself as ten.
func (r remains) weight() int { return 10 + len(r.inflight) + len(r.received) }

// maxAway bounds the weight of all that is remembered so: some 50 MB.
const maxAway = 1_000_000

func (r *registry) init() {
	r.m = make(map[bridge.SessionKey]*conn)
	r.away = make(map[bridge.SessionKey]remains)
}

// claim makes c the connection of its session. One that held it is told to
// end, and claim waits until it has: so the session has one connection at any
// time, and what it acknowledged is saved before the next one reads it. It
// fails when ctx ends.
func (r *registry) claim(ctx context.Context, c *conn) (remains, error) {
	for {
		r.mu.Lock()
		old := r.m[c.key]
		if old == nil {
			r.m[c.key] = c
			left := r.take(c.key)
			r.mu.Unlock()
			return left, nil
		}
		r.mu.Unlock()
		old.end(wire.CodeSessionTakenOver, "session taken over by another connection")
		select {
		case <-old.gone:
		case <-ctx.Done():
			return remains{}, ctx.Err()
		}
	}
}

// release ends the claim of c and remembers what its session left.
func (r *registry) release(c *conn, left remains) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m[c.key] != c {
		return
	}
	delete(r.m, c.key)
	if left.empty() {
		return
	}
	// Some of those remembered will never return: any of them may go.
	for other := range r.away {
		if r.weight+left.weight() <= maxAway {
			break
		}
		r.take(other)
	}
	r.away[c.key] = left
	r.weight += left.weight()
}

// take takes out what is remembered of a session. r.mu is held.
func (r *registry) take(key bridge.SessionKey) remains {
	left, ok := r.away[key]
	if ok {
		delete(r.away, key)
		r.weight -= left.weight()
	}
	return left
}
