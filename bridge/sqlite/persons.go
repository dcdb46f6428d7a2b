package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// There is no index of what somebody said: it would cost every message. A
// user's messages stand in its conversations alone, and those are walked
// through: "+" keeps a column from choosing an index.
const (
	peekHead   = `SELECT id, head, first FROM streams WHERE key = ?`
	selectSaid = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = ? AND seq > ? AND seq <= ? AND +sender_id = ? ORDER BY seq`
	selectSessionKeys = `SELECT client_id FROM sessions WHERE user_id = ? AND client_id > ? ORDER BY client_id LIMIT ?`

	erasedColumns  = `messages, edits, reactions, notifications, retained, sessions, conversations`
	beginErasure   = `INSERT INTO erasures (user_id, began) VALUES (?, ?) ON CONFLICT (user_id) DO NOTHING`
	selectErasures = `SELECT user_id, began, ` + erasedColumns + ` FROM erasures ORDER BY began, user_id`
	selectErased   = `SELECT ` + erasedColumns + ` FROM erasures WHERE user_id = ?`
	endErasure     = `DELETE FROM erasures WHERE user_id = ?`
	countErased    = `UPDATE erasures SET messages = messages + ?, edits = edits + ?, reactions = reactions + ?,
		notifications = notifications + ?, retained = retained + ?, sessions = sessions + ?, conversations = conversations + ?
		WHERE user_id = ?`

	// findSaid finds what may be erased, or mention the user. An id needs no
	// escape in JSON.
	findSaid = `SELECT seq FROM entries AS e
		WHERE stream = ?1 AND seq > ?2 AND seq <= ?3 AND +deleted = 0 AND (+sender_id = ?4 AND type IN (1, 2, 4)
		OR type = 2 AND EXISTS (SELECT 1 FROM entries AS t WHERE t.stream = ?1 AND t.seq = e.target AND +t.sender_id = ?4)
		OR instr(extra, '"' || ?4 || '"') > 0)
		ORDER BY seq LIMIT ?5`
	selectMine = `SELECT type, target, sender_id = ?3 OR type = 2 AND EXISTS (
		SELECT 1 FROM entries AS t WHERE t.stream = ?1 AND t.seq = e.target AND +t.sender_id = ?3), extra
		FROM entries AS e WHERE stream = ?1 AND seq = ?2 AND +deleted = 0`
	eraseEntry = `UPDATE entries SET content = '', extra = '', deleted = 1 WHERE stream = ? AND seq = ?`
	// selectSays is what a message says when its newest edit is erased.
	selectSays = `SELECT coalesce((SELECT content FROM entries INDEXED BY entries_target
		WHERE stream = ?1 AND target = ?2 AND target <> 0 AND type = 2 AND deleted = 0 ORDER BY seq DESC LIMIT 1), content)
		FROM entries WHERE stream = ?1 AND seq = ?2 AND type = 1 AND deleted = 0`
	setExtra = `UPDATE entries SET extra = ? WHERE stream = ? AND seq = ?`

	selectRetainedBy = `SELECT n, size FROM retained WHERE user_id = ? LIMIT ?`
	eraseUnread      = `DELETE FROM unread_notices WHERE stream = ? AND seq < ?`
	selectSentBy     = `SELECT e.stream, s.key, e.seq, e.extra FROM entries e JOIN streams s ON s.id = e.stream
		WHERE e.sender_id = ? AND e.type = 8 AND e.deleted = 0 LIMIT ?`
	eraseSent     = `UPDATE entries SET extra = ?, deleted = 1 WHERE stream = ? AND seq = ?`
	eraseCollapse = `UPDATE unread_notices SET collapse = '' WHERE stream = ? AND seq = ?`

	selectMessageIDs = `SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?`
	emptyMessage     = `UPDATE messages SET payload = x'', props = x'', expires = 1 WHERE id = ? AND +user_id = ?`
)

// traces remove what stands by a user's id.
var traces = []string{
	`DELETE FROM members WHERE user_id = ? AND +role = 0`,
	`DELETE FROM people WHERE user_id = ?`,
	`DELETE FROM preferences WHERE user_id = ?`,
	`DELETE FROM blocks WHERE user_id = ?`,
	`DELETE FROM blocks WHERE blocked = ?`,
}

// Said implements bridge.Store.
func (s *Store) Said(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) (said []chat.Entry, next uint64, err error) {
	err = s.read(ctx, func(c *conn) error {
		id, to, err := c.span(stream, &after, limit)
		if err != nil || to == after {
			return name("said", err)
		}
		next = to
		said, err = c.entries(stream, selectSaid, id, asSeq(after), asSeq(to), user)
		return name("said", err)
	})
	if err != nil {
		return nil, 0, err
	}
	return said, next, nil
}

// span answers the end of the next entries after a seq, which it moves to
// where the stream begins. The end is the seq itself where there are none.
func (c *conn) span(stream chat.StreamID, after *uint64, limit int) (id int64, to uint64, err error) {
	var head, first uint64
	found, err := c.row(peekHead, string(stream)).find(&id, &head, &first)
	if !found || err != nil {
		return 0, *after, err
	}
	*after = max(*after, first-1)
	return id, max(*after, min(head, *after+uint64(max(limit, 0)))), nil
}

// SessionKeys implements bridge.Store.
func (s *Store) SessionKeys(ctx context.Context, user, after string, limit int) (keys []bridge.SessionKey, err error) {
	err = s.read(ctx, func(c *conn) error {
		return name("session keys", c.each(func(rows *sql.Rows) error {
			key := bridge.SessionKey{UserID: user}
			err := rows.Scan(&key.ClientID)
			keys = append(keys, key)
			return err
		}, selectSessionKeys, user, after, limit))
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// BeginErasure implements bridge.Store.
func (s *Store) BeginErasure(ctx context.Context, now time.Time, user string) error {
	return s.write(ctx, func(c *conn) error {
		_, err := c.exec(beginErasure, user, now.UnixMilli())
		return name("begin an erasure", err)
	})
}

// Erasures implements bridge.Store.
func (s *Store) Erasures(ctx context.Context) (all []bridge.Erasure, err error) {
	err = s.read(ctx, func(c *conn) error {
		return name("erasures", c.each(func(rows *sql.Rows) error {
			var e bridge.Erasure
			var began int64
			err := rows.Scan(append([]any{&e.UserID, &began}, erasedFields(&e.Erased)...)...)
			e.Began = asTime(began)
			all = append(all, e)
			return err
		}, selectErasures))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func erasedFields(n *bridge.Erased) []any {
	return []any{&n.Messages, &n.Edits, &n.Reactions, &n.Notifications, &n.Retained, &n.Sessions, &n.Conversations}
}

// CountErased implements bridge.Store.
func (s *Store) CountErased(ctx context.Context, user string, n bridge.Erased) error {
	return s.write(ctx, func(c *conn) error { return name("count what is erased", c.countErased(user, n)) })
}

func (c *conn) countErased(user string, n bridge.Erased) error {
	if n.Zero() {
		return nil
	}
	_, err := c.exec(countErased, n.Messages, n.Edits, n.Reactions, n.Notifications, n.Retained, n.Sessions, n.Conversations, user)
	return err
}

// EndErasure implements bridge.Store.
func (s *Store) EndErasure(ctx context.Context, user string) (n bridge.Erased, err error) {
	err = s.write(ctx, func(c *conn) error {
		_, err := c.row(selectErased, user).find(erasedFields(&n)...)
		if err == nil {
			_, err = c.exec(endErasure, user)
		}
		return name("end an erasure", err)
	})
	if err != nil {
		return bridge.Erased{}, err
	}
	return n, nil
}

// lookFor is how many entries are looked at for one that may be erased.
const lookFor = 16

// EraseSaid implements bridge.Store. It looks before it writes, so that
// nobody waits for that: what it finds is looked at again.
func (s *Store) EraseSaid(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) (
	next uint64, n bridge.Erased, err error,
) {
	var id int64
	var found []uint64
	err = s.read(ctx, func(c *conn) error {
		var to uint64
		if id, to, err = c.span(stream, &after, limit*lookFor); err != nil || to == after {
			return name("erase", err)
		}
		next = to
		err := c.each(func(rows *sql.Rows) error {
			var seq uint64
			err := rows.Scan(&seq)
			found = append(found, seq)
			return err
		}, findSaid, id, asSeq(after), asSeq(to), user, limit)
		if len(found) == limit && limit > 0 {
			next = found[limit-1]
		}
		return name("erase", err)
	})
	if err != nil || len(found) == 0 {
		return next, n, err
	}
	err = s.write(ctx, func(c *conn) error {
		var types []chat.Type
		var now int64
		if _, err := c.row(peekHead, string(stream)).find(&now, new(uint64), new(uint64)); err != nil || now != id {
			return name("erase", err) // it was deleted just now
		}
		for _, seq := range found {
			t, erased, err := c.eraseSaid(id, seq, user)
			if err != nil {
				return fmt.Errorf("sqlite: erase: %w", err)
			}
			if erased {
				types = append(types, t)
			}
		}
		n = bridge.CountSaid(types)
		return name("erase", c.countErased(user, n))
	})
	if err != nil {
		return 0, bridge.Erased{}, err
	}
	return next, n, nil
}

// eraseSaid erases an entry of the user, or takes it out of the mentions of
// another's.
func (c *conn) eraseSaid(stream int64, seq uint64, user string) (t chat.Type, erased bool, err error) {
	var mine bool
	var target int64
	var more []byte
	found, err := c.row(selectMine, stream, asSeq(seq), user).find(&t, &target, &mine, &more)
	if !found || err != nil {
		return t, false, err
	}
	if mine && (t == chat.TypeMessage || t == chat.TypeEdit || t == chat.TypeReaction) {
		if _, err = c.exec(eraseEntry, stream, asSeq(seq)); err == nil && t == chat.TypeEdit {
			err = c.indexAgain(stream, target)
		}
		return t, true, err
	}
	var b chat.Body
	if err := decodeExtra(more, &b); err != nil {
		return t, false, err
	}
	left, mentioned := bridge.WithoutMention(b.Mentions, user)
	if !mentioned {
		return t, false, nil // its id stands elsewhere: it is the name of a conversation, or who joined
	}
	b.Mentions = left
	_, err = c.exec(setExtra, encodeExtra(&b), stream, asSeq(seq))
	return t, false, err
}

// indexAgain gives a message the words of what it says without the edit that
// was erased.
func (c *conn) indexAgain(stream, seq int64) error {
	var content string
	found, err := c.row(selectSays, stream, seq).find(&content)
	if !found || err != nil {
		return err
	}
	if _, err := c.exec(deleteWords, rowid(stream, seq)); err != nil {
		return err
	}
	return c.addWords(rowid(stream, seq), new(chat.Words).Of(content))
}

// EraseRetained implements bridge.Store.
func (s *Store) EraseRetained(ctx context.Context, user string, limit int) (count int, bytes int64, err error) {
	err = s.write(ctx, func(c *conn) error {
		var rows []int64
		bytes = 0
		err := c.each(func(r *sql.Rows) error {
			var n, size int64
			err := r.Scan(&n, &size)
			rows, bytes = append(rows, n), bytes+size
			return err
		}, selectRetainedBy, user, limit)
		for _, n := range rows {
			if err == nil {
				_, err = c.exec(dropRetained, n)
			}
		}
		if count = len(rows); err == nil {
			err = c.countErased(user, bridge.Erased{Retained: count})
		}
		return name("erase retained messages", err)
	})
	if err != nil {
		return 0, 0, err
	}
	return count, bytes, nil
}

// EraseQueued implements bridge.Store.
func (s *Store) EraseQueued(ctx context.Context, user string, after chat.ID, limit int) (last chat.ID, err error) {
	err = s.write(ctx, func(c *conn) error {
		var ids [][]byte
		err := c.each(func(rows *sql.Rows) error {
			var id []byte
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		}, selectMessageIDs, after[:], limit)
		for _, id := range ids {
			if err == nil {
				_, err = c.exec(emptyMessage, id, user)
			}
			copy(last[:], id)
		}
		return name("empty messages", err)
	})
	if err != nil {
		return chat.ID{}, err
	}
	return last, nil
}

// eraseInbox removes what hangs on a stream of notifications, the stream last.
var eraseInbox = []string{
	`DELETE FROM cursors WHERE stream = ?`,
	`DELETE FROM unread_notices WHERE stream = ?`,
	`DELETE FROM streams WHERE id = ?`,
}

// EraseNotices implements bridge.Store.
func (s *Store) EraseNotices(ctx context.Context, user string, limit int) (n int, err error) {
	err = s.write(ctx, func(c *conn) (err error) {
		n, err = c.eraseNotices(user, limit)
		return name("erase notifications", err)
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (c *conn) eraseNotices(user string, limit int) (n int, err error) {
	var id int64
	var head bridge.Head
	found, err := c.row(peekHead, string(chat.NotificationStream(user))).find(&id, &head.Head, &head.First)
	if !found || err != nil {
		return 0, err
	}
	first := min(head.First+uint64(max(limit, 0)), head.Head+1)
	n = int(first - head.First)
	if _, err := c.exec(trimEntries, id, asSeq(head.First), asSeq(first)); err != nil {
		return 0, err
	}
	if first > head.Head {
		for _, query := range eraseInbox {
			if _, err := c.exec(query, id); err != nil {
				return 0, err
			}
		}
		return n, c.countErased(user, bridge.Erased{Notifications: n})
	}
	if _, err := c.exec(eraseUnread, id, asSeq(first)); err != nil {
		return 0, err
	}
	if _, err := c.exec(raiseFirst, asSeq(first), id); err != nil {
		return 0, err
	}
	return n, c.countErased(user, bridge.Erased{Notifications: n})
}

// EraseNoticesBy implements bridge.Store.
func (s *Store) EraseNoticesBy(ctx context.Context, user string, limit int) (streams []chat.StreamID, err error) {
	err = s.write(ctx, func(c *conn) error {
		streams, err = c.eraseNoticesBy(user, limit)
		return name("erase notifications", err)
	})
	if err != nil {
		return nil, err
	}
	return streams, nil
}

func (c *conn) eraseNoticesBy(user string, limit int) (streams []chat.StreamID, err error) {
	type place struct{ stream, seq int64 }
	var places []place
	var types []string
	err = c.each(func(rows *sql.Rows) error {
		var at place
		var key chat.StreamID
		var more sql.RawBytes
		var b chat.Body
		if err := rows.Scan(&at.stream, &key, &at.seq, &more); err != nil {
			return err
		}
		if err := decodeNotice(more, &b); err != nil {
			return err
		}
		places, types, streams = append(places, at), append(types, b.Notice.Type), append(streams, key)
		return nil
	}, selectSentBy, user, limit)
	for i, at := range places {
		if err == nil {
			_, err = c.exec(eraseSent, encodeNotice(&chat.Notice{Type: types[i]}), at.stream, at.seq)
		}
		if err == nil {
			_, err = c.exec(eraseCollapse, at.stream, at.seq)
		}
	}
	if err == nil {
		err = c.countErased(user, bridge.Erased{Notifications: len(places)})
	}
	return streams, err
}

// EraseTraces implements bridge.Store.
func (s *Store) EraseTraces(ctx context.Context, user string) error {
	return s.write(ctx, func(c *conn) error {
		for _, query := range traces {
			if _, err := c.exec(query, user); err != nil {
				return name("erase what is left of a user", err)
			}
		}
		return nil
	})
}
