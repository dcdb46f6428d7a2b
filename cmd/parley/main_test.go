package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// beParley makes the test binary the program itself, for tests that need a
// process of its own.
const beParley = "BE_PARLEY=1"

func TestMain(m *testing.M) {
	if os.Getenv("BE_PARLEY") != "" {
		main()
	}
	goleak.VerifyTestMain(pgtest.Runner{M: m})
}

// typed is how the program was typed in these tests.
const typed = "./bin/parley"

// parley runs a command line that ends by itself.
func parley(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{typed}, args...), env, &out, &errs)
	return code, out.String(), errs.String()
}

// output collects what is written and can be waited on.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed and replaced at every write
}

func newOutput() *output { return &output{written: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.written)
	o.written = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitFor waits until want is written or ended is closed.
func (o *output) waitFor(t *testing.T, want string, ended <-chan struct{}) {
	t.Helper()
	for {
		o.mu.Lock()
		found, written := strings.Contains(o.text.String(), want), o.written
		o.mu.Unlock()
		if found {
			return
		}
		select {
		case <-written:
		case <-ended:
			if !strings.Contains(o.String(), want) {
				t.Fatalf("ended without %q:\n%s", want, o)
			}
			return
		}
	}
}

// server is a parley serve: a call of run, or a process.
type server struct {
	stdout, stderr *output
	ended          chan struct{}
	code           int // once ended is closed
	stop           func()
}

// anyPort are the flags of a server on ports that are free.
var anyPort = []string{"--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--log-level", "debug"}

// serve runs parley serve in this process until stop is called.
func serve(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	s.stop = func() { cancel(); <-s.ended }
	go func() {
		defer close(s.ended)
		s.code = run(ctx, append([]string{typed, "serve"}, args...), env, s.stdout, s.stderr)
	}()
	t.Cleanup(s.stop)
	return s
}

// process starts parley serve as a process of its own. It is killed when the
// test ends.
func process(t *testing.T, args ...string) (*server, *os.Process) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), beParley)
	cmd.Dir = t.TempDir()
	s := &server{stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.stop = func() { _ = cmd.Process.Kill(); <-s.ended } // it may have ended
	go func() {
		defer close(s.ended)
		_ = cmd.Wait() // the code tells
		s.code = cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(s.stop)
	return s, cmd.Process
}

var (
	mqttLine = regexp.MustCompile(`(?m)^  MQTT +(\S+)$`)
	httpLine = regexp.MustCompile(`(?m)^  HTTP +http://(\S+) `)
)

// addrs waits until the server serves and reads its addresses.
func (s *server) addrs(t *testing.T) (mqtt, http string) {
	t.Helper()
	s.stdout.waitFor(t, "A first message:", s.ended)
	m, h := mqttLine.FindStringSubmatch(s.stdout.String()), httpLine.FindStringSubmatch(s.stdout.String())
	if m == nil || h == nil {
		t.Fatalf("no addresses in %s", s.stdout)
	}
	return m[1], h[1]
}

// lines are those of a text, without the empty one at its end.
func lines(text string) []string {
	var all []string
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		all = append(all, s.Text())
	}
	return all
}

var _ io.Writer = (*output)(nil)
