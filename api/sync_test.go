package api_test

import "testing"

// missedOf are the conversations of an answer of sync, by id.
func missedOf(v map[string]any) map[string]obj {
	all := map[string]obj{}
	for _, c := range v["conversations"].([]any) {
		all[c.(obj)["id"].(string)] = c.(obj)
	}
	return all
}

func seqsOf(c obj) []float64 {
	entries, _ := c["entries"].([]any)
	list := make([]obj, len(entries))
	for i := range entries {
		list[i] = entries[i].(obj)
	}
	return pluck[float64](list, "seq")
}

func TestSync(t *testing.T) {
	each(t, func(e *env) {
		e.talk() // entries 1 to 4
		e.do(alice, "POST", "/v1/conversations", obj{"id": "c2", "members": []string{bob}}).want(201)
		e.say(alice, "one")
		first := e.do(bob, "GET", "/v1/sync", nil).want(200)
		wantEqual(e.T, "first", []any{first["conversations"], first["notifications"], first["complete"]}, []any{
			[]any{obj{"id": "c1", "headSeq": 5.0, "readSeq": 3.0, "unread": 1.0, "entries": []any{}},
				obj{"id": "c2", "headSeq": 2.0, "readSeq": 2.0, "unread": 0.0, "entries": []any{}}},
			obj{"unreadCount": 0.0, "entries": []any{}}, true})
		next := func(v map[string]any) string { return "/v1/sync?after=" + v["nextCursor"].(string) }
		wantEqual(e.T, "no news", e.do(bob, "GET", next(first), nil).want(200)["conversations"], []any{})

		e.say(alice, "two")
		e.say(bob, "three") // he has read it all then
		e.say(carol, "four")
		e.do(alice, "DELETE", "/v1/conversations/c2/members/bob", nil).want(204)
		e.do(alice, "POST", "/v1/conversations", obj{"id": "c3", "members": []string{bob}}).want(201)
		page := e.do(bob, "GET", next(first)+"&limit=2", nil).want(200)
		got := missedOf(page)
		wantEqual(e.T, "a page", []any{seqsOf(got["c1"]), len(got), page["complete"]}, []any{[]float64{6, 7}, 1, false})
		page = e.do(bob, "GET", next(page), nil).want(200)
		got = missedOf(page)
		wantEqual(e.T, "the rest", []any{seqsOf(got["c1"]), seqsOf(got["c2"]), seqsOf(got["c3"]), page["complete"]},
			[]any{[]float64{8}, []float64{3}, []float64{2}, true})
		wantEqual(e.T, "c1", []any{got["c1"]["headSeq"], got["c1"]["readSeq"], got["c1"]["unread"]}, []any{8.0, 7.0, 1.0})
		wantEqual(e.T, "c2, which he has left", []any{got["c2"]["headSeq"], got["c2"]["readSeq"], got["c2"]["unread"]}, []any{3.0, 0.0, 0.0})

		for _, bad := range []string{"after=x", "after=", "limit=0", "limit=2001", "cursor=x"} {
			field := map[byte]string{'a': "after", 'l': "limit", 'c': "cursor"}[bad[0]]
			e.do(bob, "GET", "/v1/sync?"+bad, nil).refused("invalid", field)
		}
		e.do(alice, "GET", next(page), nil).refused("invalid", "after")
		wantEqual(e.T, "of nobody", len(missedOf(e.do(mallory, "GET", "/v1/sync", nil).want(200))), 0)
	})
}

// Notifications are among what was missed, in their order, once.
func TestSyncNotifications(t *testing.T) {
	each(t, func(e *env) {
		notify := func(n float64) {
			e.do(root, "POST", "/v1/notifications", obj{"recipientId": bob, "senderId": alice, "type": "LIKE", "data": obj{"n": n}}).want(201)
		}
		ask := func(path string) (map[string]any, obj) {
			v := e.do(bob, "GET", path, nil).want(200)
			return v, v["notifications"].(obj)
		}
		first, got := ask("/v1/sync")
		wantEqual(e.T, "none", got, obj{"unreadCount": 0.0, "entries": []any{}})
		for n := range 5 {
			notify(float64(n))
		}
		page, got := ask("/v1/sync?limit=3&after=" + first["nextCursor"].(string))
		wantEqual(e.T, "a page", []any{seqsOf(got), got["unreadCount"], page["complete"]}, []any{[]float64{1, 2, 3}, 5.0, false})
		e.do(bob, "POST", "/v1/notifications/read", obj{"upTo": 4}).want(200)
		page, got = ask("/v1/sync?after=" + page["nextCursor"].(string))
		wantEqual(e.T, "the rest", []any{seqsOf(got), got["unreadCount"], page["complete"]}, []any{[]float64{4, 5}, 1.0, true})
		last := got["entries"].([]any)[1].(obj)
		wantEqual(e.T, "the last", []any{last["type"], last["data"], last["isRead"]}, []any{"LIKE", obj{"n": 4.0}, false})
		page, got = ask("/v1/sync?after=" + page["nextCursor"].(string))
		wantEqual(e.T, "no more", []any{seqsOf(got), page["complete"]}, []any{[]float64{}, true})
		again, got := ask("/v1/sync")
		wantEqual(e.T, "begun anew", []any{seqsOf(got), got["unreadCount"], again["complete"]}, []any{[]float64{}, 1.0, true})
	})
}
