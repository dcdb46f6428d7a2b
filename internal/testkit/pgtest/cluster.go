package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// startTime bounds how long a server may take until it answers, with the
	// recovery after a crash. The disk of a busy machine is slow.
	startTime = 60 * time.Second
	// stopTime bounds how long a stopped server may live. It gives its own
	// children five seconds.
	stopTime = 20 * time.Second

	dirPrefix = "parley-pg-"
)

// Cluster is a Postgres server with a folder of its own.
type Cluster struct {
	tb   testing.TB // nil in the shared one
	bin  string     // the folder of the server's programs
	dir  string
	port int
	user *account
	lock *os.File // held while this process lives
	dbs  atomic.Int64

	mu     sync.Mutex
	server *server // nil while stopped
}

// Start starts a server that belongs to one test. It is closed when the test
// ends.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	c, err := newCluster()
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	c.tb = tb
	tb.Cleanup(c.Close)
	return c
}

// URL makes an empty database on this server and returns how to connect to it.
func (c *Cluster) URL(tb testing.TB) string {
	tb.Helper()
	// It is not dropped: it goes with the server, which may be down when the
	// test ends.
	name, err := c.createDatabase(tb.Name())
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	return c.url(name)
}

// StopImmediate stops the server as "pg_ctl stop -m immediate" does: without
// telling clients and without a checkpoint, so that the next start is a
// recovery after a crash. It returns when the server is gone.
func (c *Cluster) StopImmediate() {
	c.tb.Helper()
	if err := c.stop(); err != nil {
		c.tb.Fatalf("pgtest: %v", err)
	}
}

// Start starts a stopped server again, on the same port and with the same
// data. It returns when the server answers.
func (c *Cluster) Start() {
	c.tb.Helper()
	if err := c.start(); err != nil {
		c.tb.Fatalf("pgtest: %v", err)
	}
}

// Close stops the server and removes its folder. Closing twice is fine.
func (c *Cluster) Close() {
	c.close()
}

func newCluster() (*Cluster, error) {
	bin, err := findPrograms()
	if err != nil {
		return nil, err
	}
	user, err := serverAccount()
	if err != nil {
		return nil, err
	}
	base, err := baseDir(user)
	if err != nil {
		return nil, err
	}
	removeAbandoned(base)
	dir, err := os.MkdirTemp(base, dirPrefix)
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin, dir: dir, user: user}
	if err := c.create(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// create makes the folder's content and starts the server.
func (c *Cluster) create() error {
	var err error
	if c.lock, err = lockFile(filepath.Join(c.dir, "lock")); err != nil {
		return err
	}
	// Not t.TempDir: when the tests run as root, the server's account could
	// not get into it.
	if err := os.Chmod(c.dir, 0o755); err != nil {
		return err
	}
	if err := c.user.own(c.dir); err != nil {
		return err
	}
	// The new data need not survive a crash before the test has begun.
	initdb := c.command("initdb", "-D", c.data(), "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// Another process may take the port between the look and the start.
	for range 10 {
		if c.port, err = freePort(); err != nil {
			return err
		}
		if err = c.configure(); err != nil {
			return err
		}
		if err = c.start(); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }
func (c *Cluster) log() string  { return filepath.Join(c.dir, "log") }

func (c *Cluster) configure() error {
	conf := strings.Join([]string{
		"listen_addresses = '127.0.0.1'",
		"port = " + strconv.Itoa(c.port),
		"unix_socket_directories = '" + c.dir + "'",
		// The default, written down because tests of durability rest on it.
		"fsync = on",
		"max_connections = 200",
		"shared_buffers = 16MB",
		"min_wal_size = 32MB",
		"max_wal_size = 256MB",
		"timezone = 'UTC'",
		"log_timezone = 'UTC'",
		"log_destination = 'stderr'",
		"logging_collector = off",
		"",
	}, "\n")
	return os.WriteFile(filepath.Join(c.data(), "postgresql.auto.conf"), []byte(conf), 0o600)
}

// command runs one of the server's programs with its account, in a folder that
// this account may enter, and without settings of the caller's environment.
func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(c.bin, program), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = c.user.attr()
	return cmd
}

// server is a running postgres.
type server struct {
	process *os.Process
	exited  chan struct{}
}

func (c *Cluster) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return errors.New("the server runs already")
	}
	logFile, err := os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	info, err := logFile.Stat()
	if err != nil {
		return err
	}
	cmd := c.command("postgres", "-D", c.data())
	cmd.Stdout, cmd.Stderr = logFile, logFile
	dieWithParent(cmd.SysProcAttr)

	s := &server{exited: make(chan struct{})}
	started := make(chan error, 1)
	go serve(cmd, started, s.exited)
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.process = cmd.Process
	c.server = s
	if err := c.waitReady(s); err != nil {
		text := c.logSince(info.Size())
		c.server = nil
		if stopErr := s.stop(); stopErr != nil {
			err = errors.Join(err, stopErr)
		}
		if strings.Contains(text, "Address already in use") {
			err = errors.Join(errPortTaken, err)
		}
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

var errPortTaken = errors.New("another process took the port")

// serve starts the server and waits for its end.
func serve(cmd *exec.Cmd, started chan<- error, exited chan<- struct{}) {
	// The kernel stops the server when the thread that started it ends, not
	// the process. So this goroutine keeps its thread.
	unlock := lockThread()
	defer unlock()
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait() // how it ends is seen by those who stop it, or in its log
		close(exited)
	}
}

// waitReady waits until the server answers a query.
func (c *Cluster) waitReady(s *server) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// The exit is looked at first: on a taken port another server answers.
		select {
		case <-s.exited:
			return errors.New("postgres ended while it started")
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", ctx.Err())
		case <-tick.C:
		}
		if _, err := os.Stat(filepath.Join(c.dir, ".s.PGSQL."+strconv.Itoa(c.port))); err != nil {
			continue // its own socket, in its own folder: nobody else's answer
		}
		if c.exec(ctx, "SELECT 1") == nil {
			return nil
		}
	}
}

func (c *Cluster) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return errors.New("the server does not run")
	}
	err := c.server.stop()
	c.server = nil
	return err
}

// stop sends the signal that "pg_ctl stop -m immediate" sends.
func (s *server) stop() error {
	if err := s.process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopTime):
	}
	_ = s.process.Kill() // what failed is told below
	<-s.exited
	return errors.New("postgres did not stop and was killed")
}

func (c *Cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		_ = c.server.stop() // it is killed if it must be, and its data go anyway
		c.server = nil
	}
	_ = os.RemoveAll(c.dir) // the next run removes what is left
	if c.lock != nil {
		_ = c.lock.Close()
		c.lock = nil
	}
}

func (c *Cluster) logSince(offset int64) string {
	text, err := os.ReadFile(c.log())
	if err != nil {
		return err.Error()
	}
	if int64(len(text)) >= offset {
		text = text[offset:]
	}
	return string(text)
}

func (c *Cluster) url(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", c.port, database)
}

func (c *Cluster) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, c.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

// createDatabase makes a database whose name tells the test in the server's
// log.
func (c *Cluster) createDatabase(test string) (string, error) {
	name := fmt.Sprintf("t%d_", c.dbs.Add(1)) + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, test)
	if len(name) > 63 { // longer ones are cut by Postgres
		name = name[:63]
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return name, c.exec(ctx, "CREATE DATABASE "+name)
}

func (c *Cluster) dropDatabase(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	// A test may leave connections open: that is another check's matter.
	return c.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// freePort looks below the ports that the system gives to outgoing
// connections, so that none of them sits on the port when the server starts
// again.
func freePort() (int, error) {
	var lc net.ListenConfig
	var err error
	for range 100 {
		port := 15000 + rand.IntN(15000)
		var l net.Listener
		l, err = lc.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}

// programGlobs are where distributions keep the server's programs off the
// PATH.
var programGlobs = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"}

// findPrograms returns the folder that holds the server's programs: that of
// the PATH, or else the newest.
func findPrograms() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		// A link on the PATH may have no initdb at its side.
		if path, err = filepath.EvalSymlinks(path); err == nil && hasPrograms(filepath.Dir(path)) {
			return filepath.Dir(path), nil
		}
	}
	var dirs []string
	for _, glob := range programGlobs {
		found, err := filepath.Glob(glob)
		if err != nil {
			return "", err
		}
		dirs = append(dirs, found...)
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !hasPrograms(dir) })
	if len(dirs) == 0 {
		return "", errors.New("no Postgres server here (postgres, initdb); make test installs it")
	}
	return slices.MaxFunc(dirs, func(a, b string) int { return version(a) - version(b) }), nil
}

func hasPrograms(dir string) bool {
	for _, name := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// version reads the major version from the path of the programs.
func version(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "pgsql-")) // 0 comes last
	return n
}
