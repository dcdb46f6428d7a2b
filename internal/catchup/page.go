package catchup

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// page is one answer in the making.
type page struct {
	*Service
	user   string
	now    time.Time
	places []bridge.Place
	limit  int // entries that may yet come
	bytes  int // that have come
	cursor cursor
	answer *Answer
}

const (
	// batch is how many conversations are looked at together.
	batch = 200
	// chunk is how many entries are read together.
	chunk = 250
)

// begin answers how all stands, without entries.
func (p *page) begin(inbox bridge.Head) {
	p.cursor = cursor{seqs: make(map[name]uint64, len(p.places)), notifications: inbox.Head}
	for i := range p.places {
		pl := &p.places[i]
		p.cursor.seqs[nameOf(pl)] = end(pl)
		if pl.Role != chat.RoleNone {
			p.answer.Conversations = append(p.answer.Conversations, Conversation{ID: pl.Conversation, Head: pl.Head.Head})
		}
	}
	if len(p.places) > p.bounds.Exact {
		p.unname()
	}
}

// unname takes those out of a cursor at the heads that were quiet for long.
func (p *page) unname() {
	places := slices.Clone(p.places)
	slices.SortFunc(places, func(a, b bridge.Place) int { return b.LastAt.Compare(a.LastAt) })
	p.cursor.before = p.now.Add(-p.bounds.Margin)
	for i := range places {
		pl := &places[i]
		if i >= p.bounds.Named && !pl.LastAt.Before(p.cursor.before) {
			p.cursor.before = pl.LastAt
		}
		if i >= p.bounds.Named || quiet(pl, p.cursor.before, p.bounds.Margin) {
			delete(p.cursor.seqs, nameOf(pl))
		}
	}
}

// quiet reports whether a conversation has had nothing new for so long before
// a time that the time says how far it is had.
func quiet(p *bridge.Place, at time.Time, margin time.Duration) bool {
	return !p.LastAt.After(at.Add(-margin))
}

// goOn answers what is behind a cursor.
func (p *page) goOn(ctx context.Context, at *cursor, inbox bridge.Head) error {
	timed := len(p.places) > p.bounds.Exact || !at.before.IsZero() || at.next != ""
	p.cursor = cursor{seqs: maps.Clone(at.seqs), before: at.before, passed: at.passed, next: at.next, notifications: at.notifications}
	if timed && p.cursor.next == "" {
		p.cursor.passed = later(at.before, p.now.Add(-p.bounds.Margin))
	}
	p.forgetDeleted()
	rest := p.places
	if timed {
		for len(rest) > 0 && rest[0].Conversation < at.next {
			rest = rest[1:]
		}
	}
	for len(rest) > 0 {
		some := rest[:min(batch, len(rest))]
		done, err := p.pass(ctx, some, timed)
		if err != nil {
			return err
		}
		if rest = rest[done:]; done < len(some) {
			break
		}
	}
	p.answer.Complete = len(rest) == 0
	if timed && len(rest) > 0 {
		p.cursor.next = rest[0].Conversation
	}
	if timed && len(rest) == 0 {
		p.answer.Complete = at.next == "" || !p.missesPassed(at.next)
		p.cursor.before, p.cursor.passed, p.cursor.next = p.cursor.passed, time.Time{}, ""
	}
	return p.notify(ctx, inbox)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// forgetDeleted takes out of the cursor what is there no more.
func (p *page) forgetDeleted() {
	stand := make(map[name]bool, len(p.places))
	for i := range p.places {
		stand[nameOf(&p.places[i])] = true
	}
	maps.DeleteFunc(p.cursor.seqs, func(n name, _ uint64) bool { return !stand[n] })
}

// missesPassed reports whether conversations that this pass had behind it have
// had news since.
func (p *page) missesPassed(next string) bool {
	for i := range p.places {
		pl := &p.places[i]
		if pl.Conversation >= next {
			return false
		}
		seq, named := p.cursor.seqs[nameOf(pl)]
		if named && seq < end(pl) || !named && pl.LastAt.After(p.cursor.passed) {
			return true
		}
	}
	return false
}

// visit is a conversation with what of it is to be answered.
type visit struct {
	*bridge.Place
	name  name
	seq   uint64 // how far it is had
	spans []span
	short bool // it is answered no further than the time of the pass
}

// pass goes through some conversations, and answers how many it is done with.
// It ends where the answer is full.
func (p *page) pass(ctx context.Context, places []bridge.Place, timed bool) (done int, err error) {
	visits, err := p.visits(ctx, places)
	if err != nil {
		return 0, err
	}
	if timed {
		if err := p.fit(ctx, visits); err != nil {
			return 0, err
		}
	}
	for done < len(visits) {
		read, full, err := p.read(ctx, visits[done:])
		if err != nil {
			return 0, err
		}
		for i := range visits[done : done+read] {
			p.settle(&visits[done+i], timed)
		}
		if done += read; full {
			break
		}
	}
	return done, nil
}

// visits finds out how far each conversation is had, and what may be read.
func (p *page) visits(ctx context.Context, places []bridge.Place) ([]visit, error) {
	visits := make([]visit, len(places))
	var timed []int // those whose seq a time says
	for i := range places {
		v := &visits[i]
		v.Place, v.name = &places[i], nameOf(&places[i])
		seq, named := p.cursor.seqs[v.name]
		switch {
		case named:
			v.seq = min(seq, v.Head.Head)
		case p.cursor.before.IsZero():
		case !v.LastAt.After(p.cursor.before):
			v.seq = v.Head.Head
		default:
			timed = append(timed, i)
		}
	}
	seqs, err := p.seqsAt(ctx, p.cursor.before, visits, timed)
	if err != nil {
		return nil, err
	}
	for j, i := range timed {
		visits[i].seq = seqs[j]
	}
	var back []int
	for i := range visits {
		if rejoined(visits[i].Place, visits[i].seq) {
			back = append(back, i)
		}
	}
	moves := make([][]bridge.OwnMove, len(back))
	if len(back) > 0 {
		if moves, err = p.log.OwnMoves(ctx, p.user, pieces(visits, back, func(v *visit) uint64 { return v.seq })); err != nil {
			return nil, err
		}
	}
	for i := range visits {
		v := &visits[i]
		if len(back) > 0 && back[0] == i {
			v.spans = readable(v.Place, v.seq, moves[0])
			back, moves = back[1:], moves[1:]
			continue
		}
		v.spans = readable(v.Place, v.seq, nil)
	}
	return visits, nil
}

// seqsAt answers how far some of the visits reached at a time.
func (p *page) seqsAt(ctx context.Context, at time.Time, visits []visit, of []int) ([]uint64, error) {
	if len(of) == 0 {
		return nil, nil
	}
	return p.log.SeqsAt(ctx, at, pieces(visits, of, func(v *visit) uint64 { return v.First - 1 }))
}

// pieces are parts of some of the visits, up to their heads.
func pieces(visits []visit, of []int, after func(*visit) uint64) []bridge.Piece {
	all := make([]bridge.Piece, len(of))
	for j, i := range of {
		v := &visits[i]
		all[j] = bridge.Piece{Conversation: v.Conversation, CreatedAt: v.CreatedAt, After: after(v), UpTo: v.Head.Head}
	}
	return all
}

// fit sees to it that the cursor has room for those that are done: where it
// has none, a conversation is answered no further than a time can say. What is
// newer comes with a later question.
func (p *page) fit(ctx context.Context, visits []visit) error {
	room := p.bounds.Named - len(p.cursor.seqs)
	var of []int
	for i := range visits {
		v := &visits[i]
		_, named := p.cursor.seqs[v.name]
		switch {
		case named || quiet(v.Place, p.cursor.passed, p.bounds.Margin):
		case room > 0:
			room--
		default:
			of = append(of, i)
		}
	}
	seqs, err := p.seqsAt(ctx, p.cursor.passed, visits, of)
	if err != nil {
		return err
	}
	for j, i := range of {
		v := &visits[i]
		v.spans, v.short = cut(v.spans, seqs[j]), true
	}
	return nil
}

// cut takes away what is behind a seq.
func cut(spans []span, upTo uint64) []span {
	var kept []span
	for _, s := range spans {
		if s.upTo = min(s.upTo, upTo); s.after < s.upTo {
			kept = append(kept, s)
		}
	}
	return kept
}

// read reads the next entries of the visits and adds them to the answer. It
// says how many visits are done with, and whether the answer is full.
func (p *page) read(ctx context.Context, visits []visit) (done int, full bool, err error) {
	var asked []bridge.Piece
	var of []int // whose visit each piece is
	room := min(chunk, p.limit)
	for i := range visits {
		v := &visits[i]
		for _, s := range v.spans {
			if room == 0 {
				break
			}
			n := int(min(s.upTo-s.after, uint64(room)))
			asked = append(asked, bridge.Piece{Conversation: v.Conversation, CreatedAt: v.CreatedAt,
				After: s.after, UpTo: s.after + uint64(n), Limit: n})
			of = append(of, i)
			room -= n
		}
	}
	if len(asked) > 0 {
		got, err := p.log.ReadPieces(ctx, asked)
		if err != nil {
			return 0, false, err
		}
		for j, entries := range got {
			if p.bytes >= p.bounds.Bytes {
				break
			}
			p.add(&visits[of[j]], &asked[j], entries)
		}
	}
	for done < len(visits) && len(visits[done].spans) == 0 {
		done++
	}
	full = p.limit == 0 || p.bytes >= p.bounds.Bytes
	if full && done < len(visits) { // it is done in part
		v := &visits[done]
		p.cursor.seqs[v.name] = v.seq
	}
	return done, full, nil
}

// add adds the entries of a piece, as many as fit, and moves the visit on.
func (p *page) add(v *visit, asked *bridge.Piece, entries []chat.Entry) {
	whole := len(entries)
	for i := range entries {
		if p.bytes >= p.bounds.Bytes {
			whole = i
			break
		}
		p.bytes += size(&entries[i])
	}
	reached := asked.UpTo
	if whole < len(entries) {
		reached = entries[whole].Seq - 1
	}
	// Fewer than were asked for: what is missing was trimmed, or all of the
	// conversation was deleted, since its place was looked up.
	if entries = entries[:whole]; len(entries) > 0 {
		p.limit -= len(entries)
		all := &p.answer.Conversations
		if last := len(*all) - 1; last >= 0 && (*all)[last].ID == v.Conversation {
			(*all)[last].Entries = append((*all)[last].Entries, entries...)
		} else {
			*all = append(*all, Conversation{ID: v.Conversation, Head: end(v.Place), Entries: entries})
		}
	}
	v.seq = reached
	if v.spans[0].after = reached; reached >= v.spans[0].upTo {
		v.spans = v.spans[1:]
	}
}

// size is about what an entry takes in an answer.
func size(e *chat.Entry) int {
	n := 300 + len(e.Content) + len(e.MediaURL) + len(e.Name) + len(e.Emoji) + len(e.ClientID)
	for _, m := range e.Mentions {
		n += len(m)
	}
	return n
}

// settle notes in the cursor how far a visit that is done has come.
func (p *page) settle(v *visit, timed bool) {
	if v.short || timed && quiet(v.Place, p.cursor.passed, p.bounds.Margin) {
		delete(p.cursor.seqs, v.name) // the time says it
	} else {
		p.cursor.seqs[v.name] = max(v.seq, end(v.Place))
	}
}

// notify adds the notifications behind the cursor, if there is room for them
// yet.
func (p *page) notify(ctx context.Context, inbox bridge.Head) error {
	at := &p.cursor.notifications
	if *at > inbox.Head {
		*at = 0 // the stream is a new one
	}
	for *at < inbox.Head && p.limit > 0 && p.bytes < p.bounds.Bytes {
		n := int(min(inbox.Head-*at, uint64(p.limit), chunk))
		entries, err := p.log.After(ctx, bridge.Range{Stream: chat.NotificationStream(p.user), After: *at, Limit: n})
		if err != nil {
			return err
		}
		for i := range entries {
			p.bytes += size(&entries[i])
		}
		p.answer.Notifications = append(p.answer.Notifications, entries...)
		p.limit -= len(entries)
		if *at = inbox.Head; len(entries) == n {
			*at = entries[n-1].Seq
		}
	}
	p.answer.Complete = p.answer.Complete && *at >= inbox.Head
	return nil
}
