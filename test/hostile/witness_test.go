package hostile_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// The witness is decent clients on three kinds of topics: two that publish to
// each, and two that subscribe. Nothing of what they send may be lost or come
// out of order, and how long it takes is measured.

// kind is one kind of topic.
type kind struct {
	name    string
	topic   string
	qos     byte
	durable bool
}

const witnessTopic = "chat/witness/messages"

var kinds = []kind{
	{"chat", witnessTopic, 1, true},
	{"topic, QoS 1", "witness/kept", 1, true},
	{"topic, QoS 0", "witness/live", 0, false},
}

// witnessPairs are how many publish to each kind, and how many subscribe.
const witnessPairs = 2

// witnesses are the users of the conversation.
func witnesses() (users []string) {
	for i := range witnessPairs {
		users = append(users, fmt.Sprintf("reader%d", i), fmt.Sprintf("writer%d", i))
	}
	return users
}

// times is how long the messages of one kind took that were sent in one phase.
type times struct {
	Count    int
	P50, P99 float64 // milliseconds
}

// testimony is what the witness found.
type testimony struct {
	Phases  map[string]map[string]times // by phase, then by kind
	Lost    int                         // sent and never delivered
	Bad     int                         // doubled or out of order
	Refused int                         // sends that got a code of refusal
}

// scene is a run of the witness.
type scene struct {
	cue     *cue
	begun   time.Time
	phase   atomic.Int32 // index in phases
	stop    chan struct{}
	sent    [kindCount][witnessPairs]atomic.Int64
	refused atomic.Int64
	sending sync.WaitGroup
	running sync.WaitGroup

	mu     sync.Mutex
	phases []string
	took   map[[2]int][]time.Duration // by phase and kind
	seen   [kindCount][witnessPairs][witnessPairs]int64
	bad    int
	failed error
}

// kindCount is len(kinds), which is no constant.
const kindCount = 3

// witness plays that role: each line that it is told begins a phase.
func witness(c *cue) (any, error) {
	s := &scene{cue: c, begun: time.Now(), stop: make(chan struct{}), phases: []string{"start"}, took: make(map[[2]int][]time.Duration)}
	for k := range kinds {
		for i := range witnessPairs {
			if err := s.subscriber(k, i); err != nil {
				return nil, err
			}
		}
	}
	var peers []*peer
	for k := range kinds {
		for i := range witnessPairs {
			p, err := s.publisher(k, i)
			if err != nil {
				return nil, err
			}
			peers = append(peers, p)
		}
	}
	c.ready()
	for phase := range c.said {
		s.mu.Lock()
		s.phases = append(s.phases, phase)
		s.phase.Store(int32(len(s.phases) - 1))
		s.mu.Unlock()
	}
	close(s.stop)
	s.sending.Wait()
	proctest.Becomes(patience, s.complete)
	for _, p := range peers {
		_ = p.nc.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.testify(), s.failed
}

func (s *scene) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// publisher sends to one kind at the witness's rate, and never waits for an
// acknowledgement.
func (s *scene) publisher(k, i int) (*peer, error) {
	kd := kinds[k]
	p, err := join(s.cue.Addr, login{user: fmt.Sprintf("writer%d", i), client: "writer of " + kd.name, pub: []string{"witness/#"}})
	if err != nil {
		return nil, err
	}
	s.running.Go(func() { s.answers(p) })
	s.sending.Go(func() {
		every := time.Second / time.Duration(s.cue.Rate)
		first := time.NewTimer(every * time.Duration(k*witnessPairs+i) / time.Duration(len(kinds)*witnessPairs))
		<-first.C // they do not send all at once
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := int64(1); ; n++ {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			// What a decent client has to say, and padding.
			text := fmt.Appendf(nil, "%d %d %d %d %080d", s.phase.Load(), i, n, time.Since(s.begun), 0)
			if err := p.publish(&wire.Publish{Topic: []byte(kd.topic), Payload: text, QoS: kd.qos}); err != nil {
				s.fail(fmt.Errorf("publishing to %s: %w", kd.topic, err))
				return
			}
			s.sent[k][i].Store(n)
		}
	})
	return p, nil
}

// answers reads what a publisher is answered.
func (s *scene) answers(p *peer) {
	for {
		got, err := p.next()
		if err != nil {
			return // it is closed at the end; a lost message tells of another
		}
		if got.Type() == wire.TypePuback && len(got.Body) > 2 && got.Body[2] >= wire.CodeUnspecified {
			s.refused.Add(1)
		}
	}
}

// subscriber reads and acknowledges one kind.
func (s *scene) subscriber(k, i int) error {
	kd := kinds[k]
	p, err := join(s.cue.Addr, login{user: fmt.Sprintf("reader%d", i), client: "reader of " + kd.name, durable: kd.durable, sub: []string{"witness/#"}})
	if err == nil {
		err = p.subscribe(kd.qos, kd.topic)
	}
	if err != nil {
		return err
	}
	s.running.Go(func() {
		for {
			got, err := p.next()
			var pub wire.Publish
			if err == nil && got.Type() != wire.TypePublish {
				continue
			}
			if err == nil {
				err = wire.DecodePublish(wire.Version5, got, &pub)
			}
			if err == nil && pub.QoS > 0 {
				err = p.ack(wire.TypePuback, pub.PacketID)
			}
			if err == nil {
				err = s.got(k, i, pub.Payload)
			}
			if err != nil {
				s.fail(fmt.Errorf("reading %s: %w", kd.topic, err))
				return
			}
		}
	})
	return nil
}

// got notes a message.
func (s *scene) got(k, reader int, payload []byte) error {
	now := time.Since(s.begun)
	if k == 0 { // an entry, which has the text in it
		at := bytes.Index(payload, []byte(`"content":"`))
		if at < 0 { // a join
			return nil
		}
		payload = payload[at+len(`"content":"`):]
	}
	var v [4]int64
	fields := bytes.SplitN(payload, []byte(" "), len(v)+1)
	for i := range v {
		var err error
		if v[i], err = strconv.ParseInt(string(fields[min(i, len(fields)-1)]), 10, 64); err != nil {
			return fmt.Errorf("payload %.60q: %w", payload, err)
		}
	}
	phase, writer, n, sent := int(v[0]), v[1], v[2], time.Duration(v[3])
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := &s.seen[k][reader][writer]
	if n != *seen+1 {
		s.bad++
	}
	*seen = max(*seen, n)
	at := [2]int{phase, k}
	s.took[at] = append(s.took[at], now-sent)
	return nil
}

// complete reports whether all that was sent has come, or a connection failed.
func (s *scene) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil || s.lost() == 0
}

// lost counts what has not come. s.mu is held.
func (s *scene) lost() (n int) {
	for k := range kinds {
		for reader := range witnessPairs {
			for writer := range witnessPairs {
				n += int(s.sent[k][writer].Load() - s.seen[k][reader][writer])
			}
		}
	}
	return n
}

// testify sums up. s.mu is held.
func (s *scene) testify() testimony {
	found := testimony{Phases: make(map[string]map[string]times), Lost: s.lost(), Bad: s.bad, Refused: int(s.refused.Load())}
	for at, took := range s.took {
		slices.Sort(took)
		ms := func(q float64) float64 {
			return float64(took[int(q*float64(len(took)-1))]) / float64(time.Millisecond)
		}
		phase := s.phases[at[0]]
		if found.Phases[phase] == nil {
			found.Phases[phase] = make(map[string]times)
		}
		found.Phases[phase][kinds[at[1]].name] = times{Count: len(took), P50: ms(0.5), P99: ms(0.99)}
	}
	return found
}
