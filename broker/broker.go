// Package broker is the MQTT engine: connections, sessions, windows and
// delivery, for MQTT 3.1.1 and 5, over TCP, TLS and WebSocket. It turns PUBLISH
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
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/broker/live"
	"github.com/parley-mqtt/parley/broker/router"
	"github.com/parley-mqtt/parley/broker/transport"
	"github.com/parley-mqtt/parley/broker/wire"
)

// Verifier says who a token is, and whether that was revoked since.
// *acl.Verifier is one.
type Verifier interface {
	Verify(token string) (acl.Identity, error)
	Revoked(id *acl.Identity) bool
}

// Config is what a Broker needs. Log, Store and Verifier have no default.
type Config struct {
	Log        *bridge.Log
	Store      bridge.Ordinary // keeps what ordinary topics need
	Verifier   Verifier
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Origins    []string              // browser origins allowed beside the same one; "*" is any
	Now        func() time.Time      // time as data: token expiry

	limit.Bounds
	router.Kept
	StoreTimeout time.Duration // one step of CONNECT or SUBSCRIBE that asks the store (10 s)

	// Presence, typing and receipts: see live.Config.
	PresenceGrace time.Duration
}

// Broker serves MQTT connections. All methods may be called from any
// goroutine.
type Broker struct {
	cfg      Config
	log      *bridge.Log
	logger   *slog.Logger
	metrics  *metrics
	limits   *limit.Limits
	refusals *limit.Refusals
	registry registry
	router   *router.Router
	live     *live.Hub
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
	cfg.Bounds = cfg.WithDefaults()
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = 10 * time.Second
	}
	b := &Broker{cfg: cfg, log: cfg.Log, logger: cfg.Logger, metrics: newMetrics(cfg.Registerer),
		limits: limit.New(cfg.Bounds), refusals: limit.NewRefusals(cfg.Logger),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{})}
	b.registry.init()
	b.router = router.New(router.Config{Store: cfg.Store, Logger: cfg.Logger, Registerer: cfg.Registerer,
		Now: cfg.Now, PublishWill: b.publishWill, Kept: cfg.Kept})
	cfg.Log.NotifyBatches(&b.cork)
	b.router.NotifyBatches(&b.cork)
	b.live = live.New(live.Config{Log: cfg.Log, Logger: cfg.Logger, Registerer: cfg.Registerer, Now: cfg.Now,
		Grace: cfg.PresenceGrace, Blocks: cfg.Log.Blocks, Unread: cfg.Log.UnreadNotifications})
	cfg.Log.ObserveReceipts(b.live)
	cfg.Log.ObserveBlocks(b.live)
	cfg.Log.ObserveUnread(b.live)
	return b
}

// Load brings back what sessions of ordinary topics had before a restart, and
// the wills that are due; whoever was present then was so until now. It is
// called once, before the log's ReleaseSessions
// and before anything is served.
func (b *Broker) Load(ctx context.Context) error {
	if err := b.log.ReleasePeople(ctx); err != nil {
		return err
	}
	return b.router.Load(ctx)
}

// Live is what is delivered and is not an entry: presence, typing, receipts
// and counts.
func (b *Broker) Live() *live.Hub { return b.live }

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
			b.start(nc, carrier(nc))
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
func (b *Broker) start(nc net.Conn, carrier string) {
	// A bounded kernel buffer: what a slow reader leaves unread must not pile
	// up there by the megabyte, and a blocked write must be seen to move again.
	transport.SetWriteBuffer(nc, sendBuffer)
	if c := b.admit(nc, carrier); c != nil {
		go c.serve()
		return
	}
	if !b.stopped() {
		b.metrics.refusals.WithLabelValues(limit.MaxConnections).Inc()
		b.metrics.disconnects.WithLabelValues(tooMany).Inc()
		b.refusals.Note(tooMany, []any{"transport", carrier, "reason", tooMany})
	}
	_ = nc.Close() // not in admit: it may write, and b.mu is for all
}

const (
	sendBuffer = 128 << 10
	tooMany    = "too many connections"
)

// admit counts a connection in. It is nil when there is no room, or when none
// is taken any more.
func (b *Broker) admit(nc net.Conn, carrier string) *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusing || len(b.conns) >= b.cfg.MaxConnections {
		return nil
	}
	c := newConn(b, nc)
	if c.carrier = carrier; carrier == "tls" || carrier == "wss" {
		c.piece = tlsRecord
	}
	b.conns[c] = struct{}{}
	b.running.Add(1)
	b.metrics.connections.Inc()
	return c
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
	defer b.refusals.Stop()
	var err error
	select {
	case <-gone:
	case <-ctx.Done():
		for _, c := range b.all() {
			c.cut()
		}
		err = ctx.Err()
	}
	b.router.Close(ctx)
	return errors.Join(err, b.live.Close(ctx))
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
