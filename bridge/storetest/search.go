package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var searchTests = []test{
	{"Languages", searchLanguages},
	{"Newest", searchNewest},
	{"AtOnce", searchAtOnce},
	{"Edits", searchEdits},
	{"Deletes", searchDeletes},
	{"OnlyOwn", searchOnlyOwn},
	{"SinceJoin", searchSinceJoin},
	{"OneConversation", searchOneConversation},
	{"PlainText", searchPlainText},
	{"Paging", searchPaging},
	{"Long", searchLong},
	{"ClocksDiffer", searchClocksDiffer},
	{"Model", searchModel},
}

// search answers what a user finds, with the seq of each.
func (e *env) search(user, text string) []string {
	e.Helper()
	return places(e.find(bridge.Search{UserID: user, Limit: lots}, text))
}

func (e *env) find(s bridge.Search, text string) []chat.Entry {
	e.Helper()
	var err error
	s.Words, err = chat.ParseQuery(text)
	e.ok(err, "query %q", text)
	found, err := e.s.Search(e.ctx, s)
	e.ok(err, "search %q", text)
	return normalAll(found)
}

// places names entries as conversation/seq.
func places(entries []chat.Entry) []string {
	all := []string{}
	for i := range entries {
		all = append(all, fmt.Sprintf("%s/%d", entries[i].Stream.Conversation(), entries[i].Seq))
	}
	return all
}

// searchLanguages: whole words are found in every language, in whatever case
// and form.
func searchLanguages(e *env) {
	e.create("c", alice)
	for _, tt := range []struct {
		text        string
		found, lost []string
	}{
		{"Die Straße nach Köln, GRÜSSE!", []string{"straße", "STRASSE", "KÖLN", "grüße die", "Ko\u0308ln"}, []string{"stra", "strass", "koln"}},
		{"Ο Οδυσσεύς γύρισε", []string{"ΟΔΥΣΣΕΎΣ", "οδυσσεύσ", "γύρισε ο"}, []string{"οδυσσεύ"}},
		{"Мой дядя самых честных правил", []string{"мой", "ДЯДЯ правил"}, []string{"мои", "честны"}},
		{"السَّلامُ عَلَيْكُم", []string{"السلام", "عليكم السلام"}, []string{"سلام"}},
		{"मैं हिन्दी बोलता हूँ", []string{"हिन्दी", "हूँ मैं"}, []string{"हिन", "हिन्द"}},
		{"我们明天去北京", []string{"北京", "明天", "我"}, []string{"上海", "北上"}},
		{"明日は東京タワーへ", []string{"東京", "タワー", "は"}, []string{"大阪"}},
		{"พรุ่งนี้ไปเชียงใหม่", []string{"เชียงใหม่", "พรุ่งนี้"}, []string{"ฮ"}},
		{"내일 서울에서 만나요", []string{"서울에서", "만나요 내일"}, []string{"서울"}},
		{"Party 🎉🎉 at 8️⃣pm 👩🏽‍🚀", []string{"party", "AT"}, []string{"par"}},
	} {
		at := fmt.Sprintf("c/%d", e.send("c", alice, message(tt.text)).Seq)
		for _, q := range tt.found {
			equal(e, e.search(alice, q), []string{at}, "%q in %q", q, tt.text)
		}
		for _, q := range tt.lost {
			equal(e, e.search(alice, q), []string{}, "%q in %q", q, tt.text)
		}
	}
}

// searchNewest: what is found is the whole entry, newest first, of several
// conversations, and of the same time by id.
func searchNewest(e *env) {
	e.create("a", alice)
	e.create("b", alice)
	var want []chat.Entry
	for i := range 9 {
		body := message(fmt.Sprint("red green number ", i))
		body.MediaURL, body.Mentions, body.ClientID = "https://example.org/a.png", []string{bob}, fmt.Sprint("client-", i)
		drafts := []chat.Draft{draft("ab"[i%2:i%2+1], alice, body), draft("b", alice, message("green red"))}
		out := e.commit(drafts...)
		want = append(want, entryOf(drafts[0], out[0]), entryOf(drafts[1], out[1]))
		e.send("a", owner, message("green alone"))
	}
	newestFirst(want)
	equal(e, e.find(bridge.Search{UserID: alice, Limit: lots}, "red GREEN"), want, "found")
	equal(e, e.find(bridge.Search{UserID: alice, Limit: 5}, "green red"), want[:5], "the first five")
	equal(e, e.search(alice, "red blue"), []string{}, "one of the words")
}

func newestFirst(entries []chat.Entry) {
	slices.SortFunc(entries, func(a, b chat.Entry) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.ID[:], a.ID[:]))
	})
}

// searchAtOnce: what Commit has answered is found, in a batch of one or of
// many, whatever else the message has; a repeat adds nothing; nothing but
// messages is found.
func searchAtOnce(e *env) {
	e.create("red", alice)
	for i := range 20 {
		var drafts []chat.Draft
		for k := range 1 + i*i%23 {
			body := message(fmt.Sprintf("word%d red", i))
			if k%3 == 1 {
				body.ReplyTo = 3
			}
			if i == 0 {
				body.ReplyTo = 0
			}
			drafts = append(drafts, draft("red", alice, body))
		}
		e.commit(drafts...)
		equal(e, len(e.search(alice, fmt.Sprint("word", i))), len(drafts), "batch %d", i)
		e.commit(drafts...)
		equal(e, len(e.search(alice, fmt.Sprint("word", i))), len(drafts), "batch %d, again", i)
	}
	before := len(e.search(alice, "red"))
	e.send("red", alice, react(3, "red"))
	e.send("red", alice, chat.Body{Type: chat.TypeMessage, MediaURL: "https://red/red.png"})
	_, err := e.tryRename(actor(owner), "red", "red")
	e.ok(err, "rename")
	equal(e, len(e.search(alice, "red")), before, "found after things that are no text")
	e.refuse(draft("red", nobody, message("refused")), chat.CodeForbidden, "a stranger")
	equal(e, e.search(alice, "refused"), []string{}, "a draft that was refused")
}

// searchEdits: a message is found by what it says now, at its own place.
func searchEdits(e *env) {
	e.create("c", alice)
	first := e.send("c", alice, message("one fish"))
	other := e.send("c", alice, message("two fish"))
	media := e.send("c", alice, chat.Body{Type: chat.TypeMessage, MediaURL: "https://example.org/a.png"})
	e.send("c", alice, edit(first.Seq, "red bird"))
	at := func(o bridge.Outcome) string { return fmt.Sprintf("c/%d", o.Seq) }
	equal(e, e.search(alice, "one"), []string{}, "by the old text")
	equal(e, e.search(alice, "fish"), []string{at(other)}, "by a word of another")
	equal(e, e.search(alice, "red bird"), []string{at(first)}, "by the new text")
	found := e.find(bridge.Search{UserID: alice, Limit: 1}, "red")
	equal(e, found[0].Content, "red bird", "its content")
	equal(e, found[0].Type, chat.TypeMessage, "its type")
	equal(e, found[0].CreatedAt, first.CreatedAt, "its time")

	e.commit(draft("c", alice, edit(first.Seq, "blue fish")), draft("c", alice, edit(other.Seq, "…")), draft("c", alice, edit(media.Seq, "fish too")))
	equal(e, e.search(alice, "red"), []string{}, "by the text before")
	equal(e, e.search(alice, "fish"), []string{at(media), at(first)}, "by the newest text")
	equal(e, e.find(bridge.Search{UserID: alice, Limit: 5}, "blue")[0].Content, "blue fish", "its content")

	// An edit that does not become one changes nothing.
	e.refuse(draft("c", bob, edit(first.Seq, "stranger")), chat.CodeForbidden, "a stranger")
	equal(e, e.search(alice, "stranger"), []string{}, "by a text that was refused")
	again := draft("c", alice, withClientID(edit(first.Seq, "green fish"), "again"))
	e.commit(again)
	e.send("c", alice, edit(first.Seq, "last fish"))
	e.commit(again)
	equal(e, e.search(alice, "green"), []string{}, "by an edit that was repeated")
	equal(e, e.search(alice, "last"), []string{at(first)}, "by the newest edit")
}

// searchDeletes: a deleted message is found by none of its texts.
func searchDeletes(e *env) {
	e.create("c", alice)
	e.create("d", alice)
	keep := e.send("c", alice, message("fish stays"))
	plain := e.send("c", alice, message("fish goes"))
	edited := e.send("c", alice, message("old fish"))
	e.send("c", alice, edit(edited.Seq, "new fish"))
	e.send("d", alice, message("fish in d"))
	equal(e, len(e.search(alice, "fish")), 4, "before")
	e.commit(draft("c", alice, erase(plain.Seq)), draft("c", alice, message("another")), draft("c", alice, erase(edited.Seq)))
	equal(e, e.search(alice, "fish"), []string{"d/3", fmt.Sprintf("c/%d", keep.Seq)}, "after")
	for _, q := range []string{"goes", "old", "new"} {
		equal(e, e.search(alice, q), []string{}, "%q", q)
	}
	e.ok(e.tryDelete(actor(owner), "d"), "delete the conversation")
	equal(e, e.search(alice, "fish"), []string{fmt.Sprintf("c/%d", keep.Seq)}, "without d")
	e.create("d", alice) // its stream may get the number of the old one
	for range 5 {
		e.send("d", alice, message("bird"))
	}
	equal(e, e.search(alice, "fish"), []string{fmt.Sprintf("c/%d", keep.Seq)}, "with a new d")
}

// searchOnlyOwn: nobody finds what is said where he is no member now.
func searchOnlyOwn(e *env) {
	e.create("a", alice)
	e.create("b", bob)
	e.create("c", alice, bob)
	for _, conv := range []string{"a", "b", "c"} {
		e.send(conv, owner, message("secret of "+conv))
	}
	conversations := func(user string) []string {
		all := map[string]bool{}
		for _, entry := range e.find(bridge.Search{UserID: user, Limit: lots}, "secret") {
			all[entry.Stream.Conversation()] = true
		}
		return slices.Sorted(maps.Keys(all))
	}
	equal(e, conversations(alice), []string{"a", "c"}, "alice")
	equal(e, conversations(bob), []string{"b", "c"}, "bob")
	equal(e, conversations(owner), []string{"a", "b", "c"}, "the owner")
	equal(e, len(conversations(nobody)), 0, "a stranger")
	e.remove("c", alice)
	e.send("c", owner, message("secret after"))
	equal(e, conversations(alice), []string{"a"}, "alice, who has left c")
	equal(e, e.search(alice, "after"), []string{}, "what was said since")
	e.put("c", alice, chat.RoleMember)
	equal(e, conversations(alice), []string{"a", "c"}, "alice, who is back")
	equal(e, len(e.search(alice, "after")), 1, "what was said meanwhile")
}

// searchSinceJoin: where members read from their newest join on, they find from
// there on.
func searchSinceJoin(e *env) {
	e.create("c", bob)
	e.create("d", alice)
	e.send("c", owner, message("fish before"))
	e.put("c", alice, chat.RoleMember)
	first := e.send("c", owner, message("fish since"))
	e.send("d", owner, message("fish in d"))
	both := func(want []string, when string) {
		e.Helper()
		equal(e, e.search(alice, "fish"), append([]string{"d/3"}, want...), "%s", when)
		got := e.find(bridge.Search{UserID: alice, Conversation: "c", Limit: lots}, "fish")
		equal(e, places(got), append([]string{}, want...), "%s, in c alone", when)
	}
	since := fmt.Sprintf("c/%d", first.Seq)
	both([]string{since, "c/3"}, "from the start")
	history := func(sinceJoin bool) {
		e.ok(again(func() error { return e.s.SetHistory(e.ctx, actor(owner), "c", sinceJoin) }), "set history")
	}
	history(true)
	both([]string{since}, "from joining on")
	equal(e, e.search(bob, "fish"), []string{since, "c/3"}, "by who was there")
	e.remove("c", alice)
	e.put("c", alice, chat.RoleMember)
	both(nil, "from joining again on")
	history(false)
	both([]string{since, "c/3"}, "from the start again")
}

func searchOneConversation(e *env) {
	e.create("a", alice)
	e.create("b", alice)
	e.create("c", bob)
	for _, conv := range []string{"a", "b", "c", "a"} {
		e.send(conv, owner, message("fish"))
	}
	got := e.find(bridge.Search{UserID: alice, Conversation: "a", Limit: 9}, "fish")
	equal(e, places(got), []string{"a/4", "a/3"}, "in a")
	refused := func(user, conv string, code chat.Code) {
		_, err := e.s.Search(e.ctx, bridge.Search{UserID: user, Conversation: conv, Words: []string{"fish"}, Limit: 9})
		wantCode(e, err, code, "%s in %s", user, conv)
	}
	refused(alice, "c", chat.CodeForbidden)
	refused(nobody, "a", chat.CodeForbidden)
	refused(alice, noConv, chat.CodeNotFound)
	e.remove("a", alice)
	refused(alice, "a", chat.CodeForbidden)
	refused(owner, "A", chat.CodeNotFound)
}

// searchPlainText: no text of a message or of a query means anything to the
// database.
func searchPlainText(e *env) {
	e.create("c", alice)
	texts := []string{
		`alpha`, `alpha | beta`, `!alpha`, `alpha & !beta`, `'alpha':*A`, `(alpha <-> beta)`, `alpha:*`, `alph*`, `"alpha`, `alpha"`,
		`"" OR words:alpha`, `alpha NOT beta`, `NEAR(alpha beta, 3)`, `^alpha`, `-alpha`, `alpha + beta`, `{words}: alpha`, `words : alpha`,
		`'; DROP TABLE entries; --`, `\' alpha`, `alpha\`, `%alpha_`, `$1 alpha`, "alpha\x01beta", `/1 alpha`, `AND`, `or`, `"NOT"`, `delete-all`, `rank`,
	}
	want := map[string][]string{} // by word
	var w chat.Words
	for _, text := range texts {
		at := fmt.Sprintf("c/%d", e.send("c", alice, message(text)).Seq)
		for _, word := range w.Of(text) {
			want[string(word)] = append([]string{at}, want[string(word)]...)
		}
	}
	for _, text := range texts {
		words, err := chat.ParseQuery(text)
		e.ok(err, "%q", text)
		var both []string
		for i, word := range words {
			if both = want[word]; i > 0 {
				break
			}
		}
		if len(words) > 1 {
			both = slices.DeleteFunc(slices.Clone(want[words[0]]), func(at string) bool {
				return slices.ContainsFunc(words, func(word string) bool { return !slices.Contains(want[word], at) })
			})
		}
		equal(e, e.search(alice, text), both, "search for %q", text)
	}
	e.history("c")
}

// searchPaging: pages hang together, whatever their size, also where many
// messages are of one time.
func searchPaging(e *env) {
	convs := []string{"a", "b", "c"}
	for _, conv := range convs {
		e.create(conv, alice)
	}
	for i := range 40 {
		var drafts []chat.Draft
		for k := range 3 {
			drafts = append(drafts, draft(convs[(i+k)%3], alice, message("fish")))
		}
		e.commit(drafts...)
	}
	all := e.find(bridge.Search{UserID: alice, Limit: lots}, "fish")
	equal(e, len(all), 120, "all")
	for _, size := range []int{1, 7, 50, 119, 120, 121} {
		got := e.pages(bridge.Search{UserID: alice, Limit: size}, "fish")
		equal(e, places(got), places(all), "pages of %d", size)
	}
	in := e.pages(bridge.Search{UserID: alice, Conversation: "b", Limit: 7}, "fish")
	equal(e, len(in), 40, "pages of one conversation")
}

// pages reads page after page.
func (e *env) pages(s bridge.Search, text string) (all []chat.Entry) {
	e.Helper()
	for {
		page := e.find(s, text)
		all = append(all, page...)
		if len(page) < s.Limit {
			return all
		}
		last := page[len(page)-1]
		s.At, s.ID = last.CreatedAt, last.ID
	}
}

// searchLong: in a conversation so long that it is searched in pieces nothing
// is lost between them, of frequent words and of rare ones.
func searchLong(e *env) {
	e.create("long", alice)
	e.create("short", alice)
	const n, batch = 40_000, 2000
	want := map[string][]string{}
	texts := map[int]string{1: "frequent", 97: "middling", 4096: "atedge", 7919: "rare"}
	for i := 0; i < n; {
		drafts := make([]chat.Draft, batch)
		for k := range drafts {
			words := ""
			for every, word := range texts {
				if i%every == 0 {
					words += word + " "
					want[word] = append(want[word], fmt.Sprintf("long/%d", 3+i))
				}
			}
			drafts[k] = draft("long", alice, message(words))
			i++
		}
		for k, o := range e.commit(drafts...) {
			e.ok(o.Err, "draft %d", k)
		}
		if i == n/2 {
			e.send("short", alice, message("frequent middling rare"))
			for _, word := range []string{"frequent", "middling", "rare"} {
				want[word] = append(want[word], "short/3")
			}
		}
	}
	for word, at := range want {
		slices.Reverse(at)
		if word == "frequent" {
			var got []string
			for i, page := 0, (bridge.Search{UserID: alice, Limit: 900}); i < 3; i++ {
				found := e.find(page, word)
				page.At, page.ID = found[899].CreatedAt, found[899].ID
				got = append(got, places(found)...)
			}
			equal(e, inOrder(got[:2000]), inOrder(at[:2000]), "the newest of a frequent word")
			continue
		}
		got := places(e.pages(bridge.Search{UserID: alice, Limit: 50}, word))
		equal(e, inOrder(got), inOrder(at), "%s", word)
		got = places(e.find(bridge.Search{UserID: alice, Limit: lots}, word+" frequent"))
		equal(e, inOrder(got), inOrder(at), "%s and a frequent word", word)
	}
}

func inOrder(s []string) []string { return slices.Sorted(slices.Values(s)) }

// searchClocksDiffer: entries of one stream may have times that go back, when
// two nodes write them. They are found in the order of their times all the
// same, also where a piece of the conversation ends.
func searchClocksDiffer(e *env) {
	e.create("c", alice)
	start := e.tick()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		skew := time.Duration(rng.IntN(int(bridge.SearchSlack/time.Millisecond))) * time.Millisecond
		drafts := make([]chat.Draft, 50)
		for k := range drafts {
			drafts[k] = draft("c", alice, message("fish "+strings.Repeat("x", i%3)))
		}
		_, err := e.tryCommit(start.Add(time.Duration(i)*10*time.Millisecond+skew), drafts...)
		e.ok(err, "commit")
	}
	all := e.find(bridge.Search{UserID: alice, Limit: lots}, "fish")
	want := slices.Clone(all)
	newestFirst(want)
	equal(e, places(all), places(want), "order")
	equal(e, len(all), 3000, "all")
	for _, q := range []string{"fish", "x", "xx"} {
		all := e.find(bridge.Search{UserID: alice, Limit: lots}, q)
		equal(e, places(e.pages(bridge.Search{UserID: alice, Limit: 33}, q)), places(all), "pages of %s", q)
	}
}
