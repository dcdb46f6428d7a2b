package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectDirect = `SELECT s.key FROM conversations c JOIN streams s ON s.id = c.stream WHERE c.pair = ? AND c.pair <> ''`
	closeDirect  = `UPDATE streams SET closed = ? WHERE id = (SELECT stream FROM conversations WHERE pair = ? AND pair <> '')`

	// Whether a block stands, by either.
	selectBlocked = `SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = ?1 AND blocked = ?2)
		OR EXISTS (SELECT 1 FROM blocks WHERE user_id = ?2 AND blocked = ?1)`
	countBlocks     = `SELECT count(*), coalesce(sum(blocked = ?2), 0) FROM blocks WHERE user_id = ?1`
	insertBlock     = `INSERT INTO blocks (user_id, blocked, at) VALUES (?, ?, ?)`
	deleteBlock     = `DELETE FROM blocks WHERE user_id = ? AND blocked = ?`
	selectBlockList = `SELECT blocked, at FROM blocks WHERE user_id = ? AND blocked > ? ORDER BY blocked LIMIT ?`
	selectBlocks    = `SELECT blocked FROM blocks WHERE user_id = ?1
		UNION SELECT user_id FROM blocks WHERE blocked = ?1 ORDER BY 1`
)

// CreateDirect implements bridge.Store.
func (s *Store) CreateDirect(ctx context.Context, now time.Time, d bridge.NewDirect) (
	conv bridge.Conversation, entries []chat.Entry, created bool, err error,
) {
	pair := bridge.Pair{A: d.UserID, B: d.Peer}
	err = s.write(ctx, func(c *conn) error {
		var key chat.StreamID
		found, err := c.row(selectDirect, pair.Key()).find(&key)
		if err == nil && !found {
			key = chat.ConversationStream(d.ID)
			entries, err = c.createDirect(now, d, pair)
			created = err == nil
		}
		if err == nil {
			conv, err = c.whole(key.Conversation())
		}
		return name("create direct conversation", err)
	})
	if err != nil {
		return bridge.Conversation{}, nil, false, err
	}
	return conv, entries, created, nil
}

func (c *conn) createDirect(now time.Time, d bridge.NewDirect, pair bridge.Pair) ([]chat.Entry, error) {
	if blocked, err := c.blocked(pair); err != nil {
		return nil, err
	} else if blocked {
		return nil, bridge.Blocked()
	}
	conv := &conversation{Conversation: bridge.Conversation{ID: d.ID, Direct: true}}
	return c.create(now, conv, d.UserID, []string{d.UserID, d.Peer}, d.JoinIDs[:], d.Limits)
}

func (c *conn) blocked(p bridge.Pair) (blocked bool, err error) {
	err = c.row(selectBlocked, p.A, p.B).Scan(&blocked)
	return blocked, err
}

// PutBlock implements bridge.Store.
func (s *Store) PutBlock(ctx context.Context, now time.Time, user, other string, limits bridge.Limits) error {
	return s.write(ctx, func(c *conn) error {
		var have, stands int
		err := c.row(countBlocks, user, other).Scan(&have, &stands)
		if err != nil || stands > 0 {
			return name("block", err)
		}
		if err := limits.CheckBlocks(have); err != nil {
			return err
		}
		if _, err = c.exec(insertBlock, user, other, now.UnixMilli()); err == nil {
			_, err = c.exec(closeDirect, true, bridge.Pair{A: user, B: other}.Key())
		}
		return name("block", err)
	})
}

// DeleteBlock implements bridge.Store.
func (s *Store) DeleteBlock(ctx context.Context, user, other string) (blocked bool, err error) {
	pair := bridge.Pair{A: user, B: other}
	err = s.write(ctx, func(c *conn) error {
		_, err := c.exec(deleteBlock, user, other)
		if err == nil {
			blocked, err = c.blocked(pair)
		}
		if err == nil {
			_, err = c.exec(closeDirect, blocked, pair.Key())
		}
		return name("unblock", err)
	})
	return blocked && err == nil, err
}

// BlockList implements bridge.Store.
func (s *Store) BlockList(ctx context.Context, user, after string, limit int) (list []bridge.Block, err error) {
	err = s.read(ctx, func(c *conn) error {
		return name("list blocks", c.each(func(rows *sql.Rows) error {
			var b bridge.Block
			var at int64
			err := rows.Scan(&b.UserID, &at)
			b.At = asTime(at)
			list = append(list, b)
			return err
		}, selectBlockList, user, after, limit))
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Blocked implements bridge.Store.
func (s *Store) Blocked(ctx context.Context, pairs []bridge.Pair) ([]bool, error) {
	return readAll(ctx, s, "blocked", pairs, (*conn).blocked)
}

// Blocks implements bridge.Store.
func (s *Store) Blocks(ctx context.Context, users []string) ([][]string, error) {
	return readAll(ctx, s, "blocks", users, func(c *conn, user string) (all []string, err error) {
		err = c.each(func(rows *sql.Rows) error {
			var other string
			err := rows.Scan(&other)
			all = append(all, other)
			return err
		}, selectBlocks, user)
		return all, err
	})
}
