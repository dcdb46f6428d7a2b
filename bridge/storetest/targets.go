package storetest

import (
	"strings"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var targetTests = []test{
	{"Types", targetTypes},
	{"ReplyTypes", targetReplyTypes},
	{"Roles", targetRoles},
	{"Deleted", targetDeleted},
	{"Erasure", targetErasure},
	{"ErasureAlone", targetErasureAlone},
	{"MessageThenTarget", targetNextBatch},
}

// everyType makes a conversation that has an entry of every type, and says
// where each stands. There are two messages; the second is deleted.
func everyType(e *env, conv string) map[string]uint64 {
	e.Helper()
	e.create(conv, alice, bob, carol)
	at := map[string]uint64{"join": 2}
	at["message"] = e.send(conv, alice, message("stays")).Seq
	at["deleted message"] = e.send(conv, alice, message("goes")).Seq
	at["edit"] = e.send(conv, alice, edit(at["message"], "stays!")).Seq
	at["reaction"] = e.send(conv, alice, react(at["message"], "👍")).Seq
	at["delete"] = e.send(conv, alice, erase(at["deleted message"])).Seq
	at["leave"] = e.remove(conv, carol).Seq
	renamed, err := e.tryRename(actor(owner), conv, "renamed")
	e.ok(err, "rename")
	at["rename"] = renamed.Seq
	return at
}

// targetTypes: a target is a message of the stream that is not deleted.
func targetTypes(e *env) {
	at := everyType(e, "c")
	e.create("long", alice)
	for range 20 {
		e.send("long", alice, message("a seq that c does not have"))
	}
	at["head+1"] = e.head("c").Head + 100
	at["another stream's"] = e.head("long").Head
	at["the largest"] = maxSeq
	for name, seq := range at {
		for _, b := range []chat.Body{edit(seq, "x"), erase(seq), react(seq, "x")} {
			if name != "message" {
				e.refuse(draft("c", alice, b), chat.CodeNotFound, b.Type.String()+" of: "+name)
			}
		}
	}
	head := e.head("c").Head
	e.send("c", alice, edit(at["message"], "x"))
	e.send("c", bob, react(at["message"], "x"))
	e.send("c", alice, erase(at["message"]))
	equal(e, e.head("c").Head, head+3, "head")
	e.history("c")
}

// targetReplyTypes: what a message replies to is a message, deleted or not.
func targetReplyTypes(e *env) {
	at := everyType(e, "c")
	at["head+1"] = e.head("c").Head + 100
	at["the largest"] = maxSeq
	for name, seq := range at {
		if strings.HasSuffix(name, "message") {
			o := e.send("c", bob, reply(seq))
			equal(e, e.read("c", o.Seq-1, 1)[0].ReplyTo, seq, "replyTo of a reply to: %s", name)
		} else {
			e.refuse(draft("c", bob, reply(seq)), chat.CodeNotFound, "a reply to: "+name)
		}
	}
	e.history("c")
}

// targetRoles: an edit or a delete wants the author, an owner or an admin.
func targetRoles(e *env) {
	const admin = "adam"
	e.create("c", alice, bob, admin)
	e.put("c", admin, chat.RoleAdmin)
	try := func(sender, author string, allowed bool) {
		e.Helper()
		want := map[bool]chat.Code{true: "", false: chat.CodeForbidden}[allowed]
		for _, b := range []chat.Body{edit(0, "x"), erase(0)} {
			b.Target = e.send("c", author, message("by "+author)).Seq
			o := e.commit(draft("c", sender, b))[0]
			wantCode(e, o.Err, want, "%s by %s of what %s wrote", b.Type, sender, author)
		}
		e.send("c", sender, react(e.send("c", author, message("x")).Seq, "x"))
	}
	for _, author := range []string{owner, admin, alice} {
		try(owner, author, true)
		try(admin, author, true)
		try(bob, author, false)
		try(author, author, true)
	}
	e.put("c", admin, chat.RoleMember)
	try(admin, alice, false)
	e.put("c", bob, chat.RoleAdmin)
	try(bob, alice, true)

	// The role is that of now, the author's right outlives a leave.
	before := e.send("c", alice, message("before I left")).Seq
	e.remove("c", alice)
	e.put("c", alice, chat.RoleMember)
	e.send("c", alice, edit(before, "after I came back"))
	e.remove("c", bob)
	e.put("c", bob, chat.RoleMember)
	o := e.commit(draft("c", bob, edit(before, "x")))[0]
	wantRefused(e, o, chat.CodeForbidden, "one who was admin before it left")

	// What is missing is said before what is not allowed.
	e.send("c", alice, erase(before))
	e.refuse(draft("c", bob, edit(before, "x")), chat.CodeNotFound, "a member's edit of another's deleted message")
	e.refuse(draft("c", bob, erase(1)), chat.CodeNotFound, "a member's delete of a join")
}

// targetDeleted: after a delete nothing new can be hung on the target.
func targetDeleted(e *env) {
	e.create("c", alice, bob)
	seq := e.send("c", alice, message("x")).Seq
	e.send("c", alice, erase(seq))
	for _, sender := range []string{alice, owner, bob} {
		for _, b := range []chat.Body{edit(seq, "x"), erase(seq), react(seq, "x")} {
			e.refuse(draft("c", sender, b), chat.CodeNotFound, b.Type.String()+" of a deleted message")
		}
	}
	equal(e, e.read("c", seq-1, 1)[0].Deleted, true, "Deleted")
}

// targetErasure: what was deleted is in no answer any more.
func targetErasure(e *env) {
	const secret = "the-secret"
	e.create("c", alice, bob, secret)
	e.create("d", alice)
	kept := e.send("c", alice, message("kept")).Seq
	e.send("d", alice, message("kept, and at the same seq in another stream"))
	d := draft("c", alice, chat.Body{Type: chat.TypeMessage, Content: secret, MediaURL: "https://" + secret,
		ReplyTo: kept, Mentions: []string{secret}, ClientID: "a-1"})
	target := e.commit(d)[0]
	e.ok(target.Err, "send")
	for range int(target.Seq) { // so that d has the same seqs
		e.send("d", alice, message("kept"))
	}
	e.send("c", alice, edit(target.Seq, secret+" first"))
	e.send("c", owner, withClientID(edit(target.Seq, secret+" second"), "e-2"))
	e.send("c", alice, edit(kept, "kept, edited"))
	e.send("d", alice, edit(target.Seq, "kept, an edit of the same seq in another stream"))
	e.send("c", bob, reply(target.Seq))
	e.send("c", bob, react(target.Seq, "👍"))
	before, other := e.history("c"), e.history("d")
	gone := draft("c", owner, withClientID(erase(target.Seq), "d-1"))
	o := e.commit(gone)[0]
	e.ok(o.Err, "delete")

	want := append(before, entryOf(gone, o))
	for i := range want {
		if want[i].Seq == target.Seq || want[i].Type == chat.TypeEdit && want[i].Target == target.Seq {
			want[i] = erased(want[i])
		}
	}
	check := func(e *env, when string) {
		equal(e, e.history("c"), want, "history %s", when)
		equal(e, e.history("d"), other, "the other stream %s", when)
		for _, got := range answers(e, "c", bob) {
			for _, entry := range got {
				text := entry.Content + entry.MediaURL + strings.Join(entry.Mentions, " ")
				if strings.Contains(text, secret) {
					e.Errorf("%s: entry %d still says %q", when, entry.Seq, text)
				}
			}
		}
	}
	check(e, "after a delete")
	// Its clientId still stands for the first entry, and brings nothing back.
	e.wantRepeat(d, target, "the deleted message sent again")
	check(e, "after it was sent again")
	e.reopen()
	check(e, "after a restart")
}

// answers collects all that a store answers about entries.
func answers(e *env, conv, user string) [][]chat.Entry {
	e.Helper()
	stream := chat.ConversationStream(conv)
	all := [][]chat.Entry{e.read(conv, 0, lots)}
	for seq := range e.head(conv).Head {
		all = append(all, e.read(conv, seq, 1))
	}
	before, err := e.s.Before(e.ctx, stream, 0, lots)
	e.ok(err, "before")
	list, err := e.s.Conversations(e.ctx, user, bridge.Page{Limit: lots})
	e.ok(err, "conversations")
	for _, line := range list {
		if line.Last != nil {
			before = append(before, *line.Last)
		}
	}
	return append(all, before)
}

// targetErasureAlone: one delete erases its own target and nothing else,
// also when several stand in one batch.
func targetErasureAlone(e *env) {
	e.create("c", alice, bob)
	var drafts []chat.Draft
	for range 12 {
		drafts = append(drafts, draft("c", alice, chat.Body{Type: chat.TypeMessage, Content: "x", MediaURL: "https://x", Mentions: []string{bob}}))
	}
	var edits, erases []chat.Draft
	first := e.commit(drafts...)[0].Seq
	for i := range uint64(12) {
		edits = append(edits, draft("c", alice, edit(first+i, "edited")))
		if i%3 == 1 {
			erases = append(erases, draft("c", owner, erase(first+i)))
		}
	}
	e.commit(edits...)
	for _, o := range e.commit(erases...) {
		e.ok(o.Err, "delete")
	}
	for _, entry := range e.history("c")[3:] {
		about := entry.Seq
		if entry.Target != 0 {
			about = entry.Target
		}
		gone := (about-first)%3 == 1 && entry.Type != chat.TypeDelete
		empty := entry.Content == "" && entry.MediaURL == "" && entry.Mentions == nil
		if entry.Deleted != gone || entry.Type != chat.TypeDelete && empty != gone {
			e.Errorf("entry %d (%s of %d): deleted %v, empty %v", entry.Seq, entry.Type, about, entry.Deleted, empty)
		}
	}
}

// targetNextBatch: what one Commit wrote is a target for the next.
func targetNextBatch(e *env) {
	e.create("c", alice)
	for range 20 {
		seq := e.send("c", alice, message("x")).Seq
		out := e.commit(draft("c", alice, edit(seq, "y")), draft("c", alice, reply(seq)), draft("c", owner, react(seq, "z")))
		for i, o := range out {
			if o.Err != nil || o.Seq != seq+1+uint64(i) {
				e.Errorf("draft %d: %+v", i, o)
			}
		}
	}
	e.history("c")
}
