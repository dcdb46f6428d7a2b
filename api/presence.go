package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Presence says who is there. *live.Hub has it.
type Presence interface {
	// Presence answers how present users are, those that viewer may see; all
	// may see everybody.
	Presence(ctx context.Context, viewer string, all bool, users []string) ([]chat.Presence, error)
}

type presenceIn struct {
	// Read as text: every id is looked at by chat.ValidID.
	Users string `query:"users"`
}

type presenceOut struct {
	Body struct {
		Items []presence `json:"items" nullable:"false" doc:"Those of the users that the caller may see, in the order in which they were asked for."`
	} `nameHint:"PresenceList"`
}

type presence struct {
	UserID   string `json:"userId" doc:"The user." example:"bob"`
	Status   string `json:"status" enum:"online,away,offline,invisible" doc:"How present the user is; invisible is what nobody else sees." example:"offline"`
	Devices  int    `json:"devices" doc:"How many connections count." example:"0"`
	LastSeen string `json:"lastSeen,omitempty" format:"date-time" doc:"When somebody who is offline was there last; left out if never." example:"2026-11-22T22:01:33.123Z"`
}

// maxUsers is how many users are asked about at once.
const maxUsers = 200

func (s *server) presenceOperations(api huma.API) {
	register(s, api, operation{
		id: "getPresence", method: get, path: "/v1/presence", tag: "Presence",
		summary: "See who is there",
		description: "Up to 200 users. The caller sees itself and those who share a conversation with it; others are left out, " +
			"whether they exist or not. Scope `admin` sees everybody. The same comes by itself on `users/{u}/presence`.",
		params: []*huma.Param{{Name: "users", In: "query", Required: true, Explode: new(bool),
			Description: "The users, with commas between them.", Example: "alice,bob",
			Schema: &huma.Schema{Type: huma.TypeArray, MinItems: number(1), MaxItems: number(maxUsers), Items: identifier("").Schema(nil)}}},
		answers: []answer{{http.StatusOK, "How present they are.", map[string]any{"items": []any{
			map[string]any{"userId": "alice", "status": "online", "devices": 2},
			map[string]any{"userId": "bob", "status": "offline", "devices": 0, "lastSeen": "2026-11-22T22:01:33.123Z"}}}}},
	}, s.getPresence)
}

func number(n int) *int { return &n }

func (s *server) getPresence(ctx context.Context, in *presenceIn) (*presenceOut, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	users, err := parseUsers(in.Users)
	if err != nil {
		return nil, err
	}
	list, err := s.presence.Presence(ctx, who.UserID, who.Has(acl.Admin), users)
	if err != nil {
		return nil, err
	}
	out := &presenceOut{}
	out.Body.Items = make([]presence, len(list))
	for i, p := range list {
		out.Body.Items[i] = presence{UserID: p.UserID, Status: p.Status.String(), Devices: p.Devices}
		if p.Status == chat.StatusOffline && !p.LastSeen.IsZero() {
			out.Body.Items[i].LastSeen = stamp(p.LastSeen)
		}
	}
	return out, nil
}

// parseUsers reads ids with commas between them. One that stands twice counts
// once.
func parseUsers(text string) (users []string, err error) {
	if text == "" {
		return nil, chat.Invalid("users", "is required")
	}
	seen := map[string]bool{}
	for user := range strings.SplitSeq(text, ",") {
		switch {
		case !chat.ValidID(user):
			return nil, chat.Invalid("users", "must be user ids with commas between them")
		case seen[user]:
			continue
		case len(users) == maxUsers:
			return nil, chat.Invalid("users", "has more than %d ids", maxUsers)
		}
		seen[user] = true
		users = append(users, user)
	}
	return users, nil
}
