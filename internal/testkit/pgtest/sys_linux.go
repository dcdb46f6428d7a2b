package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// account is whom the server runs as: Postgres refuses to run as root.
type account struct {
	uid, gid int
	change   bool // false: this process's own account will do
}

func serverAccount() (*account, error) {
	if os.Getuid() != 0 {
		return &account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, err
		}
		return &account{uid: uid, gid: gid, change: true}, nil
	}
	return nil, errors.New("postgres does not run as root, and there is neither an account postgres nor nobody")
}

func (a *account) attr() *syscall.SysProcAttr {
	// A group of its own: Ctrl-C in a terminal is for the tests, which end the
	// server.
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.change {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// own gives a file or folder to the account.
func (a *account) own(path string) error {
	if !a.change {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// dieWithParent makes the kernel stop the server when this process ends,
// however it ends.
func dieWithParent(attr *syscall.SysProcAttr) {
	attr.Pdeathsig = syscall.SIGQUIT
}

func lockThread() (unlock func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// baseDir returns the folder for temporary files that the account can reach.
func baseDir(a *account) (string, error) {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if !a.change || reachable(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no folder for temporary files that every account may enter (TMPDIR is %s)", os.TempDir())
}

// reachable tells whether every account may pass through all folders down to
// dir.
func reachable(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// lockFile makes a file and holds a lock on it for as long as the process
// lives.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // it was only just made
		return nil, err
	}
	return f, nil
}

// removeAbandoned removes the folders of test processes that were killed. They
// are known by a lock that nobody holds.
func removeAbandoned(base string) {
	dirs, err := filepath.Glob(filepath.Join(base, dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "lock")
		// A young folder may belong to a process that is about to lock it.
		info, err := os.Stat(path)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if f, err := lockFile(path); err == nil {
			// The lock goes last: it is how the rest is found again, should
			// the server be ending yet. What another user left stays.
			if os.RemoveAll(filepath.Join(dir, "data")) == nil {
				_ = os.RemoveAll(dir)
			}
			_ = f.Close()
		}
	}
}
