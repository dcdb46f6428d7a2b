package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/bridge/postgres"
	"github.com/parley-mqtt/parley/bridge/sqlite"
	"github.com/parley-mqtt/parley/broker/live"
	"github.com/parley-mqtt/parley/internal/catchup"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/erase"
	"github.com/parley-mqtt/parley/internal/revoke"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Runner{M: m}) }

// stores opens an empty database of each kind.
var stores = map[string]func(t *testing.T) bridge.Store{
	"sqlite": func(t *testing.T) bridge.Store {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "parley.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
	"postgres": func(t *testing.T) bridge.Store {
		return openPostgres(t, pgtest.URL(t))
	},
}

func openPostgres(t *testing.T, url string) bridge.Store {
	s, err := postgres.Open(t.Context(), url, postgres.Options{MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// each runs a test on every kind of store, over HTTP.
func each(t *testing.T, run func(e *env)) {
	for _, name := range slices.Sorted(maps.Keys(stores)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(newEnv(t, bridge.Config{Store: stores[name](t)}, nil))
		})
	}
}

// one runs a test on one kind of store, where the store has no part in what
// is tested. wrap may put something between the API and the log.
func one(t *testing.T, wrap func(api.Log) api.Log) *env {
	t.Parallel()
	return newEnv(t, bridge.Config{Store: stores["sqlite"](t)}, wrap)
}

var secret = []byte("0123456789abcdef0123456789abcdef")

// env is a server with its client.
type env struct {
	*testing.T
	log      *bridge.Log
	store    bridge.Store
	mqtt     *clients
	revoked  *revoke.Tokens
	live     *live.Hub
	logged   *safeBuffer
	registry *prometheus.Registry
	handler  http.Handler
	url      string
	client   *http.Client
	tokens   map[string]string
}

func newEnv(t *testing.T, cfg bridge.Config, wrap func(api.Log) api.Log) *env {
	t.Helper()
	store := cfg.Store
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.Now = newClock()
	log := bridge.New(cfg)
	tokens := revoke.New(revoke.Config{Store: store})
	verifier := newVerifier(t, func(id *acl.Identity) bool { return tokens.Revoked(id.UserID, id.TokenID, id.IssuedAt) })
	eraser := erase.New(erase.Config{Log: log, Sessions: noSessions{}, Revoke: tokens.User})
	eraser.Start()
	t.Cleanup(eraser.Close)
	e := &env{T: t, log: log, store: store, mqtt: &clients{}, revoked: tokens, logged: &safeBuffer{}, registry: prometheus.NewRegistry(), tokens: map[string]string{}}
	var seen api.Log = log
	if wrap != nil {
		seen = wrap(log)
	}
	e.live = live.New(live.Config{Log: log, Now: cfg.Now})
	e.handler = api.New(api.Deps{Log: seen, Verifier: verifier, Version: "1.2.3",
		Logger:     slog.New(slog.NewJSONHandler(e.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer: e.registry, Gatherer: e.registry, Connections: e.mqtt, Tokens: tokens, Presence: e.live, Users: eraser,
		CatchUp: catchup.New(log, catchup.Bounds{}), App: web.Embedded()})
	server := httptest.NewServer(e.handler)
	e.url, e.client = server.URL, server.Client()
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		server.Close()
		ctx := context.WithoutCancel(t.Context())
		if err := e.live.Close(ctx); err != nil {
			t.Errorf("close presence: %v", err)
		}
		if err := log.Close(ctx); err != nil {
			t.Errorf("close the log: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return e
}

// noSessions is an MQTT side that nobody has connected to.
type noSessions struct{}

func (noSessions) EndUser(context.Context, string) error           { return nil }
func (noSessions) ForgetUser(context.Context, string) (int, error) { return 0, nil }

// newClock is a clock that goes on by a second whenever it is read, so that no
// two entries have the same time.
func newClock() func() time.Time {
	var ticks atomic.Int64
	start := time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC)
	return func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Second) }
}

func newVerifier(t *testing.T, revoked func(*acl.Identity) bool) *acl.Verifier {
	t.Helper()
	v, err := acl.New(t.Context(), acl.Config{Secret: secret, Revoked: revoked})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// mint makes a token of the user; root has scope admin, herald scope notify.
func mint(t *testing.T, user string, ttl time.Duration) string {
	t.Helper()
	claims := acl.Claims{Subject: user, Expires: time.Now().Add(ttl)}
	if user == root {
		claims.Scope = "admin"
	}
	if user == herald {
		claims.Scope = "notify"
	}
	token, err := acl.Mint(secret, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// The users of most tests, and what they are to the conversation of talk.
const (
	alice   = "alice" // owner
	adam    = "adam"  // admin
	bob     = "bob"   // member
	carol   = "carol" // member
	mallory = "mallory"
	root    = "root"   // not a member, scope admin
	herald  = "herald" // not a member, scope notify
)

// --- asking

// reply is an answer, read whole.
type reply struct {
	*env
	what   string
	status int
	header http.Header
	body   []byte
}

// raw is a body that is sent as it stands, with its Content-Type; "" is none.
type raw struct{ media, text string }

// do asks as the user; "" is without a token. body is nil, raw, or anything
// that becomes JSON.
func (e *env) do(user, method, path string, body any) *reply {
	e.Helper()
	header := http.Header{}
	if user != "" {
		if e.tokens[user] == "" {
			e.tokens[user] = mint(e.T, user, time.Hour)
		}
		header.Set("Authorization", "Bearer "+e.tokens[user])
	}
	return e.ask(header, method, path, body)
}

func (e *env) ask(header http.Header, method, path string, body any) *reply {
	e.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case raw:
		r = strings.NewReader(b.text)
		if b.media != "" {
			header.Set("Content-Type", b.media)
		}
	default:
		text, err := json.Marshal(b)
		if err != nil {
			e.Fatal(err)
		}
		r = bytes.NewReader(text)
		header.Set("Content-Type", "application/json")
	}
	req, err := http.NewRequestWithContext(e.Context(), method, e.url+path, r)
	if err != nil {
		e.Fatal(err)
	}
	req.Header = header
	res, err := e.client.Do(req)
	if err != nil {
		e.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		e.Fatalf("%s %s: %v", method, path, err)
	}
	what := method + " " + path
	if len(what) > 100 {
		what = what[:100] + "…"
	}
	return &reply{e, what, res.StatusCode, res.Header, text}
}

// want ends the test when the status is another, and answers the JSON.
func (r *reply) want(status int) map[string]any {
	r.Helper()
	if r.status != status {
		r.Fatalf("%s: answered %d %s, want %d", r.what, r.status, r.body, status)
	}
	if status == http.StatusNoContent {
		if len(r.body) > 0 {
			r.Errorf("%s: 204 with a body %q", r.what, r.body)
		}
		return nil
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		r.Errorf("%s: has Content-Type %q", r.what, got)
	}
	return r.json()
}

func (r *reply) json() (v map[string]any) {
	r.Helper()
	if err := json.Unmarshal(r.body, &v); err != nil {
		r.Fatalf("%s: %v in %q", r.what, err, r.body)
	}
	return v
}

// statusOf is the table of the contract, written down once more.
var statusOf = map[chat.Code]int{
	chat.CodeInvalid: 400, chat.CodeUnauthorized: 401, chat.CodeForbidden: 403, chat.CodeNotFound: 404,
	chat.CodeConflict: 409, chat.CodeRateLimited: 429, chat.CodeInternal: 500, chat.CodeUnavailable: 503,
}

// refused wants a problem document with the code and the field, and answers
// its detail.
func (r *reply) refused(code chat.Code, field string) string {
	r.Helper()
	return r.problem(statusOf[code], code, field)
}

func (r *reply) problem(status int, code chat.Code, field string) string {
	r.Helper()
	if r.status != status {
		r.Errorf("%s: answered %d %s, want %d %s %q", r.what, r.status, r.body, status, code, field)
		return ""
	}
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		r.Errorf("%s: has Content-Type %q", r.what, got)
	}
	p := r.json()
	detail, _ := p["detail"].(string)
	want := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": float64(status),
		"code": string(code), "detail": detail}
	if field != "" {
		want["field"] = field
	}
	if !maps.Equal(p, want) || detail == "" {
		r.Errorf("%s:\n got %v\nwant %v", r.what, p, want)
	}
	return detail
}

// --- what most tests need

// talk makes conversation c1 of alice, adam, bob and carol: entries 1 to 4.
func (e *env) talk() {
	e.Helper()
	e.do(alice, "POST", "/v1/conversations", obj{"id": "c1", "name": "Lunch", "members": []string{adam, bob, carol}}).want(201)
	e.do(alice, "PUT", "/v1/conversations/c1/members/adam", obj{"role": "admin"}).want(200)
}

// say sends a message to c1 and answers its seq.
func (e *env) say(user, text string) uint64 {
	e.Helper()
	sent := e.do(user, "POST", "/v1/conversations/c1/messages", obj{"content": text}).want(201)
	return uint64(sent["seq"].(float64))
}

type obj = map[string]any

// items is the list in an answer.
func items(v map[string]any) []obj {
	list, ok := v["items"].([]any)
	if !ok {
		return nil
	}
	all := make([]obj, len(list))
	for i := range list {
		all[i], _ = list[i].(map[string]any)
	}
	return all
}

// pluck is one key of every item, as JSON has it.
func pluck[T any](list []obj, key string) []T {
	all := []T{}
	for _, item := range list {
		v, _ := item[key].(T)
		all = append(all, v)
	}
	return all
}

// state is everything in the log that a request could have changed.
func (e *env) state(conversations ...string) string {
	e.Helper()
	var all []any
	for _, id := range conversations {
		conv, err := e.log.Conversation(e.Context(), id)
		all = append(all, conv, err)
		entries, err := e.log.Before(e.Context(), chat.ConversationStream(id), 0, 100_000)
		all = append(all, entries, err)
	}
	for _, user := range []string{alice, adam, bob, carol, mallory, root} {
		m, err := e.log.Memberships(e.Context(), user)
		all = append(all, m, err)
	}
	text, err := json.Marshal(all)
	if err != nil {
		e.Fatal(err)
	}
	return string(text)
}

// safeBuffer is a log that can be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
