package browser_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/input"
)

// TestScroll goes up through 500 messages. What is looked at stays where it is
// while older messages come in above it.
func TestScroll(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("c1", "Talk", "alice", "bob")
	const n = 500
	for i := 1; i <= n; i++ {
		text := fmt.Sprintf("message %d", i)
		if i%7 == 0 {
			text += "\nwith a second line" // rows differ in height
		}
		s.say("c1", "bob", text)
	}
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	alice.signIn()
	alice.unread("c1", n)
	alice.enter("c1")
	alice.click(id("jump"), "") // it opens where what is new begins
	alice.until("the newest is in view", inView(n+2))
	alice.unread("c1", 0)

	pauseHistory(alice)
	for pages := 0; ; pages++ {
		request, more := wheelUp(alice)
		if !more {
			if pages < 8 {
				t.Errorf("the beginning was reached after %d pages", pages)
			}
			break
		}
		before := topmost(alice)
		call(alice, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: request})
		alice.until("older messages are there", fmt.Sprintf(`Number(all('[data-testid="message"]')[0].dataset.seq) < %d`, before.First))
		after := get[place](alice, placeOf(before.Seq))
		if d := after.Y - before.Y; d < -2 || d > 2 {
			t.Fatalf("message %d moved by %v px when older ones came", before.Seq, d)
		}
	}
	call(alice, fetch.Disable, cdp.Empty{})
	alice.shows(id("message", with("seq", "3")), "message 1")
	s.say("c1", "bob", "the newest")
	alice.shows(id("jump"), "1")
	alice.until("it is not in view", "!"+inView(n+3))
	alice.click(id("jump"), "")
	alice.until("the newest is in view", inView(n+3))
	alice.lacks(id("jump"), "")
	want := s.contents("alice", "c1")
	alice.reads(want)
}

// pauseHistory has requests for older messages wait until the test lets them
// go on.
func pauseHistory(w *window) {
	w.t.Helper()
	call(w, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "*/messages?*before=*view=folded*"}, {URLPattern: "*/messages?*view=folded*before=*"}}})
}

// wheelUp turns the mouse wheel until the page asks for older messages, or
// there are none.
func wheelUp(w *window) (request fetch.RequestID, more bool) {
	w.t.Helper()
	box := get[[]float64](w, `(() => { const r = all('[data-testid="log"]')[0].getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`)
	eventually(w.t, "the page asks for older messages, or is at the beginning", func() bool {
		select {
		case request = <-w.paused:
			more = true
			return true
		default:
		}
		if get[bool](w, `find(".log-start", "This is where it begins").length > 0`) {
			return true
		}
		// A delta of 0 would be left out, and is refused then.
		call(w, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseWheel,
			X: box[0], Y: box[1], DeltaX: 0.01, DeltaY: -400})
		return false
	})
	return request, more
}

// place is where a message lies.
type place struct {
	Seq   int     `json:"seq"`
	Y     float64 `json:"y"`
	First int     `json:"first"` // the first message of all
}

// topmost is the place of the first message in view, once the page is at rest.
func topmost(w *window) place {
	w.t.Helper()
	var at place
	eventually(w.t, "the log is at rest", func() bool {
		at = get[place](w, placeOf(0))
		return at == get[place](w, "frames().then(() => "+placeOf(0)+")")
	})
	return at
}

// placeOf is where a message lies, or the first one in view.
func placeOf(seq int) string {
	return fmt.Sprintf(`(() => {
		const ms = all('[data-testid="message"]');
		const top = all('[data-testid="log"]')[0].getBoundingClientRect().top;
		const m = ms.find((m) => %d ? Number(m.dataset.seq) === %d : m.getBoundingClientRect().top >= top);
		// Its text: a name may stand above it, and go when it is no longer the first.
		return {seq: Number(m.dataset.seq), y: m.querySelector(".bubble").getBoundingClientRect().top - top, first: Number(ms[0].dataset.seq)};
	})()`, seq, seq)
}
