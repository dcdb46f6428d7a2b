package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/live"
	"github.com/parley-mqtt/parley/internal/chat"
)

// silent is a connection that reads nothing.
type silent struct{}

func (silent) Wake() {}

func (e *env) connect(user, client string) *live.Session {
	return e.live.Connect(live.Options{Key: bridge.SessionKey{UserID: user, ClientID: client}, Version: 5, Reader: silent{}})
}

func TestPresence(t *testing.T) {
	each(t, func(e *env) {
		e.talk()
		ask := func(who, users string, want ...string) {
			e.Helper()
			var got []string
			for _, p := range items(e.do(who, "GET", "/v1/presence?users="+users, nil).want(200)) {
				seen := ""
				if p["lastSeen"] != nil {
					seen = " seen"
				}
				got = append(got, fmt.Sprintf("%v %v %v%s", p["userId"], p["status"], p["devices"], seen))
			}
			wantEqual(e.T, who+" asks for "+users, got, want)
		}
		ask(alice, "bob,mallory,alice,nobody,bob", "bob offline 0", "alice offline 0")
		ask(mallory, "bob,alice")
		e.connect(bob, "b1")
		phone := e.connect(bob, "b2")
		e.connect(mallory, "m")
		ask(alice, "bob,mallory", "bob online 2")
		ask(root, "mallory,bob", "mallory online 1", "bob online 2")
		phone.SetStatus(chat.StatusInvisible)
		ask(alice, "bob", "bob offline 0 seen")
		ask(bob, "bob", "bob invisible 2")
		phone.SetStatus(chat.StatusAway)
		ask(alice, "bob", "bob online 2")
		e.do(alice, "DELETE", "/v1/conversations/c1/members/bob", nil).want(204)
		ask(alice, "bob,carol", "carol offline 0")
		ask(bob, "alice,bob", "bob online 2")
	})
}

func TestPresenceRefused(t *testing.T) {
	e := one(t, nil)
	many := make([]string, 201)
	for i := range many {
		many[i] = fmt.Sprint("u", i)
	}
	for _, query := range []string{"", "?users=", "?users=a,,b", "?users=a/b", "?users=a&users=b", "?users=" + strings.Join(many, ",")} {
		e.do(alice, "GET", "/v1/presence"+query, nil).refused("invalid", "users")
	}
	e.do(alice, "GET", "/v1/presence?users="+strings.Join(many[:200], ","), nil).want(200)
}
