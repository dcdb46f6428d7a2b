package router

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// disk is what a store holds. It outlives the routers of a test.
type disk struct {
	tb testing.TB

	mu       sync.Mutex
	sessions map[bridge.SessionKey]*fakeSession
	retained map[string]bridge.Message
	wills    map[bridge.SessionKey]bridge.Will
}

type fakeSession struct {
	bridge.Session
	queue    map[uint64]bridge.Delivery
	received map[uint16]string
	sent     uint64
}

func newDisk(tb testing.TB) *disk {
	return &disk{tb: tb, sessions: map[bridge.SessionKey]*fakeSession{},
		retained: map[string]bridge.Message{}, wills: map[bridge.SessionKey]bridge.Will{}}
}

// save makes a durable session that is connected.
func (d *disk) save(s bridge.Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[s.Key] = &fakeSession{Session: s, queue: map[uint64]bridge.Delivery{}, received: map[uint16]string{}}
}

// subscribe notes a subscription, as the broker does before the router has it.
func (d *disk) subscribe(key bridge.SessionKey, sub bridge.Subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sessions[key]
	s.Subscriptions = append(slices.DeleteFunc(s.Subscriptions, func(o bridge.Subscription) bool { return o.Filter == sub.Filter }), sub)
}

func (d *disk) mark(key bridge.SessionKey, ended time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[key]; s != nil {
		s.EndedAt = ended
	}
}

func (d *disk) delete(key bridge.SessionKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, key)
}

// queued says how many deliveries are kept for a session.
func (d *disk) queued(key bridge.SessionKey) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[key]; s != nil {
		return len(s.queue)
	}
	return 0
}

func (d *disk) retainedOn(topic string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.retained[topic].Payload)
}

func (d *disk) hasWill(key bridge.SessionKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.wills[key]
	return ok
}

func (d *disk) hasReceived(key bridge.SessionKey, id uint16) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.sessions[key].received[id]
	return ok
}

// fakeStore is a process's way to the disk, with faults on demand.
type fakeStore struct {
	*disk

	// onKeep and onRead run without the lock: they may block. onKeep is asked
	// before each Keep; call counts from 1.
	onKeep    func(ctx context.Context, call int, c *bridge.Changes) fault
	onRead    func(ctx context.Context) error
	afterRead func() // after what Queued or Retained answers was taken
	afterKeep func() // after all is kept, before Keep says so

	hooks sync.Mutex
	calls int
	reads int
	dead  bool // the process has died: what it still asks for does not happen
}

// fault says how a Keep goes wrong.
type fault struct {
	err  error // answered instead of nil
	done bool  // with err: everything is kept all the same
}

func (f *fakeStore) kill() {
	f.hooks.Lock()
	defer f.hooks.Unlock()
	f.dead = true
}

// set changes the hooks while the router runs.
func (f *fakeStore) set(change func()) {
	f.hooks.Lock()
	defer f.hooks.Unlock()
	change()
}

func (f *fakeStore) counts() (keeps, reads int) {
	f.hooks.Lock()
	defer f.hooks.Unlock()
	return f.calls, f.reads
}

func (f *fakeStore) Keep(ctx context.Context, c *bridge.Changes) error {
	f.checkPromises(c)
	f.hooks.Lock()
	f.calls++
	hook, kept, call := f.onKeep, f.afterKeep, f.calls
	f.hooks.Unlock()
	var bad fault
	if hook != nil {
		bad = hook(ctx, call, c)
	}
	f.hooks.Lock()
	dead := f.dead
	f.hooks.Unlock()
	switch {
	case dead, ctx.Err() != nil:
		return bridge.ErrUnavailable
	case bad.err == nil || bad.done:
		if f.keep(c); kept != nil {
			kept()
		}
	}
	return bad.err
}

// checkPromises holds what the caller of Keep promises.
func (f *fakeStore) checkPromises(c *bridge.Changes) {
	once := func(field string, n int, name func(i int) string) {
		seen := make(map[string]bool, n)
		for i := range n {
			if seen[name(i)] {
				f.tb.Errorf("Keep: %s has %s twice", field, name(i))
			}
			seen[name(i)] = true
		}
	}
	names := func(list []bridge.DeliveryKey) func(int) string {
		return func(i int) string { return fmt.Sprint(list[i]) }
	}
	once("Messages", len(c.Messages), func(i int) string { return c.Messages[i].ID.String() })
	once("Deliveries", len(c.Deliveries), func(i int) string { return fmt.Sprint(c.Deliveries[i].Key, c.Deliveries[i].N) })
	once("Released", len(c.Released), names(c.Released))
	once("Done", len(c.Done), names(c.Done))
	once("Retained", len(c.Retained), func(i int) string { return c.Retained[i].Topic })
	received := slices.Concat(c.Received, c.Forgotten)
	once("Received and Forgotten", len(received), func(i int) string { return fmt.Sprint(received[i].Key, received[i].PacketID) })
	wills := slices.Clone(c.NoWills)
	for i := range c.Wills {
		wills = append(wills, c.Wills[i].Key)
	}
	once("Wills and NoWills", len(wills), func(i int) string { return fmt.Sprint(wills[i]) })
	once("Sent", len(c.Sent), func(i int) string { return fmt.Sprint(c.Sent[i].Key) })
}

func (d *disk) keep(c *bridge.Changes) {
	d.mu.Lock()
	defer d.mu.Unlock()
	messages := make(map[chat.ID]bool, len(c.Messages))
	for _, m := range c.Messages {
		messages[m.ID] = true
	}
	for _, one := range c.Deliveries {
		s := d.sessions[one.Key]
		if !messages[one.Message.ID] {
			d.tb.Errorf("Keep: the message of delivery %v %d is not in Messages", one.Key, one.N)
		}
		if s == nil {
			continue
		}
		if _, stands := s.queue[one.N]; !stands {
			s.queue[one.N] = one
		}
	}
	for _, k := range c.Released {
		if s := d.sessions[k.Key]; s != nil {
			if one, stands := s.queue[k.N]; stands {
				one.Released, one.Message = true, nil
				s.queue[k.N] = one
			}
		}
	}
	for _, k := range c.Done {
		if s := d.sessions[k.Key]; s != nil {
			delete(s.queue, k.N)
		}
	}
	for _, m := range c.Retained {
		if d.retained[m.Topic] = *m; len(m.Payload) == 0 {
			delete(d.retained, m.Topic)
		}
	}
	for _, r := range c.Received {
		if s := d.sessions[r.Key]; s != nil {
			s.received[r.PacketID] = r.ClientID
		}
	}
	for _, r := range c.Forgotten {
		if s := d.sessions[r.Key]; s != nil {
			delete(s.received, r.PacketID)
		}
	}
	for _, w := range c.Wills {
		d.wills[w.Key] = w
	}
	for _, key := range c.NoWills {
		delete(d.wills, key)
	}
	for _, m := range c.Sent {
		if s := d.sessions[m.Key]; s != nil {
			s.sent = m.N
		}
	}
}

// read is asked before everything that reads.
func (f *fakeStore) read(ctx context.Context) error {
	f.hooks.Lock()
	f.reads++
	hook, dead := f.onRead, f.dead
	f.hooks.Unlock()
	if dead {
		return bridge.ErrUnavailable
	}
	if hook != nil {
		if err := hook(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return bridge.ErrUnavailable
	}
	return nil
}

func (f *fakeStore) taken() {
	f.hooks.Lock()
	hook := f.afterRead
	f.hooks.Unlock()
	if hook != nil {
		hook()
	}
}

func (f *fakeStore) Queued(ctx context.Context, ranges []bridge.QueueRange) ([][]bridge.Delivery, error) {
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	defer f.taken()
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([][]bridge.Delivery, len(ranges))
	for i, r := range ranges {
		s := f.sessions[r.Key]
		if s == nil {
			continue
		}
		for _, n := range slices.Sorted(maps.Keys(s.queue)) {
			if n > r.After && len(all[i]) < r.Limit {
				one := s.queue[n]
				if one.Message != nil {
					m := *one.Message
					one.Message = &m
				}
				all[i] = append(all[i], one)
			}
		}
	}
	return all, nil
}

func compareKeys(a, b bridge.SessionKey) int {
	return cmp.Or(strings.Compare(a.UserID, b.UserID), strings.Compare(a.ClientID, b.ClientID))
}

func (f *fakeStore) Queues(ctx context.Context, after bridge.SessionKey, limit int) ([]bridge.Queue, error) {
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []bridge.Queue
	for _, key := range slices.SortedFunc(maps.Keys(f.sessions), compareKeys) {
		s := f.sessions[key]
		if compareKeys(key, after) <= 0 || len(s.Subscriptions) == 0 && len(s.queue) == 0 || len(all) == limit {
			continue
		}
		q := bridge.Queue{Session: s.Session, Count: len(s.queue), Sent: s.sent}
		for n, one := range s.queue {
			q.Bytes += int64(one.Size)
			q.Last = max(q.Last, n)
		}
		all = append(all, q)
	}
	return all, nil
}

func (f *fakeStore) Retained(ctx context.Context, now time.Time, from, to string, limit int) ([]bridge.Message, error) {
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	defer f.taken()
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []bridge.Message
	for _, topic := range slices.Sorted(maps.Keys(f.retained)) {
		m := f.retained[topic]
		if topic >= from && (to == "" || topic < to) && len(all) < limit && (m.Expires.IsZero() || now.Before(m.Expires)) {
			all = append(all, m)
		}
	}
	return all, nil
}

func (f *fakeStore) RetainedOn(ctx context.Context, now time.Time, topics []string) ([]*bridge.Message, error) {
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	defer f.taken()
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*bridge.Message, len(topics))
	for i, topic := range topics {
		if m, ok := f.retained[topic]; ok && (m.Expires.IsZero() || now.Before(m.Expires)) {
			all[i] = &m
		}
	}
	return all, nil
}

func (f *fakeStore) CountRetained(ctx context.Context) (count, bytes int64, err error) {
	if err := f.read(ctx); err != nil {
		return 0, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.retained {
		count++
		bytes += int64(m.Size())
	}
	return count, bytes, nil
}

func (f *fakeStore) Wills(ctx context.Context, after bridge.SessionKey, limit int) ([]bridge.Will, error) {
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []bridge.Will
	for _, key := range slices.SortedFunc(maps.Keys(f.wills), compareKeys) {
		if compareKeys(key, after) > 0 && len(all) < limit {
			all = append(all, f.wills[key])
		}
	}
	return all, nil
}

func (f *fakeStore) SweepMessages(ctx context.Context, now time.Time, limit int) (bridge.Swept, error) {
	if err := f.read(ctx); err != nil {
		return bridge.Swept{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var swept bridge.Swept
	for topic, m := range f.retained {
		if !m.Expires.IsZero() && !now.Before(m.Expires) && swept.Retained < limit {
			delete(f.retained, topic)
			swept.Retained++
			swept.RetainedBytes += int64(m.Size())
		}
	}
	return swept, nil
}

func (f *fakeStore) EraseRetained(ctx context.Context, user string, limit int) (count int, bytes int64, err error) {
	if err := f.read(ctx); err != nil {
		return 0, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, m := range f.retained {
		if m.UserID == user && count < limit {
			delete(f.retained, topic)
			count++
			bytes += int64(m.Size())
		}
	}
	return count, bytes, nil
}

func (f *fakeStore) EraseQueued(ctx context.Context, user string, _ chat.ID, _ int) (chat.ID, error) {
	if err := f.read(ctx); err != nil {
		return chat.ID{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		for n, d := range s.queue {
			if d.Message != nil && d.Message.UserID == user {
				m := *d.Message
				m.Payload, m.Props, m.Expires = nil, nil, time.Unix(0, 0)
				d.Message = &m
				s.queue[n] = d
			}
		}
	}
	return chat.ID{}, nil
}
