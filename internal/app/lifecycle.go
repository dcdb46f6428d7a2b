package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/parley-mqtt/parley/broker"
)

// teardown undoes one thing that was made.
type teardown struct {
	name string
	run  func(context.Context) error
}

// onStop registers how to undo what was just made.
func (a *App) onStop(name string, run func(context.Context) error) {
	a.teardowns = append(a.teardowns, teardown{name, run})
}

// Start serves. It is called once. When it fails, Stop is still to be called.
func (a *App) Start(ctx context.Context) error {
	if err := a.broker.Load(ctx); err != nil {
		return fmt.Errorf("%s: %w", a.opts.databaseSetting(), err)
	}
	if err := a.tokens.Load(ctx); err != nil {
		return fmt.Errorf("%s: %w", a.opts.databaseSetting(), err)
	}
	// The last process may have died without a word, and left sessions that
	// look connected. Nobody can have connected to this one yet.
	if err := a.log.ReleaseSessions(ctx); err != nil {
		return fmt.Errorf("%s: %w", a.opts.databaseSetting(), err)
	}
	if a.webhook != nil {
		if err := a.webhook.Start(ctx); err != nil {
			return fmt.Errorf("%s: %w", a.opts.databaseSetting(), err)
		}
	}
	a.eraser.Start()
	if a.mqttLn != nil {
		a.serve("mqtt-addr", a.mqttLn, a.broker.Serve)
	}
	if a.mqttsLn != nil {
		a.serve("mqtts-addr", a.mqttsLn, a.broker.Serve)
	}
	if a.httpLn != nil {
		a.serve("http-addr", a.httpLn, a.http.Serve)
	}
	if a.opts.TLSClientAuth == clientAuthRequired && a.mqttLn != nil {
		a.logger.Warn("tls-client-auth is required, but mqtt-addr takes clients without TLS; set it empty to close that")
	}
	if a.opts.DevLogin && a.httpLn != nil {
		a.logger.Warn("dev-login is on: whoever is on this machine may sign in as anybody")
	}
	a.logger.Info("serving", "mqtt", a.MQTTAddr(), "mqtts", a.MQTTSAddr(), "http", a.HTTPAddr())
	return nil
}

func (a *App) serve(name string, ln net.Listener, serve func(net.Listener) error) {
	a.serving.Go(func() {
		err := serve(ln)
		if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, broker.ErrClosed) {
			return
		}
		a.logger.Error("serving failed", "setting", name, "error", err)
		a.failed <- fmt.Errorf("%s: %w", name, err)
	})
}

// Wait waits until a listener fails, and returns why; or until ctx ends or the
// server was stopped, and returns nil.
func (a *App) Wait(ctx context.Context) error {
	select {
	case err := <-a.failed:
		return err
	case <-ctx.Done():
	case <-a.stopped:
	}
	return nil
}

// Stop takes the server apart, in the order that setup describes, within
// shutdown-timeout. It does all of it even when a part fails, and returns what
// failed. Called again, it waits and returns the same.
func (a *App) Stop(ctx context.Context) error {
	if a.stopBegun.CompareAndSwap(false, true) {
		began := time.Now()
		a.stopErr = a.stop(ctx)
		if a.stopErr != nil {
			a.logger.Error("stopped with errors", "error", a.stopErr, "took", time.Since(began))
		} else {
			a.logger.Info("stopped", "took", time.Since(began))
		}
		close(a.stopped)
	}
	<-a.stopped
	return a.stopErr
}

func (a *App) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.opts.ShutdownTimeout)
	defer cancel()
	var errs []error
	for i := len(a.teardowns) - 1; i >= 0; i-- {
		t := a.teardowns[i]
		a.logger.Debug("stopping", "part", t.name)
		if err := bounded(ctx, t.run); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", t.name, err))
		}
	}
	return errors.Join(errs...)
}

// stopGrace is how long a part may take to see that the time is up.
const stopGrace = time.Second

var errTooSlow = errors.New("shutdown-timeout is over and it has not ended")

// bounded runs f, and leaves it behind when it does not end with ctx: a
// process that never stops is worse than one that stops untidily.
func bounded(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
		return errTooSlow
	}
}

// half is a context that ends after half of the time that is left.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}
