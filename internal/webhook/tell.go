package webhook

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// chunk is how many entries a worker tells of one conversation before it
	// takes the next.
	chunk = 64
	// fresh is how long it tells what it has read. After that it reads again:
	// another process may have erased something.
	fresh = 2 * time.Second
)

// work tells what the queue has, until it is closed.
func (d *Dispatcher) work() {
	for {
		j := d.queue.take()
		if j == nil {
			return
		}
		r := run{d: d, j: j, began: time.Now()}
		e := r.run(d.ctx)
		if d.queue.over(j) { // its place is that of another conversation's stream
			d.places.forget(j.stream)
		}
		d.queue.done(j, e, r.began)
	}
}

// run tells the next entries of one conversation.
type run struct {
	d      *Dispatcher
	j      *job
	began  time.Time // when the last request began
	watch  *bridge.Watch
	erased uint64 // what watch.Erased was before the entries were read
	read   time.Time
	passed int // events that were told, or are not wanted

	members    []string // of the conversation but for who joined later, by the time they joined
	joined     []uint64
	hasMembers bool
	disturb    map[string]bool // whether a user wants to hear of the conversation, as far as was asked
}

// deaf watches to be told of deletes, not to be woken.
type deaf struct{}

func (deaf) Wake() {}

func (r *run) run(ctx context.Context) end {
	d, stream := r.d, r.j.stream
	place, err := d.places.get(ctx, stream)
	if err != nil {
		return r.broken(err)
	}
	r.watch = d.cfg.Log.Watch(stream, deaf{})
	defer r.watch.Close()
	r.erased, r.read = r.watch.Erased(), time.Now()
	items, where := r.watch.Read(place, chunk, nil)
	switch where {
	case bridge.CaughtUp, bridge.Gone:
		return end{how: caughtUp}
	case bridge.InStore:
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		read, err := d.cfg.Log.Read(ctx, []bridge.Range{{Stream: stream, After: place, Limit: chunk}})
		cancel()
		if err != nil {
			return r.broken(err)
		}
		items = read[0]
	case bridge.InTail:
	}
	for _, it := range items {
		if e, told := r.entry(ctx, &it.Entry); !told {
			return e
		}
		d.places.set(stream, it.Seq)
	}
	if len(items) < chunk {
		return end{how: caughtUp}
	}
	return end{how: more}
}

// broken is the end of a run that got no answer of the store.
func (r *run) broken(err error) end {
	if r.d.ctx.Err() == nil {
		r.d.warned.warn("webhooks cannot read the log, will be tried again", "error", err)
	}
	return end{how: broken}
}

// about makes an event, if there is anything to tell.
type about func() (ev event, some bool, err error)

// entry tells one entry; false says why it was not told to its end.
func (r *run) entry(ctx context.Context, e *chat.Entry) (end, bool) {
	d, j := r.d, r.j
	if j.seq != e.Seq {
		j.seq, j.told, j.refused = e.Seq, 0, time.Time{}
	}
	d.queue.at(j, e.Seq, e.CreatedAt)
	n := 0 // events of the entry so far
	tell := func(wanted bool, about about) (end, bool) {
		n++
		if n <= j.told {
			return end{}, true
		}
		if !r.current() {
			return end{how: more}, false
		}
		if wanted {
			ev, some, err := about()
			if err != nil {
				return r.broken(err), false
			}
			if some {
				if e, took := r.try(ctx, ev); !took {
					return e, false
				}
			}
		}
		j.told, j.refused = n, time.Time{}
		r.passed++
		return end{}, true
	}
	switch e.Type {
	case chat.TypeMessage:
		stop, told := tell(d.wanted[MessageCreated], func() (event, bool, error) { return messageCreated(e), true, nil })
		if !told || !d.wanted[UserOfflineMessage] || e.Deleted {
			return stop, told
		}
		return r.offline(ctx, e, tell)
	case chat.TypeJoin:
		return tell(d.wanted[MemberJoined], func() (event, bool, error) { return memberChanged(MemberJoined, e), true, nil })
	case chat.TypeLeave:
		return tell(d.wanted[MemberLeft], func() (event, bool, error) { return memberChanged(MemberLeft, e), true, nil })
	}
	return end{}, true
}

// current reports whether what was read may still be sent: nothing was erased
// since. The first is sent however long reading took, so that there is an end.
func (r *run) current() bool {
	return r.watch.Erased() == r.erased && (r.passed == 0 || time.Since(r.read) < fresh)
}

// offline tells which members have no live session now, but for those who do
// not want to hear of the conversation. Who is in which part does not hang on
// who is connected: so a part that is sent again is the same part.
func (r *run) offline(ctx context.Context, e *chat.Entry, tell func(bool, about) (end, bool)) (end, bool) {
	if err := r.loadMembers(ctx); err != nil {
		return r.broken(err), false
	}
	for part := 0; part*maxUsers < len(r.members); part++ {
		from := part * maxUsers
		stop, told := tell(true, func() (event, bool, error) {
			var users []string
			for i := from; i < min(from+maxUsers, len(r.members)); i++ {
				if user := r.members[i]; user != e.SenderID && r.joined[i] <= e.Seq && !r.d.cfg.Presence.Connected(user) {
					users = append(users, user)
				}
			}
			users, err := r.willing(ctx, users)
			return offlineMessage(e, part, users), len(users) > 0, err
		})
		if !told {
			return stop, false
		}
	}
	return end{}, true
}

// willing leaves out the users who do not want to hear of the conversation
// now. All whom the run has not asked about are looked up at once.
func (r *run) willing(ctx context.Context, users []string) ([]string, error) {
	var unknown []string
	for _, user := range users {
		if _, known := r.disturb[user]; !known {
			unknown = append(unknown, user)
		}
	}
	if len(unknown) > 0 {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		now, conversation := r.d.cfg.Now(), r.j.stream.Conversation()
		unwilling := make(map[string]bool)
		err := r.d.cfg.Log.EachPreferences(ctx, unknown, func(user string, p *bridge.Preferences) {
			unwilling[user] = p.SkipAbout(now, conversation) != bridge.Wanted
		})
		if err != nil {
			return nil, err
		}
		if r.disturb == nil {
			r.disturb = make(map[string]bool, len(unknown))
		}
		for _, user := range unknown {
			r.disturb[user] = !unwilling[user]
		}
	}
	return slices.DeleteFunc(users, func(user string) bool { return !r.disturb[user] }), nil
}

// loadMembers reads the members once for all entries of the run.
func (r *run) loadMembers(ctx context.Context) error {
	if r.hasMembers {
		return nil
	}
	const page = 2000
	r.members, r.joined = nil, nil
	for after, id := uint64(0), r.j.stream.Conversation(); ; {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		found, err := r.d.cfg.Log.Members(ctx, id, after, page)
		cancel()
		var known *chat.Error
		if errors.As(err, &known) && known.Code == chat.CodeNotFound {
			break // it was deleted just now
		}
		if err != nil {
			return err
		}
		for _, m := range found {
			r.members, r.joined = append(r.members, m.UserID), append(r.joined, m.JoinedSeq)
			after = m.JoinedSeq
		}
		if len(found) < page {
			break
		}
	}
	r.hasMembers = true
	return nil
}

// try sends an event once; false says why it is to be sent again.
func (r *run) try(ctx context.Context, ev event) (end, bool) {
	d, j := r.d, r.j
	if ctx.Err() != nil {
		return end{how: broken}, false
	}
	r.began = time.Now()
	d.metrics.inflight.Inc()
	fail := d.sender.send(ctx, ev)
	d.metrics.inflight.Dec()
	if fail != nil && ctx.Err() != nil { // cut by Close
		return end{how: broken}, false
	}
	d.metrics.seconds.Observe(time.Since(r.began).Seconds())
	if fail == nil {
		d.metrics.delivered.WithLabelValues(ev.kind).Inc()
		d.queue.reached(j, true)
		return end{}, true
	}
	d.metrics.failures.WithLabelValues(fail.reason).Inc()
	if fail.how == refused {
		if j.refused.IsZero() {
			j.refused = r.began
		}
		d.queue.reached(j, false)
		if time.Since(j.refused) >= d.cfg.GiveUp {
			d.metrics.givenUp.Inc()
			d.cfg.Logger.Error("a webhook was given up, the event is skipped", "event", ev.kind, "id", ev.id,
				"conversation", j.stream.Conversation(), "reason", fail.Error())
			return end{}, true
		}
	}
	d.warned.warn("a webhook failed, will be tried again", "event", ev.kind, "id", ev.id,
		"reason", fail.reason, "status", fail.status)
	return end{how: fail.how, after: fail.after}, false
}
