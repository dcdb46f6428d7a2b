package chat

import (
	"testing"
	"time"
)

// typical is what a chat client sends most.
var typical = []byte(`{"content": "see you at eight, bring the maps", "clientId": "a-1f9c2e"}`)

func typicalEntry() *Entry {
	return &Entry{
		ID:     ID{0x01, 0x92, 0x3f, 7: 0x7a, 15: 1},
		Stream: ConversationStream("c1"), Seq: 42, SenderID: "alice",
		CreatedAt: time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC),
		Body:      Body{Type: TypeMessage, Content: "see you at eight, bring the maps", ClientID: "a-1f9c2e"},
	}
}

func BenchmarkDecodeBody(b *testing.B) {
	for name, payload := range map[string]string{
		"typical":  string(typical),
		"mentions": `{"content": "hi \u00e9 \n", "replyTo": 41, "mentions": ["bob", "carol"], "clientId": "a-2"}`,
		"plain":    "see you at eight",
		"reaction": `{"type": "reaction", "target": 42, "emoji": "👍", "remove": false}`,
	} {
		b.Run(name, func(b *testing.B) {
			p := []byte(payload)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeBody(p, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	e := typicalEntry()
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = e.AppendJSON(dst[:0])
	}
}

func BenchmarkParseTopic(b *testing.B) {
	for _, name := range []string{"chat/c1/messages", "users/alice/notifications/read", "devices/d1/state"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseTopic(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
