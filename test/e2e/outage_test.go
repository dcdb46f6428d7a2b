package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// Postgres crashes under load and comes back, again and again. The server says
// so, acknowledges nothing meanwhile, and goes on by itself.
func TestPostgresRestartsUnderLoad(t *testing.T) {
	chance := chances(t)
	db := pgtest.Start(t)
	srv := startServer(t, "postgres", options{dsn: db.URL(t)})
	l := newLoad(t, srv)
	l.start()
	outages := []time.Duration{
		// Longer than a send may wait for its commit, so that sends are
		// refused, not only late.
		12 * time.Second,
		between(chance, time.Millisecond, 100*time.Millisecond),
		between(chance, 100*time.Millisecond, 2*time.Second),
		between(chance, 100*time.Millisecond, 2*time.Second),
	}
	for i, outage := range outages {
		l.awaitAcks(1, patience)
		srv.letRun(between(chance, 100*time.Millisecond, 1500*time.Millisecond))
		db.StopImmediate()
		proctest.Eventually(t, 10*time.Second, "/readyz is 503 without a database", func() bool {
			return srv.rest.status("/readyz") == http.StatusServiceUnavailable
		})
		if status := srv.rest.status("/healthz"); status != http.StatusOK {
			t.Errorf("/healthz is %d without a database", status)
		}
		srv.letRun(outage)
		db.Start()
		proctest.Eventually(t, 15*time.Second, "/readyz is 200 again", func() bool {
			return srv.rest.status("/readyz") == http.StatusOK
		})
		l.awaitAcks(500, 15*time.Second)
		l.check()
		if t.Failed() {
			t.Fatalf("outage %d, of %v", i+1, outage)
		}
	}
	l.finish()
	if l.refused.Load() == 0 {
		t.Error("no send was refused as unavailable, though the database was away for longer than a send may wait")
	}
	if l.dropped.Load() == 0 {
		t.Error("no 3.1.1 sender was disconnected: there is no other way to tell it")
	}
	t.Logf("%d sends acknowledged, %d refused, %d connections cut", l.acked.Load(), l.refused.Load(), l.dropped.Load())
}
