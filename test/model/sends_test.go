package model_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// message is one thing that somebody says, sent once or again.
type message struct {
	conv  *conv
	user  string
	body  chat.Body
	plain bool // sent as text, not as JSON

	seq uint64 // where it stands, 0 as long as that is not known
	id  chat.ID

	sure    *attempt // one that was acknowledged as committed
	unsure  bool     // an attempt ended without an answer
	pending int      // attempts that wait for an answer
	tries   int      // attempts in all
}

func (m *message) String() string {
	return fmt.Sprintf("%s of %s in %s: %q target %d clientId %q", m.body.Type, m.user, m.conv.id,
		shorten(m.body.Content+m.body.Emoji), m.body.Target, m.body.ClientID)
}

func shorten(s string) string {
	if len(s) > 20 {
		return s[:20] + "…"
	}
	return s
}

// key tells messages apart, in what was sent and in what stands in the log.
func key(c *conv, user, clientID, content string) string {
	if clientID != "" {
		return c.id + " " + user + " id " + clientID
	}
	return c.id + " " + user + " says " + content
}

// say makes a new message. Only plain messages go without a clientId: they
// are known by their content.
func (w *world) say(c *conv, user string, body chat.Body, plain bool) *message {
	m := &message{conv: c, user: user, body: body, plain: plain}
	w.said[key(c, user, body.ClientID, body.Content)] = m
	w.messages = append(w.messages, m)
	return m
}

// sender answers what an entry of the log was made of, or nil.
func (w *world) sender(c *conv, e *chat.Entry) *message {
	m := w.said[key(c, e.SenderID, e.ClientID, e.Content)]
	if m != nil && !e.Deleted && e.Content != m.body.Content {
		w.fail("%s: seq %d says %q, not %s", c.id, e.Seq, e.Content, m)
	}
	return m
}

// payload is what a client publishes.
func (m *message) payload() []byte {
	if m.plain {
		return []byte(m.body.Content)
	}
	o := map[string]any{"type": m.body.Type.String()}
	for k, v := range map[string]string{"content": m.body.Content, "emoji": m.body.Emoji, "clientId": m.body.ClientID} {
		if v != "" {
			o[k] = v
		}
	}
	for k, v := range map[string]uint64{"target": m.body.Target, "replyTo": m.body.ReplyTo} {
		if v != 0 {
			o[k] = v
		}
	}
	raw, err := json.Marshal(o)
	m.conv.w.must(err, "encoding %s", m)
	return raw
}

// verdicts is a set of what the rules allow to become of a send.
type verdicts int

const (
	accept verdicts = 1 << iota
	forbid
	missing
	fail // the database is out of reach
)

func (v verdicts) String() string {
	var names []string
	for i, name := range []string{"accepted", "forbidden", "not found", "unavailable"} {
		if v&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// due says what the rules make of a message that is sent now.
func (m *message) due() verdicts {
	c := m.conv
	role := c.roles[m.user]
	if role == chat.RoleNone {
		return forbid
	}
	if m.seq != 0 {
		return accept
	}
	if t := m.body.Target; t != 0 {
		target := c.said[t]
		switch {
		case target == nil || target.body.Type != chat.TypeMessage || c.deletes[t] != 0:
			return missing
		case m.body.Type != chat.TypeReaction && target.user != m.user && role < chat.RoleAdmin:
			return forbid
		}
	}
	return accept
}

// attempt is one send of a message.
type attempt struct {
	m       *message // nil for one that is not of a message
	what    string
	link    *link // nil beside the connections
	qos     byte
	topic   string
	payload []byte
	packet  uint16
	hold    bool     // PUBREL waits for a step of its own
	begun   int      // clock
	allowed verdicts // by what was known when it began
	replay  verdicts // of an attempt without a message: what is due
	known   bool     // the message stood already, or was sent before
	twice   bool     // the same packet was sent once more
	told    verdicts // by users/<u>/errors
	read    bool     // the server has read it for certain
}

func (w *world) attempt(m *message, l *link, qos byte) *attempt {
	if m.body.Target != 0 { // what is due depends on what stands
		m.conv.refresh()
	}
	a := &attempt{m: m, link: l, qos: qos, topic: m.conv.topic(), payload: m.payload(), begun: w.clock, allowed: m.due(), known: m.seq != 0 || m.pending > 0 || m.unsure || m.sure != nil}
	m.pending++
	m.tries++
	return a
}

func (a *attempt) String() string {
	if a.m == nil {
		return a.what
	}
	return a.m.String()
}

// possible is what may have become of an attempt until now. The caller has
// refreshed the conversation.
func (a *attempt) possible() verdicts {
	if a.m == nil {
		return a.replay
	}
	v := a.allowed | a.m.due()
	if a.m.conv.changed[a.m.user] > a.begun { // perhaps twice, there and back
		v |= accept | forbid
		if a.m.body.Target != 0 {
			v |= missing
		}
	}
	return v
}

// ended takes the answer to an attempt. id and seq are what it said, or "".
func (w *world) ended(a *attempt, v verdicts, id, seq string) {
	if a.m == nil {
		if v&a.replay == 0 && (!w.closing || v != fail) {
			w.fail("%s was %v, not %v", a, v, a.replay)
		}
		return
	}
	m := a.m
	m.pending--
	if v&accept == 0 || m.seq == 0 {
		m.conv.refresh()
	}
	if v == fail && w.closing {
		m.unsure = true
		return
	}
	if possible := a.possible(); possible&v == 0 {
		w.fail("was %v, not %v: %s", v, possible, m)
	}
	if v&accept == 0 {
		return
	}
	if m.sure = a; m.seq == 0 {
		w.fail("acknowledged and not in the log: %s", m)
	}
	if id != "" && (id != m.id.String() || seq != fmt.Sprint(m.seq)) {
		w.fail("acknowledged as id %s seq %s, and stands as %s at %d: %s", id, seq, m.id, m.seq, m)
	}
	if m.body.Type == chat.TypeDelete {
		w.erased(m.conv, m.body.Target)
	}
}

// lost notes that an attempt will get no answer.
func (w *world) lost(a *attempt) {
	if a.m != nil {
		a.m.pending--
		a.m.unsure = true
	}
}

// erased notes that a delete was acknowledged: what is delivered from now on
// does not have what it erased.
func (w *world) erased(c *conv, target uint64) {
	if c.erased[target] {
		return
	}
	for _, seq := range append([]uint64{target}, c.edits[target]...) {
		c.erased[seq] = true
		for _, client := range w.clients {
			if client.link != nil {
				client.link.mayHaveOld(c, seq)
			}
		}
	}
}

// commit sends a message beside the connections, as REST does.
func (w *world) commit(m *message) {
	a := w.attempt(m, nil, 1)
	out, err := w.server.Log.Commit(w.ctx(), w.draft(m))
	w.committed(a, out, err)
}

func (w *world) draft(m *message) chat.Draft {
	return chat.Draft{Stream: m.conv.stream(), SenderID: m.user, Body: m.body}
}

func (w *world) committed(a *attempt, out bridge.Outcome, err error) {
	if err == nil {
		w.ended(a, accept, out.ID.String(), fmt.Sprint(out.Seq))
		return
	}
	e, _ := chat.AsError(err)
	w.ended(a, verdictOf(e.Code), "", "")
}

func verdictOf(code chat.Code) verdicts {
	switch code {
	case chat.CodeForbidden:
		return forbid
	case chat.CodeNotFound:
		return missing
	case chat.CodeUnavailable, chat.CodeInternal:
		return fail
	}
	return 0
}

// settled checks in the end that what stands in the log is what was
// acknowledged. What is read of it is in m.seq.
func (w *world) settled() {
	for _, m := range w.messages {
		if m.pending != 0 {
			w.fail("%d sends without an answer: %s", m.pending, m)
		}
		if m.sure == nil && !m.unsure && m.seq != 0 {
			w.fail("stands at %d though every send of it was refused: %s", m.seq, m)
		}
	}
}

// settledLoose checks, when the server has drained, what it read at QoS 0.
func (w *world) settledLoose() {
	w.refresh()
	for _, a := range w.loose {
		if possible := a.possible(); possible == accept && a.m.seq == 0 {
			w.fail("sent at QoS 0, read and not in the log: %s", a.m)
		}
	}
	w.loose = nil
}

// settledOrder checks that what one connection sent stands in its order.
func (w *world) settledOrder() {
	for _, order := range w.ordered {
		last := make(map[*conv]*message)
		for _, a := range order {
			m := a.m
			if m.seq == 0 || m.tries > 1 || a.twice {
				continue
			}
			if before := last[m.conv]; before != nil && before.seq > m.seq {
				w.fail("stands at %d before what was sent before it on the same connection, at %d: %s; %s", m.seq, before.seq, m, before)
			}
			last[m.conv] = m
		}
	}
}
