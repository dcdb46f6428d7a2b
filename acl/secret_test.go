package acl

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSecretCreatedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, err := LoadOrCreateSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrCreateSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 64 || !bytes.Equal(first, second) {
		t.Errorf("got %d bytes, then %d, want the same 64", len(first), len(second))
	}
	other, err := LoadOrCreateSecret(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, other) {
		t.Error("two folders have the same secret")
	}
	wantMode(t, dir, 0o700)
	wantMode(t, filepath.Join(dir, SecretFile), 0o600)
	wantOneFile(t, dir)
	newTestVerifier(t, Config{Secret: first})
}

func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

// wantOneFile finds what a start left behind.
func wantOneFile(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the folder holds %v, want one file", entries)
	}
}

func TestSecretRaceOfGoroutines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	secrets := make([][]byte, 32)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			var err error
			if secrets[i], err = LoadOrCreateSecret(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if len(s) != 64 || !bytes.Equal(s, secrets[0]) {
			t.Fatalf("got %q and %q", s, secrets[0])
		}
	}
	wantOneFile(t, dir)
}

func TestSecretRaceOfProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	outputs := make([]bytes.Buffer, 4)
	var wg sync.WaitGroup
	for i := range outputs {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), program)
			cmd.Env = append(os.Environ(), secretDirEnv+"="+dir)
			cmd.Stdout, cmd.Stderr = &outputs[i], os.Stderr
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range outputs {
		if outputs[i].Len() != 64 || outputs[i].String() != outputs[0].String() {
			t.Fatal("the processes have different secrets")
		}
	}
	wantOneFile(t, dir)
}

// TestSecretIsNotReplaced is the race in slow motion: a process that found no
// file loses to one that made it in between.
func TestSecretIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SecretFile)
	if err := createSecret(dir, path); err != nil {
		t.Fatal(err)
	}
	before := must(os.ReadFile(path))
	if err := createSecret(dir, path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v", err)
	}
	if !bytes.Equal(before, must(os.ReadFile(path))) {
		t.Error("the secret was replaced")
	}
	wantOneFile(t, dir)
}

func TestSecretFiles(t *testing.T) {
	long := strings.Repeat("s", 40)
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string // of the error; "" is accepted
	}{
		{"as made", long + "\n", 0o600, ""},
		{"no line break", long, 0o600, ""},
		{"CR LF", long + "\r\n", 0o600, ""},
		{"read only", long, 0o400, ""},
		{"open to the group", long, 0o660, ""},
		{"open to all", long, 0o644, "0644"},
		{"writable by all", long, 0o602, "0602"},
		{"empty", "", 0o600, "fewer than 32"},
		{"short", "short\n", 0o600, "fewer than 32"},
		{"short but for line breaks", long[:31] + strings.Repeat("\n", 40), 0o600, "fewer than 32"},
		{"too long", strings.Repeat("s", maxSecretFile+1), 0o600, "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, SecretFile)
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			secret, err := LoadOrCreateSecret(dir)
			if c.want != "" {
				if err == nil {
					t.Fatal("accepted")
				}
				for _, want := range []string{"jwt-secret: ", path, c.want} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("got %q, want %q in it", err, want)
					}
				}
				return
			}
			if err != nil || string(secret) != long {
				t.Fatalf("got %q, %v", secret, err)
			}
			if c.mode&0o077 != 0 {
				wantMode(t, path, 0o600)
			}
		})
	}
}

func TestSecretIsAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, SecretFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateSecret(dir); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("got %v", err)
	}
}

func TestSecretFolderIsAFile(t *testing.T) {
	path := writeFile(t, nil)
	if _, err := LoadOrCreateSecret(path); err == nil || !strings.Contains(err.Error(), "jwt-secret: ") {
		t.Errorf("got %v", err)
	}
}
