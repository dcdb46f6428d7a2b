package browser_test

import (
	"testing"
)

// TestTwoTabs has one person in two tabs of a browser: both show the same, and
// what is written in either is sent once.
func TestTwoTabs(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("c1", "Talk", "alice", "bob")
	c := startChrome(t)
	one := c.browser("alice", s.url(), wide)
	two := one.another("alice")
	bob := c.browser("bob", s.url(), wide)
	for _, w := range []*window{one, two, bob} {
		w.forgive(unreachable)
		w.signIn()
	}
	bob.enter("c1")
	bob.say("one")
	bob.say("two")
	one.unread("c1", 2)
	two.unread("c1", 2)
	one.enter("c1")
	two.unread("c1", 0) // what was read in the one is read in the other
	two.enter("c1")
	one.say("from the first tab")
	two.say("from the second tab")
	want := []string{"one", "two", "from the first tab", "from the second tab"}
	for _, w := range []*window{one, two, bob} {
		w.until("all four are there", `all('[data-testid="message"]:not([data-state="pending"])').length === 4`)
	}
	if got := s.contents("bob", "c1"); !sameSet(got, want) {
		t.Fatalf("committed are %q, want each of %q once", got, want)
	}

	// Both have unsent messages in the outbox that they share.
	s.crash()
	one.say("unsent 1")
	two.say("unsent 2")
	one.shows(id("message", with("state", "pending")), "unsent 1")
	two.shows(id("message", with("state", "pending")), "unsent 2")
	s.start()
	for _, w := range []*window{one, two, bob} {
		w.ready()
		w.until("all six are there", `all('[data-testid="message"]:not([data-state="pending"])').length === 6`)
		w.lacks(id("message", with("state", "pending")), "")
	}
	all := s.contents("bob", "c1")
	if !sameSet(all, append(want, "unsent 1", "unsent 2")) {
		t.Fatalf("committed are %q", all)
	}
	for _, w := range []*window{one, two, bob} {
		w.reads(all)
	}
}
