package main

import (
	"fmt"
	"strings"

	"github.com/parley-mqtt/parley/internal/app"
)

type versionCmd struct{}

// Run prints what the program was built from.
func (*versionCmd) Run(c *call) error {
	_, err := fmt.Fprintln(c.stdout, versionText(app.ReadBuild()))
	return err
}

func versionText(b app.Build) string {
	var notes []string
	if b.Revision != "" {
		revision := "revision " + b.Revision
		if b.Modified {
			revision += " (modified)"
		}
		notes = append(notes, revision)
	}
	if b.Time != "" {
		notes = append(notes, b.Time)
	}
	notes = append(notes, b.Go, b.Platform)
	return "parley " + b.Version + ", " + strings.Join(notes, ", ")
}
