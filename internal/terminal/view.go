package terminal

import (
	"fmt"
	"hash/fnv"
	"image/color"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/parley-mqtt/parley/client"
)

// theme is what text looks like on a dark or a light terminal.
type theme struct {
	dark                                        bool
	faint, own, bad, good, bar, mark, hit, bold lipgloss.Style
	names                                       []lipgloss.Style
}

func (m *Model) setTheme(dark bool) {
	pick := lipgloss.LightDark(dark)
	c := func(light, dark string) color.Color { return pick(lipgloss.Color(light), lipgloss.Color(dark)) }
	s := lipgloss.NewStyle
	t := theme{dark: dark,
		faint: s().Foreground(c("#6b7280", "#8b93a1")),
		own:   s().Bold(true).Foreground(c("#1d4ed8", "#7aa2f7")),
		bad:   s().Foreground(c("#b91c1c", "#f7768e")),
		good:  s().Foreground(c("#15803d", "#9ece6a")),
		bar:   s().Foreground(c("#111827", "#e5e7eb")).Background(c("#e5e7eb", "#2a2f3d")),
		mark:  s().Bold(true).Foreground(c("#b45309", "#e0af68")),
		hit:   s().Reverse(true),
		bold:  s().Bold(true),
	}
	for _, n := range [][2]string{{"#be185d", "#ff75a0"}, {"#0f766e", "#4fd6be"}, {"#7c3aed", "#bb9af7"},
		{"#b45309", "#ffc777"}, {"#0369a1", "#7dcfff"}, {"#4d7c0f", "#c3e88d"}} {
		t.names = append(t.names, s().Bold(true).Foreground(c(n[0], n[1])))
	}
	m.theme = t
	styles := m.input.Styles()
	styles.Focused.Base, styles.Focused.Text, styles.Focused.CursorLine = s(), s(), s()
	styles.Focused.Prompt, styles.Focused.Placeholder = t.own, t.faint
	m.input.SetStyles(styles)
	for _, r := range m.rooms {
		for _, msg := range r.msgs {
			msg.drawn = drawn{}
		}
	}
}

// name is a user's id in a color of its own.
func (m *Model) name(user string) string {
	if user == m.me {
		return m.theme.own.Render(Line(user))
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(user))
	return m.theme.names[h.Sum32()%uint32(len(m.theme.names))].Render(Line(user))
}

// dot shows how present a user is.
func (m *Model) dot(user string) string {
	switch m.presence[user] {
	case client.Online:
		return m.theme.good.Render("●")
	case client.Away:
		return m.theme.mark.Render("◐")
	}
	return m.theme.faint.Render("○")
}

// side is how wide the list of conversations is; narrow screens have none.
func (m *Model) side() int {
	if m.width < 90 {
		return 0
	}
	return 26
}

func (m *Model) roomWidth() int { return max(m.width-m.side(), 10) }

// roomHeight is how many lines there are for messages.
func (m *Model) roomHeight() int { return max(m.height-len(m.below())-len(m.above()), 1) }

// layout draws the room into lines, and keeps what is scrolled in bounds.
func (m *Model) layout() {
	m.input.SetWidth(m.roomWidth())
	r := m.room()
	m.lines, m.ends = nil, map[uint64]int{}
	if r == nil {
		return
	}
	readers := r.readers(m.me)
	var before *message
	if r.loaded && r.atStart {
		m.lines = append(m.lines, m.theme.faint.Render(m.fit("  This is where it begins.")))
	}
	for _, msg := range r.msgs {
		m.lines = append(m.lines, m.between(r, before, msg)...)
		m.lines = append(m.lines, m.draw(r, msg, m.heads(before, msg)+readers[msg.Seq])...)
		m.ends[msg.Seq] = len(m.lines)
		before = msg
	}
	for _, p := range r.pending {
		m.lines = append(m.lines, m.drawPending(p)...)
	}
	if r.picked > 0 { // in sight
		end := m.ends[r.picked]
		begin := end - len(r.find(r.picked).drawn.lines)
		h := m.roomHeight()
		r.scroll = min(r.scroll, len(m.lines)-end)
		r.scroll = max(r.scroll, len(m.lines)-begin-h)
	}
	r.scroll = min(max(r.scroll, 0), max(len(m.lines)-m.roomHeight(), 0))
}

// heads tells whether a message begins with the name of its sender.
func (m *Model) heads(before, msg *message) string {
	if before == nil || before.notice != "" || before.SenderID != msg.SenderID ||
		msg.CreatedAt.Sub(before.CreatedAt) > 5*time.Minute || m.day(before) != m.day(msg) {
		return headed
	}
	return ""
}

const headed = "\x00"

func (m *Model) day(msg *message) string {
	return msg.CreatedAt.In(m.zone).Format("Monday, 2 January 2006")
}

// between is what stands between two messages: a new day, and where the new
// ones begin.
func (m *Model) between(r *room, before, msg *message) []string {
	var lines []string
	if before == nil || m.day(before) != m.day(msg) {
		lines = append(lines, m.rule(m.day(msg), m.theme.faint))
	}
	if r.newFrom > 0 && msg.Seq > r.newFrom && (before == nil || before.Seq <= r.newFrom) {
		lines = append(lines, m.rule("new", m.theme.mark))
	}
	return lines
}

// rule is a line with a word in its middle.
func (m *Model) rule(text string, style lipgloss.Style) string {
	w := m.roomWidth()
	text = cut(text, max(w-4, 1), "…")
	left := max((w-width(text)-2)/2, 0)
	right := max(w-width(text)-2-left, 0)
	return style.Render(strings.Repeat("─", left) + " " + text + " " + strings.Repeat("─", right))
}

// gutter is how wide the numbers are.
const gutter = 6

// draw draws a message. extra has a mark when its sender is named, and those
// who have read up to it.
func (m *Model) draw(r *room, msg *message, extra string) []string {
	picked := r.picked == msg.Seq
	key := fmt.Sprint(m.roomWidth(), picked, extra)
	if msg.drawn.key == key {
		return msg.drawn.lines
	}
	readers, named := strings.CutPrefix(extra, headed)
	var lines []string
	if msg.notice != "" {
		lines = []string{m.theme.faint.Render(m.fit(strings.Repeat(" ", gutter) + "· " + msg.notice))}
		msg.drawn = drawn{key, lines}
		return lines
	}
	if named {
		lines = append(lines, m.fit(" "+m.name(msg.SenderID)+"  "+m.theme.faint.Render(msg.CreatedAt.In(m.zone).Format("15:04"))))
	}
	num := fmt.Sprintf("%*d ", gutter-1, msg.Seq)
	if picked {
		num = m.theme.hit.Render(fmt.Sprintf("▸%*d ", gutter-2, msg.Seq))
	} else if m.names(msg) {
		num = m.theme.mark.Render(num)
	} else {
		num = m.theme.faint.Render(num)
	}
	for i, line := range m.body(r, msg, readers) {
		if i == 0 {
			lines = append(lines, num+line)
		} else {
			lines = append(lines, strings.Repeat(" ", gutter)+line)
		}
	}
	msg.drawn = drawn{key, lines}
	return lines
}

// names tells whether a message is about the user.
func (m *Model) names(msg *message) bool { return slices.Contains(msg.Mentions, m.me) }

// body is what a message says, wrapped.
func (m *Model) body(r *room, msg *message, readers string) []string {
	w := max(m.roomWidth()-gutter-1, 4)
	var lines []string
	if msg.ReplyTo > 0 {
		lines = append(lines, m.theme.faint.Render(cut("↪ "+r.quote(msg.ReplyTo), w, "…")))
	}
	switch {
	case msg.Deleted:
		lines = append(lines, m.theme.faint.Italic(true).Render("deleted"))
	default:
		if msg.Content != "" {
			lines = append(lines, wrap(Plain(msg.Content), w)...)
		}
		if msg.MediaURL != "" {
			lines = append(lines, wrap("🔗 "+Line(msg.MediaURL), w)...)
		}
	}
	if !msg.EditedAt.IsZero() && !msg.Deleted {
		lines[len(lines)-1] += m.theme.faint.Render(" (edited)")
	}
	var under []string
	for _, re := range msg.Reactions {
		under = append(under, fmt.Sprintf("%s %d", Line(re.Emoji), re.Count))
	}
	if readers != "" {
		under = append(under, m.theme.good.Render("✓")+m.theme.faint.Render(" "+readers))
	}
	if len(under) > 0 {
		lines = append(lines, cut(strings.Join(under, "  "), w, "…"))
	}
	return lines
}

// quote is the beginning of a message that another one answers.
func (r *room) quote(seq uint64) string {
	t := r.find(seq)
	switch {
	case t == nil:
		return "#" + number(seq)
	case t.Deleted:
		return "deleted"
	case t.Content == "":
		return Line(t.SenderID) + ": 🔗"
	}
	return Line(t.SenderID) + ": " + Line(t.Content)
}

func (m *Model) drawPending(p *pending) []string {
	w := max(m.roomWidth()-gutter-1, 4)
	lines := wrap(Plain(orElse(p.draft.Content, p.draft.MediaURL)), w)
	for i := range lines {
		lines[i] = strings.Repeat(" ", gutter) + m.theme.faint.Render(lines[i])
	}
	lines[0] = m.theme.faint.Render(fmt.Sprintf("%*s ", gutter-1, "…")) + lines[0][gutter:]
	if p.failed != "" {
		lines[0] = m.theme.bad.Render(fmt.Sprintf("%*s ", gutter-1, "✗")) + lines[0][strings.Index(lines[0], "… ")+len("… "):]
		lines = append(lines, strings.Repeat(" ", gutter)+m.theme.bad.Render(m.fit("not sent: "+Line(p.failed)+" — /retry or /drop")))
	}
	return lines
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// fit cuts a line to the width of the room.
func (m *Model) fit(line string) string { return cut(line, m.roomWidth(), "…") }

// View shows it all.
func (m *Model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen, v.ReportFocus = true, true
	v.WindowTitle = m.windowTitle()
	if m.overlay == nil {
		if c := m.input.Cursor(); c != nil {
			c.X += m.side()
			c.Y += len(m.above()) + m.roomHeight() + m.inputAt()
			v.Cursor = c
		}
	}
	return v
}

func (m *Model) windowTitle() string {
	title := "Parley"
	if r := m.room(); r != nil {
		title = r.title() + " — Parley"
	}
	if n := m.elsewhere(); n > 0 {
		title = fmt.Sprintf("(%d) %s", n, title)
	}
	return title
}
