package proctest

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

// Process is a program that runs beside a test.
type Process struct {
	Cmd    *exec.Cmd
	Stdout Output // unless Cmd was given others
	Stderr Output

	tb     testing.TB
	exited chan struct{} // closed when it has ended and code is set
	code   int
}

// Launch starts a program in a folder, with this environment and no other. It
// is killed when the test ends, with all that it has started.
func Launch(tb testing.TB, dir string, env []string, name string, args ...string) *Process {
	tb.Helper()
	cmd := exec.CommandContext(context.Background(), name, args...) // Kill ends it
	cmd.Dir, cmd.Env = dir, env
	return Start(tb, cmd)
}

// Start is Launch for a command that was prepared.
func Start(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{Cmd: cmd, tb: tb, exited: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.Stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.Stderr
	}
	cmd.SysProcAttr = Attr()
	started := make(chan error, 1)
	go p.serve(started)
	if err := <-started; err != nil {
		tb.Fatalf("starting %s: %v; make test installs what the tests need", cmd, err)
	}
	tb.Cleanup(p.Kill)
	return p
}

// serve starts the program and waits for its end. The kernel kills a child
// when the thread that started it ends, so this goroutine keeps its thread.
func (p *Process) serve(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.Cmd.Start()
	started <- err
	if err != nil {
		return
	}
	err = p.Cmd.Wait()
	var exit *exec.ExitError
	if p.code = p.Cmd.ProcessState.ExitCode(); err != nil && !errors.As(err, &exit) {
		p.code = -2 // its output was cut: nothing that a test expects
	}
	close(p.exited)
}

// Kill ends the program as a crash would, with all that it has started, and
// waits until it is gone.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL) // most often it has ended
	<-p.exited
}

// Terminate asks the program to end.
func (p *Process) Terminate() {
	p.tb.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.tb.Fatalf("SIGTERM: %v", err)
	}
}

// Exited is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// HasExited reports whether the program has ended.
func (p *Process) HasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Code is the exit code of a program that has ended; -1: a signal ended it.
func (p *Process) Code() int { return p.code }

// Wait waits until the program has ended and answers its exit code.
func (p *Process) Wait(within time.Duration) int {
	p.tb.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-p.exited:
	case <-late.C:
		p.tb.Fatalf("%s has not ended after %v\n%s", p.Cmd, within, p.Stderr.Last(30))
	}
	return p.code
}

// Output keeps what a program prints.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Last answers the last lines.
func (o *Output) Last(n int) string {
	lines := strings.Split(strings.TrimSpace(o.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// BareEnv is an environment that holds no settings of ours: those of the
// developer's shell must not reach the program.
func BareEnv(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, more...)
}
