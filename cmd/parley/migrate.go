package main

import (
	"fmt"

	"github.com/parley-mqtt/parley/internal/app"
)

type migrateCmd struct {
	configFlag
	app.DatabaseOptions
	app.DataOptions
}

// Run brings the schema up to date and says what it did.
func (cmd *migrateCmd) Run(c *call) error {
	o := app.Options{DatabaseOptions: cmd.DatabaseOptions, DataOptions: cmd.DataOptions}
	did, err := app.Migrate(c, o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s: %s\n", o.Database(), did)
	return err
}
