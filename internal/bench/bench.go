// Package bench drives MQTT servers and measures them: messages and deliveries
// a second, latency, CPU and memory, and whether anything was lost, doubled or
// swapped.
//
// The load comes from one thread with an epoll loop and raw packets, because
// it shares the machine with what it measures: it must cost little, and the
// same for every server. It says what it cost.
//
// Every message carries its run, time, stream, sender and a count of its
// sender. Every subscriber is checked by these, from the first message of the
// warm-up to the last one after the end.
package bench

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Case is what a load is made of.
type Case string

// The cases.
const (
	Chat   Case = "chat"   // conversations in which every member sends and subscribes
	Fanout Case = "fanout" // one publisher and many subscribers
	Topic  Case = "topic"  // Fanout on an ordinary topic, which has no log
	Submit Case = "submit" // the senders of Chat, without subscribers
)

// Load is what a run sends. Fill puts defaults where it is zero.
type Load struct {
	Case          Case    `json:"case"`
	Conversations int     `json:"conversations,omitempty"` // of Chat and Submit
	Members       int     `json:"members,omitempty"`       // of each of them
	Subscribers   int     `json:"subscribers,omitempty"`   // of Fanout and Topic
	QoS           int     `json:"qos"`                     // of publishers and subscribers
	Size          int     `json:"size"`                    // bytes of a payload, as it is sent
	Inflight      int     `json:"inflight,omitempty"`      // unacknowledged messages of a sender, at QoS 1
	Outstanding   int     `json:"outstanding,omitempty"`   // of Fanout and Topic in a closed loop: deliveries under way
	Rate          float64 `json:"rate,omitempty"`          // messages a second of all senders; 0 is as fast as acknowledged

	Warmup  time.Duration `json:"warmup"`
	Measure time.Duration `json:"measure"`

	// stopAfter ends the sending after so many messages. 0 is no limit.
	stopAfter uint64
	// patience is how long nothing may come before what is missing is given up.
	patience time.Duration
}

// minSize is the least that a stamp needs.
const minSize = len(payloadHead) + stampLen + len(payloadTail)

// maxSize keeps the content within what a chat message may hold.
const maxSize = len(payloadHead) + 8192 + len(payloadTail)

// Fill puts defaults where l is zero and checks the rest. The error names the
// flag that is wrong.
func (l *Load) Fill() error {
	setDefault(&l.Case, Chat)
	switch l.Case {
	case Chat, Submit:
		setDefault(&l.Conversations, 100)
		setDefault(&l.Members, 10)
		setDefault(&l.Size, 200)
		l.Subscribers, l.Outstanding = 0, 0
		if l.QoS == 0 && (l.Rate == 0 || l.Case == Submit) {
			return errors.New("qos: at 0 nothing is acknowledged, so there is nothing to wait for; " +
				"use 1, or chat with a rate")
		}
	case Fanout, Topic:
		setDefault(&l.Subscribers, 100)
		setDefault(&l.Size, 100)
		setDefault(&l.Outstanding, 10_000)
		l.Conversations, l.Members = 0, 0
	default:
		return fmt.Errorf("case: knows chat, fanout, topic and submit, not %q", l.Case)
	}
	l.fillInflight()
	setDefault(&l.Measure, 5*time.Second)
	setDefault(&l.patience, 3*time.Second)
	return l.check()
}

func (l *Load) fillInflight() {
	switch {
	case l.QoS == 0:
		l.Inflight = 0
	case l.Inflight != 0:
	case l.fans(): // the window of deliveries is what limits it
		l.Inflight = 4096
	case l.Case == Chat && l.Rate == 0:
		l.Inflight = 1
	default:
		l.Inflight = 16
	}
	if l.Rate > 0 {
		l.Outstanding = 0
	}
}

func (l *Load) check() error {
	for _, c := range []struct {
		name            string
		value, min, max int
	}{
		{"conversations", max(l.Conversations, 0), 0, 100_000},
		{"members", max(l.Members, 0), 0, 10_000},
		{"subscribers", max(l.Subscribers, 0), 0, 1_000_000},
		{"qos", l.QoS, 0, 1},
		{"size", l.Size, minSize, maxSize},
		{"inflight", l.Inflight, 0, 65_535},
		{"outstanding", l.Outstanding, 0, 1 << 30},
	} {
		if c.value < c.min || c.value > c.max {
			return fmt.Errorf("%s: must be from %d to %d", c.name, c.min, c.max)
		}
	}
	switch {
	case l.Conversations < 0 || l.Members < 0 || l.Subscribers < 0:
		return errors.New("conversations, members, subscribers: must be at least 1")
	case l.Outstanding > 0 && l.Outstanding < l.Subscribers:
		return errors.New("outstanding: must be at least the number of subscribers")
	case l.Rate < 0 || l.Rate > 1e7:
		return errors.New("rate: must be from 0 to 10,000,000")
	case l.Warmup < 0 || l.Measure < 0:
		return errors.New("seconds, warmup: must not be negative")
	}
	return nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// fans reports whether one client sends and many read.
func (l *Load) fans() bool { return l.Case == Fanout || l.Case == Topic }

// Describe says in words what is sent.
func (l *Load) Describe() string {
	var b strings.Builder
	switch l.Case {
	case Fanout:
		fmt.Fprintf(&b, "1 publisher, %d subscribers, QoS %d", l.Subscribers, l.QoS)
	case Topic:
		fmt.Fprintf(&b, "an ordinary topic: 1 publisher, %d subscribers, QoS %d", l.Subscribers, l.QoS)
	case Submit:
		fmt.Fprintf(&b, "%d conversations, %d senders each, no subscribers, QoS %d", l.Conversations, l.Members, l.QoS)
	default:
		fmt.Fprintf(&b, "%d conversations, %d members each, QoS %d", l.Conversations, l.Members, l.QoS)
	}
	fmt.Fprintf(&b, ", %d B", l.Size)
	switch {
	case l.Rate > 0:
		fmt.Fprintf(&b, ", %g msgs/s", l.Rate)
	case l.fans():
		fmt.Fprintf(&b, ", %d deliveries under way", l.Outstanding)
	default:
		fmt.Fprintf(&b, ", %d in flight a sender", l.Inflight)
	}
	return b.String()
}

// Standard are the loads of the table that the documentation shows.
func Standard(warmup, measure time.Duration) []Load {
	loads := []Load{
		{Case: Fanout, QoS: 0},
		{Case: Fanout, QoS: 1},
		{Case: Topic, QoS: 0},
		{Case: Topic, QoS: 1},
		{Case: Chat, QoS: 1},
		{Case: Chat, QoS: 1, Rate: 2000},
		{Case: Submit, QoS: 1},
	}
	for i := range loads {
		loads[i].Warmup, loads[i].Measure = warmup, measure
		if err := loads[i].Fill(); err != nil {
			panic(err) // the list above is wrong
		}
	}
	return loads
}
