package acl

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// SecretFile is the name of the generated secret in the data folder.
const SecretFile = "jwt-secret"

// maxSecretFile bounds what is read of a file that somebody put there.
const maxSecretFile = 4 << 10

func checkSecret(secret []byte) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("jwt-secret: must be at least %d bytes, has %d", MinSecret, len(secret))
	}
	return nil
}

// LoadOrCreateSecret returns the secret of the file jwt-secret in dir, and
// makes both when they are missing: dir with mode 0700, the file with mode
// 0600 and 32 random bytes in hex. The secret is the text itself, without the
// line break at its end, so that it can be copied into the jwt-secret setting
// of another node or tool as it stands.
//
// The file appears whole or not at all, and is never overwritten: processes
// that start at once end with the same secret.
//
// A file that is too short, or that everybody on the machine may read or
// write, is refused: its secret must be taken as known. A file that its group
// may read is set to 0600, because volume managers open files to the group
// without being asked. An error names the setting and the file.
func LoadOrCreateSecret(dir string) ([]byte, error) {
	secret, err := loadOrCreate(dir)
	if err != nil {
		return nil, fmt.Errorf("jwt-secret: %w", err)
	}
	return secret, nil
}

func loadOrCreate(dir string) ([]byte, error) {
	path := filepath.Join(dir, SecretFile)
	secret, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// Another process may have been first. Then its secret counts.
	if err := createSecret(dir, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readSecret(path)
}

func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	if err := tightenSecret(f); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	text = bytes.TrimRight(text, "\r\n")
	switch {
	case len(text) < MinSecret:
		return nil, fmt.Errorf("%s holds fewer than %d bytes; delete it to have a new one made", path, MinSecret)
	case len(text) > maxSecretFile:
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxSecretFile)
	}
	return text, nil
}

// tightenSecret looks at the mode of the open file, so that nobody can swap
// the file between the look and the reading.
func tightenSecret(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", f.Name())
	}
	mode := info.Mode().Perm()
	switch {
	case runtime.GOOS == "windows": // has no such modes
		return nil
	case mode&0o007 != 0:
		return fmt.Errorf("%s has mode %04o and is open to everybody on this machine; "+
			"delete it to have a new one made, or trust it with chmod 600", f.Name(), mode)
	case mode&0o070 != 0:
		return f.Chmod(0o600)
	}
	return nil
}

// createSecret makes the file under another name and links it to its own.
// Unlike a rename, a link never replaces a file that is there already: it
// fails with fs.ErrExist.
func createSecret(dir, path string) (err error) {
	f, err := os.CreateTemp(dir, "."+SecretFile+"-*") // has mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()

	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: it ends the process instead
	_, err = f.WriteString(hex.EncodeToString(random) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the new name last. A file system that cannot do it for folders
// says EINVAL, which is no reason not to start.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}
