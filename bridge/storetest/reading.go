package storetest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var readingTests = []test{
	{"Receipts", readingReceipts},
	{"Refusals", readingRefusals},
	{"Small", readingSmall},
	{"Rejoin", readingRejoin},
	{"Unread", readingUnread},
}

func (e *env) tryMove(moves ...bridge.Move) (out []bridge.Moved, err error) {
	now := e.tick()
	err = again(func() (err error) {
		out, err = e.s.MoveReceipts(e.ctx, now, moves)
		return err
	})
	return out, err
}

func (e *env) move(conv, user string, read, delivered uint64) bridge.Moved {
	e.Helper()
	out, err := e.tryMove(bridge.Move{MemberKey: bridge.MemberKey{Conversation: conv, UserID: user}, Read: read, Delivered: delivered})
	e.ok(err, "move receipts")
	if len(out) != 1 {
		e.Fatalf("MoveReceipts gave %d answers for one move", len(out))
	}
	return out[0]
}

func (e *env) receipts(conv string) []bridge.Receipt {
	e.Helper()
	got, err := e.s.Receipts(e.ctx, conv)
	e.ok(err, "receipts of %s", conv)
	return got
}

func (e *env) standing(conv, user string) bridge.Standing {
	e.Helper()
	got, err := e.s.Standings(e.ctx, []bridge.MemberKey{{Conversation: conv, UserID: user}})
	e.ok(err, "standings")
	if len(got) != 1 {
		e.Fatalf("Standings gave %d answers for one key", len(got))
	}
	return got[0]
}

// readingReceipts: receipts go forward only, not beyond the head, and what is
// read was delivered.
func readingReceipts(e *env) {
	e.create("c", alice, bob)
	for range 5 {
		e.send("c", owner, message("hi"))
	}
	steps := []struct {
		read, delivered uint64 // asked for
		toRead, toDeliv uint64
		raised          bool
	}{
		{0, 0, 2, 2, false}, // from its own join entry
		{0, 5, 2, 5, true},
		{4, 0, 4, 5, true},
		{3, 4, 4, 5, false},
		{4, 5, 4, 5, false},
		{6, 0, 6, 6, true},
		{1 << 62, 1 << 63, 8, 8, true},
		{1<<64 - 1, 1<<64 - 1, 8, 8, false},
	}
	var at time.Time
	for i, s := range steps {
		got := e.move("c", alice, s.read, s.delivered)
		if s.raised || i == 0 {
			at = got.At
		}
		if s.raised {
			wantTime(e, got.At, time.UnixMilli(e.clock.Load()), "At")
		}
		want := bridge.Receipt{MemberKey: bridge.MemberKey{Conversation: "c", UserID: alice}, Read: s.toRead, Delivered: s.toDeliv, At: at}
		equal(e, got, bridge.Moved{Receipt: want, Raised: s.raised}, "step %d", i)
		equal(e, e.receipts("c")[1], want, "what stands after step %d", i)
	}
	equal(e, e.receipts("c")[2].Read, 3, "what bob has read")
}

func readingRefusals(e *env) {
	e.create("c", alice, bob)
	e.create("d", alice)
	e.remove("c", bob)
	key := func(conv, user string) bridge.MemberKey { return bridge.MemberKey{Conversation: conv, UserID: user} }
	out, err := e.tryMove(bridge.Move{MemberKey: key("none", alice), Read: 1}, bridge.Move{MemberKey: key("c", bob), Read: 4},
		bridge.Move{MemberKey: key("c", nobody), Read: 1}, bridge.Move{MemberKey: key("d", owner), Read: 2})
	e.ok(err, "move receipts")
	for i, code := range []chat.Code{chat.CodeNotFound, chat.CodeForbidden, chat.CodeForbidden, ""} {
		wantCode(e, out[i].Err, code, "move %d", i)
	}
	equal(e, out[3].Read, 2, "the one that is allowed")
	equal(e, len(e.receipts("c")), 2, "receipts of those who are members")
	_, err = e.s.Receipts(e.ctx, "none")
	wantCode(e, err, chat.CodeNotFound, "receipts of no conversation")
	equal(e, e.standing("c", bob), bridge.Standing{}, "standing of somebody who left")
	equal(e, e.standing("c", nobody), bridge.Standing{}, "standing of nobody")
	equal(e, e.standing("none", alice), bridge.Standing{}, "standing in no conversation")
	equal(e, e.membership("c", nobody).Role, chat.RoleNone, "role of who moved a receipt")
	out, err = e.tryMove()
	e.ok(err, "no moves")
	equal(e, len(out), 0, "answers for no moves")
}

// readingSmall: a move that is only for small conversations.
func readingSmall(e *env) {
	var members []string
	for i := range bridge.SmallConversation - 1 {
		members = append(members, fmt.Sprintf("user%d", i))
	}
	e.create("c", members...)
	move := func() bridge.Moved {
		out, err := e.tryMove(bridge.Move{MemberKey: bridge.MemberKey{Conversation: "c", UserID: owner}, Delivered: e.head("c").Head, Small: true})
		e.ok(err, "move")
		return out[0]
	}
	equal(e, move().Raised, true, "raised with 32 members")
	e.put("c", alice, chat.RoleMember)
	got := move()
	equal(e, got.Raised, false, "raised with 33 members")
	equal(e, got.Delivered, bridge.SmallConversation, "what stands")
	e.remove("c", alice)
	equal(e, move().Raised, true, "raised with 32 members again")
}

func readingRejoin(e *env) {
	e.create("c", alice)
	e.send("c", owner, message("1"))
	e.remove("c", alice)
	e.send("c", owner, message("2"))
	e.put("c", alice, chat.RoleMember)
	equal(e, e.standing("c", alice), bridge.Standing{Head: 6, Read: 6}, "after joining again")
	e.send("c", owner, message("3"))
	equal(e, e.standing("c", alice), bridge.Standing{Head: 7, Read: 6, Unread: 1}, "after a message")
}

// readingUnread: what counts and what does not.
func readingUnread(e *env) {
	e.create("c", alice)
	first := e.send("c", owner, message("1"))
	e.send("c", owner, edit(first.Seq, "one"))
	e.send("c", owner, react(first.Seq, "x"))
	second := e.send("c", owner, message("2"))
	e.put("c", bob, chat.RoleMember)
	equal(e, e.standing("c", alice), bridge.Standing{Head: 7, Read: 2, Unread: 2}, "two messages")
	equal(e, e.standing("c", owner), bridge.Standing{Head: 7, Read: second.Seq}, "who sent them")
	equal(e, e.standing("c", bob), bridge.Standing{Head: 7, Read: 7}, "who came later")
	e.send("c", owner, erase(first.Seq))
	equal(e, e.standing("c", alice).Unread, 1, "one of them deleted")
	e.move("c", alice, first.Seq, 0)
	equal(e, e.standing("c", alice).Unread, 1, "the deleted one read")
	e.send("c", alice, message("3"))
	equal(e, e.standing("c", alice), bridge.Standing{Head: 9, Read: 9}, "after answering")
	equal(e, e.standing("c", owner).Unread, 1, "the answer")
}

// move raises what a member has read and got in the model.
func (m *modelMember) move(read, delivered uint64, now time.Time) bool {
	delivered = max(read, delivered)
	if read <= m.receipt.Read && delivered <= m.receipt.Delivered {
		return false
	}
	m.receipt = bridge.Receipt{Read: max(m.receipt.Read, read), Delivered: max(m.receipt.Delivered, delivered), At: now}
	return true
}

// standing counts messages one by one.
func (c *modelConv) standing(user string) (s bridge.Standing) {
	if c.role(user) == chat.RoleNone {
		return s
	}
	s.Head, s.Read = uint64(len(c.entries)), c.members[user].receipt.Read
	for _, entry := range c.entries {
		if entry.Seq > s.Read && entry.Type == chat.TypeMessage && !entry.Deleted && entry.SenderID != user {
			s.Unread++
		}
	}
	return s
}

// move has some members read.
func (m *model) move() {
	var moves []bridge.Move
	for range rapid.IntRange(1, 4).Draw(m.t, "moves") {
		move := bridge.Move{MemberKey: bridge.MemberKey{Conversation: m.conv(), UserID: m.user("reader")}, Small: rapid.Bool().Draw(m.t, "small"),
			Read: uint64(rapid.IntRange(0, 30).Draw(m.t, "read")), Delivered: uint64(rapid.IntRange(0, 30).Draw(m.t, "delivered"))}
		if !slices.ContainsFunc(moves, func(o bridge.Move) bool { return o.MemberKey == move.MemberKey }) {
			moves = append(moves, move)
		}
	}
	out, err := m.tryMove(moves...)
	m.ok(err, "move receipts")
	for i, move := range moves {
		c := m.convs[move.Conversation]
		switch {
		case c == nil:
			wantCode(m, out[i].Err, chat.CodeNotFound, "move %d", i)
		case c.role(move.UserID) == chat.RoleNone:
			wantCode(m, out[i].Err, chat.CodeForbidden, "move %d", i)
		default:
			head := uint64(len(c.entries))
			member := c.members[move.UserID]
			raised := member.move(min(move.Read, head), min(move.Delivered, head), m.now())
			want := member.receipt
			want.MemberKey = move.MemberKey
			equal(m, out[i], bridge.Moved{Receipt: want, Raised: raised}, "move %d", i)
		}
	}
}

// compareStandings looks at how all conversations stand for all users, at any
// moment.
func (m *model) compareStandings() {
	var keys []bridge.MemberKey
	var want []bridge.Standing
	for _, id := range modelConvs {
		for _, user := range modelUsers {
			keys = append(keys, bridge.MemberKey{Conversation: m.prefix + id, UserID: user})
			var s bridge.Standing
			if c := m.convs[m.prefix+id]; c != nil {
				s = c.standing(user)
			}
			want = append(want, s)
		}
	}
	got, err := m.s.Standings(m.ctx, keys)
	m.ok(err, "standings")
	equal(m, got, want, "how conversations stand")
}

func (m *model) compareReceipts(id string) {
	var want []bridge.Receipt
	for _, member := range m.want(id).Members {
		r := m.convs[id].members[member.UserID].receipt
		r.MemberKey = bridge.MemberKey{Conversation: id, UserID: member.UserID}
		want = append(want, r)
	}
	got := m.receipts(id)
	if len(got) == 0 {
		got = nil
	}
	equal(m, got, want, "receipts")
}
