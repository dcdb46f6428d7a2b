package postgres

import (
	"context"
	"sync"
	"sync/atomic"
)

// tidyEvery is how many drafts are committed before the index of words is
// tidied. A search looks through what is not, so they must not be many; the
// more at once, the less it costs.
const tidyEvery = 1000

// tidier moves what commits have noted for the index of words into the index,
// on a goroutine that lives while there is something to move. Without it some
// commit has to, in the midst of its transaction, when the note is full: that
// one would take many times as long as the others.
type tidier struct {
	waiting atomic.Int64 // drafts since the last time
	running atomic.Bool
	failed  sync.Once
	ctx     context.Context
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// committed counts drafts.
func (s *Store) committed(drafts int) {
	t := &s.tidier
	if t.waiting.Add(int64(drafts)) < tidyEvery || t.running.Swap(true) {
		return
	}
	t.done.Go(func() {
		defer t.running.Store(false)
		for t.waiting.Swap(0) >= tidyEvery {
			if _, err := s.pool.Exec(t.ctx, `SELECT gin_clean_pending_list('entries_words')`); err != nil && t.ctx.Err() == nil {
				t.failed.Do(func() { s.log.Warn("the index of words was not tidied, commits do it", "error", oneLine(err.Error())) })
			}
		}
	})
}
