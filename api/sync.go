package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/internal/catchup"
)

type syncIn struct {
	After string `query:"after" doc:"The nextCursor of the answer before; without it, how all stands now." example:"BJ0cPlZ1AQAAAAA"`
	Limit int    `query:"limit" minimum:"1" maximum:"2000" default:"500" doc:"How many entries at most, in all."`
}

type syncOut struct {
	Body struct {
		Conversations []missed            `json:"conversations" nullable:"false" doc:"The conversations with entries that were missed; without after, all of the caller's. By id."`
		Notifications missedNotifications `json:"notifications" doc:"The caller's notifications."`
		NextCursor    string              `json:"nextCursor" doc:"The after of the next question." example:"BJ0cPlZ1AQAAAAA"`
		Complete      bool                `json:"complete" doc:"There is no more for now; else ask again with nextCursor."`
	} `nameHint:"Sync"`
}

type missed struct {
	ID      string  `json:"id" doc:"The conversation." example:"c1"`
	HeadSeq uint64  `json:"headSeq" doc:"The seq of its newest entry; where the caller is no member any more, that of its own leave." example:"42"`
	ReadSeq uint64  `json:"readSeq" doc:"How far the caller has read; 0 where it is no member any more." example:"40"`
	Unread  uint64  `json:"unread" doc:"How many messages of others the caller has not read." example:"2"`
	Entries []entry `json:"entries" nullable:"false" doc:"What was missed, in the order of seq."`
}

type missedNotifications struct {
	UnreadCount uint64         `json:"unreadCount" doc:"How many are unread." example:"4"`
	Entries     []notification `json:"entries" nullable:"false" doc:"What was missed, in the order of seq."`
}

func (s *server) syncOperations(api huma.API) {
	register(s, api, operation{
		id: "sync", method: get, path: "/v1/sync", tag: "Own",
		summary: "Get what was missed",
		description: "One call after being away. Without `after` it tells how all conversations of the caller stand, without entries, and gives " +
			"the cursor to begin with. With `after` it gives the entries that were missed since: of each conversation in order, without " +
			"a gap, and once, from answer to answer. Where history does not reach back that far any more, they begin at its oldest entry. " +
			"A conversation that the caller has left ends with its own `leave`, one that it has joined begins with its own `join`; " +
			"nothing of the time between comes. Conversations without news are left out.\n\n" +
			"An answer may have fewer entries than `limit` and not be complete, as when they are large. The cursor is kept by the client; it " +
			"never expires. One of another user is refused, and so is one from before a restore of the database.",
		answers: []answer{{http.StatusOK, "What was missed.", map[string]any{
			"conversations": []any{map[string]any{"id": "c1", "headSeq": 3, "readSeq": 2, "unread": 1, "entries": []any{exampleMessage}}},
			"notifications": map[string]any{"unreadCount": 0, "entries": []any{}},
			"nextCursor":    "BJ0cPlZ1AQAAAAA", "complete": true}}},
	}, s.sync)
}

func (s *server) sync(ctx context.Context, in *syncIn) (*syncOut, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.catchUp.Sync(ctx, who.UserID, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &syncOut{}
	out.Body.Conversations = make([]missed, len(found.Conversations))
	for i := range found.Conversations {
		out.Body.Conversations[i] = missedOf(&found.Conversations[i])
	}
	out.Body.Notifications = missedNotifications{UnreadCount: found.Unread, Entries: notificationsOf(found.Notifications)}
	out.Body.NextCursor, out.Body.Complete = found.Next, found.Complete
	return out, nil
}

func missedOf(c *catchup.Conversation) missed {
	return missed{ID: c.ID, HeadSeq: c.Head, ReadSeq: c.Read, Unread: c.Unread, Entries: entriesOf(c.Entries)}
}
