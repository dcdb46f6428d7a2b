package web_test

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/parley-mqtt/parley/web"
)

func dist(names ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, name := range names {
		files[name] = &fstest.MapFile{Data: []byte("it is " + name)}
	}
	return files
}

func get(a *web.App, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

const (
	forever = "public, max-age=31536000, immutable"
	recheck = "no-cache"
)

func TestServe(t *testing.T) {
	built := web.New(dist("placeholder.html", "index.html", "admin.html", "index.html.gz",
		"assets/app-X.js", "assets/app-X.js.br", "assets/app-X.js.gz", "assets/app-X.css", "assets/icon-X.svg", "assets/odd.bin"))
	empty := web.New(dist("placeholder.html"))
	if !built.Built() || empty.Built() {
		t.Errorf("built: %v and %v", built.Built(), empty.Built())
	}
	const js = "text/javascript; charset=utf-8"
	tests := []struct {
		app                          *web.App
		path, accept                 string
		status                       int
		body, media, cache, encoding string
	}{
		{empty, "/", "", 200, "it is placeholder.html", "text/html; charset=utf-8", recheck, ""},
		{empty, "/admin", "", 200, "it is placeholder.html", "text/html; charset=utf-8", recheck, ""},
		{built, "/", "", 200, "it is index.html", "text/html; charset=utf-8", recheck, ""},
		{built, "/", "gzip, br", 200, "it is index.html.gz", "text/html; charset=utf-8", recheck, "gzip"},
		{built, "/admin", "gzip", 200, "it is admin.html", "text/html; charset=utf-8", recheck, ""},
		{built, "/assets/app-X.js", "", 200, "it is assets/app-X.js", js, forever, ""},
		{built, "/assets/app-X.js", "gzip, deflate, br, zstd", 200, "it is assets/app-X.js.br", js, forever, "br"},
		{built, "/assets/app-X.js", "gzip;q=0.5", 200, "it is assets/app-X.js.gz", js, forever, "gzip"},
		{built, "/assets/app-X.js", "br;q=0, gzip; q=0.0", 200, "it is assets/app-X.js", js, forever, ""},
		{built, "/assets/app-X.css", "br", 200, "it is assets/app-X.css", "text/css; charset=utf-8", forever, ""},
		{built, "/assets/icon-X.svg", "", 200, "it is assets/icon-X.svg", "image/svg+xml", forever, ""},
		{built, "/assets/odd.bin", "", 200, "it is assets/odd.bin", "application/octet-stream", forever, ""},
		{built, "/assets/none.js", "", 404, "404 page not found\n", "text/plain; charset=utf-8", "", ""},
		{built, "/assets/../index.html", "", 404, "404 page not found\n", "text/plain; charset=utf-8", "", ""},
		{built, "/assets/app-X.js.br", "", 404, "404 page not found\n", "text/plain; charset=utf-8", "", ""},
		{built, "/index.html", "", 404, "404 page not found\n", "text/plain; charset=utf-8", "", ""},
	}
	for _, tt := range tests {
		r := get(tt.app, tt.path, "Accept-Encoding", tt.accept)
		h := r.Header()
		if r.Code == 200 && h.Get("Content-Length") != strconv.Itoa(len(tt.body)) {
			t.Errorf("%s has Content-Length %q", tt.path, h.Get("Content-Length"))
		}
		if got := r.Body.String(); r.Code != tt.status || got != tt.body || h.Get("Content-Type") != tt.media ||
			h.Get("Cache-Control") != tt.cache || h.Get("Content-Encoding") != tt.encoding {
			t.Errorf("%s with %q: got %d %q %v", tt.path, tt.accept, r.Code, got, h)
		}
	}
	if r := get(built, "/admin/"); r.Code != 301 || r.Header().Get("Location") != "/admin" {
		t.Errorf("/admin/: got %d to %q", r.Code, r.Header().Get("Location"))
	}
}

// What a browser has already is not sent again; what it has in another
// encoding is.
func TestETag(t *testing.T) {
	a := web.New(dist("index.html", "admin.html", "index.html.gz"))
	plain, packed := get(a, "/").Header(), get(a, "/", "Accept-Encoding", "gzip").Header()
	if plain.Get("Vary") != "Accept-Encoding" || packed.Get("Vary") != "Accept-Encoding" {
		t.Errorf("Vary is %q and %q", plain.Get("Vary"), packed.Get("Vary"))
	}
	tag := plain.Get("ETag")
	for _, tt := range []struct {
		match  string
		status int
	}{{tag, 304}, {`"x", W/` + tag, 304}, {"*", 304}, {`"x"`, 200}, {packed.Get("ETag"), 200}} {
		if r := get(a, "/", "If-None-Match", tt.match); r.Code != tt.status || r.Header().Get("ETag") != tag {
			t.Errorf("%s: got %d with %s", tt.match, r.Code, r.Header().Get("ETag"))
		}
	}
}

// The program can always show a page, whether Node was there or not.
func TestEmbedded(t *testing.T) {
	for _, path := range []string{"/", "/admin"} {
		if r := get(web.Embedded(), path); r.Code != 200 || !strings.Contains(r.Body.String(), "<title>Parley") {
			t.Errorf("%s: got %d", path, r.Code)
		}
	}
}
