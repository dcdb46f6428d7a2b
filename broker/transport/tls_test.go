package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/certtest"
)

var quiet = slog.New(slog.DiscardHandler)

// meet does a handshake of both sides and answers both errors, and the name in
// the server's certificate.
func meet(t *testing.T, files *TLS, protocol string, client *tls.Config) (state tls.ConnectionState, server, dial error) {
	t.Helper()
	ln := tls.NewListener(listen(t), files.Config(protocol))
	near, far := accepted(t, ln, "127.0.0.1")
	secure := tls.Client(near, client)
	done := make(chan error, 1)
	go func() {
		err := secure.Handshake()
		if err == nil { // in TLS 1.3 a refusal of the client's certificate comes later
			_, err = secure.Read(make([]byte, 1))
		}
		near.Close()
		done <- err
	}()
	if server = Handshake(far); server == nil {
		_, _ = far.Write([]byte("x"))
	} else {
		far.Close()
	}
	dial = <-done
	return secure.ConnectionState(), server, dial
}

// serial tells certificates apart.
func serial(s tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	return s.PeerCertificates[0].SerialNumber.String()
}

func TestVersions(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	files, err := NewTLS(Files{Cert: cert, Key: key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for version, good := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		cfg := ca.Trust()
		cfg.MinVersion, cfg.MaxVersion = version, version
		state, server, dial := meet(t, files, ProtocolMQTT, cfg)
		if good && (server != nil || dial != nil || state.Version != version) {
			t.Errorf("%s: %v, %v", tls.VersionName(version), server, dial)
		}
		if !good && (!errors.Is(server, ErrHandshake) || dial == nil) {
			t.Errorf("%s: %v, %v", tls.VersionName(version), server, dial)
		}
	}
}

func TestApplicationProtocol(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	files, err := NewTLS(Files{Cert: cert, Key: key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		server string
		client []string
		want   string // "-" is a refusal
	}{
		{ProtocolMQTT, nil, ""},
		{ProtocolMQTT, []string{"mqtt"}, "mqtt"},
		{ProtocolMQTT, []string{"h2", "http/1.1"}, "-"},
		{ProtocolHTTP, nil, ""},
		{ProtocolHTTP, []string{"h2", "http/1.1"}, "http/1.1"},
		{ProtocolHTTP, []string{"mqtt"}, "-"},
	} {
		cfg := ca.Trust()
		cfg.NextProtos = tt.client
		state, server, dial := meet(t, files, tt.server, cfg)
		if refused := server != nil && dial != nil; refused != (tt.want == "-") || !refused && state.NegotiatedProtocol != tt.want {
			t.Errorf("%s offered %q: %q, %v, %v", tt.server, tt.client, state.NegotiatedProtocol, server, dial)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	ca, other, dir := certtest.New(t), certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	trusted := certtest.Write(t, dir, "clients.crt", ca.PEM)
	for _, required := range []bool{false, true} {
		files, err := NewTLS(Files{Cert: cert, Key: key, ClientCA: trusted, RequireClient: required}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			own  []tls.Certificate
			good bool
		}{
			{"none", nil, !required},
			{"good", []tls.Certificate{ca.Certificate("alice")}, true},
			{"of another authority", []tls.Certificate{other.Certificate("alice")}, false},
		} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				cfg := ca.Trust()
				cfg.MaxVersion = version
				if tt.own != nil { // whatever authorities the server names
					cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tt.own[0], nil }
				}
				_, server, dial := meet(t, files, ProtocolMQTT, cfg)
				if (server == nil) != tt.good || (dial == nil) != tt.good {
					t.Errorf("required %t, %s: %v, %v", required, tt.name, server, dial)
				}
			}
		}
	}
}

// reloading is a TLS whose clock the test moves, and its log.
func reloading(t *testing.T, f Files) (files *TLS, log *bytes.Buffer, later func()) {
	t.Helper()
	log = new(bytes.Buffer)
	files, err := NewTLS(f, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	files.now = func() time.Time { return now }
	return files, log, func() { now = now.Add(checkEvery) }
}

func TestReload(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	files, log, later := reloading(t, Files{Cert: cert, Key: key})
	get := func() string {
		t.Helper()
		state, server, dial := meet(t, files, ProtocolMQTT, ca.Trust())
		if server != nil || dial != nil {
			t.Fatalf("%v, %v", server, dial)
		}
		return serial(state)
	}
	first := get()
	ca.WritePair(dir)
	if got := get(); got != first {
		t.Error("the files were looked at twice in a second")
	}
	later()
	before := first
	if first = get(); first == before {
		t.Fatal("the new pair is not taken")
	}
	certPEM, keyPEM := ca.Issue("server")
	certtest.Write(t, dir, "server.crt", certPEM)
	for range 3 { // the key is not there yet
		later()
		if got := get(); got != first {
			t.Error("half a pair was taken")
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("it was logged %d times:\n%s", n, log)
	}
	certtest.Write(t, dir, "server.key", keyPEM[:len(keyPEM)/2])
	later()
	if got := get(); got != first {
		t.Error("half a key was taken")
	}
	certtest.Write(t, dir, "server.key", keyPEM)
	later()
	second := get()
	if second == first {
		t.Fatal("the new pair is not taken")
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	later()
	if got := get(); got != second {
		t.Error("a missing key ended the old one")
	}
	certtest.Write(t, dir, "server.key", keyPEM)
	later()
	get()
	if n := strings.Count(log.String(), "level=ERROR"); n != 3 {
		t.Errorf("three states were of no use, %d were logged:\n%s", n, log)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("a key is in the log")
	}
}

// Also a client that resumes a TLS session is asked for what holds now.
func TestReloadOfClientAuthority(t *testing.T) {
	ca, other, dir := certtest.New(t), certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	trusted := certtest.Write(t, dir, "clients.crt", ca.PEM)
	files, _, later := reloading(t, Files{Cert: cert, Key: key, ClientCA: trusted, RequireClient: true})
	ln := listen(t)
	server := files.Config(ProtocolMQTT)
	cfg := ca.Trust(ca.Certificate("alice"))
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	handshake := func() (resumed bool, err error) {
		near, far := accepted(t, ln, "127.0.0.1")
		secure := tls.Client(near, cfg)
		done := make(chan error, 1)
		go func() {
			_, err := secure.Read(make([]byte, 1)) // with the ticket of TLS 1.3
			done <- err
		}()
		behind := tls.Server(far, server)
		if err := Handshake(behind); err != nil {
			far.Close()
			_ = near.Close()
			if err := <-done; err == nil {
				t.Error("the client noticed nothing")
			}
			return false, err
		}
		if _, err := behind.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return behind.ConnectionState().DidResume, nil
	}
	if _, err := handshake(); err != nil {
		t.Fatal(err)
	}
	if resumed, err := handshake(); err != nil || !resumed {
		t.Fatalf("sessions are not resumed: %t, %v", resumed, err)
	}
	certtest.Write(t, dir, "clients.crt", other.PEM)
	later()
	if resumed, err := handshake(); !errors.Is(err, ErrHandshake) {
		t.Errorf("a certificate of the old authority is taken: resumed %t, %v", resumed, err)
	}
}

func TestFilesOfNoUse(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	_, otherKey := ca.Issue("server")
	junk := certtest.Write(t, dir, "junk", []byte("junk"))
	good := Files{Cert: cert, Key: key, ClientCA: certtest.Write(t, dir, "ca.crt", ca.PEM)}
	for name, tt := range map[string]struct {
		change func(*Files)
		part   string
	}{
		"no cert":       {func(f *Files) { f.Cert = filepath.Join(dir, "none") }, PartCert},
		"no key":        {func(f *Files) { f.Key = filepath.Join(dir, "none") }, PartKey},
		"no authority":  {func(f *Files) { f.ClientCA = filepath.Join(dir, "none") }, PartClientCA},
		"bad cert":      {func(f *Files) { f.Cert = junk }, PartCert},
		"bad key":       {func(f *Files) { f.Key = junk }, PartKey},
		"bad authority": {func(f *Files) { f.ClientCA = junk }, PartClientCA},
		"folder":        {func(f *Files) { f.Cert = dir }, PartCert},
		"swapped":       {func(f *Files) { f.Cert, f.Key = f.Key, f.Cert }, PartCert},
		"no pair":       {func(f *Files) { f.Key = certtest.Write(t, dir, "other.key", otherKey) }, PartKey},
	} {
		f := good
		tt.change(&f)
		_, err := NewTLS(f, quiet)
		var e *FileError
		if !errors.As(err, &e) || e.Part != tt.part || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewTLS(good, quiet); err != nil {
		t.Error(err)
	}
}

func TestHandshakeEndsWithItsDeadline(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	files, err := NewTLS(Files{Cert: cert, Key: key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	_, server := accepted(t, tls.NewListener(listen(t), files.Config(ProtocolMQTT)), "127.0.0.1")
	_ = server.SetDeadline(time.Now().Add(time.Millisecond))
	if err := Handshake(server); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := Handshake(net.Conn(&net.TCPConn{})); err != nil {
		t.Errorf("without TLS: %v", err)
	}
}
