package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Mine is the part of a Store that shows users what is theirs. Its verbs obey
// the rules of Store, errors included.
type Mine interface {
	// SessionsOf answers the durable sessions of a user that have not expired
	// at now, in byte order of their client ids, those after one ("" is the
	// start), at most limit; of each the first cursors in byte order of their
	// streams, at most so many, and the count of all.
	SessionsOf(ctx context.Context, now time.Time, user, after string, limit, cursors int) ([]SessionSeen, error)

	// Places answers all conversations that the user is or was a member of,
	// in byte order of their ids, as they stand at one moment.
	Places(ctx context.Context, user string) ([]Place, error)
	// ReadPieces answers the entries of each piece, in order, the first Limit
	// of them.
	ReadPieces(ctx context.Context, pieces []Piece) ([][]chat.Entry, error)
	// OwnMoves answers the user's own join and leave entries in each piece,
	// in order. Limit counts for nothing.
	OwnMoves(ctx context.Context, user string, pieces []Piece) ([][]OwnMove, error)
	// SeqsAt answers for each piece the highest Seq of it whose entry was
	// created up to at, or After where there is none. It takes for granted
	// that times go up with Seq. Limit counts for nothing.
	SeqsAt(ctx context.Context, at time.Time, pieces []Piece) ([]uint64, error)
}

// Place is what a user is to a conversation, and since when that stands.
type Place struct {
	Membership
	CreatedAt time.Time
	LastAt    time.Time // createdAt of the newest entry
}

// Piece is a part of a conversation: the entries with After < Seq <= UpTo. One
// that was deleted has none, though another of its name was made since:
// CreatedAt says which is meant.
type Piece struct {
	Conversation string
	CreatedAt    time.Time
	After, UpTo  uint64
	Limit        int
}

// OwnMove is a join or a leave of a user.
type OwnMove struct {
	Seq  uint64
	Join bool
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

// Places answers all conversations that the user is or was a member of; see
// Mine.
func (l *Log) Places(ctx context.Context, user string) ([]Place, error) {
	return l.store.Places(ctx, user)
}

// ReadPieces answers the entries of pieces; see Mine.
func (l *Log) ReadPieces(ctx context.Context, pieces []Piece) ([][]chat.Entry, error) {
	return l.store.ReadPieces(ctx, pieces)
}

// OwnMoves answers the user's own joins and leaves; see Mine.
func (l *Log) OwnMoves(ctx context.Context, user string, pieces []Piece) ([][]OwnMove, error) {
	return l.store.OwnMoves(ctx, user, pieces)
}

// SeqsAt answers how far pieces reached at a time; see Mine.
func (l *Log) SeqsAt(ctx context.Context, at time.Time, pieces []Piece) ([]uint64, error) {
	return l.store.SeqsAt(ctx, at, pieces)
}

// Line names the line of history that the log is on, see Store.
func (l *Log) Line() string { return l.store.Line() }

// HeadOf answers how far a stream reaches now.
func (l *Log) HeadOf(ctx context.Context, stream chat.StreamID) (Head, error) {
	heads, err := l.store.Heads(ctx, []chat.StreamID{stream})
	if err != nil {
		return Head{}, err
	}
	return heads[0], nil
}

// Now is the time of the log.
func (l *Log) Now() time.Time { return l.now() }
