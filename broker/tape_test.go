package broker_test

import (
	"encoding/binary"
	"strings"

	"github.com/parley-mqtt/parley/broker/wire"
)

// tape is where a sequence takes its choices from. At its end all are 0.
type tape []byte

func (t *tape) next() byte {
	if len(*t) == 0 {
		return 0
	}
	b := (*t)[0]
	*t = (*t)[1:]
	return b
}

func (t *tape) bit() bool { return t.next()&1 != 0 }

// upTo takes at most n bytes as they are.
func (t *tape) upTo(n int) []byte {
	n = min(n, len(*t))
	b := (*t)[:n]
	*t = (*t)[n:]
	return b
}

// pick takes one of the choices. The first is what an empty tape gives.
func pick[T any](t *tape, choices ...T) T { return choices[int(t.next())%len(choices)] }

// The words of sequences. The first ones are those that mean something.
var (
	topics = []string{"chat/shared/messages", "fuzz/a", "fuzz/a/b", "fuzz/b", "fuzz/", "fuzz",
		"chat/shared/replay", "chat/shared/typing", "chat/shared/receipts", "users/mallory/presence",
		"users/mallory/token", "users/mallory/notifications/read", "users/mallory/notifications/replay",
		"users/mallory/errors", "users/trudy/presence", "chat/w/messages", "chat/none/messages", "elsewhere",
		"$SYS/broker", "fuzz/+", "fuzz/a\x00", "fuzz/\xff", "", "fuzz" + strings.Repeat("/d", 40), "fuzz/" + strings.Repeat("l", 1100)}

	filters = []string{"chat/+/messages", "fuzz/#", "fuzz/a", "fuzz/+", "fuzz/+/b", "$share/g/fuzz/#", "$share/g/fuzz/a",
		"$share/h/fuzz/+", "chat/shared/messages", "chat/+/+", "users/mallory/errors", "users/mallory/#", "chat/+/typing",
		"chat/+/receipts", "users/+/presence", "users/trudy/#", "users/mallory/unread", "users/mallory/notifications",
		"chat/w/messages", "chat/none/messages", "#", "+/a", "elsewhere", "$SYS/#", "$share/g/chat/+/messages", "$share//fuzz/a",
		"$share/g", "$share/+/fuzz/a", "fuzz/#/a", "fuzz/a+", "", "fuzz" + strings.Repeat("/+", 40), "fuzz/" + strings.Repeat("l", 1100)}

	payloads = []string{`{"content":"hi"}`, "", "text", `{"content":"hi","clientId":"k"}`, `{"type":"edit","target":4,"content":"ho"}`,
		`{"type":"delete","target":4}`, `{"type":"reaction","target":4,"emoji":"x"}`, `{"after":0}`, `{"after":3}`, `{"read":1,"delivered":2}`,
		`{"typing":true}`, `{"status":"offline"}`, `{"status":"invisible"}`, "mallory", `{"all":true}`, "{", "\xff\x00",
		strings.Repeat("long ", 4000)}
)

// props are properties as they are encoded.
type props []byte

func (p *props) byte(id byte, v byte)     { *p = append(*p, id, v) }
func (p *props) short(id byte, v uint16)  { *p = binary.BigEndian.AppendUint16(append(*p, id), v) }
func (p *props) long(id byte, v uint32)   { *p = binary.BigEndian.AppendUint32(append(*p, id), v) }
func (p *props) text(id byte, s string)   { *p = appendText(append(*p, id), s) }
func (p *props) varint(id byte, v uint32) { *p = appendVarint(append(*p, id), v) }

func (p *props) pair(k, v string) { *p = appendText(appendText(append(*p, 38), k), v) }

// more adds what any packet may have: reason string and user properties.
func (p *props) more(t *tape) {
	switch pick(t, 0, 0, 1, 2, 3) {
	case 1:
		p.pair("k", "v")
	case 2:
		p.text(31, "why")
	case 3:
		p.pair("", strings.Repeat("v", 300))
		p.pair("after", pick(t, "0", "3", "99999999999999999999", "x"))
	}
}

// append appends them with their length, for MQTT 5.
func (p *props) append(dst []byte, version byte) []byte {
	if version < wire.Version5 {
		return dst
	}
	return append(appendVarint(dst, uint32(len(*p))), *p...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendVarint(dst []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// framed puts a fixed header before a body.
func framed(first byte, body []byte) []byte {
	return append(appendVarint([]byte{first}, uint32(len(body))), body...)
}

// login is a CONNECT of the tape's choice, and what the client asked for.
func (t *tape) login() (packet []byte, version byte, limit int) {
	version = pick[byte](t, wire.Version5, wire.Version311, 3)
	user := pick(t, "mallory", "mallory", "trudy", "brief", "nobody")
	clientID := pick(t, "a", "b", "", strings.Repeat("c", 300))
	keepAlive := pick[uint16](t, 0, 60, 1, 65535)
	flags := t.next() &^ 0x3C
	flags |= 0xC0 // name and password
	var p, wp props
	if seconds := pick[uint32](t, 0, 3600, 1, 0xFFFFFFFF); seconds > 0 {
		p.long(17, seconds)
	}
	if most := pick[uint16](t, 0, 1, 2, 65535); most > 0 {
		p.short(33, most)
	}
	if limit = pick(t, 0, 0, 20, 100, 70_000); limit > 0 {
		p.long(39, uint32(limit))
	}
	if aliases := pick[uint16](t, 0, 2, 65535); aliases > 0 {
		p.short(34, aliases)
	}
	if flags&1 != 0 { // 0 is given to it
		p.byte(23, 0)
		flags &^= 1
	}
	if method := pick(t, "", "", "", "jwt", "other"); method != "" {
		p.text(21, method)
		p.text(22, "mallory")
	}
	p.more(t)
	if version < wire.Version5 {
		limit = 0
	}

	body := appendText(nil, "MQTT")
	will := t.bit()
	if will {
		flags |= 4 | pick[byte](t, 0, 1, 2, 3)<<3 | t.next()&0x20
	}
	body = binary.BigEndian.AppendUint16(append(body, version, flags), keepAlive)
	body = p.append(body, version)
	body = appendText(body, clientID)
	if will {
		if delay := pick[uint32](t, 0, 1, 0xFFFFFFFF); delay > 0 {
			wp.long(24, delay)
		}
		wp.message(t)
		body = wp.append(body, version)
		body = appendText(appendText(body, pick(t, topics...)), pick(t, payloads...))
	}
	return framed(wire.TypeConnect<<4, appendText(appendText(body, user), user)), version, limit
}

// message adds properties of a message.
func (p *props) message(t *tape) {
	if seconds := pick[uint32](t, 0, 0, 100, 1, 0xFFFFFFFF); seconds > 0 {
		p.long(2, seconds)
	}
	kinds := t.next()
	if kinds&1 != 0 {
		p.byte(1, kinds>>7)
	}
	if kinds&2 != 0 {
		p.text(3, "text/plain")
	}
	if kinds&4 != 0 {
		p.text(8, pick(t, topics...))
	}
	if kinds&8 != 0 {
		p.text(9, "\x00correlation")
	}
	p.more(t)
}

// publish is a PUBLISH of the tape's choice.
func (t *tape) publish(l *live) []byte {
	flags := t.next() & 15 // QoS 3 is among them
	topic := pick(t, topics...)
	payload := pick(t, payloads...)
	var p props
	if alias := pick[uint16](t, 0, 0, 0, 1, 2, 64, 65, 65535); alias > 0 {
		p.short(35, alias)
		if t.bit() {
			topic = ""
		}
	}
	p.message(t)
	if t.next() == 1 { // only a server may say that
		p.varint(11, 1)
	}
	body := appendText(nil, topic)
	if flags&6 != 0 {
		body = binary.BigEndian.AppendUint16(body, t.id(l))
	}
	return framed(wire.TypePublish<<4|flags, append(p.append(body, l.version), payload...))
}

// id is the packet identifier of something that a client begins.
func (t *tape) id(l *live) uint16 {
	switch pick(t, 0, 0, 0, 1, 2, 3) {
	case 1:
		return l.lastID
	case 2:
		return 0
	case 3:
		return 65535
	}
	l.lastID++
	return l.lastID
}

// subscribe is a SUBSCRIBE or UNSUBSCRIBE of the tape's choice.
func (t *tape) subscribe(l *live, kind byte) []byte {
	var p props
	if kind == wire.TypeSubscribe {
		for range pick(t, 0, 1, 1, 2) {
			p.varint(11, pick[uint32](t, 1, 2, 268435455, 0))
		}
	}
	p.more(t)
	body := binary.BigEndian.AppendUint16(nil, t.id(l))
	body = p.append(body, l.version)
	for range pick(t, 1, 1, 2, 3, 0) {
		body = appendText(body, pick(t, filters...))
		if kind == wire.TypeSubscribe {
			options := t.next() // QoS, No Local, Retain As Published, Retain Handling, and what is reserved
			body = append(body, options)
		}
	}
	return framed(kind<<4|2, body)
}

// ack is one of the four answers of the tape's choice.
func (t *tape) ack(l *live) []byte {
	kind := pick(t, wire.TypePuback, wire.TypePubrec, wire.TypePubcomp, wire.TypePubrel)
	var id uint16
	switch choice := t.next(); {
	case choice < 8:
		id = l.lastID
	case choice < 16:
		id = uint16(choice)
	case len(l.deliveries) > 0:
		id = l.deliveries[int(choice-16)%len(l.deliveries)]
	}
	body := binary.BigEndian.AppendUint16(nil, id)
	if t.bit() {
		code := pick[byte](t, 0, 0x80, 0x10, 0x92, 1)
		var p props
		if p.more(t); l.version == wire.Version5 {
			body = p.append(append(body, code), l.version)
		}
	}
	first := kind << 4
	if kind == wire.TypePubrel {
		first |= 2
	}
	return framed(first, body)
}

// goodbye is a DISCONNECT or AUTH of the tape's choice.
func (t *tape) goodbye(l *live, kind byte) []byte {
	short := t.bit()
	var p props
	body := []byte{pick[byte](t, 0, 4, 0x18, 0x19, 0x81)}
	if kind == wire.TypeAuth {
		p.text(21, pick(t, "jwt", "other"))
		p.text(22, pick(t, "mallory", "trudy", "brief", "nobody"))
	} else if seconds := pick[uint32](t, 0, 3600, 0xFFFFFFFF); t.bit() {
		p.long(17, seconds)
	}
	if p.more(t); short || l.version < wire.Version5 {
		return []byte{kind << 4, 0}
	}
	return framed(kind<<4, p.append(body, l.version))
}
