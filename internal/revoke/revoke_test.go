package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/revoke"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a bridge.Revocations in memory that may be shared and may fail.
type store struct {
	mu   sync.Mutex
	n    uint64
	all  []bridge.Revocation
	fail []error // of the next calls
}

func (s *store) failing() error {
	if len(s.fail) == 0 {
		return nil
	}
	err := s.fail[0]
	s.fail = s.fail[1:]
	return err
}

func (s *store) Revoke(_ context.Context, r bridge.Revocation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	s.all = slices.DeleteFunc(s.all, func(o bridge.Revocation) bool { return o.Kind == r.Kind && o.Value == r.Value })
	s.n++
	r.N = s.n
	s.all = append(s.all, r)
	return nil
}

func (s *store) Revoked(_ context.Context, after uint64, limit int) (found []bridge.Revocation, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if r.N > after && len(found) < limit {
			found = append(found, r)
		}
	}
	return found, s.failing()
}

func (s *store) SweepRevocations(_ context.Context, now time.Time, _ int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.all)
	s.all = slices.DeleteFunc(s.all, func(r bridge.Revocation) bool { return !r.Until.IsZero() && !r.Until.After(now) })
	return before - len(s.all), s.failing()
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

func (s *store) failNext(errs ...error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = errs
}

func load(t *testing.T, cfg revoke.Config) *revoke.Tokens {
	t.Helper()
	tokens := revoke.New(cfg)
	if err := tokens.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	return tokens
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		tokens := load(t, revoke.Config{Store: s})
		before := time.Now()
		time.Sleep(time.Second)
		ok(t, tokens.User(t.Context(), "bob"))
		at := time.Now()
		ok(t, tokens.Token(t.Context(), "t1"))
		ok(t, tokens.Token(t.Context(), "alice"))
		for _, tt := range []struct {
			sub, jti string
			issued   time.Time
			want     bool
		}{
			{"bob", "t9", before, true}, {"bob", "t9", at, true}, {"bob", "t9", time.Time{}, true}, {"bob", "", before, true},
			{"bob", "t9", at.Add(time.Millisecond), false}, {"bob", "t1", at.Add(time.Millisecond), true},
			{"alice", "t1", before, true}, {"alice", "t1", at.Add(time.Hour), true}, {"alice", "t2", before, false},
			{"alice", "", time.Time{}, false}, {"bobby", "t9", before, false}, {"t1", "bob", before, false},
		} {
			for _, tokens := range []*revoke.Tokens{tokens, load(t, revoke.Config{Store: s})} {
				if got := tokens.Revoked(tt.sub, tt.jti, tt.issued); got != tt.want {
					t.Errorf("%+v: got %v", tt, got)
				}
			}
		}
		ok(t, tokens.User(t.Context(), "bob")) // again, later
		time.Sleep(time.Second)
		ok(t, tokens.User(t.Context(), "bob"))
		if !tokens.Revoked("bob", "", at.Add(time.Second)) {
			t.Error("a user was not revoked again")
		}
	})
}

// Cut runs when the tokens are known to be revoked, in every process.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		var both [2]atomic.Pointer[revoke.Tokens]
		var cuts [2]atomic.Int32
		for i := range both {
			both[i].Store(load(t, revoke.Config{Store: s, Cut: func(context.Context) error {
				if !both[i].Load().Revoked("", "t1", time.Time{}) {
					t.Error("it is not known yet")
				}
				cuts[i].Add(1)
				return nil
			}}))
		}
		here, there := both[0].Load(), both[1].Load()
		ok(t, here.Token(t.Context(), "t1"))
		if a, b := cuts[0].Load(), cuts[1].Load(); a != 1 || b != 0 {
			t.Errorf("cut %d and %d times", a, b)
		}
		time.Sleep(3 * time.Second)
		if n := cuts[1].Load(); n != 1 {
			t.Errorf("the other process cut %d times", n)
		}
		s.failNext(bridge.ErrUnavailable, bridge.ErrUnavailable)
		time.Sleep(3 * time.Second)
		ok(t, here.Token(t.Context(), "t2"))
		time.Sleep(5 * time.Second)
		if !there.Revoked("", "t2", time.Time{}) {
			t.Error("after a failure the other process learns nothing more")
		}
	})
}

// A failure is told, and what may stand is found.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		tokens := load(t, revoke.Config{Store: s})
		s.failNext(bridge.ErrUnavailable)
		if err := tokens.Token(t.Context(), "t1"); !errors.Is(err, bridge.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if tokens.Revoked("", "t1", time.Time{}) {
			t.Error("it is known though it is not stored")
		}
		s.failNext(bridge.ErrAgain, bridge.ErrAgain)
		ok(t, tokens.Token(t.Context(), "t1"))
		if !tokens.Revoked("", "t1", time.Time{}) {
			t.Error("it is not known")
		}
		late := errors.New("too slow")
		slow := load(t, revoke.Config{Store: &store{}, Cut: func(context.Context) error { return late }})
		if err := slow.Token(t.Context(), "t1"); !errors.Is(err, late) {
			t.Errorf("got %v", err)
		}
	})
}

// What is kept is bounded in number, and by the life of tokens in time.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		tokens := load(t, revoke.Config{Store: s, MaxLife: time.Hour, Most: 3})
		for i := range 2 {
			ok(t, tokens.Token(t.Context(), fmt.Sprint(i)))
		}
		ok(t, tokens.User(t.Context(), "bob"))
		var refusal *chat.Error
		if err := tokens.User(t.Context(), "eve"); !errors.As(err, &refusal) || refusal.Code != chat.CodeRateLimited {
			t.Errorf("one too many: %v", err)
		}
		ok(t, tokens.User(t.Context(), "bob"))
		ok(t, tokens.Token(t.Context(), "1"))
		time.Sleep(59 * time.Minute)
		if !tokens.Revoked("bob", "", time.Time{}) || !tokens.Revoked("", "0", time.Time{}) || s.count() != 3 {
			t.Errorf("forgotten too early, %d are left", s.count())
		}
		time.Sleep(5 * time.Minute)
		if tokens.Revoked("bob", "", time.Time{}) || tokens.Revoked("", "0", time.Time{}) || s.count() != 0 {
			t.Errorf("not forgotten, %d are left", s.count())
		}
		ok(t, tokens.User(t.Context(), "eve"))

		forEver := load(t, revoke.Config{Store: &store{}})
		ok(t, forEver.Token(t.Context(), "t"))
		time.Sleep(10 * 365 * 24 * time.Hour / 1000)
		if !forEver.Revoked("", "t", time.Time{}) {
			t.Error("forgotten, though tokens may live for ever")
		}
	})
}
