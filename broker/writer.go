package broker

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/feed"
)

// outBuffer is what writeLoop works with: taken from a pool while there is
// something to write, so that an idle connection has none.
type outBuffer struct {
	bytes []byte
	items []*bridge.Item
}

var outBuffers = sync.Pool{New: func() any {
	return &outBuffer{bytes: make([]byte, 0, pumpBytes+4096), items: make([]*bridge.Item, 0, feed.PullItems)}
}}

// writeLoop writes while there is something to write, as much as it finds in
// one system call: control packets first, then what the session's streams
// have and its window allows.
func (c *conn) writeLoop() {
	defer c.written.Done()
	buf := outBuffers.Get().(*outBuffer)
	for {
		c.mu.Lock()
		ending, session := c.ending, c.session
		c.nudged = false
		c.granted.Store(false)
		buf.bytes = append(buf.bytes[:0], c.out...)
		c.keepOut()
		last := len(c.goodbye) > 0 && c.unacked == 0
		if last {
			buf.bytes = append(buf.bytes, c.goodbye...)
		}
		if c.room != nil && c.unacked < c.b.cfg.ReceiveMaximum {
			c.makeRoom()
		}
		c.pumping = !ending && session != nil
		c.mu.Unlock()
		if !ending && session != nil {
			from := len(buf.bytes)
			if buf.bytes = session.pump(buf); c.granted.Load() {
				buf.bytes = c.grantFirst(buf.bytes, from)
			}
		}
		if len(buf.bytes) == 0 {
			c.mu.Lock()
			c.rest()
			if len(c.out) > 0 || len(c.goodbye) > 0 && c.unacked == 0 || c.nudged && !c.ending {
				c.mu.Unlock()
				continue
			}
			c.writing = false
			c.mu.Unlock()
			break
		}
		if err := c.writeAll(buf.bytes); err != nil {
			c.broken()
			break
		}
		if last { // nothing may follow [MQTT-3.14.4-1]: writing stays true
			break
		}
	}
	if cap(buf.bytes) <= 4*pumpBytes {
		clear(buf.items[:cap(buf.items)])
		outBuffers.Put(buf)
	}
}

// grantFirst puts the control packets that came while the session was asked
// before what it gave, which begins at from: the standard lets a PUBLISH come
// before the SUBACK that it is owed to [MQTT-3.8.4], but simple clients lose it.
func (c *conn) grantFirst(bytes []byte, from int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted.Store(false)
	bytes = slices.Insert(bytes, from, c.out...)
	c.keepOut()
	return bytes
}

// rest notes that what was taken is all: whoever waits for that goes on. c.mu
// is held.
func (c *conn) rest() {
	if c.pumping = false; c.rested != nil {
		close(c.rested)
		c.rested = nil
	}
}

// nudge has writeLoop look again: something that held it back has changed.
func (c *conn) nudge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.nudged = true
		c.write()
	}
}

// keepOut empties out, and keeps its memory only when it is small. c.mu is
// held.
func (c *conn) keepOut() {
	if cap(c.out) > 256 {
		c.out = nil
	}
	c.out = c.out[:0]
}

// broken ends a connection that takes no more bytes.
func (c *conn) broken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.ending, c.reason, c.ended = true, "connection lost", c.b.cfg.Now()
	}
	c.out = nil
	c.makeRoom()
	_ = c.nc.SetReadDeadline(time.Now())
	// writing stays true: nothing is to be written any more.
}

// writeAll writes bytes as long as the peer takes some. One that takes none
// for its keep-alive time, and at least a minute, is given up.
func (c *conn) writeAll(bytes []byte) error {
	patience := max(c.silence, stuck)
	c.b.metrics.bytesOut.Add(float64(len(bytes)))
	for {
		c.mu.Lock()
		c.rest()
		ending := c.ending
		if until := time.Now().Add(patience); !ending && until.Sub(c.writeBy) > patience/8 {
			c.writeBy = until // end sets a shorter one
			_ = c.nc.SetWriteDeadline(until)
		}
		c.mu.Unlock()
		n, err := c.nc.Write(bytes[:min(len(bytes), c.piece)])
		if bytes = bytes[n:]; len(bytes) == 0 {
			return nil
		}
		if err != nil && (n == 0 || ending || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
}
