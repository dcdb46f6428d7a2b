package bench

import "net/netip"

// driven is who decides what clients send, and counts what comes. It does no
// I/O and never looks at the clock: the loop tells it both. Times are ns on
// the loop's clock.
type driven interface {
	start(now int64)
	// tick does what is due. It is called after whatever came, and at the time
	// that wake returned.
	tick(now int64)
	wake(now int64) int64
	exact() bool // a ms is too coarse for wake
	finished() bool
	// consume takes whole packets from the front of b, and returns how much of
	// it they were.
	consume(c *conn, b []byte, now int64) (used int, err error)
	// lost is told of a connection that failed.
	lost(c *conn, err error)
}

// ports are the connections of a loop, and what it shall do with them.
type ports struct {
	conns   []*conn
	dirty   []*conn
	addr    netip.AddrPort // where connections go that are opened while it runs
	opens   []*conn
	ends    []ending
	blocked int // how often a socket was full
}

// ending is a connection that is to be closed when its c.out is written. One
// that is cut is reset, as when a network goes away.
type ending struct {
	*conn
	cut bool
}

// queue remembers that a connection has something to write.
func (p *ports) queue(c *conn) {
	if !c.queued {
		c.queued = true
		p.dirty = append(p.dirty, c)
	}
}
