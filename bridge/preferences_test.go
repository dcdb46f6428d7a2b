package bridge

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestQuietHours(t *testing.T) {
	night := &QuietHours{From: "22:00", To: "07:00", TimeZone: "Europe/Vienna"}
	noon := &QuietHours{From: "12:00", To: "13:30", TimeZone: "Asia/Kolkata"}
	early := &QuietHours{From: "02:15", To: "02:45", TimeZone: "Europe/Vienna"}
	late := &QuietHours{From: "23:59", To: "00:00", TimeZone: "UTC"}
	for _, tt := range []struct {
		q    *QuietHours
		at   string
		want bool
	}{
		{night, "2026-11-22T20:59:59Z", false}, {night, "2026-11-22T21:00:00Z", true}, // 22:00 in winter
		{night, "2026-11-22T23:30:00Z", true}, {night, "2026-11-23T00:00:00Z", true}, // over midnight
		{night, "2026-11-23T05:59:59Z", true}, {night, "2026-11-23T06:00:00Z", false},
		{night, "2026-07-01T19:59:59Z", false}, {night, "2026-07-01T20:00:00Z", true}, // 22:00 in summer
		{night, "2026-07-02T04:59:59Z", true}, {night, "2026-07-02T05:00:00Z", false},
		{noon, "2026-11-22T06:29:59Z", false}, {noon, "2026-11-22T06:30:00Z", true},
		{noon, "2026-11-22T07:59:59Z", true}, {noon, "2026-11-22T08:00:00Z", false},
		// The clock leaps from 02:00 to 03:00: there is no 02:15 that night.
		{early, "2026-03-29T00:59:59Z", false}, {early, "2026-03-29T01:00:00Z", false}, {early, "2026-03-29T01:20:00Z", false},
		// It shows 02:00 to 03:00 twice.
		{early, "2026-10-25T00:14:59Z", false}, {early, "2026-10-25T00:15:00Z", true}, {early, "2026-10-25T00:45:00Z", false},
		{early, "2026-10-25T01:15:00Z", true}, {early, "2026-10-25T01:44:59Z", true}, {early, "2026-10-25T01:45:00Z", false},
		{late, "2026-11-22T23:58:59Z", false}, {late, "2026-11-22T23:59:59Z", true}, {late, "2026-11-23T00:00:00Z", false},
		{&QuietHours{From: "00:00", To: "23:59", TimeZone: "Nowhere/At_All"}, "2026-11-22T12:00:00Z", false},
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := tt.q.Quiet(at); got != tt.want {
			t.Errorf("%s to %s in %s at %s: %v", tt.q.From, tt.q.To, tt.q.TimeZone, tt.at, got)
		}
	}
}

func TestPreferencesSkip(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	about := func(conversation, kind string) *chat.Draft {
		return &chat.Draft{Stream: "n/bob", SenderID: "alice", Body: chat.Body{Type: chat.TypeNotification,
			Notice: &chat.Notice{Type: kind, Data: []byte(`{"conversationId":"` + conversation + `"}`)}}}
	}
	quiet := &QuietHours{From: "11:00", To: "13:00", TimeZone: "UTC"}
	for want, p := range map[Skip]Preferences{
		Wanted:           DefaultPreferences(),
		SkipDisabled:     {Muted: []string{"LIKE"}, Quiet: quiet},
		SkipType:         {Enabled: true, Muted: []string{"X", "LIKE"}, MutedConversations: []string{"c1"}},
		SkipConversation: {Enabled: true, Muted: []string{"like"}, MutedConversations: []string{"c1"}, Quiet: quiet},
		SkipInQuietHours: {Enabled: true, MutedConversations: []string{"c2"}, Quiet: quiet},
	} {
		if got := p.Skip(at, about("c1", "LIKE")); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
		self := about("c1", "LIKE")
		self.SenderID = "bob"
		if got := p.Skip(at, self); got != SkipSelf {
			t.Errorf("%+v, to oneself: %q", p, got)
		}
	}
}

// What is marked as read while an entry is on its way to the tail is read
// there too.
func TestMarksAndTails(t *testing.T) {
	entry := func(seq uint64) *chat.Entry {
		return &chat.Entry{Stream: "n/bob", Seq: seq, Body: chat.Body{Type: chat.TypeNotification, Notice: &chat.Notice{Type: "X"}}}
	}
	l := New(Config{Store: newFake(t)})
	defer func() { _ = l.Close(t.Context()) }()
	w := l.Watch("n/bob", &reader{})
	defer w.Close()
	w.Learn(0)
	before := l.tails.marks()
	l.tails.appendNotice(entry(1), before)
	l.tails.appendNotice(entry(2), before)
	erased := w.Erased()
	l.tails.mark("n/bob", 1)
	items, where := w.Read(0, 9, nil)
	if where != InTail || len(items) != 2 || !items[0].Notice.Read || items[1].Notice.Read {
		t.Fatalf("after a mark up to 1: %v, %d items", where, len(items))
	}
	if w.Erased() == erased {
		t.Error("what was read from the store before the mark may still be sent")
	}
	l.tails.appendNotice(entry(3), before) // it may have been read
	if _, where := w.Read(2, 9, nil); where != InStore {
		t.Errorf("an entry that was committed before a mark, and came after it: %v", where)
	}
	l.tails.appendNotice(entry(4), l.tails.marks())
	if items, where := w.Read(3, 9, nil); where != InTail || len(items) != 1 {
		t.Errorf("an entry after it: %v, %d items", where, len(items))
	}
	l.tails.mark("n/bob", 0, 4)
	if items, _ := w.Read(3, 9, nil); !items[0].Notice.Read {
		t.Error("a mark by seq was passed over")
	}
}
