package wire

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// cursor reads a body from front to back. Its first failure sticks: after it
// every read gives a zero value, so that a walk needs one check at its end.
type cursor struct {
	b   []byte // what is left
	err *Error
}

var errShort = malformed("packet ends inside a field")

func (c *cursor) fail(e *Error) {
	if c.err == nil {
		c.err = e
	}
	c.b = nil
}

func (c *cursor) u8() byte {
	if len(c.b) < 1 {
		c.fail(errShort)
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) u16() uint16 {
	if len(c.b) < 2 {
		c.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(c.b)
	c.b = c.b[2:]
	return v
}

func (c *cursor) u32() uint32 {
	if len(c.b) < 4 {
		c.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint32(c.b)
	c.b = c.b[4:]
	return v
}

var (
	errVarint = malformed("variable byte integer has more than four bytes")
	errLong   = malformed("variable byte integer is not in its shortest form [MQTT-1.5.5-1]")
)

// varint reads a variable byte integer.
func (c *cursor) varint() uint32 {
	var v uint32
	for i := range 4 {
		b := c.u8()
		v |= uint32(b&0x7F) << (7 * i)
		if b < 0x80 {
			if i > 0 && b == 0 && c.err == nil {
				c.fail(errLong)
			}
			return v
		}
	}
	c.fail(errVarint)
	return 0
}

// take cuts off n bytes.
func (c *cursor) take(n int) []byte {
	if len(c.b) < n {
		c.fail(errShort)
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// bin reads binary data: a length of two bytes and that many bytes.
func (c *cursor) bin() []byte { return c.take(int(c.u16())) }

var (
	errUTF8 = malformed("string is not UTF-8 [MQTT-1.5.4-1]")
	errNUL  = malformed("string contains U+0000 [MQTT-1.5.4-2]")
)

// str reads a UTF-8 string.
func (c *cursor) str() []byte {
	v := c.bin()
	if bytes.IndexByte(v, 0) >= 0 {
		c.fail(errNUL)
	} else if !utf8.Valid(v) {
		c.fail(errUTF8)
	}
	return v
}

// end wants everything to be read, and returns the walk's error.
func (c *cursor) end() error {
	if c.err != nil {
		return c.err
	}
	if len(c.b) > 0 {
		return errTrailing
	}
	return nil
}

var errTrailing = malformed("packet has bytes after its last field")
