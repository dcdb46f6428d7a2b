package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// wantTyped wants what every error of this package promises.
func wantTyped(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code == "" || e.Message == "" || len(e.Error()) > 400 {
		t.Fatalf("got the error %#v", err)
	}
}

func FuzzParseTopic(f *testing.F) {
	for name := range contractTopics {
		f.Add(name)
	}
	for _, s := range []string{"", "a/b", "chat", "chat//messages", "users/a/notifications/", "a\x00", "+", "$share/g/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		topic, err := ParseTopic(name)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if topic.String() != name || (Topic{Kind: topic.Kind, ID: topic.ID}).String() != name && topic.Kind != KindOrdinary {
			t.Fatalf("%q is printed as %q", name, topic)
		}
		if strings.ContainsAny(name, "+#\x00") || !utf8.ValidString(name) || name == "" || len(name) > MaxTopic {
			t.Fatalf("%q is accepted", name)
		}
		ours := strings.HasPrefix(name, "chat/") || strings.HasPrefix(name, "users/")
		if ours != (topic.Kind != KindOrdinary) || ours != ValidID(topic.ID) {
			t.Fatalf("%q is of kind %d with id %q", name, topic.Kind, topic.ID)
		}
		// A topic name is a filter that takes itself alone.
		if strings.HasPrefix(name, "$share/") {
			return
		}
		filter, err := ParseFilter(name)
		if err != nil || filter.Kind != topic.Kind || filter.ID != topic.ID || filter.Matches(topic) != ours {
			t.Fatalf("%q as a filter: %+v, %v", name, filter, err)
		}
	})
}

// matches is the matching of MQTT, level by level, of a filter without a
// share.
func matches(filter, topic string) bool {
	fs, ts := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range fs {
		if level == "#" {
			return true
		}
		if i >= len(ts) || level != "+" && level != ts[i] {
			return false
		}
	}
	return len(fs) == len(ts)
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"chat/+/messages", "chat/+/+", "users/+/presence", "users/alice/#", "$share/g/a/#", "#", "a/+/b",
		"a#", "$share//a", "chat/#", "users/+/#", "+/c1/messages"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		filter, err := ParseFilter(name)
		if err != nil {
			wantTyped(t, err)
			return
		}
		path := name
		if filter.Share != "" {
			path = strings.TrimPrefix(name, "$share/"+filter.Share+"/")
		}
		for _, level := range strings.Split(path, "/") {
			if len(level) > 1 && strings.ContainsAny(level, "+#") {
				t.Fatalf("%q is accepted", name)
			}
		}
		if i := strings.IndexByte(path, '#'); i >= 0 && i != len(path)-1 {
			t.Fatalf("%q is accepted", name)
		}
		ids := []string{"c1", filter.ID}
		for own, topic := range contractTopics {
			for _, id := range ids {
				if !ValidID(id) {
					continue
				}
				topic.ID = id
				// Ours match as MQTT says; no ordinary filter reaches them.
				want := filter.Kind != KindOrdinary && matches(path, topic.String())
				if filter.Matches(topic) != want {
					t.Fatalf("%q matches %q (%s): %v", name, topic, own, !want)
				}
			}
		}
	})
}

// referenceBody is DecodeBody's object on encoding/json, slow and plain.
func referenceBody(payload []byte) (b Body, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return b, false
	}
	keys := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		key, isKey := t.(string)
		var raw json.RawMessage
		if _, twice := keys[key]; err != nil || !isKey || twice || dec.Decode(&raw) != nil || string(raw) == "null" {
			return b, false
		}
		keys[key] = raw
	}
	if _, err := dec.Token(); err != nil || len(bytes.Trim(payload[dec.InputOffset():], " \t\r\n")) > 0 {
		return b, false
	}
	kind := "message"
	if raw, has := keys["type"]; has && json.Unmarshal(raw, &kind) != nil {
		return b, false
	}
	into := map[string]any{"type": &kind, "clientId": &b.ClientID}
	switch kind {
	case "message":
		b.Type = TypeMessage
		into["content"], into["mediaUrl"], into["replyTo"], into["mentions"] = &b.Content, &b.MediaURL, &b.ReplyTo, &b.Mentions
	case "edit":
		b.Type = TypeEdit
		into["target"], into["content"] = &b.Target, &b.Content
	case "delete":
		b.Type = TypeDelete
		into["target"] = &b.Target
	case "reaction":
		b.Type = TypeReaction
		into["target"], into["emoji"], into["remove"] = &b.Target, &b.Emoji, &b.Remove
	default:
		return b, false
	}
	for key, raw := range keys {
		if v, known := into[key]; !known || json.Unmarshal(raw, v) != nil {
			return b, false
		}
	}
	_, hasReply := keys["replyTo"]
	_, hasClientID := keys["clientId"]
	if len(b.Mentions) == 0 {
		b.Mentions = nil
	}
	return b, b.check() == nil && len(b.Mentions) <= MaxMentions && (ValidID(b.ClientID) || !hasClientID) &&
		(b.ReplyTo > 0 || !hasReply) && b.ReplyTo <= maxSeq && b.Target <= maxSeq
}

// bodySeeds have every part of the grammar.
var bodySeeds = []string{
	`{"content": "hi", "mediaUrl": "https://a/b", "replyTo": 41, "clientId": "a-1", "mentions": ["bob", "eve"]}`,
	`{"type": "edit",     "target": 42, "content": "hi!", "clientId": "a-2"}`,
	`{"type": "delete",   "target": 42}`,
	`{"type": "reaction", "target": 42, "emoji": "👍", "remove": true}`,
	`{"content":"\"\\\/\b\f\n\r\t\u00e9\ud83d\udc4d\ud800\udbff\ue000"}`,
	"{\"\\u0063ontent\" :\t\"a\"\r\n} ",
}

// One wrong byte anywhere makes the same difference to us as to encoding/json.
func TestDecodeBodyAgreesWithReference(t *testing.T) {
	for _, seed := range bodySeeds {
		for i := range seed {
			for _, c := range "\x00\n \"\\,:{}[]0-.ux\x7f" {
				changed := []byte(seed)
				changed[i] = byte(c)
				for _, payload := range [][]byte{changed, []byte(seed[:i] + string(c) + seed[i:]), []byte(seed[:i] + seed[i+1:]), []byte(seed[:i])} {
					compareBody(t, payload)
				}
			}
		}
	}
}

// compareBody compares DecodeBody with referenceBody, where it has one.
func compareBody(t *testing.T, payload []byte) {
	t.Helper()
	if len(payload) == 0 || payload[0] != '{' || len(payload) > MaxPayload || !utf8.Valid(payload) {
		return
	}
	got, err := DecodeBody(payload, false)
	if want, ok := referenceBody(payload); ok != (err == nil) || ok && !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v, %v\nwant %+v, %v", payload, got, err, want, ok)
	}
}

// FuzzDecodeBody: DecodeBody accepts what encoding/json and the rules accept,
// reads the same in it, and what it accepts survives the way to a subscriber.
func FuzzDecodeBody(f *testing.F) {
	for _, s := range append(bodySeeds, `{"content":"a","content":"b"}`, `{"content":"a",}`, `{"content":"a"}x`,
		`{"type":"delete","target":01}`, `{"type":"delete","target":1e2}`, `{"content":null}`, `{"replyTo":1.0}`,
		"plain", "", "{", `{"a":{"b":[]}}`) {
		f.Add([]byte(s), false)
	}
	f.Add([]byte("{text}"), true)
	f.Fuzz(func(t *testing.T, payload []byte, plain bool) {
		compareBody(t, payload)
		got, err := DecodeBody(payload, plain)
		if err != nil {
			wantTyped(t, err)
			return
		}
		clear(payload)
		checkEntryJSON(t, &Entry{Stream: "c/c1", Seq: 1, SenderID: "alice", Body: got})
	})
}

// entryJSON is what a client reads an entry into.
type entryJSON struct {
	ID             string   `json:"id"`
	ConversationID string   `json:"conversationId"`
	Seq            uint64   `json:"seq"`
	Type           string   `json:"type"`
	SenderID       string   `json:"senderId,omitempty"`
	UserID         string   `json:"userId,omitempty"`
	Name           string   `json:"name,omitempty"`
	Target         uint64   `json:"target,omitempty"`
	Content        string   `json:"content,omitempty"`
	MediaURL       string   `json:"mediaUrl,omitempty"`
	ReplyTo        uint64   `json:"replyTo,omitempty"`
	Mentions       []string `json:"mentions,omitempty"`
	Emoji          string   `json:"emoji,omitempty"`
	Remove         bool     `json:"remove,omitempty"`
	ClientID       string   `json:"clientId,omitempty"`
	Deleted        bool     `json:"deleted,omitempty"`
	CreatedAt      string   `json:"createdAt"`
}

// checkEntryJSON compares AppendJSON with encoding/json, byte for byte, and
// what a client reads with what the entry holds.
func checkEntryJSON(t *testing.T, e *Entry) {
	t.Helper()
	want := entryJSON{
		ID: e.ID.String(), ConversationID: e.Stream.Conversation(), Seq: e.Seq, Type: e.Type.String(),
		SenderID: e.SenderID, UserID: e.UserID, Name: e.Name, Target: e.Target, Content: e.Content,
		MediaURL: e.MediaURL, ReplyTo: e.ReplyTo, Mentions: e.Mentions, Emoji: e.Emoji, Remove: e.Remove,
		ClientID: e.ClientID, Deleted: e.Deleted, CreatedAt: e.CreatedAt.UTC().Format(TimeFormat),
	}
	if e.Deleted {
		want.Content, want.MediaURL, want.Mentions, want.ReplyTo = "", "", nil, 0
		want.Emoji, want.Remove = "", false
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(want); err != nil {
		t.Fatal(err)
	}
	got := e.AppendJSON(nil)
	if string(got)+"\n" != buf.String() {
		t.Fatalf("got  %s\nwant %s", got, buf.Bytes())
	}
	var read entryJSON
	if err := json.Unmarshal(got, &read); err != nil {
		t.Fatal(err)
	}
	if utf8.ValidString(e.Content+e.Name+e.Emoji+strings.Join(e.Mentions, "")) && !reflect.DeepEqual(read, want) {
		t.Fatalf("a client reads %+v\nof %+v", read, want)
	}
}

func FuzzEntryJSON(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), uint8(1), uint64(42), "hi <b>\"\\\x00\x1f\x7f\u2028\u2029\b\f\n\r\t", "bob", uint64(41), false, uint64(1763848893123))
	f.Add([]byte{}, uint8(9), uint64(0), "\xff\xed\xa0\x80 \ufffd", "a\xc3", uint64(1<<63), true, uint64(1<<63))
	f.Fuzz(func(t *testing.T, id []byte, kind uint8, seq uint64, text, user string, n uint64, flag bool, at uint64) {
		e := &Entry{Stream: "c/c1", Seq: seq, SenderID: "alice", Deleted: flag,
			CreatedAt: time.UnixMilli(int64(at % (1 << 47))), // before the year 10000
			Body: Body{Type: Type(kind), Content: text, MediaURL: "https://a/", ReplyTo: n, Target: n, Emoji: text,
				Remove: flag, UserID: "bob", Name: text, ClientID: "x"}}
		copy(e.ID[:], id)
		if user != "" {
			e.Mentions = []string{user, text}
		}
		checkEntryJSON(t, e)

		p := Problem{Code: CodeInvalid, Message: text, Topic: user, ClientID: text}
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(p); err != nil || string(p.AppendJSON(nil))+"\n" != buf.String() {
			t.Fatalf("got  %s\nwant %s", p.AppendJSON(nil), buf.Bytes())
		}
	})
}
