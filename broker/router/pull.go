package router

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// Packet identifiers of deliveries are firstID and above, so that they never
// meet those that the session gives otherwise. The number of a delivery
// decides its identifier: it is the same after a restart [MQTT-4.4.0-1].
const (
	firstID = 1 << 15
	idCount = 1 << 15
)

func packetID(n uint64) uint16 { return uint16(firstID + (n-1)%idCount) }

// Mine reports whether a packet identifier is one of deliveries.
func Mine(id uint16) bool { return id >= firstID }

// Pull appends packets to dst until that has limit bytes, at most room of them
// at QoS 1 and 2, and says how many those were. may says which topics the
// client may read: it is asked about what was kept while it was away.
func (b *Mailbox) Pull(dst []byte, limit, room int, o *Outbound, may func(topic string) bool) (out []byte, inflight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader == nil {
		return dst, 0
	}
	now := b.r.cfg.Now()
	for len(dst) < limit && inflight < room && b.flying < maxFlying && b.pending.len() > 0 {
		if b.flight.len() > 0 && b.pending.at(0).n-b.flight.at(0).n >= idCount {
			break // its identifier may be in use
		}
		var took bool
		if dst, took = b.send(dst, o, may, now); took {
			inflight++
		}
	}
	for len(dst) < limit && b.zero.len() > 0 {
		d := b.zero.pop()
		b.zeroBytes -= d.size
		if d.m.expired(now) {
			b.r.metrics.drop("expired", 1)
			continue
		}
		var ok bool
		if dst, ok = o.append(dst, &d, false, 0, now); !ok {
			b.r.metrics.drop("too large", 1)
			continue
		}
		b.r.metrics.deliveries.Inc()
	}
	if b.pending.len() == 0 && inflight < room {
		b.more()
	}
	return dst, inflight
}

// send sends the next pending delivery. took is true when it waits for an
// acknowledgement now.
func (b *Mailbox) send(dst []byte, o *Outbound, may func(string) bool, now time.Time) (out []byte, took bool) {
	d := b.pop()
	switch {
	case d.state == released:
		dst = wire.AppendAck(dst, o.Version, &wire.Ack{Type: wire.TypePubrel, PacketID: packetID(d.n)}, o.MaxPacket)
		b.flight.push(d)
		return dst, true
	case d.state == done:
		b.drop(d, "lost")
		return dst, false
	case d.m.expired(now) && d.n > b.sent: // else it is under way [MQTT-4.3.3-7]
		b.drop(d, "expired")
		return dst, false
	case d.stored && may != nil && !may(d.m.Topic):
		b.drop(d, "not allowed any more")
		return dst, false
	}
	dst, ok := o.append(dst, &d, d.n <= b.sent, packetID(d.n), now)
	if !ok {
		b.drop(d, "too large")
		return dst, false
	}
	b.r.metrics.deliveries.Inc()
	b.sent = max(b.sent, d.n)
	d.state = sent
	b.flight.push(d)
	b.flying += d.size
	return dst, true
}

// let gives up the message of a delivery in flight, which the client has.
func (b *Mailbox) let(d *delivery) {
	if d.m != nil {
		b.flying -= d.size
		d.m = nil
	}
}

// find answers what was sent under a packet identifier, or nil.
func (b *Mailbox) find(id uint16) *delivery {
	if b.flight.len() == 0 || !Mine(id) {
		return nil
	}
	first := b.flight.at(0).n
	n := first + uint64(id-packetID(first))%idCount
	lo, hi := 0, b.flight.len()
	for lo < hi {
		if mid := (lo + hi) / 2; b.flight.at(mid).n < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == b.flight.len() || b.flight.at(lo).n != n || b.flight.at(lo).state == done {
		return nil
	}
	return b.flight.at(lo)
}

// finish ends a delivery that was sent.
func (b *Mailbox) finish(d *delivery) {
	b.uncount(d)
	b.let(d)
	d.state = done
	b.waiting.Add(-1)
	for b.flight.len() > 0 && b.flight.at(0).state == done {
		b.flight.pop()
	}
}

// HasMore reports whether Pull would have something to send if it were given
// room.
func (b *Mailbox) HasMore() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pending.len() > 0 || b.behind || b.nextReplay() != nil
}

// Puback takes a PUBACK. It is true when that made room.
func (b *Mailbox) Puback(id uint16) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.find(id)
	if b.reader == nil || d == nil || d.qos != 1 {
		return false
	}
	b.r.metrics.acks.Inc()
	b.finish(d)
	return true
}

// Pubrec takes a PUBREC; refused says that its reason code is an error. known
// is false for an identifier that is not in use. made is true when it made
// room. The PUBREL comes from Reader.Pubrel, once it is stored that the client
// has the message.
func (b *Mailbox) Pubrec(id uint16, refused bool) (known, made bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.find(id)
	switch {
	case b.reader == nil:
		return true, false
	case d == nil || d.qos != 2:
		return false, false
	case refused && d.state != released:
		b.finish(d) // [MQTT-4.3.3-4]
		return true, true
	case d.state == released:
		b.reader.Pubrel(id)
	case d.state != sent:
	case b.durable:
		d.state = received
		b.r.spool.put(&release{box: b, reader: b.reader, n: d.n})
	default:
		b.let(d)
		d.state = released
		b.reader.Pubrel(id)
	}
	return true, false
}

// Pubcomp takes a PUBCOMP. It is true when that made room.
func (b *Mailbox) Pubcomp(id uint16) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.find(id)
	if b.reader == nil || d == nil || d.state != released {
		return false
	}
	b.r.metrics.acks.Inc()
	b.finish(d)
	return true
}

// release stores that a client has a message of QoS 2.
type release struct {
	box    *Mailbox
	reader Reader
	n      uint64
}

func (s *release) gather(c *changes) {
	c.release(bridge.DeliveryKey{Key: s.box.key, N: s.n})
}

func (s *release) settle(err error) {
	b := s.box
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.find(packetID(s.n))
	if b.reader != s.reader || d == nil || d.n != s.n {
		return
	}
	if err != nil {
		b.reader.Failed(err)
		return
	}
	b.let(d)
	d.state = released
	b.reader.Pubrel(packetID(s.n))
}

const (
	loadLimit = 32 // deliveries in one read
	loadRetry = 500 * time.Millisecond
)

// more sees to it that something comes into memory, if there is anything. b.mu
// is held.
func (b *Mailbox) more() {
	switch {
	case b.trimming: // it wakes when it is through
	case b.behind && !b.loading:
		b.loading = true
		b.r.run(b.load)
	case !b.behind && b.nextReplay() != nil && !b.replaying && b.zero.len() == 0:
		b.replaying = true
		b.r.run(b.replay)
	}
}

// load reads the next deliveries from the store.
func (b *Mailbox) load(ctx context.Context) {
	b.mu.Lock()
	reader, committed, unsure := b.reader, b.committed, b.unsure
	asked := bridge.QueueRange{Key: b.key, After: b.last, Limit: loadLimit}
	b.mu.Unlock()
	var rows []bridge.Delivery
	err := ctx.Err()
	if err == nil && reader != nil {
		if unsure {
			err = b.r.Sync(ctx) // what has gone must be gone from the store too
		}
		if err == nil {
			rows, err = b.r.queued(ctx, asked)
		}
		if err != nil {
			b.r.pause(loadRetry)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loading = false
	if b.reader == nil {
		return
	}
	if b.reader == reader && err == nil {
		for _, d := range b.loaded(rows) {
			if d.n > b.last { // else it was dropped meanwhile
				b.last = d.n
				b.push(d)
			}
		}
		// What was committed while the store was asked may be missing.
		b.behind = len(rows) == loadLimit || b.committed != committed
	}
	b.reader.Wake()
}
