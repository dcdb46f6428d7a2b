package api_test

import "testing"

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
