package conformance_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// breach is what a client must not send, and what it gets.
type breach struct {
	name string
	only byte // a version, or 0 for both
	send func(version byte) []byte
	code byte // of the DISCONNECT in MQTT 5
}

// either is a packet that is the same in both versions but for the empty
// properties that follow the fields before them in MQTT 5.
func either(first byte, before []any, after ...any) func(byte) []byte {
	return func(version byte) []byte {
		fields := append([]any(nil), before...)
		if version == 5 {
			fields = append(fields, props{})
		}
		return packet(first, append(fields, after...)...)
	}
}

func just(raw []byte) func(byte) []byte { return func(byte) []byte { return raw } }

var breaches = []breach{
	{"reserved packet type", 0, just(packet(0x00)), 0x81},
	{"flags of PINGREQ", 0, just(packet(0xC1)), 0x81},                                                            // [MQTT-2.1.3-1]
	{"flags of PUBREL", 0, just(packet(0x60, uint16(1))), 0x81},                                                  // [MQTT-3.6.1-1]
	{"flags of SUBSCRIBE", 0, either(0x80, []any{uint16(1)}, "a", 0), 0x81},                                      // [MQTT-3.8.1-1]
	{"flags of UNSUBSCRIBE", 0, either(0xA0, []any{uint16(1)}, "a"), 0x81},                                       // [MQTT-3.10.1-1]
	{"flags of DISCONNECT", 0, just(packet(0xE1)), 0x81},                                                         // [MQTT-3.14.1-1]
	{"flags of AUTH", 5, just(packet(0xF1, 0x19, props{authMethod, "jwt"})), 0x81},                               // [MQTT-3.15.1-1]
	{"both QoS bits", 0, either(0x36, []any{"t", uint16(1)}), 0x81},                                              // [MQTT-3.3.1-4]
	{"DUP at QoS 0", 0, either(0x38, []any{"t"}), 0x82},                                                          // [MQTT-3.3.1-2]
	{"packet identifier 0 in PUBLISH", 0, either(0x32, []any{"t", uint16(0)}), 0x82},                             // [MQTT-2.2.1-3]
	{"packet identifier 0 in SUBSCRIBE", 0, either(0x82, []any{uint16(0)}, "a", 0), 0x82},                        // [MQTT-2.2.1-3]
	{"packet identifier 0 in UNSUBSCRIBE", 0, either(0xA2, []any{uint16(0)}, "a"), 0x82},                         // [MQTT-2.2.1-3]
	{"SUBSCRIBE without a filter", 0, either(0x82, []any{uint16(1)}), 0x82},                                      // [MQTT-3.8.3-2]
	{"UNSUBSCRIBE without a filter", 0, either(0xA2, []any{uint16(1)}), 0x82},                                    // [MQTT-3.10.3-2]
	{"subscription options with reserved bits", 0, either(0x82, []any{uint16(1)}, "a", 0xC0), 0x81},              // [MQTT-3.8.3-5], [3.1.1: MQTT-3.8.3-4]
	{"subscription with QoS 3", 4, either(0x82, []any{uint16(1)}, "a", 3), 0x81},                                 // [3.1.1: MQTT-3.8.3-4]
	{"No Local on a shared subscription", 5, either(0x82, []any{uint16(1)}, "$share/g/a", int(noLocal)), 0x82},   // [MQTT-3.8.3-4]
	{"surrogate in a topic name", 0, either(publishByte, []any{"a\xed\xa0\x80"}), 0x81},                          // [MQTT-1.5.4-1]
	{"null character in a topic name", 0, either(publishByte, []any{"a\x00"}), 0x81},                             // [MQTT-1.5.4-2], [MQTT-4.7.3-2]
	{"topic name not UTF-8", 0, either(publishByte, []any{"\xff"}), 0x81},                                        // [MQTT-3.3.2-1]
	{"filter not UTF-8", 0, either(0x82, []any{uint16(1)}, "\xff", 0), 0x81},                                     // [MQTT-3.8.3-1]
	{"filter of UNSUBSCRIBE not UTF-8", 0, either(0xA2, []any{uint16(1)}, "\xff"), 0x81},                         // [MQTT-3.10.3-1]
	{"# in a topic name", 0, either(publishByte, []any{"a/#"}), 0x82},                                            // [MQTT-3.3.2-2], [MQTT-4.7.0-1]
	{"+ in a topic name", 0, either(publishByte, []any{"+"}), 0x82},                                              // [MQTT-3.3.2-2], [MQTT-4.7.0-1]
	{"empty topic name", 0, either(publishByte, []any{""}), 0x82},                                                // [MQTT-4.7.3-1]
	{"empty filter", 0, either(0x82, []any{uint16(1)}, "", 0), 0x82},                                             // [MQTT-4.7.3-1]
	{"user property not UTF-8", 5, just(packet(publishByte, "t", props{userProperty, "k", "\xff"})), 0x81},       // [MQTT-1.5.7-1]
	{"long variable byte integer", 5, just([]byte{pingreqByte, 0x80, 0x00}), 0x81},                               // [MQTT-1.5.5-1]
	{"remaining length of five bytes", 0, just([]byte{publishByte, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}), 0x81},         // section 2.1.4
	{"content type not UTF-8", 5, just(packet(publishByte, "t", props{3, "\xff"})), 0x81},                        // [MQTT-3.3.2-19]
	{"response topic not UTF-8", 5, just(packet(publishByte, "t", props{responseTopicID, "\xff"})), 0x81},        // [MQTT-3.3.2-13]
	{"response topic with a wildcard", 5, just(packet(publishByte, "t", props{responseTopicID, "a/+"})), 0x82},   // [MQTT-3.3.2-14]
	{"subscription identifier from a client", 5, just(packet(publishByte, "t", props{subscriptionID, 1})), 0x82}, // [MQTT-3.3.4-6]
	{"topic alias 0", 5, just(packet(publishByte, "t", props{topicAlias, uint16(0)})), 0x94},                     // [MQTT-3.3.2-8]
	{"property of another packet", 5, just(packet(publishByte, "t", props{sessionExpiry, uint32(1)})), 0x81},     // section 2.2.2.2
	{"reason code of PUBACK", 5, just(packet(0x40, uint16(1), 0x81)), 0x82},                                      // [MQTT-3.4.2-1]
	{"reason code of PUBREC", 5, just(packet(0x50, uint16(1), 0x81)), 0x82},                                      // [MQTT-3.5.2-1]
	{"reason code of PUBREL", 5, just(packet(0x62, uint16(1), 0x80)), 0x82},                                      // [MQTT-3.6.2-1]
	{"reason code of PUBCOMP", 5, just(packet(0x70, uint16(1), 0x80)), 0x82},                                     // [MQTT-3.7.2-1]
	{"reason code of DISCONNECT", 5, just(packet(disconnectByte, 0x8B)), 0x82},                                   // [MQTT-3.14.2-1]
	{"reason code of AUTH", 5, just(packet(authByte, 0x01, props{authMethod, "jwt"})), 0x82},                     // [MQTT-3.15.2-1]
	{"packet of a server", 0, just(packet(0xD0)), 0x82},
	{"second CONNECT", 0, func(version byte) []byte { // [MQTT-3.1.0-2]
		return either(connectByte, []any{"MQTT", version, 2, uint16(0)}, "c")(version)
	}, 0x82},
}

// A malformed packet or a protocol error ends the connection, in MQTT 5 with
// a DISCONNECT that says why, and ends no other [MQTT-4.13.1-1],
// [MQTT-4.13.2-1], [MQTT-3.14.4-2], [3.1.1: MQTT-4.8.0-1].
func TestBreachEndsTheConnection(t *testing.T) {
	versions(t, func(w *world) {
		other := w.clean("other")
		for _, b := range breaches {
			if b.only != 0 && b.only != w.version {
				continue
			}
			w.t.Run(b.name, func(t *testing.T) {
				c := w.clean("c")
				c.t = t
				c.MustSend(append(b.send(w.version), pingreqByte, 0)) // what follows is not looked at
				c.closed(b.code)
			})
		}
		other.quiet()
	})
}

// A CONNECT that is malformed gets what its version knows for it: in 3.1.1
// most often nothing but the end [MQTT-3.1.4-1], [3.1.1: MQTT-3.1.4-1],
// [3.1.1: MQTT-3.2.2-6].
func TestRefusedConnectPackets(t *testing.T) {
	connack5 := func(code byte) []byte { return []byte{0x20, 0, 0, code} } // but for length and properties
	for _, tt := range []struct {
		name string
		send []byte
		want []byte // of the CONNACK; nil is none
	}{
		{"first packet is no CONNECT", packet(pingreqByte), nil},                                                                     // [MQTT-3.1.0-1], [MQTT-3.14.0-1]
		{"first packet is AUTH", packet(authByte, 0x19, props{authMethod, "jwt"}), nil},                                              // [MQTT-3.1.0-1]
		{"another protocol", packet(connectByte, "AMQP", 5, 2, uint16(0), props{}, "c"), nil},                                        // [MQTT-3.1.2-1]
		{"protocol name in small letters", packet(connectByte, "mqtt", 4, 2, uint16(0), "c"), nil},                                   // [MQTT-3.1.2-1]
		{"MQTT 3.1", packet(connectByte, "MQIsdp", 3, 2, uint16(0), "c"), []byte{0x20, 2, 0, 1}},                                     // [3.1.1: MQTT-3.1.2-2]
		{"level 6", packet(connectByte, "MQTT", 6, 2, uint16(0), props{}, "c"), connack5(0x84)},                                      // [MQTT-3.1.2-2]
		{"reserved flag", packet(connectByte, "MQTT", 5, 3, uint16(0), props{}, "c"), connack5(0x81)},                                // [MQTT-3.1.2-3]
		{"reserved flag in 3.1.1", packet(connectByte, "MQTT", 4, 3, uint16(0), "c"), nil},                                           // [3.1.1: MQTT-3.1.2-3]
		{"will QoS without a will", packet(connectByte, "MQTT", 5, 0x0A, uint16(0), props{}, "c"), connack5(0x82)},                   // [MQTT-3.1.2-11]
		{"will QoS 3", packet(connectByte, "MQTT", 5, 0x1E, uint16(0), props{}, "c", props{}, "w", ""), connack5(0x81)},              // [MQTT-3.1.2-12]
		{"will retain without a will", packet(connectByte, "MQTT", 5, 0x22, uint16(0), props{}, "c"), connack5(0x82)},                // [MQTT-3.1.2-13]
		{"will flag without a will", packet(connectByte, "MQTT", 5, 0x06, uint16(0), props{}, "c"), connack5(0x81)},                  // [MQTT-3.1.2-9]
		{"will topic not UTF-8", packet(connectByte, "MQTT", 5, 0x06, uint16(0), props{}, "c", props{}, "\xff", ""), connack5(0x81)}, // [MQTT-3.1.3-11]
		{"user name without its flag", packet(connectByte, "MQTT", 5, 2, uint16(0), props{}, "c", "u"), connack5(0x81)},              // [MQTT-3.1.2-16]
		{"flag without a user name", packet(connectByte, "MQTT", 5, 0x82, uint16(0), props{}, "c"), connack5(0x81)},                  // [MQTT-3.1.2-17]
		{"password without its flag", packet(connectByte, "MQTT", 5, 0x82, uint16(0), props{}, "c", "u", "p"), connack5(0x81)},       // [MQTT-3.1.2-18]
		{"flag without a password", packet(connectByte, "MQTT", 5, 0xC2, uint16(0), props{}, "c", "u"), connack5(0x81)},              // [MQTT-3.1.2-19]
		{"password without a user name in 3.1.1", packet(connectByte, "MQTT", 4, 0x42, uint16(0), "c", "p"), nil},                    // [3.1.1: MQTT-3.1.2-22]
		{"user name not UTF-8", packet(connectByte, "MQTT", 5, 0x82, uint16(0), props{}, "c", "\xff"), connack5(0x81)},               // [MQTT-3.1.3-12]
		{"client identifier not UTF-8", packet(connectByte, "MQTT", 5, 2, uint16(0), props{}, "\xff"), connack5(0x81)},               // [MQTT-3.1.3-4]
		{"no client identifier", packet(connectByte, "MQTT", 5, 2, uint16(0), props{}), connack5(0x81)},                              // [MQTT-3.1.3-3]
		{"empty client identifier in 3.1.1", packet(connectByte, "MQTT", 4, 0, uint16(0), ""), []byte{0x20, 2, 0, 2}},                // [3.1.1: MQTT-3.1.3-8]
		{"authentication data alone", packet(connectByte, "MQTT", 5, 2, uint16(0), props{authData, "x"}, "c"), connack5(0x82)},       // section 3.1.2.11.10
		{"Receive Maximum 0", packet(connectByte, "MQTT", 5, 2, uint16(0), props{33, uint16(0)}, "c"), connack5(0x82)},               // section 3.1.2.11.3
		{"no token", packet(connectByte, "MQTT", 5, 2, uint16(0), props{}, "c"), connack5(0x86)},                                     // [MQTT-3.1.4-2]
		{"no token in 3.1.1", packet(connectByte, "MQTT", 4, 2, uint16(0), "c"), []byte{0x20, 2, 0, 4}},                              // [MQTT-3.1.4-2]
		{"clean session off and no token in 3.1.1", packet(connectByte, "MQTT", 4, 0, uint16(0), "c"), []byte{0x20, 2, 0, 4}},        // [3.1.1: MQTT-3.2.2-4]
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := five(t).stranger()
			// What follows the CONNECT is not processed: no SUBACK, no PINGRESP
			// [MQTT-3.1.4-6], [3.1.1: MQTT-3.1.4-5].
			c.MustSend(append(append(tt.send, subscribePacket(5, 1, 0, sub{"t", 0})...), pingreqByte, 0))
			got := all(t, c)
			if tt.want == nil {
				if len(got) > 0 {
					t.Errorf("got %x, want nothing", got)
				}
				return
			}
			if len(got) < 4 || got[0] != tt.want[0] || int(got[1]) != len(got)-2 { // one packet [MQTT-3.2.0-2]
				t.Fatalf("got %x, want one CONNACK", got)
			}
			if !bytes.Equal(got[2:4], tt.want[2:4]) { // Session Present 0 [MQTT-3.2.2-6]
				t.Errorf("CONNACK with flags %x and code 0x%02x, want %x", got[2], got[3], tt.want[2:4])
			}
		})
	}
}

// all reads what comes until the server closes the connection, as it must
// [MQTT-3.2.2-7], [3.1.1: MQTT-3.2.2-5].
func all(t *testing.T, c *client) []byte {
	t.Helper()
	_ = c.Conn.SetReadDeadline(time.Now().Add(mqttest.Patience))
	got, err := io.ReadAll(c.Conn)
	if err != nil {
		t.Fatalf("the server did not close the connection: %v", err)
	}
	return got
}
