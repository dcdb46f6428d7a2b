package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/chat"
)

const notifications = "/v1/notifications"

// notices are the user's notifications, oldest first.
func (e *env) notices(user string) []obj {
	e.Helper()
	list := items(e.do(user, "GET", notifications+"?limit=200", nil).want(200))
	slices.Reverse(list)
	return list
}

func (e *env) unread(user string) float64 {
	e.Helper()
	return e.do(user, "GET", notifications+"/unread", nil).want(200)["unreadCount"].(float64)
}

func TestNotify(t *testing.T) {
	each(t, func(e *env) {
		made := e.do(herald, "POST", notifications, obj{"recipientId": bob, "senderId": alice, "type": "LIKE",
			"data": obj{"postId": "p1", "nested": []any{nil, 1.5}}, "collapse": "like:p1", "clientId": "l-1"}).want(201)
		wantTimes(e.T, maps.Clone(made))
		id, _ := made["id"].(string)
		wantEqual(e.T, "length of the id", len(id), 36)
		wantEqual(e.T, "answer", made, obj{"id": id, "seq": 1.0, "recipientId": bob, "senderId": alice, "type": "LIKE",
			"data": obj{"postId": "p1", "nested": []any{nil, 1.5}}, "collapse": "like:p1", "isRead": false, "createdAt": made["createdAt"]})
		wantEqual(e.T, "what bob has", e.notices(bob), []obj{made})
		again := e.do(herald, "POST", notifications, obj{"recipientId": bob, "senderId": alice, "type": "OTHER", "clientId": "l-1"}).want(200)
		wantEqual(e.T, "a repeat", again, made)
		short := e.do(root, "POST", notifications, obj{"recipientId": bob, "type": "LIKE", "data": obj{}}).want(201)
		wantEqual(e.T, "sender and data that were left out", []any{short["senderId"], short["data"], short["seq"]}, []any{root, nil, 2.0})
		e.do(herald, "POST", notifications, obj{"recipientId": bob, "senderId": bob, "type": "LIKE"}).want(204)
		e.do(herald, "POST", notifications, obj{"recipientId": herald, "type": "LIKE"}).want(204)
		wantEqual(e.T, "unread", e.unread(bob), 2.0)
		wantEqual(e.T, "unread of nobody", e.unread(mallory), 0.0)
		for _, user := range []string{alice, bob, mallory} {
			e.do(user, "POST", notifications, obj{"recipientId": carol, "type": "LIKE"}).refused("forbidden", "")
			e.do(user, "POST", notifications, raw{"application/json", "nonsense"}).refused("forbidden", "")
		}
		wantEqual(e.T, "what carol has", e.notices(carol), []obj{})
	})
}

func TestNotifyBatch(t *testing.T) {
	each(t, func(e *env) {
		one := func(to, from string) obj { return obj{"recipientId": to, "senderId": from, "type": "LIKE"} }
		first := one(bob, alice)
		first["clientId"] = "x"
		for _, body := range []any{obj{"items": []any{first, one(bob, bob), one(carol, alice), first}},
			[]any{first, one(bob, bob), one(carol, alice), first}} {
			list := items(e.do(herald, "POST", notifications, body).want(201))
			statuses := pluck[float64](list, "status")
			if statuses[0] == 201 {
				wantEqual(e.T, "statuses", statuses, []float64{201, 204, 201, 200})
			} else {
				wantEqual(e.T, "statuses of a repeat", statuses, []float64{200, 204, 201, 200})
			}
			wantEqual(e.T, "the first", list[0]["notification"], any(e.notices(bob)[0]))
			wantEqual(e.T, "one that was skipped", list[1], obj{"status": 204.0})
			wantEqual(e.T, "the repeat", list[3]["notification"], list[0]["notification"])
		}
		wantEqual(e.T, "what carol has", len(e.notices(carol)), 2)
		many := make([]any, chat.MaxNotices)
		for i := range many {
			many[i] = obj{"recipientId": fmt.Sprintf("u%d", i%7), "type": "N", "data": obj{"text": strings.Repeat("x", 4000)}}
		}
		wantEqual(e.T, "of 1,000", len(items(e.do(herald, "POST", notifications, many).want(201))), chat.MaxNotices)
		wantEqual(e.T, "unread", e.unread("u0"), 143.0)
		for at, bad := range map[string]any{
			"items[3].type":        obj{"recipientId": bob, "type": "a b"},
			"items[3].recipientId": obj{"type": "LIKE"},
			"items[3].data":        obj{"recipientId": bob, "type": "LIKE", "data": []any{}},
			"items[3].unknown":     obj{"recipientId": bob, "type": "LIKE", "unknown": 1},
			"items[3]":             "x",
		} {
			body := []any{one(adam, alice), one(adam, alice), one(adam, alice), bad, one(adam, alice)}
			e.do(herald, "POST", notifications, body).refused("invalid", at)
			e.do(herald, "POST", notifications, obj{"items": body}).refused("invalid", at)
		}
		for _, body := range []any{[]any{}, obj{"items": []any{}}, append(many, one(adam, bob)), obj{"items": "x"}} {
			e.do(herald, "POST", notifications, body).refused("invalid", "items")
		}
		e.do(herald, "POST", notifications, obj{"items": []any{one(adam, bob)}, "type": "x"}).refused("invalid", "type")
		wantEqual(e.T, "what adam has", e.notices(adam), []obj{})
	})
}

// What a notification must not be, and what is wrong with it.
func TestNotifyRefuses(t *testing.T) {
	long := strings.Repeat("x", 129)
	rows := []struct{ body, field string }{
		{``, "payload"}, {`null`, "payload"}, {`1`, "payload"}, {`"x"`, "payload"}, {`{`, "payload"}, {`{} {}`, "payload"}, {`{}`, "recipientId"},
		{"{\"recipientId\":\"\xff\"}", "payload"}, {`[{]`, "payload"}, {`[1]`, "items[0]"}, {`[null]`, "items[0]"}, {`[[]]`, "items[0]"},
		{`{"type":"LIKE"}`, "recipientId"}, {`{"recipientId":"bob"}`, "type"}, {`{"recipientId":"b b","type":"x"}`, "recipientId"},
		{`{"recipientId":7,"type":"x"}`, "recipientId"}, {`{"recipientId":null,"type":"x"}`, "recipientId"}, {`{"recipientId":"","type":"x"}`, "recipientId"},
		{`{"recipientId":"bob","type":"x","senderId":"a/b"}`, "senderId"}, {`{"recipientId":"bob","type":"x","senderId":null}`, "senderId"},
		{`{"recipientId":"bob","type":""}`, "type"}, {`{"recipientId":"bob","type":"a@b"}`, "type"}, {`{"recipientId":"bob","type":"` + long[:65] + `"}`, "type"},
		{`{"recipientId":"bob","type":"x","data":"y"}`, "data"}, {`{"recipientId":"bob","type":"x","data":[]}`, "data"}, {`{"recipientId":"bob","type":"x","data":null}`, "data"},
		{`{"recipientId":"bob","type":"x","data":{"a":"` + strings.Repeat("x", 4096) + `"}}`, "data"},
		{`{"recipientId":"bob","type":"x","data":` + strings.Repeat(`{"a":`, 33) + `1` + strings.Repeat(`}`, 33) + `}`, "data"},
		{`{"recipientId":"bob","type":"x","collapse":""}`, "collapse"}, {`{"recipientId":"bob","type":"x","collapse":"` + long + `"}`, "collapse"},
		{`{"recipientId":"bob","type":"x","collapse":"a\u0000"}`, "collapse"}, {`{"recipientId":"bob","type":"x","collapse":1}`, "collapse"},
		{`{"recipientId":"bob","type":"x","clientId":"~x"}`, "clientId"}, {`{"recipientId":"bob","type":"x","clientId":""}`, "clientId"},
		{`{"recipientId":"bob","type":"x","seq":1}`, "seq"}, {`{"recipientId":"bob","type":"x","Data":{}}`, "Data"},
		{`{"recipientId":"bob","recipientId":"bob","type":"x"}`, "recipientId"}, {`{"items":[],"items":[]}`, "items"},
		{`{"recipientId":"bob","type":"x","` + long + `":1}`, "payload"},
	}
	each(t, func(e *env) {
		for _, row := range rows {
			r := e.do(herald, "POST", notifications, raw{"application/json", row.body})
			r.what = fmt.Sprintf("%.80q", row.body)
			r.refused("invalid", row.field)
		}
		for _, media := range []string{"text/html", "application/json; charset=utf-16", "text/plain"} {
			e.do(herald, "POST", notifications, raw{media, `{"recipientId":"bob","type":"x"}`}).refused("invalid", "Content-Type")
		}
		wantEqual(e.T, "what bob has", e.notices(bob), []obj{})
	})
}

func TestReadNotifications(t *testing.T) {
	read := notifications + "/read"
	each(t, func(e *env) {
		var ids []any
		for i := range 6 {
			made := e.do(herald, "POST", notifications, obj{"recipientId": bob, "type": "LIKE", "data": obj{"i": i}}).want(201)
			ids = append(ids, made["id"])
		}
		other := e.do(herald, "POST", notifications, obj{"recipientId": carol, "type": "LIKE"}).want(201)["id"]
		mark := func(body obj, left float64, flags ...bool) {
			e.Helper()
			wantEqual(e.T, "left", e.do(bob, "POST", read, body).want(200), obj{"unreadCount": left})
			wantEqual(e.T, "unread", e.unread(bob), left)
			wantEqual(e.T, "isRead", pluck[bool](e.notices(bob), "isRead"), flags)
		}
		mark(obj{"ids": []any{ids[1], other, "019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11"}}, 5, false, true, false, false, false, false)
		mark(obj{"ids": []any{strings.ToUpper(ids[1].(string))}}, 5, false, true, false, false, false, false)
		mark(obj{"ids": []any{}}, 5, false, true, false, false, false, false)
		mark(obj{"upTo": 3}, 3, true, true, true, false, false, false)
		mark(obj{"upTo": 0}, 3, true, true, true, false, false, false)
		list := e.do(bob, "GET", notifications+"?unread=true&limit=2", nil).want(200)
		wantEqual(e.T, "unread ones", pluck[float64](items(list), "seq"), []float64{6, 5})
		list = e.do(bob, "GET", notifications+"?unread=true&limit=2&cursor="+list["nextCursor"].(string), nil).want(200)
		wantEqual(e.T, "the last of them", []any{pluck[float64](items(list), "seq"), list["nextCursor"]}, []any{[]float64{4}, nil})
		mark(obj{"all": true}, 0, true, true, true, true, true, true)
		wantEqual(e.T, "unread of carol", e.unread(carol), 1.0)
		wantEqual(e.T, "of who has none", e.do(mallory, "POST", read, obj{"all": true}).want(200), obj{"unreadCount": 0.0})
		for body, field := range map[string]string{
			`{}`: "payload", `{"ids":["x"]}`: "ids", `{"ids":[1]}`: "ids", `{"upTo":-1}`: "upTo", `{"upTo":"1"}`: "upTo", `{"all":false}`: "all",
			`{"all":1}`: "all", `{"all":true,"upTo":1}`: "upTo", `{"upTo":1,"ids":[]}`: "ids", `{"all":true,"all":true}`: "all", `{"":1}`: "",
			`{"ids":[` + strings.Repeat(`"019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11",`, 1000) + `"019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11"]}`: "ids",
		} {
			r := e.do(carol, "POST", read, raw{"application/json", body})
			r.what = fmt.Sprintf("%.60s", body)
			r.refused("invalid", field)
		}
		wantEqual(e.T, "unread of carol", e.unread(carol), 1.0)
	})
}

func TestNotificationPages(t *testing.T) {
	each(t, func(e *env) {
		batch := slices.Repeat([]any{obj{"recipientId": bob, "type": "LIKE"}}, 120)
		e.do(herald, "POST", notifications, batch).want(201)
		var seqs []float64
		for query := "?limit=50"; query != ""; {
			page := e.do(bob, "GET", notifications+query, nil).want(200)
			seqs = append(seqs, pluck[float64](items(page), "seq")...)
			query = ""
			if next, ok := page["nextCursor"].(string); ok {
				query = "?limit=50&cursor=" + next
			}
		}
		wantEqual(e.T, "newest and oldest", []any{len(seqs), seqs[0], seqs[119]}, []any{120, 120.0, 1.0})
		if !slices.IsSortedFunc(seqs, func(a, b float64) int { return int(b - a) }) {
			e.Errorf("not newest first: %v", seqs)
		}
		for query, field := range map[string]string{"unread=yes": "unread", "unread=": "unread", "limit=0": "limit", "limit=201": "limit",
			"cursor=x": "cursor", "cursor=BQAAAAAAAAAA": "cursor", "cursor=Bf__________": "cursor", "before=1": "before"} {
			e.do(bob, "GET", notifications+"?"+query, nil).refused("invalid", field)
		}
	})
}

func TestPreferences(t *testing.T) {
	const path = "/v1/me/preferences"
	none := obj{"notificationEnabled": true, "muted": []any{}, "mutedConversations": []any{}}
	full := obj{"notificationEnabled": true, "muted": []any{"LIKE"}, "mutedConversations": []any{"c1"},
		"quietHours": obj{"from": "22:00", "to": "07:00", "timeZone": "Europe/Vienna"}}
	each(t, func(e *env) {
		wantEqual(e.T, "before any", e.do(bob, "GET", path, nil).want(200), none)
		wantEqual(e.T, "as they were put", e.do(bob, "PUT", path, full).want(200), full)
		wantEqual(e.T, "as they stand", e.do(bob, "GET", path, nil).want(200), full)
		wantEqual(e.T, "another user's", e.do(carol, "GET", path, nil).want(200), none)
		for body, field := range map[string]string{
			`{"muted":["a b"]}`: "muted", `{"muted":"LIKE"}`: "muted", `{"mutedConversations":["a/b"]}`: "mutedConversations",
			`{"notificationEnabled":"yes"}`: "notificationEnabled", `{"quietHours":{}}`: "quietHours.from", `{"quietHours":"night"}`: "quietHours",
			`{"quietHours":{"from":"24:00","to":"07:00","timeZone":"UTC"}}`:              "quietHours.from",
			`{"quietHours":{"from":"22:00","to":"07:00"}}`:                               "quietHours.timeZone",
			`{"quietHours":{"from":"7:00","to":"07:00","timeZone":"UTC"}}`:               "quietHours.from",
			`{"quietHours":{"from":"22:00","to":"07:60","timeZone":"UTC"}}`:              "quietHours.to",
			`{"quietHours":{"from":"22:00","to":"22:00","timeZone":"UTC"}}`:              "quietHours.to",
			`{"quietHours":{"from":"22:00","to":"07:00","timeZone":"Vienna"}}`:           "quietHours.timeZone",
			`{"quietHours":{"from":"22:00","to":"07:00","timeZone":"Local"}}`:            "quietHours.timeZone",
			`{"quietHours":{"from":"22:00","to":"07:00","timeZone":""}}`:                 "quietHours.timeZone",
			`{"quietHours":{"from":"22:00","to":"07:00","timeZone":"../../etc/passwd"}}`: "quietHours.timeZone",
			`{"quietHours":{"from":"22:00","to":"07:00","timeZone":"UTC","x":1}}`:        "quietHours.x",
			`{"muted":[` + strings.Repeat(`"x",`, 100) + `"x"]}`:                         "muted",
			`{"mutedConversations":[` + strings.Repeat(`"x",`, 1000) + `"x"]}`:           "mutedConversations",
		} {
			r := e.do(bob, "PUT", path, raw{"application/json", body})
			r.what = fmt.Sprintf("%.80s", body)
			r.refused("invalid", field)
		}
		wantEqual(e.T, "after what was refused", e.do(bob, "GET", path, nil).want(200), full)
		e.do(herald, "POST", notifications, obj{"recipientId": bob, "type": "LIKE"}).want(204)
		e.do(herald, "POST", notifications, obj{"recipientId": bob, "type": "X", "data": obj{"conversationId": "c1"}}).want(204)
		e.do(herald, "POST", notifications, obj{"recipientId": bob, "type": "X"}).want(204) // it is 23:01 in Vienna
		wantEqual(e.T, "none again", e.do(bob, "PUT", path, obj{}).want(200), none)
		e.do(herald, "POST", notifications, obj{"recipientId": bob, "type": "LIKE"}).want(201)
		e.do(bob, "PUT", path, obj{"notificationEnabled": false}).want(200)
		e.do(herald, "POST", notifications, obj{"recipientId": bob, "type": "X"}).want(204)
		wantEqual(e.T, "unread", e.unread(bob), 1.0)
	})
}

// The document describes the JSON of a notification key by key.
func TestNotificationDocument(t *testing.T) {
	keys, least := obj{}, obj{}
	full := chat.Entry{Stream: "n/bob", Seq: 1, SenderID: alice, Deleted: false, Body: chat.Body{Type: chat.TypeNotification,
		Notice: &chat.Notice{Type: "LIKE", Data: []byte(`{"a":1}`), Collapse: "x", Read: true}}}
	empty := chat.Entry{Stream: "n/bob", Body: chat.Body{Type: chat.TypeNotification, Notice: &chat.Notice{}}}
	for entry, into := range map[*chat.Entry]obj{&full: keys, &empty: least} {
		text, _ := json.Marshal(*entry)
		if err := json.Unmarshal(text, &into); err != nil {
			t.Fatal(err)
		}
	}
	keys["deleted"] = true
	schema := document(t)["components"].(obj)["schemas"].(obj)["Notification"].(obj)
	wantEqual(t, "keys of a notification", sorted(schema["properties"].(obj)), sorted(keys))
	required := obj{}
	for _, key := range schema["required"].([]any) {
		required[key.(string)] = nil
	}
	wantEqual(t, "keys of every notification", sorted(required), sorted(least))
}
