// Package chat is the vocabulary of Parley: ids, topics, payloads, entries,
// limits and error codes, and how they are read and written as bytes. It
// imports the standard library alone and holds no state.
package chat

import "time"

// Limits of the public contract. Sizes are in bytes.
const (
	MaxID           = 64       // an id that a caller chooses
	MaxContent      = 8192     // the text of a message or an edit
	MaxMediaURL     = 2048     // a mediaUrl
	MaxEmoji        = 64       // the emoji of a reaction
	MaxName         = 256      // the name of a conversation
	MaxMentions     = 50       // user ids in one message
	MaxPayload      = 64 << 10 // a payload sent to chat/c/messages, before decoding
	MaxFirstMembers = 1000     // members named when a conversation is created
)

// ValidID reports whether s may be used as the id of a user, a conversation
// or a clientId: 1 to 64 characters of A-Z a-z 0-9 _ . @ : and -.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > MaxID {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !idByte[s[i]] {
			return false
		}
	}
	return true
}

var idByte = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] = true
		t[c-'a'+'A'] = true
	}
	for _, c := range "_.@:-" {
		t[c] = true
	}
	return t
}()

// StreamID names one append-only log: "c/<conversation>" or
// "n/<user>" for a user's notifications. The slash is not in the alphabet of
// ids, so the two kinds never meet.
type StreamID string

// ConversationStream is the stream of the conversation id.
func ConversationStream(id string) StreamID { return StreamID("c/" + id) }

// NotificationStream is the stream of the user's notifications.
func NotificationStream(user string) StreamID { return StreamID("n/" + user) }

// Conversation returns the id of the conversation whose stream this is, or ""
// if it is not a conversation's.
func (s StreamID) Conversation() string {
	if len(s) > 2 && s[:2] == "c/" {
		return string(s[2:])
	}
	return ""
}

// User returns the id of the user whose notifications this stream has, or ""
// if it has none.
func (s StreamID) User() string {
	if len(s) > 2 && s[:2] == "n/" {
		return string(s[2:])
	}
	return ""
}

// Type is the type of an entry. Its number is what the stores keep: never
// renumber.
type Type uint8

// The types of entries. The server alone makes joins, leaves, renames and
// notifications.
const (
	TypeMessage  Type = 1
	TypeEdit     Type = 2
	TypeDelete   Type = 3
	TypeReaction Type = 4
	TypeJoin     Type = 5
	TypeLeave    Type = 6
	TypeRename   Type = 7
	// TypeNotification is the one type of the streams of notifications.
	TypeNotification Type = 8
)

var typeNames = [...]string{"", "message", "edit", "delete", "reaction", "join", "leave", "rename", "notification"}

// String is the name of the type in JSON.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// Role is a member's role in a conversation. Its number is what the stores
// keep: never renumber.
type Role uint8

// The roles. RoleNone is the role of somebody who is not a member.
const (
	RoleNone   Role = 0
	RoleMember Role = 1
	RoleAdmin  Role = 2
	RoleOwner  Role = 3
)

var roleNames = [...]string{"", "member", "admin", "owner"}

// String is the name of the role in JSON, "" for RoleNone.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "unknown"
}

// ParseRole reads a role's name; "" is RoleMember.
func ParseRole(s string) (Role, error) {
	switch s {
	case "", "member":
		return RoleMember, nil
	case "admin":
		return RoleAdmin, nil
	case "owner":
		return RoleOwner, nil
	}
	return RoleNone, Invalid("role", `must be "member", "admin" or "owner"`)
}

// Body is what an entry says, apart from where it stands and who said it.
// Which fields are set depends on Type.
type Body struct {
	Type     Type
	Content  string   // message, edit
	MediaURL string   // message
	ReplyTo  uint64   // message: the seq it answers
	Mentions []string // message: user ids
	Target   uint64   // edit, delete, reaction: the seq of a message
	Emoji    string   // reaction
	Remove   bool     // reaction: takes it back
	UserID   string   // join, leave: whom it is about
	Name     string   // rename
	Notice   *Notice  // notification
	ClientID string   // the caller's idempotency key, "" if it gave none
}

// Draft is an entry that is not committed yet.
type Draft struct {
	ID       ID // made by the server before the first try to commit
	Stream   StreamID
	SenderID string
	Body
}

// Entry is one committed element of a stream. An Entry that was handed out is
// never changed.
type Entry struct {
	ID        ID
	Stream    StreamID
	Seq       uint64 // 1, 2, 3, … without a gap
	SenderID  string
	CreatedAt time.Time // UTC, whole milliseconds
	Deleted   bool      // erased: what Erased takes away is gone
	Body
}

// ID is the UUIDv7 of an entry.
type ID [16]byte

// String is the ID in the usual form of 36 characters.
func (id ID) String() string { return string(id.Append(nil)) }

// Append writes the usual form of 36 characters to dst.
func (id ID) Append(dst []byte) []byte {
	const hex = "0123456789abcdef"
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[b>>4], hex[b&15])
	}
	return dst
}

// TimeFormat is RFC 3339 UTC with milliseconds, the form of every time that
// leaves the server.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// AppendTime writes t in TimeFormat to dst.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, TimeFormat) }

// Erased is the entry without what it said: what is left of a deleted message
// and of the edits of it, and of the reactions of a user who is forgotten.
func (e Entry) Erased() Entry {
	e.Content, e.MediaURL, e.Mentions, e.ReplyTo = "", "", nil, 0
	e.Emoji, e.Remove = "", false
	e.Deleted = true
	return e
}
