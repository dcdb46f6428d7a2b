package acl

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

// endpoint is a JWKS endpoint without a network, so that time can be made to
// pass while it answers.
type endpoint struct {
	calls  atomic.Int64
	answer atomic.Pointer[func(*http.Request) (*http.Response, error)]
}

func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	e.calls.Add(1)
	return (*e.answer.Load())(req)
}

func (e *endpoint) set(answer func(*http.Request) (*http.Response, error)) { e.answer.Store(&answer) }

func (e *endpoint) serve(body string) { e.serveReader(200, strings.NewReader(body)) }

func (e *endpoint) serveReader(status int, body io.Reader) {
	text, _ := io.ReadAll(body)
	e.set(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(text)), Request: req}, nil
	})
}

func (e *endpoint) down() {
	e.set(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
}

func (e *endpoint) hang() {
	e.set(func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
}

// hangInBody sends the head and then nothing.
func (e *endpoint) hangInBody() {
	e.set(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(readerFunc(func([]byte) (int, error) {
			<-req.Context().Done()
			return 0, req.Context().Err()
		}))}, nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (e *endpoint) verifier(ctx context.Context, t *testing.T, log *slog.Logger) *Verifier {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	v, err := newJWKSVerifier(ctx, Config{JWKSURL: "https://user:hunter2@keys.test/jwks?key=hunter3",
		Now: func() time.Time { return testNow }, Logger: log}, e)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// pass lets time pass in the bubble, and all goroutines do what they have to.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// edToken is signed with an Ed25519 key. kid "" leaves kid out.
func edToken(t testing.TB, key ed25519.PrivateKey, kid string) string {
	t.Helper()
	header := `{"alg":"EdDSA"}`
	if kid != "" {
		header = `{"alg":"EdDSA","kid":"` + kid + `"}`
	}
	return sign(t, jwt.SigningMethodEdDSA, key, header, claimsAt(time.Hour, ""))
}

func wantUnknown(t *testing.T, v *Verifier, token string) {
	t.Helper()
	_, err := v.Verify(token)
	wantRefused(t, err, token, "key is not known")
}

func wantUnavailable(t *testing.T, v *Verifier, token string) {
	t.Helper()
	_, err := v.Verify(token)
	wantCode(t, err, chat.CodeUnavailable)
}

func TestJWKSFirstTokensWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, release := &endpoint{}, make(chan struct{})
		e.set(func(req *http.Request) (*http.Response, error) {
			<-release
			return &http.Response{StatusCode: 200, Request: req,
				Body: io.NopCloser(strings.NewReader(jwks(jwk(edKey(), `,"kid":"k1"`))))}, nil
		})
		v := e.verifier(t.Context(), t, nil)
		defer v.Close()
		var wg sync.WaitGroup
		for _, kid := range []string{"k1", "k1", ""} {
			wg.Go(func() { wantUser(t, v, edToken(t, edKey(), kid), "alice") })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if n := e.calls.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestJWKSStartsWhileTheEndpointIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{}
		e.down()
		v := e.verifier(t.Context(), t, nil)
		defer v.Close()
		token := edToken(t, edKey(), "k1")
		wantUnavailable(t, v, token)
		pass(10 * time.Minute)
		wantUnavailable(t, v, token)
		wantUnavailable(t, v, edToken(t, edKey(), ""))
		if n := e.calls.Load(); n > 10*60/30+8 {
			t.Errorf("%d fetches in 10 minutes", n)
		}
		e.serve(jwks(jwk(edKey(), `,"kid":"k1"`)))
		pass(lastRetry)
		wantUser(t, v, token, "alice")
	})
}

// TestJWKSTokenBringsTheKeysBack: with a token at the door, the first fetch
// after an outage need not wait for its time.
func TestJWKSTokenBringsTheKeysBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{}
		e.down()
		v := e.verifier(t.Context(), t, nil)
		defer v.Close()
		pass(10 * time.Minute)
		before := e.calls.Load()
		for e.calls.Load() == before {
			pass(time.Second)
		}
		e.serve(jwks(jwk(edKey(), `,"kid":"k1"`)))
		pass(fetchGap)
		wantUser(t, v, edToken(t, edKey(), "k1"), "alice")
	})
}

func TestJWKSRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{}
		e.serve(jwks(jwk(edKey(), `,"kid":"k1"`)))
		v := e.verifier(t.Context(), t, nil)
		defer v.Close()
		old, fresh := edToken(t, edKey(), "k1"), edToken(t, edKey2(), "k2")
		wantUser(t, v, old, "alice")

		e.serve(jwks(jwk(edKey(), `,"kid":"k1"`), jwk(edKey2(), `,"kid":"k2"`)))
		wantUnknown(t, v, fresh) // too soon after the last fetch
		if n := e.calls.Load(); n != 1 {
			t.Fatalf("%d fetches, want 1", n)
		}
		pass(fetchGap)
		wantUser(t, v, fresh, "alice")
		wantUser(t, v, old, "alice")
		if n := e.calls.Load(); n != 2 {
			t.Fatalf("%d fetches, want 2", n)
		}

		// A key that is withdrawn ends at the next fetch, asked for or not.
		e.serve(jwks(jwk(edKey2(), `,"kid":"k2"`)))
		wantUser(t, v, old, "alice")
		pass(fetchEvery)
		wantUnknown(t, v, old)
		wantUser(t, v, fresh, "alice")

		// Another key with a known id is not taken for it.
		_, err := v.Verify(edToken(t, edKey(), "k2"))
		wantRefused(t, err, "", "signature")
	})
}

// TestJWKSStrangers: unknown kids neither hammer the endpoint nor hold up
// tokens whose key is known.
func TestJWKSStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{}
		e.serve(jwks(jwk(edKey(), `,"kid":"k1"`)))
		v := e.verifier(t.Context(), t, nil)
		defer v.Close()
		good := edToken(t, edKey(), "k1")
		wantUser(t, v, good, "alice")

		e.hang()
		pass(fetchGap)
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() { wantUnknown(t, v, edToken(t, edKey2(), fmt.Sprintf("x%d", i))) })
		}
		synctest.Wait() // they wait for the fetch that hangs
		before := time.Now()
		wantUser(t, v, good, "alice")
		wantUser(t, v, edToken(t, edKey(), ""), "alice")
		if d := time.Since(before); d != 0 {
			t.Errorf("a good token waited %v", d)
		}
		wg.Wait()
		if d := time.Since(before); d != fetchTimeout {
			t.Errorf("strangers waited %v, want %v", d, fetchTimeout)
		}
		if n := e.calls.Load(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}

		// An hour of it, a stranger each second.
		e.serve(jwks(jwk(edKey(), `,"kid":"k1"`)))
		from := e.calls.Load()
		for i := range 3600 {
			pass(time.Second)
			wantUnknown(t, v, edToken(t, edKey2(), fmt.Sprintf("y%d", i)))
		}
		if n := e.calls.Load() - from; n > int64(time.Hour/fetchGap)+1 {
			t.Errorf("%d fetches in an hour", n)
		}

		// A known kid with the wrong algorithm or signature, and no kid at
		// all, are no reason to fetch.
		pass(fetchGap)
		from = e.calls.Load()
		for _, token := range []string{
			edToken(t, edKey2(), "k1"),
			edToken(t, edKey2(), ""),
			sign(t, jwt.SigningMethodES256, ecKey(), `{"alg":"ES256","kid":"k1"}`, claimsAt(time.Hour, "")),
			sign(t, jwt.SigningMethodES256, ecKey(), `{"alg":"ES256"}`, claimsAt(time.Hour, "")),
			sign(t, jwt.SigningMethodEdDSA, edKey(), `{"alg":"EdDSA","kid":7}`, claimsAt(time.Hour, "")),
			sign(t, jwt.SigningMethodHS256, []byte("x"), `{"alg":"HS256","kid":"x"}`, claimsAt(time.Hour, "")),
		} {
			if _, err := v.Verify(token); err == nil {
				t.Error("accepted")
			}
		}
		if n := e.calls.Load(); n != from {
			t.Errorf("%d fetches, want none", n-from)
		}
	})
}

// TestJWKSOldKeysStay: whatever the endpoint says that is not a set with a
// usable key, what was good stays good, and it is asked again, not too often.
func TestJWKSOldKeysStay(t *testing.T) {
	huge := strings.Repeat(" ", fetchBytes) + jwks(jwk(edKey2(), `,"kid":"k2"`))
	for _, c := range []struct {
		name   string
		answer func(*endpoint)
	}{
		{"down", (*endpoint).down},
		{"hangs", (*endpoint).hang},
		{"hangs in the body", (*endpoint).hangInBody},
		{"empty", func(e *endpoint) { e.serve("") }},
		{"{}", func(e *endpoint) { e.serve("{}") }},
		{"null", func(e *endpoint) { e.serve("null") }},
		{"[]", func(e *endpoint) { e.serve("[]") }},
		{"no keys", func(e *endpoint) { e.serve(`{"keys":[]}`) }},
		{"keys null", func(e *endpoint) { e.serve(`{"keys":null}`) }},
		{"keys a map", func(e *endpoint) { e.serve(`{"keys":{}}`) }},
		{"HTML", func(e *endpoint) { e.serve("<html>Sorry</html>") }},
		{"cut short", func(e *endpoint) { e.serve(jwks(jwk(edKey2(), `,"kid":"k2"`))[:60]) }},
		{"something after it", func(e *endpoint) { e.serve(jwks(jwk(edKey2(), `,"kid":"k2"`)) + "x") }},
		{"huge", func(e *endpoint) { e.serve(huge) }},
		{"huge after its end", func(e *endpoint) { e.serve(jwks(jwk(edKey2(), `,"kid":"k2"`)) + huge[:fetchBytes]) }},
		{"unusable keys", func(e *endpoint) { e.serve(jwks(jwk(ecKey384(), `,"kid":"k2"`), "7", "{}", `{"kty":"X"}`)) }},
		{"a secret", func(e *endpoint) { e.serve(jwks(`{"kty":"oct","kid":"k2","k":"` + b64(string(testSecret)) + `"}`)) }},
		{"status 500", func(e *endpoint) { e.serveReader(500, strings.NewReader(jwks(jwk(edKey2(), `,"kid":"k2"`)))) }},
		{"status 404", func(e *endpoint) { e.serveReader(404, strings.NewReader("")) }},
		{"redirects for ever", func(e *endpoint) {
			e.set(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"/again"}},
					Body: http.NoBody, Request: req}, nil
			})
		}},
		{"redirects away from TLS", func(e *endpoint) {
			e.set(func(req *http.Request) (*http.Response, error) {
				if req.URL.Scheme == "http" {
					t.Error("followed to http")
				}
				return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://keys.test/"}},
					Body: http.NoBody, Request: req}, nil
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, log := &endpoint{}, &lockedBuffer{}
				e.serve(jwks(jwk(edKey(), `,"kid":"k1"`)))
				v := e.verifier(t.Context(), t, slog.New(slog.NewTextHandler(log, nil)))
				defer v.Close()
				good := edToken(t, edKey(), "k1")
				wantUser(t, v, good, "alice")

				c.answer(e)
				from := e.calls.Load()
				pass(time.Hour)
				wantUser(t, v, good, "alice")
				wantUnknown(t, v, edToken(t, edKey2(), "k2"))
				// At most one in lastRetry, with 5 requests for a redirect.
				if n := e.calls.Load() - from; n == 0 || n > 5*int64(time.Hour/lastRetry+8) {
					t.Errorf("%d requests in an hour", n)
				}
				e.serve(jwks(jwk(edKey2(), `,"kid":"k2"`)))
				pass(lastRetry + fetchTimeout)
				wantUnknown(t, v, good) // first: its kid was known, so that it asks for no fetch
				wantUser(t, v, edToken(t, edKey2(), "k2"), "alice")
				if text := log.String(); !strings.Contains(text, "keys not fetched") || strings.Contains(text, "hunter") {
					t.Errorf("the log is %s", text)
				}
			})
		})
	}
}

// lockedBuffer takes a log from one goroutine while another reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestJWKSEnds: Close and the context end the fetch and let go of those who
// wait, and known keys go on working.
func TestJWKSEnds(t *testing.T) {
	for name, end := range map[string]func(*Verifier, context.CancelFunc){
		"close":   func(v *Verifier, _ context.CancelFunc) { v.Close(); v.Close() },
		"context": func(_ *Verifier, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				e := &endpoint{}
				e.serve(jwks(jwk(edKey(), `,"kid":"k1"`)))
				v := e.verifier(ctx, t, nil)
				defer v.Close()
				wantUser(t, v, edToken(t, edKey(), "k1"), "alice")
				e.hang()
				pass(fetchGap)
				var wg sync.WaitGroup
				wg.Go(func() { wantUnknown(t, v, edToken(t, edKey2(), "k2")) })
				synctest.Wait()
				before := time.Now()
				end(v, cancel)
				wg.Wait()
				if d := time.Since(before); d != 0 {
					t.Errorf("ending took %v", d)
				}
				for range 2 { // nobody is left who would fetch
					pass(fetchGap)
					wantUnknown(t, v, edToken(t, edKey2(), "k2"))
				}
				wantUser(t, v, edToken(t, edKey(), "k1"), "alice")
			})
		})
	}
}

func TestJWKSEndsBeforeTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{}
		e.hang()
		v := e.verifier(t.Context(), t, nil)
		v.Close()
		wantUnavailable(t, v, edToken(t, edKey(), "k1"))
	})
}
