package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/parley-mqtt/parley/bridge"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// versionTable is a name of our own, because the database may be
	// another program's too, and that may use goose as well.
	versionTable = "parley_schema"
	// migrationLock is the advisory lock that two migrating nodes meet at.
	migrationLock = 0x7061726c6579 // "parley"
	// Another node's migration is waited for as long as ctx lasts. The lock
	// is tried every second.
	lockPeriod, lockTries = 1, 1 << 20
)

// Migrate implements bridge.Store.
func (s *Store) Migrate(ctx context.Context) error {
	return failure("migrate the database", s.migrate(ctx, migrations))
}

func (s *Store) migrate(ctx context.Context, files fs.FS) (err error) {
	if err := s.pool.Ping(ctx); err != nil {
		return err // closed, or out of reach
	}
	// A connection of its own: what the pool's sessions set is for look-ups,
	// not for changing tables.
	db := stdlib.OpenDB(*s.pool.Config().ConnConfig)
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := s.provider(db, files)
	if err != nil {
		return err
	}
	// goose takes a newer schema for one that needs nothing. It may become
	// newer while another node's migration is waited for.
	if err := refuseNewer(ctx, provider); err != nil {
		return err
	}
	done, err := provider.Up(ctx)
	for _, m := range done {
		s.log.Info("database migrated", "version", m.Source.Version, "duration", m.Duration)
	}
	if err != nil {
		return err
	}
	return refuseNewer(ctx, provider)
}

func refuseNewer(ctx context.Context, provider *goose.Provider) error {
	current, target, err := provider.GetVersions(ctx)
	if err == nil && current > target {
		err = newer(current, target)
	}
	return err
}

func (s *Store) provider(db *sql.DB, files fs.FS) (*goose.Provider, error) {
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrationLock), lock.WithLockTimeout(lockPeriod, lockTries))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithTableName(versionTable),
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
}

func newer(current, target int64) error {
	return fmt.Errorf("the schema has version %d, this build knows %d: %w", current, target, bridge.ErrNewer)
}

// schemaVersion is the version that this build needs.
var schemaVersion = func() int64 {
	files, err := fs.ReadDir(migrations, "migrations")
	if err != nil {
		panic(err) // they are built in
	}
	version, err := goose.NumericComponent(files[len(files)-1].Name())
	if err != nil {
		panic(err)
	}
	return version
}()

// Ready implements bridge.Store.
func (s *Store) Ready(ctx context.Context) error {
	var version int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&version)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" {
		version, err = 0, nil // no such table: never migrated
	}
	switch {
	case err != nil:
		return failure("ask the database", err)
	case version < schemaVersion:
		return fmt.Errorf("the database must be migrated: the schema has version %d, this build needs %d", version, schemaVersion)
	case version > schemaVersion:
		return newer(version, schemaVersion)
	}
	return nil
}
