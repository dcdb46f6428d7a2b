package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Commit implements bridge.Store. Its two statements travel together and are
// one transaction: one round trip, one flush to disk.
func (s *Store) Commit(ctx context.Context, now time.Time, drafts []chat.Draft, out []bridge.Outcome) error {
	if len(drafts) == 0 {
		return nil
	}
	c := commits.Get().(*commit)
	defer c.release()
	c.load(stored(now), drafts, out)
	err := s.runCommit(ctx, c)
	// A connection that had died in the pool is found before anything is
	// sent on it. Whatever else fails is for the caller to repeat.
	if err != nil && pgconn.SafeToRetry(err) && ctx.Err() == nil {
		err = s.runCommit(ctx, c)
	}
	if err == nil {
		s.committed(len(c.sent))
	}
	return failure("commit", err)
}

func (s *Store) runCommit(ctx context.Context, c *commit) error {
	if len(c.sent) == 0 {
		return nil
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	kind, first, second := "plain", raisePlain, appendPlain
	if !c.plain {
		kind, first, second = "any", raiseAny, appendAny
	}
	raise, err := conn.Conn().Prepare(ctx, "raise_"+kind, first)
	if err != nil {
		return err
	}
	add, err := conn.Conn().Prepare(ctx, "append_"+kind, second)
	if err != nil {
		return err
	}
	var batch pgconn.Batch
	c.encodeRaise()
	batch.ExecStatement(raise, c.params.all(), binaryFormat, binaryFormat)
	c.encodeAppend()
	batch.ExecStatement(add, c.params.all(), binaryFormat, binaryFormat)
	err = c.run(conn.Conn().PgConn().ExecBatch(ctx, &batch))
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == planChanged || pg.Code == noSuchStatement) {
		// What was prepared on this connection is of no use any more.
		_ = conn.Conn().Close(ctx)
	}
	return err
}

var binaryFormat = []int16{1} // for all parameters, or all columns

// commit is one call of Commit.
type commit struct {
	now    time.Time
	drafts []chat.Draft
	out    []bridge.Outcome
	plain  bool  // appendPlain will do
	sent   []int // the drafts that the statements get, by their places in drafts
	slots  map[chat.StreamID]int32

	// Of the streams, in the order of their slots.
	streams  []string
	counts   []int32 // drafts that are sent
	messages []int32 // of them those that are messages
	heads    []int64 // when all of them are appended
	refused  []int64 // so far

	// Of the drafts that are sent.
	slot  []int32
	ahead []int32 // drafts for the same stream that stand before this one
	nth   []int32 // messages among those, and itself if it is one

	words  chat.Words
	params params
}

// commits are kept: a busy server makes some thousand a second, with the same
// few arrays each time.
var commits = sync.Pool{New: func() any { return &commit{slots: make(map[chat.StreamID]int32)} }}

func (c *commit) release() {
	const large = 4 << 20 // rare, and not worth keeping
	if cap(c.params.buf) > large {
		c.params.buf = nil
	}
	c.drafts, c.out = nil, nil
	clear(c.slots)
	clear(c.streams)
	commits.Put(c)
}

// load sorts the drafts by stream and marks those that must wait.
func (c *commit) load(now time.Time, drafts []chat.Draft, out []bridge.Outcome) {
	c.now, c.drafts, c.out, c.plain = now, drafts, out, true
	c.sent, c.slot, c.ahead, c.nth = c.sent[:0], c.slot[:0], c.ahead[:0], c.nth[:0]
	c.streams, c.counts, c.messages = c.streams[:0], c.counts[:0], c.messages[:0]
	deleted := deletedTargets{}
	for i := range drafts {
		d := &drafts[i]
		switch {
		case d.Stream.Conversation() == "":
			out[i] = bridge.Outcome{Err: bridge.NoConversation()}
			continue
		case deleted.before(d):
			out[i] = bridge.Outcome{Err: bridge.ErrAgain}
			continue
		}
		slot, known := c.slots[d.Stream]
		if !known {
			slot = int32(len(c.streams))
			c.slots[d.Stream] = slot
			c.streams = append(c.streams, string(d.Stream))
			c.counts, c.messages = append(c.counts, 0), append(c.messages, 0)
		}
		out[i] = bridge.Outcome{}
		c.sent = append(c.sent, i)
		c.slot = append(c.slot, slot)
		c.ahead = append(c.ahead, c.counts[slot])
		c.counts[slot]++
		if d.Type == chat.TypeMessage {
			c.messages[slot]++
		}
		c.nth = append(c.nth, c.messages[slot])
		c.plain = c.plain && d.Type == chat.TypeMessage && d.ReplyTo == 0 && d.MediaURL == "" && len(d.Mentions) == 0
	}
	c.heads, c.refused = zeros(c.heads, len(c.streams)), zeros(c.refused, len(c.streams))
}

func zeros(s []int64, n int) []int64 {
	if cap(s) < n {
		return make([]int64, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// deletedTargets are what a batch deletes. A draft about one of them that
// stands behind the delete would be decided on what stood before the batch.
type deletedTargets map[target]struct{}

type target struct {
	stream chat.StreamID
	seq    uint64
}

// before tells whether a draft before d deletes the target of d.
func (t *deletedTargets) before(d *chat.Draft) bool {
	if d.Target == 0 {
		return false
	}
	at := target{d.Stream, d.Target}
	if _, gone := (*t)[at]; gone {
		return true
	}
	if d.Type == chat.TypeDelete {
		(*t)[at] = struct{}{}
	}
	return false
}

func (c *commit) encodeRaise() {
	p := &c.params
	p.reset()
	c.encodeStreams()
	p.counts(c.streams, c.counts)
	p.time(c.now)
	if !c.plain {
		p.counts(c.streams, c.messages)
	}
}

func (c *commit) encodeStreams() {
	c.params.array(textOID, len(c.streams))
	for _, key := range c.streams {
		c.params.textElement(key)
	}
	c.params.end()
}

func (c *commit) encodeAppend() {
	p := &c.params
	p.reset()
	c.encodeStreams()
	p.time(c.now)
	column := func(element uint32, write func(k int, d *chat.Draft)) {
		p.array(element, len(c.sent))
		for k, i := range c.sent {
			write(k, &c.drafts[i])
		}
		p.end()
	}
	column(int4OID, func(k int, _ *chat.Draft) { p.int4Element(c.slot[k] + 1) })
	column(int4OID, func(k int, _ *chat.Draft) { p.int4Element(c.behind(k)) })
	column(uuidOID, func(_ int, d *chat.Draft) { p.idElement(d.ID) })
	column(textOID, func(_ int, d *chat.Draft) { p.textElement(d.SenderID) })
	column(textOID, func(_ int, d *chat.Draft) { p.textElement(d.ClientID) })
	column(textOID, func(_ int, d *chat.Draft) { p.textOrNullElement(d.Content) })
	column(tsvectorOID, func(_ int, d *chat.Draft) { p.wordsElement(c.words.Of(d.Content)) })
	if c.plain {
		return
	}
	column(int4OID, func(k int, _ *chat.Draft) { p.int4Element(c.ahead[k]) })
	column(int4OID, func(k int, _ *chat.Draft) { p.int4Element(c.messages[c.slot[k]] - c.nth[k]) })
	column(int2OID, func(_ int, d *chat.Draft) { p.int2Element(int16(d.Type)) })
	column(int8OID, func(_ int, d *chat.Draft) { p.seqElement(d.Target) })
	column(int8OID, func(_ int, d *chat.Draft) { p.seqElement(d.ReplyTo) })
	column(textOID, func(_ int, d *chat.Draft) { p.textOrNullElement(encodeExtra(&d.Body)) })
}

// behind is how many drafts for the same stream follow the kth that is sent.
func (c *commit) behind(k int) int32 { return c.counts[c.slot[k]] - 1 - c.ahead[k] }

// run reads the answers and sets the outcomes.
func (c *commit) run(results *pgconn.MultiResultReader) error {
	for n := 0; results.NextResult(); n++ {
		for rows := results.ResultReader(); rows.NextRow(); {
			if n == 0 {
				c.readHead(rows.Values())
			} else {
				c.readVerdict(rows.Values())
			}
		}
	}
	// The commit has its answer here.
	if err := results.Close(); err != nil {
		return err
	}
	for k, i := range c.sent {
		o, slot := &c.out[i], c.slot[k]
		if o.Err != nil || o.Repeat {
			c.refused[slot]++
			continue
		}
		seq := c.heads[slot] - int64(c.behind(k)) - c.refused[slot]
		*o = bridge.Outcome{ID: c.drafts[i].ID, Seq: uint64(seq), CreatedAt: c.now}
	}
	return nil
}

func (c *commit) readHead(row [][]byte) {
	if slot, known := c.slots[chat.StreamID(row[0])]; known {
		c.heads[slot] = int64(binary.BigEndian.Uint64(row[1]))
	}
}

func (c *commit) readVerdict(row [][]byte) {
	i := c.sent[binary.BigEndian.Uint64(row[0])-1]
	v := verdict(binary.BigEndian.Uint32(row[1]))
	if v != isRepeat {
		c.out[i] = bridge.Outcome{Err: v.refusal(&c.drafts[i])}
		return
	}
	c.out[i] = bridge.Outcome{Seq: binary.BigEndian.Uint64(row[2]), ID: chat.ID(row[3]), CreatedAt: readTime(row[4]), Repeat: true}
}

// verdict is what appendPlain and appendAny say of a draft that they do not
// append.
type verdict uint32

const (
	isRepeat     verdict = 1
	noStream     verdict = 2
	notMember    verdict = 3
	noTarget     verdict = 4
	noReplyTo    verdict = 5
	notAllowed   verdict = 6
	targetIsNear verdict = 7 // it may be a draft of the same batch
	isClosed     verdict = 8
)

func (v verdict) refusal(d *chat.Draft) error {
	switch v {
	case noStream:
		return bridge.NoConversation()
	case notMember:
		return bridge.NotMember()
	case noTarget:
		return bridge.NoTarget("target")
	case noReplyTo:
		return bridge.NoTarget("replyTo")
	case notAllowed:
		// The statement applied the same rule; a test holds them together.
		return bridge.CheckTarget(d.Type, chat.RoleMember, d.SenderID, "")
	case isClosed:
		return bridge.Closed()
	case targetIsNear:
		return bridge.ErrAgain
	}
	return fmt.Errorf("commit: unknown verdict %d", v)
}
