package terminal

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/client"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the tests are.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fake is a backend that remembers what it was asked for.
type fake struct {
	status  client.Status
	convs   []client.Conversation
	logs    map[string][]client.Folded
	asked   []string
	refuse  error
	head    uint64
	receipt []client.Receipt
}

func (f *fake) note(format string, args ...any) {
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

// was tells whether something was asked for, and forgets all that was.
func (f *fake) was(what string) bool {
	found := slices.Contains(f.asked, what)
	f.asked = nil
	return found
}

func (f *fake) UserID() string              { return "alice" }
func (f *fake) Status() client.Status       { return f.status }
func (f *fake) Err() error                  { return nil }
func (f *fake) Events() <-chan client.Event { return nil } // tests give them to the model

func (f *fake) Send(_ context.Context, c string, d client.Draft) (client.Sent, error) {
	f.note("send %s %s re %d to %v", c, d.Content, d.ReplyTo, d.Mentions)
	if f.refuse != nil {
		return client.Sent{}, f.refuse
	}
	f.head++
	return client.Sent{Seq: f.head, ClientID: d.ClientID}, nil
}

func (f *fake) Edit(_ context.Context, c string, n uint64, text string) (client.Sent, error) {
	f.note("edit %s %d %s", c, n, text)
	return client.Sent{}, f.refuse
}

func (f *fake) Delete(_ context.Context, c string, n uint64) (client.Sent, error) {
	f.note("delete %s %d", c, n)
	return client.Sent{}, f.refuse
}

func (f *fake) React(_ context.Context, c string, n uint64, emoji string, remove bool) (client.Sent, error) {
	f.note("react %s %d %s %v", c, n, emoji, remove)
	return client.Sent{}, f.refuse
}
func (f *fake) Typing(c string, on bool) { f.note("typing %s %v", c, on) }
func (f *fake) MarkRead(_ context.Context, c string, n uint64) error {
	f.note("read %s %d", c, n)
	return nil
}
func (f *fake) SetPresence(s string) error { f.note("presence %s", s); return nil }

func (f *fake) Messages(_ context.Context, c string, r client.Range) (client.History[client.Folded], error) {
	f.note("messages %s before %d", c, r.Before)
	all := f.logs[c]
	h := client.History[client.Folded]{FirstSeq: 1}
	if len(all) > 0 {
		h.HeadSeq = all[len(all)-1].Seq
	}
	for _, m := range all {
		if r.Before == 0 || m.Seq < r.Before {
			h.Items = append(h.Items, m)
		}
	}
	h.Items = h.Items[max(len(h.Items)-r.Limit, 0):]
	return h, nil
}

func (f *fake) Search(_ context.Context, words, c string, _ client.ListOptions) (client.Page[client.Entry], error) {
	f.note("search %s %s", words, c)
	var p client.Page[client.Entry]
	for _, m := range f.logs["c1"] {
		if strings.Contains(m.Content, words) {
			p.Items = append(p.Items, m.Entry)
		}
	}
	return p, nil
}

func (f *fake) Conversations(context.Context, client.ListOptions) (client.Page[client.Conversation], error) {
	return client.Page[client.Conversation]{Items: f.convs}, nil
}

func (f *fake) Conversation(_ context.Context, id string) (client.Conversation, error) {
	for _, c := range f.convs {
		if c.ID == id {
			c.Members = []client.Member{{UserID: "alice", Role: client.RoleOwner}, {UserID: "bob", Role: client.RoleMember},
				{UserID: "carol", Role: client.RoleAdmin}}
			if c.Direct {
				c.Members = c.Members[:2]
			}
			return c, nil
		}
	}
	return client.Conversation{}, &client.Error{Code: client.CodeNotFound, Message: "there is no such conversation"}
}

func (f *fake) CreateConversation(_ context.Context, n client.NewConversation) (client.Conversation, error) {
	f.note("create %s %v %s", n.ID, n.Members, n.Direct)
	c := client.Conversation{ID: orElse(n.ID, "dm-"+n.Direct), HeadSeq: 1}
	f.convs = append(f.convs, c)
	return c, nil
}

func (f *fake) RenameConversation(_ context.Context, id, name string) error {
	f.note("rename %s %s", id, name)
	return f.refuse
}

func (f *fake) Receipts(_ context.Context, c string) ([]client.Receipt, error) {
	if c != "c1" {
		return nil, nil
	}
	return f.receipt, nil
}

func (f *fake) AddMember(_ context.Context, c, u, _ string) error {
	f.note("add %s %s", c, u)
	return f.refuse
}
func (f *fake) RemoveMember(_ context.Context, c, u string) error {
	f.note("remove %s %s", c, u)
	return f.refuse
}

// msg makes a message.
func msg(seq uint64, from, text string) client.Folded {
	return client.Folded{Entry: client.Entry{ID: fmt.Sprint(seq), ConversationID: "c1", Seq: seq, Type: client.TypeMessage, SenderID: from,
		Content: text, CreatedAt: noon.Add(time.Duration(seq) * time.Second)}}
}

// newFake has two conversations, of which c1 has some messages.
func newFake() *fake {
	edited := msg(4, "bob", "shall we go for lunch?")
	edited.EditedAt = noon
	edited.Reactions = []client.Reaction{{Emoji: "👍", Count: 2, UserIDs: []string{"alice", "carol"}}, {Emoji: "🎉", Count: 1, UserIDs: []string{"carol"}}}
	gone := msg(5, "carol", "")
	gone.Deleted = true
	answer := msg(6, "alice", "yes, at 12:30\nin the usual place")
	answer.ReplyTo = 4
	picture := msg(7, "carol", "look")
	picture.MediaURL = "https://example.com/cat.jpg"
	return &fake{status: client.Status{State: client.StateOnline}, head: 8,
		convs: []client.Conversation{{ID: "c1", Name: "Lunch", HeadSeq: 8, ReadSeq: 8},
			{ID: "c2", HeadSeq: 5, ReadSeq: 2, Unread: 3}, {ID: "d1", PeerID: "bob", Direct: true, HeadSeq: 3, ReadSeq: 3}},
		logs: map[string][]client.Folded{"c1": {msg(3, "alice", "hello"), edited, gone, answer, picture,
			msg(8, "bob", "@alice 你好, a rather long message that has to be wrapped on anything but a very wide screen 👩‍👩‍👧 👍🏽 ❤️")}},
		receipt: []client.Receipt{{UserID: "bob", Read: 8}, {UserID: "carol", Read: 7}, {UserID: "alice", Read: 8}},
	}
}

// driver drives a model and runs its commands.
type driver struct {
	t    *testing.T
	m    *Model
	f    *fake
	quit bool
	bell int
}

func drive(t *testing.T, f *fake, w, h int) *driver {
	t.Helper()
	d := &driver{t: t, f: f, m: NewModel(t.Context(), f, "c1")}
	d.m.now, d.m.zone = func() time.Time { return noon }, time.UTC
	d.m.ticking = true // time is the test's
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	d.run(d.m.Init())
	d.events(client.Status{State: client.StateOnline}, client.Presence{UserID: "bob", Status: client.Online},
		client.Presence{UserID: "carol", Status: client.Away})
	f.asked = nil
	return d
}

func (d *driver) send(msg tea.Msg) {
	d.t.Helper()
	_, cmd := d.m.Update(msg)
	d.run(cmd)
}

func (d *driver) run(cmd tea.Cmd) {
	d.t.Helper()
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.BatchMsg:
		for _, cmd := range msg {
			d.run(cmd)
		}
	case tea.QuitMsg:
		d.quit = true
	case tea.RawMsg:
		d.bell++
	default:
		d.send(msg)
	}
}

func (d *driver) events(all ...client.Event) { d.t.Helper(); d.send(eventsMsg(all)) }

// types types text, and keys by their names in brackets.
func (d *driver) types(all ...string) {
	d.t.Helper()
	special := map[string]tea.KeyPressMsg{
		"<enter>": {Code: tea.KeyEnter}, "<esc>": {Code: tea.KeyEscape}, "<tab>": {Code: tea.KeyTab}, "<up>": {Code: tea.KeyUp},
		"<down>": {Code: tea.KeyDown}, "<pgup>": {Code: tea.KeyPgUp}, "<pgdown>": {Code: tea.KeyPgDown},
		"<backspace>": {Code: tea.KeyBackspace}, "<newline>": {Code: tea.KeyEnter, Mod: tea.ModAlt},
		"<ctrl+c>": {Code: 'c', Mod: tea.ModCtrl}, "<ctrl+n>": {Code: 'n', Mod: tea.ModCtrl},
	}
	for _, text := range all {
		if key, ok := special[text]; ok {
			d.send(key)
			continue
		}
		for _, r := range text {
			d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

// screen is what is shown, without colors.
func (d *driver) screen() string {
	d.t.Helper()
	frame := d.m.frame()
	lines := strings.Split(frame, "\n")
	if len(lines) != d.m.height {
		d.t.Errorf("the frame has %d lines, want %d", len(lines), d.m.height)
	}
	for i, line := range lines {
		if w := width(line); w > max(d.m.width, 10) {
			d.t.Errorf("line %d is %d wide, more than %d: %q", i, w, d.m.width, line)
		}
		lines[i] = strings.TrimRight(ansi.Strip(line), " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func (d *driver) shows(want ...string) {
	d.t.Helper()
	screen := d.screen()
	for _, w := range want {
		if !strings.Contains(screen, w) {
			d.t.Errorf("%q is not on the screen:\n%s", w, screen)
		}
	}
}

func (d *driver) hides(what string) {
	d.t.Helper()
	if screen := d.screen(); strings.Contains(screen, what) {
		d.t.Errorf("%q is on the screen:\n%s", what, screen)
	}
}

// golden compares the screen with a file.
func (d *driver) golden(name string) {
	d.t.Helper()
	path := filepath.Join("testdata", name+".golden")
	got := d.screen()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	if got != string(want) {
		d.t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}
