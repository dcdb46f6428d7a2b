package live_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

const (
	grace = 200 * time.Millisecond
	// patience is how long all may take to know how things stand.
	patience = 3*time.Second + grace
)

// world is one case. One goroutine plays all parts.
type world struct {
	t       *testing.T
	rt      *rapid.T
	backend string
	dsn     string
	server  *parleytest.Server
	users   []string
	convs   []string
	members map[string]map[string]bool // by conversation and user
	entries map[string][]entry         // by conversation, in order of seq
	clients []*client
	devices map[[2]string]*session // by user and device
	said    int

	blocked map[[2]string]bool // as the server is told
	apart   map[[2]string]bool // as nobody may be told anything any more
}

// client is a connection, and what it has been told.
type client struct {
	*mqttest.Client
	w      *world
	user   string
	id     string
	token  token
	status string
	people map[string]state
	typing map[[2]string]bool // by conversation and user
	read   map[[2]string]uint64
	again  map[string]bool // by conversation: the next entry may be one that the session had
	end    *end            // the token was revoked

	*session
}

type state struct {
	UserID, Status string
	Devices        int
	LastSeen       string
}

func newWorld(t *testing.T, rt *rapid.T, backend, dsn string, serial int) *world {
	w := &world{t: t, rt: rt, backend: backend, dsn: dsn, members: map[string]map[string]bool{},
		entries: map[string][]entry{}, devices: map[[2]string]*session{},
		blocked: map[[2]string]bool{}, apart: map[[2]string]bool{}}
	w.start()
	for i := range 4 {
		w.users = append(w.users, fmt.Sprintf("u%d-%d", i, serial))
	}
	for i := range 3 {
		c := fmt.Sprintf("c%d-%d", i, serial)
		w.convs = append(w.convs, c)
		w.server.Conversation(c, w.users[i], w.users[(i+1)%4])
		w.members[c] = map[string]bool{w.users[i]: true, w.users[(i+1)%4]: true}
		w.entries[c] = []entry{{kind: "join", user: w.users[i]}, {kind: "join", user: w.users[(i+1)%4]}}
	}
	return w
}

func (w *world) start() {
	w.server = parleytest.Start(w.t, w.backend, w.dsn, parleytest.Options{Broker: func(c *broker.Config) {
		c.PresenceGrace = grace
		c.MaxReconnects = -1
	}})
}

func both[V any](m map[[2]string]V, a, b string) bool {
	_, one := m[[2]string{a, b}]
	_, two := m[[2]string{b, a}]
	return one || two
}

func (w *world) logf(format string, args ...any) { w.rt.Logf(format, args...) }

func pick[T any](rt *rapid.T, list []T, label string) T {
	return rapid.SampledFrom(list).Draw(rt, label)
}

// sees reports whether one user may see how present another is.
func (w *world) sees(viewer, user string) bool {
	if viewer == user {
		return true
	}
	for _, members := range w.members {
		if members[viewer] && members[user] {
			return !both(w.apart, viewer, user)
		}
	}
	return false
}

// want is how a user looks to a viewer, by its connections.
func (w *world) want(viewer, user string) (status string, devices int) {
	rank := map[string]int{"offline": 0, "away": 1, "online": 2}
	status = "offline"
	hidden := false
	for _, c := range w.clients {
		if c.user != user || c.status == "offline" {
			continue
		}
		devices++
		if c.status == "invisible" {
			hidden = true
		} else if rank[c.status] > rank[status] {
			status = c.status
		}
	}
	switch {
	case hidden && viewer == user:
		return "invisible", devices
	case hidden, status == "offline":
		return "offline", 0
	}
	return status, devices
}

// --- what a connection gets

// drain reads all that the server has sent to the connection up to now, and
// checks each packet. It is false when the connection has ended.
func (c *client) drain() bool {
	for range 2 { // one answer may overtake what was ready before it
		if c.Send([]byte{packets.Pingreq << 4, 0}) != nil || c.until(packets.Pingresp) == nil {
			return false
		}
	}
	return true
}

// until reads up to a packet of a type; nil means that the connection has
// ended.
func (c *client) until(kind byte) *packets.Packet {
	for {
		pk, err := c.Read(mqttest.Patience)
		if err != nil {
			return nil
		}
		switch pk.FixedHeader.Type {
		case kind:
			return &pk
		case packets.Publish:
			c.take(&pk)
		}
	}
}

// told is what is not an entry.
type told struct {
	state
	Typing          bool
	Read, Delivered uint64
}

// take checks what was delivered.
func (c *client) take(pk *packets.Packet) {
	w := c.w
	topic, err := chat.ParseTopic(pk.TopicName)
	if err != nil {
		w.rt.Fatalf("%s/%s got the topic %q", c.user, c.id, pk.TopicName)
	}
	if topic.Kind == chat.KindMessages {
		c.takeEntry(topic.ID, pk)
		return
	}
	var p told
	if err := json.Unmarshal(pk.Payload, &p); err != nil {
		w.rt.Fatalf("%s/%s got %s on %s", c.user, c.id, pk.Payload, pk.TopicName)
	}
	at := [2]string{topic.ID, p.UserID}
	if c.end != nil {
		c.end.check(c, topic, &p)
	}
	switch topic.Kind {
	case chat.KindPresence:
		// That somebody behind a block has gone may be told late: it says nothing.
		gone := p.Status == "offline" && p.LastSeen == "" && both(w.apart, c.user, topic.ID)
		if !w.sees(c.user, topic.ID) && !gone || topic.ID != p.UserID {
			w.rt.Fatalf("%s/%s was told %s", c.user, c.id, pk.Payload)
		}
		c.people[p.UserID] = p.state
	case chat.KindTyping:
		if !w.members[topic.ID][c.user] || p.UserID == c.user || p.Typing && both(w.apart, c.user, p.UserID) {
			w.rt.Fatalf("%s/%s was told %s in %s", c.user, c.id, pk.Payload, topic.ID)
		}
		c.typing[at] = p.Typing
	case chat.KindReceipts:
		if !w.members[topic.ID][c.user] || p.Read < c.read[at] || p.Read > w.head(topic.ID) || p.Delivered < p.Read {
			w.rt.Fatalf("%s/%s was told %s in %s, after %d", c.user, c.id, pk.Payload, topic.ID, c.read[at])
		}
		c.read[at] = p.Read
	default:
		w.rt.Fatalf("%s/%s got %s on %s", c.user, c.id, pk.Payload, pk.TopicName)
	}
}

// drain reads all that everybody has been sent.
func (w *world) drain() {
	for _, c := range w.clients {
		if !c.drain() {
			w.rt.Fatalf("the connection of %s/%s has ended", c.user, c.id)
		}
	}
}

// say publishes and wants the reason code of the answer.
func (c *client) say(topic, payload string, code byte) {
	c.Publish(topic, payload, 1)
	ack := c.until(packets.Puback)
	if ack == nil || ack.ReasonCode != code {
		c.w.rt.Fatalf("%s/%s publishes %s to %s: answered %+v, want 0x%02x", c.user, c.id, payload, topic, ack, code)
	}
}

// --- the end of a case, and in between

// settle waits until everybody knows how things stand. Nothing tells when all
// timers have run: it asks again, a PINGREQ and its answer for each connection
// in between.
func (w *world) settle() {
	began := time.Now()
	for {
		w.drain()
		wrong := w.wrong()
		if wrong == "" {
			return
		}
		if time.Since(began) > patience {
			w.rt.Fatalf("after %v %s", patience, wrong)
		}
	}
}

// wrong says what somebody does not know yet.
func (w *world) wrong() string {
	stored := map[[2]string]uint64{}
	for _, conv := range w.convs {
		receipts, err := w.server.Log.Receipts(context.Background(), conv)
		if err != nil {
			w.rt.Fatalf("receipts: %v", err)
		}
		for _, r := range receipts {
			stored[[2]string{conv, r.UserID}] = r.Read
		}
	}
	for _, c := range w.clients {
		for _, user := range w.users {
			if !w.sees(c.user, user) {
				continue
			}
			status, devices := w.want(c.user, user)
			if got := c.people[user]; got.Status != status || got.Devices != devices {
				return fmt.Sprintf("%s/%s knows %+v, but %s is %s with %d", c.user, c.id, got, user, status, devices)
			}
		}
		for _, conv := range w.convs {
			if seq, due := w.next(conv, c.user, c.place[conv]); due {
				return fmt.Sprintf("%s/%s has no entry %d of %s", c.user, c.id, seq, conv)
			}
		}
		for at, read := range c.read {
			if w.members[at[0]][c.user] && w.members[at[0]][at[1]] && read != stored[at] {
				return fmt.Sprintf("%s/%s knows that %v has read %d, it has read %d", c.user, c.id, at, read, stored[at])
			}
		}
	}
	return ""
}

// finish ends a case: all rest, and everybody knows.
func (w *world) finish() {
	for _, c := range w.clients {
		for _, conv := range w.convs {
			if w.members[conv][c.user] {
				c.say("chat/"+conv+"/typing", `{"typing":false}`, 0)
			}
		}
	}
	w.settle()
	for _, c := range w.clients {
		for at, typing := range c.typing {
			// That a connection that ended types no more was told at once.
			if typing && w.members[at[0]][c.user] && w.members[at[0]][at[1]] {
				w.rt.Fatalf("%s/%s thinks that %v still types", c.user, c.id, at)
			}
		}
	}
	for _, c := range w.clients {
		_ = c.Conn.Close()
	}
}

var admin = bridge.Actor{UserID: "root", Admin: true}
