package model_test

import (
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

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

// stepVanish has a client send, lose its connection at once and come back.
func (w *world) stepVanish() {
	l := w.linked()
	if l == nil {
		return
	}
	room, ping, n := w.options().room, w.oneIn(2, "ping"), w.between(1, 4, "sends")
	for range n {
		w.sendOne(l)
	}
	if ping {
		l.ping()
	}
	l.c.drop()
	l.c.connect(options{lasting: true, room: room})
}

func (w *world) stepDisconnect() {
	if l := w.linked(); l != nil {
		l.c.disconnect()
	}
}

// stepFlush lets the second pass after which what was acknowledged outlives a
// crash.
func (w *world) stepFlush() {
	if w.settings.cursors > time.Second {
		return // it passes never
	}
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
	for range w.between(1, 3, "faults") {
		faults = append(faults, pick(w, []fault{faultSlow, faultAgain, faultLost, faultUnavailable}, "fault"))
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
	w.refresh()
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

// stepStorm has several clients send, and members come and go meanwhile.
func (w *world) stepStorm() {
	w.underLoad()
	for range w.between(1, 4, "changes") {
		pick(w, []func(){w.stepMember, w.stepRename, w.stepCommit}, "change")()
	}
	w.underLoad()
}
