package pgtest

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestServerEndsWithAKilledProcess also checks that the next run clears away
// the folder.
func TestServerEndsWithAKilledProcess(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	port, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
	if _, numErr := strconv.Atoi(port); err != nil || !ok || numErr != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	query(t, "postgres://postgres@127.0.0.1:"+port+"/postgres?sslmode=disable", "SELECT 1", 1)

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	waitFor(t, "the server to end", func() bool {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})

	base := filepath.Dir(dir)
	removeAbandoned(base)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a young folder was removed: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "lock"), old, old); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the folder to go", func() bool {
		removeAbandoned(base)
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

func TestFoldersInUseStay(t *testing.T) {
	c := Start(t)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(c.dir, "lock"), old, old); err != nil {
		t.Fatal(err)
	}
	removeAbandoned(filepath.Dir(c.dir))
	if _, err := os.Stat(c.dir); err != nil {
		t.Errorf("a folder in use was removed: %v", err)
	}
}

// waitFor asks again until it is so: the end of somebody else's child sends no
// signal here.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
