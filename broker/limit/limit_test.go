package limit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

// bound is the name of the bound that an error is about, "" for nil.
func bound(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *Exceeded
	if !errors.As(err, &e) || e.Text == "" {
		t.Fatalf("%v is not an Exceeded with a text", err)
	}
	return e.Bound
}

func sit(t *testing.T, l *Limits, a netip.Addr) (*Seat, string) {
	t.Helper()
	s := new(Seat)
	_, err := s.Sit(l, a)
	return s, bound(t, err)
}

func TestConnectionsPerAddress(t *testing.T) {
	l := New(Bounds{MaxConnectionsPerAddress: 2})
	var first *Seat
	for i := range 2 {
		s, got := sit(t, l, here)
		if got != "" {
			t.Fatalf("connection %d refused: %s", i, got)
		}
		first = s
	}
	over, got := sit(t, l, here)
	if got != MaxConnectionsPerAddress {
		t.Errorf("the third: %q", got)
	}
	over.Leave() // of one that was refused: no room is made
	if _, got := sit(t, l, netip.MustParseAddr("::ffff:192.0.2.1")); got != MaxConnectionsPerAddress {
		t.Errorf("the same address written as IPv6: %q", got)
	}
	if _, got := sit(t, l, there); got != "" {
		t.Errorf("another address: %q", got)
	}
	first.Leave()
	first.Leave() // counts once
	if _, got := sit(t, l, here); got != "" {
		t.Errorf("after one left: %q", got)
	}
	if _, got := sit(t, l, here); got != MaxConnectionsPerAddress {
		t.Errorf("one left and two came: %q", got)
	}
	if _, got := sit(t, l, netip.Addr{}); got != "" {
		t.Errorf("no address: %q", got)
	}
}

func TestIPv6CountsByNetwork(t *testing.T) {
	l := New(Bounds{MaxConnectionsPerAddress: 1})
	a := netip.MustParseAddr("2001:db8::1")
	if _, got := sit(t, l, a); got != "" {
		t.Fatal(got)
	}
	if _, got := sit(t, l, netip.MustParseAddr("2001:db8::ffff:2%eth0")); got != MaxConnectionsPerAddress {
		t.Errorf("the same /64: %q", got)
	}
	if _, got := sit(t, l, netip.MustParseAddr("2001:db8:0:1::1")); got != "" {
		t.Errorf("another /64: %q", got)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Bounds{MaxConnectionsPerAddress: 5, MaxConnectionsPerUser: 5, ConnectRatePerAddress: 5, PublishRate: 5})
		for i := range 1000 {
			s, got := sit(t, l, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
			if got != "" {
				t.Fatal(got)
			}
			if err := s.Login(fmt.Sprint("user", i), false); err != nil {
				t.Fatal(err)
			}
			s.Leave()
		}
		if len(l.addresses) != 0 || len(l.users) != 0 {
			t.Errorf("%d addresses and %d users are left", len(l.addresses), len(l.users))
		}
		for range 2 { // what was there is old, then gone
			time.Sleep(time.Hour)
			l.arrivals.get(here, l.now())
			l.spent.get("", l.now())
		}
		if n := len(l.arrivals.old) + len(l.spent.old); n != 0 {
			t.Errorf("%d old accounts are left", n)
		}
	})
}

func TestConnectRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Bounds{ConnectRatePerAddress: 4})
		try := func() (answer bool, got string) {
			answer, err := new(Seat).Sit(l, here)
			return answer, bound(t, err)
		}
		for i := range 4 {
			if _, got := try(); got != "" {
				t.Fatalf("%d of 4: %q", i, got)
			}
		}
		for i := range 4 {
			if answer, got := try(); got != ConnectRatePerAddress || !answer {
				t.Fatalf("%d over the rate: %q, answer %t", i, got, answer)
			}
		}
		for range 1000 {
			if answer, got := try(); got != ConnectRatePerAddress || answer {
				t.Fatalf("over twice the rate: %q, answer %t", got, answer)
			}
		}
		if _, got := sit(t, l, there); got != "" {
			t.Errorf("another address: %q", got)
		}
		time.Sleep(1250 * time.Millisecond) // what was answered is paid for, and one more
		if _, got := try(); got != "" {
			t.Errorf("later: %q", got)
		}
		if _, got := try(); got == "" {
			t.Error("the rate allows one every quarter of a second")
		}
	})
}

func TestConnectionsPerUser(t *testing.T) {
	l := New(Bounds{MaxConnectionsPerUser: 1})
	a, _ := sit(t, l, here)
	b, _ := sit(t, l, there)
	if err := a.Login("alice", false); err != nil {
		t.Fatal(err)
	}
	if got := bound(t, b.Login("alice", false)); got != MaxConnectionsPerUser {
		t.Errorf("the second: %q", got)
	}
	b.Leave()
	b, _ = sit(t, l, there)
	if err := b.Login("bob", false); err != nil {
		t.Errorf("another user: %v", err)
	}
	c, _ := sit(t, l, here)
	if err := c.Login("alice", true); err != nil {
		t.Errorf("one that takes the place of the first: %v", err)
	}
	d, _ := sit(t, l, here)
	if got := bound(t, d.Login("alice", true)); got != MaxConnectionsPerUser {
		t.Errorf("and another before the first has gone: %q", got)
	}
	c.Leave()
	a.Leave()
	a, _ = sit(t, l, here)
	if err := a.Login("alice", false); err != nil {
		t.Errorf("after the first left: %v", err)
	}
}

func TestPublishLimits(t *testing.T) {
	tests := []struct {
		bounds Bounds
		bytes  int
		want   string
	}{
		{Bounds{PublishRate: 10}, 5, PublishRate},
		{Bounds{PublishBytes: 50}, 5, PublishBytes},
		{Bounds{PublishRatePerConnection: 10}, 5, PublishRatePerConnection},
		{Bounds{PublishBytesPerConnection: 50}, 5, PublishBytesPerConnection},
		{Bounds{PublishRate: 10, PublishBytes: 1 << 20, PublishRatePerConnection: 20}, 5, PublishRate},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%+v", tt.bounds), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(tt.bounds)
				s, _ := sit(t, l, here)
				if err := s.Login("alice", false); err != nil {
					t.Fatal(err)
				}
				for i := range 10 {
					if wait, err := s.Publish(tt.bytes, 0); wait != 0 || err != nil {
						t.Fatalf("%d of 10: wait %v, %v", i, wait, err)
					}
				}
				for range 100 { // a refusal is not charged
					wait, err := s.Publish(tt.bytes, 0)
					if got := bound(t, err); got != tt.want || wait != 100*time.Millisecond {
						t.Fatalf("the eleventh: wait %v, %q", wait, got)
					}
				}
				if wait, err := s.Publish(tt.bytes, time.Second); wait != 100*time.Millisecond || err != nil {
					t.Errorf("the eleventh, who waits: %v, %v", wait, err)
				}
				time.Sleep(200 * time.Millisecond)
				if wait, err := s.Publish(tt.bytes, 0); wait != 0 || err != nil {
					t.Errorf("after the time: wait %v, %v", wait, err)
				}
				time.Sleep(time.Hour)
				for range 10 {
					if _, err := s.Publish(tt.bytes, 0); err != nil {
						t.Fatal("the burst is not there again")
					}
				}
				if _, err := s.Publish(tt.bytes, 0); err == nil {
					t.Error("an hour saved more than a burst")
				}
			})
		})
	}
}

func TestLargeMessagePassesAndIsPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Bounds{PublishBytesPerConnection: 1000})
		s, _ := sit(t, l, here)
		if _, err := s.Publish(5000, 0); err != nil {
			t.Fatal(err)
		}
		wait, err := s.Publish(1, 0)
		if err == nil || wait != 4*time.Second+time.Millisecond {
			t.Errorf("wait %v, %v", wait, err)
		}
		time.Sleep(wait)
		if _, err := s.Publish(1, 0); err != nil {
			t.Error(err)
		}
	})
}

func TestUserBudgetIsOneForAllConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Bounds{PublishRate: 4})
		a, _ := sit(t, l, here)
		b, _ := sit(t, l, there)
		for _, s := range []*Seat{a, b} {
			if err := s.Login("alice", false); err != nil {
				t.Fatal(err)
			}
		}
		_, err1 := a.Publish(1, 0)
		_, err2 := b.Publish(1, 0)
		_, err3 := l.Publish("alice", 1) // REST
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		a.Leave()
		b.Leave()
		if _, err := l.Publish("alice", 1); err != nil { // with no connection left
			t.Fatal(err)
		}
		if wait, err := l.Publish("alice", 1); bound(t, err) != PublishRate || wait != 250*time.Millisecond {
			t.Errorf("the fifth: %v, %v", wait, err)
		}
		if err := a.Login("alice", false); err != nil { // a new connection is no new budget
			t.Fatal(err)
		}
		if _, err := a.Publish(1, 0); bound(t, err) != PublishRate {
			t.Errorf("after connecting again: %v", err)
		}
		if _, err := l.Publish("bob", 1); err != nil {
			t.Errorf("another user: %v", err)
		}
	})
}

// Whatever is sent whenever: in no stretch of time more passes than a burst
// and what the rate allows for it.
func TestRateHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 50
		l := New(Bounds{PublishRate: rate})
		s, _ := sit(t, l, here)
		if err := s.Login("alice", false); err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 2))
		var passed []time.Duration
		for l.now() < time.Minute {
			time.Sleep(time.Duration(random.IntN(int(20 * time.Millisecond))))
			if _, err := s.Publish(1, 0); err == nil {
				passed = append(passed, l.now())
			}
		}
		for i := range passed {
			for j := i; j < len(passed); j++ {
				if n, took := j-i+1, passed[j]-passed[i]; float64(n) > rate+rate*took.Seconds()+1 {
					t.Fatalf("%d passed within %v", n, took)
				}
			}
		}
		if n := len(passed); n < 59*rate {
			t.Errorf("only %d passed in a minute", n)
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Bounds{MaxReconnects: 5})
		for i := range 5 {
			if hold, _ := l.Hold("alice", "phone"); hold != 0 {
				t.Fatalf("connect %d is held back %v", i, hold)
			}
		}
		begun := 0
		for i := range 30 { // two that fight for the id, for half a minute
			hold, first := l.Hold("alice", "phone")
			if hold != time.Second {
				t.Fatalf("connect %d of the fight is held back %v", i, hold)
			}
			if first {
				begun++
			}
			time.Sleep(hold)
		}
		if begun != 1 {
			t.Errorf("%d episodes, want 1", begun)
		}
		for _, other := range [][2]string{{"alice", "laptop"}, {"bob", "phone"}} {
			if hold, _ := l.Hold(other[0], other[1]); hold != 0 {
				t.Errorf("%v is held back %v", other, hold)
			}
		}
		time.Sleep(5 * time.Second)
		if hold, _ := l.Hold("alice", "phone"); hold != 0 {
			t.Errorf("5 s later it is held back %v", hold)
		}
		time.Sleep(time.Minute)
		for range 5 {
			if hold, _ := l.Hold("alice", "phone"); hold != 0 {
				t.Fatalf("a minute later it is held back %v", hold)
			}
		}
		if hold, first := l.Hold("alice", "phone"); hold == 0 || !first {
			t.Errorf("the next episode: held back %v, begun %t", hold, first)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	l := New(Bounds{ConnectRatePerAddress: 1, PublishRate: 1, MaxReconnects: 5})
	for i := range 3 * most {
		l.Hold("alice", fmt.Sprint(i))
		l.arrivals.set(network(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})),
			l.arrivals.get(here, l.now()))
		if _, err := l.Publish(fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	for name, n := range map[string]int{
		"sessions": len(l.sessions.young) + len(l.sessions.old),
		"arrivals": len(l.arrivals.young) + len(l.arrivals.old),
		"spent":    len(l.spent.young) + len(l.spent.old),
	} {
		if n > 2*most || n == 0 {
			t.Errorf("%s: %d are held", name, n)
		}
	}
}

func TestTopic(t *testing.T) {
	l := New(Bounds{MaxTopicLength: 10, MaxTopicLevels: 3})
	for topic, want := range map[string]string{
		"a/b/c": "", "a/b/c/d": MaxTopicLevels, "///": MaxTopicLevels, "0123456789": "", "0123456789a": MaxTopicLength,
	} {
		if got := bound(t, l.Topic(topic)); got != want {
			t.Errorf("%s: %q, want %q", topic, got, want)
		}
	}
	if err := New(Bounds{}).Topic(strings.Repeat("x/", 31) + strings.Repeat("x", 1024-62)); err != nil {
		t.Errorf("the default: %v", err)
	}
}

func TestPublishAllocatesNothing(t *testing.T) {
	for _, b := range []Bounds{{}, {PublishRate: 1, PublishBytes: 1, PublishRatePerConnection: 1, PublishBytesPerConnection: 1}} {
		s := new(Seat)
		if _, err := s.Sit(New(b), here); err != nil {
			t.Fatal(err)
		}
		if err := s.Login("alice", false); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			_, _ = s.Publish(100, 0)
			_, _ = s.Publish(100, time.Hour)
		}); n != 0 {
			t.Errorf("%+v: %v allocations", b, n)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, bb := range []struct {
		name   string
		bounds Bounds
	}{{"off", Bounds{}}, {"on", Bounds{PublishRate: 1 << 30, PublishBytes: 1 << 30, PublishRatePerConnection: 1 << 30}}} {
		b.Run(bb.name, func(b *testing.B) {
			s := new(Seat)
			if _, err := s.Sit(New(bb.bounds), here); err != nil {
				b.Fatal(err)
			}
			if err := s.Login("alice", false); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Publish(100, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkConnect(b *testing.B) {
	l := New(Bounds{MaxConnectionsPerAddress: 10, MaxConnectionsPerUser: 10, ConnectRatePerAddress: 1 << 30, PublishRate: 10, MaxReconnects: 5})
	b.ReportAllocs()
	for b.Loop() {
		var s Seat
		if _, err := s.Sit(l, here); err != nil {
			b.Fatal(err)
		}
		if err := s.Login("alice", false); err != nil {
			b.Fatal(err)
		}
		l.Hold("alice", "phone")
		s.Leave()
	}
}

func TestChangesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Bounds{ChangeRate: 100})
		s := new(Seat)
		if _, err := s.Sit(l, here); err != nil {
			t.Fatal(err)
		}
		for i := range 100 { // as many as a second has
			if wait := s.Change(1); wait != 0 {
				t.Fatalf("change %d waits %v", i, wait)
			}
		}
		for i := range 3 {
			if wait, want := s.Change(10), time.Duration(i+1)*100*time.Millisecond; wait != want {
				t.Errorf("waits %v, want %v", wait, want)
			}
		}
		time.Sleep(300 * time.Millisecond)
		if wait := s.Change(0); wait != 0 {
			t.Errorf("waits %v when all is paid", wait)
		}
	})
}
