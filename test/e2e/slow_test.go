package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

const (
	slowMessages = 20_000
	slowChunks   = 40
	slowSenders  = 3
	slowWindow   = 16 // sends of one sender in flight
	slowPace     = 1 << 10
)

// One subscriber reads 1 KiB a second. Two servers do the same work in turns,
// a chunk here and a chunk there, and only one of them has the slow reader. So
// whatever else the machine does meanwhile meets both alike, and they can be
// compared: the pace of the senders, the latency of the others, the memory.
func TestSlowReaderHarmsNobody(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		plain, slowed := newTwin(t, backend), newTwin(t, backend)
		slow := startSlowReader(t, slowed.srv)
		var without, with []chunk
		var base, first memory
		for i := range slowChunks {
			without = append(without, plain.run(t, slowMessages/slowChunks))
			with = append(with, slowed.run(t, slowMessages/slowChunks))
			if i == slowChunks/4 {
				base, first = memoryOf(t, plain.srv), memoryOf(t, slowed.srv)
			}
		}
		grown := memoryOf(t, slowed.srv).minus(first)
		normal := memoryOf(t, plain.srv).minus(base)
		compareChunks(t, without, with)
		compareMemory(t, normal, grown)
		if n := slow.got.Load(); n == 0 || n > slowMessages/4 {
			t.Errorf("the slow reader has %d entries after all were sent: it should have some and be far behind", n)
		}
		t.Logf("the slow reader had %d entries when all were sent", slow.got.Load())
		slow.hurry(t)
	})
}

// chunk is what a part of the run took.
type chunk struct {
	pace float64       // messages a second, sent and acknowledged
	p99  time.Duration // from PUBLISH to the arrival at a subscriber
}

// compareChunks holds the medians against each other. A chunk takes so little
// time that one pause of the machine changes it much; the median of forty is
// steady, and differs by some percent between equal servers. Half more is far
// above that, and far below what a server does whose senders or readers wait
// for the slow one: they would come to a stop.
func compareChunks(t *testing.T, without, with []chunk) {
	t.Helper()
	pace := func(c chunk) float64 { return c.pace }
	late := func(c chunk) float64 { return c.p99.Seconds() * 1000 }
	p0, p1 := median(without, pace), median(with, pace)
	l0, l1 := median(without, late), median(with, late)
	t.Logf("medians: pace %.0f msgs/s without the slow reader, %.0f with it; p99 of delivery %.2f ms and %.2f ms", p0, p1, l0, l1)
	if p1 < p0/1.5 {
		t.Errorf("the senders are slowed down: %.0f msgs/s instead of %.0f", p1, p0)
	}
	// Two milliseconds are what the scheduler may take on a busy machine.
	if l1 > 1.5*l0+2 {
		t.Errorf("the other subscribers wait longer: p99 %.2f ms instead of %.2f", l1, l0)
	}
}

func median(chunks []chunk, value func(chunk) float64) float64 {
	values := make([]float64, len(chunks))
	for i, c := range chunks {
		values[i] = value(c)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// memory is what a server holds, in MiB.
type memory struct{ live, resident float64 }

func memoryOf(t *testing.T, s *server) memory {
	t.Helper()
	return memory{s.rest.metric(t, "go_gc_heap_live_bytes") / (1 << 20),
		s.rest.metric(t, "process_resident_memory_bytes") / (1 << 20)}
}

func (m memory) minus(o memory) memory { return memory{m.live - o.live, m.resident - o.resident} }

// compareMemory looks at the growth over the last three quarters of the run.
// 15,000 entries are some 15 MiB as they are kept in memory, so a server that
// queued them for the slow reader would show it in what is live after a
// collection. The resident memory also moves with the collector and with what
// the database keeps, on both servers alike.
func compareMemory(t *testing.T, normal, grown memory) {
	t.Helper()
	t.Logf("live memory grew by %.1f MiB without the slow reader, %.1f with it; resident by %.1f and %.1f",
		normal.live, grown.live, normal.resident, grown.resident)
	if grown.live > 4 || normal.live > 4 {
		t.Errorf("live memory grows with what was sent")
	}
	if grown.resident > normal.resident+8 {
		t.Errorf("resident memory grew by %.1f MiB with a slow reader, %.1f without", grown.resident, normal.resident)
	}
}

// twin is one of two equal servers, with some senders and two subscribers that keep up.
type twin struct {
	srv     *server
	senders []*mqttest.Client
	readers []*mqttest.Client
	sent    int
	seq     uint64         // of the last entry
	at      []atomic.Int64 // when each message was sent
}

func newTwin(t *testing.T, backend string) *twin {
	t.Helper()
	l := &twin{srv: startServer(t, backend, options{}), at: make([]atomic.Int64, slowMessages)}
	users := []string{"r4", "r5", "slow"}
	for i := range slowSenders {
		users = append(users, fmt.Sprintf("s%d", i))
	}
	l.srv.conversation("c1", users...)
	l.seq = uint64(len(users))
	connect := func(user string, version byte) *mqttest.Client {
		c := mqttest.Dial(t, l.srv.mqtt)
		c.Connect(mqttest.Options{Version: version, ClientID: "device", User: user, Password: l.srv.token(user), Expiry: 3600})
		return c
	}
	for i, user := range users {
		switch {
		case i < 2:
			c := connect(user, byte(4+i))
			c.Subscribe("chat/+/messages")
			l.readers = append(l.readers, c)
		case i > 2:
			l.senders = append(l.senders, connect(user, 5))
		}
	}
	return l
}

// run sends n messages and returns when all are acknowledged and both
// subscribers have them.
func (l *twin) run(t *testing.T, n int) chunk {
	t.Helper()
	var numbers atomic.Int64
	numbers.Store(int64(l.sent))
	end := int64(l.sent + n)
	problems := make(chan error, len(l.senders)+len(l.readers))
	late := make([][]time.Duration, len(l.readers))
	var sending, reading sync.WaitGroup
	began := time.Now()
	for _, c := range l.senders {
		sending.Go(func() { problems <- l.send(c, &numbers, end) })
	}
	for i, c := range l.readers {
		reading.Go(func() {
			var err error
			late[i], err = l.read(c, n)
			problems <- err
		})
	}
	sending.Wait()
	took := time.Since(began)
	reading.Wait()
	for range cap(problems) {
		if err := <-problems; err != nil {
			t.Fatal(err)
		}
	}
	l.sent += n
	l.seq += uint64(n)
	all := slices.Concat(late...)
	slices.Sort(all)
	return chunk{pace: float64(n) / took.Seconds(), p99: all[len(all)*99/100]}
}

var padding = strings.Repeat("x", 190)

// send publishes whatever numbers are left, some in flight at a time.
func (l *twin) send(c *mqttest.Client, numbers *atomic.Int64, end int64) error {
	for open, left := 0, true; ; {
		for left && open < slowWindow {
			n := numbers.Add(1) - 1
			if left = n < end; !left {
				break
			}
			pub := wire.Publish{Topic: []byte("chat/c1/messages"), QoS: 1, PacketID: c.ID(),
				Payload: fmt.Appendf(nil, "%d %s", n, padding)}
			raw, _ := wire.AppendPublish(nil, c.Version, &pub)
			l.at[n].Store(time.Now().UnixNano())
			if err := c.Send(raw); err != nil {
				return err
			}
			open++
		}
		if open == 0 {
			return nil
		}
		pk, err := c.Read(mqttest.Patience)
		if err != nil || pk.FixedHeader.Type != packets.Puback || pk.ReasonCode != 0 {
			return fmt.Errorf("waiting for a PUBACK: %s 0x%02x, %w", wire.TypeName(pk.FixedHeader.Type), pk.ReasonCode, err)
		}
		open--
	}
}

// read takes n entries, in order, and answers how long each was on its way.
func (l *twin) read(c *mqttest.Client, n int) ([]time.Duration, error) {
	late := make([]time.Duration, 0, n)
	for seq := l.seq + 1; len(late) < n; seq++ {
		number, err := nextEntry(c, seq)
		if err != nil {
			return nil, err
		}
		late = append(late, time.Duration(time.Now().UnixNano()-l.at[number].Load()))
	}
	return late, nil
}

// nextEntry reads and acknowledges the next entry, which must have this seq.
// It answers the number in its content.
func nextEntry(c *mqttest.Client, seq uint64) (number int, err error) {
	pk, err := c.Read(mqttest.Patience)
	for err == nil && pk.FixedHeader.Type == packets.Pingresp {
		pk, err = c.Read(mqttest.Patience)
	}
	if err != nil || pk.FixedHeader.Type != packets.Publish {
		return 0, fmt.Errorf("waiting for entry %d: %s, %w", seq, wire.TypeName(pk.FixedHeader.Type), err)
	}
	var e parleytest.Entry
	if err := json.Unmarshal(pk.Payload, &e); err != nil {
		return 0, err
	}
	if e.Seq != seq {
		return 0, fmt.Errorf("got entry %d where %d should be", e.Seq, seq)
	}
	if _, err := fmt.Sscanf(e.Content, "%d ", &number); err != nil {
		return 0, fmt.Errorf("entry %d: %q: %w", seq, e.Content, err)
	}
	return number, c.Send(wire.AppendAck(nil, c.Version, &wire.Ack{Type: packets.Puback, PacketID: pk.PacketID}, 0))
}

// slowReader follows the conversation at 1 KiB a second until it is told to
// hurry.
type slowReader struct {
	conn *pacedConn
	got  atomic.Int64
	done chan error // how reading ended
}

// startSlowReader connects and subscribes. The keep-alive is so short that the
// session lives on PINGREQs.
func startSlowReader(t *testing.T, srv *server) *slowReader {
	t.Helper()
	dialer := net.Dialer{Control: smallWindow}
	nc, err := dialer.Dial("tcp", srv.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	s := &slowReader{conn: &pacedConn{Conn: nc, fast: make(chan struct{}), tick: time.NewTicker(time.Second)},
		done: make(chan error, 1)}
	c := mqttest.New(t, s.conn)
	c.Connect(mqttest.Options{ClientID: "device", User: "slow", Password: srv.token("slow"), Expiry: 3600, KeepAlive: 2})
	c.Subscribe("chat/+/messages")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		s.ping(c, stop)
	}()
	first := uint64(3 + slowSenders) // the join entries
	go func() {
		var err error
		for seq := first + 1; err == nil && seq <= first+slowMessages; seq++ {
			if _, err = nextEntry(c, seq); err == nil {
				s.got.Add(1)
			}
		}
		s.done <- err
		close(s.done)
	}()
	t.Cleanup(func() {
		_ = nc.Close()
		close(stop)
		<-stopped
		for range s.done {
		}
		s.conn.tick.Stop()
	})
	return s
}

// smallWindow keeps the system from reading ahead for the reader. It is set
// before the connection is made, with segments as they are on a network: what
// is changed later, or much smaller than a segment, has the system drop data
// and wait for time-outs of its own.
func smallWindow(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400))
	})
	return errors.Join(err, failed)
}

// ping keeps the connection alive, as every client must.
func (s *slowReader) ping(c *mqttest.Client, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if c.Send([]byte{packets.Pingreq << 4, 0}) != nil {
				return
			}
		}
	}
}

// hurry lets the reader go as fast as it can: it must get the rest, all of it
// and in order.
func (s *slowReader) hurry(t *testing.T) {
	t.Helper()
	close(s.conn.fast)
	proctest.Eventually(t, time.Minute, "the slow reader has everything", func() bool {
		select {
		case err := <-s.done:
			if err != nil {
				t.Fatalf("the slow reader, after %d entries: %v", s.got.Load(), err)
			}
			return true
		default:
			return false
		}
	})
	if n := s.got.Load(); n != slowMessages {
		t.Errorf("the slow reader got %d entries, want %d", n, slowMessages)
	}
}

// pacedConn reads 1 KiB a second at most, until fast is closed.
type pacedConn struct {
	net.Conn
	tick *time.Ticker
	fast chan struct{}
}

func (c *pacedConn) Read(p []byte) (int, error) {
	select {
	case <-c.fast:
	case <-c.tick.C:
		p = p[:min(len(p), slowPace)]
	}
	return c.Conn.Read(p)
}
