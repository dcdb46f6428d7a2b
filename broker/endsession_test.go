package broker_test

import (
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

func endSession(t *testing.T, s *parleytest.Server, user, client string, want bool) {
	t.Helper()
	found, err := s.Broker.EndSession(t.Context(), bridge.SessionKey{UserID: user, ClientID: client})
	if err != nil || found != want {
		t.Errorf("ending a session: %v, %v, want %v", found, err, want)
	}
}

// A session that is ended, connected or away, begins anew: no subscriptions,
// no cursors, nothing that waits for it. Others of its name or user stay.
func TestEndSession(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		s.Conversation("c1", "alice", "bob")
		phone := durable(version, "phone")
		endSession(t, s, "bob", "phone", false)
		for _, away := range []bool{false, true} {
			bob, tab := device(t, s, "bob", phone), device(t, s, "bob", durable(version, "tab"))
			alice := device(t, s, "alice", phone)
			for _, c := range []*mqttest.Client{bob, tab, alice} {
				c.Subscribe("chat/+/messages", "news/#")
			}
			first := commit(t, s, "c1", "alice", "hi").Seq
			take(t, bob, first, 1)
			if away {
				bob.Disconnect()
				send(t, alice, "news/x", "waits", 1, false)
			}
			endSession(t, s, "bob", "phone", true)
			if code := bob.ExpectClosed(); !away && version == 5 && code != wire.CodeAdministrative {
				t.Errorf("DISCONNECT %#x", code)
			}
			endSession(t, s, "bob", "phone", false)
			if kept, err := s.Log.Session(t.Context(), bridge.SessionKey{UserID: "bob", ClientID: "phone"}); kept != nil || err != nil {
				t.Errorf("it is kept: %+v, %v", kept, err)
			}
			commit(t, s, "c1", "alice", "after")
			take(t, tab, first, 1)
			again, ack := deviceAck(t, s, "bob", phone)
			if ack.SessionPresent {
				t.Error("its client found it present")
			}
			again.Quiet()
			again.Disconnect()
			endSession(t, s, "bob", "phone", true)
			endSession(t, s, "bob", "tab", true)
			tab.ExpectClosed()
			alice.Ping()
			endSession(t, s, "alice", "phone", true)
		}
	})
}

// What ends is published: a will whose delay has not passed too.
func TestEndSessionPublishesTheWill(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		witness := device(t, s, "eve", mqttest.Options{ClientID: "e", Clean: true})
		witness.Subscribe("news/#")
		for _, how := range []string{"connected", "away", "not durable", "goodbye"} {
			o := durable(5, "phone")
			if how == "not durable" {
				o = mqttest.Options{ClientID: "phone", Clean: true}
			}
			o.Change = func(pk *packets.Packet) {
				pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload, pk.Connect.WillQos = true, "news/will", []byte(how), 1
				pk.Properties.SessionExpiryIntervalFlag = o.Expiry > 0
				pk.Connect.WillProperties.WillDelayInterval = 3600
			}
			bob := device(t, s, "bob", o)
			switch how {
			case "away":
				if err := bob.Conn.Close(); err != nil {
					t.Fatal(err)
				}
			case "goodbye":
				bob.Disconnect()
			}
			endSession(t, s, "bob", "phone", true)
			if how == "goodbye" {
				witness.Quiet()
				continue
			}
			want(t, get(t, witness), "news/will", how, 1)
		}
	})
}

// A client that comes back while its session ends finds the old one or a new
// one, and one connection at most.
func TestEndSessionMeetsConnect(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	s.Conversation("c1", "alice", "bob")
	var ending sync.WaitGroup
	for range 20 {
		bob := s.Connect("bob", durable(5, "phone"))
		bob.Subscribe("chat/+/messages")
		ending.Go(func() { endSession(t, s, "bob", "phone", true) })
		again := s.Dial()
		ack, err := again.TryConnect(mqttest.Options{ClientID: "phone", User: "bob", Password: s.Token("bob"), Expiry: 3600})
		if err != nil && ack.ReasonCode != 0 {
			t.Errorf("refused with %#x", ack.ReasonCode)
		}
		ending.Wait()
		_, open := s.Broker.Connection(bridge.SessionKey{UserID: "bob", ClientID: "phone"})
		kept, err := s.Log.Session(t.Context(), bridge.SessionKey{UserID: "bob", ClientID: "phone"})
		if err != nil || open != (kept != nil) {
			t.Errorf("open %v, kept %+v, %v", open, kept, err)
		}
	}
}
