package broker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/live"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// maxClientID bounds the client identifier, in bytes.
const maxClientID = 256

// connect reads the CONNECT packet and answers it. It is false when the
// connection ends there. Nobody who has not shown a valid token gets further,
// or costs more than one bounded packet and ConnectTimeout.
func (c *conn) connect() bool {
	p, err := c.rd.Next(c.b.cfg.MaxConnectPacket)
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
	if code, text := c.tooFast(); code != 0 {
		return c.refuse(version, code, text)
	}
	assigned, code, text := c.introduce(version, pk)
	if code == 0 {
		code, text = c.login()
	}
	if code != 0 {
		return c.refuse(version, code, text)
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	return c.establish(pk, assigned)
}

// refuse answers a CONNECT that is not accepted and ends the connection.
func (c *conn) refuse(version, code byte, text string) bool {
	c.b.metrics.connects.WithLabelValues("refused").Inc()
	c.refusal = text
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
	c.clean = pk.Connect.Clean
	jwt, err := token(pk)
	var refused *wire.Error
	if errors.As(err, &refused) {
		return "", refused.Code, refused.Text
	}
	c.auth = pk.Properties.AuthenticationMethod
	id, err := c.verify(jwt)
	if err != nil {
		return "", wire.CodeBadUserNameOrPassword, err.Error()
	}
	if name := string(pk.Connect.Username); name != "" && name != id.UserID {
		return "", wire.CodeBadUserNameOrPassword, "the user name is not the token's sub"
	}
	if c.id.Store(&id); c.b.cfg.Verifier.Revoked(&id) { // before anybody could have found it here
		return "", wire.CodeBadUserNameOrPassword, "the token was revoked"
	}
	if len(pk.Connect.ClientIdentifier) > maxClientID {
		return "", wire.CodeClientIDInvalid, "the client identifier is longer than 256 bytes"
	}
	// Cloned, for it holds the whole CONNECT in memory.
	c.key = bridge.SessionKey{UserID: id.UserID, ClientID: strings.Clone(pk.Connect.ClientIdentifier)}
	if c.key.ClientID == "" { // [MQTT-3.1.3-6]
		assigned = uuid.NewString()
		c.key.ClientID = assigned
	}
	if c.will, err = c.readWill(pk); err != nil {
		e, _ := chat.AsError(err)
		if e.Field == "will retain" {
			return "", wire.CodeRetainNotSupported, err.Error()
		}
		return "", reason(e.Code), err.Error()
	}
	return assigned, 0, ""
}

// establish takes the session over from whoever held it, loads it, and sends
// CONNACK.
func (c *conn) establish(pk *packets.Packet, assigned string) bool {
	ack := wire.Connack{ReceiveMaximum: uint16(min(c.b.cfg.ReceiveMaximum, 65535)),
		MaximumPacketSize: uint32(c.b.cfg.MaxPacket), AssignedClientID: assigned,
		TopicAliasMaximum: maxAliases, AuthMethod: c.auth}
	if room := c.maxSend; room > 0 && len(wire.AppendConnack(nil, c.version, &ack, room)) > room { // [MQTT-3.1.2-24]
		return c.refuse(c.version, wire.CodeTooLarge, "the Maximum Packet Size has no room for a CONNACK")
	}
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
	s.outbound.Version, s.outbound.MaxPacket = c.version, c.maxSend
	s.outbound.Aliases.Allow(pk.Properties.TopicAliasMaximum)
	present, resend, err := s.open(ctx, pk.Connect.Clean, left)
	if err == nil {
		err = c.settleWill(ctx, present)
	}
	if err != nil {
		s.giveUp()
		c.b.logger.Warn("opening a session failed", "user", c.key.UserID, "client", c.key.ClientID, "error", err)
		return c.refuse(c.version, wire.CodeServerUnavailable, "the database is out of reach")
	}
	ack.SessionPresent = present
	s.live = c.b.live.Connect(live.Options{Key: c.key, Version: c.version, MaxPacket: c.maxSend, Reader: c, Subs: s.subs})
	wants, ids := s.wantsErrors()
	c.mu.Lock()
	if c.ending { // taken over before it began
		c.mu.Unlock()
		s.giveUp()
		return false
	}
	c.session, c.left = s, remains{}
	c.errors, c.errorIDs = wants, ids
	c.out = wire.AppendConnack(c.out, c.version, &ack, c.maxSend)
	c.out = append(c.out, resend...)
	c.write()
	c.mu.Unlock()
	c.watchToken()
	if s.feed != nil {
		s.feed.Start()
	}
	c.b.metrics.connects.WithLabelValues("accepted").Inc()
	c.b.logger.Info("connected", append(c.attrs(), "session", present)...)
	return true
}

// open loads the durable session of the key, or begins one. resend is what
// was under way to this client when its last connection ended, with the same
// packet identifiers and DUP [MQTT-4.4.0-1]. No other goroutine knows the
// session yet, but for the log.
func (s *session) open(ctx context.Context, clean bool, left remains) (present bool, resend []byte, err error) {
	log := s.c.b.log
	stored, err := log.Session(ctx, s.c.key)
	if err != nil {
		return false, nil, err
	}
	if stored != nil && (clean || stored.Expired(s.c.b.cfg.Now())) {
		if err := s.c.b.router.End(ctx, s.c.key); err != nil {
			return false, nil, err
		}
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
	if s.received = left.received; s.received == nil {
		s.receivedBefore(stored.Received)
	}
	s.subs = make(bridge.Subscriptions, 0, len(stored.Subscriptions))
	for _, sub := range stored.Subscriptions {
		s.subs = s.subs.Put(sub)
	}
	s.resumeBox()
	if err := s.restrict(); err != nil {
		return false, nil, err
	}
	if s.subscribesStreams() {
		if resend, err = s.streams().Resume(ctx, s.subs, stored.Cursors, left.inflight); err != nil {
			return false, nil, err
		}
	}
	// Last, for a session that is marked and not served would never expire.
	return true, resend, log.MarkSession(ctx, bridge.SessionMark{Key: s.c.key, Expiry: s.expiry})
}

// resumeBox brings back the session's part in ordinary topics.
func (s *session) resumeBox() {
	if s.box = s.c.b.router.Resume(s.c.key, s.window, s.c); s.box != nil {
		return
	}
	for _, sub := range s.subs { // it was swept a moment ago
		if sub.Ordinary() {
			s.openBox()
			s.box.Subscribe(sub, false)
		}
	}
}

// receivedBefore brings back the QoS 2 messages that were taken, and not
// released, before a restart.
func (s *session) receivedBefore(stored []bridge.Received) {
	if len(stored) == 0 {
		return
	}
	s.received = make(map[uint16]received, len(stored))
	for _, r := range stored {
		s.received[r.PacketID] = received{clientID: r.ClientID, unsure: r.ClientID != ""}
	}
}
