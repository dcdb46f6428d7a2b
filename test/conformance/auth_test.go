package conformance_test

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// byAuth connects with an authentication method and its data, and no password.
func byAuth(w *world, id, method, data string) *client {
	w.t.Helper()
	c := w.stranger()
	c.ack = c.Connect(mqttest.Options{ClientID: id, Clean: true, Change: func(pk *packets.Packet) {
		pk.Connect.UsernameFlag = false
		pk.Properties.AuthenticationMethod = method
		pk.Properties.AuthenticationData = []byte(data)
	}})
	return c
}

// reauthenticate sends AUTH 0x19.
func (c *client) reauthenticate(method, data string) {
	c.t.Helper()
	c.MustSend(packet(authByte, 0x19, props{authMethod, method, authData, data}))
}

// The token may come as the data of the authentication method jwt; CONNACK
// names the method again [MQTT-4.12.0-5], and no AUTH comes before it
// [MQTT-4.12.0-2].
func TestAuthenticationMethodJWT(t *testing.T) {
	w := five(t)
	c := byAuth(w, "c", "jwt", tokenFor(t, "#"))
	if c.ack.ReasonCode != 0 || c.ack.Properties.AuthenticationMethod != "jwt" {
		t.Fatalf("CONNACK 0x%02x with the method %q", c.ack.ReasonCode, c.ack.Properties.AuthenticationMethod)
	}
	c.subscribe(1, "t")
	c.publish("t", "by whom the token names", 1)
	c.receive("t", "by whom the token names", 1)
}

// A server may refuse with CONNACK, and closes then [MQTT-4.12.0-1],
// [MQTT-4.12.0-4].
func TestAuthenticationRefused(t *testing.T) {
	expired := parleytest.Token(t, acl.Claims{Subject: user, Expires: time.Now().Add(-time.Hour)})
	for _, tt := range []struct {
		name, method, data string
		want               byte
	}{
		{"another method", "SCRAM-SHA-256", tokenFor(t, "#"), 0x8C},
		{"method in capitals", "JWT", tokenFor(t, "#"), 0x8C},
		{"no data", "jwt", "", 0x86},
		{"no token", "jwt", "x", 0x86},
		{"expired token", "jwt", expired, 0x86},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := byAuth(five(t), "c", tt.method, tt.data)
			if c.ack.ReasonCode != tt.want {
				t.Errorf("CONNACK 0x%02x %s, want 0x%02x", c.ack.ReasonCode, c.ack.Properties.ReasonString, tt.want)
			}
			c.ExpectClosed()
		})
	}
}

// A client renews its token in place: AUTH 0x19 is answered by AUTH 0x00 with
// the method [MQTT-4.12.0-5], [MQTT-3.15.2-1], and the connection goes on
// beyond the end of the first token, until that of the new one.
func TestReauthentication(t *testing.T) {
	w := five(t)
	short := func() string {
		return parleytest.Token(t, acl.Claims{Subject: user, TTL: 2 * time.Second, Pub: []string{"#"}, Sub: []string{"#"}})
	}
	renewed := func(c *client, token string) {
		t.Helper()
		c.reauthenticate("jwt", token)
		pk := c.await(packets.Auth, 0)
		if pk.ReasonCode != 0 || pk.Properties.AuthenticationMethod != "jwt" {
			t.Errorf("AUTH 0x%02x with the method %q, want 0x00 with jwt", pk.ReasonCode, pk.Properties.AuthenticationMethod)
		}
	}
	c, twin := byAuth(w, "c", "jwt", short()), byAuth(w, "twin", "jwt", short())
	c.subscribe(1, "t")
	renewed(c, tokenFor(t, "#"))
	twin.closed(0x87) // as c would be, had it not renewed
	c.publish("t", "still here", 1)
	c.receive("t", "still here", 1)
	renewed(c, short())
	c.closed(0x87)
}

// What the new token does not open ends, and what it opens begins.
func TestReauthenticationChangesRights(t *testing.T) {
	w := five(t)
	c, p := byAuth(w, "c", "jwt", tokenFor(t, "a/#", "end/#")), w.clean("p")
	c.subscribe(1, "a/x")
	c.reauthenticate("jwt", tokenFor(t, "b/#", "end/#"))
	c.await(packets.Auth, 0)
	p.publish("a/x", "not any more", 1)
	if code := c.attempt("a/x", "not any more", 1); code != 0x87 {
		t.Errorf("PUBACK 0x%02x, want 0x87", code)
	}
	c.nothingFrom(p)
	c.subscribe(1, "b/x")
	c.publish("b/x", "now", 1)
	c.receive("b/x", "now", 1)
}

// A re-authentication that fails ends the connection, with DISCONNECT
// [MQTT-4.12.1-2].
func TestReauthenticationFails(t *testing.T) {
	w := five(t)
	other := parleytest.Token(t, acl.Claims{Subject: "somebody", TTL: time.Hour})
	for _, tt := range []struct {
		name, method, data string
		want               byte
	}{
		{"another method", "SCRAM-SHA-256", tokenFor(t, "#"), 0x82}, // [MQTT-4.12.1-1]; 0x8C is no code of DISCONNECT
		{"no token", "jwt", "x", 0x87},
		{"token of another user", "jwt", other, 0x87},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := byAuth(w, "c", "jwt", tokenFor(t, "#"))
			c.t = t
			c.reauthenticate(tt.method, tt.data)
			c.closed(tt.want)
		})
	}
}

// Without a method in CONNECT there is no AUTH, from neither side
// [MQTT-4.12.0-6], [MQTT-4.12.0-7].
func TestAuthWithoutMethod(t *testing.T) {
	c := five(t).clean("c")
	if method := c.ack.Properties.AuthenticationMethod; method != "" {
		t.Errorf("CONNACK has the method %q", method)
	}
	c.reauthenticate("jwt", tokenFor(t, "#"))
	c.closed(0x82)
}

// AUTH 0x18 answers a server that asked to continue. Ours never asks
// [MQTT-4.12.0-3].
func TestAuthContinueUnasked(t *testing.T) {
	c := byAuth(five(t), "c", "jwt", tokenFor(t, "#"))
	c.MustSend(packet(authByte, 0x18, props{authMethod, "jwt", authData, "x"}))
	c.closed(0x82)
}
