package bridge

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Pairs is the part of a Store that keeps what is between two users: their
// direct conversation, and blocks. Its verbs obey the rules of Store.
//
// Two users have one direct conversation, whoever begins it and how often. A
// block by either of them stands between both: while there is one, their
// direct conversation is closed (see Commit), and is not begun.
type Pairs interface {
	// CreateDirect makes the direct conversation of d.UserID and d.Peer, who
	// differ. Both are plain members, there is no owner, and a join entry by
	// d.UserID stands for each, its own first. If there is one already, made
	// by either, it answers created false and what stands. Else
	// chat.CodeForbidden where a block stands, and chat.CodeConflict where one
	// of them is in more conversations than d.Limits allow.
	CreateDirect(ctx context.Context, now time.Time, d NewDirect) (conv Conversation, entries []chat.Entry, created bool, err error)

	// PutBlock notes that user blocks other, unless it does, and closes their
	// direct conversation if there is one. Nobody blocks more than
	// limits.Blocks: chat.CodeConflict.
	PutBlock(ctx context.Context, now time.Time, user, other string, limits Limits) error
	// DeleteBlock takes it back. Their direct conversation opens again unless
	// other blocks user. blocked says that it does.
	DeleteBlock(ctx context.Context, user, other string) (blocked bool, err error)
	// BlockList answers whom user blocks, in byte order of the ids, those
	// after one ("" is the start), at most limit.
	BlockList(ctx context.Context, user, after string, limit int) ([]Block, error)
	// Blocked answers for each pair whether a block stands between the two,
	// by either.
	Blocked(ctx context.Context, pairs []Pair) ([]bool, error)
	// Blocks answers for each user everybody between whom and it a block
	// stands, by either, each once and in byte order.
	Blocks(ctx context.Context, users []string) ([][]string, error)
}

// NewDirect is what CreateDirect needs.
type NewDirect struct {
	ID           string
	UserID, Peer string
	JoinIDs      [2]chat.ID
	Limits       Limits
}

// Pair is two users, in either order.
type Pair struct{ A, B string }

// Key names the pair, whatever its order. "/" is not in the alphabet of ids.
func (p Pair) Key() string { return min(p.A, p.B) + "/" + max(p.A, p.B) }

// Other is the one of a pair, by its Key, who is not user.
func Other(key, user string) string {
	if len(key) > len(user) && key[:len(user)] == user && key[len(user)] == '/' {
		return key[len(user)+1:]
	}
	return key[:max(0, len(key)-len(user)-1)]
}

// Block says whom a user blocks, and since when.
type Block struct {
	UserID string
	At     time.Time
}

// BlockObserver is told that the blocks between two users changed, and whether
// one stands between them now, on goroutines of the caller: it must not block.
// Of two changes at the same time it may hear in either order; Blocked knows.
type BlockObserver interface {
	BlocksChanged(a, b string, blocked bool)
}

// blockObservers are those who want to know.
type blockObservers struct {
	mu   sync.RWMutex
	list []BlockObserver
}

// ObserveBlocks tells o of all changes from now on.
func (l *Log) ObserveBlocks(o BlockObserver) {
	l.blocks.mu.Lock()
	defer l.blocks.mu.Unlock()
	l.blocks.list = append(slices.Clip(l.blocks.list), o)
}

func (b *blockObservers) tell(one, other string, blocked bool) {
	b.mu.RLock()
	list := b.list
	b.mu.RUnlock()
	for _, o := range list {
		o.BlocksChanged(one, other, blocked)
	}
}

// CreateDirect makes the direct conversation of two users, or answers the one
// that stands; see Pairs.CreateDirect.
func (l *Log) CreateDirect(ctx context.Context, user, peer string) (Conversation, bool, error) {
	d := NewDirect{ID: uuid.Must(uuid.NewV7()).String(), UserID: user, Peer: peer,
		JoinIDs: [2]chat.ID{newID(), newID()}, Limits: l.cfg.Limits}
	return l.create(ctx, func() (Conversation, []chat.Entry, bool, error) { return l.store.CreateDirect(ctx, l.now(), d) })
}

// Block has user block other.
func (l *Log) Block(ctx context.Context, user, other string) error {
	err := again(ctx, func() error { return l.store.PutBlock(ctx, l.now(), user, other, l.cfg.Limits) })
	if err == nil {
		l.blocks.tell(user, other, true)
	}
	return err
}

// Unblock takes a block back.
func (l *Log) Unblock(ctx context.Context, user, other string) error {
	var blocked bool
	err := again(ctx, func() (err error) {
		blocked, err = l.store.DeleteBlock(ctx, user, other)
		return err
	})
	if err == nil {
		l.blocks.tell(user, other, blocked)
	}
	return err
}

// BlockList answers a page of those whom user blocks.
func (l *Log) BlockList(ctx context.Context, user, after string, limit int) ([]Block, error) {
	return l.store.BlockList(ctx, user, after, limit)
}

// Blocked answers whether a block stands between two users, by either.
func (l *Log) Blocked(ctx context.Context, a, b string) (bool, error) {
	blocked, err := l.store.Blocked(ctx, []Pair{{a, b}})
	return err == nil && blocked[0], err
}

// Blocks answers for each user between whom and it a block stands.
func (l *Log) Blocks(ctx context.Context, users []string) ([][]string, error) {
	return l.store.Blocks(ctx, users)
}
