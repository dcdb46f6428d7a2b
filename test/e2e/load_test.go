package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// owner owns the conversations of a load, and reads them to check.
const owner = "olga"

// load is what many users do to a server at once: senders that repeat what was
// not acknowledged, and durable subscribers that remember what they got. It
// goes on while the server is killed and its database is stopped.
type load struct {
	t       testing.TB
	srv     *server
	tokens  map[string]string // by user
	senders []*sender
	posters []*poster
	subs    []*subscriber
	history *history

	stopping chan struct{} // closed: senders make no new messages
	closing  chan struct{} // closed: subscribers end
	sending  sync.WaitGroup
	reading  sync.WaitGroup

	online   atomic.Int64 // connections that were accepted
	acked    atomic.Int64 // acknowledgements so far
	refused  atomic.Int64 // 0x83 and 503
	dropped  atomic.Int64 // 3.1.1 connections that ended with sends unacknowledged
	goodbyes atomic.Int64 // DISCONNECT 0x8B to MQTT 5 clients

	mu       sync.Mutex
	convs    []string
	acks     []ack // since the last check
	problems int
}

// newLoad makes the users and the conversations, and connects the subscribers
// for the first time, so that they follow every entry from now on.
func newLoad(t testing.TB, srv *server) *load {
	t.Helper()
	l := &load{t: t, srv: srv, tokens: make(map[string]string), convs: []string{"c1", "c2", "c3", "c4"},
		history: newHistory(), stopping: make(chan struct{}), closing: make(chan struct{})}
	l.senders = []*sender{
		{l: l, user: "s311", version: 4, qos: 1, window: 8, keyed: true},
		{l: l, user: "s5", version: 5, qos: 1, window: 8, keyed: true},
		{l: l, user: "s5twice", version: 5, qos: 2, window: 4, keyed: true},
		{l: l, user: "s311bare", version: 4, qos: 1, window: 4},
		{l: l, user: "s5bare", version: 5, qos: 1, window: 4},
	}
	l.posters = []*poster{{l: l, user: "p1"}}
	l.subs = []*subscriber{
		{l: l, user: "r311", version: 4},
		{l: l, user: "r5", version: 5},
		{l: l, user: "r5narrow", version: 5, receiveMaximum: 8, hold: 3},
		{l: l, user: "r311away", version: 4},
	}
	for _, user := range l.members() {
		l.tokens[user] = srv.token(user)
	}
	for _, c := range l.convs {
		srv.conversation(c, l.members()...)
	}
	for _, s := range l.subs {
		s.join()
	}
	return l
}

// members are all users, in the order in which they join.
func (l *load) members() []string {
	users := []string{owner}
	for _, s := range l.senders {
		users = append(users, s.user)
	}
	for _, p := range l.posters {
		users = append(users, p.user)
	}
	for _, s := range l.subs {
		users = append(users, s.user)
	}
	return users
}

// start sets everybody to work.
func (l *load) start() {
	for _, s := range l.subs {
		l.reading.Go(s.run)
	}
	for _, s := range l.senders {
		l.sending.Go(s.run)
	}
	for _, p := range l.posters {
		l.sending.Go(p.run)
	}
	l.t.Cleanup(l.close)
}

// conversations are those that there are so far.
func (l *load) conversations() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.convs
}

// stop has the senders make no new messages, and waits until what they have
// sent is acknowledged. The server must be up.
func (l *load) stop() {
	l.t.Helper()
	l.end(l.stopping)
	done := make(chan struct{})
	go func() {
		l.sending.Wait()
		close(done)
	}()
	proctest.Eventually(l.t, time.Minute, "every send is acknowledged", func() bool {
		l.srv.alive()
		return ended(done)
	})
}

// close ends everybody, whatever they still wait for.
func (l *load) close() {
	l.end(l.stopping)
	l.end(l.closing)
	for _, s := range l.subs {
		s.leave()
	}
	l.sending.Wait()
	l.reading.Wait()
}

// end closes a channel, once.
func (l *load) end(ch chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ended(ch) {
		close(ch)
	}
}

func ended(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// fail notes that the server did wrong. The first few are told, from any
// goroutine: what follows is most often the same.
func (l *load) fail(format string, args ...any) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.problems++; l.problems <= 10 {
		l.t.Errorf(format, args...)
	}
}

// ack is a send that the server has acknowledged.
type ack struct {
	sender string
	*send
	silent             bool // 3.1.1: it cannot say what follows
	id, seq, createdAt string
}

func (l *load) acknowledged(a ack) {
	l.mu.Lock()
	l.acks = append(l.acks, a)
	l.mu.Unlock()
	l.acked.Add(1)
}

// takeAcks answers what was acknowledged since the last call.
func (l *load) takeAcks() []ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	acks := l.acks
	l.acks = nil
	return acks
}

// awaitAcks waits for n more acknowledgements: the load has got through.
func (l *load) awaitAcks(n int64, within time.Duration) {
	l.t.Helper()
	from := l.acked.Load()
	proctest.Eventually(l.t, within, fmt.Sprintf("%d more acknowledgements", n), func() bool {
		l.srv.alive()
		return l.acked.Load() >= from+n
	})
}

// backoff waits a moment before the next attempt; false when ended is closed
// first.
func backoff(ended <-chan struct{}) bool {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ended:
		return false
	}
}

// dial opens a connection of a durable session. It answers nil where the
// server is not there or does not take it now, which is its right while it or
// its database is down.
func (l *load) dial(user string, version byte, receiveMaximum uint16) (*mqttest.Client, packets.Packet) {
	nc, err := net.DialTimeout("tcp", l.srv.mqtt, 5*time.Second)
	if err != nil {
		return nil, packets.Packet{}
	}
	c := mqttest.New(l.t, nc)
	ack, err := c.TryConnect(mqttest.Options{Version: version, ClientID: "device", User: user,
		Password: l.tokens[user], Expiry: 3600, ReceiveMaximum: receiveMaximum})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		l.fail("%s: no CONNACK within %v", user, mqttest.Patience)
	case err != nil: // the server went away
	case ack.ReasonCode == 0:
		l.online.Add(1)
		return c, ack
	case version == 5 && (ack.ReasonCode == wire.CodeServerUnavailable || ack.ReasonCode == wire.CodeServerBusy):
	case version == 4 && ack.ReasonCode == 3: // server unavailable
	default:
		l.fail("%s: CONNACK 0x%02x %s", user, ack.ReasonCode, ack.Properties.ReasonString)
	}
	_ = nc.Close()
	return nil, packets.Packet{}
}

// hangUp closes a connection of dial.
func (l *load) hangUp(c *mqttest.Client) {
	_ = c.Conn.Close()
	l.online.Add(-1)
}

// awaitOnline waits until all MQTT clients are connected.
func (l *load) awaitOnline() {
	l.t.Helper()
	all := int64(len(l.senders) + len(l.subs))
	proctest.Eventually(l.t, patience, "all clients are connected", func() bool {
		l.srv.alive()
		return l.online.Load() == all
	})
}
