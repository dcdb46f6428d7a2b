// Package sqlite keeps the log in one SQLite file. It is the embedded default:
// one process, one writer, nothing to install.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/parley-mqtt/parley/bridge"
)

// Options are the settings of a Store. The zero value is fit for use.
type Options struct {
	// Readers is how many reads run side by side; 0 means 4.
	Readers int
}

const defaultReaders = 4

// Store is a bridge.Store on a SQLite file. Writes run one after the other;
// reads run beside them and see the last commit. The context of a call bounds
// its wait for a connection; a write that has begun runs to its end, so that
// its outcome is known.
type Store struct {
	path    string
	lock    *os.File
	writer  *pool
	readers *pool
	keeper  keeper
	line    string // see Line

	migrating sync.Mutex // Close waits for Migrate, whose connection is in no pool
}

var _ bridge.Store = (*Store)(nil)

// Open opens the database file at path, or creates it, with its folder, for
// this user alone. It does not migrate. One process at a time may have the
// file open: it holds a lock that ends with the process, however it ends.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // one file has one lock, whatever names lead to it
	}
	lock, err := prepareFiles(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s := &Store{path: path, lock: lock}
	if opts.Readers <= 0 {
		opts.Readers = defaultReaders
	}
	if s.writer, err = openPool(s.dsn(writerPragmas), 1); err == nil {
		s.readers, err = openPool(s.dsn(readerPragmas), opts.Readers)
	}
	if err == nil {
		err = s.startKeeper()
	}
	if err == nil {
		err = s.write(ctx, func(c *conn) error { return c.row("PRAGMA user_version").Scan(&s.line) })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: %w", path, err), s.Close())
	}
	return s, nil
}

// prepareFiles makes the folder and the empty file with the right modes, and
// takes the lock. The lock comes first: SQLite's own locks on a file are lost
// when the process that holds them opens and closes that file once more.
func prepareFiles(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return lock, nil
}

// The settings of a connection. FULL makes a commit wait for the disk, also
// in WAL. FAST overwrites what was erased where that costs no further page; it
// leaves remnants in the file. The longer log, 16 MiB instead of 4, writes a
// page that changes often to the file less often: a fifth more messages a
// second in small batches. SQLite moves it by itself only when the keeper falls
// behind.
var (
	writerPragmas = []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"secure_delete(FAST)", "cache_size(-32000)", "wal_autocheckpoint(16000)", "journal_size_limit(67108864)"}
	keeperPragmas = []string{"busy_timeout(5000)", "synchronous(FULL)", "cache_size(-2000)"}
	readerPragmas = []string{"busy_timeout(5000)", "query_only(1)", "cache_size(-8000)"}
)

func (s *Store) dsn(pragmas []string) string {
	u := url.URL{Scheme: "file", Path: s.path,
		RawQuery: url.Values{"_pragma": pragmas, "_txlock": {"immediate"}, "_dqs": {"0"}}.Encode()}
	return u.String()
}

// Lanes is 1: SQLite has one writer.
func (s *Store) Lanes() int { return 1 }

// Close waits for the calls that run, and closes the file.
func (s *Store) Close() error {
	s.migrating.Lock()
	defer s.migrating.Unlock()
	errs := []error{s.keeper.stop()}
	// The writer is the last to go: it moves the log into the file.
	for _, p := range []*pool{s.readers, s.writer} {
		if p != nil {
			errs = append(errs, p.close())
		}
	}
	for _, f := range []*os.File{s.keeper.file, s.lock} {
		if f != nil {
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Ready asks the database for the version of its schema.
func (s *Store) Ready(ctx context.Context) error {
	const query = `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`
	return s.read(ctx, func(c *conn) error {
		var have int64
		if err := c.row(query).Scan(&have); err != nil {
			return fmt.Errorf("sqlite: the version of the schema: %w", err)
		}
		if have > schemaVersion {
			return fmt.Errorf("sqlite: %w", newer(have))
		}
		if have != schemaVersion {
			return fmt.Errorf("sqlite: the schema has version %d, this build needs %d", have, schemaVersion)
		}
		return nil
	})
}

// Line is a number in the head of the file, which Copy sets in the copy.
func (s *Store) Line() string { return s.line }

// openDB opens a database/sql handle; its connections come later.
func openDB(dsn string, conns int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}
