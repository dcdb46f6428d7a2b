package router

import (
	"context"
	"errors"
	"sync"

	"github.com/parley-mqtt/parley/bridge"
)

// trims are the durable sessions for which too much is kept.
type trims struct {
	wake chan struct{} // has room for one: boxes has something
	mu   sync.Mutex
	list []*Mailbox
}

// trimSoon has the oldest deliveries of a durable session dropped. b.mu is
// held.
func (b *Mailbox) trimSoon() {
	if b.trimming {
		return
	}
	b.trimming = true
	t := &b.r.trims
	t.mu.Lock()
	t.list = append(t.list, b)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (r *Router) trimAll() error {
	r.trims.mu.Lock()
	boxes := r.trims.list
	r.trims.list = nil
	r.trims.mu.Unlock()
	var failed error
	for _, b := range boxes {
		err := b.trim(r.ctx)
		// What was dropped must be gone before the store is read again.
		if syncErr := r.Sync(r.ctx); err == nil {
			err = syncErr
		}
		failed = errors.Join(failed, err)
		b.mu.Lock()
		b.trimming = false
		b.unsure = b.unsure || err != nil
		if b.reader != nil {
			b.reader.Wake()
		}
		b.mu.Unlock()
	}
	return failed
}

const (
	minTrim = 8 // deliveries in one read
	maxTrim = 256
)

// trim drops the oldest deliveries that were never sent, until what is kept
// for the session is within bounds. It reads about as many as there are too
// many.
func (b *Mailbox) trim(ctx context.Context) error {
	b.mu.Lock()
	after := b.sent
	page := min(max(b.count-b.r.cfg.QueueMessages, minTrim), maxTrim)
	b.mu.Unlock()
	for {
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		rows, err := b.r.queued(one, bridge.QueueRange{Key: b.key, After: after, Limit: page})
		cancel()
		if err != nil || len(rows) == 0 {
			return err
		}
		after = rows[len(rows)-1].N
		if b.dropOldest(rows) {
			return nil
		}
	}
}

// dropOldest drops of rows, which are in order, what is too much, and says
// whether that was enough.
func (b *Mailbox) dropOldest(rows []bridge.Delivery) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range rows {
		row := &rows[i]
		switch {
		case !b.full() || b.gone:
			return true
		case row.N <= b.sent || row.Released: // it is under way
		case b.pending.len() > 0 && b.pending.at(0).n == row.N:
			b.drop(b.pop(), "queue full")
		case row.N > b.last:
			b.last = row.N
			b.r.metrics.drop("queue full", 1)
			b.uncount(&delivery{n: row.N, size: row.Size})
		}
	}
	return false
}
