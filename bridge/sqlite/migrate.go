package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/parley-mqtt/parley/bridge"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schemaVersion is the number of the newest migration.
var schemaVersion = func() (newest int64) {
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	for _, file := range files {
		n, err := goose.NumericComponent(file)
		if err != nil {
			panic(err) // a file has no number
		}
		newest = max(newest, n)
	}
	return newest
}()

// Migrate brings the schema up to date, on a connection of its own. It
// refuses a schema that is newer than this build knows.
func (s *Store) Migrate(ctx context.Context) error {
	s.migrating.Lock()
	defer s.migrating.Unlock()
	select {
	case <-s.writer.closed:
		return errClosed
	default:
	}
	if err := s.migrate(ctx); err != nil {
		return explain(fmt.Errorf("sqlite: migrate: %w", err), true)
	}
	return nil
}

func newer(have int64) error {
	return fmt.Errorf("the schema has version %d, this build knows %d: %w", have, schemaVersion, bridge.ErrNewer)
}

func (s *Store) migrate(ctx context.Context) (err error) {
	db, err := openDB(s.dsn(writerPragmas), 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	if have > schemaVersion {
		return newer(have)
	}
	_, err = provider.Up(ctx)
	return err
}
