package postgres

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/bridge/storetest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

var backend = storetest.Backend{
	Open: func(tb testing.TB) (bridge.Store, string) {
		url := pgtest.URL(tb)
		return openStore(tb, url, true), url
	},
	Reopen: func(tb testing.TB, url string) bridge.Store { return openStore(tb, url, false) },
	Shared: true,
}

func openStore(tb testing.TB, url string, migrate bool) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), url, Options{MaxConns: 4})
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
	goleak.VerifyTestMain(pgtest.Runner{M: m})
}

func TestStore(t *testing.T) { storetest.Exercise(t, backend) }
