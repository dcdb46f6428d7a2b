package api_test

import (
	"testing"
)

const receipts = "/v1/conversations/c1/receipts"

func TestReceipts(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		first := e.say(alice, "one")
		last := e.say(alice, "two")
		line := func(user string) obj {
			e.Helper()
			return items(e.do(user, "GET", "/v1/conversations", nil).want(200))[0]
		}
		wantEqual(e.T, "unread", line(bob)["unread"], 2.0)
		wantEqual(e.T, "unread of the sender", line(alice)["unread"], 0.0)
		wantEqual(e.T, "what the sender has read", line(alice)["readSeq"], float64(last))

		stands := obj{"userId": bob, "read": float64(first), "delivered": float64(first)}
		moved := e.do(bob, "PUT", receipts, obj{"read": first}).want(200)
		wantTimes(e.T, moved)
		stands["at"] = moved["at"]
		wantEqual(e.T, "after reading", moved, stands)
		wantEqual(e.T, "unread", line(bob)["unread"], 1.0)
		wantEqual(e.T, "readSeq", line(bob)["readSeq"], float64(first))

		for _, less := range []obj{{"read": 1}, {"delivered": first}, {"read": 0, "delivered": 0}} {
			wantEqual(e.T, "going back", e.do(bob, "PUT", receipts, less).want(200), stands)
		}
		ahead := e.do(bob, "PUT", receipts, obj{"delivered": 1000}).want(200)
		wantEqual(e.T, "beyond the head", ahead["delivered"], float64(last))
		wantEqual(e.T, "delivered is not read", ahead["read"], float64(first))

		all := items(e.do(alice, "GET", receipts, nil).want(200))
		wantEqual(e.T, "receipts of all", pluck[float64](all, "read")[0], float64(last))
		if got := items(e.do(root, "GET", receipts, nil).want(200)); len(got) != len(all) {
			e.Errorf("an admin sees %d receipts", len(got))
		}
	})
}

func TestReceiptsRefused(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		before := e.state("c1")
		e.do(alice, "PUT", receipts, obj{}).refused("invalid", "read")
		e.do(alice, "PUT", receipts, obj{"read": -1}).refused("invalid", "read")
		e.do(alice, "PUT", receipts, obj{"read": 1.5}).refused("invalid", "read")
		e.do(alice, "PUT", receipts, obj{"read": "1"}).refused("invalid", "read")
		e.do(alice, "PUT", receipts, obj{"read": nil}).refused("invalid", "read")
		e.do(alice, "PUT", receipts, obj{"read": 1, "seen": 1}).refused("invalid", "seen")
		e.do(mallory, "PUT", receipts, obj{"read": 1}).refused("forbidden", "")
		e.do(mallory, "GET", receipts, nil).refused("forbidden", "")
		e.do(alice, "PUT", "/v1/conversations/none/receipts", obj{"read": 1}).refused("not_found", "")
		e.do(alice, "GET", "/v1/conversations/none/receipts", nil).refused("not_found", "")
		wantEqual(e.T, "what stands", e.state("c1"), before)
	})
}
