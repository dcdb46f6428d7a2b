package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/chat"
)

var testSecret = []byte(strings.Repeat("s", acl.MinSecret))

// parleyREST is the part of Parley's REST that the generator uses, before a
// tiny broker.
type parleyREST struct {
	t        *testing.T
	broker   *tiny
	verifier *acl.Verifier
	server   *httptest.Server

	mu      sync.Mutex
	members map[string][]string // of conversations, the owner first
	removed int
	extra   int // what is in every log beyond what came
}

func newParleyREST(t *testing.T, b *tiny) *parleyREST {
	t.Helper()
	verifier, err := acl.New(t.Context(), acl.Config{Secret: testSecret, Issuer: "us", Audience: "them"})
	if err != nil {
		t.Fatal(err)
	}
	p := &parleyREST{t: t, broker: b, verifier: verifier, members: make(map[string][]string)}
	p.server = httptest.NewServer(p)
	t.Cleanup(func() { p.server.Close(); verifier.Close() })
	return p
}

func (p *parleyREST) target() *Target {
	t := p.broker.target()
	t.Parley = &Parley{URL: p.server.URL, Secret: testSecret, Issuer: "us", Audience: "them"}
	return t
}

func (p *parleyREST) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := p.verifier.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/conversations"), "/")
	if r.Method == http.MethodPost {
		var body struct {
			ID      string   `json:"id"`
			Members []string `json:"members"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Members) > 1000 {
			http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
			return
		}
		p.members[body.ID] = append([]string{id.UserID}, body.Members...)
		w.WriteHeader(http.StatusCreated)
		return
	}
	c := parts[1]
	if all := p.members[c]; len(all) == 0 || all[0] != id.UserID {
		http.Error(w, "not the owner", http.StatusForbidden)
		return
	}
	switch {
	case r.Method == http.MethodPut && parts[2] == "members":
		p.members[c] = append(p.members[c], parts[3])
	case r.Method == http.MethodGet:
		p.broker.mu.Lock()
		logged := p.broker.logged["chat/"+c+"/messages"]
		p.broker.mu.Unlock()
		if logged > 0 {
			logged += p.extra
		}
		_, _ = fmt.Fprintf(w, `{"id": %q, "headSeq": %d}`, c, len(p.members[c])+logged)
	case r.Method == http.MethodDelete:
		p.removed++
		delete(p.members, c)
		w.WriteHeader(http.StatusNoContent)
	}
}

// asEntry delivers what Parley makes of a message.
func asEntry(_, _ int, payload []byte) [][]byte {
	var m struct{ Content string }
	if json.Unmarshal(payload, &m) != nil {
		return nil
	}
	e := chat.Entry{Stream: "c/bench", SenderID: "bench", Body: chat.Body{Type: chat.TypeMessage, Content: m.Content}}
	return [][]byte{e.AppendJSON(nil)}
}

// Clients of Parley have tokens and are members, entries are read for what
// they hold, and what was made is removed.
func TestParley(t *testing.T) {
	b := newTiny(t, fault{payloads: asEntry})
	p := newParleyREST(t, b)
	r, err := Run(t.Context(), talk(t), p.target())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Parley || len(r.Faults()) > 0 || r.Delivered == 0 {
		t.Errorf("got %+v, %q", r, r.Faults())
	}
	if p.removed != 2 || len(p.members) > 0 {
		t.Errorf("%d conversations removed, %v left", p.removed, p.members)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, user := range slices.Sorted(maps.Keys(b.tokens)) {
		if id, err := p.verifier.Verify(b.tokens[user]); err != nil || id.UserID != user {
			t.Errorf("%s connected as %q, %v", user, id.UserID, err)
		}
	}
	if len(b.tokens) != 2*faultReaders {
		t.Errorf("%d clients", len(b.tokens))
	}
}

// The log is compared with what was acknowledged.
func TestParleyLog(t *testing.T) {
	for _, tt := range []struct {
		extra int
		want  Correctness
	}{
		{3, Correctness{LogSurplus: 3}},
		{-2, Correctness{LogMissing: 2}},
	} {
		p := newParleyREST(t, newTiny(t, fault{payloads: asEntry}))
		p.extra = tt.extra
		target := p.target()
		target.Keep = true
		r, err := Run(t.Context(), small(t, Load{Case: Submit, Conversations: 1, Members: 2, QoS: 1}), target)
		if err != nil {
			t.Fatal(err)
		}
		if r.LogMissing != tt.want.LogMissing || r.LogSurplus != tt.want.LogSurplus || r.faultless() {
			t.Errorf("got %+v, want %+v", r.Correctness, tt.want)
		}
		if p.removed > 0 || len(p.members) != 1 {
			t.Errorf("%d conversations removed, %v left", p.removed, p.members)
		}
	}
}

// More members than one request may name are added one by one.
func TestParleyManyMembers(t *testing.T) {
	p := newParleyREST(t, newTiny(t, fault{}))
	load := Load{Case: Fanout, QoS: 1, Subscribers: membersAtOnce + 5}
	if err := load.Fill(); err != nil {
		t.Fatal(err)
	}
	streams, conns := layout(&load, 1)
	defer restClient.CloseIdleConnections()
	heads, err := p.target().Parley.create(t.Context(), streams, conns)
	if err != nil {
		t.Fatal(err)
	}
	members := p.members[streams[0].id]
	slices.Sort(members)
	if want := membersAtOnce + 6; len(slices.Compact(members)) != want || heads[0] != uint64(want) {
		t.Errorf("%d members, head %d, want %d", len(members), heads[0], want)
	}
}

// A refusal says what was refused, and why.
func TestParleyRefuses(t *testing.T) {
	p := newParleyREST(t, newTiny(t, fault{}))
	target := p.target()
	target.Parley.Issuer = "somebody else"
	_, err := Run(t.Context(), talk(t), target)
	if err == nil || !strings.Contains(err.Error(), "creating conversations: POST /v1/conversations: 401") {
		t.Errorf("got %v", err)
	}
	target.Parley.Secret = []byte("short")
	if _, err := Run(t.Context(), talk(t), target); err == nil || !strings.Contains(err.Error(), "jwt-secret") {
		t.Errorf("got %v", err)
	}
}
