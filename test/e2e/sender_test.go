package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// send is one message until it is acknowledged.
type send struct {
	conv     string
	text     string // its content, no other message's
	clientID string // "" when it has none
	plain    bool   // sent as plain text
	packetID uint16
	tries    int  // how often it was sent
	stands   bool // QoS 2: PUBREC has come, PUBREL is due
}

// payload is what is published, and whether MQTT 5 must say that it is text.
func (m *send) payload() []byte {
	if m.plain {
		return []byte(m.text)
	}
	body := map[string]string{"content": m.text}
	if m.clientID != "" {
		body["clientId"] = m.clientID
	}
	text, _ := json.Marshal(body) // strings can be encoded
	return text
}

// sender publishes with several sends in flight. It reconnects whenever it is
// cut off, and repeats what was not acknowledged, with the same packet
// identifier and clientId.
type sender struct {
	l       *load
	user    string
	version byte
	qos     byte
	window  int
	keyed   bool // its messages have a clientId; otherwise every other is plain text

	all     []*send
	pending []*send // not acknowledged, in the order of their PUBLISH packets
	lastID  uint16
}

func (s *sender) run() {
	// At the end of a test that has failed nobody may ever answer.
	for !ended(s.l.closing) && (!ended(s.l.stopping) || len(s.pending) > 0) {
		c, _ := s.l.dial(s.user, s.version, 0)
		if c == nil {
			backoff(s.l.closing)
			continue
		}
		s.converse(c)
		s.l.hangUp(c)
		if s.version == 4 && len(s.pending) > 0 {
			s.l.dropped.Add(1)
		}
	}
}

// converse uses one connection for as long as it holds. Its end is seen by
// reading alone: where writing fails first, the server's last words may still
// be there to read.
func (s *sender) converse(c *mqttest.Client) {
	for _, m := range s.pending {
		if m.stands {
			s.release(c, m.packetID)
		} else {
			s.publish(c, m, true)
		}
	}
	for {
		for len(s.pending) < s.window && !ended(s.l.stopping) {
			m := s.compose()
			s.pending = append(s.pending, m)
			s.publish(c, m, false)
		}
		if len(s.pending) == 0 {
			c.Disconnect()
			return
		}
		pk, err := c.Read(mqttest.Patience)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.l.fail("%s: no answer to %d sends within %v", s.user, len(s.pending), mqttest.Patience)
		}
		if err != nil || !s.handle(c, pk) {
			return
		}
	}
}

// compose makes the next message, for one conversation after the other.
func (s *sender) compose() *send {
	n := len(s.all) + 1
	convs := s.l.conversations()
	m := &send{conv: convs[n%len(convs)], text: fmt.Sprintf("%s says %d", s.user, n),
		packetID: s.freeID(), plain: !s.keyed && n%2 == 0}
	if s.keyed {
		m.clientID = fmt.Sprintf("%s-%d", s.user, n)
	}
	s.all = append(s.all, m)
	return m
}

// freeID is the next packet identifier that no pending send has.
func (s *sender) freeID() uint16 {
	for {
		s.lastID++
		taken := slices.ContainsFunc(s.pending, func(m *send) bool { return m.packetID == s.lastID })
		if s.lastID > 0 && !taken {
			return s.lastID
		}
	}
}

func (s *sender) publish(c *mqttest.Client, m *send, again bool) {
	pub := wire.Publish{Topic: []byte("chat/" + m.conv + "/messages"), Payload: m.payload(),
		QoS: s.qos, PacketID: m.packetID, DUP: again}
	if m.plain && m.packetID%4 == 0 {
		pub.ContentType = []byte("text/plain") // 3.1.1 cannot say so
	}
	m.tries++
	raw, _ := wire.AppendPublish(nil, s.version, &pub)
	_ = c.Send(raw)
}

func (s *sender) release(c *mqttest.Client, id uint16) {
	_ = c.Send(wire.AppendAck(nil, s.version, &wire.Ack{Type: packets.Pubrel, PacketID: id}, 0))
}

// handle takes one packet of the server; false ends the connection.
func (s *sender) handle(c *mqttest.Client, pk packets.Packet) bool {
	switch pk.FixedHeader.Type {
	case packets.Puback, packets.Pubrec:
		s.answered(c, pk)
	case packets.Pubcomp:
		s.pending = slices.DeleteFunc(s.pending, func(m *send) bool { return m.packetID == pk.PacketID })
	case packets.Disconnect:
		if pk.ReasonCode == wire.CodeServerShuttingDown {
			s.l.goodbyes.Add(1)
		} else {
			s.l.fail("%s: DISCONNECT 0x%02x %s", s.user, pk.ReasonCode, pk.Properties.ReasonString)
		}
		return false
	default:
		s.l.fail("%s: got a %s", s.user, wire.TypeName(pk.FixedHeader.Type))
	}
	return true
}

// answered takes a PUBACK or PUBREC.
func (s *sender) answered(c *mqttest.Client, pk packets.Packet) {
	at := slices.IndexFunc(s.pending, func(m *send) bool { return m.packetID == pk.PacketID && !m.stands })
	if at < 0 {
		s.l.fail("%s: %s for %d, which is not sent", s.user, wire.TypeName(pk.FixedHeader.Type), pk.PacketID)
		return
	}
	m := s.pending[at]
	switch {
	case pk.ReasonCode == 0:
		s.l.acknowledged(ack{sender: s.user, send: m, silent: s.version == 4, id: mqttest.UserProperty(pk, "id"),
			seq: mqttest.UserProperty(pk, "seq"), createdAt: mqttest.UserProperty(pk, "createdAt")})
		if s.qos == 2 {
			m.stands = true
			s.release(c, m.packetID)
			return
		}
		s.pending = slices.Delete(s.pending, at, at+1)
	case s.version == 5 && pk.ReasonCode == wire.CodeImplementationSpecific:
		// The database is out of reach. The identifier is free, so the send
		// is repeated as a new packet, a moment later.
		s.l.refused.Add(1)
		s.pending = slices.Delete(s.pending, at, at+1)
		m.packetID = s.freeID()
		s.pending = append(s.pending, m)
		if backoff(s.l.closing) {
			s.publish(c, m, false)
		}
	default:
		s.l.fail("%s: refused with 0x%02x %s", s.user, pk.ReasonCode, pk.Properties.ReasonString)
		s.pending = slices.Delete(s.pending, at, at+1)
	}
}

// poster sends over REST, one message at a time, each until it is answered.
type poster struct {
	l    *load
	user string
	all  []*send
}

func (p *poster) run() {
	for n := 1; ; n++ {
		if ended(p.l.stopping) {
			return
		}
		convs := p.l.conversations()
		m := &send{conv: convs[n%len(convs)], text: fmt.Sprintf("%s says %d", p.user, n),
			clientID: fmt.Sprintf("%s-%d", p.user, n)}
		p.all = append(p.all, m)
		for !p.post(m) {
			if !backoff(p.l.closing) {
				return
			}
		}
	}
}

// post sends a message; false when it must be sent again.
func (p *poster) post(m *send) bool {
	m.tries++
	var e parleytest.Entry
	status, err := p.l.srv.rest.do(http.MethodPost, "/v1/conversations/"+m.conv+"/messages",
		p.l.tokens[p.user], map[string]string{"content": m.text, "clientId": m.clientID}, &e)
	switch {
	case err != nil: // no whole answer: the server may be down
		return false
	case status == http.StatusCreated, status == http.StatusOK:
		p.l.acknowledged(ack{sender: p.user, send: m, id: e.ID, seq: strconv.FormatUint(e.Seq, 10), createdAt: e.CreatedAt})
	case status == http.StatusServiceUnavailable:
		p.l.refused.Add(1)
		return false
	default:
		p.l.fail("%s: POST answered %d", p.user, status)
	}
	return true
}
