package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// A server that is asked to stop under load finishes what it has begun, says
// goodbye and exits with 0. The next one goes on where it was.
func TestSIGTERMUnderLoad(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		chance := chances(t)
		srv := startServer(t, backend, options{})
		l := newLoad(t, srv)
		l.start()
		for round := range 5 {
			l.awaitOnline()
			l.awaitAcks(100, patience)
			srv.letRun(between(chance, time.Millisecond, 700*time.Millisecond))
			before := l.goodbyes.Load()
			srv.now.Terminate()
			asked := time.Now()
			if code := srv.now.Wait(patience); code != 0 {
				t.Fatalf("round %d: exit code %d\n%s", round, code, srv.now.Stderr.Last(30))
			}
			if took := time.Since(asked); took > 10*time.Second {
				t.Errorf("round %d: stopping took %v with a healthy database", round, took)
			}
			// All MQTT 5 clients: three senders and two subscribers.
			proctest.Eventually(t, patience, "DISCONNECT 0x8B to five clients", func() bool { return l.goodbyes.Load() >= before+5 })
			srv.start()
			l.check()
			if t.Failed() {
				t.FailNow()
			}
		}
		l.finish()
		t.Logf("%d sends acknowledged, %d refused while the server stopped", l.acked.Load(), l.refused.Load())
	})
}

// What a durable session acknowledged before an orderly stop never comes
// again: stopping saves it.
func TestSIGTERMSavesCursors(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
				srv := startServer(t, backend, options{})
				srv.conversation("c1", "alice", "bob")
				o := mqttest.Options{Version: version, ClientID: "phone", User: "bob", Password: srv.token("bob"), Expiry: 3600}
				bob := mqttest.Dial(t, srv.mqtt)
				bob.Connect(o)
				bob.Subscribe("chat/+/messages")
				alice := mqttest.Dial(t, srv.mqtt)
				alice.Connect(mqttest.Options{User: "alice", Password: srv.token("alice"), Clean: true})
				for i := range 10 {
					alice.Publish("chat/c1/messages", fmt.Sprintf("message %d", i), 1)
					if pk := bob.Expect(packets.Publish); i < 7 {
						bob.Ack(packets.Puback, pk.PacketID)
					}
				}
				bob.Ping() // the acknowledgements are read now
				srv.now.Terminate()
				if code := bob.ExpectClosed(); version == 5 && code != wire.CodeServerShuttingDown {
					t.Errorf("DISCONNECT 0x%02x, want 0x8B", code)
				}
				if code := srv.now.Wait(patience); code != 0 {
					t.Fatalf("exit code %d", code)
				}
				srv.start()
				bob = mqttest.Dial(t, srv.mqtt)
				if ack := bob.Connect(o); !ack.SessionPresent {
					t.Error("the session is gone")
				}
				for i := 7; i < 10; i++ {
					e := parleytest.Decode(t, bob.Expect(packets.Publish).Payload)
					if want := fmt.Sprintf("message %d", i); e.Content != want {
						t.Fatalf("got %q (seq %d), want %q", e.Content, e.Seq, want)
					}
				}
				bob.Quiet()
			})
		}
	})
}
