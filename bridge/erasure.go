package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Persons is the part of a Store that finds what it holds of one user, to hand
// it over or to forget it. Its verbs obey the rules of Store, errors included.
//
// A user is forgotten in many small transactions, so that nobody waits long
// for one of them, and an erasure notes that this has begun: it goes on after
// a crash. Each verb that erases adds what it erased to the erasure, in its
// own transaction. Doing it again erases nothing and counts nothing.
type Persons interface {
	// Said answers, of the next limit entries of a stream after a seq, those
	// that the user sent, in order; and where to go on, 0 at the end.
	Said(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) (entries []chat.Entry, next uint64, err error)
	// RetainedBy answers the retained messages that the user published, in
	// the order of their ids, those after one, at most limit; those that have
	// expired at now are left out.
	RetainedBy(ctx context.Context, now time.Time, user string, after chat.ID, limit int) ([]Message, error)
	// SessionKeys answers the durable sessions of a user in byte order of
	// their client ids, those after one ("" is the start), at most limit.
	SessionKeys(ctx context.Context, user, after string, limit int) ([]SessionKey, error)

	// BeginErasure notes that a user is to be forgotten, unless that is noted.
	BeginErasure(ctx context.Context, now time.Time, user string) error
	// Erasures answers those that have begun and not ended, the oldest first.
	Erasures(ctx context.Context) ([]Erasure, error)
	// CountErased adds to what an erasure has erased.
	CountErased(ctx context.Context, user string, n Erased) error
	// EndErasure removes what is noted of an erasure and answers what it
	// erased; nothing where there is none.
	EndErasure(ctx context.Context, user string) (Erased, error)

	// EraseSaid takes out, of a conversation after a seq, what the user said:
	// its messages with the edits of them, whoever made those, its edits and
	// its reactions; as Entry.Erased does. The user goes out of Mentions of
	// what others said. It does so with at most limit entries, and answers
	// where to go on, 0 at the end. The caller promises that the user sends
	// nothing there any more. Whoever sends to the conversation meanwhile
	// waits while some entries are erased, not while they are looked for.
	EraseSaid(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) (next uint64, n Erased, err error)
	// EraseNotices removes at most limit of the user's notifications, the
	// oldest first, and when there are none left their stream. It says how
	// many it removed.
	EraseNotices(ctx context.Context, user string, limit int) (int, error)
	// EraseNoticesBy erases at most limit of the notifications that the user
	// sent to others: all but their types. It says how many, and answers their
	// streams, some perhaps more than once. They stay unread if they were.
	EraseNoticesBy(ctx context.Context, user string, limit int) (streams []chat.StreamID, err error)
	// EraseTraces removes what else there is of a user: where it was a member
	// and is none any more, what it had read there, when it was here last, its
	// preferences, and blocks, by it and of it.
	EraseTraces(ctx context.Context, user string) error
}

// Erasure is a user that is being forgotten.
type Erasure struct {
	UserID string
	Began  time.Time
	Erased
}

// Erased counts what was erased.
type Erased struct {
	Messages, Edits, Reactions int
	Notifications              int // of the user and by the user
	Retained                   int // retained messages
	Sessions                   int
	Conversations              int // that the user was a member of, and left
}

// Zero reports whether nothing was erased.
func (n Erased) Zero() bool { return n == Erased{} }

// CountSaid is Erased of entries by their types.
func CountSaid(types []chat.Type) (n Erased) {
	for _, t := range types {
		switch t {
		case chat.TypeMessage:
			n.Messages++
		case chat.TypeEdit:
			n.Edits++
		case chat.TypeReaction:
			n.Reactions++
		}
	}
	return n
}

// WithoutMention is mentions without a user; mentioned is false when it was
// not among them.
func WithoutMention(mentions []string, user string) (left []string, mentioned bool) {
	for _, m := range mentions {
		if m != user {
			left = append(left, m)
		}
	}
	return left, len(left) < len(mentions)
}

// Said answers what a user said in a stream, page by page; see Persons.Said.
func (l *Log) Said(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) ([]chat.Entry, uint64, error) {
	return l.store.Said(ctx, user, stream, after, limit)
}

// RetainedBy answers what a user has retained, page by page; see
// Persons.RetainedBy.
func (l *Log) RetainedBy(ctx context.Context, user string, after chat.ID, limit int) ([]Message, error) {
	return l.store.RetainedBy(ctx, l.now(), user, after, limit)
}

// SessionKeys answers a user's durable sessions; see Persons.SessionKeys.
func (l *Log) SessionKeys(ctx context.Context, user, after string, limit int) ([]SessionKey, error) {
	return l.store.SessionKeys(ctx, user, after, limit)
}

// BeginErasure notes that a user is to be forgotten.
func (l *Log) BeginErasure(ctx context.Context, user string) error {
	return again(ctx, func() error { return l.store.BeginErasure(ctx, l.now(), user) })
}

// Erasures answers those that have not ended.
func (l *Log) Erasures(ctx context.Context) ([]Erasure, error) { return l.store.Erasures(ctx) }

// CountErased adds to what an erasure has erased.
func (l *Log) CountErased(ctx context.Context, user string, n Erased) error {
	return again(ctx, func() error { return l.store.CountErased(ctx, user, n) })
}

// EndErasure ends an erasure, and answers what it erased.
func (l *Log) EndErasure(ctx context.Context, user string) (n Erased, err error) {
	err = again(ctx, func() (err error) {
		n, err = l.store.EndErasure(ctx, user)
		return err
	})
	return n, err
}

// EraseSaid erases some of what a user said in a conversation; see
// Persons.EraseSaid. When it returns nothing of that is delivered any more.
func (l *Log) EraseSaid(ctx context.Context, user string, stream chat.StreamID, after uint64) (next uint64, err error) {
	err = again(ctx, func() (err error) {
		next, _, err = l.store.EraseSaid(ctx, user, stream, after, eraseChunk)
		return err
	})
	if t := l.tails.find(stream); t != nil { // also where the outcome is unknown
		t.doubt()
	}
	return next, err
}

// eraseChunk is how many entries are erased in one transaction.
const eraseChunk = 100

// doubt gives up what memory holds of a stream: some of it may be erased. What
// was read before is not sent.
func (t *tail) doubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erased++
	t.clear()
}

// EraseNotices removes some of a user's notifications, and says how many.
func (l *Log) EraseNotices(ctx context.Context, user string) (n int, err error) {
	err = again(ctx, func() (err error) {
		n, err = l.store.EraseNotices(ctx, user, eraseChunk)
		return err
	})
	l.tails.forget(chat.NotificationStream(user)) // also where the outcome is unknown
	l.recount(user)
	return n, err
}

// EraseNoticesBy erases some of the notifications that a user sent to others,
// and says how many.
func (l *Log) EraseNoticesBy(ctx context.Context, user string) (n int, err error) {
	var streams []chat.StreamID
	err = again(ctx, func() (err error) {
		streams, err = l.store.EraseNoticesBy(ctx, user, eraseChunk)
		return err
	})
	for _, stream := range streams {
		l.tails.doubt(stream)
	}
	return len(streams), err
}

// EraseTraces removes what else there is of a user; see Persons.EraseTraces.
func (l *Log) EraseTraces(ctx context.Context, user string) error {
	return again(ctx, func() error { return l.store.EraseTraces(ctx, user) })
}
