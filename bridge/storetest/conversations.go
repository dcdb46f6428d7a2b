package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var conversationTests = []test{
	{"Create", conversationCreate},
	{"CreateAgain", conversationCreateAgain},
	{"Missing", conversationMissing},
	{"Rename", conversationRename},
	{"Delete", conversationDelete},
	{"IDAgain", conversationIDAgain},
	{"List", conversationList},
	{"ListPages", conversationListPages},
	{"ListOrder", conversationListOrder},
	{"ListLast", conversationListLast},
	{"Reopen", conversationReopen},
}

func conversationCreate(e *env) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.FixedZone("x", 3600))
	at := now.UTC().Truncate(time.Millisecond)
	for n, members := range [][]string{nil, {alice}, {"zoe", alice, "Alice", bob}} {
		c := newConversation(fmt.Sprint("c", n), members...)
		c.Name = "Überschrift 🐘 '\""
		conv, entries, created, err := e.tryCreate(now, c)
		e.ok(err, "create")
		want := bridge.Conversation{ID: c.ID, Name: c.Name, OwnerID: owner, CreatedAt: at,
			HeadSeq: uint64(1 + len(members)), FirstSeq: 1, Size: 1 + len(members)}
		var joins []chat.Entry
		for i, user := range append([]string{owner}, members...) {
			seq := uint64(i + 1)
			role := chat.RoleMember
			if i == 0 {
				role = chat.RoleOwner
			}
			want.Members = append(want.Members, bridge.Member{UserID: user, Role: role, JoinedAt: at, JoinedSeq: seq})
			joins = append(joins, chat.Entry{ID: c.JoinIDs[i], Stream: chat.ConversationStream(c.ID), Seq: seq,
				SenderID: owner, CreatedAt: at, Body: chat.Body{Type: chat.TypeJoin, UserID: user}})
		}
		equal(e, created, true, "created")
		equal(e, conv, want, "what create answers")
		equal(e, normalAll(entries), joins, "the entries that create answers")
		equal(e, e.conversation(c.ID), want, "the conversation")
		equal(e, e.history(c.ID), joins, "the history")
		wantTime(e, conv.CreatedAt, now, "createdAt")
	}
	// No name is a name, and a thousand members are members.
	c := newConversation("many")
	c.Name = ""
	for i := range chat.MaxFirstMembers {
		c.Members = append(c.Members, fmt.Sprintf("user-%d", i))
	}
	c.JoinIDs = newIDs(1 + len(c.Members))
	conv, entries, _, err := e.tryCreate(e.tick(), c)
	e.ok(err, "create")
	equal(e, len(entries), 1+chat.MaxFirstMembers, "entries")
	equal(e, e.conversation("many"), conv, "the conversation")
	equal(e, conv.Name, "", "name")
	for i, m := range conv.Members[1:] {
		if m.UserID != c.Members[i] || m.JoinedSeq != uint64(i+2) {
			e.Fatalf("member %d is %+v, want %s", i, m, c.Members[i])
		}
	}
	e.send("many", "user-999", message("x"))
}

// conversationCreateAgain: the same id by the same owner answers what
// stands; by another it is a conflict.
func conversationCreateAgain(e *env) {
	e.create("c", alice)
	e.send("c", alice, message("x"))
	e.put("c", bob, chat.RoleAdmin)
	e.remove("c", alice)
	_, err := e.tryRename(actor(owner), "c", "renamed")
	e.ok(err, "rename")
	stands, history := e.conversation("c"), e.history("c")

	conv, entries, created, err := e.tryCreate(e.tick(), newConversation("c", carol))
	e.ok(err, "create again")
	if created || len(entries) != 0 {
		e.Errorf("create again: created %v, %d entries", created, len(entries))
	}
	equal(e, conv, stands, "what create again answers")
	for _, other := range []string{alice, bob, nobody, "Olga"} {
		c := newConversation("c")
		c.OwnerID = other
		_, _, created, err = e.tryCreate(e.tick(), c)
		wantCode(e, err, chat.CodeConflict, "create by %s", other)
		equal(e, created, false, "created by %s", other)
	}
	equal(e, e.conversation("c"), stands, "the conversation after it all")
	equal(e, e.history("c"), history, "the history after it all")

	// Ids differ by case.
	c := newConversation("C")
	c.OwnerID = alice
	_, _, created, err = e.tryCreate(e.tick(), c)
	e.ok(err, "create C")
	equal(e, created, true, "created C")
}

func conversationMissing(e *env) {
	e.create("c", alice)
	_, err := e.s.Conversation(e.ctx, noConv)
	wantCode(e, err, chat.CodeNotFound, "get")
	_, err = e.s.Conversation(e.ctx, "C")
	wantCode(e, err, chat.CodeNotFound, "get in another case")
	for _, a := range []bridge.Actor{serverAdmin, actor(owner), actor(nobody)} {
		_, err = e.tryRename(a, noConv, "x")
		wantCode(e, err, chat.CodeNotFound, "rename")
		wantCode(e, e.tryDelete(a, noConv), chat.CodeNotFound, "delete")
		_, _, err = e.tryPut(a, noConv, alice, chat.RoleMember)
		wantCode(e, err, chat.CodeNotFound, "put a member")
		_, err = e.tryRemove(a, noConv, alice)
		wantCode(e, err, chat.CodeNotFound, "remove a member")
	}
}

// cast is everybody who may ask for a change: each role, and who has none.
var cast = []struct {
	actor bridge.Actor
	role  chat.Role
}{
	{actor(owner), chat.RoleOwner},
	{actor("adam"), chat.RoleAdmin},
	{actor(alice), chat.RoleMember},
	{actor("left"), chat.RoleNone},
	{actor(nobody), chat.RoleNone},
	{actor(""), chat.RoleNone},
	{serverAdmin, chat.RoleNone},
	{bridge.Actor{UserID: alice, Admin: true}, chat.RoleMember},
}

// createCast makes a conversation with the cast in it.
func (e *env) createCast(id string) {
	e.Helper()
	e.create(id, "adam", alice, "left")
	e.put(id, "adam", chat.RoleAdmin)
	e.remove(id, "left")
}

func conversationRename(e *env) {
	e.createCast("c")
	for _, who := range cast {
		before, history := e.conversation("c"), e.history("c")
		id, name, now := newID(), "named by "+who.actor.UserID, e.tick()
		var entry chat.Entry
		err := again(func() (err error) {
			entry, err = e.s.RenameConversation(e.ctx, now, who.actor, "c", name, id)
			return err
		})
		refused := bridge.CheckRename(who.actor, who.role)
		wantCode(e, err, codeOf(refused), "rename by %+v", who.actor)
		if refused == nil {
			want := chat.Entry{ID: id, Stream: "c/c", Seq: before.HeadSeq + 1, SenderID: who.actor.UserID,
				CreatedAt: now, Body: chat.Body{Type: chat.TypeRename, Name: name}}
			equal(e, normal(entry), want, "the entry")
			history = append(history, want)
			before.Name, before.HeadSeq = name, want.Seq
		}
		equal(e, e.conversation("c"), before, "after a rename by %+v", who.actor)
		equal(e, e.history("c"), history, "history after a rename by %+v", who.actor)
	}
	// The same name again, and none, are names like others.
	for _, name := range []string{"x", "x", "", "🐘"} {
		entry, err := e.tryRename(actor(owner), "c", name)
		e.ok(err, "rename to %q", name)
		equal(e, entry.Name, name, "name")
		equal(e, e.conversation("c").Name, name, "name")
	}
}

func conversationDelete(e *env) {
	for i, who := range cast {
		id := fmt.Sprint("c", i)
		e.createCast(id)
		e.fill("other"+id, 5)
		before, history := e.conversation(id), e.history(id)
		refused := bridge.CheckDelete(who.actor, who.role)
		wantCode(e, e.tryDelete(who.actor, id), codeOf(refused), "delete by %+v", who.actor)
		if refused != nil {
			equal(e, e.conversation(id), before, "after a refused delete")
			equal(e, e.history(id), history, "after a refused delete")
			continue
		}
		e.wantGone(id)
		wantCode(e, e.tryDelete(who.actor, id), chat.CodeNotFound, "delete again")
		equal(e, len(e.history("other"+id)), 5, "entries of another conversation")
	}
}

// wantGone checks that nothing is left of a conversation.
func (e *env) wantGone(id string) {
	e.Helper()
	_, err := e.s.Conversation(e.ctx, id)
	wantCode(e, err, chat.CodeNotFound, "get %s", id)
	equal(e, e.head(id), bridge.Head{}, "head of %s", id)
	equal(e, e.read(id, 0, lots), []chat.Entry{}, "entries of %s", id)
	before, err := e.s.Before(e.ctx, chat.ConversationStream(id), 0, lots)
	e.ok(err, "before")
	equal(e, len(before), 0, "entries before the head of %s", id)
	for _, who := range cast {
		key := bridge.MemberKey{Conversation: id, UserID: who.actor.UserID}
		equal(e, e.membership(id, who.actor.UserID), bridge.Membership{MemberKey: key}, "a membership in %s", id)
		for _, m := range e.memberships(who.actor.UserID) {
			if m.Conversation == id {
				e.Errorf("%s is still listed: %+v", id, m)
			}
		}
		for _, line := range e.list(who.actor.UserID, bridge.Page{Limit: lots}) {
			if line.ID == id {
				e.Errorf("%s still has the line %+v", who.actor.UserID, line)
			}
		}
	}
}

// conversationIDAgain: the id of a deleted conversation can be used again, by
// anybody, and nothing of the old one shines through.
func conversationIDAgain(e *env) {
	key := bridge.SessionKey{UserID: alice, ClientID: "phone"}
	for round := range 3 {
		c := newConversation("c", alice)
		c.OwnerID = []string{owner, bob, owner}[round]
		conv, _, created, err := e.tryCreate(e.tick(), c)
		e.ok(err, "create")
		equal(e, created, true, "created")
		equal(e, conv.HeadSeq, 2, "head")
		equal(e, e.membership("c", carol).Role, chat.RoleNone, "the role of an old member")
		first := e.send("c", alice, withClientID(message(fmt.Sprint(round)), "a-1"))
		equal(e, first.Seq, 3, "the first seq")
		e.put("c", carol, chat.RoleAdmin)
		e.send("c", carol, withClientID(edit(3, "x"), "e-1"))
		e.send("c", carol, withClientID(erase(3), "d-1"))
		equal(e, len(e.history("c")), 6, "entries")
		equal(e, len(e.session(key).Cursors), 0, "cursors of a new conversation")
		e.saveSession(bridge.Session{Key: key, Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 5}}})
		e.ok(e.tryDelete(actor(c.OwnerID), "c"), "delete")
		equal(e, len(e.session(key).Cursors), 0, "cursors after a delete")
	}
}

func (e *env) list(user string, page bridge.Page) []bridge.Summary {
	e.Helper()
	lines, err := e.s.Conversations(e.ctx, user, page)
	e.ok(err, "conversations of %s", user)
	return lines
}

func conversationList(e *env) {
	e.create("b", alice)
	e.create("a", alice, bob)
	e.create("not-hers", bob)
	e.create("left", alice)
	e.remove("left", alice)
	e.create("gone", alice)
	e.ok(e.tryDelete(serverAdmin, "gone"), "delete")
	last := draft("b", alice, message("newest"))
	o := e.commit(last)[0]
	_, err := e.tryRename(actor(owner), "a", "renamed")
	e.ok(err, "rename")

	want := []bridge.Summary{{Conversation: e.conversation("a"), Read: 2}, {Conversation: e.conversation("b"), Read: o.Seq}}
	want[0].LastAt = time.UnixMilli(e.clock.Load()).UTC()
	want[1].LastAt = o.CreatedAt
	entry := entryOf(last, o)
	want[1].Last = &entry
	for i := range want {
		want[i].Members = nil
	}
	got := e.list(alice, bridge.Page{Limit: 10})
	for i := range got {
		if got[i].Last != nil {
			*got[i].Last = normal(*got[i].Last)
		}
	}
	equal(e, len(got), len(want), "lines")
	equal(e, got, want, "lines")
	equal(e, len(e.list(nobody, bridge.Page{Limit: 10})), 0, "lines of somebody who has none")
	equal(e, len(e.list("Alice", bridge.Page{Limit: 10})), 0, "lines of a name in another case")

	e.put("left", alice, chat.RoleMember)
	if got := e.list(alice, bridge.Page{Limit: 10}); len(got) != 3 || got[0].ID != "left" {
		e.Errorf("after a rejoin: %+v", got)
	}
}

// conversationListPages: pages of any size give every line once, in order,
// also where many lines have the same time and ids differ by case and signs.
func conversationListPages(e *env) {
	times := []time.Time{e.tick(), e.tick(), e.tick().Add(time.Millisecond)}
	ids := []string{"a", "A", "b", "B", "_", ".", "-", "@", ":", "0", "9", "aa", "aA", "a-", "a.", "a_", "z", "Z", "10", "1"}
	type line struct {
		at time.Time
		id string
	}
	var want []line
	for i, id := range ids {
		at := times[i*7%len(times)]
		e.createAt(at, id, alice)
		want = append(want, line{at, id})
	}
	slices.SortFunc(want, func(a, b line) int {
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.id, a.id))
	})
	for _, limit := range []int{1, 2, 3, len(ids), len(ids) + 1} {
		var got []line
		page := bridge.Page{Limit: limit}
		for range len(ids) + 1 {
			lines := e.list(alice, page)
			if len(lines) > limit {
				e.Fatalf("%d lines on a page of %d", len(lines), limit)
			}
			if len(lines) == 0 {
				break
			}
			for _, l := range lines {
				got = append(got, line{l.LastAt, l.ID})
			}
			page.LastAt, page.ID = got[len(got)-1].at, got[len(got)-1].id
		}
		equal(e, got, want, "pages of %d", limit)
	}
	// A place whose line is gone is a place all the same.
	at := want[4]
	e.ok(e.tryDelete(serverAdmin, at.id), "delete")
	rest := e.list(alice, bridge.Page{LastAt: at.at, ID: at.id, Limit: lots})
	if len(rest) != len(want)-5 || rest[0].ID != want[5].id {
		e.Errorf("after the place of a deleted line: %d lines", len(rest))
	}
}

// conversationListOrder: whatever is committed brings a line to the top.
func conversationListOrder(e *env) {
	convs := []string{"a", "b", "c", "d", "e", "f"}
	for _, id := range convs {
		e.create(id, alice, bob)
	}
	seq := e.send("a", alice, message("x")).Seq
	steps := []func(){
		func() { e.send("b", alice, message("x")) },
		func() { e.send("a", alice, react(seq, "x")) },
		func() { e.put("c", carol, chat.RoleMember) },
		func() { e.remove("d", bob) },
		func() {
			_, err := e.tryRename(actor(owner), "e", "x")
			e.ok(err, "rename")
		},
		func() { e.send("a", alice, erase(seq)) },
	}
	for i, step := range steps {
		step()
		top := e.list(alice, bridge.Page{Limit: 1})[0]
		equal(e, top.ID, []string{"b", "a", "c", "d", "e", "a"}[i], "the top line after step %d", i)
		equal(e, top.LastAt, time.UnixMilli(e.clock.Load()).UTC(), "LastAt after step %d", i)
		newest := e.read(top.ID, top.HeadSeq-1, 1)[0]
		equal(e, top.LastAt, newest.CreatedAt, "LastAt is when the newest entry was committed")
	}
	// What was refused or repeated moves nothing.
	repeat := draft("f", alice, withClientID(message("x"), "r"))
	e.commit(repeat)
	e.send("b", alice, message("x"))
	e.commit(repeat, draft("f", nobody, message("x")))
	e.put("f", alice, chat.RoleAdmin)
	equal(e, e.list(alice, bridge.Page{Limit: 1})[0].ID, "b", "the top line after a repeat")
}

// conversationListLast: Last is the newest message that is not deleted, as it
// reads now.
func conversationListLast(e *env) {
	e.create("c", alice)
	last := func() *chat.Entry { return e.list(alice, bridge.Page{Limit: 1})[0].Last }
	if l := last(); l != nil {
		e.Errorf("without a message: %+v", l)
	}
	first := e.send("c", alice, message("first")).Seq
	second := e.send("c", owner, message("second")).Seq
	e.send("c", alice, react(first, "x"))
	e.send("c", alice, edit(first, "edited"))
	for range 5 {
		e.put("c", bob, chat.RoleMember)
		e.remove("c", bob)
	}
	want := func(seq uint64, content, why string) {
		e.Helper()
		l := last()
		if seq == 0 && l != nil || seq != 0 && (l == nil || l.Seq != seq) {
			e.Errorf("%s: last is %+v, want seq %d", why, l, seq)
		} else if l != nil {
			said := e.read("c", seq-1, 1)[0]
			said.Content = content
			equal(e, normal(*l), said, "%s", why)
		}
	}
	want(second, "second", "reactions, edits and joins do not count")
	e.send("c", alice, react(second, "x"))
	e.send("c", owner, edit(second, "2"))
	e.send("c", owner, edit(second, "II"))
	want(second, "II", "the newest is edited twice")
	e.send("c", owner, erase(second))
	want(first, "edited", "the newest is deleted")
	e.send("c", alice, erase(first))
	want(0, "", "all are deleted")
	want(e.send("c", alice, message("third")).Seq, "third", "a new one")
}

// conversationReopen: what was committed stands after a restart.
func conversationReopen(e *env) {
	e.createCast("c")
	e.fill("d", 20)
	seq := e.send("c", alice, withClientID(message("x"), "a-1")).Seq
	e.send("c", "adam", edit(seq, "y"))
	key := bridge.SessionKey{UserID: alice, ClientID: "phone"}
	e.saveSession(bridge.Session{Key: key, Expiry: 77, Subscriptions: []bridge.Subscription{{Filter: "chat/+/messages", QoS: 1}},
		Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 3}}})
	type state struct {
		C, D       bridge.Conversation
		HC, HD     []chat.Entry
		Mine, Left bridge.Membership
		Session    bridge.Session
	}
	look := func() state {
		return state{e.conversation("c"), e.conversation("d"), e.history("c"), e.history("d"),
			e.membership("c", alice), e.membership("c", "left"), e.session(key)}
	}
	want := look()
	for range 2 {
		e.reopen()
		e.ok(e.s.Ready(e.ctx), "ready")
		equal(e, look(), want, "after a restart")
		e.ok(e.s.Migrate(e.ctx), "migrate again")
		e.ok(e.s.Ready(e.ctx), "ready")
		equal(e, look(), want, "after another migrate")
	}
	e.send("c", alice, message("goes on"))
	e.history("c")
}
