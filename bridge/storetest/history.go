package storetest

import (
	"fmt"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var historyTests = []test{
	{"Read", historyRead},
	{"ReadMany", historyReadMany},
	{"Before", historyBefore},
	{"Heads", historyHeads},
}

// fill makes a conversation of owner and alice with that many entries.
func (e *env) fill(conv string, entries int) {
	e.Helper()
	e.create(conv, alice)
	var drafts []chat.Draft
	for i := 2; i < entries; i++ {
		drafts = append(drafts, draft(conv, alice, message(fmt.Sprint(i+1))))
	}
	for i, o := range e.commit(drafts...) {
		e.ok(o.Err, "draft %d", i)
	}
}

// historyRead: Read answers what comes after a seq, in order and no more
// than the limit, at every edge.
func historyRead(e *env) {
	const n = 7
	e.fill("before", 9) // neighbours must not show
	e.fill("c", n)
	e.fill("next", 9)
	all := e.history("c")
	for after := uint64(0); after <= n+2; after++ {
		for _, limit := range []int{1, 2, n - 1, n, n + 1, lots} {
			from := min(after, n)
			want := all[from:min(from+uint64(limit), n)]
			equal(e, e.read("c", after, limit), want, "after %d, limit %d", after, limit)
		}
	}
	for _, after := range []uint64{1 << 31, 1 << 32, maxSeq} {
		equal(e, e.read("c", after, 10), []chat.Entry{}, "after %d", after)
	}
	equal(e, e.read("C", 0, 10), []chat.Entry{}, "an unknown stream")
	got, err := e.s.Read(e.ctx, nil)
	e.ok(err, "read of nothing")
	equal(e, len(got), 0, "answers for no ranges")
}

// historyReadMany: one call serves many ranges, each for itself.
func historyReadMany(e *env) {
	const streams = 20
	for i := range streams {
		e.fill(fmt.Sprintf("c%d", i), 3+i)
	}
	var ranges []bridge.Range
	var want [][]uint64
	for i := range 300 {
		at := i * 7 % (streams + 3) // the last three do not exist
		after, limit := uint64(i%9), 1+i%5
		ranges = append(ranges, bridge.Range{Stream: chat.ConversationStream(fmt.Sprintf("c%d", at)), After: after, Limit: limit})
		w := []uint64{}
		for seq := after + 1; at < streams && seq <= uint64(3+at) && len(w) < limit; seq++ {
			w = append(w, seq)
		}
		want = append(want, w)
	}
	got, err := e.s.Read(e.ctx, ranges)
	e.ok(err, "read")
	if len(got) != len(ranges) {
		e.Fatalf("%d answers for %d ranges", len(got), len(ranges))
	}
	for i := range got {
		equal(e, seqs(got[i]), want[i], "range %+v", ranges[i])
		for _, entry := range got[i] {
			equal(e, entry.Stream, ranges[i].Stream, "stream of an entry in range %d", i)
		}
	}
}

func historyBefore(e *env) {
	const n = 7
	e.fill("before", 9)
	e.fill("c", n)
	e.fill("next", 9)
	all := e.history("c")
	before := func(conv string, seq uint64, limit int) []chat.Entry {
		got, err := e.s.Before(e.ctx, chat.ConversationStream(conv), seq, limit)
		e.ok(err, "before %d", seq)
		return normalAll(got)
	}
	for seq := range uint64(n + 4) {
		for _, limit := range []int{1, 2, n, lots} {
			to := n
			if seq != 0 {
				to = min(n, int(seq)-1)
			}
			equal(e, before("c", seq, limit), all[max(0, to-limit):to], "before %d, limit %d", seq, limit)
		}
	}
	equal(e, before("c", maxSeq, 2), all[n-2:], "before the largest seq")
	equal(e, before("C", 0, 2), []chat.Entry{}, "an unknown stream")
	equal(e, before("C", 5, 2), []chat.Entry{}, "an unknown stream")
}

// historyHeads: heads come in the order asked for, also twice.
func historyHeads(e *env) {
	e.fill("a", 3)
	e.fill("b", 30)
	streams := []chat.StreamID{"c/b", "c/none", "c/a", "c/b", "n/a", "c/A"}
	want := []bridge.Head{{Head: 30, First: 1}, {}, {Head: 3, First: 1}, {Head: 30, First: 1}, {}, {}}
	got, err := e.s.Heads(e.ctx, streams)
	e.ok(err, "heads")
	equal(e, got, want, "heads")
	got, err = e.s.Heads(e.ctx, nil)
	e.ok(err, "heads of nothing")
	equal(e, len(got), 0, "answers for no streams")

	var many []chat.StreamID
	for i := range 2000 {
		many = append(many, chat.ConversationStream(fmt.Sprint("none", i)))
	}
	got, err = e.s.Heads(e.ctx, append(many, "c/a"))
	e.ok(err, "many heads")
	equal(e, len(got), 2001, "answers")
	equal(e, got[2000], bridge.Head{Head: 3, First: 1}, "the last of many")

	// Whatever appends moves the head by one.
	head := uint64(3)
	step := func(what string) {
		head++
		equal(e, e.head("a"), bridge.Head{Head: head, First: 1}, "head after a %s", what)
	}
	e.send("a", alice, message("x"))
	step("message")
	_, err = e.tryRename(actor(owner), "a", "x")
	e.ok(err, "rename")
	step("rename")
	e.put("a", bob, chat.RoleMember)
	step("join")
	e.remove("a", bob)
	step("leave")
	e.send("a", alice, erase(3))
	step("delete")
}
