package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// notification is an entry as MQTT subscribers get it. Its JSON is written by
// the same code.
type notification struct{ chat.Entry }

// Schema refers to the form that notificationDoc describes.
func (notification) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[notificationDoc](), true, "Notification")
}

// notificationDoc describes the JSON of a notification; a test compares the
// two.
type notificationDoc struct {
	ID          string         `json:"id" format:"uuid" doc:"The UUIDv7 of the notification."`
	Seq         uint64         `json:"seq" minimum:"1" doc:"The place among the recipient's notifications: 1, 2, 3, … without a gap."`
	RecipientID string         `json:"recipientId" doc:"Whom it is for."`
	SenderID    string         `json:"senderId" doc:"Whose doing it is about."`
	Type        string         `json:"type" doc:"What happened, in the words of who notifies; mention is the server's own."`
	Data        map[string]any `json:"data,omitempty" nullable:"false" doc:"What belongs to it; left out if there is nothing."`
	Collapse    string         `json:"collapse,omitempty" doc:"The aggregation key."`
	IsRead      bool           `json:"isRead" doc:"It is not among the unread ones: it was read, or a newer one with the same collapse key came."`
	Deleted     bool           `json:"deleted,omitempty" doc:"What it said is erased for good."`
	CreatedAt   string         `json:"createdAt" format:"date-time" doc:"When it was committed."`
}

func notificationsOf(entries []chat.Entry) []notification {
	all := make([]notification, len(entries))
	for i := range entries {
		all[i] = notification{entries[i]}
	}
	return all
}

// notified is the answer to POST /notifications: the notification, or what
// became of each of a batch.
type notified struct{ answer any }

// MarshalJSON writes the one or the other.
func (n notified) MarshalJSON() ([]byte, error) { return json.Marshal(n.answer) }

// Schema is that of both.
func (notified) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		r.Schema(reflect.TypeFor[notification](), true, "Notification"),
		r.Schema(reflect.TypeFor[notifiedBatch](), true, "NotificationResults"),
	}}
}

type notifiedBatch struct {
	Items []notifiedItem `json:"items" nullable:"false" doc:"What became of each, in the order of the request."`
}

type notifiedItem struct {
	Status       int           `json:"status" doc:"201: it was made; 200: its clientId was used before, this is the first one; 204: it was skipped." example:"201"`
	Notification *notification `json:"notification,omitempty" doc:"Left out where it was skipped."`
}

type notifyOut struct {
	Status int
	Body   notified
}

type notificationsIn struct {
	Unread bool   `query:"unread" doc:"Those alone that are unread."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor string `query:"cursor" doc:"The nextCursor of the page before." example:"BQAAAAAAAAAH"`
}

type notificationsOut struct {
	Body struct {
		Items      []notification `json:"items" nullable:"false" doc:"The notifications, newest first."`
		NextCursor string         `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"BQAAAAAAAAAH"`
	} `nameHint:"NotificationList"`
}

type unreadOut struct {
	Body struct {
		UnreadCount uint64 `json:"unreadCount" doc:"How many of the caller's notifications are unread." example:"4"`
	} `nameHint:"UnreadCount"`
}

var exampleNotification = map[string]any{"id": "019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c12", "seq": 7, "recipientId": "bob",
	"senderId": "alice", "type": "LIKE", "data": map[string]any{"postId": "p1"}, "collapse": "like:p1",
	"isRead": false, "createdAt": "2026-11-22T22:02:10.004Z"}

const (
	notificationsTag  = "Notifications"
	notificationsPath = "/v1/notifications"
)

func (s *server) notificationOperations(api huma.API) {
	register(s, api, operation{
		id: "listNotifications", method: get, path: notificationsPath, tag: notificationsTag,
		summary: "List the caller's notifications", description: "Newest first. With scope `admin` too, these are the caller's own.",
		answers: []answer{{http.StatusOK, "A page of them.", map[string]any{
			"items": []any{exampleNotification}, "nextCursor": "BQAAAAAAAAAH"}}},
	}, s.notifications)
	register(s, api, operation{
		id: "notify", method: post, path: notificationsPath, tag: notificationsTag,
		summary: "Notify users",
		description: "For scope `notify`. One notification, or up to 1,000 as a list or as `{\"items\": […]}`: all of them in one " +
			"commit, or, where one is malformed, none; `field` then names it, as in `items[3].type`.\n\n" +
			"A notification is skipped where recipient and sender are one, and where the recipient's preferences do not want it.\n\n" +
			"An unread notification with the same `collapse` counts as read from then on, so that many likes of one post are " +
			"one unread notification. The list keeps them all.",
		request: notifyRequest(),
		answers: []answer{
			{http.StatusCreated, "The notification, committed; or of a batch what became of each.", exampleNotification},
			{http.StatusOK, "The sender used this clientId for this recipient before; this is the first notification.", exampleNotification},
			{http.StatusNoContent, "It was skipped.", nil},
		},
		errors: []chat.Code{chat.CodeForbidden},
		body:   s.notifyBody,
	}, s.notify)
	register(s, api, operation{
		id: "readNotifications", method: post, path: notificationsPath + "/read", tag: notificationsTag,
		summary: "Mark notifications as read",
		description: "The same as publishing to `users/{u}/notifications/read`. Up to 1,000 ids, or all up to a `seq`, or all. " +
			"Ids that are not the caller's, and those that were read before, do nothing.",
		request: readRequest(),
		answers: []answer{{http.StatusOK, "How many are unread now.", map[string]any{"unreadCount": 4}}},
		body:    s.rawBody(chat.MaxPayload),
	}, s.readNotifications)
	register(s, api, operation{
		id: "countUnread", method: get, path: notificationsPath + "/unread", tag: notificationsTag,
		summary:     "Count the caller's unread notifications",
		description: "The same as what is retained on `users/{u}/unread`.",
		answers:     []answer{{http.StatusOK, "How many are unread.", map[string]any{"unreadCount": 4}}},
	}, s.countUnread)
	s.preferenceOperations(api)
}

func (s *server) notifications(ctx context.Context, in *notificationsIn) (*notificationsOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	before, err := parseNotificationCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	// One more says whether there is a next page.
	found, err := s.log.Notifications(ctx, id.UserID, before, in.Unread, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &notificationsOut{}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextCursor = notificationCursor(found[in.Limit-1].Seq)
	}
	out.Body.Items = notificationsOf(found)
	return out, nil
}

// mayNotify is the caller, who must have scope notify.
func mayNotify(ctx context.Context) (acl.Identity, error) {
	id, err := caller(ctx)
	if err == nil && !id.Has(acl.Notify) {
		err = chat.Errorf(chat.CodeForbidden, "this wants a token with scope notify")
	}
	return id, err
}

// notifyBody reads a body that may be large from those alone who may notify.
func (s *server) notifyBody(ctx huma.Context, next func(huma.Context)) {
	if _, err := mayNotify(ctx.Context()); err != nil {
		r, w := humachi.Unwrap(ctx)
		writeProblem(w, s.refuse(r.Context(), err))
		return
	}
	s.rawBody(chat.MaxNoticePayload)(ctx, next)
}

func (s *server) notify(ctx context.Context, _ *struct{}) (*notifyOut, error) {
	id, err := mayNotify(ctx)
	if err != nil {
		return nil, err
	}
	drafts, batch, err := chat.DecodeNotices(rawOf(ctx), id.UserID)
	if err != nil {
		return nil, err
	}
	done, err := s.log.Notify(ctx, drafts)
	if err != nil {
		return nil, err
	}
	items := make([]notifiedItem, len(done))
	for i := range done {
		d := &done[i]
		switch {
		case d.Skipped != bridge.Wanted:
			items[i] = notifiedItem{Status: http.StatusNoContent}
		case d.Repeat:
			items[i] = notifiedItem{http.StatusOK, &notification{d.Entry}}
		default:
			items[i] = notifiedItem{http.StatusCreated, &notification{d.Entry}}
		}
	}
	if batch {
		return &notifyOut{http.StatusCreated, notified{notifiedBatch{items}}}, nil
	}
	return &notifyOut{items[0].Status, notified{items[0].Notification}}, nil
}

func (s *server) readNotifications(ctx context.Context, _ *struct{}) (*unreadOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	which, err := chat.DecodeReadMarks(rawOf(ctx))
	if err != nil {
		return nil, err
	}
	out := &unreadOut{}
	out.Body.UnreadCount, err = s.log.ReadNotifications(ctx, id.UserID, which)
	return out, err
}

func (s *server) countUnread(ctx context.Context, _ *struct{}) (*unreadOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := s.log.UnreadNotifications(ctx, []string{id.UserID})
	if err != nil {
		return nil, err
	}
	out := &unreadOut{}
	out.Body.UnreadCount = counts[0]
	return out, nil
}

// notificationCursorVersion is the first byte of a place in a list of
// notifications; the seq of the last one follows.
const notificationCursorVersion = 5

func notificationCursor(seq uint64) string {
	return cursorText.EncodeToString(binary.BigEndian.AppendUint64([]byte{notificationCursorVersion}, seq))
}

// parseNotificationCursor reads a cursor; "" is the start of the list.
func parseNotificationCursor(cursor string) (before uint64, err error) {
	if cursor == "" {
		return 0, nil
	}
	b, err := cursorText.DecodeString(cursor)
	if err != nil || len(b) != 1+8 || b[0] != notificationCursorVersion {
		return 0, chat.Invalid("cursor", "must be the nextCursor of an answer")
	}
	if before = binary.BigEndian.Uint64(b[1:]); before == 0 || before > math.MaxInt64 {
		return 0, chat.Invalid("cursor", "must be the nextCursor of an answer")
	}
	return before, nil
}

// notifyRequest describes what chat.DecodeNotices takes.
func notifyRequest() *huma.RequestBody {
	one, most := 1, chat.MaxNotices
	id := func(description string) *huma.Schema {
		schema := identifier("").Schema(nil)
		schema.Description = description
		return schema
	}
	length := chat.MaxCollapse
	single := &huma.Schema{Type: huma.TypeObject, Title: "notification", Required: []string{"recipientId", "type"},
		AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"recipientId": id("Whom it is for."),
			"senderId":    id("Whose doing it is about; the caller if it is left out."),
			"type":        noticeType("").Schema(nil),
			"data":        {Type: huma.TypeObject, AdditionalProperties: true, Description: "A JSON object of up to 4 KiB. `conversationId` in it says which conversation it is about."},
			"collapse":    {Type: huma.TypeString, MinLength: &one, MaxLength: &length, Description: "An aggregation key of up to 128 bytes."},
			"clientId":    id("An idempotency key, for this sender and recipient."),
		}}
	list := &huma.Schema{Type: huma.TypeArray, Title: "list", Items: single, MinItems: &one, MaxItems: &most}
	example := map[string]any{"recipientId": "bob", "senderId": "alice", "type": "LIKE",
		"data": map[string]any{"postId": "p1"}, "collapse": "like:p1", "clientId": "l-1"}
	return &huma.RequestBody{Required: true, Description: "One notification, or a batch.",
		Content: map[string]*huma.MediaType{mediaJSON: {
			Schema: &huma.Schema{OneOf: []*huma.Schema{single, list, {Type: huma.TypeObject, Title: "batch",
				Required: []string{"items"}, Properties: map[string]*huma.Schema{"items": list}, AdditionalProperties: false}}},
			Examples: map[string]*huma.Example{
				"notification": {Value: example},
				"batch": {Value: map[string]any{"items": []any{example,
					map[string]any{"recipientId": "carol", "senderId": "alice", "type": "FOLLOW"}}}},
			}}}}
}

// readRequest describes what chat.DecodeReadMarks takes.
func readRequest() *huma.RequestBody {
	most, zero := chat.MaxReadIDs, 0.0
	way := func(key string, schema *huma.Schema) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, Title: key, Required: []string{key},
			Properties: map[string]*huma.Schema{key: schema}, AdditionalProperties: false}
	}
	return &huma.RequestBody{Required: true, Description: "Which ones.",
		Content: map[string]*huma.MediaType{mediaJSON: {
			Schema: &huma.Schema{OneOf: []*huma.Schema{
				way("ids", &huma.Schema{Type: huma.TypeArray, MaxItems: &most, Description: "Those with these ids.",
					Items: &huma.Schema{Type: huma.TypeString, Format: "uuid"}}),
				way("upTo", &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &zero, Description: "All up to this seq."}),
				way("all", &huma.Schema{Type: huma.TypeBoolean, Enum: []any{true}, Description: "All that there are."}),
			}},
			Examples: map[string]*huma.Example{
				"ids":  {Value: map[string]any{"ids": []any{"019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c12"}}},
				"upTo": {Value: map[string]any{"upTo": 7}},
				"all":  {Value: map[string]any{"all": true}},
			}}}}
}
