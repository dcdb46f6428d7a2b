package broker

import (
	"strconv"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// send is one PUBLISH of a client on its way to an answer. The acknowledgements
// of one connection go out in the order of its PUBLISH packets
// [MQTT-4.6.0-2], [MQTT-4.6.0-3], whatever order the commits end in.
type send struct {
	bridge.Submission
	c        *conn
	qos      byte
	packetID uint16
	done     bool
	err      *chat.Error // a refusal, or nil
	clientID string      // as the sender gave it, for users/<u>/errors
	topic    string
}

var sends = sync.Pool{New: func() any { return new(send) }}

// publish takes a PUBLISH packet. It never waits for the database: the answer
// is made when the commit ends.
func (c *conn) publish(p wire.Packet) error {
	var pub wire.Publish
	if err := wire.DecodePublish(c.version, p, &pub); err != nil {
		return err
	}
	if pub.TopicAlias != 0 { // none was offered [MQTT-3.3.2-9]
		return &wire.Error{Code: wire.CodeTopicAliasInvalid, Text: "topic alias is above the Topic Alias Maximum"}
	}
	if pub.QoS > 0 {
		again, err := c.receive(&pub)
		if again || err != nil {
			return err
		}
	}
	s := sends.Get().(*send)
	*s = send{c: c, qos: pub.QoS, packetID: pub.PacketID, topic: string(pub.Topic)}
	s.Done = s
	c.mu.Lock()
	c.unacked++
	if s.qos > 0 {
		c.sends = append(c.sends, s)
	}
	c.mu.Unlock()
	if err := c.dispatch(s, &pub); err != nil {
		s.finish(err)
	}
	return nil
}

// receive keeps the rules of packet identifiers and of the Receive Maximum
// [MQTT-3.3.4-9]. again is true for a QoS 2 message that is here already
// [MQTT-4.3.3-10]: its answer is on the way, or is given again.
func (c *conn) receive(pub *wire.Publish) (again bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pub.QoS == 2 {
		if _, again = c.session.received[pub.PacketID]; again {
			if !c.pending(pub.PacketID) {
				s := sends.Get().(*send)
				*s = send{c: c, qos: 2, packetID: pub.PacketID, done: true}
				c.sends = append(c.sends, s) // it too waits for its turn
				c.answer()
				if len(c.out) > 0 {
					c.write()
				}
			}
			return true, nil
		}
	}
	if c.qos1+len(c.session.received) >= c.b.cfg.ReceiveMaximum && c.version == wire.Version5 {
		return false, &wire.Error{Code: wire.CodeReceiveMaximum, Text: "more sends than the Receive Maximum"}
	}
	if pub.QoS == 2 {
		if c.session.received == nil {
			c.session.received = make(map[uint16]struct{})
		}
		c.session.received[pub.PacketID] = struct{}{}
	} else {
		c.qos1++
	}
	return false, nil
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
	if err := c.id.MayPublish(topic); err != nil {
		return err
	}
	if pub.Retain {
		return chat.Invalid("retain", "this topic is not retained")
	}
	switch topic.Kind {
	case chat.KindMessages:
		body, err := chat.DecodeBody(pub.Payload, string(pub.ContentType) == "text/plain")
		if err != nil {
			return err
		}
		s.clientID = body.ClientID
		s.Draft = chat.Draft{Stream: chat.ConversationStream(topic.ID), SenderID: c.key.UserID, Body: body}
		c.b.log.Submit(&s.Submission)
		return nil
	case chat.KindReplay:
		after, err := chat.DecodeReplay(pub.Payload)
		if err != nil {
			return err
		}
		if err := c.session.replay(topic.ID, after, min(pub.QoS, 1)); err != nil {
			return err
		}
		s.finish(nil)
		return nil
	}
	return chat.Errorf(chat.CodeForbidden, "this topic is not offered yet")
}

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

// answer appends the acknowledgements whose turn it is. c.mu is held.
func (c *conn) answer() {
	for c.first < len(c.sends) && c.sends[c.first].done {
		s := c.sends[c.first]
		c.sends[c.first] = nil
		c.first++
		c.acknowledge(s)
		s.free()
	}
	switch {
	case c.first == len(c.sends):
		c.sends, c.first = c.sends[:0], 0
		if cap(c.sends) > 16 {
			c.sends = nil
		}
	case c.first > 64 && c.first > len(c.sends)/2:
		n := copy(c.sends, c.sends[c.first:])
		clear(c.sends[n:])
		c.sends, c.first = c.sends[:n], 0
	}
}

// acknowledge appends the PUBACK or PUBREC of a send. c.mu is held.
func (c *conn) acknowledge(s *send) {
	ack := wire.Ack{Type: wire.TypePuback, PacketID: s.packetID}
	if s.qos == 2 {
		ack.Type = wire.TypePubrec
	} else {
		c.qos1--
	}
	if c.lost(s) {
		// The connection ends with this send unacknowledged, and with those
		// behind it: for acknowledgements keep their order.
		c.mute = true
		delete(c.session.received, s.packetID)
	}
	switch {
	case c.mute:
		return
	case s.err == nil:
		if c.version == wire.Version5 && s.Outcome.Seq > 0 && c.session.problems {
			var props [128]byte
			ack.User = outcomeProps(props[:0], &s.Outcome)
		}
	case c.version == wire.Version5:
		ack.Code = reason(s.err.Code)
		if c.session.problems {
			ack.Reason = s.err.Error()
		}
		delete(c.session.received, s.packetID) // refused: the identifier is free [MQTT-4.3.3-4]
	}
	c.out = wire.AppendAck(c.out, c.version, &ack, c.maxSend)
}

// lost reports whether a send failed in a way that 3.1.1 cannot tell but by no
// acknowledgement and no connection: so that it is sent again.
func (c *conn) lost(s *send) bool {
	return c.version < wire.Version5 && s.err != nil &&
		(s.err.Code == chat.CodeUnavailable || s.err.Code == chat.CodeInternal)
}

// outcomeProps are the user properties id, seq and createdAt of an
// acknowledgement.
func outcomeProps(dst wire.UserProps, out *bridge.Outcome) wire.UserProps {
	var scratch [40]byte
	dst = wire.AppendUserProp(dst, "id", out.ID.Append(scratch[:0]))
	dst = wire.AppendUserProp(dst, "seq", strconv.AppendUint(scratch[:0], out.Seq, 10))
	return wire.AppendUserProp(dst, "createdAt", chat.AppendTime(scratch[:0], out.CreatedAt))
}

// tell publishes a problem on users/<u>/errors to this connection, if it
// subscribes to that. c.mu is held.
func (c *conn) tell(err *chat.Error, topic, clientID string) {
	if !c.errors || c.ending {
		return
	}
	if len(c.out) > maxOut {
		c.b.metrics.drops.WithLabelValues("errors").Inc()
		return
	}
	problem := chat.Problem{Code: err.Code, Message: err.Error(), Topic: topic, ClientID: clientID}
	pub := wire.Publish{
		Topic:   chat.Topic{Kind: chat.KindErrors, ID: c.key.UserID}.Append(nil),
		Payload: problem.AppendJSON(nil),
	}
	before := len(c.out)
	c.out, _ = wire.AppendPublish(c.out, c.version, &pub)
	if c.maxSend > 0 && len(c.out)-before > c.maxSend {
		c.out = c.out[:before]
		c.b.metrics.drops.WithLabelValues("too large").Inc()
	}
}

// ack takes PUBACK, PUBREC, PUBREL and PUBCOMP.
func (c *conn) ack(p wire.Packet) error {
	a, err := wire.DecodeAck(c.version, p)
	if err != nil {
		return err
	}
	switch a.Type {
	case wire.TypePuback:
		c.session.acked(a.PacketID)
	case wire.TypePubrel:
		c.mu.Lock()
		defer c.mu.Unlock()
		answer := wire.Ack{Type: wire.TypePubcomp, PacketID: a.PacketID}
		if _, ok := c.session.received[a.PacketID]; !ok {
			answer.Code = wire.CodePacketIDNotFound
		}
		delete(c.session.received, a.PacketID)
		c.out = wire.AppendAck(c.out, c.version, &answer, c.maxSend)
		c.write()
	case wire.TypePubrec:
		// Nothing was sent at QoS 2, so the identifier is unknown.
		c.send(func(out []byte) []byte {
			return wire.AppendAck(out, c.version, &wire.Ack{Type: wire.TypePubrel,
				PacketID: a.PacketID, Code: wire.CodePacketIDNotFound}, c.maxSend)
		})
	}
	return nil
}
