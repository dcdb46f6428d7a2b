package broker

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/broker/transport"
	"github.com/parley-mqtt/parley/broker/wire"
)

// conn is one network connection. Its reading goroutine owns everything that
// is not below mu.
type conn struct {
	b       *Broker
	nc      net.Conn
	carrier string    // tcp, tls, ws or wss
	began   time.Time // when it was accepted
	client  netip.AddrPort
	seat    limit.Seat
	excess  error  // over the connect rate: to be answered so
	refusal string // what CONNACK said, where it said no
	rd      wire.Reader
	key     bridge.SessionKey
	id      atomic.Pointer[acl.Identity] // changes when the token is renewed
	auth    string                       // the authentication method, "" is none
	version byte                         // 0 before CONNECT
	clean   bool                         // Clean Start, or Clean Session
	claimed bool                         // the registry knows this as the session's connection
	left    remains                      // what the session's last connection left, until session is there
	session *session
	gone    chan struct{} // closed: nothing of the connection runs any more

	silence  time.Duration     // a peer that sends nothing for so long is dead; 0 is for ever
	deadline time.Time         // the read deadline in force
	maxSend  int               // the client's Maximum Packet Size, 0 is none
	aliases  map[uint16]string // that the client has given topics

	will        *bridge.Will // nil is none
	goodbyeSaid bool         // the client has taken its will back
	forgotten   atomic.Bool  // its user is being erased: the will goes too

	piece   int       // the most that one write is given
	writer  func()    // writeLoop, made once so that starting it allocates nothing
	writeBy time.Time // the write deadline in force; writeLoop's

	mu       sync.Mutex
	out      []byte        // control packets that wait to be written
	goodbye  []byte        // DISCONNECT, which follows the answers to all sends
	writing  bool          // writeLoop runs
	mute     bool          // no send is acknowledged any more
	ending   bool          // no more is read nor pumped; writeLoop writes what waits and ends
	barred   bool          // its token was revoked: no more is sent either
	pumping  bool          // writeLoop may take entries, for it began before ending was set
	rested   chan struct{} // closed when pumping is over; nil: nobody waits
	reason   string        // why it ends
	ended    time.Time     // when it began to
	errors   bool          // the session subscribes to users/<u>/errors
	errorIDs []uint32      // under these subscription identifiers
	storing  int           // sends to streams that wait until a packet identifier is stored
	ordinary int           // sends to ordinary topics at QoS 1 and 2 that are not settled
	sends    []*send       // QoS 1 and 2, in PUBLISH order, from firstSend on
	first    int           // index of the oldest in sends
	unacked  int           // sends of all QoS that are not committed or refused yet
	qos1     int           // sends at QoS 1 that are not acknowledged
	room     chan struct{} // reading waits for it; closed when there is room again
	nudged   bool          // writeLoop is to look again
	granting atomic.Bool   // a SUBACK is being made: what it grants waits for it
	granted  atomic.Bool   // a SUBACK waits in out: it goes before what it granted
	expiry   *time.Timer   // of the token
	written  sync.WaitGroup
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
	c := &conn{b: b, nc: nc, began: time.Now(), piece: math.MaxInt, gone: make(chan struct{})}
	// Before anybody can end it. A TLS handshake writes too; later each write
	// has a deadline of its own.
	_ = nc.SetDeadline(c.began.Add(b.cfg.ConnectTimeout))
	c.writer = c.writeLoop
	c.rd.Reset(nc)
	return c
}

// serve runs the connection to its end, on one goroutine after another. What
// an idle connection costs is for the most part the stack of the goroutine
// that reads, and a stack that has grown stays so. Therefore reading begins in
// a new one after CONNECT, and again after each packet that is a sign of rest,
// or seldom and deep.
func (c *conn) serve() {
	if c.guarded(c.begin) {
		go c.read()
		return
	}
	c.finish()
}

func (c *conn) read() {
	if c.guarded(c.packets) {
		go c.read()
		return
	}
	c.finish()
}

// guarded takes a step. It is true when the connection goes on.
func (c *conn) guarded(step func() bool) (on bool) {
	defer func() {
		if r := recover(); r != nil {
			c.b.metrics.panics.Inc()
			c.b.logger.Error("a connection panicked", "panic", r, "stack", string(debug.Stack()))
			c.end(wire.CodeUnspecified, "internal error")
			on = false
		}
	}()
	return step()
}

func (c *conn) begin() bool {
	if !c.arrive() || !c.connect() {
		return false
	}
	c.touch()
	return true
}

// packets reads up to a packet after which reading shall go on in a new
// goroutine, or to the connection's end: then it is false.
func (c *conn) packets() bool {
	for {
		p, err := c.rd.Next(c.b.cfg.MaxPacket)
		if err == nil {
			err = c.handle(p)
		}
		if err != nil {
			c.failed(err)
			return false
		}
		c.waitForRoom()
		c.touch()
		switch p.Type() {
		case wire.TypePublish, wire.TypePuback, wire.TypePubrec, wire.TypePubrel, wire.TypePubcomp:
		default:
			if c.rd.Buffered() == 0 { // else it does not rest yet
				return true
			}
		}
	}
}

// finish is the end of the last goroutine.
func (c *conn) finish() {
	if c.teardown() {
		close(c.gone) // the session's next connection does not wait for it
		c.linger()
		c.b.leave(c)
		return
	}
	c.b.leave(c)
	close(c.gone)
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
	var over *limit.Exceeded
	if name := bound(err, c.version); name != "" {
		c.b.metrics.refusals.WithLabelValues(name).Inc()
	}
	switch {
	case errors.Is(err, errEnd):
	case errors.As(err, &over):
		c.end(0, over.Text)
	case errors.Is(err, transport.ErrHeader):
		c.end(0, "no header of the PROXY protocol")
	case errors.Is(err, transport.ErrHandshake):
		c.b.logger.Debug("TLS handshake failed", "address", c.client.String(), "error", err)
		c.end(0, "TLS handshake failed")
	case errors.As(err, &we):
		if errors.Is(err, wire.ErrPanic) {
			c.b.metrics.panics.Inc()
		}
		c.end(we.Code, we.Text)
	case errors.Is(err, os.ErrDeadlineExceeded) && c.version == 0:
		c.b.metrics.refusals.WithLabelValues(limit.ConnectTimeout).Inc()
		c.end(0, "no CONNECT in time")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(wire.CodeKeepAliveTimeout, "keep-alive time-out")
	case errors.Is(err, io.EOF):
		c.end(0, byClient)
	default:
		c.end(0, "connection lost")
	}
}

// handle deals with one packet after CONNECT.
func (c *conn) handle(p wire.Packet) error {
	c.b.metrics.received(p)
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

// send appends a control packet to what waits to be written. A client whose
// Maximum Packet Size has no room for an answer that it must have cannot be
// served: the connection ends [MQTT-3.1.2-24].
func (c *conn) send(packet func(out []byte) []byte) {
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return
	}
	before := len(c.out)
	c.out = packet(c.out)
	tooLarge := c.maxSend > 0 && len(c.out)-before > c.maxSend
	if tooLarge {
		c.out = c.out[:before]
	} else {
		c.write()
	}
	c.mu.Unlock()
	if tooLarge {
		c.end(wire.CodeTooLarge, "an answer is larger than the client's Maximum Packet Size")
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
// lingers says that the socket is half open yet.
func (c *conn) teardown() (lingers bool) {
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
	c.seat.Leave() // first: who sees the connection closed may have another
	lingers = c.halfClose()
	c.rd.Release()
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	c.b.metrics.disconnects.WithLabelValues(reason).Inc()
	left := c.left // as it was found, if the session was never served
	if c.session != nil {
		left = c.session.save()
		c.lastWill()
	}
	if c.claimed {
		c.b.registry.release(c, left)
	}
	c.logEnd(reason)
	return lingers
}

// halfClose tells the client that nothing more comes, and closes the socket.
// It is true where it is left half open, for the client to read why the
// connection ends: closed with bytes unread, the system would reset it, and
// the client may never see the last packet.
func (c *conn) halfClose() bool {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || len(c.goodbye) == 0 && c.refusal == "" || c.b.stopped() || half.CloseWrite() != nil {
		_ = c.nc.Close()
		return false
	}
	return true
}

const (
	// lingerTime and lingerBytes bound what is read and thrown away after the
	// last packet.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// linger waits until the client has closed its side.
func (c *conn) linger() {
	defer func() { _ = c.nc.Close() }()
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	var few [512]byte // most clients send nothing
	scrap := few[:]
	for read := 0; read < lingerBytes; {
		n, err := c.nc.Read(scrap)
		if err != nil {
			return
		}
		if read += n; n == len(few) {
			scrap = make([]byte, 8*len(few))
		}
	}
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

// storeContext bounds one step that asks the store.
func (c *conn) storeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.b.cfg.StoreTimeout)
}
