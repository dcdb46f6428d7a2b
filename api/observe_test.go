package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// broken is a log whose reading of a conversation does something else, and
// whose commit takes its time.
type broken struct {
	api.Log
	conversation func(ctx context.Context) error
	commit       func(ctx context.Context) error
}

func (b *broken) Conversation(ctx context.Context, _ string) (bridge.Conversation, error) {
	return bridge.Conversation{Members: []bridge.Member{{UserID: alice}}}, b.conversation(ctx)
}

func (b *broken) Commit(ctx context.Context, _ chat.Draft) (bridge.Outcome, error) {
	return bridge.Outcome{Seq: 1}, b.commit(ctx)
}

func (b *broken) Ready(ctx context.Context) error { return b.conversation(ctx) }

// users takes the token for the user.
type users struct{}

func (users) Verify(token string) (acl.Identity, error) { return acl.Identity{UserID: token}, nil }
func (users) Revoked(*acl.Identity) bool                { return false }

// lines are the entries of a log at a level.
func lines(t *testing.T, logged *safeBuffer, level slog.Level) []obj {
	t.Helper()
	var all []obj
	for line := range strings.SplitSeq(strings.TrimSpace(logged.String()), "\n") {
		if line == "" {
			continue
		}
		var v obj
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if v["level"] == level.String() {
			all = append(all, v)
		}
	}
	return all
}

// What is not meant for the caller is logged once, and not told.
func TestInternalErrors(t *testing.T) {
	b := &broken{}
	e := one(t, func(l api.Log) api.Log {
		b.Log = l
		return b
	})
	for _, tt := range []struct {
		name string
		fail func(context.Context) error
		msg  string
	}{
		{"an error", func(context.Context) error { return errors.New("xyzzy") }, "request failed"},
		{"an internal one", func(context.Context) error { return chat.Errorf(chat.CodeInternal, "xyzzy") }, "request failed"},
		{"a panic", func(context.Context) error { panic("xyzzy") }, "request panicked"},
		{"a panic with nil", func(context.Context) error { panic(nil) }, "request panicked"},
	} {
		b.conversation = tt.fail
		before := len(lines(t, e.logged, slog.LevelError))
		header := http.Header{"Authorization": {"Bearer " + mint(t, alice, time.Hour)}, "X-Request-Id": {"req-1"}}
		r := e.ask(header, "GET", "/v1/conversations/secret-id", nil)
		r.what = tt.name
		wantEqual(t, tt.name, r.refused("internal", ""), "internal error")
		wantEqual(t, "X-Request-Id", r.header.Get("X-Request-Id"), "req-1")
		found := lines(t, e.logged, slog.LevelError)[before:]
		if len(found) != 1 {
			t.Fatalf("%s: logged %v", tt.name, found)
		}
		want := obj{"msg": tt.msg, "request_id": "req-1", "method": "GET", "route": "/v1/conversations/{c}", "user": alice}
		for key, want := range want {
			wantEqual(t, tt.name+": "+key, found[0][key], want)
		}
	}
	if strings.Contains(e.logged.String(), "secret-id") {
		t.Error("the log has a path and not its pattern")
	}
	b.conversation = func(context.Context) error { return fmt.Errorf("xyzzy: %w", bridge.ErrUnavailable) }
	before := len(lines(t, e.logged, slog.LevelError))
	r := e.do(alice, "GET", "/v1/conversations/c1", nil)
	if detail := r.refused("unavailable", ""); strings.Contains(detail, "xyzzy") {
		t.Errorf("detail is %q", detail)
	}
	wantEqual(t, "Retry-After", r.header.Get("Retry-After"), "2")
	wantEqual(t, "lines of an error that is not ours", len(lines(t, e.logged, slog.LevelError)), before)
}

// Neither tokens nor what people say gets into the log, at any level.
func TestLogHasNoSecrets(t *testing.T) {
	e := one(t, nil)
	e.talk()
	const canary = "xyzzy"
	for _, user := range []string{alice, mallory, ""} {
		for _, body := range []any{obj{"content": canary}, obj{canary: canary}, raw{"", canary}, raw{canary, canary}, raw{"application/json", canary}} {
			e.do(user, "POST", messages, body)
			e.do(user, "POST", "/v1/conversations", body)
			e.do(user, "PATCH", "/v1/conversations/c1", body)
			e.do(user, "PUT", "/v1/conversations/c1/members/"+canary, body)
		}
		e.do(user, "GET", "/v1/conversations/"+canary+"?"+canary+"="+canary, nil)
		e.do(user, "GET", "/"+canary, nil)
		e.do(user, strings.ToUpper(canary), "/v1/conversations", nil)
	}
	e.ask(http.Header{"Authorization": {"Bearer " + canary}}, "GET", "/v1/conversations", nil)
	e.ask(http.Header{"Authorization": {canary}}, "GET", "/v1/conversations?access_token="+canary, nil)
	e.ask(http.Header{"X-Request-Id": {canary + " " + canary}, "User-Agent": {canary}}, "GET", "/healthz", nil)
	text := e.logged.String()
	if len(lines(t, e.logged, slog.LevelDebug)) < 30 {
		t.Error("requests are not logged at level debug")
	}
	for _, secret := range append([]string{canary, strings.ToUpper(canary)}, e.tokens[alice], e.tokens[mallory], "Bearer") {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestRequestID(t *testing.T) {
	e := one(t, nil)
	first := e.ask(http.Header{}, "GET", "/healthz", nil).header.Get("X-Request-Id")
	second := e.ask(http.Header{"X-Request-Id": {"no spaces"}}, "GET", "/healthz", nil).header.Get("X-Request-Id")
	if len(first) != 36 || len(second) != 36 || first == second {
		t.Errorf("made the ids %q and %q", first, second)
	}
	wantEqual(t, "a caller's", e.ask(http.Header{"X-Request-Id": {"abc"}}, "GET", "/healthz", nil).header.Get("X-Request-Id"), "abc")
}

func TestHeaders(t *testing.T) {
	e := one(t, nil)
	for _, path := range []string{"/", "/docs", "/healthz", "/readyz", "/metrics", "/nonsense", "/v1/openapi.json", "/v1/conversations", "/v1/nonsense"} {
		for _, user := range []string{alice, ""} {
			r := e.do(user, "GET", path, nil)
			wantEqual(t, path, r.header.Get("X-Content-Type-Options"), "nosniff")
			if strings.HasPrefix(path, "/v1") {
				wantEqual(t, path, r.header.Get("Cache-Control"), "no-store")
			}
			// HEAD is GET without the body.
			head := e.do(user, "HEAD", path, nil)
			wantEqual(t, "HEAD "+path, []any{head.status, head.header.Get("Content-Type"), len(head.body)},
				[]any{r.status, r.header.Get("Content-Type"), 0})
		}
	}
	accept := http.Header{"Accept": {"text/html"}, "Authorization": {"Bearer " + mint(t, alice, time.Hour)}}
	e.ask(accept, "GET", "/v1/conversations", nil).want(200)
	accept.Set("Accept", "json")
	e.ask(accept, "GET", "/v1/conversations", nil).want(200)
}

func TestMetrics(t *testing.T) {
	e := one(t, nil)
	e.talk()
	e.do(alice, "GET", "/v1/conversations/c1", nil)
	e.do(alice, "GET", "/v1/conversations/c2", nil)
	e.do("", "GET", "/v1/conversations/c3", nil)
	e.do("", "HEAD", "/docs", nil)
	e.do(alice, "GET", "/v1/nonsense/1", nil)
	e.do("", "NONSENSE", "/nonsense/2", nil)
	r := e.do("", "GET", "/metrics", nil)
	text := string(r.body)
	for _, want := range []string{
		`parley_http_requests_total{method="POST",route="/v1/conversations",status="201"} 1`,
		`parley_http_requests_total{method="PUT",route="/v1/conversations/{c}/members/{u}",status="200"} 1`,
		`parley_http_requests_total{method="GET",route="/v1/conversations/{c}",status="200"} 1`,
		`parley_http_requests_total{method="GET",route="/v1/conversations/{c}",status="404"} 1`,
		`parley_http_requests_total{method="GET",route="/v1/conversations/{c}",status="401"} 1`,
		`parley_http_requests_total{method="HEAD",route="/docs",status="200"} 1`,
		`parley_http_requests_total{method="GET",route="none",status="404"} 1`,
		`parley_http_requests_total{method="other",route="none",status="405"} 1`,
		`parley_http_request_seconds_count{route="/v1/conversations/{c}"} 3`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, id := range []string{"c1", "c2", "c3", "adam", "nonsense"} {
		if strings.Contains(strings.ToLower(text), id) {
			t.Errorf("/metrics has %q", id)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestWithoutOptionalDeps(t *testing.T) {
	h := api.New(api.Deps{Log: &broken{}, Verifier: users{}, Ready: func(context.Context) error { return nil }})
	for path, want := range map[string]int{"/": 404, "/healthz": 200, "/readyz": 200, "/metrics": 404, "/mqtt": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		wantEqual(t, path, w.Code, want)
	}
}

// The WebSocket end gets the connection itself, and a path of its own alone.
func TestMQTT(t *testing.T) {
	mqtt := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(http.Hijacker); !ok {
			t.Errorf("cannot take over the connection of a %T", w)
		}
		_, _ = io.WriteString(w, "mqtt at "+r.URL.Path)
	})
	server := httptest.NewServer(api.New(api.Deps{Log: &broken{}, Verifier: users{}, MQTT: mqtt}))
	defer server.Close()
	for path, want := range map[string]string{"/mqtt": "mqtt at /mqtt", "/mqtt/": "404 page not found\n", "/mqttx": "404 page not found\n"} {
		res, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		wantEqual(t, path, string(text), want)
	}
}

// Whatever the store does, /readyz answers in time, and one question at a
// time is asked.
func TestReadyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := &safeBuffer{}
		var asked atomic.Int32
		var up atomic.Bool
		release := make(chan struct{})
		h := api.New(api.Deps{Log: &broken{}, Verifier: users{}, Logger: slog.New(slog.NewJSONHandler(logged, nil)),
			Ready: func(context.Context) error { // does not look at its context
				if asked.Add(1); !up.Load() {
					<-release
					return errors.New("the store is gone")
				}
				return nil
			}})
		ask := func() (int, time.Duration) {
			begun, w := time.Now(), httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			return w.Code, time.Since(begun)
		}
		for range 3 {
			status, took := ask()
			wantEqual(t, "while the store hangs", []any{status, took, asked.Load()}, []any{503, 2 * time.Second, int32(1)})
		}
		close(release)
		synctest.Wait()
		status, took := ask()
		wantEqual(t, "while the store is gone", []any{status, took, asked.Load()}, []any{503, time.Duration(0), int32(2)})
		up.Store(true)
		for range 2 {
			status, _ = ask()
			wantEqual(t, "when it is back", status, 200)
		}
		synctest.Wait()
		wantEqual(t, "warnings", len(lines(t, logged, slog.LevelWarn)), 1)
		wantEqual(t, "news", len(lines(t, logged, slog.LevelInfo)), 1)
	})
}

// A store that hangs holds no request for ever.
func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := &safeBuffer{}
		b := &broken{conversation: func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("query: %w", ctx.Err())
		}}
		h := api.New(api.Deps{Log: b, Verifier: users{}, Logger: slog.New(slog.NewJSONHandler(logged, nil))})
		begun, w := time.Now(), httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/v1/conversations/c1", nil)
		r.Header.Set("Authorization", "Bearer alice")
		h.ServeHTTP(w, r)
		wantEqual(t, "answer", []any{w.Code, time.Since(begun)}, []any{503, 20 * time.Second})
		if logged.String() != "" {
			t.Errorf("logged %s", logged)
		}
	})
}

// pipeListener gives the server one end of a pipe, so that its deadlines run
// on the test's clock.
type pipeListener struct{ conns chan net.Conn }

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// overPipe sends text to a server with the handler and answers what it says
// within a minute, and after which time it began to.
func overPipe(t *testing.T, h http.Handler, text string) (answer string, took time.Duration) {
	t.Helper()
	l := pipeListener{make(chan net.Conn, 1)}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	mine, its := net.Pipe()
	l.conns <- its
	begun := time.Now()
	go func() { _, _ = io.WriteString(mine, text) }()
	buf := make([]byte, 4096)
	_ = mine.SetReadDeadline(begun.Add(time.Minute))
	n, err := mine.Read(buf)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	took = time.Since(begun)
	mine.Close()
	close(l.conns)
	server.Close()
	<-time.After(time.Minute) // on the test's clock: the server has gone
	return string(buf[:n]), took
}

// A body that does not arrive is waited for, but not for ever.
func TestBodyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := api.New(api.Deps{Log: &broken{}, Verifier: users{}})
		answer, took := overPipe(t, h, "POST /v1/conversations/c1/messages HTTP/1.1\r\nHost: x\r\n"+
			"Authorization: Bearer alice\r\nContent-Length: 100\r\n\r\nhalf")
		if took != 10*time.Second || !strings.HasPrefix(answer, "HTTP/1.1 400 ") || !strings.Contains(answer, `"field":"payload"`) {
			t.Errorf("after %v answered %q", took, answer)
		}
	})
}

// A body that nobody reads is waited for no longer: of a refused request, of
// one that has none, and of one that is too long.
func TestUnreadBodyIsBounded(t *testing.T) {
	for head, want := range map[string]string{
		"POST /v1/conversations HTTP/1.1\r\nContent-Length: 100":                                   "401",
		"POST /v1/conversations HTTP/1.1\r\nTransfer-Encoding: chunked":                            "401",
		"GET /v1/conversations/c1 HTTP/1.1\r\nAuthorization: Bearer alice\r\nContent-Length: 100":  "200",
		"POST /docs HTTP/1.1\r\nContent-Length: 100":                                               "405",
		"POST /v1/conversations HTTP/1.1\r\nAuthorization: Bearer alice\r\nContent-Length: 262145": "400",
	} {
		synctest.Test(t, func(t *testing.T) {
			h := api.New(api.Deps{Log: &broken{conversation: func(context.Context) error { return nil }}, Verifier: users{}})
			answer, took := overPipe(t, h, head+"\r\nHost: x\r\n\r\n1\r\n")
			if took > 10*time.Second || !strings.HasPrefix(answer, "HTTP/1.1 "+want) {
				t.Errorf("%q: after %v answered %q", head, took, answer)
			}
		})
	}
}

// The time for the body does not run on while the commit is waited for.
func TestCommitMayTakeLongerThanTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broken{commit: func(ctx context.Context) error {
			select {
			case <-time.After(15 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		h := api.New(api.Deps{Log: b, Verifier: users{}})
		answer, took := overPipe(t, h, "POST /v1/conversations/c1/messages HTTP/1.1\r\nHost: x\r\n"+
			"Authorization: Bearer alice\r\nContent-Length: 4\r\n\r\ntext")
		if took != 15*time.Second || !strings.HasPrefix(answer, "HTTP/1.1 201 ") {
			t.Errorf("after %v answered %q", took, answer)
		}
	})
}
