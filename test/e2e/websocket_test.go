package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// wsStream is the client's side of a WebSocket as a stream of bytes.
type wsStream struct {
	net.Conn
	io.ReadWriter
	left  []byte
	piece int // bytes in one frame; 0 is what is written at once
}

// dialWebSocket opens a WebSocket as a browser of that origin would; an empty
// one is no browser.
func dialWebSocket(addr, origin string, protocols ...string) (*wsStream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialer := ws.Dialer{Protocols: protocols}
	if origin != "" {
		dialer.Header = ws.HandshakeHeaderHTTP(http.Header{"Origin": {origin}})
	}
	conn, early, shake, err := dialer.Dial(ctx, "ws://"+addr+"/mqtt")
	if err != nil {
		return nil, err
	}
	if shake.Protocol != "mqtt" {
		_ = conn.Close()
		return nil, fmt.Errorf("the server chose the subprotocol %q", shake.Protocol)
	}
	s := &wsStream{Conn: conn}
	s.ReadWriter = conn
	if early != nil {
		s.ReadWriter = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	return s, nil
}

func (s *wsStream) Read(p []byte) (int, error) {
	for len(s.left) == 0 {
		data, op, err := wsutil.ReadServerData(s.ReadWriter)
		if err != nil {
			return 0, err
		}
		if op != ws.OpBinary {
			return 0, errors.New("the server sent a text frame")
		}
		s.left = data
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

func (s *wsStream) Write(p []byte) (int, error) {
	for at := 0; at < len(p); {
		end := len(p)
		if s.piece > 0 {
			end = min(end, at+s.piece)
		}
		if err := wsutil.WriteClientBinary(s.Conn, p[at:end]); err != nil {
			return at, err
		}
		at = end
	}
	return len(p), nil
}

// A client over WebSocket is a client like any other: it meets those over TCP,
// and its session outlives the connection and the server.
func TestWebSocketChat(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		srv := startServer(t, backend, options{})
		srv.conversation("c1", "alice", "bob4", "bob5")
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) { chatOverWebSocket(t, srv, version) })
		}
	})
}

func chatOverWebSocket(t *testing.T, srv *server, version byte) {
	user := fmt.Sprintf("bob%d", version)
	connect := func(piece int) (*mqttest.Client, packets.Packet) {
		stream, err := dialWebSocket(srv.web, "", "mqtt")
		if err != nil {
			t.Fatal(err)
		}
		stream.piece = piece
		c := mqttest.New(t, stream)
		return c, c.Connect(mqttest.Options{Version: version, ClientID: "tab", User: user, Password: srv.token(user), Expiry: 3600})
	}
	alice := mqttest.Dial(t, srv.mqtt)
	alice.Connect(mqttest.Options{ClientID: user, User: "alice", Password: srv.token("alice"), Expiry: 3600})
	alice.Subscribe("chat/c1/messages")

	bob, ack := connect(1) // each byte in a frame of its own
	if ack.ReasonCode != 0 || ack.SessionPresent {
		t.Fatalf("CONNACK 0x%02x, session present %v", ack.ReasonCode, ack.SessionPresent)
	}
	bob.Subscribe("chat/+/messages")
	bob.Publish("chat/c1/messages", "from "+user, 1)
	if e := parleytest.Decode(t, alice.Expect(packets.Publish).Payload); e.Content != "from "+user || e.SenderID != user {
		t.Errorf("over TCP came %+v", e)
	}
	own := bob.Expect(packets.Publish)
	bob.Ack(packets.Puback, own.PacketID)
	bob.Ping()

	_ = bob.Conn.Close() // a tab that is closed does not say goodbye
	alice.Publish("chat/c1/messages", "while "+user+" was away", 1)
	alice.Expect(packets.Puback)
	srv.crash()
	srv.start()

	bob, ack = connect(0)
	if !ack.SessionPresent {
		t.Error("the session is gone")
	}
	for seen := ""; seen != "while "+user+" was away"; {
		// After a crash what was acknowledged in the last second may come again.
		seen = parleytest.Decode(t, bob.Expect(packets.Publish).Payload).Content
		if seen != "from "+user && seen != "while "+user+" was away" {
			t.Fatalf("got %q", seen)
		}
	}
	bob.Disconnect()
}

func TestWebSocketRefusals(t *testing.T) {
	srv := startServer(t, "sqlite", options{env: []string{"PARLEY_WS_ORIGINS=https://chat.example.com"}})
	tests := []struct {
		name      string
		origin    string
		protocols []string
		status    int // 0: welcome
	}{
		{"no browser", "", []string{"mqtt"}, 0},
		{"same origin", "http://" + srv.web, []string{"mqtt"}, 0},
		{"allowed origin", "https://chat.example.com", []string{"mqtt"}, 0},
		{"one subprotocol of several", "", []string{"chat", "mqtt"}, 0},
		{"wrong subprotocol", "", []string{"mqttv3.1"}, http.StatusBadRequest},
		{"no subprotocol", "", nil, http.StatusBadRequest},
		{"foreign origin", "https://evil.example.com", []string{"mqtt"}, http.StatusForbidden},
		{"allowed host over plain HTTP", "http://chat.example.com", []string{"mqtt"}, http.StatusForbidden},
		{"no origin at all", "null", []string{"mqtt"}, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream, err := dialWebSocket(srv.web, tt.origin, tt.protocols...)
			if err == nil {
				defer func() { _ = stream.Close() }()
			}
			var refused ws.StatusError
			switch {
			case tt.status == 0 && err != nil:
				t.Errorf("refused: %v", err)
			case tt.status != 0 && !errors.As(err, &refused):
				t.Errorf("got %v, want status %d", err, tt.status)
			case tt.status != 0 && int(refused) != tt.status:
				t.Errorf("status %d, want %d", int(refused), tt.status)
			}
		})
	}
}

// MQTT travels in binary frames alone [MQTT-6.0.0-1].
func TestWebSocketTextFrameEndsConnection(t *testing.T) {
	srv := startServer(t, "sqlite", options{})
	stream, err := dialWebSocket(srv.web, "", "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	c := mqttest.New(t, stream)
	if err := wsutil.WriteClientText(stream.Conn, c.ConnectPacket(mqttest.Options{ClientID: "tab", User: "alice",
		Password: srv.token("alice"), Clean: true})); err != nil {
		t.Fatal(err)
	}
	if pk, err := c.Read(patience); err == nil {
		t.Errorf("got packet type %d", pk.FixedHeader.Type)
	}
}
