package model_test

import (
	"fmt"

	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// stepRead has a client read some of what it must get, and acknowledge some.
func (w *world) stepRead() {
	l := w.linked()
	if l == nil {
		return
	}
	n, acknowledge := w.between(1, 8, "entries"), w.acknowledgements()
	w.log("%s reads up to %d", l, n)
	for range n {
		if !l.readEntry() {
			break
		}
	}
	acknowledge(l)
}

// stepAck has a client acknowledge some, in any order.
func (w *world) stepAck() {
	if l := w.linked(); l != nil {
		w.acknowledgements()(l)
	}
}

// acknowledgements draws what a client acknowledges of what it has.
func (w *world) acknowledgements() func(l *link) {
	n, shuffle, ping := w.between(0, 20, "acknowledgements"), 0, w.oneIn(2, "ping")
	if w.oneIn(4, "out of order") {
		shuffle = w.between(1, 100, "order")
	}
	return func(l *link) {
		left := l.unacked()
		for range min(n, len(left)) {
			i := shuffle % len(left)
			w.log("  %s acknowledges %s:%d", l, left[i].conv.id, left[i].seq)
			l.ack(left[i])
			left = append(left[:i:i], left[i+1:]...)
			shuffle = shuffle * 7 % 101
		}
		if ping {
			l.ping()
		}
	}
}

func (w *world) stepReadAll() {
	if l := w.linked(); l != nil {
		w.log("%s reads all", l)
		l.readAll()
	}
}

func (w *world) stepSubscribe() {
	if l := w.linked(); l != nil {
		qos := pick(w, []byte{1, 0, 2}, "QoS")
		l.subscribe(qos, -1, w.filters(l)...)
	}
}

// stepAfter subscribes from a place on.
func (w *world) stepAfter() {
	l := w.linked()
	if l == nil || l.c.version != 5 {
		return
	}
	c, qos, place := w.convOf(l.c.user), pick(w, []byte{1, 0}, "QoS"), w.place()
	filter := c.topic()
	if w.oneIn(4, "all") {
		filter = allMessages
	}
	l.subscribe(qos, int(place(c)), filter)
}

// place draws a place in a stream: near its end, its beginning, or beyond.
func (w *world) place() func(*conv) uint64 {
	back, n := w.oneIn(2, "from the end"), uint64(w.between(0, 50, "place"))
	return func(c *conv) uint64 {
		switch {
		case !back:
			return min(n, c.head()+1)
		case n > c.head():
			return 0
		}
		return c.head() - n
	}
}

func (w *world) filters(l *link) []string {
	all := []string{allMessages, w.convOf(l.c.user).topic(), l.c.errors(), allChat, "chat/" + w.prefix + "none/messages"}
	first, second := pick(w, all, "filter"), pick(w, all, "filter")
	if w.oneIn(4, "two filters") {
		return []string{first, second}
	}
	return []string{first}
}

func (w *world) stepUnsubscribe() {
	if l := w.linked(); l != nil {
		l.unsubscribe(w.filters(l)[:1]...)
	}
}

func (w *world) stepReplay() {
	l := w.linked()
	if l == nil {
		return
	}
	c, place, qos := w.convOf(l.c.user), w.place(), pick(w, []byte{1, 0, 2}, "QoS")
	if l.mayPublish() {
		l.replay(c, place(c), qos)
	}
}

func (w *world) stepConnect() {
	c, o := pick(w, w.clients, "client"), w.options()
	if takeOver := w.oneIn(2, "take over"); c.link == nil || takeOver {
		c.connect(o)
	}
}

func (w *world) stepDrop() {
	l := w.linked()
	if l == nil {
		return
	}
	if w.oneIn(2, "ping first") {
		l.ping()
	}
	l.c.drop()
}

func (w *world) stepDisconnect() {
	if l := w.linked(); l != nil {
		l.c.disconnect()
	}
}

// stepFlush lets the second pass after which what was acknowledged outlives a
// crash.
func (w *world) stepFlush() {
	w.log("cursors are saved")
	for _, c := range w.clients {
		if c.link == nil || !c.s.lasts {
			continue
		}
		c.link.ping()
		for _, conv := range w.convs {
			f := c.s.follows[conv]
			if f == nil {
				continue
			}
			lo, _ := f.reached()
			if lo <= f.floor {
				continue
			}
			if !w.store.awaitTold(place{c.key(), conv.stream()}, lo, patience) {
				w.fail("%s has acknowledged %s up to %d, and that is not saved", c, conv.id, lo)
			}
			f.saved()
		}
	}
	w.must(w.store.save(w.ctx()), "saving cursors")
}

func (w *world) stepFault() {
	var faults []fault
	for range w.between(1, 2, "faults") {
		faults = append(faults, pick(w, []fault{faultAgain, faultLost, faultUnavailable}, "fault"))
	}
	w.log("the store will fail: %v", faults)
	w.store.fail(faults...)
}

// stepRestart stops the server as an operator does, and starts it again.
func (w *world) stepRestart() {
	w.underLoad()
	w.log("the server restarts")
	w.stop()
	w.start()
}

// underLoad has clients send without waiting.
func (w *world) underLoad() {
	for range w.between(0, 3, "clients") {
		if l := w.linked(); l != nil {
			for range w.between(1, 4, "sends") {
				w.sendOne(l)
			}
		}
	}
}

// stop stops the server: all that was acknowledged is saved.
func (w *world) stop() {
	w.must(w.store.settle(w.ctx()), "saving cursors")
	w.closing = true
	w.server.Stop()
	w.stopped()
	w.reopen()
	for _, c := range w.clients {
		if c.link != nil {
			c.link.drain(0x8B)
			c.gone(false)
		}
		if c.s == nil {
			continue
		}
		if c.s.dropped {
			c.s.dropped = false
			c.s.quiet(c)
		}
		for _, f := range c.s.follows {
			f.saved()
		}
	}
	w.settledLoose()
	for _, c := range w.convs {
		c.reread()
	}
	w.must(w.server.Store.Close(), "closing the store")
}

// reopen opens the store of a server that was stopped, to look at it.
func (w *world) reopen() {
	store := parleytest.Open(w.tb, w.backend, w.dsn)
	w.tb.Cleanup(func() { _ = store.Close() })
	w.server.Store = store
}

// stepCrash has the server die: nothing is written from one moment on, and
// the connections are cut.
func (w *world) stepCrash() {
	commits, written := w.between(0, 3, "commits"), w.oneIn(2, "written")
	reads := w.between(0, 1<<16, "who reads what it said")
	w.store.dieAfter(commits, written)
	w.closing = true // it may die while it is sent to
	w.underLoad()
	w.log("the server crashes")
	w.store.die()
	for i, c := range w.clients {
		if c.link == nil {
			continue
		}
		if reads>>i&1 == 0 {
			c.link.ping()
		}
		c.gone(true)
	}
	w.server.Stop()
	w.stopped()
	w.loose = nil
	for _, c := range w.clients {
		if c.s != nil {
			c.s.dropped = true
			for _, f := range c.s.follows {
				f.crash = true
			}
		}
	}
	w.start()
	for _, c := range w.convs {
		c.reread()
	}
}

// finish brings everybody to the end of everything and checks that.
func (w *world) finish() {
	w.log("the end")
	for _, c := range w.clients {
		if c.link == nil && c.s != nil {
			c.connect(options{lasting: true, room: 20})
		}
	}
	for _, c := range w.clients {
		if l := c.link; l != nil {
			l.answered()
			l.releaseAll()
		}
	}
	w.readToEnd()
	w.stop()
	w.start()
	for _, c := range w.clients {
		if c.s != nil {
			c.connect(options{lasting: true})
		}
	}
	w.readToEnd() // nothing but what the fence adds
	w.stop()
	w.settled()
	w.settledOrder()
}

// heads is how much stands in all streams.
func (w *world) heads() int {
	n := 0
	for _, c := range w.convs {
		n += len(c.entries)
	}
	return n
}

// readToEnd has everybody read all there is. A last message in each stream
// is a fence: what was sent at QoS 0 before it is committed.
func (w *world) readToEnd() {
	for _, c := range w.convs {
		w.serial++
		w.commit(w.say(c, c.owner, chat.Body{Type: chat.TypeMessage, Content: "fence", ClientID: fmt.Sprint("fence-", w.serial)}, false))
	}
	for before := -1; before != w.heads(); {
		before = w.heads()
		for _, c := range w.clients {
			if c.link != nil {
				w.log("%s reads to the end", c)
				c.link.readAll()
				c.link.ping()
				c.link.readAll()
			}
		}
		w.refresh()
	}
	for _, c := range w.clients {
		if c.link == nil {
			continue
		}
		if left := c.link.unacked(); len(left) > 0 {
			w.fail("%s has %d entries left", c, len(left))
		}
		for _, r := range c.link.readers {
			if q := r.need(); q > 0 {
				w.fail("%s misses seq %d of %s", c, q, r.conv.id)
			}
		}
	}
}
