package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectMember = `SELECT role, joined_at, joined_seq FROM members WHERE stream = ? AND user_id = ?`
	upsertMember = `INSERT INTO members (stream, user_id, role, joined_at, joined_seq, read, delivered, receipt_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?5, ?4)
		ON CONFLICT (stream, user_id) DO UPDATE
		SET role = excluded.role, joined_at = excluded.joined_at, joined_seq = excluded.joined_seq, left_seq = 0,
			read = excluded.read, delivered = excluded.delivered, receipt_at = excluded.receipt_at, archived = 0`
	updateRole  = `UPDATE members SET role = ? WHERE stream = ? AND user_id = ?`
	endMember   = `UPDATE members SET role = 0, left_seq = ? WHERE stream = ? AND user_id = ?`
	updateOwner = `UPDATE conversations SET owner_id = ? WHERE stream = ?`
	updateSize  = `UPDATE conversations SET size = size + ? WHERE stream = ?`
	// Who becomes the owner when the owner goes.
	selectHeir = `SELECT user_id FROM members WHERE stream = ? AND role <> 0 AND user_id <> ?
		ORDER BY role DESC, joined_seq LIMIT 1`
	countConversations = `SELECT count(*) FROM (SELECT 1 FROM members WHERE user_id = ? AND role <> 0 LIMIT ?)`
	memberships        = `SELECT s.key, s.head, s.first, s.since_join, m.role, m.joined_seq, m.left_seq
		FROM members m JOIN streams s ON s.id = m.stream WHERE m.user_id = ?`
	membershipIn = `SELECT s.head, s.first, s.since_join, coalesce(m.role, 0), coalesce(m.joined_seq, 0), coalesce(m.left_seq, 0)
		FROM streams s LEFT JOIN members m ON m.stream = s.id AND m.user_id = ? WHERE s.key = ?`
)

// join makes user a member and appends the join entry.
func (c *conn) join(conv *conversation, now time.Time, sender, user string, role chat.Role, id chat.ID, limits bridge.Limits) (
	m bridge.Member, e chat.Entry, err error,
) {
	if limits.Conversations > 0 {
		var has int
		if err = c.row(countConversations, user, limits.Conversations).Scan(&has); err == nil && has >= limits.Conversations {
			err = limits.TooManyConversations(user)
		}
		if err != nil {
			return m, e, err
		}
	}
	e, err = c.appendEntry(conv, now, id, sender, chat.Body{Type: chat.TypeJoin, UserID: user})
	if err != nil {
		return m, e, err
	}
	m = bridge.Member{UserID: user, Role: role, JoinedAt: e.CreatedAt, JoinedSeq: e.Seq}
	if _, err = c.exec(upsertMember, conv.stream, user, uint8(role), now.UnixMilli(), int64(e.Seq)); err != nil {
		return m, e, err
	}
	_, err = c.exec(updateSize, 1, conv.stream)
	return m, e, err
}

// handOver makes user, who gets the role of an owner, the one of the
// conversation. Who was it is an admin.
func (c *conn) handOver(conv *conversation, user string) error {
	if conv.OwnerID == user {
		return nil
	}
	if _, err := c.exec(updateRole, uint8(chat.RoleAdmin), conv.stream, conv.OwnerID); err != nil {
		return err
	}
	_, err := c.exec(updateOwner, user, conv.stream)
	return err
}

// PutMember implements bridge.Store.
func (s *Store) PutMember(ctx context.Context, now time.Time, actor bridge.Actor, id, user string, want chat.Role, entryID chat.ID,
	limits bridge.Limits,
) (m bridge.Member, entry *chat.Entry, err error) {
	err = s.change(ctx, "put member", id, func(c *conn, conv *conversation) error {
		role, err := c.role(conv.stream, actor.UserID)
		if err != nil {
			return err
		}
		m = bridge.Member{UserID: user}
		var at int64
		if _, err = c.row(selectMember, conv.stream, user).find(&m.Role, &at, &m.JoinedSeq); err != nil {
			return err
		}
		want := bridge.RoleToGive(m.Role, want)
		if err = conv.refuse(bridge.CheckPutMember(actor, role, m.Role, want)); err != nil {
			return err
		}
		if want == chat.RoleOwner {
			if err = c.handOver(conv, user); err != nil {
				return err
			}
		}
		if m.Role == chat.RoleNone {
			if err = limits.CheckSize(conv.Size + 1); err != nil {
				return err
			}
			var e chat.Entry
			m, e, err = c.join(conv, now, actor.UserID, user, want, entryID, limits)
			entry = &e
			return err
		}
		m.Role, m.JoinedAt = want, asTime(at)
		_, err = c.exec(updateRole, uint8(want), conv.stream, user)
		return err
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
	err = s.change(ctx, "remove member", id, func(c *conn, conv *conversation) error {
		role, err := c.role(conv.stream, actor.UserID)
		if err != nil {
			return err
		}
		is, err := c.role(conv.stream, user)
		if err == nil {
			err = bridge.CheckRemoveMember(actor, user, role, is)
			if !actor.Forgets {
				err = conv.refuse(err)
			}
		}
		if err == nil && is == chat.RoleOwner {
			err = c.inherit(conv, user)
		}
		if err != nil {
			return err
		}
		entry, err = c.appendEntry(conv, now, entryID, actor.UserID, chat.Body{Type: chat.TypeLeave, UserID: user})
		if err != nil {
			return err
		}
		if _, err = c.exec(endMember, int64(entry.Seq), conv.stream, user); err != nil {
			return err
		}
		_, err = c.exec(updateSize, -1, conv.stream)
		return err
	})
	if err != nil {
		return chat.Entry{}, err
	}
	return entry, nil
}

// inherit finds who becomes the owner when the owner goes, "" if nobody is
// left.
func (c *conn) inherit(conv *conversation, owner string) error {
	var heir string
	found, err := c.row(selectHeir, conv.stream, owner).find(&heir)
	if found && err == nil {
		_, err = c.exec(updateRole, uint8(chat.RoleOwner), conv.stream, heir)
	}
	if err != nil {
		return err
	}
	_, err = c.exec(updateOwner, heir, conv.stream)
	return err
}

// Memberships implements bridge.Store.
func (s *Store) Memberships(ctx context.Context, users []string) ([][]bridge.Membership, error) {
	return readAll(ctx, s, "memberships", users, func(c *conn, user string) (all []bridge.Membership, err error) {
		err = c.each(func(rows *sql.Rows) error {
			m := bridge.Membership{Exists: true}
			var key chat.StreamID
			err := rows.Scan(&key, &m.Head.Head, &m.First, &m.SinceJoin, &m.Role, &m.JoinedSeq, &m.LeftSeq)
			m.Conversation, m.UserID = key.Conversation(), user
			all = append(all, m)
			return err
		}, memberships, user)
		return all, err
	})
}

// MembershipsIn implements bridge.Store.
func (s *Store) MembershipsIn(ctx context.Context, keys []bridge.MemberKey) ([]bridge.Membership, error) {
	return readAll(ctx, s, "memberships in", keys, func(c *conn, key bridge.MemberKey) (m bridge.Membership, err error) {
		m.MemberKey = key
		m.Exists, err = c.row(membershipIn, key.UserID, string(chat.ConversationStream(key.Conversation))).find(
			&m.Head.Head, &m.First, &m.SinceJoin, &m.Role, &m.JoinedSeq, &m.LeftSeq)
		return m, err
	})
}
