package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// field is a key of a payload.
type field struct {
	kind string // of JSON
	only bool   // must be there
	long string // a value that is too long, or ""
}

// objects are the payloads that clients send, by the last part of the topic: the
// objects, one of each form, and their keys. A new topic must be added, or
// TestEveryTopicRefuses fails.
var objects = []struct {
	kind   chat.Kind
	good   string
	fields map[string]field
}{
	{chat.KindMessages, `{"content":"x","replyTo":4,"mentions":["bob"],"clientId":"m-1"}`, map[string]field{
		"content": {"string", true, strings.Repeat("x", chat.MaxContent+1)}, "mediaUrl": {"string", false, "https://x/" + strings.Repeat("x", chat.MaxMediaURL)},
		"replyTo": {"number", false, ""}, "clientId": {"string", false, strings.Repeat("x", chat.MaxID+1)},
		"mentions": {"array", false, ""}, "type": {"string", false, "message "}}},
	{chat.KindMessages, `{"type":"edit","target":4,"content":"x"}`, map[string]field{
		"target": {"number", true, ""}, "content": {"string", true, strings.Repeat("x", chat.MaxContent+1)}}},
	{chat.KindMessages, `{"type":"delete","target":4}`, map[string]field{"target": {"number", true, ""}}},
	{chat.KindMessages, `{"type":"reaction","target":4,"emoji":"x"}`, map[string]field{
		"target": {"number", true, ""}, "emoji": {"string", true, strings.Repeat("x", chat.MaxEmoji+1)}, "remove": {"bool", false, ""}}},
	{chat.KindTyping, `{"typing":true}`, map[string]field{"typing": {"bool", true, ""}}},
	{chat.KindReceipts, `{"read":1}`, map[string]field{"read": {"number", true, ""}, "delivered": {"number", false, ""}}},
	{chat.KindReplay, `{"after":1}`, map[string]field{"after": {"number", true, ""}}},
	{chat.KindNotificationsRead, `{"upTo":1}`, map[string]field{"upTo": {"number", false, ""}, "ids": {"array", false, ""}}},
	{chat.KindNotificationsRead, `{"all":true}`, map[string]field{"all": {"bool", false, ""}}},
	{chat.KindNotificationsReplay, `{"after":1}`, map[string]field{"after": {"number", true, ""}}},
	{chat.KindPresence, `{"status":"away"}`, map[string]field{"status": {"string", true, "awayaway"}}},
}

// jsonValues are one of each JSON type.
var jsonValues = map[string]string{"null": `null`, "bool": `true`, "number": `17`, "string": `"x"`, "array": `["x"]`, "object": `{"x":1}`}

// bad is a payload that is refused, and the field that the refusal names.
type bad struct{ payload, field string }

// badOnes makes objects that are wrong in one way from one that is not.
func badOnes(good string, fields map[string]field, text bool) (list []bad) {
	var whole map[string]json.RawMessage
	if err := json.Unmarshal([]byte(good), &whole); err != nil {
		panic(err)
	}
	with := func(key, value string) string {
		changed := maps.Clone(whole)
		changed[key] = json.RawMessage(value)
		out, err := json.Marshal(changed)
		if err != nil {
			panic(err)
		}
		return string(out)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		f := fields[key]
		if f.only {
			changed := maps.Clone(whole)
			delete(changed, key)
			out, _ := json.Marshal(changed)
			list = append(list, bad{string(out), key})
		}
		for _, kind := range slices.Sorted(maps.Keys(jsonValues)) {
			if kind != f.kind {
				list = append(list, bad{with(key, jsonValues[kind]), key})
			}
		}
		if f.kind == "number" {
			list = append(list, bad{with(key, `-1`), key}, bad{with(key, `1.5`), key}, bad{with(key, `99999999999999999999`), key})
		}
		if f.long != "" {
			list = append(list, bad{with(key, fmt.Sprintf("%q", f.long)), key})
		}
		if at, ok := whole[key]; ok {
			list = append(list, bad{strings.TrimSuffix(good, "}") + fmt.Sprintf(",%q:%s}", key, at), key}) // stands twice
		}
	}
	list = append(list, bad{with("colour", `"red"`), "colour"}, bad{strings.TrimSuffix(good, "}"), "payload"},
		bad{good + "{}", "payload"}, bad{`{"` + "\xff" + `":1}`, "payload"}, bad{"{" + strings.Repeat(" ", chat.MaxPayload) + good[1:], "payload"})
	if !text {
		list = append(list, bad{"", "payload"}, bad{"x", "payload"}, bad{"[]", "payload"}, bad{`null`, "payload"}, bad{`"x"`, "payload"})
	}
	return list
}

// TestEveryTopicRefuses: what is wrong with a payload is told by code and
// field, and changes nothing.
func TestEveryTopicRefuses(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c1", "alice", "bob")
		s.Conversation("c2", "carol")
		commit(t, s, "c1", "alice", "one")
		commit(t, s, "c1", "bob", "two")
		bob := s.Connect("bob", mqttest.Options{ClientID: "b"})
		bob.Subscribe("users/bob/errors")
		before := everything(t, s)
		seen := map[chat.Kind]bool{}
		for _, p := range objects {
			seen[p.kind] = true
			topic := chat.Topic{Kind: p.kind, ID: "bob"}
			other, none := "alice", ""
			if p.kind.OfChat() {
				topic.ID, other, none = "c1", "c2", "none"
			}
			for _, b := range badOnes(p.good, p.fields, p.kind == chat.KindMessages) {
				refused(t, bob, topic, b.payload, 0x99, chat.CodeInvalid, b.field)
			}
			topic.ID = other
			refused(t, bob, topic, p.good, 0x87, chat.CodeForbidden, "")
			if topic.ID = none; none != "" {
				refused(t, bob, topic, p.good, 0x99, chat.CodeNotFound, "")
			}
		}
		for kind := chat.KindMessages; kind < chat.KindAny; kind++ {
			switch {
			case seen[kind] || kind == chat.KindToken: // a token is no object; see TestTokenTopicRenewsTheToken
			case kind == chat.KindNotifications || kind == chat.KindUnread || kind == chat.KindErrors:
				refused(t, bob, chat.Topic{Kind: kind, ID: "bob"}, `{}`, 0x87, chat.CodeForbidden, "")
			default:
				t.Errorf("%s is new: give it a payload", chat.Topic{Kind: kind, ID: "x"})
			}
		}
		if after := everything(t, s); after != before {
			t.Errorf("something has changed: was\n%s\nis\n%s", before, after)
		}
	})
}

// refused sends a payload and reads why it is refused.
func refused(t *testing.T, c *mqttest.Client, topic chat.Topic, payload string, reason byte, code chat.Code, field string) {
	t.Helper()
	pub := wire.Publish{Topic: topic.Append(nil), Payload: []byte(payload), QoS: 1, PacketID: c.ID()}
	c.PublishPacket(&pub)
	acked, told := false, false
	for !acked || !told {
		switch pk := c.Next(); pk.FixedHeader.Type {
		case packets.Puback:
			if acked = true; pk.ReasonCode != reason {
				t.Errorf("%s %.80q: answered 0x%02x, want 0x%02x", topic, payload, pk.ReasonCode, reason)
			}
			if pk.ReasonCode == 0 {
				return
			}
		case packets.Publish:
			told = true
			var p chat.Problem
			if err := json.Unmarshal(pk.Payload, &p); err != nil || p.Code != code || !strings.HasPrefix(p.Message, field) {
				t.Errorf("%s %.80q: told %s, want %s and %q", topic, payload, pk.Payload, code, field)
			}
		default:
			t.Fatalf("got a %s", wire.TypeName(pk.FixedHeader.Type))
		}
	}
}

// everything is what a client's packet could have changed in the store.
func everything(t *testing.T, s *parleytest.Server) string {
	t.Helper()
	ctx := context.Background()
	var all []any
	for _, id := range []string{"c1", "c2"} {
		conv, err := s.Log.Conversation(ctx, id)
		receipts, err2 := s.Log.Receipts(ctx, id)
		entries, err3 := s.Log.Before(ctx, chat.ConversationStream(id), 0, 1000)
		all = append(all, conv, receipts, entries, err, err2, err3)
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		entries, err := s.Log.Before(ctx, chat.NotificationStream(user), 0, 1000)
		standings, err2 := s.Log.Standings(ctx, []bridge.MemberKey{{Conversation: "c1", UserID: user}})
		all = append(all, entries, standings, err, err2)
	}
	return fmt.Sprintf("%+v", all)
}
