package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// TestWalkThroughAllTopics plays docs/topics.md: what it shows is what happens,
// and it shows every topic.
func TestWalkThroughAllTopics(t *testing.T) {
	text, err := os.ReadFile("../../docs/topics.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind := chat.KindMessages; kind < chat.KindAny; kind++ {
		name := strings.TrimPrefix(chat.Topic{Kind: kind, ID: "c1"}.String(), "users/c1/")
		if name = strings.TrimPrefix(name, "chat/c1/"); !strings.Contains(string(text), "/"+name+" ") {
			t.Errorf("docs/topics.md does not show %s", name)
		}
	}
	parleytest.Each(t, func(t *testing.T, backend string) {
		w := &walk{T: t, srv: startServer(t, backend, options{}), actors: map[string]*actor{}}
		block := false
		for n, line := range strings.Split(string(text), "\n") {
			switch {
			case strings.HasPrefix(line, "```"):
				block = line == "```parley"
			case block:
				w.line = fmt.Sprintf("line %d: %s", n+1, line)
				w.play(line)
			}
		}
		if len(w.actors) == 0 {
			t.Error("there is nothing to play")
		}
	})
}

// walk plays lines.
type walk struct {
	*testing.T
	srv    *server
	actors map[string]*actor
	line   string
}

// actor is a user with a connection, or a service without one.
type actor struct {
	name, token string
	client      *mqttest.Client
	status      int              // of the last request
	asked       uint16           // packet identifier of the last PUBLISH
	got         []packets.Packet // that was not shown yet
}

func (w *walk) actor(name string) *actor {
	a := w.actors[name]
	if a == nil {
		claims := acl.Claims{Subject: name, TTL: time.Hour}
		if name == "service" {
			claims.Scope = "notify"
		}
		a = &actor{name: name, token: parleytest.Token(w, claims)}
		w.actors[name] = a
	}
	return a
}

func (w *walk) play(line string) {
	w.Helper()
	name, rest, _ := strings.Cut(line, " ")
	arrow, rest, _ := strings.Cut(rest, " ")
	what, payload, _ := strings.Cut(rest, " ")
	a := w.actor(name)
	switch {
	case arrow == "→" && what == "SUBSCRIBE":
		a.client = mqttest.Dial(w, w.srv.mqtt)
		a.client.Connect(mqttest.Options{Version: 5, ClientID: name, Password: a.token})
		a.client.MustSend(a.client.SubscribePacket(nil, 1, strings.Fields(payload)...))
	case arrow == "→" && strings.ToUpper(what) == what && strings.HasPrefix(payload, "/v1/"):
		w.request(a, what, payload)
	case arrow == "→":
		w.publish(a, what, payload)
	case arrow == "←" && strings.HasPrefix(what, "0x"):
		want, err := strconv.ParseUint(what, 0, 8)
		if err != nil {
			w.Fatal(err)
		}
		w.acknowledged(a, byte(want))
	case arrow == "←" && payload == "":
		if strconv.Itoa(a.status) != what {
			w.Errorf("%s: answered %d", w.line, a.status)
		}
	case arrow == "←":
		w.gets(a, what, payload)
	default:
		w.Fatalf("%s: what does that mean?", w.line)
	}
}

func (w *walk) request(a *actor, method, rest string) {
	w.Helper()
	w.flush()
	path, text, _ := strings.Cut(rest, " ")
	var body any
	if text != "" {
		body = json.RawMessage(text)
	}
	status, err := w.srv.rest.do(method, path, a.token, body, nil)
	if err != nil {
		w.Fatalf("%s: %v", w.line, err)
	}
	a.status = status
}

func (w *walk) publish(a *actor, topic, payload string) {
	w.Helper()
	w.flush()
	if payload == "TOKEN" {
		payload = parleytest.Token(w, acl.Claims{Subject: a.name, TTL: time.Hour})
	}
	pub := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: a.client.ID()}
	a.asked = pub.PacketID
	a.client.PublishPacket(&pub)
}

// flush waits until all that was published is taken: one line happens after the
// other. What is refused, the line behind it says.
func (w *walk) flush() {
	w.Helper()
	for _, a := range w.actors {
		if a.asked != 0 {
			w.acknowledged(a, 0)
		}
	}
}

func (w *walk) acknowledged(a *actor, want byte) {
	w.Helper()
	pk := w.until(a, func(pk *packets.Packet) bool { return pk.FixedHeader.Type == packets.Puback && pk.PacketID == a.asked })
	a.asked = 0
	if pk.ReasonCode != want && (want != 0 || pk.ReasonCode >= 0x80) {
		w.Errorf("%s: answered 0x%02x, want 0x%02x", w.line, pk.ReasonCode, want)
	}
}

// until answers the first packet that fits, of those that came and of those
// that come.
func (w *walk) until(a *actor, fits func(pk *packets.Packet) bool) packets.Packet {
	for i := range a.got {
		if fits(&a.got[i]) {
			pk := a.got[i]
			a.got = append(a.got[:i], a.got[i+1:]...)
			return pk
		}
	}
	for {
		pk, err := a.client.Read(patience)
		if err != nil {
			w.Fatalf("%s: %v; got besides: %s", w.line, err, a.besides())
		}
		if pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos == 1 {
			a.client.Ack(packets.Puback, pk.PacketID)
		}
		if fits(&pk) {
			return pk
		}
		a.got = append(a.got, pk)
	}
}

// besides is what came and was not shown.
func (a *actor) besides() (list []string) {
	for i := range a.got {
		list = append(list, fmt.Sprintf("%s %s", a.got[i].TopicName, a.got[i].Payload))
	}
	return list
}

// gets wants a PUBLISH with the topic and payload.
func (w *walk) gets(a *actor, topic, payload string) {
	w.Helper()
	var want map[string]any
	if err := json.Unmarshal([]byte(payload), &want); err != nil {
		w.Fatalf("%s: %v", w.line, err)
	}
	w.until(a, func(pk *packets.Packet) bool {
		var got map[string]any
		return pk.FixedHeader.Type == packets.Publish && pk.TopicName == topic && json.Unmarshal(pk.Payload, &got) == nil && like(got, want)
	})
}

// like compares values; "…" stands for any text.
func like(got, want any) bool {
	w, isMap := want.(map[string]any)
	g, ok := got.(map[string]any)
	if !isMap || !ok {
		return want == "…" && got != "" || reflect.DeepEqual(got, want)
	}
	if len(w) != len(g) {
		return false
	}
	for key := range w {
		if value, there := g[key]; !there || !like(value, w[key]) {
			return false
		}
	}
	return true
}
