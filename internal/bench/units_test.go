package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestStampRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := stamp{time: rapid.Int64Min(0).Draw(t, "time"), stream: rapid.Uint32().Draw(t, "stream"),
			sender: rapid.Uint32().Draw(t, "sender"), counter: rapid.Uint32().Draw(t, "counter")}
		run := rapid.Uint32().Draw(t, "run")
		payload, at := makePayload(rapid.IntRange(minSize, 500).Draw(t, "size"))
		want.put(payload[at:], run)
		var got stamp
		if !got.read(payload[at:], run) || got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if got.read(payload[at:], run+1) || got.read(payload[at:at+stampLen-1], run) {
			t.Fatal("takes another run's, or one that is cut")
		}
		wrong := at + rapid.IntRange(0, stampLen-1).Draw(t, "wrong")
		payload[wrong] ^= 0x10 << rapid.IntRange(0, 3).Draw(t, "bit")
		if got.read(payload[at:], run) {
			t.Fatal("takes a letter that is none")
		}
	})
}

// What Parley takes as a message, and what it makes of it, both hold the
// stamp where it is looked for.
func TestContentIsFound(t *testing.T) {
	for _, size := range []int{minSize, 100, maxSize} {
		payload, at := makePayload(size)
		want := stamp{time: 1, stream: 2, sender: 3, counter: 4}
		want.put(payload[at:], 5)
		if len(payload) != size {
			t.Errorf("%d bytes, want %d", len(payload), size)
		}
		var sent struct{ Content string }
		if err := json.Unmarshal(payload, &sent); err != nil {
			t.Fatal(err)
		}
		entry := chat.Entry{Stream: chat.ConversationStream("content"), Seq: 9, SenderID: "content:",
			Body: chat.Body{Type: chat.TypeMessage, Content: sent.Content}}
		delivered := entry.AppendJSON(nil)
		for _, hint := range []int{0, 3, len(contentKey), len(delivered), len(delivered) + 9, findContent(delivered, 0)} {
			var got stamp
			if at := findContent(delivered, hint); at < 0 || !got.read(delivered[at:], 5) || got != want {
				t.Errorf("size %d, hint %d: got %d, %+v", size, hint, at, got)
			}
		}
		if got := findContent(payload, 0); got != at {
			t.Errorf("found at %d, want %d", got, at)
		}
	}
	if got := findContent([]byte(`{"type":"join"}`), 7); got != -1 {
		t.Errorf("found at %d where there is none", got)
	}
}

func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h histogram
		values := rapid.SliceOfN(rapid.Int64Range(-5, math.MaxInt64>>rapid.IntRange(1, 60).Draw(t, "shift")), 1, 200).Draw(t, "values")
		for i, v := range values {
			h.add(v)
			values[i] = max(v, 0)
		}
		slices.Sort(values)
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			i := min(max(int(q*float64(len(values))+0.5), 1), len(values)) - 1
			want, got := values[i], int64(h.quantile(q))
			if got < want || got > want+want/64 || got > h.max {
				t.Fatalf("quantile %g is %d, want %d to %d", q, got, want, want+want/64)
			}
		}
		if h.max != values[len(values)-1] || h.total != uint64(len(values)) {
			t.Fatalf("max %d, total %d", h.max, h.total)
		}
	})
	var empty histogram
	if got := empty.latency(); got != (Latency{}) {
		t.Errorf("got %+v", got)
	}
}

// Whatever arrives in whatever order, the check says what a look at the whole
// list says.
func TestSeenAgainstTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const senders, sent = 3, 12
		s := seen{next: make([]uint32, senders)}
		came := make(map[gap]bool)
		last := [senders]int{-1, -1, -1}
		var duplicated, disordered uint64
		settled := 0
		for range rapid.IntRange(0, 60).Draw(t, "arrivals") {
			m := gap{uint32(rapid.IntRange(0, senders-1).Draw(t, "sender")), uint32(rapid.IntRange(0, sent-1).Draw(t, "counter"))}
			settled += s.add(m.sender, m.counter)
			switch {
			case came[m]:
				duplicated++
			case int(m.counter) < last[m.sender]:
				disordered++
			default:
				last[m.sender] = int(m.counter)
			}
			came[m] = true
		}
		missing, passed := uint64(0), 0
		excused := func(counter uint32) bool { return counter == 3 }
		for sender := range uint32(senders) {
			want := uint64(0)
			for counter := range uint32(sent) {
				if !came[gap{sender, counter}] && counter != 3 {
					want++
				}
			}
			if got := s.missing(sender, sent, excused); got != want {
				t.Fatalf("%d of sender %d missing, want %d", got, sender, want)
			}
			missing += want
			passed += last[sender] + 1
		}
		if s.unique != uint64(len(came)) || s.duplicated != duplicated || s.disordered != disordered || settled != passed {
			t.Fatalf("got %+v and %d settled; want %d, %d, %d and %d", s, settled, len(came), duplicated, disordered, passed)
		}
	})
}

func TestSameOrder(t *testing.T) {
	reader := func(counters ...uint32) *seen {
		s := &seen{next: make([]uint32, 2)}
		for _, c := range counters {
			s.add(c%2, c/2)
		}
		return s
	}
	for _, tt := range []struct {
		readers []*seen
		want    bool
	}{
		{[]*seen{reader(0, 1, 2, 3), reader(0, 1, 2, 3)}, true},
		{[]*seen{reader(0, 1, 2, 3), reader(0, 1, 3, 2)}, false},
		{[]*seen{reader(0, 1, 2, 3), reader(1, 0, 2, 3), reader(0, 1, 2, 3)}, false},
		{[]*seen{reader(0, 1, 2, 3), reader(0, 1, 1, 2, 3)}, true}, // doubled, which is counted elsewhere
		{[]*seen{reader(0, 1, 2, 3), reader(1, 0, 2)}, true},       // not comparable
		{nil, true},
	} {
		if got := sameOrder(tt.readers, 4); got != tt.want {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
}

func TestParseStat(t *testing.T) {
	p, ok := parseStat([]byte("42 (a) (b c) S 7 42 42 0 -1 4194560 1 2 3 4 100 50 20 3 20 0 12 0 99 1000 5 0 0 0\n"))
	want := procStat{pid: 42, parent: 7, cpu: 1730 * time.Millisecond, rss: 5 * int64(os.Getpagesize())}
	if !ok || *p != want {
		t.Errorf("got %+v, %v, want %+v", p, ok, want)
	}
	for _, bad := range []string{"", "42", "42 (a", "x (a) S 7", "42 (a) S 7 42", ") 42 ("} {
		if _, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if got := parseCPU([]byte("cpu  100 10 20 9999 8888 1 2 3 50 5")); got != 1360*time.Millisecond {
		t.Errorf("machine: %v", got)
	}
	if got := parseCPU([]byte("cpu x")); got != 0 {
		t.Errorf("machine: %v", got)
	}
}

// A process is measured with its descendants, and no others.
func TestProcessTree(t *testing.T) {
	all := []*procStat{
		{pid: 1, cpu: 1000, rss: 1000},
		{pid: 10, parent: 1, cpu: 1, rss: 10}, {pid: 11, parent: 10, cpu: 2, rss: 20}, {pid: 12, parent: 11, cpu: 4, rss: 40},
		{pid: 13, parent: 10, cpu: 8, rss: 80}, {pid: 20, parent: 1, cpu: 16, rss: 160},
	}
	got, err := sum(all, []Process{{"a", 10}, {"b", 20}, {"c", 12}})
	if want := []usage{{15, 150}, {16, 160}, {4, 40}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := sum(all, []Process{{"gone", 99}}); err == nil || !strings.Contains(err.Error(), "99 (gone)") {
		t.Errorf("got %v", err)
	}
	// The real one: this process is there and takes memory, and the machine
	// has worked.
	usages, err := measure([]Process{{"self", os.Getpid()}})
	if err != nil || usages[0].rss < 1<<20 || machineCPU() == 0 || ownCPU() == 0 {
		t.Errorf("got %v, %v", usages, err)
	}
	if usages, err := measure(nil); usages != nil || err != nil {
		t.Errorf("got %v, %v", usages, err)
	}
}

func TestFill(t *testing.T) {
	for _, tt := range []struct {
		load Load
		want string
	}{
		{Load{Case: "dance"}, "case: "},
		{Load{Case: Chat}, "qos: "},
		{Load{Case: Submit, Rate: 5}, "qos: "},
		{Load{Case: Fanout, QoS: 2}, "qos: "},
		{Load{Case: Fanout, Size: minSize - 1}, "size: "},
		{Load{Case: Fanout, Size: maxSize + 1}, "size: "},
		{Load{Case: Fanout, Outstanding: 99}, "outstanding: "},
		{Load{Case: Fanout, Subscribers: -1}, "conversations, members, subscribers: "},
		{Load{Case: Chat, QoS: 1, Members: 100_000}, "members: "},
		{Load{Case: Chat, QoS: 1, Inflight: 70_000}, "inflight: "},
		{Load{Case: Chat, QoS: 1, Rate: -1}, "rate: "},
		{Load{Case: Chat, QoS: 1, Warmup: -1}, "seconds, warmup: "},
	} {
		if err := tt.load.Fill(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.load, err, tt.want)
		}
	}
	var got []string
	for _, l := range Standard(time.Second, time.Second) {
		again := l
		if err := again.Fill(); err != nil || again != l {
			t.Errorf("filled again: %+v, %v, want %+v", again, err, l)
		}
		got = append(got, l.Describe())
	}
	want := []string{
		"1 publisher, 100 subscribers, QoS 0, 100 B, 10000 deliveries under way",
		"1 publisher, 100 subscribers, QoS 1, 100 B, 10000 deliveries under way",
		"an ordinary topic: 1 publisher, 100 subscribers, QoS 0, 100 B, 10000 deliveries under way",
		"an ordinary topic: 1 publisher, 100 subscribers, QoS 1, 100 B, 10000 deliveries under way",
		"100 conversations, 10 members each, QoS 1, 200 B, 1 in flight a sender",
		"100 conversations, 10 members each, QoS 1, 200 B, 2000 msgs/s",
		"100 conversations, 10 senders each, no subscribers, QoS 1, 200 B, 16 in flight a sender",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestClientPackets(t *testing.T) {
	long := strings.Repeat("t", 200)
	got := appendConnect(nil, "me", long, 0)
	want := slices.Concat([]byte{0x10, 0xDC, 1, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 0, 0, 2, 'm', 'e', 0, 2, 'm', 'e', 0, 200}, []byte(long))
	if !bytes.Equal(got, want) {
		t.Errorf("got % x", got)
	}
}
