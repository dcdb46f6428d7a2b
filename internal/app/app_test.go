package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Runner{M: m}) }

// fakeStore only says whether it is ready.
type fakeStore struct {
	bridge.Store
	ready error
}

func (s fakeStore) Ready(context.Context) error { return s.ready }

// testOptions are those of a server on ports that are free, in a folder of its
// own.
func testOptions(t *testing.T) Options {
	o := DefaultOptions()
	o.MQTTAddr, o.HTTPAddr = "127.0.0.1:0", "127.0.0.1:0"
	o.DataDir = filepath.Join(t.TempDir(), "data")
	return o
}

// onPostgres makes the options those of a server on a new database.
func onPostgres(t *testing.T, o Options) Options {
	o.DatabaseURL = Secret(pgtest.URL(t))
	return o
}

// start starts a server that is stopped when the test ends.
func start(t *testing.T, o Options) *App {
	t.Helper()
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

func get(t *testing.T, a *App, path string) (status int, body string) {
	t.Helper()
	// A connection for each request: one kept open would look like a leak.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + a.HTTPAddr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// connect opens an MQTT 5 session and returns its connection once the server
// has said yes.
func connect(t *testing.T, a *App, token string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", a.MQTTAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if ack := connectOn(t, conn, token); ack[0] != 0x20 || len(ack) < 4 || ack[3] != 0 {
		t.Fatalf("CONNECT was answered with % x", ack)
	}
	return conn
}

// connectOn sends a CONNECT and answers what comes back.
func connectOn(t *testing.T, conn net.Conn, token string) []byte {
	t.Helper()
	body := slices.Concat([]byte("\x00\x04MQTT\x05\x42\x00\x3c\x00\x00\x02c1"), // clean start, password
		[]byte{byte(len(token) >> 8), byte(len(token))}, []byte(token))
	packet := append([]byte{0x10, byte(len(body)&0x7f | 0x80), byte(len(body) >> 7)}, body...)
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	return readPacket(t, conn)
}

// readPacket reads a packet of fewer than 128 bytes.
func readPacket(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

func token(t *testing.T, o Options) string {
	t.Helper()
	secret, err := o.Secret(o.DataOptions)
	if err != nil {
		t.Fatal(err)
	}
	token, err := acl.Mint(secret, acl.Claims{Subject: "alice", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestStartAndStop(t *testing.T) {
	tests := []struct {
		name string
		opts func(t *testing.T) Options
	}{
		{"SQLite", testOptions},
		{"Postgres", func(t *testing.T) Options {
			o := onPostgres(t, testOptions(t))
			o.Migrate = true
			return o
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.opts(t)
			a := start(t, o)
			if status, body := get(t, a, "/readyz"); status != http.StatusOK {
				t.Errorf("readyz: %d %s", status, body)
			}
			conn := connect(t, a, token(t, o))

			// What is there while sends are drained: HTTP answers that the
			// server is not ready, and nobody new gets in.
			at := slices.IndexFunc(a.teardowns, func(p teardown) bool { return p.name == "sends" })
			a.teardowns = slices.Insert(a.teardowns, at, teardown{"test", func(context.Context) error {
				if status, body := get(t, a, "/readyz"); status != http.StatusServiceUnavailable {
					t.Errorf("readyz while draining: %d %s", status, body)
				}
				if late, err := net.Dial("tcp", a.MQTTAddr()); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("a new connection while draining: %v, %v", late, err)
				}
				return nil
			}})
			if err := a.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if goodbye := readPacket(t, conn); goodbye[0] != 0xe0 || goodbye[2] != 0x8b {
				t.Errorf("the last packet is % x, not DISCONNECT with 0x8B", goodbye)
			}
			if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("read %d more, %v", n, err)
			}
			for _, addr := range []string{a.MQTTAddr(), a.HTTPAddr()} {
				if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("%s after Stop: %v", addr, err)
				}
			}
			if err := a.Wait(t.Context()); err != nil {
				t.Errorf("Wait after Stop: %v", err)
			}
		})
	}
}

// Nothing of a server that was stopped stands in the way of the next one.
func TestRestart(t *testing.T) {
	o := testOptions(t)
	first := start(t, o)
	o.MQTTAddr, o.HTTPAddr = first.MQTTAddr(), first.HTTPAddr()
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	start(t, o)
}

func TestOneOfTwoPortsIsEnough(t *testing.T) {
	for _, off := range []string{"mqtt", "http"} {
		t.Run("without "+off, func(t *testing.T) {
			o := testOptions(t)
			if off == "mqtt" {
				o.MQTTAddr = ""
			} else {
				o.HTTPAddr = ""
			}
			a := start(t, o)
			if off == "mqtt" {
				if a.MQTTAddr() != "" || a.HTTPAddr() == "" {
					t.Errorf("listens on %q and %q", a.MQTTAddr(), a.HTTPAddr())
				}
				get(t, a, "/readyz")
			} else {
				if a.MQTTAddr() == "" || a.HTTPAddr() != "" {
					t.Errorf("listens on %q and %q", a.MQTTAddr(), a.HTTPAddr())
				}
				connect(t, a, token(t, o))
			}
		})
	}
}

// New that fails leaves no port, no lock, no goroutine (TestMain looks) and
// no line in the log.
func TestNewUnwinds(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ended, end := context.WithCancel(t.Context())
	end()
	hung, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the kernel alone, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()

	tests := []struct {
		name    string
		ctx     context.Context
		change  func(*Options)
		want    string
		setting bool // a *SettingError
	}{
		{"MQTT port taken", t.Context(), func(o *Options) { o.MQTTAddr = taken.Addr().String() }, "mqtt-addr: listen tcp", false},
		{"HTTP port taken", t.Context(), func(o *Options) { o.HTTPAddr = taken.Addr().String() }, "http-addr: listen tcp", false},
		{"no key file", t.Context(), func(o *Options) { o.JWTPublicKeyFile = "missing.pem" }, "jwt-public-key-file: open missing.pem", true},
		{"folder is a file", t.Context(), func(o *Options) { o.DataDir = os.Args[0] }, "data-dir: mkdir", true},
		{"database is a folder", t.Context(), func(o *Options) {
			if err := os.MkdirAll(filepath.Join(o.DataDir, DatabaseFile, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "data-dir: sqlite:", false},
		{"bad parameter of the database", t.Context(), func(o *Options) { o.DatabaseURL = "postgres://u:hush@127.0.0.1/d?sslmode=maybe" },
			"database-url: the database URL cannot be used", true},
		{"no database", t.Context(), func(o *Options) {
			o.DatabaseURL = Secret("postgres://u:hush@" + closedPort(t) + "/d")
		}, "database-url: connect to the database", false},
		{"not told to migrate", t.Context(), func(o *Options) { *o = onPostgres(t, *o) },
			"database-url: the schema is not up to date, run parley migrate or start with --migrate", false},
		{"told to stop", ended, func(*Options) {}, "", false},
		{"told to stop while it waits for the database", within(t, 100*time.Millisecond), func(o *Options) {
			o.DatabaseURL = Secret("postgres://u:hush@" + hung.Addr().String() + "/d")
		}, "database-url: connect to the database", false},
		{"not valid", t.Context(), func(o *Options) { o.LogLevel = "loud" }, "log-level:", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			good := o
			tt.change(&o)
			var log bytes.Buffer
			o.LogTo = &log
			_, err := New(tt.ctx, o)
			var setting *SettingError
			switch {
			case err == nil:
				t.Fatal("New succeeded")
			case !strings.HasPrefix(err.Error(), tt.want), strings.Contains(err.Error(), "hush"), strings.Contains(err.Error(), "\n"):
				t.Errorf("got %q, want %q", err, tt.want)
			case errors.As(err, &setting) != tt.setting:
				t.Errorf("%v is a SettingError: %v", err, !tt.setting)
			}
			if log.Len() > 0 {
				t.Errorf("logged %s", &log)
			}
			if tt.want != "data-dir: sqlite:" { // that folder stays as it is
				start(t, good)
			}
		})
	}
}

// within is a context that ends by itself.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A second server on the same folder is kept away, and the first one does not
// notice.
func TestTwoServersInOneFolder(t *testing.T) {
	o := testOptions(t)
	first := start(t, o)
	if _, err := New(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), "data-dir: ") {
		t.Errorf("got %v", err)
	}
	if status, _ := get(t, first, "/readyz"); status != http.StatusOK {
		t.Errorf("readyz of the first: %d", status)
	}
}

func TestMigrate(t *testing.T) {
	for _, name := range []string{"SQLite", "Postgres"} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			if name == "Postgres" {
				o = onPostgres(t, o)
			}
			for _, want := range []string{"the schema was brought up to date", "the schema is up to date, nothing to do"} {
				if did, err := Migrate(t.Context(), o); err != nil || did != want {
					t.Errorf("got %q, %v; want %q", did, err, want)
				}
			}
			start(t, o) // needs no --migrate
		})
	}
}

func TestMigrateWithoutDatabase(t *testing.T) {
	o := testOptions(t)
	o.DatabaseURL = Secret("postgres://u:hush@" + closedPort(t) + "/d")
	if _, err := Migrate(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), "database-url: ") || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}

func TestMetrics(t *testing.T) {
	a := start(t, testOptions(t))
	status, body := get(t, a, "/metrics")
	if status != http.StatusOK {
		t.Errorf("got %d", status)
	}
	for _, name := range []string{"go_goroutines", "go_build_info", "go_sched_latencies_seconds_count",
		"process_resident_memory_bytes", "parley_"} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("there is no %s", name)
		}
	}
}

// A listener that fails is told to who waits.
func TestWait(t *testing.T) {
	for _, name := range []string{"mqtt-addr", "http-addr"} {
		t.Run(name, func(t *testing.T) {
			a := start(t, testOptions(t))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := a.Wait(ctx); err != nil {
				t.Errorf("Wait with a context that ended: %v", err)
			}
			ln := map[string]net.Listener{"mqtt-addr": a.mqttLn, "http-addr": a.httpLn}[name]
			ln.Close()
			if err := a.Wait(t.Context()); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Keys of an endpoint are fetched for as long as the server lives, not for as
// long as the context of New does.
func TestKeysAreFetchedUntilStop(t *testing.T) {
	asked := make(chan struct{})
	var once sync.Once
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	issuer := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(asked) })
		<-r.Context().Done()
	})}
	go func() { _ = issuer.Serve(ln) }()
	defer issuer.Close()

	o := testOptions(t)
	o.JWKSURL = Secret("http://" + ln.Addr().String() + "/jwks")
	ctx, cancel := context.WithCancel(t.Context())
	a, err := New(ctx, o)
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	if _, err := os.Stat(filepath.Join(o.DataDir, acl.SecretFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a secret was made that nobody needs: %v", err)
	}
	if err := a.Stop(t.Context()); err != nil { // and it was not started
		t.Error(err)
	}
}
