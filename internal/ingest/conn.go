package ingest

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// conn gathers what is written, so that many packets go out in one system
// call, and reads ahead: paho reads headers byte by byte. Writing never waits
// for the other side. What can wait is bounded by the windows of both
// directions.
type conn struct {
	net.Conn
	r *bufio.Reader

	// Lock and Unlock are paho's way to write a packet in pieces.
	sync.Mutex
	out    []byte
	closed bool
	kick   chan struct{}

	io      sync.Mutex // held while writing to the network
	stopped chan struct{}
	flusher sync.WaitGroup
	once    sync.Once
}

const (
	writeTimeout = 15 * time.Second
	lastWords    = time.Second // how long DISCONNECT may take
)

func newConn(c net.Conn) *conn {
	w := &conn{Conn: c, r: bufio.NewReaderSize(c, 32<<10), kick: make(chan struct{}, 1), stopped: make(chan struct{})}
	w.flusher.Go(func() {
		for {
			select {
			case <-w.stopped:
				return
			case <-w.kick:
				if w.flush(writeTimeout) != nil {
					_ = c.Close() // the reader sees it
				}
			}
		}
	})
	return w
}

func (c *conn) Read(p []byte) (int, error) { return c.r.Read(p) }

// Write appends. The lock is held.
func (c *conn) Write(p []byte) (int, error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	c.out = append(c.out, p...)
	select {
	case c.kick <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (c *conn) flush(within time.Duration) error {
	c.io.Lock()
	defer c.io.Unlock()
	c.Lock()
	out := c.out
	c.out = nil
	c.Unlock()
	if len(out) == 0 {
		return nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := c.Conn.Write(out)
	return err
}

// Close writes what is left, if that goes quickly, and closes.
func (c *conn) Close() (err error) {
	c.once.Do(func() {
		c.Lock()
		c.closed = true
		c.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(lastWords)) // one that writes now gives way
		_ = c.flush(lastWords)
		close(c.stopped)
		err = c.Conn.Close()
		c.flusher.Wait()
	})
	return err
}
