package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	exportPath = "/v1/me/export"
	mediaLines = "application/x-ndjson"

	// exportPage is how many entries of a conversation are looked at in one
	// read, and exportNotifications how many notifications are read.
	exportPage          = 500
	exportNotifications = 200
	exportSessions      = 50
	exportRetained      = 16 // each may be as large as a packet
	exportCursors       = 10_000
	// exportIdle is how long a client may take nothing.
	exportIdle = 30 * time.Second
)

func (s *server) exportOperations(api huma.API) {
	register(s, api, operation{
		id: "exportMe", method: get, path: exportPath, tag: "Own",
		summary: "Export everything of the caller",
		description: "JSON objects, one a line, each with a `kind`: `user`; then for each conversation that the caller is or was in " +
			"`conversation` (with `role`, empty for one that it has left) and `entry`, each with one `entry` that the caller sent; " +
			"`preferences`; `block`; `notification`; `session`; `presence`; `retained`, for each retained message of an ordinary topic " +
			"that the caller published, with its `payload` in base64; and at the end `end`. " +
			"What is written while the export runs may be in it or not. An export without its last line is not whole.",
		answers: []answer{{status: http.StatusOK, description: "The lines."}},
		body:    s.export,
	}, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		_, err := caller(ctx)
		return nil, err
	})
	lines := api.OpenAPI().Paths[exportPath].Get.Responses["200"]
	lines.Content = map[string]*huma.MediaType{mediaLines: {Schema: &huma.Schema{Type: huma.TypeString},
		Example: `{"kind":"user","userId":"alice","exportedAt":"2026-11-22T22:01:33.123Z"}` + "\n" + `{"kind":"end"}` + "\n"}}
}

// export answers before huma does: it would hold the whole answer.
func (s *server) export(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	who, err := caller(r.Context())
	if err != nil {
		next(ctx) // refuses
		return
	}
	e := &exporter{server: s, ctx: r.Context(), user: who.UserID, w: w, control: http.NewResponseController(w)}
	e.out = bufio.NewWriterSize(e, 32<<10)
	memberships, err := s.log.Memberships(e.ctx, e.user)
	if err != nil {
		writeProblem(w, s.refuse(e.ctx, err))
		return
	}
	w.Header().Set("Content-Type", mediaLines)
	w.Header().Set("Content-Disposition", `attachment; filename="export.ndjson"`)
	if err := e.all(memberships); err != nil {
		if e.ctx.Err() == nil {
			s.logger.WarnContext(e.ctx, "an export broke off", append(requestAttrs(e.ctx), "error", err)...)
		}
		panic(http.ErrAbortHandler) // so that nobody takes a part of it for the whole
	}
}

// exporter writes one export. It holds a page at a time.
type exporter struct {
	*server
	ctx     context.Context
	user    string
	w       http.ResponseWriter
	control *http.ResponseController
	out     *bufio.Writer
}

// Write writes to the client, who has a time of its own for each piece.
func (e *exporter) Write(b []byte) (int, error) {
	switch {
	case e.ctx.Err() != nil:
		return 0, e.ctx.Err()
	case e.stopping():
		return 0, errStopping
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(exportIdle)) // a writer without deadlines is that of a test
	return e.w.Write(b)
}

var errStopping = errors.New("the server is stopping")

func (e *exporter) line(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err = e.out.Write(text); err != nil {
		return err
	}
	return e.out.WriteByte('\n')
}

func (e *exporter) all(memberships []bridge.Membership) error {
	err := e.line(map[string]any{"kind": "user", "userId": e.user, "exportedAt": stamp(time.Now())})
	for i := range memberships {
		if err == nil {
			err = e.conversation(&memberships[i])
		}
	}
	for _, part := range []func() error{e.preferences, e.blocks, e.notifications, e.sessions, e.presence, e.retained} {
		if err == nil {
			err = part()
		}
	}
	if err == nil {
		err = e.line(map[string]any{"kind": "end"})
	}
	if err == nil {
		err = e.out.Flush()
	}
	return err
}

type exportedConversation struct {
	Kind           string `json:"kind"`
	ConversationID string `json:"conversationId"`
	Role           string `json:"role"`
	JoinedSeq      uint64 `json:"joinedSeq"`
	LeftSeq        uint64 `json:"leftSeq,omitempty"`
	ReadSeq        uint64 `json:"readSeq,omitempty"`
	Unread         uint64 `json:"unread,omitempty"`
}

type exportedEntry struct {
	Kind  string      `json:"kind"`
	Entry *chat.Entry `json:"entry"`
}

func (e *exporter) conversation(m *bridge.Membership) error {
	standing, err := e.log.Standings(e.ctx, []bridge.MemberKey{m.MemberKey})
	if err != nil {
		return err
	}
	err = e.line(exportedConversation{"conversation", m.Conversation, m.Role.String(), m.JoinedSeq, m.LeftSeq, standing[0].Read, standing[0].Unread})
	stream := chat.ConversationStream(m.Conversation)
	for after := uint64(0); err == nil; {
		var said []chat.Entry
		if said, after, err = e.log.Said(e.ctx, e.user, stream, after, exportPage); err != nil {
			break
		}
		for i := range said {
			if err = e.line(exportedEntry{"entry", &said[i]}); err != nil {
				break
			}
		}
		if after == 0 {
			break
		}
	}
	return err
}

func (e *exporter) notifications() error {
	stream := chat.NotificationStream(e.user)
	for after := uint64(0); ; {
		page, err := e.log.After(e.ctx, bridge.Range{Stream: stream, After: after, Limit: exportNotifications})
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].Seq
			err := e.line(map[string]any{"kind": "notification", "notification": &page[i]})
			if err != nil {
				return err
			}
		}
		if len(page) < exportNotifications {
			return nil
		}
	}
}

type exportedSession struct {
	Kind     string            `json:"kind"`
	ClientID string            `json:"clientId"`
	Expiry   uint32            `json:"expiry"`
	EndedAt  string            `json:"endedAt,omitempty"`
	Cursors  map[string]uint64 `json:"cursors"`
}

func (e *exporter) sessions() error {
	for after := ""; ; {
		page, err := e.log.SessionsOf(e.ctx, e.user, after, exportSessions, exportCursors)
		if err != nil {
			return err
		}
		for _, s := range page {
			after = s.Key.ClientID
			line := exportedSession{Kind: "session", ClientID: s.Key.ClientID, Expiry: s.Expiry, Cursors: map[string]uint64{}}
			if !s.EndedAt.IsZero() {
				line.EndedAt = stamp(s.EndedAt)
			}
			for _, c := range s.Cursors {
				line.Cursors[string(c.Stream)] = c.Seq
			}
			if err := e.line(line); err != nil {
				return err
			}
		}
		if len(page) < exportSessions {
			return nil
		}
	}
}

type exportedPresence struct {
	Kind     string `json:"kind"`
	LastSeen string `json:"lastSeen"`
}

func (e *exporter) presence() error {
	people, err := e.log.People(e.ctx, []string{e.user})
	if err != nil || people[0].LastSeen.IsZero() {
		return err
	}
	return e.line(exportedPresence{"presence", stamp(people[0].LastSeen)})
}

type exportedRetained struct {
	Kind        string `json:"kind"`
	Topic       string `json:"topic"`
	Payload     []byte `json:"payload"` // in base64
	QoS         byte   `json:"qos"`
	PublishedAt string `json:"publishedAt"`
	ExpiresAt   string `json:"expiresAt,omitempty"`
}

func (e *exporter) retained() error {
	for after := (chat.ID{}); ; {
		page, err := e.log.RetainedBy(e.ctx, e.user, after, exportRetained)
		if err != nil {
			return err
		}
		for i := range page {
			m := &page[i]
			after = m.ID
			line := exportedRetained{Kind: "retained", Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, PublishedAt: stamp(m.Published)}
			if !m.Expires.IsZero() {
				line.ExpiresAt = stamp(m.Expires)
			}
			if err := e.line(line); err != nil {
				return err
			}
		}
		if len(page) < exportRetained {
			return nil
		}
	}
}

type exportedBlock struct {
	Kind   string `json:"kind"`
	UserID string `json:"userId"`
	At     string `json:"at"`
}

func (e *exporter) blocks() error {
	for after := ""; ; {
		page, err := e.log.BlockList(e.ctx, e.user, after, exportPage)
		if err != nil {
			return err
		}
		for _, b := range page {
			after = b.UserID
			if err := e.line(exportedBlock{"block", b.UserID, stamp(b.At)}); err != nil {
				return err
			}
		}
		if len(page) < exportPage {
			return nil
		}
	}
}

type exportedPreferences struct {
	Kind        string      `json:"kind"`
	Preferences preferences `json:"preferences"`
}

func (e *exporter) preferences() error {
	p, err := e.log.Preferences(e.ctx, e.user)
	if err != nil {
		return err
	}
	return e.line(exportedPreferences{"preferences", preferencesOf(&p)})
}
