package live

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore is what a log and a hub need of a Store, in memory. Verbs that no
// test needs are those of the nil Store and panic.
type fakeStore struct {
	bridge.Store
	mu      sync.Mutex
	err     error // of all that reads
	heads   map[string]uint64
	entries map[string][]chat.Entry
	members map[string]map[string]bool
	people  map[string]bridge.Person
	saves   int
	rosters int // calls
}

func newStore() *fakeStore {
	return &fakeStore{heads: map[string]uint64{}, entries: map[string][]chat.Entry{},
		members: map[string]map[string]bool{}, people: map[string]bridge.Person{}}
}

func (f *fakeStore) Lanes() int { return 1 }

func (f *fakeStore) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeStore) append(c string, e chat.Entry) chat.Entry {
	e.Stream, e.Seq, e.CreatedAt = chat.ConversationStream(c), f.heads[c]+1, time.Now()
	f.heads[c]++
	f.entries[c] = append(f.entries[c], e)
	return e
}

func (f *fakeStore) Commit(_ context.Context, now time.Time, drafts []chat.Draft, out []bridge.Outcome) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, d := range drafts {
		e := f.append(d.Stream.Conversation(), chat.Entry{ID: d.ID, SenderID: d.SenderID, Body: d.Body})
		out[i] = bridge.Outcome{ID: d.ID, Seq: e.Seq, CreatedAt: now}
	}
	return nil
}

func (f *fakeStore) CreateConversation(_ context.Context, _ time.Time, c bridge.NewConversation) (
	conv bridge.Conversation, entries []chat.Entry, created bool, err error,
) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members[c.ID] = map[string]bool{}
	for _, m := range append([]string{c.OwnerID}, c.Members...) {
		f.members[c.ID][m] = true
		entries = append(entries, f.append(c.ID, chat.Entry{Body: chat.Body{Type: chat.TypeJoin, UserID: m}}))
	}
	return bridge.Conversation{ID: c.ID}, entries, true, nil
}

func (f *fakeStore) PutMember(_ context.Context, _ time.Time, _ bridge.Actor, id, user string, _ chat.Role, _ chat.ID, _ bridge.Limits) (
	m bridge.Member, entry *chat.Entry, err error,
) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members[id][user] = true
	e := f.append(id, chat.Entry{Body: chat.Body{Type: chat.TypeJoin, UserID: user}})
	return bridge.Member{UserID: user, Role: chat.RoleMember}, &e, nil
}

func (f *fakeStore) RemoveMember(_ context.Context, _ time.Time, _ bridge.Actor, id, user string, _ chat.ID) (chat.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members[id], user)
	return f.append(id, chat.Entry{Body: chat.Body{Type: chat.TypeLeave, UserID: user}}), nil
}

func (f *fakeStore) Memberships(_ context.Context, users []string) ([][]bridge.Membership, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([][]bridge.Membership, len(users))
	for i, user := range users {
		for c, members := range f.members {
			if members[user] {
				all[i] = append(all[i], bridge.Membership{MemberKey: bridge.MemberKey{Conversation: c, UserID: user},
					Exists: true, Role: chat.RoleMember})
			}
		}
	}
	return all, f.err
}

func (f *fakeStore) Rosters(_ context.Context, streams []chat.StreamID) ([]bridge.Roster, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rosters++
	all := make([]bridge.Roster, len(streams))
	for i, s := range streams {
		c := s.Conversation()
		if f.members[c] == nil {
			continue
		}
		all[i].Head = bridge.Head{Head: f.heads[c], First: 1}
		for m := range f.members[c] {
			all[i].Members = append(all[i].Members, bridge.RosterMember{UserID: m, LastSeen: f.people[m].LastSeen})
		}
	}
	return all, f.err
}

func (f *fakeStore) Read(_ context.Context, ranges []bridge.Range) ([][]chat.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([][]chat.Entry, len(ranges))
	for i, r := range ranges {
		for _, e := range f.entries[r.Stream.Conversation()] {
			if e.Seq > r.After && len(all[i]) < r.Limit {
				all[i] = append(all[i], e)
			}
		}
	}
	return all, f.err
}

func (f *fakeStore) Heads(_ context.Context, streams []chat.StreamID) ([]bridge.Head, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]bridge.Head, len(streams))
	for i, s := range streams {
		all[i] = bridge.Head{Head: f.heads[s.Conversation()], First: 1}
	}
	return all, f.err
}

func (f *fakeStore) People(_ context.Context, users []string) ([]bridge.Person, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]bridge.Person, len(users))
	for i, user := range users {
		all[i] = f.people[user]
		all[i].UserID = user
	}
	return all, f.err
}

func (f *fakeStore) SavePeople(_ context.Context, people []bridge.Person) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saves++
	for _, p := range people {
		f.people[p.UserID] = p
	}
	return f.err
}

func (f *fakeStore) Acquainted(_ context.Context, viewer string, users []string) ([]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]bool, len(users))
	for i, user := range users {
		for _, members := range f.members {
			all[i] = all[i] || members[viewer] && members[user]
		}
	}
	return all, f.err
}

func (f *fakeStore) SweepSessions(context.Context, time.Time, int) (int, error) { return 0, nil }

// world is a hub on a log on a fake store.
type world struct {
	*testing.T
	store *fakeStore
	log   *bridge.Log
	*Hub
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	w := &world{T: t, store: newStore()}
	w.log = bridge.New(bridge.Config{Store: w.store, SweepEvery: 1000 * time.Hour})
	cfg := Config{Log: w.log}
	for _, c := range change {
		c(&cfg)
	}
	w.Hub = New(cfg)
	return w
}

// end stops everything; tests in a bubble must do that in it.
func (w *world) end() {
	w.Helper()
	ctx := context.Background()
	if err := w.Close(ctx); err != nil {
		w.Errorf("close: %v", err)
	}
	if err := w.log.Close(ctx); err != nil {
		w.Errorf("close the log: %v", err)
	}
}

func (w *world) conversation(id string, members ...string) {
	w.Helper()
	if _, _, err := w.log.CreateConversation(context.Background(), members[0], id, "", members[1:]); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(conversation, user string) {
	w.Helper()
	if err := w.log.RemoveMember(context.Background(), bridge.Actor{UserID: user}, conversation, user); err != nil {
		w.Fatal(err)
	}
}

func (w *world) put(conversation, user string) {
	w.Helper()
	if _, _, err := w.log.PutMember(context.Background(), bridge.Actor{UserID: user}, conversation, user, chat.RoleMember); err != nil {
		w.Fatal(err)
	}
}

func (w *world) say(conversation, user string) uint64 {
	w.Helper()
	out, err := w.log.Commit(context.Background(), chat.Draft{Stream: chat.ConversationStream(conversation), SenderID: user,
		Body: chat.Body{Type: chat.TypeMessage, Content: "hi"}})
	if err != nil {
		w.Fatal(err)
	}
	return out.Seq
}

// client is a connection that reads when it is asked to.
type client struct {
	w *world
	*Session
	wakes int
}

func (c *client) Wake() { c.wakes++ }

// connect adds a connection that subscribes to filters.
func (w *world) connect(user, name string, filters ...string) *client {
	w.Helper()
	c := &client{w: w}
	c.Session = w.Connect(Options{Key: bridge.SessionKey{UserID: user, ClientID: name}, Version: 5, Reader: c})
	if len(filters) > 0 {
		if err := c.Prepare(context.Background()); err != nil {
			w.Fatal(err)
		}
		c.subscribe(filters...)
	}
	return c
}

func (c *client) subscribe(filters ...string) {
	var subs bridge.Subscriptions
	for _, f := range filters {
		subs = subs.Put(bridge.Subscription{Filter: f})
	}
	c.Subscribe(subs)
}

// types says that the user types, or not.
func (c *client) types(conversation string, typing bool) {
	c.w.Helper()
	if err := c.Typing(conversation, typing); err != nil {
		c.w.Fatal(err)
	}
}

// got is what the connection reads now, in short.
func (c *client) got() (list []string) {
	c.w.Helper()
	out := c.Pull(nil, 1<<20)
	for len(out) > 0 {
		n, from := 0, 1
		for shift := 0; ; shift += 7 {
			b := out[from]
			from++
			n |= int(b&127) << shift
			if b < 128 {
				break
			}
		}
		var pub wire.Publish
		if err := wire.DecodePublish(5, wire.Packet{First: out[0], Body: out[from : from+n]}, &pub); err != nil {
			c.w.Fatal(err)
		}
		out = out[from+n:]
		topic, err := chat.ParseTopic(string(pub.Topic))
		if err != nil {
			c.w.Fatal(err)
		}
		var p struct {
			UserID, Status  string
			Typing          bool
			Devices         int
			Read, Delivered uint64
			UnreadCount     uint64
		}
		if err := json.Unmarshal(pub.Payload, &p); err != nil {
			c.w.Fatal(err)
		}
		text := ""
		switch topic.Kind {
		case chat.KindTyping:
			text = fmt.Sprintf("%s %s typing %v", topic.ID, p.UserID, p.Typing)
		case chat.KindReceipts:
			text = fmt.Sprintf("%s %s read %d", topic.ID, p.UserID, p.Read)
		case chat.KindPresence:
			text = fmt.Sprintf("%s %s %d", p.UserID, p.Status, p.Devices)
		case chat.KindUnread:
			text = fmt.Sprintf("unread %d", p.UnreadCount)
		}
		if pub.Retain {
			text += " retained"
		}
		list = append(list, text)
	}
	return list
}

// reads wants the connection to read this now, and nothing else.
func (c *client) reads(want ...string) {
	c.w.Helper()
	if got := c.got(); fmt.Sprint(got) != fmt.Sprint(want) {
		c.w.Errorf("%s reads %q, want %q", c.p.id, got, want)
	}
}

func (f *fakeStore) Oldest(context.Context, chat.StreamID, chat.StreamID, bool, int) ([]bridge.Held, error) {
	return nil, nil
}

func (f *fakeStore) MembershipsIn(_ context.Context, keys []bridge.MemberKey) ([]bridge.Membership, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]bridge.Membership, len(keys))
	for i, k := range keys {
		all[i] = bridge.Membership{MemberKey: k, Exists: f.members[k.Conversation] != nil}
		if f.members[k.Conversation][k.UserID] {
			all[i].Role = chat.RoleMember
		}
	}
	return all, f.err
}
