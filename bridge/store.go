package bridge

import (
	"context"
	"errors"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Store keeps the log. Each verb is one transaction; no transaction, SQL or
// driver type crosses this line. All verbs may be called from any goroutine.
// bridge/storetest is the suite that every Store must pass.
//
// Errors: what the caller may see is a *chat.Error. Besides, Commit and the
// verbs that write answer with an error that wraps
//
//   - ErrAgain when nothing was written and the same call is worth repeating
//     at once (deadlock, serialization failure, unique race, busy);
//   - ErrUnavailable when the database is out of reach or cannot write (gone,
//     restarting, disk full, time-out of ctx): something may or may not have
//     been written.
//
// Verbs that read use ErrUnavailable in the same way. Any other error is a
// fault of the call or of our own.
type Store interface {
	// Lanes is how many Commits gain from running side by side.
	Lanes() int
	// Migrate brings the schema up to date. It is safe when two processes
	// call it at once. It refuses a schema newer than it knows.
	Migrate(ctx context.Context) error
	// Ready answers nil when the database answers and its schema is the
	// one that this build needs.
	Ready(ctx context.Context) error
	// Line names the line of history that the database is on, "" where that
	// cannot be known. It is another one once the database was set back to an
	// earlier state, from a backup or by losing its primary: then seqs that
	// were given before are given again, to other entries.
	// It asks nobody: what is read after it is of this line, or Line is
	// another one by then.
	Line() string
	// Close releases everything. Calls after it fail.
	Close() error

	// Commit appends drafts in their order and sets out[i] for drafts[i].
	// One draft that is refused does not hurt the others. In the same
	// transaction it decides for each draft, in this order:
	//
	//   - the stream must be that of a conversation: else chat.CodeNotFound;
	//   - the sender must be a member now: else chat.CodeForbidden, unless this
	//     very draft, by its ID, stands: the answer of the Commit that wrote it
	//     may have been lost;
	//   - a repeat (an entry with the same stream, sender and clientId
	//     stands) gets the first one's ID, Seq and CreatedAt, with Repeat;
	//   - where two have fallen out, deletes alone: else chat.CodeForbidden
	//     (see Closed);
	//   - Target must be a message of the stream that is not deleted, and
	//     ReplyTo a message, deleted or not: else chat.CodeNotFound;
	//   - an edit or a delete wants the author of the target, or an owner or
	//     admin: else chat.CodeForbidden.
	//
	// A delete erases what the target and the edits of it said: Content,
	// MediaURL, Mentions and ReplyTo go, Deleted is set, their Seq stays.
	//
	// A message moves what its sender has read (see Reading), and is noted as
	// one whose mentions are due if it has some.
	//
	// The caller promises: every draft has an ID and a ClientID; no two
	// drafts have the same stream, sender and ClientID; of the edits and
	// deletes with one stream and Target at most one is here.
	// out[i].Err is ErrAgain where a concurrent writer made the answer
	// stale; that draft alone is to be repeated.
	Commit(ctx context.Context, now time.Time, drafts []chat.Draft, out []Outcome) error

	// Read answers for each range the entries with After < Seq, in order,
	// at most Limit of them. An unknown stream has none. One query serves
	// all ranges.
	Read(ctx context.Context, ranges []Range) ([][]chat.Entry, error)
	// Before answers the last limit entries with Seq < before, in order of
	// Seq; before 0 means from the head.
	Before(ctx context.Context, stream chat.StreamID, before uint64, limit int) ([]chat.Entry, error)
	// Heads answers the newest and the oldest Seq held of each stream; both
	// 0 where the stream does not exist. An empty stream that exists has
	// Head 0 and First 1.
	Heads(ctx context.Context, streams []chat.StreamID) ([]Head, error)

	// CreateConversation makes a conversation with c.OwnerID as its owner,
	// c.Members (without duplicates and without the owner) as plain
	// members, and a join entry by the owner for each, the owner's first;
	// c.JoinIDs has the entries' IDs. If the id stands already it
	// answers created false and what stands, or chat.CodeConflict when
	// another user owns it, or nobody. More than c.Limits allow is
	// chat.CodeConflict too.
	CreateConversation(ctx context.Context, now time.Time, c NewConversation) (conv Conversation, entries []chat.Entry, created bool, err error)
	// Conversation answers the conversation with its members (those who
	// have not left, by JoinedSeq, the first MostListed of them), or
	// chat.CodeNotFound.
	Conversation(ctx context.Context, id string) (Conversation, error)
	// Conversations answers those the user is a member of, newest activity
	// first (LastAt, then the conversation's id, both descending), after
	// the place of page. Members is nil; Last is the newest message that is
	// not deleted and that the user may read (see Membership.Floor), or nil;
	// Read and Unread are the user's.
	Conversations(ctx context.Context, user string, page Page) ([]Summary, error)
	// RenameConversation changes the name and appends a rename entry, as
	// CheckRename and CheckGroup allow.
	RenameConversation(ctx context.Context, now time.Time, actor Actor, id, name string, entryID chat.ID) (chat.Entry, error)
	// DeleteConversation removes the conversation, its entries, members and
	// cursors, as CheckDelete allows. Its id may be used again.
	DeleteConversation(ctx context.Context, actor Actor, id string) error
	// PutMember makes user a member with the role, as CheckPutMember
	// and CheckGroup allow. Somebody who joins (again) gets a join entry, and
	// its conversation is not archived; for a member the role alone changes
	// and entry is nil. Which role is given says RoleToGive. Who gets
	// chat.RoleOwner is the conversation's OwnerID from then on, and who was
	// it is an admin. More members, or more conversations of the user, than
	// limits allow is chat.CodeConflict.
	PutMember(ctx context.Context, now time.Time, actor Actor, id, user string, role chat.Role, entryID chat.ID, limits Limits) (m Member, entry *chat.Entry, err error)
	// RemoveMember ends the membership and appends the leave entry, as
	// CheckRemoveMember and CheckGroup allow. When it was the owner's, the
	// admin who joined first becomes the owner, or without admins the member
	// who did, or without members nobody: OwnerID is "" then.
	RemoveMember(ctx context.Context, now time.Time, actor Actor, id, user string, entryID chat.ID) (chat.Entry, error)

	// Memberships answers for each user all the conversations it is or was
	// a member of.
	Memberships(ctx context.Context, users []string) ([][]Membership, error)
	// MembershipsIn answers one membership for each key. Exists is false
	// for a conversation that does not exist; Role is chat.RoleNone for
	// somebody who is not a member.
	MembershipsIn(ctx context.Context, keys []MemberKey) ([]Membership, error)

	// Sessions answers the durable session of each key with its
	// subscriptions and cursors, and Received in order of PacketID, or nil.
	Sessions(ctx context.Context, keys []SessionKey) ([]*Session, error)
	// SaveSession writes the session and its subscriptions as they are
	// given, replacing what stood, and adds or raises its cursors; cursors
	// that are not named stay.
	SaveSession(ctx context.Context, s Session) error
	// MarkSessions sets Expiry and EndedAt of sessions that stand; others
	// are passed over. No key stands twice.
	MarkSessions(ctx context.Context, marks []SessionMark) error
	// DeleteSession removes the session with all that belongs to it: cursors,
	// deliveries, Received, SentMark. Its will stays. It does nothing where no
	// such session stands.
	DeleteSession(ctx context.Context, key SessionKey) error
	// SaveCursors raises cursors; one that would go back stays. Cursors of
	// sessions or streams that do not exist are passed over.
	SaveCursors(ctx context.Context, cursors []CursorAt) error
	// DropCursors forgets the session's cursors of the streams.
	DropCursors(ctx context.Context, key SessionKey, streams []chat.StreamID) error
	// ReleaseSessions notes for every session that is marked as connected
	// that it has none since at: the first thing after a crash.
	ReleaseSessions(ctx context.Context, at time.Time) error
	// SweepSessions removes at most limit sessions that ended and whose
	// expiry has passed, as DeleteSession does, and says how many it removed.
	SweepSessions(ctx context.Context, now time.Time, limit int) (int, error)

	Reading
	Settings
	Pairs
	Views
	Notices
	Ordinary
	Retaining
	Persons
	Revocations
	Mine
	Live
	Webhooks
	Searching
}

// ErrNewer is the reason of Migrate and Ready where the schema is newer than
// this build.
var ErrNewer = errors.New("use a newer build")

// ErrAgain and ErrUnavailable classify failures of a Store; see there.
var (
	ErrAgain       = errors.New("nothing was written, try again")
	ErrUnavailable = &chat.Error{Code: chat.CodeUnavailable, Message: "the database is out of reach"}
)

// Outcome is what became of a draft.
type Outcome struct {
	ID        chat.ID
	Seq       uint64
	CreatedAt time.Time
	Repeat    bool  // the entry stood already; nothing was appended
	Err       error // a *chat.Error, or ErrAgain; the rest is zero then
}

// Range asks for the entries of a stream that come after a seq.
type Range struct {
	Stream chat.StreamID
	After  uint64
	Limit  int
}

// Head is how far a stream reaches.
type Head struct {
	Head  uint64 // newest seq
	First uint64 // oldest seq still held; Head+1 when none is
}

// Actor is who asks for a change. Admin stands above all roles.
type Actor struct {
	UserID string
	Admin  bool
	// Forgets: the user is being forgotten. It leaves direct conversations
	// too, which nobody else does.
	Forgets bool
}

// NewConversation is what CreateConversation needs.
type NewConversation struct {
	ID      string
	Name    string
	OwnerID string
	Members []string
	JoinIDs []chat.ID // one for the owner and one for each member
	// SinceJoin has members read nothing from before they joined.
	SinceJoin bool
	Limits    Limits
}

// Limits bound what conversations and users may grow to. 0 is no bound.
type Limits struct {
	Members       int // of one conversation
	Conversations int // that one user is a member of
	Blocks        int // of one user
}

// MostListed is how many members a Conversation holds at most: those that can
// be named when it is created, and the owner.
const MostListed = 1 + chat.MaxFirstMembers

// Conversation is a conversation as it stands.
type Conversation struct {
	ID        string
	Name      string
	OwnerID   string
	CreatedAt time.Time
	HeadSeq   uint64
	FirstSeq  uint64
	Direct    bool      // it is of two users, and has no owner
	SinceJoin bool      // members read nothing from before they joined
	Size      int       // how many members it has
	Retention Retention // its own
	Members   []Member  // the first MostListed
}

// Summary is a line in a user's list of conversations.
type Summary struct {
	Conversation
	Peer     string      // of a direct conversation: who the other is
	Archived bool        // by the user
	LastAt   time.Time   // when the newest entry was committed
	Last     *chat.Entry // the newest message that stands, with the content of its newest edit, or nil
	Read     uint64      // how far the user has read
	Unread   uint64      // see Reading
}

// Page is a place in a user's list of conversations: after the line with
// LastAt and ID, or from the start when ID is "".
type Page struct {
	LastAt   time.Time
	ID       string
	Limit    int
	Archived *bool // those alone that the user has archived, or has not; nil is all
}

// Member is a member of a conversation.
type Member struct {
	UserID    string
	Role      chat.Role
	JoinedAt  time.Time
	JoinedSeq uint64 // the seq of the newest join entry
}

// MemberKey names a membership.
type MemberKey struct{ Conversation, UserID string }

// Membership is what one user is to one conversation.
type Membership struct {
	MemberKey
	Head
	Exists    bool      // the conversation exists
	Role      chat.Role // RoleNone: not a member now
	JoinedSeq uint64    // of the newest join entry, 0 if there never was one
	LeftSeq   uint64    // of the leave entry that ended it, 0 for a member
	SinceJoin bool      // members read nothing from before they joined
}

// Floor is the seq after which the user may read as a member: nothing up to it
// is for its eyes. Scope admin has no floor.
func (m *Membership) Floor() uint64 {
	if m.SinceJoin && m.JoinedSeq > 0 {
		return m.JoinedSeq - 1
	}
	return 0
}

// SessionKey names a session: two users may use the same client id and never
// meet.
type SessionKey struct{ UserID, ClientID string }

// Subscription is a subscription of a durable session, with the options of
// MQTT 5.
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	ID                uint32 // subscription identifier, 0 is none
}

// Ordinary reports whether the subscription is one of ordinary topics, not of
// Parley's own.
func (s *Subscription) Ordinary() bool {
	f, err := chat.ParseFilter(s.Filter)
	return err == nil && f.Kind == chat.KindOrdinary
}

// NeverExpires is the session expiry interval that has no end
// [MQTT-3.1.2-23].
const NeverExpires = 0xFFFFFFFF

// Session is a durable session.
type Session struct {
	Key           SessionKey
	Expiry        uint32    // seconds after EndedAt, or NeverExpires
	EndedAt       time.Time // zero while it is connected
	Subscriptions []Subscription
	Cursors       []Cursor
	Received      []Received // SaveSession leaves those that stand as they are
}

// Expired reports whether the session has ended for good at now.
func (s *Session) Expired(now time.Time) bool {
	return s.Expiry != NeverExpires && !s.EndedAt.IsZero() &&
		!now.Before(s.EndedAt.Add(time.Duration(s.Expiry)*time.Second))
}

// SessionMark says that a session is connected (EndedAt zero) or since when
// it is not, and how long it is kept then.
type SessionMark struct {
	Key     SessionKey
	Expiry  uint32
	EndedAt time.Time
}

// Cursor is how far a durable session has acknowledged a stream.
type Cursor struct {
	Stream chat.StreamID
	Seq    uint64
}

// CursorAt is the cursor of one session.
type CursorAt struct {
	Key SessionKey
	Cursor
}
