package model_test

import (
	"fmt"
	"slices"
	"strings"
)

// pass is one reading of a stream, from a place onwards: a subscription, or
// what the client asked for by after or replay.
type pass struct {
	lo, hi uint64          // it begins behind a seq between these
	since  uint64          // below it comes also what the user was no member for: history
	whole  bool            // nothing of that history may be left out,
	behind uint64          // behind this seq
	until  [2]uint64       // of a replay without a subscription: it ends between these; 0 is no end
	must   bool            // it begins for certain, and ends those before it
	skip   map[uint64]bool // need not come: it was acknowledged
	old    map[uint64]bool // may come as it was before it was erased
}

// reader is how one connection reads one stream. Passes follow each other,
// but when one ends and the next begins is the server's choice, so all that
// is possible is kept in cands, as a set of states.
type reader struct {
	conv   *conv
	user   string
	passes []*pass
	cands  []cand
	qos    [2]bool // at which QoS entries may come
}

// cand is a state that the reading may be in: behind a seq between lo and hi
// of a pass. Before the pass has begun that is where it begins.
type cand struct {
	pass   int
	lo, hi uint64
	begun  bool
	back   bool // it begins only once the reading is beyond its place
}

func newReader(c *conv, user string, first *pass) *reader {
	r := &reader{conv: c, user: user}
	first.must = true
	r.push(first)
	return r
}

// push adds a pass behind the others.
func (r *reader) push(p *pass) {
	if p.old == nil {
		p.old = make(map[uint64]bool)
	}
	r.passes = append(r.passes, p)
	r.cands = append(r.cands, cand{pass: len(r.passes) - 1, lo: p.lo, hi: p.hi})
}

// again adds a pass for what is asked for once more. Where the reading is beyond
// its place it goes back there, else it goes on as that pass.
func (r *reader) again(p *pass) {
	p.skip = r.passes[0].skip
	var on []cand
	for _, c := range r.cands {
		if c.lo <= p.lo {
			on = append(on, cand{pass: len(r.passes), lo: c.lo, hi: min(c.hi, p.lo), begun: c.begun, back: c.back})
		}
	}
	r.push(p)
	r.cands[len(r.cands)-1].back = true
	r.cands = append(r.cands, on...)
}

func (r *reader) String() string {
	var b strings.Builder
	for _, c := range r.cands {
		p := r.passes[c.pass]
		fmt.Fprintf(&b, " [pass %d from %d-%d since %d until %v must %v; at %d-%d begun %v]", c.pass, p.lo, p.hi, p.since, p.until, p.must, c.lo, c.hi, c.begun)
	}
	return b.String()
}

// comes reports whether a pass may have the entry at seq.
func (r *reader) comes(p *pass, seq uint64) bool {
	if p.until[1] > 0 && seq > p.until[1] {
		return false
	}
	return seq < p.since || r.conv.member(r.user, seq)
}

// due reports whether a pass may not leave the entry at seq out.
func (r *reader) due(p *pass, seq uint64) bool {
	if p.whole && seq > p.behind {
		return r.comes(p, seq)
	}
	return r.conv.member(r.user, seq) && r.comes(p, seq) && !p.skip[seq]
}

// fits reports whether the entry at seq may come next.
func (r *reader) fits(c cand, seq uint64) bool {
	p := r.passes[c.pass]
	if seq <= c.lo || !r.comes(p, seq) || c.back && !c.begun && !r.beyond(c) {
		return false
	}
	for q := min(c.hi, seq-1) + 1; q < seq; q++ {
		if r.due(p, q) {
			return false
		}
	}
	return true
}

// beyond reports whether an earlier pass may be beyond the place of one that
// has not begun. What does not come for it is passed without a sign.
func (r *reader) beyond(later cand) bool {
	return slices.ContainsFunc(r.cands, func(c cand) bool {
		if c.pass >= later.pass {
			return false
		}
		for q := c.hi + 1; q <= later.lo+1; q++ {
			if r.due(r.passes[c.pass], q) {
				return false
			}
		}
		return true
	})
}

// take takes the entry at seq. It is false when that may not come now. old
// says whether it may come as it was before it was erased.
func (r *reader) take(seq uint64) (ok, old bool) {
	var next []cand
	first := -1
	for _, c := range r.cands {
		if !r.fits(c, seq) {
			continue
		}
		if first < 0 || c.pass < first {
			first = c.pass
		}
		old = old || r.passes[c.pass].old[seq]
		next = append(next, cand{pass: c.pass, lo: seq, hi: seq, begun: true})
	}
	if first < 0 {
		return false, false
	}
	for _, c := range r.cands { // a later pass may still begin
		if !c.begun && c.pass > first {
			next = append(next, c)
		}
	}
	slices.SortFunc(next, func(a, b cand) int { return a.pass - b.pass })
	r.cands = slices.Compact(next)
	return true, old
}

// next answers the seq that a state must come to, or 0.
func (r *reader) next(c cand) uint64 {
	p := r.passes[c.pass]
	for q := c.hi + 1; q <= r.conv.head(); q++ {
		if p.until[0] > 0 && q > p.until[0] {
			return 0
		}
		if r.due(p, q) {
			return q
		}
	}
	return 0
}

// need answers the seq of an entry that must come, or 0: there may be more,
// but none for certain.
func (r *reader) need() uint64 {
	certain := 0
	for i, p := range r.passes {
		if p.must {
			certain = i
		}
	}
	var need uint64
	for _, c := range r.cands {
		if c.pass < certain {
			continue // the certain pass is among the others
		}
		q := r.next(c)
		if q == 0 {
			return 0
		}
		if need == 0 || q < need {
			need = q
		}
	}
	return need
}

// open lets replays go on as a subscription.
func (r *reader) open() {
	for _, p := range r.passes {
		p.until = [2]uint64{}
	}
}

// mayHaveOld notes that what stands at seq is erased now. free is how many
// entries the client has room for: so many may be on their way as they were.
// -1 is no limit.
func (r *reader) mayHaveOld(seq uint64, free int) {
	for _, c := range r.cands {
		p := r.passes[c.pass]
		if seq <= c.lo {
			continue
		}
		room := free
		for q := c.hi + 1; q < seq && room >= 0; q++ {
			if r.comes(p, q) && free >= 0 {
				room--
			}
		}
		if free < 0 || seq <= c.hi || room > 0 {
			p.old[seq] = true
		}
	}
}

// follow is what a session keeps of a stream that it subscribes to: how far
// it is acknowledged. It outlives connections if the session is durable.
type follow struct {
	conv   *conv
	user   string
	lo, hi uint64          // the session stands between these, when the connection began
	since  uint64          // history was asked for up to here
	fresh  bool            // it is not certain that the server follows it: no cursor may stand
	young  bool            // the server follows it: that a cursor stands is not certain yet
	floor  uint64          // what is saved for certain
	crash  bool            // the server has died since the last connection
	moved  bool            // the client has named a place: packets may be under way twice
	acked  map[uint64]bool // a packet with it was acknowledged, or sent at QoS 0
	open   map[uint64]int  // packets with it that are not acknowledged for certain
	got    map[uint64]bool // came on this connection
	silent bool            // entries may have been sent at QoS 0
	quiet  uint64          // up to here it may have been sent at QoS 0 and not read
}

func newFollow(c *conv, user string, lo, hi uint64) *follow {
	return &follow{conv: c, user: user, lo: lo, hi: hi, floor: lo,
		acked: make(map[uint64]bool), open: make(map[uint64]int), got: make(map[uint64]bool)}
}

// reached answers between which seqs the session stands now: it has
// acknowledged all up to the first for certain, and up to the second perhaps.
func (f *follow) reached() (lo, hi uint64) {
	lo, hi = f.lo, f.hi
	for q := lo + 1; q <= f.conv.head(); q++ {
		if q >= f.since && !f.conv.member(f.user, q) {
			continue
		}
		if !f.acked[q] || !f.got[q] || f.open[q] > 0 {
			break
		}
		lo = q
	}
	hi = max(hi, lo)
	for q := hi + 1; q <= f.conv.head(); q++ {
		if !f.conv.member(f.user, q) {
			continue
		}
		if !f.acked[q] && (q > f.quiet || f.got[q]) {
			break
		}
		hi = q
	}
	return lo, hi
}

// resume begins a new connection: it answers where reading goes on. Where no
// cursor stands that is the user's newest join.
func (f *follow) resume() *pass {
	lo, hi := f.reached()
	if f.crash {
		lo = min(lo, f.floor)
	}
	none, join := f.fresh || f.young && f.crash, f.conv.joined(f.user)
	switch {
	case none && join > 0:
		hi = max(hi, join-1)
	case none:
		hi = f.conv.head()
	}
	if !f.crash {
		f.floor = lo
	}
	f.fresh, f.young = none && join == 0, none && join > 0
	f.lo, f.hi, f.crash, f.quiet = lo, hi, false, 0
	clear(f.open)
	clear(f.got)
	skip := make(map[uint64]bool)
	for q := range f.acked {
		if q > lo {
			skip[q] = true
		}
	}
	return &pass{lo: lo, hi: hi, since: f.since, skip: skip}
}

// saved notes that all is saved that was acknowledged for certain. What a
// crash lost before stays lost.
func (f *follow) saved() {
	if !f.crash {
		f.floor, _ = f.reached()
		f.young = false
	}
}

// name takes the place that the client names by after on SUBSCRIBE.
func (f *follow) name(lo, hi, since uint64) {
	nowLo, nowHi := f.reached()
	if lo > nowLo {
		f.lo = lo
	}
	if hi > nowHi {
		f.hi = hi
	}
	f.hi = max(f.hi, f.lo)
	if f.floor = max(f.floor, lo); f.young {
		f.floor = lo // it is the first place that stands for certain
	}
	f.since = max(f.since, since)
	f.moved = true
}
