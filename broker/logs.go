package broker

import "time"

// attrs say of whom a line of the log is.
func (c *conn) attrs() []any {
	attrs := []any{"address", c.client.String(), "transport", c.carrier}
	if !c.client.IsValid() {
		attrs[1] = c.nc.RemoteAddr().String()
	}
	if c.version != 0 {
		attrs = append(attrs, "version", c.version)
	}
	if c.key.UserID != "" {
		attrs = append(attrs, "user", c.key.UserID, "client", c.key.ClientID)
	}
	return attrs
}

// logEnd tells, once, that the connection has ended and why.
func (c *conn) logEnd(reason string) {
	attrs := append(c.attrs(), "duration", time.Since(c.began).Round(time.Millisecond), "reason", reason)
	if c.session != nil {
		c.b.logger.Info("disconnected", attrs...)
		return
	}
	if c.refusal != "" {
		reason = c.refusal
		attrs[len(attrs)-1] = reason
	}
	if reason == byClient { // a port that was looked at, as health checks do
		c.b.logger.Debug("closed without CONNECT", attrs...)
		return
	}
	c.b.refusals.Note(reason, attrs)
}

// byClient is the reason of a connection that the client closed without a
// DISCONNECT.
const byClient = "closed by the client"
