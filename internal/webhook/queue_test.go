package webhook

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// shared is what a test and its workers both look at.
type shared struct {
	mu    sync.Mutex
	tries int
	back  bool
	told  map[chat.StreamID]time.Time
	at    []time.Time
}

// do runs f alone. It must not wait for time.
func (s *shared) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// play runs workers on a queue until the test ends; try says what becomes of
// a request.
func play(t *testing.T, q *queue, workers int, try func(j *job) end) {
	t.Helper()
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for j := q.take(); j != nil; j = q.take() {
				began := time.Now()
				e := try(j)
				if e.how == caughtUp || e.how == refused {
					q.reached(j, e.how == caughtUp)
				}
				q.done(j, e, began)
			}
		})
	}
	t.Cleanup(func() {
		q.close()
		working.Wait()
	})
}

func testQueue() *queue { return newQueue(Config{}.withDefaults()) }

func stream(i int) chat.StreamID { return chat.ConversationStream(fmt.Sprint(i)) }

// While the endpoint is down hardly anything is tried, however many wait; when
// it is back, all go out within a minute.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		const all = 5000
		s := shared{told: map[chat.StreamID]time.Time{}}
		play(t, q, 1, func(j *job) (e end) {
			time.Sleep(time.Millisecond)
			s.do(func() {
				if s.tries++; s.back {
					s.told[j.stream] = time.Now()
				} else {
					e.how = unreachable
				}
			})
			return e
		})
		for i := range all {
			q.hint(stream(i), 1)
		}
		time.Sleep(time.Hour)
		s.do(func() {
			if s.tries < 60 || s.tries > 150 {
				t.Errorf("%d tries in an hour", s.tries)
			}
			s.back = true
		})
		time.Sleep(time.Minute + 2*all*time.Millisecond)
		s.do(func() {
			if entries, _ := q.lag(); len(s.told) != all || entries > 0 {
				t.Errorf("a minute after it is back %d of %d are told", len(s.told), all)
			}
		})
	})
}

// The first that gets through lets all go that waited for the endpoint.
func TestBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		var s shared
		play(t, q, 2, func(*job) (e end) {
			s.do(func() {
				if s.back {
					s.at = append(s.at, time.Now())
				} else {
					e.how = unreachable
				}
			})
			return e
		})
		for i := range 4 { // so few that each waits for its own sake
			q.hint(stream(i), 1)
		}
		time.Sleep(time.Hour)
		s.do(func() { s.back = true })
		time.Sleep(5 * time.Minute)
		s.do(func() {
			if len(s.at) != 4 || s.at[3] != s.at[0] {
				t.Errorf("told at %v", s.at)
			}
		})
	})
}

// What fails at the same time is one failure: the first pause is short.
func TestShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		began := time.Now()
		var s shared
		play(t, q, 8, func(*job) end {
			if time.Since(began) < 500*time.Millisecond {
				time.Sleep(time.Second)
				return end{how: unreachable}
			}
			s.do(func() { s.tries++ })
			return end{}
		})
		for i := range 50 {
			q.hint(stream(i), 1)
		}
		time.Sleep(4 * time.Second)
		s.do(func() {
			if s.tries != 50 {
				t.Errorf("told %d of 50", s.tries)
			}
		})
	})
}

// One or two that the endpoint cannot digest hold up nobody else.
func TestPoison(t *testing.T) {
	for _, how := range []how{unreachable, refused} {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := testQueue()
				s := shared{told: map[chat.StreamID]time.Time{}}
				play(t, q, 4, func(j *job) end {
					if j.stream == stream(0) || j.stream == stream(1) {
						s.do(func() { s.tries++ })
						time.Sleep(10 * time.Second) // a time-out
						return end{how: how}
					}
					s.do(func() { s.told[j.stream] = time.Now() })
					return end{}
				})
				q.hint(stream(0), 1)
				q.hint(stream(1), 1)
				for i := 2; i < 200; i++ {
					time.Sleep(30 * time.Second)
					q.hint(stream(i), 1)
					synctest.Wait()
					s.do(func() {
						if s.told[stream(i)] != time.Now() {
							t.Fatalf("%d waits", i)
						}
					})
				}
				// 99 minutes: some tries until the wait is 5 minutes, then at
				// least one each.
				s.do(func() {
					if s.tries < 40 || s.tries > 120 {
						t.Errorf("%d tries", s.tries)
					}
				})
			})
		})
	}
}

// The wait of a conversation doubles from 1 s to 5 min, with up to half taken
// off; a success starts it anew.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		var s shared
		play(t, q, 1, func(*job) (e end) {
			s.do(func() {
				if s.at = append(s.at, time.Now()); len(s.at) != 14 {
					e.how = unreachable
				}
			})
			return e
		})
		q.hint("c/a", 1)
		time.Sleep(time.Hour)
		s.do(func() {
			if len(s.at) != 14 {
				t.Fatalf("%d tries", len(s.at))
			}
			for i := 1; i < len(s.at); i++ {
				most := min(5*time.Minute, time.Second<<(i-1))
				if got := s.at[i].Sub(s.at[i-1]); got < most/2 || got > most+time.Millisecond {
					t.Errorf("wait %d is %v of %v", i, got, most)
				}
			}
		})
		q.hint("c/a", 2)
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		s.do(func() {
			if len(s.at) != 16 {
				t.Errorf("after a success the waits are not short again: %d tries", len(s.at))
			}
		})
	})
}

// Retry-After holds for all, whatever else was under way, and no longer than
// an hour.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		var s shared
		after := 90 * time.Second
		play(t, q, 2, func(j *job) (e end) {
			if j.stream == "c/other" {
				time.Sleep(time.Second)
				return end{}
			}
			s.do(func() {
				if s.tries++; s.tries == 1 {
					e = end{how: unreachable, after: after}
				}
			})
			return e
		})
		want := func(tries int, when string) {
			t.Helper()
			synctest.Wait()
			s.do(func() {
				if s.tries != tries {
					t.Errorf("%d tries %s", s.tries, when)
				}
			})
		}
		q.hint("c/other", 1)
		q.hint("c/a", 1)
		synctest.Wait()
		q.hint("c/b", 1)
		time.Sleep(after - time.Millisecond)
		want(1, "before the time")
		time.Sleep(2 * time.Millisecond)
		want(3, "after the time")
		s.do(func() { s.tries, after = 0, 1000*time.Hour })
		q.hint("c/a", 2)
		time.Sleep(time.Hour + time.Millisecond)
		want(2, "after an hour")
	})
}

// What comes while a job runs is not missed.
func TestHintWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		var s shared
		play(t, q, 2, func(*job) end {
			s.do(func() { s.tries++ })
			time.Sleep(time.Second)
			return end{}
		})
		q.hint("c/a", 1)
		time.Sleep(time.Millisecond)
		for seq := range uint64(10) {
			q.hint("c/a", seq+2)
		}
		if entries, _ := q.lag(); entries != 11 {
			t.Errorf("%d entries behind", entries)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		s.do(func() {
			if entries, _ := q.lag(); s.tries != 2 || entries > 0 {
				t.Errorf("%d runs, %d entries behind", s.tries, entries)
			}
		})
	})
}

// More than there is room for is left out, and looked for when there is room.
func TestRoom(t *testing.T) {
	q := newQueue(Config{Pending: 4}.withDefaults())
	for i := range 10 {
		q.hint(stream(i), 1)
	}
	if q.found(bridge.WebhookPlace{Stream: stream(20), Head: 1}) || !q.found(bridge.WebhookPlace{Stream: stream(0), Head: 1}) || len(q.jobs) != 4 {
		t.Errorf("%d jobs", len(q.jobs))
	}
	for range 2 {
		j := q.take()
		q.done(j, end{}, time.Now())
		if j.stream == stream(0) { // found while it was ready
			continue
		}
	}
	select {
	case <-q.room:
	default:
		t.Error("half of it is free, and nobody looks")
	}
	q.close()
	if q.take() != nil {
		t.Error("a closed queue has a job")
	}
}

// A conversation that is deleted while it waits is forgotten.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		var s shared
		play(t, q, 1, func(j *job) end {
			first := false
			s.do(func() { s.tries++; first = s.tries == 1 })
			if first {
				j.seq, j.told = 7, 1
				return end{how: refused}
			}
			if j.seq != 0 || j.told != 0 || j.tries != 0 {
				t.Errorf("the next of its name begins with %+v", j)
			}
			return end{}
		})
		q.hint("c/a", 7)
		synctest.Wait()
		q.end("c/a")
		q.end("c/none")
		synctest.Wait()
		q.mu.Lock()
		defer q.mu.Unlock()
		s.do(func() {
			if s.tries != 2 || len(q.jobs) > 0 || len(q.waiting) > 0 {
				t.Errorf("%d runs, %d jobs, %d wait", s.tries, len(q.jobs), len(q.waiting))
			}
		})
	})
}

// Commits pay next to nothing for a hint.
func TestHintAllocations(t *testing.T) {
	q := testQueue()
	q.hint("c/a", 1)
	if n := testing.AllocsPerRun(1000, func() { q.hint("c/a", 2) }); n > 0 {
		t.Errorf("a hint about what waits already allocates %v times", n)
	}
	q.done(q.take(), end{}, time.Now())
	if n := testing.AllocsPerRun(1000, func() {
		q.hint("c/a", 2)
		q.done(q.take(), end{}, time.Now())
	}); n > 1 {
		t.Errorf("a hint, with all that follows, allocates %v times", n)
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 11, 22, 22, 1, 33, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "1e3": 0, "99999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q is %v, want %v", value, got, want)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for address, good := range map[string]bool{
		"http://h": true, "https://user:pw@h:8443/path?x=y": true, "http://[::1]:80/": true,
		"": false, "h": false, "ftp://h": false, "http://": false, "http://:80": false, "https:h": false, "http://a b": false,
	} {
		if err := CheckURL(address); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
}
