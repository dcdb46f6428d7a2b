package postgres

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// TestMigrateAtOnce: nodes that start together on a new database migrate it
// once, and all of them succeed.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	var nodes sync.WaitGroup
	for range 3 {
		s := openStore(t, url, false)
		nodes.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
}

func TestReadyWithoutSchema(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), false)
	err := s.Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "must be migrated") || errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// TestNewerSchema: a build that finds a schema it does not know leaves it
// alone and is not ready.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	files := fstest.MapFS{"migrations/00099_later.sql": {Data: []byte("-- +goose Up\nCREATE TABLE later (n int);\n")}}
	known, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(known) == 0 {
		t.Fatal(known, err)
	}
	for _, name := range known {
		text, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	if err := s.migrate(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"migrate": s.Migrate(t.Context()), "ready": s.Ready(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFailedMigration: a migration that fails leaves nothing of itself, and
// the next try can succeed.
func TestFailedMigration(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), false)
	broken := fstest.MapFS{"migrations/00001_log.sql": {Data: []byte("-- +goose Up\nCREATE TABLE streams (n int);\nSELECT 1/0;\n")}}
	if err := s.migrate(t.Context(), broken); err == nil {
		t.Fatal("no error")
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready after a failed migration")
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
