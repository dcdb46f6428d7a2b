package hostile_test

import (
	"fmt"
	"strings"
	"time"
)

// row is what one attack did.
type row struct {
	a                   *attack
	n                   int
	pid                 int // of the server
	lasted              time.Duration
	seen                testimony
	start, peak, end    int64 // bytes of memory
	caches              int64 // of it may be the database's
	serverCPU           float64
	machineCPU, idleCPU float64 // of all processes, during the attack and before
}

// table is rows as docs/performance.md has them.
func table(backend string, rows []*row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| attack |", backend)
	for _, k := range kinds {
		fmt.Fprintf(&b, " %s: p50, ms | p99, ms |", k.name)
	}
	b.WriteString(" RSS before, MiB | at most | at rest | CPU of the server, cores | of all |\n|---|")
	b.WriteString(strings.Repeat("---|", 2*len(kinds)+5) + "\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s, %d |", r.a.name, r.n)
		for _, k := range kinds {
			was, is := r.seen.Phases[before][k.name], r.seen.Phases[during][k.name]
			fmt.Fprintf(&b, " %.1f → %.1f | %.1f → %.1f |", was.P50, is.P50, was.P99, is.P99)
		}
		fmt.Fprintf(&b, " %d | %d | %d | %.1f | %.1f → %.1f |\n",
			r.start/mib, r.peak/mib, r.end/mib, r.serverCPU, r.idleCPU, r.machineCPU)
	}
	return b.String()
}
