package api_test

import (
	"testing"

	"github.com/parley-mqtt/parley/internal/chat"
)

const lea = "lea" // has left

const ok, no, bad, none = chat.Code(""), chat.CodeForbidden, chat.CodeInvalid, chat.CodeNotFound

// act is an action on a conversation, and what it answers to each user of a
// table.
type act struct {
	name, method, path string
	body               any
	want               []chat.Code
}

// TestRoles holds the rules of who may do what, end to end: each case on a
// conversation of its own, so that one change does not help the next.
func TestRoles(t *testing.T) {
	type codes = []chat.Code
	// carol is a member, and the author of 7; bob is one and of nothing.
	users := []string{alice, adam, bob, carol, lea, mallory, root}
	actions := []act{
		{"read", "GET", "", nil, codes{ok, ok, ok, ok, no, no, ok}},
		{"list members", "GET", "/members", nil, codes{ok, ok, ok, ok, no, no, ok}},
		{"history", "GET", "/messages", nil, codes{ok, ok, ok, ok, no, no, ok}},
		{"history from the start", "GET", "/messages?after=0", nil, codes{ok, ok, ok, ok, no, no, ok}},
		{"folded", "GET", "/messages?view=folded", nil, codes{ok, ok, ok, ok, no, no, ok}},
		{"see edits of carol's", "GET", "/messages/7/edits", nil, codes{ok, ok, no, ok, no, no, ok}},
		{"see edits of no message", "GET", "/messages/1/edits", nil, codes{none, none, none, none, no, no, none}},
		{"send", "POST", "/messages", obj{"content": "hi"}, codes{ok, ok, ok, ok, no, no, no}},
		{"reply", "POST", "/messages", obj{"content": "hi", "replyTo": 7}, codes{ok, ok, ok, ok, no, no, no}},
		{"edit carol's", "POST", "/messages", obj{"type": "edit", "target": 7, "content": "x"}, codes{ok, ok, no, ok, no, no, no}},
		{"delete carol's", "POST", "/messages", obj{"type": "delete", "target": 7}, codes{ok, ok, no, ok, no, no, no}},
		{"edit lea's", "POST", "/messages", obj{"type": "edit", "target": 5, "content": "x"}, codes{ok, ok, no, no, no, no, no}},
		{"delete lea's", "POST", "/messages", obj{"type": "delete", "target": 5}, codes{ok, ok, no, no, no, no, no}},
		{"react", "POST", "/messages", obj{"type": "reaction", "target": 7, "emoji": "👍"}, codes{ok, ok, ok, ok, no, no, no}},
		{"rename", "PATCH", "", obj{"name": "x"}, codes{ok, ok, no, no, no, no, ok}},
		{"history from joining", "PATCH", "", obj{"history": "join"}, codes{ok, ok, no, no, no, no, ok}},
		{"both", "PATCH", "", obj{"name": "x", "history": "join"}, codes{ok, ok, no, no, no, no, ok}},
		{"keep", "PATCH", "", obj{"retention": obj{"count": 1000}}, codes{ok, no, no, no, no, no, ok}},
		{"keep all", "PATCH", "", obj{"retention": nil}, codes{ok, no, no, no, no, no, ok}},
		{"archive", "PATCH", "/me", obj{"archived": true}, codes{ok, ok, ok, ok, no, no, no}},
		{"delete", "DELETE", "", nil, codes{ok, no, no, no, no, no, ok}},
		{"add", "PUT", "/members/zoe", nil, codes{ok, ok, no, no, no, no, ok}},
		{"add who left", "PUT", "/members/lea", nil, codes{ok, ok, no, no, no, no, ok}},
		{"add an admin", "PUT", "/members/zoe", obj{"role": "admin"}, codes{ok, no, no, no, no, no, ok}},
		{"add an owner", "PUT", "/members/zoe", obj{"role": "owner"}, codes{ok, no, no, no, no, no, ok}},
		{"hand over", "PUT", "/members/carol", obj{"role": "owner"}, codes{ok, no, no, no, no, no, ok}},
		{"hand over to the admin", "PUT", "/members/adam", obj{"role": "owner"}, codes{ok, no, no, no, no, no, ok}},
		{"hand over to the owner", "PUT", "/members/alice", obj{"role": "owner"}, codes{ok, ok, no, no, no, no, ok}},
		{"promote", "PUT", "/members/carol", obj{"role": "admin"}, codes{ok, no, no, no, no, no, ok}},
		{"add the admin again", "PUT", "/members/adam", nil, codes{ok, ok, no, no, no, no, ok}},
		{"demote the admin", "PUT", "/members/adam", obj{"role": "member"}, codes{ok, no, no, no, no, no, ok}},
		{"demote the owner", "PUT", "/members/alice", obj{"role": "member"}, codes{bad, bad, bad, bad, bad, bad, bad}},
		{"join by oneself", "PUT", "/members/mallory", nil, codes{ok, ok, no, no, no, no, ok}},
		{"remove a member", "DELETE", "/members/carol", nil, codes{ok, ok, no, ok, no, no, ok}},
		{"remove the admin", "DELETE", "/members/adam", nil, codes{ok, ok, no, no, no, no, ok}},
		{"remove bob", "DELETE", "/members/bob", nil, codes{ok, ok, ok, no, no, no, ok}},
		{"remove the owner", "DELETE", "/members/alice", nil, codes{ok, no, no, no, no, no, ok}},
		{"remove who left", "DELETE", "/members/lea", nil, codes{none, none, no, no, no, no, none}},
		{"remove nobody", "DELETE", "/members/zoe", nil, codes{none, none, no, no, no, no, none}},
	}
	each(t, func(e *env) {
		e.roles(users, actions, func() string {
			e.do(alice, "POST", "/v1/conversations", obj{"id": "c1", "members": []string{adam, lea, bob}}).want(201)
			e.say(lea, "from lea")
			e.do(alice, "PUT", "/v1/conversations/c1/members/carol", nil).want(201)
			e.say(carol, "from carol")
			e.do(alice, "PUT", "/v1/conversations/c1/members/adam", obj{"role": "admin"}).want(200)
			e.do(lea, "DELETE", "/v1/conversations/c1/members/lea", nil).want(204)
			return "c1"
		})
	})
}

// TestDirectRoles is the same for a direct conversation, where nobody has a
// role.
func TestDirectRoles(t *testing.T) {
	type codes = []chat.Code
	users := []string{alice, bob, mallory, root}
	actions := []act{
		{"read", "GET", "", nil, codes{ok, ok, no, ok}},
		{"list members", "GET", "/members", nil, codes{ok, ok, no, ok}},
		{"history", "GET", "/messages", nil, codes{ok, ok, no, ok}},
		{"folded", "GET", "/messages?view=folded", nil, codes{ok, ok, no, ok}},
		{"see edits of bob's", "GET", "/messages/3/edits", nil, codes{no, ok, no, ok}},
		{"send", "POST", "/messages", obj{"content": "hi"}, codes{ok, ok, no, no}},
		{"edit bob's", "POST", "/messages", obj{"type": "edit", "target": 3, "content": "x"}, codes{no, ok, no, no}},
		{"delete bob's", "POST", "/messages", obj{"type": "delete", "target": 3}, codes{no, ok, no, no}},
		{"react", "POST", "/messages", obj{"type": "reaction", "target": 3, "emoji": "👍"}, codes{ok, ok, no, no}},
		{"rename", "PATCH", "", obj{"name": "x"}, codes{no, no, no, no}},
		{"history from joining", "PATCH", "", obj{"history": "join"}, codes{no, no, no, no}},
		{"archive", "PATCH", "/me", obj{"archived": true}, codes{ok, ok, no, no}},
		{"add", "PUT", "/members/zoe", nil, codes{no, no, no, no}},
		{"add again", "PUT", "/members/bob", nil, codes{no, no, no, no}},
		{"promote", "PUT", "/members/bob", obj{"role": "admin"}, codes{no, no, no, no}},
		{"make an owner", "PUT", "/members/alice", obj{"role": "owner"}, codes{no, no, no, no}},
		{"remove bob", "DELETE", "/members/bob", nil, codes{no, no, no, no}},
		{"delete", "DELETE", "", nil, codes{no, no, no, ok}},
	}
	each(t, func(e *env) {
		e.roles(users, actions, func() string {
			id := e.do(alice, "POST", "/v1/conversations", obj{"direct": bob}).want(201)["id"].(string)
			e.do(bob, "POST", "/v1/conversations/"+id+"/messages", obj{"content": "from bob"}).want(201)
			return id
		})
	})
}

// roles has each user try each action, on a conversation that is made anew
// when the last one was changed.
func (e *env) roles(users []string, actions []act, create func() (id string)) {
	e.Helper()
	id, fresh := "", false
	for _, a := range actions {
		for i, user := range users {
			if !fresh {
				id = create()
			}
			before := e.state(id)
			r := e.do(user, a.method, "/v1/conversations/"+id+a.path, a.body)
			r.what = a.name + " by " + user
			if fresh = a.want[i] != ok; fresh {
				field := ""
				switch {
				case a.want[i] == bad:
					field = "role"
				case a.want[i] == none && a.method == "GET":
					field = "seq"
				}
				r.refused(a.want[i], field)
				wantEqual(e.T, r.what+": state", e.state(id), before)
				continue
			}
			if r.status >= 300 {
				e.Errorf("%s: answered %d %s", r.what, r.status, r.body)
			}
			e.do(root, "DELETE", "/v1/conversations/"+id, nil)
		}
	}
}
