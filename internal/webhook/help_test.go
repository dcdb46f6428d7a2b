package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/webhook"
)

const secret = "a secret of webhooks, of 32 bytes or more"

// delivery is a request that an endpoint got.
type delivery struct {
	ID             string          `json:"id"`
	Type           string          `json:"type"`
	CreatedAt      string          `json:"createdAt"`
	ConversationID string          `json:"conversationId"`
	Data           json.RawMessage `json:"data"`
	Header         http.Header     `json:"-"`
	Body           []byte          `json:"-"`
}

// says is what the data of message.created and user.offline_message say.
type says struct {
	parleytest.Entry
	UserIDs []string         `json:"userIds"`
	Message parleytest.Entry `json:"message"`
	By      string           `json:"by"`
}

func (d delivery) says(t testing.TB) (s says) {
	t.Helper()
	if err := json.Unmarshal(d.Data, &s); err != nil {
		t.Fatalf("%s: %v", d.Body, err)
	}
	return s
}

// endpoint is a backend. answer decides the status of each request; nil takes
// all. What it took is in order.
type endpoint struct {
	*httptest.Server
	t      testing.TB
	answer func(d delivery, w http.ResponseWriter, r *http.Request) int

	mu    sync.Mutex
	tries []delivery
	took  []delivery
	news  chan struct{}
}

func newEndpoint(t testing.TB, answer func(d delivery, w http.ResponseWriter, r *http.Request) int) *endpoint {
	e := &endpoint{t: t, answer: answer, news: make(chan struct{}, 1)}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	d := delivery{Header: r.Header, Body: body}
	if err == nil {
		err = json.Unmarshal(body, &d)
	}
	if err != nil {
		e.t.Errorf("a request with %q: %v", body, err)
	}
	e.mu.Lock()
	e.tries = append(e.tries, d)
	e.mu.Unlock()
	status := http.StatusNoContent
	if e.answer != nil {
		status = e.answer(d, w, r)
	}
	if status/100 == 2 {
		e.mu.Lock()
		e.took = append(e.took, d)
		e.mu.Unlock()
	}
	e.note()
	if status != 0 { // else the connection is gone
		w.WriteHeader(status)
	}
}

func (e *endpoint) note() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

const patience = 20 * time.Second

// wait waits until what was tried and taken is enough.
func (e *endpoint) wait(what string, enough func(tries, took []delivery) bool) {
	e.t.Helper()
	limit := time.After(patience)
	for {
		e.mu.Lock()
		done := enough(e.tries, e.took)
		e.mu.Unlock()
		if done {
			return
		}
		select {
		case <-e.news:
		case <-limit:
			e.t.Fatalf("%s: waited in vain; %d tries, took %d:\n%s", what, len(e.tries), len(e.took), e.list())
		}
	}
}

// waitTook waits until n events were taken, and answers all.
func (e *endpoint) waitTook(n int) []delivery {
	e.t.Helper()
	e.wait(fmt.Sprintf("%d events", n), func(_, took []delivery) bool { return len(took) >= n })
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]delivery(nil), e.took...)
}

func (e *endpoint) list() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b bytes.Buffer
	for _, d := range e.took[max(0, len(e.took)-40):] {
		fmt.Fprintf(&b, "%s %s\n", d.ConversationID, d.Body)
	}
	return b.String()
}

// dispatch starts a dispatcher on the server's log; it stops with the test.
func dispatch(t testing.TB, s *parleytest.Server, e *endpoint, change ...func(*webhook.Config)) *dispatcher {
	t.Helper()
	cfg := webhook.Config{Log: s.Log, Store: s.Store, Presence: s.Broker, Registerer: prometheus.NewRegistry(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), URL: e.URL, Secret: []byte(secret),
		BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond, SaveEvery: time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	d := &dispatcher{Dispatcher: webhook.New(cfg), t: t, registry: cfg.Registerer.(*prometheus.Registry)}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	return d
}

type dispatcher struct {
	*webhook.Dispatcher
	t        testing.TB
	registry *prometheus.Registry
	stopped  bool
}

func (d *dispatcher) stop() {
	d.t.Helper()
	if d.stopped {
		return
	}
	d.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		d.t.Errorf("closing webhooks: %v", err)
	}
}

// metric answers the value of a metric, the sum of all its labels.
func (d *dispatcher) metric(name string) (sum float64) {
	d.t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
			return sum
		}
	}
	return 0
}

func only(names ...string) func(*webhook.Config) {
	return func(c *webhook.Config) { c.Events = names }
}

// send commits an entry.
func send(t testing.TB, s *parleytest.Server, conv, sender string, b chat.Body) bridge.Outcome {
	t.Helper()
	if b.Type == 0 {
		b.Type = chat.TypeMessage
	}
	out, err := s.Log.Commit(context.Background(), chat.Draft{Stream: chat.ConversationStream(conv), SenderID: sender, Body: b})
	if err != nil {
		t.Fatalf("sending to %s: %v", conv, err)
	}
	return out
}

func say(content string) chat.Body { return chat.Body{Content: content} }

// contents are what messages said that were taken, by conversation.
func contents(t testing.TB, took []delivery) map[string][]string {
	all := make(map[string][]string)
	for _, d := range took {
		if d.Type == webhook.MessageCreated {
			all[d.ConversationID] = append(all[d.ConversationID], d.says(t).Content)
		}
	}
	return all
}
