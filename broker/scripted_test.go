package broker_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// scripted is the server's end of a connection in memory. Its peer knows when
// the server has read all and waits for more, so that nothing must be waited
// for by the clock; and it takes what the server writes at once.
type scripted struct {
	mu     sync.Mutex
	change *sync.Cond
	in     []byte // not read yet
	out    []byte // written and not taken yet
	piece  int    // the most that one Read answers; 0 is all
	ended  bool   // the peer sends no more
	closed bool
	read   time.Time // deadlines that have passed count, others never do
	write  time.Time

	starved chan struct{} // holds one while Read waits and in is empty
	wrote   chan struct{} // holds one when something was written
}

func newScripted(piece int) *scripted {
	c := &scripted{piece: piece, starved: make(chan struct{}, 1), wrote: make(chan struct{}, 1)}
	c.change = sync.NewCond(&c.mu)
	return c
}

func (c *scripted) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case passed(c.read):
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			if c.piece > 0 && len(p) > c.piece {
				p = p[:c.piece]
			}
			n := copy(p, c.in)
			c.in = c.in[n:]
			return n, nil
		case c.ended:
			return 0, io.EOF
		}
		signal(c.starved)
		c.change.Wait()
	}
}

func (c *scripted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.ended:
		return 0, errors.New("the peer is gone")
	case passed(c.write):
		return 0, os.ErrDeadlineExceeded
	}
	c.out = append(c.out, p...)
	signal(c.wrote)
	return len(p), nil
}

// feed gives the server bytes to read. Once starved holds something again it
// has read them all and dealt with them, but for what it does elsewhere.
func (c *scripted) feed(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.starved:
	default:
	}
	c.in = append(c.in, b...)
	c.change.Broadcast()
}

// hangUp ends what the peer sends, and with it what it takes.
func (c *scripted) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.change.Broadcast()
}

// take takes what was written.
func (c *scripted) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	c.out = nil
	return out
}

func (c *scripted) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.change.Broadcast()
	return nil
}

func (c *scripted) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = t
	c.change.Broadcast()
	return nil
}

func (c *scripted) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write = t
	return nil
}

func (c *scripted) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *scripted) LocalAddr() net.Addr  { return scriptedAddr{} }
func (c *scripted) RemoteAddr() net.Addr { return scriptedAddr{} }

type scriptedAddr struct{}

func (scriptedAddr) Network() string { return "memory" }
func (scriptedAddr) String() string  { return "memory" }

func passed(deadline time.Time) bool { return !deadline.IsZero() && !deadline.After(time.Now()) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
