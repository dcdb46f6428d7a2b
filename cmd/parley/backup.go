package main

import (
	"fmt"

	"github.com/parley-mqtt/parley/internal/app"
)

type backupCmd struct {
	To string `name:"to" required:"" placeholder:"FILE" help:"The file to write, which must not be there yet."`

	configFlag
	app.DatabaseOptions
	app.DataOptions
}

// Help tells what the flags alone do not.
func (*backupCmd) Help() string {
	return "The copy is the state of one moment, with all that was acknowledged before; it is checked and on the disk when " +
		"the command ends. To restore it, stop the server, put it in place of parley.db in the data folder, remove parley.db-wal " +
		"and parley.db-shm, and start. The file jwt-secret of the data folder is not in it: keep a copy of that apart."
}

// Run copies, and says what it copied.
func (cmd *backupCmd) Run(c *call) error {
	o := app.Options{DatabaseOptions: cmd.DatabaseOptions, DataOptions: cmd.DataOptions}
	b, err := app.Backup(c, &o, cmd.To)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	_, err = fmt.Fprintf(c.stdout, "%s: %d entries, %d bytes, schema version %d\n", cmd.To, b.Entries, b.Bytes, b.Schema)
	return err
}
