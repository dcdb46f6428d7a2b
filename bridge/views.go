package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Views is the part of a Store that answers messages as they read now, and as
// they read before. Its verbs obey the rules of Store. They cost what the page
// and what points at its messages cost, however long the log is.
type Views interface {
	// Folded answers messages of a stream, in order of Seq, each as it reads
	// now: those with After < Seq from there on, or else the last with
	// Seq < Before (0 is from the head); at most Limit. What is answered stood
	// at one moment.
	Folded(ctx context.Context, p FoldedPage) ([]Folded, error)
	// Edits answers what was said at seq, which is a message, and the edits of
	// it, in order: entries with after < Seq, at most limit. It answers
	// author "" where no such message stands.
	Edits(ctx context.Context, stream chat.StreamID, seq, after uint64, limit int) (author string, entries []chat.Entry, err error)
}

// FoldedPage asks for messages.
type FoldedPage struct {
	Stream  chat.StreamID
	Forward bool   // from After on; else back from Before
	After   uint64 // with Forward
	Before  uint64 // without; 0 is from the head
	Limit   int
}

// Folded is a message as it reads now: Content is that of its newest edit.
// A deleted one says nothing, and has no reactions.
type Folded struct {
	chat.Entry
	EditedAt  time.Time // of the newest edit; zero where there is none
	Reactions []Reaction
}

// Reaction is an emoji that stands at a message: those count whose newest
// reaction with it was not to take it back.
type Reaction struct {
	Emoji   string
	Count   int
	UserIDs []string // in the order in which they reacted, at most MostReactors
}

// MostReactors is how many users a Reaction names at most.
const MostReactors = 50

// Folded answers a page of messages as they read now.
func (l *Log) Folded(ctx context.Context, p FoldedPage) ([]Folded, error) {
	return l.store.Folded(ctx, p)
}

// Edits answers a page of what was said at seq, from the first word on.
func (l *Log) Edits(ctx context.Context, stream chat.StreamID, seq, after uint64, limit int) (string, []chat.Entry, error) {
	return l.store.Edits(ctx, stream, seq, after, limit)
}
