package conformance_test

import (
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// A frame may hold several packets, and a packet may stand in several frames
// [MQTT-6.0.0-2]; what the server sends comes in binary frames [MQTT-6.0.0-1];
// the subprotocol is mqtt [MQTT-6.0.0-4].
func TestWebSocketFrames(t *testing.T) {
	versions(t, func(w *world) {
		web := httptest.NewServer(w.Broker)
		w.t.Cleanup(web.Close)
		dialer := ws.Dialer{Protocols: []string{"other", "mqtt"}}
		conn, early, shake, err := dialer.Dial(w.t.Context(), "ws"+strings.TrimPrefix(web.URL, "http")+"/mqtt")
		if err != nil {
			w.t.Fatal(err)
		}
		if shake.Protocol != "mqtt" || early != nil {
			w.t.Errorf("the server chose %q", shake.Protocol)
		}
		c := &client{Client: mqttest.New(w.t, &stream{Conn: conn}), t: w.t}
		all := c.ConnectPacket(mqttest.Options{Version: w.version, ClientID: "c", Clean: true, User: user, Password: tokenFor(w.t, "#")})
		all = append(all, pingreqByte, 0, pingreqByte, 0, pingreqByte)
		if err := wsutil.WriteClientBinary(conn, all); err != nil {
			w.t.Fatal(err)
		}
		if pk := c.next(); pk.FixedHeader.Type != packets.Connack || pk.ReasonCode != 0 {
			w.t.Fatalf("got packet type %d with 0x%02x", pk.FixedHeader.Type, pk.ReasonCode)
		}
		c.Expect(packets.Pingresp)
		c.Expect(packets.Pingresp)
		if err := wsutil.WriteClientBinary(conn, []byte{0}); err != nil { // the rest of the third
			w.t.Fatal(err)
		}
		c.Expect(packets.Pingresp)
		if err := wsutil.WriteClientText(conn, []byte{pingreqByte, 0}); err != nil { // [MQTT-6.0.0-1]
			w.t.Fatal(err)
		}
		if pk, err := c.Read(mqttest.Patience); err == nil && pk.FixedHeader.Type != packets.Disconnect {
			w.t.Errorf("packet type %d behind a text frame", pk.FixedHeader.Type)
		}
	})
}

// stream is the client's side of a WebSocket as bytes, for reading.
type stream struct {
	net.Conn
	left []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.left) == 0 {
		data, op, err := wsutil.ReadServerData(s.Conn)
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
