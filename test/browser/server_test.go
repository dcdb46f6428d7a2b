package browser_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// server is a parley that is started, killed and started again on the same
// data and the same ports. People sign in to it by name.
type server struct {
	t      testing.TB
	dir    string // the folder it runs in
	env    []string
	args   []string
	mqtt   string // addresses
	web    string
	client *http.Client
	life   time.Duration       // of the tokens made here; an hour unless set
	now    *proctest.Process   // nil before the first start
	all    []*proctest.Process // what ran
}

// startServer starts a server on an empty database, with further settings.
func startServer(t testing.TB, backend string, env ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	s.env = proctest.BareEnv(append(env, "PARLEY_DEV_LOGIN=true")...)
	if backend == "postgres" {
		s.env = append(s.env, "PARLEY_DATABASE_URL="+pgtest.URL(t))
		s.args = []string{"--migrate"}
	}
	ports := proctest.FreePorts(t, 2)
	s.mqtt, s.web = ports[0], ports[1]
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport, Timeout: patience}
	t.Cleanup(s.cleanup)
	s.start()
	return s
}

// start starts the server and waits until it says that it serves.
func (s *server) start() {
	s.t.Helper()
	s.begin()
	s.serving()
}

// begin starts the server and does not wait.
func (s *server) begin() {
	s.t.Helper()
	p := proctest.Launch(s.t, s.dir, s.env, proctest.Program, append([]string{"serve", "--mqtt-addr", s.mqtt, "--http-addr", s.web}, s.args...)...)
	s.now, s.all = p, append(s.all, p)
}

// serving waits until the server says that it serves.
func (s *server) serving() {
	s.t.Helper()
	p := s.now
	eventually(s.t, "the server says where it listens", func() bool {
		if p.HasExited() {
			s.t.Fatalf("the server ended as it started\n%s", p.Stderr.Last(30))
		}
		_, web := proctest.Listening(p.Stdout.String())
		return web != ""
	})
	if _, at := proctest.Listening(p.Stdout.String()); at != s.url() {
		s.t.Fatalf("HTTP listens on %s, want %s", at, s.url())
	}
}

// crash kills the server with SIGKILL.
func (s *server) crash() {
	s.t.Helper()
	if s.now.HasExited() {
		s.t.Fatalf("the server ended by itself\n%s", s.now.Stderr.Last(30))
	}
	s.now.Kill()
}

func (s *server) url() string { return "http://" + s.web }

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
				s.t.Errorf("run %d logged a defect:\n%.4000s", i, text[strings.LastIndex(text[:at], "\n")+1:])
				break
			}
		}
	}
	if s.t.Failed() && s.now != nil {
		s.t.Logf("the last lines of the server's log:\n%s", s.now.Stderr.Last(30))
	}
}

// token makes a token as the server itself does for those who sign in by name.
func (s *server) token(c acl.Claims) string {
	s.t.Helper()
	secret, err := acl.LoadOrCreateSecret(filepath.Join(s.dir, "parley-data"))
	if err != nil {
		s.t.Fatal(err)
	}
	if c.TTL == 0 && c.Expires.IsZero() {
		c.TTL = cmp.Or(s.life, time.Hour)
	}
	token, err := acl.Mint(secret, c)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// rest asks the server as a user, with a scope where who has one after a
// space, "alice admin". The answer is decoded into the last argument unless
// that is nil. What is refused fails the test.
func (s *server) rest(who, method, path string, body, into any) {
	s.t.Helper()
	user, scope, _ := strings.Cut(who, " ")
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, s.url()+"/v1"+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token(acl.Claims{Subject: user, Scope: scope}))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		s.t.Fatalf("%s %s as %s: %s %v\n%s", method, path, who, res.Status, err, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
}

// conversation makes a conversation; its first member is the owner.
func (s *server) conversation(id, name string, members ...string) {
	s.t.Helper()
	s.rest(members[0], http.MethodPost, "/conversations", map[string]any{"id": id, "name": name, "members": members[1:]}, nil)
}

// say sends a message by REST and answers its seq.
func (s *server) say(conversation, user, content string) uint64 {
	s.t.Helper()
	var sent struct {
		Seq uint64 `json:"seq"`
	}
	s.rest(user, http.MethodPost, "/conversations/"+conversation+"/messages", map[string]any{"content": content}, &sent)
	return sent.Seq
}

// contents are what the messages of a conversation say, from the first to the
// last, as they are committed.
func (s *server) contents(user, conversation string) []string {
	s.t.Helper()
	var all []string
	for after := uint64(0); ; {
		var page struct {
			Items   []parleytest.Entry `json:"items"`
			HeadSeq uint64             `json:"headSeq"`
		}
		s.rest(user, http.MethodGet, fmt.Sprintf("/conversations/%s/messages?after=%d&limit=200", conversation, after), nil, &page)
		for _, e := range page.Items {
			if after = e.Seq; e.Type == "message" {
				all = append(all, e.Content)
			}
		}
		if after >= page.HeadSeq || len(page.Items) == 0 {
			return all
		}
	}
}

// folder is where the test keeps what is to be looked at when it failed.
func folder(t testing.TB) string {
	dir := t.ArtifactDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
