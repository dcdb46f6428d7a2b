package storetest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var crashTests = []test{
	{"Kill", crashKill},
	{"Keep", crashKeep},
}

// childEnv tells a test binary that it is a child: what it is to do, with
// which number, and on which database.
const childEnv = "PARLEY_STORETEST_CHILD"

const (
	crashRounds = 4
	crashConvs  = 3
	crashLanes  = 2
)

// ChildMain must be called first in the TestMain of a backend's test
// package. In an ordinary run it does nothing. In a child that the crash
// test started it writes to the database until it is killed, and never
// returns.
func ChildMain(b Backend) {
	value, child := os.LookupEnv(childEnv)
	if !child {
		return
	}
	work, rest, _ := strings.Cut(value, " ")
	number, dsn, _ := strings.Cut(rest, " ")
	store := b.Reopen(&childTB{}, dsn)
	var out sync.Mutex
	var lanes sync.WaitGroup
	for lane := range crashLanes {
		lanes.Go(func() {
			if work == "keep" {
				first, _ := strconv.ParseUint(number, 10, 64) // crashKeep wrote it
				childKeeps(store, &out, lane, first)
			} else {
				childLane(store, &out, number, lane)
			}
		})
	}
	lanes.Wait()
	os.Exit(1) // only when something failed
}

// childLane commits batches for ever and prints what was acknowledged: the
// stream, the seq, the id and the clientId of each entry. A batch is one
// write to the pipe, which is short enough to be all or nothing.
func childLane(s bridge.Store, out *sync.Mutex, round string, lane int) {
	for n := 0; ; {
		var drafts []chat.Draft
		for range 1 + n%5 {
			id := fmt.Sprintf("%s-%d-%d", round, lane, n)
			drafts = append(drafts, draft(fmt.Sprint("c", n%crashConvs), alice, withClientID(message(id), id)))
			n++
		}
		outcomes := make([]bridge.Outcome, len(drafts))
		err := again(func() error { return s.Commit(context.Background(), time.Now(), drafts, outcomes) })
		if err != nil {
			fmt.Fprintln(os.Stderr, "commit:", err)
			return
		}
		var lines bytes.Buffer
		for i, o := range outcomes {
			if o.Err != nil {
				fmt.Fprintln(os.Stderr, "draft:", o.Err)
				return
			}
			fmt.Fprintln(&lines, drafts[i].Stream, o.Seq, o.ID, drafts[i].ClientID)
		}
		out.Lock()
		_, err = os.Stdout.Write(lines.Bytes())
		out.Unlock()
		if err != nil {
			return // the parent is gone
		}
	}
}

// ack is a line that a child printed.
type ack struct {
	stream   chat.StreamID
	seq      uint64
	id       string
	clientID string
}

// crashKill kills a child while it commits, several times, and wants all
// that was acknowledged to stand once, without a gap.
func crashKill(e *env) {
	for i := range crashConvs {
		e.create(fmt.Sprint("c", i), alice)
	}
	e.ok(e.s.Close(), "close")
	var acked []ack
	for round := range crashRounds {
		lines := e.acksOf(e.killAfter(fmt.Sprint("commit ", round), 20+40*round))
		acked = append(acked, lines...)
		e.s = e.backend.Reopen(e.test, e.dsn)
		e.checkAcked(acked)
		e.sendAgain(round, lines)
		e.checkAcked(acked)
		e.ok(e.s.Close(), "close")
	}
}

func (e *env) acksOf(lines []string) (acks []ack) {
	e.Helper()
	for _, line := range lines {
		var a ack
		if _, err := fmt.Sscan(line, &a.stream, &a.seq, &a.id, &a.clientID); err != nil {
			e.Errorf("the child printed %q", line)
		}
		acks = append(acks, a)
	}
	return acks
}

// killAfter starts a child, kills it when it has printed n lines, and answers
// all the lines that it had printed by then.
func (e *env) killAfter(work string, n int) (lines []string) {
	e.Helper()
	exe, err := os.Executable()
	e.ok(err, "executable")
	cmd := exec.CommandContext(e.ctx, exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s", childEnv, work, e.dsn))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	e.ok(err, "pipe")
	e.ok(cmd.Start(), "start the child")
	in := bufio.NewReader(pipe)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			break // the child is dead; a last line without an end does not count
		}
		if lines = append(lines, line); len(lines) == n {
			e.ok(cmd.Process.Kill(), "kill")
		}
	}
	_ = cmd.Wait() // "killed", as it should be
	if len(lines) < n {
		e.Fatalf("the child ended by itself after %d lines: %s", len(lines), stderr.String())
	}
	return lines
}

// checkAcked wants every acknowledged entry to stand once at its seq, with
// what it said. The histories must have no gap.
func (e *env) checkAcked(acked []ack) {
	e.Helper()
	history := map[chat.StreamID][]chat.Entry{}
	for i := range crashConvs {
		conv := fmt.Sprint("c", i)
		entries := e.growing(conv)
		history[chat.ConversationStream(conv)] = entries
		seen := map[string]bool{}
		for _, entry := range entries[2:] {
			if seen[entry.ClientID] || seen[entry.ID.String()] {
				e.Errorf("%s stands twice in %s", entry.ClientID, conv)
			}
			seen[entry.ClientID], seen[entry.ID.String()] = true, true
			if entry.Content != entry.ClientID {
				e.Errorf("entry %d of %s says %q, want %q", entry.Seq, conv, entry.Content, entry.ClientID)
			}
		}
	}
	for _, a := range acked {
		entries := history[a.stream]
		if a.seq > uint64(len(entries)) {
			e.Errorf("%v was acknowledged; %s ends at %d", a, a.stream, len(entries))
		} else if got := entries[a.seq-1]; got.ID.String() != a.id || got.ClientID != a.clientID {
			e.Errorf("%v was acknowledged; there stands %s by %s", a, got.ID, got.ClientID)
		}
	}
}

// growing reads a conversation that may still grow: a database that is a
// server goes on with what the child had sent before it was killed.
func (e *env) growing(conv string) []chat.Entry {
	e.Helper()
	head := e.head(conv)
	entries := e.read(conv, 0, lots)
	wantGapless(e, entries, 1)
	if head.First != 1 || uint64(len(entries)) < head.Head {
		e.Errorf("the head of %s was %+v, then there were %d entries", conv, head, len(entries))
	}
	return entries
}

// sendAgain does what clients do after a crash: they send again what they had
// sent. What was acknowledged is answered as before; what was on its way is
// committed now, unless it was committed then.
func (e *env) sendAgain(round int, acked []ack) {
	e.Helper()
	bySent := map[string]ack{}
	for _, a := range acked {
		bySent[a.clientID] = a
	}
	const onItsWay = 8 // drafts behind the last that was acknowledged
	for lane := range crashLanes {
		for n, more := 0, onItsWay; more > 0; n++ {
			id := fmt.Sprintf("%d-%d-%d", round, lane, n)
			o := e.commit(draft(fmt.Sprint("c", n%crashConvs), alice, withClientID(message(id), id)))[0]
			e.ok(o.Err, "send %s again", id)
			if a, was := bySent[id]; !was {
				more--
			} else if !o.Repeat || o.Seq != a.seq || o.ID.String() != a.id {
				e.Errorf("%v was acknowledged; sent again it is %+v", a, o)
			}
		}
	}
}

// childTB is the testing.TB of a child, which has no test. It has what a
// Reopen may need; nothing is cleaned up, because the child is killed.
type childTB struct{ testing.TB }

func (*childTB) Helper()                     {}
func (*childTB) Cleanup(func())              {}
func (*childTB) Name() string                { return "child" }
func (*childTB) Context() context.Context    { return context.Background() }
func (*childTB) Log(args ...any)             { fmt.Fprintln(os.Stderr, args...) }
func (*childTB) Logf(f string, a ...any)     { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (c *childTB) Error(args ...any)         { c.Fatal(args...) }
func (c *childTB) Errorf(f string, a ...any) { c.Fatalf(f, a...) }
func (c *childTB) Fatal(args ...any)         { c.Log(args...); os.Exit(1) }
func (c *childTB) Fatalf(f string, a ...any) { c.Logf(f, a...); os.Exit(1) }
