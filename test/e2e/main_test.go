package e2e_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// raceProgram builds the binary with the race detector, for those that ask.
var raceProgram = sync.OnceValues(func() (string, error) {
	path := proctest.Program + "-race"
	return path, proctest.Build(path, true)
})

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Runner{M: proctest.Runner{M: m}})
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
