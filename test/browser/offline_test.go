package browser_test

import (
	"fmt"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// TestOffline has carol go offline while the others talk. She writes
// meanwhile, comes back and catches up: each message once, in one order.
func TestOffline(t *testing.T) {
	for _, tt := range []struct {
		name string
		says string
		cut  func(p *proxy, w *window)
		mend func(p *proxy, w *window)
	}{
		{"cut", "The server is out of reach", func(p *proxy, _ *window) { p.cut() }, func(p *proxy, _ *window) { p.mend() }},
		// The browser knows of it, as when Wi-Fi is turned off.
		{"network", "You are offline", func(p *proxy, w *window) { w.offline(true); p.cut() }, func(p *proxy, w *window) { p.mend(); w.offline(false) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, "sqlite")
			s.conversation("team", "The team", "alice", "bob", "carol")
			s.conversation("aside", "Aside", "alice", "carol")
			p := newProxy(t, s.web)
			c := startChrome(t)
			alice := c.browser("alice", s.url(), wide)
			carol := c.browser("carol", p.url(), wide)
			carol.forgive(unreachable)
			alice.signIn()
			carol.signIn()
			alice.enter("team")
			carol.enter("team")
			alice.say("all here?")
			carol.reads([]string{"all here?"})
			carol.lacks(id("banner", ".shown"), "")

			tt.cut(p, carol)
			carol.shows(id("banner"), tt.says)
			for i := range 55 {
				s.say("team", "bob", fmt.Sprintf("missed %d", i))
			}
			s.say("aside", "alice", "missed beside")
			carol.say("written offline 1")
			carol.say("written offline 2")
			carol.shows(id("banner"), "2 messages wait to be sent")
			carol.shows(id("message", with("state", "pending")), "written offline 2")
			alice.say("are you there?")
			alice.seqOf("are you there?")

			tt.mend(p, carol)
			carol.ready()
			carol.lacks(id("banner", ".shown"), "")
			carol.lacks(id("message", with("state", "pending")), "")
			carol.unread("aside", 1)
			alice.shows(id("message"), "written offline 2")
			all := s.contents("carol", "team")
			if len(all) != 59 {
				t.Errorf("%d messages stand, want 59: %q", len(all), all)
			}
			carol.reads(all)
			alice.reads(all)
			carol.say("back again")
			alice.reads(append(all, "back again"))
		})
	}
}

// TestKilledServer kills the server again and again while two people write.
// What a page showed as sent stands, and in the end both show what is
// committed, each message once.
func TestKilledServer(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := startServer(t, backend)
		s.conversation("c1", "Talk", "alice", "bob")
		c := startChrome(t)
		people := []*window{c.browser("alice", s.url(), wide), c.browser("bob", s.url(), wide)}
		for _, w := range people {
			w.forgive(unreachable)
			w.signIn()
			w.enter("c1")
		}
		var sent int
		acknowledged := map[string]bool{}
		talk := func(n int) {
			for range n {
				for _, w := range people {
					sent++
					w.say(fmt.Sprintf("%s %d", w.name, sent))
				}
			}
		}
		for range 3 { // what is written stays on one page of history
			talk(1)
			for i, w := range people { // it is up, and has taken some
				w.seqOf(fmt.Sprintf("%s %d", w.name, sent-1+i))
			}
			talk(1)
			for _, w := range people {
				for _, m := range w.messages() {
					if m.Sender == w.name && m.Seq != 0 {
						acknowledged[m.Text] = true
					}
				}
			}
			s.crash()
			talk(2)
			s.begin()
			talk(1)
			s.serving()
		}
		talk(1)
		for _, w := range people {
			w.ready()
			w.lacks(id("message", with("state", "pending")), "")
			w.lacks(id("banner", ".shown"), "")
		}
		all := s.contents("alice", "c1")
		if len(all) != sent {
			t.Errorf("%d messages stand, %d were written: %q", len(all), sent, all)
		}
		for text := range acknowledged {
			if !contains(all, text) {
				t.Errorf("%q was shown as sent and is lost", text)
			}
		}
		if len(acknowledged) < 6 {
			t.Errorf("only %d messages were seen acknowledged on the way", len(acknowledged))
		}
		for _, w := range people {
			w.reads(all)
			w.reload()
			w.ready()
			w.reads(all)
		}
	})
}

// TestReloadWithUnsent reloads the page, or closes its tab, while messages
// wait in it: they are sent once when the server is back.
func TestReloadWithUnsent(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("c1", "Talk", "alice", "bob")
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	bob := c.browser("bob", s.url(), wide)
	for _, w := range []*window{alice, bob} {
		w.forgive(unreachable)
		w.signIn()
		w.enter("c1")
	}
	s.crash()
	var want []string
	for i := range 3 {
		for _, w := range []*window{alice, bob} {
			want = append(want, fmt.Sprintf("%s %d", w.name, i))
			w.say(want[len(want)-1])
		}
	}
	for _, w := range []*window{alice, bob} {
		w.until("three messages wait", `all('[data-testid="message"][data-state="pending"]').length === 3`)
		w.shows(id("banner"), "3 messages wait")
	}
	alice.tryReload() // an error page: nobody serves it
	later := bob.another("bob")
	later.forgive(unreachable)
	bob.shut()
	s.start()

	alice.open("/#/c/c1")
	alice.ready()
	alice.inside("c1")
	later.signIn()
	later.enter("c1")
	for _, w := range []*window{alice, later} {
		w.until("all six messages are there", `all('[data-testid="message"]:not([data-state="pending"])').length === 6`)
	}
	all := s.contents("alice", "c1")
	if !sameSet(all, want) {
		t.Errorf("committed are %q, want each of %q once", all, want)
	}
	alice.reads(all)
	later.reads(all)
	alice.say("and on")
	later.reads(append(all, "and on"))
	if got := s.contents("bob", "c1"); len(got) != 7 {
		t.Errorf("committed are %q", got)
	}
}
