package model_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// patience is how long the test waits for what must come.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("PARLEY_MODEL_PATIENCE")); err == nil {
		return d
	}
	return 15 * time.Second
}()

// world is one case: the server, those who use it, and what is known of both.
// One goroutine plays all parts, so a case is the same again as far as the
// server is.
type world struct {
	rt      *rapid.T
	tb      *caseTB
	backend string
	dsn     string
	prefix  string // of all ids of the case

	settings settings
	server   *parleytest.Server
	store    *faulty
	lives    int // starts of the server
	failed   bool
	closing  bool // the server goes down: connections may end, sends may fail

	users    []string
	convs    []*conv
	clients  []*client
	messages []*message
	said     map[string]*message // by what tells them apart
	loose    []*attempt          // QoS 0, read by this life of the server
	ordered  [][]*attempt        // plain messages as each connection sent them
	clock    int                 // goes up with what changes the rules
	serial   int                 // goes up with every content
	trace    []string
	last     run // the last line of trace, if it tells of entries
	logs     logBuffer
}

// settings are those of the server, the same in all its lives.
type settings struct {
	receiveMaximum int
	inflight       int
	heads          time.Duration // how often heads are compared
	cursors        time.Duration // how often cursors are saved
	tail           int64
	direct         bool
}

func newWorld(t *testing.T, rt *rapid.T, backend, dsn string) *world {
	w := &world{rt: rt, backend: backend, dsn: dsn, prefix: fmt.Sprintf("r%d-", cases.Add(1)),
		said: make(map[string]*message)}
	w.tb = &caseTB{TB: t, w: w}
	w.settings = settings{receiveMaximum: 256, inflight: 256, heads: time.Hour, tail: 64 << 20}
	if w.oneIn(2, "small receive maximum") {
		w.settings.receiveMaximum = 3
	}
	if w.oneIn(4, "small inflight") {
		w.settings.inflight = 4
	}
	if w.oneIn(4, "compare heads") {
		w.settings.heads = 20 * time.Millisecond
	}
	if w.oneIn(4, "no tails") {
		w.settings.heads, w.settings.tail = 10*time.Millisecond, 1
	}
	w.settings.cursors = 5 * time.Millisecond
	if w.oneIn(2, "cursors are saved at the end") {
		w.settings.cursors = time.Hour
	}
	w.settings.direct = w.oneIn(4, "direct cursors")
	w.log("settings %+v", w.settings)
	return w
}

// start starts the server, on what it left when it ended.
func (w *world) start() {
	w.lives++
	s := w.settings
	w.server = parleytest.Start(w.tb, w.backend, w.dsn, parleytest.Options{
		Store: func(store bridge.Store) bridge.Store {
			w.store = newFaulty(store, s.direct)
			return w.store
		},
		Log: func(c *bridge.Config) {
			c.CursorEvery, c.HeadEvery, c.TailBytes = s.cursors, s.heads, s.tail
		},
		Broker: func(c *broker.Config) {
			c.ReceiveMaximum, c.MaxInflight = s.receiveMaximum, s.inflight
		},
		Logger: slog.New(slog.NewTextHandler(&w.logs, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	w.closing = false
	// The server serves for certain once somebody has been served.
	w.server.Connect(w.prefix+"nobody", mqttest.Options{Clean: true}).Disconnect()
}

// stopped checks a server that has been stopped.
func (w *world) stopped() {
	families, err := w.server.Registry.Gather()
	if err != nil {
		w.fail("metrics: %v", err)
	}
	for _, f := range families {
		if f.GetName() == "parley_mqtt_panics_total" && f.GetMetric()[0].GetCounter().GetValue() > 0 {
			w.fail("a connection panicked")
		}
	}
}

func (w *world) ctx() context.Context { return context.Background() }

func (w *world) log(format string, args ...any) {
	w.last = run{}
	w.trace = append(w.trace, strings.ReplaceAll(fmt.Sprintf(format, args...), w.prefix, ""))
}

// run is a line of the trace: entries that one connection got in a row.
type run struct {
	l        *link
	c        *conv
	from, to uint64
	how      string
}

func (w *world) got(l *link, c *conv, seq uint64, how string) {
	if last := w.last; last.l == l && last.c == c && last.to+1 == seq && last.how == how {
		last.to = seq
		w.trace = w.trace[:len(w.trace)-1]
		w.log("  %s: got %s:%d to %d%s", l, c.id, last.from, seq, how)
		w.last = last
		return
	}
	w.log("  %s: got %s:%d %s%s", l, c.id, seq, c.what(seq), how)
	w.last = run{l, c, seq, seq, how}
}

// fail ends the case, with the way that led there.
func (w *world) fail(format string, args ...any) {
	const most = 500
	w.failed = true
	from := max(0, len(w.trace)-most)
	w.rt.Fatalf("%s\nsteps:\n  %s\nserver:\n%s", strings.ReplaceAll(fmt.Sprintf(format, args...), w.prefix, ""),
		strings.Join(w.trace[from:], "\n  "), w.logs.String())
}

// must fails on an error of a call that cannot fail.
func (w *world) must(err error, what string, args ...any) {
	if err != nil {
		w.fail("%s: %v", fmt.Sprintf(what, args...), err)
	}
}

func (w *world) conv(id string) *conv {
	for _, c := range w.convs {
		if c.id == id {
			return c
		}
	}
	return nil
}

// refresh reads what is new in all streams.
func (w *world) refresh() {
	for _, c := range w.convs {
		c.refresh()
	}
}

// tick answers a new time of the case's clock.
func (w *world) tick() int {
	w.clock++
	return w.clock
}

// oneIn is true once in n times, a power of two.
func (w *world) oneIn(n int, label string) bool {
	for ; n > 1; n /= 2 {
		if !rapid.Bool().Draw(w.rt, label) {
			return false
		}
	}
	return true
}

func (w *world) between(low, high int, label string) int {
	return rapid.IntRange(low, high).Draw(w.rt, label)
}

func pick[T any](w *world, from []T, label string) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(w.rt, label)]
}

// caseTB is the testing.TB of one case for helpers that want one: what fails
// in them fails the case, so that rapid can make it shorter.
type caseTB struct {
	testing.TB // the test of all cases
	w          *world
}

func (tb *caseTB) Helper()                           {}
func (tb *caseTB) Fatalf(format string, args ...any) { tb.w.fail(format, args...) }
func (tb *caseTB) Fatal(args ...any)                 { tb.w.fail("%s", fmt.Sprint(args...)) }
func (tb *caseTB) FailNow()                          { tb.w.fail("failed") }
func (tb *caseTB) Error(args ...any)                 { tb.Errorf("%s", fmt.Sprint(args...)) }
func (tb *caseTB) Fail()                             { tb.Errorf("failed") }
func (tb *caseTB) Failed() bool                      { return tb.w.rt.Failed() }
func (tb *caseTB) Logf(string, ...any)               {}
func (tb *caseTB) Log(...any)                        {}
func (tb *caseTB) Output() io.Writer                 { return io.Discard }
func (tb *caseTB) Cleanup(f func())                  { tb.w.rt.Cleanup(f) }

func (tb *caseTB) Errorf(format string, args ...any) {
	if tb.w.failed { // it is being cleaned up
		return
	}
	tb.w.fail(format, args...)
}

// logBuffer keeps the last of what the server says.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() > 16<<10 {
		b.buf.Reset()
	}
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
