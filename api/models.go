package api

import (
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// maxListed is how many members a conversation shows; the others are listed
// page by page.
const maxListed = 1000

// identifier is an id that a caller chooses. huma checks it wherever it
// stands, by chat.ValidID's rule.
type identifier string

// Schema is the rule of chat.ValidID as a pattern.
func (identifier) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[A-Za-z0-9_.@:-]{1,64}$`,
		PatternDescription: "1 to 64 characters of A-Z a-z 0-9 _ . @ : -"}
}

// The forms that clients see. Their names are those of the OpenAPI document.

type member struct {
	UserID   string `json:"userId" doc:"The user." example:"bob"`
	Role     string `json:"role" doc:"What the member may do." enum:"member,admin,owner" example:"member"`
	JoinedAt string `json:"joinedAt" format:"date-time" doc:"When the user joined, the last time." example:"2026-11-22T22:01:33.123Z"`
}

type conversation struct {
	ID        string     `json:"id" doc:"The id, unique on the server." example:"c1"`
	Name      string     `json:"name" doc:"The name, empty if it has none." example:"Lunch"`
	OwnerID   string     `json:"ownerId" doc:"The owner; empty for a direct conversation, and where nobody is left." example:"alice"`
	CreatedAt string     `json:"createdAt" format:"date-time" doc:"When it was created." example:"2026-11-22T22:01:33.123Z"`
	HeadSeq   uint64     `json:"headSeq" doc:"The seq of its newest entry." example:"2"`
	FirstSeq  uint64     `json:"firstSeq" doc:"The seq of its oldest entry that is still held." example:"1"`
	Retention *retention `json:"retention,omitempty" doc:"How long entries are kept; left out where the owner has not said so. What holds for the whole server holds too."`
	Direct    bool       `json:"direct,omitempty" doc:"It is the direct conversation of two users; left out if it is not." example:"false"`
	History   string     `json:"history,omitempty" enum:"start,join" doc:"join: members read nothing from before they joined. Left out where they read from the start." example:"join"`
	Members   []member   `json:"members" nullable:"false" doc:"The members, in the order in which they joined; the first thousand."`
	Count     int        `json:"memberCount,omitempty" doc:"How many members there are; left out where members holds them all." example:"2500"`
}

type summary struct {
	ID          string `json:"id" doc:"The id, unique on the server." example:"c1"`
	Name        string `json:"name" doc:"The name, empty if it has none." example:"Lunch"`
	OwnerID     string `json:"ownerId" doc:"The owner; empty for a direct conversation." example:"alice"`
	CreatedAt   string `json:"createdAt" format:"date-time" doc:"When it was created." example:"2026-11-22T22:01:33.123Z"`
	HeadSeq     uint64 `json:"headSeq" doc:"The seq of its newest entry." example:"42"`
	ReadSeq     uint64 `json:"readSeq" doc:"How far the caller has read." example:"40"`
	Unread      uint64 `json:"unread" doc:"How many messages of others stand above readSeq undeleted." example:"2"`
	Direct      bool   `json:"direct,omitempty" doc:"It is the direct conversation of two users; left out if it is not." example:"false"`
	PeerID      string `json:"peerId,omitempty" doc:"Of a direct conversation: the other user." example:"bob"`
	History     string `json:"history,omitempty" enum:"start,join" doc:"join: members read nothing from before they joined. Left out where they read from the start." example:"join"`
	Archived    bool   `json:"archived,omitempty" doc:"The caller has archived it; left out if not." example:"false"`
	LastMessage *entry `json:"lastMessage,omitempty" doc:"The newest message that is not deleted, as it reads now; left out if there is none."`
}

// entry is an entry as MQTT subscribers get it. Its JSON is written by the
// same code.
type entry struct{ chat.Entry }

// Schema refers to the form that entryDoc describes.
func (entry) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[entryDoc](), true, "Entry")
}

// entryDoc describes the JSON of an entry; a test compares the two. Empty keys
// are left out.
type entryDoc struct {
	ID             string   `json:"id" format:"uuid" doc:"The UUIDv7 of the entry."`
	ConversationID string   `json:"conversationId" doc:"The conversation."`
	Seq            uint64   `json:"seq" minimum:"1" doc:"The place in the conversation: 1, 2, 3, … without a gap."`
	Type           string   `json:"type" enum:"message,edit,delete,reaction,join,leave,rename" doc:"The type. The server alone makes joins, leaves and renames."`
	SenderID       string   `json:"senderId,omitempty" doc:"Who made it."`
	UserID         string   `json:"userId,omitempty" doc:"Of a join or leave: whom it is about."`
	Name           string   `json:"name,omitempty" doc:"Of a rename: the new name."`
	Target         uint64   `json:"target,omitempty" doc:"Of an edit, delete or reaction: the seq of the message."`
	Content        string   `json:"content,omitempty" doc:"Of a message or an edit: the text."`
	MediaURL       string   `json:"mediaUrl,omitempty" doc:"Of a message: an http or https URL."`
	ReplyTo        uint64   `json:"replyTo,omitempty" doc:"Of a message: the seq of the message that it answers."`
	Mentions       []string `json:"mentions,omitempty" nullable:"false" doc:"Of a message: user ids."`
	Emoji          string   `json:"emoji,omitempty" doc:"Of a reaction: the emoji."`
	Remove         bool     `json:"remove,omitempty" doc:"Of a reaction: it is taken back."`
	ClientID       string   `json:"clientId,omitempty" doc:"The sender's idempotency key."`
	Deleted        bool     `json:"deleted,omitempty" doc:"What it said is erased for good."`
	CreatedAt      string   `json:"createdAt" format:"date-time" doc:"When it was committed."`
}

func stamp(t time.Time) string { return t.UTC().Format(chat.TimeFormat) }

func memberOf(m bridge.Member) member {
	return member{UserID: m.UserID, Role: m.Role.String(), JoinedAt: stamp(m.JoinedAt)}
}

func conversationOf(c bridge.Conversation) conversation {
	members := membersOf(c.Members[:min(len(c.Members), maxListed)])
	conv := conversation{ID: c.ID, Name: c.Name, OwnerID: c.OwnerID, CreatedAt: stamp(c.CreatedAt),
		HeadSeq: c.HeadSeq, FirstSeq: c.FirstSeq, Retention: retentionOf(c.Retention), Direct: c.Direct, History: historyOf(c), Members: members}
	if c.Size > len(members) {
		conv.Count = c.Size
	}
	return conv
}

func membersOf(list []bridge.Member) []member {
	members := make([]member, len(list))
	for i, m := range list {
		members[i] = memberOf(m)
	}
	return members
}

func historyOf(c bridge.Conversation) string {
	if c.SinceJoin {
		return fromJoin
	}
	return ""
}

func summaryOf(c bridge.Summary) summary {
	s := summary{ID: c.ID, Name: c.Name, OwnerID: c.OwnerID, CreatedAt: stamp(c.CreatedAt), HeadSeq: c.HeadSeq,
		ReadSeq: c.Read, Unread: c.Unread, Direct: c.Direct, PeerID: c.Peer, History: historyOf(c.Conversation), Archived: c.Archived}
	if c.Last != nil {
		s.LastMessage = &entry{*c.Last}
	}
	return s
}

func entriesOf(entries []chat.Entry) []entry {
	all := make([]entry, len(entries))
	for i := range entries {
		all[i] = entry{entries[i]}
	}
	return all
}
