package broker

import (
	"sync"
	"sync/atomic"
)

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
