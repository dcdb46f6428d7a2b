package api

import (
	"embed"
	"net/http"

	"github.com/go-chi/chi/v5"
)

//go:embed static
var static embed.FS

// pagePolicy lets pages load what this server serves, and nothing else: no
// page makes a request to another host.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pages serves the few pages that are not REST.
func pages(mux chi.Router) {
	for path, file := range map[string]struct{ name, media string }{
		"/":               {"index.html", "text/html; charset=utf-8"},
		"/docs":           {"docs.html", "text/html; charset=utf-8"},
		"/docs/docs.js":   {"docs.js", "text/javascript; charset=utf-8"},
		"/docs/style.css": {"style.css", "text/css; charset=utf-8"},
	} {
		text, err := static.ReadFile("static/" + file.name)
		if err != nil {
			panic("api: " + err.Error()) // a mistake in this package
		}
		mux.Get(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", file.media)
			w.Header().Set("Content-Security-Policy", pagePolicy)
			w.Header().Set("Cache-Control", "no-cache") // a new version shows at once
			_, _ = w.Write(text)                        // a client that has gone is no news
		})
	}
}
