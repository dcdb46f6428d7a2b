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
		Role string `json:"role,omitempty" enum:"member,admin,owner" doc:"What the member may do; member if it is left out. The owner gives owner to hand the conversation over, and becomes an admin." example:"admin"`
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
		description: "For the owner and admins. The owner alone makes and unmakes admins, and hands the conversation over with the role `owner`: " +
			"there is one owner, and who was it becomes an admin. " +
			"Somebody who joins, for the first time or again, gets a `join` entry. " +
			"No body, or no role, keeps the role of a member, and means `member` for somebody who joins.",
		request: jsonRequest("The role.", map[string]any{"role": "member"}),
		answers: []answer{
			{http.StatusCreated, "The user joined.", example},
			{http.StatusOK, "The user was a member; the role is set.", example},
		},
		errors: []chat.Code{chat.CodeForbidden, chat.CodeNotFound, chat.CodeConflict},
		body:   s.jsonBody(maxBody),
	}, s.putMember)
	register(s, api, operation{
		id: "removeMember", method: remove, path: path, tag: tag,
		summary: "Remove a member, or leave",
		description: "Every member may remove itself: it has left. Admins remove plain members, " +
			"the owner removes anybody. The `leave` entry is the last that the user gets.\n\n" +
			"When the owner leaves, the admin who joined first becomes the owner, or without admins the member who did. " +
			"When the last member leaves, the conversation stays, and scope `admin` alone reaches it.",
		answers: []answer{{status: http.StatusNoContent, description: "The user is no member any more."}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.removeMember)
	register(s, api, operation{
		id: "listMembers", method: get, path: "/v1/conversations/{c}/members", tag: tag,
		summary: "List the members", description: "In the order in which they joined. For members, and scope `admin`.",
		answers: []answer{{http.StatusOK, "A page of them.", map[string]any{"items": []any{example}, "nextCursor": seqCursor(17)}}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.listMembers)
}

type listMembersIn struct {
	C      identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	Limit  int        `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor string     `query:"cursor" doc:"The nextCursor of the page before." example:"AgAAAAAAAAAR"`
}

type listMembersOut struct {
	Body struct {
		Items      []member `json:"items" nullable:"false" doc:"The members, in the order in which they joined."`
		NextCursor string   `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"AgAAAAAAAAAR"`
	} `nameHint:"MemberList"`
}

func (s *server) listMembers(ctx context.Context, in *listMembersIn) (*listMembersOut, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	after, err := parseSeqCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := s.log.Members(ctx, string(in.C), after, in.Limit+1) // one more says whether there is a next page
	if err != nil {
		return nil, err
	}
	if _, err := s.member(ctx, who, in.C); err != nil {
		return nil, err
	}
	out := &listMembersOut{}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextCursor = seqCursor(found[in.Limit-1].JoinedSeq)
	}
	out.Body.Items = membersOf(found)
	return out, nil
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
