package conformance_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// will is a will on the topic "will" with the payload "gone".
func will(qos byte, change ...func(*packets.ConnectParams)) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Mods.AllowResponseInfo = true // has the codec write all properties
		c := &pk.Connect
		c.WillFlag, c.WillTopic, c.WillPayload, c.WillQos = true, "will", []byte("gone"), qos
		for _, f := range change {
			f(c)
		}
	}
}

func retainedWill(c *packets.ConnectParams) { c.WillRetain = true }

func delay(seconds uint32) func(*packets.ConnectParams) {
	return func(c *packets.ConnectParams) { c.WillProperties.WillDelayInterval = seconds }
}

// mourner is a client that gets wills.
func (w *world) mourner() *client {
	c := w.clean("mourner")
	c.subscribe(2, "will")
	return c
}

// A connection that ends in any other way than by DISCONNECT 0x00 has its will
// published [MQTT-3.1.2-7], [MQTT-3.1.2-8], [3.1.1: MQTT-3.1.2-8], once
// [MQTT-3.1.2-10].
func TestWillIsPublished(t *testing.T) {
	for name, end := range map[string]func(w *world, c *client){
		"connection lost": func(_ *world, c *client) { c.vanish() },
		"protocol error":  func(_ *world, c *client) { c.MustSend([]byte{0x00, 0}); c.closed(0x81) },
		"keep-alive":      func(_ *world, c *client) { c.closed(0x8D) }, // as if the network had failed [MQTT-3.1.2-22]
		"taken over": func(w *world, c *client) {
			w.clean("c")
			c.closed(0x8E)
		},
		"disconnect with will":    func(w *world, c *client) { leave(w, c, 0x04) },
		"disconnect for a reason": func(w *world, c *client) { leave(w, c, 0x98) },
	} {
		t.Run(name, func(t *testing.T) {
			versions(t, func(w *world) {
				m := w.mourner()
				o := mqttest.Options{ClientID: "c", Clean: true, Change: will(1)}
				if name == "keep-alive" {
					o.KeepAlive = 1
				}
				end(w, w.connect(o))
				m.receive("will", "gone", 1)
				m.nothingFrom(w.clean("p"))
			})
		})
	}
}

// leave sends DISCONNECT with a code; 3.1.1 has none, there the connection just
// ends.
func leave(w *world, c *client, code byte) {
	if w.version == 4 {
		c.vanish()
		return
	}
	c.MustSend(packet(disconnectByte, code))
	c.closed(0)
}

// After DISCONNECT 0x00 there is no will [MQTT-3.14.4-3], [MQTT-3.1.2-10],
// [3.1.1: MQTT-3.14.4-3].
func TestNoWillAfterDisconnect(t *testing.T) {
	versions(t, func(w *world) {
		m := w.mourner()
		w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1)}).Disconnect()
		w.durable("c").vanish() // a connection without one [3.1.1: MQTT-3.1.2-12]
		m.nothingFrom(w.clean("p"))
	})
}

// The will has the QoS and the RETAIN that CONNECT said [MQTT-3.1.2-9],
// [MQTT-3.1.2-12], [MQTT-3.1.2-14], [MQTT-3.1.2-15], [3.1.1: MQTT-3.1.2-16],
// [3.1.1: MQTT-3.1.2-17].
func TestWillQoSAndRetain(t *testing.T) {
	versions(t, func(w *world) {
		m, p := w.mourner(), w.clean("p")
		for qos := range byte(3) {
			for _, retained := range []bool{false, true} {
				p.publish("will", "", 1, retain) // nothing is kept
				m.receive("will", "", 1)
				change := []func(*packets.ConnectParams){}
				if retained {
					change = append(change, retainedWill)
				}
				w.connect(mqttest.Options{ClientID: "c", Clean: true, Change: will(qos, change...)}).vanish()
				m.receive("will", "gone", qos)
				late := w.clean("late")
				late.subscribe(2, "will")
				if retained {
					flagged(w.t, late.receive("will", "gone", qos), true)
				}
				late.quiet()
				late.Disconnect()
			}
		}
	})
}

// The will's properties are those of its message, its user properties in
// their order [MQTT-3.1.3-10]; the delay is for the server alone.
func TestWillProperties(t *testing.T) {
	w := five(t)
	m := w.mourner()
	want := packets.Properties{PayloadFormat: 1, PayloadFormatFlag: true, ContentType: "text/plain", ResponseTopic: "answers",
		CorrelationData: []byte("7"), MessageExpiryInterval: 60,
		User: []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "0"}}}
	w.connect(mqttest.Options{ClientID: "c", Clean: true,
		Change: will(1, func(c *packets.ConnectParams) { c.WillProperties = want })}).vanish()
	if got := m.receive("will", "gone", 1).Properties; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// An empty will is a message as well.
func TestEmptyWill(t *testing.T) {
	versions(t, func(w *world) {
		m := w.mourner()
		w.connect(mqttest.Options{ClientID: "c", Clean: true,
			Change: will(1, func(c *packets.ConnectParams) { c.WillPayload = nil })}).vanish()
		m.receive("will", "", 1)
	})
}

// A client that comes back before the delay is over has no will published
// [MQTT-3.1.3-9].
func TestWillDelayed(t *testing.T) {
	w := five(t)
	m, p := w.mourner(), w.clean("p")
	o := mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1, delay(3600))}
	w.connect(o).vanish()
	m.nothingFrom(p)
	w.durable("c").Disconnect()
	m.nothingFrom(p)
}

// The delay ends with the session, if that ends first [MQTT-3.1.2-8]: at once
// when it ends with its connection, or by a clean start, or after its expiry.
func TestWillDelayEndsWithTheSession(t *testing.T) {
	for name, test := range map[string]func(w *world){
		"with its connection": func(w *world) {
			w.connect(mqttest.Options{ClientID: "c", Clean: true, Change: will(1, delay(3600))}).vanish()
		},
		"by a clean start": func(w *world) {
			w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1, delay(3600))}).vanish()
			w.clean("c")
		},
		"by its expiry": func(w *world) {
			w.connect(mqttest.Options{ClientID: "c", Expiry: 1, Change: will(1, delay(3600))}).vanish()
		},
		"by the delay": func(w *world) {
			w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1, delay(1))}).vanish()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := five(t)
			m := w.mourner()
			test(w)
			m.receive("will", "gone", 1)
		})
	}
}

// A takeover is the end of a connection: its will is published, unless it is
// delayed [MQTT-3.1.3-9].
func TestWillOfTakenOverConnection(t *testing.T) {
	w := five(t)
	m, p := w.mourner(), w.clean("p")
	c := w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1, delay(3600))})
	c2 := w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1)})
	c.closed(0x8E)
	m.nothingFrom(p)
	w.durable("c")
	c2.closed(0x8E)
	m.receive("will", "gone", 1)
}

// Wills outlive the server: that of a client that was connected is published
// when the server is back, unless the client comes before its delay is over.
func TestWillAfterRestart(t *testing.T) {
	stored(t, func(w *world) {
		m := w.connect(mqttest.Options{ClientID: "mourner", Expiry: 3600})
		m.subscribe(1, "will")
		w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1)})
		if w.version == 5 {
			w.connect(mqttest.Options{ClientID: "d", Expiry: 3600, Change: will(1, delay(3600),
				func(c *packets.ConnectParams) { c.WillPayload = []byte("delayed") })})
		}
		w.restart()
		m = w.durable("mourner")
		m.receive("will", "gone", 1)
		w.durable("d").Disconnect()
		m.nothingFrom(w.clean("p"))
	})
}

// Who may not publish the will is refused at CONNECT.
func TestWillRefused(t *testing.T) {
	versions(t, func(w *world) {
		for _, topic := range []string{"will", "$SYS/x"} {
			c := w.try(mqttest.Options{ClientID: "c", Clean: true, User: user, Password: tokenFor(w.t, "other/#"),
				Change: will(1, func(c *packets.ConnectParams) { c.WillTopic = topic })})
			want := byte(0x87)
			if w.version == 4 {
				want = 5
			}
			if c.ack.ReasonCode != want {
				w.t.Errorf("%s: CONNACK 0x%02x, want 0x%02x", topic, c.ack.ReasonCode, want)
			}
			c.ExpectClosed()
		}
	})
}

// The will belongs to its connection: a new one replaces it or has none.
func TestWillOfTheNewestConnection(t *testing.T) {
	versions(t, func(w *world) {
		m, p := w.mourner(), w.clean("p")
		for i := range 3 {
			text := fmt.Sprint("will ", i)
			c := w.connect(mqttest.Options{ClientID: "c", Expiry: 3600, Change: will(1, func(c *packets.ConnectParams) {
				c.WillPayload = []byte(text)
			})})
			if i < 2 {
				c.Disconnect()
				continue
			}
			c.vanish()
		}
		m.receive("will", "will 2", 1)
		m.nothingFrom(p)
	})
}

// A message expiry interval of a will counts from its publication.
func TestWillExpiry(t *testing.T) {
	clock := newClock()
	w := five(t, clock.options())
	m := w.durable("m")
	m.subscribe(1, "will")
	c := w.connect(mqttest.Options{ClientID: "c", Clean: true, Change: will(1, func(c *packets.ConnectParams) {
		c.WillProperties.MessageExpiryInterval = 10
	})})
	clock.forward(time.Minute)
	c.vanish()
	if got := m.receive("will", "gone", 1).Properties.MessageExpiryInterval; got != 10 {
		t.Errorf("the will came with an expiry of %d", got)
	}
}
