package storetest

import (
	"fmt"
	"slices"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var settingTests = []test{
	{"Heir", settingHeir},
	{"HandOver", settingHandOver},
	{"History", settingHistory},
	{"HistoryRules", settingHistoryRules},
	{"HistoryLast", settingHistoryLast},
	{"Archive", settingArchive},
	{"Members", settingMembers},
	{"MaxMembers", settingMaxMembers},
	{"MaxConversations", settingMaxConversations},
	{"Large", settingLarge},
}

// roles are those of a conversation, by user.
func (e *env) roles(id string) map[string]chat.Role {
	e.Helper()
	roles := map[string]chat.Role{}
	for _, m := range e.conversation(id).Members {
		roles[m.UserID] = m.Role
	}
	return roles
}

// settingHeir: who has been admin the longest follows an owner who goes, or is
// removed, and else the member who joined first.
func settingHeir(e *env) {
	e.create("c", alice, bob, carol)
	e.put("c", carol, chat.RoleAdmin)
	e.remove("c", bob)
	e.put("c", bob, chat.RoleAdmin) // joined after carol
	for _, step := range []struct {
		goes, heir string
		roles      map[string]chat.Role
	}{
		{owner, carol, map[string]chat.Role{alice: 1, bob: 2, carol: 3}},
		{carol, bob, map[string]chat.Role{alice: 1, bob: 3}},
		{bob, alice, map[string]chat.Role{alice: 3}},
		{alice, "", map[string]chat.Role{}},
	} {
		entry, err := e.tryRemove(actor(step.goes), "c", step.goes)
		e.ok(err, "%s leaves", step.goes)
		equal(e, entry.UserID, step.goes, "the leave entry")
		equal(e, e.roles("c"), step.roles, "after %s left: roles", step.goes)
		equal(e, e.conversation("c").OwnerID, step.heir, "after %s left: the owner", step.goes)
		equal(e, e.conversation("c").Size, len(step.roles), "after %s left: size", step.goes)
		if step.heir != "" {
			equal(e, e.membership("c", step.heir).Role, chat.RoleOwner, "the membership of the heir")
		}
	}
	equal(e, len(e.history("c")), 10, "entries: 6 joins and leaves, and 4 leaves")
	// Scope admin alone reaches what nobody is in.
	for _, user := range []string{owner, alice, bob} {
		_, _, err := e.tryPut(actor(user), "c", user, chat.RoleOwner)
		wantCode(e, err, chat.CodeForbidden, "%s takes it back", user)
		wantCode(e, e.tryDelete(actor(user), "c"), chat.CodeForbidden, "%s deletes it", user)
	}
	_, _, err := e.tryPut(serverAdmin, "c", bob, chat.RoleOwner)
	e.ok(err, "give it to bob")
	equal(e, e.conversation("c").OwnerID, bob, "the owner")
	e.ok(e.tryDelete(actor(bob), "c"), "bob deletes it")
}

// settingHandOver: there is one owner, and it is the conversation's.
func settingHandOver(e *env) {
	e.create("c", alice)
	head := e.head("c").Head
	m, entry, err := e.tryPut(actor(owner), "c", alice, chat.RoleOwner)
	e.ok(err, "hand over")
	equal(e, entry == nil, true, "no entry")
	equal(e, m.Role, chat.RoleOwner, "the role")
	equal(e, e.roles("c"), map[string]chat.Role{owner: 2, alice: 3}, "roles")
	equal(e, e.conversation("c").OwnerID, alice, "the owner")
	equal(e, e.head("c").Head, head, "head")
	_, _, _, err = e.tryCreate(e.tick(), newConversation("c"))
	wantCode(e, err, chat.CodeConflict, "create again by who was the owner")

	_, _, err = e.tryPut(actor(alice), "c", bob, chat.RoleOwner) // who joins by it
	e.ok(err, "hand over to somebody new")
	equal(e, e.roles("c"), map[string]chat.Role{owner: 2, alice: 2, bob: 3}, "roles")
	_, _, err = e.tryPut(serverAdmin, "c", owner, chat.RoleOwner)
	e.ok(err, "scope admin gives it back")
	equal(e, e.roles("c"), map[string]chat.Role{owner: 3, alice: 2, bob: 2}, "roles")
}

// settingHistory: the setting is in every membership, and with it the floor.
func settingHistory(e *env) {
	e.create("c", alice)
	c := newConversation("d", alice)
	c.SinceJoin = true
	conv, _, _, err := e.tryCreate(e.tick(), c)
	e.ok(err, "create")
	equal(e, conv.SinceJoin, true, "what create answers")
	e.remove("d", alice)
	e.send("d", owner, message("x"))
	e.put("d", alice, chat.RoleMember) // 5
	floors := func(c, d uint64) {
		e.Helper()
		for i, m := range append(e.memberships(alice), e.membership("c", alice), e.membership("d", alice)) {
			want := c
			if m.Conversation == "d" {
				want = d
			}
			equal(e, m.Floor(), want, "the floor of membership %d, in %s", i, m.Conversation)
		}
	}
	floors(0, 4)
	none := e.membership("d", nobody)
	equal(e, none.Floor(), 0, "the floor of nobody")
	for _, on := range []bool{true, true, false} {
		e.ok(e.s.SetHistory(e.ctx, actor(owner), "d", !on), "set history")
		e.ok(e.s.SetHistory(e.ctx, actor(owner), "c", on), "set history")
		equal(e, e.conversation("c").SinceJoin, on, "the conversation")
		equal(e, e.list(alice, bridge.Page{Limit: 2})[1].SinceJoin, on, "the line") // d has the newer entries
	}
	floors(0, 4)
	e.ok(e.s.SetHistory(e.ctx, actor(owner), "c", true), "set history")
	floors(1, 4)
	equal(e, e.head("c").Head, 2, "no entry tells of it")
}

func settingHistoryRules(e *env) {
	e.createCast("c")
	for _, who := range cast {
		before := e.conversation("c")
		err := again(func() error { return e.s.SetHistory(e.ctx, who.actor, "c", !before.SinceJoin) })
		refused := bridge.CheckHistory(who.actor, who.role)
		wantCode(e, err, codeOf(refused), "history by %+v", who.actor)
		equal(e, e.conversation("c").SinceJoin == before.SinceJoin, refused != nil, "it stays, by %+v", who.actor)
	}
	wantCode(e, e.s.SetHistory(e.ctx, serverAdmin, noConv, true), chat.CodeNotFound, "history of nothing")
}

// settingHistoryLast: the last message in a user's list is one that it may
// read.
func settingHistoryLast(e *env) {
	e.create("c", alice)
	e.ok(e.s.SetHistory(e.ctx, actor(owner), "c", true), "set history")
	e.send("c", owner, message("before bob"))
	e.put("c", bob, chat.RoleMember)
	last := func(user string) string {
		e.Helper()
		line := e.list(user, bridge.Page{Limit: 1})[0]
		if line.Last == nil {
			return ""
		}
		return line.Last.Content
	}
	equal(e, last(alice), "before bob", "alice's")
	equal(e, last(bob), "", "bob's")
	e.send("c", owner, message("after bob"))
	equal(e, last(bob), "after bob", "bob's")
	e.ok(e.s.SetHistory(e.ctx, actor(owner), "c", false), "set history")
	equal(e, last(bob), "after bob", "bob's")
}

func settingArchive(e *env) {
	e.create("a", alice)
	e.create("b", alice)
	e.create("c", alice)
	set := func(id, user string, archived bool) error {
		return again(func() error { return e.s.SetArchived(e.ctx, id, user, archived) })
	}
	listed := func(user string, archived *bool) []string {
		e.Helper()
		ids := []string{}
		for _, line := range e.list(user, bridge.Page{Limit: 10, Archived: archived}) {
			ids = append(ids, line.ID)
			equal(e, archived == nil || line.Archived == *archived, true, "Archived of %s", line.ID)
		}
		slices.Sort(ids)
		return ids
	}
	yes, no := true, false
	e.ok(set("b", alice, true), "archive")
	e.ok(set("b", alice, true), "archive again")
	equal(e, listed(alice, nil), []string{"a", "b", "c"}, "all")
	equal(e, listed(alice, &yes), []string{"b"}, "archived")
	equal(e, listed(alice, &no), []string{"a", "c"}, "not archived")
	equal(e, listed(owner, &no), []string{"a", "b", "c"}, "the owner's")
	e.send("b", owner, message("x"))
	equal(e, listed(alice, &yes), []string{"b"}, "archived, after a message")
	e.remove("b", alice)
	wantCode(e, set("b", alice, false), chat.CodeForbidden, "by who has left")
	wantCode(e, set("b", nobody, true), chat.CodeForbidden, "by a stranger")
	wantCode(e, set(noConv, alice, true), chat.CodeNotFound, "of nothing")
	e.put("b", alice, chat.RoleMember)
	equal(e, listed(alice, &yes), []string{}, "archived, after it joined again")
	e.ok(set("a", alice, true), "archive")
	e.ok(set("a", alice, false), "take out")
	equal(e, listed(alice, &no), []string{"a", "b", "c"}, "not archived")

	// Pages of either kind are whole.
	for i := range 9 {
		id := fmt.Sprint("p", i)
		e.create(id, carol)
		e.ok(set(id, carol, i%3 == 0), "archive %s", id)
	}
	for archived, want := range map[*bool]int{&yes: 3, &no: 6, nil: 9} {
		page, got := bridge.Page{Limit: 2, Archived: archived}, map[string]bool{}
		for {
			lines := e.list(carol, page)
			for _, line := range lines {
				got[line.ID] = true
			}
			if len(lines) < 2 {
				break
			}
			page.LastAt, page.ID = lines[1].LastAt, lines[1].ID
		}
		equal(e, len(got), want, "lines in pages")
	}
}

func settingMembers(e *env) {
	e.create("c", alice, bob, carol)
	e.remove("c", bob)
	e.put("c", "dave", chat.RoleAdmin)
	e.put("c", bob, chat.RoleMember)
	all := e.conversation("c").Members
	for limit := 1; limit <= len(all)+1; limit++ {
		var got []bridge.Member
		for after := uint64(0); ; {
			page, err := e.s.Members(e.ctx, "c", after, limit)
			e.ok(err, "members")
			if got = append(got, page...); len(page) < limit {
				break
			}
			after = page[limit-1].JoinedSeq
		}
		equal(e, got, all, "members, %d at a time", limit)
	}
	_, err := e.s.Members(e.ctx, noConv, 0, 1)
	wantCode(e, err, chat.CodeNotFound, "members of nothing")
	page, err := e.s.Members(e.ctx, "c", maxSeq, 1)
	e.ok(err, "members after the last")
	equal(e, len(page), 0, "members after the last")
}

func settingMaxMembers(e *env) {
	limits := bridge.Limits{Members: 3}
	put := func(user string, role chat.Role) error {
		return again(func() error {
			_, _, err := e.s.PutMember(e.ctx, e.tick(), actor(owner), "c", user, role, newID(), limits)
			return err
		})
	}
	c := newConversation("c", alice, bob, carol)
	c.Limits = limits
	_, _, _, err := e.tryCreate(e.tick(), c)
	wantCode(e, err, chat.CodeConflict, "create with four")
	e.wantGone("c")
	c.Members, c.JoinIDs = c.Members[:1], c.JoinIDs[:2]
	_, _, _, err = e.tryCreate(e.tick(), c)
	e.ok(err, "create with two")
	e.ok(put(bob, chat.RoleMember), "the third")
	before := e.conversation("c")
	wantCode(e, put(carol, chat.RoleMember), chat.CodeConflict, "the fourth")
	wantCode(e, put(carol, chat.RoleOwner), chat.CodeConflict, "the fourth as owner")
	equal(e, e.conversation("c"), before, "after a refusal")
	e.ok(put(bob, chat.RoleAdmin), "a role")
	e.remove("c", alice)
	e.ok(put(carol, chat.RoleMember), "the third again")
	e.history("c")
}

func settingMaxConversations(e *env) {
	limits := bridge.Limits{Conversations: 2}
	create := func(id string, members ...string) error {
		c := newConversation(id, members...)
		c.OwnerID, c.Limits = "creator-of-"+id, limits
		_, _, _, err := e.tryCreate(e.tick(), c)
		return err
	}
	e.ok(create("a", alice), "a")
	e.ok(create("b", bob, alice), "b")
	wantCode(e, create("c", bob, alice, carol), chat.CodeConflict, "a third of alice")
	e.wantGone("c")
	equal(e, len(e.memberships(carol)), 0, "memberships of carol")
	_, _, _, err := e.s.CreateDirect(e.ctx, e.tick(), bridge.NewDirect{ID: "d", UserID: carol, Peer: alice,
		JoinIDs: [2]chat.ID{newID(), newID()}, Limits: limits})
	wantCode(e, err, chat.CodeConflict, "a direct one with alice")
	e.ok(create("e", carol), "e")
	put := func() error {
		return again(func() error {
			_, _, err := e.s.PutMember(e.ctx, e.tick(), serverAdmin, "e", alice, chat.RoleMember, newID(), limits)
			return err
		})
	}
	before := e.conversation("e")
	wantCode(e, put(), chat.CodeConflict, "put alice")
	equal(e, e.conversation("e"), before, "after a refusal")
	e.remove("b", alice)
	e.ok(put(), "put alice, who has left one")
}

// settingLarge: a conversation of more members than one answer holds.
func settingLarge(e *env) {
	const more = 50
	var members []string
	for i := range chat.MaxFirstMembers {
		members = append(members, fmt.Sprintf("user-%04d", i))
	}
	e.create("c", members...)
	for i := range more {
		e.put("c", fmt.Sprintf("late-%04d", i), chat.RoleMember)
	}
	conv := e.conversation("c")
	equal(e, conv.Size, bridge.MostListed+more, "size")
	equal(e, len(conv.Members), bridge.MostListed, "members that are listed")
	equal(e, conv.Members[bridge.MostListed-1].UserID, "user-0999", "the last of them")
	rest, err := e.s.Members(e.ctx, "c", conv.Members[bridge.MostListed-1].JoinedSeq, lots)
	e.ok(err, "the rest")
	equal(e, len(rest), more, "the rest")
	equal(e, rest[more-1].UserID, "late-0049", "the last of the rest")
	e.send("c", "late-0049", message("x"))
	_, err = e.tryRemove(actor(owner), "c", owner)
	e.ok(err, "the owner leaves")
	equal(e, e.conversation("c").OwnerID, "user-0000", "the heir")
}
