package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// inConversation is a path that names a conversation. It cannot be embedded:
// huma does not see the parameters of an embedded type that is not exported.
type inConversation struct {
	C identifier `path:"c" doc:"The id of the conversation." example:"c1"`
}

type createIn struct {
	Body struct {
		ID      identifier   `json:"id,omitempty" doc:"The id; the server makes one if there is none." example:"c1"`
		Name    string       `json:"name,omitempty" maxLength:"256" doc:"The name: up to 256 bytes, with something other than white space. Empty is none." example:"Lunch"`
		Members []identifier `json:"members,omitempty" nullable:"false" maxItems:"1000" doc:"The first members beside the caller. Naming the caller, or somebody twice, changes nothing."`
		History string       `json:"history,omitempty" enum:"start,join" doc:"From where on members read: from the start, which is the default, or from when they joined, the last time." example:"start"`
		Direct  identifier   `json:"direct,omitempty" doc:"Makes the direct conversation of the caller and this user. No other key may stand beside it." example:"bob"`
	} `nameHint:"NewConversation"`
}

type createOut struct {
	Status   int
	Location string `header:"Location" doc:"The path of the conversation."`
	Body     conversation
}

type listIn struct {
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor   string `query:"cursor" doc:"The nextCursor of the page before." example:"AQAAAZq8Z2PLYzE"`
	Archived bool   `query:"archived" doc:"Those that the caller has archived, instead of those that it has not."`
}

type listOut struct {
	Body struct {
		Items      []summary `json:"items" nullable:"false" doc:"The conversations, newest activity first."`
		NextCursor string    `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"AQAAAZq8Z2PLYzE"`
	} `nameHint:"ConversationList"`
}

type conversationOut struct{ Body conversation }

type changeIn struct {
	C    identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	Body struct {
		Name      *string          `json:"name,omitempty" maxLength:"256" doc:"The new name: up to 256 bytes, with something other than white space. Empty takes the name away." example:"Dinner"`
		History   string           `json:"history,omitempty" enum:"start,join" doc:"From where on members read: from the start, or from when they joined, the last time." example:"join"`
		Retention *retentionChange `json:"retention,omitempty" doc:"How long entries are kept. null takes away what stood."`
	} `nameHint:"ConversationChange"`
}

type settingsIn struct {
	C    identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	Body struct {
		Archived bool `json:"archived" doc:"The conversation is out of the caller's list, and in that of the archive." example:"true"`
	} `nameHint:"MemberSettings"`
}

type settingsOut struct {
	Body struct {
		Archived bool `json:"archived" doc:"The conversation is in the caller's archive." example:"true"`
	} `nameHint:"MemberSettingsNow"`
}

// fromJoin is what "history" may be instead of "start".
const fromJoin = "join"

var (
	exampleConversation = map[string]any{"id": "c1", "name": "Lunch", "ownerId": "alice",
		"createdAt": "2026-11-22T22:01:33.123Z", "headSeq": 2, "firstSeq": 1, "members": []any{
			map[string]any{"userId": "alice", "role": "owner", "joinedAt": "2026-11-22T22:01:33.123Z"},
			map[string]any{"userId": "bob", "role": "member", "joinedAt": "2026-11-22T22:01:33.123Z"}}}
	exampleMessage = map[string]any{"id": "019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11", "conversationId": "c1", "seq": 3,
		"type": "message", "senderId": "alice", "content": "hi", "clientId": "a-1", "createdAt": "2026-11-22T22:02:10.004Z"}
)

func (s *server) conversationOperations(api huma.API) {
	const tag = "Conversations"
	register(s, api, operation{
		id: "createConversation", method: post, path: "/v1/conversations", tag: tag,
		summary: "Create a conversation",
		description: "The caller becomes its owner. A `join` entry is written for each first member. " +
			"Asking again with the same id changes nothing: it gives 200 and what stands.\n\n" +
			"With `direct` it is the direct conversation of the caller and another: there is one for each pair, whoever asks first, " +
			"and 200 for every later one. Both are plain members; members, roles, name and history of it never change, and scope `admin` alone " +
			"deletes it. It cannot be begun while one of them has blocked the other.\n\n" +
			"More members than a conversation may have, or more conversations than one of them may be in, is a conflict.",
		request: jsonRequest("The new conversation.", map[string]any{"id": "c1", "name": "Lunch", "members": []any{"bob"}}),
		answers: []answer{
			{http.StatusCreated, "It was created.", exampleConversation},
			{http.StatusOK, "The caller created it before; this is how it stands.", exampleConversation},
		},
		errors: []chat.Code{chat.CodeConflict, chat.CodeForbidden},
		body:   s.jsonBody(maxBody),
	}, s.create)
	register(s, api, operation{
		id: "listConversations", method: get, path: "/v1/conversations", tag: tag,
		summary: "List the caller's conversations",
		description: "Newest activity first, without those that the caller has archived. " +
			"With scope `admin` too, these are the caller's own.",
		answers: []answer{{http.StatusOK, "A page of them.", map[string]any{"items": []any{
			map[string]any{"id": "c1", "name": "Lunch", "ownerId": "alice", "createdAt": "2026-11-22T22:01:33.123Z",
				"headSeq": 3, "readSeq": 2, "unread": 1, "lastMessage": exampleMessage}}, "nextCursor": "AQAAAZq8Z2PLYzE"}}},
	}, s.list)
	register(s, api, operation{
		id: "getConversation", method: get, path: "/v1/conversations/{c}", tag: tag,
		summary: "Get a conversation with its members",
		description: "For its members, and scope `admin`. `members` holds the first thousand; " +
			"`memberCount` says how many there are when that is not all.",
		answers: []answer{{http.StatusOK, "The conversation.", exampleConversation}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.get)
	register(s, api, operation{
		id: "changeConversation", method: patch, path: "/v1/conversations/{c}", tag: tag,
		summary: "Change a conversation",
		description: "What is named changes. The name: by its owner and admins; a `rename` entry is written. " +
			"From where on members read: by the same; with `join` nobody reads what was before its own newest `join` entry, not here " +
			"and not over MQTT, in what is asked for from then on. " +
			"How long entries are kept: by its owner; what is too old, or too much, is removed soon after, the oldest first, and for good.",
		request: jsonRequest("What changes.", map[string]any{"name": "Lunch"}),
		answers: []answer{{http.StatusOK, "The conversation as it is now.", exampleConversation}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
		body:    s.jsonBody(maxBody, "retention"),
	}, s.change)
	register(s, api, operation{
		id: "changeMyConversation", method: patch, path: "/v1/conversations/{c}/me", tag: tag,
		summary: "Archive a conversation, or take it out of the archive",
		description: "For the caller alone, who must be a member. New messages do not take it out. " +
			"Who joins again finds it out of the archive.",
		request: jsonRequest("What changes.", map[string]any{"archived": true}),
		answers: []answer{{http.StatusOK, "What is set.", map[string]any{"archived": true}}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
		body:    s.jsonBody(maxBody),
	}, s.changeMine)
	register(s, api, operation{
		id: "deleteConversation", method: remove, path: "/v1/conversations/{c}", tag: tag,
		summary:     "Delete a conversation",
		description: "For its owner; a direct one, and one that nobody is left in, for scope `admin` alone. All its entries go with it; the id may be used again.",
		answers:     []answer{{status: http.StatusNoContent, description: "It is gone."}},
		errors:      []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.delete)
}

func (s *server) create(ctx context.Context, in *createIn) (*createOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	var conv bridge.Conversation
	var created bool
	if in.Body.Direct != "" {
		if err := in.checkDirect(id.UserID); err != nil {
			return nil, err
		}
		conv, created, err = s.log.CreateDirect(ctx, id.UserID, string(in.Body.Direct))
	} else {
		if err := chat.CheckName(in.Body.Name); err != nil {
			return nil, err
		}
		members := make([]string, len(in.Body.Members))
		for i, m := range in.Body.Members {
			members[i] = string(m)
		}
		conv, created, err = s.log.Create(ctx, bridge.NewConversation{ID: string(in.Body.ID), Name: in.Body.Name,
			OwnerID: id.UserID, Members: members, SinceJoin: in.Body.History == fromJoin})
	}
	if err != nil {
		return nil, err
	}
	out := &createOut{Status: http.StatusOK, Location: "/v1/conversations/" + conv.ID, Body: conversationOf(conv)}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// checkDirect refuses what has no meaning beside direct.
func (in *createIn) checkDirect(caller string) error {
	const alone = "cannot stand together with direct"
	b := &in.Body
	switch {
	case string(b.Direct) == caller:
		return chat.Invalid("direct", "must be another user")
	case b.ID != "":
		return chat.Invalid("id", alone)
	case b.Name != "":
		return chat.Invalid("name", alone)
	case b.Members != nil:
		return chat.Invalid("members", alone)
	case b.History != "":
		return chat.Invalid("history", alone)
	}
	return nil
}

func (s *server) list(ctx context.Context, in *listIn) (*listOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	page, err := parseCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	page.Limit = in.Limit + 1 // one more says whether there is a next page
	page.Archived = &in.Archived
	found, err := s.log.Conversations(ctx, id.UserID, page)
	if err != nil {
		return nil, err
	}
	out := &listOut{}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextCursor = cursorAfter(found[in.Limit-1])
	}
	out.Body.Items = make([]summary, len(found))
	for i, c := range found {
		out.Body.Items[i] = summaryOf(c)
	}
	return out, nil
}

func (s *server) get(ctx context.Context, in *inConversation) (*conversationOut, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	conv, err := s.log.Conversation(ctx, string(in.C))
	if err != nil {
		return nil, err
	}
	m, err := s.memberOf(ctx, who, conv)
	if err != nil {
		return nil, err
	}
	conv.FirstSeq = max(conv.FirstSeq, m.Floor()+1)
	return &conversationOut{conversationOf(conv)}, nil
}

// memberOf is member for a conversation that was read. Its members were read
// together with the rest: nobody sees a state of after they had left.
func (s *server) memberOf(ctx context.Context, who bridge.Actor, conv bridge.Conversation) (bridge.Membership, error) {
	if who.Admin {
		return bridge.Membership{}, nil
	}
	for _, m := range conv.Members {
		if m.UserID == who.UserID {
			return bridge.Membership{Role: m.Role, JoinedSeq: m.JoinedSeq, SinceJoin: conv.SinceJoin}, nil
		}
	}
	if conv.Size <= len(conv.Members) {
		return bridge.Membership{}, bridge.NotMember()
	}
	return s.member(ctx, who, identifier(conv.ID))
}

// member answers what the caller is to a conversation that it may see: one of
// which it is a member, or any with scope admin. What was read before it is
// asked was committed while the caller was a member.
func (s *server) member(ctx context.Context, who bridge.Actor, c identifier) (bridge.Membership, error) {
	m, err := s.log.Membership(ctx, string(c), who.UserID)
	switch {
	case err != nil:
		return m, err
	case !m.Exists:
		return m, bridge.NoConversation()
	case m.Role == chat.RoleNone && !who.Admin:
		return m, bridge.NotMember()
	}
	if who.Admin {
		m.SinceJoin = false // reads everything
	}
	return m, nil
}

// change changes what is named. All is looked at before anything is changed;
// and what fewer may do comes first.
func (s *server) change(ctx context.Context, in *changeIn) (*conversationOut, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	name, history, kept := in.Body.Name, in.Body.History, in.Body.Retention
	if name == nil && history == "" && kept == nil {
		return nil, chat.Invalid("name", "is required where nothing else is to change")
	}
	if name != nil {
		if err := chat.CheckName(*name); err != nil {
			return nil, err
		}
	}
	if kept != nil {
		parsed, err := kept.parse()
		if err == nil {
			err = s.log.SetRetention(ctx, who, string(in.C), parsed)
		}
		if err != nil {
			return nil, err
		}
	}
	if history != "" {
		if err := s.log.SetHistory(ctx, who, string(in.C), history == fromJoin); err != nil {
			return nil, err
		}
	}
	if name != nil {
		if err := s.log.RenameConversation(ctx, who, string(in.C), *name); err != nil {
			return nil, err
		}
	}
	return s.get(ctx, &inConversation{in.C})
}

func (s *server) changeMine(ctx context.Context, in *settingsIn) (*settingsOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.log.SetArchived(ctx, string(in.C), id.UserID, in.Body.Archived); err != nil {
		return nil, err
	}
	out := &settingsOut{}
	out.Body.Archived = in.Body.Archived
	return out, nil
}

func (s *server) delete(ctx context.Context, in *inConversation) (*struct{}, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	return nil, s.log.DeleteConversation(ctx, who, string(in.C))
}
