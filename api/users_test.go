package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

func TestEraseUser(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		said := e.say(bob, "the secret of bob")
		e.say(carol, "hi")
		e.do(bob, "POST", "/v1/conversations/c1/messages", obj{"type": "reaction", "target": said, "emoji": "x"}).want(201)
		before := e.state("c1")
		for _, user := range []string{alice, bob, mallory} {
			e.do(user, "DELETE", "/v1/users/bob", nil).refused("forbidden", "")
		}
		wantEqual(e.T, "state after refusals", e.state("c1"), before)
		want := obj{"messages": 1.0, "edits": 0.0, "reactions": 1.0, "notifications": 0.0, "retained": 0.0, "sessions": 0.0, "conversations": 1.0}
		wantEqual(e.T, "erased", e.do(root, "DELETE", "/v1/users/bob", nil).want(200), want)
		e.do(bob, "GET", "/v1/conversations", nil).refused("unauthorized", "")
		history := e.do(carol, "GET", "/v1/conversations/c1/messages?limit=200", nil)
		history.want(200)
		if strings.Contains(string(history.body), "secret") || strings.Contains(string(history.body), "emoji") {
			e.Errorf("history has %s", history.body)
		}
		last := items(history.json())
		wantEqual(e.T, "the last entry", last[len(last)-1]["type"], "leave")
		wantEqual(e.T, "members", len(e.do(carol, "GET", "/v1/conversations/c1", nil).want(200)["members"].([]any)), 3)
		for key := range want {
			want[key] = 0.0
		}
		wantEqual(e.T, "erased again", e.do(root, "DELETE", "/v1/users/bob", nil).want(200), want)
		wantEqual(e.T, "somebody who never was here", e.do(root, "DELETE", "/v1/users/nobody", nil).want(200), want)
	})
}

// lines reads an export.
func (r *reply) lines() (all []obj) {
	r.Helper()
	if got := r.header.Get("Content-Type"); r.status != 200 || got != "application/x-ndjson" {
		r.Fatalf("%s: answered %d, %s: %s", r.what, r.status, got, r.body)
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(r.body), "\n"), "\n") {
		var v obj
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			r.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// An export has all that the caller sent, where it is and where it was, and
// nothing that others sent.
func TestExport(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		e.do(bob, "POST", "/v1/conversations", obj{"id": "c2", "members": []string{alice}}).want(201)
		var want []float64
		for i := range 1100 { // more than one page
			if i%100 == 0 {
				want = append(want, float64(e.say(bob, "of bob")))
			}
			e.say(carol, "of carol")
		}
		e.do(alice, "POST", "/v1/conversations/c2/messages", obj{"content": "of alice"}).want(201)
		e.do(bob, "DELETE", "/v1/conversations/c1/members/bob", nil).want(204)
		if err := e.log.SaveSession(e.Context(), bridge.Session{Key: bridge.SessionKey{UserID: bob, ClientID: "phone"}, Expiry: 60,
			Cursors: []bridge.Cursor{{Stream: "c/c2", Seq: 2}}}); err != nil {
			e.Fatal(err)
		}
		e.do(bob, "PUT", "/v1/me/blocks/mallory", nil)
		for i := range 2 {
			if _, err := e.log.Notify(e.Context(), []chat.Draft{{Stream: chat.NotificationStream(bob), SenderID: carol,
				Body: chat.Body{Type: chat.TypeNotification, Notice: &chat.Notice{Type: "LIKE", Data: fmt.Appendf(nil, `{"n":%d}`, i)}}}}); err != nil {
				e.Fatal(err)
			}
		}
		if err := e.store.Keep(e.Context(), &bridge.Changes{Retained: []*bridge.Message{
			{ID: chat.ID{1}, UserID: bob, Topic: "bob/s", Payload: []byte{0xff}, Published: time.Now()},
			{ID: chat.ID{2}, UserID: carol, Topic: "carol/s", Payload: []byte("x"), Published: time.Now()}}}); err != nil {
			e.Fatal(err)
		}
		export := e.do(bob, "GET", "/v1/me/export", nil)
		all := export.lines()
		kinds := map[string]int{}
		var got []float64
		for _, line := range all {
			kinds[line["kind"].(string)]++
			if entry, ok := line["entry"].(obj); ok {
				if entry["senderId"] != bob {
					e.Errorf("it has %v", entry)
				}
				if entry["conversationId"] == "c1" && entry["type"] == "message" {
					got = append(got, entry["seq"].(float64))
				}
			}
		}
		wantEqual(e.T, "what bob said", got, want)
		// His entries are 11 messages and a leave in c1, and two joins in c2.
		wantEqual(e.T, "kinds", kinds, map[string]int{"user": 1, "conversation": 2, "entry": 14, "preferences": 1, "notification": 2, "block": 1, "session": 1, "retained": 1, "end": 1})
		wantEqual(e.T, "the first line", all[0]["userId"], bob)
		wantEqual(e.T, "the last line", all[len(all)-1], obj{"kind": "end"})
		roles := map[any]any{}
		for _, line := range all {
			if line["kind"] == "conversation" {
				roles[line["conversationId"]] = line["role"]
			}
		}
		wantEqual(e.T, "roles", roles, map[any]any{"c1": "", "c2": "owner"})
		kindsOf := func(user string) []string {
			return pluck[string](e.do(user, "GET", "/v1/me/export", nil).lines(), "kind")
		}
		wantEqual(e.T, "of somebody without anything", kindsOf(mallory), []string{"user", "preferences", "end"})
	})
}

// flood is a log in which a user has said very much. The pages are made when
// they are asked for.
type flood struct {
	api.Log
	pages  atomic.Int64
	most   int64 // pages
	failAt int64
}

func (f *flood) Memberships(_ context.Context, user string) ([]bridge.Membership, error) {
	return []bridge.Membership{{MemberKey: bridge.MemberKey{Conversation: "c1", UserID: user}, Exists: true, Role: chat.RoleMember}}, nil
}

func (f *flood) Said(_ context.Context, user string, stream chat.StreamID, after uint64, limit int) (page []chat.Entry, next uint64, err error) {
	n := f.pages.Add(1)
	if n == f.failAt {
		return nil, 0, bridge.ErrUnavailable
	}
	for i := range limit {
		page = append(page, chat.Entry{Stream: stream, Seq: after + uint64(i) + 1, SenderID: user,
			Body: chat.Body{Type: chat.TypeMessage, Content: strings.Repeat("x", chat.MaxContent)}})
	}
	if n < f.most {
		next = after + uint64(limit)
	}
	return page, next, nil
}

// An export of 400 MB takes the memory of a page, and a client that takes
// nothing holds it up.
func TestExportIsBounded(t *testing.T) {
	f := &flood{most: 100}
	e := one(t, func(l api.Log) api.Log { f.Log = l; return f })
	res := e.stream(bob)
	defer res.Body.Close()
	lines := bufio.NewReaderSize(res.Body, 1<<20)
	var most uint64
	read, held := 0, int64(0)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if read++; read%5000 == 0 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			held = max(held, f.pages.Load()*500-int64(read))
		}
		if !strings.HasSuffix(line, "}\n") {
			t.Fatalf("a line ends in %q", line[max(0, len(line)-10):])
		}
	}
	if read != 100*500+4 {
		t.Errorf("%d lines", read)
	}
	if most > 150<<20 || held > 10*500 { // other tests run beside it
		t.Errorf("%d MiB of memory, %d entries ahead of the client", most>>20, held)
	}
}

// stream begins an export.
func (e *env) stream(user string) *http.Response {
	e.Helper()
	req, err := http.NewRequestWithContext(e.Context(), http.MethodGet, e.url+"/v1/me/export", nil)
	if err != nil {
		e.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+mint(e.T, user, time.Hour))
	res, err := e.client.Do(req)
	if err != nil {
		e.Fatal(err)
	}
	return res
}

// An export that cannot go on is cut off, and one whose client has gone ends.
func TestExportBreaksOff(t *testing.T) {
	t.Run("store", func(t *testing.T) {
		f := &flood{most: 10, failAt: 4}
		e := one(t, func(l api.Log) api.Log { f.Log = l; return f })
		res := e.stream(bob)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err == nil || slices.Contains(strings.Split(string(text), "\n"), `{"kind":"end"}`) {
			t.Errorf("%d bytes look like the whole: %v", len(text), err)
		}
	})
	t.Run("client", func(t *testing.T) {
		f := &flood{most: 1 << 40}
		e := one(t, func(l api.Log) api.Log { f.Log = l; return f })
		res := e.stream(bob)
		if _, err := io.ReadFull(res.Body, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		res.Body.Close() // the server is closed at the end of the test, which waits for the request
	})
}
