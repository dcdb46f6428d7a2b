package router

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

func (g *rig) keepWill(name string, delay uint32) *bridge.Will {
	g.Helper()
	w := &bridge.Will{Key: keyOf(name), Message: bridge.Message{Topic: "w", Payload: []byte(name), QoS: 1}, Delay: delay}
	g.must(g.KeepWill(context.Background(), w))
	if !g.disk.hasWill(w.Key) {
		g.Fatal("the will is not kept")
	}
	return w
}

func (g *rig) down() {
	g.store.set(func() {
		g.store.onKeep = func(context.Context, int, *bridge.Changes) fault { return fault{err: bridge.ErrUnavailable} }
	})
}

func (g *rig) up() { g.store.set(func() { g.store.onKeep = nil }) }

func TestWillDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("w", 1))
		ctx := context.Background()

		g.must(g.Lost(ctx, g.keepWill("at once", 0)))
		wantPayloads(t, c.drain(), "at once")

		g.must(g.Lost(ctx, g.keepWill("later", 10)))
		time.Sleep(9 * time.Second)
		wantPayloads(t, c.drain())
		time.Sleep(time.Second)
		wantPayloads(t, c.drain(), "later")

		g.must(g.Lost(ctx, g.keepWill("returned", 10)))
		time.Sleep(9 * time.Second)
		w, err := g.Returned(ctx, keyOf("returned"))
		if err != nil || w == nil {
			t.Fatalf("%v, %v", w, err)
		}
		g.must(g.DropWill(ctx, w.Key))
		time.Sleep(time.Minute)
		wantPayloads(t, c.drain())

		g.must(g.Lost(ctx, g.keepWill("begun anew", 10)))
		w, err = g.Returned(ctx, keyOf("begun anew"))
		g.must(err)
		g.must(g.EndWill(ctx, w))
		wantPayloads(t, c.drain(), "begun anew")

		g.must(g.DropWill(ctx, g.keepWill("goodbye", 0).Key))
		for _, name := range []string{"at once", "later", "returned", "begun anew", "goodbye"} {
			if g.disk.hasWill(keyOf(name)) {
				t.Fatalf("the will of %q is still kept", name)
			}
			if w, err := g.Returned(ctx, keyOf(name)); w != nil || err != nil {
				t.Fatalf("%q: %v, %v", name, w, err)
			}
		}
	})
}

// TestWillsOutliveTheProcess: those of connections that it had are due after
// their delay from the restart on, those that were due later when they were.
func TestWillsOutliveTheProcess(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		t.Run(fmt.Sprint("crashed ", crashed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := newDisk(t)
				g := start(t, d, nil)
				c := g.join("c", true, sub("w", 1))
				g.keepWill("connected", 0)
				g.keepWill("connected, delayed", 10)
				g.must(g.Lost(context.Background(), g.keepWill("lost", 20)))
				time.Sleep(15 * time.Second)
				if g.leave(c); crashed {
					g.crash()
				} else {
					g.close()
				}
				time.Sleep(time.Second)
				g = start(t, d, nil)
				c = g.back("c", 10)
				wantPayloads(t, c.drain(), "connected")
				time.Sleep(4 * time.Second)
				wantPayloads(t, c.drain(), "lost")
				time.Sleep(6 * time.Second)
				wantPayloads(t, c.drain(), "connected, delayed")
				g.leave(c)
				g.close()
				g = start(t, d, nil)
				defer g.close()
				time.Sleep(time.Minute)
				wantPayloads(t, g.back("c", 10).drain())
				g.settled(c)
			})
		})
	}
}

// TestWillTriesAgain: a will that could not be published is tried again, and
// arrives once.
func TestWillTriesAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("w", 1))
		for _, delay := range []uint32{0, 3} {
			w := g.keepWill("x", delay)
			g.down()
			_ = g.Lost(context.Background(), w)
			time.Sleep(30 * time.Second)
			wantPayloads(t, c.drain())
			g.up()
			time.Sleep(30 * time.Second)
			wantPayloads(t, c.drain(), "x")
		}
		time.Sleep(time.Minute)
		wantPayloads(t, c.drain())
		if g.disk.hasWill(keyOf("x")) {
			t.Fatal("the will is still kept")
		}
		g.settled(c)
	})
}

// TestReturnedWhilePublished: who comes back while its will is being published
// waits for the end of that; when it fails, the will is there to be dealt
// with, and is not published behind its back.
func TestReturnedWhilePublished(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails ", fails), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				g := newRig(t)
				var publish func(error)
				g.wills = func(_ *bridge.Will, done func(error)) { publish = done }
				g.must(g.Lost(context.Background(), g.keepWill("x", 1)))
				time.Sleep(time.Second)
				quiet()
				got := make(chan *bridge.Will, 1)
				go func() {
					w, err := g.Returned(context.Background(), keyOf("x"))
					if err != nil {
						t.Error(err)
					}
					got <- w
				}()
				quiet()
				if len(got) > 0 {
					t.Fatal("it does not wait")
				}
				if !fails {
					publish(nil)
					if w := <-got; w != nil {
						t.Fatalf("got %+v", w)
					}
					return
				}
				publish(errors.New("not now"))
				if w := <-got; w == nil || w.Due.After(time.Now()) {
					t.Fatalf("got %+v", w)
				}
				publish = nil
				time.Sleep(time.Minute)
				if publish != nil {
					t.Fatal("it is published though it was given back")
				}
			})
		})
	}
}

// TestReturnedBehindAWillThatHangs: a will that is due at once and cannot be
// published in time is dealt with before the next one is kept.
func TestReturnedBehindAWillThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", true, sub("w", 1))
		w := g.keepWill("x", 0)
		g.down()
		soon, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := g.Lost(soon, w); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		old, err := g.Returned(context.Background(), w.Key)
		if err != nil || old == nil || old.Due.After(time.Now()) {
			t.Fatalf("got %+v, %v", old, err)
		}
		g.up()
		g.must(g.EndWill(context.Background(), old))
		g.keepWill("x", 0)
		time.Sleep(time.Minute)
		wantPayloads(t, c.drain(), "x")
		if !g.disk.hasWill(w.Key) {
			t.Fatal("the new will is gone")
		}
	})
}
