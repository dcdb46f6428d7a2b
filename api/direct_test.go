package api_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// A pair has one direct conversation, whoever begins it.
func TestDirect(t *testing.T) {
	each(t, func(e *env) {
		r := e.do(alice, "POST", "/v1/conversations", obj{"direct": bob})
		conv := r.want(201)
		id, _ := conv["id"].(string)
		wantEqual(e.T, "Location", r.header.Get("Location"), "/v1/conversations/"+id)
		wantTimes(e.T, conv)
		wantEqual(e.T, "created", conv, obj{"id": id, "name": "", "ownerId": "", "headSeq": 2.0, "firstSeq": 1.0, "direct": true, "members": []any{
			obj{"userId": alice, "role": "member"}, obj{"userId": bob, "role": "member"}}})
		for _, pair := range [][2]string{{alice, bob}, {bob, alice}} {
			again := e.do(pair[0], "POST", "/v1/conversations", obj{"direct": pair[1]}).want(200)
			wantTimes(e.T, again)
			wantEqual(e.T, "again by "+pair[0], again, conv)
			line := items(e.do(pair[0], "GET", "/v1/conversations", nil).want(200))[0]
			wantEqual(e.T, "line of "+pair[0], []any{line["id"], line["direct"], line["peerId"]}, []any{id, true, pair[1]})
		}
		e.do(alice, "POST", "/v1/conversations", obj{"id": "group", "members": []string{bob}}).want(201)
		group := e.do(alice, "GET", "/v1/conversations/group", nil).want(200)
		if _, there := group["direct"]; there {
			e.Errorf("a group says direct: %v", group)
		}
	})
}

// Both begin it at once, many times over: it is one, and is created once.
func TestDirectAtOnce(t *testing.T) {
	each(t, func(e *env) {
		for round := range 5 {
			users := []string{fmt.Sprint("a", round), fmt.Sprint("b", round)}
			for _, u := range users {
				e.do(u, "GET", "/v1/conversations", nil).want(200) // makes the token
			}
			var wg sync.WaitGroup
			replies := make([]*reply, 4)
			for i := range replies {
				wg.Go(func() {
					replies[i] = e.do(users[i%2], "POST", "/v1/conversations", obj{"direct": users[1-i%2]})
				})
			}
			wg.Wait()
			created := 0
			for _, r := range replies {
				if r.status == 201 {
					created++
				} else if r.status != 200 {
					e.Errorf("%s: answered %d %s", r.what, r.status, r.body)
				}
				wantEqual(e.T, "the id", r.json()["id"], replies[0].json()["id"])
			}
			wantEqual(e.T, "how often it was created", created, 1)
		}
	})
}

func TestBlocks(t *testing.T) {
	each(t, func(e *env) {
		id := e.do(alice, "POST", "/v1/conversations", obj{"direct": bob}).want(201)["id"].(string)
		say := func(user, conversation string) *reply {
			return e.do(user, "POST", "/v1/conversations/"+conversation+"/messages", obj{"content": "hi"})
		}
		e.talk()
		for range 2 {
			e.do(bob, "PUT", "/v1/me/blocks/alice", nil).want(204)
		}
		say(alice, id).refused("forbidden", "")
		say(bob, id).refused("forbidden", "")
		say(alice, "c1").want(201)
		say(bob, "c1").want(201)
		e.do(alice, "POST", "/v1/conversations", obj{"direct": bob}).want(200)
		e.do(carol, "PUT", "/v1/me/blocks/alice", nil).want(204)
		e.do(alice, "POST", "/v1/conversations", obj{"direct": carol}).refused("forbidden", "")
		e.do(carol, "POST", "/v1/conversations", obj{"direct": alice}).refused("forbidden", "")
		e.do(alice, "DELETE", "/v1/me/blocks/bob", nil).want(204) // not hers to take back
		say(alice, id).refused("forbidden", "")
		wantEqual(e.T, "alice's", items(e.do(alice, "GET", "/v1/me/blocks", nil).want(200)), []obj{})
		for range 2 {
			e.do(bob, "DELETE", "/v1/me/blocks/alice", nil).want(204)
		}
		say(alice, id).want(201)
		say(bob, id).want(201)
		e.do(bob, "PUT", "/v1/me/blocks/bob", nil).refused("invalid", "u")
		e.do(bob, "DELETE", "/v1/me/blocks/bob", nil).refused("invalid", "u")

		var want []string
		for i := range 7 {
			want = append(want, fmt.Sprintf("user-%d", i))
			e.do(alice, "PUT", "/v1/me/blocks/"+want[i], nil).want(204)
		}
		for _, limit := range []int{1, 3, 7, 50} {
			got := e.paged(alice, fmt.Sprintf("/v1/me/blocks?limit=%d", limit))
			wantEqual(e.T, "users", pluck[string](got, "userId"), want)
			wantEqual(e.T, "times", timeForm.MatchString(got[0]["blockedAt"].(string)), true)
		}
	})
}

// paged reads a list to its end.
func (e *env) paged(user, path string) (all []obj) {
	e.Helper()
	for at := path; ; {
		page := e.do(user, "GET", at, nil).want(200)
		all = append(all, items(page)...)
		next, more := page["nextCursor"].(string)
		if !more {
			return all
		}
		at = path + "&cursor=" + next
	}
}

func TestMembersInPages(t *testing.T) {
	each(t, func(e *env) {
		many := make([]string, 1000)
		for i := range many {
			many[i] = fmt.Sprintf("user-%04d", i)
		}
		e.do(alice, "POST", "/v1/conversations", obj{"id": "big", "members": many}).want(201)
		e.do(alice, "PUT", "/v1/conversations/big/members/late", nil).want(201)
		e.do(alice, "DELETE", "/v1/conversations/big/members/user-0500", nil).want(204)
		want := append(append([]string{alice}, slices.Delete(slices.Clone(many), 500, 501)...), "late")
		for user, role := range map[string]string{alice: "owner", "late": "member", "user-0999": "member"} {
			got := e.paged(user, "/v1/conversations/big/members?limit=200")
			wantEqual(e.T, "members", pluck[string](got, "userId"), want)
			conv := e.do(user, "GET", "/v1/conversations/big", nil).want(200)
			wantEqual(e.T, "members in the conversation", len(conv["members"].([]any)), 1000)
			wantEqual(e.T, "memberCount", conv["memberCount"], 1001.0)
			wantEqual(e.T, "role", got[slices.Index(want, user)]["role"], role)
		}
		e.do("user-0500", "GET", "/v1/conversations/big", nil).refused("forbidden", "")
		e.do("user-0500", "GET", "/v1/conversations/big/members", nil).refused("forbidden", "")
	})
}

func TestArchive(t *testing.T) {
	each(t, func(e *env) {
		for _, id := range []string{"a", "b", "c"} {
			e.do(alice, "POST", "/v1/conversations", obj{"id": id, "members": []string{bob}}).want(201)
		}
		listed := func(user, query string) []string {
			return pluck[string](items(e.do(user, "GET", "/v1/conversations"+query, nil).want(200)), "id")
		}
		for range 2 {
			wantEqual(e.T, "answer", e.do(bob, "PATCH", "/v1/conversations/b/me", obj{"archived": true}).want(200), obj{"archived": true})
		}
		wantEqual(e.T, "bob's", listed(bob, ""), []string{"c", "a"})
		wantEqual(e.T, "bob's", listed(bob, "?archived=false"), []string{"c", "a"})
		wantEqual(e.T, "bob's archive", listed(bob, "?archived=true"), []string{"b"})
		wantEqual(e.T, "alice's", listed(alice, ""), []string{"c", "b", "a"})
		e.do(alice, "POST", "/v1/conversations/b/messages", obj{"content": "x"}).want(201)
		wantEqual(e.T, "bob's, after a message", listed(bob, ""), []string{"c", "a"})
		line := items(e.do(bob, "GET", "/v1/conversations?archived=true", nil).want(200))[0]
		wantEqual(e.T, "archived", line["archived"], true)
		e.do(bob, "PATCH", "/v1/conversations/b/me", obj{"archived": false}).want(200)
		wantEqual(e.T, "bob's, taken out", listed(bob, ""), []string{"b", "c", "a"})
	})
}

// TestOwnerLeaves: what the API shows when the owner goes.
func TestOwnerLeaves(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		e.do(alice, "DELETE", "/v1/conversations/c1/members/alice", nil).want(204)
		conv := e.do(bob, "GET", "/v1/conversations/c1", nil).want(200)
		wantEqual(e.T, "ownerId", conv["ownerId"], adam)
		wantEqual(e.T, "adam's role", conv["members"].([]any)[0].(obj)["role"], "owner")
		last := items(e.do(bob, "GET", "/v1/conversations/c1/messages?limit=1", nil).want(200))
		wantEqual(e.T, "the last entry", []any{last[0]["type"], last[0]["userId"]}, []any{"leave", alice})
		e.do(alice, "POST", "/v1/conversations", obj{"id": "c1"}).refused("conflict", "")
		for _, user := range []string{adam, bob, carol} {
			e.do(user, "DELETE", "/v1/conversations/c1/members/"+user, nil).want(204)
		}
		e.do(carol, "GET", "/v1/conversations/c1", nil).refused("forbidden", "")
		wantEqual(e.T, "ownerId, with nobody left", e.do(root, "GET", "/v1/conversations/c1", nil).want(200)["ownerId"], "")
		e.do(root, "DELETE", "/v1/conversations/c1", nil).want(204)
	})
}

// TestHistoryFromJoin: whatever happens, a member of a conversation with
// history "join" reads nothing from before its newest join, and all after it.
func TestHistoryFromJoin(t *testing.T) {
	each(t, func(e *env) {
		rounds := 0
		rapid.Check(e.T, func(t *rapid.T) {
			rounds++
			id := fmt.Sprint("c", rounds)
			path := "/v1/conversations/" + id
			e.do(alice, "POST", "/v1/conversations", obj{"id": id, "history": "join", "members": []string{bob}}).want(201)
			head, joined, since := uint64(2), map[string]uint64{alice: 1, bob: 2}, true
			var said []uint64 // messages
			for range rapid.IntRange(1, 25).Draw(t, "steps") {
				user := rapid.SampledFrom([]string{bob, carol}).Draw(t, "user")
				switch rapid.IntRange(0, 5).Draw(t, "step") {
				case 0, 1:
					e.do(alice, "POST", path+"/messages", obj{"content": "x"}).want(201)
					head++
					said = append(said, head)
				case 2:
					if joined[user] == 0 {
						e.do(alice, "PUT", path+"/members/"+user, nil).want(201)
						head++
						joined[user] = head
					} else {
						e.do(user, "DELETE", path+"/members/"+user, nil).want(204)
						head++
						delete(joined, user)
					}
				case 3:
					if len(said) > 0 {
						target := rapid.SampledFrom(said).Draw(t, "target")
						e.do(alice, "POST", path+"/messages", obj{"type": "edit", "target": target, "content": "y"}).want(201)
						head++
					}
				case 4:
					since = !since
					e.do(alice, "PATCH", path, obj{"history": map[bool]string{true: "join", false: "start"}[since]}).want(200)
				default:
					e.readFromJoin(t, user, id, head, joined[user], since, said)
				}
			}
			e.readFromJoin(t, bob, id, head, joined[bob], since, said)
			e.readFromJoin(t, root, id, head, 1, false, said)
		})
	})
}

// readFromJoin reads in every way there is.
func (e *env) readFromJoin(t *rapid.T, user, id string, head, joined uint64, since bool, said []uint64) {
	path := "/v1/conversations/" + id
	if joined == 0 {
		for _, what := range []string{"", "/messages", "/messages?view=folded", "/messages/1/edits"} {
			e.do(user, "GET", path+what, nil).refused("forbidden", "")
		}
		return
	}
	first := uint64(1)
	if since {
		first = joined
	}
	var all, messages []uint64
	for seq := first; seq <= head; seq++ {
		all = append(all, seq)
		if slices.Contains(said, seq) {
			messages = append(messages, seq)
		}
	}
	limit := rapid.IntRange(1, 9).Draw(t, "limit")
	for view, want := range map[string][]uint64{"": all, "&view=folded": messages} {
		forth, back := []uint64{}, []uint64{}
		for after := uint64(0); ; {
			page := e.do(user, "GET", fmt.Sprintf("%s/messages?limit=%d&after=%d%s", path, limit, after, view), nil).want(200)
			if page["firstSeq"] != float64(first) {
				t.Fatalf("%s reads from %v on, firstSeq is %v", user, first, page["firstSeq"])
			}
			list := pluck[float64](items(page), "seq")
			for _, seq := range list {
				forth, after = append(forth, uint64(seq)), uint64(seq)
			}
			if len(list) < limit {
				break
			}
		}
		for before := head + 1; before > 0; {
			list := pluck[float64](items(e.do(user, "GET", fmt.Sprintf("%s/messages?limit=%d&before=%d%s", path, limit, before, view), nil).want(200)), "seq")
			for _, seq := range slices.Backward(list) {
				back, before = append(back, uint64(seq)), uint64(seq)
			}
			if len(list) < limit {
				break
			}
		}
		slices.Reverse(back)
		for what, got := range map[string][]uint64{"forth": forth, "back": back} {
			if !slices.Equal(got, want) {
				t.Fatalf("%s reads %s %s: %v, want %v", user, what, view, got, want)
			}
		}
	}
	for _, line := range items(e.do(user, "GET", "/v1/conversations?limit=200", nil).want(200)) {
		last, _ := line["lastMessage"].(obj)
		if line["id"] == id && (last == nil) != (len(messages) == 0) || line["id"] == id && last != nil && last["seq"] != float64(messages[len(messages)-1]) {
			t.Fatalf("the last message of %s is %v, it may read %v", user, last, messages)
		}
	}
	if user != root {
		return
	}
	for _, seq := range said {
		e.do(user, "GET", fmt.Sprintf("%s/messages/%d/edits", path, seq), nil).want(200)
	}
}

// What the author wrote before it joined again is not for it either.
func TestEditsFromJoin(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		seq := e.say(bob, "first")
		path := fmt.Sprintf("/v1/conversations/c1/messages/%d/edits", seq)
		e.do(bob, "GET", path, nil).want(200)
		e.do(alice, "PATCH", "/v1/conversations/c1", obj{"history": "join"}).want(200)
		e.do(bob, "DELETE", "/v1/conversations/c1/members/bob", nil).want(204)
		e.do(alice, "PUT", "/v1/conversations/c1/members/bob", nil).want(201)
		e.do(bob, "GET", path, nil).refused("not_found", "seq")
		e.do(alice, "GET", path, nil).want(200)
	})
}

func TestFoldedView(t *testing.T) {
	each(t, func(e *env) {
		e.talk() // 1 to 4
		e.say(bob, "one")
		e.say(carol, "two")
		for _, body := range []obj{{"type": "edit", "target": 5, "content": "one!"}, {"type": "reaction", "target": 5, "emoji": "👍"},
			{"type": "reaction", "target": 6, "emoji": "👍"}, {"type": "delete", "target": 6}} {
			e.do(alice, "POST", "/v1/conversations/c1/messages", body).want(201)
		}
		e.do(bob, "POST", "/v1/conversations/c1/messages", obj{"type": "reaction", "target": 5, "emoji": "👍"}).want(201)
		page := e.do(bob, "GET", "/v1/conversations/c1/messages?view=folded", nil).want(200)
		wantTimes(e.T, page)
		list := items(page)
		for _, item := range list {
			delete(item, "id")
		}
		wantEqual(e.T, "folded", list, []obj{
			{"conversationId": "c1", "seq": 5.0, "type": "message", "senderId": bob, "content": "one!",
				"reactions": []any{obj{"emoji": "👍", "count": 2.0, "userIds": []any{alice, bob}}}},
			{"conversationId": "c1", "seq": 6.0, "type": "message", "senderId": carol, "deleted": true}})
		wantEqual(e.T, "headSeq", page["headSeq"], 11.0)
		if text := string(e.do(bob, "GET", "/v1/conversations/c1/messages?view=folded", nil).body); !strings.Contains(text, `"editedAt":"2026-`) {
			e.Errorf("no editedAt in %s", text)
		}

		edits := items(e.do(bob, "GET", "/v1/conversations/c1/messages/5/edits", nil).want(200))
		wantEqual(e.T, "edits", pluck[string](edits, "content"), []string{"one", "one!"})
		wantEqual(e.T, "types", pluck[string](edits, "type"), []string{"message", "edit"})
		got := e.paged(alice, "/v1/conversations/c1/messages/5/edits?limit=1")
		wantEqual(e.T, "edits in pages", pluck[float64](got, "seq"), []float64{5, 7})
		e.do(carol, "GET", "/v1/conversations/c1/messages/5/edits", nil).refused("forbidden", "")
		gone := items(e.do(carol, "GET", "/v1/conversations/c1/messages/6/edits", nil).want(200))
		wantEqual(e.T, "edits of a deleted one", []any{len(gone), gone[0]["deleted"], gone[0]["content"]}, []any{1, true, nil})
	})
}
