package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

// pages is the size of a file.
func pages(t *testing.T, name string) int {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size() / 4096)
}

// The log is moved into the file when it has grown, and begins anew, though no
// commit does it.
func TestLogIsMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openStore(t, path, true)
	const each, times = 50, 5 // pages of a commit; how often the log grows too long
	payload := make([]byte, each*4096)
	written := 0
	for i := range times {
		for ; written < (i+1)*(beginAfter+2*each); written += each {
			m := &bridge.Message{Topic: fmt.Sprint(written), Payload: payload, Published: time.Now()}
			if err := s.Keep(t.Context(), &bridge.Changes{Retained: []*bridge.Message{m}}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for pages(t, path) < (i+1)*beginAfter-2*moveAfter {
			select {
			case <-ctx.Done():
				t.Fatalf("of %d pages that were written, the file has %d", written, pages(t, path))
			case <-tick.C:
			}
		}
	}
	if n := pages(t, path+"-wal"); n > 2*beginAfter {
		t.Errorf("the log has %d pages, and was too long with %d", n, beginAfter)
	}
}
