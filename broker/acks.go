package broker

import (
	"strconv"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/router"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

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
		c.free(s)
	}
	switch {
	case c.mute:
		return
	case s.err == nil:
		if c.version == wire.Version5 && s.Outcome.Seq > 0 && c.session.problems {
			var props [128]byte
			ack.User = outcomeProps(props[:0], &s.Outcome)
		}
		if s.ordinary && !s.routed.Matched {
			ack.Code = wire.CodeNoMatchingSubscribers // 3.1.1 has no codes
		}
	case c.version == wire.Version5:
		ack.Code = reason(s.err.Code)
		if c.session.problems {
			ack.Reason = s.err.Error()
		}
		c.free(s) // [MQTT-4.3.3-4]
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

// tell publishes an error on users/<u>/errors to this connection, if it
// subscribes to that. c.mu is held.
func (c *conn) tell(err *chat.Error, topic, clientID string) {
	c.tellProblem(chat.Problem{Code: err.Code, Message: err.Error(), Topic: topic, ClientID: clientID})
}

// trimmed tells that a stream begins later than the client was to have it.
func (c *conn) trimmed(stream chat.Topic, first uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellProblem(chat.Problem{Code: chat.CodeHistoryTrimmed, Topic: stream.String(),
		Message: "entries before this one are not kept any more", First: first})
	if len(c.out) > 0 {
		c.write()
	}
}

// tellProblem publishes a problem on users/<u>/errors. c.mu is held.
func (c *conn) tellProblem(problem chat.Problem) {
	if !c.errors || c.ending {
		return
	}
	if len(c.out) > maxOut {
		c.b.metrics.drops.WithLabelValues("errors").Inc()
		return
	}
	pub := wire.Publish{
		Topic:   chat.Topic{Kind: chat.KindErrors, ID: c.key.UserID}.Append(nil),
		Payload: problem.AppendJSON(nil), SubscriptionIDs: c.errorIDs,
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
	session := c.session
	mine := session.box != nil && router.Mine(a.PacketID)
	switch a.Type {
	case wire.TypePuback:
		if !mine {
			session.acked(a.PacketID)
		} else if session.box.Puback(a.PacketID) {
			session.boxFreed()
		}
	case wire.TypePubrel:
		c.release(a.PacketID)
	case wire.TypePubrec:
		known, freed := false, false
		if mine {
			known, freed = session.box.Pubrec(a.PacketID, a.Code >= wire.CodeUnspecified)
		}
		if freed {
			session.boxFreed()
		}
		if !known {
			c.send(func(out []byte) []byte {
				return wire.AppendAck(out, c.version, &wire.Ack{Type: wire.TypePubrel,
					PacketID: a.PacketID, Code: wire.CodePacketIDNotFound}, c.maxSend)
			})
		}
	case wire.TypePubcomp:
		if mine && session.box.Pubcomp(a.PacketID) {
			session.boxFreed()
		}
	}
	return nil
}

// releaseRetry is after how long a PUBREL that could not be stored is tried
// again.
const releaseRetry = time.Second

// release takes a PUBREL: the packet identifier is free. For a durable session
// that is stored before PUBCOMP, else a message that the client sends under
// the same identifier after a crash would pass for the last one. While the
// store is out of reach PUBCOMP waits: it has no code that could say so.
func (c *conn) release(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.session.received[id]
	switch {
	case c.ending:
	case !known:
		c.complete(id, wire.CodePacketIDNotFound)
	case c.session.durable:
		c.b.router.Forget(c.key, id, func(err error) {
			if err != nil {
				time.AfterFunc(releaseRetry, func() { c.release(id) })
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.complete(id, wire.CodeSuccess)
		})
	default:
		c.complete(id, wire.CodeSuccess)
	}
}

// free gives the packet identifier of a send that was refused free. c.mu is
// held.
func (c *conn) free(s *send) {
	if _, known := c.session.received[s.packetID]; s.qos == 2 && known {
		delete(c.session.received, s.packetID)
		if c.session.durable {
			c.b.router.Forget(c.key, s.packetID, func(error) {})
		}
	}
}

// complete answers a PUBREL. c.mu is held.
func (c *conn) complete(id uint16, code byte) {
	delete(c.session.received, id)
	if !c.ending {
		c.out = wire.AppendAck(c.out, c.version, &wire.Ack{Type: wire.TypePubcomp, PacketID: id, Code: code}, c.maxSend)
		c.write()
	}
}

// Wake implements router.Reader.
func (c *conn) Wake() { c.nudge() }

// Pubrel implements router.Reader.
func (c *conn) Pubrel(id uint16) {
	c.send(func(out []byte) []byte {
		return wire.AppendAck(out, c.version, &wire.Ack{Type: wire.TypePubrel, PacketID: id}, c.maxSend)
	})
}

// Failed implements router.Reader.
func (c *conn) Failed(error) { c.end(wire.CodeImplementationSpecific, "database unavailable") }
