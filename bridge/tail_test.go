package bridge

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/chat"
)

// bareLog is a Log without lanes and housekeeping, for tests of its tails.
func bareLog(store Store) *Log {
	l := &Log{store: store, metrics: bareMetrics}
	l.tails.init(1 << 40)
	l.users.init()
	return l
}

var bareMetrics = newMetrics(nil)

func item(seq uint64, content string) *Item {
	return &Item{Entry: chat.Entry{Stream: room, Seq: seq, Body: chat.Body{Type: chat.TypeMessage, Content: content}}}
}

func changeItem(seq uint64, t chat.Type, target uint64, content string) *Item {
	it := item(seq, content)
	it.Type, it.Target = t, target
	return it
}

// reads says what a Watch holds after a seq, as "3:text 4:text", or where it is.
func reads(w *Watch, after uint64) string {
	items, where := w.Read(after, 1000, nil)
	if where != InTail {
		return [...]string{"caught up", "", "in store", "gone"}[where]
	}
	var said []string
	for _, it := range items {
		said = append(said, fmt.Sprintf("%d:%s", it.Seq, it.Content))
	}
	return strings.Join(said, " ")
}

// tailTests play on a tail, and say what is read of it.
var tailTests = []struct {
	name string
	do   func(t *tail)
	want map[uint64]string // by the seq that is read after
}{
	{"new", func(*tail) {}, map[uint64]string{0: "in store", 9: "in store"}},
	{"learned", func(t *tail) { t.learn(5, true) }, map[uint64]string{4: "in store", 5: "caught up", 6: "in store"}},
	{"nobody asked", func(t *tail) { t.append(item(6, "a")); t.append(item(7, "b")); t.learn(9, false) },
		map[uint64]string{5: "in store", 7: "in store", 9: "in store"}},
	{"asked late", func(t *tail) { t.append(item(6, "a")); t.append(item(7, "b")); t.learn(6, true) },
		map[uint64]string{4: "in store", 5: "6:a 7:b", 7: "caught up"}},
	{"empty", func(t *tail) { t.learn(0, true) }, map[uint64]string{0: "caught up"}},
	{"first entry", func(t *tail) { t.learn(0, true); t.append(item(1, "a")) }, map[uint64]string{0: "1:a", 1: "caught up"}},
	{"run", func(t *tail) { t.learn(5, true); t.append(item(6, "a")); t.append(item(7, "b")) },
		map[uint64]string{4: "in store", 5: "6:a 7:b", 6: "7:b", 7: "caught up"}},
	{"doubled", func(t *tail) {
		t.learn(5, true)
		t.append(item(6, "a"))
		t.append(item(6, "x"))
		t.append(item(5, "y"))
	},
		map[uint64]string{4: "in store", 5: "6:a", 6: "caught up"}},
	{"gap", func(t *tail) {
		t.learn(0, true)
		t.append(item(1, "a"))
		t.append(item(3, "c"))
		t.append(item(4, "d"))
	},
		map[uint64]string{0: "in store", 1: "in store", 2: "3:c 4:d"}},
	{"swapped", func(t *tail) {
		t.learn(0, true)
		t.append(item(1, "a"))
		t.append(item(3, "c"))
		t.append(item(2, "b"))
	},
		map[uint64]string{0: "in store", 1: "in store", 2: "3:c"}},
	{"learn old", func(t *tail) { t.learn(0, true); t.append(item(1, "a")); t.learn(1, true); t.learn(0, true) }, map[uint64]string{0: "1:a"}},
	{"learn new", func(t *tail) { t.learn(0, true); t.append(item(1, "a")); t.learn(3, true) }, map[uint64]string{0: "in store", 3: "caught up"}},
	{"delete", func(t *tail) {
		t.learn(0, true)
		t.append(item(1, "a"))
		t.append(item(2, "b"))
		t.append(changeItem(3, chat.TypeEdit, 1, "a!"))
		t.append(changeItem(4, chat.TypeDelete, 1, ""))
	}, map[uint64]string{0: "1: 2:b 3: 4:"}},
	{"late delete", func(t *tail) {
		t.learn(0, true)
		t.append(item(1, "a"))
		t.learn(3, true)
		t.fill([]*Item{item(1, "a"), item(2, "b"), item(3, "")}, t.erased) // read before it was committed
		t.append(changeItem(3, chat.TypeDelete, 1, ""))
	}, map[uint64]string{0: "1: 2:b 3:"}},
	{"fill", func(t *tail) {
		t.learn(5, true)
		t.append(item(6, "f"))
		t.fill([]*Item{item(4, "d"), item(5, "e")}, t.erased)
	}, map[uint64]string{2: "in store", 3: "4:d 5:e 6:f"}},
	{"fill the end", func(t *tail) { t.learn(5, true); t.fill([]*Item{item(4, "d"), item(5, "e")}, t.erased) },
		map[uint64]string{2: "in store", 3: "4:d 5:e", 5: "caught up"}},
	{"fill with a gap", func(t *tail) { t.learn(5, true); t.fill([]*Item{item(3, "c"), item(4, "d")}, t.erased) },
		map[uint64]string{2: "in store"}},
	{"fill beyond", func(t *tail) { t.learn(5, true); t.fill([]*Item{item(5, "e"), item(6, "f")}, t.erased) },
		map[uint64]string{4: "in store", 5: "caught up"}},
	{"fill of before a delete", func(t *tail) {
		t.learn(5, true)
		before := t.erased
		t.append(changeItem(6, chat.TypeDelete, 5, ""))
		t.fill([]*Item{item(5, "e")}, before)
	}, map[uint64]string{4: "in store", 5: "6:"}},
	{"cut", func(t *tail) {
		t.learn(5, true)
		t.append(item(6, "f"))
		t.append(item(7, "g"))
		t.cut(7)
	}, map[uint64]string{5: "in store", 6: "7:g", 7: "caught up"}},
	{"cut all", func(t *tail) { t.learn(5, true); t.append(item(6, "f")); t.cut(7) },
		map[uint64]string{5: "in store", 6: "caught up"}},
	{"cut nothing", func(t *tail) {
		t.learn(5, true)
		t.append(item(6, "f"))
		before := t.erased
		t.cut(1)
		t.cut(0)
		t.fill([]*Item{item(5, "e")}, before)
	}, map[uint64]string{4: "5:e 6:f"}},
	{"fill of before a cut", func(t *tail) {
		t.learn(5, true)
		t.append(item(6, "f"))
		before := t.erased
		t.cut(6)
		t.fill([]*Item{item(4, "d"), item(5, "e")}, before)
	}, map[uint64]string{4: "in store", 5: "6:f"}},
	{"fill of before an unknown entry", func(t *tail) {
		t.learn(4, true)
		before := t.erased
		t.learn(6, true) // 5 deletes 4, or a commit that was repeated
		t.fill([]*Item{item(5, ""), item(6, "f")}, t.erased)
		t.fill([]*Item{item(3, "c"), item(4, "deleted")}, before)
	}, map[uint64]string{3: "in store", 4: "5: 6:f"}},
	{"fill of before a gap", func(t *tail) {
		t.learn(4, true)
		before := t.erased
		t.append(item(6, "f"))
		t.fill([]*Item{item(5, "")}, t.erased)
		t.fill([]*Item{item(3, "c"), item(4, "deleted")}, before)
	}, map[uint64]string{3: "in store", 4: "5: 6:f"}},
}

func TestTail(t *testing.T) {
	for _, tt := range tailTests {
		t.Run(tt.name, func(t *testing.T) {
			l := bareLog(nil)
			w := l.Watch(room, wakes{})
			tt.do(w.tail)
			for after, want := range tt.want {
				if got := reads(w, after); got != want {
					t.Errorf("after %d: got %q, want %q", after, got, want)
				}
			}
			checkBytes(t, l)
			w.Close()
			w.Close()
			checkBytes(t, l)
			if l.tails.find(room) != nil || l.tails.total.Load() != 0 {
				t.Errorf("the tail is left, with %d bytes", l.tails.total.Load())
			}
		})
	}
}

// checkBytes wants the sums of the tails to be right.
func checkBytes(tb testing.TB, l *Log) {
	tb.Helper()
	var total int64
	for _, t := range l.tails.all() {
		bytes := 0
		for i, it := range t.items {
			bytes += it.size()
			if it.Seq != t.last-uint64(len(t.items)-1-i) {
				tb.Errorf("the run is no run that ends at %d", t.last)
			}
		}
		if bytes != t.bytes {
			tb.Errorf("a tail counts %d bytes and has %d", t.bytes, bytes)
		}
		total += int64(bytes)
	}
	if got := l.tails.total.Load(); got != total {
		tb.Errorf("all tails count %d bytes and have %d", got, total)
	}
}

func TestReadIsLimited(t *testing.T) {
	w := bareLog(nil).Watch(room, wakes{})
	w.Learn(0)
	for seq := range uint64(10) {
		w.tail.append(item(seq+1, "x"))
	}
	var dst [40]*Item
	got, where := w.Read(2, 3, dst[:1])
	if where != InTail || len(got) != 4 || got[1].Seq != 3 || got[3].Seq != 5 {
		t.Errorf("got %v, %v", got, where)
	}
	if allocs := testing.AllocsPerRun(100, func() { w.Read(0, 32, dst[:0]) }); allocs != 0 {
		t.Errorf("Read allocates %v times", allocs)
	}
}

func TestTailIsBounded(t *testing.T) {
	long, many := strings.Repeat("x", chat.MaxContent), make([]string, chat.MaxMentions)
	for i := range many {
		many[i] = strings.Repeat("u", chat.MaxID)
	}
	for name, make := range map[string]func(seq uint64) *Item{
		"short": func(seq uint64) *Item { return item(seq, "hi") },
		"long":  func(seq uint64) *Item { return item(seq, long) },
		"mentions": func(seq uint64) *Item {
			it := item(seq, "hi")
			it.Mentions = many
			return it
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := bareLog(nil)
			w := l.Watch(room, wakes{})
			for seq := uint64(1); seq < 2000; seq++ {
				it := make(seq)
				w.tail.append(it)
				frames := 0
				for slot := range Frames {
					frames += len(it.Frame(slot, func(e *chat.Entry) []byte { return e.AppendJSON(nil) }))
				}
				if frames/2 > it.size() { // seldom more than two forms are asked for
					t.Fatalf("an item counts %d bytes, and its forms take %d", it.size(), frames)
				}
				if n := len(w.tail.items); n > maxTail || n == 0 {
					t.Fatalf("%d items", n)
				}
				if w.tail.bytes > maxTailBytes+it.size() {
					t.Fatalf("%d bytes", w.tail.bytes)
				}
			}
			checkBytes(t, l)
			// What is read again does not fill the half that new entries need.
			w.tail.learn(3000, true)
			var old []*Item
			for seq := uint64(2001); seq <= 3000; seq++ {
				old = append(old, make(seq))
			}
			w.tail.fill(old, w.tail.erased)
			if n := len(w.tail.items); n == 0 || n > maxTail/2 || w.tail.bytes > maxTailBytes/2+old[0].size() {
				t.Errorf("filled with %d items, %d bytes", n, w.tail.bytes)
			}
			checkBytes(t, l)
		})
	}
}

func TestTrim(t *testing.T) {
	l := bareLog(nil)
	l.tails.budget = 100_000
	for i := range 100 {
		w := l.Watch(chat.ConversationStream(fmt.Sprint(i)), wakes{})
		for seq := range uint64(i%10 + 1) {
			w.tail.append(item(seq+1, "hello"))
		}
	}
	for range 10 {
		l.tails.trim()
		checkBytes(t, l)
	}
	if n := l.tails.total.Load(); n > l.tails.budget || n == 0 {
		t.Errorf("%d bytes are left of a budget of %d", n, l.tails.budget)
	}
}

// Whoever found a tail just before its last follower left does not fill it:
// nobody would ever empty it.
func TestTailThatWasLeft(t *testing.T) {
	for name, end := range map[string]func(l *Log, w *Watch){
		"left":    func(_ *Log, w *Watch) { w.Close() },
		"deleted": func(l *Log, _ *Watch) { l.tails.forget(room) },
	} {
		t.Run(name, func(t *testing.T) {
			l := bareLog(nil)
			w := l.Watch(room, wakes{})
			found := l.tails.find(room)
			found.learn(1, true)
			end(l, w)
			found.append(item(2, "x"))
			found.append(item(9, "x"))
			found.fill([]*Item{item(1, "x")}, found.erased)
			found.learn(20, true)
			found.fill([]*Item{item(20, "x")}, found.erased)
			if n := l.tails.total.Load(); n != 0 {
				t.Errorf("%d bytes are lost", n)
			}
			w.Close()
			if n := l.tails.total.Load(); n != 0 || l.tails.find(room) != nil {
				t.Errorf("%d bytes are lost", n)
			}
		})
	}
}

func TestWake(t *testing.T) {
	l := bareLog(nil)
	a, b, c := wakes{make(chan struct{}, 9)}, wakes{make(chan struct{}, 9)}, wakes{make(chan struct{}, 9)}
	wa, wb, wc := l.Watch(room, a), l.Watch(room, b), l.Watch(room, c)
	other := wakes{make(chan struct{}, 9)}
	wo := l.Watch(hall, other)
	wa.Learn(5) // news for all, for nobody else may ever tell them
	if x, y, z := a.taken(), b.taken(), c.taken(); x != 1 || y != 1 || z != 1 {
		t.Errorf("woken %d, %d and %d times", x, y, z)
	}
	wb.Learn(5)
	wb.Learn(3)
	if x, y := a.taken(), b.taken(); x != 0 || y != 0 {
		t.Errorf("woken %d and %d times by no news", x, y)
	}
	wa.Close()
	wa.tail.wakeAll()
	if x, y, z := a.taken(), b.taken(), c.taken(); x != 0 || y != 1 || z != 1 {
		t.Errorf("woken %d, %d and %d times", x, y, z)
	}
	wc.Close()
	l.tails.forget(room)
	if y, z := b.taken(), c.taken(); y != 1 || z != 0 {
		t.Errorf("woken %d and %d times", y, z)
	}
	if got := reads(wb, 0); got != "gone" {
		t.Errorf("of a conversation that was deleted: %q", got)
	}
	anew := l.Watch(room, b)
	if got := reads(anew, 0); got != "in store" {
		t.Errorf("of a conversation that begins anew: %q", got)
	}
	wb.Close()
	if l.tails.find(room) != anew.tail {
		t.Error("the end of the old watch ends the new one")
	}
	anew.Close()
	if n := other.taken(); n != 0 {
		t.Errorf("another stream's watcher was woken %d times", n)
	}
	wo.Close()
	if n := len(l.tails.all()); n != 0 {
		t.Errorf("%d tails are left", n)
	}
}

// What was read from the store may be sent until there may have been a delete
// that the read did not see.
func TestErased(t *testing.T) {
	l := bareLog(nil)
	w, older := l.Watch(room, wakes{}), l.Watch(room, wakes{})
	before := older.Erased()
	if erased, current := w.Learn(5); !current || erased != w.Erased() {
		t.Error("the read that was first to learn of 5 is not current")
	}
	if erased, current := older.Learn(4); current || older.Erased() == before || erased != older.Erased() {
		t.Error("a read that ended before 5 is current")
	}
	if _, current := older.Learn(5); !current {
		t.Error("a read that saw all that is known is not current")
	}
	for what, do := range map[string]func(){
		"a delete":           func() { w.tail.append(changeItem(w.tail.last+1, chat.TypeDelete, 4, "")) },
		"a late delete":      func() { w.tail.append(changeItem(2, chat.TypeDelete, 1, "")) },
		"a gap":              func() { w.tail.append(item(w.tail.last+2, "x")) },
		"what others learnt": func() { older.Learn(w.tail.last + 1) },
	} {
		before := w.Erased()
		w.tail.append(item(w.tail.last+1, "x"))
		if w.Erased() != before {
			t.Error("a message counts as a delete")
		}
		if do(); w.Erased() == before {
			t.Errorf("%s does not count", what)
		}
	}
	before = w.Erased()
	if l.tails.forget(room); w.Erased() == before {
		t.Error("the end of the conversation does not count")
	}
}

func TestFrame(t *testing.T) {
	it, made := item(1, "hi"), 0
	encode := func(e *chat.Entry) []byte { made++; return e.AppendJSON(nil) }
	for range 3 {
		for slot := range Frames {
			if string(it.Frame(slot, encode)) != string(it.AppendJSON(nil)) {
				t.Error("not what was encoded")
			}
		}
	}
	if made != Frames {
		t.Errorf("encoded %d times", made)
	}
}
