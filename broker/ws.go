package broker

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// ServeHTTP upgrades to MQTT over WebSocket (RFC 6455, subprotocol mqtt) and
// serves the connection on a goroutine of its own: nothing of the HTTP server
// stays behind with it. A browser of another origin is refused, so that no
// foreign page acts with what a user's browser holds.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !b.allowed(r) {
		http.Error(w, "this origin is not allowed", http.StatusForbidden)
		return
	}
	if !offersMQTT(r) { // [MQTT-6.0.0-3]
		http.Error(w, `the WebSocket subprotocol must be "mqtt"`, http.StatusBadRequest)
		return
	}
	up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "mqtt" }} // [MQTT-6.0.0-4]
	nc, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		return // Upgrade has answered
	}
	var src io.Reader = nc
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n) // buffered: it cannot fail
		src = io.MultiReader(bytes.NewReader(bytes.Clone(early)), nc)
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	b.start(&wsConn{Conn: nc, src: bufio.NewReaderSize(src, wsBuffer)})
}

const wsBuffer = 512

func offersMQTT(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(p) == "mqtt" {
				return true
			}
		}
	}
	return false
}

// allowed reports whether a request may come from where it says that it
// comes from. What is no browser sends no Origin.
func (b *Broker) allowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	for _, o := range b.cfg.Origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

var (
	errUnmasked = errors.New("WebSocket frame of a client is not masked")
	errNotBin   = errors.New("WebSocket frame is not binary [MQTT-6.0.0-1]")
	errControl  = errors.New("WebSocket control frame is malformed")
	errFragment = errors.New("WebSocket fragments are out of order")
)

// wsConn is a WebSocket connection as a stream of bytes: MQTT packets need
// not be aligned with frames [MQTT-6.0.0-2]. One goroutine may read and one
// may write.
type wsConn struct {
	net.Conn
	src  *bufio.Reader
	head ws.Header
	left int64 // of the data frame that is being read
	at   int   // place in its mask
	more bool  // fragments of the message follow

	writing sync.Mutex // held over a control frame or a whole data frame
	mu      sync.Mutex
	pong    []byte    // waits until writing is free
	goodbye []byte    // the answer to the peer's close frame, for Close
	until   time.Time // the write deadline that was set last

	// Writing only: a frame that a time-out cut is gone on with.
	header []byte
	rest   int
}

// Read reads from data frames and answers control frames on the way.
func (c *wsConn) Read(p []byte) (int, error) {
	for c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.src.Read(p[:min(int64(len(p)), c.left)])
	ws.Cipher(p[:n], c.head.Mask, c.at)
	c.at += n
	c.left -= int64(n)
	return n, err
}

// next reads a frame's header, and the whole frame if it is a control frame.
func (c *wsConn) next() error {
	h, err := ws.ReadHeader(c.src)
	switch {
	case err != nil:
		return err
	case !h.Masked:
		return errUnmasked
	case h.Rsv != 0:
		return errControl
	case h.OpCode.IsControl():
		return c.control(h)
	case h.OpCode != ws.OpBinary && h.OpCode != ws.OpContinuation:
		return errNotBin
	case c.more != (h.OpCode == ws.OpContinuation):
		return errFragment
	}
	c.head, c.left, c.at, c.more = h, h.Length, 0, !h.Fin
	return nil
}

func (c *wsConn) control(h ws.Header) error {
	if h.Length > ws.MaxControlFramePayloadSize || !h.Fin {
		return errControl
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c.src, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		c.reply(payload)
	case ws.OpClose:
		if len(payload) > 2 {
			payload = payload[:2]
		}
		c.mu.Lock()
		c.goodbye = ws.MustCompileFrame(ws.NewCloseFrame(payload))
		c.mu.Unlock()
		return io.EOF // it goes away in any case
	}
	return nil
}

// reply answers a ping. Reading never waits for the peer to read: so that is
// done on a goroutine of its own, or by the writer where that is in the middle
// of a frame. Of several pings the last is answered (RFC 6455, 5.5.3).
func (c *wsConn) reply(payload []byte) {
	c.mu.Lock()
	c.pong = ws.MustCompileFrame(ws.NewPongFrame(payload))
	c.mu.Unlock()
	go c.flush()
}

// flush writes the pong that waits, unless a frame is being written: whoever
// writes that flushes after it.
func (c *wsConn) flush() {
	for c.waits() && c.writing.TryLock() {
		c.mu.Lock()
		pong := c.pong
		c.pong = nil
		if now := time.Now(); c.until.Before(now) { // nothing was written for long
			_ = c.Conn.SetWriteDeadline(now.Add(stuck))
		}
		c.mu.Unlock()
		if _, err := c.Conn.Write(pong); err != nil {
			_ = c.Conn.Close() // perhaps in the middle of the frame
		}
		c.writing.Unlock()
	}
}

func (c *wsConn) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pong != nil
}

// SetWriteDeadline bounds the writes to come, and one that is under way.
func (c *wsConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetWriteDeadline(t)
}

// Write sends p as one binary frame. After a time-out it must be called again
// with the rest of p, and goes on with the frame.
func (c *wsConn) Write(p []byte) (int, error) {
	if c.rest == 0 {
		c.writing.Lock()
		var head bytes.Buffer
		_ = ws.WriteHeader(&head, ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(len(p))}) // into memory
		c.header, c.rest = head.Bytes(), len(p)
	}
	bufs := net.Buffers{c.header, p}
	n, err := bufs.WriteTo(c.Conn)
	skip := min(int(n), len(c.header))
	c.header = c.header[skip:]
	c.rest -= int(n) - skip
	if c.rest == 0 {
		c.writing.Unlock()
		c.flush()
	}
	return int(n) - skip, err
}

// Close says goodbye, unless a frame is half written, and closes.
func (c *wsConn) Close() error {
	if c.writing.TryLock() {
		c.mu.Lock()
		frame := c.goodbye
		c.mu.Unlock()
		if frame == nil {
			frame = ws.CompiledCloseNormalClosure
		}
		_ = c.SetWriteDeadline(time.Now().Add(endTimeout))
		_, _ = c.Conn.Write(frame) // best effort
		c.writing.Unlock()
	}
	return c.Conn.Close()
}
