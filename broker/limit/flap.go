package limit

import "time"

const (
	// A session may connect MaxReconnects times within flapWindow.
	flapWindow = 10 * time.Second
	// flapHold is how long one that does more often is held back each time.
	flapHold = time.Second
)

// session names one: a client id names a session within its user.
type session struct{ user, client string }

// flaps is what is remembered of a session that connected lately.
type flaps struct {
	due  time.Duration // when all its connects are forgotten
	held bool          // the last one was held back
}

// Hold counts a connect of a session. It answers how long that is to be held
// back: 0, but for a session that connects again and again, as two clients do
// that fight for one client id. begun is true for the first of an episode.
func (l *Limits) Hold(user, client string) (hold time.Duration, begun bool) {
	if l.bounds.MaxReconnects == 0 {
		return 0, false
	}
	price := flapWindow / time.Duration(l.bounds.MaxReconnects)
	l.mu.Lock()
	defer l.mu.Unlock()
	now, key := l.now(), session{user, client}
	f := l.sessions.get(key, now)
	f.due = max(f.due, now) + price
	held := f.due-now > flapWindow
	begun = held && !f.held
	f.held = held
	// What it did long ago is not held against it for ever.
	f.due = min(f.due, now+flapWindow+price)
	l.sessions.set(key, f)
	if held {
		hold = flapHold
	}
	return hold, begun
}
