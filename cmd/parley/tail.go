package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/terminal"
)

type tailCmd struct {
	All           bool   `name:"all" help:"Follow all your conversations, those that you join later too, instead of one; without history."`
	Lines         int    `name:"lines" short:"n" placeholder:"N" default:"20" help:"How many of the newest entries to begin with. Default: 20."`
	After         uint64 `name:"after" placeholder:"SEQ" help:"Begin behind this seq instead."`
	Exit          bool   `name:"no-follow" help:"Print what there is and end."`
	JSON          bool   `name:"json" help:"Print entries as JSON, a line each; with the flags below each line has a kind."`
	Typing        bool   `name:"typing" help:"Tell who types, too."`
	Presence      bool   `name:"presence" help:"Tell who comes and goes, too."`
	Receipts      bool   `name:"receipts" help:"Tell who has read how far, too."`
	Notifications bool   `name:"notifications" help:"Print your notifications, too."`

	Conversation string `name:"conversation" short:"c" placeholder:"ID" help:"The conversation."`
	userFlags
}

// Help tells what the flags alone do not.
func (*tailCmd) Help() string {
	return "It goes on over losses of the link and restarts of the server: each entry is printed once, in order. " +
		"It ends with code 1 when you are removed from the conversation."
}

// Validate checks what can be checked without a server.
func (cmd *tailCmd) Validate() error {
	switch {
	case cmd.All == (cmd.Conversation != ""):
		return errors.New("conversation: say which, or --all")
	case cmd.All && (cmd.After > 0 || cmd.Exit):
		return errors.New("all: follows what comes; after and no-follow are for one conversation")
	case cmd.Lines < 0:
		return errors.New("lines: must not be negative")
	}
	return nil
}

// Run prints until it is told to stop.
func (cmd *tailCmd) Run(c *call) error {
	ctx, release := signal.NotifyContext(c, os.Interrupt, syscall.SIGTERM)
	defer release()
	call := *c
	call.Context = ctx
	o, err := cmd.options(&call)
	if err != nil {
		return err
	}
	conn, err := cmd.connect(&call, o)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var last terminal.Last
	if !cmd.All {
		if last, err = cmd.history(&call, conn); err != nil || cmd.Exit {
			return err
		}
	}
	err = cmd.follow(&call, conn, last)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// history prints what there is, and gives the last of it. The client is
// connected: what is committed after that comes as an event.
func (cmd *tailCmd) history(c *call, conn *client.Client) (last terminal.Last, err error) {
	r := client.Range{Limit: min(max(cmd.Lines, 1), 200), Before: 0}
	var items []client.Entry
	if cmd.After > 0 {
		r = client.Range{After: cmd.After, Limit: 200}
	} else if cmd.Lines > 200 {
		if r, err = cmd.farBack(c, conn); err != nil {
			return last, err
		}
	}
	for {
		h, err := conn.History(c, cmd.Conversation, r)
		switch {
		case errors.Is(err, client.ErrNotFound):
			return last, fmt.Errorf("there is no conversation %s", cmd.Conversation)
		case errors.Is(err, client.ErrForbidden):
			return last, fmt.Errorf("%s is not a member of %s", conn.UserID(), cmd.Conversation)
		case err != nil:
			return last, err
		}
		if items = h.Items; cmd.Lines == 0 && cmd.After == 0 {
			return terminal.Last{Seq: h.HeadSeq}, nil
		}
		for _, e := range items {
			if err := cmd.entry(c, e); err != nil {
				return last, err
			}
			last = terminal.Last{Seq: e.Seq, ID: e.ID}
		}
		if len(items) == 0 || last.Seq >= h.HeadSeq {
			last.Seq = max(last.Seq, h.HeadSeq)
			return last, nil
		}
		r = client.Range{After: last.Seq, Limit: 200}
	}
}

// farBack is where more than a page of history begins.
func (cmd *tailCmd) farBack(c *call, conn *client.Client) (client.Range, error) {
	h, err := conn.History(c, cmd.Conversation, client.Range{Limit: 1})
	if err != nil || h.HeadSeq <= uint64(cmd.Lines) {
		return client.Range{FromStart: true, Limit: 200}, err
	}
	return client.Range{After: h.HeadSeq - uint64(cmd.Lines), Limit: 200}, nil
}

// follow prints what comes.
func (cmd *tailCmd) follow(c *call, conn *client.Client, last terminal.Last) error {
	context.AfterFunc(c, func() { _ = conn.Close() })
	down := false
	for ev := range conn.Events() {
		var err error
		switch ev := ev.(type) {
		case client.Entry:
			if !cmd.All && (ev.ConversationID != cmd.Conversation || !last.Next(ev, conn.UserID())) {
				continue
			}
			if err = cmd.entry(c, ev); err == nil && !cmd.All && ev.Type == client.TypeLeave && ev.UserID == conn.UserID() {
				return fmt.Errorf("%s is not a member of %s any more", conn.UserID(), cmd.Conversation)
			}
		case client.Status:
			down, err = cmd.status(c, ev, down)
		default:
			if gap, ok := ev.(client.Gap); ok && gap.ConversationID == cmd.Conversation {
				last = terminal.Last{}
			}
			err = cmd.other(c, ev)
		}
		if err != nil {
			return err
		}
	}
	return conn.Err()
}

// entry prints an entry.
func (cmd *tailCmd) entry(c *call, e client.Entry) error {
	if cmd.JSON {
		if cmd.others() {
			return printSafe(c.stdout, kinded{Kind: "entry", Entry: terminal.Wire(e)})
		}
		return printSafe(c.stdout, e)
	}
	conversation := ""
	if cmd.All {
		conversation = "[" + terminal.Line(e.ConversationID) + "] "
	}
	_, err := fmt.Fprintf(c.stdout, "%s%s\n", conversation, terminal.EntryLine(e, time.Local))
	return err
}

// others tells whether anything but entries is wanted.
func (cmd *tailCmd) others() bool {
	return cmd.Typing || cmd.Presence || cmd.Receipts || cmd.Notifications
}

// kinded is a line of JSON where there are several kinds: one of the fields,
// of terminal.Wire.
type kinded struct {
	Kind         string `json:"kind"`
	Entry        any    `json:"entry,omitempty"`
	Typing       any    `json:"typing,omitempty"`
	Presence     any    `json:"presence,omitempty"`
	Receipt      any    `json:"receipt,omitempty"`
	Notification any    `json:"notification,omitempty"`
}

// other prints what is no entry, if it is wanted. What the server has against
// the client is for the person.
func (cmd *tailCmd) other(c *call, ev client.Event) error {
	var k kinded
	mine := func(conversation string) bool { return cmd.All || conversation == cmd.Conversation }
	switch ev := ev.(type) {
	case client.Typing:
		if cmd.Typing && mine(ev.ConversationID) {
			k = kinded{Kind: "typing", Typing: terminal.Wire(ev)}
		}
	case client.Presence:
		if cmd.Presence {
			k = kinded{Kind: "presence", Presence: terminal.Wire(ev)}
		}
	case client.Receipt:
		if cmd.Receipts && mine(ev.ConversationID) {
			k = kinded{Kind: "receipt", Receipt: terminal.Wire(ev)}
		}
	case client.Notification:
		if cmd.Notifications {
			k = kinded{Kind: "notification", Notification: terminal.Wire(ev)}
		}
	case client.Gap:
		if !mine(ev.ConversationID) && (ev.ConversationID != "" || !cmd.Notifications) {
			return nil
		}
		_, err := fmt.Fprintf(c.stderr, "parley: %s\n", terminal.EventLine(ev))
		return err
	case client.Problem:
		_, err := fmt.Fprintf(c.stderr, "parley: %s\n", terminal.EventLine(ev))
		return err
	}
	if k.Kind == "" {
		return nil
	}
	if cmd.JSON {
		return printSafe(c.stdout, k)
	}
	_, err := fmt.Fprintln(c.stdout, terminal.EventLine(ev))
	return err
}

// status tells the person, once, that the link is down and that it is back.
func (cmd *tailCmd) status(c *call, s client.Status, down bool) (bool, error) {
	switch {
	case s.State == client.StateOffline && !down:
		why := "the connection is lost"
		if s.Err != nil {
			why = terminal.Line(s.Err.Message)
		}
		_, err := fmt.Fprintf(c.stderr, "parley: %s; trying again\n", why)
		return true, err
	case s.State == client.StateOnline && down:
		_, err := fmt.Fprintln(c.stderr, "parley: connected again")
		return false, err
	}
	return down, nil
}
