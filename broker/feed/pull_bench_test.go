package feed

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// memory is as much of a store as delivery from memory needs.
type memory struct {
	bridge.Store
	head uint64
}

func (m *memory) Lanes() int { return 1 }

func (m *memory) Commit(_ context.Context, now time.Time, drafts []chat.Draft, out []bridge.Outcome) error {
	for i := range drafts {
		m.head++
		out[i] = bridge.Outcome{ID: drafts[i].ID, Seq: m.head, CreatedAt: now}
	}
	return nil
}

func (m *memory) SaveCursors(context.Context, []bridge.CursorAt) error { return nil }

func (m *memory) MoveReceipts(_ context.Context, _ time.Time, moves []bridge.Move) ([]bridge.Moved, error) {
	return make([]bridge.Moved, len(moves)), nil
}

// pumped is a session that follows one stream of which memory holds the
// newest entries, and whose writer is this goroutine.
// idle is a connection that pulls when the test does.
type idle struct{}

func (idle) Wake() {}

func pumped(tb testing.TB, version, qos byte) (*Feed, *follower) {
	log := bridge.New(bridge.Config{Store: &memory{}})
	tb.Cleanup(func() { _ = log.Close(context.Background()) })
	counter := func() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: "n"}) }
	d := New(Config{Log: log, Key: bridge.SessionKey{UserID: "bob", ClientID: "b"}, Durable: true, Version: version,
		Aliases: new(wire.Aliases), Window: 256, Admin: func() bool { return false }, Reader: idle{},
		Metrics: &Metrics{Deliveries: counter(), Acks: counter(), TooLarge: counter()}, Timeout: time.Second})
	tb.Cleanup(d.Close)
	d.subs = bridge.Subscriptions{{Filter: "chat/c1/messages", QoS: qos}}
	d.mu.Lock()
	f := d.follow(place{stream: chat.ConversationStream("c1"), qos: qos})
	d.mu.Unlock()
	f.watch.Learn(1)
	for i := range 2 * PullItems {
		if _, err := log.Commit(context.Background(), chat.Draft{Stream: chat.ConversationStream("c1"), SenderID: "alice",
			Body: chat.Body{Type: chat.TypeMessage, Content: fmt.Sprintf("message %0180d", i)}}); err != nil {
			tb.Fatal(err)
		}
	}
	return d, f
}

// buffer is what a connection pulls into.
type buffer struct {
	bytes []byte
	items []*bridge.Item
}

func newBuffer() *buffer {
	return &buffer{bytes: make([]byte, 0, 64<<10), items: make([]*bridge.Item, 0, PullItems)}
}

// turn delivers PullItems entries, and acknowledges them at QoS 1.
func turn(d *Feed, f *follower, buf *buffer) {
	f.pos = PullItems
	d.wake(f)
	buf.bytes = d.Pull(buf.bytes[:0], 32<<10, 256, buf.items[:0])
	for d.inflight.len() > 0 {
		d.Acked(d.inflight.list[d.inflight.first].id)
	}
}

func BenchmarkPull(b *testing.B) {
	for _, version := range []byte{wire.Version311, wire.Version5} {
		for qos := range byte(2) {
			b.Run(fmt.Sprintf("v%d/qos%d", version, qos), func(b *testing.B) {
				s, f := pumped(b, version, qos)
				buf := newBuffer()
				turn(s, f, buf)
				b.ReportAllocs()
				for range b.N {
					turn(s, f, buf)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*PullItems), "ns/delivery")
				b.SetBytes(int64(len(buf.bytes)))
			})
		}
	}
}

// A delivery allocates nothing: the entry is encoded once, a subscriber costs
// a copy.
func TestPullAllocatesNothing(t *testing.T) {
	for qos := range byte(2) {
		s, f := pumped(t, wire.Version5, qos)
		buf := newBuffer()
		turn(s, f, buf)
		if len(buf.bytes) == 0 {
			t.Fatal("nothing was delivered")
		}
		if n := testing.AllocsPerRun(100, func() { turn(s, f, buf) }); n > 0 {
			t.Errorf("QoS %d: %v allocations for %d deliveries", qos, n, PullItems)
		}
	}
}
