package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectStream = `SELECT id, head, messages, closed FROM streams WHERE key = ?`
	selectRole   = `SELECT role FROM members WHERE stream = ? AND user_id = ?`
	selectRepeat = `SELECT id, seq, created_at FROM entries
		WHERE stream = ? AND sender_id = ? AND client_id = ? AND client_id <> ''`
	selectTarget = `SELECT sender_id, type, deleted FROM entries WHERE stream = ? AND seq = ?`
	insertEntry  = `INSERT INTO entries (stream, seq, nth, id, type, sender_id, client_id, created_at, target, content, extra)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (stream, sender_id, client_id) WHERE client_id <> '' DO NOTHING`
	eraseMessage = `UPDATE entries SET content = '', extra = '', deleted = 1 WHERE stream = ? AND seq = ?`
	eraseEdits   = `UPDATE entries SET content = '', extra = '', deleted = 1
		WHERE stream = ? AND target = ? AND target <> 0 AND type = ?`
	updateHead = `UPDATE streams SET head = ?, messages = ?, last_at = ? WHERE id = ?`
	raiseRead  = `UPDATE members SET read = ?3, delivered = max(delivered, ?3), receipt_at = ?4
		WHERE stream = ?1 AND user_id = ?2 AND read < ?3`
	insertDue = `INSERT INTO mentions_due (stream, seq) VALUES (?, ?)`
)

// Commit implements bridge.Store. All drafts share one transaction, so one
// wait for the disk. A draft that is refused has written nothing; no draft
// that chat lets through can break a statement.
func (s *Store) Commit(ctx context.Context, now time.Time, drafts []chat.Draft, out []bridge.Outcome) error {
	if len(drafts) == 0 {
		return ctx.Err()
	}
	return s.write(ctx, func(c *conn) error {
		b := batch{conn: c, now: now.UnixMilli(), streams: make(map[chat.StreamID]*stream)}
		for i := range drafts {
			o, err := b.commit(&drafts[i])
			if err != nil {
				return fmt.Errorf("sqlite: commit: %w", err)
			}
			out[i] = o
		}
		return b.raiseHeads()
	})
}

// batch is a Commit under way. It keeps what it has read: no other writer can
// change that before the batch ends.
type batch struct {
	*conn
	now     int64
	streams map[chat.StreamID]*stream
	words   chat.Words
}

type stream struct {
	id       int64 // 0: there is no such stream
	head     int64
	was      int64 // the head before the batch
	messages int64
	closed   bool
	roles    map[string]chat.Role
	read     map[string]int64 // by those who sent in this batch
}

func (b *batch) stream(key chat.StreamID) (*stream, error) {
	if st := b.streams[key]; st != nil {
		return st, nil
	}
	st := &stream{}
	if _, err := b.row(selectStream, string(key)).find(&st.id, &st.head, &st.messages, &st.closed); err != nil {
		return nil, err
	}
	st.was = st.head
	b.streams[key] = st
	return st, nil
}

func (b *batch) role(st *stream, user string) (chat.Role, error) {
	if role, ok := st.roles[user]; ok {
		return role, nil
	}
	role, err := b.conn.role(st.id, user)
	if err != nil {
		return role, err
	}
	if st.roles == nil {
		st.roles = make(map[string]chat.Role)
	}
	st.roles[user] = role
	return role, nil
}

// role reads what a user is to a conversation now.
func (c *conn) role(stream int64, user string) (role chat.Role, err error) {
	_, err = c.row(selectRole, stream, user).find(&role)
	return role, err
}

// commit decides about one draft and appends it. A refusal is in the outcome;
// an error is one of the database and ends the whole batch.
func (b *batch) commit(d *chat.Draft) (bridge.Outcome, error) {
	st, err := b.stream(d.Stream)
	if err != nil {
		return bridge.Outcome{}, err
	}
	if st.id == 0 || d.Stream.Conversation() == "" {
		return bridge.Outcome{Err: bridge.NoConversation()}, nil
	}
	role, err := b.role(st, d.SenderID)
	if err != nil {
		return bridge.Outcome{}, err
	}
	if role == chat.RoleNone {
		if o, _, err := b.repeat(st, d); err != nil || o.ID == d.ID {
			return o, err
		}
		return bridge.Outcome{Err: bridge.NotMember()}, nil
	}
	if points(d) || st.closed {
		if o, found, err := b.repeat(st, d); found || err != nil {
			return o, err
		}
		if st.closed && d.Type != chat.TypeDelete { // what one has said may be taken back
			return bridge.Outcome{Err: bridge.Closed()}, nil
		}
		refusal, err := b.checkPointers(st, role, d)
		if refusal != nil || err != nil {
			return bridge.Outcome{Err: refusal}, err
		}
	}
	return b.append(st, d)
}

// points reports whether the draft names another entry, which must be checked
// after repeats. Other drafts leave it to the unique index to find repeats.
func points(d *chat.Draft) bool {
	return d.Target != 0 || d.ReplyTo != 0 || d.Type != chat.TypeMessage
}

func (b *batch) repeat(st *stream, d *chat.Draft) (o bridge.Outcome, found bool, err error) {
	var id []byte
	var at int64
	found, err = b.row(selectRepeat, st.id, d.SenderID, d.ClientID).find(&id, &o.Seq, &at)
	if !found || err != nil {
		return bridge.Outcome{}, false, err
	}
	copy(o.ID[:], id)
	o.CreatedAt, o.Repeat = asTime(at), true
	return o, true, nil
}

// checkPointers looks at the target and at what the draft replies to.
func (b *batch) checkPointers(st *stream, role chat.Role, d *chat.Draft) (refusal, err error) {
	if d.ReplyTo != 0 {
		if _, found, _, err := b.message(st, d.ReplyTo); !found || err != nil {
			return bridge.NoTarget("replyTo"), err
		}
	}
	if d.Type == chat.TypeMessage && d.Target == 0 {
		return nil, nil
	}
	author, found, deleted, err := b.message(st, d.Target)
	if !found || deleted || err != nil {
		return bridge.NoTarget("target"), err
	}
	return bridge.CheckTarget(d.Type, role, d.SenderID, author), nil
}

// message looks for the message at seq.
func (b *batch) message(st *stream, seq uint64) (author string, found, deleted bool, err error) {
	if seq > uint64(st.head) {
		return "", false, false, nil
	}
	var kind chat.Type
	found, err = b.row(selectTarget, st.id, int64(seq)).find(&author, &kind, &deleted)
	return author, found && kind == chat.TypeMessage, deleted, err
}

func (b *batch) append(st *stream, d *chat.Draft) (bridge.Outcome, error) {
	nth := st.messages
	if d.Type == chat.TypeMessage {
		nth++
	}
	added, err := b.insert(place{st.id, st.head + 1, nth}, d.ID, d.SenderID, b.now, &d.Body)
	if err != nil {
		return bridge.Outcome{}, err
	}
	if !added {
		o, found, err := b.repeat(st, d)
		if !found && err == nil {
			err = fmt.Errorf("the first entry of a repeat is missing")
		}
		return o, err
	}
	if err := b.index(st, d); err != nil {
		return bridge.Outcome{}, err
	}
	if d.Type == chat.TypeDelete {
		if err := b.erase(st.id, d.Target); err != nil {
			return bridge.Outcome{}, err
		}
	}
	st.head++
	st.messages = nth
	if d.Type == chat.TypeMessage {
		if st.read == nil {
			st.read = make(map[string]int64)
		}
		st.read[d.SenderID] = st.head
	}
	if len(d.Mentions) > 0 {
		if _, err := b.exec(insertDue, st.id, st.head); err != nil {
			return bridge.Outcome{}, err
		}
	}
	return bridge.Outcome{ID: d.ID, Seq: uint64(st.head), CreatedAt: asTime(b.now)}, nil
}

// index gives a message its words, in place of those it has: it is d, or what
// d edits.
func (b *batch) index(st *stream, d *chat.Draft) error {
	at := rowid(st.id, st.head+1)
	switch d.Type {
	case chat.TypeMessage:
	case chat.TypeEdit:
		at = rowid(st.id, int64(d.Target))
		if _, err := b.exec(deleteWords, at); err != nil {
			return err
		}
	default:
		return nil
	}
	return b.addWords(at, b.words.Of(d.Content))
}

func (c *conn) addWords(at int64, words [][]byte) error {
	if len(words) == 0 {
		return nil
	}
	_, err := c.exec(insertWords, at, string(bytes.Join(words, []byte(" "))))
	return err
}

// place is where an entry stands.
type place struct{ stream, seq, nth int64 }

// insert writes an entry; false when its clientId stands already.
func (c *conn) insert(p place, id chat.ID, sender string, at int64, body *chat.Body) (bool, error) {
	n, err := c.exec(insertEntry, p.stream, p.seq, p.nth, id[:], uint8(body.Type), sender, body.ClientID, at,
		int64(body.Target), body.Content, encodeExtra(body))
	return n == 1, err
}

// erase takes the words out of a message and of its edits.
func (c *conn) erase(stream int64, target uint64) error {
	if _, err := c.exec(eraseMessage, stream, int64(target)); err != nil {
		return err
	}
	_, err := c.exec(eraseEdits, stream, int64(target), uint8(chat.TypeEdit))
	return err
}

// raiseHeads writes how far the streams reach, and that who sends has read.
func (b *batch) raiseHeads() error {
	for _, st := range b.streams {
		if st.head == st.was {
			continue
		}
		if _, err := b.exec(updateHead, st.head, st.messages, b.now, st.id); err != nil {
			return fmt.Errorf("sqlite: commit: %w", err)
		}
		for user, seq := range st.read {
			if _, err := b.exec(raiseRead, st.id, user, seq, b.now); err != nil {
				return fmt.Errorf("sqlite: commit: %w", err)
			}
		}
	}
	return nil
}

// asTime reads a time as it is kept.
func asTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
