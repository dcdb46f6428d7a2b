package main

import (
	"net"
	"path/filepath"
	"testing"
)

// systemd is told when the server serves, and when it stops.
func TestTellSystemd(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), "@parley-test-" + filepath.Base(t.TempDir())} {
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		t.Setenv("NOTIFY_SOCKET", path)
		told := func() string {
			t.Helper()
			var b [100]byte
			n, err := socket.Read(b[:])
			if err != nil {
				t.Fatal(err)
			}
			return string(b[:n])
		}
		s := serve(t, nil, append([]string{"--data-dir", t.TempDir()}, anyPort...)...)
		if got := told(); got != "READY=1" {
			t.Errorf("told %q", got)
		}
		s.addrs(t) // it serves
		go s.stop()
		if got := told(); got != "STOPPING=1" {
			t.Errorf("told %q", got)
		}
		<-s.ended
		if s.code != exitOK {
			t.Errorf("code %d, %s", s.code, s.stderr)
		}
	}
}
