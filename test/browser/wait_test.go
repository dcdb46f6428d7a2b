package browser_test

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// patience is how long a test waits for what must come, on a machine that has
// much else to do.
const patience = 60 * time.Second

// eventually waits until ok is true, and fails the test when that takes too
// long. The conditions are states of other processes: they can only be asked.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	proctest.Eventually(t, patience, what, ok)
}

func contains(all []string, one string) bool { return slices.Contains(all, one) }

// sameSet says whether two lists have the same texts, each as often.
func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
