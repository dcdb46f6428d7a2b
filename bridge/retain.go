package bridge

import (
	"context"
	"sort"

	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// retainPage is how many streams are looked at in one read, and
	// retainPages how many reads there are in one turn: what a turn costs does
	// not grow with the number of streams.
	retainPage  = 1000
	retainPages = 20
	// trimChunk is how many entries go in one transaction. Whoever sends to
	// the stream waits for it.
	trimChunk = 250
)

// retainer walks through the streams, some in each turn, and then from the
// start again. The places are where the next turn goes on.
type retainer struct {
	log           *Log
	conversations chat.StreamID
	notifications chat.StreamID
}

// The names of streams lie between these.
const (
	conversationsFrom, conversationsTo chat.StreamID = "c/", "c0" // "0" follows "/"
	notificationsFrom, notificationsTo chat.StreamID = "n/", "n0"
)

// turn trims what has grown too old or too long among the streams whose turn
// it is.
func (r *retainer) turn(ctx context.Context) error {
	policy := &r.log.cfg.Retention
	own := policy.Conversations == Retention{}
	if err := r.walk(ctx, &r.conversations, conversationsFrom, conversationsTo, own); err != nil {
		return err
	}
	own = policy.Notifications == Retention{}
	return r.walk(ctx, &r.notifications, notificationsFrom, notificationsTo, own)
}

func (r *retainer) walk(ctx context.Context, place *chat.StreamID, from, to chat.StreamID, own bool) error {
	for range retainPages {
		*place = max(*place, from)
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		page, err := r.log.store.Oldest(one, *place, to, own, retainPage)
		cancel()
		if err != nil {
			return err
		}
		for i := range page {
			if !r.log.cfg.Retention.Overdue(&page[i], r.log.now()) {
				continue
			}
			if err := r.log.trim(ctx, page[i].Stream); err != nil {
				return err
			}
		}
		if len(page) < retainPage {
			*place = from
			return nil
		}
		*place = page[len(page)-1].Stream
	}
	return nil
}

// trim removes what is too much of one stream, some at a time.
func (l *Log) trim(ctx context.Context, stream chat.StreamID) error {
	for ctx.Err() == nil {
		var head Head
		var removed int
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		err := again(one, func() (err error) {
			head, removed, err = l.store.Trim(one, l.now(), l.cfg.Retention, stream, trimChunk)
			return err
		})
		cancel()
		if err != nil {
			return err
		}
		l.metrics.trimmed.Add(float64(removed))
		if t := l.tails.find(stream); t != nil {
			t.cut(head.First)
		}
		if user := stream.User(); user != "" && removed > 0 {
			l.recount(user)
		}
		if removed < trimChunk {
			return nil
		}
	}
	return ctx.Err()
}

// cut takes out what the store does not hold any more: entries before first.
// What was read before it is not sent.
func (t *tail) cut(first uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first <= t.first {
		return
	}
	if t.first > 0 || first > 1 { // else nothing was ever trimmed
		t.erased++
	}
	t.first = first
	t.drop(sort.Search(len(t.items), func(i int) bool { return t.items[i].Seq >= first }))
}

// SetRetention says how long the entries of a conversation are kept; see
// Store.SetRetention.
func (l *Log) SetRetention(ctx context.Context, actor Actor, id string, r Retention) error {
	return again(ctx, func() error { return l.store.SetRetention(ctx, actor, id, r) })
}
