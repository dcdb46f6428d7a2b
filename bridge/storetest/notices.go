package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var noticeTests = []test{
	{"First", noticeFirst},
	{"Skipped", noticeSkipped},
	{"Repeated", noticeRepeated},
	{"Collapsed", noticeCollapsed},
	{"CollapsedInOneBatch", noticeCollapsedBatch},
	{"Read", noticeRead},
	{"ReadNothing", noticeReadNothing},
	{"Pages", noticePages},
	{"Batch", noticeBatch},
	{"Data", noticeData},
	{"Preferences", noticePreferences},
	{"Races", noticeRaces},
	{"Reopen", noticeReopen},
	{"Trimmed", noticeTrimmed},
}

// notice makes the draft of a notification as the log does.
func notice(recipient, sender, kind string, change ...func(d *chat.Draft)) chat.Draft {
	d := chat.Draft{ID: newID(), Stream: chat.NotificationStream(recipient), SenderID: sender,
		Body: chat.Body{Type: chat.TypeNotification, Notice: &chat.Notice{Type: kind}}}
	for _, c := range change {
		c(&d)
	}
	if d.ClientID == "" {
		d.ClientID = bridge.ServerClientID(d.ID)
	}
	return d
}

func collapse(key string) func(d *chat.Draft) {
	return func(d *chat.Draft) { d.Notice.Collapse = key }
}

func clientID(id string) func(d *chat.Draft) { return func(d *chat.Draft) { d.ClientID = id } }

func data(json string) func(d *chat.Draft) {
	return func(d *chat.Draft) { d.Notice.Data = []byte(json) }
}

func (e *env) tryNotify(now time.Time, drafts ...chat.Draft) ([]bridge.Noticed, error) {
	out := slices.Repeat([]bridge.Noticed{{Repeat: true, Took: 4711, Skipped: "left over"}}, len(drafts))
	err := again(func() error { return e.s.Notify(e.ctx, now, drafts, out) })
	return out, err
}

func (e *env) notify(drafts ...chat.Draft) []bridge.Noticed {
	e.Helper()
	out, err := e.tryNotify(e.tick(), drafts...)
	e.ok(err, "notify")
	return out
}

// notices reads all of a user's notifications, through every verb that answers
// them: all must say the same.
func (e *env) notices(user string) []chat.Entry {
	e.Helper()
	stream := chat.NotificationStream(user)
	got, err := e.s.Read(e.ctx, []bridge.Range{{Stream: stream, Limit: lots}})
	e.ok(err, "read")
	entries := got[0]
	wantGapless(e, entries, 1)
	before, err := e.s.Before(e.ctx, stream, 0, lots)
	e.ok(err, "before")
	equal(e, before, entries, "Before of the notifications of %s", user)
	slices.Reverse(before)
	page, err := e.s.Notifications(e.ctx, user, 0, false, lots)
	e.ok(err, "notifications")
	equal(e, page, before, "Notifications of %s", user)
	unread, err := e.s.Notifications(e.ctx, user, 0, true, lots)
	e.ok(err, "notifications")
	want := slices.DeleteFunc(page, func(n chat.Entry) bool { return n.Notice.Read })
	equal(e, len(unread), len(want), "unread Notifications of %s", user)
	for i := range unread {
		equal(e, unread[i], want[i], "unread Notifications of %s", user)
	}
	equal(e, e.unread(user), uint64(len(want)), "count of the unread of %s", user)
	heads, err := e.s.Heads(e.ctx, []chat.StreamID{stream})
	e.ok(err, "heads")
	if len(entries) > 0 {
		equal(e, heads[0], bridge.Head{Head: uint64(len(entries)), First: 1}, "head of the notifications of %s", user)
	} else {
		equal(e, heads[0], bridge.Head{}, "head of no notifications of %s", user)
	}
	return entries
}

func (e *env) unread(user string) uint64 {
	e.Helper()
	counts, err := e.s.UnreadNotifications(e.ctx, []string{nobody, user, nobody})
	e.ok(err, "count unread")
	if len(counts) != 3 || counts[0] != 0 || counts[2] != 0 {
		e.Fatalf("counts of three users: %v", counts)
	}
	return counts[1]
}

func (e *env) markRead(user string, m chat.ReadMarks) bridge.Marked {
	e.Helper()
	var got bridge.Marked
	e.ok(again(func() (err error) {
		got, err = e.s.ReadNotifications(e.ctx, user, m)
		return err
	}), "read notifications")
	return got
}

func readFlags(entries []chat.Entry) (flags []bool) {
	for i := range entries {
		flags = append(flags, entries[i].Notice.Read)
	}
	return flags
}

// noticeFirst: the first notification makes the stream, and reads as it was
// answered.
func noticeFirst(e *env) {
	equal(e, len(e.notices(bob)), 0, "notifications before the first")
	at := e.tick()
	d := notice(bob, alice, "LIKE", data(`{"postId":"p1"}`), clientID("a-1"), collapse("like:p1"))
	out, err := e.tryNotify(at.Add(999*time.Microsecond), d)
	e.ok(err, "notify")
	got := e.notices(bob)
	equal(e, got, []chat.Entry{out[0].Entry}, "what stands")
	want := chat.Entry{ID: d.ID, Stream: "n/bob", Seq: 1, SenderID: alice, CreatedAt: at, Body: d.Body}
	equal(e, got[0], want, "the entry")
	equal(e, []any{out[0].Repeat, out[0].Skipped, out[0].Took}, []any{false, bridge.Wanted, uint64(0)}, "the rest of the answer")
	e.notify(notice(bob, alice, "LIKE"), notice(carol, alice, "LIKE"))
	equal(e, seqs(e.notices(bob)), []uint64{1, 2}, "seqs of bob")
	equal(e, seqs(e.notices(carol)), []uint64{1}, "seqs of carol")
	equal(e, e.notices(carol)[0].ClientID, "", "a clientId that the server made")
}

// noticeSkipped: what is not wanted is not written, and makes no stream.
func noticeSkipped(e *env) {
	save := func(p bridge.Preferences) {
		e.Helper()
		e.ok(e.s.SavePreferences(e.ctx, bob, p), "save preferences")
	}
	check := func(why bridge.Skip, drafts ...chat.Draft) {
		e.Helper()
		before := e.notices(bob)
		for _, o := range e.notify(drafts...) {
			equal(e, o, bridge.Noticed{Skipped: why}, "skipped for %s", why)
		}
		equal(e, e.notices(bob), before, "notifications after one was skipped for %s", why)
	}
	check(bridge.SkipSelf, notice(bob, bob, "LIKE"))
	save(bridge.Preferences{})
	check(bridge.SkipDisabled, notice(bob, alice, "LIKE"), notice(bob, carol, "COMMENT"))
	save(bridge.Preferences{Enabled: true, Muted: []string{"LIKE"}, MutedConversations: []string{"c1"}})
	check(bridge.SkipType, notice(bob, alice, "LIKE"))
	check(bridge.SkipConversation, notice(bob, alice, "COMMENT", data(`{"conversationId":"c1"}`)))
	all := e.notify(notice(bob, alice, "LIKE"), notice(bob, alice, "COMMENT"), notice(carol, alice, "LIKE"),
		notice(bob, alice, "COMMENT", data(`{"conversationId":"c2"}`)))
	equal(e, []bool{all[0].Skipped == bridge.SkipType, all[1].Skipped == "", all[2].Skipped == "", all[3].Skipped == ""},
		[]bool{true, true, true, true}, "a batch of which one is skipped")
	equal(e, seqs(e.notices(bob)), []uint64{1, 2}, "what the batch wrote")
	save(bridge.Preferences{Enabled: true, Quiet: &bridge.QuietHours{From: "22:00", To: "23:00", TimeZone: "UTC"}})
	check(bridge.SkipInQuietHours, notice(bob, alice, "LIKE")) // the clock of the tests begins at 22:01 UTC
	save(bridge.Preferences{Enabled: true, Quiet: &bridge.QuietHours{From: "23:00", To: "22:00", TimeZone: "UTC"}})
	equal(e, e.notify(notice(bob, alice, "LIKE"))[0].Skipped, bridge.Wanted, "beside the quiet hours")
}

// noticeRepeated: the same clientId by the same sender to the same recipient
// is the same notification.
func noticeRepeated(e *env) {
	d := notice(bob, alice, "LIKE", clientID("a-1"))
	first := e.notify(d)[0]
	repeat := func(why string) bridge.Noticed {
		e.Helper()
		o := e.notify(notice(bob, alice, "COMMENT", clientID("a-1"), collapse("x")))[0]
		equal(e, []any{o.Repeat, o.Entry.ID, o.Entry.Seq, o.Entry.Notice.Type, o.Took}, []any{true, d.ID, uint64(1), "LIKE", uint64(0)}, "%s", why)
		return o
	}
	equal(e, repeat("a repeat").Entry, first.Entry, "entry of a repeat")
	others := e.notify(notice(bob, carol, "LIKE", clientID("a-1")), notice(carol, alice, "LIKE", clientID("a-1")))
	equal(e, []bool{others[0].Repeat, others[1].Repeat}, []bool{false, false}, "another sender's, another recipient's")
	e.markRead(bob, chat.ReadMarks{All: true})
	equal(e, repeat("a repeat of one that is read").Entry.Notice.Read, true, "it is read")
	both := e.notify(notice(bob, alice, "LIKE", clientID("a-2")), notice(bob, alice, "LIKE", clientID("a-2")))
	equal(e, []any{both[0].Repeat, both[1].Repeat, both[1].Entry}, []any{false, true, both[0].Entry}, "two in one batch")
	equal(e, len(e.notices(bob)), 3, "notifications of bob")
	equal(e, e.unread(bob), uint64(1), "unread of bob")
}

// noticeCollapsed: one with the collapse key of an unread one takes its place.
func noticeCollapsed(e *env) {
	e.notify(notice(bob, alice, "LIKE", collapse("like:p1")))
	e.notify(notice(bob, alice, "LIKE", collapse("like:p2")), notice(bob, alice, "LIKE"), notice(carol, alice, "LIKE", collapse("like:p1")))
	o := e.notify(notice(bob, carol, "LOVE", collapse("like:p1")))[0]
	equal(e, []any{o.Took, o.Entry.Notice.Read}, []any{uint64(1), false}, "what the second did")
	equal(e, readFlags(e.notices(bob)), []bool{true, false, false, false}, "isRead")
	equal(e, e.unread(bob), uint64(3), "unread")
	equal(e, readFlags(e.notices(carol)), []bool{false}, "isRead of another user's with the same key")
	e.markRead(bob, chat.ReadMarks{UpTo: 4})
	o = e.notify(notice(bob, alice, "LIKE", collapse("like:p1")))[0]
	equal(e, o.Took, uint64(0), "what one did whose forerunner is read")
	equal(e, readFlags(e.notices(bob)), []bool{true, true, true, true, false}, "isRead")
}

// noticeCollapsedBatch: within a batch the last one stays.
func noticeCollapsedBatch(e *env) {
	e.notify(notice(bob, alice, "LIKE", collapse("k")))
	out := e.notify(notice(bob, alice, "LIKE", collapse("k")), notice(bob, alice, "LIKE", clientID("a"), collapse("k")),
		notice(bob, alice, "LIKE", clientID("a"), collapse("k")), notice(bob, alice, "LIKE", collapse("k")))
	var took []uint64
	var entries []chat.Entry
	for _, o := range out {
		took, entries = append(took, o.Took), append(entries, o.Entry)
	}
	equal(e, took, []uint64{1, 2, 0, 3}, "what each took the place of")
	equal(e, readFlags(entries), []bool{true, true, true, false}, "isRead as it was answered")
	stand := e.notices(bob)
	equal(e, readFlags(stand), []bool{true, true, true, false}, "isRead")
	equal(e, []chat.Entry{entries[0], entries[1], entries[3]}, stand[1:], "entries as they were answered")
}

// noticeRead: by ids, up to a seq, and all.
func noticeRead(e *env) {
	var ids []chat.ID
	for range 6 {
		ids = append(ids, e.notify(notice(bob, alice, "LIKE"))[0].Entry.ID)
	}
	others := e.notify(notice(carol, alice, "LIKE"))[0].Entry.ID
	equal(e, e.markRead(bob, chat.ReadMarks{IDs: []chat.ID{ids[4], newID(), ids[1], others, ids[1]}}),
		bridge.Marked{Unread: 4, Seqs: []uint64{2, 5}}, "by ids")
	equal(e, e.markRead(bob, chat.ReadMarks{IDs: []chat.ID{ids[1]}}).Unread, uint64(4), "by the id of one that is read")
	equal(e, readFlags(e.notices(bob)), []bool{false, true, false, false, true, false}, "isRead")
	equal(e, e.markRead(bob, chat.ReadMarks{UpTo: 3}), bridge.Marked{Unread: 2, UpTo: 3}, "up to 3")
	equal(e, readFlags(e.notices(bob)), []bool{true, true, true, false, true, false}, "isRead")
	equal(e, e.markRead(bob, chat.ReadMarks{All: true}), bridge.Marked{UpTo: 6}, "all")
	e.notify(notice(bob, alice, "LIKE"))
	equal(e, e.unread(bob), uint64(1), "one that came after all were read")
	equal(e, e.markRead(bob, chat.ReadMarks{UpTo: maxSeq}), bridge.Marked{UpTo: 7}, "up to more than there is")
	equal(e, readFlags(e.notices(carol)), []bool{false}, "isRead of another user's")
}

// noticeReadNothing: what is not there is no mistake.
func noticeReadNothing(e *env) {
	for _, m := range []chat.ReadMarks{{All: true}, {UpTo: 9}, {UpTo: maxSeq}, {IDs: newIDs(3)}, {}} {
		equal(e, e.markRead(bob, m), bridge.Marked{}, "of a user without notifications: %+v", m)
	}
	e.notify(notice(bob, alice, "LIKE"))
	for _, m := range []chat.ReadMarks{{IDs: newIDs(chat.MaxReadIDs)}, {}, {IDs: []chat.ID{}}} {
		equal(e, e.markRead(bob, m), bridge.Marked{Unread: 1}, "of what is not there")
	}
}

// noticePages: newest first, before a seq, with and without what was read.
func noticePages(e *env) {
	var drafts []chat.Draft
	for range 20 {
		drafts = append(drafts, notice(bob, alice, "LIKE"))
	}
	out := e.notify(drafts...)
	for i := 0; i < 20; i += 2 {
		e.markRead(bob, chat.ReadMarks{IDs: []chat.ID{out[i].Entry.ID}})
	}
	page := func(before uint64, unread bool, limit int) []uint64 {
		e.Helper()
		got, err := e.s.Notifications(e.ctx, bob, before, unread, limit)
		e.ok(err, "notifications")
		return seqs(got)
	}
	equal(e, page(0, false, 3), []uint64{20, 19, 18}, "newest")
	equal(e, page(18, false, 3), []uint64{17, 16, 15}, "before 18")
	equal(e, page(3, false, 9), []uint64{2, 1}, "the last page")
	equal(e, page(1, false, 9), []uint64{}, "before the first")
	equal(e, page(0, true, 3), []uint64{20, 18, 16}, "newest unread")
	equal(e, page(16, true, 3), []uint64{14, 12, 10}, "unread before 16")
	equal(e, page(maxSeq, true, lots), []uint64{20, 18, 16, 14, 12, 10, 8, 6, 4, 2}, "all unread")
	got, err := e.s.Notifications(e.ctx, nobody, 0, true, 9)
	e.ok(err, "notifications")
	equal(e, len(got), 0, "of a user without any")
}

// noticeBatch: a thousand in one commit, some of them to new users.
func noticeBatch(e *env) {
	user := func(i int) string { return fmt.Sprintf("u%d", i) }
	for i := range 10 {
		e.notify(notice(user(7*i), alice, "OLD"))
	}
	var drafts []chat.Draft
	for i := range chat.MaxNotices {
		drafts = append(drafts, notice(user(i%70), alice, "NEW", data(fmt.Sprintf(`{"i":%d}`, i))))
	}
	out := e.notify(drafts...)
	for i := range 70 {
		stand := e.notices(user(i))
		first := 0
		if i%7 == 0 {
			first = 1
		}
		for n := i; n < len(drafts); n += 70 {
			equal(e, stand[first], out[n].Entry, "notification %d", n)
			first++
		}
		equal(e, len(stand), first, "notifications of %s", user(i))
	}
	e.ok(e.s.Notify(e.ctx, e.tick(), nil, nil), "an empty batch")
}

// noticeData: data comes back byte for byte.
func noticeData(e *env) {
	for _, text := range []string{`{"a":"<b>&\"\\\u0000 é👍"}`, `{"a":[1,2.50,{"b":null}],"c":true}`, `{"n":12345678901234567890}`} {
		o := e.notify(notice(bob, alice, "A.b_c:d-1", data(text), collapse("<&> é")))[0]
		got, err := e.s.Notifications(e.ctx, bob, 0, false, 1)
		e.ok(err, "notifications")
		equal(e, string(got[0].Notice.Data), text, "data")
		equal(e, got[0], o.Entry, "entry")
	}
}

// noticePreferences: they are replaced as a whole, and are one user's.
func noticePreferences(e *env) {
	want := func(p bridge.Preferences) {
		e.Helper()
		got, err := e.s.Preferences(e.ctx, bob)
		e.ok(err, "preferences")
		equal(e, got, p, "preferences")
	}
	want(bridge.DefaultPreferences())
	for _, p := range []bridge.Preferences{
		{Enabled: true, Muted: []string{"LIKE", "a.b"}, MutedConversations: []string{"c1"},
			Quiet: &bridge.QuietHours{From: "22:00", To: "07:00", TimeZone: "Europe/Vienna"}},
		{}, {Enabled: true, Muted: []string{"x"}},
	} {
		e.ok(e.s.SavePreferences(e.ctx, bob, p), "save preferences")
		want(p)
	}
	e.reopen()
	want(bridge.Preferences{Enabled: true, Muted: []string{"x"}})
	other, err := e.s.Preferences(e.ctx, alice)
	e.ok(err, "preferences")
	equal(e, other, bridge.DefaultPreferences(), "preferences of another user")

	muted := bridge.Preferences{Enabled: true, MutedConversations: []string{"c1"}}
	e.ok(e.s.SavePreferences(e.ctx, carol, muted), "save preferences")
	for _, of := range [][]string{{alice, bob, carol, "nobody"}, {alice}, {}} {
		got := map[string]bridge.Preferences{}
		e.ok(e.s.EachPreferences(e.ctx, of, func(user string, p *bridge.Preferences) {
			if _, twice := got[user]; twice {
				e.Errorf("%s is told twice", user)
			}
			got[user] = *p
		}), "each preferences")
		want := map[string]bridge.Preferences{}
		if len(of) > 1 {
			want = map[string]bridge.Preferences{bob: {Enabled: true, Muted: []string{"x"}}, carol: muted}
		}
		equal(e, got, want, "preferences of %v", of)
	}
}

// noticeRaces: whoever notifies and reads at the same time, seq has no gap and
// nothing is counted twice.
func noticeRaces(e *env) {
	const writers, rounds = 6, 15
	users := []string{"u1", "u2", "u3", "u4"}
	stores := e.stores()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			e := e.on(stores[w%len(stores)])
			for i := range rounds {
				var drafts []chat.Draft
				for j := range users { // in another order each time
					user := users[(i+j*(1+w%3))%len(users)]
					drafts = append(drafts, notice(user, alice, "LIKE", clientID(fmt.Sprintf("%d-%d", i, w/2)), collapse(fmt.Sprint(i%3))))
				}
				if _, err := e.tryNotify(e.tick(), drafts...); err != nil {
					e.Errorf("notify: %v", err)
				}
				if i%5 == w%5 {
					err := again(func() error {
						_, err := e.s.ReadNotifications(e.ctx, users[i%len(users)], chat.ReadMarks{UpTo: uint64(i)})
						return err
					})
					if err != nil {
						e.Errorf("read: %v", err)
					}
				}
			}
		})
	}
	all.Wait()
	for _, user := range users {
		collapsed := map[string]bool{}
		seen := map[string]bool{}
		stand := e.notices(user)
		for _, n := range stand {
			if seen[n.ClientID] {
				e.Errorf("%s: clientId %s stands twice", user, n.ClientID)
			}
			seen[n.ClientID] = true
			if !n.Notice.Read && collapsed[n.Notice.Collapse] {
				e.Errorf("%s: two unread ones with the key %s", user, n.Notice.Collapse)
			}
			if !n.Notice.Read {
				collapsed[n.Notice.Collapse] = true
			}
		}
	}
}

// noticeReopen: what stands outlives a restart.
func noticeReopen(e *env) {
	for i := range 5 {
		e.notify(notice(bob, alice, "LIKE", collapse(fmt.Sprint(i%2))))
	}
	e.markRead(bob, chat.ReadMarks{UpTo: 2})
	before := e.notices(bob)
	key := bridge.SessionKey{UserID: bob, ClientID: "phone"}
	e.ok(e.s.SaveSession(e.ctx, bridge.Session{Key: key, Expiry: 60, Cursors: []bridge.Cursor{{Stream: "n/bob", Seq: 3}, {Stream: "n/nobody", Seq: 1}}}), "save")
	e.reopen()
	equal(e, e.notices(bob), before, "notifications")
	sessions, err := e.s.Sessions(e.ctx, []bridge.SessionKey{key})
	e.ok(err, "sessions")
	equal(e, sessions[0].Cursors, []bridge.Cursor{{Stream: "n/bob", Seq: 3}}, "cursors")
}

// noticeTrimmed: what is not kept any more is not unread either, and its
// collapse key is free.
func noticeTrimmed(e *env) {
	for i := range 5 {
		e.notify(notice(bob, alice, "LIKE", collapse(fmt.Sprint(i))))
	}
	policy := bridge.RetentionPolicy{Notifications: bridge.Retention{Count: 2}}
	head, removed, err := e.s.Trim(e.ctx, e.tick(), policy, "n/bob", lots)
	e.ok(err, "trim")
	equal(e, []any{head, removed}, []any{bridge.Head{Head: 5, First: 4}, 3}, "what Trim says")
	equal(e, e.unread(bob), uint64(2), "unread")
	o := e.notify(notice(bob, alice, "LIKE", collapse("0")), notice(bob, alice, "LIKE", collapse("3")))
	equal(e, []uint64{o[0].Took, o[1].Took}, []uint64{0, 4}, "whose place they took")
	equal(e, e.unread(bob), uint64(3), "unread")
}
