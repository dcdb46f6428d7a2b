package wire

import "encoding/binary"

// tail is the properties that close almost every packet of a server: those
// that the packet must do without if the client's Maximum Packet Size is too
// small for them.
type tail struct {
	reason string
	user   UserProps
}

// fit leaves out what would make a packet longer than limit. rest is the size
// of the packet's body without its properties and their length, others the
// size of the properties that must be there.
func (t *tail) fit(rest, others, limit int) {
	if limit <= 0 {
		return
	}
	for range 2 {
		n := others + t.len()
		body := rest + varintLen(n) + n
		switch {
		case 1+varintLen(body)+body <= limit:
			return
		case len(t.user) > 0:
			t.user = nil
		default:
			t.reason = ""
		}
	}
}

func (t *tail) len() int {
	n := len(t.user)
	if t.reason != "" {
		n += 1 + stringLen(t.reason)
	}
	return n
}

// append appends the length of all properties, those in others, which are
// encoded already, and the tail.
func (t *tail) append(dst, others []byte) []byte {
	dst = appendVarint(dst, len(others)+t.len())
	dst = append(dst, others...)
	if t.reason != "" {
		dst = appendString(append(dst, propReasonString), t.reason)
	}
	return append(dst, t.user...)
}

// Connack is a CONNACK packet. Zero values leave a property out.
type Connack struct {
	SessionPresent bool // sent as false with a Code that refuses [MQTT-3.2.2-6]
	Code           byte

	HasSessionExpiry   bool
	SessionExpiry      uint32
	ReceiveMaximum     uint16
	MaximumPacketSize  uint32
	AssignedClientID   string
	TopicAliasMaximum  uint16
	HasServerKeepAlive bool
	ServerKeepAlive    uint16
	NoRetain           bool // Retain Available 0
	NoSubscriptionIDs  bool // Subscription Identifiers Available 0
	NoShared           bool // Shared Subscription Available 0
	AuthMethod         string
	AuthData           []byte
	Reason             string
	User               UserProps
}

// AppendConnack appends the packet to dst. Nothing is appended where version,
// the level that stands in the CONNECT, has no packet for it: below 5 for some
// codes (see ReturnCode3), and for 0, which is no MQTT at all.
func AppendConnack(dst []byte, version byte, a *Connack, limit int) []byte {
	present := byte(0)
	if a.SessionPresent && a.Code == CodeSuccess {
		present = 1
	}
	if version < Version5 {
		if code, ok := ReturnCode3(a.Code); ok && version > 0 {
			dst = append(dst, TypeConnack<<4, 2, present, code)
		}
		return dst
	}
	others := a.props(nil)
	props := tail{a.Reason, a.User}
	props.fit(2, len(others), limit)
	n := len(others) + props.len()
	dst = appendVarint(append(dst, TypeConnack<<4), 2+varintLen(n)+n)
	return props.append(append(dst, present, a.Code), others)
}

func (a *Connack) props(dst []byte) []byte {
	if a.HasSessionExpiry {
		dst = binary.BigEndian.AppendUint32(append(dst, propSessionExpiry), a.SessionExpiry)
	}
	if a.ReceiveMaximum > 0 {
		dst = binary.BigEndian.AppendUint16(append(dst, propReceiveMaximum), a.ReceiveMaximum)
	}
	if a.MaximumPacketSize > 0 {
		dst = binary.BigEndian.AppendUint32(append(dst, propMaximumPacketSize), a.MaximumPacketSize)
	}
	if a.AssignedClientID != "" {
		dst = appendString(append(dst, propAssignedClientID), a.AssignedClientID)
	}
	if a.TopicAliasMaximum > 0 {
		dst = binary.BigEndian.AppendUint16(append(dst, propTopicAliasMaximum), a.TopicAliasMaximum)
	}
	if a.HasServerKeepAlive {
		dst = binary.BigEndian.AppendUint16(append(dst, propServerKeepAlive), a.ServerKeepAlive)
	}
	if a.NoRetain {
		dst = append(dst, propRetainAvailable, 0)
	}
	if a.NoSubscriptionIDs {
		dst = append(dst, propSubIDAvailable, 0)
	}
	if a.NoShared {
		dst = append(dst, propSharedAvailable, 0)
	}
	return appendAuth(dst, a.AuthMethod, a.AuthData)
}

func appendAuth(dst []byte, method string, data []byte) []byte {
	if method != "" {
		dst = appendString(append(dst, propAuthMethod), method)
	}
	if len(data) > 0 {
		dst = appendString(append(dst, propAuthData), data)
	}
	return dst
}

// AppendSuback appends a SUBACK packet with one code for each filter. User is
// left out where the packet would be longer than limit with it
// [MQTT-3.9.2-2]. In 3.1.1 every refusal is 0x80.
func AppendSuback(dst []byte, version byte, id uint16, codes []byte, user UserProps, limit int) []byte {
	dst = appendManyAcks(dst, TypeSuback, version, id, codes, user, limit)
	if version < Version5 {
		for i, c := range dst[len(dst)-len(codes):] {
			if c >= 0x80 {
				dst[len(dst)-len(codes)+i] = 0x80 // [3.1.1: MQTT-3.9.3-2]
			}
		}
	}
	return dst
}

// AppendUnsuback appends an UNSUBACK packet with one code for each filter.
// 3.1.1 has no codes there.
func AppendUnsuback(dst []byte, version byte, id uint16, codes []byte, user UserProps, limit int) []byte {
	if version < Version5 {
		codes = nil
	}
	return appendManyAcks(dst, TypeUnsuback, version, id, codes, user, limit)
}

func appendManyAcks(dst []byte, kind, version byte, id uint16, codes []byte, user UserProps, limit int) []byte {
	size := 2 + len(codes)
	props := tail{user: user}
	if version >= Version5 {
		props.fit(size, 0, limit)
		n := props.len()
		size += varintLen(n) + n
	}
	dst = appendVarint(append(dst, kind<<4), size)
	dst = binary.BigEndian.AppendUint16(dst, id)
	if version >= Version5 {
		dst = props.append(dst, nil)
	}
	return append(dst, codes...)
}

// AppendPingresp appends a PINGRESP packet.
func AppendPingresp(dst []byte) []byte { return append(dst, TypePingresp<<4, 0) }

// AppendDisconnect appends a DISCONNECT packet. In 3.1.1 a server has none:
// nothing is appended, and the connection just ends. Reason is left out where
// the packet would be longer than limit with it [MQTT-3.14.2-3].
func AppendDisconnect(dst []byte, version, code byte, reason string, limit int) []byte {
	if version < Version5 {
		return dst
	}
	props := tail{reason: reason}
	props.fit(1, 0, limit)
	n := props.len()
	if n == 0 {
		return append(dst, TypeDisconnect<<4, 1, code)
	}
	dst = appendVarint(append(dst, TypeDisconnect<<4), 1+varintLen(n)+n)
	return props.append(append(dst, code), nil)
}

// AppendAuth appends an AUTH packet.
func AppendAuth(dst []byte, code byte, method string, data []byte) []byte {
	others := appendAuth(nil, method, data)
	n := len(others)
	dst = appendVarint(append(dst, TypeAuth<<4), 1+varintLen(n)+n)
	return append(appendVarint(append(dst, code), n), others...)
}
