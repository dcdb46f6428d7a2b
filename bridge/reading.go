package bridge

import (
	"context"
	"time"
)

// Reading is the part of a Store that knows how far the members of a
// conversation have read. Its verbs obey the rules of Store.
//
// What a member has read, and what its devices have got, goes forward only and
// never beyond the head. What is read was delivered. Who joins has read up to
// its own join entry; who sends a message has read up to that message, which
// Commit sees to.
//
// Unread is, for a member, the number of messages above what it has read that
// stand undeleted and that others sent. It is computed here and nowhere else,
// from counts, so that a million messages cost as much as ten.
type Reading interface {
	// MoveReceipts raises what members have read and got, and answers in
	// out[i] what became of moves[i]. A key stands once, or once Small and
	// once not. One that is refused does not hurt the others.
	MoveReceipts(ctx context.Context, now time.Time, moves []Move) (out []Moved, err error)
	// Receipts answers those of all members, in the order of Conversation, or
	// chat.CodeNotFound.
	Receipts(ctx context.Context, conversation string) ([]Receipt, error)
	// Standings answers one standing for each key: zero for who is not a
	// member, or where there is no conversation.
	Standings(ctx context.Context, keys []MemberKey) ([]Standing, error)
}

// Move says that a member has read, or that a device of it has got, all up to
// a seq. 0 is nothing.
type Move struct {
	MemberKey
	Read, Delivered uint64
	// Small has the move passed over where the conversation has more members
	// than SmallConversation.
	Small bool
}

// SmallConversation is how many members a conversation has at most in which
// "delivered" moves by itself.
const SmallConversation = 32

// Moved is what became of a Move.
type Moved struct {
	Receipt
	// Raised: this move raised Read or Delivered. Else the receipt is what
	// stood before.
	Raised bool
	// Err is chat.CodeNotFound or chat.CodeForbidden as for Commit.
	Err error
}

// Receipt is how far a member has read, and what its devices have got.
type Receipt struct {
	MemberKey
	Read, Delivered uint64
	At              time.Time // when one of them moved last
}

// Standing is how a conversation stands for a member.
type Standing struct {
	Head   uint64
	Read   uint64
	Unread uint64
}

// ReceiptObserver is told of receipts that moved, on goroutines of the log: it
// must not block. What a sender moves by sending is not told: its message
// tells it.
type ReceiptObserver interface{ ReceiptMoved(r Receipt) }

// ObserveReceipts has o told from now on of all that MoveReceipts raises.
func (l *Log) ObserveReceipts(o ReceiptObserver) { l.receipts.Store(&o) }

// MoveReceipt raises what one member has read and got; see Move. Those of many
// callers share a call to the store.
func (l *Log) MoveReceipt(ctx context.Context, m Move) (Receipt, error) {
	moved, err := l.moves.do(ctx, m)
	if err == nil {
		err = moved.Err
	}
	return moved.Receipt, err
}

// moveReceipts is MoveReceipts for calls that came at the same time.
func (l *Log) moveReceipts(ctx context.Context, moves []Move) ([]Moved, error) {
	merged, place := mergeMoves(moves)
	var moved []Moved
	err := again(ctx, func() (err error) {
		moved, err = l.store.MoveReceipts(ctx, l.now(), merged)
		return err
	})
	if err != nil {
		return nil, err
	}
	if o := l.receipts.Load(); o != nil {
		for i := range moved {
			if moved[i].Raised {
				(*o).ReceiptMoved(moved[i].Receipt)
			}
		}
	}
	out := make([]Moved, len(moves))
	for i := range moves {
		out[i] = moved[place[i]]
	}
	return out, nil
}

// mergeMoves makes one move of those of one member, and says where each went.
// One that is Small is merged with its like alone.
func mergeMoves(moves []Move) (merged []Move, place []int) {
	type kind struct {
		MemberKey
		small bool
	}
	at := make(map[kind]int, len(moves))
	for _, m := range moves {
		k := kind{m.MemberKey, m.Small}
		i, known := at[k]
		if !known {
			i = len(merged)
			at[k] = i
			merged = append(merged, m)
		}
		merged[i].Read, merged[i].Delivered = max(merged[i].Read, m.Read), max(merged[i].Delivered, m.Delivered)
		place = append(place, i)
	}
	return merged, place
}

// Receipts answers how far each member of a conversation has read.
func (l *Log) Receipts(ctx context.Context, conversation string) ([]Receipt, error) {
	return l.store.Receipts(ctx, conversation)
}

// Standings answers how conversations stand for members; see
// Reading.Standings.
func (l *Log) Standings(ctx context.Context, keys []MemberKey) ([]Standing, error) {
	return l.store.Standings(ctx, keys)
}
