package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const messages = "/v1/conversations/c1/messages"

func TestSend(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		sends := []struct{ body, want obj }{
			{obj{"content": "hi <3", "mediaUrl": "https://example.com/a.png", "mentions": []string{bob}, "clientId": "a-1"},
				obj{"type": "message", "content": "hi <3", "mediaUrl": "https://example.com/a.png", "mentions": []any{bob}, "clientId": "a-1"}},
			{obj{"content": "an answer", "replyTo": 5}, obj{"type": "message", "content": "an answer", "replyTo": 5.0}},
			{obj{"type": "edit", "target": 5, "content": "hi!"}, obj{"type": "edit", "target": 5.0, "content": "hi!"}},
			{obj{"type": "reaction", "target": 5, "emoji": "👍"}, obj{"type": "reaction", "target": 5.0, "emoji": "👍"}},
			{obj{"type": "reaction", "target": 5, "emoji": "👍", "remove": true},
				obj{"type": "reaction", "target": 5.0, "emoji": "👍", "remove": true}},
			{obj{"type": "delete", "target": 6, "clientId": "a-2"}, obj{"type": "delete", "target": 6.0, "clientId": "a-2"}},
		}
		for i, s := range sends {
			sent := e.do(alice, "POST", messages, s.body).want(201)
			stands := items(e.do(bob, "GET", fmt.Sprintf("%s?after=%d", messages, 4+i), nil).want(200))
			wantEqual(e.T, "what history has", stands[0], sent)
			if id, _ := sent["id"].(string); len(id) != 36 {
				e.Errorf("id is %v", sent["id"])
			}
			wantTimes(e.T, sent)
			s.want["id"], s.want["seq"] = sent["id"], float64(5+i)
			s.want["conversationId"], s.want["senderId"] = "c1", alice
			wantEqual(e.T, "answer", sent, s.want)
		}
	})
}

// What is text and what is JSON.
func TestSendMediaTypes(t *testing.T) {
	e := one(t, nil)
	e.talk()
	for _, tt := range []struct {
		raw
		content string // "" is refused
		field   string
	}{
		{raw{"text/plain", "hello"}, "hello", ""},
		{raw{"text/plain; charset=utf-8", `{"content":"x"}`}, `{"content":"x"}`, ""},
		{raw{"TEXT/PLAIN; charset=US-ASCII", "hello"}, "hello", ""},
		{raw{"", "hello"}, "hello", ""},
		{raw{"", `{"content":"x"}`}, "x", ""},
		{raw{"", ` {"content":"x"}`}, ` {"content":"x"}`, ""},
		{raw{"application/json", " \n{\"content\":\"x\"}"}, "x", ""},
		{raw{"Application/JSON; charset=UTF-8", `{"content":"x"}`}, "x", ""},
		{raw{"application/json", "hello"}, "", "payload"},
		{raw{"application/json", `"hello"`}, "", "payload"},
		{raw{"application/json", `["hello"]`}, "", "payload"},
		{raw{"application/json", ""}, "", "payload"},
		{raw{"text/plain", ""}, "", "content"},
		{raw{"", ""}, "", "content"},
		{raw{"text/plain", "\xff"}, "", "payload"},
		{raw{"text/plain; charset=latin1", "hello"}, "", "Content-Type"},
		{raw{"text/html", "hello"}, "", "Content-Type"},
		{raw{"application/x-www-form-urlencoded", "content=x"}, "", "payload"}, // read as JSON
		{raw{"application/x-www-form-urlencoded", `{"content":"x"}`}, "x", ""}, // what curl -d says
		{raw{";;", "hello"}, "", "Content-Type"},
	} {
		r := e.do(bob, "POST", messages, tt.raw)
		r.what = fmt.Sprintf("%q as %q", tt.text, tt.media)
		if tt.content == "" {
			r.refused("invalid", tt.field)
		} else {
			wantEqual(e.T, r.what, r.want(201)["content"], tt.content)
		}
	}
}

// Every refusal of a message is that of its MQTT twin: the same code, field
// and words.
func TestSendRefusesLikeMQTT(t *testing.T) {
	payloads := []string{
		`{}`, `{"content":""}`, `{"content":"  \n"}`, `{"content":1}`, `{"content":null}`, `{"content":"\u0000"}`,
		`{"content":"` + strings.Repeat("x", chat.MaxContent+1) + `"}`,
		`{"content":"x","mediaUrl":"ftp://x/"}`, `{"mediaUrl":"https:///"}`, `{"mediaUrl":"https://x/` + strings.Repeat("x", chat.MaxMediaURL) + `"}`,
		`{"content":"x","replyTo":0}`, `{"content":"x","replyTo":1.5}`, `{"content":"x","replyTo":"1"}`, `{"content":"x","replyTo":9223372036854775808}`,
		`{"content":"x","mentions":"bob"}`, `{"content":"x","mentions":["b b"]}`, `{"content":"x","mentions":[` + strings.Repeat(`"b",`, chat.MaxMentions) + `"b"]}`,
		`{"content":"x","clientId":""}`, `{"content":"x","clientId":"a/b"}`, `{"content":"x","clientId":7}`,
		`{"content":"x","unknown":1}`, `{"Content":"x"}`, `{"content":"x","content":"y"}`, `{"content":"x","target":5}`,
		`{"type":"join","content":"x"}`, `{"type":7}`, `{"type":"edit","target":5}`, `{"type":"edit","content":"x"}`,
		`{"type":"delete"}`, `{"type":"delete","target":-1}`, `{"type":"reaction","target":5}`, `{"type":"reaction","target":5,"emoji":"x","remove":"yes"}`,
		`{"content":"x"`, `{"content":"x"} {}`, `{"content":"x",}`, "{\"content\":\"\xff\"}",
		`{"content":"` + strings.Repeat("x", chat.MaxPayload) + `"}`,
	}
	each(t, func(e *env) {
		e.talk()
		before := e.state("c1")
		for _, p := range payloads {
			_, err := chat.DecodeBody([]byte(p), false)
			want, ok := chat.AsError(err)
			if !ok || want.Code != chat.CodeInvalid {
				e.Fatalf("%.60s: DecodeBody answers %v", p, err)
			}
			r := e.do(bob, "POST", messages, raw{"application/json", p})
			r.what = fmt.Sprintf("%.60s", p)
			wantEqual(e.T, r.what, r.refused("invalid", want.Field), want.Error())
		}
		for target, why := range map[int]string{99: "missing", 1: "a join"} {
			for _, b := range []obj{{"type": "edit", "target": target, "content": "x"}, {"type": "delete", "target": target},
				{"type": "reaction", "target": target, "emoji": "x"}} {
				e.do(alice, "POST", messages, b).refused("not_found", "target")
			}
			e.do(alice, "POST", messages, obj{"content": why, "replyTo": target}).refused("not_found", "replyTo")
		}
		wantEqual(e.T, "state", e.state("c1"), before)
	})
}

func TestSendTwice(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		first := e.do(bob, "POST", messages, obj{"content": "one", "clientId": "b-1"}).want(201)
		wantEqual(e.T, "repeat", e.do(bob, "POST", messages, obj{"content": "one", "clientId": "b-1"}).want(200), first)
		wantEqual(e.T, "repeat with another text", e.do(bob, "POST", messages, obj{"content": "two", "clientId": "b-1"}).want(200), first)
		other := e.do(carol, "POST", messages, obj{"content": "one", "clientId": "b-1"}).want(201)
		wantEqual(e.T, "seq of another sender's", other["seq"], 6.0)
		e.do(bob, "POST", messages, obj{"type": "delete", "target": 5}).want(201)
		gone := e.do(bob, "POST", messages, obj{"content": "one", "clientId": "b-1"}).want(200)
		wantEqual(e.T, "deleted since", []any{gone["id"], gone["deleted"], gone["content"]}, []any{first["id"], true, nil})
		wantEqual(e.T, "head", e.do(bob, "GET", messages, nil).want(200)["headSeq"], 7.0)
	})
}

// However many send at once with one clientId, one entry stands.
func TestSendAtOnce(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		e.do(bob, "GET", messages, nil).want(200) // has the token made
		var created, repeated atomic.Int32
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				switch r := e.do(bob, "POST", messages, obj{"content": "x", "clientId": "b-1"}); r.status {
				case 201:
					created.Add(1)
				case 200:
					repeated.Add(1)
				default:
					e.Errorf("answered %d %s", r.status, r.body)
				}
			})
		}
		all.Wait()
		wantEqual(e.T, "201 and 200", []int32{created.Load(), repeated.Load()}, []int32{1, 15})
		wantEqual(e.T, "head", e.do(bob, "GET", messages, nil).want(200)["headSeq"], 5.0)
	})
}

func TestHistory(t *testing.T) {
	each(t, func(e *env) {
		e.do(alice, "POST", "/v1/conversations", obj{"id": "c1", "members": []string{bob}}).want(201)
		var sends sync.WaitGroup // side by side, so that they share commits
		for range 258 {
			sends.Go(func() {
				draft := chat.Draft{Stream: "c/c1", SenderID: alice, Body: chat.Body{Type: chat.TypeMessage, Content: "x"}}
				if _, err := e.log.Commit(e.Context(), draft); err != nil {
					e.Error(err)
				}
			})
		}
		sends.Wait()
		seqs := func(query string) []float64 {
			page := e.do(bob, "GET", messages+query, nil).want(200)
			wantEqual(e.T, query+" headSeq, firstSeq", []any{page["headSeq"], page["firstSeq"]}, []any{260.0, 1.0})
			return pluck[float64](items(page), "seq")
		}
		run := func(from, to int) []float64 {
			all := []float64{}
			for i := from; i <= to; i++ {
				all = append(all, float64(i))
			}
			return all
		}
		for query, want := range map[string][]float64{
			"": run(211, 260), "?limit=1": run(260, 260), "?limit=200": run(61, 260),
			"?before=10": run(1, 9), "?before=1": {}, "?before=261&limit=2": run(259, 260),
			"?before=100000&limit=2": run(259, 260), "?before=9223372036854775807&limit=1": run(260, 260),
			"?before=100": run(50, 99), "?before=100&limit=3": run(97, 99),
			"?after=0": run(1, 50), "?after=0&limit=200": run(1, 200), "?after=250": run(251, 260),
			"?after=260": {}, "?after=9223372036854775807": {}, "?after=5&limit=2": run(6, 7),
		} {
			wantEqual(e.T, "history"+query, seqs(query), want)
		}
		// There and back gives everything once.
		var there, back []float64
		for at := 0; at < 260; at = int(there[len(there)-1]) {
			there = append(there, seqs(fmt.Sprintf("?limit=77&after=%d", at))...)
		}
		for at := 261; at > 1; at = int(back[0]) {
			back = append(seqs(fmt.Sprintf("?limit=77&before=%d", at)), back...)
		}
		wantEqual(e.T, "forwards", there, run(1, 260))
		wantEqual(e.T, "backwards", back, run(1, 260))
	})
}

func TestHistoryHasNothingDeleted(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		e.do(alice, "POST", messages, obj{"content": "xyzzy", "mediaUrl": "https://xyzzy/", "mentions": []string{"xyzzy"}}).want(201)
		e.do(alice, "POST", messages, obj{"type": "edit", "target": 5, "content": "xyzzy too"}).want(201)
		e.do(adam, "POST", messages, obj{"type": "delete", "target": 5}).want(201)
		for _, user := range []string{alice, bob, root} {
			r := e.do(user, "GET", messages+"?after=4", nil)
			list := items(r.want(200))
			wantEqual(e.T, "deleted", pluck[bool](list, "deleted"), []bool{true, true, false})
			if strings.Contains(string(r.body), "xyzzy") {
				e.Errorf("what was deleted is in %s", r.body)
			}
		}
	})
}

// hooked is a log whose reading of history is preceded by something else.
type hooked struct {
	api.Log
	before func(ctx context.Context)
}

func (h *hooked) Before(ctx context.Context, s chat.StreamID, before uint64, limit int) ([]chat.Entry, error) {
	h.before(ctx)
	return h.Log.Before(ctx, s, before, limit)
}

// Who is removed while it reads gets nothing from after its leave, also when
// the request had begun before.
func TestHistoryAndLeaving(t *testing.T) {
	h := &hooked{before: func(context.Context) {}}
	e := one(t, func(l api.Log) api.Log {
		h.Log = l
		return h
	})
	e.talk()
	h.before = func(ctx context.Context) {
		if err := e.log.RemoveMember(ctx, bridge.Actor{UserID: alice}, "c1", bob); err != nil {
			e.Error(err)
		}
		draft := chat.Draft{Stream: chat.ConversationStream("c1"), SenderID: alice,
			Body: chat.Body{Type: chat.TypeMessage, Content: "bob must not see this"}}
		if _, err := e.log.Commit(ctx, draft); err != nil {
			e.Error(err)
		}
	}
	e.do(bob, "GET", messages, nil).refused("forbidden", "")
}

// The document describes the JSON of an entry key by key.
func TestEntryDocument(t *testing.T) {
	full := chat.Entry{Stream: "c/c1", Seq: 1, SenderID: alice, Body: chat.Body{
		Type: chat.TypeMessage, Content: "x", MediaURL: "x", ReplyTo: 1, Mentions: []string{bob}, Target: 1,
		Emoji: "x", Remove: true, UserID: bob, Name: "x", ClientID: "x"}}
	keys := obj{}
	for _, entry := range []chat.Entry{full, full.Erased()} {
		text, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &keys); err != nil { // adds to the keys
			t.Fatal(err)
		}
	}
	schema := document(t)["components"].(obj)["schemas"].(obj)["Entry"].(obj)
	wantEqual(t, "keys of an entry", sorted(schema["properties"].(obj)), sorted(keys))
	empty, _ := json.Marshal(chat.Entry{})
	clear(keys)
	if err := json.Unmarshal(empty, &keys); err != nil {
		t.Fatal(err)
	}
	required := obj{}
	for _, key := range schema["required"].([]any) {
		required[key.(string)] = nil
	}
	wantEqual(t, "keys of every entry", sorted(required), sorted(keys))
}
