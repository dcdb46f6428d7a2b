package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/internal/chat"
)

type blockIn struct {
	U identifier `path:"u" doc:"The id of the user." example:"bob"`
}

type listBlocksIn struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor string `query:"cursor" doc:"The nextCursor of the page before." example:"A2JvYg"`
}

type block struct {
	UserID    string `json:"userId" doc:"The user." example:"bob"`
	BlockedAt string `json:"blockedAt" format:"date-time" doc:"Since when." example:"2026-11-22T22:01:33.123Z"`
}

type listBlocksOut struct {
	Body struct {
		Items      []block `json:"items" nullable:"false" doc:"The users, in the order of their ids."`
		NextCursor string  `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"A2JvYg"`
	} `nameHint:"BlockList"`
}

func (s *server) blockOperations(api huma.API) {
	const (
		tag  = "Blocks"
		path = "/v1/me/blocks"
	)
	register(s, api, operation{
		id: "listBlocks", method: get, path: path, tag: tag,
		summary: "List those whom the caller has blocked", description: "In the order of their ids. Who has blocked the caller is not told.",
		answers: []answer{{http.StatusOK, "A page of them.", map[string]any{"items": []any{
			map[string]any{"userId": "bob", "blockedAt": "2026-11-22T22:01:33.123Z"}}, "nextCursor": userCursor("bob")}}},
	}, s.listBlocks)
	register(s, api, operation{
		id: "block", method: put, path: path + "/{u}", tag: tag,
		summary: "Block a user",
		description: "From now on the direct conversation of the two takes no messages, from either, and is not begun. " +
			"Neither sees the other's presence. In other conversations they go on. Blocking again changes nothing.",
		answers: []answer{{status: http.StatusNoContent, description: "The user is blocked."}},
		errors:  []chat.Code{chat.CodeConflict},
	}, s.block)
	register(s, api, operation{
		id: "unblock", method: remove, path: path + "/{u}", tag: tag,
		summary:     "Take a block back",
		description: "The block that the other may have put stays. Without a block nothing changes.",
		answers:     []answer{{status: http.StatusNoContent, description: "The caller does not block the user."}},
	}, s.unblock)
}

func (s *server) listBlocks(ctx context.Context, in *listBlocksIn) (*listBlocksOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	after, err := parseUserCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := s.log.BlockList(ctx, id.UserID, after, in.Limit+1) // one more says whether there is a next page
	if err != nil {
		return nil, err
	}
	out := &listBlocksOut{}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextCursor = userCursor(found[in.Limit-1].UserID)
	}
	out.Body.Items = make([]block, len(found))
	for i, b := range found {
		out.Body.Items[i] = block{UserID: b.UserID, BlockedAt: stamp(b.At)}
	}
	return out, nil
}

func (s *server) block(ctx context.Context, in *blockIn) (*struct{}, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if string(in.U) == id.UserID {
		return nil, chat.Invalid("u", "must be another user")
	}
	return nil, s.log.Block(ctx, id.UserID, string(in.U))
}

func (s *server) unblock(ctx context.Context, in *blockIn) (*struct{}, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if string(in.U) == id.UserID {
		return nil, chat.Invalid("u", "must be another user")
	}
	return nil, s.log.Unblock(ctx, id.UserID, string(in.U))
}
