package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Retaining is the part of a Store that lets go of what has grown old. What
// goes is always a prefix of a stream: what stands has no gap. Its verbs obey
// the rules of Store, errors included.
type Retaining interface {
	// Oldest answers the older end of streams, in byte order of their names:
	// of those with from < name < to, at most limit. With own, of those alone
	// that have a Retention of their own.
	Oldest(ctx context.Context, from, to chat.StreamID, own bool, limit int) ([]Held, error)
	// Trim removes the oldest entries of a stream as the policy and the
	// stream's own Retention say at now, at most limit of them, and raises
	// First. It answers what is held then, and how many were removed; zeros
	// where the stream does not exist. It waits for commits to the stream and
	// they for it.
	Trim(ctx context.Context, now time.Time, policy RetentionPolicy, stream chat.StreamID, limit int) (Head, int, error)
	// SetRetention gives a conversation a Retention of its own, as
	// CheckRetention allows; the zero one takes it away.
	SetRetention(ctx context.Context, actor Actor, id string, r Retention) error
}

// Retention is how long the entries of a stream are kept. What is 0 is no
// bound.
type Retention struct {
	Age   time.Duration // whole seconds
	Count uint64        // of the newest entries
}

// RetentionPolicy is what holds for all streams.
type RetentionPolicy struct {
	Conversations Retention
	Notifications Retention
}

// Held is the older end of a stream.
type Held struct {
	Stream chat.StreamID
	Head
	OldestAt time.Time // createdAt of the entry at First; zero where none is held
	Own      Retention
}

// For is what holds for one stream: of the policy and its own the stricter.
func (p *RetentionPolicy) For(stream chat.StreamID, own Retention) Retention {
	all := p.Notifications
	if stream.Conversation() != "" {
		all = p.Conversations
	}
	return Retention{Age: stricter(all.Age, own.Age), Count: stricter(all.Count, own.Count)}
}

func stricter[T time.Duration | uint64](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Bounds says what is too much of a stream with that head: every entry up to
// through, and behind it those that were committed before the time, as far as
// they stand in a row. The zero time is none.
func (r Retention) Bounds(now time.Time, head uint64) (through uint64, before time.Time) {
	if r.Count > 0 && head > r.Count {
		through = head - r.Count
	}
	if r.Age > 0 {
		before = now.Add(-r.Age)
	}
	return through, before
}

// Overdue reports whether Trim would find something.
func (p *RetentionPolicy) Overdue(h *Held, now time.Time) bool {
	if h.First > h.Head.Head {
		return false
	}
	through, before := p.For(h.Stream, h.Own).Bounds(now, h.Head.Head)
	return h.First <= through || h.OldestAt.Before(before)
}

// CheckRetention wants the owner.
func CheckRetention(actor Actor, role chat.Role) error {
	return wantRole(actor, role, chat.RoleOwner, "only the owner may say how long entries are kept")
}
