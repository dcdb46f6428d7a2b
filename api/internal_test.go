package api

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Every code that is an error has its own status, and no other code has one.
func TestCodesToStatus(t *testing.T) {
	want := map[chat.Code]int{
		chat.CodeInvalid: 400, chat.CodeUnauthorized: 401, chat.CodeForbidden: 403, chat.CodeNotFound: 404,
		chat.CodeConflict: 409, chat.CodeRateLimited: 429, chat.CodeInternal: 500, chat.CodeUnavailable: 503,
	}
	for _, code := range chat.Codes {
		if code == chat.CodeTokenExpiring || code == chat.CodeHistoryTrimmed {
			if _, ok := statuses[code]; ok {
				t.Errorf("%s is a warning, and has a status", code)
			}
			continue // not an error: it warns a connection
		}
		p := problemOf(&chat.Error{Code: code, Message: "why", Field: "f", RetryAfter: 1500 * time.Millisecond})
		if want[code] == 0 || p.Status != want[code] || p.Code != code || p.Title != http.StatusText(p.Status) {
			t.Errorf("%s became %+v, want status %d", code, p, want[code])
		}
		wait := p.GetHeaders().Get("Retry-After")
		if may := code == chat.CodeRateLimited || code == chat.CodeUnavailable; may && wait != "2" || !may && wait != "" {
			t.Errorf("%s has Retry-After %q", code, wait)
		}
		if code == chat.CodeInternal && (p.Field != "" || strings.Contains(p.Detail, "why")) {
			t.Errorf("an internal error shows %+v", p)
		}
	}
	if wait := problemOf(bridge.ErrUnavailable).GetHeaders().Get("Retry-After"); wait == "" || wait == "0" {
		t.Errorf("an error that names no time has Retry-After %q", wait)
	}
	if p := problemOf(&chat.Error{Code: "new", Message: "why"}); p.Status != 500 || p.Detail == "why" {
		t.Errorf("an unknown code became %+v", p)
	}
}

// huma's words for a missing key are read: this fails when they change.
func TestFieldOf(t *testing.T) {
	for _, tt := range []struct{ location, message, field, msg string }{
		{"body", "expected required property name to be present", "name", "is required"},
		{"body.members[3]", "expected string", "members", "expected string"},
		{"body.data.likes.deep", "expected number", "data", "expected number"},
		{"query.limit", "invalid integer", "limit", "invalid integer"},
		{"body.a.b", "unexpected property", "a.b", "unexpected property"},
		{"body." + strings.Repeat("k", 65), "unexpected property", "payload", "unexpected property"},
		{"body", "expected object", "payload", "expected object"},
		{"", "anything", "payload", "anything"},
	} {
		field, msg := fieldOf(&huma.ErrorDetail{Location: tt.location, Message: tt.message, Value: "secret"})
		if field != tt.field || msg != tt.msg {
			t.Errorf("%s, %s: got %q %q, want %q %q", tt.location, tt.message, field, msg, tt.field, tt.msg)
		}
	}
	if p := fromHuma(http.StatusInternalServerError, "secret", errors.New("secret")); strings.Contains(p.Error(), "secret") {
		t.Errorf("huma's internal error shows %q", p.Error())
	}
}

// The pattern of the document is the rule of chat.ValidID.
func TestIdentifierPattern(t *testing.T) {
	pattern := regexp.MustCompile(identifier("").Schema(nil).Pattern)
	samples := []string{"", strings.Repeat("x", chat.MaxID), strings.Repeat("x", chat.MaxID+1), "a\n", "é", "a b", "..", "日本"}
	for c := range 256 {
		samples = append(samples, string([]byte{byte(c)}), "a"+string([]byte{byte(c)})+"z")
	}
	for _, s := range samples {
		if pattern.MatchString(s) != chat.ValidID(s) {
			t.Errorf("%q: the pattern says %v, chat.ValidID says %v", s, pattern.MatchString(s), chat.ValidID(s))
		}
	}
}

func TestCheckJSON(t *testing.T) {
	for _, tt := range []struct{ body, field string }{
		{`{}`, ""}, {`{"a":1,"b":[1,"x",{"a":true}],"c":{"c":{}}}`, ""}, {`[]`, ""}, {`"x"`, ""}, {` 1 `, ""},
		{`null`, "payload"}, {`{"a":null}`, "a"}, {`{"a":[1,null]}`, "a"}, {`{"a":{"b":null}}`, "a"}, {`[null]`, "payload"},
		{`{"a":1,"a":2}`, "a"}, {`{"a":1,"\u0061":2}`, "a"}, {`{"a":{"b":1,"b":2}}`, "a"}, {`[{"b":1,"b":2}]`, "payload"},
		{`{"a":1,"A":2}`, ""}, {``, "payload"}, {`{`, "payload"}, {`{"a"}`, "payload"}, {`{"a":1,}`, "payload"}, {`{}{}`, "payload"},
		{"{\"a\":\"\xff\"}", "payload"}, {`{"` + strings.Repeat("k", 65) + `":null}`, "payload"},
		{strings.Repeat("[", 32) + strings.Repeat("]", 32), ""},
		{strings.Repeat("[", 34) + strings.Repeat("]", 34), "payload"},
		{`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "a"},
		{strings.Repeat("[", 100_000), "payload"},
	} {
		err := checkJSON([]byte(tt.body))
		e, _ := chat.AsError(err)
		switch {
		case tt.field == "" && err != nil:
			t.Errorf("%.60s: refused with %v", tt.body, err)
		case tt.field != "" && (err == nil || e.Code != chat.CodeInvalid || e.Field != tt.field):
			t.Errorf("%.60s: answered %v, want invalid %s", tt.body, err, tt.field)
		}
	}
}

// An answer that had begun is cut off: half of it must not pass for the whole.
func TestPanics(t *testing.T) {
	for _, tt := range []struct {
		name   string
		run    http.HandlerFunc
		cut    bool
		status int
		logs   bool
	}{
		{"at once", func(http.ResponseWriter, *http.Request) { panic("why") }, false, 500, true},
		{"after it began", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{")); panic("why") }, true, 200, true},
		{"on purpose", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true, 200, false},
	} {
		var logged bytes.Buffer
		s := &server{logger: slog.New(slog.NewTextHandler(&logged, nil))}
		w := httptest.NewRecorder()
		func() {
			defer func() {
				cause := recover()
				if err, _ := cause.(error); errors.Is(err, http.ErrAbortHandler) != tt.cut {
					t.Errorf("%s: passed on %v", tt.name, cause)
				}
			}()
			s.recover(tt.run).ServeHTTP(&recorder{ResponseWriter: w}, httptest.NewRequest("GET", "/", nil))
		}()
		if w.Code != tt.status || strings.Contains(w.Body.String(), "why") || logged.Len() > 0 != tt.logs {
			t.Errorf("%s: answered %d %s, logged %s", tt.name, w.Code, w.Body, &logged)
		}
	}
}

func TestCursor(t *testing.T) {
	at := time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC)
	for _, id := range []string{"c", strings.Repeat("x", chat.MaxID), "019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11"} {
		cursor := cursorAfter(bridge.Summary{LastAt: at, Conversation: bridge.Conversation{ID: id}})
		page, err := parseCursor(cursor)
		if err != nil || page.ID != id || !page.LastAt.Equal(at) {
			t.Errorf("%s became %+v, %v", cursor, page, err)
		}
		for i := range cursor { // no shorter one is taken for it
			if page, err := parseCursor(cursor[:i]); err == nil && page.ID == id {
				t.Errorf("%s, cut to %d, is still %+v", cursor, i, page)
			}
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("AQAAAZq8Z2PLYzE")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		page, err := parseCursor(text)
		if err != nil || text == "" {
			return
		}
		again := cursorAfter(bridge.Summary{LastAt: page.LastAt, Conversation: bridge.Conversation{ID: page.ID}})
		if strip(text) != again {
			t.Errorf("%q is taken, and stands for %q", text, again)
		}
	})
}

// strip takes out the line breaks that Go's decoder passes over.
func strip(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }
