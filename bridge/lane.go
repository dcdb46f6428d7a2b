package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	maxBatch      = 512     // drafts in one commit
	maxBatchBytes = 1 << 20 // their contents
	maxQueue      = 1 << 16 // drafts that wait in one lane

	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)

// lane commits the drafts of its share of the streams, in groups: whatever
// arrived while the last commit ran is the next batch. There is no timer, so
// an idle server adds no delay and a busy one batches by itself.
type lane struct {
	log  *Log
	wake chan struct{} // has room for one: something waits, or closed
	ctx  context.Context
	cut  context.CancelFunc // ends ctx: gives up what waits, also in the store

	mu     sync.Mutex
	queue  []*Submission
	held   int // drafts that run has taken out of queue and not finished
	closed bool

	// Below is run's alone.
	pending []*Submission // waits, in order
	spare   []*Submission // the queue's other buffer
	batch   []*Submission
	seen    map[sendKey]*Submission // of the batch, the newest with each clientId of a caller
	targets map[targetKey]struct{}
	later   map[chat.StreamID]struct{}
	drafts  []chat.Draft
	outs    []Outcome
	touched []*tail
}

type sendKey struct {
	stream       chat.StreamID
	sender, send string
}

type targetKey struct {
	stream chat.StreamID
	target uint64
}

func newLane(l *Log) *lane {
	ctx, cut := context.WithCancel(context.Background())
	return &lane{log: l, wake: make(chan struct{}, 1), ctx: ctx, cut: cut,
		seen: make(map[sendKey]*Submission), targets: make(map[targetKey]struct{}),
		later: make(map[chat.StreamID]struct{})}
}

// put queues a submission; false when the lane is full or closed.
func (ln *lane) put(s *Submission) bool {
	ln.mu.Lock()
	if ln.closed || len(ln.queue)+ln.held >= maxQueue {
		ln.mu.Unlock()
		return false
	}
	ln.queue = append(ln.queue, s)
	first := len(ln.queue) == 1
	ln.mu.Unlock()
	if first {
		ln.signal()
	}
	return true
}

func (ln *lane) signal() {
	select {
	case ln.wake <- struct{}{}:
	default:
	}
}

// close refuses new drafts; run ends when those that wait are done.
func (ln *lane) close() {
	ln.mu.Lock()
	ln.closed = true
	ln.mu.Unlock()
	ln.signal()
}

func (ln *lane) run() {
	for {
		ln.mu.Lock()
		fresh, closed := ln.queue, ln.closed
		ln.queue = ln.spare[:0]
		ln.held = len(ln.pending) + len(fresh)
		ln.mu.Unlock()
		ln.pending = append(ln.pending, fresh...)
		clear(fresh)
		ln.spare = fresh[:0]
		if len(ln.pending) == 0 {
			if closed {
				return
			}
			<-ln.wake
			continue
		}
		ln.takeBatch()
		ln.commit(ln.batch)
		clear(ln.batch[:cap(ln.batch)])
	}
}

// takeBatch moves the next batch out of pending, and refuses those whose time
// is up. Drafts of one stream keep their order: once one must wait for the
// next batch, those behind it wait too.
func (ln *lane) takeBatch() {
	clear(ln.seen)
	clear(ln.targets)
	clear(ln.later)
	ln.batch = ln.batch[:0]
	bytes, kept, now := 0, 0, ln.now()
	for i, s := range ln.pending {
		if len(ln.batch) == maxBatch || bytes > maxBatchBytes {
			kept += copy(ln.pending[kept:], ln.pending[i:])
			break
		}
		if now.After(s.deadline) {
			ln.log.finish(s, Outcome{Err: ErrUnavailable})
			continue
		}
		if !ln.admit(s) {
			ln.pending[kept] = s
			kept++
			continue
		}
		bytes += len(s.Draft.Content) + len(s.Draft.MediaURL)
	}
	clear(ln.pending[kept:])
	ln.pending = ln.pending[:kept]
}

// admit puts a draft into the batch, as Store.Commit wants its drafts, or
// says that it must wait.
func (ln *lane) admit(s *Submission) bool {
	d := &s.Draft
	if len(ln.later) > 0 {
		if _, wait := ln.later[d.Stream]; wait {
			return false
		}
	}
	if d.ClientID[0] != '~' {
		key := sendKey{d.Stream, d.SenderID, d.ClientID}
		if before, ok := ln.seen[key]; ok {
			if !sameBody(&before.Draft.Body, &d.Body) { // if that is refused, this may stand
				ln.later[d.Stream] = struct{}{}
				return false
			}
			before.repeats = s
			ln.seen[key] = s
			return true
		}
		ln.seen[key] = s
	}
	if d.Type == chat.TypeEdit || d.Type == chat.TypeDelete {
		key := targetKey{d.Stream, d.Target}
		if _, taken := ln.targets[key]; taken {
			delete(ln.seen, sendKey{d.Stream, d.SenderID, d.ClientID})
			ln.later[d.Stream] = struct{}{}
			return false
		}
		ln.targets[key] = struct{}{}
	}
	ln.batch = append(ln.batch, s)
	return true
}

// sameBody reports whether two sends with one clientId say the same, so that
// they share an outcome whatever it is.
func sameBody(a, b *chat.Body) bool {
	return a.Type == b.Type && a.Content == b.Content && a.MediaURL == b.MediaURL &&
		a.ReplyTo == b.ReplyTo && a.Target == b.Target && a.Emoji == b.Emoji && a.Remove == b.Remove &&
		slices.Equal(a.Mentions, b.Mentions)
}

// commit commits a batch, whatever it takes, and finishes its submissions.
// A batch that the store cannot take whole is halved until the draft that
// breaks it stands alone.
func (ln *lane) commit(batch []*Submission) {
	wait := backoffMin
	for tries := 0; ; tries++ {
		if batch = ln.expire(batch); len(batch) == 0 {
			return
		}
		err := ln.try(batch)
		switch {
		case err == nil:
			batch = ln.settle(batch)
			if len(batch) > 0 && tries > 2 {
				wait = ln.pause(wait)
			}
		case errors.Is(err, ErrAgain):
			ln.log.metrics.retries.WithLabelValues("again").Inc()
			if tries > 2 {
				wait = ln.pause(wait)
			}
		case errors.Is(err, ErrUnavailable):
			ln.log.metrics.retries.WithLabelValues("unavailable").Inc()
			if tries == 0 {
				ln.log.cfg.Logger.Warn("the store cannot commit, will be tried again", "drafts", len(batch), "error", err)
			}
			wait = ln.pause(wait)
		case len(batch) == 1:
			ln.log.cfg.Logger.Error("the store refuses a draft", "stream", batch[0].Draft.Stream,
				"id", batch[0].Draft.ID.String(), "error", err)
			ln.log.finish(batch[0], Outcome{Err: errors.New("commit failed")})
			return
		default:
			ln.log.metrics.retries.WithLabelValues("halved").Inc()
			ln.commit(batch[:len(batch)/2])
			batch = batch[len(batch)/2:]
		}
	}
}

// try calls the store once. The outcomes of the batch are in outs.
func (ln *lane) try(batch []*Submission) error {
	ln.drafts = ln.drafts[:0]
	for _, s := range batch {
		ln.drafts = append(ln.drafts, s.Draft)
	}
	if cap(ln.outs) < len(batch) {
		ln.outs = make([]Outcome, maxBatch)
	}
	ln.outs = ln.outs[:len(batch)]
	clear(ln.outs)
	ctx, cancel := context.WithTimeout(ln.ctx, storeTimeout)
	defer cancel()
	begun := time.Now()
	err := ln.log.store.Commit(ctx, ln.log.now(), ln.drafts, ln.outs)
	if err == nil {
		ln.log.metrics.commitSeconds.Observe(time.Since(begun).Seconds())
		ln.log.metrics.commitDrafts.Observe(float64(len(batch)))
	}
	clear(ln.drafts)
	return err
}

// settle finishes the submissions of a commit, then appends the new entries
// to the tails that are followed here. It answers those that must be tried
// again, in their order.
func (ln *lane) settle(batch []*Submission) (again []*Submission) {
	if b := ln.log.batches.Load(); b != nil {
		(*b).BeginBatch()
		defer (*b).EndBatch()
	}
	again = batch[:0]
	mentions := false
	for i, s := range batch {
		out := ln.outs[i]
		if errors.Is(out.Err, ErrAgain) {
			again = append(again, s)
			continue
		}
		if out.Err == nil {
			ln.append(&s.Draft, out)
			ln.log.appended(s.Draft.Stream, out.Seq)
			mentions = mentions || len(s.Draft.Mentions) > 0
		}
		ln.log.finish(s, out)
	}
	if mentions {
		ln.log.mentionsCame()
	}
	for i, t := range ln.touched {
		t.touched = false
		t.wakeAll()
		ln.touched[i] = nil
	}
	ln.touched = ln.touched[:0]
	return again
}

// append makes the entry known to those who follow its stream here. A repeat
// may be news too: of a commit whose outcome was unknown.
func (ln *lane) append(d *chat.Draft, out Outcome) {
	t := ln.log.tails.find(d.Stream)
	if t == nil {
		return
	}
	if out.Repeat {
		t.learn(out.Seq, false)
	} else {
		t.append(&Item{Entry: entryOf(d, out)})
	}
	if !t.touched {
		t.touched = true // a stream has one lane, so touched is this one's
		ln.touched = append(ln.touched, t)
	}
}

func entryOf(d *chat.Draft, out Outcome) chat.Entry {
	e := chat.Entry{ID: out.ID, Stream: d.Stream, Seq: out.Seq, SenderID: d.SenderID,
		CreatedAt: out.CreatedAt, Body: d.Body}
	if e.ClientID[0] == '~' {
		e.ClientID = ""
	}
	return e
}

// now is the time that deadlines are compared with: after all of them when
// the lane was cut.
func (ln *lane) now() time.Time {
	now := time.Now()
	if ln.ctx.Err() != nil {
		now = now.Add(2 * ln.log.cfg.CommitTimeout)
	}
	return now
}

// expire refuses those of the batch whose time is up. What repeats one may
// have time left, and takes its place.
func (ln *lane) expire(batch []*Submission) []*Submission {
	now, kept := ln.now(), batch[:0]
	for _, s := range batch {
		for s != nil && now.After(s.deadline) {
			next := s.repeats
			s.repeats = nil
			ln.log.finish(s, Outcome{Err: ErrUnavailable})
			s = next
		}
		if s != nil {
			kept = append(kept, s)
		}
	}
	return kept
}

func (ln *lane) pause(wait time.Duration) time.Duration {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ln.ctx.Done():
	}
	return min(2*wait, backoffMax)
}
