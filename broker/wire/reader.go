package wire

import (
	"errors"
	"io"
	"sync"
)

// smallBuffer is what an idle connection holds for reading, where it has to
// hold something.
const smallBuffer = 512

// readAhead is the most that a busy connection reads in one go when no packet
// asks for more.
const readAhead = 8 << 10

// maxHeader is the most bytes that a fixed header has.
const maxHeader = 5

// Reader cuts packets out of a byte stream. An idle one holds 512 bytes, and
// none where the source is a TCP connection. A buffer for a larger packet, or
// for a peer that sends faster than that, comes from a pool and goes back as
// soon as it is empty. A buffer grows by what has arrived, never by what was
// announced.
//
// A Reader must not be copied after its first use. After an error it is of no
// more use, apart from Reset.
type Reader struct {
	src        io.Reader
	wait       *waiter // nil where a read needs a buffer in advance
	buf        []byte  // small, or the bytes of big, or nil
	big        *chunk  // nil while small does
	start, end int     // what is read and not returned yet: buf[start:end]
	busy       bool    // the last read filled its buffer: more is waiting
	small      *[smallBuffer]byte
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader {
	r := new(Reader)
	r.Reset(src)
	return r
}

// Reset starts over with src. It makes the zero Reader ready for use.
func (r *Reader) Reset(src io.Reader) {
	r.Release()
	r.src, r.wait = src, newWaiter(src)
}

// Release forgets what is buffered and gives a pooled buffer back. Call it
// when the connection has ended and its last packet is no longer in use.
func (r *Reader) Release() {
	if r.big != nil {
		r.big.free()
		r.big = nil
	}
	r.buf, r.start, r.end, r.busy = nil, 0, 0, false
}

// Buffered is the number of bytes that are read and not returned yet. While it
// is not 0, Next may answer without a read from the source.
func (r *Reader) Buffered() int { return r.end - r.start }

// Next returns the next packet. Its body is valid until the next call of Next,
// Reset or Release. limit bounds the whole packet, fixed header included; a
// longer one gives ErrTooLarge before its body is read or room is made for it.
// 0 leaves the bound that MQTT itself sets, 256 MiB.
//
// At the end of the source between two packets the error is io.EOF, inside a
// packet io.ErrUnexpectedEOF. Other errors are the source's own, or an *Error.
func (r *Reader) Next(limit int) (Packet, error) {
	for {
		head, size, long, err := fixedHeader(r.buf[r.start:r.end])
		switch {
		case err != nil:
			return Packet{}, err
		case head == 0: // the header itself is not complete
			err = r.fill(maxHeader)
		case limit > 0 && size > limit:
			return Packet{}, ErrTooLarge
		case r.end-r.start < size:
			err = r.fill(size)
		default:
			b := r.buf[r.start : r.start+size : r.start+size]
			r.start += size
			return Packet{First: b[0], Body: b[head:], Long: long}, nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) && r.end > r.start {
				err = io.ErrUnexpectedEOF
			}
			return Packet{}, err
		}
	}
}

// fixedHeader reads the fixed header at the front of b. head is its length, 0
// if it is not complete; size is the length of the whole packet; long is true
// if the remaining length has more bytes than it needs [MQTT-1.5.5-1].
func fixedHeader(b []byte) (head, size int, long bool, err error) {
	remaining := 0
	for i := 1; i < len(b); i++ {
		remaining |= int(b[i]&0x7F) << (7 * (i - 1))
		if b[i] < 0x80 {
			return i + 1, i + 1 + remaining, i > 1 && b[i] == 0, nil
		}
		if i == maxHeader-1 {
			return 0, 0, false, errRemainingLength
		}
	}
	return 0, 0, false, nil
}

var errRemainingLength = malformed("remaining length has more than four bytes")

// fill reads once, towards a packet of size bytes at buf[start:].
func (r *Reader) fill(size int) error {
	r.makeRoom(size)
	if r.buf == nil {
		big, n, err := r.wait.read()
		if err != nil {
			return err
		}
		r.big, r.buf, r.end, r.busy = big, big.b, n, n == len(big.b)
		return nil
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		if n > 0 {
			r.end += n
			r.busy = r.end == len(r.buf)
			return nil // an error comes again with the next read
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom sees to it that something can be read behind end: it moves what is
// left to the front, gives a large buffer back when a small one does, and
// takes a larger one when the buffer is full. It leaves no buffer where nothing
// is left and the next bytes can be waited for without.
func (r *Reader) makeRoom(size int) {
	left := r.end - r.start
	if !r.busy && left < smallBuffer && (r.big != nil || r.buf == nil) {
		rest := r.buf[r.start:r.end]
		if r.buf = nil; left > 0 || r.wait == nil {
			r.buf = r.hold(rest)
		}
		if r.big != nil {
			r.big.free()
			r.big = nil
		}
	} else if left == len(r.buf) || r.busy && len(r.buf) < readAhead {
		want := min(4*len(r.buf), max(size, readAhead))
		big := newChunk(want)
		copy(big.b, r.buf[r.start:r.end])
		if r.big != nil {
			r.big.free()
		}
		r.big, r.buf = big, big.b
	} else if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
	}
	r.start, r.end, r.busy = 0, left, false
}

// hold copies a few bytes into the small buffer.
func (r *Reader) hold(b []byte) []byte {
	if r.small == nil {
		r.small = new([smallBuffer]byte)
	}
	copy(r.small[:], b)
	return r.small[:]
}

// chunk is a pooled buffer.
type chunk struct{ b []byte }

// pools hold chunks of 2 KiB, 8 KiB, 32 KiB, 128 KiB, 512 KiB and 2 MiB.
// Larger ones are not kept. A step of four means that a buffer is at most four
// times what has arrived.
var pools [6]sync.Pool

const firstChunk = 4 * smallBuffer

// newChunk returns a chunk of at least size bytes.
func newChunk(size int) *chunk {
	for i, n := 0, firstChunk; i < len(pools); i, n = i+1, 4*n {
		if size <= n {
			if c, ok := pools[i].Get().(*chunk); ok {
				return c
			}
			return &chunk{make([]byte, n)}
		}
	}
	return &chunk{make([]byte, size)}
}

// free gives the chunk back to its pool.
func (c *chunk) free() {
	for i, n := 0, firstChunk; i < len(pools); i, n = i+1, 4*n {
		if len(c.b) == n {
			pools[i].Put(c)
		}
	}
}
