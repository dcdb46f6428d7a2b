package hostile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// attack is one way to do harm.
type attack struct {
	name  string
	role  string
	n     int // how large it is
	small int // in a plain run
	rate  int // messages a second, where the role has one
	// memory is what the server may take for it above what it had, in bytes,
	// with garbage that has not been collected. The caches of SQLite come on
	// top.
	memory func(n int) int64
	// check looks at what the attackers were answered.
	check func(t *testing.T, n int, found facts)
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// flat is a bound on memory that does not depend on the size of the attack.
func flat(bytes int64) func(int) int64 { return func(int) int64 { return bytes } }

// noise is what the server may take whatever is done: garbage, and buffers of
// decent clients.
const noise = 24 * mib

// caches are what SQLite may hold: 32 MB of pages that are written, 8 MB for
// each of four readers, 2 MB for the keeper of its log.
const caches = 66 * mib

var attacks = []attack{
	{name: "none, but a busy core", role: "none", n: 1, memory: flat(noise), check: func(*testing.T, int, facts) {}},
	{name: "half-open connections", role: "half open", n: 5000, small: 300,
		memory: func(n int) int64 { return noise + int64(n)*12*kib }, check: checkHalfOpen},
	{name: "filters, one in a packet", role: "filters", n: 100_000, small: 2000, memory: flat(noise + 8*mib), check: checkFilters},
	{name: "filters, 500 in a packet", role: "bundles", n: 100_000, small: 5000, memory: flat(noise + 8*mib), check: checkFilters},
	{name: "filters that come and go", role: "churn", n: 1000, small: 200, memory: flat(noise + 8*mib), check: checkChurn},
	{name: "packets of 256 MB", role: "too large", n: 100, small: 10, memory: flat(noise), check: checkTooLarge},
	{name: "no acknowledgements", role: "no acknowledgements", n: 1000, small: 300, rate: 100,
		memory: flat(noise + 2*32*mib), check: checkSilent},
	{name: "no reading", role: "no reading", n: 1000, small: 300, rate: 100, memory: flat(noise + 2*32*mib), check: checkDeaf},
	{name: "retained at QoS 0", role: "retained at QoS 0", n: 100_000, small: 2000, memory: flat(2 * noise), check: checkRetained},
	{name: "retained at QoS 1", role: "retained at QoS 1", n: 100_000, small: 2000, memory: flat(2 * noise), check: checkRetained},
	{name: "retained, read slowly", role: "retained, read slowly", n: 100_000, small: 2000, memory: flat(2 * noise), check: checkSipped},
}

// The phases of a run.
const (
	before = "before"
	during = "during"
	after  = "after"
)

// size is how much of everything there is.
type size struct {
	full          bool
	warm          time.Duration
	before, lasts time.Duration
	rate          int // of a decent publisher, messages a second
}

// sizes answers the size of a run, and the settings of its server.
func sizes() (size, []string) {
	if *full {
		return size{full: true, warm: 5 * time.Second, before: 20 * time.Second, lasts: 30 * time.Second, rate: 40}, nil
	}
	return size{warm: 200 * time.Millisecond, before: 500 * time.Millisecond, lasts: 1500 * time.Millisecond, rate: 20},
		[]string{"--connect-timeout", "1s"}
}

func TestHostileClients(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		var rows []*row
		for _, a := range attacks {
			if a.role == "none" && !*full {
				continue
			}
			t.Run(strings.ReplaceAll(a.name, " ", "_"), func(sub *testing.T) {
				lives := sub
				if *full { // to see what memory it gives back in time
					lives = t
				}
				rows = append(rows, a.run(sub, lives, backend))
			})
		}
		if *full {
			rest(t, rows)
			t.Log(table(backend, rows))
		}
	})
}

// rest measures the servers' memory again when they have rested: Go forces a
// collection every two minutes, and gives back what two of them leave.
func rest(t *testing.T, rows []*row) {
	timer := time.NewTimer(*rests)
	defer timer.Stop()
	<-timer.C
	for _, r := range rows {
		if r.end, _ = memory(t, r.pid); r.end-r.start > noise+r.caches {
			t.Errorf("%s: the server has %d MiB at rest, and had %d MiB", r.a.name, r.end/mib, r.start/mib)
		}
	}
}

// run attacks one server, which lives as long as another test does.
func (a *attack) run(t, lives *testing.T, backend string) *row {
	size, settings := sizes()
	s := startServer(lives, backend, settings...)
	s.conversation("witness", witnesses()...)
	s.conversation("mallory", "mallory")
	pid := s.p.Cmd.Process.Pid
	w := act(t, "witness", task{Addr: s.mqtt, Rate: size.rate}, false)
	w.pass(size.warm)
	had := s.left()

	_, idle := cpu(t, pid)
	w.say(before)
	w.pass(size.before)
	w.say("between")
	_, idleNow := cpu(t, pid)
	start, _ := memory(t, pid)
	forgetPeak(t, pid)
	n := a.n
	if !size.full {
		n = a.small
	}
	attacker := act(t, a.role, task{Addr: s.mqtt, N: n, Rate: a.rate}, true)
	r := &row{a: a, n: n, pid: pid, start: start, idleCPU: (idleNow - idle) / size.before.Seconds()}
	if backend == "sqlite" {
		r.caches = caches
	}
	server, machine := cpu(t, pid)
	w.say(during)
	began := time.Now()
	attacker.pass(size.lasts)
	var found facts
	attacker.finish(&found)
	w.say(after)
	r.lasted = time.Since(began)
	_, r.peak = memory(t, pid)
	serverNow, machineNow := cpu(t, pid)
	r.serverCPU, r.machineCPU = (serverNow-server)/r.lasted.Seconds(), (machineNow-machine)/r.lasted.Seconds()

	nothingLeft(t, s, had)
	w.pass(size.before)
	w.finish(&r.seen)
	t.Logf("%v: %v", r.lasted, found)
	a.check(t, n, found)
	if bound := a.memory(n) + r.caches; r.peak-start > bound {
		t.Errorf("the server took %d MiB more, want %d at most", (r.peak-start)/mib, bound/mib)
	}
	r.seen.check(t, size)
	return r
}

// nothingLeft waits until the server holds no more than it had.
func nothingLeft(t *testing.T, s *server, had left) {
	t.Helper()
	// A database opens connections when it has much to do, and the writers of
	// decent connections come and go.
	const some = 20
	var has left
	if !proctest.Becomes(patience, func() bool {
		has = s.left()
		return has.connections == had.connections && has.goroutines <= had.goroutines+some && has.files <= had.files+some
	}) {
		t.Errorf("the server has %+v after the attack, %+v before it", has, had)
	}
}

const (
	// quick is what nobody notices, in milliseconds: twice less than a
	// millisecond is no harm.
	quick = 10
	// late is what a message may take on a machine that has much else to do, in
	// milliseconds.
	late = 5000
)

// check looks at what became of the decent clients.
func (seen *testimony) check(t *testing.T, size size) {
	t.Helper()
	if seen.Lost+seen.Bad+seen.Refused > 0 {
		t.Errorf("of what decent clients sent, %d were lost, %d doubled or out of order, %d refused", seen.Lost, seen.Bad, seen.Refused)
	}
	for _, k := range kinds {
		was, is := seen.Phases[before][k.name], seen.Phases[during][k.name]
		t.Logf("%-14s before %+v, during %+v, after %+v", k.name, was, is, seen.Phases[after][k.name])
		if is.Count == 0 {
			t.Errorf("%s: nothing was delivered during the attack", k.name)
		}
		switch {
		case size.full && is.P99 > max(2*was.P99, quick):
			t.Errorf("%s: p99 is %.1f ms during the attack and was %.1f ms", k.name, is.P99, was.P99)
		case is.P99 > max(2*was.P99, late):
			t.Errorf("%s: p99 is %.1f ms during the attack", k.name, is.P99)
		}
	}
}

func checkHalfOpen(t *testing.T, n int, found facts) {
	timeout := 10.0
	if !*full {
		timeout = 1
	}
	if found["cut"] < float64(n) {
		t.Errorf("%v connections were cut, want each of %d once at least", found["cut"], n)
	}
	if found["oldest"] > timeout+4 {
		t.Errorf("a connection without CONNECT lived %.1f s", found["oldest"])
	}
}

func checkFilters(t *testing.T, n int, found facts) {
	const most = 1000
	if found["granted"] != most || found["refused"] != float64(n-most) {
		t.Errorf("%v, want %d granted and the rest refused with 0x97", found, most)
	}
}

func checkChurn(t *testing.T, _ int, found facts) {
	if found["done"] == 0 || found["refused"] > 0 || found["removed"]*2 != found["done"] {
		t.Errorf("%v, want as many filters removed as added and none refused", found)
	}
}

func checkTooLarge(t *testing.T, n int, found facts) {
	if found["cut"] < float64(n) || found["0x95"] != found["cut"] {
		t.Errorf("%v, want each told 0x95", found)
	}
	if found["bytes"] > 8*mib { // what the kernel's buffers hold
		t.Errorf("%v bytes were taken of one packet", found["bytes"])
	}
}

// The window of the silent is max-inflight.
func checkSilent(t *testing.T, _ int, found facts) {
	for i := range 8 {
		got := found[fmt.Sprint("got ", i)]
		atQoS0 := i == 2 || i == 7
		if !atQoS0 && got != 256 || atQoS0 && got == 0 {
			t.Errorf("subscriber %d got %v messages of %v", i, got, found["sent"])
		}
	}
}

func checkDeaf(t *testing.T, n int, found facts) {
	if found["sent"] < float64(n) {
		t.Errorf("%v were sent, want %d", found["sent"], n)
	}
}

func checkRetained(t *testing.T, n int, found facts) {
	if found["sent"] < float64(n) || found["refused"] > 0 {
		t.Errorf("%v, want %d sent and none refused", found, n)
	}
}

func checkSipped(t *testing.T, n int, found facts) {
	checkRetained(t, n, found)
	for i := range 4 {
		if found[fmt.Sprint("read ", i)] == 0 {
			t.Errorf("reader %d got nothing", i)
		}
	}
}
