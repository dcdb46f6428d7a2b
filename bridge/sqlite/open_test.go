package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "some", "data")
	path := filepath.Join(dir, "parley.db")
	s := openStore(t, path, true)
	newConversation(t, s, "c")
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600,
		path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

// What stands keeps its mode: the operator may want a group to read it.
func TestFileModesKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "parley.db")
	if err := errors.Join(os.Mkdir(dir, 0o750), os.WriteFile(path, nil, 0o640)); err != nil {
		t.Fatal(err)
	}
	openStore(t, path, true)
	for name, want := range map[string]os.FileMode{dir: 0o750, path: 0o640} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", name, info.Mode(), err, want)
		}
	}
}

// A closed database is one file: no connection was left behind, and the log
// was moved into it.
func TestClosedIsOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openStore(t, path, true)
	newConversation(t, s, "c")
	history(t, s, "c")
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path + "-wal", path + "-shm"} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// What "acknowledged means committed" hangs on. No kill of a process can show
// that synchronous is wrong; only a power cut would.
func TestSettings(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	check := func(p *pool, want map[string]string) {
		c, err := p.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer p.put(c)
		for name, value := range want {
			var got string
			if err := c.row("PRAGMA " + name).Scan(&got); err != nil || got != value {
				t.Errorf("%s is %q, %v, want %q", name, got, err, value)
			}
		}
	}
	check(s.writer, map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "query_only": "0"})
	for range cap(s.readers.free) {
		check(s.readers, map[string]string{"journal_mode": "wal", "query_only": "1"})
	}
}

// Signs that mean something in a URI are letters like others in a path.
func TestOddPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c=d&e#f%20g%", "ü:'\"+.db")
	s := openStore(t, path, true)
	newConversation(t, s, "c")
	if info, err := os.Stat(path); err != nil || info.Size() == 0 && s.pragma(t, "page_count") == 0 {
		t.Errorf("the database is not at its path: %v, %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("the database is not at its path: %v, %v", info, err)
	}
	if n := len(history(t, openStore(t, path, false), "c")); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// A file has one store, also under another name; the first one goes on.
func TestSecondStore(t *testing.T) {
	dir := t.TempDir()
	path, alias := filepath.Join(dir, "parley.db"), filepath.Join(dir, "alias.db")
	s := openStore(t, path, true)
	newConversation(t, s, "c")
	if err := os.Symlink(path, alias); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, alias} {
		second, err := Open(t.Context(), name, Options{})
		if err == nil {
			_ = second.Close()
			t.Fatal("a second store opened the file")
		}
		for _, want := range []string{path, "in use by process"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the refusal is %q, want it to have %q", err, want)
			}
		}
	}
	if _, err := commit(s, newDraft("c", "1", "goes on")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(history(t, openStore(t, alias, false), "c")); n != 2 {
		t.Errorf("%d entries", n)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a-file")
	if err := os.WriteFile(file, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(file, "parley.db"), file} {
		s, err := Open(t.Context(), path, Options{})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), file) && !strings.Contains(err.Error(), dir) {
			t.Errorf("the error does not name the path: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, filepath.Join(dir, "parley.db"), Options{}); !errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("open with a context that has ended: %v", err)
	}
	// A failed Open holds no lock.
	openStore(t, filepath.Join(dir, "parley.db"), true)
}

// Ready wants the schema of this build; Migrate makes it, but not out of a
// newer one.
func TestSchemaVersion(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), false)
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready without a schema")
	}
	if _, err := commit(s, newDraft("c", "1", "x")); err == nil {
		t.Error("committed without a schema")
	}
	for range 2 {
		if err := errors.Join(s.Migrate(t.Context()), s.Ready(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	newConversation(t, s, "c")
	err := s.write(t.Context(), func(c *conn) error {
		_, err := c.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)`, schemaVersion+1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready with a newer schema")
	}
	if err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("migrate with a newer schema: %v", err)
	}
}

// Another program that holds SQLite's lock makes a write answer ErrAgain;
// reads go on.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openStore(t, path, true)
	newConversation(t, s, "c")
	s.pragma(t, "busy_timeout(1)")
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if _, err := commit(s, newDraft("c", "1", "x")); !errors.Is(err, bridge.ErrAgain) {
		t.Errorf("commit beside a writer: %v, want ErrAgain", err)
	}
	if n := len(history(t, s, "c")); n != 1 {
		t.Errorf("%d entries", n)
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if o, err := commit(s, newDraft("c", "1", "x")); err != nil || o.Seq != 2 {
		t.Errorf("commit after it: %+v, %v", o, err)
	}
}

func TestReadOnlyIsUnavailable(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	newConversation(t, s, "c")
	setQueryOnly := func(value string) {
		c, err := s.writer.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.writer.put(c)
		if _, err := c.exec("PRAGMA query_only(" + value + ")"); err != nil {
			t.Fatal(err)
		}
	}
	setQueryOnly("1")
	if _, err := commit(s, newDraft("c", "1", "x")); !errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("commit: %v, want ErrUnavailable", err)
	}
	setQueryOnly("0")
	if _, err := commit(s, newDraft("c", "1", "x")); err != nil {
		t.Error(err)
	}
}

// A statement that fails for another reason fails the batch, writes nothing,
// and keeps what people wrote out of its text.
func TestBrokenStatement(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	newConversation(t, s, "good")
	newConversation(t, s, "broken")
	setHead := func(head int) {
		err := s.write(t.Context(), func(c *conn) error {
			_, err := c.exec(`UPDATE streams SET head = ? WHERE key = 'c/broken'`, head)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	setHead(0) // the next seq is taken
	const secret = "SECRET"
	drafts := []chat.Draft{newDraft("good", "1", secret), newDraft("broken", secret, secret)}
	err := s.Commit(t.Context(), time.Now(), drafts, make([]bridge.Outcome, 2))
	if err == nil || errors.Is(err, bridge.ErrAgain) || errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	} else if strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "entries.seq") {
		t.Errorf("the text of the error: %q", err)
	}
	if n := len(history(t, s, "good")); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	setHead(1)
	for _, d := range drafts {
		if o, err := commit(s, d); err != nil || o.Seq != 2 {
			t.Errorf("after the repair: %+v, %v", o, err)
		}
	}
}

// A panic inside a transaction takes it back and leaves the store in order.
func TestPanicInTransaction(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	newConversation(t, s, "c")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.write(t.Context(), func(c *conn) error {
			if _, err := c.exec(`DELETE FROM entries`); err != nil {
				t.Error(err)
			}
			panic("on purpose")
		})
	}()
	if _, err := commit(s, newDraft("c", "1", "x")); err != nil {
		t.Error(err)
	}
	if n := len(history(t, s, "c")); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

// The wait for the writer ends with the context.
func TestWaitEndsWithContext(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	newConversation(t, s, "c")
	held, err := s.writer.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err = s.Commit(ctx, time.Now(), []chat.Draft{newDraft("c", "1", "x")}, make([]bridge.Outcome, 1))
	if !errors.Is(err, bridge.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("commit: %v", err)
	}
	s.writer.put(held)
	if o, err := commit(s, newDraft("c", "1", "x")); err != nil || o.Seq != 2 {
		t.Errorf("commit: %+v, %v", o, err)
	}
}

// Close waits for a write that runs, and does not cut it off.
func TestCloseWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openStore(t, path, true)
	closed := make(chan error)
	err := s.write(t.Context(), func(c *conn) error {
		go func() { closed <- s.Close() }()
		<-s.writer.closed // Close is under way
		_, err := c.exec(`INSERT INTO streams (key, head, last_at) VALUES ('c/x', 0, 0)`)
		return err
	})
	if err := errors.Join(err, <-closed); err != nil {
		t.Fatal(err)
	}
	heads, err := openStore(t, path, false).Heads(t.Context(), []chat.StreamID{"c/x", "c/y"})
	if err != nil || heads[0] != (bridge.Head{Head: 0, First: 1}) || heads[1] != (bridge.Head{}) {
		t.Errorf("heads: %+v, %v", heads, err)
	}
}
