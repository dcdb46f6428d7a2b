package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/terminal"
)

type sendCmd struct {
	Text     []string      `arg:"" optional:"" name:"text" help:"The message; without it each line of the standard input is one."`
	ReplyTo  uint64        `name:"reply-to" placeholder:"SEQ" help:"The message that it answers."`
	MediaURL string        `name:"media-url" placeholder:"URL" help:"A picture or the like that goes with it, http or https."`
	ClientID string        `name:"client-id" placeholder:"ID" help:"Makes it safe to run the command again: what was sent with the same id stands once."`
	JSON     bool          `name:"json" help:"Print what was committed as JSON, a line for each message."`
	Timeout  time.Duration `name:"timeout" placeholder:"TIME" default:"1m" help:"How long one message is tried, over losses of the link. Default: 1m."`

	conversationFlags
	userFlags
}

// Help tells what the flags alone do not.
func (*sendCmd) Help() string {
	return "The exit code is 0 when all messages are committed, and only then. It stops at the first one that is not: " +
		"those before it stand."
}

// maxLine bounds a line that is read: more than a message may have.
const maxLine = 64 << 10

// Run sends the text, or line after line.
func (cmd *sendCmd) Run(c *call) error {
	if cmd.Conversation == "" {
		return &app.SettingError{Err: errors.New("conversation: say which, with --conversation")}
	}
	ctx, release := signal.NotifyContext(c, os.Interrupt, syscall.SIGTERM)
	defer release()
	call := *c
	call.Context = ctx
	o, err := cmd.options(&call)
	if err != nil {
		return err
	}
	o.SendOnly = true
	conn, err := cmd.connect(&call, o)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if cmd.Create {
		if err := cmd.ensure(ctx, conn); err != nil {
			return err
		}
	}
	if len(cmd.Text) > 0 || cmd.MediaURL != "" {
		return cmd.send(&call, conn, strings.Join(cmd.Text, " "), cmd.ClientID)
	}
	return cmd.lines(&call, conn)
}

// lines sends what is read, a message a line. Empty lines are none.
func (cmd *sendCmd) lines(c *call, conn *client.Client) error {
	in := bufio.NewScanner(c.stdin)
	in.Buffer(make([]byte, 4096), maxLine)
	n := 0
	for in.Scan() {
		n++
		text := strings.TrimRight(in.Text(), "\r")
		if strings.TrimSpace(text) == "" {
			continue
		}
		id := ""
		if cmd.ClientID != "" {
			id = fmt.Sprintf("%s.%d", cmd.ClientID, n)
		}
		if err := cmd.send(c, conn, text, id); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

func (cmd *sendCmd) send(c *call, conn *client.Client, text, id string) error {
	ctx, cancel := context.WithTimeout(c, cmd.Timeout)
	defer cancel()
	sent, err := conn.Send(ctx, cmd.Conversation, client.Draft{
		Content: text, MediaURL: cmd.MediaURL, ReplyTo: cmd.ReplyTo, ClientID: id})
	if err != nil {
		return fmt.Errorf("not sent: %w", err)
	}
	if cmd.JSON {
		return printSafe(c.stdout, sent)
	}
	return nil
}

// printSafe prints a value as a line of JSON.
func printSafe(w io.Writer, v any) error {
	text, err := terminal.JSON(v)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
