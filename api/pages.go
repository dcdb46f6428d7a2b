package api

import (
	"embed"
	"net/http"

	"github.com/go-chi/chi/v5"
)

//go:embed static
var static embed.FS

// pagePolicy lets pages load what this server serves, and nothing else: no
// page makes a request to another host, and none has scripts or styles in its
// text.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pageFeatures takes from pages what none of them uses.
const pageFeatures = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), " +
	"microphone=(), midi=(), payment=(), usb=()"

// securePage sets what a browser may do with an answer that it shows.
func securePage(h http.Header) {
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", pageFeatures)
}

// pages serves the pages that explain REST.
func pages(mux chi.Router) {
	for path, file := range map[string]struct{ name, media string }{
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
			w.Header().Set("Cache-Control", "no-cache") // a new version shows at once
			_, _ = w.Write(text)                        // a client that has gone is no news
		})
	}
}
