//go:build !unix

package wire

import "io"

// waiter is for systems where it can be waited for bytes without a buffer.
type waiter struct{}

func newWaiter(io.Reader) *waiter { return nil }

func (*waiter) read() (*chunk, int, error) { return nil, 0, io.ErrNoProgress }
