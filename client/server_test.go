package client_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(proctest.Runner{M: m}) }

// patience is how long something that must happen may take.
const patience = 30 * time.Second

// server is a parley on a database of its own, which may be killed and started
// again.
type server struct {
	t         testing.TB
	dir       string
	mqtt, web string
	more      []string            // arguments
	authority *certtest.Authority // of its certificate, if it has one
	now       *proctest.Process
}

func startServer(t testing.TB, more ...string) *server {
	t.Helper()
	ports := proctest.FreePorts(t, 2)
	return launch(&server{t: t, dir: t.TempDir(), mqtt: ports[0], web: ports[1], more: more})
}

// startTLSServer starts one that has TLS alone, with a certificate that nobody
// else knows.
func startTLSServer(t testing.TB) *server {
	t.Helper()
	ports := proctest.FreePorts(t, 2)
	s := &server{t: t, dir: t.TempDir(), web: ports[0], authority: certtest.New(t)}
	cert, key := s.authority.WritePair(s.dir)
	s.more = []string{"--mqtts-addr", ports[1], "--tls-cert", cert, "--tls-key", key}
	return launch(s)
}

func launch(s *server) *server {
	t := s.t
	t.Helper()
	s.start()
	return s
}

func (s *server) start() {
	s.t.Helper()
	p := proctest.Launch(s.t, s.dir, []string{"PARLEY_JWT_SECRET=" + parleytest.Secret, "HOME=" + s.dir}, proctest.Program,
		append([]string{"serve", "--mqtt-addr", s.mqtt, "--http-addr", s.web}, s.more...)...)
	s.now = p
	s.t.Cleanup(func() {
		p.Kill()
		if s.t.Failed() {
			s.t.Logf("the server said:\n%s", &p.Stderr)
		}
	})
	eventually(s.t, "the server is ready", func() bool {
		ask, url := plain, "http://"+s.web
		if s.authority != nil {
			ask = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.authority.Trust()}, Timeout: 10 * time.Second}
			url = "https://" + s.web
		}
		r, err := ask.Get(url + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// plain keeps no connections, which would count as leaks.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

// kill ends the server as a crash does.
func (s *server) kill() { s.now.Kill() }

// eventually waits until something is so.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	proctest.Eventually(t, patience, what, ok)
}

// mint makes tokens of a user.
func mint(t testing.TB, user string, ttl time.Duration) client.TokenFunc {
	return func(context.Context) (string, error) {
		return parleytest.Token(t, acl.Claims{Subject: user, TTL: ttl}), nil
	}
}

// options are those of a client of the user, over WebSocket.
func (s *server) options(user string) client.Options {
	return client.Options{URL: "http://" + s.web, Token: mint(s.t, user, time.Hour),
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 200 * time.Millisecond}
}

// connect makes a client that is closed when the test ends.
func connect(t testing.TB, o client.Options) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// conversation makes a conversation with these members.
func conversation(t testing.TB, owner *client.Client, id string, members ...string) {
	t.Helper()
	if _, err := owner.CreateConversation(t.Context(), client.NewConversation{ID: id, Members: members}); err != nil {
		t.Fatal(err)
	}
}

// reader reads events and keeps them.
type reader struct {
	t      testing.TB
	mu     sync.Mutex
	events []client.Event
	done   chan struct{}
}

func read(t testing.TB, c *client.Client) *reader {
	r := &reader{t: t, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for ev := range c.Events() {
			r.mu.Lock()
			r.events = append(r.events, ev)
			r.mu.Unlock()
		}
	}()
	return r
}

// all gives what came so far.
func (r *reader) all() []client.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// entries gives the entries of a conversation that came so far.
func (r *reader) entries(conversation string) []client.Entry {
	var found []client.Entry
	for _, ev := range r.all() {
		if e, ok := ev.(client.Entry); ok && e.ConversationID == conversation {
			found = append(found, e)
		}
	}
	return found
}

// until waits for the entry with this seq.
func (r *reader) until(conversation string, seq uint64) []client.Entry {
	r.t.Helper()
	var all []client.Entry
	eventually(r.t, fmt.Sprintf("entry %d of %s comes", seq, conversation), func() bool {
		all = r.entries(conversation)
		return len(all) > 0 && all[len(all)-1].Seq >= seq
	})
	return all
}

// await waits for an event that a function knows.
func await[E client.Event](r *reader, what string, ok func(E) bool) E {
	r.t.Helper()
	var found E
	eventually(r.t, what, func() bool {
		for _, ev := range r.all() {
			if e, is := ev.(E); is && ok(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// inOrder checks that the entries follow each other without a gap, from first
// on.
func inOrder(t testing.TB, entries []client.Entry, first uint64) {
	t.Helper()
	for i, e := range entries {
		if want := first + uint64(i); e.Seq != want {
			t.Fatalf("entry %d came where %d should, among %d from %d on", e.Seq, want, len(entries), first)
		}
	}
}
