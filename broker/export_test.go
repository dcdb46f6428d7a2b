package broker

import "net"

// ServeConn serves a connection as a listener would. gone is closed when
// nothing of its session runs any more; it is nil when the connection was
// refused.
func (b *Broker) ServeConn(nc net.Conn) (gone <-chan struct{}) {
	c := b.admit(nc, "pipe")
	if c == nil {
		return nil
	}
	go c.serve()
	return c.gone
}
