package wire

import "github.com/mochi-mqtt/server/v2/packets"

// Decode checks a packet that a client sent and lets the codec decode it. What
// it fills in is a copy: it stays valid after the next read. PUBLISH and its
// acknowledgements are better decoded by DecodePublish and DecodeAck.
//
// Every error is an *Error. A panic of the codec becomes ErrPanic.
func Decode(version byte, p Packet, into *packets.Packet) error {
	if err := Check(version, p); err != nil {
		return err
	}
	*into = packets.Packet{ProtocolVersion: version}
	if into.FixedHeader.Decode(p.First) != nil {
		return errCodec
	}
	into.FixedHeader.Remaining = len(p.Body)
	// The codec's strings share the memory of what it decodes, and the body
	// will be overwritten.
	body := append([]byte(nil), p.Body...)
	return guard(func() error { return decodeBody(into, body) })
}

var errCodec = malformed("packet cannot be decoded")

// guard runs the codec, which is known to panic over a SUBSCRIBE that is cut
// short. No packet is known that passes Check and does so.
func guard(decode func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrPanic
		}
	}()
	if decode() != nil {
		return errCodec
	}
	return nil
}

func decodeBody(into *packets.Packet, body []byte) error {
	switch into.FixedHeader.Type {
	case TypeConnect:
		return into.ConnectDecode(body)
	case TypePublish:
		return into.PublishDecode(body)
	case TypePuback:
		return into.PubackDecode(body)
	case TypePubrec:
		return into.PubrecDecode(body)
	case TypePubrel:
		return into.PubrelDecode(body)
	case TypePubcomp:
		return into.PubcompDecode(body)
	case TypeSubscribe:
		return into.SubscribeDecode(body)
	case TypeUnsubscribe:
		return into.UnsubscribeDecode(body)
	case TypeDisconnect:
		if len(body) == 1 { // the codec forgets a reason code without properties
			into.ReasonCode = body[0]
		}
		return into.DisconnectDecode(body)
	case TypeAuth:
		return into.AuthDecode(body)
	}
	return nil // PINGREQ
}
