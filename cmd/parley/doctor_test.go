package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/doctor"
	"github.com/parley-mqtt/parley/internal/testkit/certtest"
)

// diagnosis is what parley doctor --json prints.
type diagnosis struct {
	Healthy  bool
	Findings []doctor.Finding
}

// diagnose runs parley doctor, and checks that code and lines agree.
func diagnose(t *testing.T, env []string, args ...string) (d diagnosis, text string) {
	t.Helper()
	args = append([]string{"doctor", "--json"}, args...)
	code, stdout, stderr := parley(t, env, args...)
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatalf("%v in %s, stderr %s", err, stdout, stderr)
	}
	healthy := code == exitOK && stderr == ""
	if !healthy && (code != exitError || len(lines(stderr)) != 1) || healthy != d.Healthy {
		t.Errorf("code %d, healthy %v, stderr %q", code, d.Healthy, stderr)
	}
	var b strings.Builder
	for _, f := range d.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.Check, f.Text)
	}
	return d, b.String()
}

func wantAll(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is missing in\n%s", w, text)
		}
	}
}

// Without a server the doctor says what one would find. It makes nothing.
func TestDoctorBeforeTheStart(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := parley(t, nil, append([]string{"doctor", "--max-connections", "10"}, anyPort...)...)
	if code != exitOK || stderr != "" {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	wantAll(t, stdout, "ok    settings      all can be used\n", "ok    database      parley-data/parley.db is not there yet")
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// Bad settings are findings like others, all of them, wherever they stand;
// what is good is looked at all the same. One that does not exist is an error
// of usage, as for parley serve.
func TestDoctorBadSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "parley.yml")
	if err := os.WriteFile(file, []byte("log-level: odd\ndata-dir: "+t.TempDir()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"PARLEY_MQTTS_ADDR=:8883", "PARLEY_JWT_SECRET=short", "PARLEY_DATABASE_URL=postgres://u:" + otherSecret + "@127.0.0.1:1/db"}
	d, text := diagnose(t, env, append([]string{"--config", file}, anyPort[:4]...)...)
	if d.Healthy || strings.Contains(text, otherSecret) {
		t.Errorf("healthy, or a secret is shown:\n%s", text)
	}
	wantAll(t, text, `fail settings: log-level: "odd"`, "fail settings: mqtts-addr: is set, but tls-cert is not",
		"fail settings: jwt-secret: must be at least 32 bytes, has 5", "fail database: database-url: connect to the database")
	for _, env := range [][]string{{"PARLEY_TYPO=1"}, nil} {
		args := []string{"doctor"}
		if env == nil {
			args = append(args, "--typo")
		}
		if code, stdout, stderr := parley(t, env, args...); code != exitUsage || stdout != "" || len(lines(stderr)) != 1 {
			t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	}
}

// A server that runs is asked how it is, in all the ways that clients take.
func TestDoctorBesideAServer(t *testing.T) {
	secure := t.TempDir()
	authority := certtest.New(t)
	cert, key := authority.WritePair(secure)
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"plain", nil, []string{"ok mqtt-addr: a server answers on 127.0.0.1", "ok http-addr: a Parley ", "ok http-addr: it is ready",
			"ok http-addr: MQTT over WebSocket works", "ok database: in use by process "}},
		{"a proxy", []string{"--proxy-protocol-from", "127.0.0.0/8"}, []string{"ok mqtt-addr: a server answers", "ok http-addr: it is ready",
			"ok http-addr: MQTT over WebSocket works"}},
		{"certificates of clients", []string{"--tls-cert", cert, "--tls-key", key, "--tls-client-ca", cert, "--tls-client-auth", "required"},
			[]string{"ok http-addr: a server answers on 127.0.0.1", "and wants a certificate", "warn settings: tls-client-auth is required, but mqtt-addr"}},
		{"TLS", []string{"--tls-cert", cert, "--tls-key", key}, []string{"ok mqtt-addr: a server answers", "ok http-addr: it is ready",
			"ok http-addr: MQTT over WebSocket works", "warn certificate: tls-cert: expires at"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ports := freeAddrs(t, 2)
			args := append([]string{"--data-dir", t.TempDir(), "--mqtt-addr", ports[0], "--http-addr", ports[1]}, tt.args...)
			s := serve(t, nil, args...)
			s.stdout.waitFor(t, "A first message:", s.ended)
			d, text := diagnose(t, nil, args...)
			if !d.Healthy {
				t.Errorf("not healthy:\n%s", text)
			}
			wantAll(t, text, tt.want...)
			if code, stdout, stderr := parley(t, nil, append([]string{"health"}, args...)...); code != exitOK || stdout != "ready\n" {
				t.Errorf("health: code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			alone := append([]string{"health"}, args...)
			if code, _, stderr := parley(t, nil, append(alone, "--http-addr=", "--tls-cert=", "--tls-key=", "--tls-client-ca=", "--tls-client-auth=optional")...); code != exitOK {
				t.Errorf("health without HTTP: code %d, stderr %q", code, stderr)
			}
			s.stop()
			if code, stdout, stderr := parley(t, nil, append([]string{"health"}, args...)...); code != exitError || stdout != "" || !strings.HasPrefix(stderr, "parley: not ready: ") {
				t.Errorf("health after the end: code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

// freeAddrs are addresses that nobody listens on.
func freeAddrs(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs
}

// Ports that somebody else has are named, and so is a server that is not
// ready, and a certificate that is not the one of the files.
func TestDoctorPorts(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/openapi.json" {
			_, _ = io.WriteString(w, `{"info": {"title": "Parley", "version": "v1"}}`)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer other.Close()
	addr := strings.TrimPrefix(other.URL, "http://")
	_, text := diagnose(t, nil, "--data-dir", t.TempDir(), "--mqtt-addr", addr, "--http-addr", addr)
	wantAll(t, text, "fail mqtt-addr: "+addr+" is taken: what listens there does not speak MQTT",
		"fail http-addr: the server is not ready: Service Unavailable", "fail http-addr: MQTT over WebSocket does not work: /mqtt answered 503")
	if code, _, stderr := parley(t, nil, "health", "--http-addr", addr); code != exitError || !strings.Contains(stderr, "/readyz answers 503") {
		t.Errorf("health: code %d, stderr %q", code, stderr)
	}

	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	addr = strings.TrimPrefix(stranger.URL, "http://")
	_, text = diagnose(t, nil, "--data-dir", t.TempDir(), "--mqtt-addr=", "--http-addr", addr)
	wantAll(t, text, "ok mqtt-addr: off", "fail http-addr: "+addr+" is taken, and not by a Parley")

	_, text = diagnose(t, nil, "--data-dir", t.TempDir(), "--mqtt-addr", "192.0.2.1:1883", "--http-addr", "127.0.0.1:0", "--timeout", "500ms")
	wantAll(t, text, "fail mqtt-addr: 192.0.2.1:1883 cannot be listened on")
}

// The webhook is looked at when that is asked for, and sent nothing.
func TestDoctorWebhook(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request") }))
	defer endpoint.Close()
	args := append([]string{"--data-dir", t.TempDir(), "--webhook-secret", testSecret, "--webhook-url", endpoint.URL + "/?key=" + otherSecret}, anyPort...)
	if _, text := diagnose(t, nil, args...); strings.Contains(text, " webhook: ") {
		t.Errorf("it was looked at:\n%s", text)
	}
	_, open := diagnose(t, nil, append(args, "--webhook")...)
	wantAll(t, open, "ok webhook: 127.0.0.1:")
	endpoint.Close()
	d, text := diagnose(t, nil, append(args, "--webhook")...)
	wantAll(t, text, "fail webhook: webhook-url: dial tcp 127.0.0.1:")
	if d.Healthy || strings.Contains(text, otherSecret) {
		t.Errorf("healthy, or a secret is shown:\n%s", text)
	}
}
