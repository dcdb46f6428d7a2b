package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/bridge"
)

func (e *env) keepSession(s bridge.Session) {
	e.Helper()
	if err := e.log.SaveSession(e.Context(), s); err != nil {
		e.Fatal(err)
	}
}

func TestSessions(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		head := e.say(bob, "hi")
		ended := time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC)
		c1 := []bridge.Cursor{{Stream: "c/c1", Seq: 4}}
		for _, s := range []bridge.Session{
			{Key: bridge.SessionKey{UserID: bob, ClientID: "away"}, Expiry: 86400, EndedAt: ended, Cursors: c1},
			{Key: bridge.SessionKey{UserID: bob, ClientID: "elsewhere"}, Expiry: 60},
			{Key: bridge.SessionKey{UserID: bob, ClientID: "for ever"}, Expiry: bridge.NeverExpires, EndedAt: ended},
			{Key: bridge.SessionKey{UserID: bob, ClientID: "here"}, Expiry: 60, Cursors: c1},
			{Key: bridge.SessionKey{UserID: bob, ClientID: "over"}, Expiry: 1, EndedAt: ended.Add(-time.Hour)},
			{Key: bridge.SessionKey{UserID: carol, ClientID: "here"}, Expiry: 60, Cursors: c1},
		} {
			e.keepSession(s)
		}
		e.mqtt.list = []api.Connection{
			{Key: bridge.SessionKey{UserID: alice, ClientID: "here"}, Version: 5},
			{Key: bridge.SessionKey{UserID: bob, ClientID: "here"}, Version: 4, Address: "192.0.2.7:1", ConnectedAt: ended,
				Cursors: []bridge.Cursor{{Stream: "c/c1", Seq: head}}},
			{Key: bridge.SessionKey{UserID: bob, ClientID: "passing"}, Version: 5, ConnectedAt: ended}}
		at := "2026-11-22T22:01:33.123Z"
		cursors := func(seq, count float64) []any {
			return []any{obj{"topic": "chat/c1/messages", "seq": seq, "head": float64(head)}}
		}
		wantEqual(e.T, "sessions", e.do(bob, "GET", "/v1/me/sessions", nil).want(200), obj{"items": []any{
			obj{"clientId": "away", "connected": false, "endedAt": at, "expiresAt": "2026-11-23T22:01:33.123Z", "cursorCount": 1.0, "cursors": cursors(4, 1)},
			obj{"clientId": "elsewhere", "connected": true, "cursorCount": 0.0, "cursors": []any{}},
			obj{"clientId": "for ever", "connected": false, "endedAt": at, "cursorCount": 0.0, "cursors": []any{}},
			obj{"clientId": "here", "connected": true, "protocol": "3.1.1", "address": "192.0.2.7:1", "connectedAt": at, "cursorCount": 1.0,
				"cursors": cursors(float64(head), 1)},
			obj{"clientId": "passing", "connected": true, "protocol": "5", "connectedAt": at, "cursorCount": 0.0, "cursors": []any{}},
		}})
		wantEqual(e.T, "none", e.do(mallory, "GET", "/v1/me/sessions", nil).want(200), obj{"items": []any{}})
	})
}

// Connections and durable sessions in pages, whichever of the two there are.
func TestSessionsInPages(t *testing.T) {
	e := one(t, nil)
	var want []string
	for i := range 40 {
		id := fmt.Sprintf("d%02d", i)
		if i%3 != 0 {
			e.keepSession(bridge.Session{Key: bridge.SessionKey{UserID: bob, ClientID: id}, Expiry: 60})
		}
		if i%3 != 1 {
			e.mqtt.connect(bob, id)
		}
		want = append(want, id)
	}
	e.mqtt.connect(carol, "d00")
	for _, limit := range []int{1, 3, 10, 39, 40, 41} {
		var got []string
		path := fmt.Sprintf("/v1/me/sessions?limit=%d", limit)
		for page := path; ; {
			answer := e.do(bob, "GET", page, nil).want(200)
			list := pluck[string](items(answer), "clientId")
			if len(list) > limit {
				t.Errorf("a page of %d has %d", limit, len(list))
			}
			got = append(got, list...)
			next, more := answer["nextCursor"].(string)
			if !more || len(got) > len(want) {
				break
			}
			page = path + "&cursor=" + next
		}
		wantEqual(t, fmt.Sprint("in pages of ", limit), got, want)
	}
	for _, bad := range []string{"x", "!!", "AGFsaWNl", "Aw", "A2E=", "A2EA", "A_8", strings.Repeat("A", 5000)} {
		e.do(bob, "GET", "/v1/me/sessions?cursor="+bad, nil).refused("invalid", "cursor")
	}
}

// A client identifier may be anything; its path is percent-encoded.
func TestEndSession(t *testing.T) {
	e := one(t, nil)
	ids := []string{" ", "%2F", "+", "/", "/v1/admin", "?user=eve#", "a b/c", "a//b", ".", "..", "..x", "日本 é", "%", strings.Repeat("x", 256)}
	slices.Sort(ids)
	e.mqtt.connect(bob, ids...)
	e.mqtt.connect(carol, ids...)
	for _, id := range ids {
		path := "/v1/me/sessions/" + url.PathEscape(id)
		e.do(bob, "DELETE", path, nil).want(204)
		e.do(bob, "DELETE", path, nil).refused("not_found", "")
	}
	if left := len(e.mqtt.list); left != len(ids) {
		t.Errorf("%d connections are left, want those of another user, %d", left, len(ids))
	}
	for _, id := range []string{"none", strings.Repeat("x", 257), "%00", "%ff"} {
		e.do(bob, "DELETE", "/v1/me/sessions/"+id, nil).refused("not_found", "")
	}
}
