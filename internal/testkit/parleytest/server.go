// Package parleytest starts the log and the MQTT engine on a real database
// for tests, in this process.
package parleytest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/bridge/postgres"
	"github.com/parley-mqtt/parley/bridge/sqlite"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/internal/revoke"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// Secret signs the tokens of all servers made here.
const Secret = "a secret for tests, of 32 bytes or more"

// Server is a running log and broker.
type Server struct {
	tb       testing.TB
	Store    bridge.Store
	Log      *bridge.Log
	Broker   *broker.Broker
	Tokens   *revoke.Tokens
	Addr     string
	Registry *prometheus.Registry
	served   chan error
	stopped  bool
}

// Options change a Server before it starts.
type Options struct {
	Store  func(bridge.Store) bridge.Store // wraps the store, to inject failures
	Log    func(*bridge.Config)
	Broker func(*broker.Config)
	Logger *slog.Logger
}

// Backends are the names of the databases that everything is tested on.
var Backends = []string{"sqlite", "postgres"}

// Each runs a test on every database. The test binary's TestMain must go
// through pgtest.
func Each(t *testing.T, test func(t *testing.T, backend string)) {
	for _, backend := range Backends {
		t.Run(backend, func(t *testing.T) { test(t, backend) })
	}
}

// Database makes an empty database, which Open can open again and again.
func Database(tb testing.TB, backend string) (dsn string) {
	if backend == "postgres" {
		return pgtest.URL(tb)
	}
	return filepath.Join(tb.TempDir(), "parley.db")
}

// Open opens a database with its schema.
func Open(tb testing.TB, backend, dsn string) bridge.Store {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var (
		store bridge.Store
		err   error
	)
	if backend == "postgres" {
		store, err = postgres.Open(ctx, dsn, postgres.Options{})
	} else {
		store, err = sqlite.Open(ctx, dsn, sqlite.Options{})
	}
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err != nil {
		tb.Fatalf("opening %s: %v", backend, err)
	}
	return store
}

// New starts a server on an empty database; it stops when the test ends.
func New(tb testing.TB, backend string, opts ...Options) *Server {
	tb.Helper()
	return Start(tb, backend, Database(tb, backend), opts...)
}

// Start starts a server on a database; it stops when the test ends.
func Start(tb testing.TB, backend, dsn string, opts ...Options) *Server {
	tb.Helper()
	var o Options
	if len(opts) > 0 {
		o = opts[0]
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s := &Server{tb: tb, Registry: prometheus.NewRegistry(), served: make(chan error, 1)}
	s.Store = Open(tb, backend, dsn)
	store := s.Store
	if o.Store != nil {
		store = o.Store(store)
	}
	logCfg := bridge.Config{Store: store, Logger: o.Logger, Registerer: s.Registry}
	if o.Log != nil {
		o.Log(&logCfg)
	}
	s.Log = bridge.New(logCfg)
	s.Tokens = revoke.New(revoke.Config{Store: s.Store, Logger: o.Logger, Registerer: s.Registry, Every: 50 * time.Millisecond,
		Cut: func(ctx context.Context) error { return s.Broker.EndRevoked(ctx) }})
	verifier, err := acl.New(context.Background(), acl.Config{Secret: []byte(Secret), Logger: o.Logger,
		Revoked: func(id *acl.Identity) bool { return s.Tokens.Revoked(id.UserID, id.TokenID, id.IssuedAt) }})
	if err != nil {
		tb.Fatal(err)
	}
	cfg := broker.Config{Log: s.Log, Store: store, Verifier: verifier, Logger: o.Logger, Registerer: s.Registry}
	if o.Broker != nil {
		o.Broker(&cfg)
	}
	s.Broker = broker.New(cfg)
	if err := s.Broker.Load(context.Background()); err != nil {
		tb.Fatal(err)
	}
	if err := s.Tokens.Load(context.Background()); err != nil {
		tb.Fatal(err)
	}
	if err := s.Log.ReleaseSessions(context.Background()); err != nil {
		tb.Fatal(err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.Addr = ln.Addr().String()
	go func() { s.served <- s.Broker.Serve(ln) }()
	tb.Cleanup(func() {
		s.Stop()
		verifier.Close()
	})
	return s
}

// Stop stops the server in the order of a real one.
func (s *Server) Stop() {
	s.tb.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s.Broker.StopAccepting()
	if err := <-s.served; err != nil && !errors.Is(err, broker.ErrClosed) { // as when it has not begun yet
		s.tb.Errorf("serve: %v", err)
	}
	s.Log.Drain(ctx)
	if err := s.Broker.Shutdown(ctx); err != nil {
		s.tb.Errorf("shutdown: %v", err)
	}
	s.Tokens.Close()
	if err := s.Log.Close(ctx); err != nil {
		s.tb.Errorf("closing the log: %v", err)
	}
	if err := s.Store.Close(); err != nil {
		s.tb.Errorf("closing the store: %v", err)
	}
}

// Token makes a token of the user that lives an hour.
func (s *Server) Token(user string) string {
	return Token(s.tb, acl.Claims{Subject: user, TTL: time.Hour})
}

// Token makes a token.
func Token(tb testing.TB, c acl.Claims) string {
	tb.Helper()
	token, err := acl.Mint([]byte(Secret), c)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// Conversation makes a conversation; its first member is the owner.
func (s *Server) Conversation(id string, members ...string) {
	s.tb.Helper()
	if _, _, err := s.Log.CreateConversation(context.Background(), members[0], id, "", members[1:]); err != nil {
		s.tb.Fatalf("creating %s: %v", id, err)
	}
}

// Dial opens a connection without CONNECT.
func (s *Server) Dial() *mqttest.Client {
	s.tb.Helper()
	return mqttest.Dial(s.tb, s.Addr)
}

// Connect opens a connection of the user; o's User and Password are set.
func (s *Server) Connect(user string, o mqttest.Options) *mqttest.Client {
	s.tb.Helper()
	c := s.Dial()
	o.User, o.Password = user, s.Token(user)
	if ack := c.Connect(o); ack.ReasonCode != 0 {
		s.tb.Fatalf("%s was refused: 0x%02x %s", user, ack.ReasonCode, ack.Properties.ReasonString)
	}
	return c
}

// Entry is a delivered entry, as far as tests look at it.
type Entry struct {
	ID             string `json:"id"`
	ConversationID string `json:"conversationId"`
	Seq            uint64 `json:"seq"`
	Type           string `json:"type"`
	SenderID       string `json:"senderId"`
	UserID         string `json:"userId"`
	Content        string `json:"content"`
	Target         uint64 `json:"target"`
	ClientID       string `json:"clientId"`
	Deleted        bool   `json:"deleted"`
	CreatedAt      string `json:"createdAt"`
}

// Decode reads a delivered entry.
func Decode(tb testing.TB, payload []byte) Entry {
	tb.Helper()
	var e Entry
	if err := json.Unmarshal(payload, &e); err != nil {
		tb.Fatalf("entry %s: %v", payload, err)
	}
	return e
}
