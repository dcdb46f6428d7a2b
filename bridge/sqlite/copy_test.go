package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A copy made while others write has all that was acknowledged before, is
// whole, and the sequence goes on from it.
func TestCopyUnderLoad(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "parley.db"), filepath.Join(dir, "copies", "one.db")
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path, true)
	newConversation(t, s, "c")

	var acknowledged atomic.Int64
	var writers sync.WaitGroup
	stop, enough := make(chan struct{}), make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := commit(s, newDraft("c", fmt.Sprintf("w%d-%d", w, i), strings.Repeat("x", 500))); err != nil {
					t.Error(err)
					return
				}
				if acknowledged.Add(1) == 300 {
					close(enough)
				}
			}
		})
	}
	<-enough
	before := acknowledged.Load()
	b, err := Copy(t.Context(), path, to)
	close(stop)
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if b.Entries < before+1 || b.Entries > acknowledged.Load()+1 || b.Schema != schemaVersion { // the join entry is one more
		t.Errorf("%+v, with %d acknowledged before and %d in all", b, before, acknowledged.Load())
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != b.Bytes {
		t.Errorf("%v, %v, want %d bytes of mode 600", info, err, b.Bytes)
	}
	if left, err := os.ReadDir(filepath.Dir(to)); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}

	restored := openStore(t, to, false)
	if err := restored.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if restored.Line() == s.Line() {
		t.Errorf("both are on the line of history %s", s.Line())
	}
	head := uint64(b.Entries)
	out, err := commit(restored, newDraft("c", "after", "after"))
	if err != nil || out.Seq != head+1 {
		t.Errorf("the next seq is %d, %v, want %d", out.Seq, err, head+1)
	}
	for i, e := range history(t, restored, "c") {
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d has seq %d", i, e.Seq)
		}
	}
}

// A copy never takes the place of a file, and one that fails leaves nothing.
func TestCopyRefuses(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "parley.db"), filepath.Join(dir, "copy.db")
	if _, err := Copy(t.Context(), path, to); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("without a database: %v", err)
	}
	s := openStore(t, path, true)
	if err := os.WriteFile(to, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), path, to); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("over a file: %v", err)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "mine" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Copy(ctx, path, to+"2"); err == nil {
		t.Error("with a context that has ended: no error")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	junk := filepath.Join(dir, "junk.db")
	if err := os.WriteFile(junk, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), junk, to+"3"); err == nil {
		t.Error("of no database: no error")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*.part"))
	for _, name := range []string{to + "2", to + "3"} {
		if _, err := os.Stat(name); err == nil {
			left = append(left, name)
		}
	}
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// files are the names in a folder, with what a change of them would change.
func files(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, e.Name(), info.Size(), info.Mode(), info.ModTime().Format(time.RFC3339Nano))
	}
	return b.String()
}

// Inspect tells what there is, changes nothing, and works beside a server.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "parley.db")
	look := func(when string) *Facts {
		t.Helper()
		before := files(t, dir)
		f, err := Inspect(t.Context(), path)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if after := files(t, dir); after != before {
			t.Errorf("%s: it changed\n%s into\n%s", when, before, after)
		}
		return f
	}
	if f := look("nothing"); f.Exists || f.Schema != 0 || f.Needed != schemaVersion {
		t.Errorf("nothing: %+v", f)
	}
	s := openStore(t, path, false)
	if f := look("no schema"); !f.Exists || f.Schema != 0 || f.Damage != "" {
		t.Errorf("no schema: %+v", f)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	newConversation(t, s, "c")
	if f := look("open"); f.InUse != fmt.Sprintf("process %d", os.Getpid()) || f.Schema != schemaVersion || f.Damage != "" || f.Bytes == 0 {
		t.Errorf("open: %+v", f)
	}
	if out, err := commit(s, newDraft("c", "x", "x")); err != nil || out.Seq == 0 {
		t.Errorf("the store does not work after it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if f := look("closed"); f.InUse != "" || f.Schema != schemaVersion || f.Damage != "" {
		t.Errorf("closed: %+v", f)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < 3*4096; i++ {
		text[i] = 0xA5
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := look("damaged"); f.Damage == "" {
		t.Errorf("damaged: %+v", f)
	}
}

// A database of a newer build is refused in a line that says so.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openStore(t, path, true)
	err := s.write(t.Context(), func(c *conn) error {
		_, err := c.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)`, schemaVersion+1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("the schema has version %d, this build knows %d: use a newer build", schemaVersion+1, schemaVersion)
	if err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("migrate: %v, want %q", err, want)
	}
	if f, err := Inspect(t.Context(), path); err != nil || f.Schema != schemaVersion+1 {
		t.Errorf("%+v, %v", f, err)
	}
}
