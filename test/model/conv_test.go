package model_test

import (
	"fmt"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// conv is a conversation: its stream as the store has it, and what follows
// from that.
type conv struct {
	w       *world
	id      string
	owner   string
	entries []chat.Entry         // as they were read first; entries[i] has seq i+1
	said    map[uint64]*message  // what stands where
	spans   map[string][]span    // when each user was a member
	deletes map[uint64]uint64    // seq of a message: seq of its delete
	edits   map[uint64][]uint64  // seq of a message: those of its edits
	erased  map[uint64]bool      // what a delete erased that was acknowledged
	roles   map[string]chat.Role // of the members, now
	changed map[string]int       // when a user's role changed last
}

// span is a time of membership, from the join entry to the leave entry, both
// included; leave is 0 as long as it lasts.
type span struct{ join, leave uint64 }

func newConv(w *world, id, owner string) *conv {
	return &conv{w: w, id: id, owner: owner, said: make(map[uint64]*message), spans: make(map[string][]span),
		deletes: make(map[uint64]uint64), edits: make(map[uint64][]uint64), erased: make(map[uint64]bool),
		roles: make(map[string]chat.Role), changed: make(map[string]int)}
}

func (c *conv) stream() chat.StreamID { return chat.ConversationStream(c.id) }
func (c *conv) topic() string         { return "chat/" + c.id + "/messages" }
func (c *conv) head() uint64          { return uint64(len(c.entries)) }

// read answers what the store has after a seq.
func (c *conv) read(after uint64) []chat.Entry {
	var all []chat.Entry
	for {
		const limit = 500
		got, err := c.w.server.Store.Read(c.w.ctx(), []bridge.Range{{Stream: c.stream(), After: after, Limit: limit}})
		c.w.must(err, "reading %s", c.id)
		all = append(all, got[0]...)
		if len(got[0]) < limit {
			return all
		}
		after = all[len(all)-1].Seq
	}
}

// what says what stands at seq, for the trace.
func (c *conv) what(seq uint64) string {
	if seq == 0 || seq > c.head() {
		return ""
	}
	e := &c.entries[seq-1]
	return fmt.Sprintf("%s %s%s", e.Type, e.UserID, shorten(e.Content))
}

// refresh reads what is new in the stream, and checks it.
func (c *conv) refresh() {
	for _, e := range c.read(c.head()) {
		if e.Seq != c.head()+1 {
			c.w.fail("%s: seq %d follows %d in the store", c.id, e.Seq, c.head())
		}
		if e.ID == (chat.ID{}) || e.Stream != c.stream() {
			c.w.fail("%s: entry %+v", c.id, e)
		}
		c.entries = append(c.entries, e)
		c.absorb(e)
	}
}

// reread checks that nothing is lost or changed of what was known, and that
// what was deleted is erased. Nobody may be sending.
func (c *conv) reread() {
	c.refresh()
	all := c.read(0)
	if uint64(len(all)) < c.head() {
		c.w.fail("%s: the stream ended at %d and ends at %d", c.id, c.head(), len(all))
	}
	for i, was := range c.entries {
		e := all[i]
		if e.ID != was.ID || e.Seq != was.Seq || e.Type != was.Type || e.SenderID != was.SenderID ||
			!e.CreatedAt.Equal(was.CreatedAt) || e.ClientID != was.ClientID || e.Target != was.Target ||
			e.UserID != was.UserID || e.Name != was.Name || !e.Deleted && e.Content != was.Content {
			c.w.fail("%s: seq %d was %+v and is %+v", c.id, was.Seq, was, e)
		}
		gone := c.deletes[e.Seq] != 0 || e.Type == chat.TypeEdit && c.deletes[e.Target] != 0
		if e.Deleted != gone || gone && e.Content != "" {
			c.w.fail("%s: seq %d is %+v; deleted: %v", c.id, e.Seq, e, gone)
		}
	}
}

// absorb checks one entry by what stood before it.
func (c *conv) absorb(e chat.Entry) {
	switch e.Type {
	case chat.TypeJoin:
		if c.member(e.UserID, e.Seq) {
			c.w.fail("%s: %s joins at %d and is a member", c.id, e.UserID, e.Seq)
		}
		c.spans[e.UserID] = append(c.spans[e.UserID], span{join: e.Seq})
	case chat.TypeLeave:
		if !c.member(e.UserID, e.Seq) {
			c.w.fail("%s: %s leaves at %d and is no member", c.id, e.UserID, e.Seq)
		}
		spans := c.spans[e.UserID]
		spans[len(spans)-1].leave = e.Seq
	case chat.TypeRename:
	default:
		c.absorbSent(e)
	}
}

// absorbSent checks what somebody sent.
func (c *conv) absorbSent(e chat.Entry) {
	m := c.w.sender(c, &e)
	switch {
	case m == nil:
		c.w.fail("%s: nobody sent %+v", c.id, e)
	case m.seq != 0:
		c.w.fail("%s: seq %d says again what %d says: %s", c.id, e.Seq, m.seq, m)
	case !c.member(e.SenderID, e.Seq):
		c.w.fail("%s: the sender of seq %d is no member: %s", c.id, e.Seq, m)
	case e.Type != m.body.Type || e.Target != m.body.Target || e.Emoji != m.body.Emoji || e.ReplyTo != m.body.ReplyTo && !e.Deleted:
		c.w.fail("%s: seq %d is %+v, not %s", c.id, e.Seq, e, m)
	}
	if e.Type != chat.TypeMessage {
		target := c.said[e.Target]
		if target == nil || target.body.Type != chat.TypeMessage || c.deletes[e.Target] != 0 {
			c.w.fail("%s: the target of seq %d is no message: %s", c.id, e.Seq, m)
		}
	}
	m.seq, m.id = e.Seq, e.ID
	c.said[e.Seq] = m
	switch e.Type {
	case chat.TypeEdit:
		c.edits[e.Target] = append(c.edits[e.Target], e.Seq)
	case chat.TypeDelete:
		c.deletes[e.Target] = e.Seq
	}
}

// member reports whether a user was a member at a seq, its own join and leave
// included.
func (c *conv) member(user string, seq uint64) bool {
	for _, s := range c.spans[user] {
		if s.join <= seq && (s.leave == 0 || seq <= s.leave) {
			return true
		}
	}
	return false
}

// joined answers the seq of the join entry of somebody who is a member now,
// else 0.
func (c *conv) joined(user string) uint64 {
	spans := c.spans[user]
	if len(spans) == 0 || spans[len(spans)-1].leave != 0 {
		return 0
	}
	return spans[len(spans)-1].join
}

// targets answers the messages that stand in the log.
func (c *conv) targets() []uint64 {
	var seqs []uint64
	for i := range c.entries {
		if c.entries[i].Type == chat.TypeMessage {
			seqs = append(seqs, c.entries[i].Seq)
		}
	}
	return seqs
}
