// Package catchup answers what a user has missed, from a cursor that the
// client keeps: nothing is remembered here.
//
// A cursor names how far the client has each conversation. It stays small
// though a user may have thousands: past mostExact, those that were quiet for
// a while are not named, for the time up to which the client has all says the
// same of them. A time is looked at only for those: up to mostExact, what is
// answered follows from seq alone, whatever the clocks do.
//
// What may be read is decided anew for every answer, from one look at the
// user's memberships: while it is a member, the entries from its own join up
// to its own leave, both included. What was committed by then may be answered
// though the user is removed a moment later.
package catchup

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Log is what is needed of the log. *bridge.Log has it.
type Log interface {
	Now() time.Time
	Places(ctx context.Context, user string) ([]bridge.Place, error)
	ReadPieces(ctx context.Context, pieces []bridge.Piece) ([][]chat.Entry, error)
	OwnMoves(ctx context.Context, user string, pieces []bridge.Piece) ([][]bridge.OwnMove, error)
	SeqsAt(ctx context.Context, at time.Time, pieces []bridge.Piece) ([]uint64, error)
	Line() string
	HeadOf(ctx context.Context, stream chat.StreamID) (bridge.Head, error)
	After(ctx context.Context, r bridge.Range) ([]chat.Entry, error)
	Standings(ctx context.Context, keys []bridge.MemberKey) ([]bridge.Standing, error)
	UnreadNotifications(ctx context.Context, users []string) ([]uint64, error)
}

var _ Log = (*bridge.Log)(nil)

// Bounds are those of a cursor and an answer. What is 0 gets its default.
type Bounds struct {
	Exact  int           // conversations that are all named in a cursor (400)
	Named  int           // conversations that are named at most (1,000)
	Margin time.Duration // how late an entry may become visible, and what clocks may differ by (1 min)
	Bytes  int           // of the entries of one answer, but for the last one (4 MiB)
}

// Answer is what a user has missed.
type Answer struct {
	Conversations []Conversation
	Notifications []chat.Entry
	Unread        uint64 // notifications in all
	Next          string // the cursor of the next question
	Complete      bool   // there is no more for now
}

// Conversation is one with news.
type Conversation struct {
	ID      string
	Head    uint64 // of who has left: its own leave entry
	Read    uint64
	Unread  uint64
	Entries []chat.Entry
}

// Service answers. Its methods may be called from any goroutine.
type Service struct {
	log    Log
	bounds Bounds
}

// New makes a Service.
func New(log Log, b Bounds) *Service {
	setDefault(&b.Exact, 400)
	setDefault(&b.Named, 1000)
	setDefault(&b.Margin, time.Minute)
	setDefault(&b.Bytes, 4<<20)
	b.Named = min(b.Named, mostNamed)
	b.Exact = min(b.Exact, b.Named)
	return &Service{log: log, bounds: b}
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Sync answers at most limit entries that the user has not had at the cursor
// after, in order and without a gap in each conversation, from page to page
// too. Without a cursor there are none: the answer has all conversations and
// how they stand. An error is a *chat.Error that names after where the cursor
// is not one of the user's, or the database was set back since: what it names
// may be other entries by now.
func (s *Service) Sync(ctx context.Context, user, after string, limit int) (*Answer, error) {
	now := s.log.Now()
	line := s.log.Line()
	var at *cursor
	if after != "" {
		var err error
		if at, err = parse(user, line, after); err != nil {
			return nil, err
		}
	}
	// The notifications first: one that is made of a message is then never
	// there without it.
	inbox, err := s.log.HeadOf(ctx, chat.NotificationStream(user))
	if err != nil {
		return nil, err
	}
	places, err := s.log.Places(ctx, user)
	if err != nil {
		return nil, err
	}
	p := &page{Service: s, user: user, now: now, places: places, limit: limit, answer: &Answer{Complete: true}}
	if at == nil {
		p.begin(inbox)
	} else if err := p.goOn(ctx, at, inbox); err != nil {
		return nil, err
	}
	p.answer.Next = p.cursor.encode(user, line)
	if err := p.stand(ctx); err != nil {
		return nil, err
	}
	if s.log.Line() != line { // which of the two was read is not known
		return nil, bridge.ErrUnavailable
	}
	return p.answer, nil
}

// stand adds how the conversations of the answer stand, and the notifications.
func (p *page) stand(ctx context.Context) error {
	unread, err := p.log.UnreadNotifications(ctx, []string{p.user})
	if err != nil {
		return err
	}
	p.answer.Unread = unread[0]
	var keys []bridge.MemberKey
	for _, c := range p.answer.Conversations {
		keys = append(keys, bridge.MemberKey{Conversation: c.ID, UserID: p.user})
	}
	if len(keys) == 0 {
		return nil
	}
	standings, err := p.log.Standings(ctx, keys)
	if err != nil {
		return err
	}
	for i := range p.answer.Conversations {
		c := &p.answer.Conversations[i]
		c.Read, c.Unread = standings[i].Read, standings[i].Unread // 0 of who is not a member
	}
	return nil
}

// span is a part of a conversation that the user may read.
type span struct{ after, upTo uint64 }

// end is how far a user may read now: to the head, or to its own leave.
func end(p *bridge.Place) uint64 {
	if p.Role == chat.RoleNone {
		return p.LeftSeq
	}
	return p.Head.Head
}

// rejoined reports whether the newest stay of the user began after it had all
// up to seq: then moves are needed to know what it may read.
func rejoined(p *bridge.Place, seq uint64) bool { return p.JoinedSeq > seq }

// readable answers what of a conversation behind seq the user may read, of
// what is held. moves are the user's own from there on, where it rejoined.
func readable(p *bridge.Place, seq uint64, moves []bridge.OwnMove) []span {
	var spans []span
	add := func(after, upTo uint64) {
		if after = max(after, p.First-1, p.Floor()); after < upTo {
			spans = append(spans, span{after, upTo})
		}
	}
	if !rejoined(p, seq) {
		add(seq, end(p))
		return spans
	}
	in := p.Role != chat.RoleNone
	if len(moves) > 0 {
		in = !moves[0].Join // the first one ends what was before
	}
	from := seq
	for _, m := range moves {
		switch {
		case m.Join && !in:
			in, from = true, m.Seq-1
		case !m.Join && in:
			in = false
			add(from, m.Seq)
		}
	}
	if in && p.Role != chat.RoleNone {
		add(from, p.Head.Head)
	}
	return spans
}
