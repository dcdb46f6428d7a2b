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
	peekStream = `SELECT id, head FROM streams WHERE key = $1`
	lockStream = `SELECT id, head FROM streams WHERE key = $1 FOR NO KEY UPDATE`

	selectRoles = `
SELECT c.pair IS NOT NULL, c.owner_id, c.size, coalesce(m.user_id, ''), coalesce(m.role, 0),
	coalesce(m.joined_at, c.created_at), coalesce(m.joined_seq, 0)
FROM (SELECT * FROM conversations WHERE stream = $1 OFFSET 0) c
CROSS JOIN unnest($2::text[]) AS u(user_id)
LEFT JOIN LATERAL (SELECT * FROM members WHERE stream = $1 AND user_id = u.user_id OFFSET 0) m ON true`

	raiseHead = `UPDATE streams SET head = $2, last_at = $3 WHERE id = $1`

	insertEntry = `
INSERT INTO entries (stream, seq, created_at, id, type, sender_id, extra, nth)
VALUES ($1, $2, $3, $4, $5, $6, $7, (SELECT messages FROM streams WHERE id = $1))`

	joinMember = `
INSERT INTO members (stream, user_id, role, joined_at, joined_seq, read, delivered, receipt_at)
VALUES ($1, $2, $3, $4, $5, $5, $5, $4)
ON CONFLICT (stream, user_id) DO UPDATE SET role = excluded.role, joined_at = excluded.joined_at,
	joined_seq = excluded.joined_seq, left_seq = 0, read = excluded.read, delivered = excluded.delivered,
	receipt_at = excluded.receipt_at, archived = false`

	leaveMember = `UPDATE members SET role = 0, left_seq = $3 WHERE stream = $1 AND user_id = $2`
	setRole     = `UPDATE members SET role = $3 WHERE stream = $1 AND user_id = $2`
	setOwner    = `UPDATE conversations SET owner_id = $2 WHERE stream = $1`
	resize      = `UPDATE conversations SET size = size + $2 WHERE stream = $1`

	// Who becomes the owner when the owner goes. It reads all members once.
	selectHeir = `
SELECT user_id FROM members WHERE stream = $1 AND role > 0 AND joined_seq > 0 AND user_id <> $2 ORDER BY role DESC, joined_seq LIMIT 1`
)

// change is a transaction that changes one conversation. It holds the lock of
// the stream's row before it reads anything else.
type change struct {
	tx     pgx.Tx
	id     string
	stream int64
	head   uint64

	// What members has read.
	direct bool
	owner  string
	size   int
}

func (s *Store) change(ctx context.Context, op, id string, run func(c *change) error) error {
	return s.inTx(ctx, op, func(tx pgx.Tx) error {
		c := &change{tx: tx, id: id}
		if err := c.begin(ctx, lockStream); err != nil {
			return err
		}
		return run(c)
	})
}

func (c *change) begin(ctx context.Context, sql string) error {
	err := c.tx.QueryRow(ctx, sql, string(chat.ConversationStream(c.id))).Scan(&c.stream, &c.head)
	if errors.Is(err, pgx.ErrNoRows) {
		return bridge.NoConversation()
	}
	return err
}

// members answers who the actor and a user are now. Somebody who never was a
// member, or has left, has RoleNone.
func (c *change) members(ctx context.Context, actor bridge.Actor, user string) (who, whom bridge.Member, err error) {
	rows, err := c.tx.Query(ctx, selectRoles, c.stream, []string{actor.UserID, user})
	if err != nil {
		return who, whom, err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var m bridge.Member
		err := rows.Scan(&c.direct, &c.owner, &c.size, &m.UserID, (*uint8)(&m.Role), &m.JoinedAt, &m.JoinedSeq)
		if err != nil || m.UserID == "" { // who never was a member
			return err
		}
		m.JoinedAt = m.JoinedAt.UTC()
		if m.UserID == actor.UserID {
			who = m
		}
		if m.UserID == user {
			whom = m
		}
		return nil
	})
	return who, whom, err
}

// refuse is what the rules of roles say, and then those of direct
// conversations. members comes first.
func (c *change) refuse(err error) error {
	if err == nil {
		err = bridge.CheckGroup(c.direct)
	}
	return err
}

// entry makes the entry that the change appends.
func (c *change) entry(now time.Time, actor bridge.Actor, id chat.ID, b chat.Body) chat.Entry {
	return chat.Entry{ID: id, Stream: chat.ConversationStream(c.id), Seq: c.head + 1, SenderID: actor.UserID,
		CreatedAt: stored(now), Body: b}
}

// statement is one that a change runs beside its entry.
type statement struct {
	sql  string
	args []any
}

// write appends the entry and does what it tells of.
func (c *change) write(ctx context.Context, e *chat.Entry, does ...statement) error {
	b := &pgx.Batch{}
	b.Queue(raiseHead, c.stream, e.Seq, e.CreatedAt)
	b.Queue(insertEntry, c.stream, e.Seq, e.CreatedAt, [16]byte(e.ID), int16(e.Type), e.SenderID, encodeExtra(&e.Body))
	return c.run(ctx, b, does)
}

func (c *change) run(ctx context.Context, b *pgx.Batch, does []statement) error {
	for _, st := range does {
		b.Queue(st.sql, append([]any{c.stream}, st.args...)...)
	}
	return c.tx.SendBatch(ctx, b).Close()
}

// handOver makes user, who has the role of an owner, the one of the
// conversation. Who was it is an admin.
func (c *change) handOver(user string) []statement {
	if c.owner == user {
		return nil
	}
	return []statement{{setRole, []any{c.owner, int16(chat.RoleAdmin)}}, {setOwner, []any{user}}}
}

// PutMember implements bridge.Store.
func (s *Store) PutMember(ctx context.Context, now time.Time, actor bridge.Actor, id, user string, role chat.Role, entryID chat.ID,
	limits bridge.Limits,
) (m bridge.Member, entry *chat.Entry, err error) {
	if role > chat.RoleOwner {
		return m, nil, chat.Invalid("role", "is not a role of a member")
	}
	err = s.change(ctx, "put member", id, func(c *change) error {
		who, whom, err := c.members(ctx, actor, user)
		if err != nil {
			return err
		}
		role := bridge.RoleToGive(whom.Role, role)
		if err := c.refuse(bridge.CheckPutMember(actor, who.Role, whom.Role, role)); err != nil {
			return err
		}
		var does []statement
		if role == chat.RoleOwner {
			does = c.handOver(user)
		}
		if m = whom; m.Role != chat.RoleNone {
			m.Role = role
			return c.run(ctx, &pgx.Batch{}, append(does, statement{setRole, []any{user, int16(role)}}))
		}
		if err := limits.CheckSize(c.size + 1); err != nil {
			return err
		}
		if err := checkConversations(ctx, c.tx, []string{user}, limits); err != nil {
			return err
		}
		e := c.entry(now, actor, entryID, chat.Body{Type: chat.TypeJoin, UserID: user})
		entry = &e
		m = bridge.Member{UserID: user, Role: role, JoinedAt: e.CreatedAt, JoinedSeq: e.Seq}
		return c.write(ctx, entry, append(does, statement{joinMember, []any{user, int16(role), m.JoinedAt, m.JoinedSeq}},
			statement{resize, []any{1}})...)
	})
	if err != nil {
		return bridge.Member{}, nil, err
	}
	return m, entry, nil
}

// RemoveMember implements bridge.Store.
func (s *Store) RemoveMember(ctx context.Context, now time.Time, actor bridge.Actor, id, user string, entryID chat.ID) (
	entry chat.Entry, err error,
) {
	err = s.change(ctx, "remove member", id, func(c *change) error {
		who, whom, err := c.members(ctx, actor, user)
		if err != nil {
			return err
		}
		err = bridge.CheckRemoveMember(actor, user, who.Role, whom.Role)
		if !actor.Forgets {
			err = c.refuse(err)
		}
		if err != nil {
			return err
		}
		does := []statement{{resize, []any{-1}}}
		if whom.Role == chat.RoleOwner {
			heir, err := c.heir(ctx, user)
			if err != nil {
				return err
			}
			does = append(does, statement{setOwner, []any{heir}}, statement{setRole, []any{heir, int16(chat.RoleOwner)}})
		}
		entry = c.entry(now, actor, entryID, chat.Body{Type: chat.TypeLeave, UserID: user})
		return c.write(ctx, &entry, append(does, statement{leaveMember, []any{user, entry.Seq}})...)
	})
	if err != nil {
		return chat.Entry{}, err
	}
	return entry, nil
}

// heir is who becomes the owner when the owner goes, "" if nobody is left.
func (c *change) heir(ctx context.Context, owner string) (user string, err error) {
	err = c.tx.QueryRow(ctx, selectHeir, c.stream, owner).Scan(&user)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return user, err
}

const (
	selectMemberships = `
SELECT u.n, s.key, s.head, s.first, s.since_join, m.role, m.joined_seq, m.left_seq
FROM unnest($1::text[]) WITH ORDINALITY AS u(user_id, n)
CROSS JOIN LATERAL (SELECT * FROM members WHERE user_id = u.user_id ORDER BY stream OFFSET 0) m
CROSS JOIN LATERAL (SELECT key, head, first, since_join FROM streams WHERE id = m.stream OFFSET 0) s`

	selectMembershipsIn = `
SELECT k.n, s.head, s.first, s.since_join, coalesce(m.role, 0), coalesce(m.joined_seq, 0), coalesce(m.left_seq, 0)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(key, user_id, n)
CROSS JOIN LATERAL (SELECT id, head, first, since_join FROM streams WHERE key = k.key OFFSET 0) s
LEFT JOIN LATERAL (SELECT * FROM members WHERE stream = s.id AND user_id = k.user_id OFFSET 0) m ON true`
)

// Memberships implements bridge.Store.
func (s *Store) Memberships(ctx context.Context, users []string) ([][]bridge.Membership, error) {
	got := make([][]bridge.Membership, len(users))
	var n int64
	var key string
	err := s.query(ctx, "read memberships", selectMemberships, []any{users}, func(rows pgx.Rows) error {
		m := bridge.Membership{Exists: true}
		if err := rows.Scan(&n, &key, &m.Head.Head, &m.First, &m.SinceJoin, (*uint8)(&m.Role), &m.JoinedSeq, &m.LeftSeq); err != nil {
			return err
		}
		m.MemberKey = bridge.MemberKey{Conversation: chat.StreamID(key).Conversation(), UserID: users[n-1]}
		got[n-1] = append(got[n-1], m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

// MembershipsIn implements bridge.Store.
func (s *Store) MembershipsIn(ctx context.Context, keys []bridge.MemberKey) ([]bridge.Membership, error) {
	got := make([]bridge.Membership, len(keys))
	streams, users := make([]string, len(keys)), make([]string, len(keys))
	for i, key := range keys {
		got[i].MemberKey = key
		streams[i], users[i] = string(chat.ConversationStream(key.Conversation)), key.UserID
	}
	var n int64
	err := s.query(ctx, "read memberships", selectMembershipsIn, []any{streams, users}, func(rows pgx.Rows) error {
		var m bridge.Membership
		if err := rows.Scan(&n, &m.Head.Head, &m.First, &m.SinceJoin, (*uint8)(&m.Role), &m.JoinedSeq, &m.LeftSeq); err != nil {
			return err
		}
		m.MemberKey, m.Exists = keys[n-1], true
		got[n-1] = m
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}
