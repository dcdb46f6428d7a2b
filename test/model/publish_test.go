package model_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// publish writes the PUBLISH of an attempt.
func (l *link) publish(a *attempt, dup bool) {
	pub := wire.Publish{Topic: []byte(a.topic), Payload: a.payload, QoS: a.qos, PacketID: a.packet, DUP: dup}
	raw, _ := wire.AppendPublish(nil, l.c.version, &pub)
	l.send(raw)
}

// mayPublish reports whether the server has room for one more send.
func (l *link) mayPublish() bool {
	return !l.ended && len(l.attempts)+len(l.s.received) < l.sending
}

// start sends a message, and waits for no answer.
func (l *link) start(m *message, qos byte, hold bool) {
	a := l.w.attempt(m, l, qos)
	l.w.log("%s sends at %d, allowed %v: %s", l, qos, a.allowed, m)
	if qos == 0 {
		m.pending--
		m.unsure = true
		l.loose = append(l.loose, a)
	} else {
		a.packet, a.hold = l.c.nextPacket(), hold
		l.attempts = append(l.attempts, a)
		if !a.known && m.body.Type == chat.TypeMessage {
			l.order = append(l.order, a)
		}
	}
	l.publish(a, false)
}

// replay asks for the entries after a seq.
func (l *link) replay(conv *conv, after uint64, qos byte) {
	w := l.w
	w.refresh()
	a := &attempt{what: fmt.Sprintf("replay of %s after %d", conv.id, after), link: l, qos: qos, begun: w.clock,
		topic: "chat/" + conv.id + "/replay", payload: fmt.Appendf(nil, `{"after":%d}`, after), replay: accept}
	since := conv.joined(l.c.user)
	if since == 0 {
		a.replay = forbid
	}
	w.log("%s asks for a %v at %d, %v", l, a, qos, a.replay)
	from := conv.head()
	if qos > 0 {
		a.packet = l.c.nextPacket()
		l.attempts = append(l.attempts, a)
	}
	// What it gives may come before the answer does, so it is put down
	// before, with what it can be at most.
	var p *pass
	if r := l.readers[conv]; since > 0 {
		p = &pass{lo: after, hi: after, since: since, whole: true, behind: after, must: true}
		f := l.s.follows[conv]
		switch {
		case f != nil:
			f.moved = true
			f.since = max(f.since, since)
			r.again(p)
		case r == nil:
			r = newReader(conv, l.c.user, p)
			l.readers[conv] = r
		default:
			r.push(p)
		}
		if f == nil {
			p.must, p.until = after < from, [2]uint64{from, 1 << 60}
			r.qos[min(qos, 1)] = true
		}
	}
	l.publish(a, false)
	l.ping()
	conv.refresh()
	if p != nil && p.until[1] > 0 {
		p.until[1] = conv.head()
	}
}

// bulk sends many messages at once beside the connections.
func (w *world) bulk(messages []*message) {
	attempts := make([]*attempt, len(messages))
	outcomes := make([]submission, len(messages))
	var done sync.WaitGroup
	for i, m := range messages {
		attempts[i] = w.attempt(m, nil, 1)
		outcomes[i].done = &done
		outcomes[i].Draft, outcomes[i].Done = w.draft(m), &outcomes[i]
		done.Add(1)
	}
	for i := range outcomes {
		w.server.Log.Submit(&outcomes[i].Submission)
	}
	done.Wait()
	for i, a := range attempts {
		w.committed(a, outcomes[i].Outcome, outcomes[i].Outcome.Err)
	}
}

type submission struct {
	bridge.Submission
	done *sync.WaitGroup
}

func (s *submission) Committed(*bridge.Submission) { s.done.Done() }

// encode runs an encoder of the codec.
func encode(w *world, encode func(*bytes.Buffer) error) []byte {
	var buf bytes.Buffer
	w.must(encode(&buf), "encoding a packet")
	return buf.Bytes()
}

// body draws what a user says in a conversation.
func (w *world) body(c *conv) (body chat.Body, plain bool) {
	about, at := w.oneIn(4, "about another"), w.between(0, 50, "which")
	kind := pick(w, []chat.Type{chat.TypeDelete, chat.TypeEdit, chat.TypeReaction}, "type")
	large, reply, nameless := w.oneIn(16, "large"), w.oneIn(8, "reply"), w.oneIn(2, "without clientId")
	plain = w.oneIn(2, "plain text")
	w.serial++
	body = chat.Body{Type: chat.TypeMessage, Content: fmt.Sprintf("m%d", w.serial), ClientID: fmt.Sprintf("id-%d", w.serial)}
	targets := c.targets()
	if about && len(targets) > 0 {
		body.Type, body.Target = kind, targets[len(targets)-1-at%len(targets)]
		switch kind {
		case chat.TypeDelete:
			body.Content = ""
		case chat.TypeReaction:
			body.Content, body.Emoji = "", fmt.Sprintf("e%d", w.serial)
		}
		if large { // there is no such target
			body.Target += 1000
		}
		return body, false
	}
	if large {
		body.Content += strings.Repeat("x", 6000)
	}
	if reply && len(targets) > 0 {
		body.ReplyTo = targets[0]
		return body, false
	}
	if nameless {
		body.ClientID = ""
	}
	return body, plain && nameless
}
