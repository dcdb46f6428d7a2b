package limit

import "time"

// burst is how much of a rate may come at once.
const burst = time.Second

// account is one rate's account, as the time when all that was charged is
// paid. The zero account owes nothing.
type account time.Duration

// wait is how long it takes until a cost may be charged; 0 is now. A rate of 0
// is no limit.
func (a account) wait(cost, rate int, now time.Duration) time.Duration {
	if rate == 0 {
		return 0
	}
	return max(0, time.Duration(a)-now+min(price(cost, rate), burst)-burst)
}

// charge charges a cost.
func (a *account) charge(cost, rate int, now time.Duration) {
	if rate != 0 {
		*a = account(max(time.Duration(*a), now) + price(cost, rate))
	}
}

// price is how long a cost takes to be paid.
func price(cost, rate int) time.Duration {
	return time.Duration(cost) * time.Second / time.Duration(rate)
}

// recent remembers values of keys for at least keep after they were last asked
// for, and at most twice as long. More than twice most are never held: then
// the older half is forgotten early. It never walks over what it holds.
type recent[K comparable, V any] struct {
	keep       time.Duration
	most       int
	young, old map[K]V
	turned     time.Duration // when young was begun
}

// get answers the value of a key, zero for one that is not known. set may
// follow.
func (r *recent[K, V]) get(key K, now time.Duration) V {
	if r.young == nil || len(r.young) >= r.most || now-r.turned >= r.keep {
		r.old, r.young = r.young, make(map[K]V)
		if now-r.turned >= 2*r.keep {
			r.old = nil
		}
		r.turned = now
	}
	if v, ok := r.young[key]; ok {
		return v
	}
	return r.old[key]
}

// set remembers the value of a key that get was asked for just before.
func (r *recent[K, V]) set(key K, v V) { r.young[key] = v }
