package model_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/chat"
)

// arrival is an entry as subscribers get it.
type arrival struct {
	ID             string   `json:"id"`
	ConversationID string   `json:"conversationId"`
	Seq            uint64   `json:"seq"`
	Type           string   `json:"type"`
	SenderID       string   `json:"senderId"`
	UserID         string   `json:"userId"`
	Name           string   `json:"name"`
	Target         uint64   `json:"target"`
	Content        string   `json:"content"`
	MediaURL       string   `json:"mediaUrl"`
	ReplyTo        uint64   `json:"replyTo"`
	Mentions       []string `json:"mentions"`
	Emoji          string   `json:"emoji"`
	Remove         bool     `json:"remove"`
	ClientID       string   `json:"clientId"`
	Deleted        bool     `json:"deleted"`
	CreatedAt      string   `json:"createdAt"`
}

// entry takes a delivery.
func (l *link) entry(pk packets.Packet) {
	var a arrival
	d := json.NewDecoder(bytes.NewReader(pk.Payload))
	d.DisallowUnknownFields()
	l.w.must(d.Decode(&a), "entry %s", pk.Payload)
	id, ok := strings.CutPrefix(pk.TopicName, "chat/")
	id, ok2 := strings.CutSuffix(id, "/messages")
	c := l.w.conv(id)
	if !ok || !ok2 || c == nil || a.ConversationID != id {
		l.w.fail("%s got %s on %s", l, pk.Payload, pk.TopicName)
	}
	l.entries++
	l.w.got(l, c, a.Seq, fmt.Sprintf(" dup %v qos %d", pk.FixedHeader.Dup, pk.FixedHeader.Qos))
	if a.Seq > c.head() {
		c.refresh()
	}
	if a.Seq == 0 || a.Seq > c.head() {
		l.w.fail("%s got %s, which is not in the log", l, pk.Payload)
	}
	r := l.readers[c]
	if r == nil {
		l.w.fail("%s got %s:%d and has no subscription", l, id, a.Seq)
	}
	l.same(c, &a)
	l.inOrder(r, &a, pk)
	l.arrive(c, r, a.Seq, pk)
}

// same compares a delivery with the log.
func (l *link) same(c *conv, a *arrival) {
	e := &c.entries[a.Seq-1]
	if a.ID != e.ID.String() || a.Type != e.Type.String() || a.SenderID != e.SenderID || a.UserID != e.UserID ||
		a.Name != e.Name || a.Target != e.Target || a.Emoji != e.Emoji || a.Remove != e.Remove || a.ClientID != e.ClientID ||
		a.CreatedAt != e.CreatedAt.UTC().Format(chat.TimeFormat) || len(a.Mentions) > 0 || a.MediaURL != "" {
		l.w.fail("%s got %+v of %s, and the log has %+v", l, a, c.id, e)
	}
	var said chat.Body
	if m := c.said[a.Seq]; m != nil {
		said = m.body
	}
	if a.Deleted {
		if c.gone(a.Seq) || c.refreshed(a.Seq) {
			said.Content, said.ReplyTo = "", 0
		} else {
			l.w.fail("%s got %s:%d as deleted, and it is not", l, c.id, a.Seq)
		}
	}
	if a.Content != said.Content || a.ReplyTo != said.ReplyTo {
		l.w.fail("%s got %+v of %s, and what was sent is %+v", l, a, c.id, said)
	}
}

// gone reports whether what stands at seq was deleted, as far as is known.
func (c *conv) gone(seq uint64) bool {
	return c.deletes[seq] != 0 || c.entries[seq-1].Type == chat.TypeEdit && c.deletes[c.entries[seq-1].Target] != 0
}

func (c *conv) refreshed(seq uint64) bool {
	c.refresh()
	return c.gone(seq)
}

// inOrder checks that an entry is the next, or one that may come again.
func (l *link) inOrder(r *reader, a *arrival, pk packets.Packet) {
	f := l.s.follows[r.conv]
	dup := pk.FixedHeader.Dup
	if dup && (l.fresh || pk.FixedHeader.Qos == 0 || l.s.life != l.w.lives) {
		l.w.fail("%s got %s:%d with DUP, and has not been sent it before", l, r.conv.id, a.Seq)
	}
	if !dup {
		l.fresh = true
	}
	was := r.String()
	var ok, old bool
	if dup && f != nil && f.moved {
		// Packets from before the client named a place come again as they
		// were, whatever their order.
		ok, old = a.Seq > f.lo && r.comes(r.passes[0], a.Seq), r.passes[0].old[a.Seq]
		r.passes[0].skip[a.Seq] = true
	} else {
		ok, old = r.take(a.Seq)
	}
	if !ok {
		l.w.fail("%s got %s:%d (DUP %v), which may not come now:%s", l, r.conv.id, a.Seq, dup, was)
	}
	if r.conv.erased[a.Seq] && !a.Deleted && !old {
		l.w.fail("%s got %s:%d with its content, which was erased before:%s", l, r.conv.id, a.Seq, was)
	}
	if !r.qos[pk.FixedHeader.Qos&1] || pk.FixedHeader.Qos > 1 || pk.FixedHeader.Retain {
		l.w.fail("%s got %s:%d at QoS %d, retain %v", l, r.conv.id, a.Seq, pk.FixedHeader.Qos, pk.FixedHeader.Retain)
	}
}

// arrive counts an entry in.
func (l *link) arrive(c *conv, r *reader, seq uint64, pk packets.Packet) {
	f := l.s.follows[c]
	if f != nil {
		f.got[seq] = true
	}
	if pk.FixedHeader.Qos == 0 {
		if f != nil {
			f.acked[seq] = true
		}
		return
	}
	if f != nil {
		f.open[seq]++
	}
	for _, d := range l.arrived {
		if d.packet == pk.PacketID && !d.acked {
			l.w.fail("%s got packet identifier %d for %s:%d, which %s:%d has", l, pk.PacketID, c.id, seq, d.conv.id, d.seq)
		}
	}
	l.arrived = append(l.arrived, &delivery{packet: pk.PacketID, follow: f, conv: c, seq: seq})
	if n := len(l.unacked()); n > l.room {
		l.w.fail("%s got %d entries that it has not acknowledged, more than %d", l, n, l.room)
	}
}

// mayHaveOld notes that what stands at seq of a conversation is erased from
// now on, but for what is on its way.
func (l *link) mayHaveOld(c *conv, seq uint64) {
	r := l.readers[c]
	if r == nil {
		return
	}
	free := l.room - len(l.unacked())
	if r.qos[0] {
		free = -1
	}
	r.mayHaveOld(seq, free)
}

// problem takes what came on users/<u>/errors.
func (l *link) problem(payload []byte) {
	var p chat.Problem
	l.w.must(json.Unmarshal(payload, &p), "problem %s", payload)
	l.w.log("  %s: told %s", l, payload)
	v := verdictOf(p.Code)
	if v == 0 {
		l.w.fail("%s was told %s", l, payload)
	}
	if !l.s.tells {
		l.w.fail("%s was told %s, and has not asked", l, payload)
	}
	if p.ClientID == "" {
		return
	}
	for _, a := range l.attempts {
		if a.told == 0 && a.m != nil && a.m.body.ClientID == p.ClientID && a.m.conv.topic() == p.Topic {
			a.told = v
			return
		}
	}
}
