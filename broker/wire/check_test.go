package wire

import (
	"strings"
	"testing"
)

// checkCase is a packet and what Check must say of it: a reason code, or 0.
type checkCase struct {
	name    string
	version byte
	packet  Packet
	code    byte
}

func runChecks(t *testing.T, cases []checkCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { wantCode(t, Check(c.version, c.packet), c.code) })
	}
}

func TestCheckFixedHeader(t *testing.T) {
	sub := []any{uint16(1), props{}, "a", 1}
	unsub := []any{uint16(1), props{}, "a"}
	long := packet(0xC0)
	long.Long = true
	longPublish, longAck, longConnect := packet(0x30, "a", props{}), packet(0x40, uint16(1)), connect5(0, "c")
	longPublish.Long, longAck.Long, longConnect.Long = true, true, true
	long311 := packet(0x10, "MQTT", 4, 2, uint16(0), "c")
	long311.Long = true
	cases := []checkCase{
		{"reserved type 0", 5, packet(0x00), 0x81},
		{"reserved type 0 with flags", 5, packet(0x01), 0x81},
		{"AUTH in 3.1.1", 4, packet(0xF0, 0x19, props{21, "jwt"}), 0x81},
		{"MQTT-2.1.3-1 CONNECT flags", 5, packet(0x11, "MQTT", 5, 2, uint16(0), props{}, "c"), 0x81},
		{"MQTT-3.8.1-1 SUBSCRIBE flags 0", 5, packet(0x80, sub...), 0x81},
		{"MQTT-3.8.1-1 SUBSCRIBE flags 3", 5, packet(0x83, sub...), 0x81},
		{"SUBSCRIBE flags", 5, packet(0x82, sub...), 0},
		{"MQTT-3.10.1-1 UNSUBSCRIBE flags 0", 5, packet(0xA0, unsub...), 0x81},
		{"UNSUBSCRIBE flags", 5, packet(0xA2, unsub...), 0},
		{"MQTT-3.6.1-1 PUBREL flags 0", 5, packet(0x60, uint16(1)), 0x81},
		{"PUBREL flags", 5, packet(0x62, uint16(1)), 0},
		{"MQTT-2.1.3-1 PUBACK flags", 5, packet(0x42, uint16(1)), 0x81},
		{"MQTT-2.1.3-1 PUBREC flags", 5, packet(0x51, uint16(1)), 0x81},
		{"MQTT-2.1.3-1 PUBCOMP flags", 5, packet(0x78, uint16(1)), 0x81},
		{"MQTT-2.1.3-1 PINGREQ flags", 5, packet(0xC1), 0x81},
		{"MQTT-3.14.1-1 DISCONNECT flags", 5, packet(0xE2), 0x81},
		{"MQTT-3.15.1-1 AUTH flags", 5, packet(0xF1, 0x19, props{21, "jwt"}), 0x81},
		{"CONNACK from a client", 5, packet(0x20, 0, 0, props{}), 0x82},
		{"SUBACK from a client", 5, packet(0x90, uint16(1), props{}, 0), 0x82},
		{"UNSUBACK from a client", 5, packet(0xB0, uint16(1), props{}, 0), 0x82},
		{"PINGRESP from a client", 4, packet(0xD0), 0x82},
		{"MQTT-1.5.5-1 remaining length", 5, long, 0x81},
		{"MQTT-1.5.5-1 remaining length of PUBLISH", 5, longPublish, 0x81},
		{"MQTT-1.5.5-1 remaining length of PUBACK", 5, longAck, 0x81},
		{"MQTT-1.5.5-1 remaining length of CONNECT", 4, longConnect, 0x81},
		{"remaining length in 3.1.1", 4, long, 0},
		{"remaining length of CONNECT in 3.1.1", 5, long311, 0},
		{"PINGREQ", 5, packet(0xC0), 0},
		{"MQTT-3.12 PINGREQ with a payload", 5, packet(0xC0, 0), 0x81},
		{"MQTT-3.12 PINGREQ with a payload in 3.1.1", 4, packet(0xC0, 0), 0x81},
	}
	runChecks(t, cases)
}

// connect5 is a CONNECT of MQTT 5 with the flags and what follows the
// properties.
func connect5(flags int, rest ...any) Packet {
	return packet(0x10, append([]any{"MQTT", 5, flags, uint16(60), props{}}, rest...)...)
}

func connect4(flags int, rest ...any) Packet {
	return packet(0x10, append([]any{"MQTT", 4, flags, uint16(60)}, rest...)...)
}

// connectProps is a CONNECT of MQTT 5 with the properties.
func connectProps(p ...any) Packet {
	return packet(0x10, "MQTT", 5, 2, uint16(60), props(p), "c")
}

func TestCheckConnect(t *testing.T) {
	runChecks(t, []checkCase{
		{"5", 5, connect5(2, "c"), 0},
		{"5, empty client id", 5, connect5(0, ""), 0},
		{"5, password alone", 5, connect5(0x40, "c", "pw"), 0},
		{"5, empty user name and password", 5, connect5(0xC0, "c", "", ""), 0},
		{"5, will", 5, connect5(0x36, "c", props{}, "w", "bye"), 0},
		{"5, will with an empty payload", 5, connect5(0x04, "c", props{}, "w", ""), 0},
		{"3.1.1", 0, connect4(2, "c"), 0},
		{"3.1.1, will, user name, password", 0, connect4(0xEC, "c", "w", "bye", "u", "p"), 0},
		{"3.1.1, user name alone", 0, connect4(0x80, "c", "u"), 0},
		{"3.1.1, empty client id, clean session", 0, connect4(2, ""), 0},
		{"empty", 0, packet(0x10), 0x81},
		{"MQTT-3.1.2-1 protocol name", 0, packet(0x10, "MQTTX", 5, 2, uint16(0), props{}, "c"), 0x84},
		{"MQTT-3.1.2-1 protocol name in another case", 0, packet(0x10, "mqtt", 4, 2, uint16(0), "c"), 0x84},
		{"MQTT-1.5.4-1 protocol name", 0, packet(0x10, "MQT\xff", 4, 2, uint16(0), "c"), 0x81},
		{"MQTT-3.1.2-2 MQTT 3.1", 0, packet(0x10, "MQIsdp", 3, 2, uint16(0), "c"), 0x84},
		{"MQTT-3.1.2-2 MQIsdp with 4", 0, packet(0x10, "MQIsdp", 4, 2, uint16(0), "c"), 0x84},
		{"MQTT-3.1.2-2 level 3", 0, packet(0x10, "MQTT", 3, 2, uint16(0), "c"), 0x84},
		{"MQTT-3.1.2-2 level 6", 0, packet(0x10, "MQTT", 6, 2, uint16(0), props{}, "c"), 0x84},
		{"MQTT-3.1.2-2 level of a bridge", 0, packet(0x10, "MQTT", 0x84, 2, uint16(0), "c"), 0x84},
		{"no level", 0, packet(0x10, "MQTT"), 0x81},
		{"no flags", 0, packet(0x10, "MQTT", 5), 0x81},
		{"no keep alive", 0, packet(0x10, "MQTT", 5, 2, 0), 0x81},
		{"no properties", 0, packet(0x10, "MQTT", 5, 2, uint16(0)), 0x81},
		{"no client id", 0, connect5(2), 0x81},
		{"MQTT-3.1.2-3 reserved flag", 0, connect5(3, "c"), 0x81},
		{"MQTT-3.1.2-11 will QoS without a will", 0, connect5(0x08, "c"), 0x82},
		{"MQTT-3.1.2-11 will QoS 3 without a will", 0, connect4(0x18, "c"), 0x82},
		{"MQTT-3.1.2-12 will QoS 3", 0, connect5(0x1C, "c", props{}, "w", ""), 0x81},
		{"MQTT-3.1.2-13 will retain without a will", 0, connect5(0x20, "c"), 0x82},
		{"3.1.1: MQTT-3.1.2-22 password without a user name", 0, connect4(0x42, "c", "pw"), 0x82},
		{"3.1.1: MQTT-3.1.3-8 empty client id", 0, connect4(0, ""), 0x85},
		{"MQTT-3.1.3-4 client id", 0, connect5(2, "\xff"), 0x81},
		{"MQTT-1.5.4-2 client id", 0, connect5(2, "a\x00"), 0x81},
		{"MQTT-1.5.4-1 surrogate in client id", 0, connect5(2, "\xed\xa0\x80"), 0x81},
		{"MQTT-3.1.3-11 will topic", 0, connect5(4, "c", props{}, "\xff", ""), 0x81},
		{"MQTT-4.7.3-1 empty will topic", 0, connect5(4, "c", props{}, "", "x"), 0x82},
		{"MQTT-4.7.0-1 will topic with a wildcard", 0, connect4(6, "c", "a/+", "x"), 0x82},
		{"no will properties", 0, connect5(4, "c"), 0x81},
		{"no will topic", 0, connect5(4, "c", props{}), 0x81},
		{"no will payload", 0, connect5(4, "c", props{}, "w"), 0x81},
		{"MQTT-3.1.3-12 user name", 0, connect5(0x80, "c", "\xc3\x28"), 0x81},
		{"MQTT-1.5.4-2 user name", 0, connect4(0x82, "c", "a\x00"), 0x81},
		{"MQTT-3.1.2-17 no user name", 0, connect5(0x80, "c"), 0x81},
		{"MQTT-3.1.2-19 no password", 0, connect5(0xC0, "c", "u"), 0x81},
		{"cut in the password", 0, connect5(0xC0, "c", "u", raw{0, 5, 'p'}), 0x81},
		{"MQTT-3.1.2-16 user name without its flag", 0, connect5(2, "c", "u"), 0x81},
		{"MQTT-3.1.2-18 password without its flag", 0, connect4(0x82, "c", "u", "p"), 0x81},
		{"will without its flag", 0, connect5(2, "c", props{}, "w", "x"), 0x81},
		{"3.1.1 with properties", 0, packet(0x10, "MQTT", 4, 2, uint16(0), props{}, "c"), 0x81},
	})
}

func TestCheckConnectProperties(t *testing.T) {
	will := func(p ...any) Packet { return connect5(4, "c", props(p), "w", "x") }
	runChecks(t, []checkCase{
		{"all", 5, connectProps(17, uint32(5), 33, uint16(1), 39, uint32(1), 34, uint16(0), 25, 1, 23, 0,
			38, "k", "v", 38, "k", "v", 21, "jwt", 22, "data"), 0},
		{"all of the will", 5, will(24, uint32(0), 1, 1, 2, uint32(0), 3, "text", 8, "r", 9, "c", 38, "k", "v"), 0},
		{"2.2.2.2 of PUBLISH", 5, connectProps(35, uint16(1)), 0x81},
		{"2.2.2.2 of CONNACK", 5, connectProps(36, 1), 0x81},
		{"2.2.2.2 will delay outside the will", 5, connectProps(24, uint32(1)), 0x81},
		{"2.2.2.2 unknown", 5, connectProps(77, 1), 0x81},
		{"2.2.2.2 unknown, long", 5, connectProps(vbi(1000), 1), 0x81},
		{"2.2.2.2 zero", 5, connectProps(0), 0x81},
		{"MQTT-1.5.5-1 identifier", 5, connectProps(raw{0xA6, 0x00}, "k", "v"), 0x81},
		{"3.1.2.11.2 session expiry twice", 5, connectProps(17, uint32(5), 17, uint32(5)), 0x82},
		{"3.1.2.11.3 receive maximum 0", 5, connectProps(33, uint16(0)), 0x82},
		{"3.1.2.11.3 receive maximum twice", 5, connectProps(33, uint16(1), 33, uint16(2)), 0x82},
		{"3.1.2.11.4 maximum packet size 0", 5, connectProps(39, uint32(0)), 0x82},
		{"3.1.2.11.4 maximum packet size twice", 5, connectProps(39, uint32(9), 39, uint32(9)), 0x82},
		{"3.1.2.11.5 topic alias maximum twice", 5, connectProps(34, uint16(1), 34, uint16(1)), 0x82},
		{"3.1.2.11.6 response information 2", 5, connectProps(25, 2), 0x82},
		{"3.1.2.11.6 response information twice", 5, connectProps(25, 1, 25, 1), 0x82},
		{"3.1.2.11.7 problem information 2", 5, connectProps(23, 2), 0x82},
		{"3.1.2.11.7 problem information twice", 5, connectProps(23, 1, 23, 0), 0x82},
		{"MQTT-1.5.7-1 user property", 5, connectProps(38, "k", "\xff"), 0x81},
		{"user property without a value", 5, connectProps(38, "k"), 0x81},
		{"3.1.2.11.9 authentication method twice", 5, connectProps(21, "a", 21, "a"), 0x82},
		{"3.1.2.11.10 authentication data alone", 5, connectProps(22, "a"), 0x82},
		{"3.1.2.11.10 authentication data twice", 5, connectProps(21, "a", 22, "a", 22, "a"), 0x82},
		{"properties run over the packet", 5, packet(0x10, "MQTT", 5, 2, uint16(0), vbi(99), "c"), 0x81},
		{"property runs over the properties", 5, connectProps(17, uint16(5)), 0x81},
		{"MQTT-1.5.5-1 length of properties", 5, packet(0x10, "MQTT", 5, 2, uint16(0), raw{0x80, 0}, "c"), 0x81},
		{"length of properties in five bytes", 5, packet(0x10, "MQTT", 5, 2, uint16(0), raw{0x80, 0x80, 0x80, 0x80, 1}, "c"), 0x81},
		{"3.1.3.2.2 will delay twice", 5, will(24, uint32(1), 24, uint32(1)), 0x82},
		{"3.1.3.2.3 payload format of the will 2", 5, will(1, 2), 0x82},
		{"3.1.3.2.4 expiry of the will twice", 5, will(2, uint32(1), 2, uint32(1)), 0x82},
		{"3.1.3.2.6 response topic of the will", 5, will(8, "a/#"), 0x82},
		{"2.2.2.2 topic alias in the will", 5, will(35, uint16(1)), 0x81},
		{"2.2.2.2 receive maximum in the will", 5, will(33, uint16(1)), 0x81},
	})
}

func TestCheckSubscribe(t *testing.T) {
	sub := func(fields ...any) Packet { return packet(0x82, append([]any{uint16(1), props{}}, fields...)...) }
	withProps := func(p ...any) Packet { return packet(0x82, uint16(1), props(p), "a", 0) }
	runChecks(t, []checkCase{
		{"5", 5, sub("a", 0x2E, "b/#", 0, "$share/g/a", 1), 0},
		{"3.1.1", 4, packet(0x82, uint16(1), "a", 0, "b", 2), 0},
		{"5, properties", 5, withProps(11, vbi(268435455), 38, "after", "3", 38, "after", "4"), 0},
		{"wildcards are ParseFilter's", 5, sub("a#", 0), 0},
		{"empty", 5, packet(0x82), 0x81},
		{"MQTT-2.2.1-3 packet id 0", 5, packet(0x82, uint16(0), props{}, "a", 0), 0x82},
		{"MQTT-2.2.1-3 packet id 0 in 3.1.1", 4, packet(0x82, uint16(0), "a", 0), 0x82},
		{"MQTT-3.8.3-2 no filter", 5, sub(), 0x82},
		{"MQTT-3.8.3-2 no filter in 3.1.1", 4, packet(0x82, uint16(1)), 0x82},
		{"MQTT-3.8.3-1 filter", 5, sub("\xff", 0), 0x81},
		{"MQTT-1.5.4-2 filter", 5, sub("a\x00", 0), 0x81},
		{"MQTT-4.7.3-1 empty filter", 5, sub("", 0), 0x82},
		{"no options", 5, sub("a"), 0x81},
		{"no options for the second filter", 5, sub("a", 0, "b"), 0x81},
		{"no options in 3.1.1", 4, packet(0x82, uint16(1), "a"), 0x81},
		{"MQTT-3.8.3-5 reserved bit 6", 5, sub("a", 0x40), 0x81},
		{"MQTT-3.8.3-5 reserved bit 7", 5, sub("a", 0x80), 0x81},
		{"3.8.3.1 QoS 3", 5, sub("a", 3), 0x82},
		{"3.8.3.1 retain handling 3", 5, sub("a", 0x30), 0x82},
		{"MQTT-3.8.3-4 no local on a shared subscription", 5, sub("$share/g/a", 4), 0x82},
		{"3.1.1: MQTT-3.8.3-4 QoS 3", 4, packet(0x82, uint16(1), "a", 3), 0x81},
		{"3.1.1: MQTT-3.8.3-4 reserved bits", 4, packet(0x82, uint16(1), "a", 4), 0x81},
		{"3.8.2.1.2 subscription identifier 0", 5, withProps(11, 0), 0x82},
		{"3.8.2.1.2 subscription identifier twice", 5, withProps(11, 1, 11, 2), 0x82},
		{"MQTT-1.5.5-1 subscription identifier", 5, withProps(11, raw{0x81, 0}), 0x81},
		{"subscription identifier in five bytes", 5, withProps(11, raw{0x81, 0x80, 0x80, 0x80, 1}), 0x81},
		{"2.2.2.2 property", 5, withProps(31, "why"), 0x81},
	})
}

func TestCheckUnsubscribe(t *testing.T) {
	runChecks(t, []checkCase{
		{"5", 5, packet(0xA2, uint16(1), props{38, "k", "v"}, "a", "b/+"), 0},
		{"3.1.1", 4, packet(0xA2, uint16(1), "a"), 0},
		{"MQTT-2.2.1-3 packet id 0", 5, packet(0xA2, uint16(0), props{}, "a"), 0x82},
		{"MQTT-3.10.3-2 no filter", 5, packet(0xA2, uint16(1), props{}), 0x82},
		{"MQTT-3.10.3-2 no filter in 3.1.1", 4, packet(0xA2, uint16(1)), 0x82},
		{"MQTT-3.10.3-1 filter", 5, packet(0xA2, uint16(1), props{}, "\xff"), 0x81},
		{"MQTT-4.7.3-1 empty filter", 5, packet(0xA2, uint16(1), props{}, ""), 0x82},
		{"cut in a filter", 5, packet(0xA2, uint16(1), props{}, raw{0, 2, 'a'}), 0x81},
		{"2.2.2.2 subscription identifier", 5, packet(0xA2, uint16(1), props{11, 1}, "a"), 0x81},
	})
}

func TestCheckPublish(t *testing.T) {
	pub := func(p ...any) Packet { return packet(0x30, "a", props(p), raw("x")) }
	runChecks(t, []checkCase{
		{"QoS 0", 5, packet(0x30, "a", props{}), 0},
		{"QoS 1, DUP, retain", 5, packet(0x3B, "a", uint16(1), props{}, raw("x")), 0},
		{"QoS 2 in 3.1.1", 4, packet(0x34, "a", uint16(65535), raw("x")), 0},
		{"all properties", 5, pub(1, 1, 2, uint32(0), 35, uint16(9), 8, "r", 9, "c", 38, "k", "v", 38, "k", "v", 3, "t"), 0},
		{"alias alone", 5, packet(0x30, "", props{35, uint16(1)}), 0},
		{"MQTT-3.3.1-4 QoS 3", 5, packet(0x36, "a", uint16(1), props{}), 0x81},
		{"MQTT-3.3.1-4 QoS 3 in 3.1.1", 4, packet(0x36, "a", uint16(1)), 0x81},
		{"MQTT-3.3.1-2 DUP with QoS 0", 5, packet(0x38, "a", props{}), 0x82},
		{"MQTT-2.2.1-3 packet id 0", 5, packet(0x32, "a", uint16(0), props{}), 0x82},
		{"MQTT-2.2.1-3 packet id 0 in 3.1.1", 4, packet(0x34, "a", uint16(0)), 0x82},
		{"no packet id", 4, packet(0x32, "a"), 0x81},
		{"MQTT-3.3.2-1 topic", 5, packet(0x30, "\xff", props{}), 0x81},
		{"MQTT-1.5.4-2 topic", 4, packet(0x30, "a\x00b"), 0x81},
		{"MQTT-3.3.2-2 +", 5, packet(0x30, "a/+", props{}), 0x82},
		{"MQTT-3.3.2-2 #", 4, packet(0x30, "a/#"), 0x82},
		{"MQTT-4.7.3-1 no topic in 3.1.1", 4, packet(0x30, ""), 0x82},
		{"3.3.2.1 neither topic nor alias", 5, packet(0x30, "", props{}), 0x82},
		{"MQTT-3.3.2-8 alias 0", 5, pub(35, uint16(0)), 0x94},
		{"3.3.2.3.4 alias twice", 5, pub(35, uint16(1), 35, uint16(1)), 0x82},
		{"3.3.2.3.2 payload format 2", 5, pub(1, 2), 0x82},
		{"3.3.2.3.2 payload format twice", 5, pub(1, 1, 1, 1), 0x82},
		{"3.3.2.3.3 expiry twice", 5, pub(2, uint32(1), 2, uint32(1)), 0x82},
		{"MQTT-3.3.2-13 response topic", 5, pub(8, "\xff"), 0x81},
		{"MQTT-3.3.2-14 response topic with a wildcard", 5, pub(8, "a/+"), 0x82},
		{"MQTT-4.7.3-1 empty response topic", 5, pub(8, ""), 0x82},
		{"3.3.2.3.5 response topic twice", 5, pub(8, "a", 8, "a"), 0x82},
		{"3.3.2.3.6 correlation data twice", 5, pub(9, "a", 9, "a"), 0x82},
		{"MQTT-3.3.4-6 subscription identifier", 5, pub(11, 1), 0x82},
		{"MQTT-3.3.2-19 content type", 5, pub(3, "\xff"), 0x81},
		{"3.3.2.3.9 content type twice", 5, pub(3, "a", 3, "a"), 0x82},
		{"2.2.2.2 property", 5, pub(33, uint16(1)), 0x81},
		{"no properties", 5, packet(0x30, "a"), 0x81},
		{"empty", 5, packet(0x30), 0x81},
	})
}

func TestCheckAcks(t *testing.T) {
	for _, kind := range []byte{TypePuback, TypePubrec, TypePubrel, TypePubcomp} {
		first := kind << 4
		refusal := byte(0x97)
		if kind == TypePubrel {
			first |= 2
		}
		if kind >= TypePubrel {
			refusal = 0x92
		}
		name := func(s string) string { return TypeName(kind) + " " + s }
		runChecks(t, []checkCase{
			{name("3.1.1"), 4, packet(first, uint16(1)), 0},
			{name("identifier"), 5, packet(first, uint16(1)), 0},
			{name("success"), 5, packet(first, uint16(1), 0), 0},
			{name("refusal"), 5, packet(first, uint16(1), refusal), 0},
			{name("no properties"), 5, packet(first, uint16(1), refusal, props{}), 0},
			{name("properties"), 5, packet(first, uint16(1), 0, props{31, "why", 38, "k", "v", 38, "k", "w"}), 0},
			{name("empty"), 5, packet(first), 0x81},
			{name("one byte"), 4, packet(first, 1), 0x81},
			{name("MQTT-2.2.1-3 packet id 0"), 5, packet(first, uint16(0)), 0x82},
			{name("MQTT-2.2.1-3 packet id 0 in 3.1.1"), 4, packet(first, uint16(0)), 0x82},
			{name("reason code in 3.1.1"), 4, packet(first, uint16(1), 0), 0x81},
			{name("MQTT-3.4.2-1 reason code of others"), 5, packet(first, uint16(1), 0x81), 0x82},
			{name("MQTT-3.4.2-1 reason code of a server"), 5, packet(first, uint16(1), 0x10), 0x82},
			{name("3.4.2.2.2 reason string twice"), 5, packet(first, uint16(1), 0, props{31, "a", 31, "b"}), 0x82},
			{name("MQTT-1.5.4-1 reason string"), 5, packet(first, uint16(1), 0, props{31, "\xff"}), 0x81},
			{name("2.2.2.2 property"), 5, packet(first, uint16(1), 0, props{1, 1}), 0x81},
			{name("properties cut"), 5, packet(first, uint16(1), 0, vbi(3), 38), 0x81},
			{name("trailing byte"), 5, packet(first, uint16(1), 0, props{}, 0), 0x81},
		})
	}
}

func TestCheckDisconnectAndAuth(t *testing.T) {
	runChecks(t, []checkCase{
		{"DISCONNECT", 5, packet(0xE0), 0},
		{"DISCONNECT in 3.1.1", 4, packet(0xE0), 0},
		{"DISCONNECT with a code", 5, packet(0xE0, 4), 0},
		{"DISCONNECT with properties", 5, packet(0xE0, 0x98, props{17, uint32(0), 31, "bye", 38, "k", "v"}), 0},
		{"DISCONNECT with no properties", 5, packet(0xE0, 0, props{}), 0},
		{"3.14 payload in 3.1.1", 4, packet(0xE0, 0), 0x81},
		{"MQTT-3.14.2-1 unknown code", 5, packet(0xE0, 5), 0x82},
		{"MQTT-3.14.2-1 code of a server", 5, packet(0xE0, 0x8B), 0x82},
		{"3.14.2.2.2 session expiry twice", 5, packet(0xE0, 0, props{17, uint32(0), 17, uint32(0)}), 0x82},
		{"3.14.2.2.5 server reference", 5, packet(0xE0, 0, props{28, "there"}), 0x82},
		{"2.2.2.2 property of DISCONNECT", 5, packet(0xE0, 0, props{33, uint16(1)}), 0x81},
		{"trailing byte of DISCONNECT", 5, packet(0xE0, 0, props{}, 0), 0x81},
		{"AUTH", 5, packet(0xF0, 0x19, props{21, "jwt", 22, "t", 31, "why", 38, "k", "v"}), 0},
		{"AUTH, continue", 5, packet(0xF0, 0x18, props{21, "jwt"}), 0},
		{"MQTT-3.15.2-1 empty AUTH", 5, packet(0xF0), 0x82},
		{"MQTT-3.15.2-1 success from a client", 5, packet(0xF0, 0, props{21, "jwt"}), 0x82},
		{"MQTT-3.15.2-1 unknown code of AUTH", 5, packet(0xF0, 1, props{21, "jwt"}), 0x82},
		{"AUTH without properties", 5, packet(0xF0, 0x19), 0x81},
		{"3.15.2.2.2 no method", 5, packet(0xF0, 0x19, props{22, "t"}), 0x82},
		{"3.15.2.2.2 method twice", 5, packet(0xF0, 0x19, props{21, "a", 21, "a"}), 0x82},
		{"2.2.2.2 property of AUTH", 5, packet(0xF0, 0x19, props{21, "a", 17, uint32(1)}), 0x81},
		{"trailing byte of AUTH", 5, packet(0xF0, 0x19, props{21, "a"}, 0), 0x81},
	})
}

// Any packet that is cut short or has a byte too many is refused.
func TestCheckEveryLength(t *testing.T) {
	for _, p := range []Packet{
		connect5(0xF6, "c", props{24, uint32(1), 38, "k", "v"}, "w", "x", "user", "password"),
		connectProps(17, uint32(5), 33, uint16(1), 38, "k", "v", 21, "jwt", 22, "data"),
		packet(0x82, uint16(1), props{11, 5}, "a", 1, "b", 2),
	} {
		wantCode(t, Check(5, p), 0)
		for n := range p.Body {
			if p.Type() == TypeSubscribe && n == len(p.Body)-4 {
				continue // one filter less is a packet too
			}
			if Check(5, Packet{First: p.First, Body: p.Body[:n]}) == nil {
				t.Errorf("%s of %d bytes is accepted with %d", TypeName(p.Type()), len(p.Body), n)
			}
		}
		longer := append(append([]byte(nil), p.Body...), 0)
		if Check(5, Packet{First: p.First, Body: longer}) == nil {
			t.Errorf("%s is accepted with a byte too many", TypeName(p.Type()))
		}
	}
}

func TestVersion(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Packet
		want byte
	}{
		{"5", connect5(2, "c"), 5},
		{"3.1.1", connect4(2, "c"), 4},
		{"3.1", packet(0x10, "MQIsdp", 3), 3},
		{"6", packet(0x10, "MQTT", 6), 6},
		{"malformed behind the level", packet(0x10, "MQTT", 5, 3), 5},
		{"no level", packet(0x10, "MQTT"), 0},
		{"another protocol", packet(0x10, "AMQP", 5), 0},
		{"not CONNECT", packet(0x20, "MQTT", 5), 0},
		{"empty", packet(0x10), 0},
	} {
		if got := Version(c.p); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	if got := ErrTooLarge.Error(); got != "packet is larger than allowed (0x95)" {
		t.Error(got)
	}
	if TypeName(3) != "PUBLISH" || TypeName(15) != "AUTH" || !strings.HasPrefix(TypeName(0), "RES") {
		t.Error("type names")
	}
}
