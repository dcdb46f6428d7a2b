package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// inbox keeps what a client got of one conversation.
type inbox struct {
	mu    sync.Mutex
	last  uint64
	texts []string
	wrong []string // entries that left a gap
}

// add takes a delivered entry. It may come again, but not leave a gap.
func (in *inbox) add(payload []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var e parleytest.Entry
	switch err := json.Unmarshal(payload, &e); {
	case err != nil:
		in.wrong = append(in.wrong, fmt.Sprintf("%s: %v", payload, err))
	case in.last > 0 && e.Seq > in.last+1:
		in.wrong = append(in.wrong, fmt.Sprintf("%d after %d", e.Seq, in.last))
	case e.Seq > in.last:
		in.last = e.Seq
		in.texts = append(in.texts, e.Content)
	}
}

func (in *inbox) await(t *testing.T, want ...string) {
	t.Helper()
	var have string
	proctest.Eventually(t, patience, "the inbox has "+strings.Join(want, ", "), func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		have = strings.Join(in.texts, ", ")
		if len(in.wrong) > 0 {
			t.Fatalf("the inbox is wrong: %v", in.wrong)
		}
		return len(in.texts) >= len(want)
	})
	if have != strings.Join(want, ", ") {
		t.Fatalf("the inbox has %s, want %s", have, strings.Join(want, ", "))
	}
}

// chatter is a client of a library.
type chatter interface {
	publish(t *testing.T, text string) // returns when it is acknowledged
	leave()
}

// Two clients of the usual library chat, over TCP and over WebSocket, while
// the server crashes. They reconnect by themselves and miss nothing.
func TestPahoClients(t *testing.T) {
	libraries := []struct {
		name    string
		connect func(t *testing.T, srv *server, address, user string, in *inbox) chatter
	}{
		{"paho.mqtt.golang", connectPaho3},
		{"autopaho", connectPaho5},
	}
	parleytest.Each(t, func(t *testing.T, backend string) {
		srv := startServer(t, backend, options{})
		for _, library := range libraries {
			for scheme, address := range map[string]string{"tcp": "tcp://" + srv.mqtt, "ws": "ws://" + srv.web + "/mqtt"} {
				t.Run(library.name+"/"+scheme, func(t *testing.T) {
					alice, bob := "alice-"+library.name+scheme, "bob-"+library.name+scheme
					srv.conversation(library.name+"-"+scheme, alice, bob)
					var toAlice, toBob inbox
					a := library.connect(t, srv, address, alice, &toAlice)
					b := library.connect(t, srv, address, bob, &toBob)
					a.publish(t, "one")
					b.publish(t, "two")
					toBob.await(t, "one", "two")
					b.leave() // it keeps its session
					a.publish(t, "three")
					srv.crash()
					srv.start()
					a.publish(t, "four")
					b = library.connect(t, srv, address, bob, &toBob)
					b.publish(t, "five")
					toBob.await(t, "one", "two", "three", "four", "five")
					toAlice.await(t, "one", "two", "three", "four", "five")
					a.leave()
					b.leave()
				})
			}
		}
	})
}

// conversationOf names the conversation of a user of TestPahoClients.
func conversationOf(t *testing.T) string {
	parts := strings.Split(t.Name(), "/")
	return strings.Join(parts[len(parts)-2:], "-")
}

type paho3 struct {
	client mqtt.Client
	topic  string
	user   string
}

// connectPaho3 connects with paho.mqtt.golang, in 3.1.1.
func connectPaho3(t *testing.T, srv *server, address, user string, in *inbox) chatter {
	t.Helper()
	p := &paho3{topic: "chat/" + conversationOf(t) + "/messages", user: user}
	o := mqtt.NewClientOptions().AddBroker(address).SetProtocolVersion(4).SetClientID("app").SetCleanSession(false).
		SetUsername(user).SetPassword(srv.token(user)).SetConnectTimeout(5 * time.Second).
		SetMaxReconnectInterval(100 * time.Millisecond).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { in.add(m.Payload()) })
	p.client = mqtt.NewClient(o)
	t.Cleanup(p.leave)
	p.await(t, p.client.Connect())
	p.await(t, p.client.Subscribe("chat/+/messages", 1, nil))
	return p
}

func (p *paho3) await(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatalf("%s: no answer", p.user)
	}
	if err := token.Error(); err != nil {
		t.Fatalf("%s: %v", p.user, err)
	}
}

// publish sends with a clientId: what the library repeats after a crash is
// then still one message.
func (p *paho3) publish(t *testing.T, text string) {
	t.Helper()
	p.await(t, p.client.Publish(p.topic, 1, false, body(p.user, text)))
}

func (p *paho3) leave() { p.client.Disconnect(100) }

func body(user, text string) []byte {
	return fmt.Appendf(nil, `{"content":%q,"clientId":%q}`, text, user[:3]+text)
}

type paho5 struct {
	manager *autopaho.ConnectionManager
	topic   string
	user    string
}

// connectPaho5 connects with autopaho, in MQTT 5. It subscribes whenever it is
// connected, as its documentation advises: that must not make the server skip
// what was missed.
func connectPaho5(t *testing.T, srv *server, address, user string, in *inbox) chatter {
	t.Helper()
	p := &paho5{topic: "chat/" + conversationOf(t) + "/messages", user: user}
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	subscribed := make(chan error, 1)
	p.manager, err = autopaho.NewConnection(context.Background(), autopaho.ClientConfig{
		ServerUrls: []*url.URL{at}, KeepAlive: 20, SessionExpiryInterval: 3600,
		ConnectUsername: user, ConnectPassword: []byte(srv.token(user)),
		ConnectPacketBuilder: func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			// The library says "no problem information" unless it is told, and
			// then a server may not put id and seq on a PUBACK [MQTT-3.1.2-29].
			c.Properties.RequestProblemInfo = true
			return c, nil
		},
		ReconnectBackoff: autopaho.NewConstantBackoff(50 * time.Millisecond), ConnectTimeout: 5 * time.Second,
		OnConnectionUp: func(m *autopaho.ConnectionManager, _ *paho.Connack) {
			_, err := m.Subscribe(context.Background(), &paho.Subscribe{
				Subscriptions: []paho.SubscribeOptions{{Topic: "chat/+/messages", QoS: 1}}})
			select {
			case subscribed <- err:
			default: // only the first is waited for
			}
		},
		ClientConfig: paho.ClientConfig{ClientID: "app",
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				in.add(r.Packet.Payload)
				return true, nil
			}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.leave)
	select {
	case err = <-subscribed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		t.Fatalf("%s: subscribing: %v", user, err)
	}
	return p
}

// publish tries until it is acknowledged: the library gives up what is under
// way when the connection is lost.
func (p *paho5) publish(t *testing.T, text string) {
	t.Helper()
	proctest.Eventually(t, patience, p.user+" publishes "+text, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if p.manager.AwaitConnection(ctx) != nil {
			return false
		}
		res, err := p.manager.Publish(ctx, &paho.Publish{Topic: p.topic, QoS: 1, Payload: body(p.user, text)})
		if err != nil {
			return false
		}
		if res.ReasonCode != 0 || res.Properties == nil || res.Properties.User.Get("seq") == "" {
			t.Errorf("PUBACK of %q: 0x%02x, %+v", text, res.ReasonCode, res.Properties)
		}
		return true
	})
}

func (p *paho5) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = p.manager.Disconnect(ctx) // it may have left already
}
