package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Webhooks is the part of a Store that keeps how far webhooks have told of
// each conversation. Its verbs obey the rules of Store, errors included.
//
// The log is the outbox: what is to be told stands in it from the commit on,
// and a place in it is all that is kept beside. A conversation without a place
// is told from its first entry; with a conversation its place goes.
type Webhooks interface {
	// BeginWebhooks is called before anything is told. The first call ever
	// puts the place of each conversation at its head, so that nobody is told
	// of what happened before; first is true then. Every later call changes
	// nothing.
	BeginWebhooks(ctx context.Context, now time.Time) (first bool, err error)
	// WebhookBehind looks at limit streams after a position (0 is the start),
	// in an order of its own, and answers the conversations among them that
	// hold entries beyond their place. next is the position to go on at, 0
	// when there were no streams any more.
	WebhookBehind(ctx context.Context, after uint64, limit int) (behind []WebhookPlace, next uint64, err error)
	// WebhookPlaces answers how far each conversation was told, 0 where there
	// is no place, or no such conversation.
	WebhookPlaces(ctx context.Context, streams []chat.StreamID) ([]uint64, error)
	// SaveWebhookPlaces raises places; one that would go back stays. Passed
	// over are conversations that do not exist, and places beyond the head:
	// they are of a conversation of the same name that was deleted. No stream
	// stands twice.
	SaveWebhookPlaces(ctx context.Context, places []Cursor) error
}

// WebhookPlace is how far a conversation was told, and how far it reaches.
type WebhookPlace struct {
	Stream chat.StreamID
	Seq    uint64 // nothing up to here is to be told: it was, or it is not held any more
	Head   uint64
}
