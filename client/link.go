package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// conn is a connection that is up.
type conn struct {
	ctx context.Context // ends with it
	end context.CancelFunc
	cm  *autopaho.ConnectionManager
}

const (
	connectTimeout = 10 * time.Second
	// receiveMaximum bounds what the library holds of what comes; without it
	// it makes room for 65,535 packets.
	receiveMaximum = 256
	// steady is how long a connection lives before the waits for the next one
	// begin anew. A connection that is made and ended at once, as when
	// somebody else ends it again and again, is like none.
	steady = 30 * time.Second
)

// dial begins to connect. It goes on until the client's context ends.
func (c *Client) dial() error {
	cfg := autopaho.ClientConfig{
		ServerUrls:           []*url.URL{c.o.mqtt},
		TlsCfg:               c.o.TLS,
		KeepAlive:            uint16(min(max(c.o.KeepAlive/time.Second, 1), 65535)),
		ConnectTimeout:       connectTimeout,
		ReconnectBackoff:     func(int) time.Duration { return c.waitBefore() },
		ConnectPacketBuilder: c.connectPacket,
		OnConnectionUp:       c.connected,
		OnConnectionDown:     c.disconnected,
		OnConnectError:       c.notConnected,
		ClientConfig: paho.ClientConfig{
			PacketTimeout:      c.o.answer,
			OnServerDisconnect: func(d *paho.Disconnect) { c.lose(loss{reason: d.ReasonCode, told: true}) },
			OnClientError:      func(err error) { c.lose(loss{err: err}) },
			OnPublishReceived:  []func(paho.PublishReceived) (bool, error){c.received},
		},
	}
	cm, err := autopaho.NewConnection(c.ctx, cfg)
	c.cm = cm
	return err
}

// connectPacket fills CONNECT with a token that holds now.
func (c *Client) connectPacket(p *paho.Connect, _ *url.URL) (*paho.Connect, error) {
	select { // what was said of the connection before; one can be ended as soon as it is up
	case <-c.losses:
	default:
	}
	c.setStatus(Status{State: StateConnecting, Err: c.Status().Err})
	t, err := c.tokens.get(c.ctx)
	if err != nil {
		return nil, err
	}
	limit := uint16(receiveMaximum)
	p.ClientID = c.o.ClientID
	p.CleanStart = true // the client keeps its own place
	p.PasswordFlag, p.Password = true, []byte(t.text)
	// With any property the library asks for no problem information unless it
	// is told to, and so for no id and seq in acknowledgements.
	p.Properties = &paho.ConnectProperties{RequestProblemInfo: true, ReceiveMaximum: &limit}
	return p, nil
}

// notConnected is called when a try has failed.
func (c *Client) notConnected(err error) {
	var fatal *fatalError
	var refused *autopaho.ConnackError
	var op *net.OpError
	e := network(err)
	if errors.As(err, &op) && e.Code == CodeNetwork { // the rest is names of functions
		e.Message = "cannot reach " + c.o.mqtt.Host + ": " + op.Err.Error()
	}
	switch {
	case errors.As(err, &fatal):
		c.fail(fatal.why)
		return
	case errors.As(err, &refused):
		e = &Error{Code: CodeUnavailable, Reason: refused.ReasonCode, Message: orElse(refused.Reason, "the connection was refused")}
		if refused.ReasonCode == reasonBadLogin || refused.ReasonCode == reasonNotAuthorized {
			e.Code = CodeUnauthorized
			c.tokens.refuse(c.tokens.current())
			if c.tokens.hopeless() {
				c.fail(e)
				return
			}
		}
	}
	c.count(e)
}

// connected is called when a connection is up. It may not wait.
func (c *Client) connected(cm *autopaho.ConnectionManager, _ *paho.Connack) {
	c.tokens.accept()
	ctx, end := context.WithCancel(c.ctx)
	conn := &conn{ctx: ctx, end: end, cm: cm}
	c.mu.Lock()
	c.raw, c.since = conn, time.Now()
	c.mu.Unlock()
	c.wg.Go(func() { c.begin(conn) })
}

// begin makes a connection ready: first subscribed, then open for all.
func (c *Client) begin(conn *conn) {
	err := c.subscribe(conn)
	if err == nil && !c.o.SendOnly {
		err = c.feed.begin(conn)
	}
	if err == nil && conn.ctx.Err() == nil {
		c.open(conn)
		return
	}
	if conn.ctx.Err() == nil {
		c.o.Logger.Warn("a connection was of no use", "error", err)
		c.noteError(network(err))
		conn.cut()
	}
}

func (c *Client) subscribe(conn *conn) error {
	own := "users/" + c.UserID()
	filters := []string{"chat/+/+", own + "/#", "users/+/presence"}
	if c.o.SendOnly {
		filters = []string{own + "/errors"}
	}
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1})
	}
	_, err := conn.cm.Subscribe(conn.ctx, s)
	return err
}

// open lets everybody use a connection, unless it is gone by now.
func (c *Client) open(conn *conn) {
	c.mu.Lock()
	if c.raw != conn {
		c.mu.Unlock()
		return
	}
	c.conn = conn
	close(c.up)
	status, presence := Status{State: StateSyncing}, c.presence
	if c.o.SendOnly {
		status.State = StateOnline
	}
	c.putStatus(status)
	c.mu.Unlock()
	if presence != "" {
		c.publishPresence(conn, presence)
	}
	if !c.o.SendOnly {
		c.feed.in.wantSync()
	}
}

// loss is why a connection ended.
type loss struct {
	reason byte
	told   bool // by the server, with reason
	err    error
}

func (c *Client) lose(l loss) {
	select {
	case c.losses <- l:
	default: // there is one already
	}
}

// disconnected is called when a connection is gone. It tells whether to
// connect again.
func (c *Client) disconnected() bool {
	c.mu.Lock()
	conn, lived := c.raw, time.Since(c.since)
	if c.conn != nil {
		c.up = make(chan struct{})
	}
	c.raw, c.conn = nil, nil
	if lived >= steady {
		c.failures = 0
	}
	c.mu.Unlock()
	conn.end()

	var l loss
	select { // the library tells it on a goroutine that runs already
	case l = <-c.losses:
	case <-time.After(time.Second):
	}
	e := &Error{Code: CodeNetwork, Message: "the connection was lost", Err: l.err}
	if l.told {
		e = ended(l.reason)
	}
	switch e.Code {
	case CodeTakenOver:
		c.fail(e)
	case CodeUnauthorized:
		c.tokens.refuse(c.tokens.current())
	case CodeKicked:
		c.mu.Lock()
		c.failures = max(c.failures, 4) // it shall be noticed
		c.mu.Unlock()
	}
	c.count(e)
	return c.ctx.Err() == nil
}

// ended is what the reason of the server's DISCONNECT means.
func ended(reason byte) *Error {
	e := &Error{Code: CodeNetwork, Reason: reason, Message: "the server ended the connection"}
	switch reason {
	case reasonTakenOver:
		e.Code, e.Message = CodeTakenOver, "another client has the same user and client id"
	case reasonNotAuthorized:
		e.Code, e.Message = CodeUnauthorized, "the token has ended or was revoked"
	case reasonAdministrator:
		e.Code, e.Message = CodeKicked, "the session was ended"
	case reasonShutdown:
		e.Code, e.Message = CodeUnavailable, "the server is stopping"
	case reasonBusy, reasonServerError:
		e.Code = CodeUnavailable
	default:
		e.Message += " (0x" + strconv.FormatUint(uint64(reason), 16) + ")"
	}
	return e
}

// count notes a failure: the next try waits longer.
func (c *Client) count(e *Error) {
	c.mu.Lock()
	c.failures++
	c.mu.Unlock()
	c.noteError(e)
}

// waitBefore is how long to wait before the next try.
func (c *Client) waitBefore() time.Duration {
	c.mu.Lock()
	n := c.failures
	c.mu.Unlock()
	if n == 0 {
		return 0
	}
	wait := c.o.MaxBackoff
	if n < 16 {
		wait = min(wait, c.o.MinBackoff<<(n-1))
	}
	wait = jitter(wait)
	c.setStatus(Status{State: StateOffline, RetryAt: time.Now().Add(wait), Err: c.Status().Err})
	return wait
}

// jitter is a time between half of d and d, so that clients that lost the
// same server do not return together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// pause waits, and tells whether the context has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// cut ends a connection that does not do what it should.
func (c *conn) cut() {
	c.end()
	c.cm.TerminateConnectionForTest() // the library's only way; the name means what the library tests with it
}

// publish publishes at QoS 1 and waits for the acknowledgement. An error is
// an *Error: with CodeNetwork the outcome is not known.
func (c *conn) publish(ctx context.Context, topic string, payload []byte) (Sent, error) {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	answer, err := c.cm.Publish(both, &paho.Publish{QoS: 1, Topic: topic, Payload: payload})
	switch {
	case answer != nil && answer.ReasonCode >= reasonUnspecified:
		e := &Error{Code: codeOf(answer.ReasonCode), Reason: answer.ReasonCode, Topic: topic, Message: "refused"}
		if p := answer.Properties; p != nil && p.ReasonString != "" {
			e.Message = p.ReasonString
		}
		return Sent{}, e
	case err == nil:
		return sentOf(answer), nil
	case ctx.Err() != nil:
		return Sent{}, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		c.cut() // the server takes and does not answer: this link is dead
	}
	return Sent{}, &Error{Code: CodeNetwork, Topic: topic, Message: "the connection was lost", Err: err}
}

// sentOf reads what an acknowledgement says of the entry.
func sentOf(answer *paho.PublishResponse) Sent {
	var s Sent
	if answer == nil || answer.Properties == nil {
		return s
	}
	for _, p := range answer.Properties.User {
		switch p.Key {
		case "id":
			s.ID = p.Value
		case "seq":
			s.Seq, _ = strconv.ParseUint(p.Value, 10, 64)
		case "createdAt":
			s.CreatedAt, _ = time.Parse(time.RFC3339Nano, p.Value)
		}
	}
	return s
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
