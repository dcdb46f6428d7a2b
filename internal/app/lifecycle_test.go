package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// parts makes a server of nothing but teardowns.
func parts(timeout time.Duration) *App {
	a := &App{logger: slog.New(slog.DiscardHandler), stopped: make(chan struct{})}
	a.opts.ShutdownTimeout = timeout
	return a
}

func TestStopRunsInReverseAndJoinsErrors(t *testing.T) {
	a := parts(time.Second)
	first, third := errors.New("no"), errors.New("nor this")
	var order []int
	for i, err := range []error{first, nil, third} {
		a.onStop(fmt.Sprint("part ", i), func(context.Context) error {
			order = append(order, i)
			return err
		})
	}
	err := a.Stop(t.Context())
	if !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("stopped in the order %v", order)
	}
	if !errors.Is(err, first) || !errors.Is(err, third) || !strings.Contains(err.Error(), "stopping part 2: nor this") {
		t.Errorf("got %v", err)
	}
	if again := a.Stop(t.Context()); again != err || len(order) != 3 { //nolint:errorlint // it must be the same
		t.Errorf("the second Stop answered %v after %v", again, order)
	}
}

func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := parts(20 * time.Second)
		release := make(chan struct{})
		defer close(release)
		last := false
		a.onStop("last", func(context.Context) error { last = true; return nil })
		a.onStop("hung", func(context.Context) error { <-release; return nil })
		a.onStop("patient", func(ctx context.Context) error {
			ctx, cancel := half(ctx)
			defer cancel()
			<-ctx.Done()
			return nil
		})
		began := time.Now()
		err := a.Stop(t.Context())
		if !errors.Is(err, errTooSlow) || !strings.Contains(err.Error(), "stopping hung") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 20*time.Second+stopGrace {
			t.Errorf("took %v", took)
		}
		if !last {
			t.Error("what comes after the part that hung was not stopped")
		}
	})
}

func TestStopTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := parts(20 * time.Second)
		release := make(chan struct{})
		a.onStop("part", func(context.Context) error { <-release; return nil })
		ended := make(chan error, 2)
		for range 2 {
			go func() { ended <- a.Stop(t.Context()) }()
		}
		synctest.Wait()
		if len(ended) != 0 {
			t.Error("a Stop returned before the server had stopped")
		}
		close(release)
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if err := a.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
