package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// waitUntil asks again until it is so. Nobody tells what is waited for here.
func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// waitBlocked waits until a connection to the database waits for a lock.
func waitBlocked(t testing.TB, s *Store) {
	t.Helper()
	waitUntil(t, "somebody who waits for a lock", func() bool {
		var waiting int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting > 0
	})
}

// TestCommitBehindAnotherWriter: a commit that waited for another writer is
// decided on what that writer left, not on what stood when the commit began.
func TestCommitBehindAnotherWriter(t *testing.T) {
	t.Parallel()
	message := chat.Body{Content: "x", ClientID: "a-1"}
	for _, tt := range []struct {
		name  string
		other string // what the other writer does, holding the lock of stream 1
		draft chat.Body
		want  error
		check func(o bridge.Outcome) bool
	}{
		{"removed", `UPDATE members SET role = 0, left_seq = 4 WHERE user_id = 'alice'`, message, chat.ErrForbidden, nil},
		{"demoted", `UPDATE members SET role = 1 WHERE user_id = 'alice'`,
			chat.Body{Type: chat.TypeEdit, Target: 3, Content: "x"}, chat.ErrForbidden, nil},
		{"joined", `INSERT INTO members VALUES (1, 'carol', 1, now(), 4)`, message, nil, nil},
		{"repeat", `INSERT INTO entries (stream, seq, created_at, id, type, sender_id, client_id) VALUES
			(1, 4, now(), '00000000-0000-7000-8000-000000000001', 1, 'alice', 'a-1')`, message, nil,
			func(o bridge.Outcome) bool { return o.Repeat && o.Seq == 4 && o.ID[15] == 1 }},
		{"target", `INSERT INTO entries (stream, seq, created_at, id, type, sender_id) VALUES
			(1, 4, now(), '00000000-0000-7000-8000-000000000001', 1, 'bob')`,
			chat.Body{Type: chat.TypeReaction, Target: 4, Emoji: "x"}, nil, nil},
		{"deleted target", `UPDATE entries SET deleted = true WHERE seq = 3`,
			chat.Body{Type: chat.TypeReaction, Target: 3, Emoji: "x"}, chat.ErrNotFound, nil},
		{"deleted conversation", `DELETE FROM streams`, message, chat.ErrNotFound, nil},
		{"nothing", `SELECT 1`, message, nil, func(o bridge.Outcome) bool { return o.Seq == 5 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, pgtest.URL(t), true)
			create(t, s, "c", "alice")
			_, _, err := s.PutMember(t.Context(), testNow, bridge.Actor{Admin: true}, "c", "alice", chat.RoleAdmin, benchID(), bridge.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			send(t, s, "c", "olga", chat.Body{Content: "seq 3"})
			sender := "alice"
			if tt.name == "joined" {
				sender = "carol"
			}
			d := draft("c", sender, tt.draft)
			out := make([]bridge.Outcome, 1)
			done := make(chan error, 1)
			err = pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), `UPDATE streams SET head = 4`); err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), tt.other); err != nil {
					return err
				}
				go func() { done <- s.Commit(t.Context(), testNow, []chat.Draft{d}, out) }()
				waitBlocked(t, s)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if !errors.Is(out[0].Err, tt.want) || tt.want == nil && out[0].Err != nil {
				t.Errorf("%+v, want %v", out[0], tt.want)
			}
			if tt.check != nil && !tt.check(out[0]) {
				t.Errorf("%+v", out[0])
			}
			if tt.want == nil && !out[0].Repeat && out[0].Seq != 5 {
				t.Errorf("seq %d after a head of 4", out[0].Seq)
			}
		})
	}
}

// TestCommitsInOppositeOrder: batches that name the same streams in opposite
// orders wait for each other; they do not deadlock.
func TestCommitsInOppositeOrder(t *testing.T) {
	t.Parallel()
	const convs, rounds = 20, 30
	s := openStore(t, pgtest.URL(t), true)
	for c := range convs {
		create(t, s, fmt.Sprint("c", c), "alice")
	}
	var lanes sync.WaitGroup
	for lane := range 3 {
		lanes.Go(func() {
			for range rounds {
				var drafts []chat.Draft
				for c := range convs {
					drafts = append(drafts, draft(fmt.Sprint("c", c), "alice", chat.Body{Content: "x"}))
				}
				if lane == 1 {
					slices.Reverse(drafts)
				}
				if err := s.Commit(t.Context(), testNow, drafts, make([]bridge.Outcome, convs)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	lanes.Wait()
	for c := range convs {
		if n := len(readAll(t, s, fmt.Sprint("c", c))); n != 2+3*rounds {
			t.Errorf("c%d has %d entries", c, n)
		}
	}
}

// TestTwoNodes: two stores commit to the same few streams, from several
// goroutines each, the same drafts often twice, while members come and go and
// messages are deleted. Nothing is lost, doubled, or written by somebody who
// had left, and no answer is anything but an answer.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	const convs, writers, rounds = 3, 6, 25
	url := pgtest.URL(t)
	stores := []*Store{openStore(t, url, true), openStore(t, url, false)}
	for c := range convs {
		create(t, stores[0], fmt.Sprint("c", c), "alice", "bob")
	}
	var acks sync.Map // of [2]string{conversation, sender + clientId} to the seq
	var stop atomic.Bool
	var changers, senders sync.WaitGroup
	for i, s := range stores {
		changers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				changeMember(t, s, fmt.Sprint("c", (n+i)%convs), n%2 == 0)
			}
		})
	}
	for w := range writers {
		senders.Go(func() {
			user := []string{"alice", "bob"}[w/2%2]
			for round := range rounds {
				batch := twoNodesBatch(w/2, round, convs, user)
				commitUntilAnswered(t, stores[w%2], batch, &acks)
			}
		})
	}
	senders.Wait()
	stop.Store(true)
	changers.Wait()

	for c := range convs {
		checkTwoNodes(t, stores[c%2], fmt.Sprint("c", c), &acks)
	}
}

// twoNodesBatch is the same for two writers, who so send everything twice.
func twoNodesBatch(pair, round, convs int, user string) (drafts []chat.Draft) {
	for i := range 8 {
		conv := fmt.Sprint("c", (round+i)%convs)
		id := fmt.Sprint(pair, "-", round, "-", i)
		b := chat.Body{Content: id, ClientID: id}
		switch i {
		case 5:
			b = chat.Body{Type: chat.TypeReaction, Target: uint64(4 + round), Emoji: "x", ClientID: id}
		case 6:
			b = chat.Body{Type: chat.TypeDelete, Target: uint64(4 + round), ClientID: id}
		case 7:
			b = chat.Body{Content: id, ReplyTo: uint64(4 + round), ClientID: id}
		}
		drafts = append(drafts, draft(conv, user, b))
	}
	return drafts
}

func changeMember(t *testing.T, s *Store, conv string, remove bool) {
	root := bridge.Actor{UserID: "root", Admin: true}
	var err error
	if remove {
		_, err = s.RemoveMember(t.Context(), testNow, root, conv, "bob", benchID())
	} else {
		_, _, err = s.PutMember(t.Context(), testNow, root, conv, "bob", chat.RoleMember, benchID(), bridge.Limits{})
	}
	if err != nil && !errors.Is(err, bridge.ErrAgain) && !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("change a member: %v", err)
	}
}

func commitUntilAnswered(t *testing.T, s *Store, drafts []chat.Draft, acks *sync.Map) {
	for len(drafts) > 0 {
		out := make([]bridge.Outcome, len(drafts))
		if err := s.Commit(t.Context(), testNow, drafts, out); errors.Is(err, bridge.ErrAgain) {
			continue
		} else if err != nil {
			t.Error(err)
			return
		}
		var again []chat.Draft
		for i, o := range out {
			d := &drafts[i]
			switch {
			case errors.Is(o.Err, bridge.ErrAgain):
				again = append(again, *d)
			case o.Err == nil:
				if seq, known := acks.LoadOrStore([2]string{string(d.Stream), d.SenderID + " " + d.ClientID}, o.Seq); known && seq != o.Seq {
					t.Errorf("%s in %s has seq %d and %d", d.ClientID, d.Stream, seq, o.Seq)
				}
			case !errors.Is(o.Err, chat.ErrForbidden) && !errors.Is(o.Err, chat.ErrNotFound):
				t.Errorf("%v", o.Err)
			}
		}
		drafts = again
	}
}

func checkTwoNodes(t *testing.T, s *Store, conv string, acks *sync.Map) {
	member := map[string]bool{}
	seen := map[string]uint64{}
	deleted := map[uint64]bool{}
	for _, e := range readAll(t, s, conv) {
		switch e.Type {
		case chat.TypeJoin:
			member[e.UserID] = true
			continue
		case chat.TypeLeave:
			member[e.UserID] = false
			continue
		}
		if !member[e.SenderID] {
			t.Errorf("%s: entry %d is by %s, who is no member there", conv, e.Seq, e.SenderID)
		}
		key := e.SenderID + " " + e.ClientID
		if seq, twice := seen[key]; twice {
			t.Errorf("%s: %s stands at %d and %d", conv, key, seq, e.Seq)
		}
		seen[key] = e.Seq
		if seq, acked := acks.Load([2]string{"c/" + conv, key}); !acked || seq != e.Seq {
			t.Errorf("%s: %s stands at %d, acknowledged was %v", conv, key, e.Seq, seq)
		}
		if e.Target != 0 && deleted[e.Target] {
			t.Errorf("%s: entry %d is about %d, which was deleted before", conv, e.Seq, e.Target)
		}
		if e.Type == chat.TypeDelete {
			deleted[e.Target] = true
		}
		if e.Deleted && (e.Content != "" || e.ReplyTo != 0) {
			t.Errorf("%s: entry %d is deleted and says %q", conv, e.Seq, e.Content)
		}
	}
	acks.Range(func(key, seq any) bool {
		if k := key.([2]string); k[0] == "c/"+conv && seen[k[1]] != seq {
			t.Errorf("%s: %s was acknowledged at %d and stands at %d", conv, k[1], seq, seen[k[1]])
		}
		return true
	})
}
