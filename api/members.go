package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/internal/chat"
)

type removeMemberIn struct {
	C identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	U identifier `path:"u" doc:"The id of the user." example:"bob"`
}

type putMemberIn struct {
	C    identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	U    identifier `path:"u" doc:"The id of the user." example:"bob"`
	Body *struct {
		Role string `json:"role,omitempty" enum:"member,admin,owner" doc:"What the member may do; member if it is left out. The owner's cannot be given or changed." example:"admin"`
	} `nameHint:"NewMember"`
}

type putMemberOut struct {
	Status int
	Body   member
}

func (s *server) memberOperations(api huma.API) {
	const (
		tag  = "Members"
		path = "/v1/conversations/{c}/members/{u}"
	)
	example := map[string]any{"userId": "bob", "role": "member", "joinedAt": "2026-11-22T22:01:33.123Z"}
	register(s, api, operation{
		id: "putMember", method: put, path: path, tag: tag,
		summary: "Add a member, or set its role",
		description: "For the owner and admins. The owner alone makes and unmakes admins. " +
			"Somebody who joins, for the first time or again, gets a `join` entry. " +
			"No body, or no role, keeps the role of a member, and means `member` for somebody who joins.",
		request: jsonRequest("The role.", map[string]any{"role": "member"}),
		answers: []answer{
			{http.StatusCreated, "The user joined.", example},
			{http.StatusOK, "The user was a member; the role is set.", example},
		},
		errors: []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
		body:   s.jsonBody(maxBody),
	}, s.putMember)
	register(s, api, operation{
		id: "removeMember", method: remove, path: path, tag: tag,
		summary: "Remove a member, or leave",
		description: "Every member may remove itself: it has left. Admins remove plain members, " +
			"the owner removes anybody. The `leave` entry is the last that the user gets.",
		answers: []answer{{status: http.StatusNoContent, description: "The user is no member any more."}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.removeMember)
}

func (s *server) putMember(ctx context.Context, in *putMemberIn) (*putMemberOut, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	name := ""
	if in.Body != nil {
		name = in.Body.Role
	}
	role := chat.RoleNone // whatever it is
	if name != "" {
		if role, err = chat.ParseRole(name); err != nil {
			return nil, err
		}
	}
	m, joined, err := s.log.PutMember(ctx, who, string(in.C), string(in.U), role)
	if err != nil {
		return nil, err
	}
	out := &putMemberOut{Status: http.StatusOK, Body: memberOf(m)}
	if joined {
		out.Status = http.StatusCreated
	}
	return out, nil
}

func (s *server) removeMember(ctx context.Context, in *removeMemberIn) (*struct{}, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	return nil, s.log.RemoveMember(ctx, who, string(in.C), string(in.U))
}
