package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectInbox       = `SELECT id, head FROM streams WHERE key = ?`
	createInbox       = `INSERT INTO streams (key, head, last_at) VALUES (?, 0, ?) RETURNING id`
	selectPreferences = `SELECT body FROM preferences WHERE user_id = ?`
	upsertPreferences = `INSERT INTO preferences (user_id, body) VALUES (?, ?)
		ON CONFLICT (user_id) DO UPDATE SET body = excluded.body`
	selectFirst = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = ? AND sender_id = ? AND client_id = ? AND client_id <> ''`
	selectCollapsed = `SELECT seq FROM unread_notices WHERE stream = ? AND collapse = ? AND collapse <> ''`
	insertNotice    = `INSERT INTO entries (stream, seq, id, type, sender_id, client_id, created_at, target, content, extra)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, '', ?)`
	insertUnread = `INSERT INTO unread_notices (stream, seq, id, collapse) VALUES (?, ?, ?, ?)`
	deleteUnread = `DELETE FROM unread_notices WHERE stream = ? AND seq = ?`
	raiseInbox   = `UPDATE streams SET head = ?, last_at = ? WHERE id = ?`

	deleteUnreadUpTo = `DELETE FROM unread_notices WHERE stream = ? AND seq <= ?`
	selectUnreadIDs  = `SELECT seq, id FROM unread_notices WHERE stream = ?`
	countUnread      = `SELECT count(*) FROM unread_notices WHERE stream = ?`
	countUnreadOf    = `SELECT count(*) FROM unread_notices WHERE stream = (SELECT id FROM streams WHERE key = ?)`
	selectUnreadIn   = `SELECT seq FROM unread_notices
		WHERE stream = (SELECT id FROM streams WHERE key = ?) AND seq BETWEEN ? AND ?`
	selectUnread = `SELECT ` + entryColumns + ` FROM entries
		WHERE stream = (SELECT id FROM streams WHERE key = ?1) AND seq IN (
			SELECT seq FROM unread_notices WHERE stream = (SELECT id FROM streams WHERE key = ?1) AND seq < ?2
			ORDER BY seq DESC LIMIT ?3)
		ORDER BY seq DESC`

	selectDue  = `SELECT stream, seq FROM mentions_due WHERE stream > 0 ORDER BY stream, seq LIMIT ?`
	deleteDue  = `DELETE FROM mentions_due WHERE stream = ? AND seq = ?`
	selectKey  = `SELECT key FROM streams WHERE id = ?`
	selectThis = `SELECT ` + entryColumns + ` FROM entries WHERE stream = ? AND seq = ?`
	mayRead    = `SELECT 1 FROM members WHERE stream = ? AND user_id = ? AND role <> 0 AND joined_seq <= ?`
)

// notice is a chat.Notice as it is kept.
type notice struct {
	Type     string          `json:"t"`
	Data     json.RawMessage `json:"d,omitempty"`
	Collapse string          `json:"c,omitempty"`
}

func encodeNotice(n *chat.Notice) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)                           // data stays as it came
	_ = e.Encode(notice{n.Type, n.Data, n.Collapse}) // chat has checked the data
	return b.String()
}

func decodeNotice(text []byte, b *chat.Body) error {
	var n notice
	if err := json.Unmarshal(text, &n); err != nil {
		return errExtra
	}
	b.Notice = &chat.Notice{Type: n.Type, Data: n.Data, Collapse: n.Collapse}
	return nil
}

// markNotices sets which entries of a user's notifications are read.
func (c *conn) markNotices(stream chat.StreamID, entries []chat.Entry) error {
	low, high := uint64(math.MaxInt64), uint64(0)
	for i := range entries {
		low, high = min(low, entries[i].Seq), max(high, entries[i].Seq)
	}
	unread := make(map[uint64]bool, len(entries))
	err := c.each(func(rows *sql.Rows) error {
		var seq uint64
		err := rows.Scan(&seq)
		unread[seq] = true
		return err
	}, selectUnreadIn, string(stream), asSeq(low), asSeq(high))
	for i := range entries {
		if n := entries[i].Notice; n != nil {
			n.Read = !unread[entries[i].Seq]
		}
	}
	return err
}

// inbox is a bridge.Inbox with the number of its stream, 0 where there is none
// yet.
type inbox struct {
	bridge.Inbox
	user   string
	stream int64
}

// Notify implements bridge.Store.
func (s *Store) Notify(ctx context.Context, now time.Time, drafts []chat.Draft, out []bridge.Noticed) error {
	if len(drafts) == 0 {
		return ctx.Err()
	}
	return s.write(ctx, func(c *conn) error { return name("notify", c.notify(now, drafts, out)) })
}

func (c *conn) notify(now time.Time, drafts []chat.Draft, out []bridge.Noticed) error {
	inboxes := make(map[string]*inbox)
	var order []*inbox
	for i := range drafts {
		user := drafts[i].Stream.User()
		in := inboxes[user]
		if in == nil {
			in = &inbox{user: user}
			if err := c.openInbox(in); err != nil {
				return err
			}
			inboxes[user], order = in, append(order, in)
		}
		if err := c.lookInto(in, &drafts[i]); err != nil {
			return err
		}
	}
	now = asTime(now.UnixMilli())
	bridge.DecideNotices(now, drafts, func(user string) *bridge.Inbox { return &inboxes[user].Inbox }, out)
	for _, in := range order {
		if len(in.Append) == 0 {
			continue
		}
		if err := c.writeInbox(in, now.UnixMilli()); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) openInbox(in *inbox) (err error) {
	in.Stand, in.Unread = map[bridge.SendKey]chat.Entry{}, map[string]uint64{}
	if in.Preferences, err = c.preferences(in.user); err != nil {
		return err
	}
	_, err = c.row(selectInbox, string(chat.NotificationStream(in.user))).find(&in.stream, &in.Head)
	return err
}

// lookInto reads what a draft may meet.
func (c *conn) lookInto(in *inbox, d *chat.Draft) error {
	if in.stream == 0 {
		return nil
	}
	stands, err := c.entries(d.Stream, selectFirst, in.stream, d.SenderID, d.ClientID)
	if err != nil {
		return err
	}
	if len(stands) == 1 {
		in.Stand[bridge.SendKey{SenderID: d.SenderID, ClientID: d.ClientID}] = stands[0]
	}
	if d.Notice.Collapse == "" {
		return nil
	}
	var seq uint64
	found, err := c.row(selectCollapsed, in.stream, d.Notice.Collapse).find(&seq)
	if found {
		in.Unread[d.Notice.Collapse] = seq
	}
	return err
}

// writeInbox writes what was decided.
func (c *conn) writeInbox(in *inbox, at int64) error {
	if in.stream == 0 {
		if err := c.row(createInbox, string(chat.NotificationStream(in.user)), at).Scan(&in.stream); err != nil {
			return err
		}
	}
	for _, seq := range in.Drop {
		if _, err := c.exec(deleteUnread, in.stream, int64(seq)); err != nil {
			return err
		}
	}
	for i := range in.Append {
		e := &in.Append[i]
		if _, err := c.exec(insertNotice, in.stream, int64(e.Seq), e.ID[:], uint8(e.Type), e.SenderID, e.ClientID, at,
			encodeNotice(e.Notice)); err != nil {
			return err
		}
		if e.Notice.Read {
			continue
		}
		if _, err := c.exec(insertUnread, in.stream, int64(e.Seq), e.ID[:], e.Notice.Collapse); err != nil {
			return err
		}
	}
	_, err := c.exec(raiseInbox, int64(in.Head), at, in.stream)
	return err
}

// NotifyMentions implements bridge.Store.
func (s *Store) NotifyMentions(ctx context.Context, now time.Time, limit int, newID func() chat.ID) (
	took int, out []bridge.Noticed, err error,
) {
	err = s.write(ctx, func(c *conn) error {
		due, drafts, err := c.dueMentions(limit, newID)
		if err != nil {
			return name("notify mentions", err)
		}
		took, out = due, make([]bridge.Noticed, len(drafts))
		return name("notify mentions", c.notify(now, drafts, out))
	})
	if err != nil {
		return 0, nil, err
	}
	return took, out, nil
}

// dueMentions takes messages whose mentions are due.
func (c *conn) dueMentions(limit int, newID func() chat.ID) (took int, drafts []chat.Draft, err error) {
	type place struct{ stream, seq int64 }
	var due []place
	err = c.each(func(rows *sql.Rows) error {
		var p place
		err := rows.Scan(&p.stream, &p.seq)
		due = append(due, p)
		return err
	}, selectDue, limit)
	if err != nil {
		return 0, nil, err
	}
	for _, p := range due {
		if _, err := c.exec(deleteDue, p.stream, p.seq); err != nil {
			return 0, nil, err
		}
		var key string
		if err := c.row(selectKey, p.stream).Scan(&key); err != nil {
			return 0, nil, err
		}
		messages, err := c.entries(chat.StreamID(key), selectThis, p.stream, p.seq)
		if err != nil {
			return 0, nil, err
		}
		for i := range messages {
			var failed error
			drafts = append(drafts, bridge.MentionDrafts(&messages[i], func(user string) bool {
				var one int
				is, err := c.row(mayRead, p.stream, user, p.seq).find(&one)
				failed = errors.Join(failed, err)
				return is
			}, newID)...)
			if failed != nil {
				return 0, nil, failed
			}
		}
	}
	return len(due), drafts, nil
}

// ReadNotifications implements bridge.Store.
func (s *Store) ReadNotifications(ctx context.Context, user string, marks chat.ReadMarks) (m bridge.Marked, err error) {
	err = s.write(ctx, func(c *conn) (err error) {
		m, err = c.readNotices(user, marks)
		return name("read notifications", err)
	})
	if err != nil {
		return bridge.Marked{}, err
	}
	return m, nil
}

func (c *conn) readNotices(user string, marks chat.ReadMarks) (m bridge.Marked, err error) {
	var stream int64
	var head uint64
	found, err := c.row(selectInbox, string(chat.NotificationStream(user))).find(&stream, &head)
	if !found || err != nil {
		return m, err
	}
	if marks.All {
		marks.UpTo = head
	}
	if m.UpTo = min(marks.UpTo, head); m.UpTo > 0 {
		if _, err := c.exec(deleteUnreadUpTo, stream, int64(m.UpTo)); err != nil {
			return m, err
		}
	}
	if len(marks.IDs) > 0 {
		if m.Seqs, err = c.unreadWith(stream, marks.IDs); err != nil {
			return m, err
		}
	}
	for _, seq := range m.Seqs {
		if _, err := c.exec(deleteUnread, stream, int64(seq)); err != nil {
			return m, err
		}
	}
	return m, c.row(countUnread, stream).Scan(&m.Unread)
}

// unreadWith answers the seqs of the unread ones with the ids.
func (c *conn) unreadWith(stream int64, ids []chat.ID) (seqs []uint64, err error) {
	wanted := make(map[chat.ID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	err = c.each(func(rows *sql.Rows) error {
		var seq uint64
		var raw sql.RawBytes
		err := rows.Scan(&seq, &raw)
		var id chat.ID
		if copy(id[:], raw); wanted[id] {
			seqs = append(seqs, seq)
		}
		return err
	}, selectUnreadIDs, stream)
	return seqs, err
}

// UnreadNotifications implements bridge.Store.
func (s *Store) UnreadNotifications(ctx context.Context, users []string) ([]uint64, error) {
	return readAll(ctx, s, "unread notifications", users, func(c *conn, user string) (n uint64, err error) {
		err = c.row(countUnreadOf, string(chat.NotificationStream(user))).Scan(&n)
		return n, err
	})
}

// Notifications implements bridge.Store.
func (s *Store) Notifications(ctx context.Context, user string, before uint64, unread bool, limit int) (all []chat.Entry, err error) {
	stream := chat.NotificationStream(user)
	if !unread {
		if all, err = s.Before(ctx, stream, before, limit); err == nil {
			slices.Reverse(all)
		}
		return all, err
	}
	if before == 0 {
		before = math.MaxInt64
	}
	err = s.read(ctx, func(c *conn) (err error) {
		all, err = c.entries(stream, selectUnread, string(stream), asSeq(before), limit)
		return name("notifications", err)
	})
	return all, err
}

// Preferences implements bridge.Store.
func (s *Store) Preferences(ctx context.Context, user string) (p bridge.Preferences, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		p, err = c.preferences(user)
		return name("preferences", err)
	})
	return p, err
}

// EachPreferences implements bridge.Store.
func (s *Store) EachPreferences(ctx context.Context, users []string, each func(user string, p *bridge.Preferences)) error {
	return s.read(ctx, func(c *conn) error {
		for _, user := range users {
			p, set, err := c.setPreferences(user)
			if err != nil {
				return name("preferences", err)
			}
			if set {
				each(user, &p)
			}
		}
		return nil
	})
}

func (c *conn) preferences(user string) (bridge.Preferences, error) {
	p, set, err := c.setPreferences(user)
	if !set {
		return bridge.DefaultPreferences(), err
	}
	return p, err
}

// setPreferences reads what the user has set, if anything.
func (c *conn) setPreferences(user string) (p bridge.Preferences, set bool, err error) {
	var body []byte
	if set, err = c.row(selectPreferences, user).find(&body); set && err == nil {
		err = json.Unmarshal(body, &p)
	}
	return p, set, err
}

// SavePreferences implements bridge.Store.
func (s *Store) SavePreferences(ctx context.Context, user string, p bridge.Preferences) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.write(ctx, func(c *conn) error {
		_, err := c.exec(upsertPreferences, user, string(body))
		return name("save preferences", err)
	})
}
