package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var pairTests = []test{
	{"Direct", pairDirect},
	{"DirectRules", pairDirectRules},
	{"DirectAtOnce", pairDirectAtOnce},
	{"Block", pairBlock},
	{"BlockLists", pairBlockLists},
	{"BlockLimit", pairBlockLimit},
	{"BlockAtOnce", pairBlockAtOnce},
	{"BlockModel", pairBlockModel},
}

func newDirect(user, peer string) bridge.NewDirect {
	return bridge.NewDirect{ID: newID().String(), UserID: user, Peer: peer, JoinIDs: [2]chat.ID{newID(), newID()}}
}

func (e *env) tryDirect(user, peer string) (conv bridge.Conversation, entries []chat.Entry, created bool, err error) {
	now, d := e.tick(), newDirect(user, peer)
	err = again(func() error {
		conv, entries, created, err = e.s.CreateDirect(e.ctx, now, d)
		return err
	})
	return conv, entries, created, err
}

func (e *env) direct(user, peer string) bridge.Conversation {
	e.Helper()
	conv, _, _, err := e.tryDirect(user, peer)
	e.ok(err, "direct conversation of %s and %s", user, peer)
	return conv
}

func (e *env) tryBlock(user, other string) error {
	now := e.tick()
	return again(func() error { return e.s.PutBlock(e.ctx, now, user, other, bridge.Limits{}) })
}

func (e *env) tryUnblock(user, other string) (blocked bool, err error) {
	err = again(func() error {
		blocked, err = e.s.DeleteBlock(e.ctx, user, other)
		return err
	})
	return blocked, err
}

// pairDirect: a pair has one, whoever begins it.
func pairDirect(e *env) {
	now, d := e.tick(), newDirect(bob, alice)
	conv, entries, created, err := e.s.CreateDirect(e.ctx, now.Local(), d)
	e.ok(err, "create")
	want := bridge.Conversation{ID: d.ID, CreatedAt: now, HeadSeq: 2, FirstSeq: 1, Direct: true, Size: 2, Members: []bridge.Member{
		{UserID: bob, Role: chat.RoleMember, JoinedAt: now, JoinedSeq: 1},
		{UserID: alice, Role: chat.RoleMember, JoinedAt: now, JoinedSeq: 2}}}
	var joins []chat.Entry
	for i, user := range []string{bob, alice} {
		joins = append(joins, chat.Entry{ID: d.JoinIDs[i], Stream: chat.ConversationStream(d.ID), Seq: uint64(i + 1), SenderID: bob,
			CreatedAt: now, Body: chat.Body{Type: chat.TypeJoin, UserID: user}})
	}
	equal(e, created, true, "created")
	equal(e, conv, want, "what create answers")
	equal(e, normalAll(entries), joins, "the entries that create answers")
	equal(e, e.history(d.ID), joins, "the history")
	e.send(d.ID, alice, message("hi"))
	want.HeadSeq = 3
	for _, pair := range [][2]string{{bob, alice}, {alice, bob}} {
		conv, entries, created, err := e.tryDirect(pair[0], pair[1])
		e.ok(err, "create again")
		equal(e, created, false, "created again")
		equal(e, len(entries), 0, "entries")
		equal(e, conv, want, "what stands")
	}
	line := e.list(alice, bridge.Page{Limit: 1})[0]
	equal(e, []any{line.Direct, line.Peer, line.OwnerID}, []any{true, bob, ""}, "alice's line")
	equal(e, e.list(bob, bridge.Page{Limit: 1})[0].Peer, alice, "the peer in bob's line")
	// Other pairs have others, also where the names run together.
	others := map[string]bool{d.ID: true}
	for _, pair := range [][2]string{{alice, carol}, {bob, carol}, {"a", "bc"}, {"ab", "c"}, {"Alice", bob}} {
		others[e.direct(pair[0], pair[1]).ID] = true
	}
	equal(e, len(others), 6, "conversations")
	// Deleting it frees the pair.
	e.ok(e.tryDelete(serverAdmin, d.ID), "delete")
	_, _, created, err = e.tryDirect(alice, bob)
	e.ok(err, "create anew")
	equal(e, created, true, "created anew")
}

// pairDirectRules: nobody changes who is in it, or what it is; scope admin
// alone deletes it.
func pairDirectRules(e *env) {
	id := e.direct(alice, bob).ID
	before, history := e.conversation(id), e.history(id)
	for _, a := range []bridge.Actor{actor(alice), actor(bob), actor(nobody), serverAdmin, {UserID: alice, Admin: true}} {
		_, err := e.tryRename(a, id, "x")
		wantCode(e, err, chat.CodeForbidden, "rename by %+v", a)
		wantCode(e, e.s.SetHistory(e.ctx, a, id, true), chat.CodeForbidden, "history by %+v", a)
		for _, user := range []string{alice, bob, carol} {
			for _, role := range []chat.Role{chat.RoleNone, chat.RoleMember, chat.RoleAdmin, chat.RoleOwner} {
				_, _, err = e.tryPut(a, id, user, role)
				wantCode(e, err, chat.CodeForbidden, "%+v makes %s %q", a, user, role)
			}
			if user != carol {
				_, err = e.tryRemove(a, id, user)
				wantCode(e, err, chat.CodeForbidden, "%+v removes %s", a, user)
			}
		}
		if !a.Admin {
			wantCode(e, e.tryDelete(a, id), chat.CodeForbidden, "delete by %+v", a)
		}
	}
	equal(e, e.conversation(id), before, "after it all")
	equal(e, e.history(id), history, "history after it all")
	c := newConversation(id)
	c.OwnerID = alice
	_, _, _, err := e.tryCreate(e.tick(), c)
	wantCode(e, err, chat.CodeConflict, "create with its id")
	e.ok(e.tryDelete(serverAdmin, id), "delete by scope admin")
	e.wantGone(id)
}

// pairDirectAtOnce: two who begin it at the same time get the same one.
func pairDirectAtOnce(e *env) {
	const rounds, each = 10, 3
	stores := e.stores()
	for round := range rounds {
		a, b := fmt.Sprint("a", round), fmt.Sprint("b", round)
		var wg sync.WaitGroup
		ids, created, errs := make([]string, 2*each), make([]bool, 2*each), make([]error, 2*each)
		for i := range 2 * each {
			wg.Go(func() {
				me := e.on(stores[i%len(stores)])
				user, peer := a, b
				if i%2 == 1 {
					user, peer = b, a
				}
				var conv bridge.Conversation
				conv, _, created[i], errs[i] = me.tryDirect(user, peer)
				ids[i] = conv.ID
			})
		}
		wg.Wait()
		n := 0
		for i := range ids {
			e.ok(errs[i], "create")
			equal(e, ids[i], ids[0], "round %d: the conversation", round)
			if created[i] {
				n++
			}
		}
		equal(e, n, 1, "round %d: how often it was created", round)
		equal(e, len(e.history(ids[0])), 2, "entries")
		equal(e, len(e.memberships(a)), 1, "conversations of one of them")
	}
}

// pairBlock: while either blocks the other, nobody sends there, and it is not
// begun; elsewhere they go on.
func pairBlock(e *env) {
	id := e.direct(alice, bob).ID
	e.create("group", alice, bob)
	with := e.direct(alice, carol).ID
	seq := e.send(id, alice, message("before")).Seq
	open := func(want bool, when string) {
		e.Helper()
		for _, user := range []string{alice, bob} {
			d := draft(id, user, message(when))
			if want {
				e.ok(e.commit(d)[0].Err, "%s: a message by %s", when, user)
			} else {
				e.refuse(d, chat.CodeForbidden, when)
			}
			e.send("group", user, message(when))
		}
		e.send(with, alice, message(when))
		conv, _, created, err := e.tryDirect(bob, alice)
		e.ok(err, "%s: create again", when)
		equal(e, conv.ID, id, "%s: what stands", when)
		equal(e, created, false, "%s: created", when)
		for _, pair := range []bridge.Pair{{A: alice, B: bob}, {A: bob, B: alice}} {
			got, err := e.s.Blocked(e.ctx, []bridge.Pair{{A: alice, B: carol}, pair, {A: nobody, B: alice}})
			e.ok(err, "blocked")
			equal(e, got, []bool{false, !want, false}, "%s: blocked", when)
		}
	}
	unblock := func(user, other string, still bool) {
		e.Helper()
		blocked, err := e.tryUnblock(user, other)
		e.ok(err, "unblock")
		equal(e, blocked, still, "still blocked after %s unblocks %s", user, other)
	}
	open(true, "no block")
	e.ok(e.tryBlock(alice, bob), "block")
	e.ok(e.tryBlock(alice, bob), "block again")
	open(false, "one block")
	e.ok(e.tryBlock(bob, alice), "block back")
	open(false, "two blocks")
	unblock(alice, bob, true)
	unblock(alice, bob, true)
	open(false, "the other block")
	e.send(id, alice, erase(seq)) // what one has said may be taken back
	unblock(bob, alice, false)
	unblock(bob, alice, false)
	open(true, "no block again")

	e.ok(e.tryBlock(bob, carol), "block without a conversation")
	for _, pair := range [][2]string{{bob, carol}, {carol, bob}} {
		_, _, _, err := e.tryDirect(pair[0], pair[1])
		wantCode(e, err, chat.CodeForbidden, "begin it")
	}
	equal(e, len(e.memberships(carol)), 1, "carol's conversations")
	unblock(bob, carol, false)
	e.send(e.direct(carol, bob).ID, bob, message("x"))
}

func pairBlockLists(e *env) {
	var want []bridge.Block
	for i := range 7 {
		other := fmt.Sprint("user-", i)
		now := e.tick()
		e.ok(e.s.PutBlock(e.ctx, now.Local(), alice, other, bridge.Limits{}), "block")
		want = append(want, bridge.Block{UserID: other, At: now})
	}
	e.ok(e.tryBlock(bob, alice), "block")
	e.ok(e.tryBlock("user-3", alice), "block")
	e.ok(e.tryBlock(alice, "user-3"), "block again")
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []bridge.Block
		for after := ""; ; after = got[len(got)-1].UserID {
			page, err := e.s.BlockList(e.ctx, alice, after, limit)
			e.ok(err, "list")
			if got = append(got, page...); len(page) < limit {
				break
			}
		}
		equal(e, got, want, "the list, %d at a time", limit)
	}
	all, err := e.s.Blocks(e.ctx, []string{bob, alice, nobody, "user-3", alice})
	e.ok(err, "blocks")
	hers := []string{bob, "user-0", "user-1", "user-2", "user-3", "user-4", "user-5", "user-6"}
	for i, want := range [][]string{{alice}, hers, {}, {alice}, hers} {
		equal(e, append([]string{}, all[i]...), want, "blocks %d", i)
	}
	none, err := e.s.Blocked(e.ctx, nil)
	e.ok(err, "blocked of no pairs")
	equal(e, len(none), 0, "answers for no pairs")
}

func pairBlockLimit(e *env) {
	limits := bridge.Limits{Blocks: 2}
	block := func(user, other string) error { return e.s.PutBlock(e.ctx, e.tick(), user, other, limits) }
	e.ok(block(alice, bob), "block")
	e.ok(block(alice, carol), "block")
	wantCode(e, block(alice, "dave"), chat.CodeConflict, "a third")
	e.ok(block(alice, bob), "one that stands")
	e.ok(block("dave", alice), "by another")
	_, err := e.tryUnblock(alice, bob)
	e.ok(err, "unblock")
	e.ok(block(alice, "dave"), "one more")
}

// pairBlockAtOnce: whatever comes between whatever, in the end the
// conversation is closed if and only if a block stands.
func pairBlockAtOnce(e *env) {
	const rounds = 10
	stores := e.stores()
	for round := range rounds {
		a, b := fmt.Sprint("a", round), fmt.Sprint("b", round)
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i, do := range []func(me *env) error{
			func(me *env) error { return me.tryBlock(a, b) },
			func(me *env) error { return me.tryBlock(b, a) },
			func(me *env) error { _, err := me.tryUnblock(a, b); return err },
			func(me *env) error { _, err := me.tryUnblock(b, a); return err },
			func(me *env) error { _, _, _, err := me.tryDirect(a, b); return err },
			func(me *env) error { _, _, _, err := me.tryDirect(b, a); return err },
		} {
			wg.Go(func() { errs[i] = do(e.on(stores[i%len(stores)])) })
		}
		wg.Wait()
		for i, err := range errs {
			if i < 4 || codeOf(err) != chat.CodeForbidden {
				e.ok(err, "round %d: call %d", round, i)
			}
		}
		e.wantClosed(a, b)
	}
}

// wantClosed checks that the direct conversation of two is closed if and only
// if a block stands between them.
func (e *env) wantClosed(a, b string) {
	e.Helper()
	got, err := e.s.Blocked(e.ctx, []bridge.Pair{{A: a, B: b}})
	e.ok(err, "blocked")
	conv, _, created, err := e.tryDirect(a, b)
	if got[0] && (err != nil || created) {
		wantCode(e, err, chat.CodeForbidden, "begin it while a block stands")
		return
	}
	e.ok(err, "begin it")
	o := e.commit(draft(conv.ID, a, message("x")))[0]
	if got[0] {
		wantRefused(e, o, chat.CodeForbidden, "a message while a block stands")
	} else {
		e.ok(o.Err, "a message while no block stands")
	}
}

// pairBlockModel: after any steps blocks are what was set and lifted, seen
// from both sides.
func pairBlockModel(e *env) {
	users := []string{alice, bob, carol, "dave"}
	rounds := 0
	rapid.Check(e.test, func(t *rapid.T) {
		m := *e
		m.tb = t
		rounds++
		name := func(label string) string {
			return fmt.Sprint(rapid.SampledFrom(users).Draw(t, label), rounds)
		}
		set := map[[2]string]bool{}
		stands := func(a, b string) bool { return set[[2]string{a, b}] || set[[2]string{b, a}] }
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			a, b := name("a"), name("b")
			if a == b {
				continue
			}
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				m.ok(m.tryBlock(a, b), "block")
				set[[2]string{a, b}] = true
			case 1:
				blocked, err := m.tryUnblock(a, b)
				m.ok(err, "unblock")
				delete(set, [2]string{a, b})
				equal(t, blocked, stands(a, b), "what unblock answers")
			default:
				m.wantClosed(a, b)
			}
			got, err := m.s.Blocked(m.ctx, []bridge.Pair{{A: a, B: b}})
			m.ok(err, "blocked")
			equal(t, got[0], stands(a, b), "blocked")
		}
		for _, user := range users {
			user = fmt.Sprint(user, rounds)
			want, mine := []string{}, []string{}
			for _, other := range users {
				if other = fmt.Sprint(other, rounds); stands(user, other) {
					want = append(want, other)
				}
				if set[[2]string{user, other}] {
					mine = append(mine, other)
				}
			}
			slices.SortFunc(want, cmp.Compare)
			slices.SortFunc(mine, cmp.Compare)
			all, err := m.s.Blocks(m.ctx, []string{user})
			m.ok(err, "blocks")
			equal(t, append([]string{}, all[0]...), want, "blocks of %s", user)
			list, err := m.s.BlockList(m.ctx, user, "", 10)
			m.ok(err, "list")
			got := []string{}
			for _, b := range list {
				got = append(got, b.UserID)
			}
			equal(t, got, mine, "list of %s", user)
		}
	})
}
