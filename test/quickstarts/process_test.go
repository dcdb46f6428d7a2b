package quickstarts_test

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
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
	*proctest.Process
	t     testing.TB
	name  string
	stdin io.WriteCloser
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
	p := &process{screen: newScreen(), t: t, name: name}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, proctest.BareEnv(env...)
	cmd.Stdout, cmd.Stderr = p.screen, p.screen
	if more != nil {
		cmd.ExtraFiles = []*os.File{more}
	}
	cmd.WaitDelay = time.Second // what it has started may still hold its outputs
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, p.screen)
		}
	})
	p.Process = proctest.Start(t, cmd)
	return p
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
	exited := p.Exited()
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
			p.t.Fatalf("%s ended (%v) without printing %q", p.name, p.Cmd.ProcessState, pattern)
		}
	}
}

// ended waits until the program has ended by itself, and gives its exit code.
func (p *process) ended() int {
	p.t.Helper()
	return p.Wait(patience)
}
