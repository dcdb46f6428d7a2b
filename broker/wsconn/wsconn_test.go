package wsconn

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/certtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counting counts writes.
type counting struct {
	net.Conn
	writes atomic.Int32
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A frame is one record of TLS, not one for its header and one for the rest.
func TestFrameIsOneRecord(t *testing.T) {
	ca := certtest.New(t)
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	raw := &counting{Conn: far}
	server := tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.Certificate("server")}})
	client := tls.Client(near, ca.Trust())
	const text = "hello"
	got := make(chan []byte, 1)
	go func() {
		payload := make([]byte, len(text))
		if h, err := ws.ReadHeader(client); err != nil || h.Length != int64(len(text)) {
			t.Errorf("the header is %+v, %v", h, err)
		} else if _, err := io.ReadFull(client, payload); err != nil {
			t.Error(err)
		}
		got <- payload
		_, _ = io.Copy(io.Discard, client)
	}()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := New(server, server)
	before := raw.writes.Load()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if n := raw.writes.Load() - before; n != 1 {
		t.Errorf("the frame took %d writes", n)
	}
	if payload := <-got; !bytes.Equal(payload, []byte(text)) {
		t.Errorf("got %q", payload)
	}
	near.Close()
}
