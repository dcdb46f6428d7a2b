package chat

import (
	"errors"
	"strings"
	"testing"
)

// wantRefusal wants err to be an *Error of code about field.
func wantRefusal(t testing.TB, err error, code Code, field string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Code != code || e.Field != field || e.Message == "" {
		t.Fatalf("got code %q, field %q, message %q; want code %q, field %q", e.Code, e.Field, e.Message, code, field)
	}
}

// contractTopics are the topics of the contract's table.
var contractTopics = map[string]Topic{
	"chat/c1/messages":                 {Kind: KindMessages, ID: "c1"},
	"chat/c1/typing":                   {Kind: KindTyping, ID: "c1"},
	"chat/c1/receipts":                 {Kind: KindReceipts, ID: "c1"},
	"chat/c1/replay":                   {Kind: KindReplay, ID: "c1"},
	"users/alice/notifications":        {Kind: KindNotifications, ID: "alice"},
	"users/alice/notifications/read":   {Kind: KindNotificationsRead, ID: "alice"},
	"users/alice/notifications/replay": {Kind: KindNotificationsReplay, ID: "alice"},
	"users/alice/unread":               {Kind: KindUnread, ID: "alice"},
	"users/alice/presence":             {Kind: KindPresence, ID: "alice"},
	"users/alice/errors":               {Kind: KindErrors, ID: "alice"},
	"users/alice/token":                {Kind: KindToken, ID: "alice"},
}

func TestParseTopic(t *testing.T) {
	kinds := map[Kind]bool{}
	for name, want := range contractTopics {
		got, err := ParseTopic(name)
		want.Name = name
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		// Append is the inverse, without the name too.
		if s := (Topic{Kind: want.Kind, ID: want.ID}).String(); s != name {
			t.Errorf("%s is printed as %s", name, s)
		}
		if got.Kind.OfChat() != strings.HasPrefix(name, "chat/") {
			t.Errorf("%s: OfChat is %v", name, got.Kind.OfChat())
		}
		kinds[got.Kind] = true
	}
	if len(kinds) != int(KindAny)-1 {
		t.Errorf("the table has %d kinds of %d", len(kinds), int(KindAny)-1)
	}
	for _, name := range []string{"a", "/", "devices/d1/state", "chats/c1/messages", "Chat/c1/messages", "/chat/c1/messages",
		"$SYS/x", "a//b", " ", "größe/ü", strings.Repeat("x", MaxTopic), strings.Repeat("/", MaxTopicLevels-1)} {
		got, err := ParseTopic(name)
		if err != nil || got != (Topic{Kind: KindOrdinary, Name: name}) || got.String() != name {
			t.Errorf("%q: got %+v, %v", name, got, err)
		}
	}
	long := "chat/" + strings.Repeat("i", MaxID) + "/messages"
	if got, err := ParseTopic(long); err != nil || got.ID != strings.Repeat("i", MaxID) {
		t.Errorf("%s: %+v, %v", long, got, err)
	}
}

func TestParseTopicRefuses(t *testing.T) {
	for _, c := range []struct {
		name, topic string
		code        Code
		field       string
	}{
		{"MQTT-4.7.3-1 empty", "", CodeInvalid, "topic"},
		{"MQTT-3.3.2-2 +", "devices/+", CodeInvalid, "topic"},
		{"MQTT-3.3.2-2 #", "#", CodeInvalid, "topic"},
		{"MQTT-3.3.2-2 + in a level", "a+b", CodeInvalid, "topic"},
		{"MQTT-3.3.2-2 + of ours", "chat/+/messages", CodeInvalid, "topic"},
		{"MQTT-1.5.4-2 U+0000", "a\x00b", CodeInvalid, "topic"},
		{"MQTT-1.5.4-1 not UTF-8", "a\xffb", CodeInvalid, "topic"},
		{"MQTT-1.5.4-1 surrogate", "a\xed\xa0\x80", CodeInvalid, "topic"},
		{"too long", strings.Repeat("x", MaxTopic+1), CodeInvalid, "topic"},
		{"too deep", strings.Repeat("/", MaxTopicLevels), CodeInvalid, "topic"},
		{"root alone", "chat", CodeInvalid, "topic"},
		{"root and slash", "users/", CodeInvalid, "topic"},
		{"no id", "chat//messages", CodeInvalid, "topic"},
		{"id with a space", "chat/c 1/messages", CodeInvalid, "topic"},
		{"id not ASCII", "users/zoë/presence", CodeInvalid, "topic"},
		{"id with $", "users/$SYS/presence", CodeInvalid, "topic"},
		{"id too long", "chat/" + strings.Repeat("i", MaxID+1) + "/messages", CodeInvalid, "topic"},
		{"conversation alone", "chat/c1", CodeNotFound, ""},
		{"conversation and slash", "chat/c1/", CodeNotFound, ""},
		{"unknown below chat", "chat/c1/secrets", CodeNotFound, ""},
		{"another case", "chat/c1/Messages", CodeNotFound, ""},
		{"deeper", "chat/c1/messages/1", CodeNotFound, ""},
		{"slash at the end", "chat/c1/messages/", CodeNotFound, ""},
		{"of users below chat", "chat/c1/presence", CodeNotFound, ""},
		{"of chat below users", "users/alice/messages", CodeNotFound, ""},
		{"unknown below notifications", "users/alice/notifications/unread", CodeNotFound, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseTopic(c.topic)
			wantRefusal(t, err, c.code, c.field)
		})
	}
}

func TestParseFilter(t *testing.T) {
	cases := map[string]Filter{
		"chat/+/messages":         {Kind: KindMessages, Any: true},
		"chat/+/typing":           {Kind: KindTyping, Any: true},
		"chat/+/receipts":         {Kind: KindReceipts, Any: true},
		"chat/+/+":                {Kind: KindAny, Any: true},
		"users/+/presence":        {Kind: KindPresence, Any: true},
		"users/alice/#":           {Kind: KindAny, ID: "alice"},
		"$share/g/chat/+/+":       {Kind: KindAny, Any: true, Share: "g"},
		"$share/g/users/a/errors": {Kind: KindErrors, ID: "a", Share: "g"},
		"$share/g/a/+":            {Share: "g"},
		"$share/g/#":              {Share: "g"},
		"$share/g//":              {Share: "g"},
		"$share":                  {},
		"$SYS/#":                  {},
		"$SHARE/g":                {},
	}
	for name, topic := range contractTopics {
		cases[name] = Filter{Kind: topic.Kind, ID: topic.ID}
	}
	for _, name := range []string{"#", "+", "/", "+/+", "a/#", "+/a/#", "/+", "+/c1/messages", "chats/#", "a//b"} {
		cases[name] = Filter{}
	}
	for name, want := range cases {
		want.Name = name
		got, err := ParseFilter(name)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if got.OfChat() != (strings.Contains(name, "chat/") && got.Kind != KindOrdinary) {
			t.Errorf("%s: OfChat is %v", name, got.OfChat())
		}
	}
}

func TestParseFilterRefuses(t *testing.T) {
	for _, c := range []struct {
		name, filter string
		code         Code
	}{
		{"MQTT-4.7.3-1 empty", "", CodeInvalid},
		{"MQTT-4.7.1-1 # in a level", "a#", CodeInvalid},
		{"MQTT-4.7.1-1 # not last", "a/#/b", CodeInvalid},
		{"MQTT-4.7.1-1 slash behind #", "a/#/", CodeInvalid},
		{"MQTT-4.7.1-1 two #", "#/#", CodeInvalid},
		{"MQTT-4.7.1-2 + in a level", "a+", CodeInvalid},
		{"MQTT-4.7.1-2 + before text", "+a/b", CodeInvalid},
		{"MQTT-4.7.1-2 ++", "a/++/b", CodeInvalid},
		{"MQTT-4.8.2-1 no group", "$share//a", CodeInvalid},
		{"MQTT-4.8.2-1 no filter", "$share/g/", CodeInvalid},
		{"MQTT-4.8.2-1 no slash", "$share/g", CodeInvalid},
		{"MQTT-4.8.2-1 nothing", "$share/", CodeInvalid},
		{"MQTT-4.8.2-2 wildcard in the group", "$share/+/a", CodeInvalid},
		{"MQTT-4.8.2-2 # in the group", "$share/g#/a", CodeInvalid},
		{"wildcard behind the group", "$share/g/a#", CodeInvalid},
		{"MQTT-1.5.4-2 U+0000", "a\x00", CodeInvalid},
		{"MQTT-1.5.4-1 not UTF-8", "\xff", CodeInvalid},
		{"too long", strings.Repeat("x", MaxTopic+1), CodeInvalid},
		{"too deep", strings.Repeat("/", MaxTopicLevels), CodeInvalid},
		{"all of chat", "chat/#", CodeForbidden},
		{"all of a conversation", "chat/c1/#", CodeForbidden},
		{"each of a conversation", "chat/c1/+", CodeForbidden},
		{"all of all conversations", "chat/+/#", CodeForbidden},
		{"every replay", "chat/+/replay", CodeForbidden},
		{"chat alone", "chat", CodeForbidden},
		{"chat and +", "chat/+", CodeForbidden},
		{"unknown", "chat/c1/secrets", CodeForbidden},
		{"bad id", "chat/c 1/messages", CodeForbidden},
		{"all users", "users/#", CodeForbidden},
		{"all of all users", "users/+/#", CodeForbidden},
		{"each of a user", "users/alice/+", CodeForbidden},
		{"everybody's notifications", "users/+/notifications", CodeForbidden},
		{"everybody's token", "users/+/token", CodeForbidden},
		{"everybody's anything", "users/+/+", CodeForbidden},
		{"shared", "$share/g/chat/#", CodeForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseFilter(c.filter)
			field := ""
			if c.code == CodeInvalid {
				field = "filter"
			}
			wantRefusal(t, err, c.code, field)
		})
	}
}

func TestFilterMatches(t *testing.T) {
	for _, c := range []struct {
		filter string
		yes    []string
		no     []string
	}{
		{"chat/c1/messages", []string{"chat/c1/messages"}, []string{"chat/c2/messages", "chat/c1/typing", "a/b"}},
		{"chat/+/messages", []string{"chat/c1/messages", "chat/c2/messages"}, []string{"chat/c1/typing"}},
		{"chat/+/+", []string{"chat/c1/messages", "chat/c2/typing", "chat/c/receipts"}, []string{"users/c1/errors", "chats/a/b"}},
		{"$share/g/chat/+/+", []string{"chat/c1/messages"}, []string{"users/c1/errors"}},
		{"users/alice/#", []string{"users/alice/errors", "users/alice/notifications", "users/alice/unread", "users/alice/presence"},
			[]string{"users/bob/errors", "chat/alice/messages"}},
		{"users/+/presence", []string{"users/alice/presence", "users/bob/presence"}, []string{"users/alice/errors"}},
		{"users/alice/presence", []string{"users/alice/presence"}, []string{"users/bob/presence", "users/alice/unread"}},
		// Ordinary filters and topics are the router's. No filter of the
		// others may reach into chat/ or users/.
		{"#", nil, []string{"chat/c1/messages", "users/alice/errors", "a/b"}},
		{"+/c1/messages", nil, []string{"chat/c1/messages"}},
		{"a/b", nil, []string{"a/b"}},
	} {
		f, err := ParseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range append(c.yes, c.no...) {
			topic, err := ParseTopic(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Matches(topic); got != (i < len(c.yes)) {
				t.Errorf("%s matches %s: %v", c.filter, name, got)
			}
		}
	}
}

func TestTopicsDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 100)
	filter := Filter{Kind: KindAny, ID: "alice"}
	allocs := testing.AllocsPerRun(100, func() {
		for _, name := range [...]string{"chat/c1/messages", "users/alice/notifications/read", "devices/d1/state"} {
			topic, err := ParseTopic(name)
			if err != nil {
				t.Fatal(err)
			}
			dst = topic.Append(dst[:0])
			if filter.Matches(topic) != (topic.ID == "alice") {
				t.Fatal("matches")
			}
		}
		for _, name := range [...]string{"chat/+/+", "users/alice/#", "$share/g/a/+", "chat/c1/typing"} {
			if _, err := ParseFilter(name); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
