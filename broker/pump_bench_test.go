package broker

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

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

// pumped is a session that follows one stream of which memory holds the
// newest entries, and whose writer is this goroutine.
func pumped(tb testing.TB, version, qos byte) (*session, *follower) {
	log := bridge.New(bridge.Config{Store: &memory{}})
	tb.Cleanup(func() { _ = log.Close(context.Background()) })
	client, server := net.Pipe()
	tb.Cleanup(func() { _, _ = client.Close(), server.Close() })
	c := newConn(New(Config{Log: log}), server)
	c.key = bridge.SessionKey{UserID: "bob", ClientID: "b"}
	c.version, c.writing = version, true
	s := newSession(c)
	s.window, s.durable = 256, true
	c.session = s
	s.subs = map[string]byte{"chat/c1/messages": qos}
	s.mu.Lock()
	f := s.follow(place{conversation: "c1", qos: qos})
	s.mu.Unlock()
	f.watch.Learn(1)
	for i := range 2 * pumpItems {
		if _, err := log.Commit(context.Background(), chat.Draft{Stream: chat.ConversationStream("c1"), SenderID: "alice",
			Body: chat.Body{Type: chat.TypeMessage, Content: fmt.Sprintf("message %0180d", i)}}); err != nil {
			tb.Fatal(err)
		}
	}
	return s, f
}

// turn delivers pumpItems entries, and acknowledges them at QoS 1.
func turn(s *session, f *follower, buf *outBuffer) {
	f.pos = pumpItems
	s.c.wake(f)
	buf.bytes = s.pump(&outBuffer{bytes: buf.bytes[:0], items: buf.items})
	for s.inflight.len() > 0 {
		s.acked(s.inflight.list[s.inflight.first].id)
	}
}

func BenchmarkPump(b *testing.B) {
	for _, version := range []byte{wire.Version311, wire.Version5} {
		for qos := range byte(2) {
			b.Run(fmt.Sprintf("v%d/qos%d", version, qos), func(b *testing.B) {
				s, f := pumped(b, version, qos)
				buf := outBuffers.Get().(*outBuffer)
				turn(s, f, buf)
				b.ReportAllocs()
				for range b.N {
					turn(s, f, buf)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pumpItems), "ns/delivery")
				b.SetBytes(int64(len(buf.bytes)))
			})
		}
	}
}

// A delivery allocates nothing: the entry is encoded once, a subscriber costs
// a copy.
func TestPumpAllocatesNothing(t *testing.T) {
	for qos := range byte(2) {
		s, f := pumped(t, wire.Version5, qos)
		buf := outBuffers.Get().(*outBuffer)
		turn(s, f, buf)
		if len(buf.bytes) == 0 {
			t.Fatal("nothing was delivered")
		}
		if n := testing.AllocsPerRun(100, func() { turn(s, f, buf) }); n > 0 {
			t.Errorf("QoS %d: %v allocations for %d deliveries", qos, n, pumpItems)
		}
	}
}
