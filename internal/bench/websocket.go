package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// webSocket is the client's side of MQTT over WebSocket, with as much of RFC
// 6455 as connecting takes: short frames of a server, and a mask of zeroes.
type webSocket struct {
	net.Conn
	left int // of the frame that is being read
}

// upgrade makes a WebSocket of a connection to an HTTP server.
func upgrade(nc net.Conn, host string) (*webSocket, error) {
	_, err := fmt.Fprintf(nc, "GET /mqtt HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", host)
	if err != nil {
		return nil, err
	}
	// The server says nothing until it is spoken to: nothing but the answer
	// can be in the buffer.
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the WebSocket was answered with %s", resp.Status)
	}
	return &webSocket{Conn: nc}, nil
}

// Write sends p in one frame.
func (s *webSocket) Write(p []byte) (int, error) {
	const final, masked = 0x82, 0x80
	frame := []byte{final, byte(masked | len(p))}
	if len(p) > 125 {
		frame = binary.BigEndian.AppendUint16([]byte{final, masked | 126}, uint16(len(p)))
	}
	frame = append(append(frame, 0, 0, 0, 0), p...)
	if _, err := s.Conn.Write(frame); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read reads from one frame.
func (s *webSocket) Read(p []byte) (int, error) {
	if s.left == 0 {
		var head [2]byte
		if _, err := io.ReadFull(s.Conn, head[:]); err != nil {
			return 0, err
		}
		if head[0] != 0x82 || head[1] > 125 {
			return 0, errors.New("the server sent another frame than a short one with packets")
		}
		s.left = int(head[1])
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}
