package model_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// fault is what goes wrong in one call.
type fault int

const (
	faultAgain       fault = iota // nothing is written: try again
	faultUnavailable              // nothing is written: the database is away
	faultLost                     // it is written, and the answer is lost
	faultSlow                     // it is written, and the answer comes behind that of another call
)

var errDead = errors.New("the process is dead")

// faulty is a store that fails when it is told to, and that can die as a
// process dies: from then on nothing is written. It keeps cursors back, as a
// process does until it saves them, so that they die too.
type faulty struct {
	bridge.Store

	mu      sync.Mutex
	dead    bool
	faults  []fault // of the next commits and changes of members
	dieIn   int     // commits until it dies, 0 for never
	dieLast bool    // the last commit is still written
	direct  bool    // cursors go to the store at once
	held    map[place]uint64
	told    map[place]uint64 // the cursors as the server has saved them
	news    chan struct{}    // closed when told changes
	wrote   chan struct{}    // closed when a call has written
}

type place struct {
	key    bridge.SessionKey
	stream chat.StreamID
}

func newFaulty(store bridge.Store, direct bool) *faulty {
	return &faulty{Store: store, direct: direct, held: make(map[place]uint64),
		told: make(map[place]uint64), news: make(chan struct{}), wrote: make(chan struct{})}
}

func (f *faulty) die() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// dieAfter has it die with a commit to come; written says whether that is
// written still.
func (f *faulty) dieAfter(commits int, written bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dieIn, f.dieLast = commits, written
}

func (f *faulty) fail(faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, faults...)
}

func (f *faulty) gone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// next answers the fault of a call, or -1.
func (f *faulty) next() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.faults) == 0 {
		return -1
	}
	next := f.faults[0]
	f.faults = f.faults[1:]
	return next
}

// lastCommit counts a commit. It says whether the process dies with it, and
// whether it is written.
func (f *faulty) lastCommit() (last, written bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return true, false
	}
	if f.dieIn == 0 {
		return false, true
	}
	if f.dieIn--; f.dieIn > 0 {
		return false, true
	}
	f.dead = true
	return true, f.dieLast
}

// linger holds an answer back until another call has had its own, if one
// comes soon: the server must not rely on the order.
func (f *faulty) linger() {
	f.mu.Lock()
	wrote := f.wrote
	f.mu.Unlock()
	select {
	case <-wrote:
		<-time.After(time.Millisecond) // so that the other answer is acted upon
	case <-time.After(20 * time.Millisecond):
	}
}

// written notes that a call has written and answers.
func (f *faulty) written() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.wrote)
	f.wrote = make(chan struct{})
}

func (f *faulty) Commit(ctx context.Context, now time.Time, drafts []chat.Draft, out []bridge.Outcome) error {
	if last, written := f.lastCommit(); last {
		if written {
			_ = f.Store.Commit(ctx, now, drafts, out)
			clear(out)
		}
		return errDead
	}
	switch f.next() {
	case faultAgain:
		return bridge.ErrAgain
	case faultUnavailable:
		return bridge.ErrUnavailable
	case faultLost:
		_ = f.Store.Commit(ctx, now, drafts, out)
		clear(out)
		return bridge.ErrUnavailable
	case faultSlow:
		err := f.Store.Commit(ctx, now, drafts, out)
		f.linger()
		return err
	}
	defer f.written()
	return f.Store.Commit(ctx, now, drafts, out)
}

func (f *faulty) PutMember(ctx context.Context, now time.Time, actor bridge.Actor, id, user string, role chat.Role, entryID chat.ID, limits bridge.Limits) (bridge.Member, *chat.Entry, error) {
	next := f.next()
	if next == faultAgain {
		return bridge.Member{}, nil, bridge.ErrAgain
	}
	defer f.end(next)
	return f.Store.PutMember(ctx, now, actor, id, user, role, entryID, limits)
}

func (f *faulty) RemoveMember(ctx context.Context, now time.Time, actor bridge.Actor, id, user string, entryID chat.ID) (chat.Entry, error) {
	next := f.next()
	if next == faultAgain {
		return chat.Entry{}, bridge.ErrAgain
	}
	defer f.end(next)
	return f.Store.RemoveMember(ctx, now, actor, id, user, entryID)
}

func (f *faulty) RenameConversation(ctx context.Context, now time.Time, actor bridge.Actor, id, name string, entryID chat.ID) (chat.Entry, error) {
	next := f.next()
	if next == faultAgain {
		return chat.Entry{}, bridge.ErrAgain
	}
	defer f.end(next)
	return f.Store.RenameConversation(ctx, now, actor, id, name, entryID)
}

// end ends a call that has written.
func (f *faulty) end(next fault) {
	if next == faultSlow {
		f.linger()
	} else {
		f.written()
	}
}

func (f *faulty) Read(ctx context.Context, ranges []bridge.Range) ([][]chat.Entry, error) {
	if f.gone() {
		return nil, errDead
	}
	return f.Store.Read(ctx, ranges)
}

func (f *faulty) SweepSessions(ctx context.Context, now time.Time, limit int) (int, error) {
	if f.gone() {
		return 0, errDead
	}
	return f.Store.SweepSessions(ctx, now, limit)
}

// save moves the cursors of some sessions to the store, of all when none is
// named.
func (f *faulty) save(ctx context.Context, keys ...bridge.SessionKey) error {
	f.mu.Lock()
	if f.dead {
		f.mu.Unlock()
		return errDead
	}
	var at []bridge.CursorAt
	for p, seq := range f.held {
		named := len(keys) == 0
		for _, key := range keys {
			named = named || key == p.key
		}
		if named {
			at = append(at, bridge.CursorAt{Key: p.key, Cursor: bridge.Cursor{Stream: p.stream, Seq: seq}})
			delete(f.held, p)
		}
	}
	f.mu.Unlock()
	if len(at) == 0 {
		return nil
	}
	return f.Store.SaveCursors(ctx, at)
}

// tell notes cursors that the server saves. f.mu is held.
func (f *faulty) tell(key bridge.SessionKey, c bridge.Cursor) {
	p := place{key, c.Stream}
	f.told[p] = max(f.told[p], c.Seq)
	close(f.news)
	f.news = make(chan struct{})
}

// awaitTold waits until the server has saved a cursor.
func (f *faulty) awaitTold(p place, seq uint64, within time.Duration) bool {
	over := time.After(within)
	for {
		f.mu.Lock()
		at, saved := f.told[p]
		news := f.news
		f.mu.Unlock()
		if saved && at >= seq {
			return true
		}
		select {
		case <-news:
		case <-over:
			return false
		}
	}
}

// settle ends the holding: from now on cursors are saved as they come.
func (f *faulty) settle(ctx context.Context) error {
	f.mu.Lock()
	f.direct = true
	f.mu.Unlock()
	return f.save(ctx)
}

func (f *faulty) SaveCursors(ctx context.Context, cursors []bridge.CursorAt) error {
	f.mu.Lock()
	if f.dead {
		f.mu.Unlock()
		return nil
	}
	direct := f.direct
	for _, c := range cursors {
		if !direct {
			p := place{c.Key, c.Stream}
			f.held[p] = max(f.held[p], c.Seq)
		}
	}
	f.mu.Unlock()
	if direct {
		if err := f.Store.SaveCursors(ctx, cursors); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range cursors {
		f.tell(c.Key, c.Cursor)
	}
	return nil
}

func (f *faulty) Sessions(ctx context.Context, keys []bridge.SessionKey) ([]*bridge.Session, error) {
	if err := f.save(ctx, keys...); err != nil {
		return nil, err
	}
	return f.Store.Sessions(ctx, keys)
}

func (f *faulty) SaveSession(ctx context.Context, s bridge.Session) error {
	if err := f.save(ctx, s.Key); err != nil {
		return err
	}
	err := f.Store.SaveSession(ctx, s)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range s.Cursors {
		f.tell(s.Key, c)
	}
	return err
}

func (f *faulty) MarkSessions(ctx context.Context, marks []bridge.SessionMark) error {
	if f.gone() {
		return nil
	}
	for _, m := range marks {
		if err := f.save(ctx, m.Key); err != nil {
			return nil
		}
	}
	return f.Store.MarkSessions(ctx, marks)
}

func (f *faulty) forget(gone func(place) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range f.told {
		if gone(p) {
			delete(f.told, p)
			delete(f.held, p)
		}
	}
}

func (f *faulty) DeleteSession(ctx context.Context, key bridge.SessionKey) error {
	if f.gone() {
		return nil
	}
	f.forget(func(p place) bool { return p.key == key })
	return f.Store.DeleteSession(ctx, key)
}

func (f *faulty) DropCursors(ctx context.Context, key bridge.SessionKey, streams []chat.StreamID) error {
	if f.gone() {
		return nil
	}
	for _, s := range streams {
		f.forget(func(p place) bool { return p == place{key, s} })
	}
	return f.Store.DropCursors(ctx, key, streams)
}
