package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/internal/catchup"
	"github.com/parley-mqtt/parley/web"
)

// newHTTPServer makes a server whose connections cannot be held by strangers
// who send or take nothing. The bounds do not reach WebSockets: net/http lifts
// them from a connection that is taken over, and the broker has its own.
func newHTTPServer(logger *slog.Logger) *http.Server {
	// A WebSocket begins with an upgrade of HTTP/1.1, and so all is that. TLS
	// agrees on nothing else either.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // head and body
		WriteTimeout:      time.Minute,      // from the head of a request to the end of its answer
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10, // a token takes up to 8 KiB
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

func (a *App) newHandler(verifier *acl.Verifier) (http.Handler, error) {
	signIn, err := a.opts.devSigner()
	if err != nil {
		return nil, err
	}
	return api.New(api.Deps{
		Log:        a.log,
		Verifier:   verifier,
		Version:    ReadBuild().Version,
		Logger:     a.logger,
		Registerer: a.registry,
		Gatherer:   a.registry,
		MQTT:       a.broker,
		Limits:     a.broker,
		Ready:      a.ready,

		Connections: connections{a.broker},
		Tokens:      a.tokens,
		Presence:    a.broker.Live(),
		Users:       a.eraser,
		Stopping:    a.stopping.Load,
		CatchUp:     catchup.New(a.log, catchup.Bounds{}),

		App:     web.Embedded(),
		Origins: a.opts.WSOrigins,
		SignIn:  signIn,
	}), nil
}

var errStopping = errors.New("the server is stopping")

// ready answers nil when the server may get work.
func (a *App) ready(ctx context.Context) error {
	if a.stopping.Load() {
		return errStopping
	}
	return a.store.Ready(ctx)
}

// stopHTTP waits for the requests that are being answered. When ctx ends
// first they are cut.
func (a *App) stopHTTP(ctx context.Context) error {
	err := a.http.Shutdown(ctx)
	if err != nil {
		_ = a.http.Close() // the error above says more
	}
	return err
}
