package storetest

import (
	"fmt"
	"sync"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var mentionTests = []test{
	{"Told", mentionTold},
	{"Whom", mentionWhom},
	{"Deleted", mentionDeleted},
	{"ConversationDeleted", mentionConversationDeleted},
	{"Some", mentionSome},
	{"Once", mentionOnce},
	{"Crash", mentionCrash},
}

func mentioning(users ...string) chat.Body {
	return chat.Body{Type: chat.TypeMessage, Content: "you there", Mentions: users}
}

func (e *env) tellMentions(limit int) (took int, out []bridge.Noticed) {
	e.Helper()
	now := e.tick()
	e.ok(again(func() (err error) {
		took, out, err = e.s.NotifyMentions(e.ctx, now, limit, newID)
		return err
	}), "notify mentions")
	return took, out
}

// tellAll tells until nothing is due.
func (e *env) tellAll() {
	e.Helper()
	for {
		if took, _ := e.tellMentions(20); took == 0 {
			return
		}
	}
}

// mentionTold: who is mentioned gets a notification by the author about the
// message, once.
func mentionTold(e *env) {
	e.create("c", alice, bob)
	e.send("c", alice, message("nobody"))
	took, _ := e.tellMentions(20)
	equal(e, took, 0, "messages without mentions")
	o := e.send("c", alice, mentioning(bob))
	took, out := e.tellMentions(20)
	equal(e, []int{took, len(out)}, []int{1, 1}, "messages and notifications")
	stand := e.notices(bob)
	equal(e, stand, []chat.Entry{out[0].Entry}, "what bob has")
	n := stand[0]
	equal(e, []string{n.Notice.Type, n.SenderID, string(n.Notice.Data)},
		[]string{"mention", alice, fmt.Sprintf(`{"conversationId":"c","seq":%d,"id":"%s"}`, o.Seq, o.ID)}, "the notification")
	took, _ = e.tellMentions(20)
	equal(e, took, 0, "again")
	equal(e, len(e.notices(bob)), 1, "notifications of bob")
}

// mentionWhom: members alone, each once, not the author, and as they prefer.
func mentionWhom(e *env) {
	const dora, emil = "dora", "emil"
	e.create("c", alice, bob, carol, dora, emil)
	e.remove("c", carol)
	e.ok(e.s.SavePreferences(e.ctx, dora, bridge.Preferences{Enabled: true, MutedConversations: []string{"c"}}), "save preferences")
	e.ok(e.s.SavePreferences(e.ctx, emil, bridge.Preferences{Enabled: true, Muted: []string{"mention"}}), "save preferences")
	e.send("c", alice, mentioning(bob, alice, bob, carol, nobody, dora, emil, owner))
	e.put("c", nobody, chat.RoleMember) // too late: the message was not for it
	e.tellAll()
	for user, want := range map[string]int{bob: 1, owner: 1, alice: 0, carol: 0, nobody: 0, dora: 0, emil: 0} {
		got, err := e.s.Notifications(e.ctx, user, 0, false, lots)
		e.ok(err, "notifications")
		equal(e, len(got), want, "notifications of %s", user)
	}
	e.send("c", alice, mentioning(nobody))
	e.send("c", alice, edit(e.head("c").Head, "an edit mentions nobody"))
	e.tellAll()
	got, err := e.s.Notifications(e.ctx, nobody, 0, false, lots)
	e.ok(err, "notifications")
	equal(e, len(got), 1, "notifications of one that is a member now")
}

// mentionDeleted: a message that was deleted notifies nobody; what was told
// before it stays.
func mentionDeleted(e *env) {
	e.create("c", alice, bob)
	first := e.send("c", alice, mentioning(bob))
	second := e.send("c", alice, mentioning(bob))
	e.send("c", alice, erase(first.Seq))
	took, out := e.tellMentions(20)
	equal(e, []int{took, len(out)}, []int{2, 1}, "messages and notifications")
	e.send("c", alice, erase(second.Seq))
	e.tellAll()
	equal(e, len(e.notices(bob)), 1, "notifications of bob")
}

// mentionConversationDeleted: nothing is due of a conversation that is gone.
func mentionConversationDeleted(e *env) {
	e.create("c", alice, bob)
	e.send("c", alice, mentioning(bob))
	e.ok(e.tryDelete(serverAdmin, "c"), "delete")
	took, _ := e.tellMentions(20)
	equal(e, took, 0, "messages")
	e.create("c", alice, bob)
	e.tellAll()
	equal(e, len(e.notices(bob)), 0, "notifications of bob")
}

// mentionSome: no more than was asked for at once.
func mentionSome(e *env) {
	e.create("c", alice, bob)
	e.create("d", alice, bob)
	for range 4 {
		e.send("d", alice, mentioning(bob))
		e.send("c", alice, mentioning(bob))
	}
	for _, want := range []int{3, 3, 2, 0} {
		took, out := e.tellMentions(3)
		equal(e, []int{took, len(out)}, []int{want, want}, "messages and notifications")
	}
	equal(e, len(e.notices(bob)), 8, "notifications of bob")
}

// mentionOnce: however many tell at the same time, each is told once.
func mentionOnce(e *env) {
	e.create("c", alice, bob, carol)
	const messages = 30
	for range messages {
		e.send("c", alice, mentioning(bob, carol))
	}
	stores := e.stores()
	var all sync.WaitGroup
	for w := range 6 {
		all.Go(func() {
			e := e.on(stores[w%len(stores)])
			now := e.tick()
			for idle := 0; idle < 3; {
				var took int
				err := again(func() (err error) {
					took, _, err = e.s.NotifyMentions(e.ctx, now, 2, newID)
					return err
				})
				if err != nil {
					e.Errorf("notify mentions: %v", err)
					return
				}
				if took == 0 {
					idle++
				}
			}
		})
	}
	all.Wait()
	e.tellAll()
	for _, user := range []string{bob, carol} {
		told := map[string]bool{}
		for _, n := range e.notices(user) {
			told[string(n.Notice.Data)] = true
		}
		equal(e, []int{len(told), int(e.unread(user))}, []int{messages, messages}, "messages and notifications of %s", user)
	}
}

// mentionCrash: what was due is due after a restart, what was told is not.
func mentionCrash(e *env) {
	e.create("c", alice, bob)
	e.send("c", alice, mentioning(bob))
	e.tellAll()
	e.send("c", alice, mentioning(bob))
	e.reopen()
	e.tellAll()
	e.reopen()
	e.tellAll()
	equal(e, len(e.notices(bob)), 2, "notifications of bob")
}
