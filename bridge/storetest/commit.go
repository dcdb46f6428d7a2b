package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var commitTests = []test{
	{"Whole", commitWhole},
	{"Order", commitOrder},
	{"Nothing", commitNothing},
	{"NoStream", commitNoStream},
	{"NotMember", commitNotMember},
	{"Repeat", commitRepeat},
	{"RepeatOfOthers", commitRepeatOfOthers},
	{"RepeatLater", commitRepeatLater},
	{"ServerClientID", commitServerClientID},
	{"GoodAmongBad", commitGoodAmongBad},
	{"Times", commitTimes},
	{"Unicode", commitUnicode},
	{"Sizes", commitSizes},
	{"Large", commitLarge},
}

// commitWhole: what is committed is what is read, each field of each type.
func commitWhole(e *env) {
	e.create("c", alice, bob)
	bodies := []chat.Body{
		{Type: chat.TypeMessage, Content: "hi"},
		{Type: chat.TypeMessage, MediaURL: "https://example.com/a.png?b=c&d=%20"},
		{Type: chat.TypeMessage, Content: "all", MediaURL: "http://example.com", ReplyTo: 4,
			Mentions: []string{bob, nobody, "a.b@c:d-e_F"}, ClientID: "m-1"},
		{Type: chat.TypeEdit, Target: 4, Content: "hi!", ClientID: "e-1"},
		{Type: chat.TypeReaction, Target: 4, Emoji: "👍", ClientID: "r-1"},
		{Type: chat.TypeReaction, Target: 4, Emoji: "👍", Remove: true, ClientID: "r-2"},
		{Type: chat.TypeDelete, Target: 5, ClientID: "d-1"},
	}
	var want []chat.Entry
	for i, b := range bodies {
		d := draft("c", alice, b)
		now := e.tick()
		out, err := e.tryCommit(now, d)
		e.ok(err, "commit")
		e.ok(out[0].Err, "commit of %v", b)
		equal(e, out[0], bridge.Outcome{ID: d.ID, Seq: uint64(4 + i), CreatedAt: now}, "outcome")
		want = append(want, entryOf(d, out[0]))
	}
	want[1] = erased(want[1])
	equal(e, e.history("c")[3:], want, "what was committed")
}

// commitOrder: drafts of a batch are appended in their order, and each
// stream counts for itself.
func commitOrder(e *env) {
	e.create("c0")
	e.create("c1", alice)
	e.create("c2", alice, bob)
	heads := []uint64{1, 2, 3}
	for size := 1; size < 40; size += 7 {
		var drafts []chat.Draft
		for i := range size {
			drafts = append(drafts, draft(fmt.Sprintf("c%d", i*i%3), owner, message(fmt.Sprint(size, i))))
		}
		for i, o := range e.commit(drafts...) {
			e.ok(o.Err, "draft %d", i)
			heads[i*i%3]++
			if o.ID != drafts[i].ID || o.Seq != heads[i*i%3] {
				e.Errorf("draft %d of %d got seq %d, want %d", i, size, o.Seq, heads[i*i%3])
			}
		}
	}
	for i, head := range heads {
		if got := e.history(fmt.Sprintf("c%d", i)); uint64(len(got)) != head {
			e.Errorf("c%d has %d entries, want %d", i, len(got), head)
		}
	}
}

func commitNothing(e *env) {
	e.ok(e.s.Commit(e.ctx, e.tick(), nil, nil), "commit of nothing")
	e.create("c")
	if out := e.commit(draft("c", nobody, message("x"))); codeOf(out[0].Err) != chat.CodeForbidden {
		e.Errorf("answered %v", out[0].Err)
	}
	if n := len(e.history("c")); n != 1 {
		e.Errorf("a refused draft left something: %d entries", n)
	}
}

func commitNoStream(e *env) {
	e.create("c", alice)
	e.refuse(draft("d", alice, message("x")), chat.CodeNotFound, "a conversation that never was")
	e.refuse(draft("C", alice, message("x")), chat.CodeNotFound, "an id in another case")
	e.refuse(chat.Draft{ID: newID(), Stream: chat.NotificationStream(nobody), SenderID: alice,
		Body: withClientID(message("x"), "n1")}, chat.CodeNotFound, "a stream of notifications that never was")
	e.refuse(draft("d", nobody, edit(7, "x")), chat.CodeNotFound, "before membership and target")
	e.ok(e.tryDelete(serverAdmin, "c"), "delete")
	e.refuse(draft("c", alice, message("x")), chat.CodeNotFound, "a deleted conversation")
}

func commitNotMember(e *env) {
	e.create("c", alice, bob)
	e.create("other", carol)
	mine := e.send("c", bob, withClientID(message("mine"), "b-1"))
	nameless := draft("c", bob, message("without a clientId"))
	committed := e.commit(nameless)[0]
	e.refuse(draft("c", nobody, message("x")), chat.CodeForbidden, "a stranger")
	e.refuse(draft("c", carol, message("x")), chat.CodeForbidden, "a member of another conversation")
	e.refuse(draft("c", "Alice", message("x")), chat.CodeForbidden, "a member's name in another case")
	e.refuse(draft("c", serverAdmin.UserID, message("x")), chat.CodeForbidden, "whoever is admin of the server")
	e.refuse(draft("c", nobody, edit(maxSeq, "x")), chat.CodeForbidden, "membership comes before the target")

	e.remove("c", bob)
	e.refuse(draft("c", bob, message("x")), chat.CodeForbidden, "a member that was removed")
	e.refuse(draft("c", bob, edit(mine.Seq, "x")), chat.CodeForbidden, "the author after it was removed")
	e.refuse(draft("c", bob, withClientID(message("mine"), "b-1")), chat.CodeForbidden, "membership comes before repeats")
	e.wantRepeat(nameless, committed, "the same draft again, as after an answer that was lost")

	e.put("c", bob, chat.RoleMember)
	e.send("c", bob, message("again"))
	_, err := e.tryRemove(actor(bob), "c", bob)
	e.ok(err, "leave")
	e.refuse(draft("c", bob, message("x")), chat.CodeForbidden, "a member that left")
	e.history("c")
}

// wantRepeat commits the draft, which must be answered as a repeat of first.
func (e *env) wantRepeat(d chat.Draft, first bridge.Outcome, why string) {
	e.Helper()
	first.Repeat = true
	equal(e, e.commit(d)[0], first, "%s", why)
}

func commitRepeat(e *env) {
	e.create("c", alice, bob)
	send := func(id string, b chat.Body) chat.Draft { return draft("c", alice, withClientID(b, id)) }
	first := e.send("c", alice, withClientID(message("first"), "a-1"))
	e.wantRepeat(send("a-1", message("first")), first, "the same again")
	e.wantRepeat(send("a-1", message("other words")), first, "other words")
	e.wantRepeat(send("a-1", react(4, "👍")), first, "another type")
	e.wantRepeat(send("a-1", edit(maxSeq, "x")), first, "repeats come before the target")
	e.wantRepeat(send("a-1", edit(1, "x")), first, "repeats come before the target's type")
	e.wantRepeat(send("a-1", reply(99)), first, "repeats come before what it replies to")

	bobs := e.send("c", bob, message("bob's"))
	e.wantRepeat(send("a-1", erase(bobs.Seq)), first, "repeats come before the role")

	gone := e.send("c", alice, withClientID(erase(first.Seq), "a-2"))
	e.wantRepeat(send("a-2", erase(first.Seq)), gone, "a delete again")
	e.wantRepeat(send("a-1", message("first")), first, "a message that was deleted")

	// New ones and repeats in one batch: the new ones get the next seqs.
	head := e.head("c").Head
	out := e.commit(send("a-3", message("x")), send("a-1", message("x")), send("a-4", message("x")),
		send("a-2", message("x")), send("a-5", message("x")))
	repeat := func(o bridge.Outcome) bridge.Outcome { o.Repeat = true; return o }
	equal(e, out[1], repeat(first), "a repeat among new ones")
	equal(e, out[3], repeat(gone), "a second repeat among new ones")
	got := []uint64{out[0].Seq, out[2].Seq, out[4].Seq}
	equal(e, got, []uint64{head + 1, head + 2, head + 3}, "seqs of the new ones")
	if n := uint64(len(e.history("c"))); n != head+3 {
		e.Errorf("there are %d entries, want %d", n, head+3)
	}
	// And nothing but repeats, in one batch of their own.
	out = e.commit(send("a-4", message("x")), send("a-3", message("x")))
	equal(e, []uint64{out[0].Seq, out[1].Seq}, []uint64{head + 2, head + 1}, "seqs of repeats")
	equal(e, e.head("c").Head, head+3, "head after repeats")
}

// commitRepeatOfOthers: a clientId counts for one sender and one stream.
func commitRepeatOfOthers(e *env) {
	e.create("c", alice, bob)
	e.create("d", alice, bob)
	all := []string{alice, bob, owner}
	var drafts []chat.Draft
	for _, conv := range []string{"c", "d"} {
		for _, user := range all {
			for _, id := range []string{"x-1", "X-1", "x-1.", "x"} {
				drafts = append(drafts, draft(conv, user, withClientID(message(conv+user+id), id)))
			}
		}
	}
	var want []bridge.Outcome
	for i, o := range e.commit(drafts...) {
		if o.Err != nil || o.Repeat || o.ID != drafts[i].ID {
			e.Fatalf("%s by %s in %s: %+v", drafts[i].ClientID, drafts[i].SenderID, drafts[i].Stream, o)
		}
		o.Repeat = true
		want = append(want, o)
	}
	for i := range drafts {
		drafts[i].ID = newID()
	}
	equal(e, e.commit(drafts...), want, "all again")
	equal(e, len(e.history("c")), 3+12, "entries of c")
}

// commitRepeatLater: a clientId holds for ever.
func commitRepeatLater(e *env) {
	e.create("c", alice, bob)
	again := func() chat.Draft { return draft("c", alice, withClientID(message("x"), "a-1")) }
	e.refuse(draft("c", carol, withClientID(message("x"), "k-1")), chat.CodeForbidden, "not a member yet")
	first := e.send("c", alice, withClientID(message("x"), "a-1"))
	for range 10 {
		var drafts []chat.Draft
		for range 50 {
			drafts = append(drafts, draft("c", bob, message("in between")))
		}
		e.commit(drafts...)
	}
	e.wantRepeat(again(), first, "after 500 others")
	e.remove("c", alice)
	e.refuse(again(), chat.CodeForbidden, "after the sender left")
	e.put("c", alice, chat.RoleAdmin)
	e.wantRepeat(again(), first, "after the sender came back")
	_, err := e.tryRename(actor(owner), "c", "another name")
	e.ok(err, "rename")
	e.wantRepeat(again(), first, "after a new name")
	e.reopen()
	e.wantRepeat(again(), first, "after a restart")

	// What was refused leaves nothing that a repeat could find.
	e.put("c", carol, chat.RoleMember)
	if o := e.commit(draft("c", carol, withClientID(message("x"), "k-1")))[0]; o.Err != nil || o.Repeat {
		e.Errorf("sent again after a refusal: %+v", o)
	}
}

// commitServerClientID: an id that Submit made begins with "~". It guards
// retries like any other and is shown to nobody.
func commitServerClientID(e *env) {
	e.create("c", alice)
	d := draft("c", alice, message("x"))
	first := e.commit(d)[0]
	e.ok(first.Err, "commit")
	e.wantRepeat(d, first, "the same draft again")
	other := e.send("c", alice, message("x"))
	if other.Seq != first.Seq+1 {
		e.Errorf("two drafts without a clientId: seqs %d and %d", first.Seq, other.Seq)
	}
	for _, entry := range e.history("c") {
		if entry.ClientID != "" {
			e.Errorf("entry %d shows the clientId %q", entry.Seq, entry.ClientID)
		}
	}
	before, err := e.s.Before(e.ctx, d.Stream, 0, 1)
	e.ok(err, "before")
	list, err := e.s.Conversations(e.ctx, alice, bridge.Page{Limit: 10})
	e.ok(err, "conversations")
	if before[0].ClientID != "" || list[0].Last.ClientID != "" {
		e.Errorf("shown: %q by Before, %q by Conversations", before[0].ClientID, list[0].Last.ClientID)
	}
}

// commitGoodAmongBad: one draft that is refused does not hurt the others.
func commitGoodAmongBad(e *env) {
	e.create("c", alice, bob)
	e.create("d", alice)
	mine := e.send("c", alice, message("mine"))
	var drafts []chat.Draft
	var want []chat.Code
	add := func(d chat.Draft, code chat.Code) {
		drafts, want = append(drafts, d), append(want, code)
	}
	for i := range 3 {
		add(draft("c", nobody, message("bad")), chat.CodeForbidden)
		add(draft("c", alice, message("good")), "")
		add(draft("none", alice, message("bad")), chat.CodeNotFound)
		add(draft("d", alice, message("good")), "")
		add(draft("d", bob, message("bad")), chat.CodeForbidden)
		add(draft("c", bob, message("good")), "")
		add(draft("c", alice, edit(maxSeq-uint64(i), "bad")), chat.CodeNotFound)
		add(draft("c", alice, reply(1)), chat.CodeNotFound)
		add(draft("c", bob, react(mine.Seq, "🙂")), "")
		add(draft("c", alice, react(2, "🙂")), chat.CodeNotFound)
	}
	add(draft("c", bob, edit(mine.Seq, "bad")), chat.CodeForbidden)
	add(draft("d", alice, message("good")), "")
	heads := map[chat.StreamID]uint64{"c/c": 4, "c/d": 2}
	for i, o := range e.commit(drafts...) {
		if want[i] != "" {
			wantRefused(e, o, want[i], fmt.Sprintf("draft %d", i))
			continue
		}
		heads[drafts[i].Stream]++
		if o.Err != nil || o.Seq != heads[drafts[i].Stream] || o.ID != drafts[i].ID {
			e.Errorf("draft %d: %+v, want seq %d", i, o, heads[drafts[i].Stream])
		}
	}
	equal(e, uint64(len(e.history("c"))), heads["c/c"], "entries of c")
	equal(e, uint64(len(e.history("d"))), heads["c/d"], "entries of d")
	// A batch in which all are bad.
	for i, o := range e.commit(drafts[0], drafts[2], drafts[4]) {
		if o.Err == nil {
			e.Errorf("bad draft %d was taken", i)
		}
	}
}

// commitTimes: times are UTC and whole milliseconds, whatever now is.
func commitTimes(e *env) {
	e.create("c", alice)
	zone := time.FixedZone("far east", 13*3600+1800)
	for i, now := range []time.Time{
		time.Date(2026, 11, 22, 22, 1, 33, 123456789, time.UTC),
		time.Date(2026, 11, 23, 10, 1, 33, 123999999, zone),
		time.Date(2026, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 1, 1, 0, 0, 0, 1e6, zone), // clocks go back
	} {
		d := draft("c", alice, withClientID(message("x"), fmt.Sprint(i)))
		out, err := e.tryCommit(now, d)
		e.ok(err, "commit")
		e.ok(out[0].Err, "commit")
		wantTime(e, out[0].CreatedAt, now, "the outcome's CreatedAt")
		wantTime(e, e.read("c", out[0].Seq-1, 1)[0].CreatedAt, now, "the entry's CreatedAt")
		wantTime(e, e.list(alice, bridge.Page{Limit: 1})[0].LastAt, now, "the conversation's LastAt")
		repeated, err := e.tryCommit(now.Add(time.Hour), d)
		e.ok(err, "commit")
		wantTime(e, repeated[0].CreatedAt, now, "the repeat's CreatedAt")
	}
}

// commitUnicode sends every character of the first plane and many of all
// others. U+0000 and surrogates are refused before they come here.
func commitUnicode(e *env) {
	e.create("c", alice)
	var texts []string
	var text strings.Builder
	next := func() {
		texts = append(texts, text.String())
		text.Reset()
	}
	for r := rune(1); r <= 0x10FFFF; r++ {
		if r >= 0xD800 && r < 0xE000 {
			continue
		}
		if r > 0xFFFF && r%61 != 0 && r&0xFFFF < 0xFFF0 {
			continue
		}
		if text.Len() > chat.MaxContent-4 {
			next()
		}
		text.WriteRune(r)
	}
	next()
	texts = append(texts, "e\u0301 is not \u00e9", "'; DROP TABLE entries; --", `\x00 \u0000 \\ " ' $1 ?1 %s`,
		"\r\n\t\v\u2028\u2029\ufeff", "👩‍👩‍👧‍👦🏳️‍🌈", "{}", "null", "<3 & >", " padded ")
	var drafts []chat.Draft
	for _, s := range texts {
		drafts = append(drafts, draft("c", alice, message(s)))
	}
	e.commit(drafts...)
	got := e.history("c")[2:]
	if len(got) != len(texts) {
		e.Fatalf("%d texts came back as %d entries", len(texts), len(got))
	}
	for i, s := range texts {
		if got[i].Content != s {
			e.Errorf("text %d came back changed: %+q, want %+q", i, show(got[i].Content), show(s))
		}
	}
}

// commitSizes: everything may be as long as the contract lets it be.
func commitSizes(e *env) {
	long := func(c string) string { return strings.Repeat(c, chat.MaxID/len(c)) }
	conv, user, id := long("C"), long("u:"), long("0.")
	e.create(conv, user)
	e.create(conv[1:], user)
	mentions := make([]string, chat.MaxMentions)
	for i := range mentions {
		mentions[i] = fmt.Sprintf("%02d%s", i, user[2:])
	}
	url := "https://example.com/"
	url += strings.Repeat("&", chat.MaxMediaURL-len(url))
	d := draft(conv, user, chat.Body{Type: chat.TypeMessage, Content: strings.Repeat("🐘", chat.MaxContent/4),
		MediaURL: url, Mentions: mentions, ClientID: id})
	o := e.commit(d)[0]
	e.ok(o.Err, "the largest message")
	equal(e, e.read(conv, o.Seq-1, 1), []chat.Entry{entryOf(d, o)}, "the largest message")

	r := draft(conv, user, react(o.Seq, strings.Repeat("👍", chat.MaxEmoji/4)))
	reaction := e.commit(r)[0]
	e.ok(reaction.Err, "the largest reaction")
	equal(e, e.read(conv, reaction.Seq-1, 1), []chat.Entry{entryOf(r, reaction)}, "the largest reaction")

	name := strings.Repeat("ß", chat.MaxName/2)
	renamed, err := e.tryRename(actor(owner), conv, name)
	e.ok(err, "the longest name")
	equal(e, renamed.Name, name, "the longest name")
	equal(e, e.conversation(conv).Name, name, "the longest name")
}

// commitLarge: a batch as large as a lane makes them, over many streams.
func commitLarge(e *env) {
	const streams, batch = 50, 512
	for i := range streams {
		e.create(fmt.Sprintf("c%d", i), alice)
	}
	want := make([][]chat.Entry, streams)
	for _, size := range []int{0, chat.MaxContent} {
		drafts := make([]chat.Draft, batch)
		for i := range drafts {
			text := fmt.Sprint(i, strings.Repeat("x", max(0, size-10)))
			drafts[i] = draft(fmt.Sprintf("c%d", i%streams), slices.Repeat([]string{owner, alice}, 2)[i/streams%4], message(text))
		}
		for i, o := range e.commit(drafts...) {
			e.ok(o.Err, "draft %d", i)
			want[i%streams] = append(want[i%streams], entryOf(drafts[i], o))
		}
	}
	for i := range streams {
		equal(e, e.history(fmt.Sprintf("c%d", i))[2:], want[i], "entries of c%d", i)
	}
}
