package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// lobby is a server that knows presence alone, and does wrong what it is told
// to. Who shares a conversation with whom stands in its REST.
type lobby struct {
	ln   net.Listener
	rest *parleyREST
	done sync.WaitGroup

	mu      sync.Mutex
	conns   []net.Conn
	peers   map[string]*peer // who is connected
	heard   map[*peer]bool   // who has subscribed
	left    map[string]int   // who had which connection last
	visible map[string]bool
	fault   lobbyFault
}

type lobbyFault struct {
	grace   time.Duration                 // how long who left is visible
	deaf    func(to, about string) bool   // is not told of a change
	stray   bool                          // tells everybody
	codes   [2]byte                       // of CONNACK and SUBACK
	hangsUp func(user string, n int) bool // on the connection with number n
}

const lobbyGrace = 100 * time.Millisecond

// newLobby answers a lobby and what is needed to measure it.
func newLobby(t *testing.T, f lobbyFault) (*lobby, Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if f.grace == 0 {
		f.grace = lobbyGrace
	}
	l := &lobby{ln: ln, rest: newParleyREST(t, newTiny(t, fault{})), peers: make(map[string]*peer),
		heard: make(map[*peer]bool), visible: make(map[string]bool), left: make(map[string]int), fault: f}
	rest := l.rest.server.Config.Handler
	l.rest.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			rest.ServeHTTP(w, r)
			return
		}
		_, _ = fmt.Fprint(w, "go_goroutines 7\ngo_memstats_heap_inuse_bytes 2.097152e+06\ngo_memstats_next_gc_bytes 4.194304e+06\n"+
			"parley_live_coalesced_total{kind=\"presence\"} 5\nparley_live_dropped_total{kind=\"presence\"} 0\n")
	})
	l.done.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.conns = append(l.conns, nc)
			n := len(l.conns)
			l.mu.Unlock()
			l.done.Go(func() { l.serve(nc, n) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		l.mu.Lock()
		for _, nc := range l.conns {
			nc.Close()
		}
		l.mu.Unlock()
		l.done.Wait()
	})
	target := l.rest.target()
	target.Addr = ln.Addr().String()
	target.Processes = []Process{{Name: "beside", PID: os.Getppid()}, {Name: ServerProcess, PID: os.Getpid()}}
	return l, Existing(target)
}

func (l *lobby) serve(nc net.Conn, n int) {
	defer nc.Close()
	p, user := &peer{nc: nc}, ""
	for rd := wire.NewReader(nc); ; {
		packet, err := rd.Next(0)
		var pk packets.Packet
		if err == nil {
			err = wire.Decode(wire.Version311, packet, &pk)
		}
		if err != nil || packet.Type() == wire.TypeDisconnect {
			break
		}
		l.mu.Lock()
		if user == "" {
			user = pk.Connect.ClientIdentifier
			p.write([]byte{wire.TypeConnack << 4, 2, 0, l.fault.codes[0]})
			l.peers[user] = p
			l.show(user, true)
		} else {
			p.write(wire.AppendSuback(nil, wire.Version311, pk.PacketID, []byte{0, l.fault.codes[1]}, nil, 0))
			l.heard[p] = true
			for _, other := range l.contacts(user) {
				l.tell(p, other, true)
			}
		}
		up := l.fault.hangsUp
		l.mu.Unlock()
		if up != nil && up(user, n) {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.heard, p)
	if l.peers[user] == p {
		delete(l.peers, user)
		l.left[user] = n
		time.AfterFunc(l.fault.grace, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.peers[user] == nil && l.left[user] == n {
				l.show(user, false)
			}
		})
	}
}

// contacts are all that a user shares a conversation with.
func (l *lobby) contacts(user string) (list []string) {
	l.rest.mu.Lock()
	defer l.rest.mu.Unlock()
	for _, members := range l.rest.members {
		if l.fault.stray || slices.Contains(members, user) {
			list = append(list, members...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (l *lobby) show(user string, there bool) {
	if l.visible[user] == there {
		return
	}
	l.visible[user] = there
	for _, other := range l.contacts(user) {
		p := l.peers[other]
		if p != nil && l.heard[p] && (l.fault.deaf == nil || !l.fault.deaf(other, user)) {
			l.tell(p, user, false)
		}
	}
}

func (l *lobby) tell(p *peer, about string, retain bool) {
	state := chat.Presence{UserID: about}
	if l.visible[about] {
		state.Status, state.Devices = chat.StatusOnline, 1
	}
	m := wire.Publish{Topic: []byte("users/" + about + "/presence"), Payload: state.AppendJSON(nil), Retain: retain}
	frame, _ := wire.AppendPublish(nil, wire.Version311, &m)
	p.write(frame)
}

// fewOnline takes a second and a half.
func fewOnline(t *testing.T) *Online {
	t.Helper()
	o := &Online{Users: 31, Rooms: 3, Members: 5, Churn: 40, Measure: time.Second, grace: lobbyGrace,
		warm: 200 * time.Millisecond, slack: 500 * time.Millisecond, patient: 5 * time.Second}
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	return o
}

// Users come and go, see each other do so, and nothing is wrong.
func TestOnline(t *testing.T) {
	l, server := newLobby(t, lobbyFault{})
	o := fewOnline(t)
	r, err := o.Run(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.Users != 31 || r.Contacts < 9 || r.Contacts > 13 || r.Left < 30 || r.Left > 50 || r.Returned < 15 || r.Swallowed < 1 ||
		r.Swallowed > r.Returned || r.Looked < 20 || r.Deliveries < 100 {
		t.Errorf("%+v", r)
	}
	for name, h := range map[string]Latency{"online": r.Online, "offline": r.Offline, "snapshot": r.Snapshot} {
		if h.Count < 10 || h.Max > 500 {
			t.Errorf("%s: %+v", name, h)
		}
	}
	if last := len(r.Samples) - 1; last != windows || r.Samples[last].Memory.NextGC != 4 || r.Samples[last].Memory.RSS < 1 || r.Coalesced != 0 {
		t.Errorf("%+v", r.Samples)
	}
	if len(r.Processes) != 2 || r.Processes[1].RSSAfter < 1 {
		t.Errorf("%+v", r.Processes)
	}
	l.rest.mu.Lock()
	if l.rest.removed != 18 || len(l.rest.members) > 0 { // 5 of 5 and one of 6, three times
		t.Errorf("%d conversations removed, %d left", l.rest.removed, len(l.rest.members))
	}
	l.rest.mu.Unlock()
	var table strings.Builder
	if err := OnlineTable(&table, o, []*OnlineResult{r}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"### 31 users online, each in 3 conversations of 5, 40 a second leave and come back",
		"| beside CPU, cores", "| tiny: second | connected |", "| wrong in the end, of all "} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is missing in\n%s", want, table.String())
		}
	}
}

// What a server does wrong is seen.
func TestOnlineWrong(t *testing.T) {
	for name, tt := range map[string]struct {
		fault lobbyFault
		seen  func(r *OnlineResult) bool
	}{
		"changes are not told to most": {lobbyFault{deaf: func(to, _ string) bool { return to[len(to)-1] != '1' }},
			func(r *OnlineResult) bool { return r.Wrong+r.WrongEnd > 0 }},
		"there is no grace":   {lobbyFault{grace: time.Nanosecond}, func(r *OnlineResult) bool { return r.Wrong > 0 }},
		"the grace is longer": {lobbyFault{grace: time.Hour}, func(r *OnlineResult) bool { return r.WrongEnd > 0 }},
		"it hangs up": {lobbyFault{hangsUp: func(_ string, n int) bool { return n == 35 }},
			func(r *OnlineResult) bool { return len(r.Broken) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, server := newLobby(t, tt.fault)
			r, err := fewOnline(t).Run(t.Context(), server)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.seen(r) || r.Err() == nil {
				t.Errorf("not seen: %+v", r)
			}
		})
	}
}

// A server that refuses, or that nobody can measure, gives no numbers.
func TestOnlineFails(t *testing.T) {
	for want, f := range map[string]lobbyFault{
		"refused the connection":    {codes: [2]byte{5, 0}},
		"refused the subscriptions": {codes: [2]byte{0, 0x80}},
		"to who may not see it":     {stray: true},
	} {
		_, server := newLobby(t, f)
		if _, err := fewOnline(t).Run(t.Context(), server); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := fewOnline(t).Run(t.Context(), Existing(newTiny(t, fault{}).target())); err == nil || !strings.Contains(err.Error(), "http, pid: ") {
		t.Errorf("another broker: %v", err)
	}
	_, server := newLobby(t, lobbyFault{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := fewOnline(t).Run(ctx, server); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("interrupted: %v", err)
	}
}

func TestOnlineCheck(t *testing.T) {
	right := Online{Users: 100, Rooms: 2, Members: 10, Churn: 8, Measure: 1}
	for want, change := range map[string]func(o *Online){
		"online: ":  func(o *Online) { o.Users = 1 },
		"rooms: ":   func(o *Online) { o.Rooms = 0 },
		"members: ": func(o *Online) { o.Members = 101 },
		"churn: ":   func(o *Online) { o.Churn = 9 },
		"seconds: ": func(o *Online) { o.Measure = 0 },
	} {
		o := right
		change(&o)
		if err := o.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := right.Check(); err != nil {
		t.Error(err)
	}
}

// Nobody comes and goes in one tick, however late that is: the loop opens a
// connection when it has closed the one before. And that they know nothing of
// each other is seen meanwhile.
func TestOnlineTicks(t *testing.T) {
	o := fewOnline(t)
	c, err := newCrowd(o, (&lobby{rest: newParleyREST(t, newTiny(t, fault{}))}).rest.target())
	if err != nil {
		t.Fatal(err)
	}
	c.to = time.Hour.Nanoseconds()
	c.stage = churning
	for n := range c.users {
		c.join(n, 0)
	}
	came := 0
	for now := int64(0); now < (10 * time.Second).Nanoseconds(); now += 97 * ms {
		c.tick(now)
		for _, e := range c.ends {
			if slices.Contains(c.opens, e.conn) {
				t.Fatalf("%s comes and goes at %d ms", e.user, now/ms)
			}
		}
		for _, one := range c.opens {
			came++
			c.join(one.index, now)
		}
		c.ends, c.opens, c.dirty = nil, nil, nil
	}
	if came < 300 {
		t.Errorf("%d came", came)
	}
	if c.counts.looked < 500 || c.counts.wrong < 100 || c.counts.wrong > c.counts.looked {
		t.Errorf("%d views looked at, %d wrong", c.counts.looked, c.counts.wrong)
	}
}

// join has a user be there.
func (c *crowd) join(n int, now int64) {
	u := &c.users[n]
	u.state, u.queued, u.out = coming, false, nil
	for _, packet := range [][]byte{{wire.TypeConnack << 4, 2, 0, 0}, {wire.TypeSuback << 4, 4, 0, 1, 0, 0}} {
		if _, err := c.consume(&u.conn, packet, now); err != nil {
			panic(err)
		}
	}
}
