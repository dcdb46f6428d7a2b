package deploy_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// program is the binary under test. Tests find it built.
var program string

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Runner{M: withProgram{m}}) }

// withProgram builds the binary, runs the tests and removes it.
type withProgram struct{ m *testing.M }

func (w withProgram) Run() int {
	dir, err := os.MkdirTemp("", "parley-deploy-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		program = filepath.Join(dir, "parley")
		cmd := exec.Command("go", "build", "-o", program, "github.com/parley-mqtt/parley/cmd/parley")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		return 1
	}
	return w.m.Run()
}

// patience is how long anything may take that must happen.
const patience = 30 * time.Second

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", patience, what)
		}
		<-tick.C
	}
}

// process is a program that runs beside the test.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
	exited         chan struct{}
}

// launch starts a program. It is killed when the test ends.
func launch(t testing.TB, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.SysProcAttr = t.TempDir(), env, dieWithParent()
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	started := make(chan error, 1)
	go func() { // the kernel kills a child when the thread that started it ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // its state says how it ended
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v; make test installs it", name, err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill ends the program, with those that it started, and waits for it.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // most often it has ended
	<-p.exited
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// output keeps what a program prints.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// server is a parley serve that runs.
type server struct {
	*process
	program   string   // "" is program
	data      string   // its data folder; "" is a new one
	args      []string // further flags
	mqtt, web string   // addresses; "" are chosen
}

// start starts a server and waits until it serves.
func start(t testing.TB, s server) *server {
	t.Helper()
	if s.program == "" {
		s.program = program
	}
	if s.data == "" {
		s.data = t.TempDir()
	}
	if s.mqtt == "" {
		ports := freePorts(t, 2)
		s.mqtt, s.web = ports[0], ports[1]
	}
	args := append([]string{"serve", "--data-dir", s.data, "--mqtt-addr", s.mqtt, "--http-addr", s.web}, s.args...)
	s.process = launch(t, bareEnv("PARLEY_JWT_SECRET="+parleytest.Secret), s.program, args...)
	eventually(t, "the server serves", func() bool {
		if s.hasExited() {
			t.Fatalf("the server ended as it started\n%s", s.stderr.String())
		}
		return httpLine.MatchString(s.stdout.String())
	})
	return &s
}

var httpLine = regexp.MustCompile(`(?m)^ +HTTP +https?://\S+:\d+ `)

// bareEnv is the environment without settings.
func bareEnv(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "PARLEY_") || strings.HasPrefix(e, "NOTIFY_SOCKET=") })
	return append(env, more...)
}

func token(t testing.TB, user, scope string) string {
	t.Helper()
	return parleytest.Token(t, acl.Claims{Subject: user, Scope: scope, TTL: time.Hour})
}

// freePorts finds addresses that nobody listens on. They lie below the ports
// that the system gives to outgoing connections.
func freePorts(t testing.TB, n int) (found []string) {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		ln, err := net.Listen("tcp", addr)
		if err != nil || slices.Contains(found, addr) {
			continue
		}
		_ = ln.Close()
		if found = append(found, addr); len(found) == n {
			return found
		}
	}
	t.Fatal("no free ports")
	return nil
}
