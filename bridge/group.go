package bridge

import (
	"context"
	"slices"
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
	ctx  context.Context // of the caller
	key  K
	val  V
	err  error
	done chan struct{}
}

// do answers for one key. When ctx ends first, a call that runs goes on for
// others; one that does not is not made.
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
		calls[i] = call[K, V]{ctx: ctx, key: key, done: make(chan struct{})}
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
		batch := g.take()
		if len(batch) == 0 {
			g.active--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		g.answer(batch)
	}
}

// take takes the next batch out of waiting, without those whose caller has
// gone: while the store hangs, they would pile up. g.mu is held.
func (g *group[K, V]) take() []*call[K, V] {
	batch := make([]*call[K, V], 0, min(g.max, len(g.waiting)))
	n := 0
	for ; n < len(g.waiting) && len(batch) < g.max; n++ {
		if c := g.waiting[n]; c.ctx.Err() == nil {
			batch = append(batch, c)
		}
	}
	rest := copy(g.waiting, g.waiting[n:])
	clear(g.waiting[rest:])
	g.waiting = g.waiting[:rest]
	return batch
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
	l.heads = newGroup(512, 2, l.store.Heads)
	l.sessions = newGroup(256, 2, l.store.Sessions)
	l.marks = newGroup(512, 1, func(ctx context.Context, marks []SessionMark) ([]struct{}, error) {
		newest := newestMarks(marks)
		return make([]struct{}, len(marks)), again(ctx, func() error { return l.store.MarkSessions(ctx, newest) })
	})
	l.moves = newGroup(512, 1, l.moveReceipts)
	l.saves = newGroup(1000, 1, func(ctx context.Context, at []CursorAt) ([]struct{}, error) {
		newest := newestCursors(at)
		return make([]struct{}, len(at)), l.saveCursors(ctx, newest)
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
// the same time share one query, equal ones their items.
func (l *Log) Read(ctx context.Context, ranges []Range) ([][]*Item, error) {
	read, err := l.reads.doAll(ctx, ranges)
	for i := range read {
		read[i] = slices.Clone(read[i]) // the caller's own, to cut and clear
	}
	return read, err
}

func (l *Log) readItems(ctx context.Context, ranges []Range) ([][]*Item, error) {
	followed := make([]*tail, len(ranges))
	erased := make([]uint64, len(ranges))
	for i, r := range ranges {
		if t := l.tails.find(r.Stream); t != nil {
			followed[i] = t
			_, erased[i] = t.known()
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
		if t := followed[i]; t != nil {
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
