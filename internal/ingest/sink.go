package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// sink writes to Parley, in order. What was not answered before a connection
// broke is sent again in the same order, and so is everything from the first
// answer on that says "later": a clientId stands once, however often it comes.
type sink struct {
	*bridge

	mu      sync.Mutex
	queue   []*item // in the order of arrival
	next    int     // queue[:next] were sent on this link
	flight  map[uint16]*item
	lastID  uint16
	window  int  // the server's Receive Maximum
	largest int  // its Maximum Packet Size
	again   bool // nothing is sent until all answers are there, then all again
	renewal uint16
	link    *link
	kick    chan struct{}

	known map[string]bool // conversations that are there; the writer's alone
}

// maxKnown bounds known.
const maxKnown = 100_000

func newSink(b *bridge) *sink {
	return &sink{bridge: b, kick: make(chan struct{}, 1), known: make(map[string]bool)}
}

// push adds a message.
func (s *sink) push(it *item) {
	s.mu.Lock()
	s.queue = append(s.queue, it)
	s.mu.Unlock()
	wake(s.kick)
}

func (s *sink) connected(l *link, ack *packets.Connack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.flight, s.next, s.again, s.renewal = l, make(map[uint16]*item), 0, false, 0
	s.window, s.largest = 65535, 256<<20
	if p := ack.Properties; p != nil && p.ReceiveMaximum != nil {
		s.window = int(*p.ReceiveMaximum)
	}
	if p := ack.Properties; p != nil && p.MaximumPacketSize != nil {
		s.largest = int(*p.MaximumPacketSize)
	}
	s.window = max(1, s.window-1) // one is for a fresh token
	return nil
}

// take gets the answers.
func (s *sink) take(l *link, p packets.Packet) {
	ack, ok := p.(*packets.Puback)
	if !ok {
		return
	}
	reason := ""
	if ack.Properties != nil {
		reason = ack.Properties.ReasonString
	}
	s.mu.Lock()
	if s.link != l {
		s.mu.Unlock()
		return
	}
	if ack.PacketID == s.renewal && s.renewal != 0 {
		s.renewal = 0
		s.mu.Unlock()
		if ack.ReasonCode >= refused {
			s.log.Warn("a fresh token was refused", "reason", reason)
		}
		return
	}
	it := s.flight[ack.PacketID]
	delete(s.flight, ack.PacketID)
	var done, lost bool
	if it != nil {
		done, lost = s.answer(it, ack.ReasonCode, reason)
	}
	s.mu.Unlock()
	wake(s.kick)
	switch {
	case lost:
		s.refuser.push(it)
	case done:
		s.metrics.committed.Inc()
		s.source.settle(it)
	}
}

// answer notes what became of a message. mu is held.
func (s *sink) answer(it *item, code byte, reason string) (done, lost bool) {
	switch {
	case code < refused:
		done = true
	case later(code):
		s.again = true
		s.metrics.retries.Inc()
		s.log.Warn("the message was not committed, and is sent again", "topic", it.pb.Topic, "code", hexCode(code), "reason", reason)
	case code == packets.PubackPayloadFormatInvalid && it.conversation != "" && s.cfg.Create != nil && !it.doubted:
		it.doubted, s.again = true, true // perhaps the conversation was deleted
	default:
		lost = true
		it.refusal = fmt.Errorf("refused with %s: %s", hexCode(code), reason)
	}
	it.settled = done || lost
	for len(s.queue) > 0 && s.queue[0].settled && s.next > 0 {
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.next--
	}
	return done, lost
}

func hexCode(code byte) string { return fmt.Sprintf("0x%02x", code) }

// later says which refusals are not for good.
func later(code byte) bool {
	switch code {
	case packets.PubackNotAuthorized, packets.PubackTopicNameInvalid, packets.PubackPayloadFormatInvalid:
		return false
	}
	return true
}

// run keeps a link to Parley.
func (s *sink) run(ctx context.Context) {
	pause := newBackoff()
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > maxPause {
			pause = newBackoff()
		}
		s.metrics.disconnects.WithLabelValues(partTarget).Inc()
		s.health.set(partTarget, err)
		s.log.Warn("no connection to Parley", "error", err)
		pause.wait(ctx)
	}
}

// serve connects and writes until the link ends.
func (s *sink) serve(ctx context.Context) error {
	token, err := s.cfg.Token.Current()
	if err != nil {
		return err
	}
	conf, err := s.cfg.TargetTLS.config(s.cfg.Target)
	if err != nil {
		return err
	}
	few := uint16(16)
	l, err := dial(ctx, s.cfg.Target, conf, &paho.Connect{
		ClientID: "bridge-" + s.journal.instance, KeepAlive: uint16(keepAlive / time.Second), CleanStart: true,
		Username: token.User, UsernameFlag: true, Password: []byte(token.Text), PasswordFlag: true,
		Properties: &paho.ConnectProperties{ReceiveMaximum: &few, RequestProblemInfo: true}}, s)
	if err != nil {
		return err
	}
	defer l.close()
	s.health.set(partTarget, nil)
	s.log.Info("writing to Parley", "target", s.cfg.Target.Host, "user", token.User)
	renew := time.NewTimer(token.renewAfter(time.Now()))
	defer renew.Stop()
	pause := newBackoff()
	for {
		if !s.write(ctx, l, &pause) {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.done():
			return l.reason()
		case <-renew.C:
			token = s.renew(l, token)
			renew.Reset(token.renewAfter(time.Now()))
		case <-s.kick:
		}
	}
}

// write sends what may be sent now. It says whether ctx goes on.
func (s *sink) write(ctx context.Context, l *link, pause **backoff) bool {
	for {
		s.mu.Lock()
		if s.again && len(s.flight) == 0 {
			s.mu.Unlock()
			if !(*pause).wait(ctx) {
				return false
			}
			s.mu.Lock()
			s.again, s.next = false, 0
		}
		for s.next < len(s.queue) && s.queue[s.next].settled {
			s.next++
		}
		if s.again || s.next == len(s.queue) || len(s.flight) >= s.window {
			s.mu.Unlock()
			return true
		}
		it := s.queue[s.next]
		s.mu.Unlock()
		if !s.ready(ctx, it) {
			select {
			case <-l.done():
				return true
			default:
			}
			if !(*pause).wait(ctx) {
				return false
			}
			continue
		}
		if s.send(l, it) != nil {
			return true // the link is gone
		}
		*pause = newBackoff()
	}
}

// ready makes sure that the conversation is there, if that is ours to do.
func (s *sink) ready(ctx context.Context, it *item) bool {
	c := s.cfg.Create
	if c == nil || it.conversation == "" {
		return true
	}
	if s.known[it.conversation] && !it.doubted {
		return true
	}
	err := c.conversation(ctx, s.cfg.Token, it.conversation)
	if err != nil {
		s.log.Warn("the conversation is not made", "conversation", it.conversation, "error", err)
		return errors.Is(err, errNotMade) // then sending says so too
	}
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[it.conversation] = true
	return true
}

// send publishes the next message.
func (s *sink) send(l *link, it *item) error {
	p, err := it.packet()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	if size := sizeOf(p); size > s.largest { // sending it would end the link, again and again
		it.refusal = fmt.Errorf("the packet of some %d bytes is larger than the %d that Parley takes", size, s.largest)
		it.settled = true
		s.refuser.push(it)
		return nil
	}
	p.PacketID = s.free()
	s.flight[p.PacketID] = it
	_, err = p.WriteTo(l.conn)
	return err
}

// sizeOf is at least the size of a packet.
func sizeOf(p *packets.Publish) int {
	n := 64 + len(p.Topic) + len(p.Payload) + len(p.Properties.ContentType)
	for _, u := range p.Properties.User {
		n += 5 + len(u.Key) + len(u.Value)
	}
	return n
}

// packet is the PUBLISH of a message.
func (it *item) packet() (*packets.Publish, error) {
	p := &packets.Publish{Topic: it.topic, QoS: 1, Properties: &packets.Properties{}}
	if it.conversation != "" {
		var err error
		p.Payload, err = body(it.text, it.clientID)
		return p, err
	}
	p.Payload = it.pb.Payload
	if from := it.pb.Properties; from != nil {
		p.Properties.ContentType, p.Properties.PayloadFormat = from.ContentType, from.PayloadFormat
		p.Properties.User = append(p.Properties.User, from.User...)
	}
	p.Properties.User = append(p.Properties.User, packets.User{Key: idProperty, Value: it.clientID})
	return p, nil
}

// idProperty is the user property of a message on an ordinary topic that is
// the same when the message comes twice.
const idProperty = "bridge-id"

// free is an identifier that is not in use. mu is held.
func (s *sink) free() uint16 {
	for s.lastID++; s.lastID == 0 || s.lastID == s.renewal || s.flight[s.lastID] != nil; s.lastID++ {
	}
	return s.lastID
}

// renew says a fresh token, if there is one.
func (s *sink) renew(l *link, old Token) Token {
	fresh, err := s.cfg.Token.Current()
	if err == nil && fresh.User != old.User {
		err = fmt.Errorf("it is of %s, not of %s", fresh.User, old.User)
	}
	if err != nil {
		s.log.Warn("there is no fresh token", "error", err)
		return old
	}
	if fresh.Text == old.Text {
		return old
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &packets.Publish{Topic: "users/" + fresh.User + "/token", QoS: 1, Payload: []byte(fresh.Text), Properties: &packets.Properties{}}
	p.PacketID = s.free()
	s.renewal = p.PacketID
	_, _ = p.WriteTo(l.conn) // else the link is gone, and the next one has the token
	return fresh
}
