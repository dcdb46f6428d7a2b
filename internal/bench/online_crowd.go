package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

// never is a time long ago.
const never = -1 << 60

// state is how far a user is with its connection.
type state uint8

const (
	away    state = iota
	coming        // it has no CONNACK yet
	joining       // it has no SUBACK yet
	there
)

// onlineUser is one user of a crowd. The loop alone uses it.
type onlineUser struct {
	conn
	login    []byte // CONNECT
	contacts []uint32
	views    []view // what it knows, by contact
	known    int    // of how many contacts it knows something
	place    int    // in crowd.present
	state    state

	at    int64 // of the last CONNACK
	ready int64 // of the last SUBACK
	ended int64 // when the last connection ended
	since int64 // from when on others must see it as present
}

// stage is how far a crowd is.
type stage uint8

const (
	gathering stage = iota // users connect
	settling               // they learn of each other
	churning               // they come and go
	parting                // nobody does any more: what is known becomes true
	over
)

// crowd is the users of an Online, and what they know of each other. See
// driven.
type crowd struct {
	o         *Online
	prefix    string // of ids
	users     []onlineUser
	rooms     [][]int
	subscribe []byte
	random    *rand.Rand
	ports

	stage     stage
	began     int64 // the stage
	progress  int64 // when something came the last time
	next      int   // who connects next, while they gather
	gathered  int
	present   []int // who is there
	complete  int   // how many of them know of all their contacts
	returns   wheel
	leaves    uint64 // all who have left
	from, to  int64  // what is measured
	marked    int    // windows that are over
	marks     chan window
	checked   int64 // when the views were looked at the last time
	checkNext int   // whose are next

	connecting, settled int64 // what those stages took
	failed              error
	broken              []error
	counts              counts
	total               [latencies]histogram
	recent              [latencies]histogram // of this window
}

// counts are those of the measured time.
type counts struct {
	left, returned, swallowed, deliveries uint64
	looked, wrong, wrongEnd               uint64
}

// The latencies that are measured.
const (
	toOnline = iota
	toOffline
	toSnapshot
	latencies
)

// window is a part of the measured time.
type window struct {
	at              int64 // its end
	connected       int
	deliveries      uint64 // so far
	wrong           uint64
	online, offline Latency
}

func (c *crowd) start(now int64) { c.began, c.progress = now, now }

func (c *crowd) finished() bool { return c.stage == over }

func (c *crowd) exact() bool { return false }

func (c *crowd) wake(now int64) int64 { return now + int64(5*time.Millisecond) }

func (c *crowd) tick(now int64) {
	switch c.stage {
	case gathering:
		c.gather(now)
	case settling:
		if c.complete == c.gathered || now-c.progress > int64(c.o.patient) {
			c.settled = now - c.began
			c.from = now + int64(c.o.warm)
			c.to = c.from + int64(c.o.Measure)
			c.returns.now, c.checked = now, now
			c.enter(churning, now)
		}
	case churning:
		c.churn(now)
		c.mark(now)
		c.lookOn(now)
		if now >= c.to {
			c.checked = now
			c.enter(parting, now)
		}
	case parting:
		c.part(now)
	}
}

func (c *crowd) enter(s stage, now int64) { c.stage, c.began, c.progress = s, now, now }

// gather has some connect at the same time until all are there.
func (c *crowd) gather(now int64) {
	for ; c.next < len(c.users) && c.next-c.gathered < atOnce; c.next++ {
		c.come(&c.users[c.next])
	}
	switch {
	case c.gathered == len(c.users):
		c.connecting = now - c.began
		c.enter(settling, now)
	case len(c.broken) > 0:
		c.fail(c.broken[0])
	case now-c.progress > int64(c.o.patient):
		c.fail(fmt.Errorf("%d users are connected, and no more come", c.gathered))
	}
}

func (c *crowd) fail(err error) { c.stage, c.failed = over, err }

// churn lets come and go who is due. First come: who goes now comes back in
// another tick, on a connection of its own.
func (c *crowd) churn(now int64) {
	for _, n := range c.returns.due(now) {
		if u := &c.users[n]; u.state == away {
			c.come(u)
		}
	}
	for due := uint64(float64(now-c.began) * c.o.Churn / 1e9); c.leaves < due && len(c.present) > 0; {
		u := &c.users[c.present[c.random.IntN(len(c.present))]]
		c.leave(u, now, c.leaves%2 == 0)
		// Ten times the average is long enough for anybody.
		wait := min(c.random.ExpFloat64(), 10) * awayGraces * float64(c.o.grace)
		c.returns.add(now+int64(wait), u.index)
		c.leaves++
		if c.measures(now) {
			c.counts.left++
		}
	}
}

func (c *crowd) measures(now int64) bool {
	return c.stage == churning && now >= c.from && now < c.to
}

// come has a user connect.
func (c *crowd) come(u *onlineUser) {
	u.state, u.out = coming, append(u.out[:0], u.login...)
	c.opens = append(c.opens, &u.conn)
}

// leave ends a user's connection.
func (c *crowd) leave(u *onlineUser, now int64, cut bool) {
	if !cut {
		u.out = append(u.out, wire.TypeDisconnect<<4, 0)
		c.queue(&u.conn)
	}
	c.gone(u, now, cut)
}

// gone is when a connection has ended: what its user knew is forgotten.
func (c *crowd) gone(u *onlineUser, now int64, cut bool) {
	c.ends = append(c.ends, ending{&u.conn, cut})
	if u.state == there {
		last := len(c.present) - 1
		moved := c.present[last]
		c.present[u.place], c.users[moved].place = moved, u.place
		c.present = c.present[:last]
	}
	if u.known == len(u.contacts) {
		c.complete--
	}
	if u.state >= joining {
		u.ended = now
	}
	u.state, u.known = away, 0
	clear(u.views)
}

// lost is a connection that the server ended.
func (c *crowd) lost(of *conn, err error) {
	u := &c.users[of.index]
	if of.dead {
		return
	}
	of.dead = true
	if u.state != coming {
		err = fmt.Errorf("%w, %v after its CONNACK", err, time.Duration(c.progress-u.at).Round(time.Millisecond))
	}
	c.broken = append(c.broken, err)
	c.gone(u, c.progress, true)
}

// mark ends a window of the measured time. It never waits: there is room for
// all.
func (c *crowd) mark(now int64) {
	for c.marked <= windows && now >= c.from+(c.to-c.from)*int64(c.marked)/windows {
		c.marked++
		c.marks <- window{at: now, connected: len(c.present), deliveries: c.counts.deliveries, wrong: c.counts.wrong,
			online: c.recent[toOnline].latency(), offline: c.recent[toOffline].latency()}
		c.recent = [latencies]histogram{}
	}
}

// part waits until everybody knows how all others are now.
func (c *crowd) part(now int64) {
	const often = int64(100 * time.Millisecond)
	if now-c.began < int64(c.o.grace) || now-c.checked < often {
		return
	}
	c.checked = now
	wrong := uint64(0)
	for n := range c.users {
		wrong += c.look(&c.users[n], now, 0)
	}
	if wrong == 0 || now-c.began > int64(c.o.grace+c.o.slack) {
		c.counts.wrongEnd = wrong
		c.stage = over
	}
}

func (c *crowd) result() *OnlineResult {
	r := &OnlineResult{Users: len(c.users), Connecting: time.Duration(c.connecting).Seconds(),
		Settling: time.Duration(c.settled).Seconds(), Seconds: c.o.Measure.Seconds(),
		Left: c.counts.left, Returned: c.counts.returned, Swallowed: c.counts.swallowed,
		Deliveries: float64(c.counts.deliveries) / c.o.Measure.Seconds(),
		Online:     c.total[toOnline].latency(), Offline: c.total[toOffline].latency(),
		Snapshot: c.total[toSnapshot].latency(),
		Looked:   c.counts.looked, Wrong: c.counts.wrong, WrongEnd: c.counts.wrongEnd}
	for n := range c.users {
		r.Contacts += float64(len(c.users[n].contacts)) / float64(len(c.users))
	}
	for _, err := range c.broken {
		r.Broken = append(r.Broken, err.Error())
	}
	return r
}

var errRefused = errors.New("the server refused the subscriptions")

// wheel is who comes back when, to some ms.
type wheel struct {
	slots [4096][]int
	now   int64
	out   []int
}

const wheelStep = int64(10 * time.Millisecond)

// add has someone be due at a time. What is further away than the wheel is
// large is due earlier.
func (w *wheel) add(at int64, who int) {
	const most = int64(len(w.slots) - 1)
	step := min(max(at/wheelStep, w.now/wheelStep+1), w.now/wheelStep+most)
	slot := &w.slots[step%int64(len(w.slots))]
	*slot = append(*slot, who)
}

// due is who is due until now.
func (w *wheel) due(now int64) []int {
	w.out = w.out[:0]
	for w.now/wheelStep < now/wheelStep {
		w.now += wheelStep
		slot := &w.slots[w.now/wheelStep%int64(len(w.slots))]
		w.out = append(w.out, *slot...)
		*slot = (*slot)[:0]
	}
	return w.out
}
