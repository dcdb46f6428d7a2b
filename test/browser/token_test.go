package browser_test

import (
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
)

// TestTokenRenewed has tokens that live for seconds: those who signed in by
// name see nothing of it, and lose nothing.
func TestTokenRenewed(t *testing.T) {
	s := startServer(t, "sqlite", "PARLEY_MAX_TOKEN_LIFE=10s")
	s.life = 10 * time.Second
	s.conversation("c1", "Talk", "alice", "bob")
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	alice.signIn()
	alice.enter("c1")
	alice.sayIfShown(id("signin"), id("ended"), id("banner", ".shown"))
	before := alice.requestsOf("POST /v1/dev/token")
	var want []string
	began := time.Now()
	eventually(t, "two more tokens were fetched, and the first has long ended", func() bool {
		want = append(want, time.Now().Format("at 05.000"))
		s.say("c1", "bob", want[len(want)-1])
		alice.shows(id("message"), want[len(want)-1])
		return alice.requestsOf("POST /v1/dev/token") >= before+2 && time.Since(began) > 15*time.Second
	})
	alice.say("still here")
	alice.reads(append(want, "still here"))
	t.Logf("%d tokens, %d connections", alice.requestsOf("POST /v1/dev/token"), alice.requestsOf("WebSocket"))
	if n := alice.requestsOf("POST /v1/dev/token"); n > before+10 {
		t.Errorf("%d tokens were asked for in %v", n-before, time.Since(began))
	}
	if seen := alice.saw(); len(seen) > 0 {
		t.Errorf("meanwhile the page showed %q", seen)
	}
}

// TestTokenRefused has a token refused for good, in three ways: the page says
// so at once, and does not go on asking.
func TestTokenRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		life time.Duration
		end  func(s *server, w *window)
	}{
		{"revoked", time.Hour, func(s *server, _ *window) {
			s.rest("root admin", "POST", "/tokens/revoke", map[string]any{"sub": "alice"}, nil)
		}},
		{"expired", 8 * time.Second, func(*server, *window) {}},
		{"revoked while the page was away", time.Hour, func(s *server, w *window) {
			s.crash()
			w.shows(id("banner"), "The server is out of reach")
			s.start()
			s.rest("root admin", "POST", "/tokens/revoke", map[string]any{"sub": "alice"}, nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, "sqlite")
			s.conversation("c1", "Talk", "alice", "bob")
			c := startChrome(t)
			alice := c.browser("alice", s.url(), wide)
			alice.forgive(refused + "|" + unreachable)
			alice.signInWith(s.token(acl.Claims{Subject: "alice", TTL: tt.life}))
			alice.enter("c1")
			tt.end(s, alice)
			alice.shows(id("signin"), "")
			alice.shows(id("signin-problem"), "token")
			alice.lacks(id("thread"), "")
			asked := alice.requestsOf("")

			// What was refused is not asked for again while others go on.
			bob := c.browser("bob", s.url(), wide)
			bob.signIn()
			bob.enter("c1")
			bob.say("alice?")
			bob.reads([]string{"alice?"})
			if n := alice.requestsOf("") - asked; n > 2 {
				t.Errorf("%d more requests after the page gave up: %q", n, alice.requests)
			}
			if n := alice.requestsOf("WebSocket"); n > 4 {
				t.Errorf("%d connections for one token", n)
			}
			if alice.requestsOf("WebSocket") == 0 {
				t.Error("no connection was seen at all")
			}
		})
	}
}
