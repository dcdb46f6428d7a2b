package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

type receipt struct {
	UserID    string `json:"userId" doc:"The member." example:"bob"`
	Read      uint64 `json:"read" doc:"How far the member has read: a seq. Who joins has read up to its own join entry, who sends up to its message." example:"17"`
	Delivered uint64 `json:"delivered" doc:"How far a device of the member has got, at least up to read." example:"19"`
	At        string `json:"at" format:"date-time" doc:"When one of them moved last." example:"2026-11-22T22:01:33.123Z"`
}

type moveReceiptIn struct {
	C    identifier `path:"c" doc:"The id of the conversation." example:"c1"`
	Body struct {
		Read      *uint64 `json:"read,omitempty" maximum:"9007199254740991" doc:"All up to this seq is read." example:"17"`
		Delivered *uint64 `json:"delivered,omitempty" maximum:"9007199254740991" doc:"A device has got all up to this seq." example:"19"`
	} `nameHint:"NewReceipt"`
}

type receiptOut struct{ Body receipt }

type receiptsOut struct {
	Body struct {
		Items []receipt `json:"items" nullable:"false" doc:"One for each member, in the order in which they joined."`
	} `nameHint:"ReceiptList"`
}

func (s *server) receiptOperations(api huma.API) {
	const (
		tag  = "Receipts"
		path = "/v1/conversations/{c}/receipts"
	)
	example := map[string]any{"userId": "bob", "read": 17, "delivered": 19, "at": "2026-11-22T22:01:33.123Z"}
	register(s, api, operation{
		id: "moveReceipt", method: put, path: path, tag: tag,
		summary: "Move what the caller has read",
		description: "Goes forward only, and never beyond the newest entry: a lower seq changes nothing, a higher one means the newest. " +
			"The answer says what stands. The other members are told.",
		request: jsonRequest("How far.", map[string]any{"read": 17}),
		answers: []answer{{http.StatusOK, "What stands now.", example}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
		body:    s.jsonBody(maxBody),
	}, s.moveReceipt)
	register(s, api, operation{
		id: "getReceipts", method: get, path: path, tag: tag,
		summary: "See how far everybody has read", description: "For members, and scope `admin`.",
		answers: []answer{{http.StatusOK, "The receipts of all members.", map[string]any{"items": []any{example}}}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.receipts)
}

func (s *server) moveReceipt(ctx context.Context, in *moveReceiptIn) (*receiptOut, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	move := bridge.Move{MemberKey: bridge.MemberKey{Conversation: string(in.C), UserID: who.UserID}}
	switch {
	case in.Body.Read == nil && in.Body.Delivered == nil:
		return nil, chat.Invalid("read", "is missing, and so is delivered")
	case in.Body.Read == nil:
		move.Delivered = *in.Body.Delivered
	case in.Body.Delivered == nil:
		move.Read = *in.Body.Read
	default:
		move.Read, move.Delivered = *in.Body.Read, *in.Body.Delivered
	}
	r, err := s.log.MoveReceipt(ctx, move)
	if err != nil {
		return nil, err
	}
	return &receiptOut{receiptOf(r)}, nil
}

func (s *server) receipts(ctx context.Context, in *inConversation) (*receiptsOut, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.log.Receipts(ctx, string(in.C))
	if err != nil {
		return nil, err
	}
	// Members and receipts are the same rows: nobody sees a state of after
	// they had left.
	out, member := &receiptsOut{}, who.Admin
	out.Body.Items = make([]receipt, len(found))
	for i, r := range found {
		out.Body.Items[i] = receiptOf(r)
		member = member || r.UserID == who.UserID
	}
	if !member {
		return nil, bridge.NotMember()
	}
	return out, nil
}

func receiptOf(r bridge.Receipt) receipt {
	return receipt{UserID: r.UserID, Read: r.Read, Delivered: r.Delivered, At: stamp(r.At)}
}
