package browser_test

import (
	"fmt"
	"testing"
)

// TestKeyboard does without a mouse: signing in, choosing a conversation,
// sending, replying, editing, searching. Wherever the focus is, it shows.
func TestKeyboard(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("one", "One", "alice", "bob")
	s.conversation("two", "Two", "alice", "bob")
	s.say("two", "bob", "what about lunch?")
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	alice.open("/")
	alice.focused(id("signin-name"))
	alice.types("alice")
	alice.press("Enter")
	alice.ready()

	alice.tabTo(id("conversation", with("id", "two")))
	alice.press("ArrowDown")
	alice.focused(id("conversation", with("id", "one")))
	alice.press("ArrowUp")
	alice.press("Enter")
	alice.inside("two")
	alice.types("at noon")
	alice.press("Shift+Enter")
	alice.types("or later")
	alice.press("Enter")
	alice.reads([]string{"what about lunch?", "at noon\nor later"})

	alice.seqOf("at noon\nor later")
	alice.press("ArrowUp")
	alice.shows(id("editing"), "at noon")
	alice.shows(id("composer"), "or later")
	alice.types(" still")
	alice.press("Enter")
	alice.shows(id("message")+" "+id("edited"), "edited")
	alice.reads([]string{"what about lunch?", "at noon\nor later still"})
	alice.press("ArrowUp")
	alice.shows(id("editing"), "")
	alice.press("Escape")
	alice.lacks(id("editing"), "")

	// Back from the field to the messages, up to the one to reply to.
	alice.backTo(message(4))
	alice.press("ArrowUp")
	alice.focused(message(3))
	alice.tabTo(message(3) + " " + id("reply"))
	alice.press("Enter")
	alice.shows(id("replying"), "what about lunch?")
	alice.focused(id("composer"))
	alice.types("pizza")
	alice.press("Enter")
	alice.shows(message(alice.seqOf("pizza"))+" "+id("quote"), "what about lunch?")

	alice.press("Control+k")
	alice.focused(id("search"))
	alice.types("lunch")
	alice.shows(id("search-result"), "what about lunch?")
	alice.press("ArrowDown")
	alice.focused(id("search-result"))
	alice.focusShows()
	alice.press("Enter")
	alice.lacks(id("search-dialog"), "")
	alice.focused(message(3))

	// Closing what is open gives the focus back.
	alice.tabTo(id("composer"))
	alice.press("Control+k")
	alice.focused(id("search"))
	alice.press("Escape")
	alice.focused(id("composer"))
	alice.backTo(id("bell"))
	alice.press("Enter")
	alice.shows(id("notices"), "Nothing yet")
	alice.press("Escape")
	alice.lacks(id("notices"), "")
	alice.focused(id("bell"))
}

// tabTo presses Tab until something has the focus.
func (w *window) tabTo(css string) {
	w.t.Helper()
	w.tabs("Tab", css)
}

// backTo presses Shift+Tab until something has the focus.
func (w *window) backTo(css string) {
	w.t.Helper()
	w.tabs("Shift+Tab", css)
}

func (w *window) tabs(key, css string) {
	w.t.Helper()
	for range 60 {
		w.press(key)
		if get[bool](w, "!!document.activeElement?.matches("+quote(css)+")") {
			w.focusShows()
			return
		}
		if !get[bool](w, "document.activeElement === document.body") {
			w.focusShows()
		}
	}
	w.t.Fatalf("%s: 60 times %s do not lead to %s; the focus is on %s", w.name, key, css,
		get[string](w, "document.activeElement?.outerHTML.slice(0, 200)"))
}

// focusShows checks that what has the focus is in view and shows it: by an
// outline, or a field on the frame that it stands in.
func (w *window) focusShows() {
	w.t.Helper()
	wrong := get[string](w, `(() => {
		const e = document.activeElement;
		const what = e.outerHTML.slice(0, 160);
		const r = e.getBoundingClientRect();
		if (r.width === 0 || r.bottom <= 0 || r.top >= innerHeight || r.right <= 0 || r.left >= innerWidth) return "the focus is out of view: " + what;
		const s = getComputedStyle(e);
		if (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1) return "";
		if (!e.matches("input, textarea")) return "the focus does not show: " + what;
		const frames = () => [e, e.parentElement, e.parentElement?.parentElement].filter(Boolean)
			.map((x) => { const s = getComputedStyle(x); return [s.boxShadow, s.borderColor, s.outlineStyle].join(); }).join(";");
		const on = frames();
		e.blur();
		const off = frames();
		e.focus();
		return on === off ? "the focus does not show: " + what : "";
	})()`)
	if wrong != "" {
		w.t.Errorf("%s: %s", w.name, wrong)
	}
}

// TestNarrow is the app on a telephone: one thing at a time, and nothing wider
// than the screen.
func TestNarrow(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("one", "One", "alice", "bob")
	s.say("one", "bob", "hello")
	s.say("one", "bob", "averyveryverylongwordthathasnoplacetobreak"+fmt.Sprintf("%0100d", 0))
	c := startChrome(t)
	alice := c.browser("alice", s.url(), narrow)
	fits := func(where string) {
		t.Helper()
		if over := get[int](alice, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
			t.Errorf("%s is %d px wider than the screen", where, over)
		}
	}
	alice.open("/")
	fits("signing in")
	alice.introduce("alice")
	alice.ready()
	alice.shows(id("conversation", with("id", "one")), "One")
	alice.lacks(id("composer"), "")
	fits("the list")
	alice.click(id("conversation", with("id", "one")), "")
	alice.shows(id("log"), "hello")
	alice.lacks(id("conversation"), "")
	fits("the conversation")
	alice.click(id("composer"), "")
	alice.types("hi bob")
	alice.click(id("send"), "")
	alice.shows(id("message", with("sender", "alice")), "hi bob")
	alice.click(id("members-toggle"), "")
	alice.shows(id("member", with("user", "bob")), "bob")
	fits("the members")
	alice.click(`[aria-label="Close members"]`, "")
	alice.click(id("back"), "")
	alice.shows(id("conversation", with("id", "one")), "hi bob")
	alice.lacks(id("composer"), "")
}
