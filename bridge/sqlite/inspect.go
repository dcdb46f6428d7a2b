package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Facts are what Inspect finds of a database file.
type Facts struct {
	Exists bool
	Bytes  int64  // of the file and its log
	InUse  string // the process that has it open; "" is none

	Schema int64  // 0: never migrated
	Needed int64  // by this build
	Damage string // what a quick check of the file says; "" is none
}

// Inspect looks at a database file, also while a server has it open, and
// changes nothing in it. A damaged file is no error: it is what Damage tells.
func Inspect(ctx context.Context, path string) (*Facts, error) {
	f := &Facts{Needed: schemaVersion}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	f.Exists, f.Bytes = true, info.Size()
	if log, err := os.Stat(path + "-wal"); err == nil {
		f.Bytes += log.Size()
	}
	if f.InUse, err = inUse(path + ".lock"); err != nil {
		return nil, err
	}
	db, err := openToRead(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&f.Damage); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f.Damage = err.Error()
		return f, nil
	}
	if f.Damage = strings.Join(strings.Fields(f.Damage), " "); f.Damage != "ok" {
		return f, nil
	}
	f.Damage = ""
	f.Schema, err = schemaOf(ctx, db)
	return f, err
}

// schemaOf is the version of the schema, 0 where there is none.
func schemaOf(ctx context.Context, db *sql.DB) (version int64, err error) {
	var tables int
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'`).Scan(&tables)
	if err != nil || tables == 0 {
		return 0, err
	}
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
	return version, err
}

// openToRead opens a file for reading alone. Where there is no log beside it,
// it is complete and nobody writes: then SQLite is told so, and makes no files
// of its own either.
func openToRead(path string) (*sql.DB, error) {
	query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)", "query_only(1)"}}
	if _, err := os.Stat(path + "-wal"); errors.Is(err, os.ErrNotExist) {
		query.Set("immutable", "1")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	return openDB(u.String(), 1)
}
