package broker

import (
	"fmt"
	"testing"

	"github.com/parley-mqtt/parley/bridge"
)

// What a page of the list costs, and for how long of it those who connect have
// to wait.
func BenchmarkConnectionsPage(b *testing.B) {
	for _, n := range []int{1_000, 15_000, 100_000} {
		b.Run(fmt.Sprintf("%d connections", n), func(b *testing.B) {
			var r registry
			r.init()
			for i := range n {
				key := bridge.SessionKey{UserID: fmt.Sprintf("user-%06d", i), ClientID: "phone"}
				r.m[key] = &conn{key: key}
			}
			b.Run("page", func(b *testing.B) {
				for b.Loop() {
					r.after("", "", bridge.SessionKey{UserID: "user-000100"}, 201)
				}
			})
			b.Run("lock", func(b *testing.B) {
				for b.Loop() {
					r.all()
				}
			})
		})
	}
}
