package browser_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
)

// largest is how big a picture in the docs may be.
const largest = 150 << 10

// TestScreenshots takes the pictures of the docs, and checks that they fit
// into them. They are kept with -screenshots alone.
func TestScreenshots(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("lunch", "Lunch", "alice", "bob", "carol")
	s.conversation("release", "Release 1.0", "carol", "alice", "bob")
	s.rest("dave", "POST", "/conversations", map[string]any{"direct": "alice"}, nil)
	var direct struct {
		ID string `json:"id"`
	}
	s.rest("bob", "POST", "/conversations", map[string]any{"direct": "alice"}, &direct)
	first := s.say("lunch", "bob", "Anyone for lunch at noon?")
	s.say("lunch", "carol", "Yes! The new noodle place on the corner?")
	s.rest("alice", "POST", "/conversations/lunch/messages", map[string]any{"content": "I am in 🍜", "replyTo": first}, nil)
	s.rest("carol", "POST", "/conversations/lunch/messages", map[string]any{"type": "reaction", "target": first, "emoji": "👍"}, nil)
	s.rest("alice", "POST", "/conversations/lunch/messages", map[string]any{"type": "reaction", "target": first, "emoji": "👍"}, nil)
	s.say("lunch", "bob", "Here is the menu: https://example.com/noodles")
	second := s.say("lunch", "bob", "They do not take bookings for less than four, so let us be early")
	s.rest("bob", "POST", "/conversations/lunch/messages", map[string]any{"type": "edit", "target": second, "content": "They do not take bookings for less than six, so let us be early"}, nil)
	s.say("lunch", "alice", "Quarter to, then. Meet at the door?")
	s.say("release", "carol", "The notes are ready, please have a look")
	s.say("release", "bob", "@alice can you tag it tonight?")
	s.say(direct.ID, "bob", "Did you see the talk about logs?")
	s.rest("service notify", "POST", "/notifications", map[string]any{"recipientId": "alice", "senderId": "carol", "type": "LIKE"}, nil)

	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	bob := c.browser("bob", s.url(), wide)
	carol := c.browser("carol", s.url(), wide)
	for _, w := range []*window{alice, bob, carol} {
		w.signIn()
	}
	bob.enter("lunch")
	carol.enter("release")
	alice.enter("lunch")
	alice.shows(id("bell-count"), "1")
	alice.shows(id("seen-by", with("users", "bob")), "")
	bob.say("See you there 🎉")
	alice.shows(id("message"), "See you there")
	bob.types("and")
	alice.shows(id("typing"), "bob is typing")
	alice.picture("light")
	alice.as(look{width: wide.width, height: wide.height, dark: true})
	alice.click(id("members-toggle"), "")
	alice.shows(id("member", with("user", "carol")), "")
	alice.click(id("bell"), "")
	alice.shows(id("notice"), "New like from carol")
	alice.picture("dark")
	alice.press("Escape")
	alice.click(id("members-toggle"), "")
	bob.types(" bring")
	alice.as(narrow)
	alice.shows(id("typing"), "bob is typing")
	alice.picture("narrow")

	root := c.browser("root", s.url(), wide)
	root.open("/admin")
	root.introduce("root")
	root.shows(id("connection", with("user", "carol")), "")
	// Two seconds a point: a picture that is kept shows more than half a minute.
	points := 3
	if *screenshots != "" {
		points = 20
	}
	for said := 0; get[int](root, `Math.max(0, ...all(".plot").map((p) => (p.getAttribute("d").match(/[ML]/g) ?? []).length))`) < points; said++ {
		for range 1 + said/7%4 {
			s.say("release", "carol", fmt.Sprintf("note %d", said))
		}
	}
	root.picture("admin")
}

// picture keeps what a window shows.
func (w *window) picture(name string) {
	w.t.Helper()
	call(w, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: 1, Y: 1})
	get[bool](w, `(document.getAnimations().forEach((a) => a.finish && a.effect.getComputedTiming().endTime !== Infinity && a.finish()), true)`)
	shot := call(w, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	if len(shot.Data) > largest {
		w.t.Errorf("the picture %s has %d bytes, more than %d", name, len(shot.Data), largest)
	}
	dir := *screenshots
	if dir == "" {
		dir = folder(w.t)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), shot.Data, 0o644); err != nil {
		w.t.Fatal(err)
	}
}
