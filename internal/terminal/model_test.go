package terminal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/client"
)

func TestFrames(t *testing.T) {
	t.Run("wide", func(t *testing.T) { drive(t, newFake(), 110, 30).golden("wide") })
	t.Run("narrow", func(t *testing.T) { drive(t, newFake(), 40, 30).golden("narrow") })
	t.Run("tiny", func(t *testing.T) { drive(t, newFake(), 18, 4).golden("tiny") })
	t.Run("offline", func(t *testing.T) {
		d := drive(t, newFake(), 80, 20)
		d.events(client.Status{State: client.StateOffline, RetryAt: noon.Add(3 * time.Second),
			Err: &client.Error{Code: client.CodeNetwork, Message: "cannot reach localhost:8080: connection refused"}})
		d.f.refuse = &client.Error{Code: client.CodeForbidden, Message: "you are not a member"}
		d.types("it fails", "<enter>")
		d.golden("offline")
	})
	t.Run("switcher", func(t *testing.T) {
		d := drive(t, newFake(), 80, 20)
		d.types("<tab>", "<down>")
		d.golden("switcher")
	})
	t.Run("help", func(t *testing.T) {
		d := drive(t, newFake(), 80, 32)
		d.types("/help", "<enter>")
		d.golden("help")
	})
	t.Run("selected", func(t *testing.T) {
		d := drive(t, newFake(), 80, 24)
		d.types("<up>", "<up>")
		d.golden("selected")
	})
	t.Run("answering", func(t *testing.T) {
		d := drive(t, newFake(), 80, 24)
		d.events(client.Typing{ConversationID: "c1", UserID: "bob", Typing: true})
		d.types("<up>", "r", "first line", "<newline>", "second")
		d.golden("answering")
	})
	t.Run("members", func(t *testing.T) {
		d := drive(t, newFake(), 80, 16)
		d.types("/members", "<enter>")
		d.golden("members")
	})
}

// A light terminal gets other colors, and the same text.
func TestLightAndDark(t *testing.T) {
	d := drive(t, newFake(), 80, 20)
	dark, plain := d.m.frame(), d.screen()
	d.send(tea.BackgroundColorMsg{Color: white{}})
	if d.m.frame() == dark {
		t.Error("a light terminal has the colors of a dark one")
	}
	if d.screen() != plain {
		t.Error("it shows something else")
	}
}

type white struct{}

func (white) RGBA() (r, g, b, a uint32) { return 0xffff, 0xffff, 0xffff, 0xffff }

// What was typed is shown at once, sent in order, and settled by its entry.
func TestSend(t *testing.T) {
	f := newFake()
	d := drive(t, f, 80, 24)
	d.types("h")
	if !f.was("typing c1 true") {
		t.Error("nobody was told that the user types")
	}
	d.types("i @bob", "<enter>")
	if !f.was("send c1 hi @bob re 0 to [bob]") {
		t.Error("it was not sent, or does not mention bob")
	}
	d.shows("… hi @bob")
	sent := d.m.room().pending[0]
	e := msg(9, "alice", "hi @bob").Entry
	e.ClientID = sent.draft.ClientID
	d.events(e)
	d.shows("9 hi @bob")
	d.hides("… hi @bob")
	d.types("//slash", "<enter>")
	if !f.was("send c1 /slash re 0 to []") {
		t.Error("// does not send text with a slash")
	}
}

func TestRefusedAndRetried(t *testing.T) {
	f := newFake()
	d := drive(t, f, 80, 24)
	f.refuse = &client.Error{Code: client.CodeForbidden, Message: "you may not"}
	d.types("one", "<enter>", "two", "<enter>")
	d.shows("✗ one", "not sent: you may not — /retry or /drop", "✗ two")
	f.refuse, f.asked = nil, nil
	d.types("/retry", "<enter>")
	want := "[send c1 one re 0 to [] send c1 two re 0 to []]"
	if got := fmt.Sprint(onlySends(f.asked)); got != want {
		t.Errorf("sent again %s, want %s", got, want)
	}
	f.refuse = &client.Error{Code: client.CodeInvalid, Message: "no"}
	d.types("three", "<enter>")
	d.shows("✗ three")
	d.types("/drop", "<enter>")
	d.hides("three")
}

func onlySends(asked []string) []string {
	var sends []string
	for _, a := range asked {
		if strings.HasPrefix(a, "send") {
			sends = append(sends, a)
		}
	}
	return sends
}

// Each command and key asks for what it should.
func TestCommands(t *testing.T) {
	tests := []struct {
		types []string
		want  string
	}{
		{[]string{"/reply 4 of course", "<enter>"}, "send c1 of course re 4 to []"},
		{[]string{"/reply 4", "<enter>", "sure", "<enter>"}, "send c1 sure re 4 to []"},
		{[]string{"<up>", "<up>", "r", "ok", "<enter>"}, "send c1 ok re 7 to []"},
		{[]string{"/edit 6 no", "<enter>"}, "edit c1 6 no"},
		{[]string{"/edit never", "<enter>"}, "edit c1 6 never"},
		{[]string{"<up>", "<up>", "<up>", "e", "!", "<enter>"}, "edit c1 6 yes, at 12:30\nin the usual place!"},
		{[]string{"/delete 3", "<enter>"}, "delete c1 3"},
		{[]string{"/delete", "<enter>"}, "delete c1 6"},
		{[]string{"<up>", "<up>", "<up>", "d", "<enter>"}, "delete c1 6"},
		{[]string{"/react 8 🎉", "<enter>"}, "react c1 8 🎉 false"},
		{[]string{"/react 4 👍", "<enter>"}, "react c1 4 👍 true"}, // alice has reacted so
		{[]string{"/unreact 4 👍", "<enter>"}, "react c1 4 👍 true"},
		{[]string{"<up>", "4"}, "react c1 8 🎉 false"},
		{[]string{"<up>", "+", "🙈", "<enter>"}, "react c1 8 🙈 false"},
		{[]string{"/search lunch", "<enter>"}, "search lunch c1"},
		{[]string{"/find lunch", "<enter>"}, "search lunch "},
		{[]string{"/new dinner bob, carol", "<enter>"}, "create dinner [bob carol] "},
		{[]string{"/dm carol", "<enter>"}, "create  [] carol"},
		{[]string{"/join c2", "<enter>"}, "messages c2 before 0"},
		{[]string{"<tab>", "c2", "<enter>"}, "messages c2 before 0"},
		{[]string{"<ctrl+n>"}, "messages c2 before 0"},
		{[]string{"/invite dave", "<enter>"}, "add c1 dave"},
		{[]string{"/kick bob", "<enter>"}, "remove c1 bob"},
		{[]string{"/leave", "<enter>"}, "remove c1 alice"},
		{[]string{"/name Dinner time", "<enter>"}, "rename c1 Dinner time"},
		{[]string{"/away", "<enter>"}, "presence away"},
		{[]string{"/back", "<enter>"}, "presence online"},
		{[]string{"/media https://h/x.png see", "<enter>"}, "send c1 see re 0 to []"},
		{[]string{"x", "<backspace>"}, "typing c1 false"},
	}
	for _, tt := range tests {
		d := drive(t, newFake(), 100, 30)
		d.types(tt.types...)
		if !d.f.was(tt.want) {
			t.Errorf("%v did not ask for %q; the screen is\n%s", tt.types, tt.want, d.screen())
		}
	}
	for _, wrong := range []string{"/dance", "/reply x", "/reply 99 x", "/react 4x", "/new", "/join nowhere", "/search", "/invite", "/edit 8 x"} {
		d := drive(t, newFake(), 100, 30)
		d.f.refuse = &client.Error{Code: client.CodeForbidden, Message: "not yours"}
		d.types(wrong, "<enter>")
		if d.m.flash == "" || !d.m.bad {
			t.Errorf("%s: nobody is told that it is wrong", wrong)
		}
	}
	for _, end := range []string{"<ctrl+c>", "/quit"} {
		d := drive(t, newFake(), 80, 20)
		if d.types(end, "<enter>"); !d.quit {
			t.Errorf("%s does not end it", end)
		}
	}
}

// What happens elsewhere is folded in.
func TestFolding(t *testing.T) {
	d := drive(t, newFake(), 80, 40)
	d.f.convs[0].Name = "Dinner" // as it is called in the end
	say := func(seq uint64, kind string, f func(*client.Entry)) client.Entry {
		e := msg(seq, "bob", "").Entry
		e.Type = kind
		f(&e)
		return e
	}
	d.events(
		say(9, client.TypeEdit, func(e *client.Entry) { e.Target, e.Content = 8, "short" }),
		say(10, client.TypeReaction, func(e *client.Entry) { e.Target, e.Emoji = 6, "🙈" }),
		say(11, client.TypeReaction, func(e *client.Entry) { e.Target, e.Emoji, e.Remove = 4, "🎉", true; e.SenderID = "carol" }),
		say(12, client.TypeDelete, func(e *client.Entry) { e.Target = 3 }),
		say(13, client.TypeJoin, func(e *client.Entry) { e.UserID, e.SenderID = "dave", "alice" }),
		say(14, client.TypeRename, func(e *client.Entry) { e.Name = "Dinner" }),
		say(8, client.TypeMessage, func(e *client.Entry) { e.Content = "had before" }),
	)
	d.shows("8 short (edited)", "🙈 1", "3 deleted", "dave was added by alice", `bob named it "Dinner"`, " Dinner ")
	d.hides("had before")
	d.hides("🎉")
	d.events(say(15, client.TypeLeave, func(e *client.Entry) { e.UserID = "alice" }))
	d.shows("You are not a member of this conversation any more.")
	d.types("hello?", "<enter>")
	if len(d.m.room().pending) > 0 {
		t.Error("who was removed sends")
	}
}

// Scrolling up loads what was before, until the beginning, and what is new
// does not move what is read.
func TestInfiniteScroll(t *testing.T) {
	f := newFake()
	f.logs["c1"] = nil
	for i := range uint64(130) {
		f.logs["c1"] = append(f.logs["c1"], msg(i+3, "bob", fmt.Sprintf("number %d", i+3)))
	}
	d := drive(t, f, 80, 20)
	d.shows("number 132")
	for range 20 {
		d.types("<pgup>")
	}
	d.shows("This is where it begins", "number 3")
	if len(d.m.room().msgs) != 130 {
		t.Errorf("%d messages are there, want 130", len(d.m.room().msgs))
	}
	before := strings.Split(d.screen(), "\n")
	d.events(msg(133, "bob", "news").Entry)
	after := strings.Split(d.screen(), "\n")
	if before[5] != after[5] || before[10] != after[10] {
		t.Error("what is read has moved")
	}
	d.shows("↓ 1 new")
	d.types("<esc>")
	d.shows("133 news")
	d.hides("↓ 1 new")
}

// Messages are read when somebody looks at them.
func TestReadMarks(t *testing.T) {
	f := newFake()
	d := drive(t, f, 80, 20)
	d.send(tea.BlurMsg{})
	e := msg(9, "bob", "are you there?").Entry
	e.Mentions = []string{"alice"}
	d.events(e)
	if f.was("read c1 9") {
		t.Error("read by nobody")
	}
	if d.bell != 1 {
		t.Errorf("the bell rang %d times for a mention, want once", d.bell)
	}
	d.send(tea.FocusMsg{})
	if !f.was("read c1 9") {
		t.Error("not read by who looks")
	}
	d.events(client.Receipt{ConversationID: "c1", UserID: "carol", Read: 9})
	d.shows("✓ carol")

	other := msg(6, "bob", "elsewhere").Entry
	other.ConversationID = "c2"
	d.events(other)
	d.shows("4 unread elsewhere")
	if f.was("read c2 6") {
		t.Error("what is elsewhere was read")
	}
	f.logs["c2"] = []client.Folded{msg(2, "bob", "old"), msg(4, "bob", "unread"), msg(6, "bob", "elsewhere")}
	d.types("<ctrl+n>")
	d.shows("── new ──", "unread", "elsewhere")
	if !f.was("read c2 6") {
		t.Error("what was opened was not read")
	}
	d.hides("unread elsewhere")
}

// Who types is shown, until it stops, sends, or is silent for long.
func TestTyping(t *testing.T) {
	d := drive(t, newFake(), 80, 20)
	types := func(user string, on bool) client.Event {
		return client.Typing{ConversationID: "c1", UserID: user, Typing: on}
	}
	d.events(types("bob", true))
	d.shows("bob is typing")
	d.events(types("carol", true))
	d.shows("bob, carol are typing")
	d.events(types("bob", false), msg(9, "carol", "there").Entry)
	d.hides("typing")
	d.events(types("bob", true))
	d.m.now = func() time.Time { return noon.Add(10 * time.Second) }
	d.hides("typing")
}

// After a gap the room is loaded anew.
func TestGap(t *testing.T) {
	d := drive(t, newFake(), 80, 20)
	d.events(client.Gap{ConversationID: "c1", First: 500})
	if !d.f.was("messages c1 before 0") {
		t.Error("the room was not loaded anew")
	}
}

// Somebody begins to talk: it is named after who it is, and counted.
func TestNewDirect(t *testing.T) {
	d := drive(t, newFake(), 110, 20)
	d.f.convs = append(d.f.convs, client.Conversation{ID: "0192-77", Direct: true, HeadSeq: 3, Unread: 1})
	e := msg(3, "bob", "psst").Entry
	e.ConversationID = "0192-77"
	d.events(e)
	d.shows("@bob  1", "4 unread elsewhere")
	d.hides("0192")
}

// A draft stays where it was written.
func TestDraftsStay(t *testing.T) {
	d := drive(t, newFake(), 80, 20)
	d.types("for c1", "<tab>", "c2", "<enter>")
	d.hides("for c1")
	d.types("<tab>", "lunch", "<enter>")
	d.shows("› for c1")
}

// hostile is text that does something to a terminal.
const hostile = "a\x1b]0;title\x07b\x1b[2Jc\u009b31md\u202ee\u200fz\rf\x08g\x7fh\xffi\u2028j"

func TestPlain(t *testing.T) {
	got := Plain(hostile)
	for _, r := range got {
		if r != '\n' && (r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r == 0x200f) {
			t.Errorf("%q has %U", got, r)
		}
	}
	for _, keep := range []string{"👩‍👩‍👧", "❤️", "नमस्ते", "é", "שלום", "x\ny"} {
		if Plain(keep) != keep {
			t.Errorf("%q became %q", keep, Plain(keep))
		}
	}
	if heap := Plain("e" + strings.Repeat("\u0301", 50)); len([]rune(heap)) > 10 {
		t.Errorf("%d marks stand on a letter", len([]rune(heap))-1)
	}
	if got := Line("a\nb\n"); got != "a ⏎ b" {
		t.Errorf("a line is %q", got)
	}
	text, err := JSON(client.Entry{Content: hostile})
	if err != nil || strings.ContainsAny(string(text), "\x1b\x07\u009b\x7f") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("JSON is %q, %v", text, err)
	}
}

// What was printed as history is not printed again, and what is new is, also of
// a conversation that was made again.
func TestLast(t *testing.T) {
	last := Last{Seq: 5, ID: "0005"}
	for _, tt := range []struct {
		e    client.Entry
		want bool
	}{
		{client.Entry{Seq: 2, ID: "0002", Type: client.TypeJoin, UserID: "alice"}, false},
		{client.Entry{Seq: 5, ID: "0005"}, false},
		{client.Entry{Seq: 6, ID: "0006"}, true},
		{client.Entry{Seq: 6, ID: "0006"}, false},
		{client.Entry{Seq: 1, ID: "0007", Type: client.TypeJoin, UserID: "alice"}, true},
		{client.Entry{Seq: 2, ID: "0008"}, true},
	} {
		if got := last.Next(tt.e, "alice"); got != tt.want {
			t.Errorf("%+v: %v", tt.e, got)
		}
	}
}

// JSON has times as the server writes them, and else all that there is.
func TestJSONIsTheWire(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want string
	}{
		{client.Entry{ID: "1", Seq: 2, Type: "message", Content: "hi", CreatedAt: noon}, `{"id":"1","conversationId":"","seq":2,"type":"message","content":"hi","createdAt":"2026-11-23T12:00:00.000Z"}`},
		{client.Sent{ID: "1", Seq: 2, CreatedAt: noon.Add(120 * time.Millisecond)}, `{"id":"1","seq":2,"clientId":"","createdAt":"2026-11-23T12:00:00.120Z"}`},
		{client.Receipt{UserID: "a", At: noon}, `{"conversationId":"","userId":"a","read":0,"delivered":0,"at":"2026-11-23T12:00:00.000Z"}`},
		{client.Presence{UserID: "a", LastSeen: noon}, `{"userId":"a","status":"","devices":0,"lastSeen":"2026-11-23T12:00:00.000Z"}`},
		{client.Presence{UserID: "a"}, `{"userId":"a","status":"","devices":0}`},
		{client.Notification{ID: "1", Type: "LIKE", CreatedAt: noon}, `{"id":"1","seq":0,"recipientId":"","type":"LIKE","isRead":false,"createdAt":"2026-11-23T12:00:00.000Z"}`},
	} {
		if text, err := JSON(tt.v); err != nil || string(text) != tt.want+"\n" {
			t.Errorf("%s, %v; want\n%s", text, err, tt.want)
		}
	}
}

// Whatever others write and however large the screen is: the frame has its
// size, and no control characters but those of colors.
func TestAnyFrame(t *testing.T) {
	words := rapid.SampledFrom([]string{hostile, "hello", "👩‍👩‍👧", "❤️❤️❤️", "北京北京北京", "a very long word " + strings.Repeat("x", 90),
		"\n\n", "e\u0301\u0301\u0301", "🇦🇹🇩🇪", "नमस्ते", "\t", "👍🏽"})
	rapid.Check(t, func(rt *rapid.T) {
		text := func(name string) string { return strings.Join(rapid.SliceOfN(words, 1, 8).Draw(rt, name), " ") }
		f := newFake()
		m := msg(9, text("sender"), text("content"))
		m.MediaURL, m.ReplyTo = text("media"), 8
		m.Reactions = []client.Reaction{{Emoji: text("emoji"), Count: 1}}
		f.logs["c1"] = append(f.logs["c1"], m)
		f.convs[0].Name = text("name")
		d := drive(t, f, rapid.IntRange(10, 140).Draw(rt, "width"), rapid.IntRange(3, 40).Draw(rt, "height"))
		d.events(client.Typing{ConversationID: "c1", UserID: text("typer"), Typing: true},
			client.Status{State: client.StateOffline, Err: &client.Error{Message: text("error")}})
		for _, key := range rapid.SliceOfN(rapid.SampledFrom([]string{"<up>", "<pgup>", "<tab>", "<esc>", "x", "/help", "<enter>", "r"}), 0, 8).Draw(rt, "keys") {
			d.types(key)
		}
		screen := d.screen()
		for _, r := range screen {
			if r != '\n' && (r < ' ' || r >= 0x7f && r <= 0x9f) {
				rt.Fatalf("the screen has %U:\n%s", r, screen)
			}
		}
		if title := d.m.windowTitle(); strings.ContainsAny(title, "\x1b\x07\n") {
			rt.Fatalf("the title is %q", title)
		}
		if t.Failed() {
			rt.FailNow()
		}
	})
}
