package browser_test

import (
	"testing"

	"github.com/parley-mqtt/parley/acl"
)

// TestAdmin is the operators' page: it shows who is connected, and what
// happens while it happens. It ends connections.
func TestAdmin(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("c1", "Talk", "alice", "bob")
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	bob := c.browser("bob", s.url(), wide)
	root := c.browser("root", s.url(), wide)
	alice.signIn()
	bob.signIn()
	alice.enter("c1")
	bob.enter("c1")

	root.open("/admin")
	root.introduce("root")
	root.shows(id("connection", with("user", "alice")), "MQTT 5")
	root.shows(id("connection", with("user", "bob")), "ws")
	root.shows(id("tile-connections"), "2")
	root.until("the charts have begun", `all(".plot").length >= 6`)
	plotted := root.plots()
	// What is published shows as a rate that is not 0, and the charts move.
	eventually(t, "the rate of messages shows", func() bool {
		s.say("c1", "bob", "tick")
		return get[bool](root, `!/\b0\/s/.test(all('[data-testid="tile-committed"]')[0].innerText) && /[1-9]/.test(all('[data-testid="tile-committed"]')[0].innerText)`)
	})
	root.until("commits take time", `/[1-9].* (µs|ms|s)/.test(all('[data-testid="tile-commit-p50"]')[0].innerText)`)
	for i, now := range root.plots() {
		if i < 2 && (now == plotted[i] || now == "") {
			t.Errorf("line %d has not moved: %q", i, now)
		}
	}

	root.click(id("filter"), "")
	root.types("ali")
	root.lacks(id("connection", with("user", "bob")), "")
	before := alice.requestsOf("WebSocket")
	root.click(id("connection", with("user", "alice"))+" "+id("disconnect"), "")
	root.click(id("disconnect-confirm"), "")
	// She is thrown out, and comes back by herself, without haste.
	alice.until("has lost the connection", `document.querySelector('[data-testid="status"]').dataset.state !== "online"`)
	alice.shows(id("banner", ".shown"), "An administrator ended the connection")
	alice.ready()
	if n := alice.requestsOf("WebSocket") - before; n != 1 {
		t.Errorf("%d connections after one was ended, want 1", n)
	}
	root.shows(id("connection", with("user", "alice")), "")
}

// plots are the lines of the charts, as SVG has them.
func (w *window) plots() []string {
	w.t.Helper()
	return get[[]string](w, `all(".plot").map((p) => p.getAttribute("d"))`)
}

// TestAdminWithoutScope is somebody who is no administrator: the page says so.
func TestAdminWithoutScope(t *testing.T) {
	s := startServer(t, "sqlite")
	c := startChrome(t)
	w := c.browser("alice", s.url(), wide)
	w.forgive(refused)
	w.open("/admin")
	w.click("summary", "token")
	w.click(id("signin-token"), "")
	w.pastes(s.token(acl.Claims{Subject: "alice"}))
	w.press("Enter")
	w.shows(id("signin-problem"), "scope admin")
	w.lacks(id("connections"), "")
	w.click(id("signin-token"), "")
	w.press("Control+a")
	w.pastes(s.token(acl.Claims{Subject: "alice", Scope: "admin"}))
	w.press("Enter")
	w.shows(id("tile-connections"), "0")
	s.rest("root admin", "POST", "/tokens/revoke", map[string]any{"sub": "alice"}, nil)
	w.shows(id("signin-problem"), "token")
	w.lacks(id("connections"), "")
}
