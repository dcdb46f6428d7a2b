// Package postgres keeps the log in PostgreSQL, version 13 or newer. It is
// the one place with SQL for it.
//
// Whoever appends to a stream first takes the lock of the stream's row, and
// reads members, repeats and targets in a later statement of the same
// transaction. Under READ COMMITTED that statement sees all that was
// committed before the lock was had. So seq has no gap, and nothing is
// decided on what was true a moment ago.
//
// Statements reach tables by index alone, and the plan of each follows from
// how it is written, not from statistics: a new database has none, and a plan
// made for ten rows must do for ten million. The means are LATERAL
// subqueries with OFFSET 0, which the planner does not turn round,
// comparisons with arrays, and indexes that serve one purpose each.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parley-mqtt/parley/bridge"
)

const (
	// lanes is how many commits run side by side. Two keep the database
	// busy while a node encodes, waits for the network and delivers; more
	// only make the batches smaller.
	lanes = 2
	// defaultConns is enough for the lanes and for readers that come in
	// groups.
	defaultConns   = 16
	mostConns      = 10_000
	connectTimeout = 10 * time.Second
)

// Options are settings that the URL does not have.
type Options struct {
	// MaxConns bounds the connections. 0 takes pool_max_conns of the URL,
	// or else 16.
	MaxConns int
	// Logger gets what an operator should know; nil is silent.
	Logger *slog.Logger
}

// Store is a bridge.Store on PostgreSQL.
type Store struct {
	pool   *pgxpool.Pool
	log    *slog.Logger
	tidier tidier
	line   atomic.Pointer[string] // see Line; set by the first connection
}

var _ bridge.Store = (*Store)(nil)

// Open connects to the database that the URL names and returns a store on it.
// It does not migrate. It fails with one line that says what is wrong, and
// never with the password, when the database does not answer before ctx ends.
func Open(ctx context.Context, databaseURL string, opts Options) (*Store, error) {
	cfg, err := configure(databaseURL, opts)
	if err != nil {
		return nil, err
	}
	return open(ctx, cfg, opts.Logger)
}

func configure(databaseURL string, opts Options) (*pgxpool.Config, error) {
	cfg, err := parseURL(databaseURL)
	if err != nil {
		return nil, err
	}
	switch {
	case opts.MaxConns < 0 || opts.MaxConns > mostConns:
		return nil, fmt.Errorf("%d database connections are not possible", opts.MaxConns)
	case opts.MaxConns > 0:
		cfg.MaxConns = int32(opts.MaxConns)
	case !strings.Contains(databaseURL, "pool_max_conns"):
		cfg.MaxConns = defaultConns
	}
	if !strings.Contains(databaseURL, "connect_timeout") {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if _, named := cfg.ConnConfig.RuntimeParams["application_name"]; !named {
		cfg.ConnConfig.RuntimeParams["application_name"] = "parley"
	}
	cfg.AfterConnect = prepareSession
	return cfg, nil
}

func open(ctx context.Context, cfg *pgxpool.Config, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: log}
	prepare := cfg.AfterConnect
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		return errors.Join(prepare(ctx, conn), s.learnLine(ctx, conn))
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, failure("connect to the database", err)
	}
	s.pool = pool
	s.tidier.ctx, s.tidier.stop = context.WithCancel(context.Background())
	if err := s.checkServer(ctx); err != nil {
		s.tidier.stop()
		pool.Close()
		return nil, failure("connect to the database", err)
	}
	return s, nil
}

// parseURL reads the URL. What it answers has nothing of the URL in it where
// that could be a piece of the password.
func parseURL(databaseURL string) (*pgxpool.Config, error) {
	const form = "the database URL must be like postgres://user:password@host:5432/database"
	if !strings.HasPrefix(databaseURL, "postgres://") && !strings.HasPrefix(databaseURL, "postgresql://") {
		return nil, errors.New(form)
	}
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err == nil {
		return cfg, nil
	}
	u, badURL := url.Parse(databaseURL)
	if badURL != nil {
		return nil, errors.New(form + "; special characters in the password must be percent-encoded")
	}
	// pgx quotes the URL, with the password masked as well as it can. Only
	// the reason behind it is shown, and not if it quotes a secret.
	reason := oneLine(err.Error()[strings.LastIndex(err.Error(), "`: ")+1:])
	reason = strings.TrimPrefix(reason, ": ")
	password, _ := u.User.Password()
	for _, secret := range []string{password, u.Query().Get("password"), u.Query().Get("sslpassword")} {
		if secret != "" && strings.Contains(reason, secret) {
			return nil, errors.New(form)
		}
	}
	return nil, fmt.Errorf("the database URL cannot be used: %s", reason)
}

// sessionSettings are what the statements here rely on, whatever the server,
// the database or the role set.
//
//   - The isolation level is what the package comment builds on.
//   - Plans are made once for each connection. A plan for the values of each
//     call would cost more than a small commit.
//   - Full scans are the wrong plan for every statement here, also where the
//     planner takes a table for tiny; bitmaps serve large answers, and a
//     look-up is cheaper without.
//   - Compiling a plan takes longer than to run it.
//   - A node that stops in the middle of a transaction, as a frozen machine
//     does, must not hold its locks for ever.
//   - Without synchronous_commit a crash loses what was acknowledged. Its
//     stronger settings are left alone.
const sessionSettings = `SELECT
	set_config('default_transaction_isolation', 'read committed', false),
	set_config('plan_cache_mode', 'force_generic_plan', false),
	set_config('enable_seqscan', 'off', false),
	set_config('enable_bitmapscan', 'off', false),
	set_config('jit', 'off', false),
	set_config('idle_in_transaction_session_timeout', '30s', false),
	CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`

func prepareSession(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, sessionSettings, pgx.QueryExecModeSimpleProtocol)
	return err
}

// lineOf asks for what is another after each way of setting a database back:
// a dump is read into another database, a base backup that is recovered up to a
// time and a standby that takes over begin another timeline.
const lineOf = `SELECT (SELECT system_identifier FROM pg_control_system()) || '/' ||
	left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())`

// learnLine notes the line of history of a new connection. None of those that
// are open outlives a change. A server that does not tell is one whose line is
// not known.
func (s *Store) learnLine(ctx context.Context, conn *pgx.Conn) error {
	var line string
	err := conn.QueryRow(ctx, lineOf, pgx.QueryExecModeExec).Scan(&line)
	var told *pgconn.PgError
	if err != nil && !errors.As(err, &told) {
		return err
	}
	s.line.Store(&line)
	return nil
}

// Line implements bridge.Store.
func (s *Store) Line() string { return *s.line.Load() }

// checkServer waits for an answer of the server, and warns of settings that
// undo what a commit promises.
func (s *Store) checkServer(ctx context.Context) error {
	var version int
	var encoding, fsync, pages string
	err := s.pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		current_setting('fsync'), current_setting('full_page_writes')`).Scan(&version, &encoding, &fsync, &pages)
	switch {
	case err != nil:
		return err
	case version < 13_00_00:
		return fmt.Errorf("PostgreSQL %d is too old, 13 or newer is needed", version/10_000)
	case encoding != "UTF8":
		return fmt.Errorf("the database has the encoding %s, UTF8 is needed", encoding)
	case fsync != "on" || pages != "on":
		s.log.Warn("the database may lose acknowledged messages when its machine fails", "fsync", fsync, "full_page_writes", pages)
	}
	return nil
}

// Lanes implements bridge.Store.
func (s *Store) Lanes() int { return lanes }

// Close implements bridge.Store. It waits for the calls that run.
func (s *Store) Close() error {
	s.tidier.stop()
	s.tidier.done.Wait()
	s.pool.Close()
	return nil
}

// inTx runs a transaction. What run answers ends it without a change.
func (s *Store) inTx(ctx context.Context, op string, run func(tx pgx.Tx) error) error {
	return failure(op, pgx.BeginFunc(ctx, s.pool, run))
}

// exec runs one statement that answers nothing.
func (s *Store) exec(ctx context.Context, op, sql string, args ...any) error {
	_, err := s.pool.Exec(ctx, sql, args...)
	return failure(op, err)
}

// query runs one statement and hands each row to scan.
func (s *Store) query(ctx context.Context, op, sql string, args []any, scan func(rows pgx.Rows) error) error {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return failure(op, err)
	}
	return failure(op, eachRow(rows, scan))
}

func eachRow(rows pgx.Rows, scan func(rows pgx.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// stored is t as the database keeps times: UTC, whole milliseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
