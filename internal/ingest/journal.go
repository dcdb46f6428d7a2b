package ingest

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// A journal binds the packet identifiers of the source's session to messages,
// so that a message that comes again has the same clientId, and an equal one
// that is new has another. Nothing is written here before its binding is on
// disk. docs/decisions/0009-bridge.md says why it is so.
//
// A binding lives until the source has let go of the identifier:
//
//	bind ──▶ (written here) ──▶ done ──▶ ended ──▶ confirmed
//
// ended is when we have told the source: at QoS 1 with PUBACK, at QoS 2 when
// PUBREL was answered. The source may not have heard it. A PINGRESP to a
// PINGREQ that was sent behind says that it has.
//
// Most sources count identifiers up, and take none again before they have used
// all. Of them, what is confirmed is kept for a while: one that is killed and
// goes back to what it had on disk sends it again.
type journal struct {
	mu       sync.Mutex
	live     map[uint16]*binding
	next     uint64 // the number of the next message
	instance string // what all clientIds of this journal begin with
	// window is the largest Receive Maximum that the session ever had. A
	// source that takes the lowest free identifier never goes on to one above.
	window  uint16
	last    uint16   // the identifier of the last new message
	place   int      // how far the identifiers have gone, up and down
	highest int      // the highest place
	filters []string // what the session is subscribed to
	fresh   uint64   // the last link on which a new message came
	caught  uint64   // the last link on which the source had nothing left to send
	file    *journalFile
}

// binding is what is known of a packet identifier that is in use.
type binding struct {
	n      uint64 // the number of the message, never used again
	digest digest
	qos    byte
	done   bool   // it stands here, or was refused for good
	ended  uint64 // the link on which it ended; 0: it did not
	item   *item  // while it is in memory
}

// beforeStart is the link of what may have ended in an earlier process.
const beforeStart = 1

// bind says which message a PUBLISH with this identifier is, as it comes on
// a link. fresh is true for one that was never seen.
func (j *journal) bind(link uint64, id uint16, qos byte, dup bool, d digest) (b *binding, fresh bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if b = j.live[id]; b != nil && b.digest == d && b.qos == qos && j.again(b, link, id, dup) {
		if b.ended != 0 && qos == 2 {
			j.file.bind(id, b) // as one that is not released
		}
		b.ended = 0 // it will end again
		return b, false
	}
	if !dup && j.fresh != link && !j.counting() {
		j.settle(link) // what is sent again is sent before what is new
	}
	j.fresh = link
	b = &binding{n: j.next, digest: d, qos: qos}
	j.next++
	j.live[id] = b
	j.count(id)
	j.file.bind(id, b)
	return b, true
}

// again decides whether a PUBLISH is a bound message once more. Topic and
// payload are the same.
func (j *journal) again(b *binding, link uint64, id uint16, dup bool) bool {
	switch {
	case b.ended == 0:
		return true // the identifier was never given back
	case b.ended == link:
		return dup // it was given back here, in this very session
	case j.counting():
		return j.caught != link && j.next-b.n < cycle
	case b.qos == 2:
		return false // PUBREL said that the source had let go
	default:
		return dup // what it sends again, it marks ([MQTT-3.3.1-1])
	}
}

// forgetSession is for a source that has no memory of us.
func (j *journal) forgetSession() {
	clear(j.live)
	j.window, j.filters = 0, nil
	j.last, j.place, j.highest = 0, 0, 0
}

// cycle is how many messages may come before a source that counts up may have
// begun again: less than there are.
const cycle = 1 << 14

// near is how far apart the identifiers of two messages in a row may be, in a
// source that counts up and does not always keep to the order.
const near = 1 << 12

// count notes the identifier of a new message.
func (j *journal) count(id uint16) {
	const all = 1<<16 - 1 // there is no 0
	step := (int(id) - int(j.last) + all) % all
	if step > all/2 {
		step -= all
	}
	if j.last = id; max(step, -step) > near {
		j.place, j.highest = 0, 0
		return
	}
	j.place += step
	j.highest = max(j.highest, j.place)
}

// counting says whether the source counts identifiers up. One that takes the
// lowest free one never gets further than the window, and one that takes any
// jumps.
func (j *journal) counting() bool { return j.highest > int(j.window) }

// settle forgets what ended on earlier links.
func (j *journal) settle(link uint64) {
	for id, b := range j.live {
		if b.ended != 0 && b.ended < link {
			j.drop(id, b)
		}
	}
}

func (j *journal) drop(id uint16, b *binding) {
	delete(j.live, id)
	j.file.forget(id)
}

// caughtUp notes that the source has nothing left to send on a link but what
// is new.
func (j *journal) caughtUp(link uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.caught == link {
		return
	}
	j.caught = link
	if !j.counting() {
		j.settle(link)
	}
}

// clientID is that of the message with a number.
func (j *journal) clientID(n uint64) string { return j.instance + "." + strconv.FormatUint(n, 36) }

// done notes that a message is where it belongs.
func (j *journal) done(id uint16, b *binding) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b.item = nil
	if b.done {
		return
	}
	b.done = true
	if j.live[id] == b {
		j.file.done(id)
	}
}

// end notes that the source is told on a link that it may let go.
func (j *journal) end(link uint64, id uint16, b *binding) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b.ended = link
}

// release notes a PUBREL. From the next sync on the identifier is free.
func (j *journal) release(link uint64, id uint16) *binding {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.live[id]
	if b == nil || b.qos != 2 || b.ended != 0 {
		return nil
	}
	b.ended = link
	j.file.released(id)
	return b
}

// confirm forgets a binding of which the source has let go.
func (j *journal) confirm(link uint64, id uint16, b *binding) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.live[id] != b || b.ended != link || j.counting() {
		return // it came again, or another has its place, or it is kept
	}
	j.drop(id, b)
}

// connected notes a session of the source. One that is new has no past: what
// was bound is answered as lost.
func (j *journal) connected(present bool, window uint16) (lost int, err error) {
	j.mu.Lock()
	if !present {
		lost = len(j.live)
		j.forgetSession()
		j.file.reset()
	}
	if window > j.window {
		j.window = window
		j.file.window(window)
	}
	j.mu.Unlock()
	return lost, j.flush()
}

// subscribing notes what the session is to be subscribed to, and answers what
// it was subscribed to beyond that.
func (j *journal) subscribing(filters []string) (gone []string, err error) {
	j.mu.Lock()
	for _, old := range j.filters {
		if !slices.Contains(filters, old) {
			gone = append(gone, old)
		}
	}
	// Both, until the old ones are given up.
	if j.filters = slices.Concat(filters, gone); len(j.filters) > 0 {
		j.file.filters(j.filters)
	}
	j.mu.Unlock()
	return gone, j.flush()
}

// subscribed notes that the session is subscribed to this and nothing else.
func (j *journal) subscribed(filters []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.filters = filters
	j.file.filters(filters)
}

// flush makes durable what was noted before it was called. One that failed
// may be tried again: nothing is forgotten.
func (j *journal) flush() error {
	j.file.io.Lock()
	defer j.file.io.Unlock()
	j.mu.Lock()
	lines, whole := j.file.take(j)
	j.mu.Unlock()
	return j.file.write(lines, whole)
}

// bindings is how many identifiers are bound.
func (j *journal) bindings() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.live)
}

func (j *journal) close() error {
	err := j.flush()
	if closeErr := j.file.close(); err == nil {
		err = closeErr
	}
	return err
}

// openJournal opens the journal at a path, or begins one. Its session is the
// source's address and client id: a journal of another one is not used.
func openJournal(path, session string) (*journal, error) {
	j := &journal{live: make(map[uint16]*binding)}
	var err error
	if j.file, err = openJournalFile(path, session, j); err != nil {
		return nil, fmt.Errorf("the journal %s: %w", path, err)
	}
	return j, nil
}
