package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/bench"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// little is a load that takes no time.
var little = []string{"bench", "--conversations", "2", "--members", "3", "--subscribers", "5", "--outstanding", "50",
	"--seconds", "0.2", "--warmup", "0", "--runs", "1"}

// measured runs parley bench and reads its JSON.
func measured(t *testing.T, args ...string) *bench.Report {
	t.Helper()
	t.Setenv("BE_PARLEY", "1") // this binary is the server that is started
	code, stdout, stderr := parley(t, nil, append(append(little, "--json"), args...)...)
	if code != exitOK {
		t.Fatalf("code %d, stderr %s", code, stderr)
	}
	var r bench.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	return &r
}

// checkReport checks that a report is about these servers, and that they did well.
func checkReport(t *testing.T, r *bench.Report, names ...string) {
	t.Helper()
	for _, c := range r.Cases {
		if len(c.Servers) != len(names) {
			t.Fatalf("%d servers, want %v", len(c.Servers), names)
		}
		for i, s := range c.Servers {
			if !strings.HasPrefix(s.Name, names[i]) || len(s.Runs) != 1 {
				t.Errorf("%d runs of %s, want one of %s", len(s.Runs), s.Name, names[i])
				continue
			}
			run := s.Runs[0]
			if faults := run.Faults(); len(faults) > 0 || run.Acknowledged == 0 || len(run.Processes) == 0 {
				t.Errorf("%s: %+v, %q", s.Name, run, faults)
			}
		}
	}
}

// Without a target a server is started for each run, with the embedded
// database or on Postgres, and gone afterwards with all it kept.
func TestBench(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	checkReport(t, measured(t, "--case", "chat"), "Parley, embedded database")
	checkReport(t, measured(t, "--case", "fanout", "--database-url", pgtest.URL(t)), "Parley, Postgres")
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// The table has all servers, and says how it was made without the password of
// the database.
func TestBenchTable(t *testing.T) {
	mosquitto, err := exec.LookPath("mosquitto")
	if err != nil {
		mosquitto = "/usr/sbin/mosquitto"
	}
	t.Setenv("BE_PARLEY", "1")
	url := strings.Replace(pgtest.URL(t), "postgres@", "postgres:"+otherSecret+"@", 1)
	code, stdout, stderr := parley(t, nil, append(little, "--table", "--case", "submit",
		"--against", "mosquitto="+mosquitto, "--database-url", url)...)
	if code != exitOK {
		t.Fatalf("code %d, stderr %s", code, stderr)
	}
	for _, want := range []string{"### 2 conversations, 3 senders each, no subscribers, QoS 1, 200 B, 16 in flight a sender",
		"| mosquitto 2.", " | Parley, embedded database | Parley, Postgres |", "| PUBACK p99, ms", "| acknowledged, not in the log",
		"    parley bench --table --case submit --against mosquitto=" + mosquitto + " --database-url postgres://… --seconds 0.2 --warmup 0 --runs 1"} {
		if !strings.Contains(spaces(stdout), spaces(want)) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout+stderr, otherSecret) {
		t.Error("the password is shown")
	}
}

func spaces(s string) string { return strings.Join(strings.Fields(s), " ") }

// A server that runs already is measured with the secret of its data folder.
func TestBenchTarget(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := serve(t, nil, append(anyPort, "--data-dir", dir)...)
	mqtt, http := s.addrs(t)
	r := measured(t, "--target", mqtt, "--http", "http://"+http+"/", "--data-dir", dir,
		"--pid", strconv.Itoa(os.Getpid()), "--also-pid", "parent="+strconv.Itoa(os.Getppid()))
	checkReport(t, r, "Parley "+mqtt)
	if got := r.Cases[0].Servers[0].Runs[0].Processes; len(got) != 2 || got[0].Name != "parent" || got[1].Name != "server" {
		t.Errorf("processes %+v", got)
	}
	// To a generator that knows of no tokens it is a broker that refuses.
	code, _, stderr := parley(t, nil, append(little, "--target", mqtt)...)
	if code != exitError || !strings.Contains(stderr, "refused the connection with code 4") {
		t.Errorf("code %d, stderr %s", code, stderr)
	}
}

// Users come and go on a server that is started, and it is right about them.
func TestBenchOnline(t *testing.T) {
	t.Setenv("BE_PARLEY", "1")
	code, stdout, stderr := parley(t, nil, "bench", "--online", "40", "--rooms", "3", "--members", "5", "--churn", "3", "--seconds", "1")
	if code != exitOK {
		t.Fatalf("code %d, stderr %s", code, stderr)
	}
	for _, want := range []string{"### 40 users online, each in 3 conversations of 5, 3 a second leave and come back",
		"| wrong in the end, of all | 0 |", "| broken connections | 0 |", "| Parley, embedded database: second | connected |"} {
		if !strings.Contains(spaces(stdout), want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
}

func TestBenchUsage(t *testing.T) {
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"case: ", []string{"--case", "dance"}},
		{"size: ", []string{"--size", "5"}},
		{"seconds, warmup: ", []string{"--seconds", "0"}},
		{"target: is missing", []string{"--http", "http://localhost"}},
		{"against: /bin/true is neither", []string{"--against", "x=/bin/true"}},
		{"jwks-url: ", []string{"--target", "h:1", "--http", "http://h", "--jwks-url", "https://h"}},
		{"idle: ", []string{"--idle=-1"}},
		{"over: ", []string{"--idle", "1", "--over", "pigeon"}},
		{"storm: ", []string{"--idle", "1", "--storm", "2"}},
		{"online: ", []string{"--online", "1"}},
		{"rooms: ", []string{"--online", "100", "--rooms", "0"}},
		{"members: ", []string{"--online", "5"}},
		{"churn: ", []string{"--online", "100", "--churn", "50"}},
		{"also-pid", []string{"--also-pid", "x=y"}},
	} {
		code, _, stderr := parley(t, nil, append([]string{"bench"}, tt.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) || len(lines(stderr)) != 1 {
			t.Errorf("%v: code %d, stderr %q, want %q", tt.args, code, stderr, tt.want)
		}
	}
}
