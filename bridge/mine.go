package bridge

import (
	"context"
	"time"
)

// Mine is the part of a Store that shows users what is theirs. Its verbs obey
// the rules of Store, errors included.
type Mine interface {
	// SessionsOf answers the durable sessions of a user that have not expired
	// at now, in byte order of their client ids, those after one ("" is the
	// start), at most limit; of each the first cursors in byte order of their
	// streams, at most so many, and the count of all.
	SessionsOf(ctx context.Context, now time.Time, user, after string, limit, cursors int) ([]SessionSeen, error)
}

// SessionSeen is a durable session as its user sees it.
type SessionSeen struct {
	Key         SessionKey
	Expiry      uint32    // seconds after EndedAt, or NeverExpires
	EndedAt     time.Time // zero while it is connected
	Cursors     []CursorSeen
	CursorCount int // of all
}

// CursorSeen is a cursor, and how far its stream reaches.
type CursorSeen struct {
	Cursor
	Head uint64
}

// SessionsOf answers the durable sessions of a user that have not expired; see
// Mine.
func (l *Log) SessionsOf(ctx context.Context, user, after string, limit, cursors int) ([]SessionSeen, error) {
	return l.store.SessionsOf(ctx, l.now(), user, after, limit, cursors)
}
