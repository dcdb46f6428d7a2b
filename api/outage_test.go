package api_test

import (
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// While the database is gone everything that needs it says so, and when it is
// back everything works again.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	e := newEnv(t, bridge.Config{Store: openPostgres(t, cluster.URL(t)), CommitTimeout: 100 * time.Millisecond}, nil)
	e.talk()
	ready := func(want int) {
		t.Helper()
		if r := e.do("", "GET", "/readyz", nil); r.status != want {
			t.Errorf("/readyz answered %d, want %d", r.status, want)
		}
	}
	ready(200)
	cluster.StopImmediate()
	ready(503)
	for _, r := range []*reply{
		e.do(alice, "GET", "/v1/conversations", nil),
		e.do(alice, "GET", "/v1/conversations/c1", nil),
		e.do(alice, "GET", messages, nil),
		e.do(alice, "POST", messages, obj{"content": "x", "clientId": "a-1"}),
		e.do(alice, "POST", "/v1/conversations", obj{"id": "c2"}),
		e.do(alice, "PUT", "/v1/conversations/c1/members/mallory", nil),
		e.do(alice, "DELETE", "/v1/conversations/c1/members/bob", nil),
	} {
		r.refused("unavailable", "")
		if r.header.Get("Retry-After") == "" {
			t.Errorf("%s: there is no Retry-After", r.what)
		}
	}
	if r := e.do("", "GET", "/healthz", nil); r.status != 200 {
		t.Errorf("/healthz answered %d", r.status)
	}
	cluster.Start()
	ready(200)
	e.do(alice, "POST", messages, obj{"content": "x", "clientId": "a-1"})
	again := e.do(alice, "POST", messages, obj{"content": "x", "clientId": "a-1"}).want(200)
	wantEqual(t, "seq of what was sent three times", again["seq"], 5.0)
}
