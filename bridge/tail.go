package bridge

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	maxTail      = 256       // entries kept in memory for one stream
	maxTailBytes = 256 << 10 // their contents
	itemOverhead = 400       // bytes an item costs beside what it says
	tailShards   = 64
)

// Item is an entry in memory, with room for its encoded forms, so that each
// is made once for all readers. Items are shared and never changed.
type Item struct {
	chat.Entry
	frames [Frames]atomic.Pointer[[]byte]
}

// Frames is how many encoded forms an Item can hold.
const Frames = 4

// Frame answers the encoded form number slot and makes it with encode when
// it is not there yet. Two readers may make it at once; both forms are the
// same.
func (it *Item) Frame(slot int, encode func(*chat.Entry) []byte) []byte {
	if f := it.frames[slot].Load(); f != nil {
		return *f
	}
	f := encode(&it.Entry)
	it.frames[slot].Store(&f)
	return f
}

func (it *Item) size() int {
	said := len(it.Content) + len(it.MediaURL)
	for _, m := range it.Mentions {
		said += len(m) + 8 // its header, shared by the three
	}
	if it.Notice != nil {
		said += len(it.Notice.Type) + len(it.Notice.Data) + len(it.Notice.Collapse)
	}
	return itemOverhead + 3*said
}

// Watcher is told that a stream it watches has news. Wake is called on
// goroutines of the log, with a lock held: it must not block nor call the
// Watch.
type Watcher interface{ Wake() }

// Watch follows one stream. It holds no position and no queue: its owner
// keeps a seq and reads after it.
type Watch struct {
	tail    *tail
	watcher Watcher
	at      int // index in tail.watches
	log     *Log
}

// tail holds the newest entries of a stream that somebody follows here, as a
// run without a gap. What is older, or not known yet, the store has.
type tail struct {
	stream  chat.StreamID
	touched bool // the lane's

	mu      sync.RWMutex
	items   []*Item // a run without a gap that ends at last, or empty
	bytes   int
	last    uint64 // newest seq known, 0 when none is
	first   uint64 // oldest seq that the store holds, as far as is known; nothing before it is kept
	asked   bool   // the store said since the tail began how far the stream reaches
	erased  uint64 // counts what may have been deletes: what was read before one is not kept
	over    bool   // no longer in the set of tails: keeps nothing any more
	gone    bool   // the conversation was deleted
	watches []*Watch
	total   *atomic.Int64 // bytes of all tails
}

// append makes a committed entry known. Entries may come in any order, twice,
// or not at all: a tail never holds a gap, and never goes back.
func (t *tail) append(it *Item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(it)
}

// add is append; t.mu is held.
func (t *tail) add(it *Item) {
	if t.over {
		return
	}
	if it.Type == chat.TypeDelete {
		t.erase(it.Target)
	}
	if it.Seq <= t.last {
		return
	}
	if it.Seq != t.last+1 {
		t.skip()
	}
	if len(t.items) >= maxTail || t.bytes > maxTailBytes {
		t.drop(max(1, len(t.items)/2))
	}
	t.items = append(t.items, it)
	t.grow(it.size())
	t.last = it.Seq
}

// erase takes out what a deleted message and the edits of it said.
func (t *tail) erase(target uint64) {
	t.erased++
	for i, it := range t.items {
		if it.Seq == target || it.Type == chat.TypeEdit && it.Target == target {
			t.items[i] = &Item{Entry: it.Erased()}
			t.grow(t.items[i].size() - it.size())
		}
	}
}

// learn notes that the stream reaches to head, and that the store said so
// when it was asked; true when that is news.
func (t *tail) learn(head uint64, asked bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = t.asked || asked
	if head <= t.last || t.over {
		return false
	}
	t.skip()
	t.last = head
	return true
}

// skip gives up the run because entries follow it that are not known. There
// may be a delete among them, so it counts as one.
func (t *tail) skip() {
	t.clear()
	t.erased++
}

// known answers the newest seq known and the count of deletes, to compare
// with what they are after the store was asked.
func (t *tail) known() (last, erased uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.last, t.erased
}

// fill puts entries that were read from the store in front of the run, so
// that the next reader finds them here. erased is what t.erased was before
// the store was asked.
func (t *tail) fill(items []*Item, erased uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(items) == 0 || t.erased != erased || t.over {
		return
	}
	first := t.last + 1
	if len(t.items) > 0 {
		first = t.items[0].Seq
	}
	n, bytes := 0, 0
	for i := len(items) - 1; i >= 0 && len(t.items)+n < maxTail/2 && t.bytes+bytes < maxTailBytes/2; i-- {
		n, bytes = n+1, bytes+items[i].size()
	}
	if n == 0 || items[len(items)-1].Seq+1 != first {
		return
	}
	t.items = append(append(make([]*Item, 0, n+len(t.items)), items[len(items)-n:]...), t.items...)
	t.grow(bytes)
}

func (t *tail) grow(n int) {
	t.bytes += n
	t.total.Add(int64(n))
}

func (t *tail) clear() { t.drop(len(t.items)) }

// drop takes out the oldest n.
func (t *tail) drop(n int) {
	for _, it := range t.items[:n] {
		t.grow(-it.size())
	}
	kept := copy(t.items, t.items[n:])
	clear(t.items[kept:])
	t.items = t.items[:kept]
}

func (t *tail) wakeAll() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, w := range t.watches {
		w.watcher.Wake()
	}
}

// Where says where the entries after a seq are.
type Where int

// Answers of Watch.Read.
const (
	CaughtUp Where = iota // there are none yet: Wake will tell
	InTail                // here they are
	InStore               // ask Log.Read
	Gone                  // the conversation was deleted: there will be none
)

// Read appends to dst the entries after the seq, at most limit, in order and
// without a gap, if memory holds them. It never waits for the store.
func (w *Watch) Read(after uint64, limit int, dst []*Item) ([]*Item, Where) {
	t := w.tail
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case t.gone:
		return dst, Gone
	case !t.asked || after > t.last:
		return dst, InStore // nobody here knows yet how far the stream reaches
	case after == t.last:
		return dst, CaughtUp
	case len(t.items) == 0 || after+1 < t.items[0].Seq:
		return dst, InStore
	}
	from := t.items[after+1-t.items[0].Seq:]
	return append(dst, from[:min(limit, len(from))]...), InTail
}

// Erased counts the deletes of the stream, of messages or of the conversation
// as a whole. While it stays the same, what was read from the store may be
// sent.
func (w *Watch) Erased() uint64 {
	w.tail.mu.RLock()
	defer w.tail.mu.RUnlock()
	if w.tail.gone {
		return math.MaxUint64
	}
	return w.tail.erased
}

// Stream is the stream that is watched.
func (w *Watch) Stream() chat.StreamID { return w.tail.stream }

// Progress is how far a reader of a stream is.
type Progress struct {
	Stream   chat.StreamID
	Position uint64 // seq of the entry that it had last
	Head     uint64 // seq of the newest entry, as far as this process knows
}

// Progress says how far a reader is that had the entry with a seq last. It
// asks memory alone: a Head that nobody here knows yet is the position.
func (w *Watch) Progress(position uint64) Progress {
	last, _ := w.tail.known()
	return Progress{Stream: w.tail.stream, Position: position, Head: max(last, position)}
}

// Learn tells the watch how far the stream reached when its owner asked the
// store, after the Watch began. When that is news, all who watch the stream
// are woken: nobody else may ever tell them. current says that what the owner
// read to learn of head is as new as anything known here: it may be sent as
// long as Erased answers erased, though it answered less before.
func (w *Watch) Learn(head uint64) (erased uint64, current bool) {
	if w.tail.learn(head, true) {
		w.tail.wakeAll()
	}
	last, erased := w.tail.known()
	return erased, head >= last
}

// Close ends the watch: Wake does not run any more when it returns.
func (w *Watch) Close() { w.log.tails.leave(w) }

// tails is the set of tails, of the streams that are followed here.
type tails struct {
	budget int64
	total  atomic.Int64
	shards [tailShards]tailShard
}

type tailShard struct {
	mu     sync.RWMutex
	m      map[chat.StreamID]*tail
	marked atomic.Uint64 // see marks
}

func (ts *tails) init(budget int64) {
	ts.budget = budget
	for i := range ts.shards {
		ts.shards[i].m = make(map[chat.StreamID]*tail)
	}
}

func (ts *tails) shard(s chat.StreamID) *tailShard { return &ts.shards[ts.place(s)] }

func (ts *tails) place(s chat.StreamID) uint32 {
	h := uint32(2166136261) // FNV-1a: needs no seed, for ids cost nothing to look up wrongly
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h % tailShards
}

// find answers the tail of a stream, or nil when nobody follows it here.
func (ts *tails) find(s chat.StreamID) *tail {
	sh := ts.shard(s)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.m[s]
}

// Watch follows a stream: from now on watcher is woken when it has news. Where
// nobody followed the stream before, Read answers InStore until Learn is told
// what the store holds: so no entry is missed between the two.
func (l *Log) Watch(stream chat.StreamID, watcher Watcher) *Watch {
	w := &Watch{watcher: watcher, log: l}
	sh := l.tails.shard(stream)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.m[stream]
	if t == nil {
		t = &tail{stream: stream, total: &l.tails.total}
		sh.m[stream] = t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w.tail, w.at = t, len(t.watches)
	t.watches = append(t.watches, w)
	return w
}

// leave ends a watch. The shard's lock is taken before the tail's.
func (ts *tails) leave(w *Watch) {
	t := w.tail
	sh := ts.shard(t.stream)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.at < 0 {
		return
	}
	last := t.watches[len(t.watches)-1]
	t.watches[w.at], last.at = last, w.at
	t.watches[len(t.watches)-1] = nil
	t.watches = t.watches[:len(t.watches)-1]
	w.at = -1
	if len(t.watches) == 0 && sh.m[t.stream] == t {
		t.clear()
		t.over = true // who has just found it must not fill it again
		delete(sh.m, t.stream)
	}
}

// forget ends a stream that was deleted; see end.
func (ts *tails) forget(s chat.StreamID) {
	if t := ts.find(s); t != nil {
		ts.end(t)
	}
}

// end ends the tail of a stream that was deleted: its followers read Gone. A
// stream of the same name may begin anew.
func (ts *tails) end(t *tail) {
	sh := ts.shard(t.stream)
	sh.mu.Lock()
	if sh.m[t.stream] == t {
		delete(sh.m, t.stream)
	}
	sh.mu.Unlock()
	t.mu.Lock()
	t.gone, t.over = true, true
	t.clear()
	t.mu.Unlock()
	t.wakeAll()
}

func (ts *tails) all() []*tail {
	var all []*tail
	for i := range ts.shards {
		sh := &ts.shards[i]
		sh.mu.RLock()
		for _, t := range sh.m {
			all = append(all, t)
		}
		sh.mu.RUnlock()
	}
	return all
}

// trim keeps all tails together within the budget: past it every tail gives
// up its older half. What they held is in the store.
func (ts *tails) trim() {
	if ts.total.Load() <= ts.budget {
		return
	}
	for _, t := range ts.all() {
		t.mu.Lock()
		t.drop((len(t.items) + 1) / 2)
		t.mu.Unlock()
	}
}
