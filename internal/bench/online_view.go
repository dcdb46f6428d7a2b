package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/parley-mqtt/parley/broker/wire"
)

// view is what a user knows of a contact.
type view uint8

const (
	unknown view = iota
	offline
	online
)

func (u *onlineUser) sortContacts() {
	slices.Sort(u.contacts)
	u.contacts = slices.Clip(slices.Compact(u.contacts))
	u.views = make([]view, len(u.contacts))
}

// truth is how somebody must look to others, and since when. It is unknown
// while the server may have it either way.
func (c *crowd) truth(u *onlineUser, now int64) (v view, since int64) {
	grace := u.ended + int64(c.o.grace)
	switch {
	case u.state == coming:
		return unknown, now
	case u.state != away || now < grace:
		return online, u.since
	}
	return offline, grace
}

// look counts what a user should know by now and does not.
func (c *crowd) look(u *onlineUser, now, slack int64) (wrong uint64) {
	if u.state != there || now-u.ready < slack {
		return 0
	}
	for i, n := range u.contacts {
		want, since := c.truth(&c.users[n], now)
		if want != unknown && now-since >= slack && u.views[i] != want {
			wrong++
		}
	}
	return wrong
}

// lookOn looks at the views of those whose turn it is.
func (c *crowd) lookOn(now int64) {
	each := max(int64(c.o.round)/int64(len(c.users)), 1)
	for ; now-c.checked >= each; c.checked += each {
		u := &c.users[c.checkNext]
		c.checkNext = (c.checkNext + 1) % len(c.users)
		if c.measures(now) && u.state == there {
			c.counts.looked += uint64(len(u.contacts))
			c.counts.wrong += c.look(u, now, int64(c.o.slack))
		}
	}
}

func (c *crowd) consume(of *conn, b []byte, now int64) (used int, err error) {
	u := &c.users[of.index]
	c.progress = now
	for {
		rest := b[used:]
		if len(rest) < 2 {
			return used, nil
		}
		head, length, err := remainingLength(rest)
		switch {
		case head == 0 || err != nil:
			return used, err
		case length > readBuffer/2:
			return used, errTooLarge
		case len(rest) < head+length:
			return used, nil
		}
		if err := c.packet(u, rest[0], rest[head:head+length], now); err != nil {
			return used, err
		}
		used += head + length
	}
}

func (c *crowd) packet(u *onlineUser, first byte, body []byte, now int64) error {
	switch kind := first >> 4; {
	case kind == wire.TypePublish:
		return c.delivered(u, first, body, now)
	case kind == wire.TypeConnack && u.state == coming:
		if len(body) < 2 || body[1] != 0 {
			return fmt.Errorf("the server refused the connection with % X", body)
		}
		c.accepted(u, now)
	case kind == wire.TypeSuback && u.state == joining:
		if len(body) != 4 || max(body[2], body[3]) >= 0x80 {
			return errRefused
		}
		u.state, u.ready, u.place = there, now, len(c.present)
		c.present = append(c.present, u.index)
		if c.stage == gathering {
			c.gathered++
		}
	default:
		return fmt.Errorf("a %s came", wire.TypeName(kind))
	}
	return nil
}

// accepted is when a user is connected: others are to see it from now on, if
// they do not see it still.
func (c *crowd) accepted(u *onlineUser, now int64) {
	swallowed := now-u.ended < int64(c.o.grace)
	if u.state, u.at = joining, now; !swallowed {
		u.since = now
	}
	u.out = append(u.out, c.subscribe...)
	if c.measures(now) {
		c.counts.returned++
		if swallowed {
			c.counts.swallowed++
		}
	}
}

// delivered takes a PUBLISH.
func (c *crowd) delivered(u *onlineUser, first byte, body []byte, now int64) error {
	if len(body) < 2 {
		return errShort
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	if at > len(body) {
		return errShort
	}
	topic := body[2:at]
	if first>>1&3 != 0 {
		return fmt.Errorf("a message on %s came", topic) // nobody sends any
	}
	n, ok := c.whose(topic)
	if !ok {
		return fmt.Errorf("a message on %s came", topic)
	}
	status := offline
	if bytes.Contains(body[at:], []byte(`"status":"online"`)) {
		status = online
	}
	if c.measures(now) {
		c.counts.deliveries++
	}
	if i, ok := slices.BinarySearch(u.contacts, n); ok {
		c.learn(u, i, &c.users[n], status, now)
	} else if int(n) != u.index {
		return fmt.Errorf("%s came to who may not see it", topic)
	}
	return nil
}

// whose is the user of a topic of presence.
func (c *crowd) whose(topic []byte) (n uint32, ok bool) {
	rest, ok := bytes.CutPrefix(topic, []byte("users/"))
	if !ok || !bytes.HasPrefix(rest, []byte(c.prefix)) {
		return 0, false
	}
	rest, ok = bytes.CutSuffix(rest[len(c.prefix):], []byte("/presence"))
	for _, digit := range rest {
		if digit < '0' || digit > '9' || n > uint32(len(c.users)) {
			return 0, false
		}
		n = n*10 + uint32(digit-'0')
	}
	return n, ok && len(rest) > 0 && int(n) < len(c.users)
}

// learn is when a user is told of its contact i.
func (c *crowd) learn(u *onlineUser, i int, of *onlineUser, status view, now int64) {
	before := u.views[i]
	u.views[i] = status
	want, since := c.truth(of, now)
	if want != unknown && want != status && now-since > int64(c.o.slack) && c.measures(now) {
		c.counts.wrong++
	}
	if before == unknown {
		if u.known++; u.known == len(u.contacts) {
			c.complete++
			c.took(toSnapshot, now-u.at, now)
		}
		return
	}
	// What it was told when it subscribed is no change that it waited for.
	switch grace := of.ended + int64(c.o.grace); {
	case before == status:
	case status == offline && u.ready <= grace && now >= grace:
		c.took(toOffline, now-grace, now)
	case status == online && of.state == coming: // the CONNACK is on its way too
		c.took(toOnline, 0, now)
	case status == online && want == online && u.ready <= since:
		c.took(toOnline, now-since, now)
	}
}

func (c *crowd) took(what int, ns, now int64) {
	if c.measures(now) {
		c.total[what].add(ns)
		c.recent[what].add(ns)
	}
}
