package acl

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/chat"
)

// secretDirEnv turns the test program into a process that loads the secret of
// a folder and prints it.
const secretDirEnv = "PARLEY_TEST_SECRET_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(secretDirEnv); dir != "" {
		secret, err := LoadOrCreateSecret(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(string(secret))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var (
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	testNow    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// The keys are made once: an RSA key takes a while under the race detector.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaKey2  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaWeak  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 1024)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	ecKey384 = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P384()) })
	edKey    = sync.OnceValue(newEd)
	edKey2   = sync.OnceValue(newEd)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func newEd() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

// sign makes a token of raw JSON, well formed or not.
func sign(t testing.TB, method jwt.SigningMethod, key any, header, claims string) string {
	t.Helper()
	text := b64(header) + "." + b64(claims)
	sig, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// hs signs with the test secret.
func hs(t testing.TB, claims string) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, testSecret, `{"alg":"HS256","typ":"JWT"}`, claims)
}

// claimsAt is a claims set that expires so long after testNow, with more
// claims after it.
func claimsAt(d time.Duration, more string) string {
	return fmt.Sprintf(`{"sub":"alice","exp":%d%s}`, testNow.Add(d).Unix(), more)
}

func newTestVerifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return testNow }
	}
	v, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func writeFile(t testing.TB, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantRefused checks an error of Verify: its code, its text, and that it tells
// nothing of the token.
func wantRefused(t testing.TB, err error, token, text string) {
	t.Helper()
	wantCode(t, err, chat.CodeUnauthorized)
	if !strings.Contains(err.Error(), text) {
		t.Errorf("got error %q, want %q in it", err, text)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("error %q quotes the token", err)
		}
	}
}

func wantCode(t testing.TB, err error, code chat.Code) {
	t.Helper()
	var e *chat.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want a *chat.Error", err)
	}
	if e.Code != code {
		t.Fatalf("got code %q (%v), want %q", e.Code, err, code)
	}
}

func wantUser(t testing.TB, v *Verifier, token, user string) {
	t.Helper()
	id, err := v.Verify(token)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if id.UserID != user {
		t.Fatalf("got user %q, want %q", id.UserID, user)
	}
}
