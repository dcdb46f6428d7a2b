package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Searching is the part of a Store that finds messages by their words. It
// obeys the rules of Store, errors included.
//
// Commit writes the words of a message (what chat.Words finds in its Content)
// in its transaction: what it has answered is found from then on. An edit
// gives its words to the message in place of those it had. An entry that is
// Deleted, by whatever verb, has no words.
type Searching interface {
	// Search answers the messages that have all of s.Words, newest first
	// (CreatedAt, then ID, both descending), those after s.At and s.ID. Of a
	// message that was edited Content is that of the newest edit.
	//
	// They are of conversations that the user is a member of now, above its
	// floor there; see Membership.Floor. Where
	// s.Conversation does not exist the answer is chat.CodeNotFound, where
	// the user is not a member of it chat.CodeForbidden.
	Search(ctx context.Context, s Search) ([]chat.Entry, error)
}

// Search is what Search looks for.
type Search struct {
	UserID       string
	Conversation string   // in this one alone; "" is all of the user's
	Words        []string // one at least, as chat.Words makes them, each once

	// The place after which to go on: that of the last message of the page
	// before. The zero time is the start.
	At    time.Time
	ID    chat.ID
	Limit int
}

// SearchSlack is how much earlier than an entry before it an entry of the same
// stream may be, by CreatedAt, and be found in its place all the same: nodes'
// clocks differ, and are set.
const SearchSlack = time.Minute

// Search answers messages that have all words of the text; see Store.Search.
// Where there is no word in it nothing can be looked for.
func (l *Log) Search(ctx context.Context, text string, s Search) ([]chat.Entry, error) {
	var err error
	if s.Words, err = chat.ParseQuery(text); err != nil {
		return nil, err
	}
	return l.store.Search(ctx, s)
}
