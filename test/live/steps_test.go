package live_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// connect connects a device, which may take over its own session.
func (w *world) connect(rt *rapid.T) {
	user, id := pick(rt, w.users, "user"), pick(rt, []string{"phone", "laptop"}, "device")
	version := pick(rt, []byte{4, 5}, "version")
	durable := rapid.Bool().Draw(rt, "durable")
	w.logf("%s/%s connects, version %d, durable %v", user, id, version, durable)
	w.drop(func(c *client) bool { return c.user == user && c.id == id }, func(*client) {})
	c := w.dial(user, id, version, durable, w.token(user))
	c.present(pick(rt, []string{"online", "online", "away", "invisible"}, "status"))
}

// dial connects and subscribes to everything.
func (w *world) dial(user, id string, version byte, durable bool, by token) *client {
	o := mqttest.Options{Version: version, ClientID: id, Clean: !durable, User: user, Password: by.text}
	if durable {
		o.Expiry = 3600
	}
	c := &client{Client: w.server.Dial(), w: w, user: user, id: id, token: by, status: "online",
		people: map[string]state{}, typing: map[[2]string]bool{}, read: map[[2]string]uint64{}, again: map[string]bool{}}
	ack := c.Connect(o)
	if ack.ReasonCode != 0 {
		w.rt.Fatalf("%s/%s was refused: 0x%02x", user, id, ack.ReasonCode)
	}
	c.session = w.begin(user, id, ack.SessionPresent)
	for _, conv := range w.convs {
		c.again[conv] = ack.SessionPresent
	}
	w.clients = append(w.clients, c)
	for _, filters := range [][]string{{"chat/+/typing", "chat/+/receipts"}, {"users/+/presence", "chat/+/messages"}} {
		c.MustSend(c.SubscribePacket(nil, 1, filters...))
		if c.until(packets.Suback) == nil {
			w.rt.Fatalf("%s/%s was cut", user, id)
		}
	}
	return c
}

// present says how present a connection is: it may have been invisible before.
func (c *client) present(status string) {
	c.say("users/"+c.user+"/presence", fmt.Sprintf(`{"status":%q}`, status), 0)
	c.status = status
}

// drop takes connections out of the case.
func (w *world) drop(which func(*client) bool, end func(*client)) {
	w.clients = slices.DeleteFunc(w.clients, func(c *client) bool {
		if which(c) {
			end(c)
			return true
		}
		return false
	})
}

func (w *world) some(rt *rapid.T) *client {
	if len(w.clients) == 0 {
		rt.Skip("nobody is connected")
	}
	return w.clients[rapid.IntRange(0, len(w.clients)-1).Draw(rt, "client")]
}

func (w *world) cut(rt *rapid.T) {
	c, polite := w.some(rt), rapid.Bool().Draw(rt, "polite")
	w.logf("%s/%s goes, with a word %v", c.user, c.id, polite)
	w.drop(func(o *client) bool { return o == c }, func(c *client) {
		if polite {
			c.Disconnect()
		} else {
			_ = c.Conn.Close()
		}
	})
}

func (w *world) status(rt *rapid.T) {
	c, status := w.some(rt), pick(rt, []string{"online", "away", "invisible", "offline"}, "status")
	w.logf("%s/%s is %s", c.user, c.id, status)
	c.present(status)
}

// changed has everybody read what was on its way when rules changed: from here
// on the new ones hold.
func (w *world) changed(conv, user string) {
	for _, c := range w.clients {
		delete(c.read, [2]string{conv, user})
		if c.user == user {
			for at := range c.read {
				if at[0] == conv {
					delete(c.read, at)
				}
			}
		}
	}
}

func (w *world) join(rt *rapid.T) {
	conv, user := pick(rt, w.convs, "conversation"), pick(rt, w.users, "user")
	if w.members[conv][user] {
		rt.Skip("a member")
	}
	w.logf("%s joins %s", user, conv)
	w.drain()
	w.members[conv][user] = true // it may be told before the answer
	w.append(conv, "join", user, "")
	w.changed(conv, user)
	for _, c := range w.clients {
		c.known[conv] = c.known[conv] || c.user == user
	}
	if _, _, err := w.server.Log.PutMember(context.Background(), admin, conv, user, chat.RoleMember); err != nil {
		w.rt.Fatalf("put member: %v", err)
	}
}

func (w *world) leave(rt *rapid.T) {
	conv, user := pick(rt, w.convs, "conversation"), pick(rt, w.users, "user")
	if !w.members[conv][user] {
		rt.Skip("no member")
	}
	w.logf("%s is removed from %s", user, conv)
	w.append(conv, "leave", user, "")
	if err := w.server.Log.RemoveMember(context.Background(), admin, conv, user); err != nil {
		w.rt.Fatalf("remove member: %v", err)
	}
	w.drain() // what was written before
	w.members[conv][user] = false
	w.changed(conv, user)
}

// block has one user block another, or take that back.
func (w *world) block(rt *rapid.T) {
	a, b := pick(rt, w.users, "user"), pick(rt, w.users, "other")
	if a == b {
		rt.Skip("itself")
	}
	pair := [2]string{a, b}
	_, stands := w.blocked[pair]
	w.logf("%s blocks %s: %v", a, b, !stands)
	var err error
	if stands {
		delete(w.apart, pair)
		delete(w.blocked, pair)
		err = w.server.Log.Unblock(context.Background(), a, b)
	} else {
		w.blocked[pair] = true
		err = w.server.Log.Block(context.Background(), a, b)
		w.drain() // what was written before, and that they have gone
		w.apart[pair] = true
	}
	if err != nil {
		w.rt.Fatalf("block: %v", err)
	}
}

func (w *world) types(rt *rapid.T) { w.typing(rt, true) }
func (w *world) rests(rt *rapid.T) { w.typing(rt, false) }

func (w *world) typing(rt *rapid.T, typing bool) {
	c, conv := w.some(rt), pick(rt, w.convs, "conversation")
	w.logf("%s/%s types in %s: %v", c.user, c.id, conv, typing)
	c.say("chat/"+conv+"/typing", fmt.Sprintf(`{"typing":%v}`, typing), w.code(c, conv))
}

// code is the answer to somebody who says something in a conversation.
func (w *world) code(c *client, conv string) byte {
	if w.members[conv][c.user] || c.Version < 5 { // 3.1.1 is told elsewhere
		return 0
	}
	return 0x87
}

func (w *world) reads(rt *rapid.T) {
	c, conv := w.some(rt), pick(rt, w.convs, "conversation")
	seq := rapid.Uint64Range(0, w.head(conv)+2).Draw(rt, "seq")
	w.logf("%s/%s has read %s up to %d", c.user, c.id, conv, seq)
	c.say("chat/"+conv+"/receipts", fmt.Sprintf(`{"read":%d}`, seq), w.code(c, conv))
}

func (w *world) sends(rt *rapid.T) {
	c, conv := w.some(rt), pick(rt, w.convs, "conversation")
	w.logf("%s/%s says something in %s", c.user, c.id, conv)
	c.says(conv)
}

// says sends a message like no other.
func (c *client) says(conv string) {
	w := c.w
	w.said++
	content := fmt.Sprintf("%d of %s", w.said, c.id)
	if w.members[conv][c.user] {
		w.append(conv, "message", c.user, content)
	}
	c.say("chat/"+conv+"/messages", content, w.code(c, conv))
}

func (w *world) restart(rt *rapid.T) {
	if rapid.IntRange(0, 3).Draw(rt, "restart") > 0 { // it takes long
		rt.Skip("not now")
	}
	w.logf("the server is started again")
	w.server.Stop()
	w.drop(func(*client) bool { return true }, func(c *client) { _ = c.Conn.Close() })
	w.start()
}

func (w *world) settles(*rapid.T) { w.settle() }
