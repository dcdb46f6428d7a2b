package hostile_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

var (
	full  = flag.Bool("full", false, "run the attacks at their full size and print what they cost the others")
	rests = flag.Duration("rest", 5*time.Minute, "how long servers may take to give memory back after whole attacks")
	built = flag.String("program", "", "a parley that is built already, to be attacked")
)

// program is the binary under test. Tests find it built.
var program string

// roleVariable names what a child process is to do, see roles.
const roleVariable = "PARLEY_HOSTILE_ROLE"

// TestMain runs the tests, or, in a child process, one role of them: decent
// clients and attackers have a process each, so that neither waits for the
// other's work.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(pgtest.Runner{M: withProgram{m}})
}

// withProgram builds the binary, runs the tests and removes it.
type withProgram struct{ m *testing.M }

func (w withProgram) Run() int {
	dir, err := os.MkdirTemp("", "parley-hostile-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		flag.Parse()
		if program = *built; program == "" {
			program = filepath.Join(dir, "parley")
			err = build(program)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		return 1
	}
	return w.m.Run()
}

// build builds the program as it is shipped, without the race detector.
func build(path string) error {
	cmd := exec.Command("go", "build", "-race=false", "-o", path, "github.com/parley-mqtt/parley/cmd/parley")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building parley: %w\n%s", err, out)
	}
	return nil
}
