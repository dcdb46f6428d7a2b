package hostile_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// server is a running parley.
type server struct {
	t    testing.TB
	p    *proctest.Process
	mqtt string // host:port
	web  string // http://host:port
	http *http.Client
}

// startServer starts a server on an empty database.
func startServer(t testing.TB, backend string, settings ...string) *server {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s := &server{t: t, http: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
	args := append([]string{"serve", "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"}, settings...)
	if backend == "postgres" {
		args = append(args, "--migrate", "--database-url", pgtest.URL(t))
	}
	s.p = proctest.Launch(t, t.TempDir(), proctest.BareEnv("PARLEY_JWT_SECRET="+parleytest.Secret), proctest.Program, args...)
	proctest.Eventually(t, patience, "the server says where it listens", func() bool {
		if s.p.HasExited() {
			t.Fatalf("the server ended as it started: %v\n%s", s.p.Cmd.ProcessState, s.p.Stderr.Last(30))
		}
		s.mqtt, s.web = proctest.Listening(s.p.Stdout.String())
		return s.mqtt != "" && s.web != ""
	})
	t.Cleanup(s.look)
	return s
}

// look fails the test when the server has ended, or logged a defect.
func (s *server) look() {
	if s.p.HasExited() {
		s.t.Errorf("the server ended by itself: %v\n%s", s.p.Cmd.ProcessState, s.p.Stderr.Last(30))
	}
	text := s.p.Stderr.String()
	for _, word := range []string{"panic", "fatal error", "level=ERROR"} {
		if at := strings.Index(text, word); at >= 0 {
			s.t.Errorf("the server logged a defect:\n%.4000s", text[strings.LastIndex(text[:at], "\n")+1:])
			break
		}
	}
}

// conversation makes a conversation; its first member is the owner.
func (s *server) conversation(id string, members ...string) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"id": id, "members": members[1:]})
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, s.web+"/v1/conversations", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+parleytest.Token(s.t, acl.Claims{Subject: members[0], TTL: time.Hour}))
	res, err := s.http.Do(req)
	if err != nil {
		s.t.Fatalf("creating %s: %v", id, err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		s.t.Fatalf("creating %s: %s", id, res.Status)
	}
}

// metrics reads those without labels, and of the others the sum over all
// labels under their bare name.
func (s *server) metrics() map[string]float64 {
	s.t.Helper()
	res, err := s.http.Get(s.web + "/metrics")
	if err != nil {
		s.t.Fatalf("metrics: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	all := make(map[string]float64)
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(line, " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
			if bare, _, labelled := strings.Cut(name, "{"); labelled {
				all[bare] += v
			}
		}
	}
	return all
}

// left is what a server holds for its clients, beside memory.
type left struct{ connections, goroutines, files float64 }

func (s *server) left() left {
	s.t.Helper()
	m := s.metrics()
	return left{m["parley_mqtt_connections"], m["go_goroutines"], m["process_open_fds"]}
}
