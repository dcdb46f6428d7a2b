package clients_test

import (
	"fmt"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// wantEntry wants the next message to be this entry of the conversation c1. One
// that was acknowledged as the connection ended may come again before it.
func (c *tester) wantEntry(seq uint64, sender, content string) {
	c.t.Helper()
	m := c.next()
	e := parleytest.Decode(c.t, []byte(m.Payload))
	for e.Seq <= c.had {
		m = c.next()
		e = parleytest.Decode(c.t, []byte(m.Payload))
	}
	if m.Topic != "chat/c1/messages" || m.QoS != 1 || m.Retain || e.Seq != seq || e.SenderID != sender || e.Content != content {
		c.t.Fatalf("%s gets %+v, want %q of %s as entry %d", c.name, m, content, sender, seq)
	}
}

// Two people chat, in JSON and in plain text. What one misses meets it when it
// comes back, in order and without a gap.
func TestChat(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		srv.Conversation("c1", "alice", "bob") // their joins are entries 1 and 2
		mine := session{ID: "phone", User: "alice", Token: srv.Token("alice"), Durable: true}
		alice := connect(t, srv, l, mine)
		alice.mustSubscribe("chat/+/messages", 1)
		bob := connect(t, srv, other, session{ID: "laptop", User: "bob", Token: srv.Token("bob")})
		bob.mustSubscribe("chat/c1/messages", 1)

		say := func(c *tester, payload string, qos byte) {
			t.Helper()
			c.mustPublish(message{Topic: "chat/c1/messages", Payload: payload, QoS: qos})
		}
		say(bob, "hello", 1)
		say(alice, `{"content":"hi bob 👋","clientId":"a-1"}`, 2)
		say(alice, `{"content":"hi bob 👋","clientId":"a-1"}`, 1) // a repeat stands once
		say(bob, `{"content":"how are you?","clientId":"b-1"}`, 1)
		for _, c := range []*tester{alice, bob} {
			c.wantEntry(3, "bob", "hello")
			c.wantEntry(4, "alice", "hi bob 👋")
			c.wantEntry(5, "bob", "how are you?")
		}
		alice.mustDisconnect()
		for seq := uint64(6); seq <= 8; seq++ {
			say(bob, fmt.Sprint("are you there? ", seq), 1)
			bob.wantEntry(seq, "bob", fmt.Sprint("are you there? ", seq))
		}
		alice = connect(t, srv, l, mine)
		if !alice.present {
			t.Fatal("the session is gone")
		}
		alice.had = 5
		for seq := uint64(6); seq <= 8; seq++ {
			alice.wantEntry(seq, "bob", fmt.Sprint("are you there? ", seq))
		}
	})
}
