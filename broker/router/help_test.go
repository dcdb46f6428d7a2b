package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// Tests run in a bubble of package synctest: time stands still until all of
// the router's goroutines wait, and quiet returns when they do.

func quiet() { synctest.Wait() }

// rig is a router on a disk, and what takes it down.
type rig struct {
	testing.TB
	*Router
	store *fakeStore
	disk  *disk
	wills func(w *bridge.Will, done func(error)) // instead of publishing
}

// bubble runs a test in a bubble.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// start makes a router on a disk. change may be nil.
func start(tb testing.TB, d *disk, change func(*Config)) *rig {
	tb.Helper()
	g := &rig{TB: tb, store: &fakeStore{disk: d}, disk: d}
	cfg := Config{Store: g.store, PublishWill: g.publishWill}
	if change != nil {
		change(&cfg)
	}
	g.Router = New(cfg)
	if err := g.Load(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return g
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := start(t, newDisk(t), nil)
	t.Cleanup(g.close)
	return g
}

func (g *rig) publishWill(w *bridge.Will, done func(error)) {
	if g.wills != nil {
		g.wills(w, done)
		return
	}
	m := &Message{Message: w.Message, Retain: w.Retain, From: w.Key}
	m.Published = time.Now()
	g.Publish(&Publication{Message: m, Will: &w.Key, Done: completer(done)})
}

func (g *rig) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g.Close(ctx)
}

// crash ends the process: nothing of it reaches the store any more.
func (g *rig) crash() {
	g.store.kill()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	g.Close(ended)
}

type completer func(error)

func (f completer) Published(_ *Publication, err error) { f(err) }

var errOpen = errors.New("not settled yet")

// outcome of a publication; errOpen until it is told.
type outcome struct {
	mu   sync.Mutex
	told int
	err  error
}

func (o *outcome) Published(_ *Publication, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told++
	o.err = err
}

func (o *outcome) result() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.told {
	case 0:
		return errOpen
	case 1:
		return o.err
	}
	return errors.New("told twice")
}

// publish publishes and waits until everything is quiet.
func (g *rig) publish(topic, payload string, qos byte, change func(*Publication)) error {
	g.Helper()
	o := g.begin(topic, payload, qos, change)
	quiet()
	return o.result()
}

// begin publishes.
func (g *rig) begin(topic, payload string, qos byte, change func(*Publication)) *outcome {
	o := new(outcome)
	p := &Publication{Message: newMessage(topic, payload, qos), Done: o}
	if change != nil {
		change(p)
	}
	g.Publish(p)
	return o
}

func newMessage(topic, payload string, qos byte) *Message {
	return &Message{Message: bridge.Message{Topic: topic, Payload: []byte(payload), QoS: qos, Published: time.Now()}}
}

func retain(p *Publication) { p.Message.Retain = true }

func behind(p *Publication) { p.Behind = true }

// client is the connection of a session, and what its client knows. It is the
// test's goroutine alone but for what the router calls.
type client struct {
	testing.TB
	box    *Mailbox
	out    Outbound
	window int
	open   int // deliveries that are not acknowledged
	wakes  atomic.Int64
	rels   chan uint16
	failed atomic.Bool
	may    func(topic string) bool
}

func (c *client) Wake()            { c.wakes.Add(1) }
func (c *client) Pubrel(id uint16) { c.rels <- id }
func (c *client) Failed(error)     { c.failed.Store(true) }

func newClient(tb testing.TB, window int) *client {
	return &client{TB: tb, window: window, out: Outbound{Version: wire.Version5}, rels: make(chan uint16, 1000)}
}

func keyOf(client string) bridge.SessionKey { return bridge.SessionKey{UserID: "u", ClientID: client} }

// join opens a session with subscriptions; a durable one stands in the store
// for an hour.
func (g *rig) join(name string, durable bool, subs ...bridge.Subscription) *client {
	g.Helper()
	c := newClient(g, 100)
	if durable {
		g.disk.save(bridge.Session{Key: keyOf(name), Expiry: 3600})
	}
	c.box = g.Open(keyOf(name), durable, c.window, c)
	for _, s := range subs {
		if durable {
			g.disk.subscribe(keyOf(name), s)
		}
		c.box.Subscribe(s, false)
	}
	return c
}

// leave closes the connection; a durable session goes on.
func (g *rig) leave(c *client) {
	g.Helper()
	if c.box.durable {
		g.disk.mark(c.box.key, time.Now())
	}
	if err := c.box.Close(context.Background(), !c.box.durable, Expires(time.Now(), 3600)); err != nil {
		g.Fatal(err)
	}
}

// back connects a session again.
func (g *rig) back(name string, window int) *client {
	g.Helper()
	c := newClient(g, window)
	g.disk.mark(keyOf(name), time.Time{})
	if c.box = g.Resume(keyOf(name), window, c); c.box == nil {
		g.Fatalf("the session of %s is gone", name)
	}
	return c
}

func sub(filter string, qos byte) bridge.Subscription {
	return bridge.Subscription{Filter: filter, QoS: qos}
}

// packet is what a client gets: a PUBLISH or a PUBREL.
type packet struct {
	kind, qos   byte
	dup, retain bool
	id          uint16
	topic       string
	payload     string
	alias       uint16
	subIDs      []int
	expiry      uint32
	hasExpiry   bool
	user        string // the first user property
}

// next pulls once, as much as there is room for, and reads it.
func (c *client) next() []packet {
	c.Helper()
	out, took := c.box.Pull(nil, 1<<20, c.window-c.open, &c.out, c.may)
	c.open += took
	return c.parse(out)
}

func (c *client) parse(out []byte) (all []packet) {
	c.Helper()
	rd := wire.NewReader(bytes.NewReader(out))
	for {
		p, err := rd.Next(1 << 20)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			c.Fatal(err)
		}
		switch p.Type() {
		case wire.TypePublish:
			all = append(all, c.publish(p))
		case wire.TypePubrel:
			a, err := wire.DecodeAck(c.out.Version, p)
			if err != nil {
				c.Fatal(err)
			}
			all = append(all, packet{kind: wire.TypePubrel, id: a.PacketID})
		default:
			c.Fatalf("got %s", wire.TypeName(p.Type()))
		}
	}
}

func (c *client) publish(p wire.Packet) packet {
	c.Helper()
	pk := packets.Packet{ProtocolVersion: c.out.Version, FixedHeader: packets.FixedHeader{Type: packets.Publish,
		Qos: p.First >> 1 & 3, Dup: p.First&8 != 0, Retain: p.First&1 != 0, Remaining: len(p.Body)}}
	if err := pk.PublishDecode(slices.Clone(p.Body)); err != nil {
		c.Fatal(err)
	}
	got := packet{kind: wire.TypePublish, qos: pk.FixedHeader.Qos, dup: pk.FixedHeader.Dup, retain: pk.FixedHeader.Retain,
		id: pk.PacketID, topic: pk.TopicName, payload: string(pk.Payload), alias: pk.Properties.TopicAlias,
		subIDs: pk.Properties.SubscriptionIdentifier, expiry: pk.Properties.MessageExpiryInterval,
		hasExpiry: pk.Properties.MessageExpiryInterval > 0}
	if len(pk.Properties.User) > 0 {
		got.user = pk.Properties.User[0].Val
	}
	return got
}

// pull pulls until nothing more comes.
func (c *client) pull() (all []packet) {
	c.Helper()
	for {
		quiet()
		got := c.next()
		all = append(all, got...)
		if len(got) > 0 {
			continue
		}
		if quiet(); c.wakes.Swap(0) == 0 {
			return all
		}
	}
}

// ack acknowledges a message whole.
func (c *client) ack(p packet) {
	c.Helper()
	switch {
	case p.kind == wire.TypePubrel:
		c.comp(p.id)
	case p.qos == 1:
		if !c.box.Puback(p.id) {
			c.Fatalf("PUBACK of %d made no room", p.id)
		}
		c.open--
	case p.qos == 2:
		c.rec(p.id)
		select {
		case id := <-c.rels:
			c.comp(id)
		case <-time.After(time.Hour):
			c.Fatalf("no PUBREL for %d", p.id)
		}
	}
}

func (c *client) rec(id uint16) {
	c.Helper()
	if known, made := c.box.Pubrec(id, false); !known || made {
		c.Fatalf("PUBREC of %d: known %v, made room %v", id, known, made)
	}
}

func (c *client) comp(id uint16) {
	c.Helper()
	if !c.box.Pubcomp(id) {
		c.Fatalf("PUBCOMP of %d made no room", id)
	}
	c.open--
}

// drain takes and acknowledges everything.
func (c *client) drain() (all []packet) {
	c.Helper()
	for {
		got := c.pull()
		if len(got) == 0 {
			return all
		}
		all = append(all, got...)
		for _, p := range got {
			c.ack(p)
		}
	}
}

// payloads lists what PUBLISH packets say.
func payloads(all []packet) []string {
	list := []string{}
	for _, p := range all {
		if p.kind == wire.TypePublish {
			list = append(list, p.payload)
		}
	}
	return list
}

func wantPayloads(tb testing.TB, all []packet, want ...string) {
	tb.Helper()
	got := payloads(all)
	same := 0
	for same < min(len(got), len(want)) && got[same] == want[same] {
		same++
	}
	if len(got) > same || len(want) > same {
		tb.Fatalf("got %d, want %d; behind the first %d came %.200q, want %.200q", len(got), len(want), same,
			got[same:min(same+10, len(got))], want[same:min(same+10, len(want))])
	}
}

// numbers are "0" to n-1.
func numbers(from, n int) []string {
	list := []string{}
	for i := range n {
		list = append(list, fmt.Sprint(from+i))
	}
	return list
}

func (g *rig) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// replayTo has the retained messages of a subscription sent, as a SUBSCRIBE
// does.
func replayTo(b *Mailbox, s bridge.Subscription) {
	b.Subscribe(s, true)
	b.Replay(s.Filter)
}
