package broker

import (
	"context"

	"github.com/parley-mqtt/parley/broker/wire"
)

// tokenRevoked is why a connection ends whose token does not hold any more.
const tokenRevoked = "token revoked"

// EndRevoked ends the connections whose tokens were revoked, as the Verifier
// says; MQTT 5 clients are told 0x87. When it returns nil, nothing that is
// committed from then on is written to them. Their wills are published, as
// those of all connections that the server ends.
func (b *Broker) EndRevoked(ctx context.Context) error {
	var barred []*conn
	for _, c := range b.all() {
		if id := c.identity(); id != nil && b.cfg.Verifier.Revoked(id) {
			c.bar()
			barred = append(barred, c)
		}
	}
	for _, c := range barred {
		if err := c.waitForRest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// bar ends the connection, and takes no more of its sends, also of those that
// have been read.
func (c *conn) bar() {
	c.mu.Lock()
	c.barred = true
	c.mu.Unlock()
	c.end(wire.CodeNotAuthorized, tokenRevoked)
}

// waitForRest returns when writeLoop takes no more for a connection that is
// ending. It does not wait for the client: what was taken may still be on its
// way.
func (c *conn) waitForRest(ctx context.Context) error {
	c.mu.Lock()
	if !c.pumping {
		c.mu.Unlock()
		return nil
	}
	if c.rested == nil {
		c.rested = make(chan struct{})
	}
	rested := c.rested
	c.mu.Unlock()
	select {
	case <-rested:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
