package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestIdleCommitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		l := newLog(t, store, Config{})
		for i := range 3 {
			begun := time.Now()
			out, err := l.Commit(t.Context(), message(room, alice, "", "hi"))
			if err != nil || out.Seq != uint64(3+i) || out.Repeat {
				t.Fatalf("got %+v, %v", out, err)
			}
			if waited := time.Since(begun); waited != 0 {
				t.Errorf("an idle server waited %v", waited)
			}
			store.stands(t, room, "hi", out)
		}
		if calls := store.calls(); !slices.Equal(calls, []int{1, 1, 1}) {
			t.Errorf("commits of %v drafts", calls)
		}
	})
}

func TestBatchWhileACommitRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onCommit = func(_ context.Context, call int, _ []chat.Draft) fault {
			if call == 1 {
				g.pass()
			}
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		for i := range 100 {
			r.submit(fmt.Sprint(i), message(room, alice, "", "hi"))
			synctest.Wait()
		}
		g.open()
		synctest.Wait()
		r.committed(store, room)
		if calls := store.calls(); !slices.Equal(calls, []int{1, 99}) {
			t.Errorf("commits of %v drafts", calls)
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onCommit = func(_ context.Context, call int, drafts []chat.Draft) fault {
			if call == 1 {
				g.pass()
			}
			bytes := 0
			for _, d := range drafts {
				bytes += len(d.Content)
			}
			if len(drafts) > maxBatch || bytes > maxBatchBytes+chat.MaxContent {
				t.Errorf("a batch has %d drafts and %d bytes", len(drafts), bytes)
			}
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		long := strings.Repeat("x", chat.MaxContent)
		for i := range 3 * maxBatch {
			content := "short"
			if i > 2*maxBatch {
				content = long
			}
			r.submit(fmt.Sprint(i), message(room, alice, "", content))
		}
		g.open()
		synctest.Wait()
		r.committed(store, room)
		if calls := store.calls(); len(calls) > 10 {
			t.Errorf("too many commits: %v", calls)
		}
	})
}

// Everything of one stream is committed, and told, in the order of Submit.
func TestOrderOfOneStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams, each = 20, 300
		store := newFake(t)
		store.numLanes = 3
		store.onCommit = func(context.Context, int, []chat.Draft) fault {
			time.Sleep(time.Millisecond)
			return fault{}
		}
		l := newLog(t, store, Config{})
		recs := make([]*recorder, streams)
		for i := range recs {
			recs[i] = newRecorder(t, l)
			store.create(fmt.Sprint(i), alice)
		}
		for n := range each {
			for i := range recs {
				recs[i].submit(fmt.Sprint(n), message(chat.ConversationStream(fmt.Sprint(i)), alice, fmt.Sprint(n), fmt.Sprint(n)))
			}
			if n%7 == 0 {
				time.Sleep(300 * time.Microsecond)
			}
		}
		time.Sleep(time.Second)
		want := make([]string, each)
		for n := range want {
			want[n] = fmt.Sprint(n)
		}
		for i, r := range recs {
			stream := chat.ConversationStream(fmt.Sprint(i))
			r.committed(store, stream)
			if !slices.Equal(r.order, want) {
				t.Errorf("stream %d was told in the order %v", i, r.order)
			}
			if !slices.Equal(store.said(stream), want) {
				t.Errorf("stream %d holds %v", i, store.said(stream))
			}
		}
	})
}

func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onCommit = func(_ context.Context, call int, _ []chat.Draft) fault {
			if call == 1 {
				g.pass()
			}
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		r.submit("blocks", message(hall, alice, "", "blocks"))
		synctest.Wait()
		for _, name := range []string{"first", "again", "and again", "once more"} { // one batch
			r.submit(name, message(room, alice, "a-1", "hi"))
			r.submit("bob's "+name, message(room, bob, "a-1", "hi from bob"))
			r.submit("other than "+name, message(room, alice, "", name))
		}
		g.open()
		synctest.Wait()
		r.submit("later", message(room, alice, "a-1", "whatever"))
		synctest.Wait()
		told := r.all()
		first := told["first"]
		if first.Repeat || first.Err != nil {
			t.Errorf("the first is %+v", first)
		}
		first.Repeat = true
		for _, name := range []string{"again", "and again", "once more", "later"} {
			if told[name] != first {
				t.Errorf("%s: got %+v, want %+v", name, told[name], first)
			}
		}
		if o := told["bob's first"]; o.Err != nil || o.Repeat || o.ID == first.ID {
			t.Errorf("the same clientId of another user: %+v", o)
		}
		if got := store.said(room); !slices.Equal(got, []string{"hi", "hi from bob", "first", "again", "and again", "once more"}) {
			t.Errorf("the log holds %q", got)
		}
		if calls := store.calls(); !slices.Equal(calls, []int{1, 6, 1}) {
			t.Errorf("commits of %v drafts", calls)
		}
	})
}

// A refusal is that of the send, not of the clientId: another send with it
// that could stand, stands.
func TestRepeatOfARefusedSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onCommit = func(_ context.Context, call int, _ []chat.Draft) fault {
			if call == 1 {
				g.pass()
			}
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		r.submit("blocks", message(hall, alice, "", "blocks"))
		synctest.Wait()
		bad := change(room, alice, chat.TypeReaction, 99)
		bad.ClientID = "a-1"
		r.submit("bad", bad)
		r.submit("bad again", bad)
		r.submit("good", message(room, alice, "a-1", "hi"))
		r.submit("good again", message(room, alice, "a-1", "hi"))
		r.submit("behind", message(room, alice, "", "behind"))
		g.open()
		synctest.Wait()
		told := r.all()
		wantCode(t, told["bad"].Err, chat.CodeNotFound)
		wantCode(t, told["bad again"].Err, chat.CodeNotFound)
		if o := told["good"]; o.Err != nil || o.Repeat || o.Seq != 3 {
			t.Errorf("good: %+v", o)
		}
		if o := told["good again"]; o.Err != nil || !o.Repeat || o.Seq != 3 {
			t.Errorf("good again: %+v", o)
		}
		if told["behind"].Seq != 4 {
			t.Errorf("what was sent behind it overtook it: %+v", told["behind"])
		}
	})
}

// Two changes of one message never meet in a batch. What is behind the second
// in its stream waits with it; other streams do not.
func TestChangesOfOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		var batches [][]string
		store.onCommit = func(_ context.Context, call int, drafts []chat.Draft) fault {
			if call == 2 {
				g.pass()
			}
			var said []string
			for _, d := range drafts {
				said = append(said, fmt.Sprint(d.Type, " ", d.Content))
			}
			batches = append(batches, said)
			return fault{}
		}
		l := newLog(t, store, Config{})
		r := newRecorder(t, l)
		r.submit("target", message(room, alice, "", "target")) // seq 3
		synctest.Wait()
		r.submit("blocks", message(hall, alice, "", "blocks"))
		synctest.Wait()
		r.submit("edit", change(room, alice, chat.TypeEdit, 3))
		r.submit("delete", change(room, alice, chat.TypeDelete, 3))
		r.submit("reaction", change(room, alice, chat.TypeReaction, 3))
		r.submit("behind", message(room, bob, "", "behind"))
		r.submit("beside", message(hall, alice, "", "beside"))
		g.open()
		synctest.Wait()
		told := r.all()
		want := [][]string{{"message target"}, {"message blocks"}, {"edit changed", "message beside"},
			{"delete changed", "reaction changed", "message behind"}}
		if !slices.EqualFunc(batches, want, slices.Equal) {
			t.Errorf("the batches were %q", batches)
		}
		if told["edit"].Seq != 4 || told["delete"].Seq != 5 || told["behind"].Seq != 6 {
			t.Errorf("out of order: %+v", told)
		}
		wantCode(t, told["reaction"].Err, chat.CodeNotFound)
	})
}

// pooled is a submission that is sent again from inside Committed.
type pooled struct {
	Submission
	log   *Log
	left  int
	seqs  []uint64
	ended chan struct{}
}

func (p *pooled) Committed(*Submission) {
	p.seqs = append(p.seqs, p.Outcome.Seq)
	if p.left--; p.left == 0 {
		close(p.ended)
		return
	}
	p.Submission = Submission{Draft: message(room, alice, "", "again"), Done: p}
	p.log.Submit(&p.Submission)
}

func TestSubmitFromCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFake(t)
		p := &pooled{log: newLog(t, store, Config{}), left: 500, ended: make(chan struct{})}
		p.Submission = Submission{Draft: message(room, alice, "", "again"), Done: p}
		p.log.Submit(&p.Submission)
		<-p.ended
		for i, seq := range p.seqs {
			if seq != uint64(3+i) {
				t.Fatalf("outcome %d has seq %d", i, seq)
			}
		}
	})
}

func TestCommitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onCommit = func(context.Context, int, []chat.Draft) fault { g.pass(); return fault{} }
		l := newLog(t, store, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Commit(ctx, message(room, alice, "", "hi")); err == nil {
			t.Error("no error though ctx ended")
		}
		g.open()
		synctest.Wait()
		if got := store.said(room); len(got) != 1 {
			t.Errorf("the log holds %q", got)
		}
	})
}

// batches notes what happens between the beginning and the end of a batch.
type batches struct{ told []string }

func (b *batches) BeginBatch() { b.told = append(b.told, "begin") }
func (b *batches) EndBatch()   { b.told = append(b.told, "end") }
func (b *batches) Wake()       { b.told = append(b.told, "wake") }

func (b *batches) Committed(s *Submission) {
	b.told = append(b.told, fmt.Sprint("outcome ", s.Outcome.Err == nil))
}

// Outcomes and wakes of one commit are told between BeginBatch and EndBatch.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := newFake(t), newGate()
		store.onCommit = func(_ context.Context, call int, _ []chat.Draft) fault {
			if call == 1 {
				g.pass()
			}
			return fault{again: func(*chat.Draft) bool { return call == 1 }}
		}
		l := newLog(t, store, Config{})
		b := &batches{}
		w := l.Watch(room, b)
		w.Learn(2)
		b.told = nil
		l.NotifyBatches(b)
		l.Submit(&Submission{Draft: message(room, alice, "", "hi"), Done: b})
		synctest.Wait()
		l.Submit(&Submission{Draft: message(room, "nobody", "", "hi"), Done: b})
		l.Submit(&Submission{Draft: message(room, bob, "", "hi"), Done: b})
		g.open()
		synctest.Wait()
		want := []string{"begin", "end", "begin", "outcome true", "wake", "end",
			"begin", "outcome false", "outcome true", "wake", "end"}
		if !slices.Equal(b.told, want) {
			t.Errorf("told %q", b.told)
		}
		w.Close()
	})
}
