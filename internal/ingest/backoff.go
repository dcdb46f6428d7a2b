package ingest

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is how long to wait before the next attempt: longer each time, and
// never the same for two who failed together.
type backoff struct{ next time.Duration }

const (
	minPause = 100 * time.Millisecond
	maxPause = 15 * time.Second
)

func newBackoff() *backoff { return &backoff{minPause} }

// wait waits, and says whether ctx goes on.
func (b *backoff) wait(ctx context.Context) bool {
	pause := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, maxPause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wake makes who waits look again. One that is awake looks once more.
func wake(kick chan struct{}) {
	select {
	case kick <- struct{}{}:
	default:
	}
}
