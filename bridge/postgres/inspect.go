package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Facts are what Inspect finds of a database.
type Facts struct {
	Version  int // as server_version_num has it
	Encoding string
	Standby  bool // it cannot be written to

	Fsync             string
	FullPageWrites    string
	SynchronousCommit string // of new sessions of this role; a Store sets off to on for its own

	MaxConnections int // that the server has for ordinary roles
	InUse          int // of them, by everybody
	Pool           int // that a Store opens at most

	Schema       int64    // 0: never migrated
	Needed       int64    // by this build
	MayCreate    bool     // the role may create tables
	NotMine      []string // tables of the schema that the role may not read and write
	OwnsTheIndex bool     // of words, which the server tidies

	Skew   time.Duration // how far the database's clock is ahead of this one
	Commit time.Duration // the median of three commits that reach the disk
}

// OldestVersion is the oldest server that the statements here run on.
const OldestVersion = 13_00_00

// Inspect looks at the database that the URL names and changes nothing: to
// time a commit it writes a message to the write-ahead log that nobody reads.
// Its errors are like those of Open.
func Inspect(ctx context.Context, databaseURL string) (*Facts, error) {
	cfg, err := configure(databaseURL, Options{})
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return nil, failure("connect to the database", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	f := &Facts{Pool: int(cfg.MaxConns), Needed: schemaVersion}
	for _, look := range []func(context.Context, *pgx.Conn) error{f.settings, f.schema, f.rights, f.clock, f.commits} {
		if err := look(ctx, conn); err != nil {
			return nil, failure("ask the database", err)
		}
	}
	return f, nil
}

func (f *Facts) settings(ctx context.Context, conn *pgx.Conn) error {
	return conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
		(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())`).
		Scan(&f.Version, &f.Encoding, &f.Standby, &f.Fsync, &f.FullPageWrites, &f.SynchronousCommit, &f.MaxConnections, &f.InUse)
}

func (f *Facts) schema(ctx context.Context, conn *pgx.Conn) error {
	err := conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&f.Schema)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" {
		return nil // no such table: never migrated
	}
	if errors.As(err, &pg) && pg.Code == "42501" { // it is there, but not for this role
		f.Schema, f.NotMine = f.Needed, []string{versionTable}
		return nil
	}
	return err
}

// rights asks what the role may do with the tables that stand.
func (f *Facts) rights(ctx context.Context, conn *pgx.Conn) error {
	tables, err := tableNames()
	if err != nil {
		return err
	}
	var denied []string
	err = conn.QueryRow(ctx, `SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
		coalesce((SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('entries_words')), true),
		coalesce((SELECT array_agg(name ORDER BY name) FROM unnest($1::text[]) name
			WHERE to_regclass(name) IS NOT NULL AND NOT (has_table_privilege(name, 'SELECT') AND has_table_privilege(name, 'INSERT')
				AND has_table_privilege(name, 'UPDATE') AND has_table_privilege(name, 'DELETE'))), '{}')`, tables).
		Scan(&f.MayCreate, &f.OwnsTheIndex, &denied)
	f.NotMine = append(f.NotMine, denied...)
	return err
}

var createTable = regexp.MustCompile(`(?m)^CREATE TABLE (\w+)`)

// tableNames are the tables that the migrations make.
func tableNames() ([]string, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		text, err := migrations.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range createTable.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the migrations make no table")
	}
	return names, nil
}

// clock compares the clocks, less half of the way there and back.
func (f *Facts) clock(ctx context.Context, conn *pgx.Conn) error {
	var there time.Time
	asked := time.Now()
	if err := conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
		return err
	}
	f.Skew = there.Sub(asked.Add(time.Since(asked) / 2))
	return nil
}

// commits times commits as a Store makes them.
func (f *Facts) commits(ctx context.Context, conn *pgx.Conn) error {
	if f.Standby {
		return nil
	}
	if err := prepareSession(ctx, conn); err != nil {
		return err
	}
	var took []time.Duration
	for range 3 {
		began := time.Now()
		if _, err := conn.Exec(ctx, `SELECT pg_logical_emit_message(true, 'parley', '')`); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	f.Commit = took[1]
	return nil
}
