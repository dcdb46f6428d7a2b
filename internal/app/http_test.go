package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory, so that time is that of
// synctest.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serveInMemory serves one connection and returns its other end.
func serveInMemory(t *testing.T, h http.Handler) net.Conn {
	t.Helper()
	p := &pipes{make(chan net.Conn, 1), make(chan struct{})}
	s := newHTTPServer(slog.New(slog.DiscardHandler))
	s.Handler = h
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(p) }()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	t.Cleanup(func() {
		ours.Close()
		s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ours
}

// A connection that was taken over from the HTTP server, as WebSockets are,
// lives on past all of the server's time-outs.
func TestHijackedConnectionsOutliveTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveInMemory(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			<-time.After(24 * time.Hour) // of the bubble
			var b [2]byte
			if _, err := io.ReadFull(rw, b[:]); err != nil {
				t.Errorf("read after a day: %v", err)
			}
			if _, err := c.Write(b[:]); err != nil {
				t.Errorf("write after a day: %v", err)
			}
		}))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "y"); err != nil { // waits for the day to pass
			t.Fatal(err)
		}
		var b [2]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil || string(b[:]) != "xy" {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

// Who sends half a request, half a body, or does not take the answer, does not
// hold a goroutine for ever.
func TestSlowStrangersAreCut(t *testing.T) {
	tests := []struct {
		name, send string
		within     time.Duration
	}{
		{"nothing", "", 10 * time.Second},
		{"half a head", "GET / HT", 10 * time.Second},
		{"half a body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", 30 * time.Second},
		{"takes nothing", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serveInMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = w.Write(make([]byte, 1<<20))
				}))
				if _, err := io.WriteString(conn, tt.send); err != nil {
					t.Fatal(err)
				}
				// Only the server can end the connection: ours waits longer.
				<-time.After(tt.within + time.Second)
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
				_, err := io.Copy(io.Discard, conn)
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					t.Error("the connection is still open")
				}
			})
		})
	}
}

func TestLongHeadsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveInMemory(t, http.NotFoundHandler())
		go func() {
			head := "GET / HTTP/1.1\r\nHost: h\r\nX: " + string(make([]byte, 64<<10)) + "\r\n\r\n"
			_, _ = io.WriteString(conn, head) // it is cut off in the middle
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("got %s", resp.Status)
		}
		_, _ = io.Copy(io.Discard, conn) // the server lingers, then closes
	})
}

func TestReadyAsksTheStoreUntilItStops(t *testing.T) {
	broken := errors.New("gone")
	a := &App{store: fakeStore{ready: broken}}
	if err := a.ready(context.Background()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	a.stopping.Store(true)
	if err := a.ready(context.Background()); !errors.Is(err, errStopping) {
		t.Errorf("got %v", err)
	}
}
