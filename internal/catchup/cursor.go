package catchup

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// name stands for a conversation in a cursor. One that was deleted and made
// again has another.
type name [8]byte

func nameOf(p *bridge.Place) name {
	h := sha256.New()
	h.Write([]byte(p.Conversation))
	h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(p.CreatedAt.UnixMilli())))
	return name(h.Sum(nil))
}

// cursor is what a client has. It holds nothing that is a secret, and nothing
// that it says opens what the user may not read.
type cursor struct {
	// seqs are how far the client has conversations, by name. Of one that is
	// not there it has what was created up to before, or up to passed where
	// its id is less than next.
	seqs   map[name]uint64
	before time.Time // zero: nothing
	// next is where a pass through all conversations goes on, "" when none is
	// under way. At its end passed becomes before.
	next          string
	passed        time.Time
	notifications uint64
}

const (
	cursorVersion = 4
	sumLength     = 6
	// mostNamed is how many conversations a cursor can name, maxCursor how
	// long its text is then, at most.
	mostNamed = 2000
	maxCursor = (1 + sumLength + 3*10 + chat.MaxID + 1 + mostNamed*(8+10) + 10) * 4 / 3

	// maxTime is the end of the year 9999, the last that the stores' times
	// can be.
	maxTime = 253402300799999
)

var cursorText = base64.RawURLEncoding.Strict()

// sum tells a cursor that was made for another user, on another line of
// history, or damaged on its way.
func sum(user, line string, rest []byte) []byte {
	h := sha256.New()
	h.Write([]byte(user + "\x00" + line + "\x00"))
	h.Write(rest)
	return h.Sum(nil)[:sumLength]
}

func (c *cursor) encode(user, line string) string {
	var b []byte
	b = appendTime(b, c.before)
	b = appendTime(b, c.passed)
	b = append(append(b, byte(len(c.next))), c.next...)
	b = binary.AppendUvarint(b, c.notifications)
	names := make([]name, 0, len(c.seqs))
	for n := range c.seqs {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b name) int { return bytes.Compare(a[:], b[:]) })
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, n := range names {
		b = binary.AppendUvarint(append(b, n[:]...), c.seqs[n])
	}
	return cursorText.EncodeToString(slices.Concat([]byte{cursorVersion}, sum(user, line, b), b))
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(max(t.UnixMilli(), 1)))
}

// parse reads a cursor of the user that was made on the line of history.
func parse(user, line, text string) (*cursor, error) {
	bad := chat.Invalid("after", "must be the nextCursor of an answer")
	if len(text) > maxCursor {
		return nil, bad
	}
	b, err := cursorText.DecodeString(text)
	if err != nil || len(b) < 1+sumLength || b[0] != cursorVersion || !bytes.Equal(b[1:1+sumLength], sum(user, line, b[1+sumLength:])) {
		return nil, bad
	}
	r := reader{b: b[1+sumLength:]}
	c := &cursor{before: r.time(), passed: r.time(), next: r.id(), notifications: r.seq()}
	n := r.seq()
	if n > mostNamed {
		return nil, bad
	}
	c.seqs = make(map[name]uint64, n)
	var last name
	for i := range n {
		key := r.name()
		if i > 0 && bytes.Compare(key[:], last[:]) <= 0 {
			return nil, bad
		}
		c.seqs[key], last = r.seq(), key
	}
	if r.failed || len(r.b) > 0 || c.next != "" && c.passed.IsZero() {
		return nil, bad
	}
	return c, nil
}

// reader takes the parts of a cursor.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.failed, r.b = true, nil
		return make([]byte, max(n, 0))
	}
	part := r.b[:n]
	r.b = r.b[n:]
	return part
}

func (r *reader) seq() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > math.MaxInt64 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) time() time.Time {
	ms := r.seq()
	if ms == 0 {
		return time.Time{}
	}
	if ms > maxTime {
		r.failed = true
	}
	return time.UnixMilli(int64(min(ms, maxTime))).UTC()
}

func (r *reader) id() string {
	id := string(r.take(int(r.take(1)[0])))
	if id != "" && !chat.ValidID(id) {
		r.failed = true
	}
	return id
}

func (r *reader) name() name { return name(r.take(len(name{}))) }
