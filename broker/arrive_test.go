package broker_test

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/broker/transport"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// door is another port of a server.
func door(t *testing.T, s *parleytest.Server, wrap func(*net.TCPListener) net.Listener) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	wrapped := wrap(ln.(*net.TCPListener))
	go func() { served <- s.Broker.Serve(wrapped) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// secureDoor is a port with TLS, and what a client needs for it.
func secureDoor(t *testing.T, s *parleytest.Server) (addr string, client *tls.Config) {
	t.Helper()
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.WritePair(dir)
	files, err := transport.NewTLS(transport.Files{Cert: cert, Key: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return door(t, s, func(ln *net.TCPListener) net.Listener {
		return tls.NewListener(ln, files.Config(transport.ProtocolMQTT))
	}), ca.Trust()
}

func dialTLS(t *testing.T, addr string, cfg *tls.Config) *mqttest.Client {
	t.Helper()
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return mqttest.New(t, conn)
}

func TestTLS(t *testing.T) {
	s, j := limited(t, limit.Bounds{})
	s.Conversation("c1", "alice", "bob")
	addr, cfg := secureDoor(t, s)
	bob := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
	bob.Subscribe("chat/c1/messages")
	alice := dialTLS(t, addr, cfg)
	wantAck(t, alice.Connect(asUser(s, "alice", "a", 5)), 0)
	alice.Subscribe("chat/c1/messages")
	large := strings.Repeat("x", 8000)
	for range 20 { // more than one record
		alice.Publish("chat/c1/messages", large, 1)
	}
	for got := 0; got < 20; {
		if pk := alice.Next(); pk.FixedHeader.Type == packets.Publish {
			if got++; parleytest.Decode(t, pk.Payload).Content != large {
				t.Fatal("the content is another")
			}
		}
	}
	bob.Expect(packets.Publish)
	alice.Disconnect()
	s.Stop()
	for _, line := range j.lines(t, "disconnected") {
		want := map[any]string{"alice": "tls", "bob": "tcp"}[line["user"]]
		if line["transport"] != want {
			t.Errorf("the log has %v, want transport %s", line, want)
		}
	}
}

// A handshake that does not come costs its own connection alone.
func TestSlowHandshake(t *testing.T) {
	s, _ := limited(t, limit.Bounds{ConnectTimeout: time.Second})
	addr, cfg := secureDoor(t, s)
	var slow []*mqttest.Client
	for range 10 {
		slow = append(slow, mqttest.Dial(t, addr))
	}
	slow[0].MustSend([]byte{0x16, 3, 1}) // the beginning of one
	wantAck(t, dialTLS(t, addr, cfg).Connect(asUser(s, "alice", "a", 5)), 0)
	for _, c := range slow {
		c.ExpectClosed()
	}
	wantRefusals(t, s, limit.ConnectTimeout, len(slow))
}

func TestFailedHandshake(t *testing.T) {
	s, j := limited(t, limit.Bounds{})
	addr, _ := secureDoor(t, s)
	c := mqttest.Dial(t, addr) // MQTT without TLS
	c.MustSend(c.ConnectPacket(asUser(s, "alice", "a", 5)))
	c.ExpectClosed()
	s.Stop()
	if lines := j.lines(t, "connection refused"); len(lines) != 1 || lines[0]["reason"] != "TLS handshake failed" {
		t.Errorf("the log has %v", lines)
	}
}

// proxyDoor believes what 127.0.0.2 says of its clients.
func proxyDoor(t *testing.T, s *parleytest.Server) (addr string) {
	t.Helper()
	proxies, err := transport.ParseProxies([]string{"127.0.0.2"})
	if err != nil {
		t.Fatal(err)
	}
	return door(t, s, func(ln *net.TCPListener) net.Listener { return proxies.Listen(ln, time.Minute) })
}

func TestProxiedClients(t *testing.T) {
	s, j := limited(t, limit.Bounds{MaxConnectionsPerAddress: 1})
	addr := proxyDoor(t, s)
	header := []byte("PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n")
	first := dialFrom(t, addr, "127.0.0.2")
	packet := first.ConnectPacket(asUser(s, "alice", "a", 5))
	for _, piece := range [][]byte{header[:10], header[10:40], append(header[40:len(header):len(header)], packet[:5]...), packet[5:]} {
		first.MustSend(piece)
	}
	wantAck(t, first.Expect(packets.Connack), 0)
	for client, good := range map[string]bool{"192.0.2.7": false, "192.0.2.8": true} { // it is clients that count, not the proxy
		c := dialFrom(t, addr, "127.0.0.2")
		c.MustSend([]byte("PROXY TCP4 " + client + " 198.51.100.1 56324 1883\r\n"))
		if ack, err := c.TryConnect(asUser(s, "bob", "b", 5)); (err == nil && ack.ReasonCode == 0) != good {
			t.Errorf("a second connection of %s: 0x%02x, %v", client, ack.ReasonCode, err)
		}
	}
	s.Stop()
	lines := j.lines(t, "connected")
	if !slices.ContainsFunc(lines, func(line map[string]any) bool {
		return line["client"] == "a" && line["address"] == "192.0.2.7:56324"
	}) {
		t.Errorf("the log has %v", lines)
	}
}

// Who is not a proxy cannot say who it is, and a proxy has to.
func TestSpoofedAndMissingHeaders(t *testing.T) {
	s, j := limited(t, limit.Bounds{ConnectTimeout: time.Second}) // the header announces a longer packet
	addr := proxyDoor(t, s)
	spoof := dialFrom(t, addr, "127.0.0.1")
	spoof.MustSend([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n"))
	spoof.ExpectClosed()
	missing := dialFrom(t, addr, "127.0.0.2")
	missing.MustSend(missing.ConnectPacket(asUser(s, "alice", "a", 5)))
	missing.ExpectClosed()
	wantAck(t, dialFrom(t, addr, "127.0.0.1").Connect(asUser(s, "alice", "a", 5)), 0)
	s.Stop()
	lines := j.lines(t, "connection refused")
	if len(lines) != 2 {
		t.Fatalf("the log has %v", lines)
	}
	for _, line := range lines {
		want := "127.0.0.1:"
		if line["reason"] == "no header of the PROXY protocol" {
			want = "127.0.0.2:"
		}
		if a, _ := line["address"].(string); !strings.HasPrefix(a, want) {
			t.Errorf("%s has address %q, want %s", line["reason"], a, want)
		}
	}
}

// Two that fight for one client id cost a connection a second; others, and
// who connects now and then, nothing.
func TestFight(t *testing.T) {
	s, j := limited(t, limit.Bounds{MaxReconnects: 3})
	o := asUser(s, "alice", "a", 5)
	for range 3 {
		c := s.Dial()
		wantAck(t, c.Connect(o), 0)
	}
	begun := time.Now()
	held := s.Dial()
	held.MustSend(held.ConnectPacket(o))
	s.Connect("alice", mqttest.Options{ClientID: "b", Clean: true})
	s.Connect("bob", mqttest.Options{ClientID: "a", Clean: true})
	if took := time.Since(begun); took > 900*time.Millisecond {
		t.Errorf("others waited %v", took)
	}
	wantAck(t, held.Expect(packets.Connack), 0)
	if took := time.Since(begun); took < 900*time.Millisecond {
		t.Errorf("the fourth was held back %v", took)
	}
	last := s.Dial()
	wantAck(t, last.Connect(o), 0)
	if code := held.ExpectClosed(); code != wire.CodeSessionTakenOver {
		t.Errorf("the fourth was told 0x%02x", code)
	}
	if got := counted(t, s.Registry, pausesMetric, "reconnects"); got != 2 {
		t.Errorf("%d are counted", got)
	}
	gone := s.Dial() // stopping waits for nobody who is held back
	gone.MustSend(gone.ConnectPacket(o))
	s.Stop()
	if lines := j.lines(t, "a session connects again and again, each time is held back"); len(lines) != 1 || lines[0]["user"] != "alice" {
		t.Errorf("the log has %v", lines)
	}
}

// QoS 0 is slowed, not lost, as long as that is worth while.
func TestSlowedQoS0(t *testing.T) {
	s, _ := limited(t, limit.Bounds{PublishRatePerConnection: 10})
	s.Conversation("c1", "alice")
	c := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	c.Subscribe("users/alice/errors", "chat/c1/messages")
	begun := time.Now()
	for range 16 {
		c.Publish("chat/c1/messages", "x", 0)
	}
	for range 16 {
		if pk := c.Expect(packets.Publish); pk.TopicName != "chat/c1/messages" {
			t.Fatalf("got %s", pk.Payload)
		}
	}
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("16 at 10 a second, with a burst of 10, took %v", took)
	}
	if got := counted(t, s.Registry, pausesMetric, "publish"); got < 5 {
		t.Errorf("%d pauses are counted", got)
	}
	wantRefusals(t, s, limit.PublishRatePerConnection, 0)
}

// What would have to wait too long is dropped, and told.
func TestDroppedQoS0(t *testing.T) {
	s, _ := limited(t, limit.Bounds{PublishBytesPerConnection: 100})
	s.Conversation("c1", "alice")
	c := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	c.Subscribe("users/alice/errors")
	c.Publish("chat/c1/messages", strings.Repeat("x", 1000), 0)
	begun := time.Now()
	c.Publish("chat/c1/messages", "late", 0)
	if pk := c.Expect(packets.Publish); !strings.Contains(string(pk.Payload), "rate_limited") {
		t.Errorf("got %s", pk.Payload)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("reading waited %v", took)
	}
	wantRefusals(t, s, limit.PublishBytesPerConnection, 1)
}

func TestReasonsInTheLog(t *testing.T) {
	s, j := limited(t, limit.Bounds{})
	c := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true, Version: 4})
	c.Disconnect()
	lost := s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
	lost.MustSend([]byte{0xF0, 0})
	lost.ExpectClosed()
	for range 50 {
		bad := s.Dial()
		o := asUser(s, "mallory", "m", 5)
		o.Password = "wrong"
		wantAck(t, bad.Connect(o), wire.CodeBadUserNameOrPassword)
		bad.ExpectClosed()
	}
	look := s.Dial()
	_ = look.Conn.Close()
	s.Stop()
	lines := j.lines(t, "disconnected")
	if len(lines) != 2 {
		t.Fatalf("the log has %v", lines)
	}
	// Who goes first may be told last.
	slices.SortFunc(lines, func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a["user"]), fmt.Sprint(b["user"])) })
	for i, want := range []map[string]any{
		{"level": "INFO", "user": "alice", "client": "a", "version": 4.0, "transport": "tcp"},
		{"level": "INFO", "user": "bob", "client": "b", "version": 5.0, "transport": "tcp"},
	} {
		for key, v := range want {
			if lines[i][key] != v {
				t.Errorf("line %d: %s is %v, want %v", i, key, lines[i][key], v)
			}
		}
		if a, _ := lines[i]["address"].(string); !strings.HasPrefix(a, "127.0.0.1:") || lines[i]["duration"] == nil || lines[i]["reason"] == "" {
			t.Errorf("line %d is %v", i, lines[i])
		}
	}
	one, more := j.lines(t, "connection refused"), j.lines(t, "connections refused")
	info := 0
	for _, line := range one {
		if line["level"] == "INFO" {
			info++
		}
	}
	if len(one) != 50 || info != 1 || len(more) != 1 || more[0]["count"] != 49.0 {
		t.Errorf("%d lines, %d of them at info, and %v", len(one), info, more)
	}
	if n := len(j.lines(t, "closed without CONNECT")); n > 1 {
		t.Errorf("%d lines of a port that was looked at once", n)
	}
}
