package bridge

import (
	"context"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Settings is the part of a Store that keeps what is set for a conversation
// and for its members one by one. Its verbs obey the rules of Store.
type Settings interface {
	// SetHistory sets SinceJoin, as CheckHistory and CheckGroup allow.
	SetHistory(ctx context.Context, actor Actor, id string, sinceJoin bool) error
	// SetArchived notes that a member has archived a conversation or has not:
	// chat.CodeNotFound where there is none, chat.CodeForbidden for who is
	// not a member. It stays until the user joins again.
	SetArchived(ctx context.Context, id, user string, archived bool) error
	// Members answers those with after < JoinedSeq, in order of JoinedSeq, at
	// most limit, or chat.CodeNotFound.
	Members(ctx context.Context, id string, after uint64, limit int) ([]Member, error)
}

// SetHistory says from where on members read: from the start, or from their
// newest join entry.
func (l *Log) SetHistory(ctx context.Context, actor Actor, id string, sinceJoin bool) error {
	return again(ctx, func() error { return l.store.SetHistory(ctx, actor, id, sinceJoin) })
}

// SetArchived moves a conversation into a member's archive, or out of it.
func (l *Log) SetArchived(ctx context.Context, id, user string, archived bool) error {
	return again(ctx, func() error { return l.store.SetArchived(ctx, id, user, archived) })
}

// Members answers a page of a conversation's members, in the order in which
// they joined.
func (l *Log) Members(ctx context.Context, id string, after uint64, limit int) ([]Member, error) {
	return l.store.Members(ctx, id, after, limit)
}

// CheckSize refuses more members than a conversation may have.
func (l Limits) CheckSize(members int) error {
	if l.Members > 0 && members > l.Members {
		return chat.Errorf(chat.CodeConflict, "a conversation may have %d members", l.Members)
	}
	return nil
}

// TooManyConversations is the refusal where user is a member of as many
// conversations as anybody may be.
func (l Limits) TooManyConversations(user string) error {
	return chat.Errorf(chat.CodeConflict, "%s is in %d conversations, and nobody may be in more", user, l.Conversations)
}

// CheckBlocks refuses another block to a user who has so many.
func (l Limits) CheckBlocks(have int) error {
	if l.Blocks > 0 && have >= l.Blocks {
		return chat.Errorf(chat.CodeConflict, "you have blocked %d users, and nobody may block more", l.Blocks)
	}
	return nil
}
