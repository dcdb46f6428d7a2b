package wire

import "encoding/binary"

// Publish is a PUBLISH packet. When DecodePublish filled it, its slices are
// parts of the packet: they are valid until the next read; Clone what is kept.
// Of the properties, 3.1.1 has none.
type Publish struct {
	DUP, Retain bool
	QoS         byte
	PacketID    uint16 // with QoS 1 and 2
	Topic       []byte // empty only together with TopicAlias
	Payload     []byte

	PayloadIsText   bool   // the payload format indicator is 1: UTF-8
	HasExpiry       bool   // Expiry stands in the packet; it may be 0
	Expiry          uint32 // seconds
	TopicAlias      uint16 // 0 is none; AppendPublish leaves it out
	ContentType     []byte // nil is none, as in the next two
	ResponseTopic   []byte
	CorrelationData []byte
	User            UserProps

	// SubscriptionIDs stand only in what a server sends.
	SubscriptionIDs []uint32
}

// DecodePublish checks a PUBLISH packet and fills into. It does not allocate,
// except when user properties do not stand side by side. Whether the topic
// alias is known and the payload is what PayloadIsText says is left to the
// caller, who knows the connection and can refuse the message alone.
func DecodePublish(version byte, p Packet, into *Publish) error {
	*into = Publish{DUP: p.First&8 != 0, QoS: p.First >> 1 & 3, Retain: p.First&1 != 0}
	switch {
	case p.Type() != TypePublish:
		return errNotPublish
	case p.Long && version >= Version5:
		return errLong
	case into.QoS == 3:
		return errQoS3
	case into.DUP && into.QoS == 0:
		return errDUP
	}
	c := cursor{b: p.Body}
	into.Topic = c.str()
	if into.QoS > 0 {
		if into.PacketID = c.u16(); into.PacketID == 0 {
			c.fail(errPacketID)
		}
	}
	if version >= Version5 {
		into.decodeProps(&c)
	}
	if c.err != nil {
		return c.err
	}
	into.Payload = c.b
	switch {
	case isTopicName(into.Topic):
	case len(into.Topic) > 0:
		return errWildcard
	case into.TopicAlias == 0:
		return errNoTopic
	}
	return nil
}

var (
	errNotPublish = violation("packet is not a PUBLISH")
	errQoS3       = malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]")
	errDUP        = violation("PUBLISH with DUP and QoS 0 [MQTT-3.3.1-2]")
	errPacketID   = violation("packet identifier is 0 [MQTT-2.2.1-3]")
	errWildcard   = violation("topic name has wildcards [MQTT-3.3.2-2]")
	errNoTopic    = violation("PUBLISH with neither a topic nor an alias [MQTT-4.7.3-1]")
	errAliasZero  = &Error{CodeTopicAliasInvalid, "topic alias is 0 [MQTT-3.3.2-8]"}
)

func (p *Publish) decodeProps(c *cursor) {
	w := c.props(TypePublish)
	userEnd := 0 // where the user properties end that were found side by side
	for w.next() {
		switch w.id {
		case propPayloadFormat:
			p.PayloadIsText = w.num == 1
		case propMessageExpiry:
			p.HasExpiry, p.Expiry = true, w.num
		case propContentType:
			p.ContentType = w.val
		case propResponseTopic:
			p.ResponseTopic = w.val
		case propCorrelationData:
			p.CorrelationData = w.val
		case propTopicAlias:
			if p.TopicAlias = uint16(w.num); w.num == 0 {
				w.fail(errAliasZero)
			}
		case propUser:
			// Clients send user properties side by side, so that a part of
			// the packet holds them all. Only others cost a copy.
			from, to := w.span()
			if p.User == nil || from == userEnd {
				p.User = w.all[from-len(p.User) : to : to]
				userEnd = to
			} else {
				p.User = append(p.User, w.all[from:to]...)
			}
		}
	}
	if w.err != nil {
		c.fail(w.err)
	}
}

// Clone returns a copy that shares no memory with p.
func (p *Publish) Clone() *Publish {
	q := *p
	n := len(p.Topic) + len(p.Payload) + len(p.ContentType) + len(p.ResponseTopic) +
		len(p.CorrelationData) + len(p.User)
	room := make([]byte, 0, n) // one piece of memory for all of them
	for _, field := range []*[]byte{&q.Topic, &q.Payload, &q.ContentType, &q.ResponseTopic,
		&q.CorrelationData, (*[]byte)(&q.User)} {
		if *field == nil {
			continue
		}
		room = append(room, *field...)
		*field = room[len(room)-len(*field) : len(room) : len(room)]
	}
	q.SubscriptionIDs = append([]uint32(nil), p.SubscriptionIDs...)
	return &q
}

// AppendPublish appends the packet to dst. at is where the packet identifier
// stands in the result, 0 with QoS 0: one encoding serves many subscribers,
// each with PatchPacketID on its copy. A topic alias is not written, so that
// one client's alias never reaches another [MQTT-3.3.2-7]. Fields of more than
// 65,535 bytes are cut.
func AppendPublish(dst []byte, version byte, p *Publish) (out []byte, at int) {
	first := TypePublish<<4 | p.QoS<<1
	if p.DUP && p.QoS > 0 { // [MQTT-3.3.1-2]
		first |= 8
	}
	if p.Retain {
		first |= 1
	}
	size := stringLen(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		size += 2
	}
	props := 0
	if version >= Version5 {
		props = p.propsLen()
		size += varintLen(props) + props
	}
	dst = appendVarint(append(dst, first), size)
	dst = appendString(dst, p.Topic)
	if p.QoS > 0 {
		at = len(dst)
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if version >= Version5 {
		dst = p.appendProps(appendVarint(dst, props))
	}
	return append(dst, p.Payload...), at
}

// propsLen is the number of bytes that appendProps appends.
func (p *Publish) propsLen() int {
	n := len(p.User)
	if p.PayloadIsText {
		n += 2
	}
	if p.HasExpiry {
		n += 5
	}
	for _, field := range [...][]byte{p.ContentType, p.ResponseTopic, p.CorrelationData} {
		if field != nil {
			n += 1 + stringLen(field)
		}
	}
	for _, id := range p.SubscriptionIDs {
		n += 1 + varintLen(int(id))
	}
	return n
}

func (p *Publish) appendProps(dst []byte) []byte {
	if p.PayloadIsText {
		dst = append(dst, propPayloadFormat, 1)
	}
	if p.HasExpiry {
		dst = binary.BigEndian.AppendUint32(append(dst, propMessageExpiry), p.Expiry)
	}
	if p.ContentType != nil {
		dst = appendString(append(dst, propContentType), p.ContentType)
	}
	if p.ResponseTopic != nil {
		dst = appendString(append(dst, propResponseTopic), p.ResponseTopic)
	}
	if p.CorrelationData != nil {
		dst = appendString(append(dst, propCorrelationData), p.CorrelationData)
	}
	for _, id := range p.SubscriptionIDs {
		dst = appendVarint(append(dst, propSubscriptionID), int(id))
	}
	return append(dst, p.User...)
}

// PacketIDAt is where the packet identifier of a PUBLISH with QoS 1 or 2 stands.
func PacketIDAt(frame []byte) int {
	at := 1
	for frame[at] >= 0x80 {
		at++
	}
	at++
	return at + 2 + int(frame[at])<<8 + int(frame[at+1])
}

// PatchPacketID writes a packet identifier at the place that AppendPublish
// named.
func PatchPacketID(frame []byte, at int, id uint16) {
	binary.BigEndian.PutUint16(frame[at:], id)
}

// SetDUP marks a PUBLISH that starts at frame[0] as sent again.
func SetDUP(frame []byte) { frame[0] |= 8 }
