package bridge

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// fakeStore is a Store in memory, with faults on demand. Verbs that no test
// needs are those of the nil Store and panic.
type fakeStore struct {
	Store
	tb       testing.TB
	numLanes int

	// Hooks are set before the log starts and run without the lock: they may
	// block. nil is none.
	onCommit func(ctx context.Context, call int, drafts []chat.Draft) fault
	onRead   func(ranges []Range)                              // after what Read answers was taken
	onHeads  func()                                            // after what Heads answers was taken
	onSave   func(ctx context.Context, at []CursorAt) error    // before cursors are saved
	onAsk    func(ctx context.Context, keys []MemberKey) error // before memberships are answered
	onMark   func(marks []SessionMark) error
	onPut    func() error // after a member was put
	onDelete func() error // after a conversation was deleted
	onSweep  func(ctx context.Context) (int, error)

	mu      sync.Mutex
	streams map[chat.StreamID]*fakeStream
	cursors map[SessionKey]map[chat.StreamID]uint64
	commits []int // drafts in each call of Commit
	reads   []int // ranges in each call of Read
	saves   [][]CursorAt
	asked   [][]MemberKey
	marks   map[SessionKey]SessionMark
	dropped int
}

// fault says how a Commit goes wrong.
type fault struct {
	err   error                    // answered instead of nil
	late  bool                     // with err: everything is committed all the same
	again func(d *chat.Draft) bool // these get ErrAgain
}

type fakeStream struct {
	owner   string
	entries []chat.Entry
	firsts  map[[2]string]Outcome
	members map[string]*Membership
}

func newFake(tb testing.TB) *fakeStore {
	return &fakeStore{tb: tb, numLanes: 1, streams: map[chat.StreamID]*fakeStream{},
		cursors: map[SessionKey]map[chat.StreamID]uint64{}, marks: map[SessionKey]SessionMark{}}
}

func (f *fakeStore) Lanes() int { return f.numLanes }

// Oldest has nothing: what retention does is tested on real stores.
func (f *fakeStore) Oldest(context.Context, chat.StreamID, chat.StreamID, bool, int) ([]Held, error) {
	return nil, nil
}

func (f *fakeStore) Commit(ctx context.Context, now time.Time, drafts []chat.Draft, out []Outcome) error {
	f.checkPromises(drafts)
	f.mu.Lock()
	f.commits = append(f.commits, len(drafts))
	call := len(f.commits)
	f.mu.Unlock()
	var bad fault
	if f.onCommit != nil {
		bad = f.onCommit(ctx, call, drafts)
	}
	if bad.err != nil && !bad.late {
		return bad.err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range drafts {
		if bad.again != nil && bad.again(&drafts[i]) {
			out[i] = Outcome{Err: ErrAgain}
			continue
		}
		out[i] = f.commitOne(now, &drafts[i])
	}
	if bad.err != nil {
		clear(out) // whoever takes an outcome of a failed call gets none
	}
	return bad.err
}

// MoveReceipts keeps nothing: that is tested on the real stores.
func (f *fakeStore) MoveReceipts(_ context.Context, _ time.Time, moves []Move) ([]Moved, error) {
	return make([]Moved, len(moves)), nil
}

// checkPromises holds the caller to what Store.Commit asks of it.
func (f *fakeStore) checkPromises(drafts []chat.Draft) {
	sends, targets := map[sendKey]bool{}, map[targetKey]bool{}
	for i := range drafts {
		d := &drafts[i]
		if d.ID == (chat.ID{}) || d.ClientID == "" {
			f.tb.Errorf("draft %d has no ID or ClientID: %+v", i, d)
		}
		send := sendKey{d.Stream, d.SenderID, d.ClientID}
		if sends[send] {
			f.tb.Errorf("%v is twice in one batch", send)
		}
		sends[send] = true
		if d.Type == chat.TypeEdit || d.Type == chat.TypeDelete {
			at := targetKey{d.Stream, d.Target}
			if targets[at] {
				f.tb.Errorf("two changes of %v in one batch", at)
			}
			targets[at] = true
		}
	}
}

func (f *fakeStore) commitOne(now time.Time, d *chat.Draft) Outcome {
	st := f.streams[d.Stream]
	if st == nil {
		return Outcome{Err: NoConversation()}
	}
	if m := st.members[d.SenderID]; m == nil || m.Role == chat.RoleNone {
		return Outcome{Err: NotMember()}
	}
	if o, ok := st.firsts[[2]string{d.SenderID, d.ClientID}]; ok {
		o.Repeat = true
		return o
	}
	if d.Target != 0 {
		if d.Target > uint64(len(st.entries)) || st.entries[d.Target-1].Type != chat.TypeMessage || st.entries[d.Target-1].Deleted {
			return Outcome{Err: NoTarget("target")}
		}
		if d.Type == chat.TypeDelete {
			for i, e := range st.entries {
				if e.Seq == d.Target || e.Type == chat.TypeEdit && e.Target == d.Target {
					st.entries[i] = e.Erased()
				}
			}
		}
	}
	o := Outcome{ID: d.ID, Seq: uint64(len(st.entries) + 1), CreatedAt: now}
	st.entries = append(st.entries, entryOf(d, o))
	st.firsts[[2]string{d.SenderID, d.ClientID}] = o
	return o
}

func (f *fakeStore) Read(_ context.Context, ranges []Range) ([][]chat.Entry, error) {
	f.mu.Lock()
	f.reads = append(f.reads, len(ranges))
	read := make([][]chat.Entry, len(ranges))
	for i, r := range ranges {
		if st := f.streams[r.Stream]; st != nil && r.After < uint64(len(st.entries)) {
			from := st.entries[r.After:]
			read[i] = slices.Clone(from[:min(r.Limit, len(from))])
		}
	}
	f.mu.Unlock()
	if f.onRead != nil {
		f.onRead(ranges)
	}
	return read, nil
}

func (f *fakeStore) Heads(_ context.Context, streams []chat.StreamID) ([]Head, error) {
	f.mu.Lock()
	heads := make([]Head, len(streams))
	for i, s := range streams {
		if st := f.streams[s]; st != nil {
			heads[i] = Head{Head: uint64(len(st.entries)), First: 1}
		}
	}
	f.mu.Unlock()
	if f.onHeads != nil {
		f.onHeads()
	}
	return heads, nil
}

func (f *fakeStore) CreateConversation(_ context.Context, now time.Time, c NewConversation) (Conversation, []chat.Entry, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stream := chat.ConversationStream(c.ID)
	st := f.streams[stream]
	created := st == nil
	if created {
		st = &fakeStream{owner: c.OwnerID, firsts: map[[2]string]Outcome{}, members: map[string]*Membership{}}
		f.streams[stream] = st
		for i, user := range append([]string{c.OwnerID}, c.Members...) {
			st.join(now, stream, user, c.OwnerID, c.JoinIDs[i])
		}
	}
	conv := Conversation{ID: c.ID, OwnerID: st.owner, HeadSeq: uint64(len(st.entries)), FirstSeq: 1}
	for user, m := range st.members {
		if m.Role != chat.RoleNone {
			conv.Members = append(conv.Members, Member{UserID: user, Role: m.Role, JoinedSeq: m.JoinedSeq})
		}
	}
	slices.SortFunc(conv.Members, func(a, b Member) int { return cmp.Compare(a.JoinedSeq, b.JoinedSeq) })
	if !created {
		return conv, nil, false, nil
	}
	return conv, slices.Clone(st.entries), true, nil
}

func (st *fakeStream) join(now time.Time, stream chat.StreamID, user, by string, id chat.ID) chat.Entry {
	e := chat.Entry{ID: id, Stream: stream, Seq: uint64(len(st.entries) + 1), SenderID: by, CreatedAt: now,
		Body: chat.Body{Type: chat.TypeJoin, UserID: user}}
	st.entries = append(st.entries, e)
	st.members[user] = &Membership{Role: chat.RoleMember, JoinedSeq: e.Seq, Exists: true,
		MemberKey: MemberKey{stream.Conversation(), user}}
	return e
}

func (f *fakeStore) DeleteConversation(_ context.Context, _ Actor, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams[chat.ConversationStream(id)] == nil {
		return NoConversation()
	}
	delete(f.streams, chat.ConversationStream(id))
	if f.onDelete != nil {
		return f.onDelete()
	}
	return nil
}

func (f *fakeStore) PutMember(_ context.Context, now time.Time, by Actor, id, user string, _ chat.Role, entryID chat.ID, _ Limits) (Member, *chat.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stream := chat.ConversationStream(id)
	st := f.streams[stream]
	if st == nil {
		return Member{}, nil, NoConversation()
	}
	var entry *chat.Entry
	if m := st.members[user]; m == nil || m.Role == chat.RoleNone {
		e := st.join(now, stream, user, by.UserID, entryID)
		entry = &e
	}
	m := Member{UserID: user, Role: chat.RoleMember, JoinedSeq: st.members[user].JoinedSeq}
	if f.onPut != nil {
		if err := f.onPut(); err != nil {
			return Member{}, nil, err
		}
	}
	return m, entry, nil
}

func (f *fakeStore) RemoveMember(_ context.Context, now time.Time, by Actor, id, user string, entryID chat.ID) (chat.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stream := chat.ConversationStream(id)
	st := f.streams[stream]
	if st == nil || st.members[user] == nil || st.members[user].Role == chat.RoleNone {
		return chat.Entry{}, NotMember()
	}
	e := chat.Entry{ID: entryID, Stream: stream, Seq: uint64(len(st.entries) + 1), SenderID: by.UserID, CreatedAt: now,
		Body: chat.Body{Type: chat.TypeLeave, UserID: user}}
	st.entries = append(st.entries, e)
	st.members[user].Role, st.members[user].LeftSeq = chat.RoleNone, e.Seq
	return e, nil
}

func (f *fakeStore) RenameConversation(_ context.Context, now time.Time, by Actor, id, name string, entryID chat.ID) (chat.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.streams[chat.ConversationStream(id)]
	if st == nil {
		return chat.Entry{}, NoConversation()
	}
	e := chat.Entry{ID: entryID, Stream: chat.ConversationStream(id), Seq: uint64(len(st.entries) + 1), SenderID: by.UserID,
		CreatedAt: now, Body: chat.Body{Type: chat.TypeRename, Name: name}}
	st.entries = append(st.entries, e)
	return e, nil
}

func (f *fakeStore) MembershipsIn(ctx context.Context, keys []MemberKey) ([]Membership, error) {
	f.mu.Lock()
	f.asked = append(f.asked, slices.Clone(keys))
	f.mu.Unlock()
	if f.onAsk != nil {
		if err := f.onAsk(ctx, keys); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := make([]Membership, len(keys))
	for i, k := range keys {
		answer[i].MemberKey = k
		if st := f.streams[chat.ConversationStream(k.Conversation)]; st != nil && st.members[k.UserID] != nil {
			answer[i] = *st.members[k.UserID]
		}
	}
	return answer, nil
}

func (f *fakeStore) MarkSessions(_ context.Context, marks []SessionMark) error {
	if f.onMark != nil {
		if err := f.onMark(marks); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[SessionKey]bool{}
	for _, m := range marks {
		if seen[m.Key] {
			f.tb.Errorf("%v is marked twice in one call", m.Key)
		}
		seen[m.Key] = true
		f.marks[m.Key] = m
	}
	return nil
}

func (f *fakeStore) SaveCursors(ctx context.Context, at []CursorAt) error {
	f.mu.Lock()
	f.saves = append(f.saves, slices.Clone(at))
	f.mu.Unlock()
	if f.onSave != nil {
		if err := f.onSave(ctx, at); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range at {
		if f.cursors[c.Key] == nil {
			f.cursors[c.Key] = map[chat.StreamID]uint64{}
		}
		f.cursors[c.Key][c.Stream] = max(f.cursors[c.Key][c.Stream], c.Seq)
	}
	return nil
}

func (f *fakeStore) DropCursors(_ context.Context, key SessionKey, streams []chat.StreamID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped++
	for _, s := range streams {
		delete(f.cursors[key], s)
	}
	return nil
}

func (f *fakeStore) SweepSessions(ctx context.Context, _ time.Time, _ int) (int, error) {
	if f.onSweep != nil {
		return f.onSweep(ctx)
	}
	return 0, nil
}

// NotifyMentions finds nothing due.
func (f *fakeStore) NotifyMentions(context.Context, time.Time, int, func() chat.ID) (int, []Noticed, error) {
	return 0, nil, nil
}
