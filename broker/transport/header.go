package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ErrHeader is the error of a proxy that does not begin with a header of the
// PROXY protocol.
var ErrHeader = errors.New("no header of the PROXY protocol")

func badHeader(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrHeader}, args...)...)
}

const (
	prefix1 = "PROXY "
	max1    = 107 // bytes of a header of version 1, CRLF included
	prefix2 = "\r\n\r\n\x00\r\nQUIT\n"
	head2   = len(prefix2) + 4
	// max2 bounds a header of version 2. Addresses take 216 bytes at most, the
	// rest are extensions, of which a client's certificate is the largest.
	max2 = 4 << 10
	// firstRead is room for a header without large extensions.
	firstRead = 256
)

// readHeader reads a header. rest is what came behind it already. The client
// is not valid if the header names none: the connection is the proxy's own
// then, as for a health check, or came by something else than TCP.
func readHeader(r io.Reader) (client netip.AddrPort, rest []byte, err error) {
	buf := make([]byte, 0, firstRead)
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf)) // at most to twice max2: parseHeader sees to that
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		size, client, bad := parseHeader(buf)
		switch {
		case bad != nil:
			return netip.AddrPort{}, nil, bad
		case size > 0:
			return client, bytes.Clone(buf[size:]), nil
		case errors.Is(err, io.EOF):
			return netip.AddrPort{}, nil, badHeader("the connection ends before")
		case err != nil:
			return netip.AddrPort{}, nil, err
		}
	}
}

// parseHeader reads the header at the front of b: its size, or 0 when it is
// not whole yet.
func parseHeader(b []byte) (size int, client netip.AddrPort, err error) {
	switch {
	case begins(b, prefix1):
		return parse1(b)
	case begins(b, prefix2):
		return parse2(b)
	}
	return 0, client, badHeader("it begins otherwise")
}

// begins reports whether b begins with the prefix, as far as b goes.
func begins(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// parse1 reads version 1, a line of text such as
//
//	PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883
func parse1(b []byte) (size int, client netip.AddrPort, err error) {
	end := bytes.Index(b[:min(len(b), max1)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) >= max1:
		return 0, client, badHeader("the line has no end")
	case end < 0:
		return 0, client, nil
	}
	size = end + 2
	words := strings.Split(string(b[:end]), " ")
	if len(words) > 1 && words[1] == "UNKNOWN" {
		return size, client, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return 0, client, badHeader("the line is not that of TCP4, TCP6 or UNKNOWN")
	}
	v6 := words[1] == "TCP6"
	client, err = endpoint(words[2], words[4], v6)
	if err == nil {
		_, err = endpoint(words[3], words[5], v6)
	}
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return size, client, nil
}

func endpoint(host, port string, v6 bool) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Is6() != v6 || addr.Zone() != "" {
		return netip.AddrPort{}, badHeader("an address is not of the family")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, badHeader("a port is not a number from 0 to 65535")
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

// parse2 reads version 2, which is binary: the prefix, version and command,
// family, length, addresses, extensions.
func parse2(b []byte) (size int, client netip.AddrPort, err error) {
	if len(b) < head2 {
		return 0, client, nil
	}
	version, command, family := b[12]>>4, b[12]&0x0F, b[13]
	length := int(binary.BigEndian.Uint16(b[14:]))
	size = head2 + length
	switch {
	case version != 2:
		return 0, client, badHeader("version %d is unknown", version)
	case command > 1:
		return 0, client, badHeader("command %d is unknown", command)
	case size > max2:
		return 0, client, badHeader("it is longer than %d bytes", max2)
	case len(b) < size:
		return 0, client, nil
	case command == 0: // LOCAL: a connection of the proxy itself
		return size, client, nil
	}
	body := b[head2:size]
	switch {
	case family == 0x11 && length >= 12: // TCP over IPv4
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
	case family == 0x21 && length >= 36: // TCP over IPv6
		client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
	case family == 0x00, family == 0x31 && length >= 216: // unknown, or a Unix socket: it has no address
	default:
		return 0, client, badHeader("family 0x%02x with %d bytes of addresses", family, length)
	}
	return size, client, nil
}
