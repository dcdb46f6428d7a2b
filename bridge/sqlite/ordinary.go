package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	messageFields = `id, qos, published, expires, topic, props, payload, user_id`

	selectDeliveries = `SELECT n, message, qos, retain, size, sub_ids, share FROM deliveries
		WHERE session = ? AND n > ? ORDER BY n LIMIT ?`
	selectMessage = `SELECT ` + messageFields + ` FROM messages WHERE id = ?`
	selectQueues  = `SELECT id, user_id, client_id, expiry, ended_at, subscriptions FROM sessions
		WHERE queue = 1 AND (user_id, client_id) > (?, ?)
		AND (ordinary = 1 OR EXISTS (SELECT 1 FROM deliveries WHERE session = sessions.id))
		ORDER BY user_id, client_id LIMIT ?`
	countDeliveries = `SELECT count(*), coalesce(sum(size), 0), coalesce(max(n), 0) FROM deliveries WHERE session = ?`
	selectSent      = `SELECT n FROM sent WHERE session = ?`

	selectRetainedFrom = `SELECT ` + messageFields + ` FROM retained
		WHERE topic >= ? AND (expires = 0 OR expires > ?) ORDER BY topic LIMIT ?`
	selectRetainedBetween = `SELECT ` + messageFields + ` FROM retained
		WHERE topic >= ? AND topic < ? AND (expires = 0 OR expires > ?) ORDER BY topic LIMIT ?`
	selectRetainedPage = `SELECT ` + messageFields + ` FROM retained
		WHERE user_id = ? AND id > ? AND (expires = 0 OR expires > ?) ORDER BY id LIMIT ?`
	selectRetainedOn = `SELECT ` + messageFields + ` FROM retained WHERE topic = ? AND (expires = 0 OR expires > ?)`
	countRetained    = `SELECT count(*), coalesce(sum(size), 0) FROM retained`

	selectWills = `SELECT user_id, client_id, retain, expiry, delay, due, id, qos, topic, props, payload FROM wills
		WHERE (user_id, client_id) > (?, ?) ORDER BY user_id, client_id LIMIT ?`

	selectExpired = `SELECT n, size FROM retained WHERE expires <> 0 AND expires <= ? ORDER BY expires LIMIT ?`
	dropRetained  = `DELETE FROM retained WHERE n = ?`
	selectLoose   = `SELECT message FROM loose ORDER BY message LIMIT ?`
	deleteLoose   = `DELETE FROM loose WHERE message = ?`
	deleteMessage = `DELETE FROM messages WHERE id = ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = messages.id)`
)

// Queued implements bridge.Store.
func (s *Store) Queued(ctx context.Context, ranges []bridge.QueueRange) ([][]bridge.Delivery, error) {
	return readAll(ctx, s, "queued", ranges, (*conn).queued)
}

func (c *conn) queued(r bridge.QueueRange) (all []bridge.Delivery, err error) {
	var session int64
	var queue bool
	found, err := c.row(selectQueueOf, r.Key.UserID, r.Key.ClientID).find(&session, &queue)
	if err != nil || !found {
		return nil, err
	}
	var ids [][]byte
	err = c.each(func(rows *sql.Rows) error {
		d := bridge.Delivery{Key: r.Key}
		var id []byte
		var subIDs, share sql.RawBytes
		err := rows.Scan(&d.N, &id, &d.QoS, &d.Retain, &d.Size, &subIDs, &share)
		d.Released, d.SubIDs, d.Share = id == nil, decodeSubIDs(subIDs), string(share)
		all, ids = append(all, d), append(ids, id)
		return err
	}, selectDeliveries, session, asSeq(r.After), r.Limit)
	for i := range all {
		if err == nil && ids[i] != nil {
			all[i].Message, err = c.message(selectMessage, ids[i])
		}
	}
	return all, err
}

// message answers the message of the first row, or nil.
func (c *conn) message(query string, args ...any) (*bridge.Message, error) {
	all, err := c.manyMessages(query, args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func (c *conn) manyMessages(query string, args ...any) (all []bridge.Message, err error) {
	err = c.each(func(rows *sql.Rows) error {
		var m bridge.Message
		var id, topic sql.RawBytes
		var published, expires int64
		err := rows.Scan(&id, &m.QoS, &published, &expires, &topic, &m.Props, &m.Payload, &m.UserID)
		copy(m.ID[:], id)
		m.Topic, m.Published = string(topic), asTime(published)
		if expires != 0 {
			m.Expires = asTime(expires)
		}
		all = append(all, m)
		return err
	}, query, args...)
	return all, err
}

// Queues implements bridge.Store.
func (s *Store) Queues(ctx context.Context, after bridge.SessionKey, limit int) ([]bridge.Queue, error) {
	all, err := readAll(ctx, s, "queues", []bridge.SessionKey{after}, func(c *conn, after bridge.SessionKey) ([]bridge.Queue, error) {
		return c.queues(after, limit)
	})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func (c *conn) queues(after bridge.SessionKey, limit int) (all []bridge.Queue, err error) {
	var ids []int64
	err = c.each(func(rows *sql.Rows) error {
		var q bridge.Queue
		var id int64
		var ended sql.NullInt64
		var subs []byte
		err := rows.Scan(&id, &q.Key.UserID, &q.Key.ClientID, &q.Expiry, &ended, &subs)
		if err != nil {
			return err
		}
		if ended.Valid {
			q.EndedAt = asTime(ended.Int64)
		}
		q.Subscriptions, err = decodeSubscriptions(subs)
		all, ids = append(all, q), append(ids, id)
		return err
	}, selectQueues, after.UserID, after.ClientID, limit)
	for i := range all {
		q := &all[i]
		if err == nil {
			err = c.row(countDeliveries, ids[i]).Scan(&q.Count, &q.Bytes, &q.Last)
		}
		if err == nil {
			_, err = c.row(selectSent, ids[i]).find(&q.Sent)
		}
	}
	return all, err
}

// Retained implements bridge.Store.
func (s *Store) Retained(ctx context.Context, now time.Time, from, to string, limit int) ([]bridge.Message, error) {
	all, err := readAll(ctx, s, "retained", []string{from}, func(c *conn, from string) ([]bridge.Message, error) {
		if to == "" {
			return c.manyMessages(selectRetainedFrom, []byte(from), now.UnixMilli(), limit)
		}
		return c.manyMessages(selectRetainedBetween, []byte(from), []byte(to), now.UnixMilli(), limit)
	})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// RetainedBy implements bridge.Store.
func (s *Store) RetainedBy(ctx context.Context, now time.Time, user string, after chat.ID, limit int) ([]bridge.Message, error) {
	all, err := readAll(ctx, s, "retained by", []string{user}, func(c *conn, user string) ([]bridge.Message, error) {
		return c.manyMessages(selectRetainedPage, user, after[:], now.UnixMilli(), limit)
	})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// RetainedOn implements bridge.Store.
func (s *Store) RetainedOn(ctx context.Context, now time.Time, topics []string) ([]*bridge.Message, error) {
	return readAll(ctx, s, "retained on", topics, func(c *conn, topic string) (*bridge.Message, error) {
		return c.message(selectRetainedOn, []byte(topic), now.UnixMilli())
	})
}

// CountRetained implements bridge.Store. It reads the whole table, without
// the payloads that do not fit beside their row.
func (s *Store) CountRetained(ctx context.Context) (count, bytes int64, err error) {
	err = s.read(ctx, func(c *conn) error {
		return name("count retained", c.row(countRetained).Scan(&count, &bytes))
	})
	return count, bytes, err
}

// Wills implements bridge.Store.
func (s *Store) Wills(ctx context.Context, after bridge.SessionKey, limit int) ([]bridge.Will, error) {
	all, err := readAll(ctx, s, "wills", []bridge.SessionKey{after}, func(c *conn, after bridge.SessionKey) (wills []bridge.Will, err error) {
		err = c.each(func(rows *sql.Rows) error {
			w, err := scanWill(rows)
			wills = append(wills, w)
			return err
		}, selectWills, after.UserID, after.ClientID, limit)
		return wills, err
	})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func scanWill(rows *sql.Rows) (w bridge.Will, err error) {
	var id, topic sql.RawBytes
	var expiry, due sql.NullInt64
	err = rows.Scan(&w.Key.UserID, &w.Key.ClientID, &w.Retain, &expiry, &w.Delay, &due, &id, &w.QoS, &topic, &w.Props, &w.Payload)
	copy(w.ID[:], id)
	w.Topic, w.HasExpiry, w.Expiry = string(topic), expiry.Valid, uint32(expiry.Int64)
	if due.Valid {
		w.Due = asTime(due.Int64)
	}
	return w, err
}

// SweepMessages implements bridge.Store. Of the messages it takes some in
// each transaction, until there are enough or no more: it costs next to
// nothing when there is nothing to sweep. The retained ones come last, so that
// their number is not lost when it fails.
func (s *Store) SweepMessages(ctx context.Context, now time.Time, limit int) (swept bridge.Swept, err error) {
	for looked := 1; looked > 0 && swept.Messages < limit; {
		err = s.write(ctx, func(c *conn) (err error) {
			var removed int
			looked, removed, err = c.sweepLoose(limit - swept.Messages)
			swept.Messages += removed
			return name("sweep messages", err)
		})
		if err != nil {
			return bridge.Swept{}, err
		}
	}
	err = s.write(ctx, func(c *conn) error {
		return name("sweep retained messages", c.sweepRetained(&swept, now, limit))
	})
	if err != nil {
		return bridge.Swept{}, err
	}
	return swept, nil
}

func (c *conn) sweepLoose(limit int) (looked, removed int, err error) {
	var ids [][]byte
	err = c.each(func(rows *sql.Rows) error {
		var id []byte
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, selectLoose, limit)
	for _, id := range ids {
		var n int64
		if err == nil {
			n, err = c.exec(deleteMessage, id)
		}
		if err == nil {
			_, err = c.exec(deleteLoose, id)
		}
		removed += int(n)
	}
	return len(ids), removed, err
}

func (c *conn) sweepRetained(swept *bridge.Swept, now time.Time, limit int) error {
	var rows []int64
	err := c.each(func(r *sql.Rows) error {
		var n, size int64
		err := r.Scan(&n, &size)
		rows, swept.RetainedBytes = append(rows, n), swept.RetainedBytes+size
		return err
	}, selectExpired, now.UnixMilli(), limit)
	for _, n := range rows {
		if err == nil {
			_, err = c.exec(dropRetained, n)
		}
	}
	swept.Retained = len(rows)
	return err
}
