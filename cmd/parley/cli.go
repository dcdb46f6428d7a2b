package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/terminal"
)

// The exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2 // a flag, variable or key is wrong; trying again does not help
)

// commands is the grammar. Flags that are settings have no tag for their
// variable: all follow the rule of envName.
type commands struct {
	Serve   serveCmd   `cmd:"" help:"Run the server."`
	Token   tokenCmd   `cmd:"" help:"Print a token for a user."`
	Migrate migrateCmd `cmd:"" help:"Bring the schema of the database up to date."`
	Backup  backupCmd  `cmd:"" help:"Copy the embedded database, also while a server uses it."`
	Doctor  doctorCmd  `cmd:"" help:"Look for what is wrong with the settings and what they depend on."`
	Health  healthCmd  `cmd:"" help:"Ask the server on this machine whether it is ready."`
	Chat    chatCmd    `cmd:"" help:"Chat in the terminal."`
	Tail    tailCmd    `cmd:"" help:"Print a conversation and follow it."`
	Send    sendCmd    `cmd:"" help:"Send a message, or a line of the input as one each."`
	Bridge  bridgeCmd  `cmd:"" help:"Read another MQTT broker and write what it says to Parley."`
	Bench   benchCmd   `cmd:"" help:"Measure a server under load, and check what it delivers."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// call is what a subcommand is given beside its flags.
type call struct {
	context.Context
	program string // as it was typed
	stdout  io.Writer
	stderr  io.Writer
	stdin   io.Reader
	env     []string // as os.Environ has it
}

// variable is the value of a variable of the environment, "" if it is not set.
func (c *call) variable(name string) string {
	for _, e := range c.env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// run runs one command line and returns the exit code. args begins with the
// name of the program, env is as os.Environ has it.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	helped := false
	parser := newParser(&commands{}, env, kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }))
	parsed, err := parser.Parse(args[1:])
	if helped { // what else is wrong does not matter to those who ask for help
		return exitOK
	}
	if ctx, ok := toExamine(err); ok {
		parsed, err = ctx, nil
	}
	if err == nil {
		err = parsed.Run(&call{Context: ctx, program: args[0], stdout: stdout, stderr: stderr, stdin: os.Stdin, env: env})
	}
	return report(stderr, err)
}

func newParser(grammar *commands, env []string, more ...kong.Option) *kong.Kong {
	return kong.Must(grammar, append([]kong.Option{
		kong.Name("parley"),
		kong.Description("An MQTT chat server. A setting is a flag, a variable or a key of the file that --config " +
			"names; the first of these that is set counts."),
		kong.Resolvers(&settings{env: env}),
		kong.ValueFormatter(withVariable),
		kong.TypeMapper(reflect.TypeFor[app.Secret](), kong.MapperFunc(decodeSecret)),
		kong.Help(printHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	}, more...)...)
}

// report prints an error as one line and picks the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitError
	var setting *app.SettingError
	var parse *kong.ParseError
	switch {
	case errors.As(err, &setting): // kong puts the command before it
		code, err = exitUsage, setting
	case errors.As(err, &parse):
		code = exitUsage
	}
	_, _ = fmt.Fprintf(stderr, "parley: %s\n", terminal.Line(oneLine(err))) // there is nobody else to tell
	return code
}

// Passwords in URLs. The stores keep them out of their errors; this is for
// errors that come from below them, and for URLs typed in the wrong place.
var (
	password      = regexp.MustCompile(`(://[^:@\s]*):\S*@`)
	queryPassword = regexp.MustCompile(`([?&][a-z]*password=)[^&\s]*`)
)

// oneLine makes one line of an error, without passwords.
func oneLine(err error) string {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	text = password.ReplaceAllString(text, "$1:****@")
	return queryPassword.ReplaceAllString(text, "$1****")
}

// decodeSecret reads a secret like any text, but has no words for what it
// does not understand: they would hold the secret.
func decodeSecret(ctx *kong.DecodeContext, target reflect.Value) error {
	token := ctx.Scan.Pop()
	text, ok := token.Value.(string)
	if token.IsEOL() || !ok {
		return errors.New("has no value")
	}
	target.SetString(text)
	return nil
}

// printHelp lists the settings also where no command is named.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil || ctx.Selected() != nil {
		return err
	}
	serve, err := kong.Trace(ctx.Kong, []string{"serve"})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(ctx.Stdout); err != nil {
		return err
	}
	return kong.DefaultHelpPrinter(options, serve)
}

// withVariable adds the name of the variable to the help of a setting.
func withVariable(value *kong.Value) string {
	if !isSetting(value.Name) && !value.Tag.Has(settingTag) {
		return value.Help
	}
	return strings.TrimSpace(value.Help + " $" + envName(value.Name))
}
