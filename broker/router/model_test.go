package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// TestModel plays publishers and subscribers against a router: clients that
// acknowledge in any order, die and return, a store that fails, a process that
// crashes. The oracle is what the standard promises.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(plain{t}, func(rt *rapid.T) {
			w := &world{t: rt, disk: newDisk(t), tb: t, sent: map[string]*shot{}}
			w.run()
		})
	})
}

// plain hides what a *testing.T does not allow in a bubble.
type plain struct{ testing.TB }

type world struct {
	t    *rapid.T
	tb   testing.TB
	disk *disk
	g    *rig
	pubs [3]int // messages of each publisher so far
	open [3]int // its messages that are not settled
	subs []*actor
	sent map[string]*shot // by payload
	bad  bool             // the store has failed, so that something may come twice
}

// shot is a message that was published.
type shot struct {
	outcome
	topic string
	qos   byte
	pub   int
	due   []*actor // durable subscribers that must get it
}

// actor is a subscriber, and what it remembers.
type actor struct {
	name    string
	durable bool
	subs    []bridge.Subscription
	version byte
	c       *client           // nil while it has no connection
	seen    map[string]int    // how often a message arrived, as the application sees it
	last    map[string]int    // the newest message by publisher and topic, at QoS 1 and 2
	holding map[uint16]string // messages of QoS 2 whose PUBREL has not come
	acks    []packet          // what it has to acknowledge, in the order in which it came
	recs    []uint16          // PUBREC sent, PUBREL to come
	here    map[string]bool   // what came over this connection
	unsaved bool              // a crash may have the server forget what was sent
}

func (w *world) run() {
	w.g = start(w.tb, w.disk, nil)
	defer func() { w.g.close() }()
	for i := range rapid.IntRange(1, 3).Draw(w.t, "subscribers") {
		a := &actor{name: fmt.Sprint("s", i), durable: rapid.IntRange(0, 3).Draw(w.t, "durable") > 0,
			version: byte(rapid.IntRange(4, 5).Draw(w.t, "version")),
			seen:    map[string]int{}, last: map[string]int{}, holding: map[uint16]string{}}
		for _, filter := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "+", "#"}), 1, 2, rapid.ID).Draw(w.t, "filters") {
			a.subs = append(a.subs, sub(filter, byte(rapid.IntRange(0, 2).Draw(w.t, "qos"))))
		}
		if a.durable {
			w.disk.save(bridge.Session{Key: keyOf(a.name), Expiry: bridge.NeverExpires, Subscriptions: a.subs})
		}
		w.subs = append(w.subs, a)
		w.connect(a)
	}
	steps := map[string]func(){"publish": w.publish, "pull": w.pull, "acknowledge": w.acknowledge, "rest": w.rest,
		"die": w.die, "return": w.back, "fail": w.fail, "crash": w.crash}
	often := []string{"publish", "publish", "publish", "publish", "pull", "pull", "acknowledge", "acknowledge", "acknowledge",
		"rest", "die", "return", "return", "fail", "crash"}
	for range rapid.IntRange(1, 80).Draw(w.t, "steps") {
		steps[rapid.SampledFrom(often).Draw(w.t, "step")]()
		w.heard()
	}
	w.finish()
}

func (w *world) connect(a *actor) {
	window := rapid.IntRange(1, 6).Draw(w.t, "window")
	a.c = newClient(w.tb, window)
	a.c.out.Version = a.version
	a.here, a.acks, a.recs = map[string]bool{}, nil, nil
	if a.durable {
		w.disk.mark(keyOf(a.name), time.Time{})
		a.c.box = w.g.Resume(keyOf(a.name), window, a.c)
	} else {
		a.holding = map[uint16]string{}
	}
	if a.c.box == nil {
		a.c.box = w.g.Open(keyOf(a.name), a.durable, window, a.c)
		for _, s := range a.subs {
			a.c.box.Subscribe(s, false)
		}
	}
}

func (a *actor) takes(topic string, qos byte) (granted byte, ok bool) {
	for _, s := range a.subs {
		if acl.Match(s.Filter, topic) {
			granted, ok = max(granted, min(qos, s.QoS)), true
		}
	}
	return granted, ok
}

func (w *world) publish() {
	pub := rapid.IntRange(0, len(w.pubs)-1).Draw(w.t, "publisher")
	s := &shot{topic: rapid.SampledFrom([]string{"a", "b"}).Draw(w.t, "topic"), qos: byte(rapid.IntRange(0, 2).Draw(w.t, "qos")), pub: pub}
	w.pubs[pub]++
	payload := fmt.Sprintf("%d:%d", pub, w.pubs[pub])
	w.sent[payload] = s
	for _, a := range w.subs {
		if granted, ok := a.takes(s.topic, s.qos); ok && granted > 0 && a.durable {
			s.due = append(s.due, a)
		}
	}
	p := &Publication{Message: newMessage(s.topic, payload, s.qos), Behind: s.qos > 0 && w.open[pub] > 0}
	p.Done = s
	w.open[pub]++
	w.g.Publish(p)
	if rapid.Bool().Draw(w.t, "wait") {
		quiet()
	}
	w.count()
}

// count counts what is not settled. A publisher sends on before it is.
func (w *world) count() {
	quiet()
	w.open = [3]int{}
	for _, s := range w.sent {
		if errors.Is(s.result(), errOpen) {
			w.open[s.pub]++
		}
	}
}

// someone draws a subscriber that has a connection, or has none.
func (w *world) someone(connected bool) *actor {
	a := w.subs[rapid.IntRange(0, len(w.subs)-1).Draw(w.t, "subscriber")]
	if (a.c != nil) != connected {
		return nil
	}
	return a
}

func (w *world) pull() {
	if a := w.someone(true); a != nil {
		quiet()
		w.take(a)
	}
}

// take has a client take what there is.
func (w *world) take(a *actor) int {
	got := a.c.next()
	for _, p := range got {
		if p.kind == wire.TypePubrel {
			w.released(a, p.id)
			continue
		}
		w.arrived(a, p)
	}
	return len(got)
}

func (w *world) arrived(a *actor, p packet) {
	s := w.sent[p.payload]
	if s == nil || s.topic != p.topic {
		w.t.Fatalf("%s got %+v, which nobody sent", a.name, p)
	}
	if granted, ok := a.takes(s.topic, s.qos); !ok || p.qos != granted {
		w.t.Fatalf("%s got %+v, granted QoS %d", a.name, p, granted)
	}
	if a.here[p.payload] {
		w.t.Fatalf("%s got %s twice over one connection, now with DUP %v", a.name, p.payload, p.dup)
	}
	a.here[p.payload] = true
	switch p.qos {
	case 0:
		if a.seen[p.payload]++; p.dup || a.seen[p.payload] > 1 {
			w.t.Fatalf("%s got %+v at QoS 0 again", a.name, p)
		}
		return
	case 2:
		a.acks = append(a.acks, p)
		if before, known := a.holding[p.id]; known {
			if before != p.payload || !p.dup && !a.unsaved {
				w.t.Fatalf("%s got %+v, and holds %s under that identifier", a.name, p, before)
			}
			return
		}
		a.holding[p.id] = p.payload
	case 1:
		a.acks = append(a.acks, p)
	}
	if a.seen[p.payload]++; a.seen[p.payload] > 1 && !p.dup && !a.unsaved {
		w.t.Fatalf("%s got %s again without DUP", a.name, p.payload)
	}
	if p.qos == 2 && a.seen[p.payload] > 1 {
		w.t.Fatalf("%s got %s at QoS 2 again", a.name, p.payload)
	}
	from, number, _ := strings.Cut(p.payload, ":")
	n, _ := strconv.Atoi(number)
	if by := from + p.topic; a.seen[p.payload] == 1 && n < a.last[by] {
		w.t.Fatalf("%s got %s after %d", a.name, p.payload, a.last[by])
	} else {
		a.last[by] = max(a.last[by], n)
	}
}

// heard takes what the router tells clients by itself.
func (w *world) heard() {
	quiet()
	for _, a := range w.subs {
		for a.c != nil && len(a.c.rels) > 0 {
			w.released(a, <-a.c.rels)
		}
		if a.c != nil && a.c.failed.Load() {
			w.part(a)
		}
	}
}

func (w *world) released(a *actor, id uint16) {
	delete(a.holding, id)
	if !slices.Contains(a.recs, id) {
		a.recs = append(a.recs, id)
	}
}

// acknowledge answers any of what a client has, PUBCOMP included.
func (w *world) acknowledge() {
	a := w.someone(true)
	if a == nil || len(a.acks)+len(a.recs) == 0 {
		return
	}
	i := rapid.IntRange(0, len(a.acks)+len(a.recs)-1).Draw(w.t, "which")
	w.answer(a, i)
}

func (w *world) answer(a *actor, i int) {
	if i >= len(a.acks) {
		id := a.recs[i-len(a.acks)]
		a.recs = slices.DeleteFunc(a.recs, func(o uint16) bool { return o == id })
		if a.c.box.Pubcomp(id) {
			a.c.open--
		}
		return
	}
	p := a.acks[i]
	a.acks = slices.Delete(a.acks, i, i+1)
	if p.qos == 2 {
		if known, _ := a.c.box.Pubrec(p.id, false); !known {
			w.t.Fatalf("%s: PUBREC of %d is not known", a.name, p.id)
		}
		return
	}
	if !a.c.box.Puback(p.id) {
		w.t.Fatalf("%s: PUBACK of %d is not known", a.name, p.id)
	}
	a.c.open--
}

func (w *world) rest() {
	time.Sleep(time.Duration(rapid.SampledFrom([]int{1, 100, 1100, 15000}).Draw(w.t, "ms")) * time.Millisecond)
	w.count()
}

func (w *world) die() {
	if a := w.someone(true); a != nil {
		w.part(a)
	}
}

func (w *world) part(a *actor) {
	box := a.c.box
	a.c = nil
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := box.Close(ctx, !a.durable, time.Time{}); err != nil {
		if !w.bad {
			w.t.Fatalf("%s cannot leave: %v", a.name, err)
		}
		a.unsaved = true
	}
	w.disk.mark(keyOf(a.name), time.Now())
}

func (w *world) back() {
	if a := w.someone(false); a != nil {
		w.connect(a)
	}
}

// fail has the next commits fail in some way.
func (w *world) fail() {
	left := rapid.SampledFrom([]int{1, 3, 10, 100}).Draw(w.t, "failures")
	f := rapid.SampledFrom([]fault{{err: bridge.ErrAgain}, {err: bridge.ErrUnavailable}, {err: bridge.ErrUnavailable, done: true}}).Draw(w.t, "fault")
	w.bad = true
	w.g.store.set(func() {
		w.g.store.onKeep = func(context.Context, int, *bridge.Changes) fault {
			if left--; left >= 0 {
				return f
			}
			return fault{}
		}
	})
}

// crash ends the process and starts another. What was not settled is lost or
// kept, as it happens.
func (w *world) crash() {
	for _, a := range w.subs {
		a.c = nil
	}
	w.g.crash()
	w.heard()
	w.count()
	w.g = start(w.tb, w.disk, nil)
	for key := range w.disk.sessions { // as the log does
		w.disk.mark(key, time.Now())
	}
}

// finish heals everything, has all clients return and take what they have,
// and holds the promises.
func (w *world) finish() {
	w.g.up()
	time.Sleep(time.Minute)
	w.heard()
	w.count()
	if w.open != [3]int{} {
		w.t.Fatalf("not settled: %v", w.open)
	}
	for _, a := range w.subs {
		if a.c == nil {
			w.connect(a)
		}
		for idle := 0; idle < 3; {
			quiet()
			n := w.take(a) + len(a.acks) + len(a.recs)
			w.heard()
			for len(a.acks)+len(a.recs) > 0 {
				w.answer(a, 0)
				w.heard()
			}
			if idle++; n > 0 {
				idle = 0
			}
			time.Sleep(time.Second)
		}
		if a.c.open != 0 || len(a.holding) > 0 {
			w.t.Fatalf("%s: %d are not acknowledged, %v held", a.name, a.c.open, a.holding)
		}
		if n := w.disk.queued(keyOf(a.name)); n > 0 {
			w.t.Fatalf("%s: the store still keeps %d", a.name, n)
		}
		if n, m, bytes := a.c.box.Stats(); !w.bad && (n != 0 || m != 0 || bytes != 0) {
			w.t.Fatalf("%s: %d wait, %d sent, %d bytes", a.name, n, m, bytes)
		}
	}
	for _, payload := range slices.Sorted(maps.Keys(w.sent)) {
		s := w.sent[payload]
		if err := s.result(); err != nil && !errors.Is(err, bridge.ErrUnavailable) {
			w.t.Fatalf("%s: %v", payload, err)
		}
		for _, a := range s.due {
			if s.result() == nil && a.seen[payload] == 0 {
				w.t.Fatalf("%s has never got %s at QoS %d, which was acknowledged", a.name, payload, s.qos)
			}
		}
	}
	for _, a := range w.subs {
		if a.c != nil {
			w.part(a)
		}
	}
}
