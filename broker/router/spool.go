package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

const (
	maxBatch      = 512     // steps in one commit
	maxBatchBytes = 4 << 20 // of their messages
	maxWaiting    = 1 << 16 // steps that wait
	maxDones      = 4096    // acknowledgements in one commit
	doneEvery     = time.Second

	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)

// step is something that must be committed.
type step interface {
	// gather adds what is to be kept. It may be called again.
	gather(c *changes)
	// settle tells the end: nil, or bridge.ErrUnavailable. It must not block.
	settle(err error)
}

// spool commits steps in their order, in groups: whatever arrived while the
// last commit ran is the next batch. There is no timer for them. What
// sessions acknowledge goes with the next batch, at most a second later:
// after a crash a device may get again what it acknowledged in that time.
type spool struct {
	r    *Router
	wake chan struct{} // has room for one
	ctx  context.Context
	cut  context.CancelFunc // gives up what waits
	ran  chan struct{}      // closed when run has ended

	mu      sync.Mutex
	queue   []waitingStep
	taken   int  // steps that run has taken and not settled
	busy    bool // run has taken something that is not settled
	closed  bool
	dones   []bridge.DeliveryKey
	ticking bool // dones are due when a timer ends
	due     bool // it has ended

	// Below is run's alone.
	pending []waitingStep
	spare   []waitingStep
	changes changes
	failing bool // the store failed when it was asked last
}

type waitingStep struct {
	step
	deadline time.Time
}

func (s *spool) init(r *Router) {
	s.r, s.wake, s.ran = r, make(chan struct{}, 1), make(chan struct{})
	s.ctx, s.cut = context.WithCancel(context.Background())
	s.changes.init()
	go s.run()
}

// put queues a step. When the spool is full or closed it is refused, on a
// goroutine of its own: the caller may hold locks that settle takes.
func (s *spool) put(st step) {
	s.mu.Lock()
	if s.closed || len(s.queue)+s.taken >= maxWaiting {
		s.mu.Unlock()
		s.r.running.Go(func() { st.settle(bridge.ErrUnavailable) })
		return
	}
	s.queue = append(s.queue, waitingStep{st, time.Now().Add(s.r.cfg.CommitTimeout)})
	first := len(s.queue) == 1
	s.mu.Unlock()
	if first {
		s.signal()
	}
}

func (s *spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// done has a delivery removed from the store within doneEvery.
func (s *spool) done(k bridge.DeliveryKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dones = append(s.dones, k)
	s.tickSoon()
}

// tickSoon has dones committed within doneEvery. s.mu is held.
func (s *spool) tickSoon() {
	if !s.ticking && !s.closed {
		s.ticking = true
		time.AfterFunc(doneEvery, s.tick)
	}
}

func (s *spool) tick() {
	s.mu.Lock()
	s.ticking, s.due = false, true
	s.mu.Unlock()
	s.signal()
}

// idle reports whether nothing waits or is being committed.
func (s *spool) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) == 0 && !s.busy && len(s.dones) == 0
}

// drain refuses what comes from now on and returns when all that waits is
// settled, or was cut.
func (s *spool) drain() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
	<-s.ran
	s.cut()
}

func (s *spool) run() {
	defer close(s.ran)
	for {
		s.mu.Lock()
		fresh, closed := s.queue, s.closed
		s.queue = s.spare[:0]
		s.pending = append(s.pending, fresh...)
		clear(fresh)
		s.spare = fresh[:0]
		s.taken = len(s.pending)
		var dones []bridge.DeliveryKey
		if s.taken > 0 || s.due || closed {
			dones = s.takeDones()
		}
		s.busy = s.taken > 0 || len(dones) > 0
		s.mu.Unlock()
		switch {
		case s.busy:
			s.commit(dones)
		case closed:
			return
		default:
			<-s.wake
		}
		if closed && s.ctx.Err() != nil {
			s.settle(len(s.pending), bridge.ErrUnavailable)
			return
		}
	}
}

// takeDones takes what goes with the next batch. s.mu is held.
func (s *spool) takeDones() []bridge.DeliveryKey {
	n := min(len(s.dones), maxDones)
	dones := s.dones[:n:n]
	if s.dones = s.dones[n:]; len(s.dones) == 0 {
		s.dones, s.due = nil, false
	}
	return dones
}

// commit commits the next batch of what waits, together with dones, which are
// kept for later when that fails.
func (s *spool) commit(dones []bridge.DeliveryKey) {
	n := s.fill(maxBatch, dones)
	wait := backoffMin
	for tries := 0; ; tries++ {
		err := s.try(n)
		failing := s.failing
		s.failing = errors.Is(err, bridge.ErrUnavailable)
		switch {
		case err == nil:
			s.settle(n, nil)
			return
		case errors.Is(err, bridge.ErrAgain):
			if tries > 2 {
				wait = s.pause(wait)
			}
		case errors.Is(err, bridge.ErrUnavailable):
			if !failing {
				s.r.cfg.Logger.Warn("the store cannot keep messages of ordinary topics, will be tried again", "steps", n, "error", err)
			}
			wait = s.pause(wait)
		case n > 1 || n > 0 && len(dones) > 0: // one of them breaks the rest
			s.putBack(dones)
			dones = nil
			n = s.fill(max(n/2, 1), nil)
			continue
		default:
			s.r.cfg.Logger.Error("the store refuses a message of an ordinary topic", "error", err)
			s.settle(n, bridge.ErrUnavailable)
			return
		}
		if late := s.late(n); late > 0 || n == 0 {
			s.settle(late, bridge.ErrUnavailable)
			s.putBack(dones)
			return
		}
	}
}

// fill gathers the next batch of at most so many steps, and says how many it
// has.
func (s *spool) fill(most int, dones []bridge.DeliveryKey) int {
	c := &s.changes
	c.reset(s.r.cfg.Now())
	n := 0
	for n < len(s.pending) && n < most && c.bytes < maxBatchBytes {
		s.pending[n].gather(c)
		n++
	}
	for _, k := range dones {
		c.drop(k)
	}
	c.collect()
	return n
}

// try asks the store once. Nothing is asked where nothing changes.
func (s *spool) try(n int) error {
	if s.changes.none() {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, storeTimeout)
	defer cancel()
	begun := time.Now()
	err := s.r.cfg.Store.Keep(ctx, &s.changes.Changes)
	if err == nil {
		s.r.metrics.commitSeconds.Observe(time.Since(begun).Seconds())
		s.r.metrics.commitSteps.Observe(float64(n))
	} else if s.ctx.Err() != nil {
		err = bridge.ErrUnavailable
	}
	return err
}

// settle tells the first n steps their end.
func (s *spool) settle(n int, err error) {
	if b := s.r.batches.Load(); b != nil {
		(*b).BeginBatch()
		defer (*b).EndBatch()
	}
	for i := range n {
		s.pending[i].settle(err)
	}
	rest := copy(s.pending, s.pending[n:])
	clear(s.pending[rest:])
	s.pending = s.pending[:rest]
}

// late counts the first steps whose time is up; all of them when the spool was
// cut.
func (s *spool) late(n int) int {
	if s.ctx.Err() != nil {
		return n
	}
	now := time.Now()
	for i := range n {
		if now.Before(s.pending[i].deadline) {
			return i
		}
	}
	return n
}

func (s *spool) putBack(dones []bridge.DeliveryKey) {
	if len(dones) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dones = append(s.dones, dones...)
	s.tickSoon()
}

func (s *spool) pause(wait time.Duration) time.Duration {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
	return min(2*wait, backoffMax)
}
