package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paholog "github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
)

// link is one connection to a broker. paho does CONNECT, SUBSCRIBE and the
// codec. Everything that has to do with acknowledgements is ours: paho's own
// manual ones are sent by a clock, are lost at DISCONNECT, and cannot be
// asked for after a reconnect, and its session forgets who was sent what.
type link struct {
	conn   *conn
	client *paho.Client
	pings  *pinger
	why    chan error // has the first reason for its end

	gone    chan struct{} // closed when no more is read
	over    sync.Once     // closes gone
	blocked atomic.Bool   // the listener waits, so nothing is read
}

// listener is told what comes on a link.
type listener interface {
	// connected is called once, before anything else. An error ends the link.
	connected(l *link, ack *packets.Connack) error
	// take gets what has to do with messages, in order. While it waits, which
	// it tells by blocked, nothing is read.
	take(l *link, p packets.Packet)
}

// connectTimeout is how long dialling and CONNACK may take, each.
const connectTimeout = 10 * time.Second

// packetTimeout is no bound of ours: while the listener waits, no SUBACK is
// read. PINGREQ finds out who is gone, and impatient who says nothing.
const packetTimeout = 24 * time.Hour

// answerTimeout is how long a SUBACK may take while packets are read.
const answerTimeout = 30 * time.Second

const keepAlive = 30 * time.Second

// refused is the first reason code that is no success.
const refused = 0x80

// dial opens a connection, with TLS where conf is not nil.
func dial(ctx context.Context, at *url.URL, conf *tls.Config, connect *paho.Connect, to listener) (*link, error) {
	d := net.Dialer{Timeout: connectTimeout}
	raw, err := d.DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		secure := tls.Client(raw, conf)
		handshake, cancel := context.WithTimeout(ctx, connectTimeout)
		err := secure.HandshakeContext(handshake)
		cancel()
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		raw = secure
	}
	l := &link{conn: newConn(raw), why: make(chan error, 1), gone: make(chan struct{})}
	l.pings = &pinger{blocked: &l.blocked, due: make(chan struct{}, 1)}
	l.client = paho.NewClient(paho.ClientConfig{
		Conn: l.conn, Session: &dialogue{l: l, to: to, waiting: make(map[uint16]chan<- packets.ControlPacket)},
		PingHandler: l.pings, PacketTimeout: packetTimeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			// Those of QoS 0 alone come this way.
			func(r paho.PublishReceived) (bool, error) { to.take(l, r.Packet.Packet()); return true, nil },
		},
		OnClientError: l.ended,
		OnServerDisconnect: func(d *paho.Disconnect) {
			l.ended(fmt.Errorf("it said DISCONNECT 0x%02x %s", d.ReasonCode, reasonOf(d.Properties)))
		},
	})
	// paho ends a connection with the context of its CONNECT. This one is to
	// outlive ctx, so that what is under way can be finished.
	short, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	release := context.AfterFunc(short, func() { _ = raw.Close() })
	ack, err := l.client.Connect(context.WithoutCancel(ctx), connect)
	if !release() && err == nil {
		l.close()
		err = short.Err()
	}
	if err != nil {
		if ack != nil && ack.ReasonCode >= refused {
			err = fmt.Errorf("CONNACK 0x%02x: %w", ack.ReasonCode, err)
		} else if errors.Is(err, io.EOF) {
			err = errors.New("it closed the connection instead of a CONNACK; does it speak MQTT 5?")
		}
		return nil, errors.Join(err, l.conn.Close())
	}
	return l, nil
}

func reasonOf(p *paho.DisconnectProperties) string {
	if p == nil {
		return ""
	}
	return p.ReasonString
}

// ended notes why the connection has ended: the first reason.
func (l *link) ended(err error) {
	select {
	case l.why <- err:
	default:
	}
}

// reason is why the connection has ended. paho tells a moment after the end.
func (l *link) reason() error {
	select {
	case err := <-l.why:
		return err
	case <-time.After(lastWords):
		return errors.New("the connection was lost")
	}
}

// impatient calls cancel when no answer came within a while in which packets
// were read. The answer of impatient ends it.
func (l *link) impatient(cancel func()) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		tick := time.NewTicker(answerTimeout)
		defer tick.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-tick.C:
				if !l.blocked.Load() {
					cancel()
				}
			}
		}
	}()
	return func() { close(stopped) }
}

// done is closed when the connection is gone and nothing of it runs.
func (l *link) done() <-chan struct{} { return l.client.Done() }

// close says DISCONNECT and waits for the end. The session stays.
func (l *link) close() {
	_ = l.client.Disconnect(&paho.Disconnect{}) // it may be gone
}

// write writes bytes of whole packets. It does not wait.
func (l *link) write(p []byte) error {
	l.conn.Lock()
	defer l.conn.Unlock()
	_, err := l.conn.Write(p)
	return err
}

// acknowledgement appends a PUBACK, PUBREC or PUBCOMP that says success.
func acknowledgement(dst []byte, kind byte, id uint16) []byte {
	return append(dst, kind<<4, 2, byte(id>>8), byte(id))
}

// dialogue stands in the place of paho's session.
type dialogue struct {
	l  *link
	to listener

	mu      sync.Mutex
	last    uint16
	waiting map[uint16]chan<- packets.ControlPacket // for SUBACK and UNSUBACK
}

// ConAckReceived is called before anything behind CONNACK is read.
func (d *dialogue) ConAckReceived(_ io.Writer, _ *packets.Connect, ack *packets.Connack) error {
	return d.to.connected(d.l, ack)
}

// Ack is paho's, which acknowledges nothing here.
func (d *dialogue) Ack(*packets.Publish) error    { return nil }
func (d *dialogue) SetErrorLogger(paholog.Logger) {}
func (d *dialogue) SetDebugLogger(paholog.Logger) {}
func (d *dialogue) Close() error                  { return nil }

// ConnectionLost lets nobody wait any longer.
func (d *dialogue) ConnectionLost(*packets.Disconnect) error {
	d.l.over.Do(func() { close(d.l.gone) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, answer := range d.waiting {
		answer <- packets.ControlPacket{}
		delete(d.waiting, id)
	}
	return nil
}

// AddToSession gives SUBSCRIBE and UNSUBSCRIBE their identifier.
func (d *dialogue) AddToSession(_ context.Context, p session.Packet, answer chan<- packets.ControlPacket) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.last++; d.last == 0 || d.waiting[d.last] != nil; d.last++ {
	}
	d.waiting[d.last] = answer
	p.SetIdentifier(d.last)
	return nil
}

// PacketReceived gets all packets that have an identifier.
func (d *dialogue) PacketReceived(p *packets.ControlPacket, _ chan<- *packets.Publish) error {
	switch p.Content.(type) {
	case *packets.Suback, *packets.Unsuback:
		d.mu.Lock()
		defer d.mu.Unlock()
		if answer := d.waiting[p.PacketID()]; answer != nil {
			answer <- *p
			delete(d.waiting, p.PacketID())
		}
	default:
		d.to.take(d.l, p.Content)
	}
	return nil
}

// pinger keeps a connection alive, and asks the other side whether it has
// heard what was said.
type pinger struct {
	blocked *atomic.Bool
	due     chan struct{} // somebody asks

	mu    sync.Mutex
	asked []func()  // to be called at the answer to the next PINGREQ
	out   []func()  // at the answer to the one that is out
	sent  time.Time // when that was sent; zero: none is out
}

// pingTimeout is how long an answer may take.
const pingTimeout = 15 * time.Second

// fence calls heard when the other side has taken in what was written before.
func (p *pinger) fence(heard func()) {
	p.mu.Lock()
	p.asked = append(p.asked, heard)
	p.mu.Unlock()
	select {
	case p.due <- struct{}{}:
	default:
	}
}

// Run is called by paho.
func (p *pinger) Run(ctx context.Context, conn net.Conn, seconds uint16) error {
	interval := time.Duration(seconds) * time.Second
	if interval == 0 {
		interval = keepAlive
	}
	timer := time.NewTicker(min(interval/2, pingTimeout/3))
	defer timer.Stop()
	last := time.Now()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-p.due:
			asked = true
		case <-timer.C:
		}
		p.mu.Lock()
		out := !p.sent.IsZero()
		if out && p.blocked.Load() {
			p.sent = time.Now() // the answer may wait to be read
		}
		late := out && time.Since(p.sent) > pingTimeout
		send := !out && (len(p.asked) > 0 || !asked && time.Since(last) > interval/2)
		if send {
			p.out, p.asked, p.sent = p.asked, nil, time.Now()
			last = p.sent
		}
		p.mu.Unlock()
		if late {
			return errors.New("no PINGRESP came")
		}
		if send {
			if _, err := packets.NewControlPacket(packets.PINGREQ).WriteTo(conn); err != nil {
				return err
			}
		}
	}
}

// PingResp is called by paho.
func (p *pinger) PingResp() {
	p.mu.Lock()
	heard, more := p.out, len(p.asked) > 0
	p.out, p.sent = nil, time.Time{}
	p.mu.Unlock()
	for _, call := range heard {
		call()
	}
	if more {
		select {
		case p.due <- struct{}{}:
		default:
		}
	}
}

func (p *pinger) PacketSent()             {}
func (p *pinger) PacketReceived()         {}
func (p *pinger) SetDebug(paholog.Logger) {}
