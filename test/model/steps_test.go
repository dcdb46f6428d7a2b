package model_test

import (
	"fmt"
	"slices"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// begin sets a case up: users, devices, a conversation or two.
func (w *world) begin() {
	w.start()
	for i := range w.between(3, 5, "users") {
		w.users = append(w.users, fmt.Sprintf("%su%d", w.prefix, i))
	}
	for _, user := range w.users {
		for d := range w.between(1, 3, "devices") {
			version := byte(5)
			if w.oneIn(2, "3.1.1") {
				version = 4
			}
			w.clients = append(w.clients, &client{w: w, user: user, id: fmt.Sprintf("d%d", d), version: version})
		}
	}
	w.create()
	for _, c := range w.clients {
		if !w.oneIn(4, "away") {
			c.connect(w.options())
			if !w.oneIn(4, "unsubscribed") {
				c.link.subscribe(1, -1, allMessages)
			}
		}
	}
}

// step plays one step. What cannot be done now is passed over.
//
// All steps draw first, without a look at what depends on how fast the server
// is: so a seed gives the same case again.
func (w *world) step() {
	steps := []func(){
		w.stepPing, w.stepSend, w.stepRead, w.stepConnect, w.stepMember, w.stepSubscribe, w.stepAck, w.stepCommit,
		w.stepRepeat, w.stepDrop, w.stepReplay, w.stepReadAll, w.stepSend, w.stepRead, w.stepMember, w.stepConnect,
		w.stepSend, w.stepAck, w.stepAfter, w.stepUnsubscribe, w.stepDisconnect, w.stepRestart, w.stepCrash, w.stepSend,
		w.stepCommit, w.stepRead, w.stepFlush, w.stepFault, w.stepRename, w.create, w.stepBulk, w.stepRelease, w.stepVanish,
		w.stepStorm,
	}
	pick(w, steps, "step")()
	for _, c := range w.clients {
		if c.link != nil && c.link.ended {
			w.fail("%s lost its connection", c)
		}
	}
}

// linked answers a client with a connection, or nil.
func (w *world) linked() *link {
	var links []*link
	for _, c := range w.clients {
		if c.link != nil {
			links = append(links, c.link)
		}
	}
	if len(links) == 0 {
		return nil
	}
	return pick(w, links, "client")
}

func (w *world) anyConv() *conv { return pick(w, w.convs, "conversation") }

// convOf is most often a conversation that the user is a member of.
func (w *world) convOf(user string) *conv {
	var mine []*conv
	for _, c := range w.convs {
		if c.joined(user) > 0 {
			mine = append(mine, c)
		}
	}
	everywhere, at := w.oneIn(8, "everywhere conversation"), w.between(0, 5, "conversation")
	if len(mine) == 0 || everywhere {
		mine = w.convs
	}
	return mine[at%len(mine)]
}

func (w *world) options() options {
	o := options{clean: w.oneIn(4, "clean"), lasting: !w.oneIn(4, "fleeting")}
	if room := w.between(1, 20, "receive maximum"); w.oneIn(2, "with receive maximum") {
		o.room = uint16(room)
	}
	return o
}

func (w *world) create() {
	if len(w.convs) == 3 {
		return
	}
	id := fmt.Sprintf("%sc%d", w.prefix, len(w.convs))
	owner := pick(w, w.users, "owner")
	var members []string
	for _, u := range w.users {
		if u != owner && !w.oneIn(4, "left out") {
			members = append(members, u)
		}
	}
	w.log("%s creates %s with %v", owner, id, members)
	c := newConv(w, id, owner)
	w.convs = append(w.convs, c)
	_, created, err := w.server.Log.CreateConversation(w.ctx(), owner, id, "a name", members)
	if w.must(err, "creating"); !created {
		w.fail("%s was there before", id)
	}
	c.refresh()
	c.roles[owner] = chat.RoleOwner
	for _, u := range members {
		c.roles[u] = chat.RoleMember
	}
	for _, u := range append([]string{owner}, members...) {
		w.joined(c, u)
	}
}

// joined tells the devices of a user that it has joined.
func (w *world) joined(c *conv, user string) {
	seq := c.joined(user)
	if seq == 0 {
		w.fail("%s: %s was added and has not joined", c.id, user)
	}
	for _, client := range w.clients {
		if client.user == user {
			client.joined(c, seq)
		}
	}
}

// stepMember adds, removes or promotes somebody, or has somebody leave.
func (w *world) stepMember() {
	c := w.anyConv()
	user := pick(w, w.users, "user")
	promote, itself := w.oneIn(4, "promote"), w.oneIn(2, "itself")
	if user == c.owner {
		return
	}
	c.refresh()
	actor, now := bridge.Actor{UserID: c.owner}, c.joined(user)
	switch {
	case now == 0:
		w.log("%s adds %s to %s", c.owner, user, c.id)
		m, joined, err := w.server.Log.PutMember(w.ctx(), actor, c.id, user, chat.RoleMember)
		w.must(err, "adding")
		c.roles[user], c.changed[user] = chat.RoleMember, w.tick()
		c.refresh()
		if seq := c.joined(user); !joined || m.JoinedSeq != seq {
			w.fail("%s: %s was added: %v, as of %d, and the log says %d", c.id, user, joined, m.JoinedSeq, seq)
		}
		w.joined(c, user)
	case promote:
		role := chat.RoleAdmin
		if c.roles[user] == role {
			role = chat.RoleMember
		}
		w.log("%s makes %s %v of %s", c.owner, user, role, c.id)
		_, joined, err := w.server.Log.PutMember(w.ctx(), actor, c.id, user, role)
		if w.must(err, "promoting"); joined {
			w.fail("%s: %s joined and was a member", c.id, user)
		}
		c.roles[user], c.changed[user] = role, w.tick()
	default:
		if itself {
			actor.UserID = user
		}
		w.log("%s removes %s from %s", actor.UserID, user, c.id)
		w.must(w.server.Log.RemoveMember(w.ctx(), actor, c.id, user), "removing")
		delete(c.roles, user)
		c.changed[user] = w.tick()
		if c.refresh(); c.joined(user) != 0 {
			w.fail("%s: %s was removed and has not left", c.id, user)
		}
	}
}

func (w *world) stepRename() {
	c := w.anyConv()
	w.serial++
	w.log("%s renames %s", c.owner, c.id)
	w.must(w.server.Log.RenameConversation(w.ctx(), bridge.Actor{UserID: c.owner}, c.id, fmt.Sprint("name ", w.serial)), "renaming")
}

func (w *world) stepPing() {
	if l := w.linked(); l != nil {
		w.log("%s pings", l)
		l.ping()
	}
}

// stepSend has a client send, perhaps several at a time, and perhaps without
// waiting for the answers.
func (w *world) stepSend() {
	l := w.linked()
	if l == nil {
		return
	}
	wait := w.oneIn(2, "wait for the answers")
	for range w.between(1, 6, "sends") {
		w.sendOne(l)
	}
	if wait {
		l.answered()
	}
}

// sendOne draws a message and sends it, if the server has room for it.
func (w *world) sendOne(l *link) {
	c := w.convOf(l.c.user)
	body, plain := w.body(c)
	qos := pick(w, []byte{1, 1, 2, 0}, "QoS")
	hold := w.oneIn(4, "hold the PUBREL")
	if !l.mayPublish() {
		l.answered()
	}
	if l.mayPublish() {
		l.start(w.say(c, l.c.user, body, plain), qos, qos == 2 && hold)
	}
}

func (l *link) answered() {
	l.await("the answers to its sends", func() bool { return len(l.attempts) == 0 })
}

func (w *world) stepRelease() {
	l := w.linked()
	if l == nil {
		return
	}
	w.log("%s releases what it holds", l)
	l.answered()
	l.releaseAll()
}

func (l *link) releaseAll() {
	for _, packet := range sorted(l.s.received) {
		if !l.released[packet] {
			l.release(packet)
		}
	}
	l.await("the PUBCOMPs", func() bool { return len(l.released) == 0 })
}

func sorted[V any](m map[uint16]V) []uint16 {
	var keys []uint16
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (w *world) stepCommit() {
	c := w.anyConv()
	user := pick(w, w.users, "user")
	if w.oneIn(2, "the owner") {
		user = c.owner
	}
	body, _ := w.body(c)
	m := w.say(c, user, body, false)
	w.log("committed beside the connections: %s", m)
	w.commit(m)
}

// stepBulk puts more into a stream than is read at once.
func (w *world) stepBulk() {
	c := w.anyConv()
	n := w.between(20, 150, "messages")
	w.log("%s sends %d messages to %s", c.owner, n, c.id)
	var messages []*message
	for range n {
		w.serial++
		messages = append(messages, w.say(c, c.owner, chat.Body{Type: chat.TypeMessage, Content: fmt.Sprintf("m%d", w.serial)}, false))
	}
	w.bulk(messages)
}

// stepRepeat sends again what was sent before, by this or another device.
func (w *world) stepRepeat() {
	var old []*message
	for _, m := range w.messages {
		if m.body.ClientID != "" {
			old = append(old, m)
		}
	}
	if len(old) == 0 {
		return
	}
	m := old[len(old)-1-w.between(0, len(old)-1, "message")]
	beside, from, qos := w.oneIn(4, "beside the connections"), w.between(0, 2, "device"), pick(w, []byte{1, 2, 0}, "QoS")
	if beside {
		w.log("again beside the connections: %s", m)
		w.commit(m)
		return
	}
	var links []*link
	for _, c := range w.clients {
		if c.user == m.user && c.link != nil {
			links = append(links, c.link)
		}
	}
	if len(links) > 0 && links[from%len(links)].mayPublish() {
		links[from%len(links)].start(m, qos, false)
	}
}
