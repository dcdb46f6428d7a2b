package live_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

type token struct{ jti, text string }

// token makes a token of a user.
func (w *world) token(user string) token {
	w.said++
	jti := fmt.Sprintf("%s-%d", user, w.said)
	return token{jti, parleytest.Token(w.t, acl.Claims{Subject: user, TTL: time.Hour, TokenID: jti})}
}

// end is how all stood when the answer came that a token is revoked. Nothing
// that is said later reaches the connection.
type end struct{ heads map[string]uint64 }

// check wants nothing of what lateWords says.
func (e *end) check(c *client, topic chat.Topic, p *told) {
	var late bool
	switch topic.Kind {
	case chat.KindTyping:
		late = p.Typing
	case chat.KindReceipts:
		late = p.Read > e.heads[topic.ID]
	case chat.KindPresence:
		known := c.people[p.UserID] // no other than that before: see quiet
		late = p.UserID != c.user && (p.Status != known.Status || p.Devices != known.Devices)
	}
	if late {
		c.w.rt.Fatalf("%s/%s was told %+v of %s after its token was revoked", c.user, c.id, *p, topic.ID)
	}
}

// revoke revokes the token of one connection, or all tokens of its user.
func (w *world) revoke(rt *rapid.T) {
	c, all := w.some(rt), rapid.Bool().Draw(rt, "all")
	w.logf("the token of %s/%s is revoked, all of the user's: %v", c.user, c.id, all)
	cut := func(o *client) bool { return o == c || all && o.user == c.user }
	old := w.token(c.user)
	w.quiet(cut)
	var err error
	if all {
		err = w.server.Tokens.User(context.Background(), c.user)
	} else {
		old = c.token
		err = w.server.Tokens.Token(context.Background(), old.jti)
	}
	if err != nil {
		w.rt.Fatalf("revoke: %v", err)
	}
	var ended []*client
	w.drop(cut, func(o *client) {
		o.end = &end{heads: map[string]uint64{}}
		for _, conv := range w.convs {
			o.end.heads[conv] = w.head(conv)
		}
		ended = append(ended, o)
	})
	w.lateWords()
	for _, o := range ended {
		o.wantRevoked()
	}
	w.wantRefused(c, old)
	for now := time.Now(); time.Since(now) < 2*time.Millisecond; { // a token says to the millisecond when it was issued
		runtime.Gosched()
	}
}

// quiet has everybody know how things stand, and nobody type but for those who
// are to be cut.
func (w *world) quiet(cut func(*client) bool) {
	for _, c := range w.clients {
		for _, conv := range w.convs {
			if !cut(c) && w.members[conv][c.user] {
				c.say("chat/"+conv+"/typing", `{"typing":false}`, 0)
			}
		}
	}
	w.settle()
}

// lateWords has everybody say something of each kind.
func (w *world) lateWords() {
	for _, c := range w.clients {
		for _, conv := range w.convs {
			if w.members[conv][c.user] {
				c.says(conv)
				c.say("chat/"+conv+"/typing", `{"typing":true}`, 0)
			}
		}
		if c.status == "online" {
			c.present("away")
		} else {
			c.present("online")
		}
	}
}

// wantRevoked reads a connection to its end.
func (c *client) wantRevoked() {
	for {
		pk, err := c.Read(mqttest.Patience)
		var ne net.Error
		switch {
		case errors.As(err, &ne) && ne.Timeout():
			c.w.rt.Fatalf("%s/%s was not cut when its token was revoked", c.user, c.id)
		case err != nil && c.Version == 5:
			c.w.rt.Fatalf("%s/%s was cut without a word: %v", c.user, c.id, err)
		case err != nil:
			return
		}
		switch pk.FixedHeader.Type {
		case packets.Publish:
			c.take(&pk)
		case packets.Disconnect:
			if pk.ReasonCode != wire.CodeNotAuthorized {
				c.w.rt.Fatalf("%s/%s was cut with 0x%02x", c.user, c.id, pk.ReasonCode)
			}
			if _, err := c.Read(mqttest.Patience); err == nil {
				c.w.rt.Fatalf("%s/%s got more than DISCONNECT", c.user, c.id)
			}
			return
		}
	}
}

// wantRefused wants a token to hold no more.
func (w *world) wantRefused(c *client, revoked token) {
	want := wire.CodeBadUserNameOrPassword
	if c.Version < 5 {
		want = 4
	}
	o := mqttest.Options{Version: c.Version, ClientID: c.id, User: c.user, Password: revoked.text}
	if ack := w.server.Dial().Connect(o); ack.ReasonCode != want {
		w.rt.Fatalf("%s/%s was answered 0x%02x to a token that is revoked", c.user, c.id, ack.ReasonCode)
	}
}
