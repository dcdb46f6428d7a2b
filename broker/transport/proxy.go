// Package transport is what lies between a TCP port and the bytes of a client:
// the header of the PROXY protocol, by which a proxy in front says whose the
// connection is, and TLS. Nothing of it blocks accepting: headers and
// handshakes are read where the connection is served.
package transport

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Proxies are the addresses that the PROXY protocol is spoken with.
type Proxies []netip.Prefix

// ParseProxies reads addresses and networks such as 10.0.0.0/8.
func ParseProxies(list []string) (Proxies, error) {
	var proxies Proxies
	for _, s := range list {
		s = strings.TrimSpace(s)
		prefix, err := netip.ParsePrefix(s)
		if addr, e := netip.ParseAddr(s); e == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", s)
		}
		if prefix != prefix.Masked() {
			return nil, fmt.Errorf("%s has bits behind its mask; %s is the network", s, prefix.Masked())
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}

func (p Proxies) contain(a net.Addr) bool {
	addr := addrPort(a).Addr().Unmap().WithZone("")
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// Listen makes connections from the proxies begin with a header of the PROXY
// protocol, version 1 or 2, which must have come after the time-out at the
// latest. RemoteAddr of such a connection reads it, and answers the address
// of the client; where the header is bad, the first Read says so. Connections
// from elsewhere are as they are: a header that they send is data.
func (p Proxies) Listen(ln *net.TCPListener, timeout time.Duration) net.Listener {
	if len(p) == 0 {
		return ln
	}
	return &listener{TCPListener: ln, proxies: p, timeout: timeout}
}

type listener struct {
	*net.TCPListener
	proxies Proxies
	timeout time.Duration
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	if !l.proxies.contain(nc.RemoteAddr()) {
		return nc, nil
	}
	_ = nc.SetReadDeadline(time.Now().Add(l.timeout))
	return &proxied{TCPConn: nc}, nil
}

// proxied is a connection of a proxy. It keeps what a TCP connection can
// beyond a net.Conn, such as writing several buffers at once.
type proxied struct {
	*net.TCPConn
	once   sync.Once
	client net.Addr
	rest   []byte // what came with the header
	err    error
}

// header reads the header, once.
func (c *proxied) header() error {
	c.once.Do(func() {
		c.client = c.TCPConn.RemoteAddr()
		var client netip.AddrPort
		client, c.rest, c.err = readHeader(c.TCPConn)
		if client.IsValid() {
			c.client = net.TCPAddrFromAddrPort(client)
		}
	})
	return c.err
}

// Read reads what follows the header.
func (c *proxied) Read(p []byte) (int, error) {
	if err := c.header(); err != nil {
		return 0, err
	}
	if len(c.rest) == 0 {
		return c.TCPConn.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

// RemoteAddr is that of the client.
func (c *proxied) RemoteAddr() net.Addr {
	_ = c.header() // Read tells the error
	return c.client
}

// WriteTo is not that of TCPConn, which would pass the header over.
func (c *proxied) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// Client is the address of the client of an accepted connection, not valid if
// it has none. Where a proxy must send a header, that is read first.
func Client(nc net.Conn) (netip.AddrPort, error) {
	var err error
	if c, ok := raw(nc).(*proxied); ok {
		err = c.header()
	}
	return addrPort(nc.RemoteAddr()), err
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// raw is the connection below TLS.
func raw(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}

// SetWriteBuffer bounds what the system keeps of bytes that were written and
// are not acknowledged.
func SetWriteBuffer(nc net.Conn, bytes int) {
	if c, ok := raw(nc).(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = c.SetWriteBuffer(bytes) // the system's own stays
	}
}
