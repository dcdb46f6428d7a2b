package api

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Connections is what the API needs of the MQTT side, for the operator.
type Connections interface {
	// List answers at most limit connections after a key, in the order of
	// user and client identifier, and the key after which it goes on, zero at
	// the end. user and client choose among them, "" is all.
	List(user, client string, after bridge.SessionKey, limit int) (list []Connection, next bridge.SessionKey)
	// Get answers one, whole. It is false when there is none.
	Get(key bridge.SessionKey) (Connection, bool)
	// Disconnect ends one. It is false when there is none.
	Disconnect(key bridge.SessionKey) bool
	// EndSession ends a session, connected or away, with all that is kept of
	// it. It is false when there is none.
	EndSession(ctx context.Context, key bridge.SessionKey) (bool, error)
}

// Connection is an MQTT connection that is open.
type Connection struct {
	Key           bridge.SessionKey
	Address       string // "" where it is not known
	Transport     string
	Version       byte // of the protocol: 4 is 3.1.1
	ConnectedAt   time.Time
	CleanStart    bool
	SessionExpiry uint32 // seconds
	KeepAlive     uint16 // seconds

	Subscriptions     []bridge.Subscription // in a list, the first of them
	SubscriptionCount int                   // of all
	Streams           []bridge.Progress     // in a list, the first of them
	StreamCount       int                   // of all
	Cursors           []bridge.Cursor       // of a durable session, of those streams

	InflightEntries    int
	InflightDeliveries int
	Waiting            int
	WaitingBytes       int64
}

// maxClientID bounds a client identifier in bytes, as the MQTT side does.
const maxClientID = 256

type connectionsIn struct {
	User   identifier `query:"user" doc:"Those of this user alone." example:"alice"`
	Client string     `query:"client" maxLength:"256" doc:"Those with this client identifier alone." example:"phone"`
	Limit  int        `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Cursor string     `query:"cursor" doc:"The nextCursor of the page before." example:"AmFsaWNlAHBob25l"`
}

type connectionsOut struct {
	Body struct {
		Items      []connection `json:"items" nullable:"false" doc:"The connections, by user and client identifier."`
		NextCursor string       `json:"nextCursor,omitempty" doc:"Where the next page begins; left out on the last one." example:"AmFsaWNlAHBob25l"`
	} `nameHint:"ConnectionList"`
}

// oneConnection names a connection in the query: a client identifier may be
// anything, ".." too, which a path does not survive on its way.
type oneConnection struct {
	User   identifier `query:"user" required:"true" doc:"The user." example:"alice"`
	Client string     `query:"client" required:"true" maxLength:"256" doc:"The client identifier: any UTF-8, up to 256 bytes." example:"phone"`
}

func (in *oneConnection) key() bridge.SessionKey {
	return bridge.SessionKey{UserID: string(in.User), ClientID: in.Client}
}

type connectionOut struct{ Body connection }

type connection struct {
	UserID        string         `json:"userId" doc:"The user." example:"alice"`
	ClientID      string         `json:"clientId" doc:"The MQTT client identifier, the client's own or the one that the server gave." example:"phone"`
	Address       string         `json:"address,omitempty" doc:"Where the client is: address and port, as a trusted proxy tells it; left out where it is not known." example:"192.0.2.7:51442"`
	Transport     string         `json:"transport" enum:"tcp,tls,ws,wss" doc:"What carries it." example:"tls"`
	Protocol      string         `json:"protocol" enum:"3.1.1,5" doc:"The version of MQTT." example:"5"`
	ConnectedAt   string         `json:"connectedAt" format:"date-time" doc:"When it was accepted." example:"2026-11-22T22:01:33.123Z"`
	CleanStart    bool           `json:"cleanStart" doc:"It began without what its session had before. In MQTT 3.1.1 this is Clean Session."`
	SessionExpiry uint32         `json:"sessionExpiry" doc:"Seconds that the session outlives the connection: 0 not at all, 4294967295 for ever." example:"3600"`
	KeepAlive     uint16         `json:"keepAlive" doc:"Seconds within which the client sends something; 0 is any time." example:"60"`
	Subscriptions subscriptions  `json:"subscriptions" doc:"What it subscribes to."`
	Inflight      inflight       `json:"inflight" doc:"What was sent to it at QoS 1 and 2, and is not acknowledged."`
	Waiting       waiting        `json:"waiting" doc:"What ordinary topics have for it at QoS 1 and 2 and it has not acknowledged, in flight or not."`
	Streams       streamProgress `json:"streams" doc:"The streams that it follows."`
}

type subscriptions struct {
	Count int            `json:"count" doc:"How many there are." example:"1"`
	Items []subscription `json:"items" nullable:"false" doc:"By filter; in a list of connections the first 100."`
}

type subscription struct {
	Filter string `json:"filter" doc:"The topic filter." example:"chat/+/messages"`
	QoS    byte   `json:"qos" maximum:"2" doc:"The QoS that was granted." example:"1"`
}

type inflight struct {
	Entries    int `json:"entries" doc:"Entries of streams." example:"2"`
	Deliveries int `json:"deliveries" doc:"Messages of ordinary topics." example:"1"`
}

type waiting struct {
	Deliveries int   `json:"deliveries" doc:"How many." example:"7"`
	Bytes      int64 `json:"bytes" doc:"Their bytes." example:"512"`
}

type streamProgress struct {
	Count int      `json:"count" doc:"How many there are." example:"1"`
	Items []stream `json:"items" nullable:"false" doc:"By conversation, notifications last; in a list of connections the first 100."`
}

type stream struct {
	ConversationID string `json:"conversationId,omitempty" doc:"The conversation; left out of a stream of notifications." example:"c1"`
	RecipientID    string `json:"recipientId,omitempty" doc:"Of a stream of notifications: whose they are."`
	Position       uint64 `json:"position" doc:"The seq of the entry that was sent to it last." example:"40"`
	Head           uint64 `json:"head" doc:"The seq of the newest entry." example:"42"`
	Lag            uint64 `json:"lag" doc:"How many entries it is behind: head less position." example:"2"`
}

var exampleConnection = map[string]any{"userId": "alice", "clientId": "phone", "address": "192.0.2.7:51442",
	"transport": "tls", "protocol": "5", "connectedAt": "2026-11-22T22:01:33.123Z", "cleanStart": false,
	"sessionExpiry": 3600, "keepAlive": 60,
	"subscriptions": map[string]any{"count": 1, "items": []any{map[string]any{"filter": "chat/+/messages", "qos": 1}}},
	"inflight":      map[string]any{"entries": 2, "deliveries": 0},
	"waiting":       map[string]any{"deliveries": 0, "bytes": 0},
	"streams": map[string]any{"count": 1, "items": []any{
		map[string]any{"conversationId": "c1", "position": 40, "head": 42, "lag": 2}}}}

func (s *server) connectionOperations(api huma.API) {
	const tag = "Administration"
	register(s, api, operation{
		id: "listConnections", method: get, path: "/v1/admin/connections", tag: tag,
		summary: "List the MQTT connections",
		description: "For scope `admin`. Those that are open now, by user and client identifier. A page may have fewer than " +
			"`limit`, as when connections end meanwhile: there is more as long as there is a `nextCursor`.",
		answers: []answer{{http.StatusOK, "A page of them.",
			map[string]any{"items": []any{exampleConnection}, "nextCursor": "AmFsaWNlAHBob25l"}}},
		errors: []chat.Code{chat.CodeForbidden},
	}, s.listConnections)
	const path = "/v1/admin/connection"
	register(s, api, operation{
		id: "getConnection", method: get, path: path, tag: tag,
		summary:     "Get an MQTT connection",
		description: "For scope `admin`. With all its subscriptions and streams.",
		answers:     []answer{{http.StatusOK, "The connection.", exampleConnection}},
		errors:      []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.getConnection)
	register(s, api, operation{
		id: "disconnect", method: remove, path: path, tag: tag,
		summary: "End an MQTT connection",
		description: "For scope `admin`. An MQTT 5 client is told 0x98 (administrative action). " +
			"Its session stays, its will is published, and it may come back.",
		answers: []answer{{status: http.StatusNoContent, description: "It is ending."}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeNotFound},
	}, s.disconnect)
}

func (s *server) listConnections(ctx context.Context, in *connectionsIn) (*connectionsOut, error) {
	if _, err := administrator(ctx); err != nil {
		return nil, err
	}
	after, err := parseConnectionCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	found, next := s.connections.List(string(in.User), in.Client, after, in.Limit)
	out := &connectionsOut{}
	if next.UserID != "" {
		out.Body.NextCursor = connectionCursor(next)
	}
	out.Body.Items = make([]connection, len(found))
	for i := range found {
		out.Body.Items[i] = connectionOf(&found[i])
	}
	return out, nil
}

func (s *server) getConnection(ctx context.Context, in *oneConnection) (*connectionOut, error) {
	if _, err := administrator(ctx); err != nil {
		return nil, err
	}
	c, ok := s.connections.Get(in.key())
	if !ok {
		return nil, noConnection()
	}
	return &connectionOut{connectionOf(&c)}, nil
}

func (s *server) disconnect(ctx context.Context, in *oneConnection) (*struct{}, error) {
	who, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if !s.connections.Disconnect(in.key()) {
		return nil, noConnection()
	}
	s.logger.InfoContext(ctx, "disconnecting a client", "user", string(in.User), "client", in.Client, "by", who.UserID)
	return nil, nil
}

func noConnection() error {
	return chat.Errorf(chat.CodeNotFound, "there is no such connection")
}

func connectionOf(c *Connection) connection {
	v := connection{UserID: c.Key.UserID, ClientID: c.Key.ClientID, Address: c.Address, Transport: c.Transport,
		Protocol: protocolOf(c.Version), ConnectedAt: stamp(c.ConnectedAt), CleanStart: c.CleanStart, SessionExpiry: c.SessionExpiry,
		KeepAlive:     c.KeepAlive,
		Subscriptions: subscriptions{Count: c.SubscriptionCount, Items: make([]subscription, len(c.Subscriptions))},
		Inflight:      inflight{Entries: c.InflightEntries, Deliveries: c.InflightDeliveries},
		Waiting:       waiting{Deliveries: c.Waiting, Bytes: c.WaitingBytes},
		Streams:       streamProgress{Count: c.StreamCount, Items: make([]stream, len(c.Streams))}}
	for i, sub := range c.Subscriptions {
		v.Subscriptions.Items[i] = subscription{Filter: sub.Filter, QoS: sub.QoS}
	}
	for i, p := range c.Streams {
		v.Streams.Items[i] = stream{ConversationID: p.Stream.Conversation(), RecipientID: p.Stream.User(), Position: p.Position,
			Head: p.Head, Lag: p.Head - p.Position}
	}
	return v
}

func protocolOf(version byte) string {
	if version < 5 {
		return "3.1.1"
	}
	return "5"
}

// connectionCursorVersion is the first byte of a place in the list of
// connections: the user and the client identifier follow, with a zero between
// them that neither can have.
const connectionCursorVersion = 2

func connectionCursor(key bridge.SessionKey) string {
	b := append([]byte{connectionCursorVersion}, key.UserID...)
	return cursorText.EncodeToString(append(append(b, 0), key.ClientID...))
}

// parseConnectionCursor reads a cursor; "" is the start of the list.
func parseConnectionCursor(cursor string) (bridge.SessionKey, error) {
	if cursor == "" {
		return bridge.SessionKey{}, nil
	}
	errBad := chat.Invalid("cursor", "must be the nextCursor of an answer")
	if len(cursor) > cursorText.EncodedLen(1+chat.MaxID+1+maxClientID) {
		return bridge.SessionKey{}, errBad
	}
	b, err := cursorText.DecodeString(cursor)
	if err != nil || len(b) == 0 || b[0] != connectionCursorVersion {
		return bridge.SessionKey{}, errBad
	}
	user, client, ok := strings.Cut(string(b[1:]), "\x00")
	if !ok || !chat.ValidID(user) || client == "" || len(client) > maxClientID || !utf8.ValidString(client) ||
		strings.Contains(client, "\x00") {
		return bridge.SessionKey{}, errBad
	}
	return bridge.SessionKey{UserID: user, ClientID: client}, nil
}
