package postgres

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/parley-mqtt/parley/internal/chat"
)

// params writes the parameters of the hot statements in Postgres's binary
// form. pgx can do it from slices; for a batch of hundreds of drafts that cost
// more than the rest of a commit on this side.
type params struct {
	buf    []byte
	ends   []int
	values [][]byte
}

func (p *params) reset() { p.buf, p.ends = p.buf[:0], p.ends[:0] }

// end closes a parameter; all() has them.
func (p *params) end() { p.ends = append(p.ends, len(p.buf)) }

// all answers the parameters. They hold until the next reset.
func (p *params) all() [][]byte {
	p.values = p.values[:0]
	from := 0
	for _, to := range p.ends {
		p.values = append(p.values, p.buf[from:to:to])
		from = to
	}
	return p.values
}

// array begins an array of n elements; each follows with its length.
func (p *params) array(element uint32, n int) {
	p.int32(1) // dimensions
	p.int32(0) // no hint that there are nulls; they may follow all the same
	p.buf = binary.BigEndian.AppendUint32(p.buf, element)
	p.int32(int32(n))
	p.int32(1) // the first index
}

func (p *params) int32(n int32) { p.buf = binary.BigEndian.AppendUint32(p.buf, uint32(n)) }
func (p *params) int64(n int64) { p.buf = binary.BigEndian.AppendUint64(p.buf, uint64(n)) }

func (p *params) null() { p.int32(-1) }

func (p *params) int2Element(n int16) {
	p.int32(2)
	p.buf = binary.BigEndian.AppendUint16(p.buf, uint16(n))
}

func (p *params) int4Element(n int32) {
	p.int32(4)
	p.int32(n)
}

func (p *params) int8Element(n int64) {
	p.int32(8)
	p.int64(n)
}

// seqElement writes 0 as null.
func (p *params) seqElement(seq uint64) {
	if seq == 0 {
		p.null()
	} else {
		p.int8Element(toBigint(seq))
	}
}

func (p *params) boolElement(b bool) {
	p.int32(1)
	if b {
		p.buf = append(p.buf, 1)
	} else {
		p.buf = append(p.buf, 0)
	}
}

func (p *params) idElement(id chat.ID) {
	p.int32(int32(len(id)))
	p.buf = append(p.buf, id[:]...)
}

func (p *params) textElement(s string) {
	p.int32(int32(len(s)))
	p.buf = append(p.buf, s...)
}

func (p *params) byteaElement(b []byte) {
	p.int32(int32(len(b)))
	p.buf = append(p.buf, b...)
}

// subIDsElement writes four bytes for each, none as null.
func (p *params) subIDsElement(ids []uint32) {
	if len(ids) == 0 {
		p.null()
		return
	}
	p.int32(int32(4 * len(ids)))
	for _, id := range ids {
		p.buf = binary.BigEndian.AppendUint32(p.buf, id)
	}
}

// textOrNullElement writes "" as null.
func (p *params) textOrNullElement(s string) {
	if s == "" {
		p.null()
	} else {
		p.textElement(s)
	}
}

// wordsElement writes a tsvector of words that are in order, none as null.
func (p *params) wordsElement(words [][]byte) {
	if len(words) == 0 {
		p.null()
		return
	}
	at := len(p.buf)
	p.int32(0) // the length, below
	p.int32(int32(len(words)))
	for _, word := range words {
		p.buf = append(append(p.buf, word...), 0, 0, 0) // its end, and that it has no positions
	}
	binary.BigEndian.PutUint32(p.buf[at:], uint32(len(p.buf)-at-4))
}

func (p *params) time(t time.Time) {
	p.int64(t.UnixMicro() - postgresEpoch)
	p.end()
}

func (p *params) timeElement(t time.Time) { p.int8Element(stored(t).UnixMicro() - postgresEpoch) }

// timeOrNullElement writes the zero time as null.
func (p *params) timeOrNullElement(t time.Time) {
	if t.IsZero() {
		p.null()
	} else {
		p.timeElement(t)
	}
}

// postgresEpoch is where Postgres counts time from, 2000-01-01.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func readTime(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + postgresEpoch).UTC()
}

// counts writes a jsonb object of numbers.
func (p *params) counts(keys []string, n []int32) {
	p.buf = append(p.buf, 1, '{') // 1 is the version of the form
	for i, key := range keys {
		if i > 0 {
			p.buf = append(p.buf, ',')
		}
		text, _ := json.Marshal(key) // a string: it cannot fail
		p.buf = append(append(p.buf, text...), ':')
		p.buf = strconv.AppendInt(p.buf, int64(n[i]), 10)
	}
	p.buf = append(p.buf, '}')
	p.end()
}

const (
	boolOID        = pgtype.BoolOID
	byteaOID       = pgtype.ByteaOID
	int2OID        = pgtype.Int2OID
	int4OID        = pgtype.Int4OID
	int8OID        = pgtype.Int8OID
	textOID        = pgtype.TextOID
	timestamptzOID = pgtype.TimestamptzOID
	tsvectorOID    = 3614 // pgtype has no name for it
	uuidOID        = pgtype.UUIDOID
)
