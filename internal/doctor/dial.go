package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// reachable is an address to connect to, where a listener is on all of them.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// dial connects to a server of this machine as its settings want it, with the
// header of the PROXY protocol if this machine counts as a proxy. What it is
// given to read and write ends with ctx.
func (c *Config) dial(ctx context.Context, addr string) (net.Conn, error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", reachable(addr))
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		err = nc.SetDeadline(end)
	}
	if err == nil && c.isProxy(nc.LocalAddr()) {
		_, err = io.WriteString(nc, "PROXY UNKNOWN\r\n")
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return nc, nil
}

// isProxy says whether connections from an address have to begin with a
// header.
func (c *Config) isProxy(from net.Addr) bool {
	addr, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return false
	}
	for _, s := range c.ProxyProtocolFrom {
		network, err := netip.ParsePrefix(strings.TrimSpace(s))
		if alone, e := netip.ParseAddr(strings.TrimSpace(s)); e == nil {
			network, err = netip.PrefixFrom(alone.Unmap(), alone.Unmap().BitLen()), nil
		}
		if err == nil && network.Contains(addr.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// secure shakes hands. Who the other is does not matter: it is this machine,
// and which certificate it shows is looked at by others.
func secure(ctx context.Context, nc net.Conn, protocol string) (*tls.Conn, error) {
	t := tls.Client(nc, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{protocol}}) //nolint:gosec // see above
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// connect is a CONNECT of MQTT 5 without a token, which any server answers
// with a refusal, and which leaves nothing behind.
var connect = []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 10, 0, 0, 0}

// connack is the first byte of the answer.
const connack = 0x20

var errNotMQTT = errors.New("what listens there does not speak MQTT")

// shakeMQTT sends a CONNECT and wants an answer to it.
func shakeMQTT(rw io.ReadWriter) error {
	if _, err := rw.Write(connect); err != nil {
		return err
	}
	var first [1]byte
	if _, err := io.ReadFull(rw, first[:]); err != nil {
		return fmt.Errorf("%w: %w", errNotMQTT, err)
	}
	if first[0] != connack {
		return errNotMQTT
	}
	return nil
}

// shakeWebSocket opens a WebSocket as a browser does, and speaks MQTT in it.
func shakeWebSocket(nc net.Conn, host string) error {
	request := "GET /mqtt HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if _, err := io.WriteString(nc, request); err != nil {
		return err
	}
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // its text adds nothing
		return fmt.Errorf("/mqtt answered %s", resp.Status)
	}
	// One binary frame, masked with zeros.
	frame := append([]byte{0x82, 0x80 | byte(len(connect)), 0, 0, 0, 0}, connect...)
	if _, err := nc.Write(frame); err != nil {
		return err
	}
	var answer [3]byte // the head of a short frame, and the first byte in it
	if _, err := io.ReadFull(r, answer[:]); err != nil {
		return err
	}
	if answer[0] != 0x82 || answer[2] != connack {
		return errNotMQTT
	}
	return nil
}
