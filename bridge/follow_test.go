package bridge

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/internal/chat"
)

// TestFollow plays random interleavings of all that can happen to a stream
// and its tail, on one goroutine: entries are committed, made known in any
// order, twice or never, deleted, learned of, trimmed; and this between any
// two steps of readers that read as the broker does. Every reader gets every
// entry once, in order, and nothing of what was deleted when it is read after
// the delete was known here.
func TestFollow(t *testing.T) {
	for range 10 { // each is 100 plays, unless -rapid.checks says otherwise
		rapid.Check(t, func(rt *rapid.T) {
			f := newFollowing(t, rt)
			for range 10 * (1 + f.pick("steps", 16)) {
				f.step()
			}
			f.settle()
		})
	}
}

// following is the state of one play.
type following struct {
	tb    testing.TB
	rt    *rapid.T
	store *fakeStore
	log   *Log
	lossy bool // entries may stay unknown until heads are compared
	depth int  // calls of the store under way

	unknown []*Item // committed, and not made known yet
	found   []late  // found a tail, and has not appended to it yet
	touched []*tail // has news that nobody was woken for yet
	readers []*reader
	ids     []chat.ID         // by seq
	erased  map[uint64]uint64 // by the seq of a message or edit: that of the delete
}

// late is a goroutine between tails.find and tail.append.
type late struct {
	tail *tail
	item *Item
}

func newFollowing(tb testing.TB, rt *rapid.T) *following {
	f := &following{tb: tb, rt: rt, store: newFake(tb), erased: map[uint64]uint64{}}
	f.log = bareLog(f.store)
	f.lossy = rapid.Bool().Draw(rt, "lossy")
	f.log.tails.budget = 8000
	f.store.create("room", alice)
	f.ids = []chat.ID{{}}
	f.store.onRead = func([]Range) { f.meanwhile() }
	f.store.onHeads = f.meanwhile
	for range f.pick("readers", 3) {
		f.join()
	}
	return f
}

// meanwhile is what happens while the store is asked.
func (f *following) meanwhile() {
	if f.depth++; f.depth <= 3 {
		for range f.pick("meanwhile", 5) {
			f.step()
		}
	}
	f.depth--
}

func (f *following) step() {
	switch at := f.pick("action", 32); {
	case at < 9:
		f.read()
	case at < 12:
		f.send()
	case at < 14:
		f.erase()
	case at < 16:
		f.known()
	case at < 18:
		f.wake()
	default:
		[...]func(){f.commit, f.delete, f.edit, f.find, f.late, f.late, f.lose, f.repeat,
			f.heads, f.log.tails.trim, f.join, f.join, f.leave, f.leave}[at-18]()
	}
}

// pick draws a number below n, all as likely. rapid's own ranges prefer small
// ones: plays would be short and of little variety.
func (f *following) pick(what string, n int) int {
	return rapid.Custom(func(t *rapid.T) int {
		k := 0
		for range 10 {
			k *= 2
			if rapid.Bool().Draw(t, "bit") {
				k++
			}
		}
		return k * n >> 10
	}).Draw(f.rt, what)
}

func (f *following) head() uint64 { return uint64(len(f.ids)) }

// add commits a draft; that it is known here comes later.
func (f *following) add(d chat.Draft) (seq uint64) {
	out := f.store.put(d)
	if out.Err != nil {
		return 0
	}
	f.ids = append(f.ids, out.ID)
	d.ClientID = "x"
	f.unknown = append(f.unknown, &Item{Entry: entryOf(&d, out)})
	return out.Seq
}

func (f *following) commit() {
	content := "secret"
	if f.pick("long", 8) == 0 {
		content = longContent
	}
	f.add(message(room, alice, "", content))
}

var longContent = strings.Repeat("secret", chat.MaxContent/6)

// send commits a message and makes it known at once, as is usual. erase does
// the same with a delete.
func (f *following) send()  { f.commit(); f.tell() }
func (f *following) erase() { f.delete(); f.tell() }

func (f *following) tell() {
	if n := len(f.unknown); f.lossy && f.pick("lost", 4) == 0 {
		f.unknown = nil
	} else if n > 0 {
		f.append(f.log.tails.find(room), f.unknown[n-1])
		f.unknown = f.unknown[:n-1]
	}
}

// target draws a seq that stands, a new one more often; the store refuses what
// is no message.
func (f *following) target() uint64 {
	n := int(f.head())
	if f.pick("new", 2) == 1 {
		n = min(n, 5)
	}
	return f.head() - uint64(f.pick("target", n))
}

func (f *following) edit() {
	d := change(room, alice, chat.TypeEdit, f.target())
	d.Content = "secret"
	f.add(d)
}

func (f *following) delete() {
	target := f.target()
	at := f.add(chat.Draft{Stream: room, SenderID: alice, Body: chat.Body{Type: chat.TypeDelete, Target: target}})
	if at == 0 {
		return
	}
	f.erased[target] = at
	for _, e := range f.store.streams[room].entries {
		if e.Type == chat.TypeEdit && e.Target == target {
			f.erased[e.Seq] = at
		}
	}
}

// draw takes one of the committed entries that are not known, and leaves it
// there if it shall be known twice.
func (f *following) draw() *Item {
	if len(f.unknown) == 0 {
		return nil
	}
	i := 0
	if f.pick("in order", 3) == 0 {
		i = f.pick("which", len(f.unknown))
	}
	it := f.unknown[i]
	if f.pick("doubled", 5) > 0 {
		f.unknown = slices.Delete(f.unknown, i, i+1)
	}
	return &Item{Entry: it.Entry}
}

func (f *following) known() {
	if it := f.draw(); it != nil {
		f.append(f.log.tails.find(room), it)
	}
}

func (f *following) find() {
	if it := f.draw(); it != nil {
		f.found = append(f.found, late{f.log.tails.find(room), it})
	}
}

func (f *following) late() {
	if len(f.found) > 0 {
		f.append(f.found[0].tail, f.found[0].item)
		f.found = f.found[1:]
	}
}

func (f *following) append(t *tail, it *Item) {
	if t != nil {
		t.append(it)
		f.touched = append(f.touched, t)
	}
}

func (f *following) lose() {
	if f.lossy && len(f.unknown) > 0 {
		f.unknown = f.unknown[1:]
	}
}

// repeat is a repeated send: its seq is news after a commit whose outcome was
// unknown.
func (f *following) repeat() {
	if t := f.log.tails.find(room); t != nil {
		t.learn(f.target(), false)
		f.touched = append(f.touched, t)
	}
}

func (f *following) wake() {
	for _, t := range f.touched {
		t.wakeAll()
	}
	f.touched = nil
}

func (f *following) heads() {
	if err := f.log.checkHeads(context.Background()); err != nil {
		f.tb.Fatal(err)
	}
}

// reader follows the stream as the broker's followers do.
type reader struct {
	*following
	watch   *Watch
	pos     uint64
	woken   bool
	loading bool
	again   bool
	left    bool
	backlog []*Item
	asOf    uint64 // as Watch.Erased said before the backlog was read
}

func (r *reader) Wake() { r.woken = true }

// join begins to follow where the stream ended when the store was asked, or
// earlier.
func (f *following) join() {
	if len(f.readers) == 4 {
		return
	}
	r := &reader{following: f, pos: f.head() - uint64(f.pick("after", int(f.head())+1))}
	f.meanwhile()
	r.watch = f.log.Watch(room, r)
	r.woken = true
	f.readers = append(f.readers, r)
}

// leave ends a reader. Where it had come to, another goes on.
func (f *following) leave() {
	if len(f.readers) == 0 {
		return
	}
	i := f.pick("who", len(f.readers))
	r := f.readers[i]
	r.left = true
	r.watch.Close()
	f.readers = slices.Delete(f.readers, i, i+1)
}

// read is one turn of a reader, as pull, load and loaded in the broker.
func (f *following) read() {
	if len(f.readers) == 0 {
		return
	}
	r := f.readers[f.pick("reader", len(f.readers))]
	r.turn(1 + f.pick("limit", 6))
}

func (r *reader) turn(limit int) {
	if !r.woken {
		return
	}
	r.woken = false
	if r.loading {
		r.again = true
		return
	}
	known, _ := r.watch.tail.known()
	if len(r.backlog) > 0 && r.watch.Erased() != r.asOf {
		r.backlog = nil // something of it may have been deleted since
	}
	if len(r.backlog) > 0 {
		n := min(limit, len(r.backlog))
		r.deliver(r.backlog[:n], known)
		clear(r.backlog[:n])
		r.backlog = r.backlog[n:]
		r.woken = true
		return
	}
	items, where := r.watch.Read(r.pos, limit, nil)
	switch where {
	case InTail:
		if len(items) == 0 {
			r.rt.Fatalf("nothing in the tail after %d", r.pos)
		}
		r.deliver(items, known)
		r.woken = r.woken || len(items) == limit
	case InStore:
		r.load(limit)
	case Gone:
		r.rt.Fatalf("gone")
	}
}

func (r *reader) load(limit int) {
	r.loading, r.asOf = true, r.watch.Erased()
	ask := Range{room, r.pos, limit}
	read, err := r.log.readItems(context.Background(), []Range{ask})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.loading = false
	if r.left {
		return
	}
	items, reached := read[0], ask.After
	if len(items) > 0 {
		r.backlog, reached = slices.Clone(items), items[len(items)-1].Seq
	}
	if len(items) < limit {
		if erased, current := r.watch.Learn(reached); current {
			r.asOf = erased
		}
	}
	if len(items) > 0 || r.again {
		r.woken = true
	}
	r.again = false
}

// deliver checks what a reader gets. known is how far the tail reached just
// before: deletes up to there must have been heeded.
func (r *reader) deliver(items []*Item, known uint64) {
	for _, it := range items {
		if it.Seq != r.pos+1 {
			r.rt.Fatalf("got %d after %d", it.Seq, r.pos)
		}
		r.pos = it.Seq
		if it.Seq > 1 && it.ID != r.ids[it.Seq-1] {
			r.rt.Fatalf("%d is another entry", it.Seq)
		}
		if at := r.erased[it.Seq]; at > 0 && at <= known && it.Content != "" {
			r.rt.Fatalf("%d says %.10q, though it was deleted by %d and %d was known", it.Seq, it.Content, at, known)
		}
	}
}

// rest gives every reader as many turns as it can want.
func (f *following) rest() {
	for range 10 * len(f.ids) {
		for _, r := range f.readers {
			r.turn(5)
		}
	}
}

// settle lets everything come to its end, and wants every reader there.
func (f *following) settle() {
	f.store.onRead, f.store.onHeads = nil, nil
	for len(f.unknown) > 0 && !f.lossy {
		f.append(f.log.tails.find(room), f.unknown[0])
		f.unknown = f.unknown[1:]
	}
	for len(f.found) > 0 {
		f.late()
	}
	f.wake()
	f.rest()
	if f.lossy {
		f.join() // who comes now may be the first to learn of what was lost
		f.wake()
		f.rest()
		f.heads()
		f.rest()
	}
	for i, r := range f.readers {
		if r.pos != f.head() {
			f.rt.Fatalf("reader %d is at %d of %d, woken %v", i, r.pos, f.head(), r.woken)
		}
		if r.woken {
			f.rt.Fatalf("reader %d does not rest", i)
		}
	}
	checkBytes(f.tb, f.log)
	for len(f.readers) > 0 {
		f.readers[0].watch.Close()
		f.readers = f.readers[1:]
	}
	if n := f.log.tails.total.Load(); n != 0 {
		f.rt.Fatalf("%d bytes are lost", n)
	}
}
