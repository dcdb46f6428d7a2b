package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/bridge/postgres"
	"github.com/parley-mqtt/parley/bridge/sqlite"
)

// DatabaseFile is the name of the embedded database in the data folder.
const DatabaseFile = "parley.db"

// openStore opens the database that is set. Its errors name the setting.
func openStore(ctx context.Context, o *Options, logger *slog.Logger) (bridge.Store, error) {
	if o.DatabaseURL != "" {
		store, err := postgres.Open(ctx, string(o.DatabaseURL), postgres.Options{Logger: logger})
		if errors.Is(err, bridge.ErrUnavailable) {
			return nil, fmt.Errorf("database-url: %w", err)
		}
		if err != nil {
			return nil, wrong("database-url", "%w", err)
		}
		return store, nil
	}
	if err := o.create(); err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, filepath.Join(o.DataDir, DatabaseFile), sqlite.Options{})
	if err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	return store, nil
}

// prepareStore sees to the schema. The embedded database belongs to this
// server alone and is brought up to date. A Postgres is not changed without
// being asked: other nodes may still run on the old schema.
func prepareStore(ctx context.Context, o *Options, store bridge.Store) error {
	embedded := o.DatabaseURL == ""
	if embedded || o.Migrate {
		if err := store.Migrate(ctx); err != nil {
			return fmt.Errorf("%s: migrate the schema: %w", o.databaseSetting(), err)
		}
	}
	err := store.Ready(ctx)
	switch {
	case err == nil:
		return nil
	case embedded || o.Migrate || errors.Is(err, bridge.ErrUnavailable), errors.Is(err, bridge.ErrNewer):
		return fmt.Errorf("%s: %w", o.databaseSetting(), err)
	default:
		return fmt.Errorf("database-url: the schema is not up to date, run parley migrate or start with --migrate: %w", err)
	}
}

// Backup copies the embedded database to a file that is not there yet. A
// server may use it meanwhile.
func Backup(ctx context.Context, o *Options, to string) (sqlite.Backup, error) {
	if o.DatabaseURL != "" {
		return sqlite.Backup{}, wrong("database-url", "is set; parley backup copies the embedded database, for Postgres use pg_dump or pg_basebackup")
	}
	b, err := sqlite.Copy(ctx, filepath.Join(o.DataDir, DatabaseFile), to)
	if errors.Is(err, sqlite.ErrNoDatabase) {
		return b, wrong("data-dir", "%w", err)
	}
	return b, err
}

// Migrate brings the schema of the database that is set up to date, and says
// what it did.
func Migrate(ctx context.Context, o Options) (did string, err error) {
	store, err := openStore(ctx, &o, o.Logger())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	err = store.Ready(ctx)
	if err == nil {
		return "the schema is up to date, nothing to do", nil
	}
	if errors.Is(err, bridge.ErrUnavailable) {
		return "", fmt.Errorf("%s: %w", o.databaseSetting(), err)
	}
	o.Migrate = true
	if err := prepareStore(ctx, &o, store); err != nil {
		return "", err
	}
	return "the schema was brought up to date", nil
}

func (o *Options) databaseSetting() string {
	if o.DatabaseURL == "" {
		return "data-dir"
	}
	return "database-url"
}

// Database says for people which database is set, without its password.
func (o *Options) Database() string {
	if o.DatabaseURL == "" {
		return "SQLite in " + filepath.Join(o.DataDir, DatabaseFile)
	}
	u, err := url.Parse(string(o.DatabaseURL))
	if err != nil {
		return "Postgres" // Validate refuses it
	}
	host := u.Host
	if host == "" {
		host = u.Query().Get("host") // a folder with a socket
	}
	if host == "" {
		host = net.JoinHostPort("localhost", "5432")
	}
	return "Postgres at " + host + u.Path
}
