package chat

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/<name>.json.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".json")
	got = append(bytes.Clone(got), '\n')
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%swant\n%s%v", path, got, want, err)
	}
}

// goldenEntries has an entry of every type.
func goldenEntries() map[string]*Entry {
	id := ID{0x01, 0x92, 0x3f, 0x5e, 0x6c, 0x00, 0x7a, 0xbc, 0x8d, 0xef, 0, 1, 2, 3, 4, 0xff}
	at := time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC)
	list := map[string]*Entry{
		"message": {Seq: 42, Body: Body{Type: TypeMessage, Content: "hi <b>\"you\"</b>\n\\ é 👍 \u2028 \x01", MediaURL: "https://example.com/a.png?x=1&y=2",
			ReplyTo: 41, Mentions: []string{"bob", "carol"}, ClientID: "a-1"}},
		"message-short":   {Seq: 1, Body: Body{Type: TypeMessage, Content: "hi"}},
		"message-deleted": {Seq: 42, Deleted: true, Body: Body{Type: TypeMessage, ClientID: "a-1"}},
		"edit":            {Seq: 43, Body: Body{Type: TypeEdit, Target: 42, Content: "hi!", ClientID: "a-2"}},
		"delete":          {Seq: 44, Body: Body{Type: TypeDelete, Target: 42}},
		"reaction":        {Seq: 45, Body: Body{Type: TypeReaction, Target: 42, Emoji: "👍"}},
		"reaction-remove": {Seq: 46, Body: Body{Type: TypeReaction, Target: 42, Emoji: "👍", Remove: true}},
		"join":            {Seq: 47, Body: Body{Type: TypeJoin, UserID: "bob"}},
		"leave":           {Seq: 48, Body: Body{Type: TypeLeave, UserID: "bob"}},
		"rename":          {Seq: 1<<63 - 1, Body: Body{Type: TypeRename, Name: "the \"team\""}},
	}
	notices := map[string]*Entry{
		"notification": {Seq: 7, Body: Body{Type: TypeNotification, ClientID: "l-1",
			Notice: &Notice{Type: "LIKE", Data: []byte(`{"postId":"<p1>"}`), Collapse: "like:\"p1\""}}},
		"notification-short":   {Seq: 8, Body: Body{Type: TypeNotification, Notice: &Notice{Type: "a.b:c", Read: true}}},
		"notification-deleted": {Seq: 9, Deleted: true, Body: Body{Type: TypeNotification, Notice: &Notice{Type: "LIKE", Data: []byte(`{"a":1}`), Collapse: "x"}}},
	}
	for name, e := range notices {
		list[name] = e
	}
	for name, e := range list {
		e.ID, e.Stream, e.SenderID, e.CreatedAt = id, ConversationStream("c1"), "alice", at
		if notices[name] != nil {
			e.Stream = NotificationStream("bob")
		}
	}
	return list
}

func TestEntryGolden(t *testing.T) {
	seen := map[Type]bool{}
	for name, e := range goldenEntries() {
		got := e.AppendJSON(nil)
		golden(t, "entry-"+name, got)
		seen[e.Type] = true

		if withPrefix := e.AppendJSON([]byte("before")); string(withPrefix) != "before"+string(got) {
			t.Errorf("%s: behind other bytes it is %s", name, withPrefix)
		}
		if b, err := e.MarshalJSON(); err != nil || !bytes.Equal(b, got) {
			t.Errorf("%s: MarshalJSON gives %s, %v", name, b, err)
		}
		var values struct{ Entries []Entry }
		values.Entries = []Entry{*e}
		if b, err := json.Marshal(values); err != nil || !json.Valid(b) {
			t.Errorf("%s: json.Marshal: %v", name, err)
		}
	}
	if len(seen) != len(typeNames)-1 {
		t.Errorf("golden files for %d types of %d", len(seen), len(typeNames)-1)
	}
}

// What was deleted does not leave the process, even if a store forgot to
// erase it.
func TestDeletedEntrySaysNothing(t *testing.T) {
	e := goldenEntries()["message"]
	erased := e.Erased()
	golden(t, "entry-message-deleted", erased.AppendJSON(nil))
	if e.Deleted || e.Content == "" {
		t.Error("Erased changed the entry itself")
	}
	e.Deleted = true
	golden(t, "entry-message-deleted", e.AppendJSON(nil))
}

func TestEntryTime(t *testing.T) {
	e := goldenEntries()["message-short"]
	e.CreatedAt = e.CreatedAt.Add(999 * time.Microsecond).In(time.FixedZone("", 3600))
	golden(t, "entry-message-short", e.AppendJSON(nil))
	if got := string(AppendTime([]byte("at "), time.Unix(0, 5e6))); got != "at 1970-01-01T00:00:00.005Z" {
		t.Error(got)
	}
}

func TestProblemGolden(t *testing.T) {
	golden(t, "problem", Problem{CodeNotFound, `there is no "message" <42>`, "chat/c1/messages", "a-1", 0}.AppendJSON(nil))
	golden(t, "problem-short", Problem{Code: CodeTokenExpiring, Message: "your token expires in 60 s"}.AppendJSON(nil))
	golden(t, "problem-trimmed", Problem{Code: CodeHistoryTrimmed, Message: "gone", Topic: "chat/c1/messages", First: 501}.AppendJSON(nil))
}

func TestAppendJSONDoesNotAllocate(t *testing.T) {
	e := goldenEntries()["message"]
	p := Problem{Code: CodeInvalid, Message: "no", Topic: "t", ClientID: "c"}
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { dst = p.AppendJSON(e.AppendJSON(dst[:0])) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
