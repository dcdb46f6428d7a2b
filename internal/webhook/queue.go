package webhook

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// job is a conversation that has something to tell, or may have.
type job struct {
	stream chat.StreamID

	// The worker's that has the job.
	seq     uint64    // the entry at hand
	told    int       // how many of its events were told
	refused time.Time // when the endpoint first refused the next of them

	// The queue's.
	state  state
	again  bool      // there may be news since it was taken
	ended  bool      // the conversation was deleted since it was taken
	place  uint64    // told up to here, 0 where that is not known
	head   uint64    // the conversation reaches to here, as far as is known
	since  time.Time // when the oldest entry that is not told was committed; zero where that is not known
	tries  int       // that failed, one after the other
	series uint64    // in which it last found the endpoint out of reach
	due    time.Time // of the next try
	at     int       // index in waiting
}

type state uint8

const (
	ready   state = iota // for a worker
	running              // a worker has it
	waiting              // for its next try
)

// end says how the run of a job ended.
type end struct {
	how   how
	after time.Duration // the endpoint asked for so much time
}

type how uint8

const (
	caughtUp    how = iota // there is nothing more to tell
	more                   // there is
	unreachable            // the endpoint gave no answer, or none about the event
	refused                // the endpoint does not take the event
	broken                 // the store does not answer
)

// outage is how many conversations in a row, all different, must find the
// endpoint out of reach until it counts as down: then one try at a time goes
// out, after a pause for all. Fewer may each have an event that the endpoint
// cannot digest, and hold up themselves alone.
const outage = 3

// maxPause bounds the pause for all. It is shorter than the one of a
// conversation may get: one try a minute tells soon enough that the endpoint
// is back, and costs nothing.
const maxPause = time.Minute

// maxAfter bounds what Retry-After may ask for.
const maxAfter = time.Hour

// queue holds who has something to tell. It holds conversations, never what
// they say, and no more than there is room for.
type queue struct {
	min, max time.Duration // between two tries
	most     int           // jobs
	room     chan struct{} // told when there is room again for those that were left out

	mu      sync.Mutex
	cond    *sync.Cond // something is ready, or closed
	jobs    map[chat.StreamID]*job
	ready   []*job
	waiting heapOfJobs
	running int
	leftOut bool
	closed  bool
	spare   []*job
	timer   *time.Timer

	down     int       // different conversations that found the endpoint out of reach, one after the other
	series   uint64    // counts the times that the endpoint answered after that
	paused   time.Time // nothing is sent before, unless the endpoint answers
	held     time.Time // nothing is sent before: the endpoint asked for that
	pausedAt time.Time // when the last pause for all began
}

func newQueue(cfg Config) *queue {
	q := &queue{min: cfg.BackoffMin, max: cfg.BackoffMax, most: cfg.Pending,
		room: make(chan struct{}, 1), jobs: make(map[chat.StreamID]*job), series: 1}
	q.cond = sync.NewCond(&q.mu)
	q.timer = time.AfterFunc(time.Hour, q.tick)
	q.timer.Stop()
	return q
}

// hint says that a stream was appended to. Commits wait for it.
func (q *queue) hint(stream chat.StreamID, seq uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j := q.jobs[stream]; j != nil {
		j.head, j.again = max(j.head, seq), true
		return
	}
	if j := q.add(stream); j != nil {
		j.place, j.head, j.since = seq-1, seq, time.Now()
	}
}

// found says that the store knows a stream to be behind; false when there is
// no room.
func (q *queue) found(p bridge.WebhookPlace) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := q.jobs[p.Stream]
	if j != nil {
		j.head, j.again = max(j.head, p.Head), true
		return true
	}
	if j = q.add(p.Stream); j != nil {
		j.place, j.head = p.Seq, p.Head
	}
	return j != nil
}

// add makes a job, or notes that one was left out. q.mu is held.
func (q *queue) add(stream chat.StreamID) *job {
	if q.closed || len(q.jobs) >= q.most {
		q.leftOut = true
		return nil
	}
	var j *job
	if n := len(q.spare); n > 0 {
		j, q.spare = q.spare[n-1], q.spare[:n-1]
	} else {
		j = new(job)
	}
	*j = job{stream: stream}
	q.jobs[stream] = j
	q.push(j)
	return j
}

// push makes a job ready. q.mu is held.
func (q *queue) push(j *job) {
	j.state = ready
	q.ready = append(q.ready, j)
	q.cond.Signal()
}

// end forgets a stream that was deleted. Another of its name may begin.
func (q *queue) end(stream chat.StreamID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := q.jobs[stream]
	if j == nil {
		return
	}
	j.ended, j.again = true, false
	j.place, j.head, j.since = 0, 0, time.Time{}
	if j.state == waiting {
		heap.Remove(&q.waiting, j.at)
		j.tries = 0
		q.push(j) // whoever takes it finds nothing
	}
}

// take waits for a job and answers it, nil when all ends.
func (q *queue) take() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed {
		if len(q.ready) > 0 && q.open(time.Now()) {
			j := q.ready[0]
			q.ready[0] = nil
			q.ready = q.ready[1:]
			j.state, j.again = running, false
			if j.ended {
				j.ended, j.seq, j.told, j.refused, j.tries = false, 0, 0, time.Time{}, 0
			}
			q.running++
			return j
		}
		q.cond.Wait()
	}
	return nil
}

// open reports whether something may be sent. q.mu is held.
func (q *queue) open(now time.Time) bool {
	return !now.Before(later(q.paused, q.held)) && (q.down < outage || q.running == 0)
}

// at notes which entry a job is about to tell.
func (q *queue) at(j *job, seq uint64, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !j.ended {
		j.place, j.head, j.since = seq-1, max(j.head, seq), since
	}
}

// over reports whether the conversation of a job was deleted since it was
// taken.
func (q *queue) over(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return j.ended
}

// reached notes that the endpoint has answered what a job sent; took says
// that it took it. If it was down, those that wait for it go on.
func (q *queue) reached(j *job, took bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if took {
		j.tries = 0
	}
	if q.down == 0 {
		return
	}
	if q.down >= outage {
		still := q.waiting[:0]
		for _, w := range q.waiting {
			if w.series == q.series {
				q.push(w)
			} else {
				w.at = len(still)
				still = append(still, w)
			}
		}
		clear(q.waiting[len(still):])
		q.waiting = still
		heap.Init(&q.waiting)
	}
	q.down, q.paused = 0, time.Time{}
	q.series++
	q.cond.Broadcast()
}

// done takes a job back. began is when its last try began.
func (q *queue) done(j *job, e end, began time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.running--
	if q.down >= outage {
		q.cond.Signal() // who waits for running to be 0
	}
	switch {
	case e.how == unreachable && !j.ended:
		q.missed(j, e, began, now)
		q.wait(j, e, now)
	case (e.how == refused || e.how == broken) && !j.ended:
		q.wait(j, e, now)
	case e.how == more || j.again || j.ended:
		if e.how == caughtUp {
			j.since = now // of what came since, as good as
		}
		q.push(j)
	default:
		q.drop(j)
	}
	q.arm(now)
}

// missed counts those that found the endpoint out of reach. What was under way
// when the pause began says nothing new. q.mu is held.
func (q *queue) missed(j *job, e end, began, now time.Time) {
	late := q.down >= outage && began.Before(q.pausedAt)
	if j.series != q.series && !late {
		q.down++
	}
	j.series = q.series
	if e.after > 0 {
		q.held = later(q.held, now.Add(min(e.after, maxAfter)))
	}
	if q.down >= outage && !late {
		pause := backoff(q.min, min(q.max, maxPause), q.down-outage+1)
		q.paused, q.pausedAt = later(q.paused, now.Add(pause)), now
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wait puts a job off. q.mu is held.
func (q *queue) wait(j *job, e end, now time.Time) {
	j.tries++
	j.state, j.due = waiting, now.Add(max(backoff(q.min, q.max, j.tries), min(e.after, maxAfter)))
	heap.Push(&q.waiting, j)
}

// backoff is the time after so many tries: each twice the last, up to most,
// and up to half less, so that many do not come at once.
func backoff(least, most time.Duration, tries int) time.Duration {
	d := most
	if tries < 20 {
		d = min(most, least<<(tries-1))
	}
	return d - rand.N(d/2+1) //nolint:gosec // spreads load, keeps no secret
}

// drop forgets a job that is caught up. q.mu is held.
func (q *queue) drop(j *job) {
	delete(q.jobs, j.stream)
	if len(q.spare) < 64 {
		q.spare = append(q.spare, j)
	}
	if q.leftOut && len(q.jobs) <= q.most/2 {
		q.leftOut = false
		select {
		case q.room <- struct{}{}:
		default:
		}
	}
}

// tick makes those ready whose time has come.
func (q *queue) tick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(q.waiting) > 0 && !q.waiting[0].due.After(now) {
		j, _ := heap.Pop(&q.waiting).(*job)
		q.push(j)
	}
	q.cond.Broadcast()
	q.arm(now)
}

// arm sets the timer to what comes next. q.mu is held.
func (q *queue) arm(now time.Time) {
	var next time.Time
	if len(q.waiting) > 0 {
		next = q.waiting[0].due
	}
	if open := later(q.paused, q.held); open.After(now) && (next.IsZero() || open.Before(next)) {
		next = open
	}
	if !next.IsZero() && !q.closed {
		q.timer.Reset(max(next.Sub(now), time.Millisecond))
	}
}

// close lets every take end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.timer.Stop()
	q.cond.Broadcast()
}

// lag is the number of entries that are not told, and the time of the oldest,
// as far as is known here.
func (q *queue) lag() (entries uint64, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.jobs {
		if j.head > j.place {
			entries += j.head - j.place
		}
		if !j.since.IsZero() && (oldest.IsZero() || j.since.Before(oldest)) {
			oldest = j.since
		}
	}
	return entries, oldest
}

// heapOfJobs has the job first whose next try is due first.
type heapOfJobs []*job

func (h heapOfJobs) Len() int           { return len(h) }
func (h heapOfJobs) Less(a, b int) bool { return h[a].due.Before(h[b].due) }
func (h heapOfJobs) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].at, h[b].at = a, b
}

func (h *heapOfJobs) Push(x any) {
	j, _ := x.(*job)
	j.at = len(*h)
	*h = append(*h, j)
}

func (h *heapOfJobs) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return j
}
