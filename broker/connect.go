package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// maxClientID bounds the client identifier, in bytes.
const maxClientID = 256

// warnBefore is how long before its end a token's holder is warned.
const warnBefore = time.Minute

// connect reads the CONNECT packet and answers it. It is false when the
// connection ends there. Nobody who has not shown a valid token gets further,
// or costs more than one bounded packet and ConnectTimeout.
func (c *conn) connect() bool {
	p, err := c.rd.Next(c.b.cfg.ConnectPacket)
	if err != nil {
		c.failed(err)
		return false
	}
	c.b.metrics.received(p)
	version := wire.Version(p)
	if p.Type() != wire.TypeConnect { // [MQTT-3.1.0-1]
		c.end(0, "first packet is not a CONNECT")
		return false
	}
	pk := new(packets.Packet)
	if err := wire.Decode(version, p, pk); err != nil {
		var refusal *wire.Error
		if !errors.As(err, &refusal) { // Decode has no other errors
			refusal = &wire.Error{Code: wire.CodeMalformed, Text: err.Error()}
		}
		return c.refuse(version, refusal.Code, refusal.Text)
	}
	assigned, code, text := c.introduce(version, pk)
	if code != 0 {
		return c.refuse(version, code, text)
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	return c.establish(pk, assigned)
}

// refuse answers a CONNECT that is not accepted and ends the connection.
func (c *conn) refuse(version, code byte, text string) bool {
	c.b.metrics.connects.WithLabelValues("refused").Inc()
	c.b.logger.Info("connection refused", "address", c.nc.RemoteAddr().String(), "reason", text)
	c.send(func(out []byte) []byte {
		return wire.AppendConnack(out, version, &wire.Connack{Code: code, Reason: text}, c.maxSend)
	})
	c.end(0, "connection refused")
	return false
}

// introduce finds out who is there: token, user name, client id. A code other
// than 0 refuses.
func (c *conn) introduce(version byte, pk *packets.Packet) (assigned string, code byte, text string) {
	c.version = version
	c.maxSend = int(pk.Properties.MaximumPacketSize)
	c.silence = time.Duration(pk.Connect.Keepalive) * 1500 * time.Millisecond
	if pk.Properties.AuthenticationMethod != "" {
		return "", wire.CodeBadAuthMethod, "authentication methods are not offered"
	}
	id, err := c.b.cfg.Verifier.Verify(string(pk.Connect.Password))
	if err != nil {
		e, expected := chat.AsError(err)
		if !expected {
			c.b.logger.Error("verifying a token failed", "error", err)
		}
		return "", wire.CodeBadUserNameOrPassword, e.Message
	}
	if name := string(pk.Connect.Username); name != "" && name != id.UserID {
		return "", wire.CodeBadUserNameOrPassword, "the user name is not the token's sub"
	}
	c.id = id
	if len(pk.Connect.ClientIdentifier) > maxClientID {
		return "", wire.CodeClientIDInvalid, "the client identifier is longer than 256 bytes"
	}
	c.key = bridge.SessionKey{UserID: id.UserID, ClientID: pk.Connect.ClientIdentifier}
	if c.key.ClientID == "" { // [MQTT-3.1.3-6]
		assigned = uuid.NewString()
		c.key.ClientID = assigned
	}
	if pk.Connect.WillFlag {
		if pk.Connect.WillRetain {
			return "", wire.CodeRetainNotSupported, "wills are not offered yet"
		}
		return "", wire.CodeNotAuthorized, "wills are not offered yet"
	}
	return assigned, 0, ""
}

// establish takes the session over from whoever held it, loads it, and sends
// CONNACK.
func (c *conn) establish(pk *packets.Packet, assigned string) bool {
	ctx, cancel := c.storeContext()
	defer cancel()
	left, err := c.b.registry.claim(ctx, c)
	if err != nil {
		return c.refuse(c.version, wire.CodeServerBusy, "the session is held by another connection")
	}
	c.claimed, c.left = true, left
	s := newSession(c)
	s.window = c.b.cfg.MaxInflight
	if rm := int(pk.Properties.ReceiveMaximum); rm > 0 {
		s.window = min(s.window, rm)
	}
	s.problems = !pk.Properties.RequestProblemInfoFlag || pk.Properties.RequestProblemInfo != 0
	s.expiry = pk.Properties.SessionExpiryInterval
	if c.version < wire.Version5 && !pk.Connect.Clean {
		s.expiry = bridge.NeverExpires
	}
	present, resend, err := s.open(ctx, pk.Connect.Clean, left)
	if err != nil {
		s.close()
		c.b.logger.Warn("opening a session failed", "user", c.key.UserID, "client", c.key.ClientID, "error", err)
		return c.refuse(c.version, wire.CodeServerUnavailable, "the database is out of reach")
	}
	ack := wire.Connack{SessionPresent: present, ReceiveMaximum: uint16(min(c.b.cfg.ReceiveMaximum, 65535)),
		MaximumPacketSize: uint32(c.b.cfg.MaxPacket), AssignedClientID: assigned,
		NoRetain: true, NoSubscriptionIDs: true, NoShared: true}
	wants := s.wantsErrors()
	c.mu.Lock()
	if c.ending { // taken over before it began
		c.mu.Unlock()
		s.close()
		return false
	}
	c.session, c.left = s, remains{}
	c.errors = wants
	c.out = wire.AppendConnack(c.out, c.version, &ack, c.maxSend)
	c.out = append(c.out, resend...)
	c.write()
	c.mu.Unlock()
	c.watchToken()
	s.start()
	c.b.metrics.connects.WithLabelValues("accepted").Inc()
	c.b.logger.Info("connected", "user", c.key.UserID, "client", c.key.ClientID,
		"address", c.nc.RemoteAddr().String(), "version", c.version, "session", present)
	return true
}

// watchToken warns a minute before the token ends, if there is that much
// left, and ends the connection when it does.
func (c *conn) watchToken() {
	left := c.id.Expires.Sub(c.b.cfg.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	if left <= warnBefore {
		c.expiry = time.AfterFunc(left, c.tokenExpired)
		return
	}
	c.expiry = time.AfterFunc(left-warnBefore, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tell(chat.Errorf(chat.CodeTokenExpiring, "the token expires at %s",
			chat.AppendTime(nil, c.id.Expires)), "", "")
		if len(c.out) > 0 {
			c.write()
		}
		if !c.ending {
			c.expiry = time.AfterFunc(warnBefore, c.tokenExpired)
		}
	})
}

func (c *conn) tokenExpired() { c.end(wire.CodeNotAuthorized, "token expired") }

// open loads the durable session of the key, or begins one. resend is what
// was under way to this client when its last connection ended, with the same
// packet identifiers and DUP [MQTT-4.4.0-1]. No other goroutine knows the
// session yet, but for the log through plan.
func (s *session) open(ctx context.Context, clean bool, left remains) (present bool, resend []byte, err error) {
	log := s.c.b.log
	stored, err := log.Session(ctx, s.c.key)
	if err != nil {
		return false, nil, err
	}
	if stored != nil && (clean || stored.Expired(s.c.b.cfg.Now())) {
		if err := log.DeleteSession(ctx, s.c.key); err != nil {
			return false, nil, err
		}
		stored = nil
	}
	if stored == nil {
		if s.durable = s.expiry > 0; s.durable {
			err = log.SaveSession(ctx, bridge.Session{Key: s.c.key, Expiry: s.expiry})
		}
		return false, nil, err
	}
	// One that asks for no expiry resumes it all the same, and ends it.
	s.durable = true
	s.received = left.received
	s.subs = make(map[string]byte, len(stored.Subscriptions))
	for _, sub := range stored.Subscriptions {
		s.subs[sub.Filter] = sub.QoS
	}
	if resend, err = s.resume(ctx, stored.Cursors, left.inflight); err != nil {
		return false, nil, err
	}
	// Last, for a session that is marked and not served would never expire.
	return true, resend, log.MarkSession(ctx, bridge.SessionMark{Key: s.c.key, Expiry: s.expiry})
}

// resume plans where the session's streams go on, each after the last entry
// that was acknowledged; start carries it out.
func (s *session) resume(ctx context.Context, cursors []bridge.Cursor, flight []unacked) ([]byte, error) {
	if !s.followsStreams() {
		return nil, nil
	}
	s.plan()
	memberships, err := s.c.b.log.Memberships(ctx, s.c.key.UserID)
	if err != nil {
		return nil, err
	}
	at := make(map[string]uint64, len(cursors))
	for _, c := range cursors {
		at[c.Stream.Conversation()] = c.Seq
	}
	for i := range memberships {
		m := &memberships[i]
		qos, ok := s.streamQoS(m.Conversation)
		seq, known := at[m.Conversation]
		known = known && seq <= m.Head.Head // else it is of a conversation that had the id before
		switch {
		case !ok:
		case known && m.Role != chat.RoleNone:
			s.places = append(s.places, place{conversation: m.Conversation, pos: seq, rejoin: m.JoinedSeq, qos: qos})
		case known && m.LeftSeq > seq: // up to its own leave entry
			s.places = append(s.places, place{conversation: m.Conversation, pos: seq, left: m.LeftSeq, rejoin: m.JoinedSeq, qos: qos})
		case !known && m.Role != chat.RoleNone: // joined while away: from its join entry on
			s.places = append(s.places, place{conversation: m.Conversation, pos: m.JoinedSeq - 1, rejoin: m.JoinedSeq, fresh: true, qos: qos})
		}
		delete(at, m.Conversation)
	}
	if err := s.resumeOthers(ctx, at); err != nil {
		return nil, err
	}
	if err := s.findOut(ctx); err != nil {
		return nil, err
	}
	return s.resend(ctx, flight)
}

// findOut finds the places that stand at a leave entry of the user, who has
// joined again since: what lies between was committed while the user was no
// member.
func (s *session) findOut(ctx context.Context) error {
	var rejoined []*place
	var ranges []bridge.Range
	for i := range s.places {
		if p := &s.places[i]; p.rejoin > p.pos+1 && p.pos > 0 {
			rejoined = append(rejoined, p)
			ranges = append(ranges, bridge.Range{Stream: chat.ConversationStream(p.conversation), After: p.pos - 1, Limit: 1})
		}
	}
	if len(ranges) == 0 {
		return nil
	}
	read, err := s.c.b.log.Read(ctx, ranges)
	if err != nil {
		return err
	}
	for i, p := range rejoined {
		if len(read[i]) == 0 || read[i][0].Seq != p.pos { // not held any more: it cannot be told
			p.pos = p.rejoin - 1
			continue
		}
		e := read[i][0].Entry
		p.out = e.Type == chat.TypeLeave && e.UserID == s.c.key.UserID
	}
	return nil
}

// resumeOthers adds the streams that an admin follows without being a member.
func (s *session) resumeOthers(ctx context.Context, at map[string]uint64) error {
	for conversation, seq := range at {
		qos, ok := s.streamQoS(conversation)
		if !ok {
			continue
		}
		m, err := s.c.b.log.Membership(ctx, conversation, s.c.key.UserID)
		if err != nil {
			return err
		}
		if s.mayRead(&m) == nil {
			s.places = append(s.places, place{conversation: conversation, pos: seq, since: m.JoinedSeq, qos: qos})
		}
	}
	return nil
}

// start carries out what resume planned.
func (s *session) start() {
	s.planned(func() {
		for _, p := range s.places {
			if f := s.follow(p); f != nil && p.fresh && f.cursor != nil {
				f.cursor.MarkDirty() // so that it is known from now on, also unread
			}
		}
		for _, e := range s.again {
			f := s.followers[e.conversation]
			s.inflight.list = append(s.inflight.list, sent{f: f, seq: e.seq, id: e.id, acked: e.acked || f == nil})
			s.inflight.id = e.id
			if f != nil {
				f.unacked++
				f.pos = max(f.pos, e.seq)
			}
		}
		for i, e := range s.inflight.list {
			if e.acked {
				s.inflight.advance(i)
			}
		}
		s.inflight.trim()
		s.again = nil
		for _, p := range s.places { // whose leave entry was sent already
			if f := s.followers[p.conversation]; f != nil && p.left > 0 && f.pos >= p.left {
				s.rest(f)
			}
		}
		s.places = nil
	})
}

// maxResend bounds, in bytes, what waits to be sent again to one client.
const maxResend = 1 << 20

// resend encodes again what was under way. What is not there any more counts
// as acknowledged; what exceeds the window, or maxResend, is sent anew later.
func (s *session) resend(ctx context.Context, flight []unacked) ([]byte, error) {
	places := make(map[string]*place, len(s.places))
	for i := range s.places {
		places[s.places[i].conversation] = &s.places[i]
	}
	kept := slices.Clone(flight[:min(len(flight), s.window)])
	var asked []int // places in kept
	var ranges []bridge.Range
	for i := range kept {
		e := &kept[i]
		if p := places[e.conversation]; p == nil || e.seq <= p.pos {
			e.acked = true
			continue
		}
		asked = append(asked, i)
		ranges = append(ranges, bridge.Range{Stream: chat.ConversationStream(e.conversation), After: e.seq - 1, Limit: 1})
	}
	read, err := s.c.b.log.Read(ctx, ranges)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, at := range asked {
		if len(out) > maxResend {
			kept = kept[:at]
			break
		}
		e := &kept[at]
		if len(read[i]) == 0 || read[i][0].Seq != e.seq {
			e.acked = true
			continue
		}
		if p := places[e.conversation]; e.seq > p.sent {
			// It goes on behind its last, which may be the user's leave.
			own := read[i][0].UserID == s.c.key.UserID
			p.sent, p.out = e.seq, own && read[i][0].Type == chat.TypeLeave && p.rejoin > e.seq
		}
		if e.acked {
			continue
		}
		slot := frameSlot(s.c.version, 1)
		frame := read[i][0].Frame(slot, encoders[slot])
		if s.c.maxSend > 0 && len(frame) > s.c.maxSend {
			e.acked = true
			continue
		}
		from := len(out)
		out = append(out, frame...)
		wire.SetDUP(out[from:])
		wire.PatchPacketID(out[from:], packetIDAt(frame), e.id)
	}
	s.again = kept
	return out, nil
}
