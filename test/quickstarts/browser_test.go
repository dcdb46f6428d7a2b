package quickstarts_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const browserPage = "docs/quickstart/browser.md"

// What the page's command for esbuild says, but for serving.
var bundle = []string{"--bundle", "--format=esm", "--outfile=page.js", "--log-level=warning"}

// The page works in a browser as it stands: at localhost:8000, with a server
// at localhost:8080.
func TestBrowserPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	linkPackages(t, dir)
	for _, name := range []string{"index.html", "page.ts"} {
		file(t, browserPage, name).save(t, dir)
	}
	if err := tool(dir, "esbuild", append([]string{"page.ts"}, bundle...)...); err != nil {
		t.Fatal(err)
	}
	checkPage(t, dir, "localhost")
}

// So does the React hook, over Preact, which has the same interface. Its page
// comes over plain HTTP from another name, where browsers withhold some of
// what they offer.
func TestBrowserReact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	linkPackages(t, dir)
	for _, name := range []string{"parley.tsx", "app.tsx"} {
		file(t, browserPage, name).save(t, dir)
	}
	main, err := os.ReadFile(filepath.Join("testdata", "main.tsx"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"main.tsx":   string(main),
		"index.html": `<!doctype html><meta charset="utf-8"><div id="app"></div><script type="module" src="page.js"></script>`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err = tool(dir, "esbuild", append([]string{"main.tsx", "--jsx=automatic", "--jsx-import-source=preact",
		"--alias:react=preact/compat"}, bundle...)...)
	if err != nil {
		t.Fatal(err)
	}
	checkPage(t, dir, "app.test")
}

// checkPage chats with the page that a folder holds, which comes from a host:
// bob sits before it.
func checkPage(t *testing.T, dir, host string) {
	t.Helper()
	h := newHome(t, "--ws-origins", "http://"+host+":8000")
	h.converse("c1")
	h.say("alice", "before")
	pages := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(pages.Close)
	tab := newTab(t, "MAP "+host+":8000 "+strings.TrimPrefix(pages.URL, "http://")+",MAP localhost:8080 "+h.http, h.token("bob"))
	tab.do(chromedp.Navigate("http://" + host + ":8000"))

	tab.shows("alice: before")
	h.say("alice", "hello")
	tab.shows("alice: before", "alice: hello")
	tab.do(chromedp.SendKeys("input", "hi alice\r"))
	tab.shows("alice: before", "alice: hello", "bob: hi alice")
	h.hasRead("bob", "c1", 5)
	h.ask("alice", http.MethodPost, "/conversations/c1/messages", map[string]any{"type": "edit", "target": 4, "content": "hello, Bob"}, nil)
	tab.shows("alice: before", "alice: hello, Bob", "bob: hi alice")

	// What is written while the server is away is sent when it is back, once,
	// also by another page: this one is loaded anew meanwhile.
	h.server.Kill()
	tab.do(chromedp.SendKeys("input", "still there?\r"))
	h.start()
	h.say("alice", "back")
	tab.hasAll("alice: back", "bob: still there?")
	tab.do(chromedp.Reload())
	tab.hasAll("alice: before", "alice: hello, Bob", "bob: hi alice", "alice: back", "bob: still there?")

	// What is refused is told.
	h.ask("alice", http.MethodDelete, "/conversations/c1/members/bob", nil, nil)
	tab.do(chromedp.SendKeys("input", "am I out?\r"))
	tab.told("not a member|forbidden|not sent")
}

// tab is a page in Chromium.
type tab struct {
	t   testing.TB
	ctx context.Context
	mu  sync.Mutex
	say []string // what it said, in the console and in dialogs
}

// newTab opens a tab, which finds hosts by the rules and answers what it is
// asked with the token.
func newTab(t testing.TB, rules, token string) *tab {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("there is no chromium: run scripts/test-deps.sh")
	}
	opts := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	opts = append(opts, chromedp.ExecPath(path), chromedp.Flag("disable-gpu", true), chromedp.Flag("host-resolver-rules", rules))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	x := &tab{t: t}
	var dialogs sync.WaitGroup
	ctx, end := chromedp.NewContext(alloc, chromedp.WithListener(func(ev any) {
		switch ev := ev.(type) {
		case *page.EventJavascriptDialogOpening:
			x.note(ev.Message)
			dialogs.Go(func() { // the listener may not wait for an answer
				_, _ = chromedp.Call(x.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true, PromptText: token})
			})
		case *runtime.EventExceptionThrown:
			x.note("exception " + ev.ExceptionDetails.Text)
			x.t.Errorf("the page threw %s", ev.ExceptionDetails.Text)
		}
	}))
	x.ctx = ctx
	t.Cleanup(func() {
		end()
		stop()
		dialogs.Wait()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return x
}

func (x *tab) note(text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.say = append(x.say, text)
}

func (x *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		x.t.Fatalf("the page: %v\n%s", err, x.text())
	}
}

func (x *tab) eval(expression string) string {
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		return err.Error()
	}
	return text
}

func (x *tab) text() string { return x.eval("document.body.innerText") }

const items = "[...document.querySelectorAll('li')].map((li) => li.innerText).join('\\n')"

// shows waits until the list has these lines and no others.
func (x *tab) shows(lines ...string) {
	x.t.Helper()
	x.until(strings.Join(lines, "\n"), func() bool { return x.eval(items) == strings.Join(lines, "\n") })
}

// hasAll waits until the list has these lines, in any order, and no others
// twice.
func (x *tab) hasAll(lines ...string) {
	x.t.Helper()
	x.until(strings.Join(lines, "\n"), func() bool {
		shown := "\n" + x.eval(items) + "\n"
		for _, line := range lines {
			if strings.Count(shown, "\n"+line+"\n") != 1 {
				return false
			}
		}
		return true
	})
}

// told waits until the page says one of these, wherever.
func (x *tab) told(words string) {
	x.t.Helper()
	x.until(words, func() bool {
		x.mu.Lock()
		said := strings.Join(x.say, "\n")
		x.mu.Unlock()
		said += x.text()
		for _, word := range strings.Split(words, "|") {
			if strings.Contains(said, word) {
				return true
			}
		}
		return false
	})
}

func (x *tab) until(what string, so func() bool) {
	x.t.Helper()
	wait(x.t, func() string { return what + "\nThe page:\n" + x.text() }, so)
}
