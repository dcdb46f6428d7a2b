package hostile_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

var (
	full  = flag.Bool("full", false, "run the attacks at their full size and print what they cost the others")
	rests = flag.Duration("rest", 5*time.Minute, "how long servers may take to give memory back after whole attacks")
)

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
	goleak.VerifyTestMain(pgtest.Runner{M: proctest.Runner{M: m}})
}
