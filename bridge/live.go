package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Live is the part of a Store that presence needs: who is in a conversation,
// and when people were there last. Its verbs obey the rules of Store, errors
// included. Times are kept in whole milliseconds.
type Live interface {
	// Rosters answers for each stream of a conversation who its members are
	// as of its Head: both are of one moment, so that whoever reads the
	// entries after Head knows who is a member from then on. The members are
	// in no order. The zero Roster stands for a stream that does not exist.
	Rosters(ctx context.Context, streams []chat.StreamID) ([]Roster, error)
	// People answers what is kept of each user; of one that was never saved
	// only the UserID is set.
	People(ctx context.Context, users []string) ([]Person, error)
	// Acquainted answers for each user whether it is a member of a
	// conversation that viewer is a member of too, or is viewer.
	Acquainted(ctx context.Context, viewer string, users []string) ([]bool, error)
	// SavePeople writes people as they are given. No user stands twice.
	SavePeople(ctx context.Context, people []Person) error
	// ReleasePeople notes that whoever is marked as online was there until
	// at, and is not any more: the first thing after a crash.
	ReleasePeople(ctx context.Context, at time.Time) error
}

// Person is what is kept of a user's presence, as others see it.
type Person struct {
	UserID   string
	Online   bool
	LastSeen time.Time // zero: never
}

// Roster is who is in a conversation.
type Roster struct {
	Head
	Members []RosterMember
}

// RosterMember is a member, and when it was there last; zero is never.
type RosterMember struct {
	UserID   string
	LastSeen time.Time
}

// MembershipsOf answers for each user all conversations that it is or was a
// member of, in one call.
func (l *Log) MembershipsOf(ctx context.Context, users []string) ([][]Membership, error) {
	return l.store.Memberships(ctx, users)
}

// Rosters answers who is in conversations; see Store.
func (l *Log) Rosters(ctx context.Context, streams []chat.StreamID) ([]Roster, error) {
	return l.store.Rosters(ctx, streams)
}

// People answers what is kept of users; see Store.
func (l *Log) People(ctx context.Context, users []string) ([]Person, error) {
	return l.store.People(ctx, users)
}

// Acquainted answers who shares a conversation with viewer; see Store.
func (l *Log) Acquainted(ctx context.Context, viewer string, users []string) ([]bool, error) {
	return l.store.Acquainted(ctx, viewer, users)
}

// SavePeople writes what is to be kept of users; see Store.
func (l *Log) SavePeople(ctx context.Context, people []Person) error {
	return again(ctx, func() error { return l.store.SavePeople(ctx, people) })
}

// ReleasePeople marks everybody as offline, the first thing after a start.
func (l *Log) ReleasePeople(ctx context.Context) error {
	return again(ctx, func() error { return l.store.ReleasePeople(ctx, l.now()) })
}
