package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	setHistory = `UPDATE streams SET since_join = $2 WHERE id = $1`

	setArchived = `
UPDATE members SET archived = $3
WHERE stream = (SELECT id FROM streams WHERE key = $1) AND user_id = $2 AND role > 0`

	selectMembers = `
SELECT coalesce(m.user_id, ''), coalesce(m.role, 0), coalesce(m.joined_at, s.last_at), coalesce(m.joined_seq, 0)
FROM (SELECT id, last_at FROM streams WHERE key = $1 OFFSET 0) s
LEFT JOIN LATERAL (SELECT * FROM members
	WHERE stream = s.id AND role > 0 AND joined_seq > 0 AND joined_seq > $2 ORDER BY joined_seq LIMIT $3) m ON true
ORDER BY m.joined_seq`
)

// SetHistory implements bridge.Store.
func (s *Store) SetHistory(ctx context.Context, actor bridge.Actor, id string, sinceJoin bool) error {
	return s.change(ctx, "set history", id, func(c *change) error {
		who, _, err := c.members(ctx, actor, "")
		if err != nil {
			return err
		}
		if err := c.refuse(bridge.CheckHistory(actor, who.Role)); err != nil {
			return err
		}
		_, err = c.tx.Exec(ctx, setHistory, c.stream, sinceJoin)
		return err
	})
}

// SetArchived implements bridge.Store.
func (s *Store) SetArchived(ctx context.Context, id, user string, archived bool) error {
	return s.inTx(ctx, "archive", func(tx pgx.Tx) error {
		key := string(chat.ConversationStream(id))
		done, err := tx.Exec(ctx, setArchived, key, user, archived)
		if err != nil || done.RowsAffected() > 0 {
			return err
		}
		c := &change{tx: tx, id: id}
		if err := c.begin(ctx, peekStream); err != nil {
			return err
		}
		return bridge.NotMember()
	})
}

// Members implements bridge.Store.
func (s *Store) Members(ctx context.Context, id string, after uint64, limit int) ([]bridge.Member, error) {
	var list []bridge.Member
	found := false
	args := []any{string(chat.ConversationStream(id)), toBigint(after), toLimit(limit)}
	err := s.query(ctx, "list members", selectMembers, args, func(rows pgx.Rows) error {
		found = true
		var m bridge.Member
		err := rows.Scan(&m.UserID, (*uint8)(&m.Role), &m.JoinedAt, &m.JoinedSeq)
		if err == nil && m.Role != chat.RoleNone { // else there are none
			m.JoinedAt = m.JoinedAt.UTC()
			list = append(list, m)
		}
		return err
	})
	if err == nil && !found {
		err = bridge.NoConversation()
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}
