package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// tb is what the steps need of a test: *testing.T and *rapid.T have it.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// env is a store on a database of its own, with the steps that most tests
// need. The steps end the test when something goes wrong, so they are for
// the test's own goroutine; what begins with "try" is for any goroutine.
type env struct {
	tb
	test    *testing.T
	ctx     context.Context
	s       bridge.Store
	backend Backend
	dsn     string
	clock   *atomic.Int64 // milliseconds
}

func newEnv(t *testing.T, b Backend, s bridge.Store, dsn string) *env {
	e := &env{tb: t, test: t, ctx: t.Context(), s: s, backend: b, dsn: dsn, clock: new(atomic.Int64)}
	e.clock.Store(time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC).UnixMilli())
	return e
}

// on is the same env with another store on the same database.
func (e *env) on(s bridge.Store) *env {
	other := *e
	other.s = s
	return &other
}

// stores gives two stores on the database, or the same one twice where the
// backend has one store a database.
func (e *env) stores() []bridge.Store {
	if !e.backend.Shared {
		return []bridge.Store{e.s, e.s}
	}
	return []bridge.Store{e.s, e.backend.Reopen(e.test, e.dsn)}
}

// reopen closes the store and opens its database again.
func (e *env) reopen() {
	e.Helper()
	e.ok(e.s.Close(), "close")
	e.s = e.backend.Reopen(e.test, e.dsn)
}

// tick is the time of the next change: a second after the last.
func (e *env) tick() time.Time { return time.UnixMilli(e.clock.Add(1000)).UTC() }

// newID makes an id that no other test has.
func newID() (id chat.ID) {
	_, _ = rand.Read(id[:]) // it never fails
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

func newIDs(n int) []chat.ID {
	ids := make([]chat.ID, n)
	for i := range ids {
		ids[i] = newID()
	}
	return ids
}

// owner and the others are the users of most tests.
const (
	owner   = "olga"
	alice   = "alice"
	bob     = "bob"
	carol   = "carol"
	nobody  = "nobody"
	noConv  = "no-such-conversation"
	maxSeq  = 1<<63 - 1
	lots    = 100_000   // a limit above everything here
	retries = 1_000_000 // of what answers ErrAgain
)

var serverAdmin = bridge.Actor{UserID: "root", Admin: true}

func actor(user string) bridge.Actor { return bridge.Actor{UserID: user} }

// --- what went wrong

func (e *env) ok(err error, format string, args ...any) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// wantCode wants err to be a *chat.Error of that code; "" wants no error.
func wantCode(t tb, err error, code chat.Code, format string, args ...any) {
	t.Helper()
	if got := codeOf(err); got != code {
		t.Errorf("%s: answered %q (%v), want %q", fmt.Sprintf(format, args...), got, err, code)
	}
}

func codeOf(err error) chat.Code {
	var e *chat.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	}
	return "not a chat.Error"
}

// equal compares with reflect.DeepEqual; nil and empty slices must have been
// made alike before.
func equal[T any](t tb, got, want T, format string, args ...any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", fmt.Sprintf(format, args...), show(got), show(want))
	}
}

// show prints v, and not whole pages of it.
func show(v any) string {
	const page = 600
	s := fmt.Sprintf("%+v", v)
	if len(s) > page {
		s = strings.ToValidUTF8(s[:page], "") + "…"
	}
	return s
}

// again calls a verb until it does not answer ErrAgain. Nothing is slept: the
// one that is in the way makes progress.
func again(call func() error) error {
	for range retries {
		err := call()
		if !errors.Is(err, bridge.ErrAgain) {
			return err
		}
		runtime.Gosched()
	}
	return errors.New("answered ErrAgain for ever")
}

// --- conversations and members

// create makes a conversation of owner and the members.
func (e *env) create(id string, members ...string) bridge.Conversation {
	e.Helper()
	conv, _ := e.createAt(e.tick(), id, members...)
	return conv
}

func (e *env) createAt(now time.Time, id string, members ...string) (bridge.Conversation, []chat.Entry) {
	e.Helper()
	conv, entries, created, err := e.tryCreate(now, newConversation(id, members...))
	e.ok(err, "create %s", id)
	if !created {
		e.Fatalf("create %s: it stands already", id)
	}
	return conv, entries
}

func newConversation(id string, members ...string) bridge.NewConversation {
	return bridge.NewConversation{ID: id, Name: "the " + id, OwnerID: owner, Members: members,
		JoinIDs: newIDs(1 + len(members))}
}

func (e *env) tryCreate(now time.Time, c bridge.NewConversation) (conv bridge.Conversation, entries []chat.Entry, created bool, err error) {
	err = again(func() error {
		conv, entries, created, err = e.s.CreateConversation(e.ctx, now, c)
		return err
	})
	return conv, entries, created, err
}

func (e *env) tryPut(a bridge.Actor, conv, user string, role chat.Role) (m bridge.Member, entry *chat.Entry, err error) {
	now, id := e.tick(), newID()
	err = again(func() error {
		m, entry, err = e.s.PutMember(e.ctx, now, a, conv, user, role, id, bridge.Limits{})
		return err
	})
	return m, entry, err
}

func (e *env) tryRemove(a bridge.Actor, conv, user string) (entry chat.Entry, err error) {
	now, id := e.tick(), newID()
	err = again(func() error {
		entry, err = e.s.RemoveMember(e.ctx, now, a, conv, user, id)
		return err
	})
	return entry, err
}

func (e *env) tryRename(a bridge.Actor, conv, name string) (entry chat.Entry, err error) {
	now, id := e.tick(), newID()
	err = again(func() error {
		entry, err = e.s.RenameConversation(e.ctx, now, a, conv, name, id)
		return err
	})
	return entry, err
}

func (e *env) tryDelete(a bridge.Actor, conv string) error {
	return again(func() error { return e.s.DeleteConversation(e.ctx, a, conv) })
}

func (e *env) put(conv, user string, role chat.Role) bridge.Member {
	e.Helper()
	m, _, err := e.tryPut(serverAdmin, conv, user, role)
	e.ok(err, "put %s into %s", user, conv)
	return m
}

func (e *env) remove(conv, user string) chat.Entry {
	e.Helper()
	entry, err := e.tryRemove(serverAdmin, conv, user)
	e.ok(err, "remove %s from %s", user, conv)
	return entry
}

func (e *env) conversation(id string) bridge.Conversation {
	e.Helper()
	conv, err := e.s.Conversation(e.ctx, id)
	e.ok(err, "conversation %s", id)
	return conv
}

func (e *env) membership(conv, user string) bridge.Membership {
	e.Helper()
	ms, err := e.s.MembershipsIn(e.ctx, []bridge.MemberKey{{Conversation: conv, UserID: user}})
	e.ok(err, "membership of %s in %s", user, conv)
	if len(ms) != 1 {
		e.Fatalf("MembershipsIn gave %d answers for one key", len(ms))
	}
	return ms[0]
}

// --- drafts

func message(text string) chat.Body { return chat.Body{Type: chat.TypeMessage, Content: text} }

func reply(to uint64) chat.Body {
	return chat.Body{Type: chat.TypeMessage, Content: "a reply", ReplyTo: to}
}

func edit(target uint64, text string) chat.Body {
	return chat.Body{Type: chat.TypeEdit, Target: target, Content: text}
}

func erase(target uint64) chat.Body { return chat.Body{Type: chat.TypeDelete, Target: target} }

func react(target uint64, emoji string) chat.Body {
	return chat.Body{Type: chat.TypeReaction, Target: target, Emoji: emoji}
}

// draft makes a draft as Submit does: without a clientId it gets one of the
// server's, which begins with "~".
func draft(conv, sender string, b chat.Body) chat.Draft {
	d := chat.Draft{ID: newID(), Stream: chat.ConversationStream(conv), SenderID: sender, Body: b}
	if d.ClientID == "" {
		d.ClientID = "~" + d.ID.String()
	}
	return d
}

func withClientID(b chat.Body, id string) chat.Body {
	b.ClientID = id
	return b
}

// junk fills outcomes before a Commit: it must set every field.
var junk = bridge.Outcome{ID: chat.ID{1}, Seq: 4711, CreatedAt: time.Unix(1, 1), Repeat: true, Err: errors.New("left over")}

// tryCommit commits and repeats what is to be repeated.
func (e *env) tryCommit(now time.Time, drafts ...chat.Draft) ([]bridge.Outcome, error) {
	out := make([]bridge.Outcome, len(drafts))
	todo := make([]int, len(drafts))
	for i := range todo {
		todo[i] = i
	}
	for range retries {
		batch, got := make([]chat.Draft, len(todo)), slices.Repeat([]bridge.Outcome{junk}, len(todo))
		for i, at := range todo {
			batch[i] = drafts[at]
		}
		if err := again(func() error { return e.s.Commit(e.ctx, now, batch, got) }); err != nil {
			return nil, err
		}
		var left []int
		for i, at := range todo {
			if errors.Is(got[i].Err, bridge.ErrAgain) {
				left = append(left, at)
			} else {
				out[at] = got[i]
			}
		}
		if todo = left; len(todo) == 0 {
			return out, nil
		}
		runtime.Gosched()
	}
	return nil, errors.New("a draft was answered ErrAgain for ever")
}

func (e *env) commit(drafts ...chat.Draft) []bridge.Outcome {
	e.Helper()
	out, err := e.tryCommit(e.tick(), drafts...)
	e.ok(err, "commit")
	return out
}

// send commits one draft, which must not be refused nor be a repeat.
func (e *env) send(conv, sender string, b chat.Body) bridge.Outcome {
	e.Helper()
	o := e.commit(draft(conv, sender, b))[0]
	e.ok(o.Err, "%s by %s in %s", b.Type, sender, conv)
	if o.Repeat {
		e.Fatalf("%s by %s in %s: answered as a repeat", b.Type, sender, conv)
	}
	return o
}

// refuse commits one draft, which must be refused with that code.
func (e *env) refuse(d chat.Draft, code chat.Code, why string) {
	e.Helper()
	o := e.commit(d)[0]
	wantRefused(e, o, code, why)
}

func wantRefused(t tb, o bridge.Outcome, code chat.Code, why string) {
	t.Helper()
	wantCode(t, o.Err, code, "%s", why)
	o.Err = nil
	equal(t, o, bridge.Outcome{}, "%s: the rest of the outcome of a refused draft", why)
}

// entryOf is the entry that a committed draft must read as.
func entryOf(d chat.Draft, o bridge.Outcome) chat.Entry {
	if strings.HasPrefix(d.ClientID, "~") {
		d.ClientID = ""
	}
	return normal(chat.Entry{ID: o.ID, Stream: d.Stream, Seq: o.Seq, SenderID: d.SenderID,
		CreatedAt: o.CreatedAt, Body: d.Body})
}

// erased is what is left of an entry after a delete.
func erased(e chat.Entry) chat.Entry {
	e.Content, e.MediaURL, e.Mentions, e.ReplyTo, e.Deleted = "", "", nil, 0, true
	return e
}

// normal makes entries comparable: no mentions may be nil or empty.
func normal(e chat.Entry) chat.Entry {
	if len(e.Mentions) == 0 {
		e.Mentions = nil
	}
	return e
}

func normalAll(entries []chat.Entry) []chat.Entry {
	all := make([]chat.Entry, len(entries))
	for i, e := range entries {
		all[i] = normal(e)
	}
	return all
}

// --- reading

// read answers the entries of a conversation after a seq.
func (e *env) read(conv string, after uint64, limit int) []chat.Entry {
	e.Helper()
	got, err := e.s.Read(e.ctx, []bridge.Range{{Stream: chat.ConversationStream(conv), After: after, Limit: limit}})
	e.ok(err, "read %s", conv)
	if len(got) != 1 {
		e.Fatalf("Read gave %d answers for one range", len(got))
	}
	return normalAll(got[0])
}

// history reads a whole conversation. Its seqs must have no gap, and its
// head must be the last of them.
func (e *env) history(conv string) []chat.Entry {
	e.Helper()
	entries := e.read(conv, 0, lots)
	wantGapless(e, entries, 1)
	equal(e, e.head(conv), bridge.Head{Head: uint64(len(entries)), First: 1}, "head of %s", conv)
	return entries
}

func (e *env) head(conv string) bridge.Head {
	e.Helper()
	heads, err := e.s.Heads(e.ctx, []chat.StreamID{chat.ConversationStream(conv)})
	e.ok(err, "heads")
	if len(heads) != 1 {
		e.Fatalf("Heads gave %d answers for one stream", len(heads))
	}
	return heads[0]
}

func wantGapless(t tb, entries []chat.Entry, first uint64) {
	t.Helper()
	for i := range entries {
		if want := first + uint64(i); entries[i].Seq != want {
			t.Fatalf("entry %d has seq %d, want %d: there is a gap, or no order", i, entries[i].Seq, want)
		}
	}
}

// wantTime wants got to be want in UTC and whole milliseconds.
func wantTime(t tb, got, want time.Time, what string) {
	t.Helper()
	if !got.Equal(want.Truncate(time.Millisecond)) || got.Location() != time.UTC {
		t.Errorf("%s is %v, want %v in UTC and whole milliseconds", what, got, want)
	}
}

func seqs(entries []chat.Entry) []uint64 {
	all := []uint64{}
	for i := range entries {
		all = append(all, entries[i].Seq)
	}
	return all
}
