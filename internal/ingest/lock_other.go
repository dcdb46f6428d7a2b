//go:build !unix

package ingest

import "os"

// lockFile has no lock to take here: one bridge at a time is the operator's
// to see to.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
