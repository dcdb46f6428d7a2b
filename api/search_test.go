package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// found searches, and answers the contents of what was found.
func (e *env) found(user, query string) []string {
	e.Helper()
	return pluck[string](items(e.do(user, "GET", "/v1/search?"+query, nil).want(200)), "content")
}

func TestSearch(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		e.do(bob, "POST", "/v1/conversations", obj{"id": "c2", "members": []string{carol}}).want(201)
		lunch := e.do(alice, "POST", "/v1/conversations/c1/messages", obj{"content": "Lunch on Friday?", "clientId": "a-1"}).want(201)
		e.do(bob, "POST", "/v1/conversations/c2/messages", obj{"content": "FRIDAY is mine"}).want(201)
		e.say(carol, "friday: no lunch")

		wantEqual(e.T, "alice", e.found(alice, "q=friday"), []string{"friday: no lunch", "Lunch on Friday?"})
		wantEqual(e.T, "bob", e.found(bob, "q=friday"), []string{"friday: no lunch", "FRIDAY is mine", "Lunch on Friday?"})
		wantEqual(e.T, "bob in c2", e.found(bob, "q=friday&conversation=c2"), []string{"FRIDAY is mine"})
		wantEqual(e.T, "no whole word", e.found(alice, "q=fri"), []string{})
		wantEqual(e.T, "no member", e.found(mallory, "q=friday"), []string{})
		wantEqual(e.T, "an admin's own", e.found(root, "q=friday"), []string{})
		wantEqual(e.T, "operators", e.found(alice, "q="+url.QueryEscape(`"LUNCH" & !on:* | 'friday'`)), []string{"Lunch on Friday?"})
		one := e.do(alice, "GET", "/v1/search?q=on", nil).want(200)
		wantEqual(e.T, "the whole answer", one, obj{"items": []any{lunch}})

		e.do(alice, "POST", "/v1/conversations/c1/messages", obj{"type": "edit", "target": lunch["seq"], "content": "Dinner on Friday?"}).want(201)
		wantEqual(e.T, "the old text", e.found(alice, "q=on+lunch"), []string{})
		wantEqual(e.T, "the new text", e.found(alice, "q=dinner"), []string{"Dinner on Friday?"})
		e.do(alice, "POST", "/v1/conversations/c1/messages", obj{"type": "delete", "target": lunch["seq"]}).want(201)
		wantEqual(e.T, "deleted", e.found(alice, "q=on"), []string{})

		e.do(carol, "DELETE", "/v1/conversations/c1/members/carol", nil).want(204)
		wantEqual(e.T, "carol, who has left c1", e.found(carol, "q=friday"), []string{"FRIDAY is mine"})
		e.do(carol, "GET", "/v1/search?q=friday&conversation=c1", nil).refused("forbidden", "")
		e.do(root, "GET", "/v1/search?q=friday&conversation=c1", nil).refused("forbidden", "")
		e.do(alice, "GET", "/v1/search?q=friday&conversation=nowhere", nil).refused("not_found", "")
	})
}

func TestSearchInPages(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		var want []string
		for i := range 12 {
			text := fmt.Sprint("fish ", i)
			e.say(bob, text)
			want = append(want, text)
		}
		slices.Reverse(want)
		for _, limit := range []int{1, 5, 6, 11, 12, 13} {
			var got []string
			for cursor := ""; ; {
				page := e.do(alice, "GET", fmt.Sprintf("/v1/search?q=fish&limit=%d%s", limit, cursor), nil).want(200)
				got = append(got, pluck[string](items(page), "content")...)
				next, more := page["nextCursor"].(string)
				if !more {
					break
				}
				if len(items(page)) != limit {
					e.Errorf("a page of %d has %d items", limit, len(items(page)))
				}
				cursor = "&cursor=" + next
			}
			wantEqual(e.T, fmt.Sprint("pages of ", limit), got, want)
		}
	})
}

func TestSearchRefuses(t *testing.T) {
	e := one(t, nil)
	e.talk()
	for query, field := range map[string]string{
		"": "q", "q=": "q", "q=%20": "q", "q=%F0%9F%91%8D": "q", "q=%27%26": "q", "q=" + strings.Repeat("a", 257): "q",
		"q=%ff": "q", "q=a&q=b": "q", "Q=a": "Q", "q=a&conversation=a%20b": "conversation", "q=a&conversation=": "conversation",
		"q=a&limit=0": "limit", "q=a&limit=201": "limit", "q=a&cursor=": "cursor", "q=a&cursor=x": "cursor", "q=a&cursor=AQAAAZq8Z2PLYzE": "cursor",
		"q=a&cursor=AgAAAZq8Z2PLAZqo8W9DfB6KVQ0ba08sEQ=": "cursor", "q=a&cursor=AgAAAZq8Z2PLAZqo8W9DfB6KVQ0ba08sER": "cursor",
		"q=a&cursor=Av_______wGaqPFvQ3weilUNG2tPLBEQAA": "cursor", "q=a&before=1": "before",
	} {
		r := e.do(alice, "GET", "/v1/search?"+query, nil)
		r.what = query
		r.refused("invalid", field)
	}
	e.do(alice, "GET", "/v1/search?q=a&cursor=AgAAAZq8Z2PLAZqo8W9DfB6KVQ0ba08sEQ", nil).want(200)
	wantEqual(t, "a query as long as it may be", e.found(alice, "q="+strings.Repeat("a", 256)), []string{})
}
