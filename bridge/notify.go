package bridge

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Notify makes notifications: all of them, or with an error none. out has an
// answer for each draft. When the error is chat.CodeUnavailable they may stand
// all the same: repeating those that have a clientId is safe.
func (l *Log) Notify(ctx context.Context, drafts []chat.Draft) (out []Noticed, err error) {
	users := make([]string, len(drafts))
	for i := range drafts {
		d := &drafts[i]
		users[i] = d.Stream.User()
		if d.ID = newID(); d.ClientID == "" {
			d.ClientID = ServerClientID(d.ID)
		}
	}
	before := l.tails.marks()
	out = make([]Noticed, len(drafts))
	err = again(ctx, func() error { return l.store.Notify(ctx, l.now(), drafts, out) })
	if err != nil {
		l.recount(users...) // they may stand all the same
		return nil, err
	}
	l.noticed(out, before)
	return out, nil
}

// noticed makes known what became of drafts, to those who follow the streams
// and to those who want to know how many are unread.
func (l *Log) noticed(out []Noticed, before marks) {
	var users []string
	for i := range out {
		o := &out[i]
		l.metrics.noticed(o)
		if o.Skipped != Wanted || o.Repeat {
			continue
		}
		l.tails.appendNotice(&o.Entry, before)
		users = append(users, o.Entry.Stream.User())
	}
	if len(users) > 0 {
		l.recount(users...)
	}
	for i := range out {
		if o := &out[i]; o.Took > 0 {
			l.tails.mark(o.Entry.Stream, 0, o.Took)
		}
	}
}

// ReadNotifications takes notifications of a user out of the unread ones, and
// answers how many are left.
func (l *Log) ReadNotifications(ctx context.Context, user string, which chat.ReadMarks) (uint64, error) {
	var m Marked
	err := again(ctx, func() (err error) {
		m, err = l.store.ReadNotifications(ctx, user, which)
		return err
	})
	stream := chat.NotificationStream(user)
	switch {
	case errors.Is(err, ErrUnavailable): // they may be read all the same
		l.tails.doubt(stream)
		l.recount(user)
	case err == nil && (m.UpTo > 0 || len(m.Seqs) > 0):
		l.tails.mark(stream, m.UpTo, m.Seqs...)
		l.recount(user)
	}
	return m.Unread, err
}

// UnreadNotifications answers how many notifications of each user are unread.
func (l *Log) UnreadNotifications(ctx context.Context, users []string) ([]uint64, error) {
	return l.store.UnreadNotifications(ctx, users)
}

// UnreadObserver is told whose count of unread notifications may have changed.
// Recount is called after the change on goroutines of the log: it must not
// block. The count is to be read after that, for changes may be noticed in
// another order than they were made in.
type UnreadObserver interface{ Recount(users ...string) }

// ObserveUnread has o told from now on.
func (l *Log) ObserveUnread(o UnreadObserver) { l.counted.Store(&o) }

func (l *Log) recount(users ...string) {
	if o := l.counted.Load(); o != nil {
		(*o).Recount(users...)
	}
}

// Notifications answers a page of a user's notifications; see
// Notices.Notifications.
func (l *Log) Notifications(ctx context.Context, user string, before uint64, unread bool, limit int) ([]chat.Entry, error) {
	return l.store.Notifications(ctx, user, before, unread, limit)
}

// Preferences answers which notifications a user wants.
func (l *Log) Preferences(ctx context.Context, user string) (Preferences, error) {
	return l.store.Preferences(ctx, user)
}

// EachPreferences tells which notifications those users want who have set
// that; see Notices.EachPreferences.
func (l *Log) EachPreferences(ctx context.Context, users []string, each func(user string, p *Preferences)) error {
	return l.store.EachPreferences(ctx, users, each)
}

// SavePreferences sets which notifications a user wants; see
// Preferences.Check.
func (l *Log) SavePreferences(ctx context.Context, user string, p Preferences) error {
	if err := p.Check(); err != nil {
		return err
	}
	return again(ctx, func() error { return l.store.SavePreferences(ctx, user, p) })
}

const (
	// someMentions are the messages whose mentions one transaction deals
	// with: 1,000 notifications at the most.
	someMentions = chat.MaxNotices / chat.MaxMentions
	// mentionsRetry is after how long mentions are tried again that could not
	// be told.
	mentionsRetry = time.Second
)

// mentions tells those who are mentioned, as long as the log lives: when a
// message was committed that mentions somebody, and now and then, for what
// another process left behind.
func (l *Log) mentions() {
	ticker := time.NewTicker(l.cfg.SweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.house.Done():
			return
		case <-l.mentioned:
		case <-ticker.C:
		}
		for l.house.Err() == nil {
			more, err := l.tellMentions(l.house)
			if err == nil && !more {
				break
			}
			if err == nil {
				continue
			}
			if l.house.Err() == nil {
				l.cfg.Logger.Warn("telling who is mentioned failed, will be tried again", "error", err)
			}
			select {
			case <-l.house.Done():
			case <-time.After(mentionsRetry):
			}
		}
	}
}

// mentionsCame has mentions look for what is due.
func (l *Log) mentionsCame() {
	select {
	case l.mentioned <- struct{}{}:
	default:
	}
}

func (l *Log) tellMentions(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var took int
	var out []Noticed
	before := l.tails.marks()
	err = again(ctx, func() (err error) {
		took, out, err = l.store.NotifyMentions(ctx, l.now(), someMentions, newID)
		return err
	})
	if err == nil {
		l.noticed(out, before)
	}
	return took == someMentions, err
}

// marks counts, by shard of the tails, what made notifications read. An entry
// that was committed while its shard's count stayed the same is as unread as
// it says.
type marks [tailShards]uint64

func (ts *tails) marks() (m marks) {
	for i := range ts.shards {
		m[i] = ts.shards[i].marked.Load()
	}
	return m
}

// appendNotice makes a notification known that was committed since before.
func (ts *tails) appendNotice(e *chat.Entry, before marks) {
	t := ts.find(e.Stream)
	if t == nil {
		return
	}
	at := ts.place(e.Stream)
	t.mu.Lock()
	if ts.shards[at].marked.Load() == before[at] {
		t.add(&Item{Entry: *e})
	} else if e.Seq > t.last && !t.over { // it may be read by now: the store knows
		t.skip()
		t.last = e.Seq
	}
	t.mu.Unlock()
	t.wakeAll()
}

// mark has notifications of a stream be read: those up to a seq, and those
// with seqs.
func (ts *tails) mark(stream chat.StreamID, upTo uint64, seqs ...uint64) {
	ts.marked(stream, func(t *tail) {
		for i, it := range t.items {
			if it.Notice == nil || it.Notice.Read || it.Seq > upTo && !slices.Contains(seqs, it.Seq) {
				continue
			}
			read := *it.Notice
			read.Read = true
			marked := &Item{Entry: it.Entry}
			marked.Notice = &read
			t.items[i] = marked
		}
	})
}

// doubt gives up what memory holds of a stream: some of it may be read.
func (ts *tails) doubt(stream chat.StreamID) { ts.marked(stream, (*tail).clear) }

// marked counts first: who appends after that asks the store.
func (ts *tails) marked(stream chat.StreamID, change func(t *tail)) {
	ts.shard(stream).marked.Add(1)
	t := ts.find(stream)
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erased++ // what was read from the store before is not sent nor kept
	change(t)
}
