package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// header2 makes a header of version 2.
func header2(command, family byte, body []byte) string {
	b := append([]byte(prefix2), 0x20|command, family)
	return string(append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...))
}

// addresses2 is the body of a header: source, destination, both ports.
func addresses2(src, dst netip.AddrPort) []byte {
	b := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	return binary.BigEndian.AppendUint16(b, dst.Port())
}

var (
	src4 = netip.MustParseAddrPort("192.0.2.7:56324")
	dst4 = netip.MustParseAddrPort("198.51.100.1:1883")
	src6 = netip.MustParseAddrPort("[2001:db8::7]:56324")
	dst6 = netip.MustParseAddrPort("[2001:db8::1]:1883")
)

func TestHeaders(t *testing.T) {
	tlv := append([]byte{0x04, 0x01, 0x00}, make([]byte, 256)...) // a NOOP extension
	mapped := netip.AddrPortFrom(netip.AddrFrom16(src4.Addr().As16()), src4.Port())
	tests := []struct{ name, header, client string }{
		{"1 IPv4", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n", src4.String()},
		{"1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 56324 1883\r\n", src6.String()},
		{"1 mapped", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 56324 1883\r\n", src4.String()},
		{"1 unknown", "PROXY UNKNOWN\r\n", ""},
		{"1 unknown with more", "PROXY UNKNOWN ffff:f...f:ffff x 65535\r\n", ""},
		{"1 longest", "PROXY UNKNOWN " + strings.Repeat("f", max1-16) + "\r\n", ""},
		{"2 IPv4", header2(1, 0x11, addresses2(src4, dst4)), src4.String()},
		{"2 IPv6", header2(1, 0x21, addresses2(src6, dst6)), src6.String()},
		{"2 mapped", header2(1, 0x21, addresses2(mapped, dst6)), src4.String()},
		{"2 with extensions", header2(1, 0x11, append(addresses2(src4, dst4), tlv...)), src4.String()},
		{"2 longest", header2(1, 0x11, append(addresses2(src4, dst4), make([]byte, max2-head2-12)...)), src4.String()},
		{"2 local", header2(0, 0x11, addresses2(src4, dst4)), ""},
		{"2 local and empty", header2(0, 0, nil), ""},
		{"2 unspecified", header2(1, 0, []byte("xyz")), ""},
		{"2 Unix socket", header2(1, 0x31, make([]byte, 216)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const data = "\x10\x0c\x00\x04MQTT\r\n"
			for what, r := range map[string]io.Reader{
				"at once":      strings.NewReader(tt.header + data),
				"byte by byte": iotest.OneByteReader(strings.NewReader(tt.header + data)),
				"in halves":    iotest.HalfReader(strings.NewReader(tt.header + data)),
				"alone":        strings.NewReader(tt.header),
			} {
				client, rest, err := readHeader(r)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got := client.String(); client.IsValid() && got != tt.client || client.IsValid() != (tt.client != "") {
					t.Errorf("%s: the client is %s, want %s", what, got, tt.client)
				}
				after, _ := io.ReadAll(r)
				if got := string(rest) + string(after); what != "alone" && got != data || what == "alone" && got != "" {
					t.Errorf("%s: %q is left", what, got)
				}
			}
		})
	}
}

func TestBadHeaders(t *testing.T) {
	good2 := header2(1, 0x11, addresses2(src4, dst4))
	for name, header := range map[string]string{
		"CONNECT":            "\x10\x0c\x00\x04MQTT",
		"nothing":            "",
		"lower case":         "proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
		"1 cut":              "PROXY TCP4 192.0.2.7 198.51",
		"1 without end":      "PROXY TCP4 192.0.2.7 198.51.100.1 1 2" + strings.Repeat(" ", 100),
		"1 too long":         "PROXY UNKNOWN " + strings.Repeat("f", max1-15) + "\r\n",
		"1 LF alone":         "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
		"1 two spaces":       "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
		"1 too few":          "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
		"1 too many":         "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
		"1 empty":            "PROXY \r\n",
		"1 UDP":              "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
		"1 wrong family":     "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
		"1 wrong family, 6":  "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
		"1 zone":             "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
		"1 port":             "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
		"1 port with zeros":  "PROXY TCP4 192.0.2.7 198.51.100.1 001 2\r\n",
		"1 signed port":      "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
		"1 bad destination":  "PROXY TCP4 192.0.2.7 x 1 2\r\n",
		"1 octal":            "PROXY TCP4 192.0.02.7 198.51.100.1 1 2\r\n",
		"2 prefix alone":     prefix2,
		"2 cut":              good2[:20],
		"2 version":          strings.Replace(good2, "\x21", "\x31", 1),
		"2 command":          header2(2, 0x11, addresses2(src4, dst4)),
		"2 UDP":              header2(1, 0x12, addresses2(src4, dst4)),
		"2 family":           header2(1, 0x41, addresses2(src4, dst4)),
		"2 short addresses":  header2(1, 0x11, addresses2(src4, dst4)[:11]),
		"2 short addresses6": header2(1, 0x21, addresses2(src6, dst6)[:35]),
		"2 too long":         header2(1, 0x11, make([]byte, max2-head2+1)),
	} {
		t.Run(name, func(t *testing.T) {
			client, rest, err := readHeader(iotest.OneByteReader(strings.NewReader(header)))
			if !errors.Is(err, ErrHeader) || client.IsValid() || rest != nil {
				t.Errorf("got %v, %q, %v", client, rest, err)
			}
		})
	}
}

// A stranger's first bytes end it: nobody waits for a header that cannot come.
func TestOtherBytesEndItAtOnce(t *testing.T) {
	for _, b := range []string{"\x10", "G", "PROXX", "\r\n\r\n\x00\r\nQUIT\r"} {
		if _, _, err := parseHeader([]byte(b)); !errors.Is(err, ErrHeader) {
			t.Errorf("%q: %v", b, err)
		}
	}
	if _, _, err := parseHeader([]byte(header2(1, 0x11, make([]byte, max2)))[:head2]); !errors.Is(err, ErrHeader) {
		t.Errorf("what announces too much is waited for: %v", err)
	}
}

func TestReadErrorsAreTold(t *testing.T) {
	_, _, err := readHeader(io.MultiReader(strings.NewReader("PROXY TC"), iotest.ErrReader(io.ErrClosedPipe)))
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n\x10"))
	f.Add([]byte("PROXY TCP6 2001:db8::7 2001:db8::1 56324 1883\r\n"))
	f.Add([]byte("PROXY UNKNOWN x\r\n"))
	f.Add([]byte(header2(1, 0x11, addresses2(src4, dst4)) + "x"))
	f.Add([]byte(header2(1, 0x21, append(addresses2(src6, dst6), 4, 0, 1, 0))))
	f.Add([]byte(header2(0, 0, nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		size, client, err := parseHeader(b)
		if size < 0 || size > min(len(b), max2) || client.IsValid() && size == 0 || err != nil && size != 0 {
			t.Fatalf("size %d of %d, client %v, %v", size, len(b), client, err)
		}
		// However it is cut up, it means the same.
		got, rest, readErr := readHeader(iotest.OneByteReader(bytes.NewReader(b)))
		if size > 0 {
			if readErr != nil || got != client || len(rest) != 0 {
				t.Fatalf("byte by byte: %v, %q, %v; at once %v", got, rest, readErr, client)
			}
		} else if readErr == nil {
			t.Fatalf("byte by byte it is a header, at once it is not: %v", err)
		}
		// What is read once is read again: nothing of it is guessed.
		if client.IsValid() {
			family, dst := byte(0x11), dst4
			if client.Addr().Is6() {
				family, dst = 0x21, dst6
			}
			_, again, err := parseHeader([]byte(header2(1, family, addresses2(client, dst))))
			if err != nil || again != client {
				t.Fatalf("%v is read as %v, %v", client, again, err)
			}
		}
	})
}
