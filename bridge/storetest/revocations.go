package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
)

var revocationTests = []test{
	{"Keep", revocationKeep},
	{"Again", revocationAgain},
	{"Pages", revocationPages},
	{"Sweep", revocationSweep},
	{"Reopen", revocationReopen},
	{"Follow", revocationFollow},
}

func (e *env) revoke(r bridge.Revocation) {
	e.Helper()
	e.ok(again(func() error { return e.s.Revoke(e.ctx, r) }), "revoke %q", r.Value)
}

// revocations answers all that are kept; their numbers must grow.
func (e *env) revocations() []bridge.Revocation {
	e.Helper()
	all, err := e.s.Revoked(e.ctx, 0, lots)
	e.ok(err, "revocations")
	wantNumbers(e, all, 0)
	return all
}

func wantNumbers(t tb, all []bridge.Revocation, after uint64) {
	t.Helper()
	for _, r := range all {
		if r.N <= after {
			t.Errorf("number %d follows %d", r.N, after)
		}
		after = r.N
	}
}

// bare takes the numbers off.
func bare(all []bridge.Revocation) []bridge.Revocation {
	all = slices.Clone(all)
	for i := range all {
		all[i].N = 0
	}
	return all
}

// revocationKeep: each reads as it was written, in the order of writing. A jti
// and a user of one name do not meet.
func revocationKeep(e *env) {
	if all := e.revocations(); len(all) != 0 {
		e.Errorf("a new store has %v", all)
	}
	var want []bridge.Revocation
	for i, value := range []string{"z", "alice", "ALICE", "a b/ü🐘", "\x00\xff", "0"} {
		for _, kind := range []bridge.RevocationKind{bridge.RevokedToken, bridge.RevokedUser} {
			r := bridge.Revocation{Kind: kind, Value: value, At: e.tick()}
			if i%2 == 0 {
				r.Until = r.At.Add(time.Duration(i) * time.Hour)
			}
			e.revoke(r)
			want = append(want, r)
		}
	}
	equal(e, bare(e.revocations()), want, "revocations")
	at := time.Date(2027, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", -3600))
	e.revoke(bridge.Revocation{Kind: bridge.RevokedUser, Value: "fine", At: at, Until: at.Add(time.Hour)})
	all := e.revocations()
	wantTime(e, all[len(all)-1].At, at, "at")
	wantTime(e, all[len(all)-1].Until, at.Add(time.Hour), "until")
}

// revocationAgain: the later times count, and who has read the first is told.
func revocationAgain(e *env) {
	at := e.tick()
	hour := func(n int) time.Time {
		if n == 0 {
			return time.Time{}
		}
		return at.Add(time.Duration(n) * time.Hour)
	}
	for i, tt := range []struct{ firstAt, firstUntil, at, until, wantAt, wantUntil int }{
		{1, 5, 2, 6, 2, 6}, {2, 6, 1, 5, 2, 6}, {1, 6, 2, 5, 2, 6}, {1, 0, 2, 5, 2, 0}, {2, 5, 1, 0, 2, 0}, {1, 0, 1, 0, 1, 0},
	} {
		value := fmt.Sprint(i)
		e.revoke(bridge.Revocation{Kind: bridge.RevokedUser, Value: value, At: hour(tt.firstAt), Until: hour(tt.firstUntil)})
		before := e.revocations()
		e.revoke(bridge.Revocation{Kind: bridge.RevokedUser, Value: value, At: hour(tt.at), Until: hour(tt.until)})
		news, err := e.s.Revoked(e.ctx, before[len(before)-1].N, lots)
		e.ok(err, "news")
		equal(e, bare(news), []bridge.Revocation{{Kind: bridge.RevokedUser, Value: value, At: hour(tt.wantAt), Until: hour(tt.wantUntil)}},
			"%d: what is new", i)
		if n := len(e.revocations()); n != i+1 {
			e.Errorf("%d are kept of %d users", n, i+1)
		}
	}
}

func revocationPages(e *env) {
	for i := range 25 {
		e.revoke(bridge.Revocation{Kind: bridge.RevokedToken, Value: fmt.Sprint(i), At: e.tick()})
	}
	want := e.revocations()
	for _, limit := range []int{1, 7, 25, 26} {
		var got []bridge.Revocation
		var after uint64
		for len(got) < len(want) {
			page, err := e.s.Revoked(e.ctx, after, limit)
			e.ok(err, "a page")
			if len(page) == 0 || len(page) > limit {
				e.Fatalf("a page of %d has %d", limit, len(page))
			}
			got, after = append(got, page...), page[len(page)-1].N
		}
		equal(e, got, want, "in pages of %d", limit)
	}
}

// revocationSweep: what goes is what is over, to the millisecond.
func revocationSweep(e *env) {
	at := e.tick()
	var want []bridge.Revocation
	for i := range 6 {
		r := bridge.Revocation{Kind: bridge.RevokedToken, Value: fmt.Sprint(i), At: at}
		if i > 0 {
			r.Until = at.Add(time.Duration(i) * time.Second)
		}
		e.revoke(r)
		want = append(want, r)
	}
	sweep := func(now time.Time, limit, removed int) {
		e.Helper()
		n, err := e.s.SweepRevocations(e.ctx, now, limit)
		e.ok(err, "sweep")
		if n != removed {
			e.Errorf("a sweep removed %d, want %d", n, removed)
		}
		want = slices.Delete(want, 1, 1+removed)
		equal(e, bare(e.revocations()), want, "after a sweep")
	}
	sweep(at.Add(time.Second-time.Millisecond), lots, 0)
	sweep(at.Add(time.Second), lots, 1)
	sweep(at.Add(time.Hour), 3, 3)
	sweep(at.Add(time.Hour), lots, 1)
	sweep(at.Add(time.Hour), lots, 0)
}

func revocationReopen(e *env) {
	for i := range 3 {
		e.revoke(bridge.Revocation{Kind: bridge.RevokedToken, Value: fmt.Sprint(i), At: e.tick(), Until: e.tick()})
	}
	want := e.revocations()
	_, err := e.s.SweepRevocations(e.ctx, e.tick(), lots)
	e.ok(err, "sweep")
	e.reopen()
	e.revoke(bridge.Revocation{Kind: bridge.RevokedToken, Value: "new", At: e.tick()})
	wantNumbers(e, e.revocations(), want[2].N) // a number is not given again
}

// revocationFollow: who asks again and again with the last number misses none,
// however many write at the same time.
func revocationFollow(e *env) {
	const writers, each = 4, 25
	stores := e.stores()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				r := bridge.Revocation{Kind: bridge.RevokedToken, Value: fmt.Sprint(w, "-", i%20), At: e.tick()}
				if err := again(func() error { return stores[w%2].Revoke(e.ctx, r) }); err != nil {
					e.Errorf("revoke: %v", err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() {
		writing.Wait()
		close(written)
	}()
	seen := map[string]bool{}
	var after uint64
	for over := false; ; {
		news, err := e.s.Revoked(e.ctx, after, 10)
		e.ok(err, "news")
		wantNumbers(e, news, after)
		for _, r := range news {
			seen[r.Value], after = true, r.N
		}
		if over && len(news) == 0 {
			break
		}
		select {
		case <-written:
			over = true
		default:
		}
	}
	if len(seen) != writers*20 {
		e.Errorf("saw %d, want %d", len(seen), writers*20)
	}
}
