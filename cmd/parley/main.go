// Command parley is an MQTT chat server and its tools. Package app holds the
// server; here are the flags, and one file for each subcommand.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // quiet hours hold on machines without a database of time zones too
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.Environ(), os.Stdout, os.Stderr))
}
