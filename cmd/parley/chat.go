package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/charmbracelet/x/term"

	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/terminal"
)

type chatCmd struct {
	Plain bool `name:"plain" help:"Lines instead of a screen, as where the output is no terminal."`

	conversationFlags
	userFlags
}

// Help tells what the flags alone do not.
func (*chatCmd) Help() string {
	return "Without --conversation the one with the newest activity is opened. In the chat /help lists the keys and commands. " +
		"Where the output is no terminal, lines are printed and read instead."
}

// Run chats until the person quits.
func (cmd *chatCmd) Run(c *call) error {
	ctx, release := signal.NotifyContext(c, os.Interrupt, syscall.SIGTERM)
	defer release()
	call := *c
	call.Context = ctx
	screen := !cmd.Plain && isTerminal(c.stdin) && isTerminal(c.stdout)
	if !screen && cmd.Conversation == "" {
		return &app.SettingError{Err: errors.New("conversation: say which, with --conversation")}
	}
	o, err := cmd.options(&call)
	if err != nil {
		return err
	}
	conn, err := cmd.connect(&call, o)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if cmd.Conversation != "" {
		if err := cmd.enter(&call, conn, screen); err != nil {
			return err
		}
	}
	if screen {
		err = terminal.Run(ctx, conn, cmd.Conversation, c.stdin, c.stdout, c.env)
	} else {
		err = terminal.Lines(ctx, conn, cmd.Conversation, c.stdin, c.stdout)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// enter finds the conversation; where it is missing, a person is asked whether
// to make it.
func (cmd *chatCmd) enter(c *call, conn *client.Client, screen bool) error {
	if !cmd.Create && screen {
		ctx, cancel := context.WithTimeout(c, connectTimeout)
		defer cancel()
		if _, err := conn.Conversation(ctx, cmd.Conversation); errors.Is(err, client.ErrNotFound) {
			if err := cmd.askToCreate(c); err != nil {
				return err
			}
		}
	}
	return cmd.ensure(c, conn)
}

func (cmd *chatCmd) askToCreate(c *call) error {
	_, err := fmt.Fprintf(c.stdout, "There is no conversation %s. To create it, name its members beside you, with spaces "+
		"between them (Enter for none, Ctrl-C to leave): ", terminal.Line(cmd.Conversation))
	if err != nil {
		return err
	}
	answer, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil {
		return fmt.Errorf("there is no conversation %s; --create makes it", cmd.Conversation)
	}
	cmd.Create = true
	cmd.Members = strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\r' })
	return nil
}

// isTerminal tells whether a person is at the other end.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}
