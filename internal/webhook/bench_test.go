//go:build unix

package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/webhook"
)

// BenchmarkSends sends 2,000 messages a second to 100 conversations of 10, with
// and without webhooks: how long a commit takes, and how many events are told
// a second. The endpoint runs in the same process and costs about as much as
// the dispatcher. Give it -benchtime 20000x for ten seconds.
func BenchmarkSends(b *testing.B) {
	for _, backend := range parleytest.Backends {
		for _, bench := range []struct {
			name   string
			events []string
		}{
			{"off", nil}, {"created", []string{webhook.MessageCreated}}, {"offline", []string{webhook.UserOfflineMessage}},
			{"down", []string{webhook.MessageCreated}},
		} {
			b.Run(backend+"/"+bench.name, func(b *testing.B) { benchSends(b, backend, bench.events, bench.name == "down") })
		}
	}
}

func benchSends(b *testing.B, backend string, events []string, down bool) {
	const convs, perSecond = 100, 2000
	s := parleytest.New(b, backend)
	var told atomic.Int64
	taker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		told.Add(1)
	}))
	defer taker.Close()
	for c := range convs {
		members := []string{"alice"}
		for m := range 9 {
			members = append(members, fmt.Sprintf("m%d-%d", c, m))
		}
		s.Conversation(fmt.Sprint("c", c), members...)
	}
	if down {
		taker.Close()
	}
	if events != nil {
		dispatch(b, s, &endpoint{Server: taker}, only(events...), func(c *webhook.Config) {
			c.BackoffMin, c.BackoffMax, c.SaveEvery = 0, 0, 0
		})
	}
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	b.ResetTimer()
	began, used := time.Now(), cpu(b)
	for i := range b.N {
		if early := time.Until(began.Add(time.Duration(i) * time.Second / perSecond)); early > 0 {
			time.Sleep(early)
		}
		wg.Go(func() {
			at := time.Now()
			_, err := s.Log.Commit(context.Background(), chat.Draft{Stream: chat.ConversationStream(fmt.Sprint("c", i%convs)),
				SenderID: "alice", Body: chat.Body{Type: chat.TypeMessage, Content: "see you at eight, bring the maps"}})
			if err != nil {
				b.Error(err)
			}
			took[i] = time.Since(at)
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-µs/msg")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(told.Load())/elapsed.Seconds(), "events/s")
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
