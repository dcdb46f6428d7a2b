package api_test

import (
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// The owner says how long entries are kept, and history begins where they do.
func TestRetention(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		const path = "/v1/conversations/c1"
		for _, step := range []struct{ body, want any }{
			{obj{"retention": obj{"age": "720h", "count": 1000}}, obj{"age": "720h", "count": 1000.0}},
			{obj{"name": "x"}, obj{"age": "720h", "count": 1000.0}},
			{obj{"retention": obj{"age": "90m"}}, obj{"age": "1h30m"}},
			{obj{"retention": obj{"age": "61s"}}, obj{"age": "1m1s"}},
			{obj{"retention": obj{}}, nil},
			{obj{"retention": obj{"count": 7}, "name": "y"}, obj{"count": 7.0}},
			{obj{"retention": nil}, nil},
			{obj{"retention": obj{"count": 2}}, obj{"count": 2.0}},
		} {
			wantEqual(e.T, "retention", e.do(alice, "PATCH", path, step.body).want(200)["retention"], step.want)
			wantEqual(e.T, "retention", e.do(bob, "GET", path, nil).want(200)["retention"], step.want)
		}
		e.do(alice, "PATCH", "/v1/conversations/none", obj{"retention": nil}).refused("not_found", "")
		if _, _, err := e.store.Trim(e.Context(), time.Now(), bridge.RetentionPolicy{}, chat.ConversationStream("c1"), 100); err != nil {
			e.Fatal(err)
		}
		// joins 1 to 4, and two renames
		wantEqual(e.T, "firstSeq", e.do(bob, "GET", path, nil).want(200)["firstSeq"], 5.0)
		for _, query := range []string{"?after=0", "", "?before=100"} {
			page := e.do(bob, "GET", path+"/messages"+query, nil).want(200)
			wantEqual(e.T, "history "+query, pluck[float64](items(page), "seq"), []float64{5, 6})
			wantEqual(e.T, "firstSeq of history "+query, page["firstSeq"], 5.0)
		}
		wantEqual(e.T, "history before the first", len(items(e.do(bob, "GET", path+"/messages?before=5", nil).want(200))), 0)
		e.do(bob, "POST", path+"/messages", obj{"type": "reaction", "target": 2, "emoji": "x"}).refused("not_found", "target")
	})
}
