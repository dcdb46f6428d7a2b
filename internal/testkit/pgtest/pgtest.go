// Package pgtest gives tests a private Postgres server.
//
// The tests of a package share one server, and each test has a database of
// its own:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestX(t *testing.T) {
//		pool, err := pgxpool.New(t.Context(), pgtest.URL(t))
//
// A test that stops the server while it works starts one for itself with
// [Start]. All servers keep fsync on: what they acknowledge is on the disk.
//
// A check for leaked goroutines must come after the server is stopped:
//
//	goleak.VerifyTestMain(pgtest.Runner{M: m})
//
// Without the server's programs tests fail; they are never skipped.
package pgtest

import (
	"errors"
	"sync"
	"testing"
)

// Main runs the tests of a package, stops the shared server and removes its
// folder. It returns the exit code. It is called from TestMain.
func Main(m *testing.M) int {
	return Runner{M: m}.Run()
}

// Runner is [Main] for those that want something to run, such as goleak.
type Runner struct {
	M interface{ Run() int }
}

// Run runs the tests, stops the shared server and removes its folder.
func (r Runner) Run() int {
	shared.allow()
	// Deferred, so that a panic leaves no server either.
	defer shared.stop()
	return r.M.Run()
}

// URL makes an empty database on the shared server and returns how to connect
// to it. The database is dropped when the test ends.
func URL(tb testing.TB) string {
	tb.Helper()
	c, err := shared.get()
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	name, err := c.createDatabase(tb.Name())
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := c.dropDatabase(name); err != nil {
			tb.Errorf("pgtest: %v", err)
		}
	})
	return c.url(name)
}

// sharedCluster is the server that the tests of a process share.
type sharedCluster struct {
	mu      sync.Mutex
	allowed bool
	started bool
	cluster *Cluster
	err     error
}

var shared sharedCluster

var errNoMain = errors.New("pgtest.URL needs a TestMain that calls pgtest.Main: nobody would stop the server")

func (s *sharedCluster) allow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = true
}

// get starts the server on its first use. An error stays: each further test
// would only wait for the same one.
func (s *sharedCluster) get() (*Cluster, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.allowed {
		return nil, errNoMain
	}
	if !s.started {
		s.started = true
		s.cluster, s.err = newCluster()
	}
	return s.cluster, s.err
}

func (s *sharedCluster) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster != nil {
		s.cluster.close()
	}
	s.allowed, s.started, s.cluster, s.err = false, false, nil, nil
}
