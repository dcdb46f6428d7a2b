package ingest

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// A source that keeps the session for less long than it was asked to is told
// of, and no other.
func TestShortenedExpiry(t *testing.T) {
	hour, day := uint32(3600), uint32(86400)
	for _, tt := range []struct {
		name    string
		granted *uint32
		want    bool
	}{{"nothing said", nil, false}, {"as asked", &day, false}, {"less", &hour, true}} {
		j, err := openJournal(filepath.Join(t.TempDir(), "journal"), "session")
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		s := newSource(&bridge{cfg: Config{SessionExpiry: 24 * time.Hour, Window: 8}, journal: j,
			log: slog.New(slog.NewTextHandler(&said, nil))})
		if err := s.connected(nil, &packets.Connack{Properties: &packets.Properties{SessionExpiryInterval: tt.granted}}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(said.String(), "granted=1h0m0s"); got != tt.want {
			t.Errorf("%s: it says %q", tt.name, said.String())
		}
		if err := j.close(); err != nil {
			t.Error(err)
		}
	}
}
