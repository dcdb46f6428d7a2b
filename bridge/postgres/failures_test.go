package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// TestServerStops: the server dies in the middle of commits and reads, twice,
// and comes back. The same store goes on by itself. While the server is away,
// all that is answered is that the database is unavailable. What was
// acknowledged stands, once.
func TestServerStops(t *testing.T) {
	t.Parallel()
	const writers, convs = 4, 3
	cluster := pgtest.Start(t)
	s := openStore(t, cluster.URL(t), true)
	for c := range convs {
		create(t, s, fmt.Sprint("c", c), "alice")
	}
	var acked sync.Map // of clientId to seq
	var commits, failures atomic.Int64
	var stop atomic.Bool
	var load sync.WaitGroup
	for w := range writers {
		load.Go(func() {
			for n := 0; !stop.Load(); n++ {
				id := fmt.Sprint(w, "-", n)
				d := draft(fmt.Sprint("c", n%convs), "alice", chat.Body{Content: id, ClientID: id})
				o := commitOrFail(t, s, d, &failures, &stop)
				if o.Err == nil && o.Seq > 0 {
					acked.Store(id, o.Seq)
					commits.Add(1)
				}
			}
		})
	}
	load.Go(func() {
		for !stop.Load() {
			_, err := s.Read(t.Context(), []bridge.Range{{Stream: "c/c0", Limit: 10}})
			if err != nil && !errors.Is(err, bridge.ErrUnavailable) {
				t.Errorf("read: %v", err)
			}
		}
	})
	for range 2 {
		waitUntil(t, "commits before the stop", grows(&commits, 50))
		cluster.StopImmediate()
		waitUntil(t, "failures while the server is away", grows(&failures, 20))
		if err := s.Ready(t.Context()); !errors.Is(err, bridge.ErrUnavailable) {
			t.Errorf("ready without a server: %v", err)
		}
		cluster.Start()
	}
	waitUntil(t, "commits after the last start", grows(&commits, 50))
	stop.Store(true)
	load.Wait()
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	checkAcked(t, s, convs, &acked)
}

// commitOrFail commits until there is an answer or an end, and counts the
// failures.
func commitOrFail(t *testing.T, s *Store, d chat.Draft, failures *atomic.Int64, stop *atomic.Bool) bridge.Outcome {
	for tries := 0; tries == 0 || !stop.Load(); tries++ {
		out := make([]bridge.Outcome, 1)
		err := s.Commit(t.Context(), testNow, []chat.Draft{d}, out)
		switch {
		case err == nil:
			if out[0].Err != nil || out[0].Repeat && tries == 0 {
				t.Errorf("try %d: %+v", tries, out[0])
			}
			return out[0]
		case !errors.Is(err, bridge.ErrUnavailable):
			t.Errorf("commit: %v", err)
		}
		failures.Add(1)
	}
	return bridge.Outcome{}
}

func checkAcked(t *testing.T, s *Store, convs int, acked *sync.Map) {
	t.Helper()
	stands := map[string]uint64{}
	for c := range convs {
		for _, e := range readAll(t, s, fmt.Sprint("c", c)) {
			if e.Type != chat.TypeMessage {
				continue
			}
			if _, twice := stands[e.ClientID]; twice || e.ClientID != e.Content {
				t.Errorf("entry %d: %q says %q, stands twice: %v", e.Seq, e.ClientID, e.Content, twice)
			}
			stands[e.ClientID] = e.Seq
		}
	}
	acked.Range(func(id, seq any) bool {
		if stands[id.(string)] != seq {
			t.Errorf("%s was acknowledged at %d and stands at %d", id, seq, stands[id.(string)])
		}
		return true
	})
}

// grows tells when a counter has grown by that much.
func grows(n *atomic.Int64, by int64) func() bool {
	from := n.Load()
	return func() bool { return n.Load() >= from+by }
}

// TestIdleConnectionsDie: connections that were closed while they lay in the
// pool are noticed before a commit is sent on one of them. The pool asks those
// that have lain for a second; here it asks all.
func TestIdleConnectionsDie(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	openStore(t, url, true)
	cfg, err := configure(url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	s, err := open(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	create(t, s, "c", "alice")
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	for range 5 {
		send(t, s, "c", "alice", chat.Body{Content: "x"})
		if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCodes: what each failure of the database means to the caller.
func TestCodes(t *testing.T) {
	t.Parallel()
	pg := func(code string) error {
		return fmt.Errorf("x: %w", &pgconn.PgError{Severity: "ERROR", Code: code, Message: "why"})
	}
	for _, tt := range []struct {
		err  error
		want error
	}{
		{pg("40001"), bridge.ErrAgain}, {pg("40P01"), bridge.ErrAgain}, {pg("23505"), bridge.ErrAgain},
		{pg("23503"), bridge.ErrAgain}, {pg("55P03"), bridge.ErrAgain}, {pg("0A000"), bridge.ErrAgain},
		{pg("26000"), bridge.ErrAgain}, {errAgain, bridge.ErrAgain},
		{pg("57P01"), bridge.ErrUnavailable}, {pg("57P02"), bridge.ErrUnavailable}, {pg("57P03"), bridge.ErrUnavailable},
		{pg("57014"), bridge.ErrUnavailable}, {pg("53100"), bridge.ErrUnavailable}, {pg("53200"), bridge.ErrUnavailable},
		{pg("53300"), bridge.ErrUnavailable}, {pg("08006"), bridge.ErrUnavailable}, {pg("25006"), bridge.ErrUnavailable},
		{pg("25P03"), bridge.ErrUnavailable}, {pg("58030"), bridge.ErrUnavailable}, {pg("40003"), bridge.ErrUnavailable},
		{context.Canceled, bridge.ErrUnavailable}, {fmt.Errorf("x: %w", context.DeadlineExceeded), bridge.ErrUnavailable},
		{io.ErrUnexpectedEOF, bridge.ErrUnavailable}, {io.EOF, bridge.ErrUnavailable}, {net.ErrClosed, bridge.ErrUnavailable},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, bridge.ErrUnavailable}, {syscall.EPIPE, bridge.ErrUnavailable},
		{pg("42601"), nil}, {pg("42P01"), nil}, {pg("22021"), nil}, {pg("23502"), nil}, {pg(""), nil}, {errors.New("x"), nil},
	} {
		err := failure("op", tt.err)
		for _, kind := range []error{bridge.ErrAgain, bridge.ErrUnavailable} {
			if errors.Is(err, kind) != errors.Is(tt.want, kind) {
				t.Errorf("%v: is %v: %v", tt.err, kind, errors.Is(err, kind))
			}
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%v: the cause is lost", tt.err)
		}
	}
	if failure("op", nil) != nil {
		t.Error("nil is an error")
	}
	if err := bridge.NotMember(); !errors.Is(failure("op", fmt.Errorf("x: %w", err)), err) {
		t.Error("an answer became a failure")
	}
}

// TestReadOnly: a database that cannot write is unavailable to those who
// write, and is read.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s := openStore(t, url, true)
	create(t, s, "c", "alice")
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	if _, err := admin.Exec(t.Context(), "ALTER DATABASE "+admin.Config().Database+" SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, url, false)
	err = s.Commit(t.Context(), testNow, []chat.Draft{draft("c", "alice", chat.Body{Content: "x"})}, make([]bridge.Outcome, 1))
	if !errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	_, err = s.RenameConversation(t.Context(), testNow, bridge.Actor{Admin: true}, "c", "x", benchID())
	if !errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("rename: %v", err)
	}
	if n := len(readAll(t, s, "c")); n != 2 {
		t.Errorf("%d entries", n)
	}
}
