package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// server is a parley that is started, killed and started again on the same
// data and the same ports.
type server struct {
	t       testing.TB
	program string
	dir     string // the folder it runs in
	env     []string
	mqtt    string // addresses
	web     string
	rest    *rest
	now     *proctest.Process   // nil before the first start
	all     []*proctest.Process // what ran
}

// options change a server before its first start.
type options struct {
	program string   // another binary
	dsn     string   // of a Postgres database that is there
	env     []string // further settings
}

// newServer prepares a server on an empty database. It is not started.
func newServer(t testing.TB, backend string, o options) *server {
	t.Helper()
	s := &server{t: t, program: o.program, dir: t.TempDir()}
	if s.program == "" {
		s.program = proctest.Program
	}
	s.env = proctest.BareEnv(append(o.env, "PARLEY_JWT_SECRET="+parleytest.Secret)...)
	if backend == "postgres" {
		if o.dsn == "" {
			o.dsn = pgtest.URL(t)
		}
		s.env = append(s.env, "PARLEY_DATABASE_URL="+o.dsn)
		run(t, s.dir, s.env, s.program, "migrate")
	}
	ports := proctest.FreePorts(t, 2)
	s.mqtt, s.web = ports[0], ports[1]
	s.rest = newREST(t, s.web)
	t.Cleanup(s.cleanup)
	return s
}

// startServer prepares a server and starts it.
func startServer(t testing.TB, backend string, o options) *server {
	t.Helper()
	s := newServer(t, backend, o)
	s.start()
	return s
}

// start starts the server and waits until it says that it serves.
func (s *server) start() {
	s.t.Helper()
	s.begin()
	p := s.now
	proctest.Eventually(s.t, patience, "the server says where it listens", func() bool {
		if p.HasExited() {
			s.t.Fatalf("the server ended with code %d as it started\n%s", p.Code(), p.Stderr.Last(30))
		}
		mqtt, web := proctest.Listening(p.Stdout.String())
		return mqtt != "" && web != ""
	})
	if mqtt, web := proctest.Listening(p.Stdout.String()); mqtt != s.mqtt || web != "http://"+s.web {
		s.t.Fatalf("the server listens on %s and %s, want %s and http://%s", mqtt, web, s.mqtt, s.web)
	}
	if status := s.rest.status("/readyz"); status != http.StatusOK {
		s.t.Fatalf("/readyz is %d after the start", status)
	}
}

// begin starts the server and does not wait.
func (s *server) begin() {
	s.t.Helper()
	s.now = proctest.Launch(s.t, s.dir, s.env, s.program, "serve", "--mqtt-addr", s.mqtt, "--http-addr", s.web)
	s.all = append(s.all, s.now)
}

// alive fails the test when the server has ended by itself.
func (s *server) alive() {
	s.t.Helper()
	if s.now.HasExited() {
		s.t.Fatalf("the server ended by itself with code %d\n%s", s.now.Code(), s.now.Stderr.Last(30))
	}
}

// crash kills the server with SIGKILL. Nothing is left of it then but what it
// gave to the system.
func (s *server) crash() {
	s.t.Helper()
	s.alive()
	s.now.Kill()
}

// letRun lets time pass, and fails the test when the server ends meanwhile.
// This is the random moment at which something is done to the server; there is
// no event to wait for.
func (s *server) letRun(d time.Duration) {
	s.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.now.Exited():
		s.alive()
	}
}

// words that stand in the server's log when something is wrong in it, whatever
// is done to it from outside.
var defects = []string{"panic", "DATA RACE", "fatal error", "level=ERROR"}

// cleanup stops the server and looks through what it logged.
func (s *server) cleanup() {
	for i, p := range s.all {
		p.Kill()
		text := p.Stderr.String()
		for _, word := range defects {
			if at := strings.Index(text, word); at >= 0 {
				lines := text[strings.LastIndex(text[:at], "\n")+1:]
				s.t.Errorf("run %d logged a defect:\n%.4000s", i, lines)
				break
			}
		}
	}
	if s.t.Failed() && s.now != nil {
		s.t.Logf("the last lines of the server's log:\n%s", s.now.Stderr.Last(30))
	}
}

// token makes a token of the user that lives an hour.
func (s *server) token(user string) string {
	return parleytest.Token(s.t, acl.Claims{Subject: user, TTL: time.Hour})
}

// conversation makes a conversation; its first member is the owner. Their join
// entries are 1, 2, 3, … in this order.
func (s *server) conversation(id string, members ...string) {
	s.t.Helper()
	body := map[string]any{"id": id, "members": members[1:]}
	status, err := s.rest.do(http.MethodPost, "/v1/conversations", s.token(members[0]), body, nil)
	if err != nil || status != http.StatusCreated {
		s.t.Fatalf("creating %s: status %d, %v", id, status, err)
	}
}
