package api_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/internal/chat"
)

var devExpires = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// newDev is a handler that offers sign-in by name where sign is not nil.
func newDev(t *testing.T, sign api.Signer, origins ...string) http.Handler {
	t.Helper()
	return api.New(api.Deps{Verifier: newVerifier(t, nil), SignIn: sign, Origins: origins,
		Ready: func(context.Context) error { return nil }})
}

func signAny(user, scope string) (string, time.Time, error) {
	token, err := acl.Mint(secret, acl.Claims{Subject: user, Scope: scope, Expires: devExpires})
	return token, devExpires, err
}

// from is a request as it comes from this machine, before it is changed.
func from(method, path, body string, change func(*http.Request)) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:50000"
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey,
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}))
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	return r
}

func at(ip string) func(*http.Request) {
	return func(r *http.Request) {
		addr := &net.TCPAddr{IP: net.ParseIP(ip), Port: 8080}
		*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
	}
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func peer(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }

// A name is enough on this machine, and nowhere else. Everybody else is told
// what they are told while it is off.
func TestSignInByNameIsForThisMachine(t *testing.T) {
	on, off := newDev(t, signAny, "https://app.example", "*"), newDev(t, nil)
	tests := []struct {
		name    string
		handler http.Handler
		change  func(*http.Request)
		offered bool
		json    bool // the request may have a token too
	}{
		{"this machine", on, nil, true, true},
		{"IPv6", on, func(r *http.Request) { at("::1")(r); host("[::1]:8080")(r); peer("[::1]:50000")(r) }, true, true},
		{"127.0.0.1", on, host("127.0.0.1:8080"), true, true},
		{"no port", on, host("localhost"), true, true},
		{"IPv6 without a port", on, host("[::1]"), true, true},
		{"our own page", on, with("Origin", "http://localhost:8080"), true, true},
		{"our own page over TLS", on, func(r *http.Request) { r.TLS = &tls.ConnectionState{}; with("Origin", "https://localhost:8080")(r) }, true, true},
		{"JSON in UTF-8", on, with("Content-Type", "application/json; charset=utf-8"), true, true},
		{"form", on, with("Content-Type", "application/x-www-form-urlencoded"), true, false},
		{"text", on, with("Content-Type", "text/plain"), true, false},
		{"no type", on, func(r *http.Request) { r.Header.Del("Content-Type") }, true, false},
		{"off", off, nil, false, false},
		{"peer elsewhere", on, peer("192.0.2.7:50000"), false, false},
		{"peer elsewhere, IPv6", on, peer("[2001:db8::7]:50000"), false, false},
		{"peer unknown", on, peer("@"), false, false},
		{"reached from elsewhere", on, at("192.0.2.1"), false, false},
		{"reached nobody knows where", on, func(r *http.Request) { *r = *r.WithContext(context.Background()) }, false, false},
		{"foreign host", on, host("parley.example"), false, false},
		{"host that begins like ours", on, host("localhost.example:8080"), false, false},
		{"address of the network as host", on, host("192.0.2.1:8080"), false, false},
		{"no host", on, host(""), false, false},
		{"Forwarded", on, with("Forwarded", "for=192.0.2.7"), false, false},
		{"X-Forwarded-For", on, with("X-Forwarded-For", "192.0.2.7"), false, false},
		{"X-Forwarded-Host", on, with("X-Forwarded-Host", "parley.example"), false, false},
		{"X-Forwarded-Proto", on, with("X-Forwarded-Proto", "https"), false, false},
		{"X-Forwarded-Whatever", on, with("X-Forwarded-Whatever", ""), false, false},
		{"X-Real-IP", on, with("X-Real-IP", "192.0.2.7"), false, false},
		{"Via", on, with("Via", "1.1 proxy"), false, false},
		{"page elsewhere", on, with("Origin", "https://evil.example"), false, false},
		{"page of an origin that may use REST", on, with("Origin", "https://app.example"), false, false},
		{"page on another port", on, with("Origin", "http://localhost:3000"), false, false},
		{"page without an origin", on, with("Origin", "null"), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.handler.ServeHTTP(w, from("GET", "/v1/dev", "", tt.change))
			wantDev(t, "offer", w, tt.offered, http.StatusNoContent)
			w = httptest.NewRecorder()
			tt.handler.ServeHTTP(w, from("POST", "/v1/dev/token", `{"sub": "alice"}`, tt.change))
			wantDev(t, "token", w, tt.json, http.StatusOK)
		})
	}
}

func wantDev(t *testing.T, what string, w *httptest.ResponseRecorder, ok bool, status int) {
	t.Helper()
	if !ok {
		status = http.StatusNotFound
	}
	text := w.Body.String()
	if w.Code != status || w.Header().Get("Access-Control-Allow-Origin") != "" ||
		w.Header().Get("Cache-Control") != "no-store" || !ok && !strings.Contains(text, "there is no such path") {
		t.Errorf("%s: got %d %s %v, want %d", what, w.Code, text, w.Header(), status)
	}
}

func TestSignInByName(t *testing.T) {
	on := newDev(t, signAny)
	for _, tt := range []struct {
		body, user string
		admin      bool
		field      string
	}{
		{`{"sub": "alice"}`, "alice", false, ""},
		{`{"sub": "root", "scope": "admin"}`, "root", true, ""},
		{`{"sub": "root", "scope": ""}`, "root", false, ""},
		{`{}`, "", false, "sub"},
		{`{"sub": "a/b"}`, "", false, "sub"},
		{`{"sub": 7}`, "", false, "sub"},
		{`{"sub": null}`, "", false, "sub"},
		{`{"sub": "alice", "scope": "notify"}`, "", false, "scope"},
		{`{"Sub": "alice"}`, "", false, "payload"},
		{`{"sub": "alice", "ttl": "1000h"}`, "", false, "payload"},
		{`["alice"]`, "", false, "payload"},
		{`{"sub": "` + strings.Repeat("a", 2000) + `"}`, "", false, "payload"},
	} {
		w := httptest.NewRecorder()
		on.ServeHTTP(w, from("POST", "/v1/dev/token", tt.body, nil))
		var got struct{ Token, ExpiresAt, Field string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v in %s", tt.body, err, w.Body)
		}
		if tt.user == "" {
			if w.Code != http.StatusBadRequest || got.Field != tt.field {
				t.Errorf("%s: got %d %s, want field %s", tt.body, w.Code, w.Body, tt.field)
			}
			continue
		}
		id, err := newVerifier(t, nil).Verify(got.Token)
		if err != nil || id.UserID != tt.user || id.Has(acl.Admin) != tt.admin || got.ExpiresAt != "2030-01-02T03:04:05.000Z" {
			t.Errorf("%s: got %+v %v until %s", tt.body, id, err, got.ExpiresAt)
		}
	}
	// Nothing else is there.
	for _, tt := range [][2]string{{"POST", "/v1/dev"}, {"GET", "/v1/dev/token"}, {"PUT", "/v1/dev/token"}, {"GET", "/v1/dev/"}} {
		w := httptest.NewRecorder()
		on.ServeHTTP(w, from(tt[0], tt[1], `{"sub": "alice"}`, nil))
		wantDev(t, tt[0]+" "+tt[1], w, false, 0)
	}
	// A path that only begins alike wants a token, as all do.
	w := httptest.NewRecorder()
	on.ServeHTTP(w, from("GET", "/v1/device", "", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("/v1/device: got %d", w.Code)
	}
	broken := newDev(t, func(string, string) (string, time.Time, error) {
		return "", time.Time{}, chat.Errorf(chat.CodeInternal, "the secret is abc")
	})
	w = httptest.NewRecorder()
	broken.ServeHTTP(w, from("POST", "/v1/dev/token", `{"sub": "alice"}`, nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "abc") {
		t.Errorf("a signer that fails: got %d %s", w.Code, w.Body)
	}
}
