package broker

import (
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/router"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// send is one PUBLISH of a client on its way to an answer. The acknowledgements
// of one connection go out in the order of its PUBLISH packets
// [MQTT-4.6.0-2], [MQTT-4.6.0-3], whatever order the commits end in.
type send struct {
	bridge.Submission                    // of a message of a stream
	routed            router.Publication // of one of an ordinary topic
	c                 *conn
	qos               byte
	packetID          uint16
	done              bool
	ordinary          bool        // counted in conn.ordinary
	err               *chat.Error // a refusal, or nil
	clientID          string      // as the sender gave it, for users/<u>/errors
	topic             string
}

var sends = sync.Pool{New: func() any { return new(send) }}

// publish takes a PUBLISH packet. It never waits for the database: the answer
// is made when the commit ends.
func (c *conn) publish(p wire.Packet) error {
	var pub wire.Publish
	if err := wire.DecodePublish(c.version, p, &pub); err != nil {
		return err
	}
	topic, err := c.unalias(&pub)
	if err != nil {
		return err
	}
	clientID := ""
	if pub.QoS > 0 {
		again, draft, err := c.receive(&pub)
		if again || err != nil {
			return err
		}
		clientID = draft
	}
	s := sends.Get().(*send)
	*s = send{c: c, qos: pub.QoS, packetID: pub.PacketID, topic: topic}
	s.Done, s.Draft.ClientID = s, clientID
	c.mu.Lock()
	if c.barred && s.qos == 0 { // at QoS 1 and 2 it is under way by now
		c.mu.Unlock()
		s.free()
		return errEnd
	}
	c.unacked++
	if s.qos > 0 {
		c.sends = append(c.sends, s)
	}
	c.mu.Unlock()
	if err = c.throttle(&pub); err == nil {
		err = c.dispatch(s, &pub)
	}
	if err != nil {
		s.finish(err)
	}
	return nil
}

// maxAliases is the Topic Alias Maximum that clients are told.
const maxAliases = 64

// unalias answers the topic of a PUBLISH, which may stand there by an alias
// [MQTT-3.3.2-8] to [MQTT-3.3.2-12].
func (c *conn) unalias(pub *wire.Publish) (string, error) {
	switch {
	case pub.TopicAlias == 0:
		return string(pub.Topic), nil
	case pub.TopicAlias > maxAliases:
		return "", &wire.Error{Code: wire.CodeTopicAliasInvalid, Text: "topic alias is above the Topic Alias Maximum"}
	case len(pub.Topic) == 0:
		topic, known := c.aliases[pub.TopicAlias]
		if !known {
			return "", &wire.Error{Code: wire.CodeProtocolError, Text: "topic alias is not known"}
		}
		return topic, nil
	}
	if c.aliases == nil {
		c.aliases = make(map[uint16]string)
	}
	topic := string(pub.Topic)
	c.aliases[pub.TopicAlias] = topic
	return topic, nil
}

// receive keeps the rules of packet identifiers and of the Receive Maximum
// [MQTT-3.3.4-7]. again is true for a QoS 2 message that is here already
// [MQTT-4.3.3-10]: its answer is on the way, or is given again. clientID is
// that under which it was submitted before a restart, "" as a rule.
func (c *conn) receive(pub *wire.Publish) (again bool, clientID string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.barred {
		return false, "", errEnd
	}
	before, known := c.session.received[pub.PacketID]
	if pub.QoS == 2 && known && !before.unsure {
		if !c.pending(pub.PacketID) {
			s := sends.Get().(*send)
			*s = send{c: c, qos: 2, packetID: pub.PacketID, done: true}
			c.sends = append(c.sends, s) // it too waits for its turn
			c.answer()
			if len(c.out) > 0 {
				c.write()
			}
		}
		return true, "", nil
	}
	if !known && c.qos1+len(c.session.received) >= c.b.cfg.ReceiveMaximum && c.version == wire.Version5 {
		return false, "", &wire.Error{Code: wire.CodeReceiveMaximum, Text: "more sends than the Receive Maximum"}
	}
	if pub.QoS == 2 {
		if c.session.received == nil {
			c.session.received = make(map[uint16]received)
		}
		c.session.received[pub.PacketID] = received{clientID: before.clientID}
		return false, before.clientID, nil
	}
	c.qos1++
	return false, "", nil
}

// pending reports whether a send with the packet identifier waits for its
// outcome. c.mu is held.
func (c *conn) pending(id uint16) bool {
	for _, s := range c.sends[c.first:] {
		if s.packetID == id {
			return true
		}
	}
	return false
}

// dispatch gives a PUBLISH to whom it is for. An error is the answer; nil
// means that the answer comes later, or was given.
func (c *conn) dispatch(s *send, pub *wire.Publish) error {
	topic, err := chat.ParseTopic(s.topic)
	if err != nil {
		return err
	}
	if err := c.identity().MayPublish(topic); err != nil {
		return err
	}
	if pub.PayloadIsText && !utf8.Valid(pub.Payload) { // MQTT 5, section 3.3.2.3.2
		return chat.Invalid("payload", "is not UTF-8, as its format indicator says")
	}
	if topic.Kind == chat.KindOrdinary {
		if err := c.b.fits("topic", s.topic); err != nil {
			return err
		}
		c.route(s, pub)
		return nil
	}
	if pub.Retain && topic.Kind != chat.KindPresence {
		return chat.Invalid("retain", "this topic is not retained")
	}
	switch topic.Kind {
	case chat.KindTyping, chat.KindReceipts, chat.KindPresence:
		return c.publishLive(s, pub, topic)
	case chat.KindMessages:
		return c.submit(s, pub, topic.ID)
	case chat.KindReplay:
		return c.replay(s, pub, chat.ConversationStream(topic.ID))
	case chat.KindNotificationsReplay:
		return c.replay(s, pub, chat.NotificationStream(topic.ID))
	case chat.KindNotificationsRead:
		return c.readNotifications(s, pub)
	case chat.KindToken:
		if err := c.renew(string(pub.Payload)); err != nil {
			return err
		}
		s.finish(nil)
		return nil
	}
	return chat.Errorf(chat.CodeForbidden, "the server alone publishes here")
}

// replay answers a request for what a stream has after a seq.
func (c *conn) replay(s *send, pub *wire.Publish, stream chat.StreamID) error {
	after, err := chat.DecodeReplay(pub.Payload)
	if err != nil {
		return err
	}
	if err := c.session.replay(stream, after, min(pub.QoS, 1)); err != nil {
		return err
	}
	s.finish(nil)
	return nil
}

// readNotifications marks notifications as read. What the client sends next
// comes after it.
func (c *conn) readNotifications(s *send, pub *wire.Publish) error {
	which, err := chat.DecodeReadMarks(pub.Payload)
	if err != nil {
		return err
	}
	ctx, cancel := c.storeContext()
	defer cancel()
	if _, err := c.b.log.ReadNotifications(ctx, c.key.UserID, which); err != nil {
		return err
	}
	s.finish(nil)
	return nil
}

// submit gives a message to the log.
func (c *conn) submit(s *send, pub *wire.Publish, conversation string) error {
	body, err := chat.DecodeBody(pub.Payload, string(pub.ContentType) == "text/plain")
	if err != nil {
		return err
	}
	s.clientID = body.ClientID
	before := s.Draft.ClientID
	s.Draft = chat.Draft{Stream: chat.ConversationStream(conversation), SenderID: c.key.UserID, Body: body}
	if body.ClientID == "" {
		s.Draft.ClientID = before
	}
	c.mu.Lock()
	stores := s.qos == 2 && c.session.durable && before == ""
	waits := stores || c.storing > 0
	if waits {
		c.storing++
	}
	c.mu.Unlock()
	if !waits {
		c.b.log.Submit(&s.Submission)
		return nil
	}
	if !stores { // behind one that is being stored: sends keep their order
		c.b.router.After(func(err error) { c.stored(s, err) })
		return nil
	}
	// Exactly once, also over a crash: under which clientId it is submitted
	// is stored first, so that the same PUBLISH, when it comes again, is
	// submitted under the same one.
	if s.Draft.ClientID == "" {
		s.Draft.ClientID = "~" + uuid.NewString()
	}
	c.b.router.Receive(c.key, bridge.Received{PacketID: s.packetID, ClientID: s.Draft.ClientID},
		func(err error) { c.stored(s, err) })
	return nil
}

// stored submits a send whose packet identifier is stored, or that waited
// behind one.
func (c *conn) stored(s *send, err error) {
	if err != nil {
		s.finish(err)
	} else {
		c.b.log.Submit(&s.Submission)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.storing--
}

// route gives a message of an ordinary topic to the router.
func (c *conn) route(s *send, pub *wire.Publish) {
	m := &router.Message{Retain: pub.Retain, From: c.key}
	m.UserID, m.Topic, m.QoS, m.Published = c.key.UserID, s.topic, pub.QoS, c.b.cfg.Now()
	if pub.HasExpiry {
		m.Expires = m.Published.Add(time.Duration(pub.Expiry) * time.Second)
	}
	room := make([]byte, 0, len(pub.Payload)+pub.KeptPropsLen())
	room = append(room, pub.Payload...)
	m.Payload = room[:len(pub.Payload):len(pub.Payload)]
	m.Props = pub.KeptProps(room)[len(pub.Payload):]
	s.routed = router.Publication{Message: m, Done: s}
	if s.qos == 2 && c.session.durable {
		s.routed.Received = s.packetID
	}
	if s.qos > 0 {
		c.mu.Lock()
		s.routed.Behind = c.ordinary > 0
		c.ordinary++
		s.ordinary = true
		c.mu.Unlock()
	}
	c.b.router.Publish(&s.routed)
}

// Published is called by the router when the message is passed on, and kept
// where it must be, or is refused.
func (s *send) Published(_ *router.Publication, err error) { s.finish(err) }

// Committed is called by the log when the draft is committed or refused.
func (s *send) Committed(*bridge.Submission) { s.finish(s.Outcome.Err) }

// finish answers the send, and those before it that waited for nothing else.
// s must not be used after it.
func (s *send) finish(err error) {
	c := s.c
	if err != nil {
		refusal, expected := chat.AsError(err)
		if !expected {
			c.b.logger.Error("a send failed", "user", c.key.UserID, "client", c.key.ClientID, "topic", s.topic, "error", err)
		}
		s.err = refusal
		if c.lost(s) && s.qos > 0 {
			c.end(0, "database unavailable")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.done = true
	c.unacked--
	if s.ordinary {
		c.ordinary--
	}
	if c.room != nil {
		c.makeRoom()
	}
	if s.err != nil {
		c.tell(s.err, s.topic, s.clientID)
	}
	if s.qos == 0 {
		s.free()
	} else {
		c.answer()
	}
	if len(c.goodbye) > 0 && c.unacked == 0 {
		_ = c.nc.SetWriteDeadline(time.Now().Add(endTimeout)) // the commit may have taken longer
	}
	if len(c.out) > 0 || len(c.goodbye) > 0 && c.unacked == 0 {
		c.write()
	}
}

func (s *send) free() {
	*s = send{}
	sends.Put(s)
}
