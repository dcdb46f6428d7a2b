package broker_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

func claims(user string, ttl time.Duration, filters ...string) acl.Claims {
	return acl.Claims{Subject: user, TTL: ttl, Pub: filters, Sub: filters}
}

// connectByAuth connects with the authentication method jwt.
func connectByAuth(t *testing.T, s *parleytest.Server, clientID, token string) *mqttest.Client {
	t.Helper()
	c := mqttest.Dial(t, s.Addr)
	ack := c.Connect(mqttest.Options{ClientID: clientID, Clean: true, Change: func(pk *packets.Packet) {
		pk.Properties.AuthenticationMethod, pk.Properties.AuthenticationData = "jwt", []byte(token)
	}})
	if ack.ReasonCode != 0 || ack.Properties.AuthenticationMethod != "jwt" {
		t.Fatalf("CONNACK %#x, method %q [MQTT-4.12.0-5]", ack.ReasonCode, ack.Properties.AuthenticationMethod)
	}
	return c
}

func reauthenticate(t *testing.T, c *mqttest.Client, method, token string) {
	t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Auth}, ProtocolVersion: 5,
		ReasonCode: wire.CodeReauthenticate,
		Properties: packets.Properties{AuthenticationMethod: method, AuthenticationData: []byte(token)}}
	var buf bytes.Buffer
	if err := pk.AuthEncode(&buf); err != nil {
		t.Fatal(err)
	}
	c.MustSend(buf.Bytes())
}

func TestAuthRenewsTheToken(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	c := connectByAuth(t, s, "a", parleytest.Token(t, claims("dev", 90*time.Minute, "a/#", "b/#")))
	subscribe(t, c, 1, "a/x", nil)
	subscribe(t, c, 1, "b/x", nil)
	pub := device(t, s, "pub", mqttest.Options{ClientID: "p", Clean: true})

	reauthenticate(t, c, "jwt", parleytest.Token(t, claims("dev", time.Hour, "a/#")))
	if ack := c.Expect(packets.Auth); ack.ReasonCode != 0 || ack.Properties.AuthenticationMethod != "jwt" {
		t.Fatalf("AUTH %#x, method %q", ack.ReasonCode, ack.Properties.AuthenticationMethod)
	}
	send(t, pub, "b/x", "no more", 1, false)
	send(t, pub, "a/x", "still", 1, false)
	want(t, get(t, c), "a/x", "still", 1)
	if ack := c.SubscribeWith(nil, 1, "b/x"); ack.ReasonCodes[0] != wire.CodeNotAuthorized {
		t.Fatalf("SUBACK %#x for what the new token does not allow", ack.ReasonCodes[0])
	}

	reauthenticate(t, c, "jwt", parleytest.Token(t, claims("somebody", time.Hour)))
	if code := c.ExpectClosed(); code != wire.CodeNotAuthorized {
		t.Fatalf("DISCONNECT %#x for the token of another user", code)
	}
}

func TestAuthProtocol(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	token := s.Token("dev")
	for name, method := range map[string]string{"unknown": "SCRAM-SHA-1"} {
		t.Run(name, func(t *testing.T) {
			c := mqttest.Dial(t, s.Addr)
			ack := c.Connect(mqttest.Options{ClientID: "a", Clean: true, Password: token,
				Change: func(pk *packets.Packet) { pk.Properties.AuthenticationMethod = method }})
			if ack.ReasonCode != wire.CodeBadAuthMethod {
				t.Fatalf("CONNACK %#x", ack.ReasonCode)
			}
		})
	}
	t.Run("method changed", func(t *testing.T) {
		c := connectByAuth(t, s, "b", token)
		reauthenticate(t, c, "other", token)
		if code := c.ExpectClosed(); code != wire.CodeProtocolError {
			t.Fatalf("DISCONNECT %#x [MQTT-4.12.1-1]", code)
		}
	})
	t.Run("none in CONNECT", func(t *testing.T) {
		c := s.Connect("dev", mqttest.Options{ClientID: "c", Clean: true})
		reauthenticate(t, c, "jwt", token)
		if code := c.ExpectClosed(); code != wire.CodeProtocolError {
			t.Fatalf("DISCONNECT %#x [MQTT-4.12.0-6]", code)
		}
	})
}

func TestTokenTopicRenewsTheToken(t *testing.T) {
	for _, version := range []byte{4, 5} {
		s := parleytest.New(t, "sqlite")
		c := s.Connect("dev", mqttest.Options{Version: version, ClientID: "a", Clean: true})
		c.Subscribe("users/dev/errors")
		if ack := c.SubscribeWith(nil, 1, "a/x"); ack.ReasonCodes[0] < 0x80 {
			t.Fatal("the first token has no acl claim")
		}
		send(t, c, "users/dev/token", parleytest.Token(t, claims("dev", time.Hour, "a/#")), 1, false)
		subscribe(t, c, 1, "a/x", nil)

		c.Publish("users/dev/token", s.Token("somebody"), 1)
		problem := c.Expect(packets.Publish)
		if !bytes.Contains(problem.Payload, []byte("forbidden")) {
			t.Fatalf("problem %s", problem.Payload)
		}
		if ack := c.Expect(packets.Puback); version == 5 && ack.ReasonCode != wire.CodeNotAuthorized {
			t.Fatalf("PUBACK %#x", ack.ReasonCode)
		}
		c.Ping() // it lives on
	}
}

func TestRenewedTokenOutlivesTheOldOne(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	c := connectByAuth(t, s, "a", parleytest.Token(t, claims("dev", 2*time.Second)))
	old := connectByAuth(t, s, "b", parleytest.Token(t, claims("dev", 2*time.Second)))
	reauthenticate(t, c, "jwt", parleytest.Token(t, claims("dev", time.Hour)))
	c.Expect(packets.Auth)
	if code := old.ExpectClosed(); code != wire.CodeNotAuthorized {
		t.Fatalf("DISCONNECT %#x", code)
	}
	c.Ping()
}

// A durable session that comes back with a token that allows less gets
// neither the subscription nor what was kept for it.
func TestReturnWithLessRights(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		connect := func(filters ...string) *mqttest.Client {
			c := mqttest.Dial(t, s.Addr)
			c.Connect(mqttest.Options{ClientID: "a", Expiry: 1000, Password: parleytest.Token(t, claims("dev", time.Hour, filters...))})
			return c
		}
		c := connect("a/#", "b/#")
		subscribe(t, c, 1, "a/x", nil)
		subscribe(t, c, 1, "b/x", nil)
		c.Disconnect()
		pub := device(t, s, "pub", mqttest.Options{ClientID: "p", Clean: true})
		send(t, pub, "b/x", "kept", 1, false)
		send(t, pub, "a/x", "kept", 1, false)
		c = connect("a/#")
		want(t, get(t, c), "a/x", "kept", 1)
		send(t, pub, "b/x", "live", 1, false)
		c.Quiet()
		c.Disconnect()
		c = connect("a/#", "b/#") // what was taken away does not come back by itself
		send(t, pub, "b/x", "live", 1, false)
		c.Quiet()
	})
}
