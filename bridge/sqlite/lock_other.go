//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sqlite

import "os"

// lockFile has no lock to take on this system: nothing here keeps a second
// process away, and it is up to the operator to start one alone.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}

// inUse cannot tell on this system.
func inUse(string) (string, error) { return "", nil }
