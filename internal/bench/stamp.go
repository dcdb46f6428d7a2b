package bench

import (
	"bytes"
	"encoding/binary"
)

// A payload is {"content":"<stamp><padding>"}: what Parley takes as a message,
// and what other brokers do not look at. Parley delivers an entry, which is
// JSON with the same "content" in it.
const (
	payloadHead = `{"content":"`
	payloadTail = `"}`
)

// contentKey comes before the stamp in everything that is delivered. It cannot
// stand inside a JSON text: quotes are escaped there.
const contentKey = `"content":"`

// stamp is what a message tells about itself.
type stamp struct {
	time    int64  // when it was sent, or should have been; ns on the generator's clock
	stream  uint32 // index
	sender  uint32 // index in its stream
	counter uint32 // 0, 1, 2, … of its sender
}

// A stamp is six words of 32 bits, each as eight letters of four bits. The
// letters @ to O need no escape in JSON, and their low four bits are the
// value, so that a word is read with a few operations and no table.
//
//	run, time (two words), stream, sender, counter
const (
	stampLen = 6 * 8
	letters  = 0x4040404040404040
	highBits = 0xF0F0F0F0F0F0F0F0
)

// putWord writes v as eight letters.
func putWord(b []byte, v uint32) {
	x := uint64(v)
	x = (x | x<<16) & 0x0000FFFF0000FFFF
	x = (x | x<<8) & 0x00FF00FF00FF00FF
	x = (x | x<<4) & 0x0F0F0F0F0F0F0F0F
	binary.BigEndian.PutUint64(b, x|letters)
}

// word reads eight letters. The second value has a bit that is not 0 if they
// are not letters.
func word(b []byte) (v uint32, wrong uint64) {
	x := binary.BigEndian.Uint64(b)
	wrong = x&highBits ^ letters
	x &= ^uint64(highBits)
	x = (x | x>>4) & 0x00FF00FF00FF00FF
	x = (x | x>>8) & 0x0000FFFF0000FFFF
	return uint32(x | x>>16), wrong
}

func (s *stamp) put(b []byte, run uint32) {
	_ = b[stampLen-1]
	putWord(b, run)
	s.putTime(b)
	putWord(b[24:], s.stream)
	putWord(b[32:], s.sender)
	putWord(b[40:], s.counter)
}

// putTime writes the time alone.
func (s *stamp) putTime(b []byte) {
	putWord(b[8:], uint32(uint64(s.time)>>32))
	putWord(b[16:], uint32(uint64(s.time)))
}

// read reads a stamp of a run. It is false if b does not begin with one.
func (s *stamp) read(b []byte, run uint32) bool {
	if len(b) < stampLen {
		return false
	}
	r, w0 := word(b)
	hi, w1 := word(b[8:])
	lo, w2 := word(b[16:])
	stream, w3 := word(b[24:])
	sender, w4 := word(b[32:])
	counter, w5 := word(b[40:])
	*s = stamp{time: int64(uint64(hi)<<32 | uint64(lo)), stream: stream, sender: sender, counter: counter}
	return r == run && w0|w1|w2|w3|w4|w5 == 0
}

// makePayload makes a payload of size bytes with room for a stamp, and says
// where the stamp begins.
func makePayload(size int) (payload []byte, at int) {
	payload = append(make([]byte, 0, size), payloadHead...)
	payload = append(payload, bytes.Repeat([]byte("x"), size-len(payloadHead)-len(payloadTail))...)
	return append(payload, payloadTail...), len(payloadHead)
}

// findContent returns where the content begins in what was delivered, or -1.
// hint is where it began the last time: entries of a stream differ little
// before it.
func findContent(payload []byte, hint int) int {
	if from := hint - len(contentKey); from >= 0 && hint <= len(payload) && string(payload[from:hint]) == contentKey {
		return hint
	}
	at := bytes.Index(payload, []byte(contentKey))
	if at < 0 {
		return -1
	}
	return at + len(contentKey)
}
