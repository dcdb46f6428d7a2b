package storetest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var viewTests = []test{
	{"Folded", viewFolded},
	{"FoldedPages", viewFoldedPages},
	{"FoldedReactors", viewFoldedReactors},
	{"FoldedModel", viewFoldedModel},
	{"Edits", viewEdits},
}

func (e *env) folded(p bridge.FoldedPage) []bridge.Folded {
	e.Helper()
	got, err := e.s.Folded(e.ctx, p)
	e.ok(err, "folded")
	for i := range got {
		got[i].Entry = normal(got[i].Entry)
	}
	return got
}

func unreact(target uint64, emoji string) chat.Body {
	b := react(target, emoji)
	b.Remove = true
	return b
}

func viewFolded(e *env) {
	e.create("c", alice, bob) // 1 to 3
	full := chat.Body{Type: chat.TypeMessage, Content: "first", MediaURL: "https://example.com/x", Mentions: []string{bob}, ReplyTo: 4, ClientID: "k"}
	e.send("c", alice, message("zero"))                  // 4
	e.send("c", alice, full)                             // 5
	e.send("c", bob, message("second"))                  // 6
	e.send("c", alice, edit(5, "first, edited"))         // 7
	last := e.send("c", owner, edit(5, "edited again"))  // 8
	e.send("c", bob, react(5, "👍"))                      // 9
	e.send("c", alice, react(5, "🎉 \"'\\"))              // 10
	e.send("c", alice, react(5, "👍"))                    // 11
	e.send("c", bob, react(5, "👍"))                      // 12: again
	e.send("c", bob, react(6, "👍"))                      // 13
	e.send("c", bob, unreact(6, "👍"))                    // 14
	e.send("c", alice, unreact(6, "👎"))                  // 15: was never there
	e.send("c", alice, message("third"))                 // 16
	e.send("c", alice, edit(16, "third, edited"))        // 17
	e.send("c", bob, react(16, "👍"))                     // 18
	e.send("c", alice, erase(16))                        // 19
	_, err := e.tryRename(actor(owner), "c", "new name") // 20
	e.ok(err, "rename")
	history := e.history("c")
	want := []bridge.Folded{{Entry: history[3]}, {Entry: history[4]}, {Entry: history[5]}, {Entry: history[15]}}
	want[1].Content, want[1].EditedAt = "edited again", last.CreatedAt
	want[1].Reactions = []bridge.Reaction{{Emoji: "🎉 \"'\\", Count: 1, UserIDs: []string{alice}},
		{Emoji: "👍", Count: 2, UserIDs: []string{alice, bob}}}
	equal(e, want[3].Content, "", "what is left of the deleted one")
	for _, p := range []bridge.FoldedPage{{Limit: 10}, {Forward: true, Limit: 10}, {Limit: 4, Before: maxSeq}} {
		p.Stream = "c/c"
		got := e.folded(p)
		equal(e, got, want, "folded %+v", p)
	}
	equal(e, len(e.folded(bridge.FoldedPage{Stream: "c/" + noConv, Limit: 1})), 0, "messages of nothing")
	// Of another conversation nothing comes in.
	e.create("d", alice)
	for range 20 {
		e.send("d", alice, message("x"))
	}
	e.send("d", alice, react(5, "👎"))
	e.send("d", alice, edit(5, "another's"))
	equal(e, e.folded(bridge.FoldedPage{Stream: "c/c", Limit: 10}), want, "folded")
}

// viewFoldedPages: limit counts messages, whatever stands between them.
func viewFoldedPages(e *env) {
	e.create("c", alice)
	var want []uint64
	for i := range 7 {
		seq := e.send("c", alice, message(fmt.Sprint(i))).Seq
		want = append(want, seq)
		for range i {
			e.send("c", alice, react(seq, "👍"))
		}
	}
	for limit := 1; limit <= 8; limit++ {
		var forth, back []uint64
		for after := uint64(0); ; {
			page := e.folded(bridge.FoldedPage{Stream: "c/c", Forward: true, After: after, Limit: limit})
			for _, f := range page {
				forth, after = append(forth, f.Seq), f.Seq
			}
			if len(page) < limit {
				break
			}
		}
		for before := uint64(0); ; {
			page := e.folded(bridge.FoldedPage{Stream: "c/c", Before: before, Limit: limit})
			for _, f := range slices.Backward(page) {
				back, before = append(back, f.Seq), f.Seq
			}
			if len(page) < limit {
				break
			}
		}
		slices.Reverse(back)
		equal(e, forth, want, "forth, %d at a time", limit)
		equal(e, back, want, "back, %d at a time", limit)
	}
}

// viewFoldedReactors: a reaction names some and counts all.
func viewFoldedReactors(e *env) {
	const n = bridge.MostReactors + 7
	var users []string
	for i := range n {
		users = append(users, fmt.Sprint("user-", i))
	}
	e.create("c", users...)
	seq := e.send("c", owner, message("x")).Seq
	for _, user := range users {
		e.send("c", user, react(seq, "👍"))
	}
	got := e.folded(bridge.FoldedPage{Stream: "c/c", Limit: 1})
	equal(e, got[0].Reactions, []bridge.Reaction{{Emoji: "👍", Count: n, UserIDs: users[:bridge.MostReactors]}}, "reactions")
}

// viewFoldedModel: the view is what one gets who folds the log itself.
func viewFoldedModel(e *env) {
	rounds := 0
	rapid.Check(e.test, func(t *rapid.T) {
		m := *e
		m.tb = t
		rounds++
		id := fmt.Sprint("c", rounds)
		m.create(id, alice, bob)
		var seqs []uint64
		for range rapid.IntRange(1, 30).Draw(t, "entries") {
			sender := rapid.SampledFrom([]string{owner, alice, bob}).Draw(t, "sender")
			kind := rapid.IntRange(0, 5).Draw(t, "kind")
			if len(seqs) == 0 || kind == 0 {
				seqs = append(seqs, m.send(id, sender, message("x")).Seq)
				continue
			}
			target := rapid.SampledFrom(seqs).Draw(t, "target")
			b := []chat.Body{edit(target, fmt.Sprint("edit ", rapid.IntRange(0, 99).Draw(t, "text"))), react(target, "👍"),
				react(target, "🎉"), unreact(target, "👍"), erase(target)}[kind-1]
			m.commit(draft(id, sender, b)) // what is refused changes nothing
		}
		stream := chat.ConversationStream(id)
		got := m.folded(bridge.FoldedPage{Stream: stream, Limit: lots})
		equal(t, got, fold(m.history(id)), "the folded view")
		if len(got) > 1 {
			at := rapid.IntRange(0, len(got)-1).Draw(t, "at")
			equal(t, m.folded(bridge.FoldedPage{Stream: stream, Forward: true, After: got[at].Seq - 1, Limit: 1}), got[at:at+1], "forth from one")
			equal(t, m.folded(bridge.FoldedPage{Stream: stream, Before: got[at].Seq + 1, Limit: 1}), got[at:at+1], "back from one")
		}
	})
}

// fold is the plain way to fold a log.
func fold(entries []chat.Entry) (all []bridge.Folded) {
	type who struct{ user, emoji string }
	at, standing := map[uint64]int{}, map[uint64]map[who]chat.Entry{}
	for _, e := range entries {
		switch e.Type {
		case chat.TypeMessage:
			at[e.Seq], standing[e.Seq] = len(all), map[who]chat.Entry{}
			all = append(all, bridge.Folded{Entry: e})
		case chat.TypeEdit:
			if f := &all[at[e.Target]]; !f.Deleted {
				f.Content, f.EditedAt = e.Content, e.CreatedAt
			}
		case chat.TypeReaction:
			standing[e.Target][who{e.SenderID, e.Emoji}] = e
		}
	}
	for seq, reactions := range standing {
		f := &all[at[seq]]
		newest := slices.SortedFunc(maps.Values(reactions), func(a, b chat.Entry) int { return int(a.Seq) - int(b.Seq) })
		for _, e := range newest {
			if e.Remove || f.Deleted {
				continue
			}
			i := slices.IndexFunc(f.Reactions, func(r bridge.Reaction) bool { return r.Emoji == e.Emoji })
			if i < 0 {
				i = len(f.Reactions)
				f.Reactions = append(f.Reactions, bridge.Reaction{Emoji: e.Emoji})
			}
			f.Reactions[i].Count++
			f.Reactions[i].UserIDs = append(f.Reactions[i].UserIDs, e.SenderID)
		}
	}
	return all
}

func viewEdits(e *env) {
	e.create("c", alice)
	seq := e.send("c", alice, message("first")).Seq // 3
	e.send("c", owner, edit(seq, "second"))         // 4
	e.send("c", alice, react(seq, "👍"))             // 5
	other := e.send("c", alice, message("x")).Seq   // 6
	e.send("c", alice, edit(other, "y"))            // 7
	e.send("c", alice, edit(seq, "third"))          // 8
	history := e.history("c")
	want := []chat.Entry{history[2], history[3], history[7]}
	get := func(seq, after uint64, limit int) (string, []chat.Entry) {
		e.Helper()
		author, got, err := e.s.Edits(e.ctx, "c/c", seq, after, limit)
		e.ok(err, "edits")
		return author, normalAll(got)
	}
	for limit := 1; limit <= 4; limit++ {
		var all []chat.Entry
		for after := uint64(0); ; after = all[len(all)-1].Seq {
			author, page := get(seq, after, limit)
			equal(e, author, alice, "the author")
			if all = append(all, page...); len(page) < limit {
				break
			}
		}
		equal(e, all, want, "edits, %d at a time", limit)
	}
	for _, none := range []uint64{0, 1, 4, 5, 99, maxSeq} {
		author, got := get(none, 0, 10)
		equal(e, author, "", "the author of %d, which is no message", none)
		equal(e, len(got), 0, "edits of %d", none)
	}
	e.send("c", alice, erase(seq))
	_, got := get(seq, 0, 10)
	equal(e, seqs(got), []uint64{3, 4, 8}, "seqs after the delete")
	for _, entry := range got {
		equal(e, []any{entry.Deleted, entry.Content}, []any{true, ""}, "what is left of %d", entry.Seq)
	}
	equal(e, got[0].CreatedAt.Location(), time.UTC, "the time")
}
