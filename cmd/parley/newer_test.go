package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// A build that is older than the schema does not start, does not migrate and
// says in one line why: also where it was told to migrate.
func TestOlderBuild(t *testing.T) {
	dir, url := t.TempDir(), pgtest.URL(t)
	for _, args := range [][]string{{"migrate", "--data-dir", dir}, {"migrate", "--database-url", url}} {
		if code, _, stderr := parley(t, nil, args...); code != exitOK {
			t.Fatal(stderr)
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "parley.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `INSERT INTO parley_schema (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	serve := append([]string{"serve"}, anyPort...)
	for _, args := range [][]string{
		append(serve[:len(serve):len(serve)], "--data-dir", dir),
		append(serve[:len(serve):len(serve)], "--database-url", url, "--data-dir", dir),
		append(serve[:len(serve):len(serve)], "--database-url", url, "--data-dir", dir, "--migrate"),
		{"migrate", "--data-dir", dir},
		{"migrate", "--database-url", url},
	} {
		code, stdout, stderr := parley(t, nil, args...)
		var errs []string
		for _, line := range lines(stderr) {
			if strings.HasPrefix(line, "parley: ") {
				errs = append(errs, line)
			}
		}
		if code != exitError || stdout != "" || len(errs) != 1 || !strings.Contains(errs[0], "the schema has version 9999, this build knows") ||
			!strings.HasSuffix(errs[0], ": use a newer build") || strings.Contains(errs[0], "parley migrate") {
			t.Errorf("%v: code %d, stdout %q, stderr %s", args, code, stdout, stderr)
		}
	}
	_, text := diagnose(t, nil, append([]string{"--data-dir", dir}, anyPort[:4]...)...)
	wantAll(t, text, "fail database: "+filepath.Join(dir, "parley.db")+": the schema has version 9999, this build knows")
}
