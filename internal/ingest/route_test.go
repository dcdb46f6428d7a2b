package ingest

import (
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

func TestRouteTargets(t *testing.T) {
	for _, test := range []struct {
		route, topic string
		want         string // the topic here; "" where the route does not take it
		conversation string
		wrong        string // part of an error
	}{
		{"plant/+/t => chat/plant-{2}/messages", "plant/7/t", "chat/plant-7/messages", "plant-7", ""},
		{"plant/+/t=>chat/c1/messages", "plant/7/t", "chat/c1/messages", "c1", ""},
		{"plant/+/t => chat/plant-{2}/messages", "plant/7/h", "", "", ""},
		{"$share/g/plant/# => devices/{topic}", "plant/7/t", "devices/plant/7/t", "", ""},
		{"plant/# => devices/{2:}", "plant/7/t", "devices/7/t", "", ""},
		{"plant/# => devices/{2}", "plant", "", "", "no level 2"},
		{"a/+ => chat/{2}/messages", "a/ü", "", "", "id"},
		{"a/# => chat/{2:}/messages", "a/b/messages", "", "", "no such topic"},
		{"a/+ => devices/{2}/{1}", "a/", "devices//a", "", ""},
		{"a/+ => devices/{{{2}}}", "a/b", "devices/{b}", "", ""},
		{"# => devices/{topic}", "$SYS/x", "", "", ""},
	} {
		r, err := ParseRoute(test.route)
		if err != nil {
			t.Errorf("%s: %v", test.route, err)
			continue
		}
		if !r.takes(test.topic) {
			if test.want != "" || test.wrong != "" {
				t.Errorf("%s does not take %s", test.route, test.topic)
			}
			continue
		}
		to, conversation, err := r.target(test.topic)
		if test.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%s of %s: %v, want %q", test.route, test.topic, err, test.wrong)
			}
			continue
		}
		if err != nil || to != test.want || conversation != test.conversation {
			t.Errorf("%s of %s is %q, %q, %v; want %q, %q", test.route, test.topic, to, conversation, err, test.want, test.conversation)
		}
	}
}

func TestRouteRefused(t *testing.T) {
	for route, want := range map[string]string{
		"plant/#":                         "FILTER => TOPIC",
		" => chat/c/messages":             "filter",
		"a/#/b => chat/c/messages":        "stand alone",
		"a+ => chat/c/messages":           "stand alone",
		"$share/g => chat/c/messages":     "$share",
		"$share//a => chat/c/messages":    "$share",
		"a/+ => chat/{3}/messages":        "no level 3",
		"a/b => chat/c/typing":            "chat/CONVERSATION/messages",
		"a/b => chat/messages":            "chat/CONVERSATION/messages",
		"a/b => users/alice/token":        "users",
		"a/+ => {1}/x":                    "level of its own",
		"a/b => $SYS/x":                   "has no $",
		"a/b => devices/#":                "not a topic",
		"a/b => devices/{0}":              "{0} is not known",
		"a/b => devices/{name}":           "{name} is not known",
		"a/b => devices/{payload}":        "{payload} is not known",
		"a/b => devices/{1":               "brace",
		"a/b => devices/1}":               "brace",
		"a/b => devices/{topic}/x":        "stand last",
		"a/b => ":                         "not a topic",
		"a\x00 => chat/c/messages":        "filter",
		"a/b => devices/{99999999999999}": "not known",
	} {
		if _, err := ParseRoute(route); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", route, err, want)
		}
	}
}

// A made token opens what the routes write to, and nothing of the chat.
func TestGrants(t *testing.T) {
	var routes []Route
	for _, text := range []string{"a/+/b => chat/{2}/messages", "a/+ => devices/{2}/x-{1}/z", "a/# => all/{topic}", "b/# => some/d-{2:}"} {
		r, err := ParseRoute(text)
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, r)
	}
	if have, want := Grants(routes), []string{"devices/+/+/z", "all/#", "some/#"}; !slices.Equal(have, want) {
		t.Errorf("grants are %q, want %q", have, want)
	}
}

func publishOf(topic, payload string, user ...packets.User) *packets.Publish {
	return &packets.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, PacketID: 1, Properties: &packets.Properties{User: user}}
}

func newMapper(t *testing.T, content, id string, routes ...string) *mapper {
	t.Helper()
	m := &mapper{}
	var err error
	if m.content, err = ParseTemplate(content, true); err != nil {
		t.Fatal(err)
	}
	if m.ids, err = ParseIDRule(id); err != nil {
		t.Fatal(err)
	}
	for _, text := range routes {
		r, err := ParseRoute(text)
		if err != nil {
			t.Fatal(err)
		}
		m.routes = append(m.routes, r)
	}
	return m
}

func TestMapping(t *testing.T) {
	long := strings.Repeat("x", 8193)
	for _, test := range []struct {
		name, content, topic, payload string
		base64                        bool
		want, wrong                   string
	}{
		{"text", "{payload}", "p/7/t", "21 °C", false, "21 °C", ""},
		{"JSON stays text", "{payload}", "p/7/t", `{"v": 1}`, false, `{"v": 1}`, ""},
		{"with its topic", "{topic}, {2}: {payload}", "p/7/t", "21", false, "p/7/t, 7: 21", ""},
		{"a payload with places", "{payload}", "p/7/t", "{topic}", false, "{topic}", ""},
		{"binary", "{payload}", "p/7/t", "\xff\x00", false, "", "not text"},
		{"NUL", "{payload}", "p/7/t", "a\x00", false, "", "not text"},
		{"binary as base64", "{payload}", "p/7/t", "\xff\x00", true, "/wA=", ""},
		{"empty", "{payload}", "p/7/t", "", false, "", "content"},
		{"white space", "{payload}", "p/7/t", " \n", false, "", "content"},
		{"too long", "{payload}", "p/7/t", long, false, "", "8193 bytes"},
		{"too long with its topic", "{topic}{payload}", "p/7/t", long[:8192], false, "", "content"},
		{"nobody's", "{payload}", "q", "21", false, "", "no route"},
	} {
		m := newMapper(t, test.content, "", "p/# => chat/c1/messages")
		m.base64 = test.base64
		d, err := m.apply(publishOf(test.topic, test.payload))
		if test.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%s: %v, want %q", test.name, err, test.wrong)
			}
		} else if err != nil || d.text != test.want || d.conversation != "c1" {
			t.Errorf("%s: %+v, %v", test.name, d, err)
		}
	}
}

// The first route counts, and ordinary topics get the payload as it is.
func TestMappingOrder(t *testing.T) {
	m := newMapper(t, "{payload}", "", "p/7/# => devices/seven", "p/# => chat/c1/messages")
	if d, err := m.apply(publishOf("p/7/t", "\xff")); err != nil || d.topic != "devices/seven" || d.conversation != "" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestOwnIDs(t *testing.T) {
	const conversation = "p/# => chat/c1/messages"
	prop := func(v string) packets.User { return packets.User{Key: "id", Value: v} }
	m := newMapper(t, "{payload}", "user-property:id", conversation)
	id := func(m *mapper, pb *packets.Publish) string {
		d, err := m.apply(pb)
		if err != nil {
			t.Fatal(err)
		}
		return d.id
	}
	one := id(m, publishOf("p/1", "a", prop("1")))
	if one == "" || one != id(m, publishOf("p/1", "b", prop("1"))) {
		t.Error("one identity makes two ids")
	}
	if one == id(m, publishOf("p/2", "a", prop("1"))) || one == id(m, publishOf("p/1", "a", prop("2"))) {
		t.Error("two identities make one id")
	}
	if id(m, publishOf("p/1", "a")) != "" {
		t.Error("no identity makes an id")
	}
	m = newMapper(t, "{payload}", "json:/a~1b/0/id", conversation)
	if n := id(m, publishOf("p/1", `{"a/b": [{"id": 12345678901234567890}]}`)); n == "" || n == id(m, publishOf("p/1", `{"a/b": [{"id": 12345678901234567891}]}`)) {
		t.Error("two large numbers make one id")
	}
	for _, payload := range []string{"", "21", `{"a/b": []}`, `{"a/b": [{"id": null}]}`, `{"a/b": [{"id": {}}]}`, `{"a/b": {"0": 1}}`} {
		if payload != "" && id(m, publishOf("p/1", payload)) != "" {
			t.Errorf("%s makes an id", payload)
		}
	}
	for _, rule := range []string{"id", "user-property:", "json:id"} {
		if _, err := ParseIDRule(rule); err == nil {
			t.Errorf("%q is an id rule", rule)
		}
	}
}

func TestParseBroker(t *testing.T) {
	for text, want := range map[string]string{
		"mqtt://h": "h:1883", "mqtts://h": "h:8883", "mqtts://h:1/": "h:1", "mqtt://[::1]:2": "[::1]:2",
		"http://h": "", "h:1883": "", "mqtt://": "", "mqtt://u:p@h": "", "mqtt://h/x": "", "mqtt://h?x": "", ":": "",
	} {
		u, err := ParseBroker(text)
		if want == "" {
			if err == nil || strings.Contains(err.Error(), "u:p") {
				t.Errorf("%s: %v", text, err)
			}
		} else if err != nil || u.Host != want {
			t.Errorf("%s is %v, %v", text, u, err)
		}
	}
}
