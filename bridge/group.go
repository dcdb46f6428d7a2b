package bridge

import (
	"context"
	"sync"

	"github.com/parley-mqtt/parley/internal/chat"
)

// group turns calls that come at the same time into one call for many keys:
// while one runs, the next collects. Ten thousand clients that return at once
// cost some hundred reads, not ten thousand.
type group[K comparable, V any] struct {
	max     int // keys in one call
	workers int // calls side by side
	run     func(ctx context.Context, keys []K) ([]V, error)

	mu      sync.Mutex
	waiting []*call[K, V]
	active  int
	running sync.WaitGroup
}

type call[K comparable, V any] struct {
	key  K
	val  V
	err  error
	done chan struct{}
}

// do answers for one key. When ctx ends first, the call goes on for others.
func (g *group[K, V]) do(ctx context.Context, key K) (V, error) {
	vals, err := g.doAll(ctx, []K{key})
	if err != nil {
		var zero V
		return zero, err
	}
	return vals[0], nil
}

// doAll answers for all keys, in their order, or with the first error.
func (g *group[K, V]) doAll(ctx context.Context, keys []K) ([]V, error) {
	calls := make([]call[K, V], len(keys))
	g.mu.Lock()
	for i, key := range keys {
		calls[i] = call[K, V]{key: key, done: make(chan struct{})}
		g.waiting = append(g.waiting, &calls[i])
	}
	if g.active < g.workers && len(keys) > 0 {
		g.active++
		g.running.Go(g.work)
	}
	g.mu.Unlock()
	vals := make([]V, len(keys))
	for i := range calls {
		select {
		case <-calls[i].done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if calls[i].err != nil {
			return nil, calls[i].err
		}
		vals[i] = calls[i].val
	}
	return vals, nil
}

// work runs calls until none waits.
func (g *group[K, V]) work() {
	for {
		g.mu.Lock()
		n := min(g.max, len(g.waiting))
		if n == 0 {
			g.active--
			g.mu.Unlock()
			return
		}
		batch := append([]*call[K, V](nil), g.waiting[:n]...)
		rest := copy(g.waiting, g.waiting[n:])
		clear(g.waiting[rest:])
		g.waiting = g.waiting[:rest]
		g.mu.Unlock()
		g.answer(batch)
	}
}

// answer runs one call for a batch; equal keys are asked once and share the
// answer.
func (g *group[K, V]) answer(batch []*call[K, V]) {
	index := make(map[K]int, len(batch))
	keys := make([]K, 0, len(batch))
	for _, c := range batch {
		if _, ok := index[c.key]; !ok {
			index[c.key] = len(keys)
			keys = append(keys, c.key)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	vals, err := g.run(ctx, keys)
	for _, c := range batch {
		if c.err = err; err == nil {
			c.val = vals[index[c.key]]
		}
		close(c.done)
	}
}

// wait returns when nothing runs any more; nothing may be asked after it.
func (g *group[K, V]) wait() { g.running.Wait() }

func newGroup[K comparable, V any](most, workers int, run func(context.Context, []K) ([]V, error)) *group[K, V] {
	return &group[K, V]{max: most, workers: workers, run: run}
}

func (l *Log) startGroups() {
	l.reads = newGroup(128, 2, l.readItems)
	l.memberships = newGroup(256, 2, l.store.Memberships)
	l.members = newGroup(512, 2, l.store.MembershipsIn)
	l.sessions = newGroup(256, 2, l.store.Sessions)
	l.marks = newGroup(512, 1, func(ctx context.Context, marks []SessionMark) ([]struct{}, error) {
		return make([]struct{}, len(marks)), l.store.MarkSessions(ctx, newestMarks(marks))
	})
	l.saves = newGroup(1000, 1, func(ctx context.Context, at []CursorAt) ([]struct{}, error) {
		return make([]struct{}, len(at)), l.store.SaveCursors(ctx, at)
	})
}

// newestMarks keeps the last mark of each session.
func newestMarks(marks []SessionMark) []SessionMark {
	last := make(map[SessionKey]int, len(marks))
	for i, m := range marks {
		last[m.Key] = i
	}
	kept := marks[:0]
	for i, m := range marks {
		if last[m.Key] == i {
			kept = append(kept, m)
		}
	}
	return kept
}

// Read answers the entries of each range from the store. Reads that come at
// the same time share one query, equal ones their answer.
func (l *Log) Read(ctx context.Context, ranges []Range) ([][]*Item, error) {
	return l.reads.doAll(ctx, ranges)
}

func (l *Log) readItems(ctx context.Context, ranges []Range) ([][]*Item, error) {
	erased := make([]uint64, len(ranges))
	for i, r := range ranges {
		if t := l.tails.find(r.Stream); t != nil {
			t.mu.RLock()
			erased[i] = t.erased
			t.mu.RUnlock()
		}
	}
	l.metrics.storeReads.Inc()
	read, err := l.store.Read(ctx, ranges)
	if err != nil {
		return nil, err
	}
	items := make([][]*Item, len(ranges))
	for i, entries := range read {
		items[i] = asItems(entries)
		if t := l.tails.find(ranges[i].Stream); t != nil {
			t.fill(items[i], erased[i])
		}
	}
	return items, nil
}

func asItems(entries []chat.Entry) []*Item {
	items := make([]*Item, len(entries))
	for i := range entries {
		items[i] = &Item{Entry: entries[i]}
	}
	return items
}
