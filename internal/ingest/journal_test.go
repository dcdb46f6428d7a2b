package ingest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The model is a source and its link, and a bridge that does with the journal
// what the real one does. Everything between them may be lost at any moment,
// and the bridge may be killed. The source keeps to MQTT.
type model struct {
	t      *testing.T
	chance *rand.Rand
	kind   string // how the source chooses identifiers
	qos    byte
	bodies int // how many different ones; 0: each is another
	window int

	// the source
	queue     []string
	flight    []sent
	lastID    uint16
	published map[string]int
	many      int

	down []wirePacket // on the way to the bridge
	up   []wirePacket

	// the bridge
	path      string
	j         *journal
	link      uint64
	pending   []receipt // committed, and not acknowledged
	committed map[string]string
}

// sent is a message that the source has sent and that is not completed.
type sent struct {
	id       uint16
	body     string
	released bool // PUBREL was sent
}

type wirePacket struct {
	kind  string
	id    uint16
	dup   bool
	body  string
	heard []receipt // of a PINGREQ and its answer
}

func newModel(t *testing.T, chance *rand.Rand, kind string, qos byte, bodies int) *model {
	m := &model{t: t, chance: chance, kind: kind, qos: qos, bodies: bodies, window: 1 + chance.IntN(8), link: beforeStart,
		path: filepath.Join(t.TempDir(), "journal"), published: make(map[string]int), committed: make(map[string]string)}
	m.open(false)
	return m
}

// open begins a life of the bridge.
func (m *model) open(present bool) {
	m.t.Helper()
	var err error
	if m.j, err = openJournal(m.path, "session"); err != nil {
		m.t.Fatal(err)
	}
	m.link = beforeStart
	m.connect(present)
}

// connect is a new connection: what was on the way is gone, and the source
// sends again what is not completed.
func (m *model) connect(present bool) {
	m.t.Helper()
	m.down, m.up, m.pending = nil, nil, nil
	m.link++
	if _, err := m.j.connected(present, uint16(m.window)); err != nil {
		m.t.Fatal(err)
	}
	for _, f := range m.flight {
		if f.released {
			m.down = append(m.down, wirePacket{kind: "PUBREL", id: f.id})
		} else {
			m.down = append(m.down, wirePacket{kind: "PUBLISH", id: f.id, dup: true, body: f.body})
		}
	}
}

// kill is kill -9 of the bridge, perhaps in the middle of a write.
func (m *model) kill() {
	m.t.Helper()
	if err := m.j.file.close(); err != nil {
		m.t.Fatal(err)
	}
	if m.chance.IntN(2) == 0 {
		f, err := os.OpenFile(m.path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		_, _ = f.WriteString([]string{"b 12", "b 7 9 1 ab\x00\x00\n", "\x00\x00\x00", "f"}[m.chance.IntN(4)])
		_ = f.Close()
	}
	m.open(true)
}

func (m *model) publish() {
	m.many++
	body := fmt.Sprint("unique ", m.many)
	if m.bodies > 0 {
		body = fmt.Sprint("body ", m.chance.IntN(m.bodies))
	}
	m.queue = append(m.queue, body)
	m.published[body]++
}

// sendNext is the source's.
func (m *model) sendNext() {
	if len(m.queue) == 0 || len(m.flight) >= m.window {
		return
	}
	id := m.lastID + 1
	used := func(id uint16) bool {
		return id == 0 || slices.ContainsFunc(m.flight, func(s sent) bool { return s.id == id })
	}
	switch m.kind {
	case "lowest":
		for id = 1; used(id); id++ {
		}
	case "random":
		for id = 0; used(id); {
			id = uint16(m.chance.IntN(1 << 16))
		}
	default:
		for used(id) {
			id++
		}
	}
	m.lastID = id
	m.flight = append(m.flight, sent{id: id, body: m.queue[0]})
	m.down = append(m.down, wirePacket{kind: "PUBLISH", id: id, body: m.queue[0]})
	m.queue = m.queue[1:]
}

// hear is the source's.
func (m *model) hear() {
	if len(m.up) == 0 {
		return
	}
	p := m.up[0]
	m.up = m.up[1:]
	at := slices.IndexFunc(m.flight, func(s sent) bool { return s.id == p.id })
	switch p.kind {
	case "PINGREQ":
		p.kind = "PINGRESP"
		m.down = append(m.down, p)
	case "PUBREC":
		m.flight[at].released = true
		m.down = append(m.down, wirePacket{kind: "PUBREL", id: p.id})
	default:
		m.flight = slices.Delete(m.flight, at, at+1)
	}
}

// receive is the bridge's.
func (m *model) receive() {
	m.t.Helper()
	if len(m.down) == 0 {
		return
	}
	p := m.down[0]
	m.down = m.down[1:]
	switch p.kind {
	case "PUBLISH":
		var d digest
		copy(d[:], p.body)
		b, _ := m.j.bind(m.link, p.id, m.qos, p.dup, d)
		m.flush()
		if m.chance.IntN(8) == 0 {
			m.kill() // before it is committed
			return
		}
		id := m.j.clientID(b.n)
		if had, ok := m.committed[id]; ok && had != p.body {
			m.t.Fatalf("%s is %q and %q", id, had, p.body)
		}
		m.committed[id] = p.body
		m.j.done(p.id, b)
		m.pending = append(m.pending, receipt{p.id, b})
	case "PUBREL":
		b := m.j.release(m.link, p.id)
		m.flush()
		m.up = append(m.up, wirePacket{kind: "PUBCOMP", id: p.id})
		if b != nil {
			m.up = append(m.up, wirePacket{kind: "PINGREQ", heard: []receipt{{p.id, b}}})
		}
	case "PINGRESP":
		for _, r := range p.heard {
			m.j.confirm(m.link, r.id, r.b)
		}
	}
}

func (m *model) flush() {
	m.t.Helper()
	if err := m.j.flush(); err != nil {
		m.t.Fatal(err)
	}
}

// acknowledge is the bridge's.
func (m *model) acknowledge() {
	if len(m.pending) == 0 {
		return
	}
	r := m.pending[0]
	m.pending = m.pending[1:]
	if m.qos == 2 {
		m.up = append(m.up, wirePacket{kind: "PUBREC", id: r.id})
		return
	}
	m.j.end(m.link, r.id, r.b)
	m.up = append(m.up, wirePacket{kind: "PUBACK", id: r.id}, wirePacket{kind: "PINGREQ", heard: []receipt{r}})
}

func (m *model) step() {
	m.t.Helper()
	switch n := m.chance.IntN(100); {
	case n < 20:
		m.sendNext()
	case n < 50:
		m.receive()
	case n < 70:
		m.acknowledge()
	case n < 95:
		m.hear()
	case n < 98:
		m.connect(true)
	default:
		m.kill()
	}
}

// settle lets everything come to its end, and wants each message once.
func (m *model) settle() {
	m.t.Helper()
	for len(m.queue)+len(m.flight)+len(m.down)+len(m.up)+len(m.pending) > 0 {
		m.step()
	}
	have := make(map[string]int)
	for _, body := range m.committed {
		have[body]++
	}
	for body, n := range m.published {
		if have[body] != n {
			m.t.Fatalf("%q was published %d times and stands %d times", body, n, have[body])
		}
	}
}

// What the documentation says of sources that keep to MQTT: with QoS 2, or
// with identifiers that count up, each message stands once, equal ones too. At
// QoS 1 with other identifiers, unequal ones do.
func TestJournalKnowsWhatComesAgain(t *testing.T) {
	for _, test := range []struct {
		kind   string
		qos    byte
		bodies int
	}{
		{"counting", 1, 1}, {"counting", 1, 3}, {"counting", 2, 1},
		{"lowest", 2, 1}, {"random", 2, 2}, {"lowest", 1, 0}, {"random", 1, 0},
	} {
		t.Run(fmt.Sprintf("%s/QoS %d/%d bodies", test.kind, test.qos, test.bodies), func(t *testing.T) {
			for seed := range uint64(12) {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					m := newModel(t, rand.New(rand.NewPCG(seed, 1)), test.kind, test.qos, test.bodies)
					for range 300 {
						if m.chance.IntN(4) == 0 {
							m.publish()
						}
						m.step()
					}
					m.settle()
					m.closeJournal()
				})
			}
		})
	}
}

func (m *model) closeJournal() {
	m.t.Helper()
	if err := m.j.close(); err != nil {
		m.t.Fatal(err)
	}
}

// A source that counts up, and goes back to an earlier state in a crash, sends
// what we have had: with DUP, and without where it had not sent it by then.
func TestJournalKnowsWhatComesFromTheGrave(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		for seed := range uint64(12) {
			t.Run(fmt.Sprintf("QoS %d/%d", qos, seed), func(t *testing.T) {
				m := newModel(t, rand.New(rand.NewPCG(seed, 2)), "counting", qos, 2)
				for range 30 {
					m.publish()
				}
				m.settle() // now it is seen to count
				for range 10 + m.chance.IntN(20) {
					m.publish()
				}
				for range m.chance.IntN(40) {
					m.step()
				}
				queue, flight, lastID := slices.Clone(m.queue), slices.Clone(m.flight), m.lastID
				for range m.chance.IntN(200) {
					m.step()
				}
				m.queue, m.flight, m.lastID = queue, flight, lastID
				m.connect(true)
				m.settle()
				m.closeJournal()
			})
		}
	}
}

// What is new is not taken for what was, once the source has nothing left that
// waits.
func TestJournalTakesNewForNew(t *testing.T) {
	j, err := openJournal(filepath.Join(t.TempDir(), "journal"), "session")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.close() }()
	if _, err := j.connected(true, 2); err != nil {
		t.Fatal(err)
	}
	for id := uint16(1); id < 10; id++ {
		b, fresh := j.bind(2, id, 1, false, digest{})
		if !fresh {
			t.Fatalf("%d is not new", id)
		}
		j.done(id, b)
		j.end(2, id, b)
	}
	if _, fresh := j.bind(3, 5, 1, false, digest{}); fresh {
		t.Error("5 came again from a source that counts up and was set back, and counts as new")
	}
	j.caughtUp(3)
	if _, fresh := j.bind(3, 6, 1, false, digest{}); !fresh {
		t.Error("6 is new, for nothing waited any more, and counts as known")
	}
	if _, fresh := j.bind(3, 7, 1, false, digest{1}); !fresh {
		t.Error("7 says something else and counts as known")
	}
}

// Of a source that takes the lowest free identifier, what has DUP may be what
// was acknowledged and not heard; what has none is new.
func TestJournalGoesByDup(t *testing.T) {
	j, err := openJournal(filepath.Join(t.TempDir(), "journal"), "session")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.close() }()
	link := uint64(2)
	if _, err := j.connected(true, 2); err != nil {
		t.Fatal(err)
	}
	acknowledged := func() *binding {
		b, _ := j.bind(link, 1, 1, false, digest{})
		j.done(1, b)
		j.end(link, 1, b)
		return b
	}
	first := acknowledged()
	if b, fresh := j.bind(link+1, 1, 1, true, digest{}); fresh || b != first {
		t.Error("what came again with DUP counts as new")
	}
	j.end(link+1, 1, first)
	if b, fresh := j.bind(link+2, 1, 1, false, digest{}); !fresh || b == first {
		t.Error("what came without DUP counts as known")
	}
	link += 2
	second := acknowledged()
	j.confirm(link, 1, second)
	if _, fresh := j.bind(link+1, 1, 1, true, digest{}); !fresh {
		t.Error("what came after the source had heard the acknowledgement counts as known")
	}
}

// A session that the source has lost has no past, and neither has another one.
func TestJournalOfALostSession(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	ids := make(map[string]bool)
	for i, session := range []string{"one", "one", "two"} {
		j, err := openJournal(path, session)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.connected(i == 2, 2); err != nil { // "two" takes itself for known
			t.Fatal(err)
		}
		b, fresh := j.bind(2, 1, 2, true, digest{})
		if id := j.clientID(b.n); !fresh || ids[id] {
			t.Errorf("session %d has the clientId %s again", i, id)
		} else {
			ids[id] = true
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournalIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, "session")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.close() }()
	if _, err := openJournal(path, "session"); err == nil || !strings.Contains(err.Error(), "another bridge") {
		t.Errorf("a second bridge opens the journal: %v", err)
	}
}

// The file does not grow without end, and what is written anew is whole.
func TestJournalIsWrittenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, "session")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.connected(false, 10); err != nil {
		t.Fatal(err)
	}
	j.subscribed([]string{"a/#", "b, c"})
	var last *binding
	for i := range 200_000 {
		id := uint16(i%65535) + 1
		last, _ = j.bind(2, id, 1, false, digest{byte(i), byte(i >> 8), byte(i >> 16)})
		j.done(id, last)
		if i < 199_999 {
			j.end(2, id, last)
			j.confirm(2, id, last)
		}
		if i%1000 == 0 {
			if err := j.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > journalBytes {
		t.Errorf("the journal has %d bytes, %v", info.Size(), err)
	}
	again, err := openJournal(path, "session")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.close() }()
	if again.next != 200_001 || !slices.Equal(again.filters, []string{"a/#", "b, c"}) || !again.counting() {
		t.Errorf("next is %d, filters are %q, counting is %v", again.next, again.filters, again.counting())
	}
	if b := again.live[uint16(199_999%65535)+1]; b == nil || b.n != last.n || b.digest != last.digest || !b.done {
		t.Errorf("the last binding is %+v, want %+v", b, last)
	}
}

// A disk that is full for a while costs time and nothing else.
func TestJournalAfterAFailedWrite(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(filepath.Join(dir, "journal"), "session")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := j.bind(2, 7, 2, false, digest{9})
	_ = j.file.f.Close() // every write fails now
	if err := j.flush(); err == nil {
		t.Fatal("a write to a closed file succeeds")
	}
	if err := j.flush(); err != nil {
		t.Fatalf("the second attempt: %v", err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if j, err = openJournal(filepath.Join(dir, "journal"), "session"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.close() }()
	if have := j.live[7]; have == nil || have.n != b.n {
		t.Errorf("the binding is %+v", have)
	}
}
