package main

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/doctor"
)

type healthCmd struct {
	Timeout time.Duration `name:"timeout" placeholder:"TIME" default:"5s" help:"How long to wait for an answer. Default: 5s."`

	configFlag
	Options app.Options `embed:""`
}

// Help tells what the flags alone do not.
func (*healthCmd) Help() string {
	return "Asks /readyz of the server that has these settings, on this machine, or without http-addr its MQTT port. " +
		"The exit code is 0 when it is ready, else 1: for health checks of containers without a shell."
}

// Run asks once.
func (cmd *healthCmd) Run(c *call) error {
	ctx, cancel := context.WithTimeout(c, cmd.Timeout)
	defer cancel()
	if err := doctor.Health(ctx, examined(&cmd.Options)); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	_, err := fmt.Fprintln(c.stdout, "ready")
	return err
}
