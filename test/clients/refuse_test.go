package clients_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// code answers the first for MQTT 5, and the second for 3.1.1.
func (l library) code(code5, code3 byte) byte {
	if l.version == 5 {
		return code5
	}
	return code3
}

// wantRefusal wants an answer of the server that says no.
func wantRefusal(t *testing.T, err error, code byte) {
	t.Helper()
	var r refusal
	if !errors.As(err, &r) || r.code != code {
		t.Errorf("got %v, want %v", err, refusal{code})
	}
}

// A token that does not hold, and a will that the token does not allow, are
// refused at CONNECT.
func TestConnectRefused(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, _ library) {
		for name, token := range map[string]string{
			"expired":    parleytest.Token(t, acl.Claims{Subject: "alice", Expires: time.Now().Add(-time.Hour)}),
			"of another": srv.Token("bob"),
			"no token":   "secret",
		} {
			_, _, err := l.dial(t, srv, session{ID: "phone", User: "alice", Token: token})
			t.Run(name, func(t *testing.T) { wantRefusal(t, err, l.code(0x86, 4)) })
		}
		_, _, err := l.dial(t, srv, session{ID: "phone", User: "alice", Token: srv.open("alice"),
			Will: &message{Topic: "other/status", Payload: "gone"}})
		t.Run("will", func(t *testing.T) { wantRefusal(t, err, l.code(0x87, 5)) })
	})
}

// What the token does not open is refused, and told on users/<u>/errors. The
// connection goes on.
func TestTopicsRefused(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, _ library) {
		srv.Conversation("private", "bob", "carol")
		alice := connect(t, srv, l, session{ID: "phone", User: "alice"})
		alice.mustSubscribe("users/alice/errors", 0)
		alice.mustSubscribe("dev/#", 1)
		for _, filter := range []string{"other/#", "#", "chat/private/messages", "$SYS/#", "$share/g/other/x"} {
			if code, err := alice.subscribe(filter, 1); code != l.code(0x87, 0x80) || err != nil {
				t.Errorf("SUBACK of %s: 0x%02x, %v", filter, code, err)
			}
			alice.wantProblem(chat.CodeForbidden, filter)
		}
		for _, topic := range []string{"other/x", "chat/private/messages", "$SYS/x"} {
			for qos := range byte(3) {
				err := alice.publish(message{Topic: topic, Payload: "let me in", QoS: qos})
				if qos > 0 && l.tellsRefusals() {
					wantRefusal(t, err, 0x87)
				} else if err != nil {
					t.Errorf("publishing to %s at QoS %d: %v", topic, qos, err)
				}
				alice.wantProblem(chat.CodeForbidden, topic)
			}
		}
		alice.mustPublish(message{Topic: "dev/x", Payload: "still here", QoS: 2})
		alice.want(message{Topic: "dev/x", Payload: "still here", QoS: 1})
	})
}

// wantProblem wants to be told next what is wrong with the topic.
func (c *tester) wantProblem(code chat.Code, topic string) {
	c.t.Helper()
	var problem chat.Problem
	m := c.next()
	if err := json.Unmarshal([]byte(m.Payload), &problem); err != nil || m.Topic != "users/alice/errors" ||
		problem.Code != code || problem.Topic != topic {
		c.t.Fatalf("%s is told %+v, want %s of %s", c.name, m, code, topic)
	}
}

// tellsRefusals reports whether the library tells of the reason code of a
// PUBACK. In 3.1.1 there is none, and Debian's paho-mqtt has no way to tell it.
func (l library) tellsRefusals() bool { return l.version == 5 && l.name != "python5" }
