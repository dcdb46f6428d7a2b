package api_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// clients are connections that stand still. Those that are ended are gone.
type clients struct {
	mu   sync.Mutex
	list []api.Connection // in order
}

func (c *clients) List(user, client string, after bridge.SessionKey, limit int) (list []api.Connection, next bridge.SessionKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.list {
		k := one.Key
		if user != "" && k.UserID != user || client != "" && k.ClientID != client ||
			k.UserID < after.UserID || k.UserID == after.UserID && k.ClientID <= after.ClientID {
			continue
		}
		if len(list) == limit {
			return list, list[limit-1].Key
		}
		list = append(list, one)
	}
	return list, bridge.SessionKey{}
}

func (c *clients) Get(key bridge.SessionKey) (api.Connection, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.index(key); i >= 0 {
		return c.list[i], true
	}
	return api.Connection{}, false
}

func (c *clients) Disconnect(key bridge.SessionKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.index(key)
	if i >= 0 {
		c.list = slices.Delete(c.list, i, i+1)
	}
	return i >= 0
}

func (c *clients) EndSession(_ context.Context, key bridge.SessionKey) (bool, error) {
	return c.Disconnect(key), nil
}

func (c *clients) index(key bridge.SessionKey) int {
	return slices.IndexFunc(c.list, func(one api.Connection) bool { return one.Key == key })
}

// connect adds connections; they are to come in order.
func (c *clients) connect(user string, ids ...string) {
	for _, id := range ids {
		c.list = append(c.list, api.Connection{Key: bridge.SessionKey{UserID: user, ClientID: id}, Transport: "tcp", Version: 5})
	}
}

// query is a path below /v1/admin with its query.
func query(path string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return "/v1/admin/" + path + "?" + v.Encode()
}

func TestConnection(t *testing.T) {
	e := one(t, nil)
	e.mqtt.list = []api.Connection{{
		Key: bridge.SessionKey{UserID: bob, ClientID: "phone"}, Address: "192.0.2.7:1", Transport: "wss", Version: 4,
		ConnectedAt: time.Date(2026, 11, 22, 23, 1, 33, 123456789, time.FixedZone("", 3600)), CleanStart: true,
		SessionExpiry: bridge.NeverExpires, KeepAlive: 65535,
		Subscriptions: []bridge.Subscription{{Filter: "$share/g/#", QoS: 2, ID: 3}}, SubscriptionCount: 200,
		Streams:     []bridge.Progress{{Stream: chat.ConversationStream("c1"), Position: 40, Head: 42}},
		StreamCount: 300, InflightEntries: 1, InflightDeliveries: 2, Waiting: 3, WaitingBytes: 4}}
	want := obj{"userId": bob, "clientId": "phone", "address": "192.0.2.7:1", "transport": "wss", "protocol": "3.1.1",
		"connectedAt": "2026-11-22T22:01:33.123Z", "cleanStart": true, "sessionExpiry": 4294967295.0, "keepAlive": 65535.0,
		"subscriptions": obj{"count": 200.0, "items": []any{obj{"filter": "$share/g/#", "qos": 2.0}}},
		"streams":       obj{"count": 300.0, "items": []any{obj{"conversationId": "c1", "position": 40.0, "head": 42.0, "lag": 2.0}}},
		"inflight":      obj{"entries": 1.0, "deliveries": 2.0}, "waiting": obj{"deliveries": 3.0, "bytes": 4.0}}
	wantEqual(t, "one", e.do(root, "GET", query("connection", "user", bob, "client", "phone"), nil).want(200), want)
	wantEqual(t, "listed", e.do(root, "GET", query("connections"), nil).want(200), obj{"items": []any{want}})

	e.mqtt.list = nil
	e.mqtt.connect(bob, "x")
	bare := e.do(root, "GET", query("connection", "user", bob, "client", "x"), nil).want(200)
	if _, ok := bare["address"]; ok || bare["protocol"] != "5" {
		t.Errorf("one without address is %v", bare)
	}
	none := obj{"count": 0.0, "items": []any{}}
	wantEqual(t, "none", []any{bare["subscriptions"], bare["streams"]}, []any{none, none})
}

// A client identifier may be anything.
func TestConnectionsOfAnyClientID(t *testing.T) {
	e := one(t, nil)
	ids := []string{" ", "%2F", "+", ".", "..", "/", "/v1/admin", "?user=eve&client=x#", "a b/c", "日本 é", strings.Repeat("x", 256), strings.Repeat("日", 85)}
	slices.Sort(ids)
	e.mqtt.connect(bob, ids...)
	for _, id := range ids {
		one := query("connection", "user", bob, "client", id)
		wantEqual(t, "one", e.do(root, "GET", one, nil).want(200)["clientId"], id)
		found := items(e.do(root, "GET", query("connections", "client", id), nil).want(200))
		wantEqual(t, "found", pluck[string](found, "clientId"), []string{id})
	}
	var paged []string
	for cursor := ""; ; {
		pairs := []string{"limit", "1"}
		if cursor != "" {
			pairs = append(pairs, "cursor", cursor)
		}
		page := e.do(root, "GET", query("connections", pairs...), nil).want(200)
		paged = append(paged, pluck[string](items(page), "clientId")...)
		if cursor, _ = page["nextCursor"].(string); cursor == "" || len(paged) > len(ids) {
			break
		}
	}
	wantEqual(t, "in pages of one", paged, ids)
	for _, id := range ids {
		one := query("connection", "user", bob, "client", id)
		e.do(root, "DELETE", one, nil).want(204)
		e.do(root, "DELETE", one, nil).refused("not_found", "")
		e.do(root, "GET", one, nil).refused("not_found", "")
	}
	wantEqual(t, "left", items(e.do(root, "GET", query("connections"), nil).want(200)), []obj{})
}

func TestConnectionsInPages(t *testing.T) {
	e := one(t, nil)
	var want []string
	for _, user := range []string{"ann", "ben"} {
		for i := range 60 {
			id := fmt.Sprintf("%03d", i)
			e.mqtt.connect(user, id)
			want = append(want, user+" "+id)
		}
	}
	for limit, pages := range map[string][]int{"": {50, 50, 20}, "60": {60, 60}, "119": {119, 1}, "120": {120}, "200": {120}} {
		var got []string
		var sizes []int
		for cursor := ""; ; {
			pairs := []string{}
			if limit != "" {
				pairs = append(pairs, "limit", limit)
			}
			if cursor != "" {
				pairs = append(pairs, "cursor", cursor)
			}
			page := e.do(root, "GET", query("connections", pairs...), nil).want(200)
			list := items(page)
			sizes = append(sizes, len(list))
			for i, user := range pluck[string](list, "userId") {
				got = append(got, user+" "+pluck[string](list, "clientId")[i])
			}
			if cursor, _ = page["nextCursor"].(string); cursor == "" || len(got) > len(want) {
				break
			}
		}
		wantEqual(t, "sizes of pages of "+limit, sizes, pages)
		wantEqual(t, "all in pages of "+limit, got, want)
	}
	wantEqual(t, "of one user", len(items(e.do(root, "GET", query("connections", "user", "ben", "limit", "200"), nil).want(200))), 60)
	wantEqual(t, "of nobody", items(e.do(root, "GET", query("connections", "user", "eve"), nil).want(200)), []obj{})
}

func TestConnectionsRefuse(t *testing.T) {
	e := one(t, nil)
	e.mqtt.connect(alice, "phone")
	e.mqtt.connect(bob, "phone")
	before := slices.Clone(e.mqtt.list)
	cursor := func(b string) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }
	const list, one = "connections", "connection"
	for _, tt := range []struct {
		user, method, path string
		code               chat.Code
		field              string
	}{
		{"", "GET", query(list), "unauthorized", ""},
		{"", "GET", query(one, "user", bob, "client", "phone"), "unauthorized", ""},
		{"", "DELETE", query(one, "user", bob, "client", "phone"), "unauthorized", ""},
		{alice, "GET", query(list), "forbidden", ""},
		{alice, "GET", query(list, "user", alice), "forbidden", ""}, // not even one's own
		{alice, "GET", query(list, "cursor", "x"), "forbidden", ""},
		{alice, "GET", query(one, "user", alice, "client", "phone"), "forbidden", ""},
		{alice, "GET", query(one, "user", bob, "client", "none"), "forbidden", ""}, // nor whether it is there
		{alice, "DELETE", query(one, "user", bob, "client", "phone"), "forbidden", ""},
		{alice, "DELETE", query(one, "user", bob, "client", "none"), "forbidden", ""},
		{root, "GET", query(one, "user", bob, "client", "none"), "not_found", ""},
		{root, "GET", query(one, "user", "zoe", "client", "phone"), "not_found", ""},
		{root, "DELETE", query(one, "user", bob, "client", "none"), "not_found", ""},
		{root, "DELETE", query(one, "user", "zoe", "client", "phone"), "not_found", ""},
		{root, "DELETE", "/v1/admin/connection?user=bob&client=%ff", "not_found", ""},
		{root, "GET", "/v1/admin/connection/bob/phone", "not_found", ""},
		{root, "GET", query(one), "invalid", "user"},
		{root, "GET", query(one, "client", "phone"), "invalid", "user"},
		{root, "GET", query(one, "user", bob), "invalid", "client"},
		{root, "GET", query(one, "user", bob, "client", ""), "invalid", "client"},
		{root, "GET", query(one, "user", bob, "client", strings.Repeat("x", 257)), "invalid", "client"},
		{root, "GET", query(one, "user", "b/b", "client", "phone"), "invalid", "user"},
		{root, "GET", "/v1/admin/connection?user=bob&client=phone&client=phone", "invalid", "client"},
		{root, "DELETE", query(one), "invalid", "user"},
		{root, "DELETE", query(one, "user", bob), "invalid", "client"},
		{root, "DELETE", query(one, "client", "phone"), "invalid", "user"},
		{root, "DELETE", query(one, "user", bob, "client", "phone", "limit", "1"), "invalid", "limit"},
		{root, "GET", query(list, "user", "a b"), "invalid", "user"},
		{root, "GET", query(list, "user", ""), "invalid", "user"},
		{root, "GET", query(list, "client", strings.Repeat("x", 257)), "invalid", "client"},
		{root, "GET", query(list, "limit", "0"), "invalid", "limit"},
		{root, "GET", query(list, "limit", "201"), "invalid", "limit"},
		{root, "GET", query(list, "limit", "x"), "invalid", "limit"},
		{root, "GET", query(list, "cursor", "x"), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", "!!"), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", "AQAAAZq8Z2PLYzE"), "invalid", "cursor"}, // of another list
		{root, "GET", query(list, "cursor", cursor("\x02")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x02bob")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x02bob\x00")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x02\x00phone")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x02b b\x00phone")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x02bob\x00a\x00b")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x02bob\x00\xff")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x03bob\x00phone")), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", cursor("\x02bob\x00"+strings.Repeat("x", 257))), "invalid", "cursor"},
		{root, "GET", query(list, "cursor", strings.Repeat("x", 5000)), "invalid", "cursor"},
	} {
		r := e.do(tt.user, tt.method, tt.path, nil)
		r.what = fmt.Sprintf("%s %.100s by %q", tt.method, tt.path, tt.user)
		r.refused(tt.code, tt.field)
	}
	if !reflect.DeepEqual(e.mqtt.list, before) {
		t.Errorf("left are %v", e.mqtt.list)
	}
	e.do(root, "PUT", query(one, "user", bob, "client", "phone"), nil).problem(http.StatusMethodNotAllowed, "method_not_allowed", "")
}

// Who ended a connection is in the log.
func TestDisconnectIsLogged(t *testing.T) {
	e := one(t, nil)
	e.mqtt.connect(bob, "phone")
	e.do(root, "DELETE", query("connection", "user", bob, "client", "none"), nil).refused("not_found", "")
	e.do(root, "DELETE", query("connection", "user", bob, "client", "phone"), nil).want(204)
	found := lines(t, e.logged, slog.LevelInfo)
	if len(found) != 1 || found[0]["user"] != bob || found[0]["client"] != "phone" || found[0]["by"] != root {
		t.Errorf("logged %v", found)
	}
}

// The example of the document is what the server answers.
func TestConnectionExample(t *testing.T) {
	e := one(t, nil)
	doc := e.ask(http.Header{}, "GET", "/v1/openapi.json", nil).want(200)["paths"].(obj)
	e.mqtt.list = []api.Connection{{
		Key: bridge.SessionKey{UserID: alice, ClientID: "phone"}, Address: "192.0.2.7:51442", Transport: "tls", Version: 5,
		ConnectedAt: time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC), SessionExpiry: 3600, KeepAlive: 60,
		Subscriptions: []bridge.Subscription{{Filter: "chat/+/messages", QoS: 1}}, SubscriptionCount: 1,
		Streams:     []bridge.Progress{{Stream: chat.ConversationStream("c1"), Position: 40, Head: 42}},
		StreamCount: 1, InflightEntries: 2}}
	e.mqtt.connect(alice, "q")
	example := func(path string) any {
		answer := doc[path].(obj)["get"].(obj)["responses"].(obj)["200"].(obj)
		return answer["content"].(obj)["application/json"].(obj)["example"]
	}
	wantEqual(t, "list", any(e.do(root, "GET", query("connections", "limit", "1"), nil).want(200)), example("/v1/admin/connections"))
	wantEqual(t, "one", any(e.do(root, "GET", query("connection", "user", alice, "client", "phone"), nil).want(200)),
		example("/v1/admin/connection"))
}
