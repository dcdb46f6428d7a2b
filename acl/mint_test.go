package acl

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMintAndVerify(t *testing.T) {
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	v := newTestVerifier(t, Config{Secret: testSecret, Issuer: "me", Audience: "you", Now: time.Now})
	token, err := Mint(testSecret, Claims{Subject: "alice", Scope: "notify admin", Expires: expires,
		Pub: []string{"devices/d1/#"}, Sub: []string{"a/+"}, TokenID: "t1", Issuer: "me", Audience: "you"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if id.UserID != "alice" || id.Scopes != Notify|Admin || !id.Expires.Equal(expires) || id.TokenID != "t1" ||
		id.IssuedAt.IsZero() || !slices.Equal(id.Pub, []string{"devices/d1/#"}) || !slices.Equal(id.Sub, []string{"a/+"}) {
		t.Errorf("got %+v", id)
	}
}

func TestMintTTL(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret, Now: time.Now})
	before := time.Now()
	first, second := must(Mint(testSecret, Claims{Subject: "alice", TTL: time.Hour})), must(Mint(testSecret, Claims{Subject: "alice", TTL: time.Hour}))
	a, err := v.Verify(first)
	if err != nil {
		t.Fatal(err)
	}
	// exp is in whole seconds.
	if a.Expires.Before(before.Add(time.Hour-time.Second)) || a.Expires.After(time.Now().Add(time.Hour)) {
		t.Errorf("expires %v, want an hour after %v", a.Expires, before)
	}
	b, err := v.Verify(second)
	if err != nil {
		t.Fatal(err)
	}
	if a.TokenID == "" || a.TokenID == b.TokenID {
		t.Errorf("ids %q and %q, want two", a.TokenID, b.TokenID)
	}
}

// TestMintPast: the tests of others want tokens that have expired.
func TestMintPast(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret, Now: time.Now})
	token := must(Mint(testSecret, Claims{Subject: "alice", Expires: testNow.Add(-time.Hour * 24 * 365)}))
	_, err := v.Verify(token)
	wantRefused(t, err, token, "expired")
}

func TestMintRefuses(t *testing.T) {
	good := Claims{Subject: "alice", TTL: time.Hour}
	for _, c := range []struct {
		want   string
		secret []byte
		change func(*Claims)
	}{
		{"jwt-secret", testSecret[:31], func(*Claims) {}},
		{"sub", testSecret, func(c *Claims) { c.Subject = "" }},
		{"sub", testSecret, func(c *Claims) { c.Subject = "a/b" }},
		{"scope", testSecret, func(c *Claims) { c.Scope = "notfy" }},
		{"ttl", testSecret, func(c *Claims) { c.TTL = 0 }},
		{"ttl", testSecret, func(c *Claims) { c.TTL = -time.Hour }},
		{"acl.pub: filter 1", testSecret, func(c *Claims) { c.Pub = []string{"a#"} }},
		{"acl.sub: has more", testSecret, func(c *Claims) { c.Sub = make([]string, maxFilters+1) }},
		{"longer than", testSecret, func(c *Claims) { c.Issuer = strings.Repeat("x", MaxToken) }},
	} {
		claims := good
		c.change(&claims)
		token, err := Mint(c.secret, claims)
		if err == nil || token != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %q, %v, want %q", token, err, c.want)
		}
	}
}
