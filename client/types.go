package client

import "time"

// Types of entries.
const (
	TypeMessage  = "message"
	TypeEdit     = "edit"
	TypeDelete   = "delete"
	TypeReaction = "reaction"
	TypeJoin     = "join"
	TypeLeave    = "leave"
	TypeRename   = "rename"
)

// Draft is a message to be sent. Content or MediaURL must be there.
type Draft struct {
	Content  string   `json:"content,omitempty"`
	MediaURL string   `json:"mediaUrl,omitempty"`
	ReplyTo  uint64   `json:"replyTo,omitempty"`
	Mentions []string `json:"mentions,omitempty"`
	// ClientID makes a repeated send safe: the same one stands once for ever.
	// One is made where it is empty.
	ClientID string `json:"clientId,omitempty"`
}

// Sent says where something that was committed stands.
type Sent struct {
	ID        string    `json:"id"`
	Seq       uint64    `json:"seq"`
	CreatedAt time.Time `json:"createdAt"`
	ClientID  string    `json:"clientId"`
}

// Entry is one committed element of a conversation.
type Entry struct {
	ID             string    `json:"id"`
	ConversationID string    `json:"conversationId"`
	Seq            uint64    `json:"seq"`
	Type           string    `json:"type"`
	SenderID       string    `json:"senderId,omitempty"`
	Content        string    `json:"content,omitempty"`
	MediaURL       string    `json:"mediaUrl,omitempty"`
	ReplyTo        uint64    `json:"replyTo,omitempty"`
	Mentions       []string  `json:"mentions,omitempty"`
	Target         uint64    `json:"target,omitempty"` // of an edit, delete or reaction
	Emoji          string    `json:"emoji,omitempty"`
	Remove         bool      `json:"remove,omitempty"` // the reaction is taken back
	UserID         string    `json:"userId,omitempty"` // who joined or left
	Name           string    `json:"name,omitempty"`   // the new name of the conversation
	ClientID       string    `json:"clientId,omitempty"`
	CreatedAt      time.Time `json:"createdAt"`
	Deleted        bool      `json:"deleted,omitempty"` // what it said is erased
}

// Folded is a message as it reads now: edits and reactions applied.
type Folded struct {
	Entry
	EditedAt  time.Time  `json:"editedAt,omitzero"`
	Reactions []Reaction `json:"reactions,omitempty"`
}

// Reaction is who reacted with one emoji. UserIDs has the first 50 of Count.
type Reaction struct {
	Emoji   string   `json:"emoji"`
	Count   int      `json:"count"`
	UserIDs []string `json:"userIds"`
}

// Typing says that another member types, or has stopped.
type Typing struct {
	ConversationID string `json:"conversationId"`
	UserID         string `json:"userId"`
	Typing         bool   `json:"typing"`
}

// Receipt says how far a member has read a conversation, and how far its
// devices have got it.
type Receipt struct {
	ConversationID string    `json:"conversationId"`
	UserID         string    `json:"userId"`
	Read           uint64    `json:"read"`
	Delivered      uint64    `json:"delivered"`
	At             time.Time `json:"at"`
}

// Presences.
const (
	Online    = "online"
	Away      = "away"
	Invisible = "invisible"
	Offline   = "offline"
)

// Presence says how present a user is.
type Presence struct {
	UserID   string    `json:"userId"`
	Status   string    `json:"status"`
	Devices  int       `json:"devices"`
	LastSeen time.Time `json:"lastSeen,omitzero"`
}

// Notification is an entry of the user's own stream of notifications.
type Notification struct {
	ID          string         `json:"id"`
	Seq         uint64         `json:"seq"`
	RecipientID string         `json:"recipientId"`
	SenderID    string         `json:"senderId,omitempty"`
	Type        string         `json:"type"`
	Data        map[string]any `json:"data,omitempty"`
	Collapse    string         `json:"collapse,omitempty"`
	IsRead      bool           `json:"isRead"`
	Deleted     bool           `json:"deleted,omitempty"`
	CreatedAt   time.Time      `json:"createdAt"`
}

// Unread is how many notifications are unread.
type Unread struct {
	UnreadCount int `json:"unreadCount"`
}

// Roles of members.
const (
	RoleOwner  = "owner"
	RoleAdmin  = "admin"
	RoleMember = "member"
)

// Member is a user in a conversation.
type Member struct {
	UserID   string    `json:"userId"`
	Role     string    `json:"role"`
	JoinedAt time.Time `json:"joinedAt"`
}

// Conversation is a conversation. ReadSeq, Unread, Archived, PeerID and
// LastMessage are those of the caller, and in the list alone; Members and
// FirstSeq are not in the list.
type Conversation struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	OwnerID     string    `json:"ownerId"`
	CreatedAt   time.Time `json:"createdAt"`
	HeadSeq     uint64    `json:"headSeq"`
	FirstSeq    uint64    `json:"firstSeq,omitempty"`
	ReadSeq     uint64    `json:"readSeq,omitempty"`
	Unread      uint64    `json:"unread,omitempty"`
	Direct      bool      `json:"direct,omitempty"`
	PeerID      string    `json:"peerId,omitempty"`
	Archived    bool      `json:"archived,omitempty"`
	History     string    `json:"history,omitempty"`
	LastMessage *Entry    `json:"lastMessage,omitempty"`
	Members     []Member  `json:"members,omitempty"` // the first thousand
	MemberCount int       `json:"memberCount,omitempty"`
}

// NewConversation says what to create. With Direct no other field may be set.
type NewConversation struct {
	ID      string   `json:"id,omitempty"`
	Name    string   `json:"name,omitempty"`
	Members []string `json:"members,omitempty"`
	History string   `json:"history,omitempty"`
	Direct  string   `json:"direct,omitempty"`
}

// Page is a part of a list. NextCursor is empty on the last one.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"nextCursor,omitempty"`
}

// History is a part of a conversation in the order of seq. HeadSeq and
// FirstSeq are the newest and the oldest seq that there is.
type History[T any] struct {
	Items    []T    `json:"items"`
	HeadSeq  uint64 `json:"headSeq"`
	FirstSeq uint64 `json:"firstSeq"`
}

// Range says which part of a history is wanted: what follows After, or the
// last before Before, or with neither the newest. Limit is 50 where it is 0,
// and 200 at most.
type Range struct {
	Before, After uint64
	Limit         int
	// FromStart is for what follows nothing: the oldest entries.
	FromStart bool
}

// ListOptions say which part of a list is wanted.
type ListOptions struct {
	Limit  int    // 50 where it is 0, 200 at most
	Cursor string // the NextCursor of the page before
	// Archived lists conversations that the caller has archived instead.
	Archived bool
	// Unread lists unread notifications alone.
	Unread bool
}

// Synced is the answer of Sync.
type Synced struct {
	Conversations []SyncedConversation `json:"conversations"`
	Notifications struct {
		UnreadCount int            `json:"unreadCount"`
		Entries     []Notification `json:"entries"`
	} `json:"notifications"`
	NextCursor string `json:"nextCursor"`
	Complete   bool   `json:"complete"`
}

// SyncedConversation is a conversation with what was missed of it.
type SyncedConversation struct {
	ID      string  `json:"id"`
	HeadSeq uint64  `json:"headSeq"`
	ReadSeq uint64  `json:"readSeq"`
	Unread  uint64  `json:"unread"`
	Entries []Entry `json:"entries"`
}
