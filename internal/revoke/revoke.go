// Package revoke knows which tokens were revoked. All of them are in memory,
// so that asking costs no I/O; the store has them for the next start, and for
// other processes on the same database, which learn of them within
// Config.Every.
//
// Lock order: Tokens.turn, then Tokens.mu. Nobody is called under mu.
package revoke

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Config is what Tokens need. Store has no default.
type Config struct {
	Store      bridge.Revocations
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: the metric is not exposed
	Now        func() time.Time      // time as data; waiting uses package time
	// MaxLife is the longest life of a token: a revocation is kept for so
	// long. 0 is no bound, and revocations are kept for ever.
	MaxLife time.Duration
	// Cut ends what lives by revoked tokens. It is called after they have
	// become known, and may be called though there are none. It returns when
	// nothing is delivered to them any more, or when ctx ends.
	Cut func(ctx context.Context) error

	Every      time.Duration // how often the store is asked for what is new (2 s)
	SweepEvery time.Duration // how often what is over is removed (1 min)
	Most       int           // revocations that are kept (1,000,000)
}

// Tokens are those that were revoked. All methods may be called from any
// goroutine.
type Tokens struct {
	cfg  Config
	turn chan struct{} // has room for one: held while the store is asked for news

	mu     sync.RWMutex
	tokens map[string]time.Time // jti → how long it is kept, zero for ever
	users  map[string]user
	last   uint64 // the newest that was read

	ctx     context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup
}

type user struct {
	at    time.Time // what was issued up to then is revoked
	until time.Time // how long that is kept, zero for ever
}

// New makes Tokens that know of none. Load is to be called before they are
// asked, Close at their end.
func New(cfg Config) *Tokens {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Cut == nil {
		cfg.Cut = func(context.Context) error { return nil }
	}
	setDefault(&cfg.Every, 2*time.Second)
	setDefault(&cfg.SweepEvery, time.Minute)
	setDefault(&cfg.Most, 1_000_000)
	t := &Tokens{cfg: cfg, turn: make(chan struct{}, 1), tokens: map[string]time.Time{}, users: map[string]user{}}
	t.ctx, t.end = context.WithCancel(context.Background())
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_revocations",
			Help: "Revocations of tokens that are kept."}, func() float64 { return float64(t.count()) }))
	}
	return t
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// skew is what clocks may differ by, and more.
const skew = time.Minute

// storeTimeout bounds one call to the store, cutTimeout the end of what lives
// by tokens that another process revoked.
const (
	storeTimeout = 5 * time.Second
	cutTimeout   = 10 * time.Second
)

// Load reads what is in the store, and follows it from then on.
func (t *Tokens) Load(ctx context.Context) error {
	if _, err := t.read(ctx); err != nil {
		return err
	}
	t.running.Go(t.follow)
	return nil
}

// Close ends the following, and returns when it has ended.
func (t *Tokens) Close() {
	t.end()
	t.running.Wait()
}

// Revoked reports whether a token was revoked: by its jti, or by its user when
// it was issued no later than the user was revoked. A token without the time
// of its issue counts as old.
func (t *Tokens) Revoked(sub, jti string, issued time.Time) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.tokens) > 0 && jti != "" {
		if _, revoked := t.tokens[jti]; revoked {
			return true
		}
	}
	u, revoked := t.users[sub]
	return revoked && !issued.Truncate(time.Millisecond).After(u.at)
}

// Token revokes one token by its jti.
func (t *Tokens) Token(ctx context.Context, jti string) error {
	return t.revoke(ctx, bridge.RevokedToken, jti)
}

// User revokes every token of a user that was issued up to now.
func (t *Tokens) User(ctx context.Context, sub string) error {
	return t.revoke(ctx, bridge.RevokedUser, sub)
}

// revoke answers nil when the revocation is stored, known here, and nothing is
// delivered any more to who lives by what it names. After another answer it
// may be in force or not, and asking again does no harm.
func (t *Tokens) revoke(ctx context.Context, kind bridge.RevocationKind, value string) error {
	now := t.cfg.Now().UTC().Truncate(time.Millisecond)
	r := bridge.Revocation{Kind: kind, Value: value, At: now}
	if t.cfg.MaxLife > 0 {
		r.Until = now.Add(t.cfg.MaxLife + skew)
	}
	if t.count() >= t.cfg.Most && !t.knows(&r) {
		return chat.Errorf(chat.CodeRateLimited, "too many revocations are kept; max-token-life bounds how long")
	}
	if err := t.store(ctx, r); err != nil {
		return err
	}
	t.learn(r)
	return t.cfg.Cut(ctx)
}

// store repeats what answers ErrAgain.
func (t *Tokens) store(ctx context.Context, r bridge.Revocation) error {
	for tries := 0; ; tries++ {
		err := t.cfg.Store.Revoke(ctx, r)
		if !errors.Is(err, bridge.ErrAgain) {
			return err
		}
		if tries > 100 || ctx.Err() != nil {
			return bridge.ErrUnavailable
		}
	}
}

func (t *Tokens) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.tokens) + len(t.users)
}

func (t *Tokens) knows(r *bridge.Revocation) (known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r.Kind == bridge.RevokedToken {
		_, known = t.tokens[r.Value]
	} else {
		_, known = t.users[r.Value]
	}
	return known
}

// learn makes a revocation known. What it says never takes back what is known.
func (t *Tokens) learn(r bridge.Revocation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch r.Kind {
	case bridge.RevokedToken:
		before, known := t.tokens[r.Value]
		t.tokens[r.Value] = later(r.Until, before, known)
	case bridge.RevokedUser:
		before, known := t.users[r.Value]
		if r.At.Before(before.at) {
			r.At = before.at
		}
		t.users[r.Value] = user{at: r.At, until: later(r.Until, before.until, known)}
	}
}

// later is the later of two ends, of which the zero time is none.
func later(until, before time.Time, known bool) time.Time {
	switch {
	case !known:
		return until
	case until.IsZero() || before.IsZero():
		return time.Time{}
	case until.Before(before):
		return before
	}
	return until
}

// read asks the store for what is new, and says whether there was anything.
func (t *Tokens) read(ctx context.Context) (news bool, err error) {
	const page = 5000
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	for {
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		found, err := t.cfg.Store.Revoked(one, t.last, page)
		cancel()
		if err != nil {
			return news, err
		}
		for _, r := range found {
			t.learn(r)
			t.last, news = r.N, true
		}
		if len(found) < page {
			return news, nil
		}
	}
}

// follow learns what other processes revoke, and forgets what is over.
func (t *Tokens) follow() {
	ask, sweep := time.NewTicker(t.cfg.Every), time.NewTicker(t.cfg.SweepEvery)
	defer ask.Stop()
	defer sweep.Stop()
	fails := false
	for {
		var err error
		select {
		case <-t.ctx.Done():
			return
		case <-ask.C:
			err = t.catchUp()
		case <-sweep.C:
			err = t.sweep()
		}
		if err != nil && !fails && t.ctx.Err() == nil {
			t.cfg.Logger.Warn("asking for revoked tokens failed, will be tried again", "error", err)
		}
		fails = err != nil
	}
}

func (t *Tokens) catchUp() error {
	news, err := t.read(t.ctx)
	if !news {
		return err
	}
	ctx, cancel := context.WithTimeout(t.ctx, cutTimeout)
	defer cancel()
	return errors.Join(err, t.cfg.Cut(ctx))
}

// sweep forgets what is over: the tokens that it was about have expired.
func (t *Tokens) sweep() error {
	now := t.cfg.Now()
	t.mu.Lock()
	for jti, until := range t.tokens {
		if !until.IsZero() && !until.After(now) {
			delete(t.tokens, jti)
		}
	}
	for sub, u := range t.users {
		if !u.until.IsZero() && !u.until.After(now) {
			delete(t.users, sub)
		}
	}
	t.mu.Unlock()
	const some = 1000
	for {
		ctx, cancel := context.WithTimeout(t.ctx, storeTimeout)
		n, err := t.cfg.Store.SweepRevocations(ctx, now, some)
		cancel()
		if err != nil || n < some {
			return err
		}
	}
}
