// Package erase forgets users: it takes out what they said and published,
// everywhere, and ends what they have here. That may take long, so it is done
// in small steps by one goroutine, whoever asked for it, and goes on after a
// crash: an erasure that has begun is in the store until it has ended.
package erase

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Log is what an Eraser needs of the log. *bridge.Log has it.
type Log interface {
	BeginErasure(ctx context.Context, user string) error
	Erasures(ctx context.Context) ([]bridge.Erasure, error)
	CountErased(ctx context.Context, user string, n bridge.Erased) error
	EndErasure(ctx context.Context, user string) (bridge.Erased, error)
	Memberships(ctx context.Context, user string) ([]bridge.Membership, error)
	RemoveMember(ctx context.Context, actor bridge.Actor, id, user string) error
	EraseSaid(ctx context.Context, user string, stream chat.StreamID, after uint64) (uint64, error)
	EraseNotices(ctx context.Context, user string) (int, error)
	EraseNoticesBy(ctx context.Context, user string) (int, error)
	EraseTraces(ctx context.Context, user string) error
}

// Sessions is what an Eraser needs of the MQTT side. *broker.Broker has it.
type Sessions interface {
	EndUser(ctx context.Context, user string) error
	ForgetUser(ctx context.Context, user string) (sessions int, err error)
}

// Config is what New needs. Log, Sessions and Revoke have no default.
type Config struct {
	Log      Log
	Sessions Sessions
	Revoke   func(ctx context.Context, user string) error // the user's tokens
	Logger   *slog.Logger
	Retry    time.Duration // after how long it is tried again when the store failed (5 s)
}

// Eraser forgets users. All methods may be called from any goroutine.
type Eraser struct {
	cfg     Config
	wake    chan struct{} // has room for one: there may be something to do
	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	waiting map[string][]chan bridge.Erased
}

// New makes an Eraser that begins with Start. Close is to be called at its end.
func New(cfg Config) *Eraser {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Retry == 0 {
		cfg.Retry = 5 * time.Second
	}
	e := &Eraser{cfg: cfg, wake: make(chan struct{}, 1), waiting: map[string][]chan bridge.Erased{}}
	e.ctx, e.end = context.WithCancel(context.Background())
	return e
}

// Start goes on with what the last process has begun, and with what is asked
// for from now on.
func (e *Eraser) Start() {
	e.look()
	e.running.Go(e.run)
}

// Close ends it; what has begun goes on at the next start. Those who wait are
// told that it is unavailable.
func (e *Eraser) Close() {
	e.end()
	e.running.Wait()
}

// Erase forgets a user and answers what was erased since that began. It goes
// on when ctx ends first, and who asks again before its end waits for the rest.
func (e *Eraser) Erase(ctx context.Context, user string) (bridge.Erased, error) {
	done := make(chan bridge.Erased, 1)
	e.mu.Lock()
	e.waiting[user] = append(e.waiting[user], done)
	e.mu.Unlock()
	defer e.forget(user, done)
	if err := e.cfg.Log.BeginErasure(ctx, user); err != nil {
		return bridge.Erased{}, err
	}
	e.look()
	select {
	case n := <-done:
		return n, nil
	case <-ctx.Done():
		return bridge.Erased{}, errGoesOn
	case <-e.ctx.Done():
		return bridge.Erased{}, errGoesOn
	}
}

var errGoesOn = &chat.Error{Code: chat.CodeUnavailable, Message: "the user is being erased; ask again for the count"}

func (e *Eraser) forget(user string, done chan bridge.Erased) {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := e.waiting[user][:0]
	for _, w := range e.waiting[user] {
		if w != done {
			left = append(left, w)
		}
	}
	if e.waiting[user] = left; len(left) == 0 {
		delete(e.waiting, user)
	}
}

func (e *Eraser) look() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run erases one user after the other.
func (e *Eraser) run() {
	for {
		var again <-chan time.Time
		if err := e.all(); err != nil && e.ctx.Err() == nil {
			e.cfg.Logger.Warn("erasing a user failed, will be tried again", "error", err)
			again = time.After(e.cfg.Retry)
		}
		select {
		case <-e.ctx.Done():
			return
		case <-e.wake:
		case <-again:
		}
	}
}

// all erases those who are noted. One that fails does not hold up the others.
func (e *Eraser) all() error {
	var noted []bridge.Erasure
	err := e.step(func(ctx context.Context) (err error) {
		noted, err = e.cfg.Log.Erasures(ctx)
		return err
	})
	for i := range noted {
		if e.ctx.Err() != nil {
			break
		}
		err = errors.Join(err, e.one(noted[i].UserID))
	}
	return err
}

// stepTimeout bounds one step.
const stepTimeout = 30 * time.Second

func (e *Eraser) step(do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(e.ctx, stepTimeout)
	defer cancel()
	return do(ctx)
}

// one erases a user. First nothing more can come of it; then what there is
// goes.
func (e *Eraser) one(user string) error {
	steps := []func(ctx context.Context) error{
		func(ctx context.Context) error { return e.cfg.Sessions.EndUser(ctx, user) }, // before its wills are published
		func(ctx context.Context) error { return e.cfg.Revoke(ctx, user) },
		func(ctx context.Context) error { return e.cfg.Sessions.EndUser(ctx, user) }, // who came in between
		func(context.Context) error { return e.sessions(user) },                      // many steps
		func(context.Context) error { return e.conversations(user) },
		func(context.Context) error { return e.repeat(e.cfg.Log.EraseNotices, user) },
		func(context.Context) error { return e.repeat(e.cfg.Log.EraseNoticesBy, user) },
		func(ctx context.Context) error { return e.cfg.Log.EraseTraces(ctx, user) },
	}
	for _, do := range steps {
		if err := e.step(do); err != nil {
			return err
		}
	}
	return e.step(func(ctx context.Context) error { return e.ended(ctx, user) })
}

func (e *Eraser) sessions(user string) error {
	n, err := e.cfg.Sessions.ForgetUser(e.ctx, user)
	return errors.Join(err, e.step(func(ctx context.Context) error {
		return e.cfg.Log.CountErased(ctx, user, bridge.Erased{Sessions: n})
	}))
}

// conversations has the user leave its conversations, and erases what it said
// there and where it was before.
func (e *Eraser) conversations(user string) error {
	var all []bridge.Membership
	err := e.step(func(ctx context.Context) (err error) {
		all, err = e.cfg.Log.Memberships(ctx, user)
		return err
	})
	for i := range all {
		if err != nil {
			break
		}
		id := all[i].Conversation
		if all[i].Role != chat.RoleNone {
			err = e.step(func(ctx context.Context) error { return e.leave(ctx, user, id) })
		}
		if err == nil {
			err = e.said(user, chat.ConversationStream(id))
		}
	}
	return err
}

func (e *Eraser) leave(ctx context.Context, user, id string) error {
	err := e.cfg.Log.RemoveMember(ctx, bridge.Actor{UserID: user, Admin: true, Forgets: true}, id, user)
	switch {
	case errors.Is(err, chat.ErrNotFound): // it has left, or the conversation is gone
		return nil
	case err != nil:
		return err
	}
	return e.cfg.Log.CountErased(ctx, user, bridge.Erased{Conversations: 1})
}

func (e *Eraser) said(user string, stream chat.StreamID) error {
	for after := uint64(0); ; {
		var next uint64
		err := e.step(func(ctx context.Context) (err error) {
			next, err = e.cfg.Log.EraseSaid(ctx, user, stream, after)
			return err
		})
		if err != nil || next == 0 {
			return err
		}
		after = next
	}
}

// repeat erases some, until there is nothing left.
func (e *Eraser) repeat(some func(ctx context.Context, user string) (int, error), user string) error {
	for {
		var n int
		err := e.step(func(ctx context.Context) (err error) {
			n, err = some(ctx, user)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// ended ends an erasure, and tells those who wait.
func (e *Eraser) ended(ctx context.Context, user string) error {
	n, err := e.cfg.Log.EndErasure(ctx, user)
	if err != nil {
		return err
	}
	e.cfg.Logger.Info("a user was erased", "user", user, "messages", n.Messages, "conversations", n.Conversations, "sessions", n.Sessions)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.waiting[user] {
		select {
		case w <- n:
		default:
		}
	}
	return nil
}
