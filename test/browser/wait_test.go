package browser_test

import (
	"slices"
	"testing"
	"time"
)

// patience is how long a test waits for what must come, on a machine that has
// much else to do.
const patience = 60 * time.Second

// eventually waits until ok is true, and fails the test when that takes too
// long. The conditions are states of other processes: they can only be asked.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end.C:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

func contains(all []string, one string) bool { return slices.Contains(all, one) }

// sameSet says whether two lists have the same texts, each as often.
func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
