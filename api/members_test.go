package api_test

import (
	"testing"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestPutMember(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		path := "/v1/conversations/c1/members/mallory"
		m := e.do(alice, "PUT", path, nil).want(201)
		wantTimes(e.T, m)
		wantEqual(e.T, "joined", m, obj{"userId": mallory, "role": "member"})
		before := e.state("c1")
		e.do(adam, "PUT", path, nil).want(200)
		e.do(adam, "PUT", path, obj{}).want(200)
		e.do(adam, "PUT", path, obj{"role": "member"}).want(200)
		wantEqual(e.T, "state after what changes nothing", e.state("c1"), before)

		wantEqual(e.T, "role", e.do(alice, "PUT", path, obj{"role": "admin"}).want(200)["role"], "admin")
		wantEqual(e.T, "role", e.do(alice, "PUT", path, nil).want(200)["role"], "admin")
		wantEqual(e.T, "role", e.do(alice, "PUT", path, obj{"role": "member"}).want(200)["role"], "member")
		e.do(mallory, "DELETE", path, nil).want(204)
		wantEqual(e.T, "again", e.do(alice, "PUT", path, obj{"role": "admin"}).want(201)["role"], "admin")

		list := items(e.do(alice, "GET", "/v1/conversations/c1/messages?after=4", nil).want(200))
		wantEqual(e.T, "types", pluck[string](list, "type"), []string{"join", "leave", "join"})
		wantEqual(e.T, "whom", pluck[string](list, "userId"), []string{mallory, mallory, mallory})
		wantEqual(e.T, "by whom", pluck[string](list, "senderId"), []string{alice, mallory, alice})
	})
}

func TestRemovedMemberIsOut(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		e.do(adam, "DELETE", "/v1/conversations/c1/members/bob", nil).want(204)
		e.do(bob, "GET", "/v1/conversations/c1", nil).refused("forbidden", "")
		e.do(bob, "GET", "/v1/conversations/c1/messages", nil).refused("forbidden", "")
		e.do(bob, "POST", "/v1/conversations/c1/messages", obj{"content": "hi"}).refused("forbidden", "")
		wantEqual(e.T, "list", items(e.do(bob, "GET", "/v1/conversations", nil).want(200)), []obj{})
		e.do(adam, "DELETE", "/v1/conversations/c1/members/bob", nil).refused("not_found", "")
	})
}

// TestRoles holds the rules of who may do what, end to end: each case on a
// conversation of its own, so that one change does not help the next.
func TestRoles(t *testing.T) {
	const ok, no, bad, none = "", chat.CodeForbidden, chat.CodeInvalid, chat.CodeNotFound
	users := []string{alice, adam, bob, mallory, root}
	// For each action, what it answers to those users.
	actions := []struct {
		name, method, path string
		body               any
		want               [5]chat.Code
	}{
		{"read", "GET", "", nil, [5]chat.Code{ok, ok, ok, no, ok}},
		{"history", "GET", "/messages", nil, [5]chat.Code{ok, ok, ok, no, ok}},
		{"send", "POST", "/messages", obj{"content": "hi"}, [5]chat.Code{ok, ok, ok, no, no}},
		{"edit carol's", "POST", "/messages", obj{"type": "edit", "target": 5, "content": "x"}, [5]chat.Code{ok, ok, no, no, no}},
		{"delete carol's", "POST", "/messages", obj{"type": "delete", "target": 5}, [5]chat.Code{ok, ok, no, no, no}},
		{"react", "POST", "/messages", obj{"type": "reaction", "target": 5, "emoji": "👍"}, [5]chat.Code{ok, ok, ok, no, no}},
		{"rename", "PATCH", "", obj{"name": "x"}, [5]chat.Code{ok, ok, no, no, ok}},
		{"keep", "PATCH", "", obj{"retention": obj{"count": 1000}}, [5]chat.Code{ok, no, no, no, ok}},
		{"keep all", "PATCH", "", obj{"retention": nil}, [5]chat.Code{ok, no, no, no, ok}},
		{"delete", "DELETE", "", nil, [5]chat.Code{ok, no, no, no, ok}},
		{"add", "PUT", "/members/zoe", nil, [5]chat.Code{ok, ok, no, no, ok}},
		{"add an admin", "PUT", "/members/zoe", obj{"role": "admin"}, [5]chat.Code{ok, no, no, no, ok}},
		{"add an owner", "PUT", "/members/zoe", obj{"role": "owner"}, [5]chat.Code{bad, bad, bad, bad, bad}},
		{"promote", "PUT", "/members/carol", obj{"role": "admin"}, [5]chat.Code{ok, no, no, no, ok}},
		{"add the admin again", "PUT", "/members/adam", nil, [5]chat.Code{ok, ok, no, no, ok}},
		{"demote the admin", "PUT", "/members/adam", obj{"role": "member"}, [5]chat.Code{ok, no, no, no, ok}},
		{"demote the owner", "PUT", "/members/alice", obj{"role": "member"}, [5]chat.Code{bad, bad, bad, bad, bad}},
		{"join by oneself", "PUT", "/members/mallory", nil, [5]chat.Code{ok, ok, no, no, ok}},
		{"remove a member", "DELETE", "/members/carol", nil, [5]chat.Code{ok, ok, no, no, ok}},
		{"remove the admin", "DELETE", "/members/adam", nil, [5]chat.Code{ok, ok, no, no, ok}},
		{"remove bob", "DELETE", "/members/bob", nil, [5]chat.Code{ok, ok, ok, no, ok}},
		{"remove nobody", "DELETE", "/members/zoe", nil, [5]chat.Code{none, none, no, no, none}},
	}
	each(t, func(e *env) {
		fresh := false // the conversation is as every case wants it
		for _, a := range actions {
			for i, user := range users {
				if !fresh {
					e.talk()
					e.say(carol, "from carol")
				}
				before := e.state("c1")
				r := e.do(user, a.method, "/v1/conversations/c1"+a.path, a.body)
				r.what = a.name + " by " + user
				if fresh = a.want[i] != ok; fresh {
					field := ""
					if a.want[i] == bad {
						field = "role"
					}
					r.refused(a.want[i], field)
					wantEqual(e.T, r.what+": state", e.state("c1"), before)
					continue
				}
				if r.status >= 300 {
					e.Errorf("%s: answered %d %s", r.what, r.status, r.body)
				}
				e.do(root, "DELETE", "/v1/conversations/c1", nil)
			}
		}
	})
}
