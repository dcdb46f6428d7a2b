package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/internal/chat"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_http_requests_total",
			Help: "HTTP requests, by route pattern, method and status."}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "parley_http_request_seconds",
			Help:    "Time to answer an HTTP request, by route pattern.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"route"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds)
	}
	return m
}

type requestKey struct{}

// request is what logs say of a request.
type request struct {
	id     string
	method string
	user   string // "" until the token held
}

// requestAttrs says which request it is: never what it holds. The route is
// the pattern, so that no id that a caller chose is in it.
func requestAttrs(ctx context.Context) []any {
	attrs := []any{"route", routeOf(ctx)}
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		attrs = append(attrs, "request_id", r.id, "method", r.method, "user", r.user)
	}
	return attrs
}

// noRoute is the route of a path that does not exist.
const noRoute = "none"

// routeOf is the pattern of the route that took the request.
func routeOf(ctx context.Context) string {
	if pattern := chi.RouteContext(ctx).RoutePattern(); pattern != "" {
		return pattern
	}
	return noRoute
}

// findRoute is the pattern of a request that was refused before it was routed.
func findRoute(r *http.Request) string {
	routes := chi.RouteContext(r.Context()).Routes
	if pattern := routes.Find(chi.NewRouteContext(), r.Method, r.URL.EscapedPath()); pattern != "" {
		return pattern
	}
	return noRoute
}

// methodOf is the method, "other" for one that a client made up: it could make
// up any number of them.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// observe gives the request its id and counts it. A caller may choose the id,
// in the header X-Request-Id; the answer carries it.
func (s *server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &request{id: r.Header.Get("X-Request-Id"), method: methodOf(r)}
		if !chat.ValidID(seen.id) {
			seen.id = uuid.Must(uuid.NewV7()).String()
		}
		w.Header().Set("X-Request-Id", seen.id)
		ctx := context.WithValue(r.Context(), requestKey{}, seen)
		rec := &recorder{ResponseWriter: w}
		begun := time.Now()
		// Also for a handler that ends with http.ErrAbortHandler.
		defer func() {
			route, took := routeOf(ctx), time.Since(begun)
			if route == noRoute {
				route = findRoute(r)
			}
			s.metrics.requests.WithLabelValues(route, seen.method, strconv.Itoa(rec.code())).Inc()
			s.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())
			if s.logger.Enabled(ctx, slog.LevelDebug) {
				s.logger.DebugContext(ctx, "request", append(requestAttrs(ctx), "status", rec.code(), "took", took)...)
			}
		}()
		next.ServeHTTP(rec, r.WithContext(ctx))
	})
}

// secure sets the headers that keep browsers from guessing, caches from
// keeping, and pages from doing more than they need to.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if belowV1(r.URL.Path) {
			h.Set("Cache-Control", "no-store")
		} else {
			securePage(h)
		}
		next.ServeHTTP(w, r)
	})
}

// recover turns a panic of a handler into a 500 and a line in the log. An
// answer that had begun is cut off instead, so that nobody takes half of it
// for the whole.
func (s *server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(cause) // a handler's way to cut its answer off
			}
			s.logger.ErrorContext(r.Context(), "request panicked", append(requestAttrs(r.Context()),
				"panic", cause, "stack", string(debug.Stack()))...)
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler)
			}
			writeProblem(w, problemOf(&chat.Error{Code: chat.CodeInternal}))
		}()
		next.ServeHTTP(w, r)
	})
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the answer begins
}

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK // what net/http sends for a handler that wrote nothing
	}
	return r.status
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 { // 1xx come before the answer
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
