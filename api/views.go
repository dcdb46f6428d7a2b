package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// item is an entry in an answer of history. In the folded view it has more
// keys than MQTT subscribers get.
type item struct{ bridge.Folded }

// Schema refers to the form that itemDoc describes.
func (item) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[itemDoc](), true, "HistoryItem")
}

type reaction struct {
	Emoji   string   `json:"emoji" doc:"The emoji." example:"👍"`
	Count   int      `json:"count" doc:"How many users react with it." example:"3"`
	UserIDs []string `json:"userIds" nullable:"false" doc:"Who they are, in the order in which they reacted; the first fifty."`
}

// itemDoc describes the JSON of an item; a test compares the two.
type itemDoc struct {
	entryDoc
	EditedAt  string     `json:"editedAt,omitempty" format:"date-time" doc:"In the folded view: when the content was edited last."`
	Reactions []reaction `json:"reactions,omitempty" nullable:"false" doc:"In the folded view: the reactions that stand."`
}

// MarshalJSON writes the entry, and behind it what the folded view adds.
func (i item) MarshalJSON() ([]byte, error) {
	text := i.AppendJSON(nil)
	if !i.EditedAt.IsZero() {
		text = append(text[:len(text)-1], `,"editedAt":"`...)
		text = append(chat.AppendTime(text, i.EditedAt), `"}`...)
	}
	if len(i.Reactions) == 0 {
		return text, nil
	}
	list := make([]reaction, len(i.Reactions))
	for n, r := range i.Reactions {
		list[n] = reaction(r)
	}
	more, err := json.Marshal(list)
	text = append(text[:len(text)-1], `,"reactions":`...)
	return append(append(text, more...), '}'), err
}

type editsIn struct {
	C      identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	Seq    uint64     `path:"seq" minimum:"1" doc:"The seq of the message." example:"3"`
	Limit  int        `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor string     `query:"cursor" doc:"The nextCursor of the page before." example:"AgAAAAAAAAAR"`
}

type editsOut struct {
	Body struct {
		Items      []entry `json:"items" nullable:"false" doc:"The message as it was sent, and its edits, in order."`
		NextCursor string  `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"AgAAAAAAAAAR"`
	} `nameHint:"EditList"`
}

func (s *server) editOperations(api huma.API) {
	register(s, api, operation{
		id: "listEdits", method: get, path: "/v1/conversations/{c}/messages/{seq}/edits", tag: "Messages",
		summary: "See how a message was edited",
		description: "The message as it was sent, and every edit of it, in order. For its author, owners and admins, who must be members, " +
			"and scope `admin`. Of a deleted message the entries stand, and what they said is gone.",
		answers: []answer{{http.StatusOK, "A page of them.", map[string]any{"items": []any{exampleMessage}, "nextCursor": seqCursor(17)}}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.listEdits)
}

func (s *server) listEdits(ctx context.Context, in *editsIn) (*editsOut, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	after, err := parseSeqCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	stream := chat.ConversationStream(string(in.C))
	author, found, err := s.log.Edits(ctx, stream, in.Seq, after, in.Limit+1) // one more says whether there is a next page
	if err != nil {
		return nil, err
	}
	m, err := s.member(ctx, who, in.C)
	switch {
	case err != nil:
		return nil, err
	case author == "" || in.Seq <= m.Floor():
		return nil, bridge.NoTarget("seq")
	}
	if err := bridge.CheckEdits(who, m.Role, author); err != nil {
		return nil, err
	}
	out := &editsOut{}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextCursor = seqCursor(found[in.Limit-1].Seq)
	}
	out.Body.Items = entriesOf(found)
	return out, nil
}
