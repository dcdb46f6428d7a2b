package model_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// client is a device of a user. Users have devices with the same client ids.
type client struct {
	w       *world
	user    string
	id      string
	version byte
	link    *link    // nil while it is away
	s       *session // what the server should keep of it, or nil
	packet  uint16   // the identifier given last
}

// session is what the server keeps of a client while it is away, if durable.
type session struct {
	lasts    bool            // it outlives its connection
	subs     map[string]byte // QoS granted, by filter
	follows  map[*conv]*follow
	tells    bool                // users/<u>/errors is subscribed
	life     int                 // of the server, when the last connection ended
	received map[uint16]*attempt // QoS 2 sends that were not released
	attempts []*attempt          // those of the last connection without an answer
	dropped  bool                // the server may not know yet that the connection is gone
}

func (c *client) String() string             { return fmt.Sprintf("%s/%s(v%d)", c.user, c.id, c.version) }
func (c *client) errors() string             { return "users/" + c.user + "/errors" }
func (c *client) key() bridge.SessionKey     { return bridge.SessionKey{UserID: c.user, ClientID: c.id} }
func (c *client) nextPacket() uint16         { c.packet++; return 1000 + c.packet%60000 }
func (c *client) filter(conv *conv) []string { return []string{conv.topic(), allMessages, allChat} }

const (
	allMessages = "chat/+/messages"
	allChat     = "chat/+/+"
)

// qos says at which QoS the session gets a conversation's entries.
func (s *session) qos(c *client, conv *conv) (qos byte, ok bool) {
	for _, f := range c.filter(conv) {
		if q, found := s.subs[f]; found {
			qos, ok = max(qos, q), true
		}
	}
	return qos, ok
}

// options are what a client asks for on CONNECT.
type options struct {
	clean   bool
	lasting bool
	room    uint16 // Receive Maximum, 0 is none
}

// connect opens a connection. It takes the session over from one that lives.
func (c *client) connect(o options) {
	w := c.w
	w.refresh()
	m := mqttest.Options{Version: c.version, ClientID: c.id, User: c.user, Password: w.server.Token(c.user), Clean: o.clean}
	if c.version == 5 {
		m.ReceiveMaximum = o.room
		if o.lasting {
			m.Expiry = 3600
		}
	} else {
		o.lasting, o.room = !o.clean, 0
	}
	old := c.link
	w.log("%s connects %+v; the old lives: %v", c, o, old != nil)
	raw := w.server.Dial()
	ack := raw.Connect(m)
	if ack.ReasonCode != 0 {
		w.fail("%s was refused with 0x%02x", c, ack.ReasonCode)
	}
	w.refresh()
	if old != nil {
		old.drain(wire.CodeSessionTakenOver)
		c.gone(false)
	}
	present := c.s != nil && !o.clean
	if ack.SessionPresent != present {
		w.fail("%s: the session is present: %v, not %v", c, ack.SessionPresent, present)
	}
	if !present {
		if c.s != nil {
			c.forget()
		}
		c.s = &session{subs: make(map[string]byte), follows: make(map[*conv]*follow), received: make(map[uint16]*attempt)}
	}
	c.s.lasts = o.lasting
	l := &link{w: w, c: c, s: c.s, raw: raw, room: w.settings.inflight, sending: 1 << 15, readers: make(map[*conv]*reader),
		released: make(map[uint16]bool), subacks: make(map[uint16]packets.Packet)}
	if o.room > 0 {
		l.room = min(l.room, int(o.room))
	}
	if c.version == 5 {
		if l.sending = int(ack.Properties.ReceiveMaximum); l.sending != w.settings.receiveMaximum {
			w.fail("%s: CONNACK says Receive Maximum %d", c, l.sending)
		}
	}
	c.link = l
	if present {
		c.resume()
	}
}

// resume takes up a session that was there.
func (c *client) resume() {
	s, l := c.s, c.link
	if s.dropped {
		s.dropped = false
		s.quiet(c)
	}
	again := s.life == c.w.lives
	for conv, f := range s.follows {
		if !again {
			f.moved = false
		}
		p := f.resume()
		if l.carried += len(p.skip); f.moved {
			l.carried = l.room
		}
		r := newReader(conv, c.user, p)
		if qos, ok := s.qos(c, conv); ok {
			r.qos[qos] = true
		}
		if again {
			r.qos[1] = true // what was under way comes as it was
		}
		l.readers[conv] = r
	}
	left := s.attempts
	s.attempts = nil
	if !again {
		clear(s.received)
	}
	for _, packet := range slices.Sorted(maps.Keys(s.received)) {
		if !contains(left, packet) {
			l.release(packet)
		}
	}
	for _, a := range left {
		if a.m == nil || a.m.body.ClientID == "" && (a.qos < 2 || !again) {
			c.w.lost(a)
			continue
		}
		c.w.log("  %s sends again: %s", c, a)
		a.twice, a.link, a.told, a.known, a.m.unsure = true, l, 0, true, true
		l.attempts = append(l.attempts, a)
		l.publish(a, true)
	}
}

func contains(attempts []*attempt, packet uint16) bool {
	return slices.ContainsFunc(attempts, func(a *attempt) bool { return a.packet == packet })
}

// quiet notes that all that stands may have been sent at QoS 0 to a
// connection that nobody read.
func (s *session) quiet(c *client) {
	for conv, f := range s.follows {
		if qos, ok := s.qos(c, conv); f.silent || ok && qos == 0 {
			f.quiet = conv.head()
		}
	}
}

// gone notes that the connection is gone. dropped: the server may not know.
func (c *client) gone(dropped bool) {
	l, s := c.link, c.s
	c.link = nil
	_ = l.raw.Conn.Close()
	for _, a := range l.loose {
		a.m.unsure = true
	}
	for conv, f := range s.follows {
		f.silent = l.readers[conv].qos[0]
	}
	c.w.ordered = append(c.w.ordered, l.order)
	s.attempts = append(s.attempts, l.attempts...)
	s.life = c.w.lives
	if s.dropped = dropped; !dropped {
		c.w.refresh()
		s.quiet(c)
	}
	if !s.lasts {
		c.forget()
	}
}

// forget ends the session: what had no answer gets none.
func (c *client) forget() {
	for _, a := range c.s.attempts {
		c.w.lost(a)
	}
	c.s = nil
}

// drop cuts the connection without a word.
func (c *client) drop() {
	c.w.log("%s drops its connection", c)
	c.gone(true)
}

// disconnect says goodbye and reads to the end.
func (c *client) disconnect() {
	c.w.log("%s disconnects", c)
	c.link.send([]byte{packets.Disconnect << 4, 0})
	c.link.drain(0)
	c.gone(false)
}

// joined notes that the client's user has joined a conversation: what it
// subscribes to follows membership.
func (c *client) joined(conv *conv, seq uint64) {
	if c.s == nil {
		return
	}
	if f := c.s.follows[conv]; f != nil {
		if f.fresh && c.link != nil {
			f.fresh, f.young = false, true
		}
		return
	}
	if qos, ok := c.s.qos(c, conv); ok {
		f := newFollow(conv, c.user, seq-1, seq-1)
		f.fresh, f.young = c.link == nil, c.link != nil
		c.s.follows[conv] = f
		if c.link != nil {
			c.link.begin(conv, &pass{lo: seq - 1, hi: seq - 1}, qos)
		}
	}
}

// begin begins to read a stream, or goes on where a replay is under way.
func (l *link) begin(conv *conv, p *pass, qos byte) {
	r := l.readers[conv]
	if r == nil {
		r = newReader(conv, l.c.user, p)
		l.readers[conv] = r
	} else {
		r.open()
		r.push(p)
	}
	r.qos[qos] = true
}

// subscribe subscribes to filters, from the head on or after a seq.
func (l *link) subscribe(qos byte, after int, filters ...string) {
	w, c := l.w, l.c
	w.refresh()
	heads := make(map[*conv]uint64)
	for _, conv := range w.convs {
		heads[conv] = conv.head()
	}
	var user []packets.UserProperty
	if after >= 0 {
		user = append(user, packets.UserProperty{Key: "after", Val: fmt.Sprint(after)})
	}
	w.log("%s subscribes to %v at %d after %d", c, filters, qos, after)
	raw := l.raw.SubscribePacket(user, qos, filters...)
	id := packetOf(raw)
	if !l.send(raw) {
		return
	}
	l.await("a SUBACK", func() bool { return l.subacks[id].PacketID == id })
	pk := l.subacks[id]
	delete(l.subacks, id)
	w.refresh()
	for i, filter := range filters {
		l.granted(filter, min(qos, 1), pk.ReasonCodes[i])
	}
	exact := w.conv(strings.TrimSuffix(strings.TrimPrefix(filters[0], "chat/"), "/messages"))
	if len(filters) == 1 && exact != nil && pk.ReasonCodes[0] < 0x80 && c.version == 5 {
		var head, first uint64
		_, err := fmt.Sscan(mqttest.UserProperty(pk, "head")+" "+mqttest.UserProperty(pk, "first"), &head, &first)
		if err != nil || head < heads[exact] || head > exact.head() || first != 1 {
			w.fail("%s: the SUBACK of %s says %+v; the head is %d to %d", c, exact.id, pk.Properties.User, heads[exact], exact.head())
		}
	}
	for _, conv := range w.convs {
		for i, filter := range filters {
			if pk.ReasonCodes[i] < 0x80 && slices.Contains(c.filter(conv), filter) && conv.joined(c.user) > 0 {
				l.subscribed(conv, heads[conv], after)
				break
			}
		}
		if r := l.readers[conv]; r != nil {
			if qos, ok := l.s.qos(c, conv); ok {
				r.qos[qos] = true
			}
		}
	}
}

// packetOf answers the packet identifier of a SUBSCRIBE.
func packetOf(raw []byte) uint16 {
	at := 1
	for raw[at] >= 0x80 {
		at++
	}
	return uint16(raw[at+1])<<8 | uint16(raw[at+2])
}

// granted checks one code of a SUBACK.
func (l *link) granted(filter string, qos, code byte) {
	want := qos
	if filter == l.c.errors() {
		want = 0
	}
	id, exact := strings.CutSuffix(strings.TrimPrefix(filter, "chat/"), "/messages")
	if exact && id != "+" {
		if conv := l.w.conv(id); conv == nil || conv.joined(l.c.user) == 0 {
			if want = wire.CodeNotAuthorized; l.c.version < 5 {
				want = 0x80
			}
		}
	}
	if code != want {
		l.w.fail("%s: SUBACK of %s is 0x%02x, not 0x%02x", l, filter, code, want)
	}
	if code < 0x80 {
		l.s.subs[filter] = code
		l.s.tells = l.s.tells || filter == l.c.errors()
	}
}

// subscribed notes a subscription to a stream whose head was between from and
// what it is now.
func (l *link) subscribed(conv *conv, from uint64, after int) {
	f, p := l.s.follows[conv], &pass{lo: from, hi: conv.head()}
	qos, _ := l.s.qos(l.c, conv)
	if after >= 0 {
		p.lo, p.hi = min(p.lo, uint64(after)), min(p.hi, uint64(after))
		p.since, p.whole, p.must = conv.joined(l.c.user), true, true
	}
	switch {
	case f == nil:
		f = newFollow(conv, l.c.user, p.lo, p.hi)
		f.since = p.since
		l.s.follows[conv] = f
		l.begin(conv, p, qos)
	case after >= 0:
		f.name(p.lo, p.hi, p.since)
		l.begin(conv, p, qos)
	}
}

// unsubscribe ends subscriptions.
func (l *link) unsubscribe(filters ...string) {
	w, c := l.w, l.c
	w.log("%s unsubscribes from %v", c, filters)
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, ProtocolVersion: c.version, PacketID: l.raw.ID()}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f})
	}
	if !l.send(encode(w, pk.UnsubscribeEncode)) {
		return
	}
	l.await("an UNSUBACK", func() bool { return l.subacks[pk.PacketID].PacketID == pk.PacketID })
	ack := l.subacks[pk.PacketID]
	delete(l.subacks, pk.PacketID)
	for i, f := range filters {
		want := byte(0)
		if _, ok := l.s.subs[f]; !ok {
			want = wire.CodeNoSubscriptionExisted
		}
		if c.version == 5 && ack.ReasonCodes[i] != want {
			w.fail("%s: UNSUBACK of %s is 0x%02x, not 0x%02x", c, f, ack.ReasonCodes[i], want)
		}
		delete(l.s.subs, f)
	}
	_, l.s.tells = l.s.subs[c.errors()]
	for conv := range maps.Clone(l.s.follows) {
		qos, ok := l.s.qos(c, conv)
		if ok {
			l.readers[conv].qos[qos] = true
			continue
		}
		delete(l.s.follows, conv)
		delete(l.readers, conv)
	}
}
