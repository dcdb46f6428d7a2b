package terminal

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-mqtt/parley/client"
)

// overlay lies over the messages: text, or a list to pick from.
type overlay struct {
	title  string
	lines  []string
	scroll int
	pick   func() []choice // nil: it is text
	filter string
	at     int
}

// choice is a line of a list.
type choice struct{ id, text string }

func (m *Model) openSwitcher() {
	m.overlay = &overlay{title: "Conversations", pick: m.choices}
}

// choices are the conversations that the filter leaves.
func (m *Model) choices() []choice {
	var all []choice
	for _, id := range m.order {
		r := m.rooms[id]
		if f := strings.ToLower(m.overlay.filter); f != "" &&
			!strings.Contains(strings.ToLower(r.title()+" "+r.ID), f) {
			continue
		}
		text := r.title()
		if r.title() != Line(r.ID) && r.PeerID == "" {
			text += "  (" + Line(r.ID) + ")"
		}
		if r.Unread > 0 {
			text += fmt.Sprintf("  ● %d", r.Unread)
		}
		if id == m.current {
			text += "  ← here"
		}
		all = append(all, choice{id, text})
	}
	return all
}

// overlayKey takes a key while an overlay is there.
func (m *Model) overlayKey(msg tea.KeyPressMsg, name string) tea.Cmd {
	o := m.overlay
	if o.pick == nil {
		switch name {
		case "up", "k":
			o.scroll--
		case "down", "j":
			o.scroll++
		case "pgup":
			o.scroll -= m.roomHeight()
		case "pgdown", "space":
			o.scroll += m.roomHeight()
		default:
			m.overlay = nil
		}
		return nil
	}
	list := o.pick()
	switch name {
	case "esc":
		m.overlay = nil
	case "up", "ctrl+p":
		o.at--
	case "down", "ctrl+n":
		o.at++
	case "backspace":
		if runes := []rune(o.filter); len(runes) > 0 {
			o.filter, o.at = string(runes[:len(runes)-1]), 0
		}
	case "enter":
		m.overlay = nil
		if o.at < len(list) {
			return m.open(list[o.at].id)
		}
		if o.filter != "" {
			return m.join(o.filter)
		}
	default:
		if msg.Text != "" {
			o.filter, o.at = o.filter+msg.Text, 0
		}
	}
	if m.overlay != nil {
		o.at = min(max(o.at, 0), max(len(o.pick())-1, 0))
	}
	return nil
}

// memberList shows who is in a conversation.
func (m *Model) memberList(r *room) *overlay {
	o := &overlay{title: "Members of " + r.title()}
	for _, u := range r.Members {
		text := fmt.Sprintf("%s %s", m.dot(u.UserID), Line(u.UserID))
		if u.Role != client.RoleMember {
			text += "  " + u.Role
		}
		if read := r.reads[u.UserID]; read > 0 {
			text += fmt.Sprintf("  has read up to #%d", read)
		}
		o.lines = append(o.lines, text)
	}
	if r.MemberCount > len(r.Members) {
		o.lines = append(o.lines, fmt.Sprintf("… %d in all", r.MemberCount))
	}
	return o
}
