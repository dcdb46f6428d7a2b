package broker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// unreadCount reads packets up to one with the unread count, which must come.
func unreadCount(t *testing.T, c *mqttest.Client) (count uint64, retained bool) {
	t.Helper()
	for {
		pk := c.Expect(packets.Publish)
		var state struct{ UnreadCount *uint64 }
		if err := json.Unmarshal(pk.Payload, &state); err != nil || state.UnreadCount == nil || pk.FixedHeader.Qos != 0 {
			continue
		}
		return *state.UnreadCount, pk.FixedHeader.Retain
	}
}

// The count of unread notifications is there on SUBSCRIBE, and comes again
// when it changes, however it does.
func TestUnreadTopic(t *testing.T) {
	versions(t, func(t *testing.T, s *parleytest.Server, version byte) {
		want := func(c *mqttest.Client, count uint64, retained bool) {
			t.Helper()
			if got, r := unreadCount(t, c); got != count || r != retained {
				t.Errorf("got %d, retained %v, want %d, %v", got, r, count, retained)
			}
		}
		bob := s.Connect("bob", mqttest.Options{Version: version, ClientID: "b", Clean: true})
		bob.Subscribe("users/bob/unread")
		want(bob, 0, true)
		carol := s.Connect("carol", mqttest.Options{Version: version, ClientID: "c", Clean: true})
		if code := carol.Subscribe("users/bob/unread").ReasonCodes[0]; code < 0x80 {
			t.Errorf("carol's subscription was granted: 0x%02x", code)
		}
		notify(t, s, 1)
		want(bob, 1, false)
		notify(t, s, 2)
		want(bob, 2, false)
		other := s.Connect("bob", mqttest.Options{Version: version, ClientID: "o", Clean: true})
		other.Subscribe("users/bob/#")
		want(other, 2, true)
		other.Publish("users/bob/notifications/read", `{"upTo":1}`, 1)
		want(bob, 1, false)
		want(other, 1, false)
		s.Conversation("c1", "alice", "bob")
		alice := s.Connect("alice", mqttest.Options{Version: version, ClientID: "a", Clean: true})
		alice.Publish("chat/c1/messages", `{"content":"hi","mentions":["bob"]}`, 1)
		want(bob, 2, false)
		carol.Quiet()
	})
}

// counted is a user of the model.
type countedUser struct {
	id     string
	mqtt   *mqttest.Client
	last   uint64            // that the topic told
	ids    []string          // of its notifications, by seq from 1 on
	unread []uint64          // seqs
	keys   map[string]uint64 // collapse keys of unread ones
	sent   map[string]bool   // clientIds
}

func (u *countedUser) read(seq uint64) {
	u.unread = slices.DeleteFunc(u.unread, func(s uint64) bool { return s == seq })
	for key, at := range u.keys {
		if at == seq {
			delete(u.keys, key)
		}
	}
}

// rest asks the REST of a server, in this process.
type rest struct {
	t       *testing.T
	s       *parleytest.Server
	handler http.Handler
	herald  string
}

func newREST(t *testing.T, s *parleytest.Server) *rest {
	verifier, err := acl.New(t.Context(), acl.Config{Secret: []byte(parleytest.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	return &rest{t, s, api.New(api.Deps{Log: s.Log, Verifier: verifier}),
		parleytest.Token(t, acl.Claims{Subject: "herald", Scope: "notify", TTL: 3600e9})}
}

func (r *rest) do(token, method, path string, body any) (status int, answer map[string]any) {
	r.t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, reader)
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	if w.Code >= 300 {
		r.t.Fatalf("%s %s %v: %d %s", method, path, body, w.Code, w.Body)
	}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			r.t.Fatal(err)
		}
	}
	return w.Code, answer
}

// Whatever is notified, collapsed, repeated and read, and over which door: REST,
// the topic and the model count the same.
func TestUnreadEverywhere(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		r := newREST(t, s)
		round := 0
		rapid.Check(t, func(rt *rapid.T) {
			round++
			var users []*countedUser
			for i := range 2 {
				u := &countedUser{id: fmt.Sprintf("u%d-%d", round, i), keys: map[string]uint64{}, sent: map[string]bool{}}
				u.mqtt = s.Connect(u.id, mqttest.Options{ClientID: "m", Clean: true})
				u.mqtt.Subscribe("users/" + u.id + "/unread")
				if u.last, _ = unreadCount(t, u.mqtt); u.last != 0 {
					rt.Fatalf("a new user has %d unread", u.last)
				}
				users = append(users, u)
			}
			user := rapid.SampledFrom(users)
			rt.Repeat(map[string]func(*rapid.T){
				"notify": func(rt *rapid.T) {
					var batch []any
					for range rapid.IntRange(1, 4).Draw(rt, "n") {
						u := user.Draw(rt, "to")
						n := map[string]any{"recipientId": u.id, "type": "X"}
						clientID := rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(rt, "clientId")
						key := rapid.SampledFrom([]string{"", "k", "l"}).Draw(rt, "collapse")
						if rapid.IntRange(0, 9).Draw(rt, "self") == 0 {
							n["senderId"] = u.id
						} else if clientID == "" || !u.sent[clientID] {
							u.sent[clientID] = true
							if at, taken := u.keys[key]; taken {
								u.read(at)
							}
							u.ids = append(u.ids, "")
							u.unread = append(u.unread, uint64(len(u.ids)))
							if key != "" {
								u.keys[key] = uint64(len(u.ids))
							}
						}
						if clientID != "" {
							n["clientId"] = clientID
						}
						if key != "" {
							n["collapse"] = key
						}
						batch = append(batch, n)
					}
					_, answer := r.do(r.herald, "POST", "/v1/notifications", batch)
					for _, item := range answer["items"].([]any) {
						if n, ok := item.(map[string]any)["notification"].(map[string]any); ok {
							for _, u := range users {
								if u.id == n["recipientId"] {
									u.ids[int(n["seq"].(float64))-1] = n["id"].(string)
								}
							}
						}
					}
				},
				"read": func(rt *rapid.T) {
					u := user.Draw(rt, "user")
					var body map[string]any
					switch rapid.IntRange(0, 4).Draw(rt, "how") {
					case 0:
						body = map[string]any{"all": true}
						u.unread, u.keys = nil, map[string]uint64{}
					case 1, 2:
						to := uint64(rapid.IntRange(0, len(u.ids)+1).Draw(rt, "upTo"))
						body = map[string]any{"upTo": to}
						for seq := range to + 1 {
							u.read(seq)
						}
					default:
						ids := []any{"019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11"}
						for range rapid.IntRange(0, 3).Draw(rt, "n") {
							if len(u.ids) > 0 {
								seq := rapid.IntRange(1, len(u.ids)).Draw(rt, "seq")
								ids = append(ids, u.ids[seq-1])
								u.read(uint64(seq))
							}
						}
						body = map[string]any{"ids": ids}
					}
					if rapid.Bool().Draw(rt, "REST") {
						if _, answer := r.do(s.Token(u.id), "POST", "/v1/notifications/read", body); answer["unreadCount"] != float64(len(u.unread)) {
							rt.Fatalf("%s: REST answers %v, want %d", u.id, answer, len(u.unread))
						}
						return
					}
					text, _ := json.Marshal(body)
					other := s.Connect(u.id, mqttest.Options{ClientID: "other", Clean: true})
					other.Publish("users/"+u.id+"/notifications/read", string(text), 1)
					if ack := other.Expect(packets.Puback); ack.ReasonCode != 0 {
						rt.Fatalf("%s got 0x%02x", text, ack.ReasonCode)
					}
					_ = other.Conn.Close()
				},
				"": func(rt *rapid.T) {
					for _, u := range users {
						want := uint64(len(u.unread))
						if _, answer := r.do(s.Token(u.id), "GET", "/v1/notifications/unread", nil); answer["unreadCount"] != float64(want) {
							rt.Fatalf("%s: REST counts %v, want %d", u.id, answer["unreadCount"], want)
						}
						for u.last != want { // it comes, or the test waits in vain
							u.last, _ = unreadCount(t, u.mqtt)
						}
					}
				},
			})
			for _, u := range users {
				_, answer := r.do(s.Token(u.id), "GET", "/v1/notifications?unread=true&limit=200", nil)
				if n := len(answer["items"].([]any)); n != len(u.unread) {
					rt.Fatalf("%s: %d are listed, want %d", u.id, n, len(u.unread))
				}
				u.mqtt.Unsubscribe("users/" + u.id + "/unread")
				u.mqtt.Subscribe("users/" + u.id + "/unread")
				if count, retained := unreadCount(t, u.mqtt); count != uint64(len(u.unread)) || !retained {
					rt.Fatalf("%s: %d is retained, want %d", u.id, count, len(u.unread))
				}
				u.mqtt.Disconnect()
			}
		})
	})
}
