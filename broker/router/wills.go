package router

import (
	"context"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

// wills publishes the wills whose delay has passed. All wills are in the
// store, from before CONNACK until they are published or given up, so that a
// crash loses none and doubles none: publishing and removing is one commit.
type wills struct {
	r       *Router
	mu      sync.Mutex
	due     map[bridge.SessionKey]*dueWill
	stopped bool
	firing  sync.WaitGroup
}

// dueWill is a will of a session that has lost its connection.
type dueWill struct {
	will  bridge.Will
	timer *time.Timer   // nil once it is being published
	done  chan struct{} // closed when that has ended
}

// willRetry is when a will is tried again that could not be published.
const willRetry = 5 * time.Second

func (w *wills) init(r *Router) { w.r, w.due = r, make(map[bridge.SessionKey]*dueWill) }

// load reads the wills that the last process left. Those of connections that
// it had are due after their delay, from now on: MQTT lets a server that was
// down publish them at its restart.
func (w *wills) load(ctx context.Context, now time.Time) error {
	const page = 1000
	var after bridge.SessionKey
	for {
		kept, err := w.r.cfg.Store.Wills(ctx, after, page)
		if err != nil {
			return err
		}
		for i := range kept {
			will := kept[i]
			if will.Due.IsZero() {
				will.Due = now.Add(time.Duration(will.Delay) * time.Second)
			}
			w.arm(&will, will.Due.Sub(now))
		}
		if len(kept) < page {
			return nil
		}
		after = kept[page-1].Key
	}
}

// stop publishes no more. What is left is due when the next process starts.
func (w *wills) stop() {
	w.mu.Lock()
	w.stopped = true
	for _, d := range w.due {
		w.disarm(d)
	}
	w.mu.Unlock()
	w.firing.Wait()
}

// disarm takes a will out that waits for its time, and is false when that has
// come. w.mu is held.
func (w *wills) disarm(d *dueWill) bool {
	if d.timer == nil || !d.timer.Stop() {
		return false
	}
	delete(w.due, d.will.Key)
	w.firing.Done()
	return true
}

// arm publishes a will after wait.
func (w *wills) arm(will *bridge.Will, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	w.firing.Add(1)
	d := &dueWill{will: *will, done: make(chan struct{})}
	d.timer = time.AfterFunc(wait, func() { w.fire(d) })
	w.due[will.Key] = d
}

func (w *wills) fire(d *dueWill) {
	w.mu.Lock()
	if d.timer = nil; w.stopped {
		w.mu.Unlock()
		w.firing.Done()
		return
	}
	w.mu.Unlock()
	w.publish(d, func(error) { w.firing.Done() })
}

// publish publishes a will that is in due, and calls then. When it fails the
// will is tried again.
func (w *wills) publish(d *dueWill, then func(error)) {
	w.r.cfg.PublishWill(&d.will, func(err error) {
		if err == nil {
			w.r.metrics.wills.Inc()
		}
		w.again(&d.will, err)
		w.mu.Lock()
		if w.due[d.will.Key] == d {
			delete(w.due, d.will.Key)
		}
		w.mu.Unlock()
		close(d.done)
		then(err)
	})
}

// again tries a will later that could not be published.
func (w *wills) again(will *bridge.Will, err error) {
	if err != nil {
		w.r.cfg.Logger.Warn("a will could not be published, will be tried again",
			"user", will.Key.UserID, "client", will.Key.ClientID, "error", err)
		if will.Due.IsZero() {
			will.Due = w.r.cfg.Now()
		}
		w.arm(will, willRetry)
	}
}

// KeepWill stores the will of a session that connects, in place of one that
// it had. It is called before CONNACK.
func (r *Router) KeepWill(ctx context.Context, will *bridge.Will) error {
	will.ID = newID()
	return r.keep(ctx, func(c *changes) { c.putWill(will) })
}

// DropWill gives up the will of a session: it has said goodbye
// [MQTT-3.1.2-10], or has come back in time [MQTT-3.1.3-9].
func (r *Router) DropWill(ctx context.Context, key bridge.SessionKey) error {
	return r.keep(ctx, func(c *changes) { c.dropWill(key) })
}

// DropWillSoon is DropWill, and calls done, which must not block, instead of
// waiting.
func (r *Router) DropWillSoon(key bridge.SessionKey, done func(error)) {
	r.spool.put(&keeping{add: func(c *changes) { c.dropWill(key) }, then: done})
}

// Lost takes the will of a session that has lost its connection. It is
// published after its delay, or when the session ends if that is sooner
// [MQTT-3.1.2-8]: the caller sets Delay to the lesser of the two. Without a
// delay it returns when the will is published.
func (r *Router) Lost(ctx context.Context, will *bridge.Will) error {
	if will.Delay == 0 {
		return r.EndWill(ctx, will)
	}
	wait := time.Duration(will.Delay) * time.Second
	will.Due = r.cfg.Now().Add(wait)
	err := r.keep(ctx, func(c *changes) { c.putWill(will) }) // else a restart begins the delay anew
	r.wills.arm(will, wait)
	return err
}

// Returned answers the will of a session that has a connection again, while
// it waits for its delay to pass: it is the caller's to drop, or to publish by
// EndWill. One whose Due has passed could not be published in time: it is to
// be published. The answer is nil where there is none, or it was published.
func (r *Router) Returned(ctx context.Context, key bridge.SessionKey) (*bridge.Will, error) {
	r.wills.mu.Lock()
	d := r.wills.due[key]
	waits := d != nil && r.wills.disarm(d)
	r.wills.mu.Unlock()
	if d == nil {
		return nil, nil
	}
	if waits {
		return &d.will, nil
	}
	select {
	case <-d.done:
		return r.Returned(ctx, key) // it may have failed, and be tried again
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// EndWill publishes a will now, and returns when that is done. When the store
// fails it is tried again later.
func (r *Router) EndWill(ctx context.Context, will *bridge.Will) error {
	d := &dueWill{will: *will, done: make(chan struct{})}
	r.wills.mu.Lock()
	r.wills.due[will.Key] = d // who returns waits for the end
	r.wills.mu.Unlock()
	done := make(chan error, 1)
	r.wills.publish(d, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
