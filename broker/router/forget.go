package router

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// forgetChunk is how many messages are removed or looked at in one
	// transaction.
	forgetChunk = 500
	// forgetFor is how long what is read of a user who was forgotten is looked
	// at: longer than anything takes that was being read before.
	forgetFor = 4 * storeTimeout
)

// ForgetUser removes what a user has published: its retained messages, its wills,
// and what says anything of messages that are on their way to others. Those
// that a client has begun to get come to their end empty, as QoS 2 wants. The
// caller promises that the user has no connection and gets none.
func (r *Router) ForgetUser(ctx context.Context, user string) error {
	if err := r.forgetWills(ctx, user); err != nil {
		return err
	}
	if err := r.Sync(ctx); err != nil { // what was published before is in the store, or in a mailbox
		return err
	}
	r.forgetting(user, true)
	time.AfterFunc(forgetFor, func() { r.forgetting(user, false) })
	for {
		n, bytes, err := stubborn(ctx, func() (int, int64, error) {
			return r.cfg.Store.EraseRetained(ctx, user, forgetChunk)
		})
		if err != nil {
			return err
		}
		r.retains.add(-int64(n), -bytes)
		if n == 0 {
			break
		}
	}
	for last := (chat.ID{}); ; {
		next, _, err := stubborn(ctx, func() (chat.ID, int64, error) {
			next, err := r.cfg.Store.EraseQueued(ctx, user, last, forgetChunk)
			return next, 0, err
		})
		if err != nil {
			return err
		}
		if last = next; last == (chat.ID{}) {
			break
		}
	}
	r.empty(user)
	return nil
}

// stubborn repeats what answers bridge.ErrAgain.
func stubborn[T any](ctx context.Context, verb func() (T, int64, error)) (v T, n int64, err error) {
	for range 1000 {
		if v, n, err = verb(); !errors.Is(err, bridge.ErrAgain) || ctx.Err() != nil {
			break
		}
	}
	return v, n, err
}

// forgetWills gives up the wills of a user, those too that are due.
func (r *Router) forgetWills(ctx context.Context, user string) error {
	for after := (bridge.SessionKey{UserID: user}); ; {
		kept, err := r.cfg.Store.Wills(ctx, after, forgetChunk)
		if err != nil {
			return err
		}
		for i := range kept {
			after = kept[i].Key
			if after.UserID != user {
				return nil
			}
			if _, err := r.Returned(ctx, after); err != nil {
				return err
			}
			if err := r.DropWill(ctx, after); err != nil {
				return err
			}
		}
		if len(kept) < forgetChunk {
			return nil
		}
	}
}

// forgetting begins or ends to look for what a user has published in what is
// read from the store.
func (r *Router) forgetting(user string, begin bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	users := map[string]int{}
	if now := r.forgotten.Load(); now != nil {
		users = maps.Clone(*now)
	}
	if begin {
		users[user]++
	} else if users[user]--; users[user] == 0 {
		delete(users, user)
	}
	if len(users) == 0 {
		r.forgotten.Store(nil)
		return
	}
	r.forgotten.Store(&users)
}

// forgets reports whether a message is of a user who is being forgotten.
func (r *Router) forgets(m *bridge.Message) bool {
	users := r.forgotten.Load()
	return users != nil && (*users)[m.UserID] > 0
}

// emptied is the message without what it says. It has expired.
func emptied(m *Message) *Message {
	e := &Message{Message: m.Message, Retain: m.Retain, From: m.From}
	e.Payload, e.Props, e.Expires = nil, nil, time.Unix(0, 0)
	return e
}

// empty empties what mailboxes hold of a user.
func (r *Router) empty(user string) {
	r.mu.Lock()
	boxes := make([]*Mailbox, 0, len(r.boxes))
	for _, b := range r.boxes {
		boxes = append(boxes, b)
	}
	r.mu.Unlock()
	for _, b := range boxes {
		b.mu.Lock()
		for _, list := range [][]delivery{b.flight.all(), b.pending.all(), b.zero.all()} {
			for i := range list {
				if d := &list[i]; d.m != nil && d.m.UserID == user {
					d.m = emptied(d.m)
				}
			}
		}
		b.mu.Unlock()
	}
}
