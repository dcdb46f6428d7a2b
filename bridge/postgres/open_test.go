package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// TestOpenErrors: what keeps a store from opening is said in one line, and
// the password is never in it.
func TestOpenErrors(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-s3cr3t"
	_, server, _ := strings.Cut(pgtest.URL(t), "@")
	host, _, _ := strings.Cut(server, "/")
	refusing := refusingServer(t)
	for _, tt := range []struct {
		url, says   string
		unavailable bool
	}{
		{"", "must be like postgres://", false},
		{"host=localhost password=" + secret, "must be like postgres://", false},
		{"mysql://u:" + secret + "@localhost/db", "must be like postgres://", false},
		{"postgres://u:a/" + secret + "@localhost/db", "percent-encoded", false},
		{"postgres://u:a#" + secret + "@127.0.0.1:1/db", "127.0.0.1:1", true},
		{"postgres://u:" + secret + "@127.0.0.1:1,127.0.0.1:2/db?sslmode=disable", "127.0.0.1:2", true},
		{"postgres://u:%zz" + secret + "@localhost/db", "percent-encoded", false},
		{"postgres://u:" + secret + "@localhost:" + secret + "/db", "percent-encoded", false},
		{"postgres://u:" + secret + "@localhost/db?sslmode=nonsense", "sslmode", false},
		{"postgres://u:" + secret + "@localhost/db?pool_max_conns=" + secret, "must be like", false},
		{"postgres://u@localhost/db?connect_timeout=x&password=" + secret, "connect_timeout", false},
		{"postgres://u:" + secret + "@127.0.0.1:1/db?sslmode=disable", "127.0.0.1:1", true},
		{"postgres://u:" + secret + "@no-such-host.invalid/db?sslmode=disable", "no-such-host.invalid", true},
		{"postgres://postgres:" + secret + "@" + host + "/no_such_database?sslmode=disable", `database "no_such_database" does not exist`, true},
		{"postgres://nobody:" + secret + "@" + host + "/postgres?sslmode=disable", `role "nobody" does not exist`, true},
		{"postgres://u:" + secret + "@" + refusing + "/db?sslmode=disable", "password authentication failed", true},
		{"postgres://postgres:" + secret + "@" + host + "/postgres?sslmode=require", "TLS", true},
	} {
		s, err := Open(t.Context(), tt.url, Options{})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: no error", tt.url)
			continue
		}
		if text := err.Error(); strings.Contains(text, secret) || strings.Contains(text, "\n") || !strings.Contains(text, tt.says) {
			t.Errorf("%s: it says %q, want %q", tt.url, text, tt.says)
		}
		if errors.Is(err, bridge.ErrUnavailable) != tt.unavailable {
			t.Errorf("%s: %v: unavailable is not %v", tt.url, err, tt.unavailable)
		}
	}
	for _, n := range []int{-1, 1 << 20} {
		if _, err := Open(t.Context(), "postgres://u@"+host+"/db", Options{MaxConns: n}); err == nil {
			t.Errorf("%d connections: no error", n)
		}
	}
}

// refusingServer refuses every password.
func refusingServer(t *testing.T) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := pgproto3.NewBackend(conn, conn)
			_, _ = b.ReceiveStartupMessage()
			b.Send(&pgproto3.AuthenticationCleartextPassword{})
			_ = b.Flush()
			_ = b.SetAuthType(pgproto3.AuthTypeCleartextPassword)
			_, _ = b.Receive()
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: `password authentication failed for user "u"`})
			_ = b.Flush()
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestOpenWaitsNoLongerThanTold: a server that takes the connection and says
// nothing is not waited for beyond ctx.
func TestOpenWaitsNoLongerThanTold(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, "postgres://u:p@"+l.Addr().String()+"/db?sslmode=disable", Options{})
	if !errors.Is(err, bridge.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestSessionSettings: what the statements rely on holds on each connection,
// whatever the database says.
func TestSessionSettings(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	want := map[string]string{
		"transaction_isolation": "read committed", "synchronous_commit": "on", "plan_cache_mode": "force_generic_plan",
		"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off", "idle_in_transaction_session_timeout": "30s",
		"application_name": "parley",
	}
	check := func() {
		t.Helper()
		s := openStore(t, url, false)
		for name, value := range want {
			var got string
			if err := s.pool.QueryRow(t.Context(), `SELECT current_setting($1)`, name).Scan(&got); err != nil || got != value {
				t.Errorf("%s is %q, want %q: %v", name, got, value, err)
			}
		}
	}
	check()
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	for _, set := range []string{"default_transaction_isolation = 'serializable'", "synchronous_commit = off",
		"plan_cache_mode = force_custom_plan", "jit = on"} {
		if _, err := admin.Exec(t.Context(), "ALTER DATABASE "+admin.Config().Database+" SET "+set); err != nil {
			t.Fatal(err)
		}
	}
	check()
	// More than is needed is left alone.
	if _, err := admin.Exec(t.Context(), "ALTER DATABASE "+admin.Config().Database+" SET synchronous_commit = remote_apply"); err != nil {
		t.Fatal(err)
	}
	want["synchronous_commit"] = "remote_apply"
	check()
}

func TestMaxConns(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	for _, tt := range []struct {
		url  string
		opts Options
		want int32
	}{
		{url, Options{}, defaultConns},
		{url + "&pool_max_conns=7", Options{}, 7},
		{url + "&pool_max_conns=7", Options{MaxConns: 3}, 3},
	} {
		s, err := Open(t.Context(), tt.url, tt.opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.pool.Config().MaxConns; got != tt.want {
			t.Errorf("%s, %+v: %d connections, want %d", tt.url, tt.opts, got, tt.want)
		}
		_ = s.Close()
	}
}

// TestWrongDatabase: a database that cannot keep the log is refused, and one
// that may lose it is warned of.
func TestWrongDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	name := admin.Config().Database + "_ascii"
	if _, err := admin.Exec(t.Context(), fmt.Sprintf("CREATE DATABASE %s ENCODING 'SQL_ASCII' TEMPLATE template0", name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin, err := pgx.Connect(context.Background(), url)
		if err == nil {
			_, err = admin.Exec(context.Background(), "DROP DATABASE "+name)
			_ = admin.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	_, err = Open(t.Context(), strings.Replace(url, "/"+admin.Config().Database, "/"+name, 1), Options{})
	if err == nil || !strings.Contains(err.Error(), "SQL_ASCII") {
		t.Errorf("%v", err)
	}

	var log bytes.Buffer
	s, err := Open(t.Context(), url+"&application_name=mine", Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if log.Len() > 0 {
		t.Errorf("a warning without a reason: %s", log.String())
	}
}
