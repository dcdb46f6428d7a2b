package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
)

// noticeType is the type of a notification, by chat.ValidNoticeType's rule.
type noticeType string

// Schema is that rule as a pattern.
func (noticeType) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[A-Za-z0-9_.:-]{1,64}$`,
		PatternDescription: "1 to 64 characters of A-Z a-z 0-9 _ . : -"}
}

type preferences struct {
	Enabled            *bool        `json:"notificationEnabled" required:"false" default:"true" doc:"False: no notifications at all."`
	Muted              []noticeType `json:"muted" required:"false" nullable:"false" maxItems:"100" doc:"Types that are not wanted."`
	MutedConversations []identifier `json:"mutedConversations" required:"false" nullable:"false" maxItems:"1000" doc:"Conversations about which nothing is wanted: those that conversationId in a notification's data names."`
	QuietHours         *quietHours  `json:"quietHours,omitempty" doc:"A part of every day in which nothing is wanted."`
}

type quietHours struct {
	From     string `json:"from" maxLength:"5" doc:"From this time of day on, HH:MM." example:"22:00"`
	To       string `json:"to" maxLength:"5" doc:"Up to this one, of the next day if it is earlier." example:"07:00"`
	TimeZone string `json:"timeZone" maxLength:"64" doc:"By the clock of this time zone, a name of the IANA database." example:"Europe/Vienna"`
}

type (
	preferencesIn struct {
		Body preferences `nameHint:"Preferences"`
	}
	preferencesOut struct {
		Body preferences `nameHint:"Preferences"`
	}
)

var examplePreferences = map[string]any{"notificationEnabled": true, "muted": []any{"LIKE"}, "mutedConversations": []any{"c1"},
	"quietHours": map[string]any{"from": "22:00", "to": "07:00", "timeZone": "Europe/Vienna"}}

func (s *server) preferenceOperations(api huma.API) {
	const path = "/v1/me/preferences"
	register(s, api, operation{
		id: "getPreferences", method: get, path: path, tag: notificationsTag,
		summary: "Get the caller's preferences", description: "Those that count for somebody who has set none are enabled, with nothing muted.",
		answers: []answer{{http.StatusOK, "The preferences.", examplePreferences}},
	}, s.preferences)
	register(s, api, operation{
		id: "putPreferences", method: put, path: path, tag: notificationsTag,
		summary: "Set the caller's preferences",
		description: "They replace the old ones as a whole: keys that are left out go back to what counts for somebody who has set " +
			"none. What a notification meets counts at the time of its commit; one that is skipped is skipped for good.",
		request: jsonRequest("The preferences.", examplePreferences),
		answers: []answer{{http.StatusOK, "The preferences as they are now.", examplePreferences}},
		body:    s.jsonBody(maxBody),
	}, s.putPreferences)
}

func (s *server) preferences(ctx context.Context, _ *struct{}) (*preferencesOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.log.Preferences(ctx, id.UserID)
	if err != nil {
		return nil, err
	}
	return &preferencesOut{preferencesOf(&p)}, nil
}

func (s *server) putPreferences(ctx context.Context, in *preferencesIn) (*preferencesOut, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	p := bridge.Preferences{Enabled: in.Body.Enabled == nil || *in.Body.Enabled, Muted: texts(in.Body.Muted), MutedConversations: texts(in.Body.MutedConversations)}
	if q := in.Body.QuietHours; q != nil {
		p.Quiet = &bridge.QuietHours{From: q.From, To: q.To, TimeZone: q.TimeZone}
	}
	if err := s.log.SavePreferences(ctx, id.UserID, p); err != nil {
		return nil, err
	}
	return &preferencesOut{preferencesOf(&p)}, nil
}

func preferencesOf(p *bridge.Preferences) preferences {
	out := preferences{Enabled: &p.Enabled, Muted: named[noticeType](p.Muted), MutedConversations: named[identifier](p.MutedConversations)}
	if q := p.Quiet; q != nil {
		out.QuietHours = &quietHours{From: q.From, To: q.To, TimeZone: q.TimeZone}
	}
	return out
}

// texts and named convert lists of strings, an empty one not to nil.
func texts[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = string(s)
	}
	return all
}

func named[T ~string](list []string) []T {
	all := make([]T, len(list))
	for i, s := range list {
		all[i] = T(s)
	}
	return all
}
