package acl

import (
	"fmt"
	"testing"

	"github.com/parley-mqtt/parley/internal/chat"
)

// who may: nobody, the user itself, the user and admins, everybody.
type who int

const (
	nobody who = iota
	own
	ownOrAdmin
	everybody
)

func (w who) allows(isOwn, isAdmin bool) bool {
	return w == everybody || w == own && isOwn || w == ownOrAdmin && (isOwn || isAdmin)
}

// rules is the table of topics of the contract. Ordinary topics have tests of
// their own.
var rules = map[chat.Kind]struct{ publish, subscribe who }{
	chat.KindMessages:            {everybody, everybody},
	chat.KindTyping:              {everybody, everybody},
	chat.KindReceipts:            {everybody, everybody},
	chat.KindReplay:              {everybody, nobody},
	chat.KindNotifications:       {nobody, ownOrAdmin},
	chat.KindNotificationsRead:   {own, nobody},
	chat.KindNotificationsReplay: {own, nobody},
	chat.KindUnread:              {nobody, ownOrAdmin},
	chat.KindPresence:            {own, everybody},
	chat.KindErrors:              {nobody, ownOrAdmin},
	chat.KindToken:               {own, nobody},
	chat.KindAny:                 {nobody, ownOrAdmin},
}

// anyOf are the kinds whose filter may have + in place of the id.
var anyOf = map[chat.Kind]bool{
	chat.KindMessages: true, chat.KindTyping: true, chat.KindReceipts: true,
	chat.KindPresence: true, chat.KindAny: true,
}

// TestGuardsEveryKind walks all kinds that there are and could be. A kind that
// the table does not have must be refused.
func TestGuardsEveryKind(t *testing.T) {
	for k := range 256 {
		kind := chat.Kind(k)
		if kind == chat.KindOrdinary {
			continue
		}
		rule, known := rules[kind]
		if known != (kind <= chat.KindAny) {
			t.Fatalf("the table of this test is not up to date: kind %d", k)
		}
		for _, scopes := range []Scopes{0, Notify, Admin, Admin | Notify} {
			id := &Identity{UserID: "alice", Scopes: scopes, Pub: []string{"#"}, Sub: []string{"#"}}
			admin := scopes&Admin != 0
			for _, of := range []string{"alice", "bob"} {
				name := fmt.Sprintf("kind %d of %s, scopes %b", k, of, scopes)
				check(t, "publish "+name, id.MayPublish(chat.Topic{Kind: kind, ID: of}),
					rule.publish.allows(of == "alice", admin))
				check(t, "subscribe "+name, id.MaySubscribe(chat.Filter{Kind: kind, ID: of}),
					rule.subscribe.allows(of == "alice", admin))
				check(t, "share "+name, id.MaySubscribe(chat.Filter{Kind: kind, ID: of, Share: "g"}),
					rule.subscribe.allows(of == "alice", admin))
			}
			check(t, fmt.Sprintf("subscribe to all of kind %d", k),
				id.MaySubscribe(chat.Filter{Kind: kind, Any: true}), anyOf[kind])
		}
	}
}

func check(t *testing.T, what string, err error, allowed bool) {
	t.Helper()
	if allowed {
		if err != nil {
			t.Errorf("%s: %v, want it allowed", what, err)
		}
		return
	}
	if err == nil {
		t.Errorf("%s: allowed, want it refused", what)
		return
	}
	wantCode(t, err, chat.CodeForbidden)
}

// TestGuardsByName goes through the parsers, as the server does. "" is refused
// by the parser already.
func TestGuardsByName(t *testing.T) {
	alice := &Identity{UserID: "alice", Pub: []string{"devices/d1/#", "fleet/+/up"}, Sub: []string{"devices/d1/#", "fleet/+/down"}}
	root := &Identity{UserID: "root", Scopes: Admin}
	all := &Identity{UserID: "all", Pub: []string{"#", "+/x/messages", "chat/#", "users/#", "$SYS/#"},
		Sub: []string{"#", "+/x/messages", "chat/#", "users/#", "$SYS/#", "$share/g/#"}}
	for _, c := range []struct {
		id       *Identity
		pub, sub string
		want     bool
	}{
		{id: alice, pub: "chat/c1/messages", want: true},
		{id: alice, pub: "users/alice/notifications", want: false},
		{id: alice, pub: "users/alice/notifications/read", want: true},
		{id: alice, pub: "users/bob/notifications/read", want: false},
		{id: alice, pub: "users/bob/presence", want: false},
		{id: root, pub: "users/bob/presence", want: false},
		{id: root, pub: "users/bob/token", want: false},
		{id: alice, pub: "devices/d1/up", want: true},
		{id: alice, pub: "devices/d1", want: true},
		{id: alice, pub: "devices/d2/up", want: false},
		{id: alice, pub: "fleet/7/up", want: true},
		{id: alice, pub: "fleet/7/down", want: false},
		{id: root, pub: "devices/d1/up", want: false}, // admin is not a filter
		{id: all, pub: "$SYS/x", want: false},
		{id: all, pub: "$share/g/a", want: false},
		{id: all, pub: "users/bob/presence", want: false},
		{id: all, pub: "any/thing", want: true},
		{id: all, pub: "/chat/x", want: true}, // another topic altogether

		{id: alice, sub: "chat/+/messages", want: true},
		{id: alice, sub: "chat/+/+", want: true},
		{id: alice, sub: "chat/c1/replay", want: false},
		{id: alice, sub: "users/+/presence", want: true},
		{id: alice, sub: "users/bob/presence", want: true},
		{id: alice, sub: "users/alice/#", want: true},
		{id: alice, sub: "users/bob/#", want: false},
		{id: root, sub: "users/bob/#", want: true},
		{id: root, sub: "users/bob/notifications", want: true},
		{id: alice, sub: "users/alice/token", want: false},
		{id: root, sub: "users/bob/token", want: false},
		{id: alice, sub: "$share/g/chat/c1/messages", want: true},
		{id: alice, sub: "$share/g/users/bob/notifications", want: false},
		{id: alice, sub: "devices/d1/#", want: true},
		{id: alice, sub: "devices/d1", want: true},
		{id: alice, sub: "devices/+/x", want: false},
		{id: alice, sub: "devices/#", want: false},
		{id: alice, sub: "fleet/+/down", want: true},
		{id: alice, sub: "fleet/7/down", want: true},
		{id: alice, sub: "fleet/#", want: false},
		{id: alice, sub: "#", want: false},
		{id: alice, sub: "+/+/down", want: false},
		{id: alice, sub: "$share/g/devices/d1/+", want: true},
		{id: alice, sub: "$share/g/devices/d2/+", want: false},
		{id: alice, sub: "$share/g/#", want: false},
		{id: root, sub: "#", want: false},
		{id: all, sub: "#", want: true}, // of ordinary topics
		{id: all, sub: "+/x/messages", want: true},
		{id: all, sub: "$SYS/#", want: false},
		{id: all, sub: "$SYS/x", want: false},
		{id: all, sub: "$share/g/$SYS/x", want: false},
		{id: all, sub: "$share/g/$share/g/x", want: false},
		{id: all, sub: "users/bob/notifications", want: false},
	} {
		if c.pub != "" {
			topic, err := chat.ParseTopic(c.pub)
			if err != nil {
				t.Fatal(err)
			}
			check(t, c.id.UserID+" publishes to "+c.pub, c.id.MayPublish(topic), c.want)
			continue
		}
		filter, err := chat.ParseFilter(c.sub)
		if err != nil {
			t.Fatal(err)
		}
		check(t, c.id.UserID+" subscribes to "+c.sub, c.id.MaySubscribe(filter), c.want)
	}
}

// TestGuardsDoNotTrustTheParser hands in what no parser makes.
func TestGuardsDoNotTrustTheParser(t *testing.T) {
	id := &Identity{UserID: "alice", Pub: []string{"#", "chat/#", "$SYS/#", ""}, Sub: []string{"#", "chat/#", "$SYS/#", ""}}
	for _, name := range []string{"", "chat", "chat/c1/messages", "users/bob/notifications", "users", "$SYS/x"} {
		check(t, "publish "+name, id.MayPublish(chat.Topic{Name: name}), false)
		check(t, "subscribe "+name, id.MaySubscribe(chat.Filter{Name: name}), false)
		check(t, "share "+name, id.MaySubscribe(chat.Filter{Name: "$share/g/" + name, Share: "g"}), false)
	}
	for _, name := range []string{"", "a/b", "$share/g", "$share/"} {
		check(t, "broken share "+name, id.MaySubscribe(chat.Filter{Name: name, Share: "g"}), false)
	}
	check(t, "a share not named", id.MaySubscribe(chat.Filter{Name: "$share/g/a"}), false)

	var zero Identity
	check(t, "publish as nobody", zero.MayPublish(chat.Topic{Kind: chat.KindMessages, ID: "c1"}), false)
	check(t, "publish as nobody", zero.MayPublish(chat.Topic{Kind: chat.KindToken}), false)
	check(t, "subscribe as nobody", zero.MaySubscribe(chat.Filter{Kind: chat.KindNotifications}), false)
	check(t, "subscribe as nobody", zero.MaySubscribe(chat.Filter{Kind: chat.KindMessages, Any: true}), false)
}

func TestHas(t *testing.T) {
	for _, c := range []struct {
		have, want Scopes
		ok         bool
	}{
		{0, Notify, false}, {0, Admin, false}, {0, 0, false}, {Notify, 0, false},
		{Notify, Notify, true}, {Notify, Admin, false}, {Notify, Notify | Admin, false},
		{Admin, Admin, true}, {Admin, Notify, true}, {Admin | Notify, Notify | Admin, true},
	} {
		id := Identity{UserID: "alice", Scopes: c.have}
		if got := id.Has(c.want); got != c.ok {
			t.Errorf("%b has %b: %v, want %v", c.have, c.want, got, c.ok)
		}
	}
}

func TestGuardsDoNotAllocate(t *testing.T) {
	id, topics, filters := guardCases(t)
	if n := testing.AllocsPerRun(100, func() {
		for i := range topics {
			if id.MayPublish(topics[i]) != nil {
				t.Fatal(topics[i])
			}
		}
	}); n != 0 {
		t.Errorf("MayPublish: %v allocations, want none", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range filters {
			if id.MaySubscribe(filters[i]) != nil {
				t.Fatal(filters[i])
			}
		}
	}); n != 0 {
		t.Errorf("MaySubscribe: %v allocations, want none", n)
	}
	// Refusals are what a stranger can have in any number.
	if n := testing.AllocsPerRun(100, func() {
		if id.MayPublish(chat.Topic{Name: "x/y"}) == nil || id.MaySubscribe(chat.Filter{Name: "#"}) == nil {
			t.Fatal("allowed")
		}
	}); n != 0 {
		t.Errorf("refusals: %v allocations, want none", n)
	}
}

// guardCases are allowed, one of each way through the guards.
func guardCases(t testing.TB) (*Identity, []chat.Topic, []chat.Filter) {
	t.Helper()
	id := &Identity{UserID: "alice", Pub: []string{"a/b", "devices/+/up"}, Sub: []string{"a/b", "devices/d1/#"}}
	var topics []chat.Topic
	for _, name := range []string{"chat/c1/messages", "users/alice/presence", "devices/d1/up"} {
		topics = append(topics, must(chat.ParseTopic(name)))
	}
	var filters []chat.Filter
	for _, name := range []string{"chat/+/messages", "users/alice/#", "devices/d1/+/x", "$share/g/devices/d1/y"} {
		filters = append(filters, must(chat.ParseFilter(name)))
	}
	return id, topics, filters
}
