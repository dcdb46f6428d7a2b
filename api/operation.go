package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	openAPIPath  = "/v1/openapi.json"
	schemaPrefix = "#/components/schemas/"
)

// operation is what the OpenAPI document says of an operation beside its
// schemas, and how its body is read.
type operation struct {
	id, method, path     string
	tag                  string
	summary, description string

	params  []*huma.Param // instead of those that huma would write
	request *huma.RequestBody
	answers []answer    // the first is the usual one
	errors  []chat.Code // beside those that every operation has
	body    func(huma.Context, func(huma.Context))
}

// answer is one way in which an operation succeeds. All of an operation have
// the same schema.
type answer struct {
	status      int
	description string
	example     any
}

const overview = `Parley is a chat server that speaks MQTT. This is its REST side.

Every operation wants a bearer token: a JWT with the user's id in ` + "`sub`" + `. Scope ` + "`admin`" + ` stands above all roles.

Times are RFC 3339 in UTC with milliseconds. Ids that callers choose are 1 to 64 characters of A-Z a-z 0-9 _ . @ : and -.

Bodies are JSON in UTF-8. Unknown keys, keys that stand twice, and null are refused; so are unknown query parameters. A body that is too long is refused like any other malformed one, with ` + "`invalid`" + `.

Errors are problem documents of RFC 9457. Programs look at ` + "`code`" + `, and at ` + "`field`" + ` where something in the request is wrong. After ` + "`rate_limited`" + ` and ` + "`unavailable`" + ` come again when Retry-After says so; a send that may already have been committed is safe to repeat with the same clientId.

Every answer carries X-Request-Id, which the server's log names too. A caller may choose it.`

// operations registers everything below /v1 and answers the OpenAPI document.
func (s *server) operations(mux chi.Router, version string) []byte {
	api := humachi.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Parley", Version: version, Description: overview},
			Tags: []*huma.Tag{
				{Name: "Conversations", Description: "Who talks where."},
				{Name: "Members", Description: "Who is in a conversation."},
				{Name: "Blocks", Description: "Who wants nothing to do with whom."},
				{Name: "Messages", Description: "What is said."},
				{Name: "Receipts", Description: "How far it was read."},
				{Name: "Own", Description: "What is the caller's."},
				{Name: "Presence", Description: "Who is there."},
				{Name: "Notifications", Description: "What users are told beside conversations."},
				{Name: "Administration", Description: "What the server does, for those who run it."},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry(schemaPrefix, schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{"bearer": {
					Type: "http", Scheme: "bearer", BearerFormat: "JWT",
					Description: "A JWT with sub and exp. Scope admin grants everything.",
				}},
			},
		},
		// The second is for problem documents: huma looks at what follows "+".
		Formats: map[string]huma.Format{mediaJSON: huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
	})
	s.conversationOperations(api)
	s.memberOperations(api)
	s.blockOperations(api)
	s.messageOperations(api)
	s.editOperations(api)
	s.receiptOperations(api)
	s.searchOperations(api)
	if s.presence != nil {
		s.presenceOperations(api)
	}
	s.notificationOperations(api)
	if s.connections != nil {
		s.connectionOperations(api)
		s.sessionOperations(api)
	}
	if s.catchUp != nil {
		s.syncOperations(api)
	}
	if s.tokens != nil {
		s.tokenOperations(api)
	}
	s.exportOperations(api)
	if s.users != nil {
		s.userOperations(api)
	}
	openAnswers(api.OpenAPI())
	doc, err := json.Marshal(api.OpenAPI())
	if err != nil {
		panic("api: the OpenAPI document: " + err.Error()) // a mistake in this package
	}
	return doc
}

// openAnswers lets answers have keys that the document does not name, so that
// a client made from it takes a newer server too. Requests stay closed, with
// what they hold.
func openAnswers(doc *huma.OpenAPI) {
	requests := map[string]bool{}
	var add func(ref string)
	add = func(ref string) {
		if schema := doc.Components.Schemas.SchemaFromRef(ref); schema != nil && !requests[ref] {
			requests[ref] = true
			for _, property := range schema.Properties {
				add(property.Ref)
			}
		}
	}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch} {
			if op != nil && op.RequestBody != nil {
				add(op.RequestBody.Content[mediaJSON].Schema.Ref)
			}
		}
	}
	for name, schema := range doc.Components.Schemas.Map() {
		if !requests[schemaPrefix+name] {
			schema.AdditionalProperties = nil
		}
	}
}

// schemaName names a schema by its Go type.
func schemaName(t reflect.Type, hint string) string {
	return strings.TrimSuffix(huma.DefaultSchemaNamer(t, hint), "Doc")
}

// register adds an operation. Errors of the handler pass through refuse.
func register[I, O any](s *server, api huma.API, o operation, handler func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag},
		Summary: o.summary, Description: o.description, Parameters: o.params,
		Security:      []map[string][]string{{"bearer": {}}},
		DefaultStatus: o.answers[0].status,
		Responses:     map[string]*huma.Response{},
		Middlewares:   huma.Middlewares{s.query},
		// The body is in memory, and was checked, before huma looks at it.
		MaxBodyBytes: -1, BodyReadTimeout: -1,
	}
	if o.body != nil {
		op.Middlewares = append(op.Middlewares, o.body)
	}
	// A body with a schema of its own is none of huma's business: it would
	// read it.
	own := o.request != nil && o.request.Content[mediaJSON].Schema != nil
	if !own {
		op.RequestBody = o.request
	}
	for _, a := range o.answers {
		r := &huma.Response{Description: a.description}
		if a.example != nil {
			r.Content = map[string]*huma.MediaType{mediaJSON: {Example: a.example}}
		}
		op.Responses[strconv.Itoa(a.status)] = r
	}
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem](), true, "Problem")
	for _, code := range append(o.errors, chat.CodeInvalid, chat.CodeUnauthorized, chat.CodeInternal, chat.CodeUnavailable) {
		op.Responses[strconv.Itoa(statuses[code])] = o.errorResponse(code, schema)
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, s.refuse(ctx, err)
		}
		return out, nil
	})
	if own {
		api.OpenAPI().Paths[o.path].Post.RequestBody = o.request
	}
	// huma writes the schema into the usual answer alone.
	usual := op.Responses[strconv.Itoa(o.answers[0].status)]
	for _, a := range o.answers[1:] {
		if a.example == nil { // it has no body
			continue
		}
		op.Responses[strconv.Itoa(a.status)].Content[mediaJSON].Schema = usual.Content[mediaJSON].Schema
	}
}

// query refuses query parameters that the operation does not have. There is
// nothing to choose among forms of answers, so Accept is not looked at.
func (s *server) query(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	if err := checkQuery(ctx.Operation(), r.URL.RawQuery); err != nil {
		writeProblem(w, s.refuse(r.Context(), err))
		return
	}
	r.Header.Del("Accept")
	next(ctx)
}

// errorTexts says what a code means, and has an example, for the OpenAPI
// document.
var errorTexts = map[chat.Code]struct{ meaning, example string }{
	chat.CodeInvalid:      {"The request is malformed or too long. `field` names what is wrong.", ""},
	chat.CodeUnauthorized: {"There is no token, or it does not hold.", "the token has expired"},
	chat.CodeForbidden:    {"The caller is not a member, or its role or scope does not allow this.", "you are not a member of this conversation"},
	chat.CodeNotFound:     {"What the request is about does not exist.", "there is no such conversation"},
	chat.CodeConflict:     {"The id is taken by somebody else, or a limit is reached.", "the id is taken"},
	chat.CodeRateLimited:  {"The caller has sent too much, here and over MQTT together. Nothing was stored. Try again after Retry-After.", "the user sends more messages a second than allowed"},
	chat.CodeInternal:     {"A fault of the server. It is in the server's log under X-Request-Id.", ""},
	chat.CodeUnavailable:  {"The database is out of reach. Try again after Retry-After.", "the database is out of reach"},
}

func (o *operation) errorResponse(code chat.Code, schema *huma.Schema) *huma.Response {
	e := &chat.Error{Code: code, Message: errorTexts[code].example}
	switch {
	case code != chat.CodeInvalid:
	case o.body != nil:
		e = chat.Invalid(wholePayload, "is not valid JSON")
	default:
		e = chat.Invalid("c", "expected string to be %s", identifier("").Schema(nil).PatternDescription)
	}
	p := problemOf(e)
	r := &huma.Response{Description: errorTexts[code].meaning, Headers: map[string]*huma.Header{},
		Content: map[string]*huma.MediaType{p.ContentType(""): {Schema: schema, Example: p}}}
	if code == chat.CodeUnauthorized {
		r.Headers["WWW-Authenticate"] = &huma.Header{Description: "What a token must be.",
			Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{`Bearer realm="parley"`}}}
	}
	if len(p.GetHeaders()) > 0 {
		r.Headers["Retry-After"] = &huma.Header{Description: "Seconds to wait.",
			Schema: &huma.Schema{Type: huma.TypeInteger, Examples: []any{2}}}
	}
	return r
}

// jsonRequest is a JSON body whose schema huma writes.
func jsonRequest(description string, example any) *huma.RequestBody {
	return &huma.RequestBody{Description: description,
		Content: map[string]*huma.MediaType{mediaJSON: {Example: example}}}
}

// The members of Go's standard names, to keep the tables short.
const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)
