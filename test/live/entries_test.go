package live_test

import (
	"encoding/json"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// entry is what stands, or will in a moment, in a conversation.
type entry struct{ kind, user, content string }

func (w *world) append(conv, kind, user, content string) {
	w.entries[conv] = append(w.entries[conv], entry{kind, user, content})
}

func (w *world) head(conv string) uint64 { return uint64(len(w.entries[conv])) }

// next is the first entry after a seq that a user may read: it was a member
// then, its own join and leave included.
func (w *world) next(conv, user string, after uint64) (seq uint64, some bool) {
	member := false
	for i, e := range w.entries[conv] {
		own := e.user == user
		if own && e.kind == "join" {
			member = true
		}
		if seq := uint64(i) + 1; member && seq > after {
			return seq, true
		}
		if own && e.kind == "leave" {
			member = false
		}
	}
	return 0, false
}

// session is what a connection has of the streams, and the next one where it
// goes on.
type session struct {
	place map[string]uint64 // by conversation, the seq of the newest entry
	known map[string]bool   // its user was a member some time when it was there
}

// begin begins a session, or goes on with one. A conversation that its user
// joined while it was away begins with the newest join; of one that the user
// has left again it gets nothing.
func (w *world) begin(user, id string, present bool) *session {
	s := w.devices[[2]string{user, id}]
	if !present {
		s = &session{place: map[string]uint64{}, known: map[string]bool{}}
		w.devices[[2]string{user, id}] = s
	}
	for _, conv := range w.convs {
		if !s.known[conv] {
			s.place[conv] = w.head(conv)
			if present && w.members[conv][user] {
				s.place[conv] = w.newestJoin(conv, user) - 1
			}
		}
		s.known[conv] = s.known[conv] || w.members[conv][user]
	}
	return s
}

func (w *world) newestJoin(conv, user string) (seq uint64) {
	for i, e := range w.entries[conv] {
		if e.kind == "join" && e.user == user {
			seq = uint64(i) + 1
		}
	}
	return seq
}

// takeEntry wants the entry that is due. After a session came back it may be
// one that the session had, for its acknowledgement may have been lost.
func (c *client) takeEntry(conv string, pk *packets.Packet) {
	w := c.w
	var e parleytest.Entry
	if err := json.Unmarshal(pk.Payload, &e); err != nil {
		w.rt.Fatalf("%s/%s got %s", c.user, c.id, pk.Payload)
	}
	after := c.place[conv]
	if c.again[conv] && e.Seq > 0 && e.Seq <= after {
		after = e.Seq - 1
	}
	c.again[conv] = false
	due, some := w.next(conv, c.user, after)
	if !some || e.Seq != due {
		w.rt.Fatalf("%s/%s got %s of %s after %d; due is %d", c.user, c.id, pk.Payload, conv, c.place[conv], due)
	}
	is := entry{e.Type, e.SenderID, e.Content}
	if e.Type != "message" {
		is.user = e.UserID
	}
	if want := w.entries[conv][e.Seq-1]; is != want || e.ConversationID != conv {
		w.rt.Fatalf("%s/%s got %s of %s, where %+v stands", c.user, c.id, pk.Payload, conv, want)
	}
	if c.end != nil && e.Seq > c.end.heads[conv] {
		w.rt.Fatalf("%s/%s got %s of %s, which was sent after its token was revoked", c.user, c.id, pk.Payload, conv)
	}
	c.place[conv] = e.Seq
	if c.end == nil { // else sending could cost what the server said last
		_ = c.Send(wire.AppendAck(nil, c.Version, &wire.Ack{Type: packets.Puback, PacketID: pk.PacketID}, 0))
	}
}
