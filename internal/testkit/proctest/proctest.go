// Package proctest runs parley as it is shipped, and other programs, beside
// tests: started, killed and started again as a machine would do it.
//
// A package that tests the built program has
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(proctest.Runner{M: m}) }
package proctest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// Program is the path of parley, built. Runner sets it.
var Program string

// Runner builds the program, runs the tests and removes it.
type Runner struct {
	M interface{ Run() int }
	// Before prepares what else the tests need; nil is nothing.
	Before func() error
}

// Run implements what goleak and pgtest run.
func (r Runner) Run() int {
	dir, err := os.MkdirTemp("", "parley-test-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		if r.Before != nil {
			err = r.Before()
		}
	}
	if err == nil {
		Program = filepath.Join(dir, "parley")
		err = Build(Program, false)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "proctest:", err)
		return 1
	}
	return r.M.Run()
}

// Build builds the program to a path: as it is shipped, or with the race
// detector, which makes it slower.
func Build(path string, race bool) error {
	cgo := "CGO_ENABLED=0"
	if race {
		cgo = "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(context.Background(), "go", "build", fmt.Sprintf("-race=%v", race), "-o", path, "github.com/parley-mqtt/parley/cmd/parley")
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building parley: %w\n%s", err, out)
	}
	return nil
}

var (
	mqttLine = regexp.MustCompile(`(?m)^ +MQTT +(\S+:\d+)$`)
	httpLine = regexp.MustCompile(`(?m)^ +HTTP +(https?://\S+:\d+) `)
)

// Listening finds in what parley serve prints where it listens: MQTT as
// host:port, HTTP as a URL; "" is not yet, or not at all.
func Listening(stdout string) (mqtt, web string) {
	if found := mqttLine.FindStringSubmatch(stdout); found != nil {
		mqtt = found[1]
	}
	if found := httpLine.FindStringSubmatch(stdout); found != nil {
		web = found[1]
	}
	return mqtt, web
}

// FreePorts finds addresses that nobody listens on. They lie below the ports
// that the system gives to outgoing connections: while the server is down, a
// client that tries to reach it must not get its port.
func FreePorts(tb testing.TB, n int) (found []string) {
	tb.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", addr)
		if err != nil || slices.Contains(found, addr) {
			continue
		}
		_ = ln.Close()
		if found = append(found, addr); len(found) == n {
			return found
		}
	}
	tb.Fatal("no free ports")
	return nil
}

// Eventually waits until ok is true, and fails the test when that takes too
// long. The conditions are states of another process: it can only be asked.
func Eventually(tb testing.TB, within time.Duration, what string, ok func() bool) {
	tb.Helper()
	if !Becomes(within, ok) {
		tb.Fatalf("not within %v: %s", within, what)
	}
}

// Becomes waits until ok is true, and says whether that was in time.
func Becomes(within time.Duration, ok func() bool) bool {
	end := time.NewTimer(within)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end.C:
			return false
		case <-tick.C:
		}
	}
	return true
}
