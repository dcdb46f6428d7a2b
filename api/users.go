package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Users forgets users. *erase.Eraser has it.
type Users interface {
	// Erase answers what was erased. When ctx ends first it goes on, and the
	// error is chat.CodeUnavailable.
	Erase(ctx context.Context, user string) (bridge.Erased, error)
}

const usersPath = "/v1/users/"

type inUser struct {
	U identifier `path:"u" doc:"The id of the user." example:"bob"`
}

type erasedOut struct{ Body erased }

type erased struct {
	Messages      int `json:"messages" doc:"Messages of the user." example:"214"`
	Edits         int `json:"edits" doc:"Edits by the user, and of its messages." example:"12"`
	Reactions     int `json:"reactions" doc:"Reactions of the user." example:"31"`
	Notifications int `json:"notifications" doc:"Notifications of the user, and those that it sent to others." example:"9"`
	Retained      int `json:"retained" doc:"Retained messages on ordinary topics." example:"2"`
	Sessions      int `json:"sessions" doc:"Durable sessions, with what waited for them." example:"3"`
	Conversations int `json:"conversations" doc:"Conversations that the user was a member of, and has left." example:"5"`
}

func (s *server) userOperations(api huma.API) {
	register(s, api, operation{
		id: "eraseUser", method: remove, path: usersPath + "{u}", tag: "Administration",
		summary: "Erase a user",
		description: "For scope `admin`. The user's tokens are revoked, its connections and sessions end, it leaves its conversations, " +
			"and what it said and published goes, everywhere and for good: its entries keep their `seq` and their ids, with `deleted`. " +
			"Who is connected sees it when it reads them again.\n\n" +
			"It may take minutes. After `unavailable`, or when the connection breaks, it goes on, over restarts of the server too: " +
			"asking again waits for the rest and answers the count of all. Asking once more when it has ended begins anew, and finds nothing.",
		answers: []answer{{http.StatusOK, "It is erased; so much was.", map[string]any{"messages": 214, "edits": 12, "reactions": 31,
			"notifications": 9, "retained": 2, "sessions": 3, "conversations": 5}}},
		errors: []chat.Code{chat.CodeForbidden},
	}, s.eraseUser)
}

func (s *server) eraseUser(ctx context.Context, in *inUser) (*erasedOut, error) {
	who, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	s.logger.InfoContext(ctx, "erasing a user", "user", string(in.U), "by", who.UserID)
	n, err := s.users.Erase(ctx, string(in.U))
	if err != nil {
		return nil, err
	}
	return &erasedOut{erased(n)}, nil
}
