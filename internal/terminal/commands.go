package terminal

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-mqtt/parley/client"
)

// help is what /help shows.
var help = []string{
	"Enter sends, Alt+Enter begins a new line.",
	"Tab or Ctrl+K shows your conversations, Ctrl+N goes to the next unread one.",
	"PgUp and PgDn scroll, Esc goes back to the end. Ctrl+C quits.",
	"",
	"↑ on an empty line selects a message. Then:",
	"  r reply   e edit   d delete   + react   Esc leave",
	"  1-6 👍 ❤️ 😂 🎉 😮 😢",
	"",
	"The number in front of a message is its N:",
	"  /reply N text         answer a message",
	"  /edit [N] [text]      change your last one, or N",
	"  /delete [N]           delete your last one, or N, for everybody",
	"  /react N 👍           react; again takes it back",
	"  /search words         find messages here; /find in all conversations",
	"  /members              who is in here",
	"  /join ID              open a conversation",
	"  /new ID [user …]      make one, with these members",
	"  /dm USER              talk to one user",
	"  /invite USER          add a member       /kick USER  remove one",
	"  /name text            name this conversation       /leave  leave it",
	"  /away /back /invisible    how present you are",
	"  /media URL [text]     send a picture by its address",
	"  /retry /drop          send again, or forget, what was refused",
	"  /quit                 end        //text  sends text that begins with /",
}

// command does what a line says that began with a slash.
func (m *Model) command(line string) tea.Cmd {
	name, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	name = strings.ToLower(name)
	if cmd, ok := m.globalCommand(name, rest); ok {
		return cmd
	}
	r := m.room()
	if r == nil {
		m.say(true, "no conversation is open: /join or /new")
		return nil
	}
	if cmd, ok := m.roomCommand(r, name, rest); ok {
		return cmd
	}
	m.say(true, "there is no /"+name+"; /help lists what there is")
	return nil
}

// globalCommand does what needs no conversation.
func (m *Model) globalCommand(name, rest string) (tea.Cmd, bool) {
	switch name {
	case "help", "h", "?":
		m.overlay = &overlay{title: "Help", lines: help}
	case "quit", "q", "exit":
		return tea.Quit, true
	case "join", "j", "open":
		return m.join(rest), true
	case "new":
		return m.create(strings.Fields(strings.ReplaceAll(rest, ",", " "))), true
	case "dm":
		if rest == "" {
			m.say(true, "with whom? /dm USER")
			return nil, true
		}
		return m.make(client.NewConversation{Direct: rest}), true
	case "find":
		return m.search(rest, ""), true
	case "away", "back", "online", "invisible":
		status := name
		if name == "back" {
			status = client.Online
		}
		return m.do("you are "+status, func(context.Context) error { return m.backend.SetPresence(status) }), true
	default:
		return nil, false
	}
	return nil, true
}

// roomCommand does what is about the conversation that is shown.
func (m *Model) roomCommand(r *room, name, rest string) (tea.Cmd, bool) {
	switch name {
	case "reply":
		return m.withTarget(r, rest, func(t *message, text string) tea.Cmd {
			if text == "" {
				r.replyTo = t.Seq
				return nil
			}
			return m.post(r, client.Draft{Content: text, ReplyTo: t.Seq})
		}), true
	case "react", "unreact":
		return m.withTarget(r, rest, func(t *message, emoji string) tea.Cmd {
			if emoji == "" {
				m.say(true, "with what? /react "+number(t.Seq)+" 👍")
				return nil
			}
			if name == "unreact" {
				return m.doReact(r.ID, t.Seq, emoji, true)
			}
			return m.react(r, t, emoji)
		}), true
	case "edit":
		return m.withOwn(r, rest, func(t *message, text string) tea.Cmd {
			if text == "" {
				m.startEdit(r, t)
				return nil
			}
			return m.doEdit(r.ID, t.Seq, text)
		}), true
	case "delete":
		return m.withOwn(r, rest, func(t *message, _ string) tea.Cmd {
			id, seq := r.ID, t.Seq
			return m.do("", func(ctx context.Context) error {
				_, err := m.backend.Delete(ctx, id, seq)
				return err
			})
		}), true
	case "search":
		return m.search(rest, r.ID), true
	case "members":
		m.overlay = m.memberList(r)
	case "media":
		address, text, _ := strings.Cut(rest, " ")
		return m.post(r, client.Draft{MediaURL: address, Content: strings.TrimSpace(text)}), true
	case "retry", "drop":
		return m.again(r, name == "drop"), true
	default:
		return m.memberCommand(r, name, rest)
	}
	return nil, true
}

// memberCommand does what changes the conversation itself.
func (m *Model) memberCommand(r *room, name, rest string) (tea.Cmd, bool) {
	id := r.ID
	need := map[string]bool{"invite": true, "kick": true}
	if need[name] && rest == "" {
		m.say(true, "whom? /"+name+" USER")
		return nil, true
	}
	switch name {
	case "invite":
		return m.do("", func(ctx context.Context) error { return m.backend.AddMember(ctx, id, rest, "") }), true
	case "kick":
		return m.do("", func(ctx context.Context) error { return m.backend.RemoveMember(ctx, id, rest) }), true
	case "leave":
		return m.do("", func(ctx context.Context) error { return m.backend.RemoveMember(ctx, id, m.me) }), true
	case "name":
		return m.do("", func(ctx context.Context) error { return m.backend.RenameConversation(ctx, id, rest) }), true
	}
	return nil, false
}

// withTarget runs f with the message that the text begins with the number of.
func (m *Model) withTarget(r *room, text string, f func(*message, string) tea.Cmd) tea.Cmd {
	first, rest, _ := strings.Cut(text, " ")
	seq, err := strconv.ParseUint(strings.TrimPrefix(first, "#"), 10, 64)
	if err != nil {
		m.say(true, "which message? Say the number in front of it")
		return nil
	}
	t := r.find(seq)
	if t == nil || t.notice != "" {
		m.say(true, fmt.Sprintf("there is no message %d here", seq))
		return nil
	}
	return f(t, strings.TrimSpace(rest))
}

// withOwn is withTarget, or without a number the user's last message.
func (m *Model) withOwn(r *room, text string, f func(*message, string) tea.Cmd) tea.Cmd {
	first, _, _ := strings.Cut(text, " ")
	if _, err := strconv.ParseUint(strings.TrimPrefix(first, "#"), 10, 64); err == nil {
		return m.withTarget(r, text, f)
	}
	if t := r.lastOf(m.me); t != nil {
		return f(t, text)
	}
	m.say(true, "you have said nothing here")
	return nil
}

func (m *Model) doEdit(id string, seq uint64, text string) tea.Cmd {
	return m.do("", func(ctx context.Context) error {
		_, err := m.backend.Edit(ctx, id, seq, text)
		return err
	})
}

func (m *Model) doReact(id string, seq uint64, emoji string, remove bool) tea.Cmd {
	return m.do("", func(ctx context.Context) error {
		_, err := m.backend.React(ctx, id, seq, emoji, remove)
		return err
	})
}

func (m *Model) join(id string) tea.Cmd {
	switch {
	case id == "":
		m.openSwitcher()
		return nil
	case m.rooms[id] != nil:
		return m.open(id)
	}
	return m.askRoom(id, true)
}

func (m *Model) create(words []string) tea.Cmd {
	if len(words) == 0 {
		m.say(true, "how shall it be called? /new lunch bob carol")
		return nil
	}
	return m.make(client.NewConversation{ID: words[0], Members: words[1:]})
}

// make creates a conversation and shows it.
func (m *Model) make(n client.NewConversation) tea.Cmd {
	return m.ask(func(ctx context.Context) tea.Msg {
		conv, err := m.backend.CreateConversation(ctx, n)
		if err != nil {
			return doneMsg{err: err}
		}
		if n.Direct != "" {
			conv.PeerID = n.Direct
		}
		return roomMsg{id: conv.ID, open: true, conv: conv}
	})
}

func (m *Model) search(words, in string) tea.Cmd {
	if words == "" {
		m.say(true, "for what? /search words")
		return nil
	}
	return m.ask(func(ctx context.Context) tea.Msg {
		p, err := m.backend.Search(ctx, words, in, client.ListOptions{Limit: pageSize})
		return foundMsg{words: words, items: p.Items, err: err}
	})
}

func (m *Model) found(msg foundMsg) {
	switch {
	case msg.err != nil:
		m.say(true, explain(msg.err))
		return
	case len(msg.items) == 0:
		m.say(false, "nothing has all of these words")
		return
	}
	o := &overlay{title: "Found: " + Line(msg.words)}
	for _, e := range msg.items {
		where := ""
		if e.ConversationID != m.current {
			where = "[" + Line(e.ConversationID) + "] "
		}
		o.lines = append(o.lines, fmt.Sprintf("%s#%d  %s  %s", where, e.Seq, e.CreatedAt.In(m.zone).Format("2 Jan 15:04"), says(e)))
	}
	m.overlay = o
}

// again sends what was refused again, or forgets it.
func (m *Model) again(r *room, drop bool) tea.Cmd {
	if !slices.ContainsFunc(r.pending, func(p *pending) bool { return p.failed != "" }) {
		m.say(false, "nothing was refused")
		return nil
	}
	if drop {
		r.pending = slices.DeleteFunc(r.pending, func(p *pending) bool { return p.failed != "" })
		return nil
	}
	for _, p := range r.pending {
		p.failed = ""
	}
	return m.sendNext(r)
}

func number(seq uint64) string { return strconv.FormatUint(seq, 10) }
