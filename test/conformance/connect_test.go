package conformance_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// What CONNACK of MQTT 5 says is all that is offered, and nothing else stands
// there: an absent property means the most.
func TestConnackOfMQTT5(t *testing.T) {
	c := five(t).stranger()
	c.MustSend(c.ConnectPacket(mqttest.Options{ClientID: "c", Clean: true, User: user, Password: tokenFor(t, "#"), KeepAlive: 77}))
	head := make([]byte, 5)
	_ = c.Conn.SetReadDeadline(time.Now().Add(mqttest.Patience))
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		t.Fatal(err)
	}
	if head[0] != 0x20 || head[2] != 0 || head[3] != 0 { // flags: [MQTT-3.2.2-1], [MQTT-3.2.2-2]
		t.Fatalf("CONNACK begins %x", head)
	}
	body := make([]byte, head[4])
	if _, err := io.ReadFull(c.Conn, body); err != nil {
		t.Fatal(err)
	}
	pk := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connack}}
	if err := pk.ConnackDecode(append(head[2:], body...)); err != nil {
		t.Fatal(err)
	}
	got := pk.Properties
	if got.ReceiveMaximum != 256 || got.MaximumPacketSize != 256<<10 || got.TopicAliasMaximum != 64 {
		t.Errorf("Receive Maximum %d, Maximum Packet Size %d, Topic Alias Maximum %d; want 256, 262144, 64",
			got.ReceiveMaximum, got.MaximumPacketSize, got.TopicAliasMaximum)
	}
	// QoS 2 [MQTT-3.2.2-9], retained messages, wildcards, subscription
	// identifiers and shared subscriptions are all there; the client's keep
	// alive holds [MQTT-3.2.2-22]; there is no response information
	// [MQTT-3.1.2-28] and no authentication method [MQTT-4.12.0-6].
	if got.MaximumQosFlag || got.RetainAvailableFlag || got.WildcardSubAvailableFlag || got.SubIDAvailableFlag ||
		got.SharedSubAvailableFlag || got.ServerKeepAliveFlag || got.ResponseInfo != "" ||
		got.AuthenticationMethod != "" || got.AssignedClientID != "" || got.SessionExpiryIntervalFlag {
		t.Errorf("CONNACK says %+v", got)
	}
}

// [MQTT-3.1.2-28]: nothing is returned to who asks for it either, as a server may.
func TestNoResponseInformation(t *testing.T) {
	for _, asked := range []byte{0, 1} {
		c := five(t).connect(mqttest.Options{ClientID: "c", Clean: true, Change: func(pk *packets.Packet) {
			pk.Properties.RequestResponseInfo = asked
		}})
		if got := c.ack.Properties.ResponseInfo; got != "" {
			t.Errorf("asked with %d: Response Information %q", asked, got)
		}
	}
}

func TestSessionPresent(t *testing.T) {
	stored(t, func(w *world) {
		connect := func(clean, want bool) {
			w.t.Helper()
			c := w.connect(mqttest.Options{ClientID: "c", Clean: clean, Expiry: 3600})
			if c.ack.SessionPresent != want {
				w.t.Errorf("with clean %v: Session Present %v, want %v", clean, c.ack.SessionPresent, want)
			}
			c.Disconnect()
		}
		connect(false, false) // none is there: a new one [MQTT-3.1.2-6], [MQTT-3.2.2-3], [3.1.1: MQTT-3.2.2-3]
		connect(false, true)  // [MQTT-3.1.2-5], [MQTT-3.2.2-3], [3.1.1: MQTT-3.2.2-2]
		connect(true, false)  // [MQTT-3.1.2-4], [MQTT-3.1.4-4], [MQTT-3.2.2-2], [3.1.1: MQTT-3.2.2-1]
		if w.version == 4 {   // a clean session ends with its connection [3.1.1: MQTT-3.1.2-6]
			connect(false, false)
		} else { // Clean Start says nothing of the end: the expiry does
			connect(false, true)
		}
	})
}

// CONNACK is the first packet, whatever waits for the client, and comes once
// [MQTT-3.2.0-1], [MQTT-3.2.0-2], [3.1.1: MQTT-3.2.0-1], [MQTT-3.1.4-5].
func TestConnackComesFirst(t *testing.T) {
	versions(t, func(w *world) {
		c := w.durable("c")
		c.subscribe(1, "t")
		c.Disconnect()
		w.clean("p").publish("t", "waits", 1)
		c = w.durable("c") // fails where another packet comes first
		c.receive("t", "waits", 1)
		c.quiet()
	})
}

func TestClientIDs(t *testing.T) {
	versions(t, func(w *world) {
		const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for _, id := range []string{letters[:1], letters[:23], letters[23:46], letters[39:]} { // [MQTT-3.1.3-5]
			w.clean(id).Disconnect()
		}
		w.clean("größer als 23 Bytes, mit / + # $").Disconnect() // a server may allow more
		refused := w.try(mqttest.Options{ClientID: strings.Repeat("x", 257), Clean: true})
		want := byte(0x85) // [MQTT-3.1.3-8]
		if w.version == 4 {
			want = 2 // [3.1.1: MQTT-3.1.3-9]
		}
		if refused.ack.ReasonCode != want {
			w.t.Errorf("CONNACK 0x%02x for 257 bytes, want 0x%02x", refused.ack.ReasonCode, want)
		}
		refused.ExpectClosed()
	})
}

// A client without an identifier gets one that nobody has, which is its name
// from then on [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16].
func TestAssignedClientID(t *testing.T) {
	versions(t, func(w *world) {
		first := w.connect(mqttest.Options{Clean: true, Expiry: 3600})
		second := w.connect(mqttest.Options{Clean: true, Expiry: 3600})
		first.quiet() // not taken over
		if w.version == 4 {
			return // it is not told
		}
		id, other := first.ack.Properties.AssignedClientID, second.ack.Properties.AssignedClientID
		if id == "" || id == other {
			w.t.Fatalf("assigned %q and %q", id, other)
		}
		first.Disconnect()
		if again := w.durable(id); !again.ack.SessionPresent { // [MQTT-3.1.3-2]
			w.t.Error("the session is not known by the assigned identifier")
		}
		if named := w.durable("mine"); named.ack.Properties.AssignedClientID != "" {
			w.t.Error("a client with an identifier was assigned one")
		}
	})
}

// The second connection with a client identifier ends the first
// [MQTT-3.1.4-3], [3.1.1: MQTT-3.1.4-2].
func TestSecondConnectionTakesOver(t *testing.T) {
	versions(t, func(w *world) {
		first := w.clean("c")
		second := w.clean("c")
		first.closed(0x8E)
		second.quiet()
	})
}

// A connection that is silent for one and a half times the keep-alive ends
// [MQTT-3.1.2-22], [3.1.1: MQTT-3.1.2-24]; without a keep-alive it does not.
func TestKeepAlive(t *testing.T) {
	versions(t, func(w *world) {
		patient := w.clean("patient")
		c := w.connect(mqttest.Options{ClientID: "c", Clean: true, KeepAlive: 1})
		start := time.Now()
		c.closed(0x8D)
		if d := time.Since(start); d < 1400*time.Millisecond {
			w.t.Errorf("ended after %v, want 1.5 s", d)
		}
		patient.quiet()
	})
}

// A PINGREQ is answered [MQTT-3.12.4-1], once each.
func TestPing(t *testing.T) {
	versions(t, func(w *world) {
		c := w.clean("c")
		c.MustSend([]byte{pingreqByte, 0, pingreqByte, 0})
		for range 2 {
			if pk := c.next(); pk.FixedHeader.Type != packets.Pingresp {
				w.t.Fatalf("got packet type %d", pk.FixedHeader.Type)
			}
		}
		c.quiet()
	})
}

// With Request Problem Information 0 no acknowledgement has a reason string or
// user properties [MQTT-3.1.2-29]; without it they have.
func TestRequestProblemInformation(t *testing.T) {
	w := five(t)
	for _, wanted := range []bool{true, false} {
		c := w.connect(mqttest.Options{ClientID: "c", Clean: true, Change: func(pk *packets.Packet) {
			pk.Properties.RequestProblemInfoFlag = true
			if wanted {
				pk.Properties.RequestProblemInfo = 1
			}
		}})
		for _, qos := range []byte{1, 2} {
			id := c.Publish("$not/allowed", "x", qos)
			ack := c.await(packets.Puback+qos-1, id)
			if ack.ReasonCode < 0x80 || (ack.Properties.ReasonString != "") != wanted {
				t.Errorf("QoS %d, wanted %v: 0x%02x %q", qos, wanted, ack.ReasonCode, ack.Properties.ReasonString)
			}
		}
		ack := c.suback(0, sub{"$not/allowed", 1})
		if !wanted && (len(ack.Properties.User) > 0 || ack.Properties.ReasonString != "") {
			t.Errorf("SUBACK has %+v", ack.Properties)
		}
		c.Disconnect()
	}
}

// The last packet is DISCONNECT, and the server closes the connection after
// it [MQTT-3.14.4-1], [MQTT-3.14.4-2]; it says no session expiry
// [MQTT-3.14.2-2].
func TestServersDisconnect(t *testing.T) {
	w := five(t)
	c := w.durable("c")
	w.Stop()
	pk := c.next()
	if pk.FixedHeader.Type != packets.Disconnect || pk.ReasonCode != 0x8B {
		t.Fatalf("got packet type %d with 0x%02x, want DISCONNECT 0x8B", pk.FixedHeader.Type, pk.ReasonCode)
	}
	if pk.Properties.SessionExpiryIntervalFlag {
		t.Error("a server's DISCONNECT has a session expiry")
	}
	if pk, err := c.Read(mqttest.Patience); err == nil {
		t.Errorf("packet type %d behind DISCONNECT", pk.FixedHeader.Type)
	}
}
