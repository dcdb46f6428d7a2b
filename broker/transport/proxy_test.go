package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/certtest"
)

// accepted connects from an address of this machine and answers both ends.
func accepted(t *testing.T, ln net.Listener, from string) (client, server net.Conn) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client, err := dialer.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

// proxiedListener believes 127.0.0.2 and no other.
func proxiedListener(t *testing.T, timeout time.Duration) net.Listener {
	t.Helper()
	proxies, err := ParseProxies([]string{"10.0.0.0/8", "127.0.0.2"})
	if err != nil {
		t.Fatal(err)
	}
	return proxies.Listen(listen(t), timeout)
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func TestHeaderOfAProxy(t *testing.T) {
	ln := proxiedListener(t, time.Minute)
	for _, header := range []string{
		"PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n",
		header2(1, 0x11, append(addresses2(src4, dst4), make([]byte, 300)...)),
	} {
		client, server := accepted(t, ln, "127.0.0.2")
		go func() { // in pieces, and the last with what follows
			for _, piece := range []string{header[:3], header[3:20], header[20:] + "hello"} {
				_, _ = client.Write([]byte(piece))
			}
		}()
		got, err := Client(server)
		if err != nil || got != src4 {
			t.Fatalf("the client is %v, %v", got, err)
		}
		if a := server.RemoteAddr().String(); a != src4.String() {
			t.Errorf("the address is %s", a)
		}
		for _, want := range []string{"he", "llo"} {
			buf := make([]byte, len(want))
			if _, err := io.ReadFull(server, buf); err != nil || string(buf) != want {
				t.Fatalf("read %q, %v", buf, err)
			}
		}
		SetWriteBuffer(server, 1<<16)
		client.Close()
		if rest, err := io.ReadAll(server); err != nil || len(rest) != 0 {
			t.Errorf("read %q, %v", rest, err)
		}
	}
}

func TestCopyingPassesNothingOver(t *testing.T) {
	client, server := accepted(t, proxiedListener(t, time.Minute), "127.0.0.2")
	write(t, client, "PROXY UNKNOWN\r\nhello")
	client.Close()
	var got bytes.Buffer
	if _, err := io.Copy(&got, server); err != nil || got.String() != "hello" {
		t.Errorf("copied %q, %v", &got, err)
	}
	if a, err := Client(server); err != nil || a.Addr().String() != "127.0.0.2" {
		t.Errorf("with no address in the header the client is %v, %v", a, err)
	}
}

func TestProxyWithoutHeader(t *testing.T) {
	client, server := accepted(t, proxiedListener(t, time.Minute), "127.0.0.2")
	write(t, client, "\x10\x0c")
	if a, err := Client(server); !errors.Is(err, ErrHeader) || a.Addr().String() != "127.0.0.2" {
		t.Errorf("got %v, %v", a, err)
	}
	if n, err := server.Read(make([]byte, 9)); n != 0 || !errors.Is(err, ErrHeader) {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestProxyThatSaysNothing(t *testing.T) {
	_, server := accepted(t, proxiedListener(t, time.Millisecond), "127.0.0.2")
	if _, err := Client(server); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A header from anywhere else is data.
func TestSpoofedHeader(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n"
	client, server := accepted(t, proxiedListener(t, time.Minute), "127.0.0.1")
	write(t, client, header)
	client.Close()
	got, err := Client(server)
	if err != nil || got.Addr().String() != "127.0.0.1" {
		t.Errorf("the client is %v, %v", got, err)
	}
	if data, err := io.ReadAll(server); err != nil || string(data) != header {
		t.Errorf("read %q, %v", data, err)
	}
}

// The header comes before TLS.
func TestHeaderBeforeTLS(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	files, err := NewTLS(Files{Cert: cert, Key: key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	client, server := accepted(t, tls.NewListener(proxiedListener(t, time.Minute), files.Config(ProtocolMQTT)), "127.0.0.2")
	write(t, client, header2(1, 0x11, addresses2(src4, dst4)))
	secure := tls.Client(client, ca.Trust())
	done := make(chan error, 1)
	go func() { done <- secure.Handshake() }()
	if got, err := Client(server); err != nil || got != src4 {
		t.Errorf("the client is %v, %v", got, err)
	}
	if err := Handshake(server); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	SetWriteBuffer(server, 1<<16)
}

func TestNoProxies(t *testing.T) {
	ln := listen(t)
	if got := Proxies(nil).Listen(ln, time.Minute); got != net.Listener(ln) {
		t.Error("a listener without proxies is not left alone")
	}
}

func TestParseProxies(t *testing.T) {
	got, err := ParseProxies([]string{"10.0.0.0/8", " 192.0.2.1 ", "2001:db8::/32", "::1", "::ffff:192.0.2.9"})
	want := "10.0.0.0/8 192.0.2.1/32 2001:db8::/32 ::1/128 192.0.2.9/32"
	var words []string
	for _, p := range got {
		words = append(words, p.String())
	}
	if err != nil || strings.Join(words, " ") != want {
		t.Errorf("got %v, %v", words, err)
	}
	for _, bad := range []string{"", "x", "10.0.0.0/33", "10.0.0.1/8", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.0/8/8"} {
		if _, err := ParseProxies([]string{bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	everything, err := ParseProxies([]string{"0.0.0.0/0"})
	if err != nil || !everything.contain(&net.TCPAddr{IP: net.ParseIP("::ffff:1.2.3.4")}) ||
		slices.ContainsFunc([]net.Addr{&net.UnixAddr{}, &net.TCPAddr{IP: net.IPv6loopback}, &net.TCPAddr{}}, everything.contain) {
		t.Errorf("0.0.0.0/0 is not all of IPv4 and nothing else, %v", err)
	}
}
