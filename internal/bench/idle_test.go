package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/parley-mqtt/parley/broker/wsconn"
)

// idleParley is a tiny broker with a WebSocket and metrics, in this process.
func idleParley(t *testing.T, b *tiny, conns int) Server {
	p := newParleyREST(t, b)
	target := p.target()
	target.Processes = []Process{{Name: ServerProcess, PID: os.Getpid()}}
	var asked atomic.Int32
	rest := p.server.Config.Handler
	p.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			_, _ = fmt.Fprintf(w, "# TYPE go_goroutines gauge\ngo_goroutines 7\ngo_memstats_heap_inuse_bytes 2.097152e+06\n"+
				"go_memstats_stack_inuse_bytes 1.048576e+06\ngo_gc_duration_seconds_count %d\nparley_mqtt_connections %d\n",
				asked.Add(1), conns)
		case "/mqtt":
			up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "mqtt" }}
			nc, _, _, err := up.Upgrade(r, w)
			if err != nil {
				t.Error(err)
				return
			}
			b.adopt(wsconn.New(nc, nc))
		default:
			rest.ServeHTTP(w, r)
		}
	})
	return Existing(target)
}

// Idle connects all clients with tokens of their own, over either transport,
// has them subscribe, and cuts and connects some of them again.
func TestIdle(t *testing.T) {
	for _, over := range []Transport{TCP, WebSocket} {
		b := newTiny(t, fault{})
		i := &Idle{Conns: 40, Over: over, Storm: 10, look: time.Millisecond, ping: time.Nanosecond, giveBack: time.Millisecond}
		r, err := i.Run(t.Context(), idleParley(t, b, 40))
		if err != nil {
			t.Fatalf("%s: %v", over, err)
		}
		if r.Before.RSS < 1 || r.Settled == nil || r.Settled.Heap != 2 || r.Settled.Stacks != 1 || r.Settled.Goroutines != 7 ||
			r.Settled.cycles < r.Connected.cycles+2 || r.Connecting <= 0 || r.Storm <= 0 || r.AfterStorm == nil {
			t.Errorf("%s: %+v", over, r)
		}
		b.mu.Lock()
		tokens, readers := len(b.tokens), len(b.readers["chat/+/messages"])
		b.mu.Unlock()
		if tokens != 40 || readers < 40 {
			t.Errorf("%s: %d users, %d subscriptions", over, tokens, readers)
		}
		var table strings.Builder
		if err := IdleTable(&table, i, []*IdleResult{r}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"### 40 idle connections over " + string(over), "connected: RSS a connection, KiB", "storm of 10"} {
			if !strings.Contains(table.String(), want) {
				t.Errorf("%q is missing in\n%s", want, table.String())
			}
		}
	}
}

// Connections that are lost meanwhile would make the others look cheap.
func TestIdleLoses(t *testing.T) {
	i := &Idle{Conns: 40, Over: TCP, look: time.Millisecond, giveBack: time.Millisecond}
	if _, err := i.Run(t.Context(), idleParley(t, newTiny(t, fault{}), 39)); err == nil || err.Error() != "1 connections are lost" {
		t.Errorf("got %v", err)
	}
}

// A server that refuses, or that nobody can measure, gives no numbers.
func TestIdleFails(t *testing.T) {
	b := newTiny(t, fault{connack: 5})
	for want, s := range map[string]Server{
		"refused the connection": idleParley(t, b, 2),
		"pid: is missing":        Existing(newTiny(t, fault{}).target()),
	} {
		i := &Idle{Conns: 2, Over: TCP}
		if _, err := i.Run(context.Background(), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	other := &Idle{Conns: 2, Over: WebSocket}
	if _, err := other.Run(t.Context(), Existing(b.target())); err == nil || !strings.Contains(err.Error(), "over: ") {
		t.Errorf("a WebSocket of another broker: %v", err)
	}
}

func TestIdleCheck(t *testing.T) {
	for want, i := range map[string]Idle{
		"idle: ":  {Conns: -1, Over: TCP},
		"over: ":  {Conns: 1, Over: "pigeon"},
		"storm: ": {Conns: 1, Over: TCP, Storm: 2},
	} {
		if err := i.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
