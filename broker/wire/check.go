package wire

import "bytes"

// Check walks through one packet that a client sent and refuses what MQTT
// 3.1.1 or 5 does not allow, as far as the packet alone can tell. version is
// what the connection's CONNECT said; for a CONNECT packet itself it is not
// looked at. Every error is an *Error.
//
// Whether a topic filter uses wildcards well is left to chat.ParseFilter: its
// refusal belongs into the SUBACK.
func Check(version byte, p Packet) error {
	switch p.Type() {
	case TypePublish:
		var into Publish
		return DecodePublish(version, p, &into)
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		_, err := DecodeAck(version, p)
		return err
	case TypeConnack, TypeSuback, TypeUnsuback, TypePingresp:
		return errServerOnly
	}
	want := byte(0)
	if p.Type() == TypeSubscribe || p.Type() == TypeUnsubscribe {
		want = 2 // [MQTT-3.8.1-1], [MQTT-3.10.1-1]
	}
	if p.Flags() != want {
		return errFlags
	}
	c := cursor{b: p.Body}
	if p.Type() == TypeConnect {
		return c.connect(p.Long)
	}
	if p.Long && version >= Version5 {
		return errLong
	}
	switch p.Type() {
	case TypeSubscribe:
		return c.subscribe(version)
	case TypeUnsubscribe:
		return c.unsubscribe(version)
	case TypePingreq:
		return c.end()
	case TypeDisconnect:
		return c.disconnect(version)
	case TypeAuth:
		if version >= Version5 {
			return c.auth()
		}
	}
	return errReserved
}

var (
	errServerOnly = violation("only a server may send this packet")
	errReserved   = malformed("packet type is reserved")
)

// skipProps checks properties whose values do not matter here.
func (c *cursor) skipProps(place byte) propWalk {
	w := c.props(place)
	for w.next() {
	}
	if w.err != nil {
		c.fail(w.err)
	}
	return w
}

var (
	errNoFilter      = violation("packet has no topic filter [MQTT-3.8.3-2]")
	errEmptyFilter   = violation("topic filter is empty [MQTT-4.7.3-1]")
	errSubReserved   = malformed("reserved bits of the subscription options are set [MQTT-3.8.3-5]")
	errSubQoS        = violation("subscription with QoS 3 (section 3.8.3.1)")
	errSubQoS3       = malformed("subscription with QoS 3 or reserved bits [3.1.1: MQTT-3.8.3-4]")
	errSubRetain     = violation("subscription with Retain Handling 3 (section 3.8.3.1)")
	errNoLocalShared = violation("shared subscription with No Local [MQTT-3.8.3-4]")
)

func (c *cursor) subscribe(version byte) error {
	c.filtersHead(version, TypeSubscribe)
	for c.err == nil && len(c.b) > 0 {
		filter := c.filter()
		options := c.u8()
		if c.err == nil {
			c.subscribeOptions(version, filter, options)
		}
	}
	return c.end()
}

func (c *cursor) subscribeOptions(version byte, filter []byte, options byte) {
	switch {
	case version < Version5:
		if options > 2 {
			c.fail(errSubQoS3)
		}
	case options&0xC0 != 0:
		c.fail(errSubReserved)
	case options&3 == 3:
		c.fail(errSubQoS)
	case options>>4&3 == 3:
		c.fail(errSubRetain)
	case options&4 != 0 && bytes.HasPrefix(filter, []byte("$share/")):
		c.fail(errNoLocalShared)
	}
}

func (c *cursor) unsubscribe(version byte) error {
	c.filtersHead(version, TypeUnsubscribe)
	for c.err == nil && len(c.b) > 0 {
		c.filter()
	}
	return c.end()
}

// filtersHead reads what stands before the filters of a SUBSCRIBE or
// UNSUBSCRIBE, and wants at least one filter to follow.
func (c *cursor) filtersHead(version, place byte) {
	if c.u16() == 0 {
		c.fail(errPacketID)
	}
	if version >= Version5 {
		c.skipProps(place)
	}
	if len(c.b) == 0 {
		c.fail(errNoFilter)
	}
}

func (c *cursor) filter() []byte {
	f := c.str()
	if len(f) == 0 {
		c.fail(errEmptyFilter)
	}
	return f
}

var errDisconnectCode = violation("reason code is not one that a client sends [MQTT-3.14.2-1]")

func (c *cursor) disconnect(version byte) error {
	if version < Version5 || len(c.b) == 0 {
		return c.end()
	}
	if !disconnectCodes[c.u8()] {
		c.fail(errDisconnectCode)
	}
	if len(c.b) > 0 {
		c.skipProps(TypeDisconnect)
	}
	return c.end()
}

var (
	errAuthCode   = violation("reason code is not one that a client sends [MQTT-3.15.2-1]")
	errAuthMethod = violation("AUTH without an authentication method (section 3.15.2.2.2)")
)

func (c *cursor) auth() error {
	// An empty AUTH means success, which only a server may say.
	if len(c.b) == 0 {
		return errAuthCode
	}
	if code := c.u8(); code != CodeContinueAuthentication && code != CodeReauthenticate {
		c.fail(errAuthCode)
	}
	w := c.skipProps(TypeAuth)
	if c.err == nil && !w.has(propAuthMethod) {
		c.fail(errAuthMethod)
	}
	return c.end()
}
