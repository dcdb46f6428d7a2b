package broker

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// sink takes what is written to it.
type sink struct {
	net.Conn
	writes [][]byte
}

func (s *sink) Write(p []byte) (int, error) {
	s.writes = append(s.writes, bytes.Clone(p))
	return len(p), nil
}

func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// A write to TLS that a deadline cuts cannot be gone on with, so each is as
// small as may be.
func TestWritesToTLSAreSmall(t *testing.T) {
	for carrier, want := range map[string]int{"tcp": 1, "ws": 1, "tls": 4, "wss": 4} {
		b := &Broker{metrics: newMetrics(nil), conns: make(map[*conn]struct{})}
		b.cfg.MaxConnections = 1
		to := new(sink)
		c := b.admit(to, carrier)
		all := bytes.Repeat([]byte("0123456789abcdef"), 4000)
		if err := c.writeAll(all); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Join(to.writes, nil); len(to.writes) != want || !bytes.Equal(got, all) {
			t.Errorf("%s: %d bytes of %d in %d writes, want %d", carrier, len(got), len(all), len(to.writes), want)
		}
		b.leave(c)
	}
}
