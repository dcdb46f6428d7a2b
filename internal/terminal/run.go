package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-mqtt/parley/client"
)

// Run shows the chat on a terminal until the person quits, or the client ends
// for a reason that it answers.
func Run(ctx context.Context, b Backend, conversation string, in io.Reader, out io.Writer, env []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := NewModel(ctx, b, conversation)
	last, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(env)).Run()
	switch {
	case errors.Is(err, tea.ErrInterrupted), ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	if m, ok := last.(*Model); ok {
		return m.failed
	}
	return nil
}

// linesHistory is how many messages Lines begins with.
const linesHistory = 20

// Lines is the chat where there is no terminal: what comes is a line each, and
// each line that is read is a message. It ends when the input has ended and
// all of it is committed, or at the first message that is refused.
func Lines(ctx context.Context, b Backend, conversation string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h, err := b.Messages(ctx, conversation, client.Range{Limit: linesHistory})
	if err != nil {
		return err
	}
	p := &printer{out: out, me: b.UserID(), conversation: conversation, last: Last{Seq: h.HeadSeq}}
	for _, f := range h.Items {
		p.last.ID = f.ID
		p.print(EntryLine(f.Entry, time.Local))
	}
	var following sync.WaitGroup
	ended := make(chan error, 1)
	following.Go(func() {
		ended <- p.follow(ctx, b)
		cancel() // no message is sent for nobody
	})
	err = sendLines(ctx, b, conversation, in, p)
	cancel()
	following.Wait()
	if err == nil || errors.Is(err, context.Canceled) {
		if why := <-ended; why != nil {
			return why
		}
	}
	return err
}

// printer writes lines, from several goroutines.
type printer struct {
	mu               sync.Mutex
	out              io.Writer
	me, conversation string
	last             Last
	err              error
}

func (p *printer) print(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintln(p.out, line); err != nil && p.err == nil {
		p.err = err
	}
}

// follow prints what comes until ctx or the client ends.
func (p *printer) follow(ctx context.Context, b Backend) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-b.Events():
			if !ok {
				return b.Err()
			}
			if err := p.event(ev); err != nil {
				return err
			}
		}
	}
}

func (p *printer) event(ev client.Event) error {
	switch ev := ev.(type) {
	case client.Entry:
		if ev.ConversationID != p.conversation || !p.last.Next(ev, p.me) {
			return p.err
		}
		p.print(EntryLine(ev, time.Local))
		if ev.Type == client.TypeLeave && ev.UserID == p.me {
			return fmt.Errorf("%s is not a member of %s any more", p.me, p.conversation)
		}
	case client.Gap:
		if ev.ConversationID == p.conversation {
			p.last = Last{}
			p.print("! " + EventLine(ev))
		}
	case client.Problem:
		p.print("! " + EventLine(ev))
	}
	return p.err
}

// sendLines sends what is read, a message a line. Reading cannot be ended by a
// context, so it is on a goroutine of its own, which ends with the process at
// the latest.
func sendLines(ctx context.Context, b Backend, conversation string, in io.Reader, p *printer) error {
	lines, failed := make(chan string), make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(make([]byte, 4096), 64<<10)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		failed <- scanner.Err()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case line := <-lines:
			text := strings.TrimSpace(line)
			switch text {
			case "":
				continue
			case "/quit":
				return nil
			}
			if _, err := b.Send(ctx, conversation, client.Draft{Content: text}); err != nil {
				return fmt.Errorf("not sent: %w", err)
			}
		}
	}
}
