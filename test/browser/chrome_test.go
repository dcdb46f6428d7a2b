package browser_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chrome is one Chromium process, with a folder of its own.
type chrome struct {
	t   testing.TB
	ctx context.Context
}

// flags beside those that chromedp starts Chromium with.
var flags = []string{"disable-gpu", "disable-quic", "disable-component-update", "no-pings"}

// startChrome starts Chromium. It ends with the test.
func startChrome(t testing.TB) *chrome {
	t.Helper()
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(chromium))
	for _, name := range flags {
		opts = append(opts, chromedp.Flag(name, true))
	}
	// Not the test's own context: that ends before what is cleaned up after it.
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		end()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", chromium, err)
	}
	return &chrome{t: t, ctx: ctx}
}

// look is how a window is seen.
type look struct {
	width, height int64
	dark          bool
}

var (
	wide   = look{width: 1280, height: 800}
	narrow = look{width: 390, height: 844}
)

// window is one tab, with whatever is wrong in it.
type window struct {
	t      testing.TB
	name   string // of whoever sits before it
	ctx    context.Context
	origin string

	mu       sync.Mutex
	wrong    []string
	forgiven []*regexp.Regexp
	requests []string        // method and path of what was asked for
	frames   strings.Builder // what came over WebSockets
	paused   chan fetch.RequestID
}

// browser opens the first tab of a browser that has nothing stored.
func (c *chrome) browser(name, origin string, l look) *window {
	c.t.Helper()
	return c.window(c.ctx, name, origin, l, chromedp.WithNewBrowserContext())
}

// another opens a further tab of the same browser.
func (w *window) another(name string) *window {
	w.t.Helper()
	return (&chrome{t: w.t}).window(w.ctx, name, w.origin, wide)
}

func (c *chrome) window(parent context.Context, name, origin string, l look, opts ...chromedp.ContextOption) *window {
	c.t.Helper()
	w := &window{t: c.t, name: name, origin: origin, paused: make(chan fetch.RequestID, 16)}
	ctx, end := chromedp.NewContext(parent, append(opts, chromedp.WithListener(w.watch))...)
	w.ctx = ctx
	c.t.Cleanup(end)
	c.t.Cleanup(w.tell)
	w.must("opening a tab", chromedp.Do(ctx))
	call(w, audits.Enable, cdp.Empty{})
	call(w, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	w.as(l)
	return w
}

// call sends a command of the protocol, which must be good.
func call[P, R any](w *window, cmd cdp.Command[P, R], params P) R {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	answer, err := chromedp.Call(ctx, cmd, params)
	w.must(cmd.Method, err)
	return answer
}

func (w *window) must(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s: %s: %v", w.name, what, err)
	}
}

// as changes how the window is seen.
func (w *window) as(l look) {
	w.t.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	call(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	call(w, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 600})
}

// open goes to a path of the server.
func (w *window) open(path string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.must("opening "+path, chromedp.Do(ctx, chromedp.Navigate(w.origin+path)))
}

// reload loads the page anew.
func (w *window) reload() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.must("reloading", chromedp.Do(ctx, chromedp.Reload()))
}

// tryReload loads the page anew, also where nobody serves it.
func (w *window) tryReload() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	var failed *chromedp.LoadError
	if err := chromedp.Do(ctx, chromedp.Reload()); !errors.As(err, &failed) {
		w.t.Fatalf("%s: reloading a page that nobody serves: %v", w.name, err)
	}
}

// shut closes the tab, as its close button does.
func (w *window) shut() {
	w.t.Helper()
	call(w, page.Close, cdp.Empty{})
}

// offline takes the network from the tab, or gives it back.
func (w *window) offline(is bool) {
	w.t.Helper()
	call(w, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1})
	call(w, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}}})
}

// forgive lets pass what the console says, where the test itself is the cause.
func (w *window) forgive(pattern string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgiven = append(w.forgiven, regexp.MustCompile(pattern))
}

// What Chromium writes into the console by itself when a server cannot be
// reached, or refuses.
const (
	unreachable = `net::ERR_|WebSocket connection to .* failed|status of 50[234]`
	refused     = `status of (401|403)`
)

// watch takes down what is wrong. It is called for every event.
func (w *window) watch(ev any) {
	switch ev := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		if ev.Type == runtime.ConsoleAPICalledTypeError || ev.Type == runtime.ConsoleAPICalledTypeWarning || ev.Type == runtime.ConsoleAPICalledTypeAssert {
			var said []string
			for _, arg := range ev.Args {
				said = append(said, string(arg.Value)+arg.Description)
			}
			w.blame("console.%s: %s", ev.Type, strings.Join(said, " "))
		}
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if ev.ExceptionDetails.Exception != nil {
			text += " " + ev.ExceptionDetails.Exception.Description
		}
		w.blame("exception: %s", text)
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError || ev.Entry.Level == log.EntryLevelWarning {
			w.blame("log, %s: %s %s", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL)
		}
	case *audits.EventIssueAdded:
		w.issue(ev.Issue)
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(ev.DocumentURL, "chrome-error:") { // Chromium's own page
			w.requested(ev.Request.Method, ev.Request.URL)
		}
	case *network.EventWebSocketCreated:
		w.requested("WebSocket", strings.Replace(ev.URL, "ws", "http", 1))
	case *network.EventWebSocketFrameReceived:
		w.received(ev.Response.PayloadData)
	case *fetch.EventRequestPaused:
		w.paused <- ev.RequestID
	case *page.EventJavascriptDialogOpening:
		w.blame("dialog: %s", ev.Message)
	}
}

// issue takes down what the content security policy forbade.
func (w *window) issue(i *audits.InspectorIssue) {
	if i.Code != audits.InspectorIssueCodeContentSecurityPolicyIssue {
		return
	}
	d := i.Details.ContentSecurityPolicyIssueDetails
	w.blame("content security policy: %s forbids %s (%s)", d.ViolatedDirective, d.BlockedURL, d.ContentSecurityPolicyViolationType)
}

// requested takes down a request, which must be to the page's own server.
func (w *window) requested(method, address string) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme+"://"+u.Host != w.origin {
		w.blame("request to another origin: %s %s", method, address)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, method+" "+u.Path)
}

// received takes down what came over a WebSocket.
func (w *window) received(data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames.Write(data)
}

// got says whether a text came over the connection, whatever the page did with
// it.
func (w *window) got(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.frames.String(), text)
}

// requestsOf counts the requests so far that begin like this.
func (w *window) requestsOf(prefix string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (w *window) blame(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, re := range w.forgiven {
		if re.MatchString(text) {
			return
		}
	}
	w.wrong = append(w.wrong, text)
}

// tell fails the test for what went wrong in the window, and shows what it
// looked like in the end if the test failed.
func (w *window) tell() {
	w.mu.Lock()
	wrong := slices.Clone(w.wrong)
	w.mu.Unlock()
	for _, what := range wrong {
		w.t.Errorf("%s: %s", w.name, what)
	}
	if !w.t.Failed() || w.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	w.t.Logf("%s sees (%v):\n%.3000s", w.name, err, text)
	if picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
		file := filepath.Join(folder(w.t), w.name+".png")
		w.t.Logf("%s: %v", file, os.WriteFile(file, picture, 0o600))
	}
}
