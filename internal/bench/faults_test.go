package bench

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	faultMessages = 60
	faultReaders  = 3
)

// small are loads that end after faultMessages.
func small(t *testing.T, l Load) *Load {
	t.Helper()
	l.Measure = time.Minute
	l.stopAfter = faultMessages
	l.patience = 300 * time.Millisecond
	if err := l.Fill(); err != nil {
		t.Fatal(err)
	}
	return &l
}

func fanout(t *testing.T, qos int) *Load {
	return small(t, Load{Case: Fanout, Subscribers: faultReaders, QoS: qos, Outstanding: 10 * faultReaders})
}

func talk(t *testing.T) *Load {
	return small(t, Load{Case: Chat, Conversations: 2, Members: faultReaders, QoS: 1})
}

// at does something to one message for one reader.
func at(n, reader int, what func(payload []byte) [][]byte) func(int, int, []byte) [][]byte {
	return func(m, r int, payload []byte) [][]byte {
		if m == n && r == reader {
			return what(payload)
		}
		return [][]byte{payload}
	}
}

func drop([]byte) [][]byte { return nil }

// swap swaps, for one reader, message n or a later one with the next one of
// its conversation: the first such pair that ok wants.
func swap(n, reader int, ok func(first, second []byte) bool) func(int, int, []byte) [][]byte {
	var first []byte
	swapped := false
	return func(m, r int, payload []byte) [][]byte {
		switch {
		case r != reader || swapped || m < n || first != nil && streamOf(first) != streamOf(payload):
			return [][]byte{payload}
		case first == nil:
			first = bytes.Clone(payload)
			return nil
		case ok(first, payload):
			swapped = true
			return [][]byte{payload, first}
		}
		before := first
		first = bytes.Clone(payload)
		return [][]byte{before}
	}
}

// streamOf and senderOf are the letters of a payload that name them.
func streamOf(payload []byte) string { return string(payload[len(payloadHead)+24:][:8]) }
func senderOf(payload []byte) string { return string(payload[len(payloadHead)+32:][:8]) }

func replace(from int, with string) func([]byte) [][]byte {
	return func(payload []byte) [][]byte {
		other := bytes.Clone(payload)
		copy(other[from:], with)
		return [][]byte{other}
	}
}

type faultCase struct {
	name  string
	load  func(*testing.T) *Load
	fault fault
	want  Correctness // but for what was sent
}

func faultCases() []faultCase {
	one := func(t *testing.T) *Load { return fanout(t, 1) }
	zero := func(t *testing.T) *Load { return fanout(t, 0) }
	const last = faultMessages - 1
	return []faultCase{
		{"nothing", one, fault{}, Correctness{}},
		{"nothing at QoS 0", zero, fault{}, Correctness{}},
		{"nothing in a chat", talk, fault{}, Correctness{}},
		{"one dropped", one, fault{payloads: at(5, 1, drop)}, Correctness{Lost: 1}},
		{"one dropped at QoS 0", zero, fault{payloads: at(5, 1, drop)}, Correctness{Lost: 1}},
		{"the last one dropped", one, fault{payloads: at(last, 2, drop)}, Correctness{Lost: 1}},
		{"the first one dropped in a chat", talk, fault{payloads: at(0, 0, drop)}, Correctness{Lost: 1}},
		{"all dropped for one reader", zero, fault{payloads: func(_, r int, p []byte) [][]byte {
			if r == 0 {
				return nil
			}
			return [][]byte{p}
		}}, Correctness{Lost: faultMessages}},
		{"one dropped for all", one, fault{payloads: func(n, _ int, p []byte) [][]byte {
			if n == 7 {
				return nil
			}
			return [][]byte{p}
		}}, Correctness{Lost: faultReaders}},
		{"one doubled", one, fault{payloads: at(5, 1, func(p []byte) [][]byte { return [][]byte{p, p} })},
			Correctness{Duplicated: 1}},
		{"the last one doubled", zero, fault{payloads: at(last, 1, func(p []byte) [][]byte { return [][]byte{p, p, p} })},
			Correctness{Duplicated: 2}},
		{"two of a sender swapped", one, fault{payloads: swap(5, 1, func(_, _ []byte) bool { return true })},
			Correctness{Disordered: 1, OtherOrders: 1}},
		{"two of different senders swapped", talk, fault{payloads: swap(5, 1, func(first, second []byte) bool {
			return senderOf(first) != senderOf(second)
		})}, Correctness{OtherOrders: 1}},
		{"one goes to another conversation", talk, fault{payloads: at(5, 1, replace(len(payloadHead)+24, "@@@@@@@O"))},
			Correctness{Lost: 1, Foreign: 1}},
		{"one was never sent", one, fault{payloads: at(5, 1, replace(len(payloadHead)+40, "OOOOOOOO"))},
			Correctness{Lost: 1, Foreign: 1}},
		{"one is of another run", one, fault{payloads: at(5, 1, replace(len(payloadHead), "@@@@@@@@"))},
			Correctness{Lost: 1, Foreign: 1}},
		{"one is something else", one, fault{payloads: at(5, 1, func([]byte) [][]byte { return [][]byte{[]byte(`{"content":"hi"}`), {}} })},
			Correctness{Lost: 1, Foreign: 2}},
		{"one is not acknowledged", one, fault{pubacks: func(n int) int { return min(1, max(n-5, 5-n)) }},
			Correctness{Unacknowledged: 1}},
		{"one is neither acknowledged nor delivered", one, fault{pubacks: func(n int) int { return min(1, max(n-5, 5-n)) },
			payloads: func(n, _ int, p []byte) [][]byte {
				if n == 5 {
					return nil
				}
				return [][]byte{p}
			}}, Correctness{Unacknowledged: 1}},
	}
}

// Whatever a broker does wrong is found, and counted once.
func TestFaultsAreFound(t *testing.T) {
	for _, tt := range faultCases() {
		t.Run(tt.name, func(t *testing.T) {
			load := tt.load(t)
			b := newTiny(t, tt.fault)
			r, err := Run(t.Context(), load, b.target())
			if err != nil {
				t.Fatal(err)
			}
			if r.Sent < faultMessages {
				t.Errorf("sent %d messages, want %d", r.Sent, faultMessages)
			}
			faulty := !r.faultless()
			got := r.Correctness
			got.Sent, got.Acknowledged, got.Delivered = 0, 0, 0
			if !equal(&got, &tt.want) {
				t.Errorf("found %+v, want %+v", got, tt.want)
			}
			if want := !equal(&tt.want, &Correctness{}); faulty != want {
				t.Errorf("faults are %q", r.Faults())
			}
			if load.QoS == 1 && tt.name == "nothing" {
				if want := int(r.Delivered); b.acksSent() != want {
					t.Errorf("acknowledged %d of %d deliveries", b.acksSent(), want)
				}
			}
		})
	}
}

func (c *Correctness) faultless() bool { return len(c.Faults()) == 0 }

func equal(a, b *Correctness) bool {
	if !slices.Equal(a.Broken, b.Broken) {
		return false
	}
	x, y := *a, *b
	x.Broken, y.Broken = nil, nil
	return x.Sent == y.Sent && x.Acknowledged == y.Acknowledged && x.Unacknowledged == y.Unacknowledged &&
		x.Unsent == y.Unsent && x.Delivered == y.Delivered && x.Lost == y.Lost && x.Duplicated == y.Duplicated &&
		x.Disordered == y.Disordered && x.Foreign == y.Foreign && x.OtherOrders == y.OtherOrders &&
		x.LogMissing == y.LogMissing && x.LogSurplus == y.LogSurplus
}

func (b *tiny) acksSent() int {
	b.close() // all that was sent is read then
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acks
}

// A connection that misbehaves is given up, and the rest of the run counts.
func TestBrokenConnections(t *testing.T) {
	fifth := func(b ...byte) func(int) []byte {
		return func(n int) []byte {
			if n == 5 {
				return b
			}
			return nil
		}
	}
	tests := []struct {
		name  string
		fault fault
		want  string
	}{
		{"hangs up", fault{hangUp: func(n int) bool { return n == 5 }}, "connection of bench-"},
		{"acknowledges twice", fault{pubacks: func(n int) int { return 1 + n/5%2 }}, errStrayAck.Error()},
		{"acknowledges what nobody sent", fault{raw: fifth(0x40, 2, 0xFF, 0xFE)}, errStrayAck.Error()},
		{"sends a packet id 0", fault{raw: fifth(0x40, 2, 0, 0)}, errStrayAck.Error()},
		{"sends a short PUBACK", fault{raw: fifth(0x40, 1, 0)}, errShort.Error()},
		{"sends a short PUBLISH", fault{raw: fifth(0x30, 1, 0)}, errShort.Error()},
		{"sends a topic that is too long", fault{raw: fifth(0x30, 4, 0, 9, 'a', 'b')}, errShort.Error()},
		{"sends no packet id", fault{raw: fifth(0x32, 4, 0, 2, 'a', 'b')}, errShort.Error()},
		{"sends a wrong length", fault{raw: fifth(0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1)}, errHeader.Error()},
		{"sends too much", fault{raw: fifth(0x30, 0xFF, 0xFF, 0xFF, 0x7F)}, errTooLarge.Error()},
		{"sends a SUBACK", fault{raw: fifth(0x90, 3, 0, 1, 0)}, "a SUBACK came"},
		{"delivers at QoS 2", fault{deliverQoS2: true}, errQoS.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newTiny(t, tt.fault)
			r, err := Run(t.Context(), talk(t), b.target())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Broken) == 0 || !strings.Contains(r.Broken[0], tt.want) || r.faultless() {
				t.Errorf("broken: %q, faults: %q; want %q", r.Broken, r.Faults(), tt.want)
			}
		})
	}
}

// A server that does not want the clients ends the run before it begins.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		fault fault
		want  string
	}{
		{fault{connack: 5}, "refused the connection with code 5"},
		{fault{suback: 0x80}, "with 0x80"},
	} {
		b := newTiny(t, tt.fault)
		if _, err := Run(t.Context(), talk(t), b.target()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	b := newTiny(t, fault{})
	b.close()
	if _, err := Run(t.Context(), talk(t), b.target()); err == nil || !strings.Contains(err.Error(), "connecting bench-") {
		t.Errorf("got %v", err)
	}
}

// What a socket does not take at once is sent when it does: 40 MB are more
// than the kernel keeps for a reader that is slower than the sender.
func TestFullSocket(t *testing.T) {
	load := small(t, Load{Case: Fanout, Subscribers: 1, Size: 8000, Outstanding: 5000})
	load.stopAfter = 5000
	load.patience = time.Minute // nothing is missing: it only takes its time
	streams, conns := layout(load, 1)
	g := newGenerator(load, 1, streams, conns)
	r, err := g.measure(t.Context(), newTiny(t, fault{}).target())
	if err != nil {
		t.Fatal(err)
	}
	if !r.faultless() || r.Delivered != 5000 {
		t.Errorf("%d delivered, %q", r.Delivered, r.Faults())
	}
	if g.blocked == 0 {
		t.Error("the socket took everything at once")
	}
}
