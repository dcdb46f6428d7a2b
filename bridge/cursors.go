package bridge

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/parley-mqtt/parley/internal/chat"
)

// AckCursor is the cursor of a durable session on one stream while the
// session is connected. It only goes forward. What it reached is saved with
// others within Config.CursorEvery, and at Close.
type AckCursor struct {
	saver  *cursorSaver
	key    *SessionKey
	stream chat.StreamID
	seq    atomic.Uint64
	dirty  atomic.Bool
	closed atomic.Bool
}

// Cursor makes the cursor of a session on a stream, at seq.
func (l *Log) Cursor(key *SessionKey, stream chat.StreamID, seq uint64) *AckCursor {
	c := &AckCursor{saver: &l.cursors, key: key, stream: stream}
	c.seq.Store(seq)
	return c
}

// Seq is how far the session has acknowledged the stream.
func (c *AckCursor) Seq() uint64 { return c.seq.Load() }

// Advance moves the cursor to seq, unless it is there or beyond. One
// goroutine at a time may advance a cursor. It does not block nor allocate.
func (c *AckCursor) Advance(seq uint64) {
	if seq <= c.seq.Load() {
		return
	}
	c.seq.Store(seq)
	c.MarkDirty()
}

// Close has the cursor saved no more: the session has given the stream up.
func (c *AckCursor) Close() { c.closed.Store(true) }

// MarkDirty has the cursor saved though it has not moved.
func (c *AckCursor) MarkDirty() {
	if c.dirty.CompareAndSwap(false, true) {
		c.saver.mu.Lock()
		c.saver.dirty = append(c.saver.dirty, c)
		c.saver.mu.Unlock()
	}
}

// cursorSaver collects the cursors that moved.
type cursorSaver struct {
	log   *Log
	turn  chan struct{} // has room for one: held while a flush runs
	mu    sync.Mutex
	dirty []*AckCursor // may name a cursor twice; AckCursor.dirty decides
	spare []*AckCursor
}

func (s *cursorSaver) init(l *Log) { s.log, s.turn = l, make(chan struct{}, 1) }

// take waits until no flush runs. release ends what it began.
func (s *cursorSaver) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *cursorSaver) release() { <-s.turn }

// flush saves what moved since the last flush. What could not be saved is
// kept for the next.
func (s *cursorSaver) flush(ctx context.Context) error {
	const chunk = 2000
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.release()
	s.mu.Lock()
	moved := s.dirty
	s.dirty, s.spare = s.spare[:0], nil
	s.mu.Unlock()
	for from := 0; from < len(moved); from += chunk {
		part := moved[from:min(from+chunk, len(moved))]
		if err := s.save(ctx, part); err != nil {
			s.mu.Lock()
			s.dirty = append(s.dirty, moved[from+len(part):]...)
			s.mu.Unlock()
			return err
		}
	}
	clear(moved)
	s.mu.Lock()
	s.spare = moved[:0]
	s.mu.Unlock()
	return nil
}

// save saves some of the cursors that moved, in one call.
func (s *cursorSaver) save(ctx context.Context, moved []*AckCursor) error {
	at := make([]CursorAt, 0, len(moved))
	took := moved[:0]
	for _, c := range moved {
		// dirty goes before seq is read: a later move queues it again.
		if c.dirty.CompareAndSwap(true, false) && !c.closed.Load() {
			at, took = append(at, c.at()), append(took, c)
		}
	}
	if len(at) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	at = newestCursors(at)
	err := s.log.saveCursors(ctx, at)
	if err != nil {
		for _, c := range took {
			c.MarkDirty()
		}
	}
	return err
}

func (c *AckCursor) at() CursorAt {
	return CursorAt{Key: *c.key, Cursor: Cursor{Stream: c.stream, Seq: c.seq.Load()}}
}

// saveCursors saves cursors, which name each place once. What a device has got
// of a small conversation is told to its members as "delivered"; that it could
// not be is no failure: the next acknowledgement says it again.
func (l *Log) saveCursors(ctx context.Context, at []CursorAt) error {
	if err := again(ctx, func() error { return l.store.SaveCursors(ctx, at) }); err != nil {
		return err
	}
	moves := make([]Move, 0, len(at))
	for _, c := range at {
		if conversation := c.Stream.Conversation(); conversation != "" && c.Seq > 0 {
			moves = append(moves, Move{MemberKey: MemberKey{conversation, c.Key.UserID}, Delivered: c.Seq, Small: true})
		}
	}
	if len(moves) == 0 {
		return nil
	}
	if _, err := l.moveReceipts(ctx, moves); err != nil {
		l.cfg.Logger.Warn("saving what was delivered failed", "receipts", len(moves), "error", err)
	}
	return nil
}

// newestCursors keeps the highest seq of each session and stream: two
// connections of one session may follow each other within a second.
func newestCursors(at []CursorAt) []CursorAt {
	type place struct {
		key    SessionKey
		stream chat.StreamID
	}
	index := make(map[place]int, len(at))
	kept := at[:0]
	for _, c := range at {
		p := place{c.Key, c.Stream}
		if i, ok := index[p]; ok {
			kept[i].Seq = max(kept[i].Seq, c.Seq)
			continue
		}
		index[p] = len(kept)
		kept = append(kept, c)
	}
	return kept
}

// FlushCursors saves the cursors that moved, now, together with those of
// others who ask at the same time. When it answers nil, what they reached is
// in the store, and nothing of them is on its way there.
func (l *Log) FlushCursors(ctx context.Context, cursors []*AckCursor) error {
	// A flush that runs may have taken some of them, and not saved them yet.
	if err := l.cursors.take(ctx); err != nil {
		return err
	}
	var at []CursorAt
	var took []*AckCursor
	for _, c := range cursors {
		if c.dirty.CompareAndSwap(true, false) && !c.closed.Load() {
			at, took = append(at, c.at()), append(took, c)
		}
	}
	l.cursors.release()
	_, err := l.saves.doAll(ctx, at)
	if err != nil {
		for _, c := range took {
			c.MarkDirty()
		}
	}
	return err
}
