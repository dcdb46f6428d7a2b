package broker

import (
	"context"
	"errors"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/live"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// publishLive takes what a client says of itself: that it types, how far it
// has read, how present it is.
func (c *conn) publishLive(s *send, pub *wire.Publish, topic chat.Topic) error {
	switch topic.Kind {
	case chat.KindTyping:
		typing, err := chat.DecodeTyping(pub.Payload)
		if err == nil {
			err = c.session.live.Typing(topic.ID, typing)
		}
		if err != nil {
			return err
		}
	case chat.KindReceipts:
		return c.publishReceipt(s, pub, topic.ID)
	default:
		status, err := chat.DecodeStatus(pub.Payload)
		if err != nil {
			return err
		}
		c.session.live.SetStatus(status)
	}
	s.finish(nil)
	return nil
}

// publishReceipt has it stored how far the user has read, with what others
// have. It is answered when that is done, and reading does not wait for it.
func (c *conn) publishReceipt(s *send, pub *wire.Publish, conversation string) error {
	read, delivered, err := chat.DecodeReceipt(pub.Payload)
	if err != nil {
		return err
	}
	move := bridge.Move{MemberKey: bridge.MemberKey{Conversation: conversation, UserID: c.key.UserID},
		Read: read, Delivered: delivered}
	go func() { // no more of them than the Receive Maximum: see waitForRoom
		ctx, cancel := c.storeContext()
		defer cancel()
		_, err := c.b.log.MoveReceipt(ctx, move)
		s.finish(shown(err))
	}()
	return nil
}

// grantLive decides on the filters of a SUBSCRIBE that mean typing, receipts,
// presence or counts, and has the conversations loaded that they need: what
// is said from the SUBACK on is delivered.
func (s *session) grantLive(grants []grant) {
	ctx, cancel := s.c.storeContext()
	defer cancel()
	var prepare bool
	for i := range grants {
		g := &grants[i]
		if g.err != nil || !live.Wants(g.filter, s.c.key.UserID) {
			continue
		}
		if g.err = s.mayHear(ctx, g.filter); g.err == nil {
			_, stands := s.subs.Find(g.filter.Name)
			g.snapshot = g.retain == sendRetained || g.retain == sendRetainedIfNew && !stands
			prepare = prepare || live.NeedsRooms(g.filter, s.c.key.UserID)
		}
	}
	if !prepare {
		return
	}
	if err := s.live.Prepare(ctx); err != nil {
		for i := range grants {
			if g := &grants[i]; g.err == nil && live.NeedsRooms(g.filter, s.c.key.UserID) {
				g.err = bridge.ErrUnavailable
			}
		}
	}
}

// mayHear asks the store whether the user may subscribe to a filter of a
// single conversation or user. A filter of all means those that it may.
func (s *session) mayHear(ctx context.Context, f chat.Filter) error {
	user := s.c.key.UserID
	switch {
	case f.Any || !f.Kind.OfChat() && (f.Kind != chat.KindPresence || f.ID == user):
		return nil
	case f.Kind == chat.KindPresence:
		may, err := s.c.b.live.MaySee(ctx, user, []string{f.ID})
		switch {
		case err != nil:
			return shown(err)
		case !may[0]:
			return errUnseen
		}
		return nil
	}
	m, err := s.c.b.log.Membership(ctx, f.ID, user)
	switch {
	case err != nil:
		return shown(err)
	case !m.Exists:
		return bridge.NoConversation()
	case m.Role == chat.RoleNone:
		return bridge.NotMember()
	}
	return nil
}

var errUnseen = &chat.Error{Code: chat.CodeForbidden, Field: "filter", Message: "you share no conversation with this user"}

// shown is an error of the store as a client may see it.
func shown(err error) error {
	if e := (*chat.Error)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return bridge.ErrUnavailable
}
