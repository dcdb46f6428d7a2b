// Package web holds the web app, as files that make builds from web/app, and
// serves them.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Dist is what was built; without a build it has a page that says so, so that
// go build works where there is no Node.
//
//go:embed all:dist
var Dist embed.FS

const (
	placeholder = "placeholder.html"
	// assets have a hash of what they hold in their names: one that has
	// changed has another name.
	assets = "assets/"

	forever = "public, max-age=31536000, immutable"
	recheck = "no-cache" // a new version shows at once
)

// encodings are what the build compresses files to, the best first, with the
// end of their names.
var encodings = []struct{ name, end string }{{"br", ".br"}, {"gzip", ".gz"}}

// App serves the pages and the assets of a build. It does not set what a
// browser may do with them: whoever mounts it does.
type App struct {
	files map[string]*file // by path, without the first slash
	pages map[string]string
	built bool
}

// file is one that is served, in all its encodings.
type file struct {
	media, cache string
	plain        variant
	packed       map[string]variant // by encoding
}

type variant struct {
	body []byte
	etag string
}

// New makes the app of a build, Embedded that of the files that are embedded.
// Where there is no build, every page is the one that says so.
func New(dist fs.FS) *App {
	a := &App{files: map[string]*file{}, pages: map[string]string{"/": placeholder, "/admin": placeholder}}
	err := fs.WalkDir(dist, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || isPacked(name) {
			return err
		}
		return a.add(dist, name)
	})
	if err != nil {
		panic("web: " + err.Error()) // what is embedded can be read
	}
	if a.files["index.html"] != nil && a.files["admin.html"] != nil {
		a.pages, a.built = map[string]string{"/": "index.html", "/admin": "admin.html"}, true
	}
	return a
}

// Embedded is the app that this program was built with.
func Embedded() *App {
	dist, err := fs.Sub(Dist, "dist")
	if err != nil {
		panic("web: " + err.Error()) // a mistake in this package
	}
	return New(dist)
}

// Built says whether there is an app at all.
func (a *App) Built() bool { return a.built }

func isPacked(name string) bool {
	for _, e := range encodings {
		if strings.HasSuffix(name, e.end) {
			return true
		}
	}
	return false
}

func (a *App) add(dist fs.FS, name string) error {
	body, err := fs.ReadFile(dist, name)
	if err != nil {
		return err
	}
	f := &file{media: mediaOf(name), cache: recheck, plain: newVariant(body), packed: map[string]variant{}}
	if strings.HasPrefix(name, assets) {
		f.cache = forever
	}
	for _, e := range encodings {
		if packed, err := fs.ReadFile(dist, name+e.end); err == nil {
			f.packed[e.name] = newVariant(packed)
		}
	}
	a.files[name] = f
	return nil
}

func newVariant(body []byte) variant {
	sum := sha256.Sum256(body)
	return variant{body, `"` + hex.EncodeToString(sum[:16]) + `"`}
}

// mediaTypes are those of what is built. The table of the system differs from
// one machine to another.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".txt": "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json", ".map": "application/json",
}

func mediaOf(name string) string {
	if media := mediaTypes[path.Ext(name)]; media != "" {
		return media
	}
	return "application/octet-stream"
}

// ServeHTTP answers GET and HEAD of the pages and of what lies below /assets/.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/admin/" {
		http.Redirect(w, r, "/admin", http.StatusMovedPermanently)
		return
	}
	name := a.pages[r.URL.Path]
	if name == "" && strings.HasPrefix(r.URL.Path, "/"+assets) {
		name = strings.TrimPrefix(r.URL.Path, "/")
	}
	f := a.files[name]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.media)
	h.Set("Cache-Control", f.cache)
	v := f.plain
	if len(f.packed) > 0 {
		h.Set("Vary", "Accept-Encoding")
		if encoding := f.choose(r.Header); encoding != "" {
			h.Set("Content-Encoding", encoding)
			v = f.packed[encoding]
		}
	}
	h.Set("ETag", v.etag)
	if hasETag(r.Header, v.etag) {
		h.Del("Content-Type")
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(v.body))) // HEAD says it too
	_, _ = bytes.NewReader(v.body).WriteTo(w)          // a client that has gone is no news
}

// choose is the best encoding of the file that the client takes, or "".
func (f *file) choose(h http.Header) string {
	takes := map[string]bool{}
	for _, value := range h.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := mime.ParseMediaType("x/" + strings.TrimSpace(part))
			takes[strings.TrimPrefix(name, "x/")] = strings.Trim(params["q"], "0.") != "" || params["q"] == ""
		}
	}
	for _, e := range encodings {
		if _, ok := f.packed[e.name]; ok && takes[e.name] {
			return e.name
		}
	}
	return ""
}

// hasETag says whether the client has what it would be sent (RFC 9110 clause
// 13.1.2).
func hasETag(h http.Header, etag string) bool {
	for _, value := range h.Values("If-None-Match") {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimPrefix(strings.TrimSpace(part), "W/"); part == etag || part == "*" {
				return true
			}
		}
	}
	return false
}
