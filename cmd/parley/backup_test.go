package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A copy that is made while the server runs is a database that a server
// starts with, and has what was there.
func TestBackup(t *testing.T) {
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy.db")
	s := serve(t, nil, append([]string{"--data-dir", dir}, anyPort...)...)
	_, addr := s.addrs(t)
	_, token, _ := parley(t, nil, "token", "--sub", "alice", "--data-dir", dir)
	token = strings.TrimSpace(token)
	if status := request(t, "POST", "http://"+addr+"/v1/conversations", token, `{"id": "c1", "members": ["bob"]}`); status != 201 {
		t.Fatalf("status %d", status)
	}
	code, stdout, stderr := parley(t, nil, "backup", "--data-dir", dir, "--to", copied)
	if code != exitOK || stderr != "" || !strings.HasPrefix(stdout, copied+": 2 entries, ") || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if status := request(t, "POST", "http://"+addr+"/v1/conversations", token, `{"id": "c2", "members": ["bob"]}`); status != 201 {
		t.Fatalf("status %d", status)
	}
	s.stop()

	if err := os.Rename(copied, filepath.Join(dir, "parley.db")); err != nil {
		t.Fatal(err)
	}
	s = serve(t, nil, append([]string{"--data-dir", dir}, anyPort...)...)
	_, addr = s.addrs(t)
	for id, want := range map[string]int{"c1": 200, "c2": 404} {
		if status := request(t, "GET", "http://"+addr+"/v1/conversations/"+id, token, ""); status != want {
			t.Errorf("%s: status %d, want %d", id, status, want)
		}
	}
}

func TestBackupRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"backup"}, exitUsage, "parley: missing flags: --to=FILE"},
		{[]string{"backup", "--to", filepath.Join(dir, "x"), "--data-dir", dir}, exitUsage, "parley: data-dir: there is no database at "},
		{[]string{"backup", "--to", filepath.Join(dir, "x"), "--database-url", "postgres://u:" + otherSecret + "@h/db"}, exitUsage, "parley: database-url: is set"},
	} {
		code, stdout, stderr := parley(t, nil, tt.args...)
		if code != tt.code || stdout != "" || !strings.HasPrefix(stderr, tt.want) || strings.Contains(stderr, otherSecret) {
			t.Errorf("%v: code %d, stdout %q, stderr %q, want %s", tt.args, code, stdout, stderr, fmt.Sprintf("%d, %q", tt.code, tt.want))
		}
	}
}
