package doctor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge/postgres"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// migrated is a Postgres database with its schema.
func migrated(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	if err := parleytest.Open(t, "postgres", url).Close(); err != nil {
		t.Fatal(err)
	}
	return url
}

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

func TestPostgres(t *testing.T) {
	use := func(database func(t *testing.T) string) func(t *testing.T, c *Config) {
		return func(t *testing.T, c *Config) {
			c.DatabaseURL, c.UsesDataDir, c.UsesSecretFile, c.JWTSecret = database(t), false, false, goodSecret
		}
	}
	newer := func(t *testing.T) string {
		url := migrated(t)
		do(t, url, `INSERT INTO parley_schema (version_id, is_applied) VALUES (10000, true)`)
		return url
	}
	for _, tt := range []wrong{
		{"gone", use(func(t *testing.T) string {
			return "postgres://u:" + password + "@" + nobodyListens(t) + "/db?sslmode=disable"
		}), Fail, "database", "connection refused"},
		{"no such database", use(func(t *testing.T) string {
			base, _, _ := strings.Cut(pgtest.URL(t), "/t")
			return strings.Replace(base, "postgres@", "postgres:"+password+"@", 1) + "/none?sslmode=disable"
		}), Fail, "database", `database "none" does not exist`},
		{"never migrated", use(func(t *testing.T) string { return pgtest.URL(t) }), Fail, "database", "the schema has version 0"},
		{"newer", use(newer), Fail, "database", "the schema has version 10000, this build knows"},
		{"behind, and brought up to date", func(t *testing.T, c *Config) {
			use(migrated)(t, c)
			do(t, c.DatabaseURL, `DELETE FROM parley_schema WHERE version_id > 5`)
			c.Migrate = true
		}, Warn, "database", "the schema has version 5, the start brings it to"},
		{"few connections", use(func(t *testing.T) string { return migrated(t) + "&pool_max_conns=5000" }), Fail, "database", "opens up to 5000 connections"},
		{"taken connections", use(func(t *testing.T) string {
			return migrated(t) + fmt.Sprintf("&pool_max_conns=%d", slots(t))
		}), Warn, "database", "are taken"},
		{"not durable by choice", use(func(t *testing.T) string {
			url := migrated(t)
			_, rest, _ := strings.Cut(url, "/t")
			name, _, _ := strings.Cut(rest, "?")
			do(t, url, `ALTER DATABASE t`+name+` SET synchronous_commit = off`)
			return url
		}), Warn, "database", "synchronous_commit is off"},
	} {
		t.Run(tt.name, tt.run)
	}
}

// slots takes a connection, and answers how many there are.
func slots(t *testing.T) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	err = conn.QueryRow(t.Context(), `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A server that does not write to the disk is found out.
func TestFsyncOff(t *testing.T) {
	cluster := pgtest.Start(t)
	url := cluster.URL(t)
	do(t, url, `ALTER SYSTEM SET fsync = off`, `SELECT pg_reload_conf()`)
	if err := parleytest.Open(t, "postgres", url).Close(); err != nil {
		t.Fatal(err)
	}
	cfg := healthy(t)
	cfg.DatabaseURL, cfg.UsesDataDir, cfg.UsesSecretFile, cfg.JWTSecret = url, false, false, goodSecret
	for { // the server takes it up in its own time
		f, err := postgres.Inspect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if f.Fsync == "off" {
			break
		}
	}
	found, ok := examine(t, cfg)
	if text := bad(found); ok || !strings.HasPrefix(text, "fail database: fsync is off") {
		t.Errorf("%v, found\n%s", ok, text)
	}
}

// What a test cannot break for real.
func TestFacts(t *testing.T) {
	sound := postgres.Facts{Version: 17_00_00, Encoding: "UTF8", Fsync: "on", FullPageWrites: "on", SynchronousCommit: "on",
		MaxConnections: 97, Pool: 16, Schema: 10, Needed: 10, MayCreate: true, OwnsTheIndex: true, Commit: time.Millisecond}
	for _, tt := range []struct {
		change func(*postgres.Facts)
		want   string
	}{
		{func(*postgres.Facts) {}, ""},
		{func(f *postgres.Facts) { f.Version = 12_00_05 }, "fail : PostgreSQL 12 is too old"},
		{func(f *postgres.Facts) { f.Encoding = "LATIN1" }, "fail : the database has the encoding LATIN1"},
		{func(f *postgres.Facts) { f.Standby = true }, "fail : the server is a standby"},
		{func(f *postgres.Facts) { f.FullPageWrites = "off" }, "fail : fsync is on and full_page_writes is off"},
		{func(f *postgres.Facts) { f.Commit = 80 * time.Millisecond }, "warn : a commit takes 80ms"},
		{func(f *postgres.Facts) { f.Skew = -2 * time.Second }, "warn : the database's clock is -2s ahead"},
		{func(f *postgres.Facts) { f.Skew = time.Hour }, "fail : the database's clock is 1h0m0s ahead"},
		{func(f *postgres.Facts) { f.NotMine = []string{"entries", "members"} }, "fail : the role may not use entries, members"},
		{func(f *postgres.Facts) { f.Schema, f.MayCreate = 0, false }, "fail : the schema has version 0, this build needs 10\nfail : the role may not make tables"},
		{func(f *postgres.Facts) { f.OwnsTheIndex = false }, "warn : the role does not own the index"},
	} {
		f := sound
		tt.change(&f)
		var found []Finding
		d := &doctor{Config: &Config{}, healthy: true, tell: func(f Finding) { found = append(found, f) }}
		d.facts(&f)
		text := bad(found)
		if tt.want == "" && text != "" || !strings.HasPrefix(strings.ReplaceAll(text, "database-url: ", ""), tt.want) {
			t.Errorf("found\n%swant %s", text, tt.want)
		}
	}
}
