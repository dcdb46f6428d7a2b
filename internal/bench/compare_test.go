package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// counted is a tiny broker as a server, which notes that it was used.
func counted(t *testing.T, name string, f fault, uses *[]string) Server {
	return Server{Name: name, Start: func(context.Context) (*Target, func() error, error) {
		*uses = append(*uses, name)
		b := newTiny(t, f)
		target := b.target()
		target.Name = name
		return target, func() error { b.close(); *uses = append(*uses, "/"+name); return nil }, nil
	}}
}

// Servers take turns, another one first each time, and a fresh one for each
// run.
func TestComparison(t *testing.T) {
	var uses []string
	var progress bytes.Buffer
	c := &Comparison{Loads: []Load{*talk(t), *fanout(t, 0)}, Runs: 2, Progress: &progress,
		Servers: []Server{counted(t, "a", fault{}, &uses), counted(t, "b", fault{payloads: at(5, 1, drop)}, &uses)}}
	r, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields("a /a b /b a /a b /b b /b a /a b /b a /a")
	if !slices.Equal(uses, want) {
		t.Errorf("used %v, want %v", uses, want)
	}
	for _, cr := range r.Cases {
		for i, s := range cr.Servers {
			if len(s.Runs) != 2 || s.Runs[0].Server != s.Name || (s.Runs[1].Lost > 0) != (i == 1) {
				t.Errorf("%s: %+v", s.Name, s.Runs)
			}
		}
	}
	if got := strings.Count(progress.String(), "deliveries lost"); got != 4 {
		t.Errorf("%d losses are told:\n%s", got, &progress)
	}
	if err := r.Err(); err != nil {
		t.Errorf("another broker's faults are an error: %v", err)
	}
	r.Cases[0].Servers[1].Runs[1].Parley = true
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "b, 2 conversations, 3 members each") ||
		!strings.Contains(err.Error(), "run 2: 1 deliveries lost") {
		t.Errorf("got %v", err)
	}
	if text, err := json.Marshal(r); err != nil || !strings.Contains(string(text), `"lost":1`) {
		t.Errorf("JSON: %v, %s", err, text)
	}
}

// A server that does not start, or does not stop, ends the comparison. What
// was found before is kept.
func TestComparisonFails(t *testing.T) {
	var uses []string
	broken := errors.New("broken")
	bad := counted(t, "bad", fault{}, &uses)
	start := bad.Start
	bad.Start = func(ctx context.Context) (*Target, func() error, error) {
		target, stop, err := start(ctx)
		return target, func() error { return errors.Join(stop(), broken) }, err
	}
	for _, s := range []Server{bad, {Name: "none", Start: func(context.Context) (*Target, func() error, error) {
		return nil, nil, broken
	}}} {
		c := &Comparison{Loads: []Load{*talk(t)}, Runs: 1, Servers: []Server{counted(t, "good", fault{}, &uses), s}}
		r, err := c.Run(t.Context())
		if !errors.Is(err, broken) || len(r.Cases[0].Servers[0].Runs) != 1 || len(r.Cases[0].Servers[1].Runs) != 0 {
			t.Errorf("%s: got %v, %+v", s.Name, err, r)
		}
	}
}

// A run that is interrupted ends at once, and leaves nothing behind.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newTiny(t, fault{pubacks: func(n int) int {
		if n == 20 {
			cancel()
		}
		return 1
	}})
	p := newParleyREST(t, b)
	load := talk(t)
	load.stopAfter = 0
	if _, err := Run(ctx, load, p.target()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if p.removed != 2 {
		t.Errorf("%d conversations removed", p.removed)
	}
}

// A process that ends during a run makes its cost unknown, which is an error
// and not a 0.
func TestProcessGone(t *testing.T) {
	target := newTiny(t, fault{}).target()
	target.Processes = []Process{{"ghost", 1 << 30}}
	if _, err := Run(t.Context(), talk(t), target); err == nil || !strings.Contains(err.Error(), "(ghost) is gone") {
		t.Errorf("got %v", err)
	}
}

func TestMarkdown(t *testing.T) {
	run := func(msgs, cpu float64, lost uint64) *Result {
		r := &Result{Messages: msgs, Deliveries: 10 * msgs, Delivery: Latency{P50: 0.1234, P90: 1.5, P99: 12.34, Max: 1234.5}}
		r.Processes = []ProcessCost{{Name: "postgres", CPU: cpu, PerDelivery: 2}, {Name: ServerProcess, CPU: 2 * cpu, PerDelivery: 4, RSSBefore: 10, RSSAfter: 20}}
		r.Lost = lost
		return r
	}
	other := run(5, 0, 0)
	other.Processes = nil
	other.Broken = []string{"connection of x: EOF", "connection of y: EOF"}
	r := &Report{Machine: Machine{System: "linux/amd64 6", CPUs: 2, CPU: "Fast", Go: "go1", TempInRAM: true}, Began: time.Unix(0, 0).UTC(),
		Cases: []CaseReport{{Load: *talk(t), Servers: []ServerReport{
			{"one", []*Result{run(3000, 1, 0), run(1000, 3, 7), run(2000, 2, 0)}}, {"another", []*Result{other}}}}}}
	var b bytes.Buffer
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	want := `### 2 conversations, 3 members each, QoS 1, 200 B, 1 in flight a sender

|                                  | one                    | another |
| -------------------------------- | ---------------------- | ------- |
| msgs/s                           | 2,000 (1,000–3,000)    | 5       |
| deliveries/s                     | 20,000 (10,000–30,000) | 50      |
| delivery p50, ms                 | 0.12                   | 0.12    |
| delivery p90, ms                 | 1.50                   | 1.50    |
| delivery p99, ms                 | 12.3                   | 12.3    |
| delivery max, ms                 | 1,234                  | 1,234   |
| server CPU, s                    | 4.00 (2.00–6.00)       |         |
| server CPU, µs/delivery          | 4.00                   |         |
| postgres CPU, s                  | 2.00 (1.00–3.00)       |         |
| postgres CPU, µs/delivery        | 2.00                   |         |
| generator CPU, s                 | 0                      | 0       |
| generator CPU, µs/delivery       | 0                      | 0       |
| server RSS before, MiB           | 10.0                   |         |
| server RSS after, MiB            | 20.0                   |         |
| lost                             | 0 (0–7)                | 0       |
| duplicated                       | 0                      | 0       |
| out of order                     | 0                      | 0       |
| conversations in differing order | 0                      | 0       |
| broken connections               | 0                      | 2       |

another, run 1: connection of x: EOF

1970-01-01. linux/amd64 6, 2 CPUs (Fast), go1. The folder for temporary files is in memory: a commit of the embedded database costs no disk; set TMPDIR.
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if m := thisMachine(); m.CPUs < 1 || m.Go == "" || m.System == "" {
		t.Errorf("got %+v", m)
	}
	if got := cpuModel([]byte("processor : 0\nmodel name\t: Fast CPU\n")); got != "Fast CPU" {
		t.Errorf("got %q", got)
	}
}

// mosquitto is the real one. Debian keeps it off the PATH of most users.
func mosquitto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/mosquitto")
	}
	if err != nil {
		t.Fatalf("%v (make test installs it)", err)
	}
	return path
}

// With a real broker nothing is found wrong, everything is counted, and the
// broker is gone afterwards.
func TestMosquitto(t *testing.T) {
	path := mosquitto(t)
	if got := MosquittoVersion(t.Context(), path); !strings.Contains(got, ".") {
		t.Errorf("version %q", got)
	}
	loads := []Load{
		{Case: Fanout, Subscribers: 10, QoS: 0, Outstanding: 1000},
		{Case: Fanout, Subscribers: 10, QoS: 1, Outstanding: 1000},
		{Case: Topic, Subscribers: 10, QoS: 1, Outstanding: 1000},
		{Case: Chat, Conversations: 5, Members: 4, QoS: 1},
		{Case: Chat, Conversations: 5, Members: 4, QoS: 1, Rate: 1000},
		{Case: Submit, Conversations: 5, Members: 4, QoS: 1},
	}
	for i := range loads {
		loads[i].stopAfter, loads[i].Measure = 500, time.Minute
		if err := loads[i].Fill(); err != nil {
			t.Fatal(err)
		}
	}
	c := &Comparison{Loads: loads, Runs: 1, Servers: []Server{NewMosquitto("mosquitto", path, nil)}}
	r, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, cr := range r.Cases {
		got := cr.Servers[0].Runs[0]
		readers := uint64(4)
		switch cr.Load.Case {
		case Fanout, Topic:
			readers = 10
		case Submit:
			readers = 0
		}
		if len(got.Faults()) > 0 || got.Sent < 500 || got.Delivered != readers*got.Sent || got.Messages == 0 ||
			(got.Deliveries == 0) != (readers == 0) || got.Processes[0].RSSAfter < 1 {
			t.Errorf("%s: %+v, %q", cr.Load.Describe(), got, got.Faults())
		}
		if latency := got.Delivery; readers > 0 && (latency.Count == 0 || latency.P50 <= 0 || latency.P50 > latency.P99 || latency.P99 > latency.Max) {
			t.Errorf("%s: %+v", cr.Load.Describe(), latency)
		}
	}
}

// What cannot be started says why.
func TestServersThatDoNotStart(t *testing.T) {
	for _, s := range []Server{NewMosquitto("m", "/nonexistent", nil), NewMosquitto("m", "/bin/false", nil),
		NewParley("p", "/nonexistent", "", nil, false), NewParley("p", "/bin/false", "", nil, false)} {
		if _, _, err := s.Start(t.Context()); err == nil || strings.Contains(err.Error(), "context") {
			t.Errorf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := NewParley("p", "/bin/cat", "", nil, false).Start(ctx); err == nil {
		t.Error("started")
	}
	if got := MosquittoVersion(t.Context(), "/bin/false"); got != "" {
		t.Errorf("version %q", got)
	}
}
