package api_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/parley-mqtt/parley/bridge"
)

// The document is an OpenAPI 3.1 document, with every route below /v1 in it.
func TestOpenAPI(t *testing.T) {
	doc := document(t)
	if version, _ := doc["openapi"].(string); !strings.HasPrefix(version, "3.1.") {
		t.Errorf("openapi is %v", doc["openapi"])
	}
	wantEqual(t, "version", doc["info"].(obj)["version"], "1.2.3")
	scheme := doc["components"].(obj)["securitySchemes"].(obj)["bearer"].(obj)
	wantEqual(t, "security scheme", []any{scheme["type"], scheme["scheme"]}, []any{"http", "bearer"})

	var routes, documented []string
	e := newEnv(t, bridge.Config{Store: stores["sqlite"](t)}, nil)
	err := chi.Walk(e.handler.(chi.Router), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if strings.HasPrefix(route, "/v1") && route != "/v1/openapi.json" {
			routes = append(routes, method+" "+route)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range operations(t) {
		documented = append(documented, o.String())
	}
	slices.Sort(routes)
	wantEqual(t, "operations", documented, routes)
	wantRefs(t, doc, doc)
}

// wantRefs checks that every reference leads somewhere.
func wantRefs(t *testing.T, doc obj, v any) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			var at any = doc
			for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				m, _ := at.(obj)
				at = m[key]
			}
			if at == nil {
				t.Errorf("%s leads nowhere", ref)
			}
		}
		for _, value := range v {
			wantRefs(t, doc, value)
		}
	case []any:
		for _, value := range v {
			wantRefs(t, doc, value)
		}
	}
}

// Every operation is explained: in words, with examples, with its errors.
func TestOperationsAreDocumented(t *testing.T) {
	ids := map[string]bool{}
	for _, o := range operations(t) {
		for _, key := range []string{"operationId", "summary", "description"} {
			if text, _ := o.doc[key].(string); text == "" {
				t.Errorf("%s has no %s", o, key)
			}
		}
		id, _ := o.doc["operationId"].(string)
		if ids[id] {
			t.Errorf("operationId %s stands twice", id)
		}
		ids[id] = true
		wantEqual(t, o.String()+" security", o.doc["security"], []any{obj{"bearer": []any{}}})
		params := map[string]bool{}
		if list, ok := o.doc["parameters"].([]any); ok {
			for _, p := range list {
				p := p.(obj)
				params[p["name"].(string)] = true
				if text, _ := p["description"].(string); text == "" {
					t.Errorf("%s: parameter %v has no description", o, p["name"])
				}
			}
		}
		for _, name := range []string{"c", "u"} {
			if o.in(name) != params[name] {
				t.Errorf("%s: parameter %s is documented: %v", o, name, params[name])
			}
		}
		if body, ok := o.doc["requestBody"].(obj); ok {
			wantExamples(t, o, body)
		} else if o.body != nil {
			t.Errorf("%s: the body is not documented", o)
		}
		wantResponses(t, o)
	}
}

func wantResponses(t *testing.T, o op) {
	responses := o.doc["responses"].(obj)
	need := []string{"400", "401", "500", "503"}
	if o.in("c") {
		need = append(need, "403", "404")
	}
	for _, status := range need {
		r, _ := responses[status].(obj)
		content, _ := r["content"].(obj)
		problem, _ := content["application/problem+json"].(obj)
		if problem["example"] == nil || problem["schema"] == nil {
			t.Errorf("%s: %s is not documented as a problem: %v", o, status, r)
		}
	}
	for status, r := range responses {
		r := r.(obj)
		if r["description"] == "" || r["description"] == nil {
			t.Errorf("%s: %s has no description", o, status)
		}
		if status[0] == '2' && status != "204" {
			wantExamples(t, o, r)
		}
	}
}

func wantExamples(t *testing.T, o op, part obj) {
	content, _ := part["content"].(obj)
	media, _ := content["application/json"].(obj)
	if media == nil {
		media, _ = content["application/x-ndjson"].(obj)
	}
	if media["schema"] == nil || media["example"] == nil && media["examples"] == nil {
		t.Errorf("%s: schema or example is missing in %v", o, part)
	}
}

// The examples of the document are taken by the server as they stand.
func TestExamplesWork(t *testing.T) {
	e := one(t, nil)
	doc := e.ask(http.Header{}, "GET", "/v1/openapi.json", nil).want(200)
	request := func(path, method string) obj {
		op := doc["paths"].(obj)[path].(obj)[method].(obj)
		return op["requestBody"].(obj)["content"].(obj)["application/json"].(obj)
	}
	conversation := "/v1/conversations/{c}"
	made := e.do(alice, "POST", "/v1/conversations", request("/v1/conversations", "post")["example"])
	shown := doc["paths"].(obj)["/v1/conversations"].(obj)["post"].(obj)["responses"].(obj)["201"].(obj)
	example := shown["content"].(obj)["application/json"].(obj)["example"].(obj)
	wantEqual(t, "keys of the example", sorted(example), sorted(made.want(201)))
	e.say(alice, "the message that the examples are about")
	examples := request(conversation+"/messages", "post")["examples"].(obj)
	for _, name := range []string{"message", "edit", "reaction", "delete"} {
		e.do(alice, "POST", messages, examples[name].(obj)["value"]).want(201)
	}
	e.do(alice, "PATCH", "/v1/conversations/c1", request(conversation, "patch")["example"]).want(200)
	e.do(alice, "PUT", "/v1/conversations/c1/members/bob", request(conversation+"/members/{u}", "put")["example"]).want(200)
	tried := map[string]bool{"POST /v1/conversations": true, "POST /v1/conversations/{c}/messages": true,
		"PATCH /v1/conversations/{c}": true, "PUT /v1/conversations/{c}/members/{u}": true}
	for _, o := range operations(t) {
		body, ok := o.doc["requestBody"].(obj)
		if !ok || tried[o.String()] {
			continue
		}
		media := body["content"].(obj)["application/json"].(obj)
		bodies := []any{media["example"]}
		if several, ok := media["examples"].(obj); ok {
			bodies = nil
			for _, name := range sorted(several) {
				bodies = append(bodies, several[name].(obj)["value"])
			}
		}
		for _, body := range bodies {
			r := e.do(root, o.method, o.path("c1", bob), body)
			if strings.HasPrefix(o.pattern, "/v1/conversations/") || strings.Contains(o.pattern, "/me") {
				r = e.do(alice, o.method, o.path("c1", bob), body)
			}
			if documented, _ := o.doc["responses"].(obj)[strconv.Itoa(r.status)].(obj); r.status >= 300 || documented == nil {
				t.Errorf("%s with %v: answered %d %s", o, body, r.status, r.body)
			}
		}
	}
	list := doc["paths"].(obj)["/v1/conversations"].(obj)["get"].(obj)["parameters"].([]any)
	for _, p := range list {
		if p := p.(obj); p["name"] == "cursor" {
			cursor := p["schema"].(obj)["examples"].([]any)[0].(string)
			e.do(alice, "GET", "/v1/conversations?cursor="+cursor, nil).want(200)
		}
	}
}

// restPage lists all operations; -update writes it anew.
const restPage = "../docs/rest.md"

var update = flag.Bool("update", false, "write docs/rest.md")

func TestRESTPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# REST, operation by operation\n\n" +
		"Made from the OpenAPI document, which a running server has at `/v1/openapi.json`, with schemas and examples, and shows at `/docs`. " +
		"A test holds this page to it (`go test ./api -run TestRESTPage -update` writes it).\n\n" +
		"Every operation wants `Authorization: Bearer` with a token, and answers errors as problem documents (RFC 9457) with a `code`.\n")
	byTag := map[string][]op{}
	for _, o := range operations(t) {
		tag := o.doc["tags"].([]any)[0].(string)
		byTag[tag] = append(byTag[tag], o)
	}
	for _, tag := range slices.Sorted(maps.Keys(byTag)) {
		fmt.Fprintf(&b, "\n## %s\n", tag)
		for _, o := range byTag[tag] {
			fmt.Fprintf(&b, "\n### `%s %s`\n\n%s. %s\n", o.method, o.pattern, o.doc["summary"], o.doc["description"])
		}
	}
	if *update {
		if err := os.WriteFile(restPage, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(restPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != b.String() {
		t.Error("docs/rest.md is not what the OpenAPI document says: run this test with -update")
	}
}

// No page makes a request to another host, and the browser would not let it.
func TestPages(t *testing.T) {
	e := one(t, nil)
	elsewhere := regexp.MustCompile(`(?i)https?:|wss?:|["'(=]\s*//|@import|url\(|innerHTML|eval\(`)
	inline := regexp.MustCompile(`(?i)<style|<script>|style=|\son\w+=|javascript:`)
	links := regexp.MustCompile(`(?:href|src)="([^"]*)"|fetch\("([^"]*)"\)`)
	for path, media := range map[string]string{"/": "text/html; charset=utf-8", "/admin": "text/html; charset=utf-8", "/docs": "text/html; charset=utf-8",
		"/docs/docs.js": "text/javascript; charset=utf-8", "/docs/style.css": "text/css; charset=utf-8"} {
		r := e.ask(http.Header{}, "GET", path, nil)
		text := string(r.body)
		for name, want := range map[string]string{"Cross-Origin-Opener-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"} {
			wantEqual(t, path+" "+name, r.header.Get(name), want)
		}
		if features := r.header.Get("Permissions-Policy"); !strings.Contains(features, "camera=()") {
			t.Errorf("%s: the features are %q", path, features)
		}
		wantEqual(t, path, []any{r.status, r.header.Get("Content-Type")}, []any{200, media})
		policy := r.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
			"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy %q lacks %s", path, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s has the policy %q", path, policy)
		}
		if found := elsewhere.FindString(text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		if found := inline.FindString(text); found != "" && strings.HasPrefix(media, "text/html") {
			t.Errorf("%s has %q, which its policy forbids", path, found)
		}
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			to := link[1] + link[2]
			if got := e.ask(http.Header{}, "GET", to, nil); got.status != 200 {
				t.Errorf("%s leads to %s, which answers %d", path, to, got.status)
			}
		}
	}
}
