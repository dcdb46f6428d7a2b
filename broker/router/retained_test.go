package router

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// TestReplayPages: a subscription gets what its filter takes, page by page, in
// a small window.
func TestReplayPages(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		for n := range 5 * pageSize / 2 {
			g.must(g.publish(fmt.Sprintf("a/%03d", n), fmt.Sprint(n), byte(n%3), retain))
			g.must(g.publish(fmt.Sprintf("b/%03d", n), "other", byte(n%3), retain))
		}
		g.must(g.publish("a", "top", 1, retain))
		g.must(g.publish("a/003", "", 1, retain)) // removes it [MQTT-3.3.1-6]
		if g.disk.retainedOn("a/003") != "" {
			t.Fatal("an empty payload does not remove")
		}
		for _, qos := range []byte{0, 1} {
			c := g.join(fmt.Sprint("c", qos), durable, sub("a/#", qos))
			c.window = 7
			replayTo(c.box, bridge.Subscription{Filter: "a/#", QoS: qos, ID: 9})
			var got []string
			for _, p := range c.drain() {
				if !p.retain || !slices.Equal(p.subIDs, []int{9}) || p.qos > qos {
					t.Fatalf("got %+v", p)
				}
				got = append(got, p.payload)
			}
			want := append([]string{"top"}, slices.Delete(numbers(0, 5*pageSize/2), 3, 4)...)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("got %d, want %d: %q", len(got), len(want), got)
			}
			g.settled(c)
			if len(c.box.replays) > 0 || g.retains.pages > 0 || len(g.retains.topics) > 0 {
				t.Fatal("the replay is not over")
			}
			c.box.Unsubscribe("a/#")
		}
	})
}

// TestReplayFinds compares the range that is read with acl.Match.
func TestReplayFinds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDisk(t)
		for _, topic := range rapid.SliceOfN(topics, 0, 30).Draw(rt, "retained") {
			d.retained[topic] = bridge.Message{Topic: topic, Payload: []byte("x")}
		}
		filter := filters.Draw(rt, "filter")
		g := &rig{TB: t, store: &fakeStore{disk: d}, disk: d}
		g.Router = New(Config{Store: g.store})
		defer g.close()
		c := g.join("c", false)
		replayTo(c.box, sub(filter, 0))
		rp := c.box.replays[0]
		var got, want []string
		for more := true; more; more = rp.from != "" && !rp.exact {
			found, next, err := c.box.read(context.Background(), rp)
			if err != nil {
				rt.Fatal(err)
			}
			for i := range found {
				got = append(got, found[i].Topic)
			}
			if rp.from = next; next == "" {
				break
			}
		}
		for topic := range d.retained {
			if acl.Match(filter, topic) {
				want = append(want, topic)
			}
		}
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(got, want) {
			rt.Fatalf("%s finds %q, want %q", filter, got, want)
		}
	})
}

// TestReplayIsOver: a subscription that goes takes its replay with it, and one
// that is made again and again piles nothing up.
func TestReplayIsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		for n := range 3 * pageSize {
			g.must(g.publish(fmt.Sprint("a/", n), "x", 1, retain))
		}
		c := g.join("c", false, sub("a/#", 1))
		c.window = 1
		replayTo(c.box, sub("a/#", 1))
		first := c.pull()
		for range 1000 {
			c.box.Subscribe(sub("a/#", 1), false)
			replayTo(c.box, sub("a/#", 1))
			c.pull()
		}
		if n := len(c.box.replays); n > 1 {
			t.Fatalf("%d replays wait", n)
		}
		c.box.Unsubscribe("a/#")
		if n := len(c.box.replays); n > 0 {
			t.Fatalf("%d replays are left", n)
		}
		c.ack(first[0])
		if n := len(c.drain()); n != pageSize-1 { // the page that was under way
			t.Fatalf("%d more came", n)
		}
	})
}

// TestReplayTriesAgain: a store that fails delays a replay, and that is all.
func TestReplayTriesAgain(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		g.must(g.publish("a", "x", 1, retain))
		g.must(g.publish("b", "y", 1, retain))
		c := g.join("c", durable, sub("#", 1), sub("a", 1))
		g.store.set(func() { g.store.onRead = func(context.Context) error { return bridge.ErrUnavailable } })
		replayTo(c.box, sub("#", 1))
		replayTo(c.box, sub("a", 1))
		wantPayloads(t, c.drain())
		time.Sleep(2 * loadRetry)
		c.pull()
		g.store.set(func() { g.store.onRead = nil })
		time.Sleep(2 * loadRetry)
		wantPayloads(t, c.drain(), "x", "y", "x")
		g.settled(c)
	})
}

// TestRetainedExpires: what has expired is not sent, and is swept.
func TestRetainedExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		g.must(g.publish("a", "x", 1, func(p *Publication) {
			p.Message.Retain, p.Message.Expires = true, time.Now().Add(time.Second)
		}))
		c := g.join("c", false, sub("a", 1))
		replayTo(c.box, sub("a", 1))
		wantPayloads(t, c.drain(), "x")
		time.Sleep(time.Second)
		replayTo(c.box, sub("a", 1))
		wantPayloads(t, c.drain())
		time.Sleep(g.cfg.SweepEvery)
		quiet()
		if g.disk.retainedOn("a") != "" || g.retains.messages != 0 || g.retains.bytes != 0 {
			t.Fatalf("not swept: %d messages", g.retains.messages)
		}
	})
}

// TestRetainedBounds: more than may be retained is refused, but never what
// takes the place of another message, nor one too few.
func TestRetainedBounds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := start(t, newDisk(t), func(c *Config) { c.RetainedMessages = 10 })
		defer g.close()
		for n := range 500 { // on nine topics
			g.must(g.publish(fmt.Sprint("a/", n%9), fmt.Sprint(n), 1, retain))
		}
		refused := 0
		for n := range 100 {
			if err := g.publish(fmt.Sprint("b/", n), "x", byte(n%2), retain); err != nil {
				if e, shown := chat.AsError(err); !shown || e.Code != chat.CodeRateLimited {
					t.Fatal(err)
				}
				refused++
			}
			time.Sleep(2 * time.Second) // time for a count
		}
		if refused < 98 { // one came before they were counted
			t.Fatalf("%d of 99 were refused", refused)
		}
		for n := range 5 {
			g.must(g.publish(fmt.Sprint("a/", n), "", 1, retain))
		}
		time.Sleep(2 * time.Second)
		_ = g.publish("b/x", "x", 1, retain) // has it counted
		g.must(g.publish("b/y", "x", 1, retain))
	})
}

// TestRetainedAtQoS0 is passed on at once, and tells its publisher when it is
// stored: a flood of them must not pile up here.
func TestRetainedAtQoS0(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		held := make(chan struct{})
		g.store.set(func() {
			g.store.onKeep = func(context.Context, int, *bridge.Changes) fault {
				<-held
				return fault{}
			}
		})
		c := g.join("c", false, sub("a", 0))
		o := g.begin("a", "x", 0, retain)
		wantPayloads(t, c.drain(), "x")
		if o.result() == nil {
			t.Fatal("it is settled, and is not stored")
		}
		close(held)
		quiet()
		g.must(o.result())
		if g.disk.retainedOn("a") != "x" {
			t.Fatal("it is not stored")
		}
	})
}

// TestNothingStale plays publishers of retained messages against subscribers
// that come at any time. Each subscriber ends with the last value of every
// topic, and none comes after a newer one.
func TestNothingStale(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		for _, durable := range []bool{false, true} {
			if durable && qos == 0 {
				continue
			}
			t.Run(fmt.Sprintf("QoS %d durable %v", qos, durable), func(t *testing.T) {
				bubble(t, func(t *testing.T) { nothingStale(t, qos, durable) })
			})
		}
	}
}

func nothingStale(t *testing.T, qos byte, durable bool) {
	g := newRig(t)
	const topicCount, rounds, subscribers = 100, 40, 30
	slow := func(d time.Duration) {
		time.Sleep(d % 7 * time.Millisecond)
	}
	g.store.set(func() {
		g.store.onKeep = func(_ context.Context, call int, _ *bridge.Changes) fault {
			slow(time.Duration(call))
			return fault{}
		}
		g.store.onRead = func(context.Context) error {
			time.Sleep(time.Millisecond)
			return nil
		}
		g.store.afterRead = func() { time.Sleep(2 * time.Millisecond) }
	})
	var all sync.WaitGroup
	for p := range 4 {
		all.Go(func() {
			for round := range rounds {
				for topic := p; topic < topicCount; topic += 4 {
					done := make(chan error, 1)
					m := newMessage(fmt.Sprint("s/", topic), fmt.Sprint(round), qos)
					m.Retain = true
					g.Publish(&Publication{Message: m, Done: completer(func(err error) { done <- err })})
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for n := range subscribers {
		all.Go(func() {
			time.Sleep(time.Duration(n) * 37 * time.Millisecond)
			filter := []string{"s/+", "#", "s/#"}[n%3]
			c := g.join(fmt.Sprint("c", n), durable, sub(filter, qos))
			replayTo(c.box, sub(filter, qos))
			last := make([]int, topicCount)
			for i := range last {
				last[i] = -1
			}
			for left := topicCount; left > 0; {
				got := c.next()
				if len(got) == 0 {
					time.Sleep(time.Millisecond)
				}
				for _, p := range got {
					topic, _ := strconv.Atoi(strings.TrimPrefix(p.topic, "s/"))
					value, _ := strconv.Atoi(p.payload)
					if value < last[topic] {
						t.Errorf("subscriber %d: %s says %d after %d", n, p.topic, value, last[topic])
					}
					if last[topic] = value; value == rounds-1 {
						left--
					}
					if qos > 0 {
						c.ack(p)
					}
				}
			}
			g.leave(c)
		})
	}
	all.Wait()
}

// TestSubscribedInTheMiddle: a subscription that is made while a retained
// message is on its way gets it, one way or the other.
func TestSubscribedInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		// Many others whom a message may be for: so it takes a while to find that
		// it is for nobody of them.
		crowd := g.join("crowd", true)
		for n := range 5000 {
			crowd.box.Subscribe(sub(fmt.Sprintf("$share/%d/m/#", n), 0), false)
		}
		g.leave(crowd)
		var all sync.WaitGroup
		for n := range 200 {
			topic := fmt.Sprint("m/", n)
			c := g.join(fmt.Sprint("c", n), false)
			all.Go(func() { replayTo(c.box, sub(topic, 1)) })
			all.Go(func() { g.begin(topic, "x", 1, retain) })
			all.Wait()
			wantPayloads(t, c.drain(), "x")
		}
	})
}

// TestPagesWaitForWhoChanges: no page begins, and nobody subscribes to get one,
// while a retained message looks for its subscribers.
func TestPagesWaitForWhoChanges(t *testing.T) {
	g := start(t, newDisk(t), nil)
	defer g.close()
	c := g.join("c", false)
	for name, step := range map[string]func(){
		"begin":     func() { g.retains.begin().end() },
		"subscribe": func() { c.box.Subscribe(sub("a", 1), true) },
	} {
		g.retains.changing(newMessage("a", "x", 1))
		done := make(chan struct{})
		go func() {
			defer close(done)
			step()
		}()
		for waits := false; !waits; {
			select {
			case <-done:
				t.Fatalf("%s does not wait", name)
			default: // a reader is not let in any more when a writer waits
				if waits = !g.retains.order.TryRLock(); !waits {
					g.retains.order.RUnlock()
					runtime.Gosched()
				}
			}
		}
		g.retains.changed()
		<-done
	}
}

// TestReplayOverAReturn: a session that goes and comes back in the middle of a
// page gets all of it.
func TestReplayOverAReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		for n := range 3 * pageSize {
			g.must(g.publish(fmt.Sprintf("a/%03d", n), fmt.Sprint(n), 1, retain))
		}
		c := g.join("c", true)
		held := make(chan struct{})
		g.store.set(func() { g.store.afterRead = func() { <-held } })
		replayTo(c.box, sub("a/#", 1))
		c.pull()
		g.leave(c)
		c = g.back("c", 1000)
		close(held)
		seen := map[string]bool{}
		for range 3 {
			for _, p := range c.drain() {
				seen[p.payload] = true
			}
			time.Sleep(time.Second)
		}
		if len(seen) != 3*pageSize {
			t.Fatalf("%d of %d came", len(seen), 3*pageSize)
		}
		if g.retains.pages != 0 || len(g.retains.topics) > 0 {
			t.Fatalf("%d pages are under way", g.retains.pages)
		}
		g.settled(c)
	})
}

// TestReplayOverAReturnWhileCommitting is the same, at the moment when the
// page is on its way to the store.
func TestReplayOverAReturnWhileCommitting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		for n := range 3 * pageSize {
			g.must(g.publish(fmt.Sprintf("a/%03d", n), fmt.Sprint(n), 1, retain))
		}
		c := g.join("c", true)
		var once sync.Once
		release := func() {}
		g.store.set(func() {
			g.store.afterRead = func() {
				once.Do(func() {
					release = g.hold()
					calls, _ := g.store.counts()
					g.begin("busy", "x", 1, retain)
					for now := calls; now == calls; now, _ = g.store.counts() {
						time.Sleep(time.Millisecond)
					}
				})
			}
		})
		replayTo(c.box, sub("a/#", 1))
		c.next()
		time.Sleep(time.Second)
		soon, cancel := context.WithCancel(context.Background())
		cancel()
		if err := c.box.Close(soon, false, time.Time{}); err == nil {
			t.Fatal("the store was not busy")
		}
		c = g.back("c", 1000)
		release()
		seen := map[string]bool{}
		for range 3 {
			for _, p := range c.drain() {
				seen[p.payload] = true
			}
			time.Sleep(time.Second)
		}
		if len(seen) != 3*pageSize {
			t.Fatalf("%d of %d came", len(seen), 3*pageSize)
		}
		g.settled(c)
	})
}

// TestReplayOverManyChanges: when more changes than is kept account of, a page
// is read again.
func TestReplayOverManyChanges(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		for _, filter := range []string{"a", "+", "#"} {
			g.must(g.publish("a", "x", 1, retain))
			c := g.join("c"+filter, durable)
			c.box.Subscribe(sub(filter, 1), true)
			changes := func() {
				for n := range maxChanged + 1 {
					g.retains.changing(newMessage(fmt.Sprint("b/", n), "", 1))
					g.retains.changed()
				}
				if len(g.retains.topics) > maxChanged {
					t.Errorf("%d changes are kept", len(g.retains.topics))
				}
			}
			changes()
			var once sync.Once
			g.store.set(func() { g.store.afterRead = func() { once.Do(changes) } })
			c.box.Replay(filter)
			wantPayloads(t, c.drain())
			time.Sleep(2 * loadRetry)
			wantPayloads(t, c.drain(), "x")
			g.leave(c)
		}
	})
}

// TestRetainedComesOnce: a message that is published between a SUBSCRIBE and
// its SUBACK comes live, and not again.
func TestRetainedComesOnce(t *testing.T) {
	kinds(t, func(t *testing.T, g *rig, durable bool) {
		g.must(g.publish("a", "old", 1, retain))
		g.must(g.publish("b", "other", 1, retain))
		c := g.join("c", durable)
		c.box.Subscribe(sub("+", 1), true)
		g.must(g.publish("a", "new", 1, retain))
		c.box.Replay("+")
		got := c.drain()
		wantPayloads(t, got, "new", "other")
		if got[0].retain || !got[1].retain {
			t.Fatalf("got %+v", got)
		}
	})
}
