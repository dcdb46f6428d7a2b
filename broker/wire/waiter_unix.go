//go:build unix

package wire

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// waiter reads from a TCP connection, into a buffer that it takes when there
// is something to read.
type waiter struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // of the waiter itself, made once

	big *chunk
	n   int
	err error
}

// newWaiter is nil where src is no TCP connection.
func newWaiter(src io.Reader) *waiter {
	tcp, ok := src.(*net.TCPConn) // nothing that holds one: it may have read already
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil { // it is closed: the first read will tell
		return nil
	}
	w := &waiter{raw: raw}
	w.try = w.readNow
	return w
}

// read waits for bytes. They are in the chunk, which is the caller's.
func (w *waiter) read() (big *chunk, n int, err error) {
	if err = w.raw.Read(w.try); err == nil {
		err = w.err
	}
	big, n = w.big, w.n
	w.big, w.n, w.err = nil, 0, nil
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil && big != nil {
		big.free()
		big = nil
	}
	return big, n, err
}

// readNow reads what is there. It is false where nothing is.
func (w *waiter) readNow(fd uintptr) bool {
	w.big = newChunk(firstChunk)
	w.err = syscall.EINTR
	for errors.Is(w.err, syscall.EINTR) {
		w.n, w.err = syscall.Read(int(fd), w.big.b)
	}
	if errors.Is(w.err, syscall.EAGAIN) {
		w.big.free()
		w.big = nil
		return false
	}
	return true
}
