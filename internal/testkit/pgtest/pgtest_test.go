package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"
)

// childEnv turns the test program into a process that starts a server and
// waits to be killed.
const childEnv = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
	}
	goleak.VerifyTestMain(Runner{M: m})
}

func child() {
	c, err := newCluster()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.port, c.dir)
	select {}
}

func TestURLGivesEachTestAnEmptyDatabase(t *testing.T) {
	var wg sync.WaitGroup
	var urls [4]string
	for i := range urls {
		wg.Go(func() { urls[i] = URL(t) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, url := range urls {
		if seen[url] {
			t.Fatalf("%s was given twice", url)
		}
		seen[url] = true
		query[int](t, url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", 0)
		exec1(t, url, "CREATE TABLE t (n int)")
	}
}

func TestURLDropsTheDatabase(t *testing.T) {
	var url string
	t.Run("Ünusual/näme with a good deal more than sixty-three bytes, all told", func(t *testing.T) {
		url = URL(t)
		// A connection left open must not keep the database.
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		exec1(t, url, "CREATE TABLE t (n int)")
	})
	_, err := pgx.Connect(t.Context(), url)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "3D000" {
		t.Errorf("connecting to a dropped database: %v", err)
	}
}

func TestSettings(t *testing.T) {
	url := URL(t)
	for setting, want := range map[string]string{
		"fsync":              "on",
		"synchronous_commit": "on",
		"full_page_writes":   "on",
		"max_connections":    "200",
		"listen_addresses":   "127.0.0.1",
		"server_encoding":    "UTF8",
		"lc_collate":         "C",
		"timezone":           "UTC",
	} {
		if setting == "lc_collate" {
			query(t, url, "SELECT datcollate FROM pg_database WHERE datname = current_database()", want)
			continue
		}
		query(t, url, "SHOW "+setting, want)
	}
}

func TestStopAndStartAgain(t *testing.T) {
	c := Start(t)
	url := c.URL(t)
	exec1(t, url, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
	c.StopImmediate()
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("a stopped server answers")
	}
	c.Start()
	query(t, url, "SELECT n FROM t", 7)
	if text := c.logSince(0); !strings.Contains(text, "database system was not properly shut down") {
		t.Errorf("the second start was no recovery:\n%s", text)
	}
	// Twice, as the test's end does it once more.
	c.Close()
	c.Close()
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestCloseWhileStopped(t *testing.T) {
	c := Start(t)
	c.StopImmediate()
	c.Close()
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestURLNeedsMain(t *testing.T) {
	var s sharedCluster
	if _, err := s.get(); !errors.Is(err, errNoMain) {
		t.Errorf("get without Main: %v", err)
	}
}

func TestRunnerStopsTheSharedServer(t *testing.T) {
	// The package's own server must live on.
	saved := sharedCluster{allowed: shared.allowed, started: shared.started, cluster: shared.cluster, err: shared.err}
	t.Cleanup(func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		shared.allowed, shared.started, shared.cluster, shared.err = saved.allowed, saved.started, saved.cluster, saved.err
	})
	shared.mu.Lock()
	shared.allowed, shared.started, shared.cluster = false, false, nil
	shared.mu.Unlock()

	var dir string
	func() {
		defer func() { _ = recover() }()
		Runner{M: runFunc(func() int {
			c, err := shared.get()
			if err != nil {
				t.Error(err)
				return 1
			}
			dir = c.dir
			panic("a test broke the process")
		})}.Run()
	}()
	if _, err := os.Stat(dir); dir == "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder %q is still there: %v", dir, err)
	}
}

type runFunc func() int

func (f runFunc) Run() int { return f() }

func TestMissingProgramsNameMakeTest(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	saved := programGlobs
	t.Cleanup(func() { programGlobs = saved })
	programGlobs = []string{filepath.Join(t.TempDir(), "*/bin")}
	if _, err := newCluster(); err == nil || !strings.Contains(err.Error(), "make test") {
		t.Errorf("error %v does not name make test", err)
	}
}

func TestNewestProgramsWin(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	saved := programGlobs
	t.Cleanup(func() { programGlobs = saved })
	base := t.TempDir()
	programGlobs = []string{filepath.Join(base, "*/bin")}
	for _, version := range []string{"9", "15", "17"} {
		dir := filepath.Join(base, version, "bin")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"postgres", "initdb"} {
			if version == "17" && name == "initdb" {
				continue // a folder without all programs does not count
			}
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := findPrograms()
	if want := filepath.Join(base, "15", "bin"); err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

func exec1(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func query[T comparable](t *testing.T, url, sql string, want T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var got T
	if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: got %v, want %v", sql, got, want)
	}
}
