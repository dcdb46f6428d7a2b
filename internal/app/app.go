// Package app puts a server together from its settings: New builds and checks
// everything, Start serves, Stop takes it apart in reverse. It holds no
// globals, so that a process can run several.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/broker/router"
	"github.com/parley-mqtt/parley/broker/transport"
	"github.com/parley-mqtt/parley/internal/erase"
	"github.com/parley-mqtt/parley/internal/revoke"
	"github.com/parley-mqtt/parley/internal/webhook"
)

// App is a server. New makes one.
type App struct {
	opts     Options
	logger   *slog.Logger
	registry *prometheus.Registry

	mqttLn  net.Listener // nil: off
	mqttsLn net.Listener // nil: off
	httpLn  net.Listener // nil: off; HTTPS with a certificate
	store   bridge.Store
	log     *bridge.Log
	tokens  *revoke.Tokens
	broker  *broker.Broker
	webhook *webhook.Dispatcher // nil: off
	http    *http.Server        // nil: off
	eraser  *erase.Eraser

	stopping atomic.Bool
	serving  sync.WaitGroup
	failed   chan error // what ended a listener; has room for each

	teardowns []teardown // in the order of making; Stop runs them in reverse
	stopBegun atomic.Bool
	stopped   chan struct{} // closed when stopErr is set
	stopErr   error
}

// New builds a server and checks all that can be checked before serving:
// settings, ports, keys, the database and its schema. The ports are bound, so
// that MQTTAddr and HTTPAddr are true, but nothing is served before Start.
//
// When it fails, or ctx ends, what was made is taken apart again. An error
// names the setting that it is about; a *SettingError means that no other
// state of the world would help.
func New(ctx context.Context, opts Options) (*App, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	a := &App{opts: opts, logger: opts.Logger(), registry: newRegistry(),
		failed: make(chan error, 3), stopped: make(chan struct{})}
	a.logger.Debug("settings", "settings", opts)
	if err := a.setup(ctx); err != nil {
		return nil, errors.Join(err, a.stop(context.WithoutCancel(ctx)))
	}
	return a, nil
}

// setup is one straight line on purpose: each thing is made from those above
// it, and its teardown is registered where it is made. Read from the bottom,
// the teardowns are the order of stopping: not ready, no new connections,
// sends refused and those in flight committed, webhooks ended, clients told and
// sessions saved, HTTP, cursors saved, store closed.
func (a *App) setup(ctx context.Context) error {
	// Ports first: a second server by mistake ends here, before it has
	// touched the data of the first.
	if err := a.bind(ctx); err != nil {
		return err
	}

	verifier, err := newVerifier(ctx, &a.opts, a.logger, func(id *acl.Identity) bool {
		return a.tokens.Revoked(id.UserID, id.TokenID, id.IssuedAt)
	})
	if err != nil {
		return err
	}
	a.onStop("keys", func(context.Context) error { verifier.Close(); return nil })

	a.store, err = openStore(ctx, &a.opts, a.logger)
	if err != nil {
		return err
	}
	a.onStop("database", func(context.Context) error { return a.store.Close() })
	if err := prepareStore(ctx, &a.opts, a.store); err != nil {
		return err
	}

	a.log = bridge.New(bridge.Config{Store: a.store, Logger: a.logger, Registerer: a.registry,
		Retention: a.opts.policy(), Limits: bridge.Limits(a.opts.GroupOptions)})
	a.onStop("log", a.log.Close)

	a.tokens = revoke.New(revoke.Config{Store: a.store, Logger: a.logger, Registerer: a.registry, MaxLife: a.opts.MaxTokenLife,
		Cut: func(ctx context.Context) error { return a.broker.EndRevoked(ctx) }})
	a.onStop("revocations", func(context.Context) error { a.tokens.Close(); return nil })

	if a.httpLn != nil {
		a.http = newHTTPServer(a.logger)
		a.onStop("http", a.stopHTTP)
	}

	a.broker = broker.New(broker.Config{Log: a.log, Store: a.store, Verifier: verifier, Logger: a.logger,
		Registerer: a.registry, Origins: a.opts.WSOrigins, Bounds: limit.Bounds(a.opts.LimitOptions),
		Kept: router.Kept(a.opts.KeptOptions), PresenceGrace: a.opts.PresenceGrace})
	a.onStop("broker", a.broker.Shutdown)

	// It ends before the broker: else all users would look offline.
	if a.opts.WebhookURL != "" {
		if a.webhook, err = a.newWebhook(); err != nil {
			return err
		}
		a.onStop("webhooks", a.webhook.Close)
	}
	a.onStop("sends", func(ctx context.Context) error {
		// A context of its own: a database that hangs must not use up the
		// time for telling clients.
		ctx, cancel := half(ctx)
		defer cancel()
		a.log.Drain(ctx)
		return nil
	})
	a.onStop("accepting", func(context.Context) error { a.broker.StopAccepting(); return nil })

	a.eraser = erase.New(erase.Config{Log: a.log, Sessions: a.broker, Revoke: a.tokens.User, Logger: a.logger})
	a.onStop("erasures", func(context.Context) error { a.eraser.Close(); return nil })

	if a.http != nil {
		if a.http.Handler, err = a.newHandler(verifier); err != nil {
			return err
		}
	}
	a.onStop("ready", func(context.Context) error { a.stopping.Store(true); return nil })
	return nil
}

// bind binds the ports that are on, and puts on them what belongs there: the
// PROXY protocol, and TLS behind it.
func (a *App) bind(ctx context.Context) error {
	a.onStop("ports", func(context.Context) error {
		for _, ln := range []net.Listener{a.mqttLn, a.mqttsLn, a.httpLn} {
			if ln != nil {
				_ = ln.Close() // most often it is closed already
			}
		}
		a.serving.Wait()
		return nil
	})
	files, err := a.opts.load(a.logger)
	if err != nil {
		return err
	}
	proxies, err := transport.ParseProxies(a.opts.ProxyProtocolFrom)
	if err != nil {
		return wrong("proxy-protocol-from", "%w", err)
	}
	for _, port := range []struct {
		name, addr string
		ln         *net.Listener
		protocol   string // that is spoken in TLS, if there is TLS
	}{
		{"mqtt-addr", a.opts.MQTTAddr, &a.mqttLn, ""},
		{"mqtts-addr", a.opts.MQTTSAddr, &a.mqttsLn, transport.ProtocolMQTT},
		{"http-addr", a.opts.HTTPAddr, &a.httpLn, transport.ProtocolHTTP},
	} {
		if port.addr == "" {
			continue
		}
		var cfg net.ListenConfig
		ln, err := cfg.Listen(ctx, "tcp", port.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", port.name, err)
		}
		*port.ln = proxies.Listen(ln.(*net.TCPListener), a.opts.ConnectTimeout)
		if files != nil && port.protocol != "" {
			*port.ln = tls.NewListener(*port.ln, files.Config(port.protocol))
		}
	}
	return nil
}

// newRegistry makes a registry of metrics with those of the process itself.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			collectors.MetricsGC, collectors.MetricsScheduler)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return r
}

// MQTTAddr is where MQTT over TCP listens, or "" when it is off.
func (a *App) MQTTAddr() string { return address(a.mqttLn) }

// MQTTSAddr is where MQTT over TLS listens, or "" when it is off.
func (a *App) MQTTSAddr() string { return address(a.mqttsLn) }

// HTTPAddr is where HTTP listens, or "" when it is off.
func (a *App) HTTPAddr() string { return address(a.httpLn) }

func address(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	return ln.Addr().String()
}
