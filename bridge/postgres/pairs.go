package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// What is between two users has no row before it is there. So whoever changes
// it holds a lock on the name of the pair, which "/" keeps apart from the names
// of users and "b/" from each other. It is taken before the lock of any row.
const (
	lockName = `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`

	selectDirect = `
SELECT s.key FROM (SELECT stream FROM conversations WHERE pair = $1 OFFSET 0) c
CROSS JOIN LATERAL (SELECT key FROM streams WHERE id = c.stream OFFSET 0) s`

	// Whether a block stands, by either.
	selectBlocked = `
SELECT p.n, (SELECT count(*) FROM blocks WHERE user_id = p.a AND blocked = p.b)
	+ (SELECT count(*) FROM blocks WHERE user_id = p.b AND blocked = p.a) > 0
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS p(a, b, n)`

	countBlocks = `
SELECT count(*), count(*) FILTER (WHERE blocked = $2) FROM blocks WHERE user_id = $1`
	insertBlock = `INSERT INTO blocks (user_id, blocked, at) VALUES ($1, $2, $3)`
	deleteBlock = `DELETE FROM blocks WHERE user_id = $1 AND blocked = $2`

	// It waits for whoever appends to the conversation, and is waited for.
	closeDirect = `
UPDATE streams SET closed = $2 WHERE id = (SELECT stream FROM conversations WHERE pair = $1)`

	selectBlockList = `
SELECT blocked, at FROM blocks WHERE user_id = $1 AND blocked > $2 ORDER BY blocked LIMIT $3`

	selectBlocks = `
SELECT u.n, b.user_id
FROM unnest($1::text[]) WITH ORDINALITY AS u(user_id, n)
CROSS JOIN LATERAL (SELECT blocked AS user_id FROM blocks WHERE user_id = u.user_id
	UNION SELECT user_id FROM blocks WHERE blocked = u.user_id AND at > '-infinity') b
ORDER BY u.n, b.user_id`
)

// CreateDirect implements bridge.Store.
func (s *Store) CreateDirect(ctx context.Context, now time.Time, d bridge.NewDirect) (
	conv bridge.Conversation, entries []chat.Entry, created bool, err error,
) {
	pair := bridge.Pair{A: d.UserID, B: d.Peer}
	err = s.inTx(ctx, "create direct conversation", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockName, pair.Key()); err != nil {
			return err
		}
		var key string
		err := tx.QueryRow(ctx, selectDirect, pair.Key()).Scan(&key)
		if err == nil {
			conv, err = readConversation(ctx, tx, chat.StreamID(key).Conversation())
			if errors.Is(err, chat.ErrNotFound) {
				return errAgain // it was deleted since
			}
			return err
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if blocked, err := blockedPair(ctx, tx, pair); err != nil || blocked {
			return errors.Join(err, refusal(blocked))
		}
		conv = bridge.Conversation{ID: d.ID, CreatedAt: stored(now), Direct: true}
		stream, err := newStream(ctx, tx, &conv, 2)
		if errors.Is(err, pgx.ErrNoRows) {
			return errAgain
		}
		if err != nil {
			return err
		}
		created = true
		entries, err = insertNew(ctx, tx, stream, &conv, d.UserID, []string{d.UserID, d.Peer}, d.JoinIDs[:], d.Limits)
		return err
	})
	if err != nil {
		return bridge.Conversation{}, nil, false, err
	}
	return conv, entries, created, nil
}

func refusal(blocked bool) error {
	if blocked {
		return bridge.Blocked()
	}
	return nil
}

func blockedPair(ctx context.Context, tx pgx.Tx, p bridge.Pair) (blocked bool, err error) {
	err = tx.QueryRow(ctx, selectBlocked, []string{p.A}, []string{p.B}).Scan(new(int64), &blocked)
	return blocked, err
}

// PutBlock implements bridge.Store. The first lock keeps the count true.
func (s *Store) PutBlock(ctx context.Context, now time.Time, user, other string, limits bridge.Limits) error {
	pair := bridge.Pair{A: user, B: other}.Key()
	return s.inTx(ctx, "block", func(tx pgx.Tx) error {
		for _, name := range []string{"b/" + user, pair} {
			if _, err := tx.Exec(ctx, lockName, name); err != nil {
				return err
			}
		}
		var have, stands int
		if err := tx.QueryRow(ctx, countBlocks, user, other).Scan(&have, &stands); err != nil || stands > 0 {
			return err
		}
		if err := limits.CheckBlocks(have); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertBlock, user, other, stored(now)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, closeDirect, pair, true)
		return err
	})
}

// DeleteBlock implements bridge.Store.
func (s *Store) DeleteBlock(ctx context.Context, user, other string) (blocked bool, err error) {
	pair := bridge.Pair{A: user, B: other}
	err = s.inTx(ctx, "unblock", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockName, pair.Key()); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, deleteBlock, user, other); err != nil {
			return err
		}
		if blocked, err = blockedPair(ctx, tx, pair); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, closeDirect, pair.Key(), blocked)
		return err
	})
	return blocked && err == nil, err
}

// BlockList implements bridge.Store.
func (s *Store) BlockList(ctx context.Context, user, after string, limit int) (list []bridge.Block, err error) {
	err = s.query(ctx, "list blocks", selectBlockList, []any{user, after, toLimit(limit)}, func(rows pgx.Rows) error {
		var b bridge.Block
		err := rows.Scan(&b.UserID, &b.At)
		b.At = b.At.UTC()
		list = append(list, b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Blocked implements bridge.Store.
func (s *Store) Blocked(ctx context.Context, pairs []bridge.Pair) ([]bool, error) {
	a, b, out := make([]string, len(pairs)), make([]string, len(pairs)), make([]bool, len(pairs))
	for i, p := range pairs {
		a[i], b[i] = p.A, p.B
	}
	var n int64
	var blocked bool
	err := s.query(ctx, "look for blocks", selectBlocked, []any{a, b}, func(rows pgx.Rows) error {
		err := rows.Scan(&n, &blocked)
		if err == nil {
			out[n-1] = blocked
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Blocks implements bridge.Store.
func (s *Store) Blocks(ctx context.Context, users []string) ([][]string, error) {
	out := make([][]string, len(users))
	var n int64
	var user string
	err := s.query(ctx, "read blocks", selectBlocks, []any{users}, func(rows pgx.Rows) error {
		err := rows.Scan(&n, &user)
		if err == nil {
			out[n-1] = append(out[n-1], user)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
