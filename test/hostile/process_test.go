package hostile_test

import (
	"bytes"
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// process is a program that runs beside the test.
type process struct {
	cmd    *exec.Cmd
	stderr output
	exited chan struct{} // closed when it has ended and err is set
	err    error
}

// launch starts a program. It is killed when the test ends, if it has not
// ended by then.
func launch(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stderr, cmd.SysProcAttr = &p.stderr, childAttr()
	started := make(chan error, 1)
	go p.serve(started)
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", cmd, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most often it has ended
		<-p.exited
	})
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
	p.err = p.cmd.Wait()
	close(p.exited)
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

// eventually waits until ok is true, and fails the test when that takes too
// long. The conditions are states of another process: it can only be asked.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	if !becomes(within, ok) {
		t.Fatalf("not within %v: %s", within, what)
	}
}

// becomes waits until ok is true, and says whether that was in time.
func becomes(within time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
