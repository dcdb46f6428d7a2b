package limit

import (
	"sync"
	"time"
)

// user is the account of somebody who has connections.
type user struct {
	name        string
	connections int // guarded by Limits.mu

	mu     sync.Mutex
	budget budget
}

// budget is what was sent.
type budget struct{ messages, bytes account }

// Publish asks whether the connection may send a message of so many bytes. It
// may if that is within all limits now, or will be after a wait of at most
// patience: then it is charged, and the caller waits before it takes the
// message. Else nothing is charged, err is an *Exceeded, and wait says when it
// is worth to try again. It allocates nothing.
func (s *Seat) Publish(bytes int, patience time.Duration) (wait time.Duration, err error) {
	if s.limits == nil {
		return 0, nil
	}
	b := &s.limits.bounds
	if s.user == nil && b.PublishRatePerConnection == 0 && b.PublishBytesPerConnection == 0 {
		return 0, nil
	}
	now := s.limits.now()
	var none budget
	shared := &none
	if s.user != nil {
		s.user.mu.Lock()
		defer s.user.mu.Unlock()
		shared = &s.user.budget
	}
	return b.spend(shared, &s.own, bytes, patience, now)
}

// Change charges n changes to what the server keeps for everybody: retained
// messages, and filters. It says how long the connection is to wait before it
// makes more. It allocates nothing.
func (s *Seat) Change(n int) (wait time.Duration) {
	if s.limits == nil {
		return 0
	}
	now, rate := s.limits.now(), s.limits.bounds.ChangeRate
	s.changes.charge(n, rate, now)
	return s.changes.wait(0, rate, now)
}

// Publish is like that of a Seat, for a user who sends without a connection
// and does not wait.
func (l *Limits) Publish(name string, bytes int) (wait time.Duration, err error) {
	if l.bounds.PublishRate == 0 && l.bounds.PublishBytes == 0 {
		return 0, nil
	}
	var none budget
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if u := l.users[name]; u != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		return l.bounds.ofUser().spend(&u.budget, &none, bytes, 0, now)
	}
	spent := l.spent.get(name, now)
	wait, err = l.bounds.ofUser().spend(&spent, &none, bytes, 0, now)
	l.spent.set(name, spent)
	return wait, err
}

// ofUser are the bounds without those of a connection.
func (b *Bounds) ofUser() *Bounds {
	return &Bounds{PublishRate: b.PublishRate, PublishBytes: b.PublishBytes}
}

// spend charges a message to the accounts of its user and its connection: to
// all of them or to none.
func (b *Bounds) spend(user, own *budget, bytes int, patience, now time.Duration) (wait time.Duration, err error) {
	bills := [...]struct {
		account    *account
		cost, rate int
	}{
		{&user.messages, 1, b.PublishRate},
		{&user.bytes, bytes, b.PublishBytes},
		{&own.messages, 1, b.PublishRatePerConnection},
		{&own.bytes, bytes, b.PublishBytesPerConnection},
	}
	worst := 0
	for i := range bills {
		if w := bills[i].account.wait(bills[i].cost, bills[i].rate, now); w > wait {
			wait, worst = w, i
		}
	}
	if wait > patience {
		return wait, errPublish[worst]
	}
	for i := range bills {
		bills[i].account.charge(bills[i].cost, bills[i].rate, now)
	}
	return wait, nil
}
