package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// document is the OpenAPI document.
func document(t *testing.T) obj {
	t.Helper()
	e := newEnv(t, bridge.Config{Store: stores["sqlite"](t)}, nil)
	return e.ask(http.Header{}, "GET", "/v1/openapi.json", nil).want(200)
}

func sorted(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// op is an operation of the document, with a request that the owner's is
// taken with.
type op struct {
	method, pattern string
	body            any
	doc             obj
}

// good has a body for each operation that wants one.
var good = map[string]any{
	"POST /v1/conversations":                         obj{"id": "c9"},
	"PATCH /v1/conversations/{c}":                    obj{"name": "x"},
	"PUT /v1/conversations/{c}/members/{u}":          obj{"role": "member"},
	"POST /v1/conversations/{c}/messages":            obj{"content": "x"},
	"PATCH /v1/conversations/{c}/me":                 obj{"archived": true},
	"POST /v1/tokens/revoke":                         obj{"sub": "nobody"},
	"GET /v1/conversations":                          nil,
	"GET /v1/conversations/{c}":                      nil,
	"DELETE /v1/conversations/{c}":                   nil,
	"DELETE /v1/conversations/{c}/members/{u}":       nil,
	"GET /v1/conversations/{c}/messages":             nil,
	"GET /v1/conversations/{c}/members":              nil,
	"GET /v1/conversations/{c}/messages/{seq}/edits": nil,
	"GET /v1/me/blocks":                              nil,
	"PUT /v1/me/blocks/{u}":                          nil,
	"DELETE /v1/me/blocks/{u}":                       nil,
	"GET /v1/admin/connections":                      nil,
	"GET /v1/admin/connection":                       nil,
	"DELETE /v1/admin/connection":                    nil,
	"PUT /v1/conversations/{c}/receipts":             obj{"read": 1},
	"GET /v1/conversations/{c}/receipts":             nil,
	"GET /v1/presence":                               nil,
	"GET /v1/sync":                                   nil,
	"GET /v1/me/sessions":                            nil,
	"DELETE /v1/me/sessions/{clientId}":              nil,
	"GET /v1/search":                                 nil,
	"DELETE /v1/users/{u}":                           nil,
	"GET /v1/me/export":                              nil,
	"POST /v1/notifications":                         obj{"recipientId": "bob", "type": "LIKE"},
	"POST /v1/notifications/read":                    obj{"ids": []any{}},
	"PUT /v1/me/preferences":                         obj{"muted": []any{"LIKE"}},
	"GET /v1/notifications":                          nil,
	"GET /v1/notifications/unread":                   nil,
	"GET /v1/me/preferences":                         nil,
}

func operations(t *testing.T) []op {
	t.Helper()
	var all []op
	for pattern, item := range document(t)["paths"].(obj) {
		for method, doc := range item.(obj) {
			o := op{strings.ToUpper(method), pattern, nil, doc.(obj)}
			body, ok := good[o.String()]
			if !ok {
				t.Errorf("%s is new: give it a body in good", o)
			}
			o.body = body
			all = append(all, o)
		}
	}
	if len(all) != len(good) {
		t.Errorf("the document has %d operations, good has %d", len(all), len(good))
	}
	slices.SortFunc(all, func(a, b op) int { return strings.Compare(a.String(), b.String()) })
	return all
}

func (o op) String() string { return o.method + " " + o.pattern }

func (o op) path(c, u string) string {
	return strings.NewReplacer("{c}", c, "{u}", u, "{seq}", "1").Replace(o.pattern)
}

func (o op) in(param string) bool { return strings.Contains(o.pattern, "{"+param+"}") }

// What every operation refuses, whatever it does; made from the document, so
// that a new operation is in it.
func TestEveryOperationRefuses(t *testing.T) {
	all := operations(t)
	badIDs := map[string]string{"space": "a%20b", "slash": "a%2Fb", "long": strings.Repeat("x", 65), "plus": "a+b", "hash": "a%23",
		"not ASCII": "%C3%A9", "not UTF-8": "%ff", "NUL": "%00", "line break": "c1%0A"}
	each(t, func(e *env) {
		e.talk()
		before := e.state("c1", "c9")
		expired := http.Header{"Authorization": {"Bearer " + mint(e.T, alice, -time.Minute)}}
		for _, o := range all {
			path := o.path("c1", carol)
			e.do("", o.method, path, o.body).refused("unauthorized", "")
			e.ask(expired.Clone(), o.method, path, o.body).refused("unauthorized", "")
			e.do(alice, o.method, path+"?nonsense=1", o.body).refused("invalid", "nonsense")
			e.do(alice, o.method, path+"?%zz", o.body).refused("invalid", "query")
			e.do(alice, o.method, path+"?a;b", o.body).refused("invalid", "query")
			e.do(alice, o.method, path+"?"+strings.Repeat("q", 65)+"=1", o.body).refused("invalid", "query")
			for why, bad := range badIDs {
				for param, path := range map[string]string{"c": o.path(bad, carol), "u": o.path("c1", bad)} {
					if o.in(param) {
						r := e.do(alice, o.method, path, o.body)
						r.what = fmt.Sprintf("%s with %s in {%s}", o, why, param)
						r.refused("invalid", param)
					}
				}
			}
			if o.in("c") {
				for _, user := range []string{alice, mallory, root} {
					e.do(user, o.method, o.path("nowhere", carol), o.body).refused("not_found", "")
				}
				e.do(mallory, o.method, path, o.body).refused("forbidden", "")
			}
			if o.doc["requestBody"] != nil && o.pattern != "/v1/notifications" { // that reads none of alice's
				e.refuseBodies(o, path)
			}
		}
		wantEqual(e.T, "state", e.state("c1", "c9"), before)
	})
}

// refuseBodies sends what no operation takes for a body.
func (e *env) refuseBodies(o op, path string) {
	e.Helper()
	text, err := json.Marshal(o.body)
	if err != nil {
		e.Fatal(err)
	}
	whole := strings.TrimSuffix(string(text), "}")
	key, value, wrong := firstOf(o.body.(obj))
	for _, tt := range []struct{ body, field string }{
		{`null`, "payload"}, {`[]`, "payload"}, {`"x"`, "payload"}, {`1`, "payload"}, {`{`, "payload"}, {`{}}`, "payload"},
		{`{'a':1}`, "payload"}, {whole, "payload"}, {whole + `} {}`, "payload"}, {whole + `,}`, "payload"},
		{whole + ",\"z\":\"\xff\"}", "payload"},
		{whole + `,"unknown":1}`, "unknown"}, {whole + `,"a.b[0]":1}`, "a.b[0]"},
		{whole + `,"` + strings.Repeat("k", 65) + `":1}`, "payload"},
		{fmt.Sprintf(`%s,%q:%q}`, whole, key, value), key},                                   // stands twice
		{fmt.Sprintf(`%s,%q:%q}`, whole, strings.ToUpper(key), value), strings.ToUpper(key)}, // another case is another key
		{fmt.Sprintf(`{%q:null}`, key), key}, {fmt.Sprintf(`{%q:%s}`, key, wrong), key}, {fmt.Sprintf(`{%q:{}}`, key), key},
		{fmt.Sprintf(`{%q:[%q]}`, key, value), key}, {fmt.Sprintf(`{%q:true}`, key), key},
		{whole + `}` + strings.Repeat(" ", 300_000), "payload"},
	} {
		if _, is := o.body.(obj)[key].(bool); is && tt.body == fmt.Sprintf(`{%q:true}`, key) {
			continue
		}
		r := e.do(alice, o.method, path, raw{"application/json", tt.body})
		r.what = fmt.Sprintf("%s with %.60q", o, tt.body)
		r.refused("invalid", tt.field)
	}
	for _, media := range []string{"text/html", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "json", "a/b/c"} {
		e.do(alice, o.method, path, raw{media, string(text)}).refused("invalid", "Content-Type")
	}
}

// firstOf answers a key of m, its value if that is a string, and a value of
// another type.
func firstOf(m obj) (key, value, wrong string) {
	key = sorted(m)[0]
	value, ok := m[key].(string)
	if !ok {
		return key, value, `"x"`
	}
	return key, value, `1`
}

// What single parameters and keys refuse.
func TestFieldsRefuse(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	many := slices.Repeat([]string{"x"}, chat.MaxFirstMembers+1)
	rows := []struct {
		method, path string
		body         any
		field        string
	}{
		{"POST", "", nil, "payload"},
		{"POST", "", obj{"id": ""}, "id"}, {"POST", "", obj{"id": "a b"}, "id"}, {"POST", "", obj{"id": "é"}, "id"},
		{"POST", "", obj{"id": long(65)}, "id"}, {"POST", "", obj{"id": 7}, "id"}, {"POST", "", obj{"id": []string{"x"}}, "id"},
		{"POST", "", obj{"name": 7}, "name"}, {"POST", "", obj{"name": long(257)}, "name"}, {"POST", "", obj{"name": strings.Repeat("é", 129)}, "name"},
		{"POST", "", obj{"name": " \n"}, "name"}, {"POST", "", obj{"name": "a\x00b"}, "name"}, {"POST", "", obj{"name": obj{}}, "name"},
		{"POST", "", obj{"members": "bob"}, "members"}, {"POST", "", obj{"members": obj{}}, "members"}, {"POST", "", obj{"members": []any{1}}, "members"},
		{"POST", "", obj{"members": []any{"bob", ""}}, "members"}, {"POST", "", obj{"members": []any{"b/b"}}, "members"},
		{"POST", "", obj{"members": []any{nil}}, "members"}, {"POST", "", obj{"members": []any{long(65)}}, "members"},
		{"POST", "", obj{"members": many}, "members"}, {"POST", "", obj{"members": []any{[]any{"bob"}}}, "members"},
		{"POST", "", obj{"ownerId": "bob"}, "ownerId"}, {"POST", "", obj{"headSeq": 1}, "headSeq"},
		{"PATCH", "/c1", nil, "payload"}, {"PATCH", "/c1", obj{}, "name"}, {"PATCH", "/c1", obj{"name": 7}, "name"},
		{"PATCH", "/c1", obj{"name": long(257)}, "name"}, {"PATCH", "/c1", obj{"name": strings.Repeat("é", 129)}, "name"},
		{"PATCH", "/c1", obj{"name": " "}, "name"}, {"PATCH", "/c1", obj{"name": "x", "ownerId": "bob"}, "ownerId"},
		{"PATCH", "/c1", obj{"name": nil}, "name"}, {"PATCH", "/c1", obj{"retention": 7}, "retention"}, {"PATCH", "/c1", obj{"retention": "720h"}, "retention"},
		{"PATCH", "/c1", obj{"retention": obj{"age": "x"}}, "retention"}, {"PATCH", "/c1", obj{"retention": obj{"age": "59s"}}, "retention"},
		{"PATCH", "/c1", obj{"retention": obj{"age": "-1h"}}, "retention"}, {"PATCH", "/c1", obj{"retention": obj{"age": "1m1ms"}}, "retention"},
		{"PATCH", "/c1", obj{"retention": obj{"age": 3600}}, "retention"}, {"PATCH", "/c1", obj{"retention": obj{"age": "999999999h"}}, "retention"},
		{"PATCH", "/c1", obj{"retention": obj{"age": nil}}, "retention"}, {"PATCH", "/c1", obj{"retention": obj{"days": 1}}, "retention.days"},
		{"PATCH", "/c1", obj{"retention": obj{"count": -1}}, "retention"}, {"PATCH", "/c1", obj{"retention": obj{"count": 1.5}}, "retention"},
		{"PATCH", "/c1", obj{"retention": obj{"count": 1 << 60}}, "retention"}, {"PATCH", "/c1", obj{"name": " ", "retention": nil}, "name"},
		{"PATCH", "/c1", obj{"name": "x", "retention": obj{"count": -1}}, "retention"},
		{"PUT", "/c1/members/bob", obj{"role": ""}, "role"}, {"PUT", "/c1/members/bob", obj{"role": "Admin"}, "role"},
		{"PUT", "/c1/members/bob", obj{"role": "OWNER"}, "role"}, {"PUT", "/c1/members/bob", obj{"role": 2}, "role"},
		{"POST", "", obj{"direct": alice}, "direct"}, {"POST", "", obj{"direct": ""}, "direct"}, {"POST", "", obj{"direct": "a b"}, "direct"},
		{"POST", "", obj{"direct": []string{bob}}, "direct"}, {"POST", "", obj{"direct": bob, "id": "c9"}, "id"},
		{"POST", "", obj{"direct": bob, "name": "x"}, "name"}, {"POST", "", obj{"direct": bob, "members": []string{bob}}, "members"},
		{"POST", "", obj{"direct": bob, "members": []string{}}, "members"}, {"POST", "", obj{"direct": bob, "history": "join"}, "history"},
		{"POST", "", obj{"history": "all"}, "history"}, {"POST", "", obj{"history": ""}, "history"}, {"POST", "", obj{"history": true}, "history"},
		{"PATCH", "/c1", obj{"history": "never"}, "history"}, {"PATCH", "/c1", obj{"history": nil}, "history"},
		{"PATCH", "/c1", obj{"name": " ", "history": "join"}, "name"}, {"PATCH", "/c1", obj{"history": "join", "retention": obj{"count": -1}}, "retention"},
		{"PATCH", "/c1/me", nil, "payload"}, {"PATCH", "/c1/me", obj{}, "archived"}, {"PATCH", "/c1/me", obj{"archived": "yes"}, "archived"},
		{"GET", "?archived=maybe", nil, "archived"}, {"GET", "/c1/members?limit=0", nil, "limit"}, {"GET", "/c1/members?limit=201", nil, "limit"},
		{"GET", "/c1/members?cursor=x", nil, "cursor"}, {"GET", "/c1/members?cursor=AQAAAZq8Z2PLYzE", nil, "cursor"},
		{"GET", "/c1/messages/0/edits", nil, "seq"}, {"GET", "/c1/messages/x/edits", nil, "seq"}, {"GET", "/c1/messages/-1/edits", nil, "seq"},
		{"GET", "/c1/messages/1/edits?cursor=A2JvYg", nil, "cursor"},
		{"PUT", "/c1/members/alice", obj{"role": "member"}, "role"}, {"PUT", "/c1/members/bob", obj{"userId": "bob"}, "userId"},
	}
	for _, path := range []string{"", "/c1/messages"} {
		for _, limit := range []string{"0", "201", "-1", "1.5", "x", "", "1e1", "%201", "0x10", "99999999999999999999"} {
			rows = append(rows, struct {
				method, path string
				body         any
				field        string
			}{"GET", path + "?limit=" + limit, nil, "limit"})
		}
	}
	for query, field := range map[string]string{
		"limit=1&limit=2": "limit", "limit": "limit", "cursor=": "cursor", "cursor=x&cursor=y": "cursor", "cursor=x": "cursor",
		"cursor=!!": "cursor", "cursor=AQAAAZq8Z2PL": "cursor", "cursor=AgAAAZq8Z2PLYzE": "cursor", "cursor=AQAAAZq8Z2PLYzF": "cursor",
		"cursor=AQAAAZq8Z2PLYzE=": "cursor", "cursor=Af________9jMQ": "cursor", "cursor=AQAAAZq8Z2PLIA": "cursor", "cursor=" + long(5000): "cursor",
		"before=1": "before",
	} {
		rows = append(rows, struct {
			method, path string
			body         any
			field        string
		}{"GET", "?" + query, nil, field})
	}
	for query, field := range map[string]string{
		"before=0": "before", "before=-1": "before", "before=x": "before", "before=": "before", "before=1.0": "before",
		"before=9223372036854775808": "before", "before=1&before=2": "before", "before=5&after=1": "before",
		"after=-1": "after", "after=x": "after", "after=": "after", "after": "after", "after=9223372036854775808": "after",
		"after=18446744073709551616": "after", "view=flat": "view", "view=Folded": "view", "view=": "view", "cursor=x": "cursor",
	} {
		rows = append(rows, struct {
			method, path string
			body         any
			field        string
		}{"GET", "/c1/messages?" + query, nil, field})
	}
	each(t, func(e *env) {
		e.talk()
		before := e.state("c1")
		for _, row := range rows {
			r := e.do(alice, row.method, "/v1/conversations"+row.path, row.body)
			r.what = fmt.Sprintf("%s %.80s %.60v", row.method, row.path, row.body)
			r.refused("invalid", row.field)
		}
		wantEqual(e.T, "state", e.state("c1"), before)
		wantEqual(e.T, "conversations", len(items(e.do(alice, "GET", "/v1/conversations", nil).want(200))), 1)
	})
}

func TestBearer(t *testing.T) {
	e := one(t, nil)
	token := mint(t, alice, time.Hour)
	for _, tt := range []struct {
		name      string
		values    []string
		challenge string
	}{
		{"none", nil, `Bearer realm="parley"`},
		{"empty", []string{""}, `Bearer realm="parley"`},
		{"no token", []string{"Bearer "}, `Bearer realm="parley"`},
		{"basic", []string{"Basic YWxpY2U6eA=="}, `Bearer realm="parley"`},
		{"two", []string{"Bearer " + token, "Bearer " + token}, `Bearer realm="parley"`},
		{"nonsense", []string{"Bearer x"}, `Bearer realm="parley", error="invalid_token"`},
		{"two in one", []string{"Bearer " + token + " " + token}, `Bearer realm="parley", error="invalid_token"`},
		{"signature", []string{"Bearer " + token[:len(token)-4] + "AAAA"}, `Bearer realm="parley", error="invalid_token"`},
	} {
		r := e.ask(http.Header{"Authorization": tt.values}, "GET", "/v1/conversations", nil)
		r.what = tt.name
		r.refused("unauthorized", "")
		wantEqual(t, tt.name, r.header.Get("WWW-Authenticate"), tt.challenge)
	}
	e.ask(http.Header{"Authorization": {"bearer  " + token}}, "GET", "/v1/conversations", nil).want(200)
	e.ask(http.Header{}, "GET", "/v1/conversations?access_token="+token, nil).refused("unauthorized", "")
}

// A path or a method that is not there.
func TestNoSuchOperation(t *testing.T) {
	e := one(t, nil)
	e.talk()
	for _, path := range []string{"/v1", "/v1/", "/v1/nonsense", "/v1/conversations/c1/nonsense", "/v1/me/nonsense", "/v1/conversations/c1/messages/5", "/v1//conversations"} {
		e.do(alice, "GET", path, nil).refused("not_found", "")
		e.do("", "GET", path, nil).refused("unauthorized", "")
	}
	for path, allow := range map[string][]string{
		"/v1/conversations":              {"GET", "HEAD", "POST"},
		"/v1/conversations/c1":           {"GET", "HEAD", "PATCH", "DELETE"},
		"/v1/conversations/c1/members/x": {"PUT", "DELETE"},
		"/v1/openapi.json":               {"GET", "HEAD"},
	} {
		for _, method := range []string{"OPTIONS", "TRACE", "PROPFIND", "NONSENSE"} {
			r := e.do(alice, method, path, nil)
			r.problem(405, "method_not_allowed", "")
			wantEqual(t, "Allow of "+path, r.header.Values("Allow"), allow)
		}
	}
	e.do("", "OPTIONS", "/v1/conversations", nil).refused("unauthorized", "")
	r := e.do("", "POST", "/docs", nil)
	wantEqual(t, "POST /docs", []any{r.status, r.header.Values("Allow")}, []any{405, []string{"GET", "HEAD"}})
	for _, path := range []string{"/nonsense", "/docs/../secret", "/docs/none.js", "/v2/conversations", "/static/docs.js"} {
		if r := e.do(alice, "GET", path, nil); r.status != 404 {
			t.Errorf("GET %s answered %d", path, r.status)
		}
	}
}
