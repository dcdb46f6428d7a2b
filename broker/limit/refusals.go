package limit

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// refusalsEvery is how often refused connections make a line at info.
	refusalsEvery = 10 * time.Second
	// maxReasons bounds the reasons that such a line names.
	maxReasons = 16
)

// Refusals tells of the connections that came to nothing: of each at debug,
// and at info of the first at once, and then of all within refusalsEvery in
// one line. So strangers cannot fill the log.
type Refusals struct {
	logger *slog.Logger

	mu      sync.Mutex
	timer   *time.Timer // nil: the next one is told at once
	reasons map[string]int
	count   int
	stopped bool
}

// Note tells of a connection: who it was, and why it was refused.
func (r *Refusals) Note(reason string, attrs []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer == nil && !r.stopped {
		r.timer = time.AfterFunc(refusalsEvery, r.tell)
		r.logger.Info("connection refused", attrs...)
		return
	}
	r.logger.Debug("connection refused", attrs...)
	if r.reasons == nil {
		r.reasons = make(map[string]int)
	}
	if _, known := r.reasons[reason]; !known && len(r.reasons) >= maxReasons {
		reason = "other"
	}
	r.reasons[reason]++
	r.count++
}

// tell tells of those since the last line.
func (r *Refusals) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line()
	if r.timer = nil; r.count > 0 && !r.stopped {
		r.timer = time.AfterFunc(refusalsEvery, r.tell)
	}
	r.count, r.reasons = 0, nil
}

// line writes the line. r.mu is held.
func (r *Refusals) line() {
	if r.count > 0 {
		r.logger.Info("connections refused", "count", r.count, "reasons", r.reasons)
	}
}

// Stop tells of the last ones. What is noted from now on is told at debug.
func (r *Refusals) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	r.line()
	r.stopped, r.count, r.reasons = true, 0, nil
}

// NewRefusals makes one that writes to a log.
func NewRefusals(logger *slog.Logger) *Refusals { return &Refusals{logger: logger} }
