package storetest

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var modelTests = []test{{"Random", modelRandom}}

// modelRandom plays random changes on a store and on a model in memory, and
// wants the same answers and the same state in the end. All rounds share one
// database, each with conversations of its own.
func modelRandom(e *env) {
	var round atomic.Int64
	rapid.Check(e.test, func(t *rapid.T) {
		env := *e
		env.tb = t
		m := &model{env: &env, t: t, prefix: fmt.Sprintf("r%d-", round.Add(1)), convs: map[string]*modelConv{}}
		m.create()
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			m.step()
		}
		for _, id := range modelConvs {
			m.compare(m.prefix + id)
		}
	})
}

var (
	modelConvs = []string{"c", "C"}
	modelUsers = []string{owner, alice, "Alice", bob}

	// Most drafts go to one conversation, and many come from who may do
	// everything: so that more than refusals happens.
	modelOften   = []string{"c", "c", "c", "C"}
	modelSenders = []string{owner, owner, owner, alice, "Alice", bob}

	modelRoles = []chat.Role{chat.RoleMember, chat.RoleAdmin, chat.RoleOwner}
	modelIDs   = []string{"a", "A", "a.", "b", ""}
)

// model is what the store should be.
type model struct {
	*env
	t      *rapid.T
	prefix string
	convs  map[string]*modelConv
}

type modelConv struct {
	owner, name string
	createdAt   time.Time
	lastAt      time.Time
	members     map[string]*modelMember
	entries     []chat.Entry
	firsts      map[[2]string]bridge.Outcome // by sender and clientId
}

type modelMember struct {
	bridge.Member
	leftSeq uint64
	receipt bridge.Receipt // its key is left empty
}

func (c *modelConv) role(user string) chat.Role {
	if m := c.members[user]; m != nil {
		return m.Role
	}
	return chat.RoleNone
}

// append adds an entry and answers it with its seq.
func (c *modelConv) append(entry chat.Entry) chat.Entry {
	entry.Seq = uint64(len(c.entries) + 1)
	c.entries = append(c.entries, entry)
	c.lastAt = entry.CreatedAt
	return entry
}

func (c *modelConv) join(user string, role chat.Role, entry chat.Entry) chat.Entry {
	entry.Type, entry.UserID = chat.TypeJoin, user
	entry = c.append(entry)
	c.members[user] = &modelMember{Member: bridge.Member{UserID: user, Role: role, JoinedAt: entry.CreatedAt, JoinedSeq: entry.Seq},
		receipt: bridge.Receipt{Read: entry.Seq, Delivered: entry.Seq, At: entry.CreatedAt}}
	return entry
}

// message answers the message at seq, deleted or not, or nil.
func (c *modelConv) message(seq uint64) *chat.Entry {
	if seq == 0 || seq > uint64(len(c.entries)) || c.entries[seq-1].Type != chat.TypeMessage {
		return nil
	}
	return &c.entries[seq-1]
}

func (m *model) step() {
	names := []string{"create", "commit", "commit", "commit", "commit", "put", "put", "remove", "rename", "delete", "read", "read", "read"}
	steps := map[string]func(){"create": m.create, "commit": m.commits, "put": m.put, "remove": m.remove,
		"rename": m.rename, "delete": m.delete, "read": m.move}
	steps[rapid.SampledFrom(names).Draw(m.t, "step")]()
	m.compareStandings()
}

func (m *model) conv() string {
	return m.prefix + rapid.SampledFrom(modelOften).Draw(m.t, "conversation")
}

func (m *model) user(label string) string { return rapid.SampledFrom(modelUsers).Draw(m.t, label) }

// create makes one of the conversations; most often olga does.
func (m *model) create() {
	id, now := m.conv(), m.tick()
	c := bridge.NewConversation{ID: id, Name: "first name", OwnerID: owner}
	if rapid.IntRange(0, 3).Draw(m.t, "other owner") == 0 {
		c.OwnerID = m.user("owner")
	}
	for _, user := range modelUsers {
		if user != c.OwnerID && rapid.Bool().Draw(m.t, user) {
			c.Members = append(c.Members, user)
		}
	}
	c.JoinIDs = newIDs(1 + len(c.Members))
	conv, entries, created, err := m.tryCreate(now, c)
	stands := m.convs[id]
	if stands != nil && stands.owner != c.OwnerID {
		wantCode(m, err, chat.CodeConflict, "create")
		return
	}
	wantCode(m, err, "", "create")
	equal(m, created, stands == nil, "created")
	if stands == nil {
		stands = &modelConv{owner: c.OwnerID, name: c.Name, createdAt: now, members: map[string]*modelMember{},
			firsts: map[[2]string]bridge.Outcome{}}
		m.convs[id] = stands
		for i, user := range append([]string{c.OwnerID}, c.Members...) {
			role := chat.RoleMember
			if i == 0 {
				role = chat.RoleOwner
			}
			stands.join(user, role, chat.Entry{ID: c.JoinIDs[i], Stream: chat.ConversationStream(id), SenderID: c.OwnerID, CreatedAt: now})
		}
		equal(m, normalAll(entries), stands.entries, "the join entries")
	}
	equal(m, conv, m.want(id), "what create answers")
}

// commits sends a batch that keeps the caller's promises: no clientId twice,
// at most one edit or delete of a target, and no target that this batch
// itself makes or deletes.
func (m *model) commits() {
	now := m.tick()
	var drafts []chat.Draft
	ids, changed := map[string]bool{}, map[string]chat.Type{}
	for range rapid.IntRange(1, 12).Draw(m.t, "drafts") {
		id, sender := m.conv(), rapid.SampledFrom(modelSenders).Draw(m.t, "sender")
		d := draft(id, sender, m.body(m.convs[id]))
		name, target := fmt.Sprint(id, " ", sender, " ", d.ClientID), fmt.Sprint(id, " ", d.Target)
		before, twice := changed[target]
		changes := d.Type == chat.TypeEdit || d.Type == chat.TypeDelete
		if ids[name] || d.Target != 0 && twice && (changes || before == chat.TypeDelete) {
			continue
		}
		ids[name] = true
		if changes {
			changed[target] = d.Type
		}
		drafts = append(drafts, d)
	}
	if len(drafts) == 0 {
		return
	}
	out, err := m.tryCommit(now, drafts...)
	m.ok(err, "commit")
	for i, d := range drafts {
		want := m.commitOne(now, d)
		wantCode(m, out[i].Err, codeOf(want.Err), "draft %d, a %s", i, d.Type)
		out[i].Err, want.Err = nil, nil
		equal(m, out[i], want, "outcome %d, of a %s", i, d.Type)
	}
}

// body draws what a draft says.
func (m *model) body(c *modelConv) chat.Body {
	b := chat.Body{ClientID: rapid.SampledFrom(modelIDs).Draw(m.t, "clientId")}
	b.Type = rapid.SampledFrom([]chat.Type{chat.TypeMessage, chat.TypeMessage, chat.TypeEdit, chat.TypeDelete, chat.TypeReaction}).Draw(m.t, "type")
	seq := m.seq(c)
	switch b.Type {
	case chat.TypeMessage:
		b.Content = rapid.StringMatching(`[a-zé🐘]{0,8}`).Draw(m.t, "content")
		if b.Content == "" {
			b.MediaURL = "https://example.com/x"
		}
		if rapid.IntRange(0, 2).Draw(m.t, "reply") == 0 {
			b.ReplyTo = seq
		}
		b.Mentions = rapid.SliceOfN(rapid.SampledFrom(modelUsers), 0, 2).Draw(m.t, "mentions")
	case chat.TypeEdit:
		b.Target, b.Content = seq, "edited"
	case chat.TypeReaction:
		b.Target, b.Emoji, b.Remove = seq, "👍", rapid.Bool().Draw(m.t, "remove")
	default:
		b.Target = seq
	}
	return b
}

// seq draws what a draft may point at: most often a message, but also any
// other entry, and now and then nothing.
func (m *model) seq(c *modelConv) uint64 {
	const farAway = 1000 // no batch here can reach it
	if c == nil {
		return farAway
	}
	seqs := []uint64{farAway, 1 + uint64(rapid.IntRange(0, len(c.entries)-1).Draw(m.t, "any seq"))}
	for i := range c.entries {
		if c.entries[i].Type == chat.TypeMessage {
			seqs = append(seqs, c.entries[i].Seq)
		}
	}
	return rapid.SampledFrom(seqs).Draw(m.t, "seq")
}

// commitOne does to the model what Commit does to the store.
func (m *model) commitOne(now time.Time, d chat.Draft) bridge.Outcome {
	refuse := func(code chat.Code) bridge.Outcome { return bridge.Outcome{Err: &chat.Error{Code: code}} }
	c := m.convs[d.Stream.Conversation()]
	if c == nil {
		return refuse(chat.CodeNotFound)
	}
	role := c.role(d.SenderID)
	if role == chat.RoleNone {
		return refuse(chat.CodeForbidden)
	}
	first := [2]string{d.SenderID, d.ClientID}
	if o, repeat := c.firsts[first]; repeat {
		o.Repeat = true
		return o
	}
	if d.ReplyTo != 0 && c.message(d.ReplyTo) == nil {
		return refuse(chat.CodeNotFound)
	}
	if d.Target != 0 {
		target := c.message(d.Target)
		if target == nil || target.Deleted {
			return refuse(chat.CodeNotFound)
		}
		if (d.Type == chat.TypeEdit || d.Type == chat.TypeDelete) && target.SenderID != d.SenderID && role < chat.RoleAdmin {
			return refuse(chat.CodeForbidden)
		}
		if d.Type == chat.TypeDelete {
			*target = erased(*target)
			for i, e := range c.entries {
				if e.Type == chat.TypeEdit && e.Target == d.Target {
					c.entries[i] = erased(e)
				}
			}
		}
	}
	o := bridge.Outcome{ID: d.ID, CreatedAt: now}
	o.Seq = c.append(entryOf(d, o)).Seq
	if d.Type == chat.TypeMessage {
		c.members[d.SenderID].move(o.Seq, o.Seq, now)
	}
	c.firsts[first] = o
	return o
}

func (m *model) actor() bridge.Actor {
	return bridge.Actor{UserID: m.user("actor"), Admin: rapid.IntRange(0, 4).Draw(m.t, "admin") == 0}
}

func (m *model) put() {
	id, a, user := m.conv(), m.actor(), m.user("user")
	role := rapid.SampledFrom(modelRoles).Draw(m.t, "role")
	got, entry, err := m.tryPut(a, id, user, role)
	c := m.convs[id]
	if c == nil {
		wantCode(m, err, chat.CodeNotFound, "put a member")
		return
	}
	now := c.role(user)
	refused := bridge.CheckPutMember(a, c.role(a.UserID), now, role)
	wantCode(m, err, codeOf(refused), "put a member")
	if refused != nil || err != nil {
		return
	}
	if now == chat.RoleNone {
		if entry == nil {
			m.Fatalf("no join entry for somebody new")
		}
		want := c.join(user, role, chat.Entry{ID: entry.ID, Stream: chat.ConversationStream(id), SenderID: a.UserID, CreatedAt: m.now()})
		equal(m, normal(*entry), want, "the join entry")
	} else if entry != nil {
		m.Errorf("an entry for a member: %+v", entry)
	}
	if role == chat.RoleOwner && now != chat.RoleOwner {
		if old := c.members[c.owner]; old != nil && old.Role == chat.RoleOwner {
			old.Role = chat.RoleAdmin
		}
		c.owner = user
	}
	c.members[user].Role = role
	equal(m, got, c.members[user].Member, "the member")
}

// now is the time of the last tick.
func (m *model) now() time.Time { return time.UnixMilli(m.clock.Load()).UTC() }

func (m *model) remove() {
	id, a, user := m.conv(), m.actor(), m.user("user")
	entry, err := m.tryRemove(a, id, user)
	c := m.convs[id]
	if c == nil {
		wantCode(m, err, chat.CodeNotFound, "remove a member")
		return
	}
	refused := bridge.CheckRemoveMember(a, user, c.role(a.UserID), c.role(user))
	wantCode(m, err, codeOf(refused), "remove a member")
	if refused != nil || err != nil {
		return
	}
	want := c.append(chat.Entry{ID: entry.ID, Stream: chat.ConversationStream(id), SenderID: a.UserID, CreatedAt: m.now(),
		Body: chat.Body{Type: chat.TypeLeave, UserID: user}})
	equal(m, normal(entry), want, "the leave entry")
	was := c.members[user].Role
	c.members[user].Role, c.members[user].leftSeq = chat.RoleNone, want.Seq
	if was == chat.RoleOwner {
		c.inherit()
	}
}

// inherit finds the new owner when the owner has gone.
func (c *modelConv) inherit() {
	c.owner = ""
	var heir *modelMember
	for _, next := range c.members {
		if next.Role > chat.RoleNone && (heir == nil || next.Role > heir.Role || next.Role == heir.Role && next.JoinedSeq < heir.JoinedSeq) {
			heir = next
		}
	}
	if heir != nil {
		heir.Role, c.owner = chat.RoleOwner, heir.UserID
	}
}

func (m *model) rename() {
	id, a, name := m.conv(), m.actor(), rapid.StringMatching(`[a-zé🐘]{0,8}`).Draw(m.t, "name")
	entry, err := m.tryRename(a, id, name)
	c := m.convs[id]
	if c == nil {
		wantCode(m, err, chat.CodeNotFound, "rename")
		return
	}
	refused := bridge.CheckRename(a, c.role(a.UserID))
	wantCode(m, err, codeOf(refused), "rename")
	if refused != nil || err != nil {
		return
	}
	want := c.append(chat.Entry{ID: entry.ID, Stream: chat.ConversationStream(id), SenderID: a.UserID, CreatedAt: m.now(),
		Body: chat.Body{Type: chat.TypeRename, Name: name}})
	equal(m, normal(entry), want, "the rename entry")
	c.name = name
}

// delete removes a conversation, not too often.
func (m *model) delete() {
	id, a := m.conv(), m.actor()
	if rapid.Bool().Draw(m.t, "keep it") {
		return
	}
	err := m.tryDelete(a, id)
	c := m.convs[id]
	if c == nil {
		wantCode(m, err, chat.CodeNotFound, "delete")
		return
	}
	refused := bridge.CheckDelete(a, c.role(a.UserID))
	wantCode(m, err, codeOf(refused), "delete")
	if refused == nil {
		delete(m.convs, id)
	}
}

// want is the conversation as the store should answer it.
func (m *model) want(id string) bridge.Conversation {
	c := m.convs[id]
	conv := bridge.Conversation{ID: id, Name: c.name, OwnerID: c.owner, CreatedAt: c.createdAt,
		HeadSeq: uint64(len(c.entries)), FirstSeq: 1}
	for _, member := range c.members {
		if member.Role != chat.RoleNone {
			conv.Members = append(conv.Members, member.Member)
		}
	}
	conv.Size = len(conv.Members)
	slices.SortFunc(conv.Members, func(a, b bridge.Member) int { return int(a.JoinedSeq) - int(b.JoinedSeq) })
	return conv
}

// compare reads all about a conversation, in every way there is.
func (m *model) compare(id string) {
	c := m.convs[id]
	if c == nil {
		m.wantGone(id)
		return
	}
	got := m.conversation(id)
	if len(got.Members) == 0 {
		got.Members = nil
	}
	equal(m, got, m.want(id), "the conversation")
	m.compareReceipts(id)
	equal(m, m.history(id), c.entries, "the history")
	before, err := m.s.Before(m.ctx, chat.ConversationStream(id), 0, lots)
	m.ok(err, "before")
	equal(m, normalAll(before), c.entries, "the history, read backwards")
	var last *chat.Entry
	for i := range c.entries {
		switch e := c.entries[i]; { // a copy: the history keeps what was first said
		case e.Deleted:
		case e.Type == chat.TypeMessage:
			last = &e
		case e.Type == chat.TypeEdit && last != nil && e.Target == last.Seq:
			last.Content = e.Content
		}
	}
	for _, user := range slices.Sorted(slices.Values(modelUsers)) {
		want := bridge.Membership{MemberKey: bridge.MemberKey{Conversation: id, UserID: user}, Exists: true,
			Head: bridge.Head{Head: uint64(len(c.entries)), First: 1}}
		was := c.members[user]
		if was != nil {
			want.Role, want.JoinedSeq, want.LeftSeq = was.Role, was.JoinedSeq, was.leftSeq
		}
		equal(m, m.membership(id, user), want, "the membership of %s", user)
		all := map[string]bridge.Membership{}
		for _, ms := range m.memberships(user) {
			all[ms.Conversation] = ms
		}
		if was != nil {
			equal(m, all[id], want, "the membership of %s, among all of its", user)
		} else if _, listed := all[id]; listed {
			m.Errorf("%s is no member and has %+v among %v", user, all[id], slices.Collect(maps.Keys(all)))
		}
		m.compareLine(id, user, last)
	}
}

// compareLine looks for the conversation in the user's list. Older rounds
// have left lines behind; the newest come first.
func (m *model) compareLine(id, user string, last *chat.Entry) {
	c := m.convs[id]
	i, lines := -1, m.list(user, bridge.Page{Limit: lots})
	for at := range lines {
		if lines[at].ID == id {
			i = at
		}
	}
	if (i >= 0) != (c.role(user) != chat.RoleNone) {
		m.Errorf("%s has role %q and its line stands: %v", user, c.role(user), i >= 0)
		return
	}
	if i < 0 {
		return
	}
	want := m.want(id)
	want.Members = nil
	equal(m, lines[i].Conversation, want, "the line of %s", user)
	equal(m, lines[i].LastAt, c.lastAt, "LastAt in the line of %s", user)
	equal(m, bridge.Standing{Head: lines[i].HeadSeq, Read: lines[i].Read, Unread: lines[i].Unread}, c.standing(user), "how it stands for %s", user)
	if last == nil || lines[i].Last == nil {
		equal(m, lines[i].Last, last, "Last in the line of %s", user)
		return
	}
	equal(m, normal(*lines[i].Last), *last, "Last in the line of %s", user)
}
