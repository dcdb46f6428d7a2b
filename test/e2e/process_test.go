package e2e_test

import (
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// run runs a program to its end, which must be good, and answers what it
// printed.
func run(t testing.TB, dir string, env []string, name string, args ...string) string {
	t.Helper()
	p := proctest.Launch(t, dir, env, name, args...)
	if code := p.Wait(patience); code != 0 {
		t.Fatalf("%s: exit code %d\n%s", p.Cmd, code, p.Stderr.String())
	}
	return p.Stdout.String()
}
