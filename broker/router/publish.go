package router

import (
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Publication is one message on its way to all that subscribe to its topic.
type Publication struct {
	Message *Message
	// Behind says that an earlier message of the same publisher waits for its
	// commit: this one must not overtake it [MQTT-4.6.0-5].
	Behind bool
	// Received is the packet identifier of a QoS 2 message of a durable
	// session, which is stored in the same commit; 0 is none.
	Received uint16
	// Will is the session whose will this is; it is removed in the same
	// commit.
	Will *bridge.SessionKey
	// Done is told the end; nil where nobody asks. It must not block.
	Done Completer
	// Matched says, once Done is told, that somebody gets it [MQTT5 3.4.2.1].
	Matched bool

	r       *Router
	stored  bool // Done is told by another goroutine, after the commit; the Publication is the router's until then
	targets []target
	retain  bool // the message is to be retained in the same commit
	moved   *move
	page    *page
}

// Completer is told the end of a Publication: nil, or why it was refused.
type Completer interface {
	Published(p *Publication, err error)
}

// target is a session that a message is for.
type target struct {
	box    *Mailbox
	n      uint64 // of a durable session: its number, once it has one
	qos    byte
	retain bool
	subIDs []uint32
	share  *group
}

var scratch = sync.Pool{New: func() any { return new(matches) }}

// Publish sends a message to all that subscribe to its topic. It does not wait
// for the store.
func (r *Router) Publish(p *Publication) {
	m := p.Message
	p.r, p.retain = r, m.Retain
	r.metrics.messages.Inc()
	if m.Retain && len(m.Payload) > 0 && !r.retains.fits() {
		if p.Will == nil {
			p.finish(errRetained)
			return
		}
		p.retain = false // it would be refused for ever
	}
	if m.ID == (chat.ID{}) {
		m.ID = newID()
	}
	if p.retain {
		r.retains.changing(m)
		defer r.retains.changed()
	}
	found := scratch.Get().(*matches)
	p.targets = r.match(m, found)
	p.Matched = len(p.targets) > 0
	p.stored = p.retain || p.Will != nil || m.QoS > 0 && (p.Behind || p.Received != 0 || p.keeps())
	if p.stored && (m.QoS > 0 || p.Will != nil) {
		p.targets = slices.Clone(p.targets)
	} else { // nobody waits for the store, but the publisher with its next
		r.deliver(p)
		p.targets = nil
	}
	found.release()
	if p.stored {
		r.spool.put(p)
	} else {
		p.finish(nil)
	}
}

var errRetained = &chat.Error{Code: chat.CodeRateLimited, Field: "retain", Message: "too many messages are retained"}

func (p *Publication) finish(err error) {
	if err != nil {
		p.r.metrics.refuse(err)
	}
	if p.Done != nil {
		p.Done.Published(p, err)
	}
}

// keeps reports whether the store must keep the message for a session.
func (p *Publication) keeps() bool {
	for i := range p.targets {
		if p.targets[i].stored() {
			return true
		}
	}
	return false
}

func (t *target) stored() bool { return t.qos > 0 && t.box.durable }

// match finds whom a message is for. The answer is part of found.
func (r *Router) match(m *Message, found *matches) []target {
	r.index.match(m.Topic, found)
	targets := slices.Grow(found.targets[:0], len(found.subs)+len(found.groups))
	for _, s := range found.subs {
		if s.noLocal && s.box.key == m.From { // [MQTT-3.8.3-3]
			continue
		}
		targets = append(targets, s.target(m))
	}
	if found.nodes > 1 && len(targets) > 1 {
		targets = found.merge(targets)
	}
	for _, g := range found.groups {
		if s := g.choose(m.QoS, nil); s != nil {
			t := s.target(m)
			t.share = g
			targets = append(targets, t)
		}
	}
	found.targets = targets
	return targets
}

// release gives a matches back. It keeps nothing alive.
func (found *matches) release() {
	clear(found.subs)
	clear(found.groups)
	clear(found.targets)
	found.subs, found.groups, found.targets, found.nodes = found.subs[:0], found.groups[:0], found.targets[:0], 0
	scratch.Put(found)
}

func (s *subscription) target(m *Message) target {
	return target{box: s.box, qos: min(m.QoS, s.qos), subIDs: s.ids,
		retain: m.Retain && s.asPublished} // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
}

// merge makes one target of those of one session: it gets the message once, at
// the highest QoS, with all subscription identifiers [MQTT-3.3.4-2],
// [MQTT-3.3.4-4].
func (found *matches) merge(targets []target) []target {
	at := found.at
	if at == nil {
		at = make(map[*Mailbox]int, len(targets))
	}
	kept := targets[:0]
	for _, t := range targets {
		i, twice := at[t.box]
		if !twice {
			at[t.box] = len(kept)
			kept = append(kept, t)
			continue
		}
		o := &kept[i]
		o.qos, o.retain = max(o.qos, t.qos), o.retain || t.retain
		for _, id := range t.subIDs {
			if !slices.Contains(o.subIDs, id) {
				o.subIDs = append(o.subIDs, id)
			}
		}
	}
	clear(targets[len(kept):])
	if clear(at); len(targets) < 10_000 {
		found.at = at
	}
	return kept
}

// deliver gives a message to its targets.
func (r *Router) deliver(p *Publication) {
	for i := range p.targets {
		t := &p.targets[i]
		if t.stored() && t.n == 0 {
			continue // its session is over, or has too much
		}
		if !t.box.take(t, p.Message) && t.share != nil {
			r.pass(t, p.Message)
		}
	}
}

// pass gives a message that a member of a shared subscription did not live to
// take to another.
func (r *Router) pass(t *target, m *Message) {
	s := t.share.choose(m.QoS, t.box)
	if s == nil {
		return
	}
	next := s.target(m)
	next.share = t.share
	p := &Publication{r: r, Message: m, targets: []target{next}}
	if next.stored() {
		r.spool.put(p)
		return
	}
	r.deliver(p)
}

// gather implements step.
func (p *Publication) gather(c *changes) {
	m := p.Message
	if p.page != nil && p.page.stale(m.Topic) {
		p.targets = nil
	}
	for i := range p.targets {
		t := &p.targets[i]
		if t.n == 0 && !t.number(m, c.now) {
			continue
		}
		d := bridge.Delivery{Key: t.box.key, N: t.n, QoS: t.qos, Retain: t.retain, SubIDs: t.subIDs,
			Size: m.Size(), Message: &m.Message}
		if t.share != nil {
			d.Share = t.share.filter
		}
		c.deliver(d)
	}
	if p.Received != 0 {
		c.receive(m.From, bridge.Received{PacketID: p.Received})
	}
	if p.retain {
		c.retain(&m.Message)
	}
	if p.Will != nil {
		c.dropWill(*p.Will)
	}
	if p.moved != nil {
		c.drop(p.moved.key())
	}
}

// number gives a target that is stored its number. A member of a shared
// subscription that cannot take the message gives it up to another.
func (t *target) number(m *Message, now time.Time) bool {
	for range maxChoices {
		if !t.stored() {
			return false
		}
		if t.box.number(t, now) {
			return true
		}
		if t.share == nil {
			return false
		}
		s := t.share.choose(m.QoS, t.box)
		if s == nil {
			return false
		}
		g := t.share
		*t = s.target(m)
		t.share = g
	}
	return false
}

// maxChoices is how many members of a shared subscription are asked to take a
// message.
const maxChoices = 8

// settle implements step.
func (p *Publication) settle(err error) {
	switch {
	case err != nil:
		p.takeBack()
	case p.moved != nil:
		p.moved.settle()
		p.r.deliver(p)
	default:
		p.r.deliver(p)
	}
	p.finish(err)
}

// takeBack deals with deliveries whose commit has failed: they may be in the
// store all the same.
func (p *Publication) takeBack() {
	for i := range p.targets {
		if t := &p.targets[i]; t.n != 0 {
			t.box.takeBack(t.n, p.Message.Size(), p.moved != nil)
		}
	}
}

// move is a delivery that goes from one member of a shared subscription to
// another.
type move struct {
	from *Mailbox
	n    uint64
	size int
}

// settle takes the delivery out of the count of the session that had it.
func (m *move) settle() {
	m.from.mu.Lock()
	defer m.from.mu.Unlock()
	m.from.count--
	m.from.bytes -= int64(m.size)
}

func (m *move) key() bridge.DeliveryKey { return bridge.DeliveryKey{Key: m.from.key, N: m.n} }

// handOver gives what a session that has lost its connection did not
// acknowledge, and came by shared subscriptions, to other members that are
// connected. A message of QoS 2 that was sent stays [MQTT-4.8.2-5].
func (r *Router) handOver(from *Mailbox, list []delivery) {
	for i := range list {
		d := &list[i]
		if d.share == nil || d.m == nil || d.state == done || d.qos == 2 && d.state != queued || d.m.expired(r.cfg.Now()) {
			continue
		}
		if from.durable && !d.share.onlineBut(from) {
			continue // it keeps it
		}
		s := d.share.choose(d.qos, from)
		if s == nil {
			continue
		}
		t := s.target(d.m)
		t.share = d.share
		p := &Publication{r: r, Message: d.m, targets: []target{t}}
		if from.durable {
			p.moved = &move{from: from, n: d.n, size: d.size}
		} else if !t.stored() {
			r.deliver(p)
			continue
		}
		r.spool.put(p)
	}
}
