package router

import (
	"strings"
	"testing"
)

// What a client has not acknowledged is bounded in bytes too, and goes on when
// it acknowledges.
func TestFlyingBytes(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		const size, times = 256 << 10, 60
		for _, qos := range []byte{1, 2} {
			c := g.join("c", durable, sub("a", qos))
			for range times {
				g.must(g.publish("a", strings.Repeat("x", size), qos, nil))
			}
			got, most := c.pull(), maxFlying/size
			if len(got) != most {
				t.Fatalf("QoS %d: %d messages of %d KiB are sent ahead, want %d", qos, len(got), size>>10, most)
			}
			for n := len(got); len(got) > 0; n++ {
				c.ack(got[0])
				more := c.pull()
				if want := min(1, times-n); len(more) != max(want, 0) {
					t.Fatalf("QoS %d: after an acknowledgement %d come, want %d", qos, len(more), want)
				}
				got = append(got[1:], more...)
			}
			g.settled(c)
			c.box.Unsubscribe("a")
			g.leave(c)
		}
	})
}
