package clients_test

import (
	"fmt"
	"testing"
)

// Each QoS is kept from end to end, up to what the subscriber was granted.
func TestQoS(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		reader := connect(t, srv, l, session{ID: "reader", User: "alice"})
		writer := connect(t, srv, other, session{ID: "writer", User: "bob"})
		for granted := range byte(3) {
			topic := fmt.Sprintf("dev/%d", granted)
			reader.mustSubscribe(topic, granted)
			for qos := range byte(3) {
				text := fmt.Sprintf("%d for %d", qos, granted)
				writer.mustPublish(message{Topic: topic, Payload: text, QoS: qos})
				reader.want(message{Topic: topic, Payload: text, QoS: min(qos, granted)})
			}
		}
		if err := reader.unsubscribe("dev/1"); err != nil {
			t.Fatal(err)
		}
		writer.mustPublish(message{Topic: "dev/1", Payload: "for nobody", QoS: 1})
		writer.mustPublish(message{Topic: "dev/2", Payload: "the next", QoS: 1})
		reader.want(message{Topic: "dev/2", Payload: "the next", QoS: 1})
		reader.mustDisconnect()
		writer.mustDisconnect()
	})
}

// Wildcards take what they should, and a session gets one copy where its
// subscriptions overlap, at the highest QoS.
func TestWildcards(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		reader := connect(t, srv, l, session{ID: "reader", User: "alice"})
		writer := connect(t, srv, other, session{ID: "writer", User: "bob"})
		reader.mustSubscribe("dev/+/temperature", 1)
		reader.mustSubscribe("dev/kitchen/#", 2)
		for _, publish := range []struct {
			topic string
			qos   byte // 0: nothing comes
		}{
			{"dev/kitchen/temperature", 2},
			{"dev/hall/humidity", 0},
			{"dev/hall/temperature", 1},
			{"dev/kitchen", 2},
			{"dev/kitchen2", 0},
			{"dev/kitchen/oven/door", 2},
		} {
			m := message{Topic: publish.topic, Payload: "on " + publish.topic, QoS: 2}
			writer.mustPublish(m)
			if m.QoS = publish.qos; m.QoS > 0 {
				reader.want(m)
			}
		}
	})
}

// A retained message meets whoever subscribes later, until an empty one
// removes it.
func TestRetained(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		writer := connect(t, srv, l, session{ID: "writer", User: "alice"})
		early := connect(t, srv, other, session{ID: "early", User: "bob"})
		early.mustSubscribe("dev/#", 1)
		for _, text := range []string{"21", "22"} {
			writer.mustPublish(message{Topic: "dev/temperature", Payload: text, QoS: 1, Retain: true})
			early.want(message{Topic: "dev/temperature", Payload: text, QoS: 1})
		}
		late := connect(t, srv, l, session{ID: "late", User: "carol"})
		late.mustSubscribe("dev/#", 1)
		late.want(message{Topic: "dev/temperature", Payload: "22", QoS: 1, Retain: true})

		writer.mustPublish(message{Topic: "dev/temperature", QoS: 1, Retain: true})
		early.want(message{Topic: "dev/temperature", QoS: 1})
		last := connect(t, srv, other, session{ID: "last", User: "dave"})
		last.mustSubscribe("dev/#", 1)
		writer.mustPublish(message{Topic: "dev/humidity", Payload: "40", QoS: 1})
		last.want(message{Topic: "dev/humidity", Payload: "40", QoS: 1})
	})
}

// The will of a client that dies is published, and that of one that says
// goodbye is not.
func TestWill(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		watcher := connect(t, srv, other, session{ID: "watcher", User: "alice"})
		watcher.mustSubscribe("dev/#", 2)
		polite := connect(t, srv, l, session{ID: "polite", User: "bob",
			Will: &message{Topic: "dev/polite", Payload: "gone", QoS: 1}})
		polite.mustDisconnect()
		will := message{Topic: "dev/status", Payload: "gone", QoS: 2, Retain: true}
		device := connect(t, srv, l, session{ID: "device", User: "bob", Will: &will})
		device.kill()
		watcher.want(message{Topic: "dev/status", Payload: "gone", QoS: 2})

		late := connect(t, srv, other, session{ID: "late", User: "carol"})
		late.mustSubscribe("dev/status", 2)
		late.want(will)
	})
}

// A durable session gets what was sent at QoS 1 and 2 while it was away, over
// a restart of the server too.
func TestDurableSession(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		mine := session{ID: "phone", User: "alice", Durable: true}
		phone := connect(t, srv, l, mine)
		if phone.present {
			t.Fatal("a session was there before the first")
		}
		phone.mustSubscribe("dev/#", 2)
		phone.mustDisconnect()

		send := func(text string) {
			writer := connect(t, srv, other, session{ID: "writer", User: "bob"})
			for qos := range byte(3) {
				writer.mustPublish(message{Topic: "dev/news", Payload: fmt.Sprint(text, qos), QoS: qos})
			}
			writer.mustDisconnect()
		}
		send("before")
		srv.restart()
		send("after")
		phone = connect(t, srv, l, mine)
		if !phone.present {
			t.Fatal("the session is gone")
		}
		// A library gives a message of QoS 2 when it is released, and one of
		// QoS 1 may pass it.
		var texts [3][]string
		for range 4 {
			m := phone.next()
			texts[m.QoS] = append(texts[m.QoS], m.Payload)
		}
		if got := fmt.Sprint(texts); got != "[[] [before1 after1] [before2 after2]]" {
			t.Errorf("got %s", got)
		}
		phone.mustDisconnect()
	})
}

// The members of a group share the messages: each goes to one of them.
func TestSharedSubscription(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		members := []*tester{
			connect(t, srv, l, session{ID: "worker1", User: "alice"}),
			connect(t, srv, l, session{ID: "worker2", User: "alice"}),
		}
		for _, m := range members {
			m.mustSubscribe("$share/workers/dev/jobs", 1)
		}
		writer := connect(t, srv, other, session{ID: "writer", User: "bob"})
		seen := map[string]int{}
		const jobs = 10
		for i := range jobs {
			writer.mustPublish(message{Topic: "dev/jobs", Payload: fmt.Sprint("job ", i), QoS: 1})
		}
		for range jobs / 2 { // each has room for all: they take turns
			for _, m := range members {
				seen[m.next().Payload]++
			}
		}
		if len(seen) != jobs {
			t.Errorf("%d jobs are done, want %d: %v", len(seen), jobs, seen)
		}
	})
}

// What MQTT 5 lets a message carry comes out as it went in, live and from the
// database.
func TestProperties(t *testing.T) {
	eachMQTT5(t, func(t *testing.T, srv *server, l, other library) {
		m := message{Topic: "dev/report", Payload: `{"ok":true}`, QoS: 1, Retain: true,
			ContentType: "application/json", ResponseTopic: "dev/answers", Correlation: "42",
			User: [][2]string{{"unit", "C"}, {"tag", "a"}, {"tag", "b"}, {"name", "Küche 🔥"}}}
		writer := connect(t, srv, l, session{ID: "writer", User: "alice"})
		writer.mustPublish(m)
		reader := connect(t, srv, other, session{ID: "reader", User: "bob"})
		reader.mustSubscribe("dev/report", 1)
		reader.want(m)
		m.Payload = "{}"
		writer.mustPublish(m)
		m.Retain = false
		reader.want(m)
	})
}

// A will carries them too.
func TestWillProperties(t *testing.T) {
	eachMQTT5(t, func(t *testing.T, srv *server, l, other library) {
		watcher := connect(t, srv, other, session{ID: "watcher", User: "alice"})
		watcher.mustSubscribe("dev/status", 1)
		will := message{Topic: "dev/status", Payload: "gone", QoS: 1, ContentType: "text/plain",
			ResponseTopic: "dev/answers", Correlation: "7", User: [][2]string{{"why", "dead"}}}
		connect(t, srv, l, session{ID: "device", User: "bob", Will: &will}).kill()
		if l.name == "paho.golang" { // v0.23 sends the user properties of a will alone
			will.ContentType, will.ResponseTopic, will.Correlation = "", "", ""
		}
		watcher.want(will)
	})
}

// A request is answered where it says, with its correlation data.
func TestRequestResponse(t *testing.T) {
	eachMQTT5(t, func(t *testing.T, srv *server, l, other library) {
		service := connect(t, srv, other, session{ID: "service", User: "alice"})
		service.mustSubscribe("dev/requests", 1)
		caller := connect(t, srv, l, session{ID: "caller", User: "bob"})
		caller.mustSubscribe("dev/answers/caller", 1)
		caller.mustPublish(message{Topic: "dev/requests", Payload: "6 times 7", QoS: 1,
			ResponseTopic: "dev/answers/caller", Correlation: "c-1"})
		request := service.next()
		service.mustPublish(message{Topic: request.ResponseTopic, Payload: "42", QoS: 1, Correlation: request.Correlation})
		caller.want(message{Topic: "dev/answers/caller", Payload: "42", QoS: 1, Correlation: "c-1"})
	})
}
