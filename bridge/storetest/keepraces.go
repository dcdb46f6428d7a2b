package storetest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

var keepRaceTests = []test{
	{"Orders", raceKeepOrders},
	{"Sweep", raceKeepSweep},
	{"Delete", raceKeepDelete},
	{"Retained", raceRetained},
}

// raceKeepOrders: calls that name the same things in other orders all go
// through.
func raceKeepOrders(e *env) {
	const rounds, names = 15, 8
	var keys []bridge.SessionKey
	for i := range names {
		keys = append(keys, sessionKey(alice, fmt.Sprint(i)))
	}
	e.durable(keys...)
	e.together(4, func(e *env, w int) {
		for round := range rounds {
			var c bridge.Changes
			for i := range names {
				if w%2 == 1 {
					i = names - 1 - i
				}
				m := e.newMessage(fmt.Sprint("t", i), []string{"x", ""}[(w+round+i)%2])
				n := uint64(w*1000 + round)
				c.Messages, c.Retained = append(c.Messages, m), append(c.Retained, m)
				c.Deliveries = append(c.Deliveries, deliveryOf(keys[i], n, m))
				c.Done = append(c.Done, nameOf(keys[i], n-1)...)
				c.Released = append(c.Released, nameOf(keys[i], uint64((w+1)%4*1000+round))...)
				c.Received = append(c.Received, receivedAt(keys[i], uint16(1+(round+w)%3), fmt.Sprint(w)))
				c.Forgotten = append(c.Forgotten, receivedAt(keys[i], uint16(4+(round+w)%3), ""))
				c.Sent = append(c.Sent, bridge.SentMark{Key: keys[i], N: n})
				if (w+round+i)%2 == 0 {
					c.Wills = append(c.Wills, e.newWill(keys[i], "w"))
				} else {
					c.NoWills = append(c.NoWills, keys[i])
				}
			}
			if err := e.tryKeep(c); err != nil {
				e.Errorf("keep: %v", err)
				return
			}
		}
	})
	for _, key := range keys {
		equal(e, len(e.queued(key)), 4, "deliveries of %v: the last of each", key)
	}
}

// raceKeepSweep: while others sweep, no delivery is without its message, also
// where a message comes again that could have been swept at that moment.
func raceKeepSweep(e *env) {
	const writers, rounds = 4, 25
	var keys []bridge.SessionKey
	for w := range writers {
		keys = append(keys, sessionKey(alice, fmt.Sprint(w)), sessionKey(bob, fmt.Sprint(w)))
	}
	e.durable(keys...)
	var writing sync.WaitGroup
	var over atomic.Bool
	writing.Add(writers)
	go func() { writing.Wait(); over.Store(true) }()
	e.together(writers+2, func(e *env, w int) {
		if w >= writers {
			for !over.Load() {
				err := again(func() error { _, err := e.s.SweepMessages(e.ctx, time.UnixMilli(0), 3); return err })
				if err != nil {
					e.Errorf("sweep: %v", err)
				}
			}
			return
		}
		defer writing.Done()
		from, to := keys[2*w], keys[2*w+1]
		for n := uint64(1); n <= rounds; n++ {
			m := e.newMessage("a", "x")
			again := []*bridge.Message{m}
			for step, c := range []bridge.Changes{
				{Messages: again, Deliveries: []bridge.Delivery{deliveryOf(from, n, m)}},
				{Messages: again, Deliveries: []bridge.Delivery{deliveryOf(to, n, m)}, Done: nameOf(from, n)}, // it moves
				{Released: nameOf(to, n)},
				{Messages: again, Deliveries: []bridge.Delivery{deliveryOf(from, n, m)}, Done: nameOf(to, n)}, // it comes again
				{Done: nameOf(from, n)},
				{Messages: again, Deliveries: []bridge.Delivery{deliveryOf(to, n, m)}},
			} {
				if err := e.tryKeep(c); err != nil {
					e.Errorf("keep: %v", err)
					return
				}
				got, err := e.s.Queued(e.ctx, []bridge.QueueRange{{Key: from, After: n - 1, Limit: 9}, {Key: to, After: n - 1, Limit: 9}})
				if err != nil {
					e.Errorf("queued: %v", err)
					return
				}
				for _, d := range slices.Concat(got...) {
					if !d.Released && d.Message == nil {
						e.Errorf("step %d: delivery %d of %v has no message", step, d.N, d.Key)
					}
				}
			}
		}
	})
	for w := range writers {
		to := e.queued(keys[2*w+1])
		equal(e, len(to), rounds, "deliveries in the end")
		for _, d := range to {
			if d.Message == nil {
				e.Errorf("delivery %d of %v has no message", d.N, d.Key)
			}
		}
		e.ok(again(func() error { return e.s.DeleteSession(e.ctx, keys[2*w+1]) }), "delete")
	}
	// Nothing was forgotten.
	e.sweep(0, writers*rounds)
}

// raceKeepDelete: while sessions come and go, nothing of one that went is in
// the next, and every message can be swept in the end.
func raceKeepDelete(e *env) {
	const rounds = 20
	keys := []bridge.SessionKey{sessionKey(alice, "1"), sessionKey(alice, "2"), sessionKey(bob, "1")}
	e.durable(keys...)
	var kept, swept atomic.Int64
	e.together(4, func(e *env, w int) {
		for round := range rounds {
			key := keys[round%len(keys)]
			var err error
			switch w {
			case 0:
				s := bridge.Session{Key: key, Expiry: 1, EndedAt: e.tick()}
				err = again(func() error { return e.s.DeleteSession(e.ctx, key) })
				if err == nil {
					err = again(func() error { return e.s.SaveSession(e.ctx, s) })
				}
				if err == nil {
					err = again(func() error { _, err := e.s.SweepSessions(e.ctx, e.tick().Add(time.Minute), 1); return err })
				}
			case 1:
				err = again(func() error {
					got, err := e.s.SweepMessages(e.ctx, time.UnixMilli(0), 5)
					swept.Add(int64(got.Messages))
					return err
				})
			default:
				m := e.newMessage("a", "x")
				c := bridge.Changes{Messages: []*bridge.Message{m}}
				for _, key := range keys {
					n := uint64(w*1000 + round)
					c.Deliveries = append(c.Deliveries, deliveryOf(key, n, m))
					c.Done = append(c.Done, nameOf(key, n-1)...)
					c.Received = append(c.Received, receivedAt(key, uint16(n), ""))
					c.Sent = append(c.Sent, bridge.SentMark{Key: key, N: n})
				}
				kept.Add(1)
				err = e.tryKeep(c)
			}
			if err != nil {
				e.Errorf("worker %d: %v", w, err)
				return
			}
		}
	})
	for _, key := range keys {
		e.ok(again(func() error { return e.s.DeleteSession(e.ctx, key) }), "delete")
	}
	e.sweep(0, int(kept.Load()-swept.Load()))
	e.durable(keys...)
	for _, key := range keys {
		e.wantQueued(key, nil, "a new session")
		equal(e, e.queue(key).Sent, 0, "Sent of a new session")
		equal(e, len(e.session(key).Received), 0, "Received of a new session")
	}
}

// raceRetained: who reads while others write sees for each topic one message
// or none, whole and in order; what was kept is seen at once; and the count is
// right in the end.
func raceRetained(e *env) {
	const rounds = 20
	topics := []string{"a", "b", "c", "d"}
	e.together(4, func(e *env, w int) {
		for round := range rounds {
			own := topics[w]
			m := e.newMessage(own, fmt.Sprint(w))
			if round%3 == 2 {
				m.Payload = nil
			}
			if err := e.tryKeep(bridge.Changes{Retained: []*bridge.Message{m}}); err != nil {
				e.Errorf("keep: %v", err)
				return
			}
			got, err := e.s.Retained(e.ctx, time.UnixMilli(0), "", "", lots)
			if err != nil {
				e.Errorf("retained: %v", err)
				return
			}
			seen := map[string]string{}
			last := ""
			for i := range got {
				if got[i].Topic <= last {
					e.Errorf("%q came after %q", got[i].Topic, last)
				}
				last = got[i].Topic
				seen[last] = string(got[i].Payload)
			}
			if got, stands := seen[own]; stands != (m.Payload != nil) || got != string(m.Payload) {
				e.Errorf("what was kept is not to be read: %v", maps.Clone(seen))
			}
		}
	})
	count, _, err := e.s.CountRetained(e.ctx)
	e.ok(err, "count")
	equal(e, int(count), len(e.retained("", "")), "count")
}

// --- crash

// childKeeps keeps changes for one session for ever and prints the number of
// each that was acknowledged. Each changes everything that there is.
func childKeeps(s bridge.Store, out *sync.Mutex, lane int, first uint64) {
	key := sessionKey(alice, fmt.Sprint(lane))
	for n := first; ; n++ {
		c := keepStep(key, n)
		if err := again(func() error { return s.Keep(context.Background(), &c) }); err != nil {
			fmt.Fprintln(os.Stderr, "keep:", err)
			return
		}
		out.Lock()
		_, err := fmt.Println(lane, n)
		out.Unlock()
		if err != nil {
			return // the parent is gone
		}
	}
}

// keepStep is the step n: after it, the number n is everywhere, and that of
// the step before nowhere.
func keepStep(key bridge.SessionKey, n uint64) bridge.Changes {
	text := fmt.Sprint(n)
	m := &bridge.Message{ID: newID(), Topic: key.ClientID, Payload: []byte(text), Published: time.Now()}
	w := bridge.Will{Key: key, Message: *m}
	w.Published = time.Time{}
	return bridge.Changes{Messages: []*bridge.Message{m}, Deliveries: []bridge.Delivery{deliveryOf(key, n, m)}, Done: nameOf(key, n-1),
		Retained: []*bridge.Message{m}, Received: []bridge.ReceivedAt{receivedAt(key, uint16(n), text)},
		Forgotten: []bridge.ReceivedAt{receivedAt(key, uint16(n-1), "")}, Wills: []bridge.Will{w}, Sent: []bridge.SentMark{{Key: key, N: n}}}
}

// stepOf answers at which step a session is, and wants all parts of it and of
// no other. A server may still commit what the child had sent: what is read
// first is read again last, until it has not changed meanwhile.
func (e *env) stepOf(key bridge.SessionKey) uint64 {
	e.Helper()
	for {
		before, got := e.queue(key).Sent, []string{}
		for _, d := range e.queued(key) {
			got = append(got, fmt.Sprint(d.N), string(d.Message.Payload))
		}
		for _, m := range e.retained(key.ClientID, key.ClientID+"\x00") {
			got = append(got, string(m.Payload))
		}
		for _, r := range e.session(key).Received {
			got = append(got, r.ClientID)
		}
		for _, w := range e.wills() {
			if w.Key == key {
				got = append(got, string(w.Payload))
			}
		}
		if e.queue(key).Sent != before {
			continue
		}
		want := []string{}
		if before > 0 {
			want = slices.Repeat([]string{fmt.Sprint(before)}, 5)
		}
		equal(e, got, want, "the parts of step %d", before)
		return before
	}
}

// crashKeep kills a child while it keeps, several times, and wants all that
// was acknowledged to stand, and each call whole.
func crashKeep(e *env) {
	keys := []bridge.SessionKey{}
	for lane := range crashLanes {
		keys = append(keys, sessionKey(alice, fmt.Sprint(lane)))
	}
	e.durable(keys...)
	for round := range crashRounds {
		first := uint64(1)
		for _, key := range keys {
			first = max(first, e.stepOf(key)+1)
		}
		for _, key := range keys { // both lanes begin at one number
			if c := keepStep(key, first); e.queue(key).Sent < first {
				c.Done = nameOf(key, e.queue(key).Sent)
				c.Forgotten[0].PacketID = uint16(e.queue(key).Sent)
				e.keep(c)
			}
		}
		e.ok(e.s.Close(), "close")
		acked := make([]uint64, len(keys))
		for _, line := range e.killAfter(fmt.Sprint("keep ", first+1), 20+30*round) {
			var lane int
			var n uint64
			if _, err := fmt.Sscan(line, &lane, &n); err != nil {
				e.Fatalf("the child printed %q", line)
			}
			acked[lane] = max(acked[lane], n)
		}
		e.s = e.backend.Reopen(e.test, e.dsn)
		for lane, key := range keys {
			if at := e.stepOf(key); at < acked[lane] || acked[lane] > 0 && at > acked[lane]+1 {
				e.Errorf("round %d: step %d was acknowledged, %d stands", round, acked[lane], at)
			}
		}
	}
	for _, key := range keys {
		e.ok(again(func() error { return e.s.DeleteSession(e.ctx, key) }), "delete")
	}
}
