package sqlite

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/bridge/storetest"
)

// backend hands the store to the suite. One process has one store a file.
var backend = storetest.Backend{
	Open: func(tb testing.TB) (bridge.Store, string) {
		path := filepath.Join(tb.TempDir(), "data", "parley.db")
		return openStore(tb, path, true), path
	},
	Reopen: func(tb testing.TB, path string) bridge.Store { return openStore(tb, path, false) },
}

func openStore(tb testing.TB, path string, migrate bool) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), path, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	if migrate {
		if err := s.Migrate(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

func TestMain(m *testing.M) {
	storetest.ChildMain(backend)
	goleak.VerifyTestMain(m)
}

func TestStore(t *testing.T) { storetest.Exercise(t, backend) }
