package broker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/feed"
	"github.com/parley-mqtt/parley/broker/limit"
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
	return c.authenticate(pk)
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
	if c.version < wire.Version5 || pk.ReasonCode == wire.CodeSuccess {
		c.goodbyeSaid = true // the will is not published [MQTT-3.14.4-3]
	}
	c.end(0, "disconnected by the client")
	return errEnd
}

// grant is what became of one filter of a SUBSCRIBE.
type grant struct {
	filter chat.Filter
	sub    bridge.Subscription // its QoS is also the SUBACK's code
	retain byte                // Retain Handling
	err    error

	snapshot bool // what stands on its topics is to be told
}

// The values of Retain Handling [MQTT-3.3.1-9] to [MQTT-3.3.1-11].
const (
	sendRetained      = 0
	sendRetainedIfNew = 1
)

// subscribe answers a SUBSCRIBE packet. It asks the store, so the connection
// reads nothing else meanwhile; its sends and deliveries go on.
func (c *conn) subscribe(pk *packets.Packet) error {
	c.changes(len(pk.Filters))
	after, afterErr := afterProperty(pk)
	grants := make([]grant, len(pk.Filters))
	for i, f := range pk.Filters {
		grants[i] = c.grant(f)
		if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
			grants[i].sub.ID = uint32(ids[0])
		}
		if grants[i].err == nil {
			grants[i].err = afterErr
		}
	}
	c.session.grantLive(grants)
	props, err := c.session.subscribe(grants, after)
	if err != nil { // the store failed: nothing has changed
		c.b.logger.Warn("a SUBSCRIBE failed", "user", c.key.UserID, "client", c.key.ClientID, "error", err)
	}
	// Before SUBACK: from then on the client counts on it.
	replays := c.session.subscribeOrdinary(grants)
	codes := make([]byte, len(grants))
	excess := 0
	c.mu.Lock()
	for i, g := range grants {
		if codes[i] = g.sub.QoS; g.err != nil {
			codes[i] = c.refuseFilter(g)
		}
		if errors.Is(g.err, errTooMany) {
			excess++
		}
	}
	c.mu.Unlock()
	if !c.session.problems {
		props = nil
	}
	c.granting.Store(true)
	subs := c.session.adopt()
	c.send(func(out []byte) []byte {
		c.granted.Store(true)
		c.granting.Store(false)
		return wire.AppendSuback(out, c.version, pk.PacketID, codes, props, c.maxSend)
	})
	c.session.begin(subs)
	for _, filter := range replays {
		c.session.box.Replay(filter)
	}
	for i := range grants {
		if grants[i].snapshot {
			c.session.live.Snapshot(grants[i].filter)
		}
	}
	if excess > 0 {
		c.b.metrics.pauses.WithLabelValues("subscriptions").Inc()
		c.pause(min(time.Duration(excess)*excessPause, maxPause))
	}
	return nil
}

// excessPause is how long reading waits for each filter above the most: who
// goes on asking must not keep a processor busy.
const excessPause = time.Millisecond

// subscribeOrdinary subscribes to the granted filters of ordinary topics. It
// answers those whose retained messages are to be sent.
func (s *session) subscribeOrdinary(grants []grant) (replays []string) {
	for i := range grants {
		g := &grants[i]
		if g.err != nil || g.filter.Kind != chat.KindOrdinary {
			continue
		}
		s.openBox()
		_, existed := s.subs.Find(g.sub.Filter)
		replay := g.filter.Share == "" && (g.retain == sendRetained || g.retain == sendRetainedIfNew && !existed)
		if s.box.Subscribe(g.sub, replay); replay {
			replays = append(replays, g.sub.Filter)
		}
	}
	return replays
}

// openBox makes the session's part in ordinary topics.
func (s *session) openBox() {
	if s.box != nil {
		return
	}
	box := s.c.b.router.Open(s.c.key, s.durable, s.window, s.c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.box = box
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
		c.b.metrics.refusals.WithLabelValues(limit.MaxSubscriptions).Inc()
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
	errShared  = &chat.Error{Code: chat.CodeForbidden, Field: "filter", Message: "streams have no shared subscriptions"}
	errNothing = &chat.Error{Code: chat.CodeForbidden, Field: "filter", Message: "nothing is delivered on this topic"}
	errTooMany = &chat.Error{Code: chat.CodeRateLimited, Field: "filter", Message: "the session has too many subscriptions"}
)

// grant decides on one filter by what the token says. Streams are granted at
// most QoS 1: seq gives more than QoS 2 would.
func (c *conn) grant(sub packets.Subscription) grant {
	f, err := chat.ParseFilter(sub.Filter)
	f.Name = sub.Filter
	g := grant{filter: f, retain: sub.RetainHandling, err: err, sub: bridge.Subscription{Filter: sub.Filter, QoS: sub.Qos,
		NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished}}
	if err != nil {
		return g
	}
	if f.Share != "" && f.Kind != chat.KindOrdinary {
		g.err = errShared
		return g
	}
	if g.err = c.identity().MaySubscribe(f); g.err != nil {
		return g
	}
	switch f.Kind {
	case chat.KindOrdinary:
		g.err = c.b.fits("filter", f.Name)
	case chat.KindMessages, chat.KindNotifications, chat.KindAny:
		g.sub.QoS = min(g.sub.QoS, 1)
	case chat.KindErrors, chat.KindTyping, chat.KindReceipts, chat.KindPresence, chat.KindUnread:
		g.sub.QoS = 0 // told once: problems to the connection that erred, the rest is state
		if f.Kind == chat.KindUnread && f.ID != c.key.UserID {
			g.err = errNothing // an admin's
		}
	default:
		g.err = errNothing
	}
	return g
}

// subscribe adds the granted filters to the session and plans what it follows
// from now on; begin carries it out, behind the SUBACK. It answers the SUBACK's
// user properties. When the store fails, all filters are refused.
func (s *session) subscribe(grants []grant, after *uint64) (wire.UserProps, error) {
	ctx, cancel := s.c.storeContext()
	defer cancel()
	if slices.ContainsFunc(grants, func(g grant) bool { return g.err == nil && feed.Follows(g.filter) }) {
		s.streams().Plan()
	}
	s.pending = s.subs // nobody changes those: copied before the first change
	var (
		props   wire.UserProps
		failure error
		planned = make(map[string]error) // what became of each filter of streams
		follows bool                     // one of those is granted
		changed bool                     // pending is not subs
	)
	for i := range grants {
		g := &grants[i]
		if g.err != nil {
			continue
		}
		stands, old := s.pending.Find(g.filter.Name)
		if most := s.c.b.cfg.MaxSubscriptions; !old && len(s.pending) >= most || len(planned) >= most {
			g.err = errTooMany
			continue
		}
		if err, twice := planned[g.filter.Name]; twice { // and asked for once
			g.err = err
		} else if feed.Follows(g.filter) {
			var head *bridge.Head
			head, g.err = s.feed.PlanFilter(ctx, g.filter, g.sub.QoS, after)
			if _, shown := chat.AsError(g.err); g.err != nil && (!shown || errors.Is(g.err, bridge.ErrUnavailable)) {
				failure = g.err
				break
			}
			planned[g.filter.Name] = g.err
			follows = follows || g.err == nil
			if head != nil && len(grants) == 1 {
				props = wire.AppendUserProp(props, "head", strconv.FormatUint(head.Head, 10))
				props = wire.AppendUserProp(props, "first", strconv.FormatUint(head.First, 10))
			}
		}
		if g.err == nil && (!old || stands != g.sub) {
			if !changed {
				s.pending = append(make(bridge.Subscriptions, 0, len(s.subs)+len(grants)), s.subs...)
			}
			changed = true
			s.pending = s.pending.Put(g.sub)
		}
	}
	// What is refused, or stands already, costs the store nothing.
	if failure == nil && (changed || follows) {
		failure = s.persist(ctx)
	}
	if failure != nil {
		s.pending = nil
		for i := range grants {
			if grants[i].err == nil {
				grants[i].err = bridge.ErrUnavailable
			}
		}
	}
	return props, failure
}

// persist saves a durable session with the subscriptions and places that are
// planned: before SUBACK, so that what was granted outlives a crash.
func (s *session) persist(ctx context.Context) error {
	if !s.durable {
		return nil
	}
	saved := bridge.Session{Key: s.c.key, Expiry: s.expires()}
	saved.Subscriptions = s.pending
	if s.feed != nil {
		saved.Cursors = s.feed.Planned()
	}
	return s.c.b.log.SaveSession(ctx, saved)
}

// adopt has the session's subscriptions be those that subscribe planned, and
// answers them. It comes before SUBACK: whoever has that misses nothing of what
// is not kept, such as typing.
func (s *session) adopt() bridge.Subscriptions {
	subs := s.pending
	if s.pending = nil; subs != nil {
		s.setSubs(subs)
	}
	s.live.Settle()
	return subs
}

// begin has the streams come that subscribe planned.
func (s *session) begin(subs bridge.Subscriptions) {
	if s.feed != nil {
		s.feed.Begin(subs)
	}
	s.tellErrors()
}

func (s *session) setSubs(subs bridge.Subscriptions) {
	s.mu.Lock()
	s.subs = subs
	s.mu.Unlock()
	if s.live != nil { // else it is told when it is there
		s.live.Subscribe(subs)
	}
}

// subscribesStreams reports whether a subscription is one of streams.
func (s *session) subscribesStreams() bool {
	for _, sub := range s.subs {
		if f, err := chat.ParseFilter(sub.Filter); err == nil && feed.Follows(f) {
			return true
		}
	}
	return false
}

// tellErrors has problems told to the connection, if users/<u>/errors is
// subscribed.
func (s *session) tellErrors() {
	wants, ids := s.wantsErrors()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.errors, s.c.errorIDs = wants, ids
}

// wantsErrors reports whether users/<u>/errors is subscribed, and under which
// subscription identifiers.
func (s *session) wantsErrors() (wants bool, ids []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, last := range [...]string{"errors", "#"} {
		if sub, ok := s.subs.Find("users/" + s.c.key.UserID + "/" + last); ok {
			wants = true
			if sub.ID != 0 && !slices.Contains(ids, sub.ID) {
				ids = append(ids, sub.ID)
			}
		}
	}
	return wants, ids
}

// unsubscribe answers an UNSUBSCRIBE packet.
func (c *conn) unsubscribe(pk *packets.Packet) error {
	c.changes(len(pk.Filters))
	filters := make([]string, len(pk.Filters))
	for i, f := range pk.Filters {
		filters[i] = f.Filter
	}
	codes, err := c.session.unsubscribe(filters)
	if err != nil && c.version < wire.Version5 { // UNSUBACK cannot tell
		c.end(0, "database unavailable")
		return errEnd
	}
	c.session.tellErrors()
	c.send(func(out []byte) []byte {
		return wire.AppendUnsuback(out, c.version, pk.PacketID, codes, nil, c.maxSend)
	})
	return nil
}

// unsubscribe takes filters out of the session, and answers the codes for
// UNSUBACK. Streams that no filter takes any more are followed no longer, and
// the place in them is forgotten. When the store fails nothing changes.
func (s *session) unsubscribe(filters []string) ([]byte, error) {
	codes := make([]byte, len(filters))
	s.pending = slices.Clone(s.subs)
	for i, f := range filters {
		if _, ok := s.pending.Find(f); !ok {
			codes[i] = wire.CodeNoSubscriptionExisted
		}
		s.pending = s.pending.Remove(f)
	}
	defer func() { s.pending = nil }()
	if len(s.pending) == len(s.subs) { // nothing changes
		return codes, nil
	}
	ctx, cancel := s.c.storeContext()
	defer cancel()
	if err := s.persist(ctx); err != nil {
		s.c.b.logger.Warn("an UNSUBSCRIBE failed", "user", s.c.key.UserID, "client", s.c.key.ClientID, "error", err)
		for i := range codes {
			codes[i] = wire.CodeImplementationSpecific
		}
		return codes, err
	}
	if err := s.drop(ctx); err != nil {
		s.c.b.logger.Warn("forgetting cursors failed", "user", s.c.key.UserID, "client", s.c.key.ClientID, "error", err)
	}
	return codes, nil
}

// drop carries out an UNSUBSCRIBE.
func (s *session) drop(ctx context.Context) error {
	for _, sub := range s.subs {
		if _, kept := s.pending.Find(sub.Filter); !kept && s.box != nil {
			s.box.Unsubscribe(sub.Filter)
		}
	}
	s.setSubs(s.pending)
	if s.feed == nil {
		return nil
	}
	return s.feed.Drop(ctx, s.pending)
}
