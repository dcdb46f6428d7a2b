package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/parley-mqtt/parley/internal/chat"
)

// CreateConversation makes a conversation whose members read from the start;
// see Create.
func (l *Log) CreateConversation(ctx context.Context, owner, id, name string, members []string) (Conversation, bool, error) {
	return l.Create(ctx, NewConversation{ID: id, Name: name, OwnerID: owner, Members: members})
}

// Create makes a conversation; see Store.CreateConversation. An empty id gets
// one. n.Members may name the owner and name somebody twice; JoinIDs and
// Limits are the log's to set.
func (l *Log) Create(ctx context.Context, n NewConversation) (Conversation, bool, error) {
	if n.ID == "" {
		n.ID = uuid.Must(uuid.NewV7()).String()
	}
	members := n.Members
	n.Members, n.JoinIDs, n.Limits = nil, []chat.ID{newID()}, l.cfg.Limits
	seen := map[string]bool{n.OwnerID: true}
	for _, m := range members {
		if !seen[m] {
			seen[m] = true
			n.Members = append(n.Members, m)
			n.JoinIDs = append(n.JoinIDs, newID())
		}
	}
	return l.create(ctx, func() (Conversation, []chat.Entry, bool, error) {
		return l.store.CreateConversation(ctx, l.now(), n)
	})
}

// create runs a verb that makes a conversation, and makes it known.
func (l *Log) create(ctx context.Context, verb func() (Conversation, []chat.Entry, bool, error)) (Conversation, bool, error) {
	var (
		conv    Conversation
		entries []chat.Entry
		created bool
	)
	err := again(ctx, func() (err error) {
		conv, entries, created, err = verb()
		return err
	})
	if err == nil {
		l.publish(entries...)
	}
	if err == nil && !created { // perhaps by a call whose outcome was unknown
		for _, m := range conv.Members {
			l.users.joined(m.UserID, conv.ID, m.JoinedSeq)
		}
	}
	return conv, created, err
}

// RenameConversation changes a conversation's name.
func (l *Log) RenameConversation(ctx context.Context, actor Actor, id, name string) error {
	entryID := newID()
	return l.change(ctx, func() (*chat.Entry, error) {
		e, err := l.store.RenameConversation(ctx, l.now(), actor, id, name, entryID)
		return &e, err
	})
}

// DeleteConversation removes a conversation; who follows it gets nothing
// more.
func (l *Log) DeleteConversation(ctx context.Context, actor Actor, id string) error {
	err := again(ctx, func() error { return l.store.DeleteConversation(ctx, actor, id) })
	if err == nil {
		l.tails.forget(chat.ConversationStream(id))
		l.ended(chat.ConversationStream(id))
	}
	return err
}

// PutMember adds a member or changes the role of one; joined says which.
func (l *Log) PutMember(ctx context.Context, actor Actor, id, user string, role chat.Role) (m Member, joined bool, err error) {
	entryID := newID()
	err = l.change(ctx, func() (*chat.Entry, error) {
		var entry *chat.Entry
		m, entry, err = l.store.PutMember(ctx, l.now(), actor, id, user, role, entryID, l.cfg.Limits)
		joined = entry != nil
		return entry, err
	})
	if err == nil && !joined { // perhaps by a call whose outcome was unknown
		l.users.joined(user, id, m.JoinedSeq)
	}
	return m, joined, err
}

// RemoveMember ends a membership. From its commit on, nothing that is
// committed later reaches the member's connections.
func (l *Log) RemoveMember(ctx context.Context, actor Actor, id, user string) error {
	entryID := newID()
	return l.change(ctx, func() (*chat.Entry, error) {
		e, err := l.store.RemoveMember(ctx, l.now(), actor, id, user, entryID)
		return &e, err
	})
}

// change runs a verb that writes one entry, or none, and makes it known.
func (l *Log) change(ctx context.Context, verb func() (*chat.Entry, error)) error {
	var entry *chat.Entry
	err := again(ctx, func() (err error) {
		entry, err = verb()
		return err
	})
	if err == nil && entry != nil {
		l.publish(*entry)
	}
	return err
}

// again repeats a verb that answered ErrAgain.
func again(ctx context.Context, verb func() error) error {
	wait := backoffMin
	for tries := 0; ; tries++ {
		err := verb()
		if !errors.Is(err, ErrAgain) {
			return err
		}
		if tries < 3 {
			continue
		}
		select {
		case <-ctx.Done():
			return ErrUnavailable
		case <-time.After(wait):
			wait = min(2*wait, backoffMax)
		}
	}
}

// publish makes entries known that were committed beside the lanes.
func (l *Log) publish(entries ...chat.Entry) {
	for _, e := range entries {
		if t := l.tails.find(e.Stream); t != nil {
			t.append(&Item{Entry: e})
			t.wakeAll()
		}
		l.appended(e.Stream, e.Seq)
		if e.Type == chat.TypeJoin {
			l.users.joined(e.UserID, e.Stream.Conversation(), e.Seq)
		}
	}
}

// Conversation answers a conversation with its members.
func (l *Log) Conversation(ctx context.Context, id string) (Conversation, error) {
	return l.store.Conversation(ctx, id)
}

// Conversations answers a page of the user's conversations, newest activity
// first.
func (l *Log) Conversations(ctx context.Context, user string, page Page) ([]Summary, error) {
	return l.store.Conversations(ctx, user, page)
}

// After answers entries in order, after a seq.
func (l *Log) After(ctx context.Context, r Range) ([]chat.Entry, error) {
	read, err := l.store.Read(ctx, []Range{r})
	if err != nil {
		return nil, err
	}
	return read[0], nil
}

// Before answers the last entries before a seq, or before the end when it is
// 0, in order.
func (l *Log) Before(ctx context.Context, stream chat.StreamID, before uint64, limit int) ([]chat.Entry, error) {
	return l.store.Before(ctx, stream, before, limit)
}

// Ready answers nil when the store can serve.
func (l *Log) Ready(ctx context.Context) error { return l.store.Ready(ctx) }

// Membership answers what a user is to a conversation, now.
func (l *Log) Membership(ctx context.Context, conversation, user string) (Membership, error) {
	return l.members.do(ctx, MemberKey{conversation, user})
}

// Memberships answers all conversations that the user is or was a member of.
func (l *Log) Memberships(ctx context.Context, user string) ([]Membership, error) {
	return l.memberships.do(ctx, user)
}

// Head answers how far a stream reaches; both are 0 where it does not exist.
func (l *Log) Head(ctx context.Context, stream chat.StreamID) (Head, error) {
	return l.heads.do(ctx, stream)
}

// Session answers a durable session, or nil.
func (l *Log) Session(ctx context.Context, key SessionKey) (*Session, error) {
	return l.sessions.do(ctx, key)
}

// SaveSession writes a durable session; see Store.SaveSession.
func (l *Log) SaveSession(ctx context.Context, s Session) error {
	return again(ctx, func() error { return l.store.SaveSession(ctx, s) })
}

// MarkSession notes that a session is connected, or since when it is not.
func (l *Log) MarkSession(ctx context.Context, m SessionMark) error {
	_, err := l.marks.do(ctx, m)
	return err
}

// DeleteSession ends a durable session for good.
func (l *Log) DeleteSession(ctx context.Context, key SessionKey) error {
	return again(ctx, func() error { return l.store.DeleteSession(ctx, key) })
}

// DropCursors forgets how far a session has acknowledged streams that it
// follows no more, and whose cursors are closed.
func (l *Log) DropCursors(ctx context.Context, key SessionKey, streams []chat.StreamID) error {
	if err := l.cursors.take(ctx); err != nil { // a flush that runs would bring them back
		return err
	}
	l.cursors.release()
	return again(ctx, func() error { return l.store.DropCursors(ctx, key, streams) })
}

// UserWatcher is told that a user joined a conversation, with the seq of the
// join entry. It is called on goroutines of the log: it must not block.
type UserWatcher interface {
	Joined(conversation string, seq uint64)
}

// users holds who wants to know of a user's new conversations.
type users struct {
	mu sync.RWMutex
	m  map[string][]UserWatcher
}

func (u *users) init() { u.m = make(map[string][]UserWatcher) }

// WatchUser tells w from now on when the user joins a conversation; the
// answer ends it.
func (l *Log) WatchUser(user string, w UserWatcher) (stop func()) {
	u := &l.users
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m[user] = append(u.m[user], w)
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		left := slices.DeleteFunc(u.m[user], func(o UserWatcher) bool { return o == w })
		if u.m[user] = left; len(left) == 0 {
			delete(u.m, user)
		}
	}
}

func (u *users) joined(user, conversation string, seq uint64) {
	u.mu.RLock()
	watchers := slices.Clone(u.m[user])
	u.mu.RUnlock()
	for _, w := range watchers {
		w.Joined(conversation, seq)
	}
}
