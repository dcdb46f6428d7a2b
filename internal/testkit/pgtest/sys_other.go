//go:build !linux

package pgtest

import (
	"errors"
	"os"
	"syscall"
)

// account is whom the server runs as: here always the tests' own account.
type account struct{}

func serverAccount() (*account, error) {
	if os.Getuid() == 0 {
		return nil, errors.New("postgres does not run as root: run the tests as another user")
	}
	return &account{}, nil
}

func (*account) attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func (*account) own(string) error { return nil }

// dieWithParent does nothing: only Linux can tell a child of its parent's end.
// The server is in the tests' process group, so Ctrl-C reaches it.
func dieWithParent(*syscall.SysProcAttr) {}

func lockThread() (unlock func()) { return func() {} }

func baseDir(*account) (string, error) { return os.TempDir(), nil }

func lockFile(path string) (*os.File, error) { return os.Create(path) }

func removeAbandoned(string) {}
