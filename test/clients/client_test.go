package clients_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// message is a message as a library takes it or gives it.
type message struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`

	// MQTT 5 alone.
	ContentType   string      `json:"contentType,omitempty"`
	ResponseTopic string      `json:"responseTopic,omitempty"`
	Correlation   string      `json:"correlation,omitempty"`
	User          [][2]string `json:"user,omitempty"`
}

// session is what a client connects with.
type session struct {
	ID      string
	User    string
	Token   string
	Durable bool // it outlives the connection by an hour, or for good in 3.1.1
	Secure  bool // over TLS
	Will    *message
}

// refusal is an answer of the server that says no.
type refusal struct{ code byte }

func (r refusal) Error() string { return fmt.Sprintf("refused with 0x%02x", r.code) }

// client is one connection of a library. It is used from one goroutine.
type client interface {
	// subscribe answers what the SUBACK says.
	subscribe(filter string, qos byte) (code byte, err error)
	unsubscribe(filter string) error
	// publish returns when the message is acknowledged. The error is a
	// refusal where the library tells of it.
	publish(m message) error
	// inbox has the messages that came, in their order.
	inbox() <-chan message
	// disconnect sends DISCONNECT and ends the connection.
	disconnect() error
	// kill ends the connection without a DISCONNECT.
	kill()
}

// library makes clients.
type library struct {
	name    string
	version byte
	// dial connects. The error is a refusal where the server refused.
	dial func(t testing.TB, srv *server, s session) (c client, present bool, err error)
}

// libraries are all of them. Each plays against the one below it.
var libraries = []library{
	{"paho.golang", 5, dialPahoGolang},
	{"paho.mqtt.golang", 4, dialPahoMQTTGolang},
	{"python4", 4, python.dial(4)},
	{"python5", 5, python.dial(5)},
	{"mqtt.js5", 5, node.dial(5)},
	{"mqtt.js4", 4, node.dial(4)},
}

// each runs a test with each library, and with the library that comes next for
// the other side. They take turns on the databases: each test meets all of
// them, and each library too.
func each(t *testing.T, test func(t *testing.T, srv *server, l, other library)) {
	eachOf(t, libraries, test)
}

// eachMQTT5 is each for what only MQTT 5 has.
func eachMQTT5(t *testing.T, test func(t *testing.T, srv *server, l, other library)) {
	eachOf(t, slices.DeleteFunc(slices.Clone(libraries), func(l library) bool { return l.version < 5 }), test)
}

func eachOf(t *testing.T, list []library, test func(t *testing.T, srv *server, l, other library)) {
	for i, l := range list {
		backend := parleytest.Backends[i%len(parleytest.Backends)]
		t.Run(l.name+"/"+backend, func(t *testing.T) {
			t.Parallel() // most of the time goes into starting programs
			test(t, startServer(t, backend), l, list[(i+1)%len(list)])
		})
	}
}

// tester is a client whose operations must succeed.
type tester struct {
	client
	t       testing.TB
	name    string
	present bool
	had     uint64 // an earlier connection of the session has read up to here
}

// connect connects with the library. The connection ends with the test.
func connect(t testing.TB, srv *server, l library, s session) *tester {
	t.Helper()
	if s.Token == "" {
		s.Token = srv.open(s.User)
	}
	c, present, err := l.dial(t, srv, s)
	if err != nil {
		t.Fatalf("%s connects with %s: %v", s.User, l.name, err)
	}
	t.Cleanup(c.kill)
	return &tester{client: c, t: t, name: s.User + " with " + l.name, present: present}
}

// mustSubscribe wants a subscription to be granted at its QoS.
func (c *tester) mustSubscribe(filter string, qos byte) {
	c.t.Helper()
	if code, err := c.subscribe(filter, qos); err != nil || code != qos {
		c.t.Fatalf("%s subscribes to %s: 0x%02x, %v", c.name, filter, code, err)
	}
}

func (c *tester) mustPublish(m message) {
	c.t.Helper()
	if err := c.publish(m); err != nil {
		c.t.Fatalf("%s publishes to %s: %v", c.name, m.Topic, err)
	}
}

func (c *tester) mustDisconnect() {
	c.t.Helper()
	if err := c.disconnect(); err != nil {
		c.t.Fatalf("%s disconnects: %v", c.name, err)
	}
}

// next answers the next message, which must come.
func (c *tester) next() message {
	c.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case m := <-c.inbox():
		return m
	case <-timer.C:
		c.t.Fatalf("%s gets no message", c.name)
		return message{}
	}
}

// want wants this to be the next message.
func (c *tester) want(want message) {
	c.t.Helper()
	if got := c.next(); !equal(got, want) {
		c.t.Fatalf("%s gets %+v, want %+v", c.name, got, want)
	}
}

// equal compares messages. The order of user properties of different names is
// lost in some libraries.
func equal(a, b message) bool {
	byName := func(x, y [2]string) int { return slices.Compare(x[:1], y[:1]) }
	slices.SortStableFunc(a.User, byName)
	slices.SortStableFunc(b.User, byName)
	same := slices.Equal(a.User, b.User)
	a.User, b.User = nil, nil
	return same && fmt.Sprint(a) == fmt.Sprint(b)
}
