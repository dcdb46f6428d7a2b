package e2e_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// screen is a program in a terminal: what it writes is drawn as a terminal
// draws it.
type screen struct {
	t      testing.TB
	cmd    *exec.Cmd
	file   *os.File // the person's end
	mu     sync.Mutex
	shown  *vt.Emulator
	exited chan struct{}
	code   int
}

const (
	screenWidth  = 100
	screenHeight = 24
)

// inTerminal starts a program in a terminal. It ends with the test.
func inTerminal(t testing.TB, dir string, env []string, name string, args ...string) *screen {
	t.Helper()
	s := &screen{t: t, cmd: exec.Command(name, args...), shown: vt.NewEmulator(screenWidth, screenHeight), exited: make(chan struct{})}
	s.cmd.Dir = dir
	s.cmd.Env = append(env, "TERM=xterm-256color", "LANG=C.UTF-8")
	file, err := pty.StartWithSize(s.cmd, &pty.Winsize{Cols: screenWidth, Rows: screenHeight})
	if err != nil {
		t.Fatal(err)
	}
	s.file = file
	var copies sync.WaitGroup
	copies.Go(s.draw)
	copies.Go(s.reply)
	go func() {
		_ = s.cmd.Wait()
		s.code = s.cmd.ProcessState.ExitCode()
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.exited
		_ = s.file.Close()
		_ = s.shown.InputPipe().(io.Closer).Close() // its own Close must not meet Read or Write
		copies.Wait()
	})
	return s
}

// draw draws what the program writes.
func (s *screen) draw() {
	buf := make([]byte, 4096)
	for {
		n, err := s.file.Read(buf)
		s.mu.Lock()
		_, _ = s.shown.Write(buf[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// reply answers what the program asks the terminal.
func (s *screen) reply() {
	buf := make([]byte, 256)
	for {
		n, err := s.shown.Read(buf)
		if err != nil {
			return
		}
		if _, err := s.file.Write(buf[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

// altScreen reports whether the program has the whole screen for itself.
func (s *screen) altScreen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.IsAltScreen()
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// types types on the keyboard.
func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := s.file.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// shows waits until all of these stand on the screen.
func (s *screen) shows(want ...string) {
	s.t.Helper()
	for _, w := range want {
		s.until("the screen shows "+w, func(text string) bool { return strings.Contains(text, w) })
	}
}

// until waits until the screen is as it should be.
func (s *screen) until(what string, ok func(text string) bool) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the screen is:\n%s", s.text())
		}
	}()
	proctest.Eventually(s.t, patience, what, func() bool { return ok(s.text()) })
}

// ends waits until the program has ended, and gives its exit code.
func (s *screen) ends() int {
	s.t.Helper()
	proctest.Eventually(s.t, patience, "the program ends", func() bool {
		select {
		case <-s.exited:
			return true
		default:
			return false
		}
	})
	return s.code
}
