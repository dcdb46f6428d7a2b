package wire

import "encoding/binary"

// KeptProps appends those properties of a PUBLISH that travel with the
// message from its publisher to every subscriber [MQTT-3.3.2-4],
// [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-20]. The
// rest, message expiry interval, topic alias and subscription identifiers,
// belongs to one hop.
func (p *Publish) KeptProps(dst []byte) []byte {
	kept := *p
	kept.HasExpiry, kept.SubscriptionIDs = false, nil
	return kept.appendProps(dst)
}

// KeptPropsLen is the number of bytes that KeptProps appends.
func (p *Publish) KeptPropsLen() int {
	kept := *p
	kept.HasExpiry, kept.SubscriptionIDs = false, nil
	return kept.propsLen()
}

// Parts is a PUBLISH packet with its properties as they are written.
type Parts struct {
	DUP, Retain bool
	QoS         byte
	PacketID    uint16 // with QoS 1 and 2
	Topic       string
	Hop         []byte // properties of this hop, written before Kept
	Kept        []byte
	Payload     []byte
}

// Len is the size of the packet that Append appends.
func (p *Parts) Len(version byte) int {
	body, _ := p.size(version)
	return 1 + varintLen(body) + body
}

func (p *Parts) size(version byte) (body, props int) {
	body = stringLen(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		body += 2
	}
	if version >= Version5 {
		props = len(p.Hop) + len(p.Kept)
		body += varintLen(props) + props
	}
	return body, props
}

// Append appends the packet to dst. In 3.1.1 there are no properties.
func (p *Parts) Append(dst []byte, version byte) []byte {
	body, props := p.size(version)
	dst = appendVarint(append(dst, p.first()), body)
	dst = appendString(dst, p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if version >= Version5 {
		dst = append(append(appendVarint(dst, props), p.Hop...), p.Kept...)
	}
	return append(dst, p.Payload...)
}

func (p *Parts) first() byte { return First(p.DUP, p.QoS, p.Retain) }

// First is the first byte of a PUBLISH. One encoding of a message serves many
// subscribers, each with its own First on its copy.
func First(dup bool, qos byte, retain bool) byte {
	first := TypePublish<<4 | qos<<1
	if dup && qos > 0 { // [MQTT-3.3.1-2]
		first |= 8
	}
	if retain {
		first |= 1
	}
	return first
}

// AppendExpiry appends a message expiry interval, in seconds.
func AppendExpiry(dst []byte, seconds uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, propMessageExpiry), seconds)
}

// AppendSubscriptionID appends a subscription identifier.
func AppendSubscriptionID(dst []byte, id uint32) []byte {
	return appendVarint(append(dst, propSubscriptionID), int(id))
}

// AppendTopicAlias appends a topic alias.
func AppendTopicAlias(dst []byte, alias uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, propTopicAlias), alias)
}

// Aliases gives the topics that are sent to one connection short names, as
// many as the client's Topic Alias Maximum allows: the first topics keep
// theirs. Its zero value gives none. It is not safe for concurrent use.
type Aliases struct {
	max   uint16
	known map[string]uint16
}

// maxAliases bounds the memory that a client's Topic Alias Maximum costs.
const maxAliases = 64

// Allow sets how many aliases the client takes [MQTT-3.1.2-26]. No more than
// 64 are given.
func (a *Aliases) Allow(maximum uint16) { a.max = min(maximum, maxAliases) }

// Any reports whether the client takes aliases at all [MQTT-3.1.2-27].
func (a *Aliases) Any() bool { return a.max > 0 }

// Of answers the alias of a topic, 0 if it has none, and whether the client
// has been told it already.
func (a *Aliases) Of(topic string) (alias uint16, told bool) {
	if alias, told = a.known[topic]; told {
		return alias, true
	}
	if len(a.known) >= int(a.max) {
		return 0, false
	}
	return uint16(len(a.known) + 1), false
}

// Told notes that a packet with the alias and the topic was sent.
func (a *Aliases) Told(topic string, alias uint16) {
	if a.known == nil {
		a.known = make(map[string]uint16)
	}
	a.known[topic] = alias
}

// AppendHop appends a PUBLISH of MQTT 5 that is encoded already and adds
// properties of this hop. Without its topic it must have an alias that the
// client has been told [MQTT-3.3.2-12].
func AppendHop(dst, frame, hop []byte, withTopic bool) []byte {
	c := cursor{b: frame[1:]}
	c.varint()
	topic := c.str()
	var id []byte
	if frame[0]>>1&3 > 0 {
		id = c.take(2)
	}
	props := c.take(int(c.varint()))
	if !withTopic {
		topic = nil
	}
	n := len(props) + len(hop)
	dst = appendVarint(append(dst, frame[0]), stringLen(topic)+len(id)+varintLen(n)+n+len(c.b))
	dst = append(appendString(dst, topic), id...)
	dst = append(append(appendVarint(dst, n), hop...), props...)
	return append(dst, c.b...)
}
