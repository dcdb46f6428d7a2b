package bridge

import (
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Limits of preferences.
const (
	MaxMuted              = 100
	MaxMutedConversations = 1000
	maxTimeZone           = 64 // bytes
)

// Preferences say which notifications a user wants. Stores keep them as JSON.
type Preferences struct {
	Enabled            bool        `json:"enabled"`
	Muted              []string    `json:"muted,omitempty"` // types
	MutedConversations []string    `json:"conversations,omitempty"`
	Quiet              *QuietHours `json:"quiet,omitempty"`
}

// DefaultPreferences are those of a user who has set none.
func DefaultPreferences() Preferences { return Preferences{Enabled: true} }

// QuietHours are a part of every day by the clock of a time zone: from From on
// up to To, both HH:MM. Where To is the earlier one, midnight lies between.
// An hour that the clock shows twice is quiet twice; of one that it leaps over
// there is nothing.
type QuietHours struct {
	From     string `json:"from"`
	To       string `json:"to"`
	TimeZone string `json:"timeZone"` // a name of the time zone database
}

// Check says what is wrong with preferences that a user wants to set.
func (p *Preferences) Check() error {
	switch {
	case len(p.Muted) > MaxMuted:
		return chat.Invalid("muted", "has more than %d elements", MaxMuted)
	case len(p.MutedConversations) > MaxMutedConversations:
		return chat.Invalid("mutedConversations", "has more than %d elements", MaxMutedConversations)
	}
	for _, t := range p.Muted {
		if !chat.ValidNoticeType(t) {
			return chat.Invalid("muted", "must be types of notifications")
		}
	}
	for _, id := range p.MutedConversations {
		if !chat.ValidID(id) {
			return chat.Invalid("mutedConversations", "must be ids of conversations")
		}
	}
	if p.Quiet == nil {
		return nil
	}
	return p.Quiet.check()
}

func (q *QuietHours) check() error {
	from, ok := minutes(q.From)
	if !ok {
		return chat.Invalid("quietHours.from", "must be a time of day from 00:00 to 23:59")
	}
	to, ok := minutes(q.To)
	if !ok {
		return chat.Invalid("quietHours.to", "must be a time of day from 00:00 to 23:59")
	}
	if from == to {
		return chat.Invalid("quietHours.to", "must differ from from")
	}
	if zone(q.TimeZone) == nil {
		return chat.Invalid("quietHours.timeZone", "must be the name of a time zone, such as Europe/Vienna")
	}
	return nil
}

// Quiet reports whether a time is in the quiet hours.
func (q *QuietHours) Quiet(at time.Time) bool {
	from, ok1 := minutes(q.From)
	to, ok2 := minutes(q.To)
	loc := zone(q.TimeZone)
	if !ok1 || !ok2 || loc == nil { // kept by another build, with other time zones
		return false
	}
	hour, minute, _ := at.In(loc).Clock()
	now := 60*hour + minute
	if from < to {
		return from <= now && now < to
	}
	return from <= now || now < to
}

// minutes reads HH:MM.
func minutes(s string) (n int, ok bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	for _, i := range [...]int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	hour, minute := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	return 60*hour + minute, hour < 24 && minute < 60
}

// zones are the time zones that were asked for: reading one takes a file.
// There are no more than the database of time zones has.
var zones sync.Map

// zone answers a time zone, or nil. The machine's own has no name here.
func zone(name string) *time.Location {
	if known, ok := zones.Load(name); ok {
		return known.(*time.Location)
	}
	if name == "" || name == "Local" || len(name) > maxTimeZone {
		return nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	zones.Store(name, loc)
	return loc
}

// Skip is the reason why a notification is not made.
type Skip string

// The reasons. Wanted is none.
const (
	Wanted           Skip = ""
	SkipSelf         Skip = "self"         // recipient and sender are one
	SkipDisabled     Skip = "disabled"     // the recipient wants none
	SkipType         Skip = "type"         // its type is muted
	SkipConversation Skip = "conversation" // the conversation that it is about is muted
	SkipInQuietHours Skip = "quiet_hours"
)

// Skips lists the reasons.
var Skips = []Skip{SkipSelf, SkipDisabled, SkipType, SkipConversation, SkipInQuietHours}

// Skip says whether, and why, a user with these preferences does not get a
// notification.
func (p *Preferences) Skip(now time.Time, d *chat.Draft) Skip {
	switch {
	case d.Stream.User() == d.SenderID:
		return SkipSelf
	case p.Enabled && slices.Contains(p.Muted, d.Notice.Type):
		return SkipType
	}
	about := ""
	if len(p.MutedConversations) > 0 { // else nobody asks
		about = d.Notice.About()
	}
	return p.SkipAbout(now, about)
}

// SkipAbout says whether, and why, a user with these preferences is not to be
// disturbed by what happens in a conversation.
func (p *Preferences) SkipAbout(now time.Time, conversation string) Skip {
	switch {
	case !p.Enabled:
		return SkipDisabled
	case slices.Contains(p.MutedConversations, conversation):
		return SkipConversation
	case p.Quiet != nil && p.Quiet.Quiet(now):
		return SkipInQuietHours
	}
	return Wanted
}
