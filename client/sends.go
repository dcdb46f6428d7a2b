package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// CodeCanceled is the code of a send whose context ended: it may have been
// committed or not. Sending it again with the same ClientID is safe.
const CodeCanceled = "canceled"

// sends has what is to be committed: a lane for each conversation, in which
// one goes after the other.
type sends struct {
	c *Client

	mu     sync.Mutex
	lanes  map[string][]*send // by conversation; a lane is there while its goroutine runs
	asked  map[string]chan *Error
	closed bool
}

// send is one that waits for its turn.
type send struct {
	ctx      context.Context
	clientID string
	payload  []byte
	pending  *Pending // it is in the outbox
	done     chan struct{}
	sent     Sent
	err      *Error
}

func newSends(c *Client) *sends {
	return &sends{c: c, lanes: make(map[string][]*send), asked: make(map[string]chan *Error)}
}

// explainTime is how long the word of users/<id>/errors on a refusal is waited
// for: it is sent with the acknowledgement.
const explainTime = time.Second

// Send sends a message and waits until it is committed. It is repeated over
// losses of the link until then, or until the server refuses it for good,
// which gives an *Error, or until ctx ends: then it is given up, the error
// has CodeCanceled, and it may stand or not. Messages of one conversation are
// sent in the order of the calls.
func (c *Client) Send(ctx context.Context, conversation string, d Draft) (Sent, error) {
	if d.ClientID == "" {
		d.ClientID = rand.Text()
	}
	if c.ctx.Err() != nil {
		return Sent{}, c.ended()
	}
	payload, err := payloadOf(conversation, d.ClientID, d)
	if err != nil { // what can never be sent is not kept
		return Sent{}, err
	}
	p := &Pending{ConversationID: conversation, Draft: d, QueuedAt: time.Now().UTC().Truncate(time.Millisecond)}
	if err := c.o.Outbox.Put(*p); err != nil {
		return Sent{}, &Error{Code: CodeInternal, Message: "keeping the message: " + err.Error(), ClientID: d.ClientID, Err: err}
	}
	return c.sends.wait(conversation, &send{ctx: ctx, clientID: d.ClientID, payload: payload, pending: p, done: make(chan struct{})})
}

// Edit replaces the content of a message. It waits like Send, as do the
// others below, but is never in the outbox.
func (c *Client) Edit(ctx context.Context, conversation string, target uint64, content string) (Sent, error) {
	id := rand.Text()
	return c.sends.send(ctx, conversation, id, map[string]any{
		"type": TypeEdit, "target": target, "content": content, "clientId": id})
}

// Delete erases a message.
func (c *Client) Delete(ctx context.Context, conversation string, target uint64) (Sent, error) {
	id := rand.Text()
	return c.sends.send(ctx, conversation, id, map[string]any{
		"type": TypeDelete, "target": target, "clientId": id})
}

// React reacts to a message with an emoji, or takes the reaction back.
func (c *Client) React(ctx context.Context, conversation string, target uint64, emoji string, remove bool) (Sent, error) {
	id := rand.Text()
	body := map[string]any{"type": TypeReaction, "target": target, "emoji": emoji, "clientId": id}
	if remove {
		body["remove"] = true
	}
	return c.sends.send(ctx, conversation, id, body)
}

// send sends what is in no outbox.
func (s *sends) send(ctx context.Context, conversation, clientID string, body any) (Sent, error) {
	payload, err := payloadOf(conversation, clientID, body)
	if err != nil {
		return Sent{}, err
	}
	return s.wait(conversation, &send{ctx: ctx, clientID: clientID, payload: payload, done: make(chan struct{})})
}

// maxPayload is the longest payload that the server takes. At one that is
// longer than a packet may be it would hang up, again and again.
const maxPayload = 64 << 10

// payloadOf makes the payload of a send, of what can be one.
func payloadOf(conversation, clientID string, body any) ([]byte, error) {
	payload, err := json.Marshal(body)
	e := &Error{Code: CodeInvalid, Err: err, ClientID: clientID}
	switch {
	case err != nil:
		e.Message = err.Error()
	case bytes.Contains(payload, []byte(`\ufffd`)) && !valid(body): // Marshal would change it
		e.Message = "the text is not UTF-8"
	case len(payload) > maxPayload:
		e.Field, e.Message = "payload", fmt.Sprintf("payload: is longer than %d bytes", maxPayload)
	case !validID(conversation):
		e.Field, e.Message = "conversation", "conversation: must be 1 to 64 characters of A-Z a-z 0-9 _ . @ : -"
	default:
		return payload, nil
	}
	return nil, e
}

// wait puts a send in its lane and waits for what becomes of it.
func (s *sends) wait(conversation string, one *send) (Sent, error) {
	if err := s.put(conversation, one); err != nil {
		return Sent{}, err
	}
	select {
	case <-one.done:
	case <-one.ctx.Done():
		if s.withdraw(conversation, one) {
			s.forget(one.pending)
			return Sent{}, &Error{Code: CodeCanceled, Message: "given up before it was sent", Err: one.ctx.Err(), ClientID: one.clientID}
		}
		<-one.done // soon: its turn has come, and it looks at ctx
	}
	if one.err != nil {
		return Sent{}, one.err
	}
	return one.sent, nil
}

// valid tells whether all text of a body is UTF-8.
func valid(body any) bool {
	switch body := body.(type) {
	case Draft:
		return utf8.ValidString(body.Content) && utf8.ValidString(body.MediaURL)
	case map[string]any:
		for _, v := range body {
			if text, ok := v.(string); ok && !utf8.ValidString(text) {
				return false
			}
		}
	}
	return true
}

// load begins with what is in the outbox.
func (s *sends) load() error {
	old, err := s.c.o.Outbox.Load()
	if err != nil {
		return option("Outbox", "%v", err)
	}
	for _, p := range old {
		payload, err := json.Marshal(p.Draft)
		if err != nil || !validID(p.ConversationID) || p.ClientID == "" {
			return option("Outbox", "it holds something that is not a message")
		}
		one := &send{ctx: s.c.ctx, clientID: p.ClientID, payload: payload, pending: &p, done: make(chan struct{})}
		if err := s.put(p.ConversationID, one); err != nil {
			return err
		}
		s.c.wg.Go(func() { s.tell(one) })
	}
	return nil
}

// tell tells what became of a message of the outbox.
func (s *sends) tell(one *send) {
	<-one.done
	if s.c.ctx.Err() == nil && !s.c.o.SendOnly {
		s.c.feed.in.tell(Resent{Pending: *one.pending, Sent: one.sent, Err: one.err})
	}
}

// put adds a send to its lane.
func (s *sends) put(conversation string, one *send) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.c.ended()
	}
	lane, running := s.lanes[conversation]
	s.lanes[conversation] = append(lane, one)
	if !running {
		s.c.wg.Go(func() { s.drive(conversation) })
	}
	return nil
}

// withdraw takes a send out of its lane, if its turn has not come.
func (s *sends) withdraw(conversation string, one *send) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := s.lanes[conversation]
	i := slices.Index(lane, one)
	if i < 0 {
		return false
	}
	s.lanes[conversation] = slices.Delete(lane, i, i+1)
	return true
}

// close has no lanes begin.
func (s *sends) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// drive sends what is in a lane, and ends with it.
func (s *sends) drive(conversation string) {
	for {
		s.mu.Lock()
		lane := s.lanes[conversation]
		if len(lane) == 0 {
			delete(s.lanes, conversation)
			s.mu.Unlock()
			return
		}
		one := lane[0]
		lane[0] = nil
		s.lanes[conversation] = lane[1:]
		s.mu.Unlock()
		s.do(conversation, one)
	}
}

// do sends one until it is committed or there is no sense in it any more.
func (s *sends) do(conversation string, one *send) {
	defer close(one.done)
	var err error
	one.sent, err = s.transmit(one.ctx, "chat/"+conversation+"/messages", one.payload, one.clientID)
	one.sent.ClientID = one.clientID
	var e *Error
	switch {
	case err == nil:
	case errors.As(err, &e):
		one.err = e
	default:
		one.err = &Error{Code: CodeCanceled, Message: "given up; it may stand or not", Err: err, ClientID: one.clientID}
	}
	if s.c.ctx.Err() == nil || err == nil { // else it is for the next client
		s.forget(one.pending)
	}
}

func (s *sends) forget(p *Pending) {
	if p == nil {
		return
	}
	if err := s.c.o.Outbox.Remove(p.ClientID); err != nil {
		s.c.o.Logger.Warn("a message that was sent stays in the outbox", "clientId", p.ClientID, "error", err)
	}
}

// transmit publishes until it is acknowledged, refused for good, or ctx or the
// client has ended. What it publishes must do no harm when it comes twice.
func (s *sends) transmit(ctx context.Context, topic string, payload []byte, clientID string) (Sent, error) {
	explained := s.expect(clientID)
	defer s.unexpect(clientID)
	for wait := s.c.o.MinBackoff; ; wait = min(2*wait, s.c.o.MaxBackoff) {
		conn, err := s.c.ready(ctx)
		if err != nil {
			return Sent{}, err
		}
		sent, err := conn.publish(ctx, topic, payload)
		var e *Error
		if err == nil || !errors.As(err, &e) {
			return sent, err
		}
		switch e.Code {
		case CodeNetwork: // the next connection may come at once, or this one may be as good as gone
			select {
			case <-conn.ctx.Done():
				continue
			default:
			}
		case CodeRateLimited, CodeUnavailable, CodeInternal:
		default:
			return Sent{}, s.explained(e, explained, clientID)
		}
		s.c.o.Logger.Debug("a send is repeated", "clientId", clientID, "error", e)
		select {
		case <-conn.ctx.Done():
		case <-ctx.Done():
			return Sent{}, ctx.Err()
		case <-time.After(jitter(wait)):
		}
	}
}

// explained makes the error of a refusal. Its reason code leaves open whether
// something is malformed or missing; users/<id>/errors does not.
func (s *sends) explained(e *Error, told <-chan *Error, clientID string) *Error {
	e.ClientID = clientID
	if e.Reason != reasonPayload || told == nil {
		return e
	}
	select {
	case better := <-told:
		e.Code = better.Code
	case <-time.After(explainTime):
	case <-s.c.ctx.Done():
	}
	return e
}

func (s *sends) expect(clientID string) <-chan *Error {
	if clientID == "" {
		return nil
	}
	ch := make(chan *Error, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[clientID] = ch
	return ch
}

func (s *sends) unexpect(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, clientID)
}

// explain gives a refusal to the send that it is about, if it is one.
func (s *sends) explain(e *Error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, ok := s.asked[e.ClientID]
	if !ok || e.ClientID == "" {
		return false
	}
	select {
	case ch <- e:
	default:
	}
	return true
}

// validID tells whether s can be the id of a conversation or user.
func validID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		b := s[i]
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '_' || b == '.' || b == '@' || b == ':' || b == '-':
		default:
			return false
		}
	}
	return true
}
