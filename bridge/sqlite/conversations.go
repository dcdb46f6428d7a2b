package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectConversation = `SELECT s.id, s.messages, s.head, s.first, s.since_join, coalesce(s.keep_age, 0), coalesce(s.keep_count, 0),
			c.name, c.owner_id, c.created_at, c.size, c.pair <> ''
		FROM streams s JOIN conversations c ON c.stream = s.id WHERE s.key = ?`
	selectMembers = `SELECT user_id, role, joined_at, joined_seq FROM members
		WHERE stream = ? AND role <> 0 AND joined_seq > ? ORDER BY joined_seq LIMIT ?`
	insertStream       = `INSERT INTO streams (key, head, last_at, since_join) VALUES (?, ?, ?, ?) RETURNING id`
	insertConversation = `INSERT INTO conversations (stream, name, owner_id, created_at, pair) VALUES (?, ?, ?, ?, ?)`
	updateName         = `UPDATE conversations SET name = ? WHERE stream = ?`

	// Every key begins with "c/", so keys order as ids do.
	selectConversations = `SELECT p.id, p.key, p.head, p.first, p.since_join, p.last_at, p.name, p.owner_id, p.created_at,
			p.size, p.pair, p.archived, CASE WHEN p.since_join THEN p.joined_seq ELSE 0 END, p.read, ` + unread + `
		FROM (SELECT s.*, c.name, c.owner_id, c.created_at, c.size, c.pair, m.read, m.archived, m.joined_seq
			FROM members m JOIN streams s ON s.id = m.stream JOIN conversations c ON c.stream = m.stream
			WHERE m.user_id = ?1 AND m.role <> 0 AND (?2 = '' OR (s.last_at, s.key) < (?3, ?2)) AND (?5 IS NULL OR m.archived = ?5)
			ORDER BY s.last_at DESC, s.key DESC LIMIT ?4) p
		ORDER BY p.last_at DESC, p.key DESC`
)

// deleteConversation removes all that hangs on a stream, the stream last.
var deleteConversation = []string{
	`DELETE FROM cursors WHERE stream = ?`,
	`DELETE FROM mentions_due WHERE stream = ?`,
	`DELETE FROM entries WHERE stream = ?`,
	`DELETE FROM members WHERE stream = ?`,
	`DELETE FROM conversations WHERE stream = ?`,
	`DELETE FROM streams WHERE id = ?`,
}

// conversation is a conversation with the number of its stream and of the
// messages in it.
type conversation struct {
	bridge.Conversation
	stream   int64
	messages int64
}

// conversation reads a conversation without its members, or answers
// bridge.NoConversation.
func (c *conn) conversation(id string) (*conversation, error) {
	conv := &conversation{Conversation: bridge.Conversation{ID: id}}
	var at, age int64
	found, err := c.row(selectConversation, string(chat.ConversationStream(id))).find(
		&conv.stream, &conv.messages, &conv.HeadSeq, &conv.FirstSeq, &conv.SinceJoin, &age, &conv.Retention.Count,
		&conv.Name, &conv.OwnerID, &at, &conv.Size, &conv.Direct)
	if err == nil && !found {
		err = bridge.NoConversation()
	}
	conv.CreatedAt, conv.Retention.Age = asTime(at), time.Duration(age)*time.Second
	return conv, err
}

// whole is conversation with the members.
func (c *conn) whole(id string) (bridge.Conversation, error) {
	conv, err := c.conversation(id)
	if err != nil {
		return bridge.Conversation{}, err
	}
	conv.Members, err = c.members(conv.stream, 0, bridge.MostListed)
	return conv.Conversation, err
}

// members reads the members who joined after a seq.
func (c *conn) members(stream int64, after uint64, limit int) (list []bridge.Member, err error) {
	err = c.each(func(rows *sql.Rows) error {
		var m bridge.Member
		var at int64
		err := rows.Scan(&m.UserID, &m.Role, &at, &m.JoinedSeq)
		m.JoinedAt = asTime(at)
		list = append(list, m)
		return err
	}, selectMembers, stream, asSeq(after), limit)
	return list, err
}

// refuse is what the rules of roles say, and then those of direct
// conversations.
func (conv *conversation) refuse(err error) error {
	if err == nil {
		err = bridge.CheckGroup(conv.Direct)
	}
	return err
}

// change runs do on a conversation in a transaction that may write.
func (s *Store) change(ctx context.Context, verb, id string, do func(c *conn, conv *conversation) error) error {
	return s.write(ctx, func(c *conn) error {
		conv, err := c.conversation(id)
		if err == nil {
			err = do(c, conv)
		}
		return name(verb, err)
	})
}

// name puts the verb before an error that is not for the caller.
func name(verb string, err error) error {
	var known *chat.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return fmt.Errorf("sqlite: %s: %w", verb, err)
}

// appendEntry appends an entry that the server made.
func (c *conn) appendEntry(conv *conversation, now time.Time, id chat.ID, sender string, b chat.Body) (chat.Entry, error) {
	conv.HeadSeq++
	e := chat.Entry{ID: id, Stream: chat.ConversationStream(conv.ID), Seq: conv.HeadSeq, SenderID: sender,
		CreatedAt: asTime(now.UnixMilli()), Body: b}
	if _, err := c.insert(place{conv.stream, int64(e.Seq), conv.messages}, id, sender, now.UnixMilli(), &b); err != nil {
		return e, err
	}
	_, err := c.exec(updateHead, int64(e.Seq), conv.messages, now.UnixMilli(), conv.stream)
	return e, err
}

// CreateConversation implements bridge.Store.
func (s *Store) CreateConversation(ctx context.Context, now time.Time, nc bridge.NewConversation) (
	conv bridge.Conversation, entries []chat.Entry, created bool, err error,
) {
	err = s.write(ctx, func(c *conn) error {
		switch conv, err = c.whole(nc.ID); {
		case errors.Is(err, chat.ErrNotFound):
		case err != nil:
			return name("create conversation", err)
		case conv.OwnerID != nc.OwnerID:
			return chat.Errorf(chat.CodeConflict, "another user has a conversation with this id")
		default:
			return nil
		}
		entries, err = c.createGroup(now, nc)
		if err == nil {
			conv, err = c.whole(nc.ID)
		}
		created = err == nil
		return name("create conversation", err)
	})
	if err != nil {
		return bridge.Conversation{}, nil, false, err
	}
	return conv, entries, created, nil
}

func (c *conn) createGroup(now time.Time, nc bridge.NewConversation) ([]chat.Entry, error) {
	users := append([]string{nc.OwnerID}, nc.Members...)
	if err := nc.Limits.CheckSize(len(users)); err != nil {
		return nil, err
	}
	conv := &conversation{Conversation: bridge.Conversation{ID: nc.ID, Name: nc.Name, OwnerID: nc.OwnerID, SinceJoin: nc.SinceJoin}}
	return c.create(now, conv, nc.OwnerID, users, nc.JoinIDs, nc.Limits)
}

// create writes a new conversation, with a join entry by creator for each
// user. The owner, if it has one, is the first.
func (c *conn) create(now time.Time, conv *conversation, creator string, users []string, joinIDs []chat.ID, limits bridge.Limits) (
	[]chat.Entry, error,
) {
	at, pair := now.UnixMilli(), ""
	if conv.Direct {
		pair = bridge.Pair{A: users[0], B: users[1]}.Key()
	}
	if err := c.row(insertStream, string(chat.ConversationStream(conv.ID)), 0, at, conv.SinceJoin).Scan(&conv.stream); err != nil {
		return nil, err
	}
	if _, err := c.exec(insertConversation, conv.stream, conv.Name, conv.OwnerID, at, pair); err != nil {
		return nil, err
	}
	var entries []chat.Entry
	for i, user := range users {
		role := chat.RoleMember
		if i == 0 && !conv.Direct {
			role = chat.RoleOwner
		}
		_, e, err := c.join(conv, now, creator, user, role, joinIDs[i], limits)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Conversation implements bridge.Store.
func (s *Store) Conversation(ctx context.Context, id string) (conv bridge.Conversation, err error) {
	err = s.read(ctx, func(c *conn) error {
		conv, err = c.whole(id)
		return name("conversation", err)
	})
	return conv, err
}

// Conversations implements bridge.Store.
func (s *Store) Conversations(ctx context.Context, user string, page bridge.Page) (lines []bridge.Summary, err error) {
	after := ""
	if page.ID != "" {
		after = string(chat.ConversationStream(page.ID))
	}
	err = s.read(ctx, func(c *conn) error {
		var streams, floors []int64
		err := c.each(func(rows *sql.Rows) error {
			var stream, lastAt, createdAt, floor int64
			var key chat.StreamID
			var pair string
			var l bridge.Summary
			err := rows.Scan(&stream, &key, &l.HeadSeq, &l.FirstSeq, &l.SinceJoin, &lastAt, &l.Name, &l.OwnerID, &createdAt,
				&l.Size, &pair, &l.Archived, &floor, &l.Read, &l.Unread)
			l.ID, l.LastAt, l.CreatedAt = key.Conversation(), asTime(lastAt), asTime(createdAt)
			if l.Direct = pair != ""; l.Direct {
				l.Peer = bridge.Other(pair, user)
			}
			lines, streams, floors = append(lines, l), append(streams, stream), append(floors, floor)
			return err
		}, selectConversations, user, after, page.LastAt.UnixMilli(), page.Limit, page.Archived)
		for i := 0; i < len(lines) && err == nil; i++ {
			var last []chat.Entry
			last, err = c.entries(chat.ConversationStream(lines[i].ID), selectLast, streams[i], floors[i], uint8(chat.TypeMessage))
			if len(last) == 1 && err == nil {
				lines[i].Last = &last[0]
				_, err = c.row(newestEdit, string(last[0].Stream), int64(last[0].Seq)).find(&last[0].Content, new(int64))
			}
		}
		return name("conversations", err)
	})
	if err != nil {
		return nil, err
	}
	return lines, nil
}

// RenameConversation implements bridge.Store.
func (s *Store) RenameConversation(ctx context.Context, now time.Time, actor bridge.Actor, id, newName string, entryID chat.ID) (
	entry chat.Entry, err error,
) {
	err = s.change(ctx, "rename conversation", id, func(c *conn, conv *conversation) error {
		role, err := c.role(conv.stream, actor.UserID)
		if err == nil {
			err = conv.refuse(bridge.CheckRename(actor, role))
		}
		if err != nil {
			return err
		}
		if _, err = c.exec(updateName, newName, conv.stream); err != nil {
			return err
		}
		entry, err = c.appendEntry(conv, now, entryID, actor.UserID, chat.Body{Type: chat.TypeRename, Name: newName})
		return err
	})
	if err != nil {
		return chat.Entry{}, err
	}
	return entry, nil
}

// DeleteConversation implements bridge.Store.
func (s *Store) DeleteConversation(ctx context.Context, actor bridge.Actor, id string) error {
	return s.change(ctx, "delete conversation", id, func(c *conn, conv *conversation) error {
		role, err := c.role(conv.stream, actor.UserID)
		if err == nil {
			err = bridge.CheckDelete(actor, role)
		}
		for i := 0; i < len(deleteConversation) && err == nil; i++ {
			_, err = c.exec(deleteConversation[i], conv.stream)
		}
		return err
	})
}
