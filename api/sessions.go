package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

type sessionsIn struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor string `query:"cursor" doc:"The nextCursor of the page before." example:"A3Bob25l"`
}

type sessionsOut struct {
	Body struct {
		Items      []session `json:"items" nullable:"false" doc:"The sessions, by client identifier."`
		NextCursor string    `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"A3Bob25l"`
	} `nameHint:"SessionList"`
}

type endIn struct {
	ClientID string `path:"clientId" doc:"The client identifier, percent-encoded." example:"phone"`
}

type session struct {
	ClientID    string   `json:"clientId" doc:"The MQTT client identifier." example:"phone"`
	Connected   bool     `json:"connected" doc:"It has a connection."`
	Protocol    string   `json:"protocol,omitempty" enum:"3.1.1,5" doc:"The version of MQTT; left out when it is not connected here." example:"5"`
	Address     string   `json:"address,omitempty" doc:"Where the client is: address and port; left out when it is not connected here, or that is not known." example:"192.0.2.7:51442"`
	ConnectedAt string   `json:"connectedAt,omitempty" format:"date-time" doc:"When it connected; left out when it is not connected here." example:"2026-11-22T22:01:33.123Z"`
	EndedAt     string   `json:"endedAt,omitempty" format:"date-time" doc:"When it lost its connection; left out when it is connected." example:"2026-11-22T22:01:33.123Z"`
	ExpiresAt   string   `json:"expiresAt,omitempty" format:"date-time" doc:"When it is removed unless it connects before; left out when it is connected, or never is removed." example:"2026-11-29T22:01:33.123Z"`
	Cursors     []cursor `json:"cursors" nullable:"false" doc:"How far it has acknowledged streams, by their names: the first 100. A session that ends with its connection has none."`
	CursorCount int      `json:"cursorCount" doc:"How many cursors there are." example:"1"`
}

type cursor struct {
	Topic string `json:"topic" doc:"The topic of the stream." example:"chat/c1/messages"`
	Seq   uint64 `json:"seq" doc:"The seq of the entry up to which it has acknowledged all." example:"40"`
	Head  uint64 `json:"head" doc:"The seq of the newest entry." example:"42"`
}

// maxCursors bounds the cursors that are shown of one session.
const maxCursors = 100

var exampleSessions = map[string]any{"items": []any{
	map[string]any{"clientId": "phone", "connected": true, "protocol": "5", "address": "192.0.2.7:51442",
		"connectedAt": "2026-11-22T22:01:33.123Z", "cursorCount": 1,
		"cursors": []any{map[string]any{"topic": "chat/c1/messages", "seq": 40, "head": 42}}},
	map[string]any{"clientId": "tablet", "connected": false, "endedAt": "2026-11-22T20:14:05.004Z",
		"expiresAt": "2026-11-29T20:14:05.004Z", "cursorCount": 0, "cursors": []any{}},
}, "nextCursor": "A3RhYmxldA"}

func (s *server) sessionOperations(api huma.API) {
	const tag, path = "Own", "/v1/me/sessions"
	register(s, api, operation{
		id: "listSessions", method: get, path: path, tag: tag,
		summary: "List the caller's sessions",
		description: "The MQTT sessions of the caller, connected or away, by client identifier. A page may have fewer than " +
			"`limit`: there is more as long as there is a `nextCursor`.",
		answers: []answer{{http.StatusOK, "A page of them.", exampleSessions}},
	}, s.listSessions)
	register(s, api, operation{
		id: "endSession", method: remove, path: path + "/{clientId}", tag: tag,
		summary: "End a session of the caller",
		description: "Its connection ends, which an MQTT 5 client is told by 0x98 (administrative action). Its subscriptions, cursors " +
			"and what waits for it are removed; its will, if it has one, is published. " +
			"The client may connect again: it begins anew.",
		answers: []answer{{status: http.StatusNoContent, description: "It is gone."}},
		errors:  []chat.Code{chat.CodeNotFound},
	}, s.endSession)
}

func (s *server) listSessions(ctx context.Context, in *sessionsIn) (*sessionsOut, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	after, err := parseSessionCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	page, next, err := s.sessionsAfter(ctx, who.UserID, after, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &sessionsOut{}
	out.Body.Items = page
	if next != "" {
		out.Body.NextCursor = sessionCursor(next)
	}
	return out, nil
}

// sessionsAfter merges the connections, some of which are of sessions that are
// not durable, with the durable sessions. next is where to go on, "" at the
// end.
func (s *server) sessionsAfter(ctx context.Context, user, after string, limit int) (page []session, next string, err error) {
	kept, err := s.log.SessionsOf(ctx, user, after, limit+1, maxCursors) // one more says whether there is a next page
	if err != nil {
		return nil, "", err
	}
	live, liveNext := s.connections.List(user, "", bridge.SessionKey{UserID: user, ClientID: after}, limit)
	// Each list tells of all up to its end.
	next = liveNext.ClientID
	if len(kept) > limit {
		if end := kept[limit].Key.ClientID; next == "" || end < next {
			next = end
		}
	}
	connected := make(map[string]*Connection, len(live))
	for i := range live {
		connected[live[i].Key.ClientID] = &live[i]
	}
	page = make([]session, 0, len(kept)+len(live))
	for i := range kept {
		c := connected[kept[i].Key.ClientID]
		delete(connected, kept[i].Key.ClientID)
		page = append(page, sessionOf(&kept[i], c))
	}
	for _, c := range connected {
		page = append(page, sessionOf(&bridge.SessionSeen{Key: c.Key}, c))
	}
	slices.SortFunc(page, func(a, b session) int { return cmp.Compare(a.ClientID, b.ClientID) })
	for next != "" && len(page) > 0 && page[len(page)-1].ClientID > next {
		page = page[:len(page)-1]
	}
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].ClientID
	}
	return page, next, nil
}

// sessionOf is a durable session with its connection, or without one: c is
// nil.
func sessionOf(kept *bridge.SessionSeen, c *Connection) session {
	v := session{ClientID: kept.Key.ClientID, Connected: c != nil || kept.EndedAt.IsZero(),
		Cursors: make([]cursor, 0, len(kept.Cursors)), CursorCount: kept.CursorCount}
	seqs := map[chat.StreamID]uint64{} // they are saved a little later
	if c != nil {
		v.Protocol, v.Address, v.ConnectedAt = protocolOf(c.Version), c.Address, stamp(c.ConnectedAt)
		for _, cur := range c.Cursors {
			seqs[cur.Stream] = cur.Seq
		}
	}
	for _, cur := range kept.Cursors {
		seq := max(cur.Seq, seqs[cur.Stream])
		v.Cursors = append(v.Cursors, cursor{Topic: topicOf(cur.Stream), Seq: seq, Head: max(cur.Head, seq)})
	}
	if !v.Connected {
		v.EndedAt = stamp(kept.EndedAt)
		if kept.Expiry != bridge.NeverExpires {
			v.ExpiresAt = stamp(kept.EndedAt.Add(time.Duration(kept.Expiry) * time.Second))
		}
	}
	return v
}

// topicOf is the topic on which a stream is delivered.
func topicOf(stream chat.StreamID) string {
	if c := stream.Conversation(); c != "" {
		return chat.Topic{Kind: chat.KindMessages, ID: c}.String()
	}
	return chat.Topic{Kind: chat.KindNotifications, ID: stream.User()}.String()
}

func (s *server) endSession(ctx context.Context, in *endIn) (*struct{}, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	found := false
	if checkClientID(in.ClientID) {
		if found, err = s.connections.EndSession(ctx, bridge.SessionKey{UserID: who.UserID, ClientID: in.ClientID}); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, chat.Errorf(chat.CodeNotFound, "there is no such session")
	}
	s.logger.InfoContext(ctx, "a session was ended by its user", "user", who.UserID, "client", in.ClientID)
	return nil, nil
}

// checkClientID reports whether a client may have the identifier.
func checkClientID(id string) bool {
	return id != "" && len(id) <= maxClientID && utf8.ValidString(id) && !strings.Contains(id, "\x00")
}

// sessionCursorVersion is the first byte of a place in the list of sessions:
// the client identifier follows.
const sessionCursorVersion = 3

func sessionCursor(client string) string {
	return cursorText.EncodeToString(append([]byte{sessionCursorVersion}, client...))
}

// parseSessionCursor reads a cursor; "" is the start of the list.
func parseSessionCursor(cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	b, err := cursorText.DecodeString(cursor[:min(len(cursor), 2*maxClientID)])
	if err != nil || len(b) == 0 || b[0] != sessionCursorVersion || !checkClientID(string(b[1:])) {
		return "", chat.Invalid("cursor", "must be the nextCursor of an answer")
	}
	return string(b[1:]), nil
}
