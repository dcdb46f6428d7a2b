package browser_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hostile are texts that would do something where they are taken for more
// than text.
var hostile = []string{
	`<script>window.hacked = 1</script>`,
	`<img src=x onerror="window.hacked = 2">`,
	`"><svg/onload=window.hacked=3>`,
	`javascript:window.hacked=4`,
	`[click](javascript:window.hacked=5) <a href="javascript:window.hacked=5">here</a>`,
	`{{constructor.constructor('window.hacked=6')()}} ${window.hacked=6}`,
	`data:text/html,<script>window.hacked=7</script> vbscript:x file:///etc/passwd`,
	`https://example.com/"onmouseover="window.hacked=8`,
	`https://example.com/<script>window.hacked=9</script>?a=1&b=2#c`,
	"turned \u202eesrever txet\u202c and \u2066isolated\u2069 \u200fright",
	"never closed \u202e\u202e\u202e",
	"bell \u0007 escape \u001b[31m delete \u007f",
	"&lt;b&gt;not bold&lt;/b&gt; &amp;amp;",
	strings.Repeat("Z\u0351\u036b\u0343\u036a\u0302", 40),
}

// TestHostile writes what attackers write, wherever a text goes: all of it
// shows as text, and nothing of it runs.
func TestHostile(t *testing.T) {
	s := startServer(t, "sqlite")
	c := startChrome(t)
	alice := c.browser("alice", s.url(), wide)
	s.conversation("c1", hostile[0]+hostile[1], "bob", "alice")
	for i, text := range hostile {
		s.say("c1", "bob", text)
		s.conversation("n"+string(rune('a'+i)), text[:min(len(text), 80)], "bob", "alice")
	}
	s.rest("bob", "POST", "/conversations/c1/messages", map[string]any{
		"mediaUrl": `https://example.com/%3Cimg%20src=x%20onerror=window.hacked=10%3E"><script>window.hacked=10</script>`}, nil)
	s.rest("service notify", "POST", "/notifications", map[string]any{"recipientId": "alice", "senderId": "bob", "type": "LIKE",
		"data": map[string]any{"conversationId": `"><img src=x onerror=window.hacked=11>`, "seq": "<b>", "url": "javascript:window.hacked=12"}}, nil)
	alice.signIn()
	for i := range hostile {
		alice.shows(id("conversation", with("id", "n"+string(rune('a'+i)))), "")
	}
	alice.shows(id("conversation", with("id", "c1")), hostile[0])
	alice.enter("c1")
	alice.shows(id("thread-title"), hostile[0]+hostile[1])
	alice.reads(append(slices.Clone(hostile), "")) // the last has an address alone
	alice.say(hostile[1])                          // and by the page itself
	alice.seqOf(hostile[1])

	alice.click(id("bell"), "")
	alice.shows(id("notice"), "<img src=x onerror=window.hacked=11>")
	alice.press("Escape")
	alice.press("Control+k")
	alice.focused(id("search"))
	alice.types("hacked")
	alice.shows(id("search-result"), "<script>")
	alice.shows(id("search-result")+" mark", "hacked")
	alice.harmless()
	alice.press("Escape") // empties the field
	alice.press("Escape")
	alice.lacks(id("search-dialog"), "")
	alice.enter("na")
	alice.harmless()
}

// harmless checks that nothing of what is in the page came out of a text.
func (w *window) harmless() {
	w.t.Helper()
	if got := get[any](w, "window.hacked ?? null"); got != nil {
		w.t.Errorf("a text has run: %v", got)
	}
	// Scripts are the page's own, links lead to http, and nothing is loaded.
	strange := get[[]string](w, `[...document.querySelectorAll("script, iframe, object, embed, img, base, form[action], link, [srcdoc], a[href]")]
		.filter((e) => !(e.matches('script[src^="/assets/"], link[href^="/assets/"]') && e.parentElement === document.head))
		.filter((e) => !(e.matches("a") && (/^(https?:|#|\/)/.test(e.getAttribute("href")))))
		.map((e) => e.outerHTML.slice(0, 200))`)
	for _, e := range strange {
		w.t.Errorf("the page has %s", e)
	}
	// A link to elsewhere tells nobody where it was.
	loose := get[[]string](w, `[...document.querySelectorAll('a[href^="http"]')].filter((e) => e.rel !== "noreferrer noopener" || e.target !== "_blank").map((e) => e.outerHTML.slice(0, 200))`)
	for _, e := range loose {
		w.t.Errorf("a link without rel: %s", e)
	}
	if on := get[[]string](w, `[...document.querySelectorAll("*")].flatMap((e) => e.getAttributeNames().filter((n) => n.startsWith("on")).map((n) => e.outerHTML.slice(0, 100)))`); len(on) > 0 {
		w.t.Errorf("elements with handlers in them: %q", on)
	}
	// Text that turns the direction of writing turns its own alone.
	if open := get[[]string](w, `all('[data-testid="message-text"], .conv-title, .conv-last, [data-testid="thread-title"], .result-text, [data-testid="quote"] span').filter((e) => !/isolate|plaintext/.test(getComputedStyle(e).unicodeBidi)).map((e) => e.className + " " + e.innerText.slice(0, 60))`); len(open) > 0 {
		w.t.Errorf("not isolated from the text around: %q", open)
	}
}

var hashed = regexp.MustCompile(`/assets/[a-z]+-[0-9a-f]{10}\.(js|css|svg)$`)

// TestServed is what a browser gets of the build: names with a hash, kept for
// ever, and pages that are asked for again.
func TestServed(t *testing.T) {
	s := startServer(t, "sqlite")
	for _, page := range []string{"/", "/admin"} {
		res, err := s.client.Get(s.url() + page)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get("Cache-Control"); res.StatusCode != http.StatusOK || got != "no-cache" {
			t.Errorf("%s: %s, cached %q", page, res.Status, got)
		}
	}
	c := startChrome(t)
	w := c.browser("alice", s.url(), wide)
	w.open("/")
	w.shows(id("signin-name"), "")
	assets := get[[]string](w, `[...document.querySelectorAll("script, link")].map((e) => e.src || e.href)`)
	if len(assets) < 3 {
		t.Errorf("the page has %q alone", assets)
	}
	for _, asset := range assets {
		if !hashed.MatchString(asset) {
			t.Errorf("%s has no hash in its name", asset)
		}
		res, err := s.client.Get(asset)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get("Cache-Control"); res.StatusCode != http.StatusOK || !strings.Contains(got, "immutable") {
			t.Errorf("%s: %s, cached %q", asset, res.Status, got)
		}
	}
}
