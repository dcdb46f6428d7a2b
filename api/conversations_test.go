package api_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

// wantTimes checks the form of every time in v and takes them out.
func wantTimes(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if strings.HasSuffix(key, "At") {
				if s, _ := value.(string); !timeForm.MatchString(s) {
					t.Errorf("%s is %v, want RFC 3339 in UTC with milliseconds", key, value)
				}
				delete(v, key)
				continue
			}
			wantTimes(t, value)
		}
	case []any:
		for _, item := range v {
			wantTimes(t, item)
		}
	}
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func TestCreateConversation(t *testing.T) {
	each(t, func(e *env) {
		r := e.do(alice, "POST", "/v1/conversations", obj{"id": "c1", "name": "Lunch", "members": []string{bob, alice, bob}})
		conv := r.want(201)
		if got := r.header.Get("Location"); got != "/v1/conversations/c1" {
			e.Errorf("Location is %q", got)
		}
		wantTimes(e.T, conv)
		wantEqual(e.T, "created", conv, obj{"id": "c1", "name": "Lunch", "ownerId": alice, "headSeq": 2.0, "firstSeq": 1.0, "members": []any{
			obj{"userId": alice, "role": "owner"}, obj{"userId": bob, "role": "member"}}})

		// The same id again: what stands, and nothing changes.
		before := e.state("c1")
		conv = e.do(alice, "POST", "/v1/conversations", obj{"id": "c1", "name": "Dinner", "members": []string{carol}}).want(200)
		wantEqual(e.T, "name after asking again", conv["name"], "Lunch")
		wantEqual(e.T, "members after asking again", len(conv["members"].([]any)), 2)
		e.do(bob, "POST", "/v1/conversations", obj{"id": "c1"}).refused("conflict", "")
		e.do(root, "POST", "/v1/conversations", obj{"id": "c1"}).refused("conflict", "")
		wantEqual(e.T, "state", e.state("c1"), before)
	})
}

func TestCreateConversationWithDefaults(t *testing.T) {
	each(t, func(e *env) {
		first := e.do(alice, "POST", "/v1/conversations", obj{}).want(201)
		second := e.do(alice, "POST", "/v1/conversations", obj{"name": "", "members": []string{}}).want(201)
		if id, _ := first["id"].(string); len(id) != 36 || first["id"] == second["id"] {
			e.Errorf("the server made the ids %v and %v", first["id"], second["id"])
		}
		wantEqual(e.T, "name", first["name"], "")
		wantEqual(e.T, "members", len(first["members"].([]any)), 1)
		many := make([]string, 1000)
		for i := range many {
			many[i] = fmt.Sprintf("user-%04d-%s", i, strings.Repeat("x", 54))
		}
		full := e.do(alice, "POST", "/v1/conversations", obj{"members": many}).want(201)
		wantEqual(e.T, "head of the largest", full["headSeq"], 1001.0)
	})
}

func TestGetConversation(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		for _, user := range []string{alice, adam, bob, root} {
			conv := e.do(user, "GET", "/v1/conversations/c1", nil).want(200)
			wantTimes(e.T, conv)
			wantEqual(e.T, "for "+user, conv, obj{"id": "c1", "name": "Lunch", "ownerId": alice, "headSeq": 4.0, "firstSeq": 1.0, "members": []any{
				obj{"userId": alice, "role": "owner"}, obj{"userId": adam, "role": "admin"},
				obj{"userId": bob, "role": "member"}, obj{"userId": carol, "role": "member"}}})
		}
		e.do(mallory, "GET", "/v1/conversations/c1", nil).refused("forbidden", "")
		e.do(bob, "DELETE", "/v1/conversations/c1/members/bob", nil).want(204)
		e.do(bob, "GET", "/v1/conversations/c1", nil).refused("forbidden", "")
	})
}

func TestRenameConversation(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		for i, user := range []string{alice, adam, root} {
			name := "by " + user
			conv := e.do(user, "PATCH", "/v1/conversations/c1", obj{"name": name}).want(200)
			wantEqual(e.T, "name", conv["name"], name)
			wantEqual(e.T, "head", conv["headSeq"], float64(5+i))
		}
		wantEqual(e.T, "empty name", e.do(alice, "PATCH", "/v1/conversations/c1", obj{"name": ""}).want(200)["name"], "")
		last := items(e.do(bob, "GET", "/v1/conversations/c1/messages?after=6", nil).want(200))
		wantEqual(e.T, "types", pluck[string](last, "type"), []string{"rename", "rename"})
		wantEqual(e.T, "new names", pluck[string](last, "name"), []string{"by root", ""})
	})
}

func TestDeleteConversation(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		e.do(adam, "DELETE", "/v1/conversations/c1", nil).refused("forbidden", "")
		e.do(alice, "DELETE", "/v1/conversations/c1", nil).want(204)
		e.do(alice, "DELETE", "/v1/conversations/c1", nil).refused("not_found", "")
		for _, user := range []string{alice, bob, mallory, root} {
			e.do(user, "GET", "/v1/conversations/c1", nil).refused("not_found", "")
			e.do(user, "GET", "/v1/conversations/c1/messages", nil).refused("not_found", "")
		}
		// The id is free again, and nothing of old shows.
		e.do(mallory, "POST", "/v1/conversations", obj{"id": "c1"}).want(201)
		wantEqual(e.T, "history", len(items(e.do(mallory, "GET", "/v1/conversations/c1/messages", nil).want(200))), 1)
		e.do(root, "DELETE", "/v1/conversations/c1", nil).want(204)
	})
}

func TestListConversations(t *testing.T) {
	each(t, func(e *env) {
		for i := range 7 {
			id := fmt.Sprintf("room-%d", i)
			e.do(alice, "POST", "/v1/conversations", obj{"id": id, "members": []string{bob}}).want(201)
		}
		e.do(mallory, "POST", "/v1/conversations", obj{"id": "other"}).want(201)
		e.do(alice, "POST", "/v1/conversations/room-3/messages", obj{"content": "hi", "clientId": "a-1"}).want(201)
		all := items(e.do(bob, "GET", "/v1/conversations", nil).want(200))
		ids := pluck[string](all, "id")
		wantEqual(e.T, "newest activity first", ids,
			[]string{"room-3", "room-6", "room-5", "room-4", "room-2", "room-1", "room-0"})

		// Pages of any size give the same list, each line once.
		for limit := 1; limit <= 8; limit++ {
			wantEqual(e.T, fmt.Sprintf("pages of %d", limit), e.pages(bob, limit), ids)
		}
		wantEqual(e.T, "for a stranger", e.do(carol, "GET", "/v1/conversations", nil).want(200), obj{"items": []any{}})
		wantEqual(e.T, "for scope admin", e.do(root, "GET", "/v1/conversations", nil).want(200), obj{"items": []any{}})
	})
}

// pages reads a user's list page by page and answers the ids.
func (e *env) pages(user string, limit int) []string {
	e.Helper()
	var ids []string
	path := fmt.Sprintf("/v1/conversations?limit=%d", limit)
	for cursor := ""; ; {
		page := e.do(user, "GET", path+cursor, nil).want(200)
		list := items(page)
		if len(list) > limit {
			e.Fatalf("a page of %d has %d items", limit, len(list))
		}
		ids = append(ids, pluck[string](list, "id")...)
		next, more := page["nextCursor"].(string)
		if !more {
			return ids
		}
		if len(list) != limit || next == "" {
			e.Fatalf("a page of %d has %d items and nextCursor %q", limit, len(list), next)
		}
		cursor = "&cursor=" + next
	}
}

func TestListConversationsShowsTheLastMessage(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		line := func() obj {
			list := items(e.do(bob, "GET", "/v1/conversations", nil).want(200))
			wantEqual(e.T, "lines", len(list), 1)
			wantTimes(e.T, list[0])
			return list[0]
		}
		want := obj{"id": "c1", "name": "Lunch", "ownerId": alice, "headSeq": 4.0, "readSeq": 3.0, "unread": 0.0}
		wantEqual(e.T, "before any message", line(), want)
		e.say(alice, "first")
		sent := e.do(alice, "POST", "/v1/conversations/c1/messages", obj{"content": "second", "clientId": "a-2"}).want(201)
		wantTimes(e.T, sent)
		want["headSeq"], want["unread"], want["lastMessage"] = 6.0, 2.0, sent
		wantEqual(e.T, "after two messages", line(), want)
		e.do(alice, "POST", "/v1/conversations/c1/messages", obj{"type": "delete", "target": 6}).want(201)
		wantEqual(e.T, "after a delete", line()["lastMessage"].(obj)["content"], "first")
	})
}

// A page that is full to the last line has no next one.
func TestListConversationsEndsExactly(t *testing.T) {
	e := one(t, nil)
	for i := range 4 {
		e.do(alice, "POST", "/v1/conversations", obj{"id": fmt.Sprintf("r%d", i)}).want(201)
	}
	if page := e.do(alice, "GET", "/v1/conversations?limit=4", nil).want(200); page["nextCursor"] != nil {
		e.Errorf("nextCursor is %v on the last page", page["nextCursor"])
	}
	if page := e.do(alice, "GET", "/v1/conversations?limit=3", nil).want(200); page["nextCursor"] == nil {
		e.Error("there is no nextCursor on the first of two pages")
	}
}
