package bridge

import (
	"context"
	"strconv"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Notices is the part of a Store that keeps users' notifications. Those of a
// user are a stream, chat.NotificationStream, that its first one creates. A
// set beside it names the unread ones: the count of unread notifications is
// how many that set has, and nothing else. Trim takes what it removes out of
// it. Its verbs obey the rules of Store,
// errors included.
//
// Read, Before and what is here answer entries of such a stream with
// Notice.Read as it stood then.
type Notices interface {
	// Notify decides about each draft, in their order, as DecideNotices says,
	// appends those that are to be, with CreatedAt now, and sets out[i] for
	// drafts[i]. All are in one transaction: an error is one of all.
	//
	// The caller promises: every draft is a notification, and has an ID and a
	// ClientID.
	Notify(ctx context.Context, now time.Time, drafts []chat.Draft, out []Noticed) error
	// NotifyMentions takes at most limit of the messages whose mentions are
	// due, oldest conversation first, notifies as MentionDrafts says, and
	// notes that nothing of them is due any more, in one transaction. A
	// message that was deleted notifies nobody. newID makes ids of entries.
	// It answers how many messages it took.
	NotifyMentions(ctx context.Context, now time.Time, limit int, newID func() chat.ID) (took int, out []Noticed, err error)
	// ReadNotifications takes notifications of the user out of the unread
	// ones. What is not there, or was read before, is passed over.
	ReadNotifications(ctx context.Context, user string, marks chat.ReadMarks) (Marked, error)
	// UnreadNotifications answers how many are unread of each user.
	UnreadNotifications(ctx context.Context, users []string) ([]uint64, error)
	// Notifications answers the user's notifications with Seq < before, the
	// newest first, at most limit of them; before 0 means from the head.
	// unread leaves out those that were read.
	Notifications(ctx context.Context, user string, before uint64, unread bool, limit int) ([]chat.Entry, error)

	// Preferences answers what the user has set, or DefaultPreferences.
	Preferences(ctx context.Context, user string) (Preferences, error)
	// EachPreferences tells each of those users who have set anything, once and
	// in any order, and what that is. each must not call the Store. Where the
	// answer is an error it may have told of some.
	EachPreferences(ctx context.Context, users []string, each func(user string, p *Preferences)) error
	// SavePreferences replaces what the user has set.
	SavePreferences(ctx context.Context, user string, p Preferences) error
}

// Noticed is what became of the draft of a notification.
type Noticed struct {
	Entry   chat.Entry // zero where it was skipped
	Skipped Skip       // why, or Wanted
	Repeat  bool       // the entry stood already; nothing was appended
	// Took is the seq of the notification with the same collapse key whose
	// place among the unread ones it took, 0 if there was none: that one
	// counts as read from then on.
	Took uint64
}

// Marked is what ReadNotifications did.
type Marked struct {
	Unread uint64   // how many are left
	UpTo   uint64   // all up to this seq are read, 0 if that was not asked for
	Seqs   []uint64 // of those that were named by their ids, and were unread
}

// SendKey names the drafts that repeat each other within one stream.
type SendKey struct{ SenderID, ClientID string }

// Inbox is one user's stream of notifications, as a Store reads it in the
// transaction that is to append to it, and as it is to be written.
type Inbox struct {
	Preferences Preferences
	Head        uint64
	Stand       map[SendKey]chat.Entry // of the drafts that repeat one, that one
	Unread      map[string]uint64      // by collapse key, the seq of the unread notification that has it

	// Append are the entries to append, in order; those with Notice.Read are
	// not among the unread ones.
	Append []chat.Entry
	// Drop are the seqs that are unread no more.
	Drop []uint64
}

// DecideNotices decides about drafts, in this order:
//
//   - whose recipient is its sender, and what the recipient's preferences do
//     not want at now, is skipped;
//   - a repeat (an entry with the same stream, sender and clientId stands, or
//     a draft before it is one) gets the first one's entry, with Repeat;
//   - else it is appended, as unread. Where an unread one has the same
//     collapse key, that one is unread no more.
//
// The caller has read inboxes, which it asks for by the user.
func DecideNotices(now time.Time, drafts []chat.Draft, inbox func(user string) *Inbox, out []Noticed) {
	type place struct {
		in *Inbox
		at int // in its Append
	}
	places := make([]place, len(drafts)) // of those that are new
	for i := range drafts {
		d := &drafts[i]
		in := inbox(d.Stream.User())
		out[i] = Noticed{Skipped: in.Preferences.Skip(now, d)}
		if out[i].Skipped != Wanted {
			continue
		}
		if e, stands := in.Stand[SendKey{d.SenderID, d.ClientID}]; stands {
			out[i].Entry, out[i].Repeat = e, true
			if first := in.first(); e.Seq >= first {
				places[i] = place{in, int(e.Seq - first)}
			}
			continue
		}
		out[i].Took = in.take(d.Notice.Collapse)
		places[i] = place{in, len(in.Append)}
		in.append(now, d)
	}
	for i, p := range places {
		if p.in != nil { // only now: a later one may have taken its place
			out[i].Entry = p.in.Append[p.at]
			out[i].Entry.ClientID = callersClientID(out[i].Entry.ClientID)
		}
	}
}

// first is the seq of the first entry in Append.
func (in *Inbox) first() uint64 { return in.Head + 1 - uint64(len(in.Append)) }

// take has the unread notification with a collapse key be unread no more.
func (in *Inbox) take(collapse string) uint64 {
	seq, found := in.Unread[collapse]
	if collapse == "" || !found {
		return 0
	}
	first := in.first()
	if seq < first {
		in.Drop = append(in.Drop, seq)
		return seq
	}
	e := &in.Append[seq-first]
	read := *e.Notice
	read.Read = true
	e.Notice = &read
	return seq
}

// append adds an entry that is unread.
func (in *Inbox) append(now time.Time, d *chat.Draft) {
	in.Head++
	n := *d.Notice
	n.Read = false
	e := chat.Entry{ID: d.ID, Stream: d.Stream, Seq: in.Head, SenderID: d.SenderID, CreatedAt: now, Body: d.Body}
	e.Notice = &n
	in.Append = append(in.Append, e)
	if in.Stand == nil {
		in.Stand = make(map[SendKey]chat.Entry)
	}
	in.Stand[SendKey{d.SenderID, d.ClientID}] = e
	if n.Collapse != "" {
		if in.Unread == nil {
			in.Unread = make(map[string]uint64)
		}
		in.Unread[n.Collapse] = e.Seq
	}
}

// callersClientID is the ClientID that a caller gave, "" for one that the
// server made.
func callersClientID(id string) string {
	if id != "" && id[0] == '~' {
		return ""
	}
	return id
}

// MentionType is the type of the notifications that mentions make.
const MentionType = "mention"

// MentionDrafts makes a notification for each of those that a message mentions:
// each once, without its author. mayRead says of a user whether it is a member
// now, and was one when the message was sent.
func MentionDrafts(message *chat.Entry, mayRead func(user string) bool, newID func() chat.ID) []chat.Draft {
	if message.Deleted {
		return nil
	}
	data := append([]byte(`{"conversationId":"`), message.Stream.Conversation()...)
	data = append(data, `","seq":`...)
	data = strconv.AppendUint(data, message.Seq, 10)
	data = append(data, `,"id":"`...)
	data = append(message.ID.Append(data), `"}`...)
	seen := map[string]bool{message.SenderID: true}
	var drafts []chat.Draft
	for _, user := range message.Mentions {
		if seen[user] || !mayRead(user) {
			continue
		}
		seen[user] = true
		id := newID()
		drafts = append(drafts, chat.Draft{ID: id, Stream: chat.NotificationStream(user), SenderID: message.SenderID,
			Body: chat.Body{Type: chat.TypeNotification, ClientID: ServerClientID(id),
				Notice: &chat.Notice{Type: MentionType, Data: data}}})
	}
	return drafts
}
