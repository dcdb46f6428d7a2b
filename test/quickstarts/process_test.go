package quickstarts_test

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func deadline() <-chan time.Time { return time.After(patience) }

// screen collects what a program prints.
type screen struct {
	mu      sync.Mutex
	text    []byte
	looked  int // what lies before was looked at
	written chan struct{}
}

func newScreen() *screen { return &screen{written: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.text = append(s.text, p...)
	s.mu.Unlock()
	select {
	case s.written <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

// process is a program that runs beside the test. What it prints, on both its
// outputs, is on its screen.
type process struct {
	*screen
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	exited chan struct{} // closed when it has ended
}

// launch starts a program, with nothing of the environment but PATH and HOME
// and what is given. It and what it has started are killed when the test ends.
func launch(t testing.TB, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	return launchWith(t, dir, env, nil, name, args...)
}

// launchWith gives the program one more file to read, as its descriptor 3.
func launchWith(t testing.TB, dir string, env []string, more *os.File, name string, args ...string) *process {
	t.Helper()
	p := &process{screen: newScreen(), t: t, name: name, cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.screen, p.screen
	if more != nil {
		p.cmd.ExtraFiles = []*os.File{more}
	}
	p.cmd.SysProcAttr = ownGroup()
	p.cmd.WaitDelay = time.Second // what it has started may still hold its outputs
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go p.serve(started)
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, p)
		}
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
	if err == nil {
		_ = p.cmd.Wait() // ended says how
		close(p.exited)
	}
}

// kill ends the program as a crash would, with all that it has started.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // most often it has ended
	<-p.exited
}

// types types a line.
func (p *process) types(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("%s does not read: %v", p.name, err)
	}
}

// expect waits until the program prints what matches, after all that was
// expected before, and gives what lies between and the match.
func (p *process) expect(pattern string) (before, match string) {
	p.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	late := deadline()
	exited := p.exited
	for {
		p.mu.Lock()
		rest := p.text[p.looked:]
		if at := re.FindIndex(rest); at != nil {
			before, match = string(rest[:at[0]]), string(rest[at[0]:at[1]])
			p.looked += at[1]
			p.mu.Unlock()
			return before, match
		}
		p.mu.Unlock()
		select {
		case <-p.written:
		case <-exited:
			exited = nil // look once more at what it printed last
		case <-late:
			p.t.Fatalf("%s does not print %q", p.name, pattern)
		}
		if exited == nil && !re.MatchString(p.String()[p.looked:]) {
			p.t.Fatalf("%s ended (%v) without printing %q", p.name, p.cmd.ProcessState, pattern)
		}
	}
}

// ended waits until the program has ended by itself, and gives its exit code.
func (p *process) ended() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.name)
		return 0
	}
}
