package storetest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var memberTests = []test{
	{"Put", memberPut},
	{"PutRules", memberPutRules},
	{"PutSelf", memberPutSelf},
	{"Remove", memberRemove},
	{"RemoveRules", memberRemoveRules},
	{"Leave", memberLeave},
	{"Rejoin", memberRejoin},
	{"Memberships", memberMemberships},
	{"MembershipsIn", memberMembershipsIn},
}

func (e *env) memberships(user string) []bridge.Membership {
	e.Helper()
	got, err := e.s.Memberships(e.ctx, []string{user})
	e.ok(err, "memberships of %s", user)
	if len(got) != 1 {
		e.Fatalf("Memberships gave %d answers for one user", len(got))
	}
	return sorted(got[0])
}

// sorted orders memberships, whose order the contract leaves open.
func sorted(ms []bridge.Membership) []bridge.Membership {
	ms = append([]bridge.Membership{}, ms...)
	slices.SortFunc(ms, func(a, b bridge.Membership) int { return cmp.Compare(a.Conversation, b.Conversation) })
	return ms
}

// memberPut: somebody new gets a join entry; a member's role changes without
// one.
func memberPut(e *env) {
	e.create("c")
	for i, role := range []chat.Role{chat.RoleMember, chat.RoleAdmin} {
		user, id, now := []string{alice, bob}[i], newID(), e.tick()
		var m bridge.Member
		var entry *chat.Entry
		err := again(func() (err error) {
			m, entry, err = e.s.PutMember(e.ctx, now.Local(), actor(owner), "c", user, role, id, bridge.Limits{})
			return err
		})
		e.ok(err, "put %s", user)
		seq := uint64(2 + i)
		want := bridge.Member{UserID: user, Role: role, JoinedAt: now, JoinedSeq: seq}
		equal(e, m, want, "the member")
		join := chat.Entry{ID: id, Stream: "c/c", Seq: seq, SenderID: owner, CreatedAt: now,
			Body: chat.Body{Type: chat.TypeJoin, UserID: user}}
		if entry == nil {
			e.Fatalf("no entry for a new member")
		}
		equal(e, normal(*entry), join, "the entry")
		equal(e, e.history("c")[seq-1], join, "the entry in the history")
		equal(e, e.conversation("c").Members[seq-1], want, "the member in the conversation")

		for _, next := range []chat.Role{chat.RoleAdmin, chat.RoleAdmin, chat.RoleMember, chat.RoleMember} {
			m, entry, err = e.tryPut(actor(owner), "c", user, next)
			e.ok(err, "role of %s", user)
			want.Role = next
			equal(e, m, want, "the member with a new role")
			if entry != nil {
				e.Errorf("a new role wrote the entry %+v", entry)
			}
			equal(e, e.membership("c", user).Role, next, "the role")
		}
		equal(e, e.head("c").Head, seq, "head after new roles")
	}
	equal(e, len(e.history("c")), 3, "entries")
}

// memberPutRules: for each pair of roles the store asks CheckPutMember with
// the roles of now, and a refusal changes nothing.
func memberPutRules(e *env) {
	n := 0
	for _, who := range cast {
		for _, now := range []chat.Role{chat.RoleNone, chat.RoleMember, chat.RoleAdmin, chat.RoleOwner} {
			for _, asked := range []chat.Role{chat.RoleNone, chat.RoleMember, chat.RoleAdmin, chat.RoleOwner} {
				n++
				want := bridge.RoleToGive(now, asked)
				id := fmt.Sprint("c", n)
				e.createCast(id)
				user := e.target(id, now)
				before, history := e.conversation(id), len(e.history(id))
				m, entry, err := e.tryPut(who.actor, id, user, asked)
				refused := bridge.CheckPutMember(who.actor, who.role, now, want)
				what := fmt.Sprintf("%+v makes %s (%q) %q", who.actor, user, now, want)
				wantCode(e, err, codeOf(refused), "%s", what)
				after := e.conversation(id)
				switch {
				case refused != nil:
					equal(e, after, before, "%s: after a refusal", what)
				case now == chat.RoleNone:
					if want == chat.RoleOwner {
						before.Members[0].Role = chat.RoleAdmin
					}
					equal(e, after.Members, append(before.Members, m), "%s", what)
					equal(e, entry != nil && entry.SenderID == who.actor.UserID, true, "%s: the join entry", what)
					history++
				default:
					equal(e, entry == nil, true, "%s: no entry", what)
				}
				if refused == nil {
					equal(e, m.Role, want, "%s: the role answered", what)
					equal(e, e.membership(id, user).Role, want, "%s: the role", what)
				}
				equal(e, len(e.history(id)), history, "%s: entries", what)
			}
		}
	}
	// Some of them in plain words, whatever the rules say.
	e.createCast("plain")
	for _, tt := range []struct {
		by, user string
		role     chat.Role
		code     chat.Code
	}{
		{alice, bob, chat.RoleMember, chat.CodeForbidden},
		{"adam", bob, chat.RoleAdmin, chat.CodeForbidden},
		{"adam", bob, chat.RoleMember, ""},
		{"adam", "adam", chat.RoleNone, ""}, // stays what it is
		{bob, carol, chat.RoleMember, chat.CodeForbidden},
		{nobody, nobody, chat.RoleMember, chat.CodeForbidden},
		{"left", "left", chat.RoleMember, chat.CodeForbidden},
		{bob, bob, chat.RoleOwner, chat.CodeForbidden},
		{owner, bob, chat.RoleAdmin, ""},
		{bob, carol, chat.RoleMember, ""},
		{bob, carol, chat.RoleOwner, chat.CodeForbidden},
		{bob, owner, chat.RoleMember, chat.CodeInvalid},
		{owner, owner, chat.RoleOwner, ""},
		{owner, bob, chat.RoleOwner, ""},
		{owner, bob, chat.RoleMember, chat.CodeInvalid},
		{bob, owner, chat.RoleMember, ""},
	} {
		_, _, err := e.tryPut(actor(tt.by), "plain", tt.user, tt.role)
		wantCode(e, err, tt.code, "%s makes %s %s", tt.by, tt.user, tt.role)
	}
}

// target is somebody in a conversation of createCast with that role, who is
// not one of the cast, but for the owner.
func (e *env) target(id string, role chat.Role) string {
	e.Helper()
	switch role {
	case chat.RoleOwner:
		return owner
	case chat.RoleNone:
		return "somebody-new"
	}
	e.put(id, "target", role)
	return "target"
}

// memberPutSelf: nobody raises itself.
func memberPutSelf(e *env) {
	e.createCast("c")
	before := e.conversation("c")
	for _, tt := range []struct {
		user string
		role chat.Role
		code chat.Code
	}{
		{alice, chat.RoleAdmin, chat.CodeForbidden},
		{alice, chat.RoleMember, chat.CodeForbidden},
		{alice, chat.RoleOwner, chat.CodeForbidden},
		{"adam", chat.RoleMember, chat.CodeForbidden},
		{"adam", chat.RoleOwner, chat.CodeForbidden},
		{owner, chat.RoleAdmin, chat.CodeInvalid},
		{"left", chat.RoleAdmin, chat.CodeForbidden},
	} {
		_, _, err := e.tryPut(actor(tt.user), "c", tt.user, tt.role)
		wantCode(e, err, tt.code, "%s makes itself %s", tt.user, tt.role)
	}
	equal(e, e.conversation("c"), before, "after it all")
}

func memberRemove(e *env) {
	e.create("c", alice, bob)
	e.create("d", alice)
	id, now := newID(), e.tick()
	var entry chat.Entry
	err := again(func() (err error) {
		entry, err = e.s.RemoveMember(e.ctx, now.Local(), actor(owner), "c", alice, id)
		return err
	})
	e.ok(err, "remove")
	want := chat.Entry{ID: id, Stream: "c/c", Seq: 4, SenderID: owner, CreatedAt: now,
		Body: chat.Body{Type: chat.TypeLeave, UserID: alice}}
	equal(e, normal(entry), want, "the entry")
	equal(e, e.history("c")[3], want, "the entry in the history")
	equal(e, e.membership("c", alice), bridge.Membership{
		MemberKey: bridge.MemberKey{Conversation: "c", UserID: alice}, Head: bridge.Head{Head: 4, First: 1},
		Exists: true, JoinedSeq: 2, LeftSeq: 4}, "the membership")
	var users []string
	for _, m := range e.conversation("c").Members {
		users = append(users, m.UserID)
	}
	equal(e, users, []string{owner, bob}, "members")
	equal(e, e.membership("d", alice).Role, chat.RoleMember, "the role in another conversation")
	e.send("d", alice, message("x"))
	_, err = e.tryRemove(actor(owner), "c", alice)
	wantCode(e, err, chat.CodeNotFound, "remove again")
	_, err = e.tryRemove(actor(alice), "c", alice)
	wantCode(e, err, chat.CodeForbidden, "leave again")
	equal(e, e.head("c").Head, 4, "head")
}

// memberRemoveRules: for each pair of roles the store asks CheckRemoveMember
// with the roles of now, and a refusal changes nothing.
func memberRemoveRules(e *env) {
	n := 0
	for _, who := range cast {
		for _, now := range []chat.Role{chat.RoleNone, chat.RoleMember, chat.RoleAdmin, chat.RoleOwner} {
			n++
			id := fmt.Sprint("c", n)
			e.createCast(id)
			user := e.target(id, now)
			before := e.conversation(id)
			entry, err := e.tryRemove(who.actor, id, user)
			refused := bridge.CheckRemoveMember(who.actor, user, who.role, now)
			what := fmt.Sprintf("%+v removes %s (%q)", who.actor, user, now)
			wantCode(e, err, codeOf(refused), "%s", what)
			if refused != nil {
				equal(e, e.conversation(id), before, "%s: after a refusal", what)
				continue
			}
			equal(e, entry.Seq, before.HeadSeq+1, "%s: the seq", what)
			equal(e, entry.SenderID, who.actor.UserID, "%s: the sender", what)
			equal(e, len(e.conversation(id).Members), len(before.Members)-1, "%s: members", what)
			equal(e, e.membership(id, user).LeftSeq, entry.Seq, "%s: LeftSeq", what)
			e.history(id)
		}
	}
}

// memberLeave: everybody may leave. When the last has, nobody is the owner.
func memberLeave(e *env) {
	e.createCast("c")
	for _, user := range []string{alice, "adam", owner} {
		entry, err := e.tryRemove(actor(user), "c", user)
		e.ok(err, "%s leaves", user)
		if entry.SenderID != user || entry.UserID != user || entry.Type != chat.TypeLeave {
			e.Errorf("%s leaves: %+v", user, entry)
		}
		e.refuse(draft("c", user, message("x")), chat.CodeForbidden, user+" left")
	}
	equal(e, len(e.conversation("c").Members), 0, "members")
	equal(e, e.conversation("c").OwnerID, "", "the owner's id")
	_, _, _, err := e.tryCreate(e.tick(), newConversation("c"))
	wantCode(e, err, chat.CodeConflict, "create again by who was the owner")
	e.history("c")
}

// memberRejoin: who comes back has one membership, counted from its newest
// join.
func memberRejoin(e *env) {
	e.create("c", alice, bob)
	for round := range 3 {
		left := e.remove("c", alice)
		e.send("c", bob, message("alice does not see this"))
		now, id := e.tick(), newID()
		var m bridge.Member
		var entry *chat.Entry
		err := again(func() (err error) {
			m, entry, err = e.s.PutMember(e.ctx, now, actor(owner), "c", alice, chat.RoleAdmin, id, bridge.Limits{})
			return err
		})
		e.ok(err, "rejoin")
		want := bridge.Member{UserID: alice, Role: chat.RoleAdmin, JoinedAt: now, JoinedSeq: left.Seq + 2}
		equal(e, m, want, "the member after rejoin %d", round)
		if entry == nil || entry.Seq != want.JoinedSeq || entry.ID != id {
			e.Fatalf("the join entry of rejoin %d: %+v", round, entry)
		}
		got := e.membership("c", alice)
		equal(e, got, bridge.Membership{MemberKey: got.MemberKey, Head: bridge.Head{Head: m.JoinedSeq, First: 1},
			Exists: true, Role: chat.RoleAdmin, JoinedSeq: m.JoinedSeq}, "the membership after rejoin %d", round)
		equal(e, e.memberships(alice), []bridge.Membership{got}, "the memberships after rejoin %d", round)
		members, users := e.conversation("c").Members, []string{}
		for _, m := range members {
			users = append(users, m.UserID)
		}
		equal(e, users, []string{owner, bob, alice}, "members, by their newest join")
		equal(e, members[2], want, "the member in the conversation after rejoin %d", round)
		e.send("c", alice, message("back"))
	}
	e.history("c")
}

func memberMemberships(e *env) {
	e.create("b", alice, bob)
	e.create("a", alice)
	e.create("of-others")
	e.create("left", bob, alice)
	left := e.remove("left", alice).Seq
	e.create("gone", alice)
	e.ok(e.tryDelete(serverAdmin, "gone"), "delete")
	e.put("a", alice, chat.RoleAdmin)
	e.send("b", alice, message("x"))

	m := func(conv, user string, head uint64, role chat.Role, joined, left uint64) bridge.Membership {
		return bridge.Membership{MemberKey: bridge.MemberKey{Conversation: conv, UserID: user},
			Head: bridge.Head{Head: head, First: 1}, Exists: true, Role: role, JoinedSeq: joined, LeftSeq: left}
	}
	got, err := e.s.Memberships(e.ctx, []string{alice, nobody, bob, alice, "Alice"})
	e.ok(err, "memberships")
	if len(got) != 5 {
		e.Fatalf("%d answers for 5 users", len(got))
	}
	hers := []bridge.Membership{
		m("a", alice, 2, chat.RoleAdmin, 2, 0),
		m("b", alice, 4, chat.RoleMember, 2, 0),
		m("left", alice, 4, chat.RoleNone, 3, left),
	}
	equal(e, sorted(got[0]), hers, "alice's")
	equal(e, len(got[1]), 0, "nobody's")
	equal(e, sorted(got[2]), []bridge.Membership{
		m("b", bob, 4, chat.RoleMember, 3, 0), m("left", bob, 4, chat.RoleMember, 2, 0)}, "bob's")
	equal(e, sorted(got[3]), hers, "alice's, asked twice")
	equal(e, len(got[4]), 0, "those of a name in another case")
	equal(e, len(e.memberships(owner)), 4, "the owner's")
	got, err = e.s.Memberships(e.ctx, nil)
	e.ok(err, "memberships of nobody")
	equal(e, len(got), 0, "answers for no users")
}

func memberMembershipsIn(e *env) {
	e.create("a", alice)
	e.create("b", alice, bob)
	left := e.remove("b", bob).Seq
	e.send("b", alice, message("x"))
	key := func(conv, user string) bridge.MemberKey {
		return bridge.MemberKey{Conversation: conv, UserID: user}
	}
	headA, headB := bridge.Head{Head: 2, First: 1}, bridge.Head{Head: 5, First: 1}
	want := []bridge.Membership{
		{MemberKey: key("b", bob), Head: headB, Exists: true, JoinedSeq: 3, LeftSeq: left},
		{MemberKey: key(noConv, alice)},
		{MemberKey: key("a", owner), Head: headA, Exists: true, Role: chat.RoleOwner, JoinedSeq: 1},
		{MemberKey: key("a", nobody), Head: headA, Exists: true},
		{MemberKey: key("b", alice), Head: headB, Exists: true, Role: chat.RoleMember, JoinedSeq: 2},
		{MemberKey: key("A", alice)},
		{MemberKey: key("a", "Alice"), Head: headA, Exists: true},
		{MemberKey: key("b", alice), Head: headB, Exists: true, Role: chat.RoleMember, JoinedSeq: 2},
	}
	var keys []bridge.MemberKey
	for _, m := range want {
		keys = append(keys, m.MemberKey)
	}
	got, err := e.s.MembershipsIn(e.ctx, keys)
	e.ok(err, "memberships")
	equal(e, got, want, "memberships")
	got, err = e.s.MembershipsIn(e.ctx, nil)
	e.ok(err, "memberships in nothing")
	equal(e, len(got), 0, "answers for no keys")

	keys = nil
	for i := range 2000 {
		keys = append(keys, key([]string{"a", "b", noConv}[i%3], []string{alice, bob}[i%2]))
	}
	got, err = e.s.MembershipsIn(e.ctx, keys)
	e.ok(err, "many memberships")
	for i, m := range got {
		equal(e, m.MemberKey, keys[i], "key of answer %d", i)
		equal(e, m.Exists, i%3 != 2, "Exists of answer %d", i)
	}
	equal(e, len(got), len(keys), "answers")
}
