// Package wire is the strict layer round the MQTT codec: it cuts packets out
// of a byte stream within bounds, checks each one against MQTT 3.1.1 and 5
// before anything else looks at it, decodes the frequent ones without
// allocating, and appends what the server sends to byte slices.
//
// The clauses in the comments, like [MQTT-3.3.1-4], are numbers of MQTT 5.
// Those that start with 3.1.1 are numbers of the older standard.
package wire

import "fmt"

// Protocol levels, as they stand in CONNECT.
const (
	Version311 = 4
	Version5   = 5
)

// Packet types: the high four bits of a packet's first byte.
const (
	TypeConnect     byte = 1
	TypeConnack     byte = 2
	TypePublish     byte = 3
	TypePuback      byte = 4
	TypePubrec      byte = 5
	TypePubrel      byte = 6
	TypePubcomp     byte = 7
	TypeSubscribe   byte = 8
	TypeSuback      byte = 9
	TypeUnsubscribe byte = 10
	TypeUnsuback    byte = 11
	TypePingreq     byte = 12
	TypePingresp    byte = 13
	TypeDisconnect  byte = 14
	TypeAuth        byte = 15
)

var typeNames = [16]string{"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL",
	"PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// TypeName is the name of a packet type as the standard writes it.
func TypeName(t byte) string { return typeNames[t&15] }

// Packet is one control packet as it came, not checked yet.
type Packet struct {
	First byte   // type and flags
	Body  []byte // what follows the remaining length
	Long  bool   // the remaining length was not written in its shortest form
}

// Type is the packet's type.
func (p Packet) Type() byte { return p.First >> 4 }

// Flags are the low four bits of the packet's first byte.
func (p Packet) Flags() byte { return p.First & 15 }

// Error says why a packet was refused. Code is the MQTT 5 reason code for the
// CONNACK or DISCONNECT that ends the connection.
type Error struct {
	Code byte
	Text string // plain English; may be sent as a reason string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (0x%02X)", e.Text, e.Code) }

// ErrTooLarge is what Reader.Next returns for a packet over its limit.
var ErrTooLarge = &Error{CodeTooLarge, "packet is larger than allowed"}

// ErrPanic is what Decode returns when the codec panicked over a packet that
// Check let through. It is a defect: count it.
var ErrPanic = &Error{CodeMalformed, "packet cannot be decoded"}

func malformed(text string) *Error { return &Error{CodeMalformed, text} }
func violation(text string) *Error { return &Error{CodeProtocolError, text} }
