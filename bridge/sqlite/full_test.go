package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// pragma sets a pragma on the writing connection, which stays the same one.
func (s *Store) pragma(t *testing.T, set string) (value int) {
	t.Helper()
	c, err := s.writer.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.writer.put(c)
	if err := c.row("PRAGMA " + set).Scan(&value); err != nil {
		t.Fatalf("PRAGMA %s: %v", set, err)
	}
	return value
}

func newConversation(t *testing.T, s *Store, id string) {
	t.Helper()
	_, _, _, err := s.CreateConversation(t.Context(), time.Now(), bridge.NewConversation{ID: id, OwnerID: "alice", JoinIDs: make([]chat.ID, 1)})
	if err != nil {
		t.Fatal(err)
	}
}

func newDraft(conv, clientID, text string) chat.Draft {
	return chat.Draft{Stream: chat.ConversationStream(conv), SenderID: "alice",
		Body: chat.Body{Type: chat.TypeMessage, Content: text, ClientID: clientID}}
}

// commit sends one draft and answers its outcome, or the error of either.
func commit(s *Store, d chat.Draft) (bridge.Outcome, error) {
	out := make([]bridge.Outcome, 1)
	err := s.Commit(context.Background(), time.Now(), []chat.Draft{d}, out)
	return out[0], errors.Join(err, out[0].Err)
}

func history(t *testing.T, s *Store, conv string) []chat.Entry {
	t.Helper()
	got, err := s.Read(t.Context(), []bridge.Range{{Stream: chat.ConversationStream(conv), Limit: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got[0] {
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d has seq %d", i, e.Seq)
		}
	}
	return got[0]
}

// A full disk refuses a commit as unavailable and loses nothing. When there
// is room again, the same drafts commit, each once.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openStore(t, path, true)
	newConversation(t, s, "c")
	text := strings.Repeat("x", 1000)
	next, stood := 0, 0
	for range 3 {
		s.pragma(t, fmt.Sprintf("max_page_count(%d)", s.pragma(t, "page_count")+10))
		for {
			d := newDraft("c", fmt.Sprint(next), text)
			o, err := commit(s, d)
			if err != nil {
				if !errors.Is(err, bridge.ErrUnavailable) || !strings.Contains(err.Error(), "full") {
					t.Fatalf("the answer of a full disk: %v", err)
				}
				break
			}
			if next++; o.Repeat || o.Seq != uint64(next+1) {
				t.Fatalf("draft %d: %+v", next, o)
			}
		}
		if next == stood {
			t.Fatal("nothing was committed before the disk was full")
		}
		stood = next
		if n := len(history(t, s, "c")); n != next+1 {
			t.Fatalf("%d entries stand, want %d", n, next+1)
		}
		// Nor can anything else write, and everything reads.
		_, _, _, err := s.CreateConversation(t.Context(), time.Now(), bridge.NewConversation{ID: text, OwnerID: text, Name: text,
			Members: []string{text + "1", text + "2"}, JoinIDs: make([]chat.ID, 3)})
		if !errors.Is(err, bridge.ErrUnavailable) {
			t.Errorf("create on a full disk: %v", err)
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("ready: %v", err)
		}
		s.pragma(t, "max_page_count(1000000)")
		o, err := commit(s, newDraft("c", fmt.Sprint(next), text))
		if next++; err != nil || o.Repeat || o.Seq != uint64(next+1) {
			t.Fatalf("after there was room: %+v, %v", o, err)
		}
		if o, err := commit(s, newDraft("c", fmt.Sprint(next-2), text)); err != nil || !o.Repeat || o.Seq != uint64(next) {
			t.Fatalf("the last one before, sent again: %+v, %v", o, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(history(t, openStore(t, path, false), "c")); n != next+1 {
		t.Errorf("%d entries stand after a restart, want %d", n, next+1)
	}
}

// A full disk in the middle of a batch takes the whole batch back.
func TestFullDiskInBatch(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	newConversation(t, s, "c")
	drafts := make([]chat.Draft, 200)
	for i := range drafts {
		drafts[i] = newDraft("c", fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	s.pragma(t, fmt.Sprintf("max_page_count(%d)", s.pragma(t, "page_count")+20))
	out := make([]bridge.Outcome, len(drafts))
	if err := s.Commit(t.Context(), time.Now(), drafts, out); !errors.Is(err, bridge.ErrUnavailable) {
		t.Fatalf("commit: %v", err)
	}
	if n := len(history(t, s, "c")); n != 1 {
		t.Fatalf("%d entries stand, want 1", n)
	}
	s.pragma(t, "max_page_count(1000000)")
	if err := s.Commit(t.Context(), time.Now(), drafts, out); err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		if o.Err != nil || o.Repeat || o.Seq != uint64(i+2) {
			t.Fatalf("draft %d: %+v", i, o)
		}
	}
}

// A full disk in the middle of a Keep takes all of it back.
func TestFullDiskInKeep(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	key := bridge.SessionKey{UserID: "u", ClientID: "phone"}
	if err := s.SaveSession(t.Context(), bridge.Session{Key: key}); err != nil {
		t.Fatal(err)
	}
	var c bridge.Changes
	for n := range uint64(100) {
		m := &bridge.Message{Topic: fmt.Sprint(n), Payload: []byte(strings.Repeat("x", 2000))}
		m.ID[0] = byte(n)
		c.Messages, c.Retained = append(c.Messages, m), append(c.Retained, m)
		c.Deliveries = append(c.Deliveries, bridge.Delivery{Key: key, N: n + 1, Message: m})
	}
	rows := func() (queued int, retained int64) {
		t.Helper()
		got, err := s.Queued(t.Context(), []bridge.QueueRange{{Key: key, Limit: 1000}})
		if err != nil {
			t.Fatal(err)
		}
		if retained, _, err = s.CountRetained(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(got[0]), retained
	}
	s.pragma(t, fmt.Sprintf("max_page_count(%d)", s.pragma(t, "page_count")+90)) // room for the messages
	if err := s.Keep(t.Context(), &c); !errors.Is(err, bridge.ErrUnavailable) {
		t.Fatalf("keep: %v", err)
	}
	if queued, retained := rows(); queued != 0 || retained != 0 {
		t.Fatalf("%d deliveries and %d retained messages stand", queued, retained)
	}
	s.pragma(t, "max_page_count(1000000)")
	if err := s.Keep(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	if queued, retained := rows(); queued != 100 || retained != 100 {
		t.Fatalf("%d deliveries and %d retained messages stand", queued, retained)
	}
}
