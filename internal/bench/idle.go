package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

// Transport is what connections run over.
type Transport string

// The transports.
const (
	TCP             Transport = "tcp"
	TLS             Transport = "tls"
	WebSocket       Transport = "ws"
	SecureWebSocket Transport = "wss"
)

// Secure reports whether it has TLS.
func (t Transport) Secure() bool { return t == TLS || t == SecureWebSocket }

func (t Transport) web() bool { return t == WebSocket || t == SecureWebSocket }

// Idle is connections that do nothing but ping. Each has logged in as a user
// of its own, with a clean session, a keep-alive of two minutes and one
// subscription to chat/+/messages.
type Idle struct {
	Conns int
	Over  Transport
	Storm int // how many of them are cut in the end and come back, all at once

	look     time.Duration // how often it is looked for a garbage collection; 0 is 5 s
	ping     time.Duration // how often all connections ping; 0 is a minute
	giveBack time.Duration // what the runtime has for giving memory back; 0 is 10 s
}

// pingEvery is half the keep-alive.
const pingEvery = time.Minute

// Check says which flag is wrong.
func (i *Idle) Check() error {
	const most = 25_000 // the ports of one address
	switch {
	case i.Conns < 1 || i.Conns > most:
		return fmt.Errorf("idle: must be from 1 to %d", most)
	case i.Over != TCP && !i.Over.Secure() && !i.Over.web():
		return fmt.Errorf("over: knows tcp, tls, ws and wss, not %q", i.Over)
	case i.Storm < 0 || i.Storm > i.Conns:
		return errors.New("storm: must be from 0 to the number of idle connections")
	}
	return nil
}

// Memory is what a server uses. What the kernel has for its sockets is not
// in it.
type Memory struct {
	RSS float64 `json:"rssMiB"`
	// What the Go runtime of a Parley says of itself.
	Heap       float64 `json:"heapInUseMiB,omitempty"`
	Stacks     float64 `json:"stacksMiB,omitempty"`
	Goroutines float64 `json:"goroutines,omitempty"`
	// NextGC is how large the heap may become before the next garbage
	// collection: twice what the last one left.
	NextGC float64 `json:"nextGCMiB,omitempty"`

	cycles             float64 // garbage collections so far
	conns              float64 // MQTT connections
	coalesced, dropped float64 // presence
}

// IdleResult is what idle connections cost one server.
type IdleResult struct {
	Server     string  `json:"server"`
	Conns      int     `json:"connections"`
	Before     Memory  `json:"before"` // after one connection came and went
	Connecting float64 `json:"connectingSeconds"`
	Connected  Memory  `json:"connected"`
	// Settled is after two garbage collections of a quiet Parley, which Go
	// forces every two minutes: what connections hold. The first leaves what
	// their coming took in place, for more of them.
	Settled *Memory `json:"settled,omitempty"`
	// Storm is the time from the first SYN until all that were cut have their
	// CONNACK again. The clients are this process, on the same machine.
	Storm      float64 `json:"stormSeconds,omitempty"`
	AfterStorm *Memory `json:"afterStorm,omitempty"`
}

// Run measures a server that it starts.
func (i *Idle) Run(ctx context.Context, s Server) (r *IdleResult, err error) {
	setDefault(&i.look, 5*time.Second)
	setDefault(&i.ping, pingEvery)
	setDefault(&i.giveBack, 10*time.Second)
	t, stop, err := s.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	clients, err := i.clients(t)
	if err != nil {
		return nil, err
	}
	defer func() { cut(clients) }()
	r = &IdleResult{Server: t.Name, Conns: i.Conns}
	if err := clients[0].connect(ctx); err != nil { // what the first one costs is the server's
		return nil, err
	}
	cut(clients[:1])
	if r.Before, err = memory(ctx, t); err != nil {
		return nil, err
	}
	if r.Connecting, err = connectIdle(ctx, clients, atOnce); err != nil {
		return nil, err
	}
	if r.Connected, err = memory(ctx, t); err != nil {
		return nil, err
	}
	if r.Settled, err = i.settle(ctx, t, clients); err != nil || i.Storm == 0 {
		return r, err
	}
	cut(clients[:i.Storm])
	if r.Storm, err = connectIdle(ctx, clients[:i.Storm], i.Storm); err != nil {
		return nil, err
	}
	after, err := memory(ctx, t)
	r.AfterStorm = &after
	return r, err
}

// idleClient is one client: it keeps what it sends, so that only sending is
// timed.
type idleClient struct {
	addr      string
	secure    *tls.Config // nil is without TLS
	web       bool
	login     []byte // CONNECT
	subscribe []byte
	tcp       net.Conn // nil while there is no connection
	nc        net.Conn // what MQTT goes over
}

// clients are as many as there shall be connections.
func (i *Idle) clients(t *Target) ([]idleClient, error) {
	addr := t.Addr
	if i.Over.Secure() {
		addr = t.TLSAddr
	}
	if i.Over.web() && t.Parley != nil {
		_, addr, _ = strings.Cut(t.Parley.URL, "://")
	}
	var secure *tls.Config
	switch {
	case addr == "" || (i.Over.Secure() || i.Over.web()) && t.Parley == nil:
		return nil, fmt.Errorf("over: it is not known where %s has %s", t.Name, i.Over)
	case i.Over.Secure():
		secure = &tls.Config{RootCAs: t.Parley.Roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	}
	clients := make([]idleClient, i.Conns)
	for n := range clients {
		user, token := "idle-"+strconv.Itoa(n), ""
		if t.Parley != nil {
			var err error
			if token, err = t.Parley.token(user); err != nil {
				return nil, err
			}
		}
		clients[n] = idleClient{addr: addr, secure: secure, web: i.Over.web(),
			login: appendConnect(nil, user, token, uint16(2*pingEvery/time.Second)), subscribe: appendSubscribe(nil, 1, "chat/+/messages")}
	}
	return clients, nil
}

// connectIdle connects clients, some at the same time, and returns the seconds
// until all had their CONNACK. Then it has them subscribe.
func connectIdle(ctx context.Context, clients []idleClient, atOnce int) (seconds float64, err error) {
	began := time.Now()
	err = parallel(ctx, atOnce, len(clients), func(ctx context.Context, n int) error {
		return clients[n].connect(ctx)
	})
	seconds = time.Since(began).Seconds()
	if err != nil {
		return 0, err
	}
	return seconds, parallel(ctx, atOnce, len(clients), func(_ context.Context, n int) error {
		code, err := clients[n].ask(clients[n].subscribe, wire.TypeSuback, 2)
		if err == nil && code >= 0x80 {
			err = fmt.Errorf("the server refused the subscription with code %d", code)
		}
		return err
	})
}

func (c *idleClient) connect(ctx context.Context) error {
	dialer := net.Dialer{Timeout: connectTime}
	nc, err := dialer.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	c.tcp, c.nc = nc, nc
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Now()) })
	defer stop()
	_ = nc.SetDeadline(time.Now().Add(connectTime))
	if c.secure != nil {
		c.nc = tls.Client(nc, c.secure)
	}
	if c.web {
		if c.nc, err = upgrade(c.nc, c.addr); err != nil {
			return err
		}
	}
	code, err := c.ask(c.login, wire.TypeConnack, 1)
	if err == nil && code != 0 {
		err = fmt.Errorf("the server refused the connection with code %d", code)
	}
	return err
}

// ask is that of all connections, with connectTime for the answer.
func (c *idleClient) ask(packet []byte, kind byte, at int) (code byte, err error) {
	_ = c.tcp.SetDeadline(time.Now().Add(connectTime))
	return ask(c.nc, packet, kind, at)
}

func (c *idleClient) ping() error {
	_ = c.tcp.SetDeadline(time.Now().Add(connectTime))
	answer := wire.AppendPingresp(nil)
	_, err := c.nc.Write([]byte{wire.TypePingreq << 4, 0})
	if err == nil {
		_, err = io.ReadFull(c.nc, answer)
	}
	return err
}

// cut resets connections, as when a network goes away: nothing of them is
// left in the kernel.
func cut(clients []idleClient) {
	for n := range clients {
		c := &clients[n]
		if c.tcp == nil {
			continue
		}
		if linger, ok := c.tcp.(interface{ SetLinger(sec int) error }); ok {
			_ = linger.SetLinger(0)
		}
		_ = c.tcp.Close()
		c.tcp = nil
	}
}

// memory asks what a target uses now.
func memory(ctx context.Context, t *Target) (m Memory, err error) {
	server := t.server()
	if server < 0 {
		return m, errors.New("pid: is missing, to measure the server's memory")
	}
	used, err := measure(t.Processes[server : server+1])
	if err != nil {
		return m, err
	}
	const mib = 1 << 20
	m.RSS = mebibytes(used[0].rss)
	if t.Parley == nil {
		return m, nil
	}
	text, err := t.Parley.metrics(ctx)
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a comment
		}
		switch name {
		case "go_memstats_heap_inuse_bytes":
			m.Heap = v / mib
		case "go_memstats_stack_inuse_bytes":
			m.Stacks = v / mib
		case "go_goroutines":
			m.Goroutines = v
		case "go_memstats_next_gc_bytes":
			m.NextGC = v / mib
		case "go_gc_duration_seconds_count":
			m.cycles = v
		case "parley_mqtt_connections":
			m.conns = v
		case `parley_live_coalesced_total{kind="presence"}`:
			m.coalesced = v
		case `parley_live_dropped_total{kind="presence"}`:
			m.dropped = v
		}
	}
	return m, nil
}

// settle waits until a quiet Parley has collected its garbage twice and had the
// time to give memory back.
func (i *Idle) settle(ctx context.Context, t *Target, clients []idleClient) (*Memory, error) {
	if t.Parley == nil {
		return nil, nil
	}
	const patience = 8 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	first, err := memory(ctx, t)
	pinged := time.Now()
	for m := first; err == nil && m.cycles < first.cycles+2; {
		if err = pause(ctx, i.look); err == nil && time.Since(pinged) > i.ping {
			pinged = time.Now()
			err = parallel(ctx, atOnce, len(clients), func(_ context.Context, n int) error { return clients[n].ping() })
		}
		if err == nil {
			m, err = memory(ctx, t)
		}
	}
	if err == nil {
		err = pause(ctx, i.giveBack)
	}
	if err != nil {
		return nil, err
	}
	m, err := memory(ctx, t)
	if lost := len(clients) - int(m.conns); err == nil && lost > 0 {
		err = fmt.Errorf("%d connections are lost", lost)
	}
	return &m, err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// IdleTable writes results as a table.
func IdleTable(w io.Writer, i *Idle, results []*IdleResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s idle connections over %s, one subscription each\n\n", count(float64(i.Conns)), i.Over)
	table := [][]string{{""}}
	row := func(name string, value func(r *IdleResult) (float64, bool)) {
		cells, shown := []string{name}, false
		for _, r := range results {
			v, ok := value(r)
			if shown = shown || ok; ok {
				cells = append(cells, digits(v))
			} else {
				cells = append(cells, "")
			}
		}
		if shown {
			table = append(table, cells)
		}
	}
	for _, r := range results {
		table[0] = append(table[0], r.Server)
	}
	always := func(f func(r *IdleResult) float64) func(r *IdleResult) (float64, bool) {
		return func(r *IdleResult) (float64, bool) { return f(r), true }
	}
	// each is what something grew by for a connection, in KiB.
	each := func(at func(*IdleResult) *Memory, of func(*Memory) float64) func(r *IdleResult) (float64, bool) {
		return func(r *IdleResult) (float64, bool) {
			m := at(r)
			if m == nil || of(m) == 0 {
				return 0, false
			}
			return (of(m) - of(&r.Before)) * 1024 / float64(r.Conns), true
		}
	}
	row("RSS before, MiB", always(func(r *IdleResult) float64 { return r.Before.RSS }))
	for _, when := range []struct {
		name string
		at   func(*IdleResult) *Memory
	}{
		{"connected", func(r *IdleResult) *Memory { return &r.Connected }},
		{"after two garbage collections", func(r *IdleResult) *Memory { return r.Settled }},
		{"after the storm", func(r *IdleResult) *Memory { return r.AfterStorm }},
	} {
		row(when.name+": RSS a connection, KiB", each(when.at, func(m *Memory) float64 { return m.RSS }))
		row("heap in use, KiB", each(when.at, func(m *Memory) float64 { return m.Heap }))
		row("stacks, KiB", each(when.at, func(m *Memory) float64 { return m.Stacks }))
		row("goroutines", func(r *IdleResult) (float64, bool) {
			n, ok := each(when.at, func(m *Memory) float64 { return m.Goroutines })(r)
			return n / 1024, ok
		})
	}
	row(fmt.Sprintf("connecting, %d at a time, s", atOnce), always(func(r *IdleResult) float64 { return r.Connecting }))
	row(fmt.Sprintf("storm of %s: until the last CONNACK, s", count(float64(i.Storm))),
		func(r *IdleResult) (float64, bool) { return r.Storm, r.Storm > 0 })
	writeTable(&b, table)
	_, err := io.WriteString(w, b.String())
	return err
}
