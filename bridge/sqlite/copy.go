package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// Backup is what became of one.
type Backup struct {
	Bytes   int64
	Schema  int64
	Entries int64 // of all streams
}

// ErrNoDatabase is the answer where there is nothing to copy.
var ErrNoDatabase = errors.New("there is no database")

// Copy writes a copy of a database file to another, which must not be there
// yet. A server may have it open and go on writing: the copy is the state of
// one moment, and all that was acknowledged before Copy was called is in it.
// The file appears whole or not at all, for this user alone, and is on the disk
// and checked when Copy returns.
func Copy(ctx context.Context, path, to string) (b Backup, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return b, err
	}
	if to, err = filepath.Abs(to); err != nil {
		return b, err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return b, fmt.Errorf("%w at %s", ErrNoDatabase, path)
	}
	if _, err := os.Lstat(to); err == nil {
		return b, fmt.Errorf("%s is there already", to)
	}
	// A name of its own, and for this user alone: one that a kill left behind
	// is in nobody's way.
	f, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+"-*.part")
	if err != nil {
		return b, err
	}
	part := f.Name()
	if err := f.Close(); err != nil {
		return b, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part)
		}
	}()
	if err := copyPages(ctx, path, part); err != nil {
		return b, err
	}
	if err := beginLine(ctx, part); err != nil {
		return b, err
	}
	if b, err = checkCopy(ctx, part); err != nil {
		return b, err
	}
	return b, publish(part, to)
}

// copyPages copies in one step: between two a writer would make it begin anew,
// and so a busy server would never be copied. Writers go on meanwhile, for
// they write to the log.
func copyPages(ctx context.Context, from, to string) (err error) {
	u := url.URL{Scheme: "file", Path: from, RawQuery: "mode=ro&_pragma=busy_timeout(5000)"}
	db, err := openDB(u.String(), 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.Raw(func(raw any) error {
		source, ok := raw.(interface {
			NewBackup(to string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("the driver cannot copy")
		}
		backup, err := source.NewBackup((&url.URL{Scheme: "file", Path: to}).String())
		if err != nil {
			return err
		}
		_, err = backup.Step(-1)
		return errors.Join(err, backup.Finish())
	})
}

// beginLine begins a line of history of its own in the copy, so that who goes
// on from it is known to have been set back.
func beginLine(ctx context.Context, path string) (err error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=synchronous(FULL)"}
	db, err := openDB(u.String(), 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }() // it moves the log into the file
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", 1+rand.Int32N(1<<31-1)))
	return err
}

// checkCopy reads the copy from end to end.
func checkCopy(ctx context.Context, path string) (b Backup, err error) {
	db, err := openToRead(path)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
		return b, err
	}
	if verdict != "ok" {
		return b, fmt.Errorf("the copy is damaged: %s", verdict)
	}
	if b.Schema, err = schemaOf(ctx, db); err != nil {
		return b, err
	}
	if b.Schema > 0 {
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM entries`).Scan(&b.Entries); err != nil {
			return b, err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return b, err
	}
	b.Bytes = info.Size()
	return b, nil
}

// publish gives the copy its name, once it is on the disk. A link does not
// replace what came there meanwhile.
func publish(part, to string) error {
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(part, to); err != nil {
		return err
	}
	return errors.Join(os.Remove(part), syncFolder(to))
}

// syncFolder makes the new name last. A file system that cannot do it for
// folders is no reason to call the copy bad.
func syncFolder(of string) error {
	d, err := os.Open(filepath.Dir(of))
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}
