//go:build unix

package ingest

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes a lock that ends with the process. Two bridges on one journal
// would give one clientId to two messages.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(errors.New("another bridge uses it; give this one another name"), f.Close())
	}
	return f, nil
}
