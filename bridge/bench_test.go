package bridge

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// atOnce is a Store that commits at once and keeps nothing.
type atOnce struct {
	Store
	seq uint64
}

func (s *atOnce) Lanes() int { return 1 }

func (s *atOnce) Commit(_ context.Context, now time.Time, drafts []chat.Draft, out []Outcome) error {
	for i := range drafts {
		s.seq++
		out[i] = Outcome{ID: drafts[i].ID, Seq: s.seq, CreatedAt: now}
	}
	return nil
}

func benchLog(b *testing.B) *Log {
	l := New(Config{Store: &atOnce{}, HeadEvery: time.Hour, SweepEvery: time.Hour})
	b.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return l
}

// resend is a submission that is sent again and again, as one of a pool is.
type resend struct {
	Submission
	log   *Log
	draft chat.Draft
	left  *atomic.Int64
	done  chan struct{}
}

func (r *resend) submit() {
	r.Submission = Submission{Draft: r.draft, Done: r}
	r.log.Submit(&r.Submission)
}

func (r *resend) Committed(*Submission) {
	if r.left.Add(-1) >= 0 {
		r.submit()
		return
	}
	r.done <- struct{}{}
}

// BenchmarkSubmit is one send after the other.
func BenchmarkSubmit(b *testing.B) {
	for name, clientID := range map[string]string{"clientId": "a-1", "none": ""} {
		b.Run(name, func(b *testing.B) { benchSends(b, 1, clientID, false) })
	}
}

// BenchmarkLane has 1,000 sends under way, of 50 streams.
func BenchmarkLane(b *testing.B) {
	for name, followed := range map[string]bool{"followed": true, "unfollowed": false} {
		b.Run(name, func(b *testing.B) { benchSends(b, 1000, "a-1", followed) })
	}
}

func benchSends(b *testing.B, window int, clientID string, followed bool) {
	l := benchLog(b)
	if followed {
		for i := range 50 {
			w := l.Watch(chat.ConversationStream(fmt.Sprint(i)), wakes{})
			defer w.Close()
		}
	}
	var left atomic.Int64
	left.Store(int64(b.N - window))
	done := make(chan struct{}, window)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range window {
		r := &resend{log: l, left: &left, done: done,
			draft: message(chat.ConversationStream(fmt.Sprint(i%50)), fmt.Sprint(i), clientID, "see you at eight, bring the maps")}
		r.submit()
	}
	for range window {
		<-done
	}
}

func BenchmarkTailAppend(b *testing.B) {
	w := bareLog(nil).Watch(room, wakes{})
	items := make([]Item, 4096)
	var seq uint64
	b.ReportAllocs()
	for b.Loop() {
		it := &items[seq%4096] // the one before has been dropped
		it.Type = chat.TypeMessage
		seq++
		it.Seq = seq
		w.tail.append(it)
	}
}

func BenchmarkTailRead(b *testing.B) {
	for _, n := range []int{1, 32} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := bareLog(nil).Watch(room, wakes{})
			w.Learn(0)
			for seq := range uint64(100) {
				w.tail.append(item(seq+1, "hi"))
			}
			dst := make([]*Item, 0, 32)
			b.ReportAllocs()
			for b.Loop() {
				if got, _ := w.Read(10, n, dst); len(got) != n {
					b.Fatal(len(got))
				}
			}
		})
	}
}

func BenchmarkFrame(b *testing.B) {
	it := item(1, "see you at eight, bring the maps")
	encode := func(e *chat.Entry) []byte { return e.AppendJSON(make([]byte, 0, 512)) }
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			it.Frame(1, encode)
		}
	})
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			it.frames[1].Store(nil)
			it.Frame(1, encode)
		}
	})
}

func BenchmarkWake(b *testing.B) {
	l := bareLog(nil)
	for range 1000 {
		l.Watch(room, wakes{})
	}
	t := l.tails.find(room)
	b.ReportAllocs()
	for b.Loop() {
		t.wakeAll()
	}
}

func BenchmarkCursorAdvance(b *testing.B) {
	l := &Log{}
	l.cursors.init(l)
	c := l.Cursor(&SessionKey{alice, "phone"}, room, 0)
	var seq uint64
	b.ReportAllocs()
	for b.Loop() {
		seq++
		c.Advance(seq)
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newID()
	}
}

// BenchmarkWatch is a follower that comes and goes.
func BenchmarkWatch(b *testing.B) {
	l := bareLog(nil)
	b.ReportAllocs()
	for b.Loop() {
		l.Watch(room, wakes{}).Close()
	}
}
