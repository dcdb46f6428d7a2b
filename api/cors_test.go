package api_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

func preflight(origin, path string) *http.Request {
	r := httptest.NewRequest(http.MethodOptions, path, nil)
	r.Header.Set("Origin", origin)
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
	return r
}

func plain(origin, path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	return r
}

// Pages of exactly the origins that are named may use REST, with a token of
// their own and never with what the browser keeps.
func TestCORS(t *testing.T) {
	const app, other = "https://app.example", "https://other.example"
	some, all, none := newDev(t, signAny, app, "http://localhost:3000"), newDev(t, nil, "*"), newDev(t, nil)
	tests := []struct {
		name    string
		handler http.Handler
		request *http.Request
		status  int
		origin  string // that is allowed, "" is none
		vary    bool
	}{
		{"preflight", some, preflight(app, "/v1/conversations"), 204, app, true},
		{"preflight of the other one", some, preflight("http://localhost:3000", "/v1/conversations"), 204, "http://localhost:3000", true},
		{"preflight of who is not named", some, preflight(other, "/v1/conversations"), 401, "", true},
		{"preflight from a subdomain", some, preflight("https://x.app.example", "/v1/sync"), 401, "", true},
		{"preflight of another scheme", some, preflight("http://app.example", "/v1/sync"), 401, "", true},
		{"preflight without an origin", some, preflight("null", "/v1/sync"), 401, "", true},
		{"preflight, any", all, preflight(other, "/v1/sync"), 204, other, true},
		{"preflight, none", none, preflight(app, "/v1/sync"), 401, "", false},
		{"preflight of sign-in by name", some, preflight(app, "/v1/dev/token"), 404, "", false},
		{"refusal", some, plain(app, "/v1/conversations"), 401, app, true},
		{"answer", some, plain(app, "/v1/openapi.json"), 200, app, true},
		{"answer to who is not named", some, plain(other, "/v1/openapi.json"), 200, "", true},
		{"answer to who is no page", some, plain("", "/v1/openapi.json"), 200, "", true},
		{"answer, any", all, plain(other, "/v1/openapi.json"), 200, other, true},
		{"page", some, plain(app, "/docs"), 200, "", false},
		{"health", all, plain(app, "/healthz"), 200, "", false},
		{"options that are no preflight", some, func() *http.Request {
			r := preflight(app, "/v1/sync")
			r.Header.Del("Access-Control-Request-Method")
			return r
		}(), 401, app, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.handler.ServeHTTP(w, tt.request)
			h := w.Header()
			if w.Code != tt.status || h.Get("Access-Control-Allow-Origin") != tt.origin ||
				slices.Contains(h.Values("Vary"), "Origin") != tt.vary {
				t.Errorf("got %d %v", w.Code, h)
			}
			if _, ok := h["Access-Control-Allow-Credentials"]; ok {
				t.Error("credentials are allowed")
			}
			if w.Code == http.StatusNoContent {
				wantEqual(t, "methods", h.Get("Access-Control-Allow-Methods"), "GET, HEAD, POST, PUT, PATCH, DELETE")
				wantEqual(t, "headers", h.Get("Access-Control-Allow-Headers"), "Authorization, Content-Type, X-Request-Id")
			} else if tt.origin != "" {
				wantEqual(t, "exposed", h.Get("Access-Control-Expose-Headers"), "X-Request-Id, Retry-After")
			}
		})
	}
}
