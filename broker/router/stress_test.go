package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// TestStress has publishers and clients that come and go run side by side, on
// a slow store. Each durable client gets all that it subscribes to, in order,
// at QoS 2 once; so does a group that shares a subscription.
func TestStress(t *testing.T) {
	bubble(t, stress)
}

const (
	stressPublishers = 4
	stressMessages   = 300 // of each
)

func stress(t *testing.T) {
	g := start(t, newDisk(t), func(c *Config) { c.SweepEvery = time.Second })
	defer g.close()
	slow := func() { time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) }
	g.store.set(func() {
		g.store.onKeep = func(context.Context, int, *bridge.Changes) fault {
			slow()
			return fault{}
		}
		g.store.onRead = func(context.Context) error {
			slow()
			return nil
		}
		g.store.afterRead, g.store.afterKeep = slow, slow
	})
	var publishing, all sync.WaitGroup
	over := make(chan struct{})
	group := &gathered{seen: map[string]int{}}
	var alone []*gathered
	for n := range 8 {
		name, to, mine := fmt.Sprint("c", n), group, sub("$share/g/+/2", 2)
		if n < 5 {
			to, mine = &gathered{seen: map[string]int{}, last: map[string]int{}}, sub("#", byte(1+n%2))
			alone = append(alone, to)
		}
		c := g.join(name, true, mine)
		all.Go(func() { g.live(name, c, to, over) })
	}
	for p := range stressPublishers {
		publishing.Go(func() { g.publishMany(p) })
	}
	publishing.Wait()
	time.Sleep(10 * time.Second)
	close(over)
	all.Wait()
	for n, to := range alone {
		if len(to.seen) != stressPublishers*stressMessages {
			t.Errorf("client %d got %d messages of %d", n, len(to.seen), stressPublishers*stressMessages)
		}
	}
	if len(group.seen) != stressPublishers*stressMessages/2 {
		t.Errorf("the group got %d messages of %d", len(group.seen), stressPublishers*stressMessages/2)
	}
}

// publishMany publishes one message after another, some without waiting.
func (g *rig) publishMany(p int) {
	var open sync.WaitGroup
	var mu sync.Mutex
	waiting := 0
	for n := range stressMessages {
		qos := byte(1 + n%2)
		m := newMessage(fmt.Sprintf("p%d/%d", p, qos), fmt.Sprint(p, ":", n), qos)
		m.Retain = n%50 == 0
		mu.Lock()
		behind := waiting > 0
		waiting++
		mu.Unlock()
		open.Add(1)
		g.Publish(&Publication{Message: m, Behind: behind, Done: completer(func(err error) {
			if err != nil {
				g.Error(err)
			}
			mu.Lock()
			waiting--
			mu.Unlock()
			open.Done()
		})})
		if n > stressMessages/2 { // so that clients keep up, after a while
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
	}
	open.Wait()
}

// gathered is what arrived, as the application sees it.
type gathered struct {
	mu   sync.Mutex
	seen map[string]int
	last map[string]int // by publisher; nil where order is not kept
}

func (a *gathered) arrived(tb testing.TB, name string, p packet, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from, number, _ := strings.Cut(p.payload, ":")
	n, _ := strconv.Atoi(number)
	if a.last != nil && a.seen[p.payload] == 0 {
		if last, known := a.last[from]; known && n < last {
			tb.Errorf("%s got %s after %d", name, p.payload, last)
		}
		a.last[from] = n
	}
	if again {
		return
	}
	a.seen[p.payload]++
	if p.qos == 2 && a.seen[p.payload] > 1 {
		tb.Errorf("%s got %s at QoS 2 again", name, p.payload)
	}
}

// live is a client: it takes, acknowledges, goes and comes back.
func (g *rig) live(name string, c *client, to *gathered, over <-chan struct{}) {
	holding := map[uint16]bool{}
	c.window = 20
	for {
		got := c.next()
		for _, p := range got {
			if p.kind == wire.TypePubrel {
				delete(holding, p.id)
				c.comp(p.id)
				continue
			}
			to.arrived(g, name, p, p.qos == 2 && holding[p.id])
			switch p.qos {
			case 1:
				c.ack(p)
			case 2:
				holding[p.id] = true
				c.rec(p.id)
			}
		}
		for len(c.rels) > 0 {
			id := <-c.rels
			delete(holding, id)
			c.comp(id)
		}
		if len(got) == 0 || rand.IntN(3) == 0 {
			time.Sleep(time.Millisecond)
		}
		select {
		case <-over:
			if len(got) == 0 && c.open == 0 {
				g.leave(c)
				return
			}
		default:
			if rand.IntN(30) == 0 {
				g.leave(c)
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				c = g.back(name, 1+rand.IntN(20))
			}
		}
	}
}
