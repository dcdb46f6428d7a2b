package terminal

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/client"
)

// message is one thing in a room: a message, or a notice of who came or went.
type message struct {
	client.Folded
	notice string // of what is no message
	drawn  drawn
}

// drawn is what a message looked like the last time.
type drawn struct {
	key   string
	lines []string
}

// pending is a message that is not committed yet.
type pending struct {
	draft   client.Draft
	sending bool
	seq     uint64 // it is committed, and its entry is on the way
	failed  string // why it was refused
}

// room is a conversation as it is shown.
type room struct {
	client.Conversation
	msgs    []*message // by seq
	loaded  bool
	loading bool
	atStart bool
	head    uint64 // all entries up to it are folded in
	early   []client.Entry
	pending []*pending
	reads   map[string]uint64
	typing  map[string]time.Time // until when
	marked  uint64               // what was said to be read
	marking bool
	fresh   int // new messages below what is shown
	scroll  int // lines below what is shown
	draft   string
	replyTo uint64
	editing uint64
	picked  uint64 // the message that is selected
	newFrom uint64 // behind it begins what was unread when the room was opened
	gone    bool   // the user is a member no more
}

// mostMessages bounds what is kept of a room; more is loaded again.
const mostMessages = 3000

func newRoom(c client.Conversation) *room {
	return &room{Conversation: c, reads: map[string]uint64{}, typing: map[string]time.Time{}}
}

// title is what a room is called.
func (r *room) title() string {
	switch {
	case r.Name != "":
		return Line(r.Name)
	case r.PeerID != "":
		return "@" + Line(r.PeerID)
	}
	return Line(r.ID)
}

// begin is called when the room is shown: what is unread is marked.
func (r *room) begin() {
	r.newFrom = 0
	if r.Unread > 0 {
		r.newFrom = r.ReadSeq
	}
}

// find gives the message with a seq, or nil.
func (r *room) find(seq uint64) *message {
	if i, ok := r.index(seq); ok {
		return r.msgs[i]
	}
	return nil
}

func (r *room) index(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(r.msgs, seq, func(m *message, seq uint64) int { return cmp.Compare(m.Seq, seq) })
}

// put adds a message at its place, or takes it instead of what stands there.
func (r *room) put(m *message) {
	i, ok := r.index(m.Seq)
	if ok {
		r.msgs[i] = m
		return
	}
	r.msgs = slices.Insert(r.msgs, i, m)
}

// load takes a page of messages as they read now.
func (r *room) load(h client.History[client.Folded], asked int, older bool) {
	for _, f := range h.Items {
		r.put(&message{Folded: f})
	}
	if len(h.Items) < asked || h.FirstSeq >= 1 && len(r.msgs) > 0 && r.msgs[0].Seq <= h.FirstSeq {
		r.atStart = true
	}
	r.loading = false
	if older {
		return
	}
	r.loaded, r.head = true, h.HeadSeq
	r.HeadSeq = max(r.HeadSeq, h.HeadSeq)
	for _, e := range r.early {
		r.apply(e, "")
	}
	r.early = nil
	r.pending = slices.DeleteFunc(r.pending, func(p *pending) bool { return p.seq > 0 && p.seq <= r.head })
}

// unload forgets what was loaded: it is to be loaded anew.
func (r *room) unload() {
	r.msgs, r.early, r.loaded, r.atStart, r.head, r.picked = nil, nil, false, false, 0, 0
}

// apply folds in an entry that came. It tells whether there is a new line.
func (r *room) apply(e client.Entry, me string) bool {
	r.HeadSeq = max(r.HeadSeq, e.Seq)
	if !r.loaded {
		r.early = append(r.early, e)
		if len(r.early) > mostMessages {
			r.early = r.early[1:]
		}
		return false
	}
	if e.Seq <= r.head {
		return false
	}
	r.head = e.Seq
	target := r.find(e.Target)
	switch e.Type {
	case client.TypeMessage:
		delete(r.typing, e.SenderID)
		r.put(&message{Folded: client.Folded{Entry: e}})
		r.settle(e)
		r.trim()
		return true
	case client.TypeJoin, client.TypeLeave, client.TypeRename:
		if e.Type == client.TypeRename {
			r.Name = e.Name
		}
		r.put(&message{Folded: client.Folded{Entry: e}, notice: says(e)})
		return true
	}
	if target == nil || target.notice != "" {
		return false
	}
	switch e.Type {
	case client.TypeEdit:
		target.Content, target.EditedAt = e.Content, e.CreatedAt
	case client.TypeDelete:
		target.Deleted, target.Content, target.MediaURL, target.Reactions = true, "", "", nil
	case client.TypeReaction:
		target.react(e.Emoji, e.SenderID, e.Remove)
	}
	target.drawn = drawn{}
	return false
}

// trim forgets the oldest messages, if nobody looks at them.
func (r *room) trim() {
	if len(r.msgs) > mostMessages && r.scroll == 0 && r.picked == 0 {
		r.msgs = slices.Clone(r.msgs[len(r.msgs)-mostMessages/2:])
		r.atStart = false
	}
}

// settle takes a message that has come out of those that are pending.
func (r *room) settle(e client.Entry) {
	if e.ClientID == "" {
		return
	}
	r.pending = slices.DeleteFunc(r.pending, func(p *pending) bool {
		return p.draft.ClientID == e.ClientID
	})
}

// react adds a reaction or takes it back.
func (m *message) react(emoji, user string, remove bool) {
	i := slices.IndexFunc(m.Reactions, func(r client.Reaction) bool { return r.Emoji == emoji })
	if i < 0 {
		if !remove {
			m.Reactions = append(m.Reactions, client.Reaction{Emoji: emoji, Count: 1, UserIDs: []string{user}})
		}
		return
	}
	r := &m.Reactions[i]
	at := slices.Index(r.UserIDs, user)
	switch {
	case remove && (at >= 0 || r.Count > len(r.UserIDs)):
		r.Count--
		if at >= 0 {
			r.UserIDs = slices.Delete(slices.Clone(r.UserIDs), at, at+1)
		}
	case !remove && at < 0:
		r.Count++
		r.UserIDs = append(slices.Clone(r.UserIDs), user)
	}
	if r.Count <= 0 {
		m.Reactions = slices.Delete(m.Reactions, i, i+1)
	}
}

// readers are those, beside the user, whose place is at a message: behind it,
// and before the next one.
func (r *room) readers(me string) map[uint64]string {
	at := map[uint64][]string{}
	for user, seq := range r.reads {
		if user == me || len(r.msgs) == 0 {
			continue
		}
		i, ok := r.index(seq)
		if !ok {
			i--
		}
		if i >= 0 && r.msgs[i].SenderID != user { // who writes has read it
			at[r.msgs[i].Seq] = append(at[r.msgs[i].Seq], Line(user))
		}
	}
	named := make(map[uint64]string, len(at))
	for seq, users := range at {
		slices.Sort(users)
		if len(users) > 5 {
			users = append(users[:4], "and others")
		}
		named[seq] = strings.Join(users, ", ")
	}
	return named
}

// typers are those who type now.
func (r *room) typers(now time.Time) []string {
	var users []string
	for user, until := range r.typing {
		if now.Before(until) {
			users = append(users, Line(user))
		}
	}
	slices.Sort(users)
	return users
}

// lastOf is the newest message of a user that stands, or nil.
func (r *room) lastOf(user string) *message {
	for _, m := range slices.Backward(r.msgs) {
		if m.SenderID == user && m.notice == "" && !m.Deleted {
			return m
		}
	}
	return nil
}
