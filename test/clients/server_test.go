package clients_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/transport"
	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// server is a running server that is also reached over WebSocket, and over TLS
// after secure.
type server struct {
	*parleytest.Server
	t       testing.TB
	backend string
	dsn     string
	web     *http.Server
	webAddr string
	ca      *certtest.Authority // nil: no TLS
	tlsAddr string
	wssAddr string
}

// startServer starts a server on an empty database; it stops when the test
// ends.
func startServer(t testing.TB, backend string) *server {
	t.Helper()
	s := &server{t: t, backend: backend, dsn: parleytest.Database(t, backend)}
	s.start()
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.Server = parleytest.Start(s.t, s.backend, s.dsn)
	s.web = &http.Server{Handler: s.Broker, ReadHeaderTimeout: patience}
	ln := listen(s.t)
	s.webAddr = ln.Addr().String()
	s.serveWeb(ln)
}

// restart stops the server and starts it on the same database, on another
// address.
func (s *server) restart() {
	s.t.Helper()
	_ = s.web.Close()
	s.Stop()
	s.start()
}

// secure opens ports with TLS for MQTT and for WebSocket.
func (s *server) secure() {
	s.t.Helper()
	s.ca = certtest.New(s.t)
	cert, key := s.ca.WritePair(s.t.TempDir())
	files, err := transport.NewTLS(transport.Files{Cert: cert, Key: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	mqtt, web := listen(s.t), listen(s.t)
	s.tlsAddr, s.wssAddr = mqtt.Addr().String(), web.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Broker.Serve(tls.NewListener(mqtt, files.Config(transport.ProtocolMQTT))) }()
	s.t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			s.t.Errorf("serve with TLS: %v", err)
		}
	})
	s.serveWeb(tls.NewListener(web, files.Config(transport.ProtocolHTTP)))
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serveWeb serves WebSockets until the test ends.
func (s *server) serveWeb(ln net.Listener) {
	web, served := s.web, make(chan struct{})
	go func() {
		defer close(served)
		_ = web.Serve(ln) // it is closed
	}()
	s.t.Cleanup(func() {
		_ = web.Close()
		<-served
	})
}

// dial opens a connection of a session.
func (s *server) dial(ctx context.Context, o session) (net.Conn, error) {
	if o.Secure {
		return (&tls.Dialer{Config: s.ca.Trust()}).DialContext(ctx, "tcp", s.tlsAddr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
}

// open makes a token of the user that opens the ordinary topics below dev/.
func (s *server) open(user string) string {
	s.t.Helper()
	filters := []string{"dev/#"}
	return parleytest.Token(s.t, acl.Claims{Subject: user, TTL: time.Hour, Pub: filters, Sub: filters})
}
