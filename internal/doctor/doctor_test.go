package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Runner{M: m}) }

const (
	goodSecret = "0f3a5c7e9b1d2f4a6c8e0b2d4f6a8c0e1f3b5d7a"
	password   = "hunter2-s3cr3t"
)

// healthy are settings of which nothing is wrong, in an empty folder.
func healthy(t *testing.T) *Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return &Config{MQTTAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", DataDir: dir, UsesDataDir: true,
		DatabaseFile: "parley.db", UsesSecretFile: true, MaxConnections: 10, Timeout: 20 * time.Second}
}

func examine(t *testing.T, cfg *Config) (found []Finding, ok bool) {
	t.Helper()
	ok = Run(t.Context(), cfg, func(f Finding) { found = append(found, f) })
	for _, f := range found {
		for _, secret := range []string{goodSecret, password} {
			if strings.Contains(f.Text+f.Advice, secret) {
				t.Errorf("a secret is in %+v", f)
			}
		}
		if f.Text == "" || f.Check == "" || (f.Advice == "") != (f.Level == OK) {
			t.Errorf("%+v says too little, or gives advice where all is well", f)
		}
	}
	return found, ok
}

// bad are the findings that are not ok.
func bad(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		if f.Level != OK {
			fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.Check, f.Text)
		}
	}
	return b.String()
}

// pair writes a certificate and its key. What change changes is signed by the
// certificate itself.
func pair(t *testing.T, dir string, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "chat.example.com"},
		DNSNames: []string{"chat.example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour)}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return certtest.Write(t, dir, "server.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		certtest.Write(t, dir, "server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

func TestHealthy(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Config)
	}{
		{"nothing there yet", func(c *Config) { c.DataDir = filepath.Join(c.DataDir, "some", "data") }},
		{"a database", func(c *Config) {
			s := parleytest.Open(t, "sqlite", filepath.Join(c.DataDir, c.DatabaseFile))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(c.DataDir, "jwt-secret"), goodSecret+"\n", 0o600)
		}},
		{"Postgres", func(c *Config) {
			c.UsesDataDir, c.UsesSecretFile, c.JWTSecret = false, false, goodSecret
			c.DatabaseURL = parleytest.Database(t, "postgres")
			s := parleytest.Open(t, "postgres", c.DatabaseURL)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}},
		{"keys of an endpoint", func(c *Config) {
			c.UsesSecretFile, c.JWTIssuer, c.JWTAudience = false, "us", "them"
			c.JWKSURL = endpoint(t, http.StatusOK, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
		}},
		{"a public key", func(c *Config) {
			c.UsesSecretFile, c.JWTIssuer, c.JWTAudience = false, "us", "them"
			c.JWTPublicKeyFile, _ = pair(t, t.TempDir(), nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := healthy(t)
			tt.set(cfg)
			found, ok := examine(t, cfg)
			if text := bad(found); !ok || text != "" {
				t.Errorf("%v, found\n%s", ok, text)
			}
		})
	}
}

// endpoint serves one answer and says where.
func endpoint(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL + "/keys?password=" + password
}

// nobodyListens is an address where nobody does.
func nobodyListens(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() }) // it may be closed already
	return ln
}

// wrong is one thing that is broken, and what must be said about it, and
// nothing else.
type wrong struct {
	name  string
	set   func(t *testing.T, c *Config)
	level Level
	check string
	says  string
}

func (tt *wrong) run(t *testing.T) {
	cfg := healthy(t)
	tt.set(t, cfg)
	found, ok := examine(t, cfg)
	want := fmt.Sprintf("%s %s: ", tt.level, tt.check)
	text := bad(found)
	if !strings.HasPrefix(text, want) || !strings.Contains(text, tt.says) || strings.Count(text, "\n") != 1 || ok != (tt.level != Fail) {
		t.Errorf("%v, found\n%swant %s…%s", ok, text, want, tt.says)
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []wrong{
		{"a bad setting", func(_ *testing.T, c *Config) { c.Wrong = []error{errors.New("log-level: is odd")} }, Fail, "settings", "log-level: is odd"},
		{"any origin", func(_ *testing.T, c *Config) { c.Origins = []string{"https://a.example", "*"} }, Warn, "settings", "ws-origins is *"},
		{"a hole beside client certificates", func(t *testing.T, c *Config) {
			c.ClientCertRequired = true
		}, Warn, "settings", "mqtt-addr takes clients without TLS"},
		{"sign-in by name for all", func(t *testing.T, c *Config) {
			c.DevLogin, c.HTTPAddr = true, ":0"
		}, Warn, "settings", "dev-login is on, and :0 can be reached"},
		{"a clock that is behind", func(_ *testing.T, c *Config) { c.Built = time.Now().Add(time.Hour) }, Fail, "clock", "before this program was made"},
		{"few files", func(_ *testing.T, c *Config) { c.MaxConnections = 1 << 40 }, Warn, "connections", "max-connections of 1099511627776 needs"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestFiles(t *testing.T) {
	for _, tt := range []wrong{
		{"no folder", func(t *testing.T, c *Config) {
			c.DataDir, c.DatabaseURL, c.UsesSecretFile, c.JWTSecret = write(t, filepath.Join(c.DataDir, "file"), "", 0o600), migrated(t), false, goodSecret
		}, Fail, "data folder", "is not a folder"},
		{"a folder that cannot be written", func(_ *testing.T, c *Config) { c.DataDir = "/proc/1" }, Fail, "data folder", "cannot be written"},
		{"a folder that cannot be made", func(_ *testing.T, c *Config) { c.DataDir = "/proc/1/none/here" }, Fail, "data folder", "cannot make it"},
		{"a folder that others write to", func(t *testing.T, c *Config) {
			if err := os.Chmod(c.DataDir, 0o777); err != nil {
				t.Fatal(err)
			}
		}, Fail, "data folder", "mode 0777"},
		{"a secret for everybody", func(t *testing.T, c *Config) {
			write(t, filepath.Join(c.DataDir, "jwt-secret"), goodSecret, 0o644)
		}, Fail, "tokens", "mode 0644"},
		{"a secret for the group", func(t *testing.T, c *Config) {
			write(t, filepath.Join(c.DataDir, "jwt-secret"), goodSecret, 0o640)
		}, Warn, "tokens", "mode 0640"},
		{"a short secret", func(t *testing.T, c *Config) {
			write(t, filepath.Join(c.DataDir, "jwt-secret"), "short\n", 0o600)
		}, Fail, "tokens", "has 5 bytes"},
		{"a secret to be guessed", func(_ *testing.T, c *Config) {
			c.UsesSecretFile, c.JWTSecret = false, strings.Repeat("x", 40)
		}, Fail, "tokens", "1 different characters"},
		{"no public key", func(t *testing.T, c *Config) {
			c.UsesSecretFile, c.JWTPublicKeyFile = false, write(t, filepath.Join(c.DataDir, "key"), "no key", 0o600)
		}, Fail, "tokens", "holds no PEM block"},
		{"keys of others too", func(t *testing.T, c *Config) {
			c.UsesSecretFile, c.JWTIssuer = false, "us"
			c.JWTPublicKeyFile, _ = pair(t, t.TempDir(), nil)
		}, Warn, "tokens", "jwt-audience is empty"},
		{"no key set", func(t *testing.T, c *Config) {
			c.UsesSecretFile, c.JWKSURL = false, endpoint(t, http.StatusOK, "{}")
		}, Fail, "tokens", "no usable key"},
		{"an endpoint that fails", func(t *testing.T, c *Config) {
			c.UsesSecretFile, c.JWKSURL = false, endpoint(t, http.StatusBadGateway, "")
		}, Fail, "tokens", "status 502"},
		{"an endpoint that is gone", func(t *testing.T, c *Config) {
			c.UsesSecretFile, c.JWKSURL = false, "http://"+nobodyListens(t)+"/?password="+password
		}, Fail, "tokens", "connection refused"},
		{"a damaged database", func(t *testing.T, c *Config) {
			write(t, filepath.Join(c.DataDir, c.DatabaseFile), strings.Repeat("no database ", 1000), 0o600)
		}, Fail, "database", "is damaged"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestCertificates(t *testing.T) {
	set := func(change func(*x509.Certificate)) func(t *testing.T, c *Config) {
		return func(t *testing.T, c *Config) { c.TLSCert, c.TLSKey = pair(t, t.TempDir(), change) }
	}
	const untrusted = "warn certificate: tls-cert: this machine does not trust who signed it (CN=chat.example.com)\n"
	for _, tt := range []struct {
		name string
		set  func(t *testing.T, c *Config)
		want string // all that is not well
	}{
		{"its own authority", set(nil), untrusted},
		{"expired", set(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "fail certificate: tls-cert: expired at"},
		{"not yet", set(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "fail certificate: tls-cert: holds from"},
		{"soon", set(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(24 * time.Hour) }), "warn certificate: tls-cert: expires at"},
		{"no names", set(func(c *x509.Certificate) { c.DNSNames = nil }), "fail certificate: tls-cert: names no host"},
		{"no pair", func(t *testing.T, c *Config) {
			c.TLSCert, _ = pair(t, t.TempDir(), nil)
			_, c.TLSKey = pair(t, t.TempDir(), nil)
		}, "fail certificate: tls-cert, tls-key: tls: private key does not match"},
		{"no file", func(t *testing.T, c *Config) {
			c.TLSCert, c.TLSKey = filepath.Join(c.DataDir, "no.crt"), filepath.Join(c.DataDir, "no.key")
		}, "fail certificate: tls-cert, tls-key: open "},
		{"a key for everybody", func(t *testing.T, c *Config) {
			c.TLSCert, c.TLSKey = pair(t, t.TempDir(), nil)
			if err := os.Chmod(c.TLSKey, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "warn certificate: tls-key: "},
		{"authorities of nobody", func(t *testing.T, c *Config) {
			c.TLSCert, c.TLSKey = pair(t, t.TempDir(), nil)
			c.TLSClientCA = c.TLSKey
		}, "fail certificate: tls-client-ca: "},
		{"an authority that expired", func(t *testing.T, c *Config) {
			c.TLSCert, c.TLSKey = pair(t, t.TempDir(), nil)
			c.TLSClientCA, _ = pair(t, t.TempDir(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}, "fail certificate: tls-client-ca: CN=chat.example.com expired at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := healthy(t)
			tt.set(t, cfg)
			found, ok := examine(t, cfg)
			text := bad(found)
			if !strings.Contains(text, tt.want) || ok == strings.HasPrefix(tt.want, "fail") || strings.Count(strings.Replace(text, untrusted, "", 1), "\n") > 1 {
				t.Errorf("%v, found\n%swant %s", ok, text, tt.want)
			}
		})
	}
}
