package terminal

import (
	"crypto/rand"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-mqtt/parley/client"
)

// quick are the reactions of one key.
var quick = []string{"👍", "❤️", "😂", "🎉", "😮", "😢"}

// key takes a key.
func (m *Model) key(msg tea.KeyPressMsg) tea.Cmd {
	m.flash = ""
	name := msg.String()
	switch name {
	case "ctrl+c":
		return tea.Quit
	case "tab", "ctrl+k":
		if m.overlay != nil && m.overlay.pick != nil {
			m.overlay = nil
			return nil
		}
		m.openSwitcher()
		return nil
	}
	if m.overlay != nil {
		return m.overlayKey(msg, name)
	}
	r := m.room()
	if r != nil && r.picked > 0 {
		if cmd, ok := m.pickedKey(r, name); ok {
			return cmd
		}
	}
	switch name {
	case "enter":
		return m.submit()
	case "alt+enter", "shift+enter", "ctrl+j":
		m.input.InsertString("\n")
		return nil
	case "ctrl+d":
		if m.input.Value() == "" {
			return tea.Quit
		}
	case "ctrl+n":
		return m.nextUnread()
	}
	if r != nil && m.scrollKey(r, name) {
		return nil
	}
	return m.edit(msg)
}

// scrollKey moves through the room.
func (m *Model) scrollKey(r *room, name string) bool {
	page := max(m.roomHeight()-2, 1)
	switch name {
	case "pgup":
		r.scroll += page
	case "pgdown":
		r.scroll -= page
	case "ctrl+home":
		r.scroll = len(m.lines)
	case "ctrl+end":
		r.scroll = 0
	case "up":
		if m.input.Value() != "" {
			return false
		}
		m.pick(r, -1)
	case "esc":
		switch {
		case r.replyTo > 0:
			r.replyTo = 0
		case r.editing > 0:
			r.editing = 0
			m.input.Reset()
		default:
			r.scroll = 0
		}
	default:
		return false
	}
	if r.scroll = max(r.scroll, 0); r.scroll == 0 {
		r.fresh = 0
	}
	return true
}

// pick moves the selection to the message before or behind. Behind the last
// one there is none.
func (m *Model) pick(r *room, by int) {
	i := len(r.msgs)
	if at, ok := r.index(r.picked); ok && r.picked > 0 {
		i = at
	}
	for i += by; i >= 0 && i < len(r.msgs); i += by {
		if r.msgs[i].notice == "" {
			r.picked = r.msgs[i].Seq
			return
		}
	}
	if by > 0 {
		r.picked = 0
	}
}

// pickedKey is what a key does with the message that is selected.
func (m *Model) pickedKey(r *room, name string) (tea.Cmd, bool) {
	target := r.find(r.picked)
	if target == nil {
		r.picked = 0
		return nil, false
	}
	switch name {
	case "up", "k":
		m.pick(r, -1)
	case "down", "j":
		m.pick(r, 1)
	case "esc", "q":
		r.picked = 0
	case "r", "enter":
		r.replyTo, r.editing, r.picked = target.Seq, 0, 0
	case "e":
		m.startEdit(r, target)
	case "d":
		m.input.SetValue("/delete " + number(target.Seq))
		r.picked = 0
		m.say(false, "Enter deletes it for everybody, Esc does not")
	case "+":
		m.input.SetValue("/react " + number(target.Seq) + " ")
		r.picked = 0
	case "1", "2", "3", "4", "5", "6":
		emoji := quick[name[0]-'1']
		r.picked = 0
		return m.react(r, target, emoji), true
	case "pgup", "pgdown", "ctrl+home", "ctrl+end":
		r.picked = 0
		return nil, false
	}
	return nil, true // no other key writes while something is selected
}

// react reacts, or takes back what the user said with the same emoji.
func (m *Model) react(r *room, target *message, emoji string) tea.Cmd {
	remove := slices.ContainsFunc(target.Reactions, func(re client.Reaction) bool {
		return re.Emoji == emoji && slices.Contains(re.UserIDs, m.me)
	})
	return m.doReact(r.ID, target.Seq, emoji, remove)
}

func (m *Model) startEdit(r *room, target *message) {
	r.picked = 0
	if target.Deleted || target.SenderID != m.me {
		m.say(true, "only your own messages can be edited here")
		return
	}
	r.editing, r.replyTo = target.Seq, 0
	m.input.SetValue(target.Content)
}

// edit gives a key to the input, and tells the others that the user types.
func (m *Model) edit(msg tea.Msg) tea.Cmd {
	before := m.input.Value()
	var cmd tea.Cmd
	m.input, cmd = m.input.Update(msg)
	after := m.input.Value()
	if after == before {
		return cmd
	}
	types := after != "" && !strings.HasPrefix(after, "/")
	if r := m.room(); r != nil && (types || after == "") {
		id := r.ID
		return tea.Batch(cmd, func() tea.Msg {
			m.backend.Typing(id, types)
			return nil
		})
	}
	return cmd
}

// submit sends what is in the input, or does what it says.
func (m *Model) submit() tea.Cmd {
	text := strings.TrimSpace(m.input.Value())
	r := m.room()
	if text == "" {
		return nil
	}
	if command, ok := strings.CutPrefix(text, "/"); ok && !strings.HasPrefix(command, "/") {
		m.input.Reset()
		return m.command(command)
	}
	text = strings.TrimPrefix(text, "/") // "//x" is "/x"
	switch {
	case r == nil:
		m.say(true, "no conversation is open: /join or /new")
		return nil
	case r.gone:
		m.say(true, "you are not a member of this conversation any more")
		return nil
	}
	m.input.Reset()
	if target := r.editing; target > 0 {
		r.editing = 0
		return m.doEdit(r.ID, target, text)
	}
	reply := r.replyTo
	r.replyTo = 0
	return m.post(r, client.Draft{Content: text, ReplyTo: reply})
}

// post puts a message behind those that wait.
func (m *Model) post(r *room, d client.Draft) tea.Cmd {
	d.ClientID = rand.Text()
	d.Mentions = m.mentions(r, d.Content)
	r.pending = append(r.pending, &pending{draft: d})
	r.scroll, r.fresh, r.newFrom = 0, 0, 0
	return m.sendNext(r)
}

// mentions are the members that a text names with an @.
func (m *Model) mentions(r *room, text string) []string {
	var users []string
	for word := range strings.FieldsSeq(text) {
		name, ok := strings.CutPrefix(word, "@")
		name = strings.TrimRight(name, ".,:;!?)")
		if ok && !slices.Contains(users, name) &&
			slices.ContainsFunc(r.Members, func(u client.Member) bool { return u.UserID == name }) && len(users) < 50 {
			users = append(users, name)
		}
	}
	return users
}

// nextUnread goes to the next conversation with something unread.
func (m *Model) nextUnread() tea.Cmd {
	for _, id := range m.order {
		if id != m.current && m.rooms[id].Unread > 0 {
			return m.open(id)
		}
	}
	m.say(false, "nothing is unread")
	return nil
}
