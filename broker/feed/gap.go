package feed

import (
	"context"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// gap is what a reader meets whose next entry is not held any more.
type gap struct {
	first  uint64            // the oldest seq that is held
	member bridge.Membership // what the session's user is to the conversation
}

// findGaps finds, in what the store answered, the streams whose reader was to
// go on with an entry that is not held any more: seq has no gap but there. It
// tells the connection.
//
// The entries that are missing may have been the user's own leave and join,
// which say what may be sent: so the store is asked for the membership.
func (d *Feed) findGaps(ctx context.Context, asked []ask, read [][]*bridge.Item) error {
	for i := range asked {
		a := &asked[i]
		first, err := d.begins(ctx, a, read[i])
		if err != nil {
			return err
		}
		if first <= a.After+1 {
			continue
		}
		a.gap = &gap{first: first}
		if conversation := a.Stream.Conversation(); conversation != "" {
			if a.gap.member, err = d.cfg.Log.Membership(ctx, conversation, d.cfg.Key.UserID); err != nil {
				return err
			}
		}
		if d.cfg.Trimmed != nil && !a.gap.over(a.admin) {
			d.cfg.Trimmed(topicOf(a.Stream), first)
		}
	}
	return nil
}

// begins answers the oldest seq that is held, if it may be one that the reader
// does not expect.
func (d *Feed) begins(ctx context.Context, a *ask, items []*bridge.Item) (uint64, error) {
	if len(items) > 0 {
		return items[0].Seq, nil
	}
	if a.watch.Progress(a.After).Head <= a.After {
		return 0, nil // it stands at the end
	}
	head, err := d.cfg.Log.Head(ctx, a.Stream)
	return head.First, err
}

// over reports whether the user's leave entry, which would have ended delivery,
// was among what is missing. An admin reads all.
func (g *gap) over(admin bool) bool {
	m := &g.member
	return !admin && m.Conversation != "" && m.Role == chat.RoleNone && m.LeftSeq < g.first
}

// pass goes on behind a gap. It is false when the reader may have nothing that
// comes there. d.mu is held.
func (f *follower) pass(g *gap) bool {
	f.pos = max(f.pos, g.first-1)
	if f.cursor != nil {
		f.cursor.Advance(g.first - 1) // what is before it can never be sent again
	}
	switch m := &g.member; {
	case f.until > 0 && f.pos >= f.until:
		f.feed.unfollow(f)
		return false
	case g.over(f.admin()):
		f.feed.rest(f)
		return false
	case m.Role != chat.RoleNone && m.JoinedSeq > f.since:
		// It may have left and joined again. Unless that is known to be over,
		// nothing is sent up to its next join entry.
		f.rejoin = max(f.rejoin, m.JoinedSeq)
		f.out = m.JoinedSeq >= g.first
	}
	return true
}
