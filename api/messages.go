package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

type historyIn struct {
	C     identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	Limit int        `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	// Read as text: whether they are there at all matters.
	Before string `query:"before"`
	After  string `query:"after"`
	View   string `query:"view"`
}

type historyOut struct {
	Body struct {
		Items    []item `json:"items" nullable:"false" doc:"The entries, in the order of seq."`
		HeadSeq  uint64 `json:"headSeq" doc:"The seq of the newest entry of the conversation." example:"42"`
		FirstSeq uint64 `json:"firstSeq" doc:"The seq of the oldest entry still held." example:"1"`
	} `nameHint:"History"`
}

type sendOut struct {
	Status int
	Body   entry
}

func seqParam(name, description string, minimum float64) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: description,
		Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &minimum, Examples: []any{17}}}
}

func (s *server) messageOperations(api huma.API) {
	const (
		tag  = "Messages"
		path = "/v1/conversations/{c}/messages"
	)
	register(s, api, operation{
		id: "listMessages", method: get, path: path, tag: tag,
		summary: "Read history",
		description: "Entries in the order of `seq`: edits, deletes, reactions, joins and leaves are entries like messages. " +
			"What was deleted has `deleted` and no content. For members, and scope `admin`.\n\n" +
			"With `after`, the entries that follow it; with `before`, the last ones in front of it; with neither, the newest. " +
			"There is no cursor: to read on, pass the `seq` of the last item as `after` until it is `headSeq`, " +
			"or that of the first as `before` until it is `firstSeq`.\n\n" +
			"With `view=folded` there are messages alone, each as it reads now: with the content of its newest edit and when that was, " +
			"and with the reactions that stand. What was deleted has `deleted` and says nothing. `limit` counts messages; " +
			"an answer with fewer is the last one.\n\n" +
			"Where `history` of the conversation is `join`, nothing is answered from before the caller's newest `join`, and `firstSeq` says so.",
		params: []*huma.Param{
			seqParam("before", "Only entries with a smaller seq. Not together with after.", 1),
			seqParam("after", "Only entries with a greater seq; 0 is from the start.", 0),
			{Name: "view", In: "query", Description: "folded: messages as they read now.", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"folded"}}},
		},
		answers: []answer{{http.StatusOK, "The entries.", map[string]any{
			"items": []any{exampleMessage}, "headSeq": 3, "firstSeq": 1}}},
		errors: []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.history)
	register(s, api, operation{
		id: "sendMessage", method: post, path: path, tag: tag,
		summary: "Send a message, edit, delete or reaction",
		description: "The same as publishing to `chat/{c}/messages`, with the same rules. The answer is sent after the commit.\n\n" +
			"With a `clientId` a send is safe to repeat: the first entry is answered, as it stands, and nothing is added. " +
			"For members alone: scope `admin` reads every conversation but speaks in none that it is not a member of.\n\n" +
			"As `text/plain` the body is the text of a message. Without a Content-Type the first byte decides: `{` begins JSON.",
		request: sendRequest(),
		answers: []answer{
			{http.StatusCreated, "The entry, committed.", exampleMessage},
			{http.StatusOK, "The clientId was used before; this is the first entry.", exampleMessage},
		},
		errors: []chat.Code{chat.CodeForbidden, chat.CodeNotFound, chat.CodeRateLimited},
		body:   s.sendBody,
	}, s.send)
}

func (s *server) history(ctx context.Context, in *historyIn) (*historyOut, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	if in.View != "" && in.View != "folded" {
		return nil, chat.Invalid("view", "is not a view of history")
	}
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	for {
		items, err := s.items(ctx, in, p)
		if err != nil {
			return nil, err
		}
		// Asked after the reading: what was read was committed while the caller
		// was a member, so nothing from after its leave is among it.
		m, err := s.member(ctx, who, in.C)
		if err != nil {
			return nil, err
		}
		floor := m.Floor()
		if floor > p.After && p.Forward {
			p.After = floor // again, from where the caller may read
			continue
		}
		out := &historyOut{}
		out.Body.Items = slices.DeleteFunc(items, func(i item) bool { return i.Seq <= floor })
		out.Body.HeadSeq, out.Body.FirstSeq = m.Head.Head, max(m.First, floor+1)
		return out, nil
	}
}

// items reads a page of history.
func (s *server) items(ctx context.Context, in *historyIn, p bridge.FoldedPage) ([]item, error) {
	if in.View == "folded" {
		folded, err := s.log.Folded(ctx, p)
		items := make([]item, len(folded))
		for i := range folded {
			items[i] = item{folded[i]}
		}
		return items, err
	}
	var entries []chat.Entry
	var err error
	if p.Forward {
		entries, err = s.log.After(ctx, bridge.Range{Stream: p.Stream, After: p.After, Limit: p.Limit})
	} else {
		entries, err = s.log.Before(ctx, p.Stream, p.Before, p.Limit)
	}
	items := make([]item, len(entries))
	for i := range entries {
		items[i] = item{bridge.Folded{Entry: entries[i]}}
	}
	return items, err
}

// page is the page that was asked for.
func (in *historyIn) page() (p bridge.FoldedPage, err error) {
	p = bridge.FoldedPage{Stream: chat.ConversationStream(string(in.C)), Forward: in.After != "", Limit: in.Limit}
	if p.Forward {
		p.After, err = chat.ParseSeq("after", in.After)
		if err == nil && in.Before != "" {
			err = chat.Invalid("before", "cannot stand together with after")
		}
		return p, err
	}
	if in.Before != "" { // else 0, which is from the head
		p.Before, err = chat.ParseSeq("before", in.Before)
		if err == nil && p.Before == 0 {
			err = chat.Invalid("before", "must be at least 1")
		}
	}
	return p, err
}

func (s *server) send(ctx context.Context, in *inConversation) (*sendOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	sent, _ := ctx.Value(sendKey{}).(send)
	if s.limits != nil {
		if err := s.limits.MaySend(id.UserID, len(sent.payload)); err != nil {
			return nil, err
		}
	}
	body, err := chat.DecodeBody(sent.payload, sent.plain)
	if err != nil {
		return nil, err
	}
	stream := chat.ConversationStream(string(in.C))
	done, err := s.log.Commit(ctx, chat.Draft{Stream: stream, SenderID: id.UserID, Body: body})
	if err != nil {
		return nil, err
	}
	if done.Repeat {
		return s.first(ctx, stream, done.Seq)
	}
	return &sendOut{http.StatusCreated, entry{chat.Entry{ID: done.ID, Stream: stream, Seq: done.Seq,
		SenderID: id.UserID, CreatedAt: done.CreatedAt, Body: body}}}, nil
}

// first answers the entry that a repeat repeats. It is read, not made up from
// the repeat: that may say something else, and the first may be deleted.
func (s *server) first(ctx context.Context, stream chat.StreamID, seq uint64) (*sendOut, error) {
	found, err := s.log.After(ctx, bridge.Range{Stream: stream, After: seq - 1, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || found[0].Seq != seq {
		return nil, bridge.NoConversation() // it was deleted in between
	}
	return &sendOut{http.StatusOK, entry{found[0]}}, nil
}

// sendRequest describes what chat.DecodeBody takes.
func sendRequest() *huma.RequestBody {
	one, no := 1, 0.0
	text := func(description string, longest int) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Description: description, MinLength: &one, MaxLength: &longest}
	}
	seq := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Format: "int64", ExclusiveMinimum: &no, Description: description}
	}
	content := text("The text: up to 8192 bytes, with something other than white space.", chat.MaxContent)
	clientID := identifier("").Schema(nil)
	clientID.Description = "An idempotency key."
	mention, mentions := identifier("").Schema(nil), chat.MaxMentions
	kind := func(required []string, name string, props map[string]*huma.Schema) *huma.Schema {
		props["type"] = &huma.Schema{Type: huma.TypeString, Enum: []any{name}}
		props["clientId"] = clientID
		return &huma.Schema{Type: huma.TypeObject, Title: name, Required: required, Properties: props, AdditionalProperties: false}
	}
	return &huma.RequestBody{
		Required:    true,
		Description: "A message (the default type; it has content or mediaUrl or both), an edit, a delete or a reaction.",
		Content: map[string]*huma.MediaType{
			mediaJSON: {
				Schema: &huma.Schema{OneOf: []*huma.Schema{
					kind(nil, "message", map[string]*huma.Schema{
						"content": content, "mediaUrl": text("An http or https URL.", chat.MaxMediaURL),
						"replyTo":  seq("The seq of the message that it answers."),
						"mentions": {Type: huma.TypeArray, Items: mention, MaxItems: &mentions, Description: "User ids."}}),
					kind([]string{"type", "target", "content"}, "edit", map[string]*huma.Schema{
						"target": seq("The seq of the message."), "content": content}),
					kind([]string{"type", "target"}, "delete", map[string]*huma.Schema{
						"target": seq("The seq of the message.")}),
					kind([]string{"type", "target", "emoji"}, "reaction", map[string]*huma.Schema{
						"target": seq("The seq of the message."), "emoji": text("The emoji.", chat.MaxEmoji),
						"remove": {Type: huma.TypeBoolean, Description: "Takes the reaction back."}}),
				}},
				Examples: map[string]*huma.Example{
					"message":  {Value: map[string]any{"content": "hi", "clientId": "a-1", "mentions": []any{"bob"}}},
					"edit":     {Value: map[string]any{"type": "edit", "target": 3, "content": "hi!"}},
					"delete":   {Value: map[string]any{"type": "delete", "target": 3}},
					"reaction": {Value: map[string]any{"type": "reaction", "target": 3, "emoji": "👍"}},
				},
			},
			mediaPlain: {Schema: &huma.Schema{Type: huma.TypeString, MinLength: &one}, Example: "hi"},
		},
	}
}
