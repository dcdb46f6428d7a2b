package browser_test

import (
	"fmt"
	"slices"
	"strings"
)

// What the tests hold on to are the test ids that web/app/src/main.tsx lists.

// id is what CSS calls the elements with a test id, and more about them.
func id(name string, more ...string) string {
	return `[data-testid="` + name + `"]` + strings.Join(more, "")
}

// with is an attribute, for id.
func with(name, value string) string { return `[data-` + name + `="` + value + `"]` }

// signIn opens the app and signs in by name.
func (w *window) signIn() {
	w.t.Helper()
	w.open("/")
	w.introduce(w.name)
	w.ready()
}

// introduce types a name into the page that asks for one.
func (w *window) introduce(name string) {
	w.t.Helper()
	w.click(id("signin-name"), "")
	w.types(name)
	w.press("Enter")
}

// signInWith signs in with a token.
func (w *window) signInWith(token string) {
	w.t.Helper()
	w.open("/")
	w.click("summary", "token")
	w.click(id("signin-token"), "")
	w.pastes(token)
	w.press("Enter")
	w.ready()
}

// ready waits until the page is signed in, connected and has all there is.
func (w *window) ready() {
	w.t.Helper()
	w.until("is signed in and online", `document.querySelector('[data-testid="status"]')?.dataset.state === "online" &&
		document.querySelector('[data-testid="status"]').dataset.ready === "true"`)
}

// enter opens a conversation from the list.
func (w *window) enter(conversation string) {
	w.t.Helper()
	w.click(id("conversation", with("id", conversation)), "")
	w.inside(conversation)
}

// inside waits until a conversation is open and one can write.
func (w *window) inside(conversation string) {
	w.t.Helper()
	w.shows(id("thread", with("id", conversation)), "")
	w.shows(id("log"), "")
	w.focused(id("composer"))
}

// say writes a message and sends it, without waiting for what becomes of it.
func (w *window) say(text string) {
	w.t.Helper()
	w.click(id("composer"), "")
	w.types(text)
	w.press("Enter")
	w.until("the message has left the field", `document.querySelector('[data-testid="composer"]').value === ""`)
}

// shown is a message as a page shows it.
type shown struct {
	Seq    int    `json:"seq"` // 0 while it is not sent
	Sender string `json:"sender"`
	State  string `json:"state"` // sent, delivered, read, pending, failed, received
	Text   string `json:"text"`
}

// messages are all that the open conversation shows, from top to bottom.
func (w *window) messages() []shown {
	w.t.Helper()
	return get[[]shown](w, `all('[data-testid="message"]').map((m) => ({seq: Number(m.dataset.seq ?? 0), sender: m.dataset.sender,
		state: m.dataset.state, text: m.querySelector('[data-testid="message-text"]')?.innerText ?? ""}))`)
}

// reads waits until the open conversation shows exactly these messages.
func (w *window) reads(want []string) {
	w.t.Helper()
	var got []string
	defer func() {
		if w.t.Failed() {
			w.t.Logf("%s reads %d messages: %q\nwant %d: %q", w.name, len(got), got, len(want), want)
		}
	}()
	eventually(w.t, fmt.Sprintf("%s reads the %d messages, each once and in order", w.name, len(want)), func() bool {
		got = got[:0]
		for _, m := range w.messages() {
			got = append(got, m.Text)
		}
		return slices.Equal(got, want)
	})
}

// message is the CSS of a message that is committed.
func message(seq uint64) string { return id("message", with("seq", fmt.Sprint(seq))) }

// seqOf waits until a message that says this is committed, and gives its seq.
func (w *window) seqOf(text string) uint64 {
	w.t.Helper()
	var seq int
	eventually(w.t, fmt.Sprintf("%s sees %q committed", w.name, text), func() bool {
		for _, m := range w.messages() {
			if m.Text == text {
				seq = m.Seq
			}
		}
		return seq != 0
	})
	return uint64(seq)
}

// does clicks one of the tools of a message: react, reply, edit or delete.
func (w *window) does(seq uint64, tool string) {
	w.t.Helper()
	w.hover(message(seq)+" .bubble", "")
	w.click(message(seq)+" "+id(tool), "")
}

// badge waits until an unread badge of a conversation has this number.
func (w *window) unread(conversation string, n int) {
	w.t.Helper()
	w.shows(id("conversation", with("id", conversation), with("unread", fmt.Sprint(n))), "")
}
