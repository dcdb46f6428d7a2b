package e2e_test

import (
	"fmt"
	"strconv"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// history is what REST says stands in the log, held against what was
// acknowledged.
type history struct {
	entries map[string][]parleytest.Entry // by conversation; seq 1 is first
	byKey   map[string]*parleytest.Entry  // by conversation, sender and clientId
	byText  map[string][]*parleytest.Entry
	checked []ack
}

func newHistory() *history {
	return &history{entries: make(map[string][]parleytest.Entry), byKey: make(map[string]*parleytest.Entry),
		byText: make(map[string][]*parleytest.Entry)}
}

func key(conv, sender, clientID string) string { return conv + " " + sender + " " + clientID }

// check reads on in the history and wants in it whatever was acknowledged
// before. The load may go on meanwhile.
func (l *load) check() {
	l.t.Helper()
	acks := l.takeAcks()
	for _, conv := range l.conversations() {
		known := uint64(len(l.history.entries[conv]))
		l.readOn(conv, l.srv.rest.historyAfter(l.t, l.tokens[owner], conv, known))
	}
	for _, a := range acks {
		l.checkAck(a)
	}
	l.history.checked = append(l.history.checked, acks...)
}

// readOn adds entries: there must be no gap, and no message twice.
func (l *load) readOn(conv string, entries []parleytest.Entry) {
	l.t.Helper()
	h := l.history
	for i := range entries {
		e := &entries[i]
		if want := uint64(len(h.entries[conv])) + 1; e.Seq != want {
			l.t.Fatalf("history of %s: entry %d where %d should be", conv, e.Seq, want)
		}
		h.entries[conv] = append(h.entries[conv], *e)
		if e.Type != "message" {
			continue
		}
		h.byText[e.Content] = append(h.byText[e.Content], e)
		if e.ClientID == "" {
			continue
		}
		k := key(conv, e.SenderID, e.ClientID)
		if first := h.byKey[k]; first != nil {
			l.fail("history of %s: clientId %s stands at %d and at %d", conv, e.ClientID, first.Seq, e.Seq)
		}
		h.byKey[k] = e
	}
}

// checkAck wants an acknowledged send in the history, as its acknowledgement
// said.
func (l *load) checkAck(a ack) {
	l.t.Helper()
	found := l.history.byText[a.text]
	if len(found) == 0 {
		l.fail("LOST: %s was acknowledged (seq %q) and is not in the history of %s", a.text, a.seq, a.conv)
		return
	}
	if a.clientID != "" && len(found) != 1 {
		l.fail("%s with clientId %s stands %d times", a.text, a.clientID, len(found))
	}
	for _, e := range found {
		if e.ConversationID != a.conv || e.SenderID != a.sender || e.ClientID != a.clientID {
			l.fail("%s of %s in %s with clientId %q stands as %+v", a.text, a.sender, a.conv, a.clientID, *e)
		}
		if a.silent {
			return
		}
		if a.seq == strconv.FormatUint(e.Seq, 10) {
			if a.id != e.ID || a.createdAt != e.CreatedAt {
				l.fail("%s was acknowledged as id %s, created at %s; it stands as %+v", a.text, a.id, a.createdAt, *e)
			}
			return
		}
	}
	l.fail("%s was acknowledged at seq %q; it stands at %d", a.text, a.seq, found[0].Seq)
}

// finish ends the senders, waits until every subscriber has everything, and
// checks it all: nothing that was read before may have changed since.
func (l *load) finish() {
	l.t.Helper()
	for _, s := range l.subs {
		s.comeBack()
	}
	l.stop()
	before := l.history
	before.checked = append(before.checked, l.takeAcks()...)
	l.history = newHistory()
	l.check()
	for conv, entries := range before.entries {
		for i, e := range entries {
			if e != l.history.entries[conv][i] {
				l.fail("history of %s changed: %+v was %+v", conv, l.history.entries[conv][i], e)
			}
		}
	}
	for _, a := range before.checked {
		l.checkAck(a)
	}
	for _, s := range l.senders {
		l.checkTries(s.all)
	}
	for _, p := range l.posters {
		l.checkTries(p.all)
	}
	for _, s := range l.subs {
		l.awaitAll(s)
	}
	l.close()
	for _, s := range l.subs {
		l.checkArrivals(s)
	}
}

// checkTries wants no message to stand more often than it was sent.
func (l *load) checkTries(sends []*send) {
	l.t.Helper()
	for _, m := range sends {
		if n := len(l.history.byText[m.text]); n < 1 || n > m.tries {
			l.fail("%s was sent %d times and stands %d times", m.text, m.tries, n)
		}
	}
}

// awaitAll waits until a subscriber has every stream to its head.
func (l *load) awaitAll(s *subscriber) {
	l.t.Helper()
	for _, conv := range l.conversations() {
		head := uint64(len(l.history.entries[conv]))
		what := fmt.Sprintf("%s has %s up to %d", s.user, conv, head)
		proctest.Eventually(l.t, time.Minute, what, func() bool {
			l.srv.alive()
			return s.has(conv) >= head || l.t.Failed()
		})
	}
}

// checkArrivals wants what a subscriber got to be what stands. That it had no
// gap was checked as it came.
func (l *load) checkArrivals(s *subscriber) {
	l.t.Helper()
	total := 0
	for conv, f := range s.streams {
		total += len(f.got)
		for i, a := range f.got {
			seq := f.start + uint64(i)
			if seq > uint64(len(l.history.entries[conv])) {
				l.fail("%s got entry %d of %s, which does not stand", s.user, seq, conv)
				break
			}
			if e := l.history.entries[conv][seq-1]; e.ID != a.id {
				l.fail("%s got entry %d of %s as %s, it stands as %s", s.user, seq, conv, a.id, e.ID)
			}
		}
	}
	l.t.Logf("%s: %d entries, %d of them again, of these the oldest acknowledgement %v old", s.user, total, s.repeats, s.oldest)
}
