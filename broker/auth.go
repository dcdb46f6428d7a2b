package broker

import (
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// authMethod is the one authentication method of MQTT 5 that is offered: the
// authentication data is a token.
const authMethod = "jwt"

// warnBefore is how long before its end a token's holder is warned.
const warnBefore = time.Minute

// identity is who the connection's token says it is, and what that may do.
func (c *conn) identity() *acl.Identity { return c.id.Load() }

// mayRead reports whether the client may read an ordinary topic.
func (c *conn) mayRead(topic string) bool { return c.identity().MayRead(topic) }

// token answers the token of a CONNECT: the password, or the data of the
// authentication method.
func token(pk *packets.Packet) (string, error) {
	switch pk.Properties.AuthenticationMethod {
	case "":
		return string(pk.Connect.Password), nil
	case authMethod:
		if len(pk.Properties.AuthenticationData) > 0 {
			return string(pk.Properties.AuthenticationData), nil
		}
		return string(pk.Connect.Password), nil
	}
	return "", &wire.Error{Code: wire.CodeBadAuthMethod, Text: "the authentication method is jwt"}
}

// verify checks a token. The error may be shown.
func (c *conn) verify(token string) (acl.Identity, error) {
	id, err := c.b.cfg.Verifier.Verify(token)
	if err != nil {
		e, expected := chat.AsError(err)
		if !expected {
			c.b.logger.Error("verifying a token failed", "error", err)
		}
		return id, e
	}
	return id, nil
}

// authenticate takes an AUTH packet: the token is renewed in place (MQTT 5,
// section 4.12.1).
func (c *conn) authenticate(pk *packets.Packet) error {
	switch {
	case c.auth == "":
		return &wire.Error{Code: wire.CodeProtocolError, Text: "AUTH without an authentication method in CONNECT"}
	case pk.Properties.AuthenticationMethod != c.auth: // [MQTT-4.12.1-1]
		return &wire.Error{Code: wire.CodeProtocolError, Text: "the authentication method has changed"}
	case pk.ReasonCode != wire.CodeReauthenticate:
		return &wire.Error{Code: wire.CodeProtocolError, Text: "nothing is to be continued"}
	}
	if err := c.renew(string(pk.Properties.AuthenticationData)); err != nil {
		return &wire.Error{Code: wire.CodeNotAuthorized, Text: err.Error()}
	}
	c.send(func(out []byte) []byte { return wire.AppendAuth(out, wire.CodeSuccess, c.auth, nil) })
	return nil
}

// renew replaces the connection's token by a fresh one of the same user. What
// the new one does not allow ends.
func (c *conn) renew(token string) error {
	id, err := c.verify(token)
	if err != nil {
		return err
	}
	if id.UserID != c.key.UserID {
		return chat.Errorf(chat.CodeForbidden, "the token is of another user")
	}
	if c.id.Store(&id); c.b.cfg.Verifier.Revoked(&id) { // before anybody could have found it here
		c.end(wire.CodeNotAuthorized, tokenRevoked)
		return chat.Errorf(chat.CodeUnauthorized, "the token was revoked")
	}
	c.mu.Lock()
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.mu.Unlock()
	c.watchToken()
	return c.session.restrict()
}

// watchToken warns a minute before the token ends, if there is that much
// left, and ends the connection when it does.
func (c *conn) watchToken() {
	id := c.identity()
	left := id.Expires.Sub(c.b.cfg.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	if left <= warnBefore {
		c.expiry = time.AfterFunc(left, func() { c.tokenExpired(id) })
		return
	}
	c.expiry = time.AfterFunc(left-warnBefore, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ending || c.identity() != id { // it was renewed just now
			return
		}
		c.tell(chat.Errorf(chat.CodeTokenExpiring, "the token expires at %s",
			chat.AppendTime(nil, id.Expires)), "", "")
		if len(c.out) > 0 {
			c.write()
		}
		c.expiry = time.AfterFunc(warnBefore, func() { c.tokenExpired(id) })
	})
}

func (c *conn) tokenExpired(id *acl.Identity) {
	if c.identity() == id {
		c.end(wire.CodeNotAuthorized, "token expired")
	}
}

// restrict ends what the session's token does not allow any more: it was
// renewed, or the session has come back with another.
func (s *session) restrict() error {
	id := s.c.identity()
	var gone []string
	for _, sub := range s.subs {
		f, err := chat.ParseFilter(sub.Filter)
		if err == nil {
			err = id.MaySubscribe(f)
		}
		if err != nil {
			gone = append(gone, sub.Filter)
		}
	}
	if s.feed != nil && !id.Has(acl.Admin) {
		s.feed.DropOthers()
	}
	if len(gone) == 0 {
		return nil
	}
	_, err := s.unsubscribe(gone)
	s.tellErrors()
	return err
}
