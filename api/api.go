// Package api is the HTTP side of Parley: REST below /v1 with its OpenAPI
// document, the pages that explain it, health and metrics.
//
// The router is chi's. The operations are huma's: it reads parameters and
// bodies by the schemas that it also writes into the OpenAPI document, so that
// the two cannot differ. Every error that leaves the package is a problem
// document of RFC 9457 with a code; see problem.go.
//
// The package keeps no state of its own. Who may do what to a conversation is
// decided by the log, in the transaction that does it.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/catchup"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// requestTimeout bounds one request below /v1. A send alone may wait 10 s
	// for its commit.
	requestTimeout = 20 * time.Second
	// eraseTimeout bounds how long the end of an erasure is waited for.
	eraseTimeout = 10 * time.Minute
	// readyTimeout bounds the look at the store for /readyz.
	readyTimeout = 2 * time.Second
	// bodyTimeout bounds how long a body may take to arrive.
	bodyTimeout = 10 * time.Second
)

// Log is what the API needs of the log. *bridge.Log has it.
type Log interface {
	Create(ctx context.Context, n bridge.NewConversation) (bridge.Conversation, bool, error)
	CreateDirect(ctx context.Context, user, peer string) (bridge.Conversation, bool, error)
	Conversation(ctx context.Context, id string) (bridge.Conversation, error)
	Conversations(ctx context.Context, user string, page bridge.Page) ([]bridge.Summary, error)
	RenameConversation(ctx context.Context, actor bridge.Actor, id, name string) error
	SetRetention(ctx context.Context, actor bridge.Actor, id string, r bridge.Retention) error
	SetHistory(ctx context.Context, actor bridge.Actor, id string, sinceJoin bool) error
	SetArchived(ctx context.Context, id, user string, archived bool) error
	DeleteConversation(ctx context.Context, actor bridge.Actor, id string) error
	PutMember(ctx context.Context, actor bridge.Actor, id, user string, role chat.Role) (bridge.Member, bool, error)
	RemoveMember(ctx context.Context, actor bridge.Actor, id, user string) error
	Members(ctx context.Context, id string, after uint64, limit int) ([]bridge.Member, error)
	Block(ctx context.Context, user, other string) error
	Unblock(ctx context.Context, user, other string) error
	BlockList(ctx context.Context, user, after string, limit int) ([]bridge.Block, error)
	Membership(ctx context.Context, conversation, user string) (bridge.Membership, error)
	After(ctx context.Context, r bridge.Range) ([]chat.Entry, error)
	Before(ctx context.Context, stream chat.StreamID, before uint64, limit int) ([]chat.Entry, error)
	SessionsOf(ctx context.Context, user, after string, limit, cursors int) ([]bridge.SessionSeen, error)
	Folded(ctx context.Context, p bridge.FoldedPage) ([]bridge.Folded, error)
	Edits(ctx context.Context, stream chat.StreamID, seq, after uint64, limit int) (author string, entries []chat.Entry, err error)
	Commit(ctx context.Context, d chat.Draft) (bridge.Outcome, error)
	RetainedBy(ctx context.Context, user string, after chat.ID, limit int) ([]bridge.Message, error)
	Said(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) ([]chat.Entry, uint64, error)
	Memberships(ctx context.Context, user string) ([]bridge.Membership, error)
	People(ctx context.Context, users []string) ([]bridge.Person, error)
	Standings(ctx context.Context, keys []bridge.MemberKey) ([]bridge.Standing, error)
	MoveReceipt(ctx context.Context, m bridge.Move) (bridge.Receipt, error)
	Search(ctx context.Context, text string, s bridge.Search) ([]chat.Entry, error)
	Receipts(ctx context.Context, conversation string) ([]bridge.Receipt, error)
	Notify(ctx context.Context, drafts []chat.Draft) ([]bridge.Noticed, error)
	ReadNotifications(ctx context.Context, user string, which chat.ReadMarks) (uint64, error)
	UnreadNotifications(ctx context.Context, users []string) ([]uint64, error)
	Notifications(ctx context.Context, user string, before uint64, unread bool, limit int) ([]chat.Entry, error)
	Preferences(ctx context.Context, user string) (bridge.Preferences, error)
	SavePreferences(ctx context.Context, user string, p bridge.Preferences) error
	Ready(ctx context.Context) error
}

var _ Log = (*bridge.Log)(nil)

// Verifier says who a token is, and whether that was revoked since.
// *acl.Verifier has it. An error that is not a *chat.Error is ours, not the
// caller's.
type Verifier interface {
	Verify(token string) (acl.Identity, error)
	Revoked(id *acl.Identity) bool
}

var _ Verifier = (*acl.Verifier)(nil)

// Limits counts the sends of users. *broker.Broker has it: what comes over MQTT
// counts to the same limits. An error is a *chat.Error that says when to try
// again.
type Limits interface {
	MaySend(user string, bytes int) error
}

// Deps is what New needs. Log and Verifier have no default.
type Deps struct {
	Log      Log
	Verifier Verifier
	Version  string // of the server, for the OpenAPI document

	Logger     *slog.Logger                // nil is no log
	Registerer prometheus.Registerer       // nil: requests are not counted in public
	Gatherer   prometheus.Gatherer         // what /metrics shows; nil: there is no /metrics
	MQTT       http.Handler                // MQTT over WebSocket, at /mqtt; nil: there is none
	Ready      func(context.Context) error // nil is Log.Ready
	Limits     Limits                      // nil: users may send as much as they like
	// Connections are those of MQTT, for the operator; nil: they are not shown.
	Connections Connections
	Tokens      Tokens   // nil: tokens are not revoked here
	Presence    Presence // nil: nobody's is shown
	Users       Users    // nil: users are not erased here
	// Stopping says that what takes long shall break off; nil: it never does.
	Stopping func() bool
	// CatchUp answers what a user has missed; nil: nobody asks.
	CatchUp *catchup.Service

	App     http.Handler // the web app, at /, /admin and /assets/; nil: there is none
	Origins []string     // of browsers that may use what lies below /v1 from elsewhere; "*" is any
	SignIn  Signer       // signs in by name, who is on this machine; nil: nobody does
}

// server is the state behind the handlers. None of it changes.
type server struct {
	log         Log
	verifier    Verifier
	logger      *slog.Logger
	metrics     *metrics
	ready       probe
	limits      Limits      // nil is none
	connections Connections // nil is none
	tokens      Tokens      // nil is none
	presence    Presence    // nil is none
	users       Users       // nil is none
	stopping    func() bool
	catchUp     *catchup.Service // nil is none
	origins     []string
	signIn      Signer // nil is none
}

// New makes the handler of everything that is HTTP. It is safe for concurrent
// use. It starts nothing that would have to be stopped.
//
// The http.Server around it is the caller's. It should have a
// ReadHeaderTimeout and an IdleTimeout; bodies and answers below /v1 are
// bounded in time and size here.
func New(d Deps) http.Handler {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Ready == nil {
		d.Ready = d.Log.Ready
	}
	s := &server{log: d.Log, verifier: d.Verifier, logger: d.Logger,
		metrics: newMetrics(d.Registerer), limits: d.Limits, connections: d.Connections, tokens: d.Tokens, presence: d.Presence,
		users: d.Users, stopping: d.Stopping, catchUp: d.CatchUp, origins: d.Origins, signIn: d.SignIn}
	if s.stopping == nil {
		s.stopping = func() bool { return false }
	}
	s.ready = probe{check: d.Ready, logger: d.Logger}
	router := s.router(d)
	if d.MQTT == nil {
		return router
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The WebSocket end takes the connection over and keeps it for days:
		// nothing of the router may stand between.
		if r.URL.Path == "/mqtt" {
			d.MQTT.ServeHTTP(w, r)
			return
		}
		router.ServeHTTP(w, r)
	})
}

func (s *server) router(d Deps) *chi.Mux {
	mux := chi.NewRouter()
	mux.Use(s.observe, secure, s.recover, bound, middleware.GetHead, s.cors, s.dev, s.authenticate)
	mux.NotFound(notFound)
	mux.MethodNotAllowed(methodNotAllowed)

	mux.Get("/healthz", healthz)
	mux.Get("/readyz", s.ready.ServeHTTP)
	if d.Gatherer != nil {
		mux.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(d.Gatherer, promhttp.HandlerOpts{
			Registry: d.Registerer,
		}))
	}
	pages(mux)
	if d.App != nil {
		for _, pattern := range []string{"/", "/admin", "/admin/", "/assets/*"} {
			mux.Method(http.MethodGet, pattern, d.App)
		}
	}

	doc := s.operations(mux, d.Version)
	mux.Get(openAPIPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc) // a client that has gone is no news
	})
	return mux
}

// belowV1 says whether a path is REST, where every answer is JSON and all but
// the OpenAPI document wants a token.
func belowV1(path string) bool {
	return path == "/v1" || len(path) > 3 && path[:4] == "/v1/"
}

// bound bounds a request in time: its body, so that a client that sends it
// slowly, or not at all, is not waited for; and below /v1 its answer, so that
// a store that hangs holds no request for ever.
func bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// Also for a body that no handler reads: net/http reads the rest
			// before it answers. A writer without deadlines is that of a test.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		if limit := patience(w, r); limit > 0 {
			ctx, cancel := context.WithTimeout(r.Context(), limit)
			defer cancel()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// patience is how long a request may take, 0 without a bound. An export goes on
// as long as its client takes it.
func patience(w http.ResponseWriter, r *http.Request) time.Duration {
	switch path := r.URL.Path; {
	case !belowV1(path) || path == exportPath:
		return 0
	case r.Method == http.MethodDelete && strings.HasPrefix(path, usersPath):
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(eraseTimeout + requestTimeout))
		return eraseTimeout
	}
	return requestTimeout
}

func notFound(w http.ResponseWriter, r *http.Request) {
	if belowV1(r.URL.Path) {
		writeProblem(w, problemOf(chat.Errorf(chat.CodeNotFound, "there is no such path")))
		return
	}
	http.NotFound(w, r)
}

// methodNotAllowed names the methods that the path has, as RFC 9110 clause
// 15.5.6 demands.
func methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	routes, path := chi.RouteContext(r.Context()).Routes, r.URL.EscapedPath()
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if routes.Match(chi.NewRouteContext(), m, path) {
			w.Header().Add("Allow", m)
			if m == http.MethodGet {
				w.Header().Add("Allow", http.MethodHead)
			}
		}
	}
	if belowV1(r.URL.Path) {
		writeProblem(w, problemOf(chat.Errorf(codeMethodNotAllowed, "this path does not have this method")))
		return
	}
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}
