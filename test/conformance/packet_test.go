package conformance_test

import (
	"encoding/binary"
	"fmt"
)

// Parts of packet, beside strings, numbers and nested parts.
type (
	raw    []byte // bytes without a length
	varint int    // a Variable Byte Integer
	props  []any  // properties, with their length in front
)

// packet is a control packet of the first byte whose body has the fields:
// strings with their length, integers in network order. An int is one byte.
func packet(first byte, fields ...any) []byte {
	body := build(fields...)
	return append(appendVarint([]byte{first}, len(body)), body...)
}

func build(fields ...any) []byte {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = append(b, byte(f))
		case byte:
			b = append(b, f)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, f)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, f)
		case string:
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(f))), f...)
		case raw:
			b = append(b, f...)
		case varint:
			b = appendVarint(b, int(f))
		case props:
			p := build(f...)
			b = append(appendVarint(b, len(p)), p...)
		default:
			panic(fmt.Sprintf("build: %T", f))
		}
	}
	return b
}

func appendVarint(b []byte, n int) []byte {
	for ; n > 127; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// First bytes of packets.
const (
	connectByte     = 0x10
	publishByte     = 0x30
	subscribeByte   = 0x82
	unsubscribeByte = 0xA2
	pingreqByte     = 0xC0
	disconnectByte  = 0xE0
	authByte        = 0xF0
)

// Identifiers of properties.
const (
	messageExpiry   = 2
	subscriptionID  = 11
	sessionExpiry   = 17
	authMethod      = 21
	authData        = 22
	topicAlias      = 35
	aliasMaximum    = 34
	userProperty    = 38
	responseTopicID = 8
)

// Subscription options of MQTT 5, beside the QoS.
const (
	noLocal     byte = 1 << 2
	asPublished byte = 1 << 3
	ifNew       byte = 1 << 4 // Retain Handling 1
	noRetained  byte = 2 << 4 // Retain Handling 2
)

// sub is a filter of a SUBSCRIBE with its options.
type sub struct {
	filter  string
	options byte
}

// subscribePacket is a SUBSCRIBE; an id of 0 is no subscription identifier.
func subscribePacket(version byte, packetID uint16, id int, subs ...sub) []byte {
	fields := []any{packetID}
	if version == 5 {
		p := props{}
		if id > 0 {
			p = props{subscriptionID, varint(id)}
		}
		fields = append(fields, p)
	}
	for _, s := range subs {
		fields = append(fields, s.filter, s.options)
	}
	return packet(subscribeByte, fields...)
}
