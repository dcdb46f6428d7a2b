// Package limit keeps the accounts of who connects and sends how much, and
// says when it is too much. It does no I/O and starts no goroutine; what it
// remembers is bounded whatever strangers do, and an account that nobody uses
// is gone after a while.
//
// A rate of n a second has a burst of one second: n at once, then one every
// 1/n s. What is larger than a whole burst passes when nothing else was sent
// for a second, and is paid for before the next.
package limit

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Limits are the accounts of one server. All methods may be called from any
// goroutine.
type Limits struct {
	bounds Bounds
	begun  time.Time

	mu        sync.Mutex
	addresses map[netip.Addr]int          // open connections
	arrivals  recent[netip.Addr, account] // new connections
	users     map[string]*user            // who have connections
	spent     recent[string, budget]      // of users who have none
	sessions  recent[session, flaps]
}

// most bounds what is remembered of those who have gone, for each kind.
const most = 1 << 16

// New makes Limits with nothing on the accounts.
func New(b Bounds) *Limits {
	return &Limits{bounds: b.WithDefaults(), begun: time.Now(),
		addresses: make(map[netip.Addr]int), users: make(map[string]*user),
		arrivals: recent[netip.Addr, account]{keep: 2 * burst, most: most},
		spent:    recent[string, budget]{keep: 5 * time.Minute, most: most},
		sessions: recent[session, flaps]{keep: flapWindow, most: most}}
}

func (l *Limits) now() time.Duration { return time.Since(l.begun) }

// Seat is the account of one connection. The zero Seat is ready for Sit. Its
// methods must not be called at the same time, and not after Leave.
type Seat struct {
	limits *Limits
	addr   netip.Addr // what counts of it
	user   *user      // nil: nothing of a user counts
	own    budget

	changes account
}

// Sit counts a new connection from an address, an *Exceeded if it is too much.
// Leave must be called in any case.
//
// Who is over the rate alone may be told so: answer is true. Who is over twice
// the rate is not worth a TLS handshake.
func (s *Seat) Sit(l *Limits, client netip.Addr) (answer bool, err error) {
	s.limits = l
	addr := network(client)
	if !addr.IsValid() || l.bounds.MaxConnectionsPerAddress == 0 && l.bounds.ConnectRatePerAddress == 0 {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if most := l.bounds.MaxConnectionsPerAddress; most > 0 {
		if l.addresses[addr] >= most {
			return false, errAddressConnections
		}
		l.addresses[addr]++
		s.addr = addr
	}
	if rate := l.bounds.ConnectRatePerAddress; rate > 0 {
		now := l.now()
		a := l.arrivals.get(addr, now)
		late := a.wait(1, rate, now)
		if late > burst {
			return false, errConnectRate
		}
		a.charge(1, rate, now)
		l.arrivals.set(addr, a)
		if late > 0 {
			return true, errConnectRate
		}
	}
	return false, nil
}

// network is what counts as one address: of IPv6 the first half, for whoever
// has one has all of it.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64) // it cannot fail
	return p.Addr()
}

// Login says whose the connection is, and answers an *Exceeded if the user has
// too many. One that takes the place of another, which ends, may be one too
// many: else nobody whose connection broke unseen could come back.
func (s *Seat) Login(name string, replaces bool) error {
	l := s.limits
	if l.bounds.MaxConnectionsPerUser == 0 && l.bounds.PublishRate == 0 && l.bounds.PublishBytes == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.users[name]
	if u == nil {
		u = &user{name: name, budget: l.spent.get(name, l.now())}
		l.users[name] = u
	}
	most := l.bounds.MaxConnectionsPerUser
	if replaces {
		most++
	}
	if l.bounds.MaxConnectionsPerUser > 0 && u.connections >= most {
		return errUserConnections
	}
	u.connections++
	s.user = u
	return nil
}

// Leave ends the account of the connection. Called again it does nothing.
func (s *Seat) Leave() {
	l := s.limits
	if l == nil || !s.addr.IsValid() && s.user == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.addr.IsValid() {
		if l.addresses[s.addr]--; l.addresses[s.addr] == 0 {
			delete(l.addresses, s.addr)
		}
	}
	if u := s.user; u != nil {
		if u.connections--; u.connections == 0 {
			delete(l.users, u.name)
			// A new connection must not be a new budget.
			l.spent.get(u.name, l.now())
			l.spent.set(u.name, u.budget)
		}
	}
	s.addr, s.user = netip.Addr{}, nil
}

// Topic answers an *Exceeded if an ordinary topic or filter is too long or too
// deep.
func (l *Limits) Topic(name string) error {
	switch {
	case len(name) > l.bounds.MaxTopicLength:
		return errTopicLength
	case strings.Count(name, "/") >= l.bounds.MaxTopicLevels:
		return errTopicLevels
	}
	return nil
}
