package client

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// However much waits: what became of a message is told, and the newest status.
func TestInboxKeepsWhatMustBeTold(t *testing.T) {
	in := newInbox(1)
	for i := range 2 * mostStates {
		in.putState(fmt.Sprint("typing/", i), Typing{})
	}
	for range 2 * mostTold {
		in.tell(Problem{})
		in.tell(Resent{})
	}
	in.putState("status", Status{State: StateOffline})
	counts := map[string]int{}
	for {
		w, ok := in.next(false, false)
		if !ok {
			break
		}
		counts[fmt.Sprintf("%T", w.event)]++
	}
	want := map[string]int{"client.Typing": mostStates, "client.Problem": mostTold, "client.Resent": 2 * mostTold, "client.Status": 1}
	if fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("told %v, want %v", counts, want)
	}
}

// The last status that is told is the one that is, whoever sets it.
func TestStatusIsTold(t *testing.T) {
	c, err := New(Options{URL: "http://127.0.0.1:9", Token: StaticToken("none")})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	c.ctx = t.Context() // as if it lived, with nobody else to set or read
	for range 20_000 {
		var wg sync.WaitGroup
		for _, s := range []State{StateOnline, StateOffline} {
			wg.Go(func() { c.setStatus(Status{State: s}) })
		}
		wg.Wait()
		if told := c.feed.in.state["status"]; told != nil && told != c.status {
			t.Fatalf("told %v, and it is %v", told, c.status)
		}
	}
}

// A connection that is gone says nothing of the one that is.
func TestStatusOfAnOldConnection(t *testing.T) {
	c, err := New(Options{URL: "http://127.0.0.1:9", Token: StaticToken("none")})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	c.ctx = t.Context()
	c.status = Status{State: StateOffline}
	old := &conn{ctx: t.Context(), end: func() {}}
	c.feed.sync(old)
	if c.status.State != StateOffline {
		t.Errorf("the status is %v of a connection that is gone", c.status)
	}
}

// A connection that is lost in the moment in which it becomes ready is not used,
// and the next one is.
func TestOpenOfALostConnection(t *testing.T) {
	c, err := New(Options{URL: "http://127.0.0.1:9", Token: StaticToken("none")})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	c.ctx = t.Context()
	first, next := &conn{ctx: t.Context(), end: func() {}}, &conn{ctx: t.Context(), end: func() {}}
	c.raw = first
	c.lose(loss{})
	c.disconnected()
	c.open(first)
	if c.current() != nil {
		t.Error("a connection is used that is gone")
	}
	c.raw = next
	c.open(next)
	if c.current() != next {
		t.Error("the next one is not used")
	}
}

// An error that is not there answers like one: events have such in a field.
func TestNoError(t *testing.T) {
	var none *Error
	if errors.Is(none, ErrForbidden) || errors.Unwrap(none) != nil || none.Error() != "" {
		t.Error("no error is one")
	}
	if !errors.Is(&Error{Code: CodeForbidden, Message: "x"}, ErrForbidden) {
		t.Error("an error is none")
	}
}

// A payload that the server would hang up on never gets there.
func TestLargePayload(t *testing.T) {
	c, err := New(Options{URL: "http://127.0.0.1:9", Token: StaticToken("none")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, d := range []Draft{{Content: strings.Repeat("x", 300<<10)}, {Content: "x", Mentions: make([]string, 30_000)}} {
		if _, err := c.Send(t.Context(), "c1", d); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
}
