package wire

import (
	"encoding/binary"
	"iter"
	"unicode/utf8"
)

// UserProps are user properties as they stand in a packet, one behind the
// other. AppendUserProp makes them.
type UserProps []byte

// AppendUserProp appends one user property to dst. A key or value of more than
// 65,535 bytes is cut.
func AppendUserProp[K, V ~string | ~[]byte](dst UserProps, key K, value V) UserProps {
	return appendString(appendString(append(dst, propUser), key), value)
}

// All goes through the properties in their order. Keys and values are parts of
// u: they are valid as long as u is.
func (u UserProps) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for c := (cursor{b: u}); len(c.b) > 0; {
			c.u8()
			key, value := c.bin(), c.bin()
			if c.err != nil || !yield(key, value) {
				return
			}
		}
	}
}

// Get returns the first value of key, nil if it has none.
func (u UserProps) Get(key string) []byte {
	for k, v := range u.All() {
		if string(k) == key {
			return v
		}
	}
	return nil
}

// maxString is the most bytes that a string or binary data can have.
const maxString = 1<<16 - 1

// cut shortens s to what a string of MQTT can have, at a character, so that a
// packet is well-formed whatever it is made of.
func cut[S ~string | ~[]byte](s S) S {
	if len(s) <= maxString {
		return s
	}
	n := maxString
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// appendString appends a string or binary data with its length.
func appendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	s = cut(s)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// stringLen is the number of bytes that appendString appends.
func stringLen[S ~string | ~[]byte](s S) int { return 2 + len(cut(s)) }

// appendVarint appends a variable byte integer in its shortest form
// [MQTT-1.5.5-1].
func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// varintLen is the number of bytes that appendVarint appends.
func varintLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}
