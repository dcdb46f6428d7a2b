package ingest

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// item is a message between its arrival and its place.
type item struct {
	draft
	pb       *packets.Publish // as it came
	clientID string
	binding  *binding // nil at QoS 0
	refusal  error    // why it can never be written
	settled  bool     // it is the sink's no more
	doubted  bool     // refused once, by what may have been mended since
}

// receipt is a PUBLISH that this link's source wants acknowledged.
type receipt struct {
	id uint16
	b  *binding
}

// source reads the other broker. What it may send before it is acknowledged is
// bounded by Receive Maximum. One that does not keep to that (mosquitto 2.0.11)
// is not read from for a while. At QoS 0 what is too much is dropped, as MQTT
// has it.
type source struct {
	*bridge

	mu       sync.Mutex
	link     *link
	epoch    uint64    // counts links
	receipts []receipt // what is to be acknowledged on this link, in order
	acked    []receipt // ended, and the source may not know
	came     uint64    // counts PUBLISHes
	arrived  []arrival // to be journalled
	memory   int       // items in memory
	draining bool
	changed  chan struct{} // closed and replaced when memory becomes less
	kick     chan struct{}
}

// arrival is a message to be journalled, or a QoS 2 message that the source
// has released.
type arrival struct {
	it       *item
	released receipt
	epoch    uint64
}

// fenceDelay is how long acknowledgements gather before the source is asked
// whether it has heard them.
const fenceDelay = 20 * time.Millisecond

func newSource(b *bridge) *source {
	return &source{bridge: b, epoch: beforeStart, changed: make(chan struct{}), kick: make(chan struct{}, 1)}
}

// connected is called before the first PUBLISH.
func (s *source) connected(l *link, ack *packets.Connack) error {
	lost, err := s.journal.connected(ack.SessionPresent, s.cfg.Window)
	if err != nil {
		return fmt.Errorf("the journal: %w", err)
	}
	if lost > 0 {
		s.log.Warn("the source has lost our session: what it had sent and not seen acknowledged it will not send again", "messages", lost)
	}
	if granted, ok := s.shortened(ack); ok {
		s.log.Warn("the source keeps our session for less long than was asked for: if the bridge is away for longer, messages are lost",
			"granted", granted, "source-expiry", s.cfg.SessionExpiry)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.came++ // never 0
	s.link, s.receipts, s.acked = l, nil, nil
	return nil
}

// shortened tells whether the source keeps the session for less long than it
// was asked to, as CONNACK says, and for how long.
func (s *source) shortened(ack *packets.Connack) (granted time.Duration, ok bool) {
	if ack.Properties == nil || ack.Properties.SessionExpiryInterval == nil {
		return 0, false
	}
	granted = time.Duration(*ack.Properties.SessionExpiryInterval) * time.Second
	return granted, granted < s.cfg.SessionExpiry.Truncate(time.Second)
}

// take gets PUBLISH and PUBREL. It waits while there is too much.
func (s *source) take(l *link, p packets.Packet) {
	for {
		full := s.accept(l, p)
		if full == nil {
			return
		}
		l.blocked.Store(true)
		select {
		case <-full:
		case <-l.gone:
			return
		}
		l.blocked.Store(false)
	}
}

// accept takes a packet, or answers what to wait for.
func (s *source) accept(l *link, p packets.Packet) (full <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l || s.draining {
		return nil
	}
	switch p := p.(type) {
	case *packets.Publish:
		if p.QoS > 0 && (len(s.receipts) >= s.bound() || s.memory >= s.bound()) {
			return s.changed
		}
		s.metrics.received.Inc()
		s.came++
		if p.QoS == 0 {
			s.unacknowledged(p)
		} else {
			s.publish(p)
		}
	case *packets.Pubrel:
		s.arrive(arrival{released: receipt{p.PacketID, s.journal.release(s.epoch, p.PacketID)}, epoch: s.epoch})
	}
	return nil
}

// bound is how many messages may be in memory, and how many unacknowledged.
// A source that keeps to Receive Maximum never gets there.
func (s *source) bound() int { return 2 * int(s.cfg.Window) }

// unacknowledged takes a message of QoS 0.
func (s *source) unacknowledged(p *packets.Publish) {
	if s.memory >= s.bound() {
		s.metrics.dropped.Inc()
		return
	}
	s.arrive(arrival{it: s.item(p, "q0-"+rand.Text(), nil)})
}

func (s *source) publish(p *packets.Publish) {
	b, fresh := s.journal.bind(s.epoch, p.PacketID, p.QoS, p.Duplicate, digestOf(p))
	s.log.Debug("received", "topic", p.Topic, "packet", p.PacketID, "qos", p.QoS, "dup", p.Duplicate, "number", b.n, "new", fresh, "done", b.done)
	if !fresh {
		s.metrics.redelivered.Inc()
	}
	s.receipts = append(s.receipts, receipt{p.PacketID, b})
	switch {
	case b.done:
		s.acknowledge()
	case b.item == nil: // else it is on its way
		b.item = s.item(p, s.journal.clientID(b.n), b)
		s.arrive(arrival{it: b.item})
	}
}

// item maps a message.
func (s *source) item(p *packets.Publish, clientID string, b *binding) *item {
	it := &item{pb: p, clientID: clientID, binding: b}
	it.draft, it.refusal = s.mapper.apply(p)
	if it.id != "" {
		it.clientID = it.id
	} else if s.mapper.ids.wanted() && it.refusal == nil {
		s.metrics.unnamed.Inc()
	}
	s.memory++
	return it
}

func (s *source) arrive(a arrival) {
	s.arrived = append(s.arrived, a)
	wake(s.kick)
}

// settle is called when an item stands here, or was refused for good.
func (s *source) settle(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := it.binding; b != nil {
		s.journal.done(it.pb.PacketID, b)
	}
	s.memory--
	close(s.changed)
	s.changed = make(chan struct{})
	s.acknowledge()
}

// acknowledge tells the source of all whose turn it is: in the order in which
// they came ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).
func (s *source) acknowledge() {
	n := 0
	var out []byte
	before := len(s.acked)
	for ; n < len(s.receipts) && s.receipts[n].b.done; n++ {
		r := s.receipts[n]
		if r.b.qos == 2 {
			out = acknowledgement(out, packets.PUBREC, r.id)
			continue
		}
		out = acknowledgement(out, packets.PUBACK, r.id)
		s.journal.end(s.epoch, r.id, r.b)
		s.acked = append(s.acked, r)
	}
	if n == 0 || s.link == nil {
		return
	}
	s.receipts = s.receipts[n:]
	_ = s.link.write(out) // else the link is gone, and all of it comes again
	s.metrics.acknowledged.Add(float64(n))
	if before == 0 && len(s.acked) > 0 {
		s.fence()
	}
}

// fence asks the source, a little later, whether it has heard what was said
// so far. mu is held.
func (s *source) fence() {
	epoch := s.epoch
	time.AfterFunc(fenceDelay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.epoch == epoch && s.link != nil {
			s.ask(s.link, nil)
		}
	})
}

// ask sends PINGREQ. Its answer ends the doubt about what was acknowledged;
// and where all was, and nothing came meanwhile, the source has nothing left
// that waits. mu is held.
func (s *source) ask(l *link, then func()) {
	heard, epoch, came := s.acked, s.epoch, s.came
	s.acked = nil
	if len(s.receipts) > 0 {
		came = 0
	}
	l.pings.fence(func() {
		for _, r := range heard {
			s.journal.confirm(epoch, r.id, r.b)
		}
		s.mu.Lock()
		idle := s.epoch == epoch && s.came == came
		s.mu.Unlock()
		if idle {
			s.journal.caughtUp(epoch)
		}
		if then != nil {
			then()
		}
	})
}

// journalling makes durable what has arrived and passes it on, many at a time.
func (s *source) journalling(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		}
		s.mu.Lock()
		batch := s.arrived
		s.arrived = nil
		s.mu.Unlock()
		if len(batch) == 0 || !s.flush(ctx) {
			continue
		}
		for _, a := range batch {
			switch {
			case a.it == nil:
				s.complete(a)
			case a.it.refusal != nil:
				s.refuser.push(a.it)
			default:
				s.sink.push(a.it)
			}
		}
	}
}

// flush writes the journal until it succeeds: the source waits meanwhile.
func (s *source) flush(ctx context.Context) bool {
	for pause := newBackoff(); ; {
		err := s.journal.flush()
		s.health.set(partJournal, err)
		if err == nil {
			return true
		}
		s.log.Error("the journal cannot be written; nothing goes on until it can", "error", err)
		if !pause.wait(ctx) {
			return false
		}
	}
}

// complete answers a PUBREL.
func (s *source) complete(a arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != a.epoch || s.link == nil {
		return
	}
	_ = s.link.write(acknowledgement(nil, packets.PUBCOMP, a.released.id)) // else it comes again
	if a.released.b == nil {
		return
	}
	s.acked = append(s.acked, a.released)
	if len(s.acked) == 1 {
		s.fence()
	}
}

// run keeps a link to the source.
func (s *source) run(ctx context.Context) {
	pause := newBackoff()
	for ctx.Err() == nil {
		if !s.room(ctx, int(s.cfg.Window)) {
			return
		}
		l, err := s.connect(ctx)
		if err == nil {
			s.health.set(partSource, nil)
			s.log.Info("reading the source", "source", s.cfg.Source.Host)
			begun := time.Now()
			select {
			case <-l.done():
				err = l.reason()
			case <-ctx.Done():
				return // the link is left to stop
			}
			if time.Since(begun) > maxPause {
				pause = newBackoff()
			}
			s.forget(l)
		}
		if ctx.Err() != nil {
			return
		}
		s.metrics.disconnects.WithLabelValues(partSource).Inc()
		s.health.set(partSource, err)
		s.log.Warn("no connection to the source", "error", err)
		pause.wait(ctx)
	}
}

// room waits until at most n items are in memory.
func (s *source) room(ctx context.Context, n int) bool {
	for {
		s.mu.Lock()
		memory, changed := s.memory, s.changed
		s.mu.Unlock()
		if memory <= n {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (s *source) forget(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.link = nil
	}
}

// connect opens the session and subscribes.
func (s *source) connect(ctx context.Context) (*link, error) {
	c := s.cfg
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	conf, err := c.SourceTLS.config(c.Source)
	if err != nil {
		return nil, err
	}
	expiry, size := uint32(c.SessionExpiry/time.Second), uint32(c.MaxPacket)
	clientID := c.ClientID
	if clientID == "" {
		clientID = "parley-" + s.journal.instance
	}
	cp := &paho.Connect{ClientID: clientID, KeepAlive: uint16(keepAlive / time.Second),
		Username: c.User, UsernameFlag: c.User != "", Password: []byte(password), PasswordFlag: password != "",
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, ReceiveMaximum: &c.Window,
			MaximumPacketSize: &size, RequestProblemInfo: true}}
	l, err := dial(ctx, c.Source, conf, cp, s)
	if err != nil {
		return nil, err
	}
	if err := s.subscribe(ctx, l); err != nil {
		s.forget(l)
		l.close()
		return nil, err
	}
	return l, nil
}

// subscribe asks for the filters of the routes, and gives up those that are
// not wanted any more. A session that has them all is asked again: it costs
// nothing and mends what may be missing.
func (s *source) subscribe(ctx context.Context, l *link) error {
	filters := s.cfg.filters()
	gone, err := s.journal.subscribing(filters)
	if err != nil {
		return fmt.Errorf("the journal: %w", err)
	}
	request := &paho.Subscribe{}
	for _, f := range filters {
		request.Subscriptions = append(request.Subscriptions,
			paho.SubscribeOptions{Topic: f, QoS: s.cfg.QoS, RetainHandling: s.cfg.retainHandling()})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.impatient(cancel)()
	ack, err := l.client.Subscribe(ctx, request)
	if ack != nil && len(ack.Reasons) == len(filters) {
		for i, code := range ack.Reasons {
			if code >= refused {
				return fmt.Errorf("the filter %q is refused with 0x%02x", filters[i], code)
			}
			if code < s.cfg.QoS {
				s.log.Warn("the source grants less than was asked for", "filter", filters[i], "qos", code)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("SUBSCRIBE: %w", err)
	}
	if len(gone) > 0 {
		if _, err := l.client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: gone}); err != nil {
			return fmt.Errorf("UNSUBSCRIBE: %w", err)
		}
	}
	s.journal.subscribed(filters)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask(l, nil)
	return nil
}

// stop takes nothing more, waits for what is under way, and says goodbye. The
// source keeps the rest.
func (s *source) stop(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	if !s.room(ctx, 0) {
		s.log.Warn("stopped before everything was committed; the source will send the rest again")
	}
	heard := make(chan struct{})
	s.mu.Lock()
	l := s.link
	s.link = nil
	if l != nil {
		s.ask(l, func() { close(heard) })
	}
	s.mu.Unlock()
	if l == nil {
		return
	}
	select { // the acknowledgements are out; that they were heard saves work at the next start
	case <-heard:
	case <-l.done():
	case <-ctx.Done():
	}
	l.close()
}
