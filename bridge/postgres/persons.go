package postgres

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// In what follows a column stands behind the "=" where it picks among the rows
// that an index has found: no index is meant to have it. An index for what
// somebody said would cost every message; a user's messages stand in its
// conversations alone, and those are walked through.
const (
	peekHead = `SELECT id, head, first FROM streams WHERE key = $1`

	selectSaid = `
SELECT ` + entryColumns + ` FROM entries e WHERE stream = $1 AND seq > $2 AND seq <= $3 AND $4 = sender_id ORDER BY seq`

	selectSessionKeys = `
SELECT client_id FROM sessions WHERE user_id = $1 AND client_id > $2 ORDER BY client_id LIMIT $3`

	beginErasure   = `INSERT INTO erasures (user_id, began) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING`
	selectErasures = `SELECT user_id, began, ` + erasedColumns + ` FROM erasures ORDER BY began, user_id`
	endErasure     = `DELETE FROM erasures WHERE user_id = $1 RETURNING ` + erasedColumns
	erasedColumns  = `messages, edits, reactions, notifications, retained, sessions, conversations`
	countErased    = `
UPDATE erasures SET messages = messages + $2, edits = edits + $3, reactions = reactions + $4,
	notifications = notifications + $5, retained = retained + $6, sessions = sessions + $7, conversations = conversations + $8
WHERE user_id = $1`

	// findSaid finds what eraseSaid and what dropMention are for. A user's id
	// needs no escape in JSON.
	findSaid = `
SELECT e.seq, coalesce(CASE e.type WHEN 2 THEN $4 IN (e.sender_id, t.author) ELSE $4 = e.sender_id AND e.type IN (1, 4) END, false)
FROM entries e
LEFT JOIN LATERAL (SELECT sender_id AS author FROM entries WHERE stream = $1 AND seq = e.target AND e.type = 2 OFFSET 0) t ON true
WHERE e.stream = $1 AND e.seq > $2 AND e.seq <= $3 AND NOT e.deleted AND ($4 = e.sender_id AND e.type IN (1, 2, 4)
	OR $4 = t.author OR strpos(e.extra, '"' || $4 || '"') > 0)
ORDER BY e.seq LIMIT $5`
	// As a delete does in Commit, it finds entries by their places.
	eraseSaid = `
UPDATE entries SET content = NULL, extra = NULL, deleted = true WHERE ctid = ANY (ARRAY(
	SELECT e.place FROM unnest($2::bigint[]) AS k(seq)
	CROSS JOIN LATERAL (SELECT ctid AS place FROM entries WHERE stream = $1 AND seq = k.seq AND NOT deleted OFFSET 0) e))
RETURNING type, target`
	// selectSays is what messages say when their newest edits are erased.
	selectSays = `
SELECT m.seq, coalesce(d.content, m.content, '')
FROM (SELECT DISTINCT unnest($2::bigint[]) AS seq) k
CROSS JOIN LATERAL (SELECT seq, content FROM entries WHERE stream = $1 AND seq = k.seq AND type = 1 AND NOT deleted OFFSET 0) m
LEFT JOIN LATERAL (SELECT content FROM entries
	WHERE target = m.seq AND stream + 0 = $1 AND type = 2 AND NOT deleted ORDER BY seq DESC LIMIT 1) d ON true`
	setWords    = `UPDATE entries SET words = nullif($3::text, '')::tsvector WHERE stream = $1 AND seq = $2`
	selectExtra = `SELECT type, coalesce(extra, '') FROM entries WHERE stream = $1 AND seq = $2`
	setExtra    = `UPDATE entries SET extra = nullif($3, '') WHERE stream = $1 AND seq = $2`

	// Who replaces a message meanwhile is not waited for: it is that one's then.
	eraseRetained = `
WITH gone AS (
	DELETE FROM retained WHERE ctid = ANY (ARRAY(SELECT ctid FROM retained WHERE user_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
	RETURNING size
)
SELECT count(*), coalesce(sum(size), 0) FROM gone`
	selectMessageIDs = `SELECT id FROM messages WHERE id > $1 ORDER BY id LIMIT $2`
	emptyMessages    = `
UPDATE messages SET payload = '', props = '', expires = 'epoch' WHERE id = ANY ($1::uuid[]) AND $2 = user_id`

	eraseUnread  = `DELETE FROM unread_notices WHERE stream = $1 AND seq < $2`
	eraseInbox   = `DELETE FROM streams WHERE id = $1`
	selectSentBy = `
SELECT e.stream, s.key, e.seq, e.extra
FROM (SELECT stream, seq, extra FROM entries WHERE sender_id = $1 AND type = 8 AND NOT deleted LIMIT $2) e
CROSS JOIN LATERAL (SELECT key FROM streams WHERE id = e.stream OFFSET 0) s`
	eraseSent     = `UPDATE entries SET extra = $3, deleted = true WHERE stream = $1 AND seq = $2`
	eraseCollapse = `UPDATE unread_notices SET collapse = NULL WHERE stream = $1 AND seq = $2`

	eraseMemberships = `DELETE FROM members WHERE user_id = $1 AND role = 0`
	erasePerson      = `DELETE FROM people WHERE user_id = $1`
	erasePreferences = `DELETE FROM preferences WHERE user_id = $1`
	eraseBlocks      = `DELETE FROM blocks WHERE user_id = $1`
	eraseBlockedBy   = `DELETE FROM blocks WHERE blocked = $1 AND at > '-infinity'`
)

// Said implements bridge.Store.
func (s *Store) Said(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) (said []chat.Entry, next uint64, err error) {
	err = s.inTx(ctx, "read what a user said", func(tx pgx.Tx) error {
		id, to, err := span(ctx, tx, stream, &after, limit)
		if err != nil || to == after {
			return err
		}
		next = to
		rows, err := tx.Query(ctx, selectSaid, id, toBigint(after), toBigint(to), user)
		if err != nil {
			return err
		}
		return eachRow(rows, func(rows pgx.Rows) error {
			e, err := scanEntry(rows, stream)
			said = append(said, e)
			return err
		})
	})
	if err != nil {
		return nil, 0, err
	}
	return said, next, nil
}

// span answers the end of the next entries after a seq, which it moves to
// where the stream begins. The end is the seq itself where there are none.
func span(ctx context.Context, tx pgx.Tx, stream chat.StreamID, after *uint64, limit int) (id int64, to uint64, err error) {
	var head, first uint64
	err = tx.QueryRow(ctx, peekHead, string(stream)).Scan(&id, &head, &first)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, *after, nil
	}
	if err != nil {
		return 0, 0, err
	}
	*after = max(*after, first-1)
	return id, max(*after, min(head, *after+uint64(max(limit, 0)))), nil
}

// SessionKeys implements bridge.Store.
func (s *Store) SessionKeys(ctx context.Context, user, after string, limit int) (keys []bridge.SessionKey, err error) {
	args := []any{user, after, toLimit(limit)}
	err = s.query(ctx, "read sessions", selectSessionKeys, args, func(rows pgx.Rows) error {
		key := bridge.SessionKey{UserID: user}
		err := rows.Scan(&key.ClientID)
		keys = append(keys, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// BeginErasure implements bridge.Store.
func (s *Store) BeginErasure(ctx context.Context, now time.Time, user string) error {
	return s.exec(ctx, "begin an erasure", beginErasure, user, stored(now))
}

// Erasures implements bridge.Store.
func (s *Store) Erasures(ctx context.Context) (all []bridge.Erasure, err error) {
	err = s.query(ctx, "read erasures", selectErasures, nil, func(rows pgx.Rows) error {
		var e bridge.Erasure
		err := rows.Scan(append([]any{&e.UserID, &e.Began}, erasedFields(&e.Erased)...)...)
		e.Began = e.Began.UTC()
		all = append(all, e)
		return err
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
	return s.inTx(ctx, "count what is erased", func(tx pgx.Tx) error { return countIn(ctx, tx, user, n) })
}

func countIn(ctx context.Context, tx pgx.Tx, user string, n bridge.Erased) error {
	if n.Zero() {
		return nil
	}
	_, err := tx.Exec(ctx, countErased, user, n.Messages, n.Edits, n.Reactions, n.Notifications, n.Retained, n.Sessions, n.Conversations)
	return err
}

// EndErasure implements bridge.Store.
func (s *Store) EndErasure(ctx context.Context, user string) (n bridge.Erased, err error) {
	err = s.query(ctx, "end an erasure", endErasure, []any{user}, func(rows pgx.Rows) error {
		return rows.Scan(erasedFields(&n)...)
	})
	return n, err
}

// lookFor is how many entries are looked at for one that may be erased.
const lookFor = 16

// EraseSaid implements bridge.Store. It looks before it takes the lock of the
// stream: what it finds stays what it is but for Deleted, and what comes
// meanwhile stands further on.
func (s *Store) EraseSaid(ctx context.Context, user string, stream chat.StreamID, after uint64, limit int) (
	next uint64, n bridge.Erased, err error,
) {
	err = s.inTx(ctx, "erase what a user said", func(tx pgx.Tx) error {
		id, to, err := span(ctx, tx, stream, &after, limit*lookFor)
		if err != nil || to == after {
			return err
		}
		own, mention, last, err := findIn(ctx, tx, id, after, to, user, limit)
		if err != nil {
			return err
		}
		if next = to; len(own)+len(mention) == limit {
			next = last
		}
		if len(own)+len(mention) == 0 {
			return nil
		}
		err = tx.QueryRow(ctx, lockStream, string(stream)).Scan(new(int64), new(uint64))
		if errors.Is(err, pgx.ErrNoRows) { // it was deleted just now
			next = 0
			return nil
		}
		if err != nil {
			return err
		}
		if n, err = eraseIn(ctx, tx, id, own); err != nil {
			return err
		}
		for _, seq := range mention {
			if err := dropMention(ctx, tx, id, seq, user); err != nil {
				return err
			}
		}
		return countIn(ctx, tx, user, n)
	})
	if err != nil {
		return 0, bridge.Erased{}, err
	}
	return next, n, nil
}

// findIn finds among some entries what the user said, and where others may
// mention it.
func findIn(ctx context.Context, tx pgx.Tx, id int64, after, to uint64, user string, limit int) (own, mention []int64, last uint64, err error) {
	rows, err := tx.Query(ctx, findSaid, id, toBigint(after), toBigint(to), user, toLimit(limit))
	if err != nil {
		return nil, nil, 0, err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var seq int64
		var mine bool
		if err := rows.Scan(&seq, &mine); err != nil {
			return err
		}
		if last = uint64(seq); mine {
			own = append(own, seq)
		} else {
			mention = append(mention, seq)
		}
		return nil
	})
	return own, mention, last, err
}

func eraseIn(ctx context.Context, tx pgx.Tx, id int64, seqs []int64) (bridge.Erased, error) {
	rows, err := tx.Query(ctx, eraseSaid, id, seqs)
	if err != nil {
		return bridge.Erased{}, err
	}
	var types []chat.Type
	var edited []int64 // whose edits are erased
	err = eachRow(rows, func(rows pgx.Rows) error {
		var t chat.Type
		var target *int64
		err := rows.Scan((*uint8)(&t), &target)
		if types = append(types, t); t == chat.TypeEdit && target != nil {
			edited = append(edited, *target)
		}
		return err
	})
	if err == nil && len(edited) > 0 {
		err = indexAgain(ctx, tx, id, edited)
	}
	return bridge.CountSaid(types), err
}

// indexAgain gives messages the words of what they say without the edits that
// were erased.
func indexAgain(ctx context.Context, tx pgx.Tx, id int64, seqs []int64) error {
	rows, err := tx.Query(ctx, selectSays, id, seqs)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	var words chat.Words
	err = eachRow(rows, func(rows pgx.Rows) error {
		var seq int64
		var content string
		err := rows.Scan(&seq, &content)
		b.Queue(setWords, id, seq, tsvector(words.Of(content)))
		return err
	})
	if err != nil || b.Len() == 0 {
		return err
	}
	return tx.SendBatch(ctx, b).Close()
}

// tsvector writes words as Postgres reads them. They have neither quotes nor
// backslashes.
func tsvector(words [][]byte) string {
	if len(words) == 0 {
		return ""
	}
	return "'" + string(bytes.Join(words, []byte("' '"))) + "'"
}

// dropMention takes a user out of the mentions of an entry.
func dropMention(ctx context.Context, tx pgx.Tx, id, seq int64, user string) error {
	var e chat.Entry
	var more string
	err := tx.QueryRow(ctx, selectExtra, id, seq).Scan((*uint8)(&e.Type), &more)
	if errors.Is(err, pgx.ErrNoRows) { // it was trimmed just now
		return nil
	}
	if err != nil {
		return err
	}
	if err := finishEntry(&e, more); err != nil {
		return err
	}
	left, mentioned := bridge.WithoutMention(e.Mentions, user)
	if !mentioned {
		return nil // its id stands elsewhere: it is the name of a conversation, or who joined
	}
	e.Mentions = left
	_, err = tx.Exec(ctx, setExtra, id, seq, encodeExtra(&e.Body))
	return err
}

// EraseRetained implements bridge.Store.
func (s *Store) EraseRetained(ctx context.Context, user string, limit int) (count int, bytes int64, err error) {
	err = s.inTx(ctx, "erase retained messages", func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, eraseRetained, user, toLimit(limit)).Scan(&count, &bytes); err != nil {
			return err
		}
		return countIn(ctx, tx, user, bridge.Erased{Retained: count})
	})
	if err != nil {
		return 0, 0, err
	}
	return count, bytes, nil
}

// EraseQueued implements bridge.Store.
func (s *Store) EraseQueued(ctx context.Context, user string, after chat.ID, limit int) (last chat.ID, err error) {
	err = s.inTx(ctx, "empty messages", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectMessageIDs, [16]byte(after), toLimit(limit))
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
		if err != nil || len(ids) == 0 {
			return err
		}
		last = ids[len(ids)-1]
		_, err = tx.Exec(ctx, emptyMessages, ids, user)
		return err
	})
	if err != nil {
		return chat.ID{}, err
	}
	return last, nil
}

// EraseNotices implements bridge.Store.
func (s *Store) EraseNotices(ctx context.Context, user string, limit int) (n int, err error) {
	err = s.inTx(ctx, "erase notifications", func(tx pgx.Tx) error {
		var id int64
		var head bridge.Head
		err := tx.QueryRow(ctx, lockHeld, string(chat.NotificationStream(user))).Scan(&id, &head.Head, &head.First, new(int64), new(int64))
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		first := min(head.First+uint64(max(limit, 0)), head.Head+1)
		n = int(first - head.First)
		b := &pgx.Batch{}
		b.Queue(trimEntries, id, head.First, first)
		if first > head.Head { // what is beside it goes with it
			b.Queue(eraseInbox, id)
		} else {
			b.Queue(eraseUnread, id, first)
			b.Queue(raiseFirst, id, first)
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		return countIn(ctx, tx, user, bridge.Erased{Notifications: n})
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// EraseNoticesBy implements bridge.Store.
func (s *Store) EraseNoticesBy(ctx context.Context, user string, limit int) (streams []chat.StreamID, err error) {
	err = s.inTx(ctx, "erase notifications", func(tx pgx.Tx) error {
		streams = nil
		b := &pgx.Batch{}
		rows, err := tx.Query(ctx, selectSentBy, user, toLimit(limit))
		if err != nil {
			return err
		}
		err = eachRow(rows, func(rows pgx.Rows) error {
			var e chat.Entry
			var id int64
			var more string
			if err := rows.Scan(&id, (*string)(&e.Stream), &e.Seq, &more); err != nil {
				return err
			}
			if err := decodeNotice(&e, more); err != nil {
				return err
			}
			b.Queue(eraseSent, id, e.Seq, encodeNotice(&chat.Notice{Type: e.Notice.Type}))
			b.Queue(eraseCollapse, id, e.Seq)
			streams = append(streams, e.Stream)
			return nil
		})
		if err != nil || len(streams) == 0 {
			return err
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		return countIn(ctx, tx, user, bridge.Erased{Notifications: len(streams)})
	})
	if err != nil {
		return nil, err
	}
	return streams, nil
}

// traces remove what stands by a user's id.
var traces = []string{eraseMemberships, erasePerson, erasePreferences, eraseBlocks, eraseBlockedBy}

// EraseTraces implements bridge.Store.
func (s *Store) EraseTraces(ctx context.Context, user string) error {
	return s.inTx(ctx, "erase what is left of a user", func(tx pgx.Tx) error {
		for _, sql := range traces {
			if _, err := tx.Exec(ctx, sql, user); err != nil {
				return err
			}
		}
		return nil
	})
}
