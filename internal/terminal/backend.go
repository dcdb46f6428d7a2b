package terminal

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-mqtt/parley/client"
)

// Backend is what a chat needs of a client. *client.Client has it.
type Backend interface {
	UserID() string
	Status() client.Status
	Err() error
	Events() <-chan client.Event
	Send(ctx context.Context, conversation string, d client.Draft) (client.Sent, error)
	Edit(ctx context.Context, conversation string, target uint64, content string) (client.Sent, error)
	Delete(ctx context.Context, conversation string, target uint64) (client.Sent, error)
	React(ctx context.Context, conversation string, target uint64, emoji string, remove bool) (client.Sent, error)
	Typing(conversation string, typing bool)
	MarkRead(ctx context.Context, conversation string, seq uint64) error
	SetPresence(status string) error
	Messages(ctx context.Context, conversation string, r client.Range) (client.History[client.Folded], error)
	Search(ctx context.Context, words, conversation string, o client.ListOptions) (client.Page[client.Entry], error)
	Conversations(ctx context.Context, o client.ListOptions) (client.Page[client.Conversation], error)
	Conversation(ctx context.Context, id string) (client.Conversation, error)
	CreateConversation(ctx context.Context, n client.NewConversation) (client.Conversation, error)
	RenameConversation(ctx context.Context, id, name string) error
	Receipts(ctx context.Context, conversation string) ([]client.Receipt, error)
	AddMember(ctx context.Context, conversation, user, role string) error
	RemoveMember(ctx context.Context, conversation, user string) error
}

// What comes back from the backend.
type (
	eventsMsg []client.Event
	closedMsg struct{ err error }
	tickMsg   struct{}

	// loadedMsg is a page of messages.
	loadedMsg struct {
		room  string
		older bool
		asked int
		page  client.History[client.Folded]
		err   error
	}
	// listMsg is the list of conversations.
	listMsg struct {
		items []client.Conversation
		err   error
	}
	// roomMsg is a conversation with its members and who has read it.
	roomMsg struct {
		id       string
		open     bool // show it
		conv     client.Conversation
		receipts []client.Receipt
		err      error
	}
	// sentMsg is what became of a message.
	sentMsg struct {
		room, clientID string
		sent           client.Sent
		err            error
	}
	markedMsg struct{ room string }
	foundMsg  struct {
		words string
		items []client.Entry
		err   error
	}
	// doneMsg is the end of what a command began; text is for the person.
	doneMsg struct {
		text string
		err  error
	}
)

const (
	pageSize   = 50
	askTimeout = 20 * time.Second
	// mostEvents is how many events are taken at a time.
	mostEvents = 200
	// mostRooms bounds the list of conversations.
	mostRooms = 1000
)

// wait takes the events that are there, at least one.
func (m *Model) wait() tea.Cmd {
	events := m.backend.Events()
	if events == nil {
		return nil
	}
	return func() tea.Msg {
		first, ok := <-events
		if !ok {
			return closedMsg{m.backend.Err()}
		}
		batch := eventsMsg{first}
		for len(batch) < mostEvents {
			select {
			case ev, ok := <-events:
				if !ok {
					return batch // the next wait tells the end
				}
				batch = append(batch, ev)
			default:
				return batch
			}
		}
		return batch
	}
}

// ask runs a question beside the screen.
func (m *Model) ask(f func(ctx context.Context) tea.Msg) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, askTimeout)
		defer cancel()
		return f(ctx)
	}
}

func (m *Model) askList() tea.Cmd {
	return m.ask(func(ctx context.Context) tea.Msg {
		var all []client.Conversation
		o := client.ListOptions{Limit: 200}
		for {
			p, err := m.backend.Conversations(ctx, o)
			if err != nil {
				return listMsg{err: err}
			}
			all = append(all, p.Items...)
			if o.Cursor = p.NextCursor; o.Cursor == "" || len(all) >= mostRooms {
				return listMsg{items: all}
			}
		}
	})
}

// askRoom gets a conversation; open shows it then.
func (m *Model) askRoom(id string, open bool) tea.Cmd {
	return m.ask(func(ctx context.Context) tea.Msg {
		conv, err := m.backend.Conversation(ctx, id)
		if err != nil {
			return roomMsg{id: id, open: open, err: err}
		}
		receipts, err := m.backend.Receipts(ctx, id)
		return roomMsg{id: id, open: open, conv: conv, receipts: receipts, err: err}
	})
}

// askPage gets the newest messages of a room, or those before what is there.
func (m *Model) askPage(r *room, older bool) tea.Cmd {
	if r.loading || r.gone {
		return nil
	}
	r.loading = true
	id, span := r.ID, client.Range{Limit: pageSize}
	if older && len(r.msgs) > 0 {
		span.Before = r.msgs[0].Seq
	}
	return m.ask(func(ctx context.Context) tea.Msg {
		page, err := m.backend.Messages(ctx, id, span)
		return loadedMsg{room: id, older: older, asked: span.Limit, page: page, err: err}
	})
}

// sendNext sends the oldest of what is pending: one after the other, so that
// they keep their order.
func (m *Model) sendNext(r *room) tea.Cmd {
	for _, p := range r.pending {
		if p.sending {
			return nil
		}
	}
	for _, p := range r.pending {
		if p.failed != "" || p.seq > 0 {
			continue
		}
		p.sending = true
		id, d := r.ID, p.draft
		return func() tea.Msg {
			sent, err := m.backend.Send(m.ctx, id, d)
			return sentMsg{room: id, clientID: d.ClientID, sent: sent, err: err}
		}
	}
	return nil
}

// markRead says that what is shown is read, if somebody looks at it.
func (m *Model) markRead() tea.Cmd {
	r := m.room()
	if r == nil || !r.loaded || !m.focused || r.scroll > 0 || r.gone || r.marking || r.head <= max(r.marked, r.ReadSeq) {
		return nil
	}
	r.marking, r.marked, r.Unread = true, r.head, 0
	id, seq := r.ID, r.head
	return m.ask(func(ctx context.Context) tea.Msg {
		_ = m.backend.MarkRead(ctx, id, seq) // the next one says it again
		return markedMsg{id}
	})
}

// do runs a command, and tells how it went.
func (m *Model) do(text string, f func(ctx context.Context) error) tea.Cmd {
	return m.ask(func(ctx context.Context) tea.Msg { return doneMsg{text: text, err: f(ctx)} })
}
