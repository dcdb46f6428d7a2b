package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/web"
)

type serveCmd struct {
	configFlag
	Options app.Options `embed:""`
}

// Run serves until SIGTERM or SIGINT. A second signal ends the process at
// once.
func (cmd *serveCmd) Run(c *call) error {
	ctx, release := signal.NotifyContext(c, os.Interrupt, syscall.SIGTERM)
	defer release()
	// After the first signal nobody listens: the second does what signals do.
	context.AfterFunc(ctx, release)

	cmd.Options.LogTo = c.stderr
	server, err := app.New(ctx, cmd.Options)
	if err != nil {
		if ctx.Err() != nil { // told to stop before it had started
			return nil
		}
		return err
	}
	err = server.Start(ctx)
	if err == nil {
		err = cmd.welcome(c, addresses{server.MQTTAddr(), server.MQTTSAddr(), server.HTTPAddr(), web.Embedded().Built()})
	}
	if err == nil {
		err = tellSystemd("READY=1")
	}
	if err == nil {
		err = server.Wait(ctx)
	}
	if ctx.Err() != nil {
		err = nil
	}
	release() // AfterFunc may not have come to it yet
	err = errors.Join(err, tellSystemd("STOPPING=1"))
	return errors.Join(err, server.Stop(context.WithoutCancel(ctx)))
}
