package wire

// Property identifiers.
const (
	propPayloadFormat     = 1
	propMessageExpiry     = 2
	propContentType       = 3
	propResponseTopic     = 8
	propCorrelationData   = 9
	propSubscriptionID    = 11
	propSessionExpiry     = 17
	propAssignedClientID  = 18
	propServerKeepAlive   = 19
	propAuthMethod        = 21
	propAuthData          = 22
	propProblemInfo       = 23
	propWillDelay         = 24
	propResponseInfo      = 25
	propReasonString      = 31
	propReceiveMaximum    = 33
	propTopicAliasMaximum = 34
	propTopicAlias        = 35
	propRetainAvailable   = 37
	propUser              = 38
	propMaximumPacketSize = 39
	propSubIDAvailable    = 41
	propSharedAvailable   = 42
)

// The forms of a property's value.
const (
	formNone = iota // not a property that a client may send
	formBool        // a byte, 0 or 1
	formU16
	formU32
	formVarint
	formString
	formTopic // a string that must do as a topic name
	formBinary
	formPair
)

// inWill stands for the will's properties, beside the packet types.
const inWill = 0

func in(places ...byte) (mask uint16) {
	for _, p := range places {
		mask |= 1 << p
	}
	return mask
}

// propRules says of every property that a client may send which form it has
// and where it may stand.
var propRules = [propMaximumPacketSize + 1]struct {
	form    byte
	nonZero bool // 0 is a protocol error
	places  uint16
}{
	propPayloadFormat:     {formBool, false, in(TypePublish, inWill)},
	propMessageExpiry:     {formU32, false, in(TypePublish, inWill)},
	propContentType:       {formString, false, in(TypePublish, inWill)},
	propResponseTopic:     {formTopic, false, in(TypePublish, inWill)},
	propCorrelationData:   {formBinary, false, in(TypePublish, inWill)},
	propSubscriptionID:    {formVarint, true, in(TypePublish, TypeSubscribe)},
	propSessionExpiry:     {formU32, false, in(TypeConnect, TypeDisconnect)},
	propAuthMethod:        {formString, false, in(TypeConnect, TypeAuth)},
	propAuthData:          {formBinary, false, in(TypeConnect, TypeAuth)},
	propProblemInfo:       {formBool, false, in(TypeConnect)},
	propWillDelay:         {formU32, false, in(inWill)},
	propResponseInfo:      {formBool, false, in(TypeConnect)},
	propReasonString:      {formString, false, in(TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeDisconnect, TypeAuth)},
	propReceiveMaximum:    {formU16, true, in(TypeConnect)},
	propTopicAliasMaximum: {formU16, false, in(TypeConnect)},
	propTopicAlias:        {formU16, false, in(TypePublish)},
	propUser: {formPair, false, in(TypeConnect, inWill, TypePublish, TypePuback, TypePubrec, TypePubrel,
		TypePubcomp, TypeSubscribe, TypeUnsubscribe, TypeDisconnect, TypeAuth)},
	propMaximumPacketSize: {formU32, true, in(TypeConnect)},
}

var (
	errPropPlace  = malformed("property is not allowed in this packet (section 2.2.2.2)")
	errPropTwice  = violation("property stands twice")
	errPropBool   = violation("property must be 0 or 1")
	errPropZero   = violation("property must not be 0")
	errPropServer = violation("only a server may send this property")
	errPropTopic  = violation("response topic must be a topic name [MQTT-3.3.2-14]")
	errAuthData   = violation("authentication data without a method")
)

// propWalk goes through the properties of one packet, or of its will.
type propWalk struct {
	cursor
	all   []byte // all the properties
	place byte
	seen  uint64 // by identifier
	id    byte   // of the present property
	num   uint32 // its value, if it is a number
	val   []byte // its value, if it is a string or binary data
	from  int    // where it starts in all
}

// props starts a walk through the properties that come next. The cursor stands
// behind them already. Its error must be looked at when next is false.
func (c *cursor) props(place byte) propWalk {
	b := c.take(int(c.varint()))
	return propWalk{cursor: cursor{b: b, err: c.err}, all: b, place: place}
}

// has reports whether the property came by.
func (w *propWalk) has(id byte) bool { return w.seen&(1<<id) != 0 }

// span says where the present property stands in all.
func (w *propWalk) span() (from, to int) { return w.from, len(w.all) - len(w.b) }

// next goes to the next property and checks it. It is false at the end and
// after a failure.
func (w *propWalk) next() bool {
	if len(w.b) == 0 || w.err != nil {
		return false
	}
	w.from = len(w.all) - len(w.b)
	id := w.varint()
	if w.err != nil {
		return false
	}
	if err := w.admit(id); err != nil {
		w.fail(err)
		return false
	}
	w.id = byte(id)
	w.value()
	return w.err == nil
}

// admit checks that the property may stand here, and may stand here again.
func (w *propWalk) admit(id uint32) *Error {
	if id == 28 && w.place == TypeDisconnect { // Server Reference
		return errPropServer
	}
	if int(id) >= len(propRules) || propRules[id].form == formNone || propRules[id].places&(1<<w.place) == 0 {
		return errPropPlace
	}
	if id == propSubscriptionID && w.place == TypePublish {
		return errPropServer // [MQTT-3.3.4-6]
	}
	if w.seen&(1<<id) != 0 && id != propUser {
		return errPropTwice
	}
	w.seen |= 1 << id
	return nil
}

// value reads the value of the property id.
func (w *propWalk) value() {
	rule := &propRules[w.id]
	w.num, w.val = 1, nil
	switch rule.form {
	case formBool:
		if w.num = uint32(w.u8()); w.num > 1 {
			w.fail(errPropBool)
		}
	case formU16:
		w.num = uint32(w.u16())
	case formU32:
		w.num = w.u32()
	case formVarint:
		w.num = w.varint()
	case formString:
		w.val = w.str()
	case formTopic:
		if w.val = w.str(); w.err == nil && !isTopicName(w.val) {
			w.fail(errPropTopic)
		}
	case formBinary:
		w.val = w.bin()
	case formPair:
		w.str()
		w.str()
	}
	if rule.nonZero && w.num == 0 && w.err == nil {
		w.fail(errPropZero)
	}
}

// isTopicName reports whether b may be a topic name, as far as MQTT itself
// says: it is not empty and has no wildcards [MQTT-4.7.3-1], [MQTT-4.7.0-1].
func isTopicName(b []byte) bool {
	for _, c := range b {
		if c == '+' || c == '#' {
			return false
		}
	}
	return len(b) > 0
}
