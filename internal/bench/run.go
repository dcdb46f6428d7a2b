package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Target is a running server.
type Target struct {
	Name string
	Addr string // of MQTT over TCP, host:port
	// TLSAddr is that of MQTT over TLS, "" where there is none.
	TLSAddr string
	// Parley is nil for other brokers. They get the same topics, without
	// tokens and conversations.
	Parley *Parley
	// Processes are those whose cost is measured: the server, and what it
	// works with.
	Processes []Process
	// Keep leaves the conversations of a run in place.
	Keep bool
}

// server is which of the processes is the server, -1 if none is.
func (t *Target) server() int {
	return slices.IndexFunc(t.Processes, func(p Process) bool { return p.Name == ServerProcess })
}

// Result is what one run found.
type Result struct {
	Server  string  `json:"server"`
	Parley  bool    `json:"parley"`
	Seconds float64 `json:"seconds"` // that were measured

	// In the measured time. A message counts when it is acknowledged, at QoS 0
	// when it is sent.
	Messages   float64 `json:"msgsPerSecond"`
	Deliveries float64 `json:"deliveriesPerSecond"`

	// Of all messages that were sent, or due, in the measured time.
	Delivery Latency `json:"delivery"`        // to the arrival at a subscriber
	Ack      Latency `json:"acknowledgement"` // to the PUBACK

	Cost
	Correctness
}

// Cost is what a run used in the measured time.
type Cost struct {
	Processes []ProcessCost `json:"processes"`
	Generator ProcessCost   `json:"generator"`
	// OtherCPU is what all else on the machine took. What is measured beside
	// much of it means little. The kernel counts it coarsely.
	OtherCPU float64 `json:"otherCPUSeconds"`
}

// ProcessCost is what one process and its descendants used.
type ProcessCost struct {
	Name string  `json:"name"`
	CPU  float64 `json:"cpuSeconds"`
	// PerDelivery is CPU over deliveries, or over messages where nothing is
	// delivered.
	PerDelivery float64 `json:"cpuMicrosPerDelivery"`
	RSSBefore   float64 `json:"rssBeforeMiB,omitempty"` // with all connected
	RSSAfter    float64 `json:"rssAfterMiB,omitempty"`
}

// Correctness is what was wrong, of all messages of a run, warm-up included.
type Correctness struct {
	Sent           uint64 `json:"sent"`
	Acknowledged   uint64 `json:"acknowledged"`
	Unacknowledged uint64 `json:"unacknowledged"` // at the end, at QoS 1
	Unsent         uint64 `json:"unsent"`         // due in an open loop, and never sent
	Delivered      uint64 `json:"delivered"`      // each once

	Lost        uint64 `json:"lost"`           // deliveries of acknowledged messages; at QoS 0 of all
	Duplicated  uint64 `json:"duplicated"`     // deliveries beyond the first
	Disordered  uint64 `json:"disordered"`     // deliveries after a later one of the same sender
	Foreign     uint64 `json:"foreign"`        // deliveries of what nobody sent there
	OtherOrders int    `json:"differingOrder"` // conversations whose members saw different orders

	// Of Parley: how the log differs from what was acknowledged.
	LogMissing uint64 `json:"logMissing"` // acknowledged and not in the log
	LogSurplus uint64 `json:"logSurplus"` // more in the log than was sent

	Broken []string `json:"broken,omitempty"` // connections that ended, and why
}

// Faults lists in words what was wrong. It is empty when nothing was.
func (c *Correctness) Faults() []string {
	var faults []string
	for _, f := range []struct {
		n    uint64
		what string
	}{
		{c.Lost, "deliveries lost"},
		{c.Duplicated, "deliveries duplicated"},
		{c.Disordered, "deliveries out of order"},
		{c.Foreign, "deliveries of what was never sent there"},
		{uint64(c.OtherOrders), "conversations seen in different orders"},
		{c.LogMissing, "acknowledged messages missing in the log"},
		{c.LogSurplus, "entries in the log that nobody sent"},
		{c.Unacknowledged, "messages never acknowledged"},
		{c.Unsent, "messages that could not be sent"},
	} {
		if f.n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", f.n, f.what))
		}
	}
	if n := len(c.Broken); n > 0 {
		faults = append(faults, fmt.Sprintf("%d connections broken (%s)", n, c.Broken[0]))
	}
	return faults
}

// Run puts one load on a target and measures it. load must be filled. What is
// wrong with the messages is no error: it stands in the result.
func Run(ctx context.Context, load *Load, t *Target) (*Result, error) {
	run := rand.Uint32()
	streams, conns := layout(load, run)
	var before []uint64
	logged := t.Parley != nil && load.Case != Topic
	if logged {
		defer restClient.CloseIdleConnections()
		var err error
		if before, err = t.Parley.create(ctx, streams, conns); err != nil {
			return nil, fmt.Errorf("%s: creating conversations: %w", t.Name, err)
		}
	}
	g := newGenerator(load, run, streams, conns)
	r, err := g.measure(ctx, t)
	if logged {
		if err == nil {
			err = r.compareLog(ctx, t, g, before)
		}
		if !t.Keep {
			// Even when the run was interrupted.
			err = errors.Join(err, t.Parley.remove(context.WithoutCancel(ctx), streams))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	return r, nil
}

// measure connects the clients, drives them, and puts the result together.
func (g *generator) measure(ctx context.Context, t *Target) (*Result, error) {
	if err := connectAll(ctx, t, g.load, g.conns); err != nil {
		return nil, err
	}
	costs := sample(t.Processes, g.marks)
	err := drive(ctx, g, &g.ports)
	close(g.marks)
	cost := <-costs
	if err == nil {
		err = cost.err
	}
	if err != nil {
		return nil, err
	}
	r := g.result()
	r.Server, r.Parley = t.Name, t.Parley != nil
	r.Cost = cost.of(g)
	return r, nil
}

// compareLog compares the log of a Parley server with what it acknowledged.
func (r *Result) compareLog(ctx context.Context, t *Target, g *generator, before []uint64) error {
	after, err := t.Parley.heads(ctx, g.streams)
	if err != nil {
		return fmt.Errorf("reading what was committed: %w", err)
	}
	for i, s := range g.streams {
		sent, acked := uint64(0), uint64(0)
		for _, c := range s.senders {
			sent += uint64(c.sender.sent)
			acked += c.sender.acked
		}
		committed := after[i] - before[i]
		r.LogMissing += acked - min(acked, committed)
		r.LogSurplus += committed - min(committed, sent)
	}
	return nil
}

func (g *generator) result() *Result {
	r := &Result{Seconds: g.measuredSeconds(), Delivery: g.delivery.latency(), Ack: g.ack.latency()}
	if r.Seconds > 0 {
		r.Messages = float64(g.messages) / r.Seconds
		r.Deliveries = float64(g.deliveries) / r.Seconds
	}
	r.Sent, r.Acknowledged, r.Delivered, r.Foreign = g.sent, g.acked, g.unique, g.foreign
	if g.load.QoS > 0 {
		r.Unacknowledged = g.sent - g.acked
	}
	if g.scheduled > g.sent {
		r.Unsent = g.scheduled - g.sent
	}
	for _, s := range g.streams {
		g.judge(s, &r.Correctness)
	}
	for _, err := range g.broken {
		r.Broken = append(r.Broken, err.Error())
	}
	return r
}

func (g *generator) measuredSeconds() float64 {
	return time.Duration(max(g.to-g.from, 0)).Seconds()
}

// judge adds what was wrong in one stream.
func (g *generator) judge(s *stream, c *Correctness) {
	everything := uint64(0)
	for _, from := range s.senders {
		everything += uint64(from.sender.sent)
	}
	readers := make([]*seen, len(s.readers))
	for i, to := range s.readers {
		readers[i] = &to.reader.seen
		c.Duplicated += to.reader.duplicated
		c.Disordered += to.reader.disordered
		for _, from := range s.senders {
			c.Lost += to.reader.missing(from.sender.index, from.sender.sent, from.sender.unacknowledged)
		}
	}
	if !sameOrder(readers, everything) {
		c.OtherOrders++
	}
}

// sampled is the CPU time at the begin and the end of the measured time.
type sampled struct {
	processes [2][]usage
	generator [2]time.Duration
	machine   [2]time.Duration
	names     []Process
	err       error
}

// sample reads costs in a goroutine of its own, so that the loop does not stop
// for it, whenever marks tells, and answers when marks is closed.
func sample(processes []Process, marks <-chan struct{}) <-chan *sampled {
	answer := make(chan *sampled, 1)
	go func() {
		s := &sampled{names: processes}
		n := 0
		for range marks {
			if n < 2 {
				usages, err := measure(processes)
				s.processes[n], s.err = usages, errors.Join(s.err, err)
				s.generator[n], s.machine[n] = ownCPU(), machineCPU()
			}
			n++
		}
		if n != 2 && s.err == nil {
			s.err = errors.New("the run ended before it was measured")
		}
		answer <- s
	}()
	return answer
}

func (s *sampled) of(g *generator) Cost {
	units := g.deliveries
	if g.load.Case == Submit {
		units = g.messages
	}
	cost := func(name string, from, to usage) ProcessCost {
		p := ProcessCost{Name: name, CPU: (to.cpu - from.cpu).Seconds(), RSSBefore: mebibytes(from.rss), RSSAfter: mebibytes(to.rss)}
		if units > 0 {
			p.PerDelivery = p.CPU * 1e6 / float64(units)
		}
		return p
	}
	c := Cost{Generator: cost("generator", usage{cpu: s.generator[0]}, usage{cpu: s.generator[1]})}
	c.OtherCPU = (s.machine[1] - s.machine[0]).Seconds() - c.Generator.CPU
	for i, p := range s.names {
		c.Processes = append(c.Processes, cost(p.Name, s.processes[0][i], s.processes[1][i]))
		c.OtherCPU -= c.Processes[i].CPU
	}
	c.OtherCPU = max(c.OtherCPU, 0)
	return c
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
