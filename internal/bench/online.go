package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Online is users who see each other come and go. Each is in Rooms
// conversations of Members members, and has one connection over TCP with a
// clean session, subscribed to users/+/presence and chat/+/messages. Every
// second Churn of them leave, half with a DISCONNECT and half cut off, and
// come back after a time that is three times the server's grace on average,
// and for some shorter than that: those nobody shall have seen go.
type Online struct {
	Users, Rooms, Members int
	Churn                 float64 // users a second
	Measure               time.Duration

	grace   time.Duration // the server's; 0 is 2 s
	warm    time.Duration // of Churn before it is measured; 0 is 20 s, or Measure if that is less
	slack   time.Duration // after which a contact must know of a change; 0 is 3 s
	round   time.Duration // in which everybody's views are looked at once; 0 is 10 s, or half of Measure if that is less
	patient time.Duration // how long nothing may come while they connect; 0 is 30 s
}

// windows are the lines of the table over time.
const windows = 10

// awayGraces is how many times the grace somebody is away on average.
const awayGraces = 3

// Check says which flag is wrong.
func (o *Online) Check() error {
	const most = 25_000 // the ports of one address
	setDefault(&o.grace, 2*time.Second)
	away := awayGraces * o.grace.Seconds() * o.Churn
	switch {
	case o.Users < 2 || o.Users > most:
		return fmt.Errorf("online: must be from 2 to %d", most)
	case o.Rooms < 1 || o.Rooms > 1000:
		return errors.New("rooms: must be from 1 to 1000")
	case o.Members < 2 || o.Members > min(o.Users, membersAtOnce):
		return fmt.Errorf("members: must be from 2 to the number of users, and at most %d", membersAtOnce)
	case o.Churn < 0 || away > float64(o.Users)/2:
		return fmt.Errorf("churn: must be from 0 to %.0f, so that half of the users are there", float64(o.Users)/2/awayGraces/o.grace.Seconds())
	case o.Measure <= 0:
		return errors.New("seconds: must be more than 0")
	}
	setDefault(&o.warm, min(20*time.Second, o.Measure))
	setDefault(&o.round, min(10*time.Second, o.Measure/2))
	setDefault(&o.slack, 3*time.Second)
	setDefault(&o.patient, connectTime)
	return nil
}

// OnlineResult is what presence cost, and whether it was right.
type OnlineResult struct {
	Server     string  `json:"server"`
	Users      int     `json:"users"`
	Contacts   float64 `json:"contacts"` // of one user, on average
	Creating   float64 `json:"creatingSeconds"`
	Connecting float64 `json:"connectingSeconds"` // until all had the SUBACK
	Settling   float64 `json:"settlingSeconds"`   // and then until all knew of all their contacts

	Seconds    float64 `json:"seconds"` // that were measured
	Left       uint64  `json:"left"`    // connections that ended in that time
	Returned   uint64  `json:"returned"`
	Swallowed  uint64  `json:"swallowed"` // of those who returned, within the grace
	Deliveries float64 `json:"deliveriesPerSecond"`
	// Online is from the CONNACK, Offline from the end of the connection and
	// the grace time behind it, until a contact had it that was subscribed
	// all the while: of all contacts, not of some.
	Online  Latency `json:"online"`
	Offline Latency `json:"offline"`
	// Snapshot is from the CONNACK of who came back until it knew of all its
	// contacts.
	Snapshot Latency `json:"snapshot"`

	Processes []ProcessCost `json:"processes"`
	Generator ProcessCost   `json:"generator"`
	OtherCPU  float64       `json:"otherCPUSeconds"`
	Coalesced float64       `json:"coalesced"` // that the server says
	Dropped   float64       `json:"dropped"`

	// Looked is how often it was looked at what a user knew of a contact, and
	// Wrong how often that had not been so for longer than 3 s; deliveries are
	// in it that told what had not been so for as long.
	Looked   uint64   `json:"looked"`
	Wrong    uint64   `json:"wrong"`
	WrongEnd uint64   `json:"wrongAtTheEnd"` // 3 s after the last came or went: of all
	Broken   []string `json:"broken,omitempty"`

	Samples []OnlineSample `json:"samples"`
}

// OnlineSample is one moment, and what came since the one before.
type OnlineSample struct {
	Seconds    float64 `json:"seconds"` // since the measuring began
	Connected  int     `json:"connected"`
	Memory     Memory  `json:"memory"`
	CPU        float64 `json:"serverCores"`
	Deliveries float64 `json:"deliveriesPerSecond"`
	Online     Latency `json:"online"`
	Offline    Latency `json:"offline"`
	Coalesced  float64 `json:"coalesced"`
	Dropped    float64 `json:"dropped"`
	Wrong      uint64  `json:"wrong"`
}

// Err says in words what was wrong with a server.
func (r *OnlineResult) Err() error {
	if r.Wrong+r.WrongEnd == 0 && len(r.Broken) == 0 {
		return nil
	}
	err := fmt.Errorf("%s: %d views were wrong, %d in the end, %d connections broke", r.Server, r.Wrong, r.WrongEnd, len(r.Broken))
	if len(r.Broken) > 0 {
		err = fmt.Errorf("%w (%s)", err, r.Broken[0])
	}
	return err
}

// Run measures a server that it starts. Check must have been called.
func (o *Online) Run(ctx context.Context, s Server) (r *OnlineResult, err error) {
	t, stop, err := s.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if t.Parley == nil || t.server() < 0 {
		return nil, errors.New("http, pid: are missing, for conversations and to measure the server")
	}
	defer restClient.CloseIdleConnections()
	c, err := newCrowd(o, t)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := c.create(ctx, t.Parley); err != nil {
		return nil, fmt.Errorf("creating conversations: %w", err)
	}
	creating := time.Since(began).Seconds()
	costs := o.sample(ctx, t, c.marks)
	err = drive(ctx, c, &c.ports)
	close(c.marks)
	samples := <-costs
	if !t.Keep {
		err = errors.Join(err, c.remove(context.WithoutCancel(ctx), t.Parley))
	}
	if err = errors.Join(err, c.failed, samples.err); err != nil {
		return nil, err
	}
	r = c.result()
	r.Server, r.Creating = t.Name, creating
	samples.of(r, t)
	return r, nil
}

// newCrowd makes the users, and who is in which conversation: always the same
// ones, so that all servers get the same.
func newCrowd(o *Online, t *Target) (*crowd, error) {
	addr, err := net.ResolveTCPAddr("tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	c := &crowd{o: o, prefix: fmt.Sprintf("online-%08x-", rand.Uint32()), random: rand.New(rand.NewPCG(1, 2)),
		users: make([]onlineUser, o.Users), marks: make(chan window, windows+1)}
	to := addr.AddrPort()
	c.addr = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	for n := range c.users {
		u := &c.users[n]
		u.conn = conn{fd: -1, index: n, user: fmt.Sprint(c.prefix, n)}
		u.ended = never
		token, err := t.Parley.token(u.user)
		if err != nil {
			return nil, err
		}
		u.login = appendConnect(nil, u.user, token, 0)
		c.conns = append(c.conns, &u.conn)
	}
	c.subscribe = appendSubscribe(nil, 0, "users/+/presence", "chat/+/messages")
	c.meet()
	return c, nil
}

// meet lays out the conversations: Rooms times all users are dealt out at
// random.
func (c *crowd) meet() {
	for range c.o.Rooms {
		deal := c.random.Perm(len(c.users))
		for len(deal) > 0 {
			size := min(c.o.Members, len(deal))
			if len(deal)-size == 1 { // nobody is alone
				size++
			}
			room := deal[:size]
			deal = deal[len(room):]
			c.rooms = append(c.rooms, room)
		}
	}
	for _, room := range c.rooms {
		for _, one := range room {
			for _, other := range room {
				if one != other {
					c.users[one].contacts = append(c.users[one].contacts, uint32(other))
				}
			}
		}
	}
	for n := range c.users {
		c.users[n].sortContacts()
	}
}

func (c *crowd) roomID(i int) string { return fmt.Sprint(c.prefix, "c", i) }

// create makes the conversations.
func (c *crowd) create(ctx context.Context, p *Parley) error {
	return parallel(ctx, createAtOnce, len(c.rooms), func(ctx context.Context, i int) error {
		var members []string
		for _, n := range c.rooms[i][1:] {
			members = append(members, c.users[n].user)
		}
		_, err := p.ask(ctx, http.MethodPost, "/v1/conversations", c.users[c.rooms[i][0]].user,
			map[string]any{"id": c.roomID(i), "members": members})
		return err
	})
}

// remove deletes them.
func (c *crowd) remove(ctx context.Context, p *Parley) error {
	return parallel(ctx, createAtOnce, len(c.rooms), func(ctx context.Context, i int) error {
		_, err := p.ask(ctx, http.MethodDelete, "/v1/conversations/"+c.roomID(i), c.users[c.rooms[i][0]].user, nil)
		return err
	})
}
