package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
)

// granted mints a token of the user with a jti.
func granted(t *testing.T, user, jti string) http.Header {
	t.Helper()
	token, err := acl.Mint(secret, acl.Claims{Subject: user, TTL: time.Hour, TokenID: jti})
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

func TestRevoke(t *testing.T) {
	each(t, func(e *env) {
		one, two, other := granted(e.T, bob, "one"), granted(e.T, bob, "two"), granted(e.T, carol, "three")
		holds := func(what string, h http.Header, want bool) {
			e.Helper()
			r := e.ask(h.Clone(), "GET", "/v1/conversations", nil)
			if want {
				r.want(200)
				return
			}
			if text := r.refused("unauthorized", ""); text != "the token was revoked" {
				e.Errorf("%s: %q", what, text)
			}
			if got := r.header.Get("WWW-Authenticate"); !strings.Contains(got, "invalid_token") {
				e.Errorf("%s: WWW-Authenticate is %q", what, got)
			}
		}
		e.do(root, "POST", "/v1/tokens/revoke", obj{"jti": "one"}).want(204)
		holds("the token", one, false)
		holds("another of its user", two, true)
		e.do(root, "POST", "/v1/tokens/revoke", obj{"sub": bob}).want(204)
		e.do(root, "POST", "/v1/tokens/revoke", obj{"sub": bob}).want(204)
		holds("one of the user", two, false)
		holds("one of another user", other, true)
		for now := time.Now(); time.Since(now) < time.Millisecond; { // a token says to the millisecond when it was issued
			runtime.Gosched()
		}
		holds("one that was issued later", granted(e.T, bob, "four"), true)
		holds("the revoked one, issued again", granted(e.T, bob, "one"), false)
	})
}

func TestRevokeRefuses(t *testing.T) {
	e := one(t, nil)
	for _, user := range []string{alice, mallory} {
		e.do(user, "POST", "/v1/tokens/revoke", obj{"sub": bob}).refused("forbidden", "")
	}
	for field, bodies := range map[string][]any{
		"sub": {obj{}, obj{"sub": ""}, obj{"sub": "a b"}, obj{"sub": 1}, obj{"jti": ""}},
		"jti": {obj{"sub": bob, "jti": "x"}, obj{"jti": strings.Repeat("x", 257)}, obj{"jti": 1}},
		"exp": {obj{"sub": bob, "exp": 1}},
	} {
		for _, body := range bodies {
			e.do(root, "POST", "/v1/tokens/revoke", body).refused("invalid", field)
		}
	}
	if e.revoked.Revoked(bob, "x", time.Time{}) {
		t.Error("a refused request revoked something")
	}
	e.do(root, "POST", "/v1/tokens/revoke", obj{"jti": strings.Repeat("x", 256)}).want(204)
}

// onRead calls a function before a body is read.
type onRead struct {
	io.Reader
	before func()
}

func (r onRead) Read(p []byte) (int, error) {
	r.before()
	return r.Reader.Read(p)
}

// A token is revoked while the body of a request is on its way.
func TestRevokedMeanwhile(t *testing.T) {
	e := one(t, nil)
	e.talk()
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/conversations/c1/messages",
		onRead{strings.NewReader(`{"content": "hi"}`), func() {
			if err := e.revoked.User(t.Context(), bob); err != nil {
				t.Error(err)
			}
		}})
	req.Header = granted(t, bob, "")
	answer := httptest.NewRecorder()
	e.handler.ServeHTTP(answer, req)
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("answered %d %s", answer.Code, answer.Body)
	}
}
