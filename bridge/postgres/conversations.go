package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// A stream that is being created by another waits here for the other's
	// end.
	insertStream = `INSERT INTO streams (key, head, last_at, since_join) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING RETURNING id`

	insertConversation = `INSERT INTO conversations (stream, name, owner_id, created_at, size, pair) VALUES ($1, $2, $3, $4, $5, $6)`

	insertMembers = `
INSERT INTO members (stream, user_id, role, joined_at, joined_seq, read, delivered, receipt_at)
SELECT $1, m.user_id, m.role, $2, m.seq, m.seq, m.seq, $2
FROM unnest($3::text[], $4::smallint[]) WITH ORDINALITY AS m(user_id, role, seq)`

	insertJoins = `
INSERT INTO entries (stream, seq, created_at, id, type, sender_id, extra)
SELECT $1, j.seq, $2, j.id, $3, $4, j.extra
FROM unnest($5::uuid[], $6::text[]) WITH ORDINALITY AS j(id, extra, seq)`
)

// CreateConversation implements bridge.Store.
func (s *Store) CreateConversation(ctx context.Context, now time.Time, n bridge.NewConversation) (
	conv bridge.Conversation, entries []chat.Entry, created bool, err error,
) {
	if len(n.JoinIDs) != 1+len(n.Members) {
		return conv, nil, false, errors.New("create conversation: one join id is needed for each member and the owner")
	}
	now = stored(now)
	conv = bridge.Conversation{ID: n.ID, Name: n.Name, OwnerID: n.OwnerID, CreatedAt: now, SinceJoin: n.SinceJoin}
	users := append([]string{n.OwnerID}, n.Members...)
	err = s.inTx(ctx, "create conversation", func(tx pgx.Tx) error {
		stream, err := newStream(ctx, tx, &conv, len(users))
		if errors.Is(err, pgx.ErrNoRows) {
			conv, err = readConversation(ctx, tx, n.ID)
			switch {
			case errors.Is(err, chat.ErrNotFound):
				return errAgain // it was deleted since
			case err == nil && conv.OwnerID != n.OwnerID:
				return chat.Errorf(chat.CodeConflict, "another user has a conversation with this id")
			}
			return err
		}
		if err != nil {
			return err
		}
		if err := n.Limits.CheckSize(len(users)); err != nil {
			return err
		}
		created = true
		entries, err = insertNew(ctx, tx, stream, &conv, n.OwnerID, users, n.JoinIDs, n.Limits)
		return err
	})
	if err != nil {
		return bridge.Conversation{}, nil, false, err
	}
	return conv, entries, created, nil
}

// newStream makes the stream of a conversation. It answers pgx.ErrNoRows
// where it stands.
func newStream(ctx context.Context, tx pgx.Tx, conv *bridge.Conversation, head int) (id int64, err error) {
	key := string(chat.ConversationStream(conv.ID))
	err = tx.QueryRow(ctx, insertStream, key, head, conv.CreatedAt, conv.SinceJoin).Scan(&id)
	return id, err
}

// insertNew writes what a new conversation has beside its stream, with a join
// entry by creator for each user. The owner, if it has one, is the first.
func insertNew(ctx context.Context, tx pgx.Tx, stream int64, conv *bridge.Conversation, creator string, users []string,
	joinIDs []chat.ID, limits bridge.Limits,
) ([]chat.Entry, error) {
	if err := checkConversations(ctx, tx, users, limits); err != nil {
		return nil, err
	}
	now := conv.CreatedAt
	conv.HeadSeq, conv.FirstSeq, conv.Size = uint64(len(users)), 1, len(users)
	conv.Members = make([]bridge.Member, len(users))
	entries := make([]chat.Entry, len(users))
	roles, ids, extras := make([]int16, len(users)), make([][16]byte, len(users)), make([]string, len(users))
	for i, user := range users {
		m := bridge.Member{UserID: user, Role: chat.RoleMember, JoinedAt: now, JoinedSeq: uint64(i + 1)}
		if i == 0 && !conv.Direct {
			m.Role = chat.RoleOwner
		}
		e := chat.Entry{ID: joinIDs[i], Stream: chat.ConversationStream(conv.ID), Seq: m.JoinedSeq, SenderID: creator,
			CreatedAt: now, Body: chat.Body{Type: chat.TypeJoin, UserID: user}}
		conv.Members[i], entries[i] = m, e
		roles[i], ids[i], extras[i] = int16(m.Role), e.ID, encodeExtra(&e.Body)
	}
	var pair *string
	if conv.Direct {
		key := bridge.Pair{A: users[0], B: users[1]}.Key()
		pair = &key
	}
	b := &pgx.Batch{}
	b.Queue(insertConversation, stream, conv.Name, conv.OwnerID, now, conv.Size, pair)
	b.Queue(insertMembers, stream, now, users, roles)
	b.Queue(insertJoins, stream, now, int16(chat.TypeJoin), creator, ids, extras)
	return entries, tx.SendBatch(ctx, b).Close()
}

// selectFull finds a user who is a member of so many conversations. It looks
// at no more of them than that.
const selectFull = `
SELECT u.user_id FROM unnest($1::text[]) AS u(user_id)
WHERE (SELECT count(*) FROM (SELECT FROM members WHERE user_id = u.user_id AND role > 0 ORDER BY stream LIMIT $2) m) >= $2
LIMIT 1`

// checkConversations refuses to make users members of one conversation more.
func checkConversations(ctx context.Context, tx pgx.Tx, users []string, limits bridge.Limits) error {
	if limits.Conversations <= 0 {
		return nil
	}
	var full string
	err := tx.QueryRow(ctx, selectFull, users, limits.Conversations).Scan(&full)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = limits.TooManyConversations(full)
	}
	return err
}

// One statement, so that head and members fit together.
const selectConversation = `
SELECT s.head, s.first, s.since_join, s.age, s.count, c.name, c.owner_id, c.created_at, c.size, c.pair IS NOT NULL,
	coalesce(m.user_id, ''), coalesce(m.role, 0), coalesce(m.joined_at, c.created_at), coalesce(m.joined_seq, 0)
FROM (SELECT id, head, first, since_join, coalesce(keep_age, 0) AS age, coalesce(keep_count, 0) AS count
	FROM streams WHERE key = $1 OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM conversations WHERE stream = s.id OFFSET 0) c
LEFT JOIN LATERAL (SELECT * FROM members WHERE stream = s.id AND role > 0 AND joined_seq > 0 ORDER BY joined_seq LIMIT $2) m ON true
ORDER BY m.joined_seq`

// querier is a transaction, or the pool for a statement on its own.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func readConversation(ctx context.Context, q querier, id string) (bridge.Conversation, error) {
	conv := bridge.Conversation{ID: id}
	rows, err := q.Query(ctx, selectConversation, string(chat.ConversationStream(id)), bridge.MostListed)
	if err != nil {
		return conv, err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var m bridge.Member
		var age int64
		if err := rows.Scan(&conv.HeadSeq, &conv.FirstSeq, &conv.SinceJoin, &age, &conv.Retention.Count, &conv.Name, &conv.OwnerID,
			&conv.CreatedAt, &conv.Size, &conv.Direct,
			&m.UserID, (*uint8)(&m.Role), &m.JoinedAt, &m.JoinedSeq); err != nil {
			return err
		}
		conv.Retention.Age = time.Duration(age) * time.Second
		conv.CreatedAt, m.JoinedAt = conv.CreatedAt.UTC(), m.JoinedAt.UTC()
		if m.Role != chat.RoleNone { // else it is the row of a conversation without members
			conv.Members = append(conv.Members, m)
		}
		return nil
	})
	if err == nil && conv.CreatedAt.IsZero() {
		return conv, bridge.NoConversation()
	}
	return conv, err
}

// Conversation implements bridge.Store.
func (s *Store) Conversation(ctx context.Context, id string) (bridge.Conversation, error) {
	conv, err := readConversation(ctx, s.pool, id)
	if err != nil {
		return bridge.Conversation{}, failure("read conversation", err)
	}
	return conv, nil
}

// The conversations of a page are chosen before their last messages are
// looked up.
const selectConversations = `
SELECT p.key, p.head, p.first, p.since_join, p.last_at, p.read, ` + unread + `, p.archived,
	c.name, c.owner_id, c.created_at, c.size, coalesce(c.pair, ''), e.seq IS NOT NULL,
	coalesce(e.seq, 0), coalesce(e.created_at, p.last_at), coalesce(e.target, 0),
	coalesce(e.id, '00000000-0000-0000-0000-000000000000'), coalesce(e.type, 0), coalesce(e.deleted, false),
	coalesce(e.sender_id, ''), coalesce(e.client_id, ''), coalesce(d.content, e.content, ''), coalesce(e.extra, '')
FROM (
	SELECT s.*, m.read, m.archived, CASE WHEN s.since_join THEN m.joined_seq ELSE 0 END AS floor
	FROM (SELECT stream, read, archived, joined_seq FROM members
		WHERE user_id = $1 AND role > 0 AND ($5::boolean IS NULL OR archived = $5) ORDER BY stream OFFSET 0) m
	CROSS JOIN LATERAL (SELECT id, key, head, first, last_at, messages, since_join FROM streams WHERE id = m.stream OFFSET 0) s
	WHERE ($3 = '' OR (s.last_at, s.key) < ($2, $3))
	ORDER BY s.last_at DESC, s.key DESC
	LIMIT $4
) p
CROSS JOIN LATERAL (SELECT * FROM conversations WHERE stream = p.id OFFSET 0) c
LEFT JOIN LATERAL (SELECT * FROM entries
	WHERE stream = p.id AND seq > p.floor AND type = 1 AND NOT deleted ORDER BY seq DESC LIMIT 1) e ON true
LEFT JOIN LATERAL (SELECT content FROM entries
	WHERE target = e.seq AND stream + 0 = e.stream AND type = 2 AND NOT deleted ORDER BY seq DESC LIMIT 1) d ON true
ORDER BY p.last_at DESC, p.key DESC`

// Conversations implements bridge.Store.
func (s *Store) Conversations(ctx context.Context, user string, page bridge.Page) ([]bridge.Summary, error) {
	var after string
	if page.ID != "" {
		after = string(chat.ConversationStream(page.ID))
	}
	var list []bridge.Summary
	args := []any{user, stored(page.LastAt), after, toLimit(page.Limit), page.Archived}
	err := s.query(ctx, "list conversations", selectConversations, args, func(rows pgx.Rows) error {
		var sum bridge.Summary
		var key, pair string
		var has bool
		last, err := scanEntry(rows, "", &key, &sum.HeadSeq, &sum.FirstSeq, &sum.SinceJoin, &sum.LastAt, &sum.Read, &sum.Unread,
			&sum.Archived, &sum.Name, &sum.OwnerID, &sum.CreatedAt, &sum.Size, &pair, &has)
		if err != nil {
			return err
		}
		if sum.Direct = pair != ""; sum.Direct {
			sum.Peer = bridge.Other(pair, user)
		}
		sum.ID = chat.StreamID(key).Conversation()
		sum.LastAt, sum.CreatedAt = sum.LastAt.UTC(), sum.CreatedAt.UTC()
		if has {
			last.Stream = chat.StreamID(key)
			sum.Last = &last
		}
		list = append(list, sum)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// RenameConversation implements bridge.Store.
func (s *Store) RenameConversation(ctx context.Context, now time.Time, actor bridge.Actor, id, name string, entryID chat.ID) (
	entry chat.Entry, err error,
) {
	err = s.change(ctx, "rename conversation", id, func(c *change) error {
		who, _, err := c.members(ctx, actor, "")
		if err != nil {
			return err
		}
		if err := c.refuse(bridge.CheckRename(actor, who.Role)); err != nil {
			return err
		}
		entry = c.entry(now, actor, entryID, chat.Body{Type: chat.TypeRename, Name: name})
		return c.write(ctx, &entry, statement{`UPDATE conversations SET name = $2 WHERE stream = $1`, []any{name}})
	})
	if err != nil {
		return chat.Entry{}, err
	}
	return entry, nil
}

const deleteEntries = `DELETE FROM entries WHERE stream = $1`

// DeleteConversation implements bridge.Store. Most entries go before the
// stream is locked, so that a long history does not hold up the commits of
// other conversations that share a batch with this one.
func (s *Store) DeleteConversation(ctx context.Context, actor bridge.Actor, id string) error {
	return s.inTx(ctx, "delete conversation", func(tx pgx.Tx) error {
		c := &change{tx: tx, id: id}
		for _, lock := range []string{peekStream, lockStream} {
			if err := c.begin(ctx, lock); err != nil {
				return err
			}
			who, _, err := c.members(ctx, actor, "")
			if err != nil {
				return err
			}
			if err := bridge.CheckDelete(actor, who.Role); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, deleteEntries, c.stream); err != nil {
				return err
			}
		}
		// Members, cursors and the conversation go with the stream.
		_, err := tx.Exec(ctx, `DELETE FROM streams WHERE id = $1`, c.stream)
		return err
	})
}
