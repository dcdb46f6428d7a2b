package api

import (
	"context"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

type searchIn struct {
	Q            string     `query:"q" required:"true" doc:"The words, up to 256 bytes. Nothing in it is an operator." example:"lunch friday"`
	Conversation identifier `query:"conversation" doc:"Only in this conversation." example:"c1"`
	Limit        int        `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor       string     `query:"cursor" doc:"The nextCursor of the page before." example:"AgAAAZq8Z2PLAZqo8W9DfB6KVQ0ba08sEQ"`
}

type searchOut struct {
	Body struct {
		Items      []entry `json:"items" nullable:"false" doc:"The messages, newest first."`
		NextCursor string  `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"AgAAAZq8Z2PLAZqo8W9DfB6KVQ0ba08sEQ"`
	} `nameHint:"Found"`
}

func (s *server) searchOperations(api huma.API) {
	register(s, api, operation{
		id: "search", method: get, path: "/v1/search", tag: "Messages",
		summary: "Search messages",
		description: "Messages of the conversations that the caller is a member of now, newest first, that have all the words. " +
			"A message is found as soon as its send is acknowledged, by what it says now: the `content` of one that was edited is " +
			"that of the newest edit. Deleted messages are not found.\n\n" +
			"Words are whole words, in any language: letters and digits with their marks, in upper or lower case. " +
			"Chinese, Japanese, Thai and other scripts without spaces are searched letter by letter. " +
			"Everything else parts words and is not searched for.",
		answers: []answer{{http.StatusOK, "A page of them.", map[string]any{
			"items": []any{exampleMessage}, "nextCursor": "AgAAAZq8Z2PLAZqo8W9DfB6KVQ0ba08sEQ"}}},
		errors: []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.search)
}

func (s *server) search(ctx context.Context, in *searchIn) (*searchOut, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	q := bridge.Search{UserID: who.UserID, Conversation: string(in.Conversation), Limit: in.Limit + 1}
	if q.At, q.ID, err = parseSearchCursor(in.Cursor); err != nil {
		return nil, err
	}
	found, err := s.log.Search(ctx, in.Q, q)
	if err != nil {
		return nil, err
	}
	out := &searchOut{}
	if len(found) > in.Limit { // the one more says that there is a next page
		found = found[:in.Limit]
		out.Body.NextCursor = searchCursor(&found[in.Limit-1])
	}
	out.Body.Items = entriesOf(found)
	return out, nil
}

// A cursor of a search is the place of a message: a version, the time in
// milliseconds and the id.
const (
	searchVersion   = 2
	searchCursorLen = 1 + 8 + len(chat.ID{})
)

func searchCursor(e *chat.Entry) string {
	b := append(make([]byte, 0, searchCursorLen), searchVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(e.CreatedAt.UnixMilli()))
	return cursorText.EncodeToString(append(b, e.ID[:]...))
}

// parseSearchCursor reads a cursor; "" is the start.
func parseSearchCursor(cursor string) (at time.Time, id chat.ID, err error) {
	if cursor == "" {
		return at, id, nil
	}
	if len(cursor) == cursorText.EncodedLen(searchCursorLen) {
		b, err := cursorText.DecodeString(cursor)
		if err == nil && b[0] == searchVersion {
			if ms := binary.BigEndian.Uint64(b[1:]); ms <= maxCursorTime {
				return time.UnixMilli(int64(ms)).UTC(), chat.ID(b[9:]), nil
			}
		}
	}
	return at, id, chat.Invalid("cursor", "must be the nextCursor of an answer")
}
