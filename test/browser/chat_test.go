package browser_test

import (
	"strconv"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// TestChat is two people in two browsers who do all that one does in a chat.
func TestChat(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := startServer(t, backend)
		c := startChrome(t)
		alice := c.browser("alice", s.url(), wide)
		bob := c.browser("bob", s.url(), wide)
		alice.signIn()
		bob.signIn()

		conversation := beginDirect(alice, "bob")
		bob.enter(conversation)
		typing(alice, bob)
		first := talk(alice, bob)
		changes(alice, bob, first)
		reading(alice, bob, conversation)
		presence(alice, bob)
	})
}

// beginDirect begins a conversation with somebody and gives its id.
func beginDirect(w *window, with string) string {
	w.t.Helper()
	w.click(id("new-conversation"), "")
	w.focused(id("new-members"))
	w.types(with)
	w.press("Enter")
	w.shows(id("thread-title"), with)
	w.focused(id("composer"))
	return get[string](w, `all('[data-testid="thread"]')[0].dataset.id`)
}

// typing shows while one types, and goes when the field is empty again.
func typing(alice, bob *window) {
	alice.t.Helper()
	alice.types("hm")
	bob.shows(id("typing"), "alice is typing")
	alice.press("Backspace")
	alice.press("Backspace")
	bob.lacks(id("typing"), "alice is typing")
	alice.types("so")
	bob.shows(id("typing"), "alice is typing")
	alice.press("Backspace")
	alice.press("Backspace")
}

// talk exchanges some messages and gives the seq of the first.
func talk(alice, bob *window) uint64 {
	alice.t.Helper()
	alice.say("hello bob")
	bob.reads([]string{"hello bob"})
	bob.lacks(id("typing"), "typing")
	bob.say("hello alice")
	alice.say("how are you?")
	for _, w := range []*window{alice, bob} {
		w.shows(id("message")+" "+id("message-text"), "how are you?")
	}
	bob.say("fine")
	alice.reads([]string{"hello bob", "hello alice", "how are you?", "fine"})
	bob.reads([]string{"hello bob", "hello alice", "how are you?", "fine"})
	return alice.seqOf("hello bob")
}

// changes are a reaction, an edit, a reply and a delete, as both see them.
func changes(alice, bob *window, first uint64) {
	alice.t.Helper()
	bob.does(first, "react")
	bob.click(`.picker [aria-label="🎉"]`, "")
	for _, w := range []*window{alice, bob} {
		w.shows(message(first)+" "+id("reaction", with("emoji", "🎉"), with("count", "1")), "")
	}
	alice.click(message(first)+" "+id("reaction"), "")
	bob.shows(message(first)+" "+id("reaction", with("count", "2")), "")
	alice.click(message(first)+" "+id("reaction"), "")
	bob.shows(message(first)+" "+id("reaction", with("count", "1")), "")

	alice.does(first, "edit")
	alice.shows(id("editing"), "hello bob")
	alice.shows(id("composer"), "hello bob")
	alice.types(" and all")
	alice.press("Enter")
	for _, w := range []*window{alice, bob} {
		w.shows(message(first)+" "+id("message-text"), "hello bob and all")
		w.shows(message(first)+" "+id("edited"), "edited")
	}

	bob.does(first, "reply")
	bob.shows(id("replying"), "hello bob and all")
	bob.say("to you too")
	reply := bob.seqOf("to you too")
	alice.shows(message(reply)+" "+id("quote"), "hello bob and all")

	alice.does(first, "delete")
	alice.click(message(first)+" "+id("delete-confirm"), "")
	for _, w := range []*window{alice, bob} {
		w.shows(message(first)+" "+id("message-text"), "Message deleted")
		w.lacks(message(first), "hello bob")
		w.shows(message(reply)+" "+id("quote"), "Message deleted")
		w.lacks(message(first)+" "+id("reaction"), "")
	}
}

// reading moves the marks of who has seen what, and the unread badge.
func reading(alice, bob *window, conversation string) {
	alice.t.Helper()
	alice.say("seen?")
	seq := alice.seqOf("seen?")
	alice.shows(id("message", with("seq", strconv.FormatUint(seq, 10)), with("state", "read")), "")
	alice.shows(message(seq)+" "+id("seen-by", with("users", "bob")), "")

	other := beginDirect(bob, "carol") // bob looks elsewhere
	alice.say("and now?")
	alice.say("bob?")
	last := alice.seqOf("bob?")
	bob.unread(conversation, 2)
	alice.shows(message(seq)+" "+id("seen-by", with("users", "bob")), "")
	alice.lacks(message(last)+" "+id("seen-by"), "")
	bob.enter(conversation)
	bob.unread(conversation, 0)
	alice.shows(message(last)+" "+id("seen-by", with("users", "bob")), "")
	bob.unread(other, 0)
}

// presence shows as a dot and in words, as people come and go.
func presence(alice, bob *window) {
	alice.t.Helper()
	alice.shows(id("thread-presence"), "online")
	bob.click(id("me"), "")
	bob.click(".menu-item", "Away")
	alice.shows(id("thread-presence"), "away")
	bob.click(id("me"), "")
	bob.click(id("sign-out"), "")
	bob.shows(id("signin"), "")
	alice.shows(id("thread-presence"), "last seen")
}

// TestBell is notifications that a service sends.
func TestBell(t *testing.T) {
	s := startServer(t, "sqlite")
	c := startChrome(t)
	bob := c.browser("bob", s.url(), wide)
	bob.signIn()
	bob.lacks(id("bell-count"), "")
	notify := func(kind string) {
		s.rest("service notify", "POST", "/notifications", map[string]any{"recipientId": "bob", "senderId": "alice", "type": kind,
			"data": map[string]any{"postId": "p1"}}, nil)
	}
	bob.listen(id("toasts"))
	notify("LIKE")
	bob.shows(id("bell-count"), "1")
	bob.hears("New like from alice")
	notify("FOLLOW")
	bob.shows(id("bell-count"), "2")

	bob.click(id("bell"), "")
	bob.until("both notices show, the newest first", `JSON.stringify(all('[data-testid="notice"]').map((n) => n.dataset.read)) === '["false","false"]'`)
	bob.shows(id("notice"), "New follow from alice")
	bob.click(id("notice"), "New like from alice")
	bob.shows(id("bell-count"), "1")
	bob.until("the one that was clicked is read", `JSON.stringify(all('[data-testid="notice"]').map((n) => n.dataset.read)) === '["false","true"]'`)
	notify("COMMENT")
	bob.shows(id("bell-count"), "2")
	bob.shows(id("notice"), "New comment from alice")
	bob.click(id("notices-read-all"), "")
	bob.lacks(id("bell-count"), "")
	bob.until("all are read", `all('[data-testid="notice"]').every((n) => n.dataset.read === "true")`)

	var unread struct {
		UnreadCount int `json:"unreadCount"`
	}
	if s.rest("bob", "GET", "/notifications/unread", nil, &unread); unread.UnreadCount != 0 {
		t.Errorf("the server counts %d unread", unread.UnreadCount)
	}
	bob.reload()
	bob.ready()
	bob.lacks(id("bell-count"), "")
}

// TestMention is a message that names somebody, who is told wherever they are.
func TestMention(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("team", "The team", "alice", "bob", "carol")
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	bob := c.browser("bob", s.url(), wide)
	alice.signIn()
	bob.signIn()
	alice.enter("team")
	alice.types("look, @bo")
	alice.shows("#naming [role=option]", "bob")
	alice.press("Enter")
	alice.types("here")
	alice.press("Enter")
	alice.reads([]string{"look, @bob here"})
	bob.shows(id("bell-count"), "1")
	bob.click(id("bell"), "")
	bob.shows(id("notice"), "alice mentioned you in The team")
	bob.click(id("notice"), "")
	bob.shows(id("thread", with("id", "team")), "")
	bob.reads([]string{"look, @bob here"})
	bob.lacks(id("bell-count"), "")
}

// TestSearch finds a message among many and leads to it.
func TestSearch(t *testing.T) {
	s := startServer(t, "sqlite")
	s.conversation("plans", "Plans", "alice", "bob")
	s.conversation("other", "Other", "bob", "carol")
	s.say("plans", "bob", "the needle is in here")
	for range 150 {
		s.say("plans", "bob", "hay")
	}
	s.say("other", "bob", "a needle that alice must not find")
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	alice.signIn()
	alice.click(id("search-open"), "")
	alice.focused(id("search"))
	alice.types("needle")
	alice.until("one message is found", `all('[data-testid="search-result"]').length === 1`)
	alice.shows(id("search-result"), "the needle is in here")
	alice.shows(id("search-result")+" mark", "needle")
	alice.click(id("search-result"), "")
	alice.shows(id("thread", with("id", "plans")), "")
	alice.until("the message is in view", inView(3))
	alice.click(id("jump"), "")
	alice.until("the newest is in view", inView(152))
	alice.lacks(id("jump"), "")
}

// inView is true when a message lies within what can be seen of the log.
func inView(seq uint64) string {
	return `(() => {
		const m = document.querySelector(` + quote(message(seq)) + `)?.getBoundingClientRect();
		const log = document.querySelector('[data-testid="log"]')?.getBoundingClientRect();
		return m && log && m.top >= log.top - 1 && m.bottom <= log.bottom + 1;
	})()`
}
