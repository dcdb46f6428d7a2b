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
	mu    sync.Mutex
	dirty []*AckCursor
	spare []*AckCursor
}

func (s *cursorSaver) init(l *Log) { s.log = l }

// flush saves what moved since the last flush. What could not be saved is
// kept for the next.
func (s *cursorSaver) flush(ctx context.Context) error {
	const chunk = 2000
	s.mu.Lock()
	moved := s.dirty
	s.dirty, s.spare = s.spare[:0], nil
	s.mu.Unlock()
	at := make([]CursorAt, 0, min(chunk, len(moved)))
	for from := 0; from < len(moved); from += chunk {
		part := moved[from:min(from+chunk, len(moved))]
		at = at[:0]
		for _, c := range part {
			c.dirty.Store(false) // before reading seq: a later move queues it again
			if !c.closed.Load() {
				at = append(at, c.at())
			}
		}
		if err := s.log.store.SaveCursors(ctx, newestCursors(at)); err != nil {
			for _, c := range moved[from:] {
				c.dirty.Store(false)
				c.MarkDirty()
			}
			return err
		}
	}
	clear(moved)
	s.mu.Lock()
	s.spare = moved[:0]
	s.mu.Unlock()
	return nil
}

func (c *AckCursor) at() CursorAt {
	return CursorAt{Key: *c.key, Cursor: Cursor{Stream: c.stream, Seq: c.seq.Load()}}
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
// others who ask at the same time.
func (l *Log) FlushCursors(ctx context.Context, cursors []*AckCursor) error {
	var at []CursorAt
	for _, c := range cursors {
		if c.dirty.Load() && !c.closed.Load() {
			at = append(at, c.at())
		}
	}
	_, err := l.saves.doAll(ctx, at)
	return err
}
