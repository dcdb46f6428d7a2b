package wire

// Bits of the connect flags.
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUserName   = 1 << 7
)

var (
	errProtocol     = &Error{CodeUnsupportedVersion, "protocol name is not MQTT [MQTT-3.1.2-1]"}
	errLevel        = &Error{CodeUnsupportedVersion, "protocol version is neither 3.1.1 nor 5 [MQTT-3.1.2-2]"}
	errConnReserved = malformed("reserved connect flag is set [MQTT-3.1.2-3]")
	errWillQoS      = malformed("will with QoS 3 [MQTT-3.1.2-12]")
	errWillNone     = violation("will QoS or will retain without a will [MQTT-3.1.2-11], [MQTT-3.1.2-13]")
	errWillTopic    = violation("will topic must be a topic name [MQTT-4.7.0-1], [MQTT-4.7.3-1]")
	errPassword     = violation("password without a user name [3.1.1: MQTT-3.1.2-22]")
	errClientID     = &Error{CodeClientIDInvalid, "empty client identifier without clean session [3.1.1: MQTT-3.1.3-8]"}
)

// Version is the protocol level that a CONNECT packet asks for, whether it is
// supported or not; 3 is MQTT 3.1. It is 0 if the packet does not begin as one
// of MQTT does. It tells in which form a refusal must be sent.
func Version(p Packet) byte {
	c := cursor{b: p.Body}
	name := string(c.bin())
	level := c.u8()
	if p.Type() != TypeConnect || c.err != nil || name != "MQTT" && name != "MQIsdp" {
		return 0
	}
	return level
}

func (c *cursor) connect(long bool) error {
	name := c.str()
	if c.err != nil {
		return c.err
	}
	if string(name) != "MQTT" && string(name) != "MQIsdp" {
		return errProtocol
	}
	version := c.u8()
	if c.err != nil {
		return c.err
	}
	if string(name) != "MQTT" || version != Version311 && version != Version5 {
		return errLevel
	}
	if long && version >= Version5 {
		return errLong
	}
	flags := c.u8()
	if c.err == nil {
		c.connectFlags(version, flags)
	}
	c.u16() // keep alive
	if version >= Version5 {
		if w := c.skipProps(TypeConnect); w.has(propAuthData) && !w.has(propAuthMethod) {
			c.fail(errAuthData)
		}
	}
	id := c.str()
	if version < Version5 && len(id) == 0 && flags&flagCleanStart == 0 {
		c.fail(errClientID)
	}
	if flags&flagWill != 0 {
		c.will(version)
	}
	if flags&flagUserName != 0 {
		c.str()
	}
	if flags&flagPassword != 0 {
		c.bin()
	}
	return c.end()
}

func (c *cursor) connectFlags(version, flags byte) {
	switch {
	case flags&flagReserved != 0:
		c.fail(errConnReserved)
	case flags&flagWill == 0 && flags&(flagWillQoS|flagWillRetain) != 0:
		c.fail(errWillNone)
	case flags&flagWillQoS == flagWillQoS:
		c.fail(errWillQoS)
	case version < Version5 && flags&flagPassword != 0 && flags&flagUserName == 0:
		c.fail(errPassword)
	}
}

func (c *cursor) will(version byte) {
	if version >= Version5 {
		c.skipProps(inWill)
	}
	if topic := c.str(); c.err == nil && !isTopicName(topic) {
		c.fail(errWillTopic)
	}
	c.bin() // payload; it may be empty
}
