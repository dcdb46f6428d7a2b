package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// raw stands in build for bytes without a length.
type raw []byte

// vbi stands in build for a variable byte integer.
type vbi int

// props stands in build for properties with their length in front.
type props []any

// build puts fields together: strings and binary data with their length,
// integers in network order.
func build(fields ...any) []byte {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = append(b, byte(f))
		case byte:
			b = append(b, f)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, f)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, f)
		case string:
			b = appendString(b, f)
		case []byte:
			b = appendString(b, f)
		case raw:
			b = append(b, f...)
		case vbi:
			b = appendVarint(b, int(f))
		case props:
			p := build(f...)
			b = append(appendVarint(b, len(p)), p...)
		default:
			panic(fmt.Sprintf("build: %T", f))
		}
	}
	return b
}

// packet is the packet of first whose body has the fields.
func packet(first byte, fields ...any) Packet {
	return Packet{First: first, Body: build(fields...)}
}

// frame is the packet as bytes.
func frame(p Packet) []byte {
	return append(appendVarint([]byte{p.First}, len(p.Body)), p.Body...)
}

// read cuts the only packet out of b.
func read(t testing.TB, b []byte) Packet {
	t.Helper()
	r := NewReader(bytes.NewReader(b))
	p, err := r.Next(0)
	if err != nil || r.Buffered() > 0 {
		t.Fatalf("Next(%x): %v, %d bytes left", b, err, r.Buffered())
	}
	return p
}

// wantCode wants err to be an *Error of code, or nil if code is 0.
func wantCode(t testing.TB, err error, code byte) {
	t.Helper()
	var e *Error
	switch {
	case code == 0 && err != nil:
		t.Fatalf("refused: %v", err)
	case code == 0:
	case !errors.As(err, &e):
		t.Fatalf("got %v, want an *Error", err)
	case e.Code != code:
		t.Fatalf("got %v, want code 0x%02X", err, code)
	case e.Text == "":
		t.Fatal("the error has no text")
	}
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}
