package postgres

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// BenchmarkKeep keeps 100 deliveries of 200 bytes in each call, as they come
// in groups: "own" each with a message of its own and to a session of its own,
// "fanout" one message for all. The same call acknowledges what the one before
// it brought; what is left over is swept.
func BenchmarkKeep(b *testing.B) {
	for _, messages := range []int{100, 1} {
		b.Run(map[int]string{100: "own", 1: "fanout"}[messages], func(b *testing.B) { benchKeep(b, messages) })
	}
}

func benchKeep(b *testing.B, messages int) {
	const deliveries = 100
	s := openStore(b, pgtest.URL(b), true)
	keys := make([]bridge.SessionKey, deliveries)
	for i := range keys {
		keys[i] = bridge.SessionKey{UserID: fmt.Sprint("user-", i), ClientID: "phone"}
		err := s.SaveSession(b.Context(), bridge.Session{Key: keys[i], Subscriptions: []bridge.Subscription{{Filter: "#", QoS: 1}}})
		if err != nil {
			b.Fatal(err)
		}
	}
	payload := bytes.Repeat([]byte("x"), 200)
	var swept time.Duration
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		var c bridge.Changes
		for range messages {
			c.Messages = append(c.Messages, &bridge.Message{ID: benchID(), Topic: "devices/kitchen/temperature", Payload: payload, QoS: 1, Published: time.Now()})
		}
		for i, key := range keys {
			m := c.Messages[i%messages]
			c.Deliveries = append(c.Deliveries, bridge.Delivery{Key: key, N: n, QoS: 1, Size: m.Size(), Message: m})
			if n > 1 {
				c.Done = append(c.Done, bridge.DeliveryKey{Key: key, N: n - 1})
			}
		}
		if err := s.Keep(b.Context(), &c); err != nil {
			b.Fatal(err)
		}
		if n%10 == 0 {
			begun := time.Now()
			if _, err := s.SweepMessages(b.Context(), time.Now(), 10*deliveries); err != nil {
				b.Fatal(err)
			}
			swept += time.Since(begun)
		}
	}
	b.ReportMetric(float64(n*deliveries)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(100*swept.Seconds()/b.Elapsed().Seconds(), "%sweep")
}
