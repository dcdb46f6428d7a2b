package browser_test

import (
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// TestRemoved removes somebody who has the conversation open, and adds them
// again.
func TestRemoved(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := startServer(t, backend)
		s.conversation("team", "The team", "alice", "bob", "carol")
		c := startChrome(t)
		alice := c.browser("alice", s.url(), wide)
		carol := c.browser("carol", s.url(), wide)
		// What she asked for at the very moment is refused.
		carol.forgive(`status of 403 .*/conversations/team/`)
		alice.signIn()
		carol.signIn()
		alice.enter("team")
		carol.enter("team")
		alice.say("for all of us")
		carol.reads([]string{"for all of us"})

		alice.click(id("members-toggle"), "")
		alice.hover(id("member", with("user", "carol")), "")
		alice.click(id("member", with("user", "carol"))+" "+id("member-remove"), "")
		carol.shows(id("removed"), "You are not a member of The team any more")
		carol.lacks(id("composer"), "")
		alice.lacks(id("member", with("user", "carol")), "")
		alice.shows(id("event"), "alice removed carol")
		alice.say("our secret")
		alice.seqOf("our secret")
		s.say("team", "bob", "between us: the secret")
		alice.shows(id("message"), "between us")
		// Something else comes: what was to come before has.
		s.conversation("other", "Other", "bob", "carol")
		s.say("other", "bob", "something else")
		carol.unread("other", 1)
		carol.lacks("body", "secret")
		if carol.got("secret") {
			t.Error("carol's connection got what was said after she was removed")
		}

		alice.click(id("member-add"), "")
		alice.types("carol")
		alice.press("Enter")
		alice.shows(id("member", with("user", "carol")), "")
		carol.lacks(id("removed"), "")
		carol.shows(id("composer"), "")
		alice.say("welcome back")
		carol.shows(id("message"), "welcome back")
		carol.say("thanks")
		alice.shows(id("message"), "thanks")
		// Who is a member again may read it all.
		all := s.contents("carol", "team")
		carol.reads(all)
		alice.reads(all)
	})
}
