package bridge

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Config is what a Log needs. Store alone has no default.
type Config struct {
	Store      Store
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Now        func() time.Time      // time as data; waiting uses package time

	CommitTimeout time.Duration // how long a send may wait for its commit (10 s)
	CursorEvery   time.Duration // how often acknowledged cursors are saved (1 s)
	HeadEvery     time.Duration // how often heads are compared with the store (5 s)
	SweepEvery    time.Duration // how often expired sessions are removed (1 min)
	RetainEvery   time.Duration // how often streams are looked at for what has grown too old (1 min)
	TailBytes     int64         // memory for the newest entries of all followed streams (64 MiB)

	Limits    Limits          // of conversations and users (10,000 each)
	Retention RetentionPolicy // the zero one keeps everything
}

// Log is the log over one Store. All methods may be called from any
// goroutine.
//
// Lock order: a tail's lock, then whatever a Watcher takes in Wake. Nothing
// here is locked while the store is asked.
type Log struct {
	store     Store
	cfg       Config
	metrics   *metrics
	lanes     []*lane
	batches   atomic.Pointer[Batches]
	observers atomic.Pointer[[]Observer]
	seed      maphash.Seed
	tails     tails
	users     users
	cursors   cursorSaver
	blocks    blockObservers

	reads       *group[Range, []*Item]
	memberships *group[string, []Membership]
	members     *group[MemberKey, Membership]
	heads       *group[chat.StreamID, Head]
	sessions    *group[SessionKey, *Session]
	marks       *group[SessionMark, struct{}]
	saves       *group[CursorAt, struct{}]
	moves       *group[Move, Moved]
	receipts    atomic.Pointer[ReceiptObserver]

	mentioned chan struct{} // has room for one: mentions may be due
	counted   atomic.Pointer[UnreadObserver]

	house    context.Context // ends when housekeeping shall
	endHouse context.CancelFunc
	housed   sync.WaitGroup
	laned    sync.WaitGroup
	draining sync.Once
	closing  sync.Once
}

// New starts a Log: its lanes and its housekeeping run until Close.
func New(cfg Config) *Log {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	setDefault(&cfg.CommitTimeout, 10*time.Second)
	setDefault(&cfg.CursorEvery, time.Second)
	setDefault(&cfg.HeadEvery, 5*time.Second)
	setDefault(&cfg.SweepEvery, time.Minute)
	setDefault(&cfg.RetainEvery, time.Minute)
	setDefault(&cfg.TailBytes, 64<<20)
	setDefault(&cfg.Limits.Members, 10_000)
	setDefault(&cfg.Limits.Conversations, 10_000)
	setDefault(&cfg.Limits.Blocks, 10_000)
	l := &Log{store: cfg.Store, cfg: cfg, metrics: newMetrics(cfg.Registerer),
		seed: maphash.MakeSeed()}
	l.house, l.endHouse = context.WithCancel(context.Background())
	l.tails.init(cfg.TailBytes)
	l.users.init()
	l.cursors.init(l)
	l.mentioned = make(chan struct{}, 1)
	l.startGroups()
	for range max(1, cfg.Store.Lanes()) {
		ln := newLane(l)
		l.lanes = append(l.lanes, ln)
		l.laned.Go(ln.run)
	}
	l.every(cfg.CursorEvery, "saving cursors", l.cursors.flush)
	l.every(cfg.HeadEvery, "comparing heads", func(ctx context.Context) error {
		l.tails.trim()
		return l.checkHeads(ctx)
	})
	l.every(cfg.SweepEvery, "sweeping sessions", l.sweep)
	l.every(cfg.RetainEvery, "trimming streams", (&retainer{log: l}).turn)
	l.housed.Go(l.mentions)
	return l
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Drain refuses new sends and waits until those that wait are committed or
// refused. When ctx ends first, what still waits is refused as unavailable.
func (l *Log) Drain(ctx context.Context) {
	l.draining.Do(func() {
		for _, ln := range l.lanes {
			ln.close()
		}
		cut := context.AfterFunc(ctx, func() {
			for _, ln := range l.lanes {
				ln.cut()
			}
		})
		l.laned.Wait()
		cut()
	})
}

// Close drains the log, saves the cursors and stops all goroutines. Nothing
// may be asked of the log after it. The store is not closed.
func (l *Log) Close(ctx context.Context) error {
	l.Drain(ctx)
	l.closing.Do(func() {
		l.endHouse()
		l.housed.Wait()
	})
	err := l.cursors.flush(ctx)
	l.reads.wait()
	l.memberships.wait()
	l.members.wait()
	l.heads.wait()
	l.sessions.wait()
	l.marks.wait()
	l.saves.wait()
	l.moves.wait()
	return err
}

// Submission is one draft on its way into the log.
type Submission struct {
	Draft   chat.Draft
	Outcome Outcome
	// Done is told once that Outcome is set, on a goroutine of the log or in
	// Submit: it must not block. Outcomes of one stream come in the order of
	// Submit, but for those that are refused, repeat another, or had to be
	// tried again (see Outcome.Err).
	Done Completer

	deadline time.Time
	repeats  *Submission // those that repeat this one in one batch, in order
}

// Batches is told before and after the outcomes and wakes of one commit, on
// the goroutine that tells them: whoever answers both on one connection can
// write them together. Two lanes may be in a batch at the same time.
type Batches interface {
	BeginBatch()
	EndBatch()
}

// NotifyBatches has b told from now on.
func (l *Log) NotifyBatches(b Batches) { l.batches.Store(&b) }

// Completer is told the end of a Submission.
type Completer interface{ Committed(s *Submission) }

// Submit puts a draft in the lane of its stream and returns at once. A draft
// without a ClientID gets one, so that a commit whose outcome is unknown can
// be repeated without doubling the entry. The Submission is the log's until
// Done is called.
//
// Refusals in Outcome.Err: see Store.Commit; chat.CodeUnavailable when it
// could not be committed within CommitTimeout or the log is closing. It may
// then stand in the log all the same: repeating it with the same clientId is
// safe.
func (l *Log) Submit(s *Submission) {
	s.Draft.ID = newID()
	if s.Draft.ClientID == "" {
		s.Draft.ClientID = ServerClientID(s.Draft.ID)
	}
	s.deadline = time.Now().Add(l.cfg.CommitTimeout)
	if !l.lane(s.Draft.Stream).put(s) {
		l.finish(s, Outcome{Err: ErrUnavailable})
	}
}

// Commit submits a draft and waits for its outcome. When ctx ends first the
// draft may still be committed.
func (l *Log) Commit(ctx context.Context, d chat.Draft) (Outcome, error) {
	w := &waiter{done: make(chan struct{})}
	w.Draft, w.Done = d, w
	l.Submit(&w.Submission)
	select {
	case <-w.done:
		return w.Outcome, w.Outcome.Err
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

type waiter struct {
	Submission
	done chan struct{}
}

func (w *waiter) Committed(*Submission) { close(w.done) }

// finish hands an outcome to its submission, and to those that repeat it.
func (l *Log) finish(s *Submission, out Outcome) {
	for s != nil {
		next := s.repeats
		s.repeats, s.Outcome = nil, out
		l.metrics.outcome(out)
		s.Done.Committed(s) // s may be anybody's from here on
		s = next
		out.Repeat = out.Err == nil
	}
}

// now is the time of the log: UTC, whole milliseconds.
func (l *Log) now() time.Time { return l.cfg.Now().UTC().Truncate(time.Millisecond) }

func (l *Log) lane(stream chat.StreamID) *lane {
	if len(l.lanes) == 1 {
		return l.lanes[0]
	}
	return l.lanes[maphash.String(l.seed, string(stream))%uint64(len(l.lanes))]
}

// every does a part of the housekeeping again and again. Each has a goroutine
// of its own: cursors are saved in time though sweeping takes long.
func (l *Log) every(d time.Duration, what string, do func(context.Context) error) {
	l.housed.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-l.house.Done():
				return
			case <-ticker.C:
			}
			if err := do(l.house); err != nil && l.house.Err() == nil {
				l.cfg.Logger.Warn("housekeeping failed, will be tried again", "what", what, "error", err)
			}
		}
	})
}

// sweep removes the sessions whose expiry has passed, some at a time so that
// none of its transactions is long.
func (l *Log) sweep(ctx context.Context) error {
	const some = 1000
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		n, err := l.store.SweepSessions(one, l.now(), some)
		cancel()
		if err != nil || n < some {
			return err
		}
	}
	return nil
}

// ReleaseSessions marks all sessions as without a connection: the first thing
// after a start, when the last process may have died without a word. It may
// have left mentions behind too: those are told from now on.
func (l *Log) ReleaseSessions(ctx context.Context) error {
	l.mentionsCame()
	return again(ctx, func() error { return l.store.ReleaseSessions(ctx, l.now()) })
}

// checkHeads finds entries that were committed without this process noticing,
// and conversations that were deleted so: by a call whose outcome stayed
// unknown, or by another process.
func (l *Log) checkHeads(ctx context.Context) error {
	const chunk = 1000
	all := l.tails.all()
	streams := make([]chat.StreamID, 0, chunk)
	before := make([]uint64, 0, chunk)
	for len(all) > 0 {
		part := all[:min(chunk, len(all))]
		all = all[len(part):]
		streams, before = streams[:0], before[:0]
		for _, t := range part {
			last, _ := t.known()
			streams, before = append(streams, t.stream), append(before, last)
		}
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		heads, err := l.store.Heads(one, streams)
		cancel()
		if err != nil {
			return err
		}
		for i, t := range part {
			if heads[i] == (Head{}) && before[i] > 0 {
				l.tails.end(t)
				continue
			}
			t.cut(heads[i].First)
			if t.learn(heads[i].Head, true) {
				t.wakeAll()
			}
		}
	}
	return nil
}

// storeTimeout bounds one call to the store.
const storeTimeout = 5 * time.Second

// newID makes a UUIDv7 (RFC 9562). It panics when the system has no
// randomness, as uuid does.
func newID() chat.ID { return chat.ID(uuid.Must(uuid.NewV7())) }

// ServerClientID is the ClientID of a draft whose sender gave none. "~" is
// not in the alphabet of ids, so it never meets a caller's.
func ServerClientID(id chat.ID) string {
	var scratch [40]byte
	return string(id.Append(append(scratch[:0], '~')))
}
