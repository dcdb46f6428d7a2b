package browser_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestAccessible has axe look for what keeps people out, on every page, light,
// dark and narrow.
func TestAccessible(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("team", "The team", "alice", "bob", "carol")
	for i := range 6 {
		s.say("team", "bob", fmt.Sprintf("message %d with https://example.com/a/link and @alice", i))
	}
	s.conversation("other", "Other", "bob", "alice")
	s.say("other", "bob", "unread")
	s.rest("service notify", "POST", "/notifications", map[string]any{"recipientId": "alice", "senderId": "bob", "type": "LIKE"}, nil)
	looks := []struct {
		name string
		look look
	}{{"light", wide}, {"dark", look{width: wide.width, height: wide.height, dark: true}}, {"narrow", narrow}}

	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	check := func(page string) {
		t.Helper()
		for _, l := range looks {
			alice.as(l.look)
			alice.sound(page + ", " + l.name)
		}
		alice.as(wide)
	}
	alice.open("/")
	alice.shows(id("signin-name"), "")
	check("signing in")
	alice.click("summary", "token")
	alice.click(id("signin-token"), "")
	alice.types("no token")
	alice.forgive(refused)
	alice.press("Enter")
	alice.shows(id("signin-problem"), "token")
	check("a token that does not hold")
	alice.introduce("alice")
	alice.ready()
	check("the list")
	alice.enter("team")
	seq := s.say("team", "bob", "the last one")
	alice.does(seq, "react")
	check("picking a reaction")
	alice.click(`.picker [aria-label="🎉"]`, "")
	alice.shows(id("reaction"), "")
	alice.does(seq, "reply")
	alice.say("a reply")
	alice.does(alice.seqOf("a reply"), "delete")
	check("a conversation, about to delete")
	alice.press("Escape")
	alice.click(id("members-toggle"), "")
	alice.shows(id("member"), "")
	check("the members")
	alice.click(id("members-toggle"), "")
	alice.click(id("bell"), "")
	alice.shows(id("notice"), "")
	check("notifications")
	alice.press("Escape")
	alice.click(id("new-conversation"), "")
	check("a new conversation")
	alice.press("Escape")
	alice.press("Control+k")
	alice.focused(id("search"))
	alice.types("message")
	alice.shows(id("search-result"), "")
	check("search")
	alice.press("Escape") // empties the field
	alice.press("Escape")
	alice.lacks(id("search-dialog"), "")
	s.rest("alice", "DELETE", "/conversations/team/members/alice", nil, nil)
	alice.shows(id("removed"), "")
	check("removed")

	alice.open("/admin")
	alice.introduce("root")
	alice.shows(id("connection"), "alice")
	check("administration")
}

// sound has axe check the page as it is.
func (w *window) sound(where string) {
	w.t.Helper()
	axe, err := os.ReadFile("../../web/node_modules/axe-core/axe.min.js")
	if err != nil {
		w.t.Fatal(err)
	}
	type finding struct {
		ID, Impact, Help string
		Nodes            []string
	}
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	// The protocol's evaluate is not held by the content security policy.
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]finding](`(async () => {
		if (!window.axe) {`+string(axe)+`}
		await Promise.all(document.getAnimations().map((a) => a.finished.catch(() => {})));
		const r = await axe.run(document, {resultTypes: ["violations"]});
		return r.violations.map((v) => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.map((n) => n.html.slice(0, 200) + " -- " + n.failureSummary)}));
	})()`, chromedp.EvalAwaitPromise))
	w.must("axe", err)
	for _, f := range found {
		if f.Impact == "serious" || f.Impact == "critical" {
			w.t.Errorf("%s: %s (%s): %s\n%.1500s", where, f.ID, f.Impact, f.Help, strings.Join(f.Nodes, "\n"))
		}
	}
}
