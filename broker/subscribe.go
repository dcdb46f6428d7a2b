package broker

import (
	"context"
	"errors"
	"maps"
	"strconv"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// handleRare deals with the packets that a connection seldom sends.
func (c *conn) handleRare(p wire.Packet) error {
	pk := new(packets.Packet)
	if err := wire.Decode(c.version, p, pk); err != nil {
		return err
	}
	switch p.Type() {
	case wire.TypeSubscribe:
		return c.subscribe(pk)
	case wire.TypeUnsubscribe:
		return c.unsubscribe(pk)
	case wire.TypeDisconnect:
		return c.disconnect(pk)
	case wire.TypeConnect: // [MQTT-3.1.0-2]
		return &wire.Error{Code: wire.CodeProtocolError, Text: "second CONNECT"}
	}
	return &wire.Error{Code: wire.CodeProtocolError, Text: "packet is not offered"}
}

// disconnect takes the client's goodbye, with which it may change how long
// its session lives [MQTT-3.14.2-2].
func (c *conn) disconnect(pk *packets.Packet) error {
	if pk.Properties.SessionExpiryIntervalFlag {
		s := c.session
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.expiry == 0 && pk.Properties.SessionExpiryInterval > 0 {
			return &wire.Error{Code: wire.CodeProtocolError, Text: "a session that ends with its connection cannot be kept"}
		}
		s.expiry = pk.Properties.SessionExpiryInterval
	}
	c.end(0, "disconnected by the client")
	return errEnd
}

// grant is what became of one filter of a SUBSCRIBE.
type grant struct {
	filter chat.Filter
	qos    byte // also the SUBACK's code
	err    error
}

// subscribe answers a SUBSCRIBE packet. It asks the store, so the connection
// reads nothing else meanwhile; its sends and deliveries go on.
func (c *conn) subscribe(pk *packets.Packet) error {
	if len(pk.Properties.SubscriptionIdentifier) > 0 {
		return &wire.Error{Code: wire.CodeSubIDNotSupported, Text: "subscription identifiers are not offered"}
	}
	after, afterErr := afterProperty(pk)
	grants := make([]grant, len(pk.Filters))
	for i, f := range pk.Filters {
		grants[i] = c.grant(f)
		if grants[i].err == nil {
			grants[i].err = afterErr
		}
	}
	props, err := c.session.subscribe(grants, after)
	if err != nil { // the store failed: nothing has changed
		c.b.logger.Warn("a SUBSCRIBE failed", "user", c.key.UserID, "client", c.key.ClientID, "error", err)
	}
	codes := make([]byte, len(grants))
	c.mu.Lock()
	for i, g := range grants {
		if codes[i] = g.qos; g.err != nil {
			codes[i] = c.refuseFilter(g)
		}
	}
	c.mu.Unlock()
	if !c.session.problems {
		props = nil
	}
	c.send(func(out []byte) []byte {
		return wire.AppendSuback(out, c.version, pk.PacketID, codes, props, c.maxSend)
	})
	c.session.begin()
	return nil
}

// afterProperty reads the user property after=<seq>, nil if there is none.
func afterProperty(pk *packets.Packet) (*uint64, error) {
	for _, p := range pk.Properties.User {
		if p.Key == "after" {
			seq, err := chat.ParseSeq("after", p.Val)
			return &seq, err
		}
	}
	return nil, nil
}

// refuseFilter answers the SUBACK code of a refusal and tells why. c.mu is
// held.
func (c *conn) refuseFilter(g grant) byte {
	e, _ := chat.AsError(g.err)
	c.tell(e, g.filter.Name, "")
	if len(c.out) > 0 {
		c.write()
	}
	switch {
	case errors.Is(g.err, errShared):
		return wire.CodeSharedNotSupported
	case errors.Is(g.err, errTooMany):
		return wire.CodeQuotaExceeded
	case e.Code == chat.CodeInvalid:
		return wire.CodeFilterInvalid
	case e.Code == chat.CodeNotFound:
		return wire.CodeNotAuthorized // as for one that may not be seen
	case e.Code == chat.CodeUnavailable:
		return wire.CodeImplementationSpecific
	}
	return reason(e.Code)
}

var (
	errShared  = &chat.Error{Code: chat.CodeForbidden, Field: "filter", Message: "shared subscriptions are not offered yet"}
	errLater   = &chat.Error{Code: chat.CodeForbidden, Field: "filter", Message: "this topic is not offered yet"}
	errTooMany = &chat.Error{Code: chat.CodeRateLimited, Field: "filter", Message: "the session has too many subscriptions"}
)

// grant decides on one filter by what the token says. Streams are granted at
// most QoS 1: seq gives more than QoS 2 would.
func (c *conn) grant(sub packets.Subscription) grant {
	f, err := chat.ParseFilter(sub.Filter)
	f.Name = sub.Filter
	g := grant{filter: f, qos: min(sub.Qos, 1), err: err}
	if err != nil {
		return g
	}
	if f.Share != "" {
		g.err = errShared
		return g
	}
	if g.err = c.id.MaySubscribe(f); g.err != nil {
		return g
	}
	switch f.Kind {
	case chat.KindMessages, chat.KindAny:
	case chat.KindErrors:
		g.qos = 0 // problems are told once, to the connection that erred
	default:
		g.err = errLater
	}
	return g
}

// follows reports whether a filter is one of streams of conversations.
func follows(f chat.Filter) bool {
	return f.Kind == chat.KindMessages || f.Kind == chat.KindAny && f.Any
}

// subscribe adds the granted filters to the session and plans what it follows
// from now on; begin carries it out, behind the SUBACK. It answers the SUBACK's
// user properties. When the store fails, all filters are refused.
func (s *session) subscribe(grants []grant, after *uint64) (wire.UserProps, error) {
	ctx, cancel := s.c.storeContext()
	defer cancel()
	s.plan()
	s.mu.Lock()
	s.pending = maps.Clone(s.subs)
	s.mu.Unlock()
	if s.pending == nil {
		s.pending = make(map[string]byte)
	}
	var (
		props   wire.UserProps
		failure error
		planned = make(map[string]error) // what became of each filter of streams
	)
	for i := range grants {
		g := &grants[i]
		if g.err != nil {
			continue
		}
		_, old := s.pending[g.filter.Name]
		if most := s.c.b.cfg.MaxSubscriptions; !old && len(s.pending) >= most || len(planned) >= most {
			g.err = errTooMany
			continue
		}
		if err, twice := planned[g.filter.Name]; twice { // and asked for once
			g.err = err
		} else if follows(g.filter) {
			var head *bridge.Head
			head, g.err = s.planFilter(ctx, g, after)
			if _, shown := chat.AsError(g.err); g.err != nil && (!shown || errors.Is(g.err, bridge.ErrUnavailable)) {
				failure = g.err
				break
			}
			planned[g.filter.Name] = g.err
			if head != nil && len(grants) == 1 {
				props = wire.AppendUserProp(props, "head", strconv.FormatUint(head.Head, 10))
				props = wire.AppendUserProp(props, "first", strconv.FormatUint(head.First, 10))
			}
		}
		if g.err == nil {
			s.pending[g.filter.Name] = g.qos
		}
	}
	if failure == nil {
		failure = s.persist(ctx)
	}
	if failure != nil {
		s.pending, s.places = nil, nil
		for i := range grants {
			if grants[i].err == nil {
				grants[i].err = bridge.ErrUnavailable
			}
		}
	}
	return props, failure
}

// planFilter adds the streams of one filter to places.
func (s *session) planFilter(ctx context.Context, g *grant, after *uint64) (*bridge.Head, error) {
	if !g.filter.Any {
		m, err := s.c.b.log.Membership(ctx, g.filter.ID, s.c.key.UserID)
		if err == nil {
			err = s.mayRead(&m)
		}
		if err != nil {
			return nil, err
		}
		s.planStream(&m, g.qos, after)
		return &m.Head, nil
	}
	memberships, err := s.c.b.log.Memberships(ctx, s.c.key.UserID)
	if err != nil {
		return nil, err
	}
	for i := range memberships {
		if m := memberships[i]; m.Role != chat.RoleNone {
			s.planStream(&m, g.qos, after)
		}
	}
	return nil, nil
}

// planStream adds a stream: at its head, or after the seq that was asked for.
func (s *session) planStream(m *bridge.Membership, qos byte, after *uint64) {
	p := place{conversation: m.Conversation, pos: m.Head.Head, qos: qos, since: m.JoinedSeq}
	if m.Role != chat.RoleNone { // else an admin
		p.rejoin = m.JoinedSeq
	}
	if after != nil {
		p.pos, p.explicit = min(*after, m.Head.Head), true
	}
	s.places = append(s.places, p)
}

// persist saves a durable session with the subscriptions and places that are
// planned: before SUBACK, so that what was granted outlives a crash.
func (s *session) persist(ctx context.Context) error {
	if !s.durable {
		return nil
	}
	saved := bridge.Session{Key: s.c.key}
	s.mu.Lock()
	saved.Expiry = s.expiry
	for filter, qos := range s.pending {
		saved.Subscriptions = append(saved.Subscriptions, bridge.Subscription{Filter: filter, QoS: qos})
	}
	for _, p := range s.places {
		if f := s.followers[p.conversation]; f == nil || f.until > 0 || p.explicit {
			saved.Cursors = append(saved.Cursors, bridge.Cursor{Stream: chat.ConversationStream(p.conversation), Seq: p.pos})
		}
	}
	s.mu.Unlock()
	return s.c.b.log.SaveSession(ctx, saved)
}

// begin carries out what subscribe planned.
func (s *session) begin() {
	s.planned(func() {
		if s.pending == nil {
			return
		}
		s.subs, s.pending = s.pending, nil
		for _, p := range s.places {
			p.qos, _ = s.streamQoS(p.conversation)
			s.follow(p)
		}
		s.places = nil
	})
	wants := s.wantsErrors()
	s.c.mu.Lock()
	s.c.errors = wants
	s.c.mu.Unlock()
}

// wantsErrors reports whether users/<u>/errors is subscribed.
func (s *session) wantsErrors() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, one := s.subs["users/"+s.c.key.UserID+"/errors"]
	_, all := s.subs["users/"+s.c.key.UserID+"/#"]
	return one || all
}

// followsStreams reports whether a subscription is of streams.
func (s *session) followsStreams() bool {
	for filter := range s.subs {
		if f, err := chat.ParseFilter(filter); err == nil && follows(f) {
			return true
		}
	}
	return false
}

// unsubscribe answers an UNSUBSCRIBE packet. Streams that no filter takes any
// more are followed no longer, and the place in them is forgotten.
func (c *conn) unsubscribe(pk *packets.Packet) error {
	codes := make([]byte, len(pk.Filters))
	s := c.session
	s.mu.Lock()
	s.pending = maps.Clone(s.subs)
	for i, f := range pk.Filters {
		if _, ok := s.pending[f.Filter]; !ok {
			codes[i] = wire.CodeNoSubscriptionExisted
		}
		delete(s.pending, f.Filter)
	}
	s.mu.Unlock()
	ctx, cancel := c.storeContext()
	defer cancel()
	if err := s.persist(ctx); err != nil {
		c.b.logger.Warn("an UNSUBSCRIBE failed", "user", c.key.UserID, "client", c.key.ClientID, "error", err)
		if c.version < wire.Version5 { // UNSUBACK cannot tell
			c.end(0, "database unavailable")
			return errEnd
		}
		for i := range codes {
			codes[i] = wire.CodeImplementationSpecific
		}
	} else {
		s.drop(ctx)
	}
	s.pending = nil
	wants := s.wantsErrors()
	c.mu.Lock()
	c.errors = wants
	c.mu.Unlock()
	c.send(func(out []byte) []byte {
		return wire.AppendUnsuback(out, c.version, pk.PacketID, codes, nil, c.maxSend)
	})
	return nil
}

// drop carries out an UNSUBSCRIBE.
func (s *session) drop(ctx context.Context) {
	s.mu.Lock()
	s.subs = s.pending
	var streams []chat.StreamID
	for conversation, f := range s.followers {
		if qos, ok := s.streamQoS(conversation); ok {
			f.qos = qos
		} else if f.until == 0 {
			s.unfollow(f)
			f.forget()
			streams = append(streams, f.watch.Stream())
		}
	}
	s.mu.Unlock()
	if s.durable && len(streams) > 0 {
		if err := s.c.b.log.DropCursors(ctx, s.c.key, streams); err != nil {
			s.c.b.logger.Warn("forgetting cursors failed", "user", s.c.key.UserID, "client", s.c.key.ClientID, "error", err)
		}
	}
}
