package terminal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/textarea"
	tea "charm.land/bubbletea/v2"

	"github.com/parley-mqtt/parley/client"
)

// Model is the chat: what bubbletea updates and shows.
type Model struct {
	ctx     context.Context
	backend Backend
	me      string
	now     func() time.Time
	zone    *time.Location

	rooms    map[string]*room
	order    []string // ids, newest activity first
	current  string
	presence map[string]string
	inbox    int // unread notifications
	status   client.Status
	wasUp    bool

	input   textarea.Model
	overlay *overlay
	flash   string // one line for the person, until the next key
	bad     bool   // it is an error
	width   int
	height  int
	focused bool
	theme   theme
	ticking bool
	lines   []string // of the room, as they are drawn
	ends    map[uint64]int
	failed  error // why it ended by itself
}

// NewModel makes a chat that begins with a conversation.
func NewModel(ctx context.Context, b Backend, conversation string) *Model {
	in := textarea.New()
	in.ShowLineNumbers = false
	in.Prompt = "› "
	in.Placeholder = "Write a message, or /help"
	in.DynamicHeight, in.MinHeight, in.MaxHeight = true, 1, 6
	in.MaxContentHeight = 400
	in.SetVirtualCursor(false)
	in.SetHeight(1)
	in.Focus()
	m := &Model{ctx: ctx, backend: b, me: b.UserID(), now: time.Now, zone: time.Local,
		rooms: map[string]*room{}, current: conversation, presence: map[string]string{},
		status: b.Status(), input: in, width: 80, height: 24, focused: true}
	m.setTheme(true)
	return m
}

// Init begins to load and to listen.
func (m *Model) Init() tea.Cmd {
	cmds := []tea.Cmd{tea.RequestBackgroundColor, m.wait(), m.askList()}
	if m.current != "" {
		cmds = append(cmds, m.askRoom(m.current, true))
	}
	return tea.Batch(cmds...)
}

// room is the one that is shown, or nil.
func (m *Model) room() *room { return m.rooms[m.current] }

// Update takes what happens.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.BackgroundColorMsg:
		m.setTheme(msg.IsDark())
	case tea.FocusMsg:
		m.focused = true
	case tea.BlurMsg:
		m.focused = false
	case tea.KeyPressMsg:
		cmd = m.key(msg)
	case tea.PasteMsg:
		msg.Content = strings.ReplaceAll(msg.Content, "\r", "\n")
		cmd = m.edit(msg)
	case eventsMsg:
		cmds := []tea.Cmd{m.wait()}
		for _, ev := range msg {
			cmds = append(cmds, m.event(ev))
		}
		cmd = tea.Batch(cmds...)
	case closedMsg:
		m.failed = msg.err
		return m, tea.Quit
	case tickMsg:
		m.ticking = false
	default:
		cmd = m.answer(msg)
	}
	m.layout()
	return m, tea.Batch(cmd, m.more(), m.markRead(), m.tick())
}

// answer takes what the backend answers.
func (m *Model) answer(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case listMsg:
		return m.listed(msg)
	case roomMsg:
		return m.opened(msg)
	case loadedMsg:
		return m.loaded(msg)
	case sentMsg:
		return m.sent(msg)
	case markedMsg:
		if r := m.rooms[msg.room]; r != nil {
			r.marking = false
		}
	case foundMsg:
		m.found(msg)
	case doneMsg:
		if msg.err != nil {
			m.say(true, explain(msg.err))
		} else if msg.text != "" {
			m.say(false, msg.text)
		}
	}
	return nil
}

// say shows a line to the person.
func (m *Model) say(bad bool, text string) { m.bad, m.flash = bad, Line(text) }

// explain is an error in the words of a person.
func explain(err error) string {
	var e *client.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer from the server"
	case errors.As(err, &e) && e.Message != "":
		return e.Message
	}
	return err.Error()
}

func (m *Model) listed(msg listMsg) tea.Cmd {
	if msg.err != nil {
		m.say(true, "the list of conversations: "+explain(msg.err))
		return nil
	}
	for _, c := range msg.items {
		r := m.rooms[c.ID]
		if r == nil {
			r = newRoom(c)
			m.rooms[c.ID] = r
		} else {
			c.Members, c.FirstSeq, c.PeerID = r.Members, r.FirstSeq, orElse(c.PeerID, r.PeerID)
			r.Conversation = c
		}
		if !slices.Contains(m.order, c.ID) {
			m.order = append(m.order, c.ID)
		}
	}
	if m.current == "" && len(m.order) > 0 {
		return m.open(m.order[0])
	}
	if m.current == "" {
		m.say(false, "You have no conversations yet: /new lunch bob carol")
	}
	return nil
}

// open shows a conversation, once it is known.
func (m *Model) open(id string) tea.Cmd {
	if old := m.room(); old != nil {
		old.draft = m.input.Value()
	}
	r := m.rooms[id]
	if r == nil {
		return m.askRoom(id, true)
	}
	m.current = id
	m.input.SetValue(r.draft)
	r.fresh = 0
	r.begin()
	cmds := []tea.Cmd{m.askRoom(id, false)}
	if !r.loaded {
		cmds = append(cmds, m.askPage(r, false))
	}
	return tea.Batch(cmds...)
}

func (m *Model) opened(msg roomMsg) tea.Cmd {
	if msg.err != nil {
		switch {
		case errors.Is(msg.err, client.ErrNotFound):
			m.say(true, "there is no conversation "+msg.id+"; /new "+msg.id+" makes it")
		case msg.open || msg.id == m.current:
			m.say(true, msg.id+": "+explain(msg.err))
		}
		return nil
	}
	r := m.rooms[msg.id]
	if r == nil {
		r = newRoom(msg.conv)
		m.rooms[msg.id] = r
		m.order = append([]string{msg.id}, m.order...)
	}
	if msg.conv.Direct && r.PeerID == "" { // the list alone says it
		for _, u := range msg.conv.Members {
			if u.UserID != m.me {
				r.PeerID = u.UserID
			}
		}
	}
	r.Members, r.Name, r.OwnerID, r.gone = msg.conv.Members, msg.conv.Name, msg.conv.OwnerID, false
	for _, rc := range msg.receipts {
		r.reads[rc.UserID] = max(r.reads[rc.UserID], rc.Read)
		if rc.UserID == m.me {
			r.ReadSeq = max(r.ReadSeq, rc.Read)
		}
	}
	if msg.open {
		if m.current != msg.id {
			if old := m.room(); old != nil {
				old.draft = m.input.Value()
			}
			m.input.SetValue(r.draft)
		}
		m.current = msg.id
		r.begin()
		if !r.loaded {
			return m.askPage(r, false)
		}
	}
	return nil
}

func (m *Model) loaded(msg loadedMsg) tea.Cmd {
	r := m.rooms[msg.room]
	if r == nil {
		return nil
	}
	if msg.err != nil {
		r.loading = false
		m.say(true, explain(msg.err))
		return nil
	}
	r.load(msg.page, msg.asked, msg.older)
	return nil
}

// sent takes what became of a message.
func (m *Model) sent(msg sentMsg) tea.Cmd {
	r := m.rooms[msg.room]
	if r == nil {
		return nil
	}
	for i, p := range r.pending {
		if p.draft.ClientID != msg.clientID {
			continue
		}
		p.sending = false
		if msg.err != nil {
			p.failed = explain(msg.err)
			break
		}
		// It stands; its entry comes by itself, in its order.
		if p.seq = msg.sent.Seq; r.loaded && p.seq <= r.head {
			r.pending = slices.Delete(r.pending, i, i+1)
		}
		break
	}
	return m.sendNext(r)
}

// more loads older messages when what is shown comes near their beginning.
func (m *Model) more() tea.Cmd {
	r := m.room()
	if r == nil || !r.loaded || r.atStart || r.loading {
		return nil
	}
	if len(m.lines)-r.scroll-m.roomHeight() < m.roomHeight()/2 {
		return m.askPage(r, true)
	}
	return nil
}

// tick wakes the screen while something on it changes with time.
func (m *Model) tick() tea.Cmd {
	r := m.room()
	counting := m.status.State == client.StateOffline
	if m.ticking || !counting && (r == nil || len(r.typers(m.now())) == 0) {
		return nil
	}
	m.ticking = true
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg{} })
}

// typingShown is how long a word of typing is shown, if no other comes.
const typingShown = 7 * time.Second

// event takes what happens elsewhere.
func (m *Model) event(ev client.Event) tea.Cmd {
	switch ev := ev.(type) {
	case client.Entry:
		return m.entry(ev)
	case client.Status:
		return m.linked(ev)
	case client.Typing:
		if r := m.rooms[ev.ConversationID]; r != nil && ev.Typing {
			r.typing[ev.UserID] = m.now().Add(typingShown)
		} else if r != nil {
			delete(r.typing, ev.UserID)
		}
	case client.Receipt:
		if r := m.rooms[ev.ConversationID]; r != nil {
			r.reads[ev.UserID] = max(r.reads[ev.UserID], ev.Read)
			if ev.UserID == m.me && ev.Read > r.ReadSeq { // on another device, too
				r.ReadSeq = ev.Read
				if ev.Read >= r.HeadSeq {
					r.Unread = 0
				}
			}
		}
	case client.Presence:
		m.presence[ev.UserID] = ev.Status
	case client.Unread:
		m.inbox = ev.UnreadCount
	case client.Gap:
		if r := m.rooms[ev.ConversationID]; r != nil {
			r.unload()
			if ev.ConversationID == m.current {
				return m.askPage(r, false)
			}
		}
	case client.Problem:
		m.say(true, explain(ev.Err))
	}
	return nil
}

// linked takes a change of the link. What is not events is asked for anew
// when it is back.
func (m *Model) linked(s client.Status) tea.Cmd {
	m.status = s
	if s.State != client.StateOnline {
		return nil
	}
	if !m.wasUp {
		m.wasUp = true
		return nil
	}
	cmds := []tea.Cmd{m.askList()}
	if r := m.room(); r != nil {
		cmds = append(cmds, m.askRoom(r.ID, false))
		if !r.loaded {
			cmds = append(cmds, m.askPage(r, false))
		}
	}
	return tea.Batch(cmds...)
}

// entry takes an entry of any conversation.
func (m *Model) entry(e client.Entry) tea.Cmd {
	r := m.rooms[e.ConversationID]
	if r == nil {
		if e.Type == client.TypeLeave && e.UserID == m.me {
			return nil
		}
		return tea.Batch(m.askRoom(e.ConversationID, false), m.askList()) // new to the user; the list counts what is unread
	}
	m.raise(e.ConversationID)
	shown := e.ConversationID == m.current
	atEnd := r.scroll == 0
	fresh := r.apply(e, m.me)
	if fresh && !atEnd {
		r.fresh++
		r.scroll += len(m.draw(r, r.find(e.Seq), ""))
	}
	var cmds []tea.Cmd
	switch e.Type {
	case client.TypeMessage:
		if e.SenderID != m.me {
			if !shown || !m.focused || !atEnd {
				r.Unread++
			}
			if !m.focused && (slices.Contains(e.Mentions, m.me) || r.PeerID != "") {
				cmds = append(cmds, tea.Raw("\a"))
			}
		} else {
			r.ReadSeq = max(r.ReadSeq, e.Seq)
		}
	case client.TypeLeave:
		if e.UserID == m.me {
			r.gone = true
			break
		}
		cmds = append(cmds, m.askRoom(r.ID, false))
	case client.TypeJoin:
		cmds = append(cmds, m.askRoom(r.ID, false))
	}
	return tea.Batch(append(cmds, m.sendNext(r))...)
}

// raise puts a conversation first.
func (m *Model) raise(id string) {
	if i := slices.Index(m.order, id); i > 0 {
		m.order = append([]string{id}, slices.Delete(m.order, i, i+1)...)
	}
}
