package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
)

// healthz answers as long as the process serves at all.
func healthz(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok\n")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that has gone is no news
}

// probe answers /readyz. However many ask, and however long the store takes,
// one check runs at a time, and nobody waits longer than readyTimeout.
type probe struct {
	check  func(context.Context) error
	logger *slog.Logger

	mu      sync.Mutex
	running *verdict // nil: none runs
	failed  bool     // the last one did
}

type verdict struct {
	done chan struct{}
	err  error // once done is closed
}

func (p *probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := p.ask(ctx); err != nil {
		plain(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	plain(w, http.StatusOK, "ready\n")
}

var errTooSlow = errors.New("no answer in time")

// ask joins the check that runs, or starts one.
func (p *probe) ask(ctx context.Context) error {
	p.mu.Lock()
	v := p.running
	if v == nil {
		v = &verdict{done: make(chan struct{})}
		p.running = v
		go p.run(v)
	}
	p.mu.Unlock()
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return errTooSlow
	}
}

// run does not end with the request that began it: others may have joined.
func (p *probe) run(v *verdict) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	v.err = p.check(ctx)
	p.mu.Lock()
	was := p.failed
	p.running, p.failed = nil, v.err != nil
	p.mu.Unlock()
	close(v.done)
	switch {
	case v.err != nil && !was:
		p.logger.Warn("not ready", "error", v.err)
	case v.err == nil && was:
		p.logger.Info("ready again")
	}
}
