package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Application protocols (ALPN), one for each kind of port. A client that
// offers only others has come to the wrong one, and is refused in the
// handshake; one that offers none is not. HTTP/2 is not among them: a
// WebSocket begins with an upgrade of HTTP/1.1.
const (
	ProtocolMQTT = "mqtt"
	ProtocolHTTP = "http/1.1"
)

// Files name what TLS needs, in PEM.
type Files struct {
	Cert, Key     string
	ClientCA      string // "" asks no client for a certificate
	RequireClient bool   // refuse those without one
}

// The parts of Files, as a FileError names them.
const (
	PartCert     = "cert"
	PartKey      = "key"
	PartClientCA = "client-ca"
)

// FileError says which of the files is of no use.
type FileError struct {
	Part string
	Err  error
}

func (e *FileError) Error() string { return e.Part + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *FileError) Unwrap() error { return e.Err }

// checkEvery is how often the files are looked at, at most.
const checkEvery = time.Second

// TLS makes configurations of TLS 1.2 and 1.3 from files, and takes the files
// anew when they change: a handshake that begins a second or more after the
// last look looks again. While what the files hold is of no use, as when one
// of them is half written, the last that was stays in force. Connections that
// are open are not touched.
//
// It may be used from several goroutines.
type TLS struct {
	files   Files
	logger  *slog.Logger
	now     func() time.Time
	current atomic.Pointer[tls.Config]

	mu      sync.Mutex // held by the one that looks
	looked  time.Time
	loaded  stamps // of what is in force
	refused stamps // of what was of no use, and was logged
}

// stamps tell versions of the files apart.
type stamps [3]struct {
	info os.FileInfo
	err  string
}

func (f *Files) stamps() (s stamps) {
	for i, name := range []string{f.Cert, f.Key, f.ClientCA} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if s[i].info = info; err != nil {
			s[i].info, s[i].err = nil, err.Error()
		}
	}
	return s
}

func (s *stamps) equal(other *stamps) bool {
	for i := range s {
		a, b := s[i].info, other[i].info
		if (a == nil) != (b == nil) || s[i].err != other[i].err {
			return false
		}
		if a != nil && (!os.SameFile(a, b) || !a.ModTime().Equal(b.ModTime()) || a.Size() != b.Size()) {
			return false
		}
	}
	return true
}

// NewTLS reads the files. Its error is a *FileError.
func NewTLS(files Files, logger *slog.Logger) (*TLS, error) {
	t := &TLS{files: files, logger: logger, now: time.Now}
	t.looked, t.loaded = t.now(), files.stamps() // before reading: what changes meanwhile is seen
	cfg, err := files.load()
	if err != nil {
		return nil, err
	}
	t.current.Store(cfg)
	return t, nil
}

// Config is the configuration of a port that speaks one protocol.
func (t *TLS) Config(protocol string) *tls.Config {
	type made struct{ from, cfg *tls.Config }
	var last atomic.Pointer[made] // each connection keeps its own as long as it lives
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{protocol},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			t.look()
			current := t.current.Load()
			m := last.Load()
			if m == nil || m.from != current {
				m = &made{current, current.Clone()}
				m.cfg.NextProtos = []string{protocol}
				last.Store(m)
			}
			return m.cfg, nil
		},
	}
}

// look takes the files anew if they have changed. It waits for nobody who is
// at it.
func (t *TLS) look() {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	now := t.now()
	if now.Sub(t.looked) < checkEvery {
		return
	}
	t.looked = now
	found := t.files.stamps()
	if found.equal(&t.loaded) {
		return
	}
	cfg, err := t.files.load()
	switch {
	case err == nil:
		t.current.Store(cfg)
		t.loaded = found
		t.logger.Info("certificates were taken anew", "file", t.files.Cert, "expires", cfg.Certificates[0].Leaf.NotAfter)
	case !found.equal(&t.refused): // tried at each look, for it may become readable
		t.refused = found
		t.logger.Error("changed certificates are of no use, the old ones stay in force", "error", err)
	}
}

// load reads the files.
func (f *Files) load() (*tls.Config, error) {
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, &FileError{PartCert, err}
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, &FileError{PartKey, err}
	}
	if !bytes.Contains(cert, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, &FileError{PartCert, fmt.Errorf("%s holds no certificate in PEM", f.Cert)}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &FileError{PartKey, fmt.Errorf("%s and %s are no pair: %w", f.Cert, f.Key, err)}
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if f.ClientCA == "" {
		return cfg, nil
	}
	ca, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, &FileError{PartClientCA, err}
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(ca) {
		return nil, &FileError{PartClientCA, fmt.Errorf("%s holds no certificate in PEM", f.ClientCA)}
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	if f.RequireClient {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

// ErrHandshake is the error of a client that TLS could not be agreed on with.
var ErrHandshake = errors.New("TLS handshake failed")

// Handshake does the handshake of a connection that is TLS. Deadlines of the
// connection bound it. One that is over gives the error that reading would.
func Handshake(nc net.Conn) error {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	err := t.HandshakeContext(context.Background()) // the deadlines bound it
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrHandshake, err)
}
