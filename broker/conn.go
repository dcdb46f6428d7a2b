package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// conn is one network connection. Its reading goroutine owns everything that
// is not below mu.
type conn struct {
	b       *Broker
	nc      net.Conn
	rd      wire.Reader
	key     bridge.SessionKey
	id      acl.Identity
	version byte    // 0 before CONNECT
	claimed bool    // the registry knows this as the session's connection
	left    remains // what the session's last connection left, until session is there
	session *session
	gone    chan struct{} // closed: nothing of the connection runs any more

	silence  time.Duration // a peer that sends nothing for so long is dead; 0 is for ever
	deadline time.Time     // the read deadline in force
	maxSend  int           // the client's Maximum Packet Size, 0 is none

	writer  func()    // writeLoop, made once so that starting it allocates nothing
	writeBy time.Time // the write deadline in force; writeLoop's

	mu      sync.Mutex
	out     []byte        // control packets that wait to be written
	goodbye []byte        // DISCONNECT, which follows the answers to all sends
	writing bool          // writeLoop runs
	mute    bool          // no send is acknowledged any more
	ending  bool          // no more is read nor pumped; writeLoop writes what waits and ends
	reason  string        // why it ends
	ended   time.Time     // when it began to
	errors  bool          // the session subscribes to users/<u>/errors
	sends   []*send       // QoS 1 and 2, in PUBLISH order, from firstSend on
	first   int           // index of the oldest in sends
	unacked int           // sends of all QoS that are not committed or refused yet
	qos1    int           // sends at QoS 1 that are not acknowledged
	room    chan struct{} // reading waits for it; closed when there is room again
	nudged  bool          // writeLoop is to look again
	ready   *follower     // list of those with news
	last    *follower
	expiry  *time.Timer // of the token
	written sync.WaitGroup
}

const (
	// maxOut is how many bytes of control packets may wait before reading
	// stops: whoever does not read its answers gets no further.
	maxOut = 64 << 10
	// pumpBytes is how much is collected for one write.
	pumpBytes = 32 << 10
	// endTimeout is how long the last bytes of a connection may take.
	endTimeout = 2 * time.Second
	// stuck is the least time that a write may stand still.
	stuck = 60 * time.Second
)

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{b: b, nc: nc, gone: make(chan struct{})}
	c.writer = c.writeLoop
	c.rd.Reset(nc)
	return c
}

// serve runs the connection to its end.
func (c *conn) serve() {
	defer close(c.gone)
	defer c.b.leave(c)
	defer c.teardown()
	defer func() {
		if r := recover(); r != nil {
			c.b.metrics.panics.Inc()
			c.b.logger.Error("a connection panicked", "panic", r, "stack", string(debug.Stack()))
			c.end(wire.CodeUnspecified, "internal error")
		}
	}()
	_ = c.nc.SetReadDeadline(time.Now().Add(c.b.cfg.ConnectTimeout))
	if !c.connect() {
		return
	}
	for {
		c.waitForRoom()
		c.touch()
		p, err := c.rd.Next(c.b.cfg.MaxPacket)
		if err == nil {
			c.b.metrics.received(p)
			err = c.handle(p)
		}
		if err != nil {
			c.failed(err)
			return
		}
	}
}

// touch moves the read deadline: one and a half times the keep-alive
// [MQTT-3.1.2-22]. Setting it costs more than reading a packet, so it is moved
// only when an eighth of it has passed.
func (c *conn) touch() {
	if c.silence == 0 {
		return
	}
	now := time.Now()
	if until := now.Add(c.silence); until.Sub(c.deadline) > c.silence/8 {
		c.deadline = until
		_ = c.nc.SetReadDeadline(until)
		c.mu.Lock()
		ending := c.ending
		c.mu.Unlock()
		if ending { // end had set it to now
			_ = c.nc.SetReadDeadline(now)
		}
	}
}

// errEnd says that reading is over, for a reason that is known already.
var errEnd = errors.New("the connection ends")

// failed ends the connection for what reading met.
func (c *conn) failed(err error) {
	var we *wire.Error
	switch {
	case errors.Is(err, errEnd):
	case errors.As(err, &we):
		if errors.Is(err, wire.ErrPanic) {
			c.b.metrics.panics.Inc()
		}
		c.end(we.Code, we.Text)
	case errors.Is(err, os.ErrDeadlineExceeded) && c.version == 0:
		c.end(0, "no CONNECT in time")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(wire.CodeKeepAliveTimeout, "keep-alive time-out")
	case errors.Is(err, io.EOF):
		c.end(0, "closed by the client")
	default:
		c.end(0, "connection lost")
	}
}

// handle deals with one packet after CONNECT.
func (c *conn) handle(p wire.Packet) error {
	switch p.Type() {
	case wire.TypePublish:
		return c.publish(p)
	case wire.TypePuback, wire.TypePubrec, wire.TypePubrel, wire.TypePubcomp:
		return c.ack(p)
	case wire.TypePingreq:
		if err := wire.Check(c.version, p); err != nil {
			return err
		}
		c.send(func(out []byte) []byte { return wire.AppendPingresp(out) })
		return nil
	}
	return c.handleRare(p)
}

// send appends a control packet to what waits to be written.
func (c *conn) send(packet func(out []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.out = packet(c.out)
		c.write()
	}
}

// write sees to it that writeLoop runs, now or at the end of the log's batch.
// c.mu is held.
func (c *conn) write() {
	if !c.writing {
		c.writing = true
		c.written.Add(1)
		c.b.cork.start(c)
	}
}

// waitForRoom is the back-pressure: it returns once the client has few enough
// sends and answers outstanding.
func (c *conn) waitForRoom() {
	c.mu.Lock()
	for !c.ending && (c.unacked >= c.b.cfg.ReceiveMaximum || len(c.sends)-c.first >= c.b.cfg.ReceiveMaximum ||
		len(c.out) > maxOut) {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		<-room
		c.deadline = time.Time{} // it may have passed while nobody read
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// makeRoom wakes waitForRoom to look again. c.mu is held.
func (c *conn) makeRoom() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// end closes the connection: nothing is read or pumped from now on, what
// waits is written and the sends under way are answered, then for MQTT 5 comes
// a DISCONNECT with the code, if it is not 0, and the connection is closed. It
// returns at once. The first reason wins.
func (c *conn) end(code byte, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.ending, c.reason, c.ended = true, reason, c.b.cfg.Now()
	if code != 0 && c.session != nil {
		c.goodbye = wire.AppendDisconnect(nil, c.version, code, reason, c.maxSend)
	}
	now := time.Now()
	_ = c.nc.SetReadDeadline(now)
	_ = c.nc.SetWriteDeadline(now.Add(endTimeout))
	c.makeRoom()
	c.write()
}

// teardown ends everything that belongs to the connection, in this order:
// delivery, sends under way, the last bytes, the socket, the session's state.
func (c *conn) teardown() {
	c.end(0, "closed")
	c.mu.Lock()
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.mu.Unlock()
	if c.session != nil {
		c.session.close()
	}
	c.waitForSends()
	c.written.Wait()
	_ = c.nc.Close()
	c.rd.Release()
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	c.b.metrics.disconnects.WithLabelValues(reason).Inc()
	left := c.left // as it was found, if the session was never served
	if c.session != nil {
		left = c.session.save()
	}
	if c.claimed {
		c.b.registry.release(c, left)
	}
	if c.session == nil {
		return
	}
	c.b.logger.Info("disconnected", "user", c.key.UserID, "client", c.key.ClientID, "reason", reason)
}

// waitForSends returns when no send of this connection is under way: its
// session may then go on elsewhere without doubling or losing one.
func (c *conn) waitForSends() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.unacked > 0 {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		<-room
		c.mu.Lock()
	}
}

// outBuffer is what writeLoop works with: taken from a pool while there is
// something to write, so that an idle connection has none.
type outBuffer struct {
	bytes []byte
	items []*bridge.Item
}

var outBuffers = sync.Pool{New: func() any {
	return &outBuffer{bytes: make([]byte, 0, pumpBytes+4096), items: make([]*bridge.Item, 0, pumpItems)}
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
		buf.bytes = append(buf.bytes[:0], c.out...)
		c.keepOut()
		last := len(c.goodbye) > 0 && c.unacked == 0
		if last {
			buf.bytes = append(buf.bytes, c.goodbye...)
		}
		if c.room != nil && c.unacked < c.b.cfg.ReceiveMaximum {
			c.makeRoom()
		}
		c.mu.Unlock()
		if !ending && session != nil {
			buf.bytes = session.pump(buf)
		}
		if len(buf.bytes) == 0 {
			c.mu.Lock()
			if len(c.out) > 0 || len(c.goodbye) > 0 && c.unacked == 0 || (c.ready != nil || c.nudged) && !c.ending {
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
		ending := c.ending
		if until := time.Now().Add(patience); !ending && until.Sub(c.writeBy) > patience/8 {
			c.writeBy = until // end sets a shorter one
			_ = c.nc.SetWriteDeadline(until)
		}
		c.mu.Unlock()
		n, err := c.nc.Write(bytes)
		if bytes = bytes[n:]; len(bytes) == 0 {
			return nil
		}
		if n == 0 || ending || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// storeContext bounds one step that asks the store.
func (c *conn) storeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.b.cfg.StoreTimeout)
}
