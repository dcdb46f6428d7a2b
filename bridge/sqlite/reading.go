package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// unread counts a member's unread messages. It is for a row p that has a
	// stream's id, head, first and messages, and the member's read. What was
	// said up to read is known from the entry at that place; where that is
	// not held any more, all that is held is unread.
	unread = `(CASE WHEN p.first > p.head OR p.read >= p.head THEN 0 ELSE p.messages
		- coalesce((SELECT nth FROM entries WHERE stream = p.id AND seq = p.read),
			(SELECT nth - (type = 1) FROM entries WHERE stream = p.id AND seq = p.first), 0)
		- (SELECT count(*) FROM entries WHERE stream = p.id AND seq > p.read AND deleted = 1 AND type = 1) END)`

	selectReceipt = `SELECT read, delivered, receipt_at FROM members WHERE stream = ? AND user_id = ? AND role <> 0`
	updateReceipt = `UPDATE members SET read = ?3, delivered = ?4, receipt_at = ?5 WHERE stream = ?1 AND user_id = ?2`
	countFew      = `SELECT count(*) FROM (SELECT 1 FROM members WHERE stream = ? AND role <> 0 LIMIT ?)`

	selectReceipts = `SELECT user_id, read, delivered, receipt_at FROM members
		WHERE stream = ? AND role <> 0 ORDER BY joined_seq`
	selectStanding = `SELECT p.head, p.read, ` + unread + `
		FROM (SELECT s.*, m.read FROM streams s JOIN members m ON m.stream = s.id
			WHERE s.key = ? AND m.user_id = ? AND m.role <> 0) p`
)

// MoveReceipts implements bridge.Store.
func (s *Store) MoveReceipts(ctx context.Context, now time.Time, moves []bridge.Move) (out []bridge.Moved, err error) {
	err = s.write(ctx, func(c *conn) error {
		out = make([]bridge.Moved, len(moves))
		for i := range moves {
			if out[i], err = c.moveReceipt(now, &moves[i]); err != nil {
				return name("move receipts", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *conn) moveReceipt(now time.Time, m *bridge.Move) (bridge.Moved, error) {
	var st stream
	found, err := c.row(selectStream, string(chat.ConversationStream(m.Conversation))).find(&st.id, &st.head, &st.messages, &st.closed)
	if !found || err != nil {
		return bridge.Moved{Err: bridge.NoConversation()}, err
	}
	r := bridge.Receipt{MemberKey: m.MemberKey}
	var at int64
	found, err = c.row(selectReceipt, st.id, m.UserID).find(&r.Read, &r.Delivered, &at)
	if !found || err != nil {
		return bridge.Moved{Err: bridge.NotMember()}, err
	}
	r.At = asTime(at)
	if m.Small {
		var members int
		if err := c.row(countFew, st.id, bridge.SmallConversation+1).Scan(&members); err != nil || members > bridge.SmallConversation {
			return bridge.Moved{Receipt: r}, err
		}
	}
	head := uint64(st.head)
	read := max(r.Read, min(m.Read, head))
	delivered := max(r.Delivered, min(max(m.Read, m.Delivered), head))
	if read == r.Read && delivered == r.Delivered {
		return bridge.Moved{Receipt: r}, nil
	}
	r.Read, r.Delivered, r.At = read, delivered, asTime(now.UnixMilli())
	_, err = c.exec(updateReceipt, st.id, m.UserID, int64(read), int64(delivered), now.UnixMilli())
	return bridge.Moved{Receipt: r, Raised: true}, err
}

// Receipts implements bridge.Store.
func (s *Store) Receipts(ctx context.Context, conversation string) (list []bridge.Receipt, err error) {
	err = s.read(ctx, func(c *conn) error {
		conv, err := c.conversation(conversation)
		if err != nil {
			return name("receipts", err)
		}
		return name("receipts", c.each(func(rows *sql.Rows) error {
			r := bridge.Receipt{MemberKey: bridge.MemberKey{Conversation: conversation}}
			var at int64
			err := rows.Scan(&r.UserID, &r.Read, &r.Delivered, &at)
			r.At = asTime(at)
			list = append(list, r)
			return err
		}, selectReceipts, conv.stream))
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Standings implements bridge.Store.
func (s *Store) Standings(ctx context.Context, keys []bridge.MemberKey) ([]bridge.Standing, error) {
	return readAll(ctx, s, "standings", keys, func(c *conn, key bridge.MemberKey) (st bridge.Standing, err error) {
		_, err = c.row(selectStanding, string(chat.ConversationStream(key.Conversation)), key.UserID).find(
			&st.Head, &st.Read, &st.Unread)
		return st, err
	})
}
