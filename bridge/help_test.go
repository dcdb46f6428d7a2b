package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	room  = chat.StreamID("c/room")
	hall  = chat.StreamID("c/hall")
	alice = "alice"
	bob   = "bob"
)

// newLog starts a log over the store, with the conversations room and hall of
// alice and bob: their join entries are seq 1 and 2.
func newLog(tb testing.TB, store *fakeStore, cfg Config) *Log {
	tb.Helper()
	for _, id := range []string{"room", "hall"} {
		store.create(id, alice, bob)
	}
	cfg.Store = store
	l := New(cfg)
	tb.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return l
}

// create makes a conversation beside the log, as another process would.
func (f *fakeStore) create(id, owner string, members ...string) {
	c := NewConversation{ID: id, OwnerID: owner, Members: members, JoinIDs: make([]chat.ID, 1+len(members))}
	if _, _, _, err := f.CreateConversation(context.Background(), time.Now(), c); err != nil {
		f.tb.Fatal(err)
	}
}

// put commits a draft beside the log, as another process would.
func (f *fakeStore) put(d chat.Draft) Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.ID = newID()
	if d.ClientID == "" {
		d.ClientID = ServerClientID(d.ID)
	}
	return f.commitOne(time.Now(), &d)
}

// said lists what the messages of a stream say, in order of seq.
func (f *fakeStore) said(stream chat.StreamID) (said []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.streams[stream].entries {
		if e.Type == chat.TypeMessage {
			said = append(said, e.Content)
		}
	}
	return said
}

// head is the newest seq of a stream.
func (f *fakeStore) head(stream chat.StreamID) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.streams[stream].entries))
}

// calls says how many drafts each call of Commit had.
func (f *fakeStore) calls() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.commits...)
}

func message(stream chat.StreamID, sender, clientID, content string) chat.Draft {
	return chat.Draft{Stream: stream, SenderID: sender,
		Body: chat.Body{Type: chat.TypeMessage, Content: content, ClientID: clientID}}
}

// change is an edit or a delete.
func change(stream chat.StreamID, sender string, t chat.Type, target uint64) chat.Draft {
	return chat.Draft{Stream: stream, SenderID: sender, Body: chat.Body{Type: t, Target: target, Content: "changed"}}
}

// recorder submits drafts and notes what they were told.
type recorder struct {
	tb    testing.TB
	log   *Log
	mu    sync.Mutex
	sent  int
	order []string
	told  map[string]Outcome
}

func newRecorder(tb testing.TB, l *Log) *recorder {
	return &recorder{tb: tb, log: l, told: map[string]Outcome{}}
}

// submit sends a draft that no other of the recorder is called like.
func (r *recorder) submit(name string, d chat.Draft) {
	s := &recorded{rec: r, name: name}
	s.Draft, s.Done = d, s
	r.mu.Lock()
	r.sent++
	r.mu.Unlock()
	r.log.Submit(&s.Submission)
}

type recorded struct {
	Submission
	rec  *recorder
	name string
}

// Committed gives the submission away at once, as a pool does: nothing of it
// may be touched after this.
func (s *recorded) Committed(got *Submission) {
	rec, name, out := s.rec, s.name, s.Outcome
	if got != &s.Submission {
		rec.tb.Errorf("%s: told of another submission", name)
	}
	*s = recorded{Submission: Submission{Draft: message("c/reused", "nobody", "reused", "reused")}}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if first, twice := rec.told[name]; twice {
		rec.tb.Errorf("%s: told twice: %+v and %+v", name, first, out)
	}
	rec.told[name] = out
	rec.order = append(rec.order, name)
}

// all answers the outcomes, and wants one for each draft.
func (r *recorder) all() map[string]Outcome {
	r.tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) != r.sent {
		r.tb.Errorf("%d of %d drafts have an outcome", len(r.told), r.sent)
	}
	return maps.Clone(r.told)
}

// count says how many have an outcome.
func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.told)
}

// committed wants that all drafts stand, and that the log holds each where
// its outcome says.
func (r *recorder) committed(store *fakeStore, stream chat.StreamID) map[string]Outcome {
	r.tb.Helper()
	told := r.all()
	for name, out := range told {
		if out.Err != nil {
			r.tb.Errorf("%s: %v", name, out.Err)
			continue
		}
		store.stands(r.tb, stream, name, out)
	}
	return told
}

// stands wants the entry of an outcome in the log.
func (f *fakeStore) stands(tb testing.TB, stream chat.StreamID, name string, out Outcome) {
	tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := f.streams[stream].entries
	if out.Seq == 0 || out.Seq > uint64(len(entries)) || entries[out.Seq-1].ID != out.ID {
		tb.Errorf("%s: the log has no entry %s at %d", name, out.ID, out.Seq)
	}
}

// once wants that every message of a stream that is not deleted says
// something else.
func (f *fakeStore) once(tb testing.TB, stream chat.StreamID) {
	tb.Helper()
	seen := map[string]bool{}
	for _, what := range f.said(stream) {
		if seen[what] && what != "" {
			tb.Errorf("%q stands twice", what)
		}
		seen[what] = true
	}
}

func wantCode(tb testing.TB, err error, code chat.Code) {
	tb.Helper()
	if e, ok := chat.AsError(err); err == nil || !ok || e.Code != code {
		tb.Errorf("got %v, want an error with code %s", err, code)
	}
}

// gate blocks the calls that pass it while it is shut.
type gate struct{ ch chan struct{} }

func newGate() gate  { return gate{make(chan struct{})} }
func (g gate) pass() { <-g.ch }
func (g gate) open() { close(g.ch) }

var errBroken = errors.New("broken")

func unavailable() error { return fmt.Errorf("no connection: %w", ErrUnavailable) }

// hang waits until the caller gives up.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
}
