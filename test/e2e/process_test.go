package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that runs beside the test.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout output
	stderr output
	exited chan struct{} // closed when it has ended and code is set
	code   int           // the exit code; -1: a signal ended it
}

// launch starts a program. It is killed when the test ends, if it has not
// ended by then.
func launch(t testing.TB, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go p.serve(started)
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() { p.kill() })
	return p
}

// serve starts the program and waits for its end. The kernel kills a child
// when the thread that started it ends, so this goroutine keeps its thread.
func (p *process) serve(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	err = p.cmd.Wait()
	var exit *exec.ExitError
	if p.code = p.cmd.ProcessState.ExitCode(); err != nil && !errors.As(err, &exit) {
		p.code = -2 // its output was cut: nothing that a test expects
	}
	close(p.exited)
}

// kill ends the program as a crash would, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // most often it has ended
	<-p.exited
}

// terminate asks the program to end.
func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("SIGTERM: %v", err)
	}
}

// wait waits until the program has ended and answers its exit code.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.t.Fatalf("%s has not ended after %v\n%s", p.cmd, within, p.stderr.last(30))
	}
	return p.code
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// run runs a program to its end, which must be good, and answers what it
// printed.
func run(t testing.TB, dir string, env []string, name string, args ...string) string {
	t.Helper()
	p := launch(t, dir, env, name, args...)
	if code := p.wait(patience); code != 0 {
		t.Fatalf("%s: exit code %d\n%s", p.cmd, code, p.stderr.String())
	}
	return p.stdout.String()
}

// output keeps what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// last answers the last lines.
func (o *output) last(n int) string {
	lines := strings.Split(strings.TrimSpace(o.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// bareEnv is an environment that holds no settings of ours: those of the
// developer's shell must not reach the program.
func bareEnv(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, more...)
}
