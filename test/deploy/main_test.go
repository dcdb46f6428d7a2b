package deploy_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Runner{M: proctest.Runner{M: m}}) }

// patience is how long anything may take that must happen.
const patience = 30 * time.Second

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	proctest.Eventually(t, patience, what, so)
}

// server is a parley serve that runs.
type server struct {
	*proctest.Process
	program   string   // "" is the one that was built
	data      string   // its data folder; "" is a new one
	args      []string // further flags
	mqtt, web string   // addresses; "" are chosen
}

// start starts a server and waits until it serves.
func start(t testing.TB, s server) *server {
	t.Helper()
	if s.program == "" {
		s.program = proctest.Program
	}
	if s.data == "" {
		s.data = t.TempDir()
	}
	if s.mqtt == "" {
		ports := proctest.FreePorts(t, 2)
		s.mqtt, s.web = ports[0], ports[1]
	}
	args := append([]string{"serve", "--data-dir", s.data, "--mqtt-addr", s.mqtt, "--http-addr", s.web}, s.args...)
	s.Process = proctest.Launch(t, t.TempDir(), proctest.BareEnv("PARLEY_JWT_SECRET="+parleytest.Secret), s.program, args...)
	eventually(t, "the server serves", func() bool {
		if s.HasExited() {
			t.Fatalf("the server ended as it started\n%s", s.Stderr.String())
		}
		_, web := proctest.Listening(s.Stdout.String())
		return web != ""
	})
	return &s
}

func token(t testing.TB, user, scope string) string {
	t.Helper()
	return parleytest.Token(t, acl.Claims{Subject: user, Scope: scope, TTL: time.Hour})
}
