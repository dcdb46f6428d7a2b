package client

import (
	"context"
	"errors"
	"sync"
	"time"
)

// feed makes events of what the link brings: the entries of each stream in
// order, once each. There is one way to get what is missing, whatever the
// reason: GET /v1/sync with the cursor of the last time. What comes twice by
// that is known by its seq.
type feed struct {
	c  *Client
	in *inbox
	ch chan Event

	mu     sync.Mutex
	begun  bool
	cursor string // all that came before it was delivered

	// Those below are of run alone, after begin.
	places map[string]*place // by conversation
	notes  place             // of the stream of notifications
	caught bool              // a sync has succeeded: what comes now follows
	lines  int               // how often beginAnew was called
	stale  int               // entries since the last sync
	retry  time.Time         // no sync before that
	fails  int               // syncs that failed, in a row
}

// place is how far a stream was delivered.
type place struct {
	seq  uint64
	id   string    // of the entry, where it is known
	at   time.Time // its time, likewise
	left bool      // it ended with the user's own leave
}

const (
	syncLimit = 500
	// freshen is after how many entries the cursor is brought up to date, so
	// that little comes twice after a loss of the link.
	freshen = 500
	// mostPlaces bounds the places of conversations that were left.
	mostPlaces = 100_000
)

func newFeed(c *Client) *feed {
	return &feed{c: c, in: newInbox(c.o.Buffer), ch: make(chan Event), cursor: c.o.After, places: make(map[string]*place)}
}

// Events is where everything that happens comes: see the package's words on
// what is guaranteed. It is closed when the client has ended, after a last
// Status.
func (c *Client) Events() <-chan Event { return c.feed.ch }

// Cursor is where Options.After of a later client can go on. All that was
// committed before it was received from Events; some of what was received may
// come again. It is empty until there was a connection.
func (c *Client) Cursor() string {
	c.feed.mu.Lock()
	defer c.feed.mu.Unlock()
	return c.feed.cursor
}

// begin finds out where the streams stand, on the first connection. It is
// called with the subscriptions made: what is committed from now on comes.
func (f *feed) begin(conn *conn) error {
	f.mu.Lock()
	begun := f.begun
	f.mu.Unlock()
	if begun {
		return nil
	}
	heads, err := f.c.Sync(conn.ctx, "", 0)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun {
		return nil
	}
	f.begun = true
	if f.cursor == "" {
		f.cursor = heads.NextCursor
	}
	for _, s := range heads.Conversations {
		f.places[s.ID] = &place{seq: s.HeadSeq}
	}
	if f.c.o.After != "" {
		// They were somewhere before; what the first sync brings of them
		// says where.
		for _, p := range f.places {
			p.id = unknown
		}
	}
	f.in.putState("unread", Unread{UnreadCount: heads.Notifications.UnreadCount})
	return nil
}

// unknown stands for the id of a place that the first sync may put back.
const unknown = "?"

func (f *feed) isBegun() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begun
}

// run delivers until the client ends.
func (f *feed) run() {
	ctx := f.c.ctx
	for ctx.Err() == nil {
		conn := f.c.current()
		wait := time.Until(f.retry)
		w, ok := f.in.next(f.caught, conn != nil && wait <= 0 && f.isBegun())
		switch {
		case !ok:
			f.sleep(ctx, wait)
		case w.event != nil:
			f.emit(w.event)
		case w.sync:
			f.sync(conn)
		default:
			f.deliver(w.entry)
		}
	}
}

// sleep waits until there may be work.
func (f *feed) sleep(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		wait = time.Hour
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-f.in.wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (f *feed) emit(e Event) bool {
	select {
	case f.ch <- e:
		return true
	case <-f.c.ctx.Done():
		return false
	}
}

// end closes Events. The last status is given to a reader that is there.
func (f *feed) end(s Status) {
	defer close(f.ch)
	if f.c.o.SendOnly { // nobody reads
		return
	}
	timer := time.NewTimer(lastWord)
	defer timer.Stop()
	select {
	case f.ch <- s:
	case <-timer.C:
	}
}

// lastWord is how long the last status waits for a reader.
const lastWord = 100 * time.Millisecond

// sync fetches what was missed and delivers it.
func (f *feed) sync(conn *conn) {
	if f.c.Status().State != StateOnline {
		f.c.setStatusOf(conn, Status{State: StateSyncing})
	}
	err := f.fetch(conn)
	if cursorRefused(err) {
		err = f.beginAnew(conn)
	}
	if err != nil {
		f.in.wantSync()
		if f.c.ctx.Err() != nil || conn.ctx.Err() != nil {
			return
		}
		f.c.o.Logger.Warn("what was missed could not be fetched", "error", err)
		f.fails++
		f.retry = time.Now().Add(jitter(min(f.c.o.MaxBackoff, f.c.o.MinBackoff<<min(f.fails, 10))))
		return
	}
	f.caught, f.fails, f.stale = true, 0, 0
	f.c.setStatusOf(conn, Status{State: StateOnline})
}

// cursorRefused tells whether the server takes a cursor no more, or never did.
func cursorRefused(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == CodeInvalid && e.Field == "after"
}

// beginAnew puts all places to where the streams stand now, and tells of every
// one that it is to be loaded. A cursor that the server does not take is from
// before a restore of the database, kept by this client or given to it: seqs
// come again then, for other entries, so that the same head says nothing. What
// waits is from before too, or comes with the next sync.
func (f *feed) beginAnew(conn *conn) error {
	f.c.o.Logger.Warn("the server does not take the cursor: it was restored, or the cursor is of another user; beginning anew")
	f.in.dropEntries()
	f.lines++
	heads, err := f.c.Sync(conn.ctx, "", 0)
	if err != nil {
		return err
	}
	had := f.places
	f.places, f.notes = make(map[string]*place, len(heads.Conversations)), place{}
	for _, s := range heads.Conversations {
		f.places[s.ID] = &place{seq: s.HeadSeq}
		if had[s.ID] != nil && !f.emit(Gap{ConversationID: s.ID, First: s.HeadSeq + 1}) {
			return f.c.ctx.Err()
		}
	}
	if !f.emit(Gap{}) {
		return f.c.ctx.Err()
	}
	f.mu.Lock()
	f.cursor = heads.NextCursor // after the gaps: who keeps it has been told
	f.mu.Unlock()
	f.in.putState("unread", Unread{UnreadCount: heads.Notifications.UnreadCount})
	return f.fetch(conn)
}

func (f *feed) fetch(conn *conn) error {
	for {
		f.mu.Lock()
		after := f.cursor
		f.mu.Unlock()
		s, err := f.c.Sync(conn.ctx, after, syncLimit)
		if err != nil {
			return err
		}
		for _, conv := range s.Conversations {
			for _, e := range conv.Entries {
				f.entry(e, true)
			}
		}
		for _, n := range s.Notifications.Entries {
			f.note(n, true)
		}
		if f.c.ctx.Err() != nil {
			return f.c.ctx.Err()
		}
		f.mu.Lock()
		f.cursor = s.NextCursor
		f.mu.Unlock()
		if s.Complete {
			for _, p := range f.places {
				if p.id == unknown {
					p.id = ""
				}
			}
			return nil
		}
	}
}

// deliver delivers an entry that came by itself. Where one before it is
// missing, all that is missing is fetched first.
func (f *feed) deliver(e Event) {
	ok, line := true, f.lines
	for range 2 {
		switch e := e.(type) {
		case Entry:
			ok = f.entry(e, !ok)
		case Notification:
			ok = f.note(e, !ok)
		}
		conn := f.c.current()
		if ok {
			break
		}
		if conn == nil || time.Until(f.retry) > 0 {
			f.in.wantSync() // which brings this one too
			return
		}
		if f.sync(conn); f.fails > 0 || conn.ctx.Err() != nil || f.lines != line {
			return
		}
	}
	if f.stale++; f.stale == freshen {
		f.in.wantSync()
	}
}

// entry delivers an entry, unless it was delivered before. false means that
// one before it is missing; sure says that it cannot be had.
func (f *feed) entry(e Entry, sure bool) bool {
	me := f.c.UserID()
	ownJoin := e.Type == TypeJoin && e.UserID == me
	p := f.places[e.ConversationID]
	switch {
	case p == nil:
		if !sure && !ownJoin && e.Seq > 1 {
			return false
		}
		p = &place{}
		f.remember(e.ConversationID, p)
	case p.id == unknown && sure: // the first sync says where it was
	case e.Seq <= p.seq:
		if !p.anew(e, ownJoin) {
			return true // had before
		}
		if !ownJoin {
			f.emit(Gap{ConversationID: e.ConversationID, First: e.Seq})
		}
	case e.Seq == p.seq+1:
	case !sure:
		return false
	case !ownJoin: // which begins another stay
		f.emit(Gap{ConversationID: e.ConversationID, First: e.Seq})
	}
	p.seq, p.id, p.at = e.Seq, e.ID, e.CreatedAt
	p.left = e.Type == TypeLeave && e.UserID == me
	f.emit(e)
	return true
}

// anewAfter is how much later an entry must be than one with a higher seq to
// be of another conversation with the same id. Clocks of servers differ.
const anewAfter = time.Minute

// anew tells whether an entry that is not above the place is of a conversation
// that was deleted and made again: then it is later than what was delivered.
// The ids of entries tell the time, finer than needed for the user's own join,
// of which there is one a stay. Where nothing was delivered there is no id, and
// the join cannot come for the second time.
func (p *place) anew(e Entry, ownJoin bool) bool {
	if ownJoin && (p.id == "" || len(p.id) == len(e.ID) && e.ID > p.id) {
		return true
	}
	return !p.at.IsZero() && e.CreatedAt.Sub(p.at) > anewAfter
}

// remember keeps a place, and forgets some where there are too many: of a
// user in fewer conversations those that it has left.
func (f *feed) remember(conversation string, p *place) {
	if len(f.places) >= mostPlaces {
		for id, old := range f.places {
			if old.left {
				delete(f.places, id)
			}
		}
	}
	f.places[conversation] = p
}

// note is entry for notifications.
func (f *feed) note(n Notification, sure bool) bool {
	p := &f.notes
	switch {
	case p.seq == 0: // whatever is first
	case n.Seq <= p.seq:
		return true
	case n.Seq == p.seq+1:
	case !sure:
		return false
	default:
		f.emit(Gap{First: n.Seq})
	}
	p.seq = n.Seq
	f.emit(n)
	return true
}
