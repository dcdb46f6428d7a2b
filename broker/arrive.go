package broker

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/broker/transport"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/broker/wsconn"
	"github.com/parley-mqtt/parley/internal/chat"
)

// carrier names what carries a connection that was accepted, for the log.
func carrier(nc net.Conn) string {
	if _, ok := nc.(*tls.Conn); ok {
		return "tls"
	}
	return "tcp"
}

// tlsRecord is the most that goes to a TLS connection in one write. A write
// that a deadline cuts breaks such a connection, so each has to be small
// enough for a slow reader. It is what one record takes, with the header of a
// WebSocket frame.
const tlsRecord = 16<<10 - 16

// arrive finds out where the connection comes from, counts it in, and does
// the TLS handshake: all of it within the time to CONNECT, and on the
// connection's own goroutine. It is false when the connection ends there.
func (c *conn) arrive() bool {
	var err error
	if c.client, err = transport.Client(c.nc); err == nil {
		var answer bool
		if answer, err = c.seat.Sit(c.b.limits, c.client.Addr()); answer {
			c.excess, err = err, nil
		}
	}
	if err == nil {
		err = transport.Handshake(c.nc)
	}
	if err != nil {
		c.failed(err)
		return false
	}
	return true
}

// tooFast answers a CONNECT that came in time but too soon after others of its
// address. It costs no more than reading it.
func (c *conn) tooFast() (code byte, text string) {
	if c.excess == nil {
		return 0, ""
	}
	c.b.metrics.exceeded(c.excess)
	return wire.CodeConnectionRate, c.excess.Error()
}

// login counts a connection to its user, and holds one back whose session
// connects again and again. A code other than 0 refuses.
func (c *conn) login() (code byte, text string) {
	if err := c.seat.Login(c.key.UserID, c.b.registry.holds(c.key)); err != nil {
		c.b.metrics.exceeded(err)
		return wire.CodeQuotaExceeded, err.Error()
	}
	hold, begun := c.b.limits.Hold(c.key.UserID, c.key.ClientID)
	if hold == 0 {
		return 0, ""
	}
	if begun {
		c.b.logger.Warn("a session connects again and again, each time is held back",
			"user", c.key.UserID, "client", c.key.ClientID, "address", c.client.String(), "for", hold)
	}
	c.b.metrics.pauses.WithLabelValues("reconnects").Inc()
	c.pause(hold)
	return 0, ""
}

// maxPause is the most that reading waits for a QoS 0 message to come within the
// limits. One that would take longer is dropped.
const maxPause = time.Second

// throttle counts a PUBLISH to its user and its connection. One that is too
// much is refused at QoS 1 and 2; at QoS 0 nothing is refused that can wait.
func (c *conn) throttle(pub *wire.Publish) error {
	if pub.Retain {
		c.changes(1)
	}
	var patience time.Duration
	if pub.QoS == 0 {
		patience = maxPause
	}
	wait, err := c.seat.Publish(len(pub.Topic)+len(pub.Payload), patience)
	if err != nil {
		return c.b.rateLimited(err, wait)
	}
	if wait > 0 {
		c.b.metrics.pauses.WithLabelValues("publish").Inc()
		c.pause(wait)
	}
	return nil
}

// changes counts changes to what is kept for everybody, and has reading wait
// where one connection makes so many that the others would notice.
func (c *conn) changes(n int) {
	// Short waits add up to one that is worth a timer.
	const shortest = 10 * time.Millisecond
	if wait := c.seat.Change(n); wait >= shortest {
		c.b.metrics.pauses.WithLabelValues("changes").Inc()
		c.pause(wait)
	}
}

// MaySend counts a send of a user that comes without a connection to the same
// limits as a PUBLISH. The error is a *chat.Error that says when to try again.
func (b *Broker) MaySend(user string, bytes int) error {
	if wait, err := b.limits.Publish(user, bytes); err != nil {
		return b.rateLimited(err, wait)
	}
	return nil
}

func (b *Broker) rateLimited(err error, wait time.Duration) error {
	b.metrics.exceeded(err)
	return &chat.Error{Code: chat.CodeRateLimited, Message: err.Error(), RetryAfter: wait}
}

// fits refuses an ordinary topic or filter that is longer or deeper than the
// settings allow.
func (b *Broker) fits(field, name string) error {
	if err := b.limits.Topic(name); err != nil {
		b.metrics.exceeded(err)
		return chat.Invalid(field, "%s", err.Error())
	}
	return nil
}

// pause has the reading goroutine wait. It ends early with the connection.
func (c *conn) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		c.mu.Lock()
		if c.ending {
			c.mu.Unlock()
			return
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-timer.C:
			c.deadline = time.Time{} // it may have passed while nobody read
			return
		case <-room:
		}
	}
}

// cut closes the socket without a word.
func (c *conn) cut() {
	nc := c.nc
	if w, ok := nc.(*wsconn.Conn); ok {
		nc = w.Conn
	}
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	_ = nc.Close()
}

// bound is the bound that an error is about, "" if it is none.
func bound(err error, version byte) string {
	var over *limit.Exceeded
	var we *wire.Error
	switch {
	case errors.As(err, &over):
		return over.Bound
	case errors.Is(err, wire.ErrTooLarge) && version == 0:
		return limit.MaxConnectPacket
	case errors.Is(err, wire.ErrTooLarge):
		return limit.MaxPacket
	case errors.As(err, &we) && we.Code == wire.CodeReceiveMaximum:
		return limit.ReceiveMaximum
	}
	return ""
}
