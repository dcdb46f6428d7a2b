package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var personTests = []test{
	{"Said", personSaid},
	{"SessionKeys", personSessionKeys},
	{"Erasures", personErasures},
	{"EraseSaid", personEraseSaid},
	{"EraseEdits", personEraseEdits},
	{"EraseMany", personEraseMany},
	{"EraseRace", personEraseRace},
	{"EraseRetained", personEraseRetained},
	{"EraseQueued", personEraseQueued},
	{"EraseNotices", personEraseNotices},
	{"EraseTraces", personEraseTraces},
	{"LeavesAll", personLeavesAll},
}

// allSaid reads all that a user said, in pages.
func (e *env) allSaid(user, conv string, limit int) (all []chat.Entry) {
	e.Helper()
	for after := uint64(0); ; {
		page, next, err := e.s.Said(e.ctx, user, chat.ConversationStream(conv), after, limit)
		e.ok(err, "said")
		if all = append(all, normalAll(page)...); next == 0 {
			return all
		}
		if next <= after {
			e.Fatalf("said goes on at %d after %d", next, after)
		}
		after = next
	}
}

func personSaid(e *env) {
	e.create("c", alice, bob)
	for i := range 30 {
		sender := []string{alice, bob, owner}[i%3]
		e.send("c", sender, message(fmt.Sprint(i)))
	}
	var want []chat.Entry
	for _, entry := range e.history("c") {
		if entry.SenderID == alice {
			want = append(want, entry)
		}
	}
	for _, limit := range []int{1, 2, 7, 33, lots} {
		equal(e, e.allSaid(alice, "c", limit), want, "in pages of %d", limit)
	}
	equal(e, len(e.allSaid(nobody, "c", 5)), 0, "of nobody")
	equal(e, len(e.allSaid(alice, noConv, 5)), 0, "in no conversation")
	e.trim(e.tick(), keepNewest(10), "c", lots)
	equal(e, e.allSaid(alice, "c", 2), want[len(want)-3:], "of what is held")
}

func personSessionKeys(e *env) {
	var want []bridge.SessionKey
	for _, id := range []string{"A", "a", "b", "b/c"} {
		want = append(want, bridge.SessionKey{UserID: alice, ClientID: id})
		e.ok(e.s.SaveSession(e.ctx, bridge.Session{Key: want[len(want)-1], Expiry: 100}), "save")
	}
	e.ok(e.s.SaveSession(e.ctx, bridge.Session{Key: bridge.SessionKey{UserID: bob, ClientID: "a"}, Expiry: 100}), "save")
	var got []bridge.SessionKey
	for after := ""; ; after = got[len(got)-1].ClientID {
		page, err := e.s.SessionKeys(e.ctx, alice, after, 3)
		e.ok(err, "session keys")
		if got = append(got, page...); len(page) < 3 {
			break
		}
	}
	equal(e, got, want, "session keys")
	none, err := e.s.SessionKeys(e.ctx, nobody, "", 3)
	e.ok(err, "session keys")
	equal(e, len(none), 0, "sessions of nobody")
}

// personErasures: what has begun is known until it ends, with its counts.
func personErasures(e *env) {
	began := e.tick()
	e.ok(e.s.BeginErasure(e.ctx, began, alice), "begin")
	e.ok(e.s.BeginErasure(e.ctx, e.tick(), bob), "begin")
	n := bridge.Erased{Messages: 1, Edits: 2, Reactions: 3, Notifications: 4, Retained: 5, Sessions: 6, Conversations: 7}
	e.ok(e.s.CountErased(e.ctx, alice, n), "count")
	e.ok(e.s.CountErased(e.ctx, alice, bridge.Erased{Messages: 9}), "count")
	e.ok(e.s.CountErased(e.ctx, nobody, n), "count where there is no erasure")
	e.ok(e.s.BeginErasure(e.ctx, e.tick(), alice), "begin again")
	e.reopen()
	all, err := e.s.Erasures(e.ctx)
	e.ok(err, "erasures")
	n.Messages = 10
	equal(e, len(all), 2, "erasures")
	equal(e, all[0], bridge.Erasure{UserID: alice, Began: began, Erased: n}, "the first")
	equal(e, all[1].UserID, bob, "the second")
	got, err := e.s.EndErasure(e.ctx, alice)
	e.ok(err, "end")
	equal(e, got, n, "what was erased")
	got, err = e.s.EndErasure(e.ctx, alice)
	e.ok(err, "end again")
	equal(e, got, bridge.Erased{}, "what was erased")
	all, err = e.s.Erasures(e.ctx)
	e.ok(err, "erasures")
	equal(e, len(all), 1, "erasures")
}

// eraseSaid erases all that a user said in a conversation, in steps.
func (e *env) eraseSaid(user, conv string, limit int) (sum bridge.Erased) {
	e.Helper()
	for after := uint64(0); ; {
		next, n, err := uint64(0), bridge.Erased{}, error(nil)
		err = again(func() (err error) {
			next, n, err = e.s.EraseSaid(e.ctx, user, chat.ConversationStream(conv), after, limit)
			return err
		})
		e.ok(err, "erase")
		sum.Messages, sum.Edits, sum.Reactions = sum.Messages+n.Messages, sum.Edits+n.Edits, sum.Reactions+n.Reactions
		if next == 0 {
			return sum
		}
		if next <= after {
			e.Fatalf("erasing goes on at %d after %d", next, after)
		}
		after = next
	}
}

// personEraseSaid: of what the user said nothing is left, what others said
// stands, without the user in its mentions.
func personEraseSaid(e *env) {
	for _, limit := range []int{1, 3, 250} {
		conv := fmt.Sprint("c", limit)
		e.createCast(conv)
		e.put(conv, bob, chat.RoleMember)
		say := func(sender string, b chat.Body) uint64 { return e.send(conv, sender, b).Seq }
		mine := say(alice, chat.Body{Type: chat.TypeMessage, Content: "secret", MediaURL: "https://secret/", Mentions: []string{bob}, ClientID: "m-1"})
		say("adam", edit(mine, "secret as an admin edited it"))
		say(alice, edit(mine, "secret as I edited it"))
		say(alice, withClientID(message("a secret that was deleted"), "m-2"))
		deleted := e.head(conv).Head
		say(alice, erase(deleted))
		his := say(bob, chat.Body{Type: chat.TypeMessage, Content: `"alice" is not secret`, MediaURL: "https://x/", ReplyTo: mine, Mentions: []string{bob, alice, carol}})
		say(bob, chat.Body{Type: chat.TypeMessage, Content: "hi", Mentions: []string{alice}})
		say(alice, react(his, "S"))
		say(alice, chat.Body{Type: chat.TypeReaction, Target: his, Emoji: "S", Remove: true})
		say(bob, react(mine, "his"))
		say("adam", edit(his, "his, edited by another"))
		_, err := e.tryRename(bridge.Actor{UserID: alice, Admin: true}, conv, alice)
		e.ok(err, "rename")
		e.remove(conv, alice)

		want := e.history(conv)
		for i := range want {
			w := &want[i]
			switch {
			case w.SenderID == alice && (w.Type == chat.TypeMessage || w.Type == chat.TypeEdit || w.Type == chat.TypeReaction),
				w.Type == chat.TypeEdit && w.Target == mine:
				*w = w.Erased()
			case w.SenderID == bob:
				w.Mentions = slices.DeleteFunc(slices.Clone(w.Mentions), func(m string) bool { return m == alice })
			}
			*w = normal(*w)
		}
		found := func(word string) int {
			hits, err := e.s.Search(e.ctx, bridge.Search{UserID: bob, Conversation: conv, Words: []string{word}, Limit: 10})
			e.ok(err, "search")
			return len(hits)
		}
		equal(e, found("secret"), 1, "found before")
		e.ok(e.s.BeginErasure(e.ctx, e.tick(), alice), "begin")
		n := e.eraseSaid(alice, conv, limit)
		equal(e, found("secret"), 0, "found after")
		equal(e, found("hi"), 1, "another's message")
		equal(e, n, bridge.Erased{Messages: 1, Edits: 2, Reactions: 2}, "what was erased")
		equal(e, e.history(conv), want, "history, limit %d", limit)
		equal(e, e.eraseSaid(alice, conv, limit), bridge.Erased{}, "what was erased the second time")
		equal(e, e.history(conv), want, "history after the second time")
		total, err := e.s.EndErasure(e.ctx, alice)
		e.ok(err, "end")
		equal(e, total, n, "what the erasure has counted")
		e.refuse(draft(conv, bob, edit(mine, "x")), chat.CodeNotFound, "an edit of what was erased")
		equal(e, e.send(conv, bob, message("x")).Seq, uint64(len(want)+1), "the next seq")
	}
	equal(e, e.eraseSaid(alice, noConv, 10), bridge.Erased{}, "in no conversation")
	// What was read of it counts as before.
	e.create("u", alice, bob)
	e.send("u", alice, message("x"))
	e.send("u", owner, message("y"))
	e.remove("u", alice)
	e.eraseSaid(alice, "u", 10)
	equal(e, e.standing("u", bob).Unread, 1, "unread after erasing")
}

// personEraseEdits: another's message, which the user edited, says again what
// it said before, and is found by that. Reactions that were erased are gone.
func personEraseEdits(e *env) {
	e.create("c", alice, bob)
	e.put("c", alice, chat.RoleAdmin) // and so edits what others say
	first := e.send("c", bob, message("first words")).Seq
	e.send("c", alice, edit(first, "secret words"))
	second := e.send("c", bob, message("second words")).Seq
	e.send("c", bob, edit(second, "newer words"))
	e.send("c", alice, edit(second, "secret words again"))
	e.send("c", alice, react(first, "A"))
	e.send("c", bob, react(first, "B"))
	e.eraseSaid(alice, "c", 2)

	equal(e, e.search(bob, "secret"), []string{}, "the erased")
	for text, want := range map[string]uint64{"first": first, "newer": second} {
		found := e.find(bridge.Search{UserID: bob, Limit: lots}, text)
		equal(e, places(found), []string{fmt.Sprintf("c/%d", want)}, "%q", text)
		equal(e, found[0].Content, text+" words", "what is found")
	}
	equal(e, e.search(bob, "second"), []string{}, "what was edited before")
	folded := e.folded(bridge.FoldedPage{Stream: chat.ConversationStream("c"), Forward: true, Limit: lots})
	equal(e, len(folded), 2, "messages")
	equal(e, folded[0].Content, "first words", "the first message")
	equal(e, folded[0].EditedAt.IsZero(), true, "the first is not edited any more")
	equal(e, folded[0].Reactions, []bridge.Reaction{{Emoji: "B", Count: 1, UserIDs: []string{bob}}}, "reactions")
	equal(e, folded[1].Content, "newer words", "the second message")
}

// personEraseMany: a step looks at a bounded number of entries.
func personEraseMany(e *env) {
	e.create("c", alice, bob)
	var drafts []chat.Draft
	for i := range 600 {
		sender := bob
		if i%200 == 7 {
			sender = alice
		}
		drafts = append(drafts, draft("c", sender, message(fmt.Sprint(i))))
	}
	e.commit(drafts...)
	e.remove("c", alice)
	steps := 0
	for after := uint64(0); ; steps++ {
		next, _, err := e.s.EraseSaid(e.ctx, alice, "c/c", after, 4)
		e.ok(err, "erase")
		if next == 0 {
			break
		}
		if next-after > 100 {
			e.Errorf("a step went from %d to %d", after, next)
		}
		after = next
	}
	equal(e, len(e.allSaid(alice, "c", lots)), 3, "entries of alice")
	for _, entry := range e.history("c") {
		if entry.Type == chat.TypeMessage && entry.Deleted != (entry.SenderID == alice) {
			e.Errorf("%+v", entry)
		}
	}
}

// personEraseRace: sends, edits and deletes of others go on meanwhile.
func personEraseRace(e *env) {
	e.createCast("c")
	var drafts []chat.Draft
	for i := range 200 {
		drafts = append(drafts, draft("c", alice, message(fmt.Sprint("secret ", i))))
	}
	e.commit(drafts...)
	e.remove("c", alice)
	stores := e.stores()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 60 {
			b := edit(uint64(6+3*i), "secret, edited")
			if i%2 == 1 {
				b = erase(uint64(6 + 3*i))
			}
			if _, err := e.on(stores[1]).tryCommit(e.tick(), draft("c", "adam", b), draft("c", "adam", message("x"))); err != nil {
				e.Errorf("commit: %v", err)
			}
		}
	})
	for after := uint64(0); ; {
		var next uint64
		err := again(func() (err error) {
			next, _, err = stores[0].EraseSaid(e.ctx, alice, "c/c", after, 5)
			return err
		})
		if err != nil {
			e.Errorf("erase: %v", err)
		}
		if next == 0 || err != nil {
			break
		}
		after = next
	}
	wg.Wait()
	e.eraseSaid(alice, "c", 250) // what was edited after it was looked at
	for _, entry := range e.history("c") {
		if entry.SenderID == alice && entry.Type == chat.TypeMessage && !entry.Deleted || entry.Type == chat.TypeEdit && !entry.Deleted {
			e.Errorf("it stands: %+v", entry)
		}
	}
}

func personEraseRetained(e *env) {
	var c bridge.Changes
	for i := range 7 {
		user := []string{alice, bob, ""}[i%3]
		c.Retained = append(c.Retained, &bridge.Message{ID: newID(), UserID: user, Topic: fmt.Sprint("t", i), Payload: []byte("secret"),
			Published: time.UnixMilli(1000).UTC()})
	}
	e.ok(e.s.Keep(e.ctx, &c), "keep")
	// A topic belongs to who published to it last.
	e.ok(e.s.Keep(e.ctx, &bridge.Changes{Retained: []*bridge.Message{{ID: newID(), UserID: alice, Topic: "t1", Payload: []byte("x"), Published: time.UnixMilli(1000).UTC()}}}), "keep")
	e.ok(e.s.BeginErasure(e.ctx, e.tick(), alice), "begin")
	for _, want := range []struct {
		count int
		bytes int64
	}{{3, 0}, {1, 0}, {0, 0}} {
		n, bytes, err := e.s.EraseRetained(e.ctx, alice, 3)
		e.ok(err, "erase")
		equal(e, n, want.count, "erased")
		equal(e, bytes > 0, n > 0, "bytes")
	}
	left, err := e.s.Retained(e.ctx, e.tick(), "", "", lots)
	e.ok(err, "retained")
	var topics []string
	for _, m := range left {
		topics = append(topics, m.Topic+" by "+m.UserID)
	}
	equal(e, topics, []string{"t2 by ", "t4 by bob", "t5 by "}, "what is left")
	n, err := e.s.EndErasure(e.ctx, alice)
	e.ok(err, "end")
	equal(e, n, bridge.Erased{Retained: 4}, "what the erasure has counted")
}

func personEraseQueued(e *env) {
	key := bridge.SessionKey{UserID: bob, ClientID: "b"}
	e.ok(e.s.SaveSession(e.ctx, bridge.Session{Key: key, Expiry: 100}), "save")
	var c bridge.Changes
	for i := range 7 {
		m := &bridge.Message{ID: newID(), UserID: []string{alice, bob, ""}[i%3], Topic: "t", Payload: []byte("secret"), Props: []byte("p"),
			QoS: 1, Published: time.UnixMilli(1000).UTC()}
		c.Messages = append(c.Messages, m)
		c.Deliveries = append(c.Deliveries, bridge.Delivery{Key: key, N: uint64(i + 1), QoS: 1, Size: m.Size(), Message: m})
	}
	e.ok(e.s.Keep(e.ctx, &c), "keep")
	looked := 0
	for after := (chat.ID{}); ; looked++ {
		last, err := e.s.EraseQueued(e.ctx, alice, after, 2)
		e.ok(err, "erase")
		if last == (chat.ID{}) {
			break
		}
		if bytes.Compare(last[:], after[:]) <= 0 {
			e.Fatalf("it goes back")
		}
		after = last
	}
	equal(e, looked, 4, "steps")
	got, err := e.s.Queued(e.ctx, []bridge.QueueRange{{Key: key, Limit: lots}})
	e.ok(err, "queued")
	for i, d := range got[0] {
		m := d.Message
		if gone := len(m.Payload) == 0 && len(m.Props) == 0 && !m.Expires.IsZero() && m.Expires.Before(time.Unix(10, 0)); gone != (i%3 == 0) {
			e.Errorf("message %d: %+v", i, m)
		}
	}
}

func personEraseTraces(e *env) {
	e.create("c", alice, bob)
	e.create("d", alice)
	e.send("c", alice, message("x"))
	e.remove("c", alice)
	e.ok(e.s.SavePeople(e.ctx, []bridge.Person{{UserID: alice, LastSeen: e.tick()}, {UserID: bob, LastSeen: e.tick()}}), "save people")
	e.ok(e.s.EraseTraces(e.ctx, alice), "erase")
	people, err := e.s.People(e.ctx, []string{alice, bob})
	e.ok(err, "people")
	equal(e, []bool{people[0].LastSeen.IsZero(), people[1].LastSeen.IsZero()}, []bool{true, false}, "who was never here")
	equal(e, e.membership("c", alice).LeftSeq, 0, "where it left")
	equal(e, e.membership("c", alice).Role, chat.RoleNone, "role")
	equal(e, e.membership("d", alice).Role, chat.RoleMember, "where it is a member")
	equal(e, e.membership("c", bob).Role, chat.RoleMember, "another")
	ms, err := e.s.Memberships(e.ctx, []string{alice})
	e.ok(err, "memberships")
	equal(e, len(ms[0]), 1, "memberships")
}

// personLeavesAll: who is forgotten leaves direct conversations too, its own
// conversations go to another, and blocks go.
func personLeavesAll(e *env) {
	now := e.tick()
	direct := bridge.NewDirect{ID: "d", UserID: alice, Peer: bob, JoinIDs: [2]chat.ID(newIDs(2))}
	_, _, _, err := e.s.CreateDirect(e.ctx, now, direct)
	e.ok(err, "create a direct conversation")
	c := newConversation("c", bob)
	c.OwnerID = alice
	_, _, _, err = e.tryCreate(e.tick(), c)
	e.ok(err, "create")
	e.ok(e.s.PutBlock(e.ctx, now, alice, carol, bridge.Limits{}), "block")
	e.ok(e.s.PutBlock(e.ctx, now, bob, alice, bridge.Limits{}), "block")
	e.ok(e.s.PutBlock(e.ctx, now, bob, carol, bridge.Limits{}), "block")
	_, err = e.tryRemove(bridge.Actor{UserID: alice, Admin: true}, "d", alice)
	wantCode(e, err, chat.CodeForbidden, "leave a direct conversation")
	for _, id := range []string{"d", "c"} {
		_, err = e.tryRemove(bridge.Actor{UserID: alice, Admin: true, Forgets: true}, id, alice)
		e.ok(err, "leave %s", id)
		equal(e, len(e.conversation(id).Members), 1, "members of %s", id)
	}
	equal(e, e.conversation("c").OwnerID, bob, "the owner")
	e.ok(e.s.EraseTraces(e.ctx, alice), "erase")
	blocked, err := e.s.Blocked(e.ctx, []bridge.Pair{{A: alice, B: carol}, {A: alice, B: bob}, {A: bob, B: carol}})
	e.ok(err, "blocked")
	equal(e, blocked, []bool{false, false, true}, "blocks")
}

// personEraseNotices: of a user's notifications nothing is left, of those that
// it sent to others their type and whether they are read.
func personEraseNotices(e *env) {
	now := e.tick()
	var drafts []chat.Draft
	for i := range 30 {
		from, to := []string{alice, bob, carol}[i%3], []string{bob, alice, alice}[i%3]
		id := newID()
		drafts = append(drafts, chat.Draft{ID: id, Stream: chat.NotificationStream(to), SenderID: from, Body: chat.Body{Type: chat.TypeNotification,
			ClientID: bridge.ServerClientID(id), Notice: &chat.Notice{Type: "LIKE", Data: []byte(`{"secret":"of alice"}`), Collapse: fmt.Sprint("secret", i)}}})
	}
	drafts = append(drafts, chat.Draft{ID: newID(), Stream: "n/bob", SenderID: carol, Body: chat.Body{Type: chat.TypeNotification, ClientID: "x",
		Notice: &chat.Notice{Type: "LIKE", Data: []byte(`{"not":"hers"}`)}}})
	out := make([]bridge.Noticed, len(drafts))
	e.ok(again(func() error { return e.s.Notify(e.ctx, now, drafts, out) }), "notify")
	_, err := e.s.ReadNotifications(e.ctx, bob, chat.ReadMarks{UpTo: 3})
	e.ok(err, "read")
	e.ok(e.s.SavePreferences(e.ctx, alice, bridge.Preferences{Muted: []string{"LIKE"}}), "preferences")
	e.ok(e.s.BeginErasure(e.ctx, now, alice), "begin")
	for _, want := range []int{7, 7, 6, 0, 0} {
		var n int
		e.ok(again(func() (err error) {
			n, err = e.s.EraseNotices(e.ctx, alice, 7)
			return err
		}), "erase")
		equal(e, n, want, "notifications of alice")
	}
	heads, err := e.s.Heads(e.ctx, []chat.StreamID{"n/alice", "n/bob"})
	e.ok(err, "heads")
	equal(e, heads, []bridge.Head{{}, {Head: 11, First: 1}}, "heads")
	for _, want := range []int{7, 3, 0} {
		var streams []chat.StreamID
		e.ok(again(func() (err error) {
			streams, err = e.s.EraseNoticesBy(e.ctx, alice, 7)
			return err
		}), "erase")
		equal(e, len(streams), want, "notifications by alice")
	}
	got, err := e.s.Read(e.ctx, []bridge.Range{{Stream: "n/bob", Limit: lots}})
	e.ok(err, "read")
	wantGapless(e, got[0], 1)
	for i, n := range got[0] {
		hers := n.SenderID == alice
		if n.Deleted != hers || (len(n.Notice.Data) == 0) != hers || n.Notice.Collapse != "" || n.Notice.Type != "LIKE" || n.Notice.Read != (i < 3) {
			e.Errorf("notification %d: %+v %+v", i, n, n.Notice)
		}
	}
	counts, err := e.s.UnreadNotifications(e.ctx, []string{alice, bob})
	e.ok(err, "unread")
	equal(e, counts, []uint64{0, 8}, "unread")
	n, err := e.s.EndErasure(e.ctx, alice)
	e.ok(err, "end")
	equal(e, n, bridge.Erased{Notifications: 30}, "what the erasure has counted")
	e.ok(e.s.EraseTraces(e.ctx, alice), "erase traces")
	p, err := e.s.Preferences(e.ctx, alice)
	e.ok(err, "preferences")
	equal(e, p, bridge.DefaultPreferences(), "preferences")
}
