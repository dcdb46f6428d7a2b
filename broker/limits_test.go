package broker_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// journal keeps what a server logs.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// lines are those with a message.
func (j *journal) lines(t *testing.T, msg string) (found []map[string]any) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := bufio.NewScanner(bytes.NewReader(j.text.Bytes())); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

// limited starts a server with bounds, and keeps its log.
func limited(t *testing.T, b limit.Bounds) (*parleytest.Server, *journal) {
	t.Helper()
	j := new(journal)
	s := parleytest.New(t, "sqlite", parleytest.Options{
		Logger: slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Broker: func(c *broker.Config) { c.Bounds = b }})
	return s, j
}

// counted is the value of a metric with one label.
func counted(t *testing.T, reg *prometheus.Registry, name, label string) int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

const (
	refusalsMetric = "parley_mqtt_limit_refusals_total"
	pausesMetric   = "parley_mqtt_limit_pauses_total"
)

func wantRefusals(t *testing.T, s *parleytest.Server, bound string, want int) {
	t.Helper()
	if got := counted(t, s.Registry, refusalsMetric, bound); got != want {
		t.Errorf("%d refusals for %s are counted, want %d", got, bound, want)
	}
}

// asUser are the options of one who may be refused.
func asUser(s *parleytest.Server, user, client string, version byte) mqttest.Options {
	return mqttest.Options{Version: version, ClientID: client, Clean: true, User: user, Password: s.Token(user)}
}

func TestEveryBoundHasItsMetric(t *testing.T) {
	reg := prometheus.NewRegistry()
	parleytest.New(t, "sqlite", parleytest.Options{Broker: func(c *broker.Config) { c.Registerer = reg }})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); f.GetName() == refusalsMetric && n != len(limit.Names) {
			t.Errorf("%d of %d are there before anything is refused", n, len(limit.Names))
		}
	}
}

// dialFrom connects from another address of this machine.
func dialFrom(t *testing.T, addr, from string) *mqttest.Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return mqttest.New(t, conn)
}

func wantAck(t *testing.T, ack packets.Packet, want byte) {
	t.Helper()
	if ack.ReasonCode != want {
		t.Errorf("CONNACK 0x%02x (%s), want 0x%02x", ack.ReasonCode, ack.Properties.ReasonString, want)
	}
}

func TestMaxConnections(t *testing.T) {
	s, _ := limited(t, limit.Bounds{MaxConnections: 1})
	first := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	for range 3 {
		s.Dial().ExpectClosed()
	}
	first.Ping() // it is not disturbed
	wantRefusals(t, s, limit.MaxConnections, 3)
}

func TestMaxConnectionsPerAddress(t *testing.T) {
	s, _ := limited(t, limit.Bounds{MaxConnectionsPerAddress: 1})
	first := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	s.Dial().ExpectClosed()
	wantRefusals(t, s, limit.MaxConnectionsPerAddress, 1)
	wantAck(t, dialFrom(t, s.Addr, "127.0.0.2").Connect(asUser(s, "bob", "b", 5)), 0) // somebody else
	first.Ping()
	first.Disconnect()
	s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
}

func TestMaxConnectionsPerUser(t *testing.T) {
	s, _ := limited(t, limit.Bounds{MaxConnectionsPerUser: 1})
	first := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	for version, want := range map[byte]byte{5: wire.CodeQuotaExceeded, 4: 3} {
		second := s.Dial()
		wantAck(t, second.Connect(asUser(s, "alice", "other", version)), want)
		second.ExpectClosed()
	}
	wantRefusals(t, s, limit.MaxConnectionsPerUser, 2)
	s.Connect("bob", mqttest.Options{ClientID: "b", Clean: true})
	first.Ping()
	// One that takes the place of the first is not one more.
	again := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	if code := first.ExpectClosed(); code != wire.CodeSessionTakenOver {
		t.Errorf("the first was told 0x%02x", code)
	}
	again.Disconnect()
	s.Connect("alice", mqttest.Options{ClientID: "other", Clean: true})
}

func TestConnectRatePerAddress(t *testing.T) {
	s, _ := limited(t, limit.Bounds{ConnectRatePerAddress: 2})
	good := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	s.Connect("alice", mqttest.Options{ClientID: "b", Clean: true})
	told, refused := 0, 0
	for range 8 { // some of a burst are told, those beyond are not
		c := s.Dial()
		if ack, err := c.TryConnect(asUser(s, "alice", "c", 5)); err == nil && ack.ReasonCode == wire.CodeConnectionRate {
			told++
			refused++
		} else if err != nil {
			refused++
		}
	}
	if told < 1 || told > 4 || refused < 5 {
		t.Errorf("of 8 over the rate %d were told, %d refused", told, refused)
	}
	wantRefusals(t, s, limit.ConnectRatePerAddress, refused)
	wantAck(t, dialFrom(t, s.Addr, "127.0.0.2").Connect(asUser(s, "alice", "d", 5)), 0)
	good.Ping()
}

func TestConnectTimeout(t *testing.T) {
	s, j := limited(t, limit.Bounds{ConnectTimeout: time.Millisecond})
	s.Dial().ExpectClosed()
	s.Stop()
	wantRefusals(t, s, limit.ConnectTimeout, 1)
	if lines := j.lines(t, "connection refused"); len(lines) != 1 || lines[0]["reason"] != "no CONNECT in time" {
		t.Errorf("the log has %v", lines)
	}
}

func TestPacketSizes(t *testing.T) {
	s, _ := limited(t, limit.Bounds{MaxConnectPacket: 2000, MaxPacket: 3000})
	big := s.Dial()
	o := asUser(s, "alice", "a", 5)
	o.Password += strings.Repeat("x", 2000)
	big.MustSend(big.ConnectPacket(o))
	big.ExpectClosed()
	wantRefusals(t, s, limit.MaxConnectPacket, 1)

	c := s.Dial()
	ack := c.Connect(asUser(s, "alice", "a", 5))
	wantAck(t, ack, 0)
	if ack.Properties.MaximumPacketSize != 3000 {
		t.Errorf("CONNACK says %d bytes", ack.Properties.MaximumPacketSize)
	}
	c.Publish("chat/c1/messages", strings.Repeat("x", 3000), 1)
	if code := c.ExpectClosed(); code != wire.CodeTooLarge {
		t.Errorf("DISCONNECT 0x%02x", code)
	}
	wantRefusals(t, s, limit.MaxPacket, 1)
	wantRefusals(t, s, limit.MaxConnectPacket, 1)
}

func TestReceiveMaximumIsCounted(t *testing.T) {
	s, _ := limited(t, limit.Bounds{ReceiveMaximum: 1})
	s.Conversation("c1", "alice")
	c := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	for range 2 { // their PUBREL does not come
		c.Publish("chat/c1/messages", "x", 2)
	}
	if code := c.ExpectClosed(); code != wire.CodeReceiveMaximum {
		t.Errorf("DISCONNECT 0x%02x", code)
	}
	wantRefusals(t, s, limit.ReceiveMaximum, 1)
}

func TestMaxSubscriptionsIsCounted(t *testing.T) {
	s, _ := limited(t, limit.Bounds{MaxSubscriptions: 1})
	s.Conversation("c1", "alice")
	c := s.Connect("alice", mqttest.Options{ClientID: "a", Clean: true})
	if ack := c.Subscribe("chat/c1/messages", "chat/+/messages"); ack.ReasonCodes[1] != wire.CodeQuotaExceeded {
		t.Errorf("SUBACK % x", ack.ReasonCodes)
	}
	wantRefusals(t, s, limit.MaxSubscriptions, 1)
	c.Ping() // read after the pause
	if got := counted(t, s.Registry, pausesMetric, "subscriptions"); got != 1 {
		t.Errorf("%d pauses are counted, want 1", got)
	}
}

func TestTopicBounds(t *testing.T) {
	s, _ := limited(t, limit.Bounds{MaxTopicLength: 20, MaxTopicLevels: 3})
	token := parleytest.Token(t, acl.Claims{Subject: "dev", TTL: time.Hour, Pub: []string{"#"}, Sub: []string{"#"}})
	c := s.Dial()
	wantAck(t, c.Connect(mqttest.Options{ClientID: "d", Clean: true, Password: token}), 0)
	long, deep := strings.Repeat("x", 21), "a/b/c/d"
	for topic, want := range map[string]byte{"a/b/c": 0, long: wire.CodePayloadInvalid, deep: wire.CodePayloadInvalid} {
		c.Publish(topic, "x", 1)
		if ack := c.Expect(packets.Puback); ack.ReasonCode != want && ack.ReasonCode != wire.CodeNoMatchingSubscribers {
			t.Errorf("PUBLISH to %s: 0x%02x, want 0x%02x", topic, ack.ReasonCode, want)
		}
	}
	if ack := c.Subscribe("a/+/c", long, deep); ack.ReasonCodes[0] > 2 || ack.ReasonCodes[1] != wire.CodeFilterInvalid || ack.ReasonCodes[2] != wire.CodeFilterInvalid {
		t.Errorf("SUBACK % x", ack.ReasonCodes)
	}
	wantRefusals(t, s, limit.MaxTopicLength, 2)
	wantRefusals(t, s, limit.MaxTopicLevels, 2)
}

func TestPublishRate(t *testing.T) {
	for name, b := range map[string]limit.Bounds{
		limit.PublishRate:               {PublishRate: 2},
		limit.PublishBytes:              {PublishBytes: 2 * len("chat/c1/messages"+"hello")},
		limit.PublishRatePerConnection:  {PublishRatePerConnection: 2},
		limit.PublishBytesPerConnection: {PublishBytesPerConnection: 2 * len("chat/c1/messages"+"hello")},
	} {
		for _, version := range []byte{4, 5} {
			for _, qos := range []byte{1, 2} {
				s, _ := limited(t, b)
				s.Conversation("c1", "alice")
				c := s.Connect("alice", mqttest.Options{Version: version, ClientID: "a", Clean: true})
				c.Subscribe("users/alice/errors")
				refused := 0
				for range 6 {
					pub := wire.Publish{Topic: []byte("chat/c1/messages"), Payload: []byte("hello"), QoS: qos, PacketID: c.ID()}
					c.PublishPacket(&pub)
					refused += answered(t, c, &pub, version)
				}
				if refused < 3 || refused > 4 {
					t.Errorf("%s, version %d, QoS %d: %d of 6 were refused", name, version, qos, refused)
				}
				wantRefusals(t, s, name, refused)
				c.Disconnect()
				s.Stop()
			}
		}
	}
}

// answered reads the answer to a PUBLISH and says whether it was refused for
// the rate: for 3.1.1 only users/<u>/errors does.
func answered(t *testing.T, c *mqttest.Client, pub *wire.Publish, version byte) (refused int) {
	t.Helper()
	for { // a problem is told before its acknowledgement
		pk := c.Next()
		if pk.FixedHeader.Type == packets.Publish {
			var p chat.Problem
			if err := json.Unmarshal(pk.Payload, &p); err != nil || p.Code != chat.CodeRateLimited {
				t.Errorf("got %s", pk.Payload)
			}
			refused = 1
			continue
		}
		want := byte(0)
		if version == 5 && refused == 1 {
			want = wire.CodeQuotaExceeded
		}
		if pk.PacketID != pub.PacketID || pk.ReasonCode != want {
			t.Errorf("%s of %d with 0x%02x, want 0x%02x", wire.TypeName(pk.FixedHeader.Type), pk.PacketID, pk.ReasonCode, want)
		}
		if pub.QoS == 2 && want == 0 {
			c.Ack(packets.Pubrel, pk.PacketID)
			c.Expect(packets.Pubcomp)
		}
		return refused
	}
}
