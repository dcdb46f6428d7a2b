package bridge

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// attic is as much of a store as retention needs: streams with their heads.
type attic struct {
	Store
	held  []Held // in order of their names
	owns  []bool // the own of each call of Oldest
	looks int    // streams that were looked at
}

func (a *attic) Oldest(_ context.Context, from, to chat.StreamID, own bool, limit int) (page []Held, err error) {
	a.owns = append(a.owns, own)
	for _, h := range a.held {
		if h.Stream > from && h.Stream < to && len(page) < limit && (!own || h.Own != Retention{}) {
			page = append(page, h)
		}
	}
	a.looks += len(page)
	return page, nil
}

func (a *attic) Trim(_ context.Context, now time.Time, p RetentionPolicy, stream chat.StreamID, limit int) (Head, int, error) {
	for i := range a.held {
		if h := &a.held[i]; h.Stream == stream {
			through, _ := p.For(stream, h.Own).Bounds(now, h.Head.Head)
			n := min(limit, int(max(through+1, h.First)-h.First))
			h.First += uint64(n)
			return h.Head, n, nil
		}
	}
	return Head{}, 0, nil
}

// A round reaches every stream that is too long, however many there are, and a
// turn of it looks at no more than its share.
func TestRetainerGoesRound(t *testing.T) {
	const streams = 2*retainPage*retainPages + 17
	a := &attic{}
	for i := range streams {
		a.held = append(a.held, Held{Stream: chat.ConversationStream(fmt.Sprintf("%06d", i)), Head: Head{Head: 3, First: 1}})
	}
	for i := range 5 {
		a.held = append(a.held, Held{Stream: chat.NotificationStream(fmt.Sprint(i)), Head: Head{Head: 3, First: 1}})
	}
	a.held[streams-1].Head.Head = 3*trimChunk + 1 // more than one transaction
	l := bareLog(a)
	l.cfg.Now = time.Now
	l.cfg.Retention = RetentionPolicy{Conversations: Retention{Count: 1}, Notifications: Retention{Count: 2}}
	r := &retainer{log: l}
	for turn := range 3 {
		a.looks = 0
		if err := r.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.looks > retainPage*retainPages+5 {
			t.Errorf("turn %d looked at %d streams", turn, a.looks)
		}
	}
	for _, h := range a.held {
		keep := uint64(1)
		if h.Stream.Conversation() == "" {
			keep = 2
		}
		if h.Head.Head-h.First+1 != keep {
			t.Fatalf("%s holds %d to %d, want the newest %d", h.Stream, h.First, h.Head.Head, keep)
		}
	}
	// Where nothing holds for all, only those are read that have their own.
	l.cfg.Retention, a.owns = RetentionPolicy{}, nil
	if err := r.turn(t.Context()); err != nil || slices.Contains(a.owns, false) {
		t.Errorf("%v, own: %v", err, a.owns)
	}
}

func TestRetentionPolicy(t *testing.T) {
	hour := Retention{Age: time.Hour}
	p := RetentionPolicy{Conversations: Retention{Age: 2 * time.Hour, Count: 10}, Notifications: Retention{Count: 5}}
	now := time.Now()
	for _, tt := range []struct {
		held Held
		want bool
	}{
		{Held{Stream: "c/c", Head: Head{10, 1}, OldestAt: now}, false},
		{Held{Stream: "c/c", Head: Head{11, 1}, OldestAt: now}, true},
		{Held{Stream: "c/c", Head: Head{11, 2}, OldestAt: now}, false},
		{Held{Stream: "n/u", Head: Head{6, 1}, OldestAt: now}, true},
		{Held{Stream: "n/u", Head: Head{5, 1}, OldestAt: now.Add(-time.Hour * 10000)}, false},
		{Held{Stream: "c/c", Head: Head{3, 1}, OldestAt: now.Add(-2 * time.Hour)}, false},
		{Held{Stream: "c/c", Head: Head{3, 1}, OldestAt: now.Add(-2*time.Hour - 1)}, true},
		{Held{Stream: "c/c", Head: Head{3, 1}, OldestAt: now.Add(-90 * time.Minute), Own: hour}, true},
		{Held{Stream: "c/c", Head: Head{3, 1}, OldestAt: now, Own: Retention{Count: 2}}, true},
		{Held{Stream: "c/c", Head: Head{3, 1}, OldestAt: now, Own: Retention{Count: 20}}, false},
		{Held{Stream: "c/c", Head: Head{300, 301}}, false}, // empty: there is no oldest
		{Held{Stream: "c/c", Head: Head{0, 1}}, false},
	} {
		if got := p.Overdue(&tt.held, now); got != tt.want {
			t.Errorf("%+v: overdue %v", tt.held, got)
		}
	}
}
