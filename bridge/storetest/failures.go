package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var failureTests = []test{
	{"Ready", failReady},
	{"Context", failContext},
	{"Closed", failClosed},
}

func failReady(e *env) {
	e.ok(e.s.Ready(e.ctx), "ready")
	e.ok(e.s.Migrate(e.ctx), "migrate again")
	e.ok(e.s.Ready(e.ctx), "ready")
	if n := e.s.Lanes(); n < 1 || n > 64 {
		e.Errorf("%d lanes", n)
	}
}

// verb is a call of each verb of the contract, with something to do.
type verb struct {
	name string
	call func(ctx context.Context, s bridge.Store) error
}

// verbs has every verb that takes a context. Each would succeed, and those
// that write would change the conversation c of createCast or a session.
func verbs(now time.Time) []verb {
	a, key := serverAdmin, sessionKey(alice, "phone")
	return []verb{
		{"Ready", func(ctx context.Context, s bridge.Store) error { return s.Ready(ctx) }},
		{"Migrate", func(ctx context.Context, s bridge.Store) error { return s.Migrate(ctx) }},
		{"Commit", func(ctx context.Context, s bridge.Store) error {
			return s.Commit(ctx, now, []chat.Draft{draft("c", alice, message("x"))}, make([]bridge.Outcome, 1))
		}},
		{"Read", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Read(ctx, []bridge.Range{{Stream: "c/c", Limit: 10}})
			return err
		}},
		{"Before", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Before(ctx, "c/c", 0, 10)
			return err
		}},
		{"Heads", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Heads(ctx, []chat.StreamID{"c/c"})
			return err
		}},
		{"CreateConversation", func(ctx context.Context, s bridge.Store) error {
			_, _, _, err := s.CreateConversation(ctx, now, newConversation("new", alice))
			return err
		}},
		{"Conversation", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Conversation(ctx, "c")
			return err
		}},
		{"Conversations", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Conversations(ctx, alice, bridge.Page{Limit: 10})
			return err
		}},
		{"RenameConversation", func(ctx context.Context, s bridge.Store) error {
			_, err := s.RenameConversation(ctx, now, a, "c", "x", newID())
			return err
		}},
		{"PutMember", func(ctx context.Context, s bridge.Store) error {
			_, _, err := s.PutMember(ctx, now, a, "c", "new", chat.RoleMember, newID(), bridge.Limits{})
			return err
		}},
		{"RemoveMember", func(ctx context.Context, s bridge.Store) error {
			_, err := s.RemoveMember(ctx, now, a, "c", alice, newID())
			return err
		}},
		{"DeleteConversation", func(ctx context.Context, s bridge.Store) error { return s.DeleteConversation(ctx, a, "c") }},
		{"Memberships", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Memberships(ctx, []string{alice})
			return err
		}},
		{"MembershipsIn", func(ctx context.Context, s bridge.Store) error {
			_, err := s.MembershipsIn(ctx, []bridge.MemberKey{{Conversation: "c", UserID: alice}})
			return err
		}},
		{"Sessions", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Sessions(ctx, []bridge.SessionKey{key})
			return err
		}},
		{"SaveSession", func(ctx context.Context, s bridge.Store) error {
			return s.SaveSession(ctx, bridge.Session{Key: sessionKey(alice, "new")})
		}},
		{"MarkSessions", func(ctx context.Context, s bridge.Store) error {
			return s.MarkSessions(ctx, []bridge.SessionMark{{Key: key, Expiry: 1, EndedAt: now}})
		}},
		{"DeleteSession", func(ctx context.Context, s bridge.Store) error { return s.DeleteSession(ctx, key) }},
		{"SaveCursors", func(ctx context.Context, s bridge.Store) error {
			return s.SaveCursors(ctx, []bridge.CursorAt{cursorAt(key, "c/c", 3)})
		}},
		{"DropCursors", func(ctx context.Context, s bridge.Store) error {
			return s.DropCursors(ctx, key, []chat.StreamID{"c/c"})
		}},
		{"ReleaseSessions", func(ctx context.Context, s bridge.Store) error { return s.ReleaseSessions(ctx, now) }},
		{"SweepSessions", func(ctx context.Context, s bridge.Store) error {
			_, err := s.SweepSessions(ctx, now, 10)
			return err
		}},
		{"SessionsOf", func(ctx context.Context, s bridge.Store) error {
			_, err := s.SessionsOf(ctx, now, alice, "", 10, 10)
			return err
		}},
		{"Places", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Places(ctx, alice)
			return err
		}},
		{"ReadPieces", func(ctx context.Context, s bridge.Store) error {
			_, err := s.ReadPieces(ctx, []bridge.Piece{{Conversation: "c", CreatedAt: now, UpTo: 9, Limit: 9}})
			return err
		}},
		{"OwnMoves", func(ctx context.Context, s bridge.Store) error {
			_, err := s.OwnMoves(ctx, alice, []bridge.Piece{{Conversation: "c", CreatedAt: now, UpTo: 9}})
			return err
		}},
		{"SeqsAt", func(ctx context.Context, s bridge.Store) error {
			_, err := s.SeqsAt(ctx, now, []bridge.Piece{{Conversation: "c", CreatedAt: now, UpTo: 9}})
			return err
		}},
		{"Revoke", func(ctx context.Context, s bridge.Store) error {
			return s.Revoke(ctx, bridge.Revocation{Kind: bridge.RevokedUser, Value: alice, At: now})
		}},
		{"Revoked", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Revoked(ctx, 0, 10)
			return err
		}},
		{"SweepRevocations", func(ctx context.Context, s bridge.Store) error {
			_, err := s.SweepRevocations(ctx, now, 10)
			return err
		}},
		{"Keep", func(ctx context.Context, s bridge.Store) error {
			return s.Keep(ctx, &bridge.Changes{Sent: []bridge.SentMark{{Key: key, N: 1}},
				Retained: []*bridge.Message{{Topic: "x", Payload: []byte("x")}}})
		}},
		{"Keep nothing", func(ctx context.Context, s bridge.Store) error { return s.Keep(ctx, &bridge.Changes{}) }},
		{"Queued", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Queued(ctx, []bridge.QueueRange{{Key: key, Limit: 10}})
			return err
		}},
		{"Queues", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Queues(ctx, bridge.SessionKey{}, 10)
			return err
		}},
		{"Retained", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Retained(ctx, now, "", "", 10)
			return err
		}},
		{"RetainedOn", func(ctx context.Context, s bridge.Store) error {
			_, err := s.RetainedOn(ctx, now, []string{"x"})
			return err
		}},
		{"CountRetained", func(ctx context.Context, s bridge.Store) error {
			_, _, err := s.CountRetained(ctx)
			return err
		}},
		{"Wills", func(ctx context.Context, s bridge.Store) error {
			_, err := s.Wills(ctx, bridge.SessionKey{}, 10)
			return err
		}},
		{"BeginWebhooks", func(ctx context.Context, s bridge.Store) error {
			_, err := s.BeginWebhooks(ctx, now)
			return err
		}},
		{"WebhookBehind", func(ctx context.Context, s bridge.Store) error {
			_, _, err := s.WebhookBehind(ctx, 0, 10)
			return err
		}},
		{"WebhookPlaces", func(ctx context.Context, s bridge.Store) error {
			_, err := s.WebhookPlaces(ctx, []chat.StreamID{"c/c"})
			return err
		}},
		{"SaveWebhookPlaces", func(ctx context.Context, s bridge.Store) error {
			return s.SaveWebhookPlaces(ctx, []bridge.Cursor{{Stream: "c/c", Seq: 1}})
		}},
		{"SweepMessages", func(ctx context.Context, s bridge.Store) error {
			_, err := s.SweepMessages(ctx, now, 10)
			return err
		}},
	}
}

// failContext: a verb whose context has ended answers that the database is
// unavailable. Begun with such a context it writes nothing, and the store
// goes on.
func failContext(e *env) {
	e.createCast("c")
	key := sessionKey(alice, "phone")
	e.saveSession(bridge.Session{Key: key, Cursors: []bridge.Cursor{{Stream: "c/c", Seq: 1}}})
	want := fmt.Sprint(e.conversation("c"), e.history("c"), e.session(key), e.list(alice, bridge.Page{Limit: lots}), e.ordinaryState(key))

	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	expired, cancel := context.WithDeadline(e.ctx, time.Unix(1, 0))
	defer cancel()
	for name, ctx := range map[string]context.Context{"cancelled": cancelled, "expired": expired} {
		for _, v := range verbs(e.tick()) {
			err := v.call(ctx, e.s)
			if !errors.Is(err, bridge.ErrUnavailable) {
				e.Errorf("%s with a context that is %s: %v, want ErrUnavailable", v.name, name, err)
			}
		}
	}
	got := fmt.Sprint(e.conversation("c"), e.history("c"), e.session(key), e.list(alice, bridge.Page{Limit: lots}), e.ordinaryState(key))
	equal(e, got, want, "what stands afterwards")
	e.send("c", alice, message("goes on"))
	e.ok(e.s.Ready(e.ctx), "ready")
}

// failClosed: calls after Close fail, and do not hang or panic.
func failClosed(e *env) {
	e.createCast("c")
	before := e.history("c")
	e.ok(e.s.Close(), "close")
	for _, v := range verbs(e.tick()) {
		err := v.call(e.ctx, e.s)
		var known *chat.Error
		if err == nil {
			e.Errorf("%s after Close: no error", v.name)
		} else if errors.As(err, &known) && known.Code != chat.CodeUnavailable {
			e.Errorf("%s after Close: the answer %q, which is for the caller", v.name, known.Code)
		}
	}
	_ = e.s.Close() // may fail, must not panic
	e.s = e.backend.Reopen(e.test, e.dsn)
	equal(e, e.history("c"), before, "the history after it all")
}
