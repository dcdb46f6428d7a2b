package wire

import "encoding/binary"

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP packet.
type Ack struct {
	Type     byte
	PacketID uint16
	Code     byte

	// Reason and User are for AppendAck. DecodeAck checks what a client
	// sends there and leaves both empty: the server does nothing with it.
	Reason string
	User   UserProps
}

// The codes that a client may send, by packet type.
var (
	ackCodes = codes(CodeSuccess, CodeUnspecified, CodeImplementationSpecific, CodeNotAuthorized,
		CodeTopicInvalid, CodePacketIDInUse, CodeQuotaExceeded, CodePayloadInvalid)
	relCodes        = codes(CodeSuccess, CodePacketIDNotFound)
	disconnectCodes = codes(CodeSuccess, CodeDisconnectWithWill, CodeUnspecified, CodeMalformed,
		CodeProtocolError, CodeImplementationSpecific, CodeTopicInvalid, CodeReceiveMaximum,
		CodeTopicAliasInvalid, CodeTooLarge, CodeRateTooHigh, CodeQuotaExceeded, CodeAdministrative,
		CodePayloadInvalid)
)

func codes(list ...byte) *[256]bool {
	var set [256]bool
	for _, c := range list {
		set[c] = true
	}
	return &set
}

var (
	errNotAck    = violation("packet is not an acknowledgement")
	errFlags     = malformed("reserved flags of the fixed header are wrong [MQTT-2.1.3-1]")
	errAckCode   = violation("reason code is not one for this packet [MQTT-3.4.2-1]")
	errAckLength = malformed("packet has more than a packet identifier")
)

// DecodeAck checks a PUBACK, PUBREC, PUBREL or PUBCOMP packet and returns what
// it says. It does not allocate unless it fails.
func DecodeAck(version byte, p Packet) (Ack, error) {
	a := Ack{Type: p.Type()}
	want, legal := byte(0), ackCodes
	switch a.Type {
	case TypePuback, TypePubrec:
	case TypePubrel: // [MQTT-3.6.1-1]
		want, legal = 2, relCodes
	case TypePubcomp:
		legal = relCodes
	default:
		return Ack{}, errNotAck
	}
	if p.Flags() != want {
		return Ack{}, errFlags
	}
	if p.Long && version >= Version5 {
		return Ack{}, errLong
	}
	c := cursor{b: p.Body}
	if a.PacketID = c.u16(); a.PacketID == 0 {
		c.fail(errPacketID)
	}
	if len(c.b) > 0 {
		if version < Version5 {
			return Ack{}, errAckLength
		}
		if a.Code = c.u8(); !legal[a.Code] {
			c.fail(errAckCode)
		}
	}
	if len(c.b) > 0 {
		c.skipProps(a.Type)
	}
	if err := c.end(); err != nil {
		return Ack{}, err
	}
	return a, nil
}

// AppendAck appends the packet to dst. User, then Reason are left out where
// the packet would be longer than limit with them [MQTT-3.4.2-2],
// [MQTT-3.4.2-3]; 0 is no limit. For a client that wants no problem
// information both must be empty [MQTT-3.1.2-29]. 3.1.1 has the identifier
// alone: there a refusal cannot be told.
func AppendAck(dst []byte, version byte, a *Ack, limit int) []byte {
	first := a.Type << 4
	if a.Type == TypePubrel {
		first |= 2 // [MQTT-3.6.1-1]
	}
	if version < Version5 {
		return binary.BigEndian.AppendUint16(append(dst, first, 2), a.PacketID)
	}
	props := tail{reason: a.Reason, user: a.User}
	props.fit(3, 0, limit)
	size := 3
	if n := props.len(); n > 0 {
		size += varintLen(n) + n
	} else if a.Code == CodeSuccess {
		size = 2
	}
	dst = appendVarint(append(dst, first), size)
	dst = binary.BigEndian.AppendUint16(dst, a.PacketID)
	if size > 2 {
		dst = append(dst, a.Code)
	}
	if size > 3 {
		dst = props.append(dst, nil)
	}
	return dst
}
