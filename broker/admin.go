package broker

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/feed"
	"github.com/parley-mqtt/parley/broker/wire"
)

// Connection is what an operator sees of a connection that is open. It is a
// copy: nothing of it changes any more.
type Connection struct {
	Key           bridge.SessionKey
	Address       string // of the client, with its port; "" where it is not known
	Transport     string // tcp, tls, ws or wss
	Version       byte   // of the protocol: 4 is 3.1.1
	ConnectedAt   time.Time
	CleanStart    bool   // as CONNECT had it; in 3.1.1 it is Clean Session
	SessionExpiry uint32 // seconds; 0 ends with the connection, bridge.NeverExpires never
	KeepAlive     uint16 // seconds, 0 is off

	Subscriptions     []bridge.Subscription // by filter
	SubscriptionCount int                   // of all, also where some are left out
	Streams           []bridge.Progress     // that are followed, by stream
	StreamCount       int
	Cursors           []bridge.Cursor // of a durable session, of those streams

	InflightEntries    int   // sent at QoS 1 and not acknowledged
	InflightDeliveries int   // the same of ordinary topics, also at QoS 2
	Waiting            int   // deliveries of ordinary topics at QoS 1 and 2 that are not acknowledged, sent or not
	WaitingBytes       int64 // of them
}

// maxListed bounds the subscriptions and the streams that one connection of a
// list has.
const maxListed = 100

// Connections answers open connections in the order of user and client
// identifier: at most limit of those after a key, and where to go on, the zero
// key at the end. user and client choose among them, "" is all. Of each it
// tells the first 100 subscriptions and streams.
//
// A connection that begins or ends just now is left out, so there may be fewer
// than limit though there are more to come. Who connects waits while the list
// of all is copied; nobody waits for the rest.
func (b *Broker) Connections(user, client string, after bridge.SessionKey, limit int) (list []Connection, next bridge.SessionKey) {
	found := b.registry.after(user, client, after, limit+1)
	if len(found) > limit {
		found = found[:limit]
		next = found[limit-1].key
	}
	list = make([]Connection, 0, len(found))
	for _, c := range found {
		if seen, ok := c.look(maxListed); ok {
			list = append(list, seen)
		}
	}
	return list, next
}

// Connection answers the connection of a session, whole. It is false when
// there is none.
func (b *Broker) Connection(key bridge.SessionKey) (Connection, bool) {
	c := b.registry.find(key)
	if c == nil {
		return Connection{}, false
	}
	return c.look(math.MaxInt)
}

// Disconnect ends the connection of a session; MQTT 5 clients are told 0x98
// (administrative action). It returns at once. It is false when there is none.
// The session stays, and the client may come back.
func (b *Broker) Disconnect(key bridge.SessionKey) bool {
	c := b.registry.find(key)
	if c == nil {
		return false
	}
	c.mu.Lock()
	ending := c.ending
	c.mu.Unlock()
	if ending {
		return false
	}
	c.end(wire.CodeAdministrative, "disconnected by an administrator")
	return true
}

// EndSession ends a session for good: its connection, which MQTT 5 clients are
// told by 0x98 (administrative action), and what is kept of it. A will that
// was not published is published, for the session ends [MQTT-3.1.2-8]. It
// returns when that is done; no connection of the session begins meanwhile. It
// is false when there is no such session.
func (b *Broker) EndSession(ctx context.Context, key bridge.SessionKey) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.StoreTimeout)
	defer cancel()
	old := b.registry.find(key)
	if old != nil {
		old.end(wire.CodeAdministrative, "session ended by its user")
	}
	// It holds the place of a connection, and is one that has ended.
	holder := &conn{b: b, key: key, ending: true, gone: make(chan struct{})}
	if _, err := b.registry.claim(ctx, holder); err != nil {
		return false, bridge.ErrUnavailable
	}
	defer close(holder.gone)
	defer b.registry.release(holder, remains{})
	stored, err := b.log.Session(ctx, key)
	if err != nil {
		return false, err
	}
	if old == nil && (stored == nil || stored.Expired(b.cfg.Now())) {
		return false, nil
	}
	if err := b.router.End(ctx, key); err != nil {
		return false, err
	}
	if err := b.log.DeleteSession(ctx, key); err != nil {
		return false, err
	}
	will, err := b.router.Returned(ctx, key)
	if err == nil && will != nil {
		err = b.router.EndWill(ctx, will)
	}
	if err != nil {
		b.logger.Warn("dealing with a will failed", "user", key.UserID, "client", key.ClientID, "error", err)
	}
	return true, nil
}

func (r *registry) find(key bridge.SessionKey) *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m[key]
}

// after answers the first n connections after a key, in order.
func (r *registry) after(user, client string, key bridge.SessionKey, n int) []*conn {
	found := least[*conn]{n: n, compare: func(a, b *conn) int { return compareKeys(a.key, b.key) }}
	for _, c := range r.all() {
		if (user == "" || c.key.UserID == user) && (client == "" || c.key.ClientID == client) && compareKeys(c.key, key) > 0 {
			found.add(c)
		}
	}
	return found.all()
}

// all answers the connections of all sessions. The lock is held to copy them,
// and not to compare them, nor, most often, to make room for them.
func (r *registry) all() []*conn {
	r.mu.Lock()
	n := len(r.m)
	r.mu.Unlock()
	all := make([]*conn, 0, n+n/8)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.m {
		all = append(all, c)
	}
	return all
}

func compareKeys(a, b bridge.SessionKey) int {
	return cmp.Or(strings.Compare(a.UserID, b.UserID), strings.Compare(a.ClientID, b.ClientID))
}

// look copies what an operator sees, of subscriptions and streams the first
// most. It is false unless the connection is served: it may be about to begin
// or to end.
func (c *conn) look(most int) (Connection, bool) {
	c.mu.Lock()
	s, ending := c.session, c.ending
	c.mu.Unlock()
	if s == nil || ending {
		return Connection{}, false
	}
	seen := Connection{Key: c.key, Transport: c.carrier, Version: c.version, ConnectedAt: c.began,
		CleanStart: c.clean, KeepAlive: uint16(c.silence / (1500 * time.Millisecond))}
	if c.client.IsValid() {
		seen.Address = c.client.String()
	}
	s.look(&seen, most)
	return seen, true
}

func (s *session) look(seen *Connection, most int) {
	subs := least[bridge.Subscription]{n: most, compare: func(a, b bridge.Subscription) int { return strings.Compare(a.Filter, b.Filter) }}
	streams := least[feed.Stream]{n: most, compare: func(a, b feed.Stream) int { return strings.Compare(string(a.ID), string(b.ID)) }}
	s.mu.Lock()
	seen.SessionExpiry = s.expiry
	seen.SubscriptionCount = len(s.subs)
	for _, sub := range s.subs {
		subs.add(sub)
	}
	s.mu.Unlock()
	followed, box := s.parts()
	if followed != nil {
		followed.Streams(func(f feed.Stream) {
			seen.StreamCount++
			streams.add(f)
		})
		seen.InflightEntries = followed.Unacked()
	}
	seen.InflightDeliveries = int(s.boxed.Load())
	seen.Subscriptions = subs.all()
	for _, f := range streams.all() {
		seen.Streams = append(seen.Streams, f.Watch.Progress(f.Position))
		if f.Cursor != nil {
			seen.Cursors = append(seen.Cursors, bridge.Cursor{Stream: f.ID, Seq: f.Cursor.Seq()})
		}
	}
	if box != nil {
		seen.Waiting, _, seen.WaitingBytes = box.Stats()
	}
}

// least collects the first n of many, in the memory of 2n.
type least[T any] struct {
	n       int
	compare func(a, b T) int
	kept    []T
	cut     bool // kept[:n] are in order, and what comes after them is not needed
}

func (l *least[T]) add(v T) {
	if l.cut && l.compare(v, l.kept[l.n-1]) >= 0 {
		return
	}
	l.kept = append(l.kept, v)
	if len(l.kept)-l.n >= l.n {
		l.kept, l.cut = l.all(), true
	}
}

// all answers them in order.
func (l *least[T]) all() []T {
	slices.SortFunc(l.kept, l.compare)
	return l.kept[:min(l.n, len(l.kept))]
}
