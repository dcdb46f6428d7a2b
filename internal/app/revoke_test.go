package app

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
)

// A token that is revoked over REST ends its MQTT connection, and is refused
// by both.
func TestRevoke(t *testing.T) {
	o := testOptions(t)
	o.MaxTokenLife = 2 * time.Hour
	a := start(t, o)
	secret, err := o.Secret(o.DataOptions)
	if err != nil {
		t.Fatal(err)
	}
	mint := func(c acl.Claims) string {
		token, err := acl.Mint(secret, c)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	admin := mint(acl.Claims{Subject: "root", Scope: "admin", TTL: time.Hour})
	bob := mint(acl.Claims{Subject: "bob", TTL: time.Hour, TokenID: "one"})
	ask := func(method, path, token, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+a.HTTPAddr()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	conn := connect(t, a, bob)
	if status := ask("GET", "/v1/conversations", bob, ""); status != http.StatusOK {
		t.Fatalf("answered %d before", status)
	}
	if status := ask("POST", "/v1/tokens/revoke", admin, `{"jti": "one"}`); status != http.StatusNoContent {
		t.Fatalf("revoking answered %d", status)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
	if status := ask("GET", "/v1/conversations", bob, ""); status != http.StatusUnauthorized {
		t.Errorf("answered %d after", status)
	}
	long := mint(acl.Claims{Subject: "bob", TTL: 3 * time.Hour})
	if status := ask("GET", "/v1/conversations", long, ""); status != http.StatusUnauthorized {
		t.Errorf("answered %d to a token that lives too long", status)
	}
	http.DefaultClient.CloseIdleConnections()
}
