package bench

import (
	"context"
	"errors"
	"time"
)

// onlineCosts are what all used at the ends of the windows.
type onlineCosts struct {
	at  []onlineCost
	err error
}

type onlineCost struct {
	window
	when      time.Time
	processes []usage
	generator time.Duration
	machine   time.Duration
	memory    Memory
}

// sample reads costs in a goroutine of its own, so that the loop does not stop
// for it, at the end of each window, and answers when marks is closed.
func (o *Online) sample(ctx context.Context, t *Target, marks <-chan window) <-chan *onlineCosts {
	answer := make(chan *onlineCosts, 1)
	go func() {
		s := new(onlineCosts)
		for w := range marks {
			if s.err != nil {
				continue
			}
			c := onlineCost{window: w}
			c.processes, s.err = measure(t.Processes)
			c.when, c.generator, c.machine = time.Now(), ownCPU(), machineCPU()
			if s.err == nil {
				c.memory, s.err = memory(ctx, t)
			}
			s.at = append(s.at, c)
		}
		if len(s.at) < 2 && s.err == nil {
			s.err = errors.New("the run ended before it was measured")
		}
		answer <- s
	}()
	return answer
}

// of puts the costs into a result.
func (s *onlineCosts) of(r *OnlineResult, t *Target) {
	first, last := &s.at[0], &s.at[len(s.at)-1]
	server := t.server()
	micros := func(p ProcessCost) ProcessCost {
		if n := last.deliveries - first.deliveries; n > 0 {
			p.PerDelivery = p.CPU * 1e6 / float64(n)
		}
		return p
	}
	for i, p := range t.Processes {
		from, to := first.processes[i], last.processes[i]
		r.Processes = append(r.Processes, micros(ProcessCost{Name: p.Name, CPU: (to.cpu - from.cpu).Seconds(),
			RSSBefore: mebibytes(from.rss), RSSAfter: mebibytes(to.rss)}))
		r.OtherCPU -= r.Processes[i].CPU
	}
	r.Generator = micros(ProcessCost{Name: "generator", CPU: (last.generator - first.generator).Seconds()})
	r.OtherCPU = max(0, r.OtherCPU+(last.machine-first.machine).Seconds()-r.Generator.CPU)
	r.Coalesced = last.memory.coalesced - first.memory.coalesced
	r.Dropped = last.memory.dropped - first.memory.dropped
	before := first
	for i := range s.at {
		c := &s.at[i]
		one := OnlineSample{Seconds: time.Duration(c.at - first.at).Seconds(), Connected: c.connected, Memory: c.memory,
			Online: c.online, Offline: c.offline, Coalesced: c.memory.coalesced - before.memory.coalesced,
			Dropped: c.memory.dropped - before.memory.dropped, Wrong: c.wrong - before.wrong}
		if took := c.when.Sub(before.when).Seconds(); took > 0 {
			one.CPU = (c.processes[server].cpu - before.processes[server].cpu).Seconds() / took
			one.Deliveries = float64(c.deliveries-before.deliveries) / time.Duration(c.at-before.at).Seconds()
		}
		r.Samples = append(r.Samples, one)
		before = c
	}
}
