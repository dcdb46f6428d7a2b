package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
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
	now     *process   // nil before the first start
	all     []*process // what ran
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
		s.program = program
	}
	s.env = bareEnv(append(o.env, "PARLEY_JWT_SECRET="+parleytest.Secret)...)
	if backend == "postgres" {
		if o.dsn == "" {
			o.dsn = pgtest.URL(t)
		}
		s.env = append(s.env, "PARLEY_DATABASE_URL="+o.dsn)
		run(t, s.dir, s.env, s.program, "migrate")
	}
	ports := freePorts(t, 2)
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

var (
	mqttLine = regexp.MustCompile(`(?m)^ +MQTT +(\S+:\d+)$`)
	httpLine = regexp.MustCompile(`(?m)^ +HTTP +(http://\S+:\d+) `)
)

// start starts the server and waits until it says that it serves.
func (s *server) start() {
	s.t.Helper()
	s.begin()
	p := s.now
	eventually(s.t, patience, "the server says where it listens", func() bool {
		if p.hasExited() {
			s.t.Fatalf("the server ended with code %d as it started\n%s", p.code, p.stderr.last(30))
		}
		text := p.stdout.String()
		return mqttLine.MatchString(text) && httpLine.MatchString(text)
	})
	text := p.stdout.String()
	if at := mqttLine.FindStringSubmatch(text)[1]; at != s.mqtt {
		s.t.Fatalf("MQTT listens on %s, want %s", at, s.mqtt)
	}
	if at := httpLine.FindStringSubmatch(text)[1]; at != "http://"+s.web {
		s.t.Fatalf("HTTP listens on %s, want http://%s", at, s.web)
	}
	if status := s.rest.status("/readyz"); status != http.StatusOK {
		s.t.Fatalf("/readyz is %d after the start", status)
	}
}

// begin starts the server and does not wait.
func (s *server) begin() {
	s.t.Helper()
	s.now = launch(s.t, s.dir, s.env, s.program, "serve", "--mqtt-addr", s.mqtt, "--http-addr", s.web)
	s.all = append(s.all, s.now)
}

// alive fails the test when the server has ended by itself.
func (s *server) alive() {
	s.t.Helper()
	if s.now.hasExited() {
		s.t.Fatalf("the server ended by itself with code %d\n%s", s.now.code, s.now.stderr.last(30))
	}
}

// crash kills the server with SIGKILL. Nothing is left of it then but what it
// gave to the system.
func (s *server) crash() {
	s.t.Helper()
	s.alive()
	s.now.kill()
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
	case <-s.now.exited:
		s.alive()
	}
}

// words that stand in the server's log when something is wrong in it, whatever
// is done to it from outside.
var defects = []string{"panic", "DATA RACE", "fatal error", "level=ERROR"}

// cleanup stops the server and looks through what it logged.
func (s *server) cleanup() {
	for i, p := range s.all {
		p.kill()
		text := p.stderr.String()
		for _, word := range defects {
			if at := strings.Index(text, word); at >= 0 {
				lines := text[strings.LastIndex(text[:at], "\n")+1:]
				s.t.Errorf("run %d logged a defect:\n%.4000s", i, lines)
				break
			}
		}
	}
	if s.t.Failed() && s.now != nil {
		s.t.Logf("the last lines of the server's log:\n%s", s.now.stderr.last(30))
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

// freePorts finds addresses that nobody listens on. They lie below the ports
// that the system gives to outgoing connections: while the server is down, a
// client that tries to reach it must not get its port.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var found []string
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		ln, err := net.Listen("tcp", addr)
		if err != nil || slices.Contains(found, addr) {
			continue
		}
		_ = ln.Close()
		if found = append(found, addr); len(found) == n {
			return found
		}
	}
	t.Fatal("no free ports")
	return nil
}
