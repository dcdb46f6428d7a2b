package acl

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// These go over a real network, with the transport that the server uses.

func TestJWKSOverHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.Close {
			t.Error("the connection would be kept")
		}
		_, _ = w.Write([]byte(jwks(jwk(edKey(), `,"kid":"k1"`))))
	}))
	defer server.Close()
	v := newTestVerifier(t, Config{JWKSURL: server.URL})
	wantUser(t, v, edToken(t, edKey(), "k1"), "alice")
	server.Close()
	wantUser(t, v, edToken(t, edKey(), "k1"), "alice")
}

// TestJWKSEndlessBody: reading stops at the bound, long before the time-out.
func TestJWKSEndlessBody(t *testing.T) {
	gone := make(chan struct{})
	end := sync.OnceFunc(func() { close(gone) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer end()
		chunk := make([]byte, 64<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	v := newTestVerifier(t, Config{JWKSURL: server.URL})
	start := time.Now()
	wantUnavailable(t, v, edToken(t, edKey(), "k1"))
	if d := time.Since(start); d >= fetchTimeout {
		t.Errorf("it took %v", d)
	}
	v.Close()
	<-gone
}

func TestJWKSCloseDuringAFetch(t *testing.T) {
	asked, gone := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	v := newTestVerifier(t, Config{JWKSURL: server.URL})
	<-asked
	v.Close()
	<-gone
}

func TestJWKSOfAStrangerWithoutTrust(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a server with an unknown certificate was asked")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the failed handshake
	server.StartTLS()
	defer server.Close()
	v := newTestVerifier(t, Config{JWKSURL: server.URL})
	wantUnavailable(t, v, edToken(t, edKey(), "k1"))
}
