// Package wsconn makes a server's WebSocket connection (RFC 6455) a stream of
// bytes, as MQTT wants it.
package wsconn

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	// bufferSize is what a connection holds for reading frame headers.
	bufferSize = 512
	// pongTime bounds the writing of a pong where no other deadline is set.
	pongTime = time.Minute
	// closeTime bounds the writing of the close frame.
	closeTime = 2 * time.Second
)

// New makes a Conn of a connection that was upgraded. src reads from nc, after
// what was read from it already.
func New(nc net.Conn, src io.Reader) *Conn {
	_, secure := nc.(*tls.Conn)
	return &Conn{Conn: nc, tls: secure, src: bufio.NewReaderSize(src, bufferSize)}
}

var (
	errUnmasked = errors.New("WebSocket frame of a client is not masked")
	errNotBin   = errors.New("WebSocket frame is not binary [MQTT-6.0.0-1]")
	errControl  = errors.New("WebSocket control frame is malformed")
	errFragment = errors.New("WebSocket fragments are out of order")
)

// Conn is a WebSocket connection as a stream of bytes: MQTT packets need
// not be aligned with frames [MQTT-6.0.0-2]. One goroutine may read and one
// may write.
type Conn struct {
	net.Conn
	tls  bool // Conn is one
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
func (c *Conn) Read(p []byte) (int, error) {
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
func (c *Conn) next() error {
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

func (c *Conn) control(h ws.Header) error {
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
func (c *Conn) reply(payload []byte) {
	c.mu.Lock()
	c.pong = ws.MustCompileFrame(ws.NewPongFrame(payload))
	c.mu.Unlock()
	go c.flush()
}

// flush writes the pong that waits, unless a frame is being written: whoever
// writes that flushes after it.
func (c *Conn) flush() {
	for c.waits() && c.writing.TryLock() {
		c.mu.Lock()
		pong := c.pong
		c.pong = nil
		if now := time.Now(); c.until.Before(now) { // nothing was written for long
			_ = c.Conn.SetWriteDeadline(now.Add(pongTime))
		}
		c.mu.Unlock()
		if _, err := c.Conn.Write(pong); err != nil {
			_ = c.Conn.Close() // perhaps in the middle of the frame
		}
		c.writing.Unlock()
	}
}

func (c *Conn) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pong != nil
}

// SetWriteDeadline bounds the writes to come, and one that is under way.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetWriteDeadline(t)
}

// Write sends p as one binary frame. After a time-out it must be called again
// with the rest of p, and goes on with the frame.
func (c *Conn) Write(p []byte) (int, error) {
	if c.rest == 0 {
		c.writing.Lock()
		var head bytes.Buffer
		_ = ws.WriteHeader(&head, ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(len(p))}) // into memory
		c.header, c.rest = head.Bytes(), len(p)
	}
	n, err := c.writeBoth(c.header, p)
	skip := min(int(n), len(c.header))
	c.header = c.header[skip:]
	c.rest -= int(n) - skip
	if c.rest == 0 {
		c.writing.Unlock()
		c.flush()
	}
	return int(n) - skip, err
}

// frames are for joining a header and what follows.
var frames = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// writeBoth writes a header and what follows in one go: TCP takes both as they
// are, TLS would make a record of each.
func (c *Conn) writeBoth(header, p []byte) (int64, error) {
	if !c.tls {
		bufs := net.Buffers{header, p}
		return bufs.WriteTo(c.Conn)
	}
	frame := frames.Get().(*bytes.Buffer)
	defer frames.Put(frame)
	frame.Reset()
	frame.Write(header)
	frame.Write(p)
	n, err := c.Conn.Write(frame.Bytes())
	return int64(n), err
}

// Close says goodbye, unless a frame is half written, and closes.
func (c *Conn) Close() error {
	if c.writing.TryLock() {
		c.mu.Lock()
		frame := c.goodbye
		c.mu.Unlock()
		if frame == nil {
			frame = ws.CompiledCloseNormalClosure
		}
		_ = c.SetWriteDeadline(time.Now().Add(closeTime))
		_, _ = c.Conn.Write(frame) // best effort
		c.writing.Unlock()
	}
	return c.Conn.Close()
}
