package sqlite

import (
	"context"

	"github.com/parley-mqtt/parley/bridge"
)

const (
	updateHistory  = `UPDATE streams SET since_join = ? WHERE id = ?`
	updateArchived = `UPDATE members SET archived = ? WHERE stream = ? AND user_id = ? AND role <> 0`
)

// SetHistory implements bridge.Store.
func (s *Store) SetHistory(ctx context.Context, actor bridge.Actor, id string, sinceJoin bool) error {
	return s.change(ctx, "set history", id, func(c *conn, conv *conversation) error {
		role, err := c.role(conv.stream, actor.UserID)
		if err == nil {
			err = conv.refuse(bridge.CheckHistory(actor, role))
		}
		if err != nil {
			return err
		}
		_, err = c.exec(updateHistory, sinceJoin, conv.stream)
		return err
	})
}

// SetArchived implements bridge.Store.
func (s *Store) SetArchived(ctx context.Context, id, user string, archived bool) error {
	return s.change(ctx, "archive", id, func(c *conn, conv *conversation) error {
		n, err := c.exec(updateArchived, archived, conv.stream, user)
		if err == nil && n == 0 {
			err = bridge.NotMember()
		}
		return err
	})
}

// Members implements bridge.Store.
func (s *Store) Members(ctx context.Context, id string, after uint64, limit int) (list []bridge.Member, err error) {
	err = s.read(ctx, func(c *conn) error {
		conv, err := c.conversation(id)
		if err == nil {
			list, err = c.members(conv.stream, after, limit)
		}
		return name("members", err)
	})
	return list, err
}
