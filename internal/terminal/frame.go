package terminal

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/parley-mqtt/parley/client"
)

// frame is the whole screen, exactly as high and at most as wide.
func (m *Model) frame() string {
	lines := m.above()
	lines = append(lines, m.middle()...)
	lines = append(lines, m.below()...)
	if len(lines) > m.height { // a very low one: the input stays
		lines = lines[len(lines)-m.height:]
	}
	side := m.sidebar(len(lines))
	for i, line := range lines {
		if line = cut(line, m.roomWidth(), ""); side != nil {
			line = side[i] + line
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

// above is the head of the room, and what is wrong with the link.
func (m *Model) above() []string {
	if m.height < 5 {
		return nil
	}
	lines := []string{m.head()}
	if banner := m.banner(); banner != "" {
		lines = append(lines, banner)
	}
	return lines
}

func (m *Model) head() string {
	w := m.roomWidth()
	left := " Parley"
	if r := m.room(); r != nil {
		left = " " + r.title()
		var people []string
		for _, u := range r.Members {
			if u.UserID != m.me {
				people = append(people, plainDot(m.presence[u.UserID])+" "+Line(u.UserID))
			}
		}
		if len(people) > 0 {
			left += "   " + strings.Join(people, "  ")
		}
	}
	var right string
	if n := m.elsewhere(); n > 0 {
		right = fmt.Sprintf("%d unread elsewhere ", n)
		if w < 50 {
			right = fmt.Sprintf("+%d ", n)
		}
	}
	if m.inbox > 0 {
		right = fmt.Sprintf("🔔 %d  %s", m.inbox, right)
	}
	left = cut(left, max(w-width(right)-1, 1), "…")
	space := max(w-width(left)-width(right), 0)
	return m.theme.bar.Render(left + strings.Repeat(" ", space) + right)
}

func plainDot(status string) string {
	switch status {
	case client.Online:
		return "●"
	case client.Away:
		return "◐"
	}
	return "○"
}

// elsewhere is how many messages are unread in other conversations.
func (m *Model) elsewhere() uint64 {
	var n uint64
	for id, r := range m.rooms {
		if id != m.current {
			n += r.Unread
		}
	}
	return n
}

// banner says what is wrong with the link.
func (m *Model) banner() string {
	var text string
	switch s := m.status; s.State {
	case client.StateOnline:
		return ""
	case client.StateSyncing:
		if !m.wasUp {
			return ""
		}
		text = "fetching what you missed …"
	case client.StateOffline:
		text = "no connection"
		if s.Err != nil {
			text += ": " + Line(s.Err.Message)
		}
		if wait := s.RetryAt.Sub(m.now()).Round(time.Second); wait > 0 {
			text += fmt.Sprintf(" — again in %v", wait)
		}
	default:
		text = "connecting …"
	}
	return m.theme.bad.Reverse(true).Render(m.fit(" " + text + " "))
}

// middle is the messages, or what lies over them.
func (m *Model) middle() []string {
	h := m.roomHeight()
	if m.overlay != nil {
		return pad(m.drawOverlay(h), h, false)
	}
	r := m.room()
	if r == nil {
		return pad(nil, h, false)
	}
	end := max(len(m.lines)-r.scroll, 0)
	begin := max(end-h, 0)
	lines := append([]string(nil), m.lines[begin:end]...)
	if !r.loaded && len(lines) == 0 {
		lines = []string{m.theme.faint.Render("  loading …")}
	}
	return pad(lines, h, true)
}

// pad fills lines up to a height, on top or below.
func pad(lines []string, h int, onTop bool) []string {
	if len(lines) > h {
		return lines[len(lines)-h:]
	}
	empty := make([]string, h-len(lines))
	if onTop {
		return append(empty, lines...)
	}
	return append(lines, empty...)
}

// below is the line of who types, what the input is about, the input, and a
// line of help.
func (m *Model) below() []string {
	lines := m.aboutInput()
	lines = append(lines, strings.Split(m.input.View(), "\n")...)
	if m.height >= 12 {
		lines = append(lines, m.hints())
	}
	return lines
}

// inputAt is how many lines stand between the messages and the input.
func (m *Model) inputAt() int { return len(m.aboutInput()) }

func (m *Model) aboutInput() []string {
	r := m.room()
	lines := []string{m.typingLine(r)}
	if r == nil {
		return lines
	}
	switch {
	case r.editing > 0:
		lines = append(lines, m.theme.mark.Render(m.fit(fmt.Sprintf(" editing #%d — Esc leaves it as it is", r.editing))))
	case r.replyTo > 0:
		lines = append(lines, m.theme.mark.Render(m.fit(fmt.Sprintf(" answering #%d %s — Esc does not", r.replyTo, r.quote(r.replyTo)))))
	}
	return lines
}

// typingLine says what passes: an answer to a command, new messages below, who
// types.
func (m *Model) typingLine(r *room) string {
	switch {
	case m.flash != "" && m.bad:
		return m.theme.bad.Render(m.fit(" " + m.flash))
	case m.flash != "":
		return m.theme.mark.Render(m.fit(" " + m.flash))
	case r == nil:
		return ""
	case r.gone:
		return m.theme.bad.Render(m.fit(" You are not a member of this conversation any more."))
	case r.scroll > 0 && r.fresh > 0:
		return m.theme.mark.Render(m.fit(fmt.Sprintf(" ↓ %d new — Esc goes there", r.fresh)))
	}
	users := r.typers(m.now())
	switch len(users) {
	case 0:
		return ""
	case 1:
		return m.theme.faint.Render(m.fit(" " + users[0] + " is typing …"))
	case 2, 3:
		return m.theme.faint.Render(m.fit(" " + strings.Join(users, ", ") + " are typing …"))
	}
	return m.theme.faint.Render(m.fit(fmt.Sprintf(" %d are typing …", len(users))))
}

func (m *Model) hints() string {
	text := " Enter send · ↑ select · Tab conversations · PgUp history · /help · Ctrl+C quit"
	if r := m.room(); r != nil && r.picked > 0 {
		text = " r reply · e edit · d delete · 1-6 " + strings.Join(quick, "") + " · + other · Esc leave"
	} else if m.overlay != nil && m.overlay.pick != nil {
		text = " type to filter · ↑↓ Enter open · Esc leave"
	} else if m.overlay != nil {
		text = " ↑↓ scroll · Esc leave"
	}
	return m.theme.faint.Render(m.fit(text))
}

// drawOverlay draws what lies over the messages.
func (m *Model) drawOverlay(h int) []string {
	o := m.overlay
	lines := []string{m.rule(o.title, m.theme.bold)}
	if o.pick == nil {
		var text []string
		for _, line := range o.lines {
			text = append(text, wrap(line, max(m.roomWidth()-4, 4))...)
		}
		o.scroll = min(max(o.scroll, 0), max(len(text)-h+1, 0))
		for _, line := range text[o.scroll:min(o.scroll+h-1, len(text))] {
			lines = append(lines, "  "+line)
		}
		return lines
	}
	list := o.pick()
	if o.filter != "" {
		lines = append(lines, "  "+m.theme.mark.Render(Line(o.filter)))
	}
	if len(list) == 0 {
		return append(lines, m.theme.faint.Render("  none; Enter tries to open it"))
	}
	first := max(0, o.at-(h-len(lines))+1)
	for i := first; i < len(list) && len(lines) < h; i++ {
		line := m.fit("  " + list[i].text)
		if i == o.at {
			line = m.theme.hit.Render(line)
		}
		lines = append(lines, line)
	}
	return lines
}

// sidebar is the list of conversations on wide screens, a line for each line.
func (m *Model) sidebar(h int) []string {
	w := m.side()
	if w == 0 {
		return nil
	}
	lines := make([]string, h)
	line := func(text string, style lipgloss.Style) string {
		return style.Render(fill(text, w-2)) + m.theme.faint.Render("│") + " "
	}
	for i := range lines {
		switch {
		case i == 0:
			lines[i] = line(" "+Line(m.me), m.theme.own)
		case i-1 < len(m.order):
			r := m.rooms[m.order[i-1]]
			text, style := "  "+r.title(), lipgloss.NewStyle()
			if r.PeerID != "" {
				text = " " + plainDot(m.presence[r.PeerID]) + r.title()
			}
			if r.Unread > 0 {
				text, style = fmt.Sprintf("%s  %d", cut(text, w-9, "…"), r.Unread), m.theme.mark
			}
			if r.ID == m.current {
				style = m.theme.bar
			}
			lines[i] = line(text, style)
		default:
			lines[i] = line("", lipgloss.NewStyle())
		}
	}
	return lines
}
