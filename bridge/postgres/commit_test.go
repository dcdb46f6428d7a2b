package postgres

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

var testNow = time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC)

// create makes a conversation of olga and the members.
func create(t testing.TB, s *Store, id string, members ...string) {
	t.Helper()
	n := bridge.NewConversation{ID: id, OwnerID: "olga", Members: members}
	for range 1 + len(members) {
		n.JoinIDs = append(n.JoinIDs, benchID())
	}
	if _, _, created, err := s.CreateConversation(t.Context(), testNow, n); err != nil || !created {
		t.Fatalf("create %s: %v, %v", id, created, err)
	}
}

func draft(conv, sender string, b chat.Body) chat.Draft {
	d := chat.Draft{ID: benchID(), Stream: chat.ConversationStream(conv), SenderID: sender, Body: b}
	if d.Type == 0 {
		d.Type = chat.TypeMessage
	}
	if d.ClientID == "" {
		d.ClientID = "~" + d.ID.String()
	}
	return d
}

func commitAll(t testing.TB, s *Store, drafts ...chat.Draft) []bridge.Outcome {
	t.Helper()
	out := make([]bridge.Outcome, len(drafts))
	if err := s.Commit(t.Context(), testNow, drafts, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func send(t testing.TB, s *Store, conv, sender string, b chat.Body) uint64 {
	t.Helper()
	o := commitAll(t, s, draft(conv, sender, b))[0]
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	return o.Seq
}

// TestBatchAboutItself: a draft about what its own batch writes or deletes is
// to be repeated, and is then decided on what stands.
func TestBatchAboutItself(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	create(t, s, "c", "alice")
	drafts := []chat.Draft{
		draft("c", "alice", chat.Body{Content: "seq 3"}),
		draft("c", "alice", chat.Body{Type: chat.TypeReaction, Target: 3, Emoji: "x"}),
		draft("c", "alice", chat.Body{Content: "a reply", ReplyTo: 3}),
		draft("c", "alice", chat.Body{Type: chat.TypeReaction, Target: 40, Emoji: "x"}),
		draft("c", "alice", chat.Body{Content: "seq 4"}),
	}
	out := commitAll(t, s, drafts...)
	for i, want := range []error{nil, bridge.ErrAgain, bridge.ErrAgain, chat.ErrNotFound, nil} {
		if !errors.Is(out[i].Err, want) {
			t.Errorf("draft %d: %v, want %v", i, out[i].Err, want)
		}
	}
	if out[0].Seq != 3 || out[4].Seq != 4 {
		t.Errorf("seqs %d and %d, want 3 and 4", out[0].Seq, out[4].Seq)
	}
	for i, o := range commitAll(t, s, drafts[1], drafts[2]) {
		if o.Err != nil || o.Seq != uint64(5+i) {
			t.Errorf("repeated: %+v", o)
		}
	}

	drafts = []chat.Draft{
		draft("c", "alice", chat.Body{Type: chat.TypeReaction, Target: 3, Emoji: "x"}),
		draft("c", "alice", chat.Body{Type: chat.TypeDelete, Target: 3}),
		draft("c", "alice", chat.Body{Type: chat.TypeReaction, Target: 3, Emoji: "x"}),
		draft("c", "alice", chat.Body{Content: "a reply", ReplyTo: 3}),
	}
	out = commitAll(t, s, drafts...)
	for i, want := range []error{nil, nil, bridge.ErrAgain, nil} {
		if !errors.Is(out[i].Err, want) {
			t.Errorf("draft %d: %v, want %v", i, out[i].Err, want)
		}
	}
	if o := commitAll(t, s, drafts[2])[0]; !errors.Is(o.Err, chat.ErrNotFound) {
		t.Errorf("repeated: %+v", o)
	}
	// A batch of nothing that can be sent yet.
	out = commitAll(t, s, draft("c", "olga", chat.Body{Type: chat.TypeDelete, Target: 4}))
	if out[0].Err != nil || out[0].Seq != 10 {
		t.Errorf("delete: %+v", out[0])
	}
}

// TestRulesAgree: the statement decides about targets as bridge.CheckTarget
// does.
func TestRulesAgree(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	roles := []chat.Role{chat.RoleMember, chat.RoleAdmin, chat.RoleOwner}
	create(t, s, "c", "author", "member", "admin")
	if _, _, err := s.PutMember(t.Context(), testNow, bridge.Actor{Admin: true}, "c", "admin", chat.RoleAdmin, benchID(), bridge.Limits{}); err != nil {
		t.Fatal(err)
	}
	users := map[chat.Role]string{chat.RoleMember: "member", chat.RoleAdmin: "admin", chat.RoleOwner: "olga"}
	for _, typ := range []chat.Type{chat.TypeEdit, chat.TypeDelete, chat.TypeReaction} {
		for _, role := range roles {
			for _, author := range []string{"author", users[role]} {
				target := send(t, s, "c", author, chat.Body{Content: "x"})
				o := commitAll(t, s, draft("c", users[role], chat.Body{Type: typ, Target: target}))[0]
				want := bridge.CheckTarget(typ, role, users[role], author)
				if (o.Err == nil) != (want == nil) || want != nil && o.Err.Error() != want.Error() {
					t.Errorf("%s by %s of what %s wrote: %v, want %v", typ, users[role], author, o.Err, want)
				}
			}
		}
	}
}

// TestCommitElsewhere: a stream that is no conversation's takes no drafts.
func TestCommitElsewhere(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	run(t, s, `INSERT INTO streams (key, last_at) VALUES ('n/bob', now())`)
	d := draft("", "bob", chat.Body{Content: "x"})
	d.Stream = chat.NotificationStream("bob")
	if o := commitAll(t, s, d)[0]; !errors.Is(o.Err, chat.ErrNotFound) {
		t.Errorf("%+v", o)
	}
	heads, err := s.Heads(t.Context(), []chat.StreamID{d.Stream})
	if err != nil || heads[0] != (bridge.Head{First: 1}) {
		t.Errorf("%+v, %v", heads, err)
	}
}

// TestStreamCreatedBetweenStatements: what the first statement did not lock is not
// there for the statement that appends, even when it can be seen by then.
func TestStreamCreatedBetweenStatements(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	create(t, s, "old", "alice")
	drafts := []chat.Draft{draft("new", "alice", chat.Body{Content: "x"}), draft("old", "alice", chat.Body{Content: "x"})}
	out := make([]bridge.Outcome, len(drafts))
	for _, plain := range []bool{true, false} {
		id := fmt.Sprint("new", plain)
		drafts[0].Stream = chat.ConversationStream(id)
		drafts[1].ClientID = id
		c := commits.New().(*commit)
		c.load(testNow, drafts, out)
		raise, sql := raisePlain, appendPlain
		if c.plain = plain; !plain {
			raise, sql = raiseAny, appendAny
		}
		err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
			conn := tx.Conn().PgConn()
			c.encodeRaise()
			raised := conn.ExecParams(t.Context(), raise, c.params.all(), nil, []int16{1, 1, 1, 1}[:len(c.params.ends)], binaryFormat).Read()
			if raised.Err != nil || len(raised.Rows) != 1 {
				return fmt.Errorf("raised %d heads, %w", len(raised.Rows), raised.Err)
			}
			create(t, s, id, "alice")
			c.encodeAppend()
			formats := make([]int16, len(c.params.ends))
			for i := range formats {
				formats[i] = 1
			}
			refused := conn.ExecParams(t.Context(), sql, c.params.all(), nil, formats, binaryFormat).Read()
			if refused.Err != nil || len(refused.Rows) != 1 {
				return fmt.Errorf("%d refusals, %w", len(refused.Rows), refused.Err)
			}
			c.readVerdict(refused.Rows[0])
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(out[0].Err, chat.ErrNotFound) {
			t.Errorf("plain %v: %+v", plain, out[0])
		}
		heads, err := s.Heads(t.Context(), []chat.StreamID{drafts[0].Stream})
		if err != nil || heads[0].Head != 2 {
			t.Errorf("plain %v: the new stream's head is %v, %v", plain, heads, err)
		}
	}
	if n := len(readAll(t, s, "old")); n != 4 {
		t.Errorf("the old stream has %d entries", n)
	}
}

// readAll reads a conversation, which must have no gap and end at its head.
func readAll(t testing.TB, s *Store, conv string) []chat.Entry {
	t.Helper()
	stream := chat.ConversationStream(conv)
	got, err := s.Read(t.Context(), []bridge.Range{{Stream: stream, Limit: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got[0] {
		if e.Seq != uint64(i+1) {
			t.Fatalf("%s: entry %d has seq %d", conv, i, e.Seq)
		}
	}
	heads, err := s.Heads(t.Context(), []chat.StreamID{stream})
	if err != nil || heads[0].Head != uint64(len(got[0])) {
		t.Fatalf("%s: head %v, %d entries, %v", conv, heads, len(got[0]), err)
	}
	return got[0]
}

// TestForgottenStatements: a pooler may drop what was prepared. The commit
// that meets it writes nothing, and the next has a new connection.
func TestForgottenStatements(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, err := Open(t.Context(), url, Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	create(t, s, "c", "alice")
	send(t, s, "c", "alice", chat.Body{Content: "x"})
	if _, err := s.pool.Exec(t.Context(), "DEALLOCATE ALL", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	d := draft("c", "alice", chat.Body{Content: "y"})
	out := make([]bridge.Outcome, 1)
	if err := s.Commit(t.Context(), testNow, []chat.Draft{d}, out); !errors.Is(err, bridge.ErrAgain) {
		t.Fatalf("%v, want ErrAgain", err)
	}
	if o := commitAll(t, s, d)[0]; o.Err != nil || o.Repeat || o.Seq != 4 {
		t.Errorf("%+v", o)
	}
}
