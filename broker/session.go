package broker

import (
	"sync"
	"sync/atomic"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/feed"
	"github.com/parley-mqtt/parley/broker/live"
	"github.com/parley-mqtt/parley/broker/router"
	"github.com/parley-mqtt/parley/internal/chat"
)

// session is an MQTT session while it has a connection. A durable one that
// has none is a row in the store with its cursors, and costs no memory here
// beyond what registry.away holds.
type session struct {
	c        *conn
	durable  bool
	problems bool // the client wants reasons and user properties [MQTT-3.1.2-29]
	window   int  // entries that may be sent and not acknowledged

	received map[uint16]received // QoS 2 sends without PUBREL; guarded by conn.mu
	outbound router.Outbound     // how packets are made; the pump's
	boxFirst bool                // feed and box take turns; the pump's
	boxed    atomic.Int32        // deliveries of box that are not acknowledged
	live     *live.Session       // nil until the session is open

	pending bridge.Subscriptions // what subs is about to be; the reading goroutine's

	mu     sync.Mutex
	expiry uint32               // seconds
	subs   bridge.Subscriptions // nobody changes it: it is replaced
	feed   *feed.Feed           // of streams, nil until there is one; set by the reading goroutine
	box    *router.Mailbox      // of ordinary topics, likewise
}

// received is a message of QoS 2 that was taken and not released yet.
type received struct {
	// clientID is that of the draft that it became, where its sender gave
	// none and the session is durable.
	clientID string
	// unsure: it was read from the store, and the draft may not stand yet.
	unsure bool
}

func newSession(c *conn) *session {
	return &session{c: c, problems: true}
}

// streams answers the session's feed, and makes it if there is none.
func (s *session) streams() *feed.Feed {
	if s.feed != nil {
		return s.feed
	}
	d := feed.New(feed.Config{Log: s.c.b.log, Key: s.c.key, Durable: s.durable, Version: s.c.version, MaxPacket: s.c.maxSend,
		Aliases: &s.outbound.Aliases, Window: s.window, Admin: func() bool { return s.c.identity().Has(acl.Admin) },
		Reader: s.c, Trimmed: s.c.trimmed, Metrics: &s.c.b.metrics.feed, Timeout: s.c.b.cfg.StoreTimeout})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed = d
	return d
}

// parts are the feed and the box, each nil if there is none.
func (s *session) parts() (*feed.Feed, *router.Mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feed, s.box
}

// pump appends to what buf holds what the session's streams and its ordinary
// topics have, as far as its window and one write allow. It never waits for
// the store.
func (s *session) pump(buf *outBuffer) []byte {
	out := buf.bytes
	streams, box := s.parts()
	s.boxFirst = !s.boxFirst
	if box != nil && s.boxFirst {
		out = s.pullBox(streams, box, out)
	}
	if streams != nil {
		out = streams.Pull(out, pumpBytes, s.window-int(s.boxed.Load()), buf.items[:0])
	}
	if box != nil && !s.boxFirst {
		out = s.pullBox(streams, box, out)
	}
	if s.c.granting.Load() {
		return out // the SUBACK has it looked at again
	}
	return s.live.Pull(out, pumpBytes)
}

// pullBox appends what ordinary topics have.
func (s *session) pullBox(streams *feed.Feed, box *router.Mailbox, out []byte) []byte {
	room := s.window - int(s.boxed.Load())
	if streams != nil {
		room -= streams.Inflight()
	}
	out, took := box.Pull(out, pumpBytes, room, &s.outbound, s.c.mayRead)
	s.boxed.Add(int32(took))
	return out
}

// acked takes a PUBACK for an entry of a stream.
func (s *session) acked(id uint16) {
	if s.feed != nil {
		s.feed.Acked(id)
		s.roomMade()
	}
}

// boxFreed notes that the client has done with a delivery of an ordinary
// topic.
func (s *session) boxFreed() {
	s.boxed.Add(-1)
	s.roomMade()
}

// roomMade goes on with what waited for the window.
func (s *session) roomMade() {
	room := s.window - int(s.boxed.Load())
	if s.feed != nil {
		s.feed.RoomMade(room)
		room -= s.feed.Inflight()
	}
	if room > 0 && s.box != nil && s.box.HasMore() {
		s.c.nudge()
	}
}

// replay answers a request for the entries of a stream after one.
func (s *session) replay(stream chat.StreamID, after uint64, qos byte) error {
	return s.streams().Replay(stream, after, qos)
}

// close ends delivery: the connection is going.
func (s *session) close() {
	if s.feed != nil {
		s.feed.Close()
	}
	if s.live != nil {
		s.live.Close()
	}
}

// save writes what a durable session has acknowledged and that its connection
// is gone, and answers what it leaves behind in memory. Where the store is
// out of reach, the cursors are kept for the next flush.
func (s *session) save() remains {
	if !s.durable {
		s.closeBox()
		return remains{}
	}
	left := remains{received: s.received}
	var cursors []*bridge.AckCursor
	if s.feed != nil {
		cursors, left.inflight = s.feed.Leave()
	}
	mark := bridge.SessionMark{Key: s.c.key, Expiry: s.expires(), EndedAt: s.c.ended}
	ctx, cancel := s.c.storeContext()
	defer cancel()
	s.closeBox()
	err := s.c.b.log.FlushCursors(ctx, cursors)
	if err == nil && mark.Expiry == 0 {
		err = s.c.b.log.DeleteSession(ctx, mark.Key)
		left = remains{}
	} else if err == nil {
		err = s.c.b.log.MarkSession(ctx, mark)
	}
	if err != nil {
		s.c.b.logger.Warn("saving a session failed", "user", mark.Key.UserID, "client", mark.Key.ClientID, "error", err)
	}
	return left
}

// closeBox ends the session's part in ordinary topics, or has it wait for the
// client's return.
func (s *session) closeBox() {
	s.mu.Lock()
	box, end := s.box, !s.durable || s.expiry == 0
	expires := router.Expires(s.c.ended, s.expiry)
	s.mu.Unlock()
	ctx, cancel := s.c.storeContext()
	defer cancel()
	var err error
	if box != nil {
		err = box.Close(ctx, end, expires)
	} else if s.durable {
		err = s.c.b.router.Sync(ctx) // packet identifiers of QoS 2
	}
	if err != nil {
		s.c.b.logger.Warn("saving what waits for a session failed", "user", s.c.key.UserID, "client", s.c.key.ClientID, "error", err)
	}
}

// giveUp ends a session that was opened and not served. One that is durable
// stays as it was.
func (s *session) giveUp() {
	s.close()
	if s.box == nil {
		return
	}
	ctx, cancel := s.c.storeContext()
	defer cancel()
	if err := s.box.Close(ctx, false, router.Expires(s.c.b.cfg.Now(), s.expires())); err != nil {
		s.c.b.logger.Warn("saving what waits for a session failed", "user", s.c.key.UserID, "client", s.c.key.ClientID, "error", err)
	}
}
