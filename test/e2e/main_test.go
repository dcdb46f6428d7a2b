package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// program is the binary under test. Tests find it built.
var program string

// raceProgram builds the binary with the race detector, for those that ask.
var raceProgram = sync.OnceValues(func() (string, error) {
	path := program + "-race"
	return path, build(path, "1", "-race")
})

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Runner{M: withProgram{m}})
}

// withProgram builds the binary, runs the tests and removes it.
type withProgram struct{ m *testing.M }

func (w withProgram) Run() int {
	dir, err := os.MkdirTemp("", "parley-e2e-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		program = filepath.Join(dir, "parley")
		// Without the race detector, as it is shipped: it must be as fast.
		err = build(program, "0", "-race=false")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return w.m.Run()
}

func build(path, cgo, race string) error {
	cmd := exec.Command("go", "build", race, "-o", path, "github.com/parley-mqtt/parley/cmd/parley")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building parley: %w\n%s", err, out)
	}
	return nil
}

const seedVariable = "PARLEY_E2E_SEED"

// chances gives a test its random numbers, and prints how to get them again.
func chances(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("the same chances again: %s=%d", seedVariable, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between is a random time of at least low and less than high.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}
