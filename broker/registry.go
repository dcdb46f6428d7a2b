package broker

import (
	"context"
	"sync"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/feed"
	"github.com/parley-mqtt/parley/broker/wire"
)

// registry knows the one connection of each session, and what is remembered
// of durable sessions that have none.
type registry struct {
	mu     sync.Mutex
	m      map[bridge.SessionKey]*conn
	users  map[string]int // connections of each user in m
	away   map[bridge.SessionKey]remains
	weight int // of all in away
}

// remains is what a durable session leaves behind in memory, besides its row
// in the store: so that a return to this process is exact by the letter of
// [MQTT-4.4.0-1] and [MQTT-4.3.3-10]. Losing it costs entries sent again
// under new packet identifiers, nothing more.
type remains struct {
	inflight feed.Left           // sent at QoS 1
	received map[uint16]received // QoS 2 sends whose PUBREL has not come
}

func (r remains) empty() bool { return len(r.inflight) == 0 && len(r.received) == 0 }

// weight counts the identifiers, and the session itself as ten.
func (r remains) weight() int { return 10 + len(r.inflight) + len(r.received) }

// maxAway bounds the weight of all that is remembered so: some 50 MB.
const maxAway = 1_000_000

func (r *registry) init() {
	r.m = make(map[bridge.SessionKey]*conn)
	r.users = make(map[string]int)
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
			r.users[c.key.UserID]++
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

// holds reports whether a session has a connection.
func (r *registry) holds(key bridge.SessionKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m[key] != nil
}

// Connected reports whether a user has a connection to this process.
func (b *Broker) Connected(user string) bool {
	b.registry.mu.Lock()
	defer b.registry.mu.Unlock()
	return b.registry.users[user] > 0
}

// release ends the claim of c and remembers what its session left.
func (r *registry) release(c *conn, left remains) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m[c.key] != c {
		return
	}
	delete(r.m, c.key)
	if r.users[c.key.UserID]--; r.users[c.key.UserID] == 0 {
		delete(r.users, c.key.UserID)
	}
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
