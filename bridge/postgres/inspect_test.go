package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func inspect(t *testing.T, url string) *Facts {
	t.Helper()
	f, err := Inspect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// do runs statements as the owner of the database.
func do(t *testing.T, url string, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleaning up too
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	f := inspect(t, url)
	if f.Schema != 0 || f.Needed != schemaVersion || !f.MayCreate || f.Standby || f.Version < OldestVersion || f.Pool != defaultConns {
		t.Errorf("an empty database: %+v", f)
	}
	if f.Fsync != "on" || f.SynchronousCommit != "on" || f.Encoding != "UTF8" || f.MaxConnections < 10 {
		t.Errorf("settings: %+v", f)
	}
	if f.Commit <= 0 || f.Skew.Abs().Seconds() > 1 {
		t.Errorf("commit %v, skew %v", f.Commit, f.Skew)
	}
	s, err := Open(t.Context(), url, Options{})
	if err == nil {
		defer s.Close()
		err = s.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if f := inspect(t, url); f.Schema != schemaVersion || len(f.NotMine) != 0 || !f.OwnsTheIndex {
		t.Errorf("migrated: %+v", f)
	}
	do(t, url, fmt.Sprintf(`INSERT INTO parley_schema (version_id, is_applied) VALUES (%d, true)`, schemaVersion+1))
	if f := inspect(t, url); f.Schema != schemaVersion+1 {
		t.Errorf("newer: %+v", f)
	}
}

// A role that may not use the tables is told which they are.
func TestInspectRights(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, err := Open(t.Context(), url, Options{})
	if err == nil {
		defer s.Close()
		err = s.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	role := "inspected_" + strings.ToLower(strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, url)) // roles belong to the whole server
	do(t, url, `CREATE ROLE `+role+` LOGIN`, `ALTER ROLE `+role+` SET synchronous_commit = off`)
	t.Cleanup(func() { do(t, url, `DROP OWNED BY `+role, `DROP ROLE `+role) })
	as := strings.Replace(url, "postgres://postgres@", "postgres://"+role+"@", 1)

	f := inspect(t, as)
	if !slices.Contains(f.NotMine, versionTable) || !slices.Contains(f.NotMine, "entries") || f.OwnsTheIndex || f.MayCreate {
		t.Errorf("without rights: %+v", f)
	}
	if f.SynchronousCommit != "off" {
		t.Errorf("synchronous_commit is %q", f.SynchronousCommit)
	}
	do(t, url, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO `+role, `REVOKE DELETE ON entries FROM `+role)
	if f := inspect(t, as); !slices.Equal(f.NotMine, []string{"entries"}) || f.Schema != schemaVersion {
		t.Errorf("with most rights: %+v", f)
	}
}
